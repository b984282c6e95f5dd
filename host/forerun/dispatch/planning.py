"""From what a site knows at a moment to the situation that a plan is made from, and a plan as a document."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from forerun.compute.load import Announcement, overlay, surges
from forerun.compute.weather import Sky
from forerun.dispatch.commitment import starts
from forerun.dispatch.dispatcher import Plan, Situation, litre_costs, plan_steps, storage_of
from forerun.dispatch.reserve import outage_reserve_wh
from forerun.forecast.jobs import JobModel, Told, forecast_both
from forerun.forecast.model import Forecast, LoadModel, forecast_load
from forerun.forecast.sun import forecast_pv
from forerun.sections import SiteFile

STEP_S = 300  # of histories and forecasts
_RESERVED_FROM = 0.1  # confidence of a job, as for the .9 quantile of the load


@dataclass(frozen=True, slots=True)
class Known:
    """What a site knows at start_s (UTC, on a whole step): load_w and pv_w are (n,) means of the steps before it;
    month_left_s: until the month that is billed ends, as little as a plan's length where that is not known."""

    start_s: int
    load_w: np.ndarray
    pv_w: np.ndarray
    soc: float
    load_now_w: float
    peak_so_far_w: float = 0.0
    genset_run_s: float = 0.0
    battery_temperature_c: float = 20.0
    month_left_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """A situation, and the forecasts that it stands on: 5-minute steps from start_s on."""

    situation: Situation
    start_s: int
    load: Forecast
    pv: Forecast

    @property
    def basis(self) -> str:
        """What the forecasts stand on, in words."""
        return f"load: {self.load.basis}; PV: {self.pv.basis}"


def outlook(site: SiteFile, known: Known, jobs: Iterable[Announcement], model: LoadModel | JobModel | None = None,
            told: Iterable[Told] | None = None, sky: Sky | None = None) -> Outlook:  # fmt: skip
    """Forecasts and the situation of a plan that begins at known.start_s. `model`: fitted to an earlier history; a
    JobModel with `told`, all that was announced in it and since, or a LoadModel that knows of no jobs. `sky`: what the
    weather forecast says."""
    steps = plan_steps(site.plan.horizon_h)
    count = round(steps.sum()) // STEP_S
    jobs = [job for job in jobs if job.start_utc_s + job.duration_s > known.start_s]
    default_w = max(0.0, known.load_now_w)
    if told is None:
        base = forecast_load(known.load_w, STEP_S, count, default_w=default_w, model=model)
        load = overlay(base, jobs, known.start_s)
    else:
        base, load = forecast_both(known.load_w, STEP_S, count, known.start_s, told, default_w, model)
    clearness, past = None, len(known.pv_w)
    if sky is not None:
        clearness = sky.steps(known.start_s - STEP_S * past, STEP_S, past + count)
    pv = forecast_pv(known.pv_w, STEP_S, count, known.start_s, (site.site.latitude, site.site.longitude), clearness)
    price = by_hour(site.tariff.energy_price_per_kwh, known.start_s, steps)
    reserve = outage_reserve_wh(load.q90, pv.q10, STEP_S, site.battery.autonomy_h, site.battery.efficiency_discharge)
    energy_price = price + carbon_price_per_kwh(site, known.start_s, steps)
    load_w, pv_w = folded(load.q50, steps), folded(pv.q50, steps)
    situation = Situation(
        step_s=steps,
        load_w=load_w,
        pv_w=pv_w,
        energy_price_per_kwh=energy_price,
        export_price_per_kwh=float(site.tariff.export_price_per_kwh),
        soc=min(1.0, max(0.0, known.soc)),
        peak_so_far_w=known.peak_so_far_w,
        surges=surges([job for job in jobs if job.confidence >= _RESERVED_FROM], base.q50, known.start_s, STEP_S),
        stored_value_per_kwh=stored_value_per_kwh(site, steps, load_w, pv_w, energy_price),
        reserve_wh=folded(reserve, steps),
        genset_run_s=known.genset_run_s,
        genset_barred=quiet_steps(site, known.start_s, steps),
        battery_temperature_c=known.battery_temperature_c,
        # A higher peak serves the rest of the month too: all of its price would be too dear for what one day gains.
        demand_share=min(1.0, float(steps.sum()) / max(known.month_left_s, 1.0)),
    )
    return Outlook(situation, known.start_s, load, pv)


def stored_value_per_kwh(
    site: SiteFile, steps: np.ndarray, load_w: np.ndarray, pv_w: np.ndarray, energy_price_per_kwh: np.ndarray
) -> float:
    """What a kWh left in the battery at the end of a plan is worth, never below 0: it saves import in the hours in
    which PV leaves some to be bought. In the others it means that so much more PV is exported, or, where none may leave
    or that costs money, stays unused."""
    sold = max(0.0, float(site.tariff.export_price_per_kwh)) if site.limits.export_limit_w else 0.0
    worth = np.where(load_w > pv_w, energy_price_per_kwh, sold)
    saved = float(np.average(worth, weights=steps)) - float(site.battery.wear_cost_per_kwh)
    return max(0.0, saved) * site.battery.efficiency_discharge


