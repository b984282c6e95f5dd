"""Plans of EMHASS on given arrays, without Home Assistant; run by `tests/bench_peer.py` in an environment of its own.

A case a line on standard input, as JSON (bench_peer.case makes them); an answer a line on standard output: status,
seconds of each solve (the first one builds the problem), grid_w (> 0 imports) and soc by step.
"""

import copy
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import emhass
import pandas as pd
from emhass.optimization import Optimization

warnings.filterwarnings("ignore")
ROOT = Path(emhass.__file__).parent
DEFAULTS = json.loads((ROOT / "data" / "config_defaults.json").read_text())
KEPT: dict[str | None, Optimization] = {}
NO_DEFERRABLE_LOADS = {name: [] for name in (
    "nominal_power_of_deferrable_loads", "minimum_power_of_deferrable_loads", "operating_hours_of_each_deferrable_load",
    "treat_deferrable_load_as_semi_cont", "set_deferrable_load_single_constant", "set_deferrable_startup_penalty",
    "start_timesteps_of_each_deferrable_load", "end_timesteps_of_each_deferrable_load")} | {
    "number_of_deferrable_loads": 0}  # fmt: skip


def planned(case: dict, scratch: Path) -> dict:
    count, step_min, battery = len(case["load_w"]), case["step_min"], case["battery"]
    curtail = case["curtail"]
    index = pd.date_range("2026-06-01", periods=count, freq=f"{step_min}min", tz="Europe/Oslo")
    retrieve = copy.deepcopy(DEFAULTS) | {
        "optimization_time_step": pd.to_timedelta(step_min, "minutes"),
        "time_zone": "Europe/Oslo",
        "sensor_power_photovoltaics": "pv",
        "sensor_power_load_no_var_loads": "load",
    }
    options = copy.deepcopy(DEFAULTS) | NO_DEFERRABLE_LOADS | {
        "set_use_battery": True, "set_use_pv": True, "compute_curtailment": curtail, "num_threads": 1,
        "delta_forecast_daily": count * step_min / 1440, "set_nodischarge_to_grid": case["export_limit_w"] == 0,
    }  # fmt: skip
    plant = copy.deepcopy(DEFAULTS) | {
        "maximum_power_from_grid": case["import_limit_w"],
        "maximum_power_to_grid": case["export_limit_w"],
        "compute_curtailment": curtail,
        "battery_discharge_power_max": battery["discharge_w"],
        "battery_charge_power_max": battery["charge_w"],
        "battery_nominal_energy_capacity": battery["energy_wh"],
        "battery_minimum_state_of_charge": battery["soc_min"],
        "battery_maximum_state_of_charge": battery["soc_max"],
        "battery_target_state_of_charge": battery["soc_end"],
        "battery_charge_efficiency": battery["efficiency"],
        "battery_discharge_efficiency": battery["efficiency"],
    }
    prices = pd.DataFrame({"unit_load_cost": case["buy_per_kwh"], "unit_prod_price": case["sell_per_kwh"]}, index=index)
    load, pv = (pd.Series(case[name], index=index, dtype=float) for name in ("load_w", "pv_w"))
    log, seconds, plan = logging.getLogger("emhass"), [], None
    log.setLevel(logging.CRITICAL)
    # A case that may keep its problem is planned with the one built for the same settings before.
    settings = json.dumps([count, options, plant], sort_keys=True, default=str) if case.get("keep") else None
    optimizer = KEPT.get(settings)
    for _ in range(case["repeat"]):
        began = time.perf_counter()
        if optimizer is None:
            optimizer = Optimization(retrieve, options, plant, "unit_load_cost", "unit_prod_price", "cost",
                                     {"data_path": scratch, "root_path": ROOT}, log, num_timesteps=count)  # fmt: skip
        plan = optimizer.perform_dayahead_forecast_optim(prices, pv, load, soc_init=battery["soc_start"],
                                                         soc_final=battery["soc_end"])  # fmt: skip
        seconds.append(time.perf_counter() - began)
    if settings:
        KEPT[settings] = optimizer
    answer = {"status": optimizer.optim_status, "seconds": seconds}
    if answer["status"].lower().startswith("optimal"):
        answer |= {"grid_w": plan["P_grid"].tolist(), "soc": plan["SOC_opt"].tolist()}
    return answer


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # solvers print; what they print is no answer
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            print(json.dumps(planned(json.loads(line), Path(scratch))), file=out, flush=True)


if __name__ == "__main__":
    main()
