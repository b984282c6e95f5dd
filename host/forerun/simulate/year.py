"""A year of a site, run in several ways (`forerun.simulate.cases`) on the same weather, load and drawn outages: what
each costs, burns, emits, and how often it is without supply. Figures come out as they do; nothing is fitted to a
promise.
"""

import concurrent.futures
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from forerun import sections
from forerun.compute.load import Announcement, google_2019_utilisation, node_power_w
from forerun.dispatch.planning import STEP_S, hourly
from forerun.errors import Trouble, WrongUsage
from forerun.plant.pv import PLAYED_AT, typical_year_c, typical_year_w
from forerun.simulate.cases import CASES, Played, Weather, joined, play, stretches
from forerun.simulate.outages import Drawn, Fate, drawn_years, fate, interval

STEPS = 365 * 288
IDLE_W, FULL_W = 4_000.0, 11_000.0
JOBS_PER_DAY, JOB_W, JOB_S = 1.0, (6_000.0, 12_000.0), (1_800, 7_200)
NOTICE_S = (600, 7_200)
EXERCISE_H, EXERCISES = 0.5, 12
LEAST_CELL_C, ENCLOSURE_W_PER_K = 10.0, 10.0  # a heater keeps the battery's enclosure there
YEARS_AT_ONCE = 8  # a month of so many drawn years stays in the processor's cache
INPUTS = {
    "sun_and_air": f"a coastal typical year at {PLAYED_AT[0]:.1f}° N, wherever the site file says the site is",
    "load": "28 days of the Google 2019 compute trace over and over, with announced jobs on top",
}
COMPARED = ("import_kwh", "diesel_h", "cost", "co2e_kg")


def simulate(site: sections.SiteFile, year: int, seed: int, monte_carlo: int,
             tick: Callable[[float], None] = lambda share: None,
             meanwhile: Callable[[], None] = lambda: None) -> dict:  # fmt: skip
    """Every case's figures over the same year and the same `monte_carlo` drawn years, as a JSON-ready document;
    tick(share that is done, 0–1). meanwhile() is called while another process draws the weather. The site lies where
    its weather is of, or its planner would look for the sun elsewhere. Raises Trouble as `weather_of` does."""
    began = time.monotonic()
    site = replace(site, site=replace(site.site, latitude=PLAYED_AT[0], longitude=PLAYED_AT[1]))
    with concurrent.futures.ProcessPoolExecutor(1) as apart:  # half of it is the import of what reads the data
        asked = apart.submit(weather_of, float(site.pv.peak_w), year, seed)
        meanwhile()
        weather = asked.result()
    drawn = drawn_years(monte_carlo, len(weather.load_w), seed)
    results = _played(site, weather, drawn, tick)
    ours = results["ours"]
    gains = {f"against_{name}": {key: _change(results[name][key], ours[key]) for key in COMPARED}
             for name in CASES if name != "ours"}  # fmt: skip
    return {
        "site": site.site.name,
        "year": year,
        "seed": seed,
        "inputs": INPUTS,
        "sizing": _sizing(site, weather),
        "capital": _capital(site),
        "monte_carlo": {"years": monte_carlo, "drawn": drawn.words},
        "currency": site.tariff.currency,
        "cases": results,
        "change_percent": gains,
        "seconds": round(time.monotonic() - began, 1),
    }


def sweep(site: sections.SiteFile, sizes: list[tuple[float, float]], year: int, seed: int, monte_carlo: int,
          tick: Callable[[float], None] = lambda share: None) -> list[dict]:  # fmt: skip
    """`simulate` at other sizes (kWp, kWh) of PV and battery; everything else as in the site file."""
    results = []
    for number, (kwp, kwh) in enumerate(sizes):
        sized = replace(site, pv=replace(site.pv, peak_w=round(1000 * kwp)),
                        battery=replace(site.battery, capacity_wh=round(1000 * kwh)))  # fmt: skip
        results.append(simulate(sized, year, seed, monte_carlo, lambda share, done=number: tick(
            (done + share) / len(sizes))))  # fmt: skip
    return results


