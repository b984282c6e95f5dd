"""Plans side by side with EMHASS on the same arrays: `make peer`, JSON lines and a closing summary.

EMHASS runs in an environment of its own, called for by `tests/peer_emhass.py`. Both get the same battery, limits and
prices, and both must leave the same charge behind: EMHASS is told so, and ours is given a load after the end that
takes just that. No wear, no demand charge, no set: EMHASS knows none.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from forerun.dispatch.dispatcher import Dispatcher, Situation, Storage

STEP_H = 1 / 12
EFFICIENCY = 0.95
AFTER_H = 10.0
PRICES = ("daily", "flat", "volatile", "negative")


def case(number: int) -> dict:
    """The case of a number: horizon, PV, battery, limits and prices differ; a few cannot be met by hard limits."""
    rng = np.random.default_rng(number)
    hours = 48 if number % 6 == 5 else 24
    n, kind = 12 * hours, PRICES[number % 4]
    hour = np.arange(n) / 12
    load_w = 4500 + 1500 * np.sin((hour - 8) / 24 * 2 * np.pi) + 500 * np.abs(rng.normal(size=n))
    load_w += rng.uniform(3000, 8000) * ((hour % 24 > 19) & (hour % 24 < 20.5))
    export_limit_w = int(rng.choice([0, 4000, 15_000]))
    pv_peak_w = float(rng.choice([0, 4000, 12_000, 30_000]))
    if number % 8 == 2:  # PV above load, and nobody to take it
        export_limit_w, pv_peak_w = 0, 30_000.0
    day = (hour % 24 - 5) / 15
    pv_w = np.where((day > 0) & (day < 1), pv_peak_w * np.sin(np.clip(day, 0, 1) * np.pi), 0.0)
    pv_w *= np.clip(1 - 0.5 * np.abs(rng.normal(size=n)), 0, 1)
    hourly = rng.normal(size=hours)[hour.astype(int)]
    buy = {"daily": 0.15 + 0.1 * np.sin((hour - 14) / 12 * 2 * np.pi) + 0.02 * hourly, "flat": np.full(n, 0.2),
           "volatile": 0.2 + 0.15 * hourly, "negative": 0.05 + 0.12 * hourly}[kind]  # fmt: skip
    buy = buy if kind == "negative" else np.clip(buy, 0.01, None)
    import_limit_w = int(rng.choice([9000, 12_000, 20_000]))
    if number % 12 == 7:  # more load than grid and battery can give together for the evening
        import_limit_w = 4000
    start, end = rng.choice([0.3, 0.5, 0.8]), rng.choice([0.3, 0.5])
    battery = {"energy_wh": int(rng.choice([15_000, 60_000, 120_000])), "charge_w": 15_000, "discharge_w": 30_000,
               "soc_min": 0.1, "soc_max": 0.95, "soc_start": float(start), "soc_end": float(end),
               "efficiency": EFFICIENCY}  # fmt: skip
    return {"step_min": 5, "load_w": load_w.tolist(), "pv_w": pv_w.tolist(), "buy_per_kwh": buy.tolist(),
            "sell_per_kwh": (np.minimum(0.04, 0.8 * buy)).tolist(), "battery": battery, "repeat": 3,
            "import_limit_w": import_limit_w, "export_limit_w": export_limit_w, "prices": kind,
            "curtail": number % 16 != 10}  # fmt: skip


def ours(asked: dict) -> dict:
    """Cost of our plan of a case at the end that it asks for, time of a warm re-plan, what was relaxed."""
    battery, n = asked["battery"], len(asked["load_w"])
    storage = Storage(
        capacity_wh=battery["energy_wh"],
        efficiency_charge=battery["efficiency"],
        efficiency_discharge=battery["efficiency"],
        charge_max_w=battery["charge_w"],
        discharge_max_w=battery["discharge_w"],
        soc_min=battery["soc_min"],
        soc_max=battery["soc_max"],
        soc_reserve=battery["soc_min"],
        import_limit_w=asked["import_limit_w"],
        export_limit_w=asked["export_limit_w"],
    )
    arrays = {name: np.array(asked[name]) for name in ("load_w", "pv_w", "buy_per_kwh", "sell_per_kwh")}
    # What is to be left at the end is taken by a load after it, at a price above all others; more than that costs.
    high = 3 * float(max(np.abs(arrays["buy_per_kwh"]).max(), np.abs(arrays["sell_per_kwh"]).max()))
    left_wh = (battery["soc_end"] - battery["soc_min"]) * battery["energy_wh"] * battery["efficiency"]
    after = {"load_w": left_wh / AFTER_H, "pv_w": 0.0, "buy_per_kwh": high, "sell_per_kwh": -high}
    load_w, pv_w, buy, sell = (np.append(arrays[name], after[name]) for name in after)
    situation = Situation(np.append(np.full(n, 300.0), 3600 * AFTER_H), load_w, pv_w, buy, battery["soc_start"], sell,
                          stored_value_per_kwh=-high)  # fmt: skip
    dispatcher = Dispatcher(storage)
    plan, warm_s = dispatcher.plan(situation), []
    for number in range(9):
        again = replace(situation, soc=battery["soc_start"] + 1e-5 * (1 + number))
        began = time.perf_counter()
        dispatcher.plan(again)
        warm_s.append(time.perf_counter() - began)
    grid_w = plan.pcc_import_w[:n]
    kept = grid_w.max() <= asked["import_limit_w"] + 1 and grid_w.min() >= -asked["export_limit_w"] - 1
    return {"cost": _cost(asked, grid_w), "soc_end": float(plan.soc[n - 1]), "warm_s": statistics.median(warm_s),
            "relaxed": list(plan.relaxed), "kept": bool(kept)}  # fmt: skip


def _cost(asked: dict, grid_w: np.ndarray) -> float:
    kwh = grid_w * STEP_H / 1000
    sold = np.clip(-kwh, 0, None) @ np.array(asked["sell_per_kwh"])
    return float(np.clip(kwh, 0, None) @ np.array(asked["buy_per_kwh"]) - sold)


def compared(number: int, asked: dict, theirs: dict) -> dict:
    """One line of the comparison; cost_over_percent > 0 when ours is dearer, as a share of what is bought."""
    mine = ours(asked)
    line = {"case": number, "prices": asked["prices"], "hours": len(asked["load_w"]) // 12,
            "pv_kwp": round(max(asked["pv_w"]) / 1000, 1), "import_limit_w": asked["import_limit_w"],
            "export_limit_w": asked["export_limit_w"], "curtail": asked["curtail"], "emhass": theirs["status"],
            "cost": round(mine["cost"], 4), "soc_end": round(mine["soc_end"] - asked["battery"]["soc_end"], 5),
            "limits_kept": mine["kept"], "relaxed": mine["relaxed"],
            "emhass_warm_ms": round(1000 * theirs["seconds"][-1], 1), "warm_ms": round(1000 * mine["warm_s"], 2),
            "times_faster": round(theirs["seconds"][-1] / mine["warm_s"], 1)}  # fmt: skip
    if "grid_w" in theirs:
        their_cost = _cost(asked, np.array(theirs["grid_w"]))
        line["emhass_cost"] = round(their_cost, 4)
        line["cost_over_percent"] = round(100 * (mine["cost"] - their_cost) / max(abs(their_cost), 0.01), 4)
    return line


def main() -> int:
    python, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 24
    peer = Path(__file__).with_name("peer_emhass.py")
    lines = []
    with subprocess.Popen([python, str(peer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        for number in range(count):
            asked = case(number)
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                print(f"bench_peer: EMHASS ended at case {number}; run {python} {peer} to see why", file=sys.stderr)
                return 1
            lines.append(compared(number, asked, json.loads(answer)))
            print(json.dumps(lines[-1]), flush=True)
        process.stdin.close()
    both = [line for line in lines if "cost_over_percent" in line]
    alone = [line for line in lines if "cost_over_percent" not in line]
    print(json.dumps({"bench": "peer", "cases": count, "emhass_feasible": len(both),
                      "worst_cost_over_percent": max(line["cost_over_percent"] for line in both),
                      "least_times_faster": min(line["times_faster"] for line in lines),
                      "median_times_faster": statistics.median(line["times_faster"] for line in lines),
                      "limits_kept_where_emhass_keeps_them": all(line["limits_kept"] for line in both),
                      "planned_where_emhass_is_infeasible": len(alone)}))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
