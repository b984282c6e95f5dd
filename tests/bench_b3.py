"""B3: EMHASS plans for the same board on the same forecasts, a week of each season; `make peer`, JSON lines.

A whole year of its plans takes an hour; the four weeks take minutes. EMHASS gets the forecasts that Forerun's own
planner gets, announced jobs included, for 24 h in 5-minute steps, and its own usual target of 60 % at the end. It knows
no demand charge, no wear and no reserve. Where it finds no plan, the battery is held and the board keeps its limits.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from forerun import config
from forerun.dispatch.dispatcher import HOLD_BATTERY, HOLD_PCC
from forerun.dispatch.planning import STEP_S, Outlook, by_hour, carbon_price_per_kwh, hourly
from forerun.simulate import cases, year

WEEKS = {"winter": 15, "spring": 105, "summer": 196, "autumn": 288}  # first day of each in the year
PLANNED = 288
TARGET_SOC = 0.6


class EmhassPlanner(cases.Planner):
    """Forecasts and replans as Forerun's own; the plan is asked of EMHASS, in its own environment."""

    peer: subprocess.Popen
    without = 0

    def points(self, made: Outlook) -> list[tuple[int, int, float, float]]:
        site, limits, battery = self.site, self.site.limits, self.site.battery
        steps = np.full(PLANNED, float(STEP_S))
        price = by_hour(site.tariff.energy_price_per_kwh, made.start_s, steps)
        price = price + carbon_price_per_kwh(site, made.start_s, steps)
        asked = {
            "step_min": 5, "repeat": 1, "keep": True, "curtail": True, "load_w": made.load.q50[:PLANNED].tolist(),
            "pv_w": made.pv.q50[:PLANNED].tolist(), "buy_per_kwh": price.tolist(),
            "sell_per_kwh": [float(site.tariff.export_price_per_kwh)] * PLANNED,
            "import_limit_w": limits.import_limit_w - limits.import_margin_w, "export_limit_w": limits.export_limit_w,
            "battery": {"energy_wh": battery.capacity_wh, "charge_w": limits.charge_max_w,
                        "discharge_w": limits.discharge_max_w, "soc_min": limits.soc_min, "soc_max": limits.soc_max,
                        "soc_start": float(np.clip(made.situation.soc, limits.soc_min, limits.soc_max)),
                        "soc_end": TARGET_SOC, "efficiency": battery.efficiency_charge},
        }  # fmt: skip
        self.peer.stdin.write(json.dumps(asked) + "\n")
        self.peer.stdin.flush()
        answer = json.loads(self.peer.stdout.readline())
        if "grid_w" not in answer:
            EmhassPlanner.without += 1
            return [(HOLD_BATTERY, 0, 0.0, math.nan)] * PLANNED
        return [(HOLD_PCC, round(watts), 0.0, math.nan) for watts in answer["grid_w"]]


def figures(site: config.SiteFile, weather: cases.Weather, played: cases.Played, first: int) -> dict:
    """Of one week; cost without demand charge, which EMHASS does not know, and what is stored at the end made good."""
    tariff, genset = site.tariff, site.genset
    kwh = played.import_w / 12_000
    price = hourly(tariff.energy_price_per_kwh)[(first + np.arange(len(kwh))) // 12 % 24]
    starts = int(np.count_nonzero(np.diff(played.genset_on.astype(int), prepend=0) > 0))
    litres = float(played.genset_on @ (float(genset.idle_litre_per_h)
                                       + float(genset.litre_per_kwh) * played.genset_w / 1000)) / 12  # fmt: skip
    left = 0.0 if played.stored_wh is None else float(played.stored_wh[-1] - played.stored_wh[0]) / 1000
    imported, exported = np.clip(kwh, 0, None), np.clip(-kwh, 0, None)
    cost = (float(imported @ price) - float(exported.sum()) * float(tariff.export_price_per_kwh)
            + litres * float(genset.fuel_price_per_litre) + starts * float(genset.start_cost)
            + float(played.discharge_w.sum()) / 12_000 * float(site.battery.wear_cost_per_kwh)
            - left * site.battery.efficiency_discharge * float(price.mean()))  # fmt: skip
    return {"import_kwh": round(float(imported.sum()), 1), "diesel_h": round(played.genset_on.sum() / 12, 2),
            "cost": round(cost, 2), "peak_import_kw": round(float(played.import_w.max()) / 1000, 1),
            "over_limit_h": round(played.over_limit.sum() / 12, 2)}  # fmt: skip


def main() -> int:
    python, path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "host/forerun/demo_site.toml"
    site, sums = config.load(path), {}
    weather = year.weather_of(float(site.pv.peak_w), 2019, seed=1)
    cases.PLANNERS["B3"] = EmhassPlanner
    peer = Path(__file__).with_name("peer_emhass.py")
    with subprocess.Popen([python, str(peer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL) as EmhassPlanner.peer:  # fmt: skip
        for season, day in WEEKS.items():
            first, last = day * 288, (day + 7) * 288
            for name in ("B0", "B1", "B3", "ours"):
                week = figures(site, weather, cases.play(name, site, weather, first, last), first)
                print(json.dumps({"bench": "b3", "week": season, "case": name, **week}), flush=True)
                for key, value in week.items():
                    sums[name, key] = max(sums.get((name, key), 0), value) if "peak" in key else (
                        sums.get((name, key), 0) + value)  # fmt: skip
        EmhassPlanner.peer.stdin.close()
    for name in ("B0", "B1", "B3", "ours"):
        whole = {key: round(float(value), 2) for (case, key), value in sums.items() if case == name}
        print(json.dumps({"bench": "b3", "week": "all four", "case": name, **whole}))
    print(json.dumps({"bench": "b3", "emhass_found_no_plan": EmhassPlanner.without}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
