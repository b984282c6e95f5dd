"""A year of a site in 5-minute steps, played for several ways of running it: the board's own control code decides.

The plant here keeps energy, limits and losses, no voltages (`forerun.plant.site` has those). Cases: B0 grid and standby
set; B1 the same battery and PV, greedy self-consumption by the board alone; B2 weak grid with a set that lops peaks;
ours: board and planner. Figures come out as they do; nothing here is fitted to a promise.
"""

import concurrent.futures
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forerun import config
from forerun.compute import Announcement, google_2019_utilisation, node_power_w
from forerun.dispatch import HOLD_BATTERY, HOLD_PCC, Dispatcher, storage_of
from forerun.errors import Trouble
from forerun.forecast import LoadModel
from forerun.outages import Fate, fate
from forerun.planning import STEP_S, Known, hourly, outlook
from forerun.plant.pv import typical_year_w
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_RUNNING, Image
from forerun_wire.messages import SETTINGS

START_UTC_S = 1_546_300_800  # 2019-01-01, the year that the weather is laid on
STEPS = 365 * 288
IDLE_W, FULL_W = 4_000.0, 11_000.0
JOBS_PER_DAY, JOB_W, JOB_S = 1.0, (6_000.0, 12_000.0), (1_800, 7_200)
NOTICE_S = (600, 7_200)
REPLAN_S = 6 * 3600
REFIT_S = 21 * 86_400
HISTORY = 28 * 288
INVERTER_OWN_W = 60.0
LOPPING_SHARE, LOPPING_STEPS = 0.8, 12  # B2: the set runs from so much of the import limit on, an hour at least
PANEL_STEPS = 6  # the panel runs a set half an hour at least
EXERCISE_H, EXERCISES = 0.5, 12
CASES = {
    "B0": "grid and standby set",
    "B1": "same hardware, greedy self-consumption",
    "B2": "weak grid, set lops peaks",
    "ours": "board and planner",
}


@dataclass(frozen=True, slots=True)
class Weather:
    """Inputs of the year, the same for every case: (STEPS,) means; jobs are in load_w too, each with its notice."""

    load_w: np.ndarray
    pv_w: np.ndarray
    jobs: tuple[tuple[float, Announcement], ...]  # (announced at, job)


@dataclass(slots=True)
class Played:
    """What a case did: (STEPS,) each, W and Wh; genset_on per step."""

    import_w: np.ndarray
    genset_w: np.ndarray
    genset_on: np.ndarray
    discharge_w: np.ndarray
    stored_wh: np.ndarray | None
    over_limit_steps: int = 0
    replans: int = 0


def simulate(site: config.SiteFile, pv_peak_w: float, seed: int, monte_carlo: int) -> dict:
    """Every case's figures over the same year and the same drawn outages, as a JSON-ready document."""
    began = time.monotonic()
    weather = weather_of(pv_peak_w, seed)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        asked = {name: pool.submit(case, name, site, weather, seed, monte_carlo) for name in reversed(CASES)}
        results = {name: asked[name].result() for name in CASES}
    ours = results["ours"]
    compared = ("B0", "B1", "B2")
    gains = {f"against_{name}": {key: _change(results[name][key], ours[key]) for key in
                                 ("import_kwh", "diesel_h", "cost", "co2e_kg")} for name in compared}  # fmt: skip
    return {
        "site": site.site.name,
        "seed": seed,
        "sizing": {
            "pv_peak_w": pv_peak_w,
            "battery_wh": site.battery.capacity_wh,
            "battery_w": site.limits.discharge_max_w,
            "genset_w": _genset_w(site),
            "import_limit_w": site.limits.import_limit_w,
            "mean_load_w": round(float(weather.load_w.mean())),
            "pv_kwh_per_kwp": round(float(weather.pv_w.sum()) / 12 / max(pv_peak_w, 1.0)),
            "jobs": len(weather.jobs),
        },
        "monte_carlo_years": monte_carlo,
        "currency": site.tariff.currency,
        "cases": results,
        "change_percent": gains,
        "seconds": round(time.monotonic() - began, 1),
    }


