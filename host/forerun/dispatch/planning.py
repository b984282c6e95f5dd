"""From what a site knows at a moment to the situation that a plan is made from, and a plan told in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from forerun.compute.load import Announcement, overlay, surges
from forerun.compute.weather import Sky
from forerun.dispatch.dispatcher import Plan, Situation, plan_steps
from forerun.dispatch.reserve import outage_reserve_wh
from forerun.forecast.jobs import JobModel, Told, forecast_both
from forerun.forecast.model import Forecast, LoadModel, forecast_load
from forerun.forecast.sun import forecast_pv
from forerun.report.pictures import clock
from forerun.sections import SiteFile

STEP_S = 300  # of histories and forecasts
_WORTH_SAYING_W = 50.0


@dataclass(frozen=True, slots=True)
class Known:
    """What a site knows at start_s (UTC, on a whole step): load_w and pv_w are (n,) means of the steps before it."""

    start_s: int
    load_w: np.ndarray
    pv_w: np.ndarray
    soc: float
    load_now_w: float
    peak_so_far_w: float = 0.0
    genset_run_s: float = 0.0
    battery_temperature_c: float = 20.0


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
    hours = (known.start_s + STEP_S * np.arange(count)) // 3600 % 24
    price = hourly(site.tariff.energy_price_per_kwh)[hours]
    # A tonne is a million grams; what is imported now pays for what it emits.
    price = price + hourly(site.carbon.grid_g_per_kwh)[hours] * float(site.tariff.carbon_price_per_tonne) / 1e6
    reserve = outage_reserve_wh(load.q90, pv.q10, STEP_S, site.battery.autonomy_h, site.battery.efficiency_discharge)
    situation = Situation(
        step_s=steps,
        load_w=folded(load.q50, steps),
        pv_w=folded(pv.q50, steps),
        energy_price_per_kwh=folded(price, steps),
        export_price_per_kwh=float(site.tariff.export_price_per_kwh),
        soc=min(1.0, max(0.0, known.soc)),
        peak_so_far_w=known.peak_so_far_w,
        surges=surges(jobs, base.q50, known.start_s, STEP_S),
        reserve_wh=folded(reserve, steps),
        genset_run_s=known.genset_run_s,
        genset_barred=quiet_steps(site, known.start_s, steps),
        battery_temperature_c=known.battery_temperature_c,
    )
    return Outlook(situation, known.start_s, load, pv)


def folded(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(n,) means over the steps of a plan of values on 5-minute steps."""
    ends = np.cumsum(np.round(steps / STEP_S).astype(int))
    return np.add.reduceat(values, np.concatenate([[0], ends[:-1]])) / np.diff(ends, prepend=0)


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
        "currency": site.tariff.currency,
        "relaxed": list(plan.relaxed),
        "basis": made.basis,
    }


def explained(site: SiteFile, made: Outlook, plan: Plan) -> list[str]:
    """The plan in sentences: each stretch in which the battery or the set works, and why; then what is relaxed."""
    currency, sentences = site.tariff.currency, [f"It stands on {made.basis}."]
    ends = np.cumsum(plan.step_s)
    kind = np.where(plan.genset_w > 0, 3, np.where(plan.battery_w > _WORTH_SAYING_W, 1,
                                                   np.where(plan.battery_w < -_WORTH_SAYING_W, 2, 0)))  # fmt: skip
    edges = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]
    for first, last in pairwise(edges):
        if kind[first] == 0:
            continue
        part, hours = slice(first, last), plan.step_s[first:last] / 3600
        when = f"{_time(made, ends[first] - plan.step_s[first])}–{_time(made, ends[last - 1])}"
        moved = float(np.abs(plan.battery_w[part]) @ hours) / 1000
        if kind[first] == 3:
            made_kwh = float(plan.genset_w[part] @ hours) / 1000
            sentences.append(
                f"{when}: the diesel set runs and gives {made_kwh:.1f} kWh, because {_why_set(site, made, part)}."
            )
        else:
            verb = "gives" if kind[first] == 1 else "takes"
            sentences.append(f"{when}: the battery {verb} {moved:.1f} kWh, to {100 * plan.soc[last - 1]:.0f} %, "
                             f"because {_why(site, made, plan, part, verb)}.")  # fmt: skip
    if len(sentences) == 1:
        sentences.append("The battery stays idle: nothing that it could do is worth its losses and wear.")
    for surge in made.situation.surges:
        what = f"an announced load of {surge.load_w / 1000:.1f} kW in all comes for {surge.duration_s / 60:.0f} min"
        sentences.append(f"At {_time(made, surge.start_s)} {what}; its energy is stored 5 min before.")
    sentences += [f"Not kept: {sentence}." for sentence in plan.relaxed]
    return [*sentences, f"It costs {plan.cost:.2f} {currency} over {ends[-1] / 3600:.0f} h."]


def _time(made: Outlook, after_s: float) -> str:
    return clock(round(made.start_s + after_s))


def _why(site: SiteFile, made: Outlook, plan: Plan, part: slice, verb: str) -> str:
    """The first reason that holds, in the order of the plan's own priorities."""
    asked = made.situation
    price = np.asarray(asked.energy_price_per_kwh)
    limit_w = site.limits.import_limit_w - site.limits.import_margin_w
    net_w = asked.load_w[part] - asked.pv_w[part]
    mean = float(np.average(price[part], weights=plan.step_s[part]))
    peak_w = float(plan.pcc_import_w.max())
    lops = site.tariff.demand_charge_per_kw_month > 0 and plan.pcc_import_w[part].max() > peak_w - 1
    if verb == "gives":
        if np.any(net_w > limit_w + 1):
            return f"the load reaches {net_w.max() / 1000:.1f} kW and the grid gives {limit_w / 1000:.1f} kW"
        if lops:
            return f"it keeps the highest import, which is billed by the month, at {peak_w / 1000:.1f} kW"
        return f"a kWh from the grid costs {mean:.3f} {site.tariff.currency} then, {_beside(price, plan.step_s)}"
    if np.any(asked.pv_w[part] > asked.load_w[part]):
        return "PV gives more than the load takes"
    if any(surge.start_s >= np.cumsum(plan.step_s)[part.start] - 1 for surge in asked.surges):
        return "an announced load needs it"
    if mean < float(np.average(price, weights=plan.step_s)):
        return f"a kWh costs {mean:.3f} {site.tariff.currency} then, {_beside(price, plan.step_s)}"
    return "the reserve has to be filled"


def _beside(price: np.ndarray, step_s: np.ndarray) -> str:
    return f"beside {float(np.average(price, weights=step_s)):.3f} on average"


def _why_set(site: SiteFile, made: Outlook, part: slice) -> str:
    net_w = float((made.situation.load_w[part] - made.situation.pv_w[part]).max())
    limit_w = site.limits.import_limit_w - site.limits.import_margin_w
    if net_w > limit_w:
        reached, given = f"the load reaches {net_w / 1000:.1f} kW", f"the grid gives {limit_w / 1000:.1f} kW"
        return f"{reached}, {given} and the battery is not enough"
    return "it is cheaper than the grid, or fills the battery for what comes"