def sizes_of(text: str) -> list[tuple[float, float]]:
    """[(kWp, kWh)] of a text like 20x60,120x250. Raises WrongUsage."""
    found = []
    for part in text.split(","):
        try:
            kwp, kwh = (float(number) for number in part.split("x"))
        except ValueError:
            kwp, kwh = -1.0, 0.0
        if not (0 <= kwp <= 10_000 and 0.001 <= kwh <= 10_000):  # a Wh, as in a site file
            raise WrongUsage(f"--sizes {part}: write kWp of PV x kWh of battery, like 20x60,120x250")
        found.append((kwp, kwh))
    return found


def weather_of(pv_peak_w: float, year: int, seed: int) -> Weather:
    """A year of load and sun. Load: 28 days of a real compute trace over and over, jobs on top; PV: a real coastal
    typical year, with minutes of cloud drawn around its hours. Raises Trouble when the data sets are not installed."""
    rng = np.random.default_rng(seed)
    try:
        use = google_2019_utilisation()
        pv_hours = typical_year_w(pv_peak_w) if pv_peak_w else np.zeros(8760)
        air_c = typical_year_c()
    except ImportError as problem:
        raise Trouble(f"the year's data are not installed ({problem.name}): pip install 'forerun[demo]'") from problem
    start_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    load_w = np.resize(node_power_w(use, IDLE_W, FULL_W), STEPS).copy()
    hours = (np.arange(STEPS) + 0.5) / 12
    flicker = np.exp(0.25 * np.convolve(rng.normal(size=STEPS + 5), np.ones(6) / 6**0.5, "valid"))
    pv_w = np.clip(np.interp(hours, np.arange(8760) + 0.5, pv_hours) * flicker, 0, pv_peak_w)
    # An enclosure takes a day to follow the air.
    daily_c = np.convolve(np.concatenate([air_c[-23:], air_c]), np.ones(24) / 24, "valid")
    cold_c = np.interp(hours, np.arange(8760) + 0.5, daily_c)
    jobs = []
    for number in range(int(rng.poisson(365 * JOBS_PER_DAY))):
        job_s = start_s + STEP_S * int(rng.integers(288, STEPS - 288))
        length_s = STEP_S * int(rng.integers(JOB_S[0] // STEP_S, JOB_S[1] // STEP_S + 1))
        job = Announcement(f"job-{number}", float(rng.uniform(*JOB_W)), job_s, length_s, 0.9)
        jobs.append((job_s - float(rng.uniform(*NOTICE_S)), job))
        first = (job_s - start_s) // STEP_S
        load_w[first : first + length_s // STEP_S] += job.power_w
    return Weather(start_s, load_w, pv_w, np.maximum(cold_c, LEAST_CELL_C),
                   ENCLOSURE_W_PER_K * np.clip(LEAST_CELL_C - cold_c, 0, None),
                   tuple(sorted(jobs, key=lambda item: item[0])))  # fmt: skip


def _played(site: sections.SiteFile, weather: Weather, drawn: Drawn,
            tick: Callable[[float], None]) -> dict[str, dict]:  # fmt: skip
    """Figures of every case, its stretches and then the cases on two processes; what takes longest first."""
    parts = {(name, *stretch): None for name in reversed(CASES) for stretch in stretches(name, len(weather.load_w))}
    done = 0
    with concurrent.futures.ProcessPoolExecutor(2, initializer=_take, initargs=(site, weather)) as pool:
        asked = {pool.submit(_play, *part): part for part in parts}
        for future in concurrent.futures.as_completed(asked):
            parts[asked[future]] = future.result()
            done += 4 if asked[future][0] == "ours" else 0
            tick(min(1.0, done / (4 * len(stretches("ours", len(weather.load_w))))))
        played = [joined([part for key, part in parts.items() if key[0] == name]) for name in CASES]
        return dict(zip(CASES, pool.map(_counted, played, [drawn] * len(CASES)), strict=True))


_SHARED: list = []  # of a worker process: site and weather, sent once


def _take(site: sections.SiteFile, weather: Weather) -> None:
    _SHARED[:] = [site, weather]


def _play(name: str, first: int, last: int) -> Played:
    return play(name, *_SHARED, first, last)


def _counted(played: Played, drawn: Drawn) -> dict:
    return _figures(*_SHARED, played, drawn)


def litres_per_h(site: sections.SiteFile, power_w: float) -> float:
    """Fuel of the running set."""
    return float(site.genset.idle_litre_per_h) + float(site.genset.litre_per_kwh) * power_w / 1000


def _fate(site: sections.SiteFile, weather: Weather, played: Played, drawn: Drawn) -> Fate:
    battery, limits = site.battery, site.limits
    return fate(
        drawn,
        weather.load_w,
        weather.pv_w,
        played.stored_wh,
        discharge_max_w=float(limits.discharge_max_w),
        charge_max_w=float(limits.charge_max_w),
        full_wh=(limits.soc_max - limits.soc_min) * battery.capacity_wh,
        efficiency=battery.efficiency_discharge,
        genset_w=float(site.genset.rated_w),
        litres_h=lambda power_w: litres_per_h(site, power_w),
    )


def _figures(site: sections.SiteFile, weather: Weather, played: Played, drawn: Drawn) -> dict:
    """Energy, hours, cost by component, emissions; means over the drawn years for what outages do."""
    tariff, carbon, genset = site.tariff, site.carbon, site.genset
    befallen, bill = _fate(site, weather, played, drawn), _bill(site, played.import_w)
    per_h = float(genset.idle_litre_per_h) + float(genset.litre_per_kwh) * played.genset_w / 1000
    litres = float(np.sum(played.genset_on * per_h)) / 12
    exercise_litres = EXERCISES * EXERCISE_H * float(genset.idle_litre_per_h) if genset.rated_w else 0.0
    starts = int(np.count_nonzero(np.diff(played.genset_on.astype(int), prepend=0) > 0))
    burnt = litres + exercise_litres + befallen.litres
    burnt_kg, carbon_price = burnt * float(carbon.diesel_kg_per_litre), float(tariff.carbon_price_per_tonne) / 1000
    cost = {
        "energy": bill["energy"],
        "export": bill["export"],
        "demand": bill["demand"],
        "diesel": float(burnt.mean()) * float(genset.fuel_price_per_litre),
        "genset_starts": starts * float(genset.start_cost),
        "battery_wear": float(played.discharge_w.sum()) / 12_000 * float(site.battery.wear_cost_per_kwh),
        "carbon": bill["carbon"] + float(burnt_kg.mean()) * carbon_price,
    }
    co2e_kg, total = bill["kg"] + float(burnt_kg.mean()), sum(cost.values())
    import_by_year, grid_by_year = _grid_by_year(site, weather, played, drawn)
    burnt_by_year = burnt * float(genset.fuel_price_per_litre) + burnt_kg * carbon_price
    by_year = cost["genset_starts"] + cost["battery_wear"] + grid_by_year + burnt_by_year
    diesel_by_year = float(played.genset_on.sum()) / 12 + befallen.diesel_h
    exported_kwh = float(np.clip(-played.import_w, 0, None).sum()) / 12_000
    return {
        "import_kwh": round(bill["import_kwh"], 1),
        "export_kwh": round(exported_kwh, 1),
        "curtailed_kwh": round(float(played.curtailed_w.sum()) / 12_000, 1),
        "genset_kwh": round(float(played.genset_w.sum()) / 12_000, 1),
        "discharged_kwh": round(float(played.discharge_w.sum()) / 12_000, 1),
        "diesel_h": round(float(diesel_by_year.mean()), 2),
        "diesel_outage_h": round(float(befallen.diesel_h.mean()), 3),
        "exercise_h": EXERCISES * EXERCISE_H if genset.rated_w else 0.0,
        "genset_starts": starts,
        "cost_parts": {key: round(value, 1) + 0.0 for key, value in cost.items()},
        "cost": round(total, 1),
        "co2e_kg": round(co2e_kg, 1),
        "peak_import_kw": round(bill["peak_kw"], 2),
        "over_limit_h": round(int(played.over_limit.sum()) / 12, 2),
        "availability": {key: round(value, 7) for key, value in befallen.availability().items()},
        "unserved_min_per_year": round(60 * float(befallen.unserved_h.mean()), 2),
        "drawn_years": {
            name: {key: round(value, 3) for key, value in _spread(values).items()}
            for name, values in (("import_kwh", import_by_year), ("diesel_h", diesel_by_year), ("cost", by_year),
                                 ("unserved_h", befallen.unserved_h))
        },
        "replans": played.replans,
    }  # fmt: skip


def _spread(by_year: np.ndarray) -> dict[str, float]:
    """Mean over the drawn years, its 95 % confidence interval, and what 5 and 95 % of the years stay below."""
    low, high = np.quantile(by_year, (0.05, 0.95))
    return interval(by_year) | {"p5": float(low), "p95": float(high)}


class _Bills:
    """What the grid costs a site by the year, of import in W, > 0 imports, on 5-minute steps of whole hours; a month
    is a twelfth."""

    def __init__(self, site: sections.SiteFile, steps: int):
        hours = np.arange(steps // 12)
        self.tariff = site.tariff
        self.price_kwh = hourly(site.tariff.energy_price_per_kwh)[hours % 24]
        self.kg_kwh = hourly(site.carbon.grid_g_per_kwh)[hours % 24] / 1000
        self.months = [slice(int(part[0]), int(part[-1]) + 1) for part in np.array_split(hours, 12)]

    def steps_of(self, month: slice) -> slice:
        return slice(12 * month.start, 12 * month.stop)

    def of_month(self, month: slice, import_w: np.ndarray) -> np.ndarray:
        """(…, 5) kWh imported, kWh exported, energy cost, highest hour in kW, kg, of import_w (…, steps of a month)."""
        by_hour, kw = (*import_w.shape[:-1], -1, 12), np.full(12, 1 / 12_000)
        hourly_kw, net_kw = np.maximum(import_w, 0).reshape(by_hour) @ kw, import_w.reshape(by_hour) @ kw
        kwh = hourly_kw.sum(axis=-1)
        return np.stack([kwh, kwh - net_kw.sum(axis=-1), hourly_kw @ self.price_kwh[month], hourly_kw.max(axis=-1),
                         hourly_kw @ self.kg_kwh[month]], axis=-1)  # fmt: skip

    def of(self, months: np.ndarray, price_level: float | np.ndarray = 1.0) -> dict:
        """Of (…, 12, 5) months as above, each (…): import_kwh; energy, export (earned: below 0), demand and carbon
        cost, kg, and the highest hour."""
        kwh, sold_kwh, energy, _, kg = np.moveaxis(months.sum(axis=-2), -1, 0)
        peaks_kw, tariff = months[..., 3], self.tariff
        return {
            "import_kwh": kwh,
            "energy": energy * price_level,
            "export": -sold_kwh * price_level * float(tariff.export_price_per_kwh),
            "demand": peaks_kw.sum(axis=-1) * float(tariff.demand_charge_per_kw_month),
            "carbon": kg / 1000 * float(tariff.carbon_price_per_tonne),
            "kg": kg,
            "peak_kw": peaks_kw.max(axis=-1),
        }


def _bill(site: sections.SiteFile, import_w: np.ndarray) -> dict[str, float]:
    """What the grid costs in the year as it was played (_Bills.of)."""
    bills = _Bills(site, len(import_w))
    months = [bills.of_month(month, import_w[bills.steps_of(month)]) for month in bills.months]
    return {name: float(value) for name, value in bills.of(np.array(months)).items()}


def _grid_by_year(site: sections.SiteFile, weather: Weather, played: Played,
                  drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(years,) imported kWh, and what the grid costs less what export earns: the year's steps with the load, sun and
    price of each drawn year, while battery and set do what they did. PV that was curtailed stands ready."""
    bills, limit_w = _Bills(site, len(played.import_w)), float(site.limits.export_limit_w)
    found = np.zeros((len(drawn.load), 12, 5))
    changes = np.stack([np.ones_like(drawn.load), drawn.load - 1, 1 - drawn.pv], axis=1)
    for number, month in enumerate(bills.months):
        part = bills.steps_of(month)
        rows = np.stack([played.import_w[part] - played.curtailed_w[part], weather.load_w[part], weather.pv_w[part]])
        for first in range(0, len(found), YEARS_AT_ONCE):
            years = slice(first, first + YEARS_AT_ONCE)
            net_w = changes[years] @ rows
            found[years, number] = bills.of_month(month, np.maximum(net_w, -limit_w, out=net_w))
    bill = bills.of(found, drawn.price)
    return bill["import_kwh"], sum(bill[name] for name in ("energy", "export", "demand", "carbon"))


def _sizing(site: sections.SiteFile, weather: Weather) -> dict:
    peak_w = float(site.pv.peak_w)
    return {
        "pv_peak_w": peak_w,
        "battery_wh": site.battery.capacity_wh,
        "battery_w": site.limits.discharge_max_w,
        "genset_w": float(site.genset.rated_w),
        "import_limit_w": site.limits.import_limit_w,
        "export_limit_w": site.limits.export_limit_w,
        "mean_load_w": round(float(weather.load_w.mean())),
        "pv_kwh_per_kwp": round(float(weather.pv_w.sum()) / 12 / max(peak_w, 1.0)),
        "jobs": len(weather.jobs),
        "mean_cell_c": round(float(weather.cell_c.mean()), 1),
    }


def _capital(site: sections.SiteFile) -> dict:
    """What PV and battery cost to buy, and by the year over their lives without interest; in no case's cost."""
    pv = float(site.pv.cost_per_kw) * site.pv.peak_w / 1000
    battery = float(site.battery.cost_per_kwh) * site.battery.capacity_wh / 1000
    lives = site.equipment
    return {
        "pv": round(pv),
        "battery": round(battery),
        "per_year": round(pv / lives.pv_life_years + battery / lives.battery_life_years),
        "stated": bool(pv or battery),
    }


def _change(before: float, after: float) -> float | None:
    """In % of what it was before, also where that was earned: less cost is below 0."""
    return None if before == 0 else round(100 * (after - before) / abs(before), 1)


ROWS: dict[str, Callable[[dict], str]] = {
    "import kWh": lambda case: f"{case['import_kwh']:.0f}",
    "diesel h (exercise apart)": lambda case: f"{case['diesel_h']:.1f} + {case['exercise_h']:g}",
    "cost": lambda case: f"{case['cost']:.0f}",
    "import kWh, mean of drawn years (95 % CI)": lambda case: _with_interval(case, "import_kwh", 0),
    "diesel h, mean of drawn years (95 % CI)": lambda case: _with_interval(case, "diesel_h", 2),
    "cost, mean of drawn years (95 % CI)": lambda case: _with_interval(case, "cost", 0),
    "cost, 5–95 % of drawn years": lambda case: "{p5:.0f}–{p95:.0f}".format(**case["drawn_years"]["cost"]),
    "from the set kWh": lambda case: f"{case['genset_kwh']:.0f}",
    "export kWh": lambda case: f"{case['export_kwh']:.0f}",
    "out of the battery kWh": lambda case: f"{case['discharged_kwh']:.0f}",
    "kgCO2e": lambda case: f"{case['co2e_kg']:.0f}",
    "above import limit h": lambda case: f"{case['over_limit_h']:.1f}",
    "availability %": lambda case: "{:.4f} ({:.4f}–{:.4f})".format(
        *(100 * case["availability"][key] for key in ("mean", "low", "high"))),
}  # fmt: skip


def _with_interval(case: dict, name: str, digits: int) -> str:
    drawn = case["drawn_years"][name]
    return f"{drawn['mean']:.{digits}f} ({drawn['low']:.{digits}f}–{drawn['high']:.{digits}f})"


def show(result: dict) -> None:
    """The cases side by side as a table, what ours changes, the sizing and what it costs to buy."""
    from rich.console import Console
    from rich.table import Table

    sizing, currency, capital = result["sizing"], result["currency"], result["capital"]
    table = Table(f"{result['year']}", *(f"{name}: {CASES[name]}" for name in result["cases"]), title=result["site"])
    for name, shown in ROWS.items():
        words = name.replace("cost", f"cost {currency}", 1)
        table.add_row(words, *(shown(case) for case in result["cases"].values()))
    for part in result["cases"]["ours"]["cost_parts"]:
        table.add_row(f"  {part.replace('_', ' ')}", *(f"{case['cost_parts'][part]:.0f}" for case in
                                                       result["cases"].values()))  # fmt: skip
    console = Console()
    console.print(table)
    for name, gain in result["change_percent"].items():
        words = ", ".join(
            f"{key} {value:+g} %" for key, value in gain.items() if value is not None and math.isfinite(value)
        )
        console.print(f"ours {name.replace('_', ' ')}: {words}")
    bought = f"{capital['pv'] + capital['battery']} {currency} to buy, {capital['per_year']} {currency} a year of life"
    console.print(
        f"sizing: {sizing['pv_peak_w'] / 1000:g} kWp ({sizing['pv_kwh_per_kwp']} kWh/kWp), "
        f"{sizing['battery_wh'] / 1000:g} kWh and {sizing['battery_w'] / 1000:g} kW of battery, set "
        f"{sizing['genset_w'] / 1000:g} kW, import up to {sizing['import_limit_w'] / 1000:g} kW, mean load "
        f"{sizing['mean_load_w'] / 1000:.1f} kW; PV and battery: {bought if capital['stated'] else 'price not stated'}"
    )
    console.print(f"sun and air: {result['inputs']['sun_and_air']}; load: {result['inputs']['load']}")
    console.print(
        f"{result['monte_carlo']['years']} drawn years: {result['monte_carlo']['drawn']}; {result['seconds']} s"
    )


def show_sweep(results: list[dict]) -> None:
    """One line a size: what ours changes, and what PV and battery cost."""
    from rich.console import Console
    from rich.table import Table

    table = Table("kWp", "kWh", "to buy", "a year", "import B0", "import B2", "diesel B0", "diesel B2", "cost B0",
                  "cost B2", "import B1", "diesel B1", "cost B1", title="change with ours, %")  # fmt: skip
    for result in results:
        sizing, capital, gains = result["sizing"], result["capital"], result["change_percent"]
        cells = [gains[f"against_{name}"][key] for name, key in (
            ("B0", "import_kwh"), ("B2", "import_kwh"), ("B0", "diesel_h"), ("B2", "diesel_h"), ("B0", "cost"),
            ("B2", "cost"), ("B1", "import_kwh"), ("B1", "diesel_h"), ("B1", "cost"))]  # fmt: skip
        table.add_row(f"{sizing['pv_peak_w'] / 1000:g}", f"{sizing['battery_wh'] / 1000:g}",
                      str(capital["pv"] + capital["battery"]), str(capital["per_year"]),
                      *("" if cell is None else f"{cell:+.0f}" for cell in cells))  # fmt: skip
    Console().print(table)
