"""Plans side by side with EMHASS on the same arrays: `python tests/bench_emhass.py PYTHON PEER.py`, JSON lines.

PYTHON is the interpreter of an environment that has EMHASS, which never shares one with Forerun. PEER.py reads a case
as JSON on standard input (step_min, load_w, pv_w, buy_per_kwh, sell_per_kwh, battery, import_limit_w, export_limit_w,
repeat), plans it with EMHASS, and prints JSON (status, seconds, grid_w, soc).
"""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from forerun.dispatch import Dispatcher, Situation, Storage

STEP_H = 1 / 12


def case(hours: int, export_limit_w: int, pv_peak_w: int) -> dict:
    """A site with an evening peak above its import limit, prices by the hour, and as much stored at the end."""
    rng, n = np.random.default_rng(2), 12 * hours
    hour = np.arange(n) / 12
    load_w = 4500 + 1500 * np.sin((hour - 8) / 24 * 2 * np.pi) + 500 * np.abs(rng.normal(size=n))
    load_w += 6000 * ((hour % 24 > 19) & (hour % 24 < 20.5))
    pv_w = np.where((hour % 24 > 5) & (hour % 24 < 20), pv_peak_w * np.sin((hour % 24 - 5) / 15 * np.pi), 0.0)
    buy = 0.15 + 0.1 * np.sin((hour - 14) / 12 * 2 * np.pi) + 0.05 * rng.normal(size=hours)[hour.astype(int)]
    battery = {"energy_wh": 60_000, "charge_w": 30_000, "discharge_w": 30_000, "soc_min": 0.1, "soc_max": 0.95,
               "soc_start": 0.5, "soc_end": 0.5}  # fmt: skip
    return {"step_min": 5, "load_w": load_w.tolist(), "pv_w": np.clip(pv_w, 0, None).tolist(),
            "buy_per_kwh": np.clip(buy, 0.01, None).tolist(), "sell_per_kwh": [0.04] * n, "battery": battery,
            "import_limit_w": 12_000, "export_limit_w": export_limit_w, "repeat": 3}  # fmt: skip


def ours(asked: dict) -> dict:
    """Our plan of a case, the worth of stored energy chosen so that no less is left at the end; cost and time."""
    battery, n = asked["battery"], len(asked["load_w"])
    storage = Storage(
        capacity_wh=battery["energy_wh"],
        efficiency_charge=0.95,
        efficiency_discharge=0.95,
        charge_max_w=battery["charge_w"],
        discharge_max_w=battery["discharge_w"],
        soc_min=battery["soc_min"],
        soc_max=battery["soc_max"],
        soc_reserve=battery["soc_min"],
        import_limit_w=asked["import_limit_w"],
        export_limit_w=asked["export_limit_w"],
    )
    arrays = {name: np.array(asked[name]) for name in ("load_w", "pv_w", "buy_per_kwh", "sell_per_kwh")}
    situation = Situation(np.full(n, 300.0), arrays["load_w"], arrays["pv_w"], arrays["buy_per_kwh"],
                          battery["soc_start"], arrays["sell_per_kwh"])  # fmt: skip
    dispatcher, low, high = Dispatcher(storage), 0.0, 1.0
    for _ in range(25):
        worth = (low + high) / 2
        enough = dispatcher.plan(replace(situation, stored_value_per_kwh=worth)).soc[-1] >= battery["soc_end"] - 1e-6
        low, high = (low, worth) if enough else (worth, high)
    final = replace(situation, stored_value_per_kwh=high)
    plan = dispatcher.plan(final)
    began = time.perf_counter()
    dispatcher.plan(replace(final, soc=battery["soc_start"] + 1e-6))
    warm_s = time.perf_counter() - began
    # The last kWh is worth `high` to the plan: what is stored too much or too little at the end is settled at that.
    more_kwh = (plan.soc[-1] - battery["soc_end"]) * battery["energy_wh"] / 1000
    cost = plan.cost - more_kwh * high
    return {"cost": cost, "soc_end": float(plan.soc[-1]), "warm_s": warm_s, "relaxed": list(plan.relaxed)}


def main() -> None:
    python, peer = sys.argv[1:]
    for hours, export_limit_w, pv_peak_w in ((24, 15_000, 4000), (48, 15_000, 4000), (24, 0, 12_000)):
        asked = case(hours, export_limit_w, pv_peak_w)
        done = subprocess.run([python, peer], input=json.dumps(asked), capture_output=True, text=True, check=True)
        theirs = json.loads(done.stdout[done.stdout.index("{") :])
        grid_kwh = np.array(theirs["grid_w"]) * STEP_H / 1000
        bought = np.clip(grid_kwh, 0, None) @ np.array(asked["buy_per_kwh"])
        cost = float(bought - np.clip(-grid_kwh, 0, None) @ np.array(asked["sell_per_kwh"]))
        mine = ours(asked)
        print(json.dumps({
            "hours": hours, "export_limit_w": export_limit_w, "status": theirs["status"], "emhass_cost": round(cost, 4),
            "cost": round(mine["cost"], 4), "emhass_soc_end": round(theirs["soc"][-1], 4),
            "soc_end": round(mine["soc_end"], 4), "emhass_warm_ms": round(1000 * theirs["seconds"][-1], 1),
            "warm_ms": round(1000 * mine["warm_s"], 2),
            "times_faster": round(theirs["seconds"][-1] / mine["warm_s"], 1), "relaxed": mine["relaxed"]}))  # fmt: skip


if __name__ == "__main__":
    main()