def carbon_price_per_kwh(site: SiteFile, start_s: int, steps: np.ndarray) -> np.ndarray:
    """(n,) what the emissions of an imported kWh cost in each step of a plan; a tonne is a million grams."""
    grams = by_hour(site.carbon.grid_g_per_kwh, start_s, steps)
    return grams * float(site.tariff.carbon_price_per_tonne) / 1e6


def cost_parts(site: SiteFile, made: Outlook, plan: Plan) -> dict[str, float]:
    """What plan.cost is made of, in the tariff's currency; they add up to it."""
    asked, storage, hours = made.situation, storage_of(site), plan.step_s / 3600
    bought, sold = (np.clip(sign * plan.pcc_import_w, 0, None) * hours / 1000 for sign in (1, -1))
    carbon = carbon_price_per_kwh(site, made.start_s, plan.step_s)
    on = plan.genset_w > 0
    parts = {
        "energy": float(bought @ (asked.energy_price_per_kwh - carbon)),
        "carbon price": float(bought @ carbon),
        "export": -float(np.sum(sold * asked.export_price_per_kwh)),
        "demand charge": max(0.0, plan.pcc_import_w.max() - asked.peak_so_far_w) / 1000 * storage.demand_charge_per_kw,
        "battery wear": float(np.clip(plan.battery_w, 0, None) @ hours) / 1000 * storage.wear_cost_per_kwh,
    }
    if on.any():
        count = starts(on, asked.genset_run_s)
        burnt = storage.genset.cost(hours, plan.genset_w, on, 0)
        fuel, its_carbon = litre_costs(site)
        parts["set's fuel"] = burnt * fuel / max(fuel + its_carbon, 1e-9)
        parts["set's carbon price"] = burnt - parts["set's fuel"]
        parts["set's starts"] = count * storage.genset.start_cost
    return parts


def folded(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(n,) means over the steps of a plan of values on 5-minute steps."""
    counts = np.rint(steps / STEP_S).astype(int)
    return np.add.reduceat(values, np.cumsum(counts) - counts) / counts


def quiet_steps(site: SiteFile, start_s: int, steps: np.ndarray) -> np.ndarray:
    """(n,) bool: the steps from start_s (UTC) on that reach into the quiet hours of the site's own time zone."""
    start_min, end_min = site.functions.quiet_start_min, site.functions.quiet_end_min
    count = round(steps.sum()) // STEP_S
    if start_min == end_min:
        return np.zeros(len(steps), dtype=bool)
    zone = ZoneInfo(site.reporting.timezone)
    local = [datetime.fromtimestamp(start_s + STEP_S * step, zone) for step in range(count)]
    minute = np.array([60 * moment.hour + moment.minute for moment in local])
    quiet = (minute - start_min) % 1440 < (end_min - start_min) % 1440
    return folded(quiet.astype(float), steps) > 0


def by_hour(value, start_s: int, steps: np.ndarray) -> np.ndarray:
    """(n,) means over the steps of a plan from start_s (UTC) on, of one number or of one for each hour of the UTC
    day."""
    hours = (start_s + STEP_S * np.arange(round(steps.sum()) // STEP_S)) // 3600 % 24
    return folded(hourly(value)[hours], steps)


def hourly(value) -> np.ndarray:
    """(24,) of one number, or of 24."""
    return np.array([float(item) for item in value]) if isinstance(value, tuple) else np.full(24, float(value))


def document(site: SiteFile, made: Outlook, plan: Plan) -> dict:
    """The plan as JSON-ready values: W, SoC in permille, one entry a step; what was relaxed; what it stands on."""
    starts = made.start_s + np.concatenate([[0], np.cumsum(plan.step_s)[:-1]])
    whole = {name: [round(value) for value in values.tolist()] for name, values in (
        ("step_s", plan.step_s), ("load_w", made.situation.load_w), ("pv_w", made.situation.pv_w),
        ("battery_w", plan.battery_w), ("pcc_import_w", plan.pcc_import_w), ("genset_w", plan.genset_w),
        ("curtail_w", plan.curtail_w), ("soc_permille", 1000 * plan.soc))}  # fmt: skip
    return {
        "site": site.site.name,
        "start_utc_s": made.start_s,
        "step_start_utc_s": [round(start) for start in starts.tolist()],
        **whole,
        "cost": round(plan.cost, 4),
        "cost_parts": {name: round(value, 4) for name, value in cost_parts(site, made, plan).items()},
        "currency": site.tariff.currency,
        "relaxed": list(plan.relaxed),
        "basis": made.basis,
    }