def weather_of(pv_peak_w: float, seed: int) -> Weather:
    """A year of load and sun. Load: 28 days of a real compute trace over and over, jobs on top; PV: a real coastal
    typical year, with minutes of cloud drawn around its hours. Raises Trouble when the data sets are not installed."""
    rng = np.random.default_rng(seed)
    try:
        use = google_2019_utilisation()
        pv_hours = typical_year_w(pv_peak_w) if pv_peak_w else np.zeros(8760)
    except ImportError as problem:
        raise Trouble(f"the year's data are not installed ({problem.name}): pip install 'forerun[demo]'") from problem
    load_w = np.resize(node_power_w(use, IDLE_W, FULL_W), STEPS).copy()
    hours = (np.arange(STEPS) + 0.5) / 12
    flicker = np.exp(0.25 * np.convolve(rng.normal(size=STEPS + 5), np.ones(6) / 6**0.5, "valid"))
    pv_w = np.clip(np.interp(hours, np.arange(8760) + 0.5, pv_hours) * flicker, 0, pv_peak_w)
    jobs = []
    for number in range(int(rng.poisson(365 * JOBS_PER_DAY))):
        start_s = START_UTC_S + STEP_S * int(rng.integers(288, STEPS - 288))
        length_s = STEP_S * int(rng.integers(JOB_S[0] // STEP_S, JOB_S[1] // STEP_S + 1))
        job = Announcement(f"job-{number}", float(rng.uniform(*JOB_W)), start_s, length_s, 0.9)
        jobs.append((start_s - float(rng.uniform(*NOTICE_S)), job))
        first = (start_s - START_UTC_S) // STEP_S
        load_w[first : first + length_s // STEP_S] += job.power_w
    return Weather(load_w, pv_w, tuple(sorted(jobs, key=lambda item: item[0])))


def case(name: str, site: config.SiteFile, weather: Weather, seed: int, monte_carlo: int) -> dict:
    """Figures of one case: energy in kWh, money in the tariff's currency, hours, kgCO2e, availability."""
    began = time.monotonic()
    if name == "B0":
        played = _without_battery(site, weather, 1.0)
    elif name == "B2":
        played = _without_battery(site, weather, LOPPING_SHARE)
    else:
        played = _with_battery(site, weather, _Planner(site, weather) if name == "ours" else None)
    battery, limits = site.battery, site.limits
    drawn = fate(
        weather.load_w,
        weather.pv_w,
        played.stored_wh,
        charge_max_w=limits.charge_max_w,
        full_wh=(limits.soc_max - limits.soc_min) * battery.capacity_wh,
        efficiency=battery.efficiency_discharge,
        genset_w=_genset_w(site),
        litres_h=lambda power_w: litres_per_h(site, power_w),
        years=monte_carlo,
        seed=seed + 1,
    )
    return _figures(site, weather, played, drawn) | {"seconds": round(time.monotonic() - began, 1)}


def _genset_w(site: config.SiteFile) -> float:
    return float(site.genset.rated_w)


def litres_per_h(site: config.SiteFile, power_w: float) -> float:
    """Fuel of the running set."""
    return float(site.genset.idle_litre_per_h) + float(site.genset.litre_per_kwh) * power_w / 1000


def _without_battery(site: config.SiteFile, weather: Weather, from_share: float) -> Played:
    """PV is used as it comes. Above from_share of the import limit the set runs: in B0 its panel gives it the whole
    site (half an hour at least), in B2 it lops what is above, an hour at least, never below its least power."""
    limit_w, rated_w, whole = float(site.limits.import_limit_w), _genset_w(site), from_share >= 1
    net_w = weather.load_w - weather.pv_w
    wanted, on = net_w > from_share * limit_w, np.zeros(STEPS, dtype=bool)
    for step in np.flatnonzero(wanted):
        on[step : step + (PANEL_STEPS if whole else LOPPING_STEPS)] = True
    if not rated_w:
        on[:] = False
    if whole:
        genset_w = np.where(on, np.clip(net_w, 0, rated_w), 0.0)
    else:
        genset_w = np.where(on, np.clip(net_w - from_share * limit_w, site.genset.min_load * rated_w, rated_w), 0.0)
    import_w = np.maximum(net_w - genset_w, -float(site.limits.export_limit_w))
    zeros = np.zeros(STEPS)
    return Played(import_w, genset_w, on, zeros, None, int(np.count_nonzero(import_w > limit_w + 1)))


def _with_battery(site: config.SiteFile, weather: Weather, planner: "_Planner | None") -> Played:
    """The board's controller decides twice a step: when the load has changed, and again when the inverter followed."""
    controller, image = _board(site)
    limits, battery = site.limits, site.battery
    import_w, battery_w, stored = np.zeros(STEPS), np.zeros(STEPS), np.zeros(STEPS)
    capacity, charge_eff, discharge_eff = battery.capacity_wh, battery.efficiency_charge, battery.efficiency_discharge
    energy, power, hours = 0.5 * capacity, 0.0, STEP_S / 3600
    low_wh, high_wh, export_w = limits.soc_min * capacity, limits.soc_max * capacity, float(limits.export_limit_w)
    load, sun = weather.load_w.tolist(), weather.pv_w.tolist()
    for step in range(STEPS):
        if planner:
            planner.rule(step, energy / capacity, controller.lease)
        net = load[step] - sun[step] + INVERTER_OWN_W
        # What a full or an empty battery can still take or give in this step, as its BMS would say.
        can_charge = max(0.0, (high_wh - energy) / hours / charge_eff)
        can_discharge = max(0.0, (energy - low_wh) / hours * discharge_eff)
        image.charge_max_w = int(min(limits.charge_max_w, can_charge))
        image.discharge_max_w = int(min(limits.discharge_max_w, can_discharge))
        image.soc_permille = int(1000 * energy / capacity)
        image.pv_w = int(sun[step])
        for _ in range(2):
            image.begin(1000)
            image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.pv_age_ms = image.host_age_ms = 0
            image.pcc_import_w, image.active_power_w = int(net - power), int(power)
            controller.step(image)
            power = float(controller.setpoint_w)
        while controller.events.pop():
            pass
        energy -= (power / discharge_eff if power > 0 else power * charge_eff) * hours
        import_w[step] = max(net - power, -export_w)  # PV that nobody may take is curtailed
        battery_w[step], stored[step] = power, max(0.0, energy - low_wh)
    # Above the limit the feeder's voltage is too low: the panel starts the set and gives it what the mains gave.
    on = np.zeros(STEPS, dtype=bool)
    for step in np.flatnonzero(import_w > limits.import_limit_w + 1):
        on[step : step + PANEL_STEPS] = _genset_w(site) > 0
    genset_w = np.where(on, np.clip(import_w, 0, _genset_w(site)), 0.0)
    import_w = import_w - genset_w
    over = int(np.count_nonzero(import_w > limits.import_limit_w + 1))
    replans = planner.replans if planner else 0
    return Played(import_w, genset_w, on, np.clip(battery_w, 0, None), stored, over, replans)


def _board(site: config.SiteFile) -> tuple[Controller, Image]:
    """A controller with the site's settings, and an image in which everything is fresh and the inverter runs."""
    settings = Config()
    for key, value in config.board_settings(site).items():
        setattr(settings, next(name for number, name, *_ in SETTINGS if number == key), value)
    settings.genset_meter_unit, settings.fallback = 0, 1
    settings.ramp_w_per_s = 1_000_000  # a step of five minutes is over before a ramp of seconds
    image = Image()
    image.inverter_state, image.pcc_voltage_mv, image.frequency_millihz = INVERTER_RUNNING, 230_000, 50_000
    return Controller(settings), image


class _Planner:
    """The host's part of a year: forecasts, plans, and a lease for each step; only what was known then is used."""

    def __init__(self, site: config.SiteFile, weather: Weather):
        self.site, self.weather, self.replans = site, weather, 0
        # In parallel with the mains the set has no order to run, as on the real site: the plan does without.
        self._dispatcher = Dispatcher(replace(storage_of(site), genset=None))
        self._model: LoadModel | None = None
        self._next_s = self._refit_s = START_UTC_S
        self._announced: list[Announcement] = []
        self._waiting = list(weather.jobs)[::-1]
        self._points: list[tuple[int, int]] = []
        self._from = 0

    def rule(self, step: int, soc: float, lease) -> None:
        """Grant the board's lease for this step, planning anew when it is time or something was announced."""
        now_s = START_UTC_S + step * STEP_S
        while self._waiting and self._waiting[-1][0] <= now_s:
            self._announced.append(self._waiting.pop()[1])
            self._next_s = now_s
        if now_s >= self._next_s:
            self._replan(step, now_s, soc)
        mode, value_w = self._points[min(step - self._from, len(self._points) - 1)]
        lease.grant(mode, value_w, 2 * STEP_S * 1000)

    def _replan(self, step: int, now_s: int, soc: float) -> None:
        self._announced = [job for job in self._announced if job.start_utc_s + job.duration_s > now_s]
        first = max(0, step - HISTORY)
        history, sun = self.weather.load_w[first:step], self.weather.pv_w[first:step]
        if now_s >= self._refit_s and len(history) >= 8 * 288:
            self._model = LoadModel(history, STEP_S, self.site.plan.horizon_h * 12)
            self._refit_s = now_s + REFIT_S
        if self._model is None:
            history = history[-5 * 288 :]  # too short for a model; more would fit one at every plan
        known = Known(now_s, history, sun, soc, float(history[-1]) if step else IDLE_W)
        plan = self._dispatcher.plan(outlook(self.site, known, self._announced, self._model).situation)
        points = []
        for seconds, battery_w, pcc_w in zip(plan.step_s, plan.battery_w, plan.pcc_import_w, strict=True):
            point = (HOLD_PCC, round(pcc_w)) if abs(battery_w) >= 50 else (HOLD_BATTERY, 0)
            points += [point] * round(seconds / STEP_S)
        self._points, self._from, self._next_s = points, step, now_s + REPLAN_S
        self.replans += 1


def _figures(site: config.SiteFile, weather: Weather, played: Played, drawn: Fate) -> dict:
    """Energy, hours, cost by component, emissions; means over the drawn years for what outages do."""
    tariff, carbon, genset = site.tariff, site.carbon, site.genset
    kwh, hour = played.import_w / 12_000, np.arange(STEPS) // 12
    imported, exported = np.clip(kwh, 0, None), np.clip(-kwh, 0, None)
    price, intensity = hourly(tariff.energy_price_per_kwh)[hour % 24], hourly(carbon.grid_g_per_kwh)[hour % 24]
    hourly_kw = np.add.reduceat(imported, np.arange(0, STEPS, 12))
    months = np.array_split(hourly_kw, 12)
    per_h = float(genset.idle_litre_per_h) + float(genset.litre_per_kwh) * played.genset_w / 1000
    litres = float(np.sum(played.genset_on * per_h)) / 12
    litres += float(drawn.litres.mean())
    exercise_litres = EXERCISES * EXERCISE_H * float(genset.idle_litre_per_h) if genset.rated_w else 0.0
    demand = sum(float(month.max()) for month in months) * float(tariff.demand_charge_per_kw_month)
    fuel = (litres + exercise_litres) * float(genset.fuel_price_per_litre)
    grid_kg = float(imported @ intensity) / 1000
    starts = int(np.count_nonzero(np.diff(played.genset_on.astype(int), prepend=0) > 0))
    cost = {
        "energy": float(imported @ price),
        "export": -float(exported.sum()) * float(tariff.export_price_per_kwh),
        "demand": demand,
        "diesel": fuel,
        "genset_starts": starts * float(genset.start_cost),
        "battery_wear": float(played.discharge_w.sum()) / 12_000 * float(site.battery.wear_cost_per_kwh),
    }
    return {
        "import_kwh": round(float(imported.sum()), 1),
        "export_kwh": round(float(exported.sum()), 1),
        "diesel_h": round(float(played.genset_on.sum()) / 12 + float(drawn.diesel_h.mean()), 2),
        "diesel_outage_h": round(float(drawn.diesel_h.mean()), 3),
        "exercise_h": EXERCISES * EXERCISE_H if genset.rated_w else 0.0,
        "cost_parts": {key: round(value, 1) for key, value in cost.items()},
        "cost": round(sum(cost.values()), 1),
        "co2e_kg": round(grid_kg + (litres + exercise_litres) * float(carbon.diesel_kg_per_litre), 1),
        "peak_import_kw": round(float(hourly_kw.max()), 2),
        "over_limit_h": round(played.over_limit_steps / 12, 2),
        "availability": {key: round(value, 6) for key, value in drawn.availability().items()},
        "unserved_min_per_year": round(60 * float(drawn.unserved_h.mean()), 2),
        "replans": played.replans,
    }  # fmt: skip


def _change(before: float, after: float) -> float | None:
    return None if before == 0 else round(100 * (after - before) / before, 1)


def show(result: dict) -> None:
    """The cases side by side as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("a year", *(f"{name}: {CASES[name]}" for name in result["cases"]), title=result["site"])
    rows: dict[str, Callable] = {
        "import kWh": lambda case: f"{case['import_kwh']:.0f}",
        "diesel h (exercise apart)": lambda case: f"{case['diesel_h']:.1f} + {case['exercise_h']:g}",
        f"cost {result['currency']}": lambda case: f"{case['cost']:.0f}",
        "kgCO2e": lambda case: f"{case['co2e_kg']:.0f}",
        "above import limit h": lambda case: f"{case['over_limit_h']:.1f}",
        "availability %": lambda case: "{mean:.4%} ({low:.4%}–{high:.4%})".format(**case["availability"]).replace(
            "%", ""
        ),
    }
    for name, shown in rows.items():
        table.add_row(name, *(shown(case) for case in result["cases"].values()))
    console = Console()
    console.print(table)
    for name, gain in result["change_percent"].items():
        words = ", ".join(
            f"{key} {value:+g} %" for key, value in gain.items() if value is not None and math.isfinite(value)
        )
        console.print(f"ours {name.replace('_', ' ')}: {words}")
    console.print(f"sizing {result['sizing']}; {result['monte_carlo_years']} drawn years; {result['seconds']} s")
