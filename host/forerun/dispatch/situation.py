"""What a plan is made from: the battery, the set and the connection of a site, and what is known at a moment."""

import math
from dataclasses import dataclass

import numpy as np


class DispatchInputError(ValueError):
    """One sentence: which input is of the wrong shape or holds what is no number."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Battery and connection. Powers on the AC side; import_limit_w is what the plan aims at, its margin taken off."""

    capacity_wh: float
    efficiency_charge: float
    efficiency_discharge: float
    charge_max_w: float
    discharge_max_w: float
    soc_min: float
    soc_max: float
    soc_reserve: float
    import_limit_w: float
    export_limit_w: float
    wear_cost_per_kwh: float = 0.0
    demand_charge_per_kw: float = 0.0
    genset: "Genset | None" = None


@dataclass(frozen=True, slots=True)
class Genset:
    """A diesel set that the plan may run: power between min_load and all of rated_w, or off. Costs include carbon:
    idle_cost_per_h while it turns, cost_per_kwh on top for what it gives, start_cost each time."""

    rated_w: float
    min_load: float
    min_run_s: float
    start_cost: float
    idle_cost_per_h: float
    cost_per_kwh: float

    @property
    def least_w(self) -> float:
        """The least power it may be run at, a watt at least: it tells a set that runs from one that does not."""
        return max(1.0, self.min_load * self.rated_w)

    def cost(self, hours: np.ndarray, power_w: np.ndarray, on: np.ndarray, starts: int) -> float:
        """Fuel, carbon and starts of running at power_w (n,) in the steps where it is on."""
        return float(np.sum(hours * on * (self.idle_cost_per_h + self.cost_per_kwh * power_w / 1000))
                     + starts * self.start_cost)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surge:
    """A stretch of announced load: from start_s after the plan's start, duration_s long, load_w in all (base and job).
    Surges of one plan do not overlap (`forerun.compute.load.surges` makes them so)."""

    start_s: float
    duration_s: float
    load_w: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a plan is made. Arrays are (n,) interval means, index = step; a scalar price holds throughout.

    load_w includes announced jobs. genset_w is what a set gives that the plan does not rule. reserve_wh: what should
    be stored above soc_min at the end of each step, for an outage. genset_run_s: for how long the ruled set has run;
    genset_barred: where it may not start nor go on beyond its least time, in quiet hours.
    soc: 0–1 now. peak_so_far_w: highest import already billed this month; demand_share: 0–1, what part of the month's
    charge for a higher one this plan has to earn. battery_temperature_c: of its cells.
    stored_value_per_kwh: what a kWh left in the battery at the end is worth; None = the mean price less wear, times
    the discharge efficiency, never below 0.
    """

    step_s: np.ndarray
    load_w: np.ndarray
    pv_w: np.ndarray
    energy_price_per_kwh: np.ndarray | float
    soc: float
    export_price_per_kwh: np.ndarray | float = 0.0
    genset_w: np.ndarray | float = 0.0
    peak_so_far_w: float = 0.0
    surges: tuple[Surge, ...] = ()
    stored_value_per_kwh: float | None = None
    reserve_wh: np.ndarray | float = 0.0
    genset_run_s: float = 0.0
    genset_barred: np.ndarray | bool = False
    battery_temperature_c: float = 20.0
    demand_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """A Situation whose every field is a finite float64 array of the right shape or a finite float."""

    step_s: np.ndarray
    load_w: np.ndarray
    pv_w: np.ndarray
    energy_price_per_kwh: np.ndarray
    export_price_per_kwh: np.ndarray
    genset_w: np.ndarray
    soc: float
    peak_so_far_w: float
    surges: tuple[Surge, ...]
    stored_value_per_kwh: float
    reserve_wh: np.ndarray
    genset_run_s: float
    genset_barred: np.ndarray
    charge_max_w: float
    discharge_max_w: float
    demand_charge_per_kw: float  # of it what this plan has to earn


def checked(situation: Situation, storage: Storage) -> Inputs:
    step_s = np.asarray(situation.step_s, dtype=float)
    if step_s.ndim != 1 or len(step_s) == 0 or not np.all(np.isfinite(step_s)) or np.any(step_s <= 0):
        raise DispatchInputError("step_s must be one row of at least one positive duration in seconds")
    n, arrays = len(step_s), {}
    for name in ("load_w", "pv_w", "energy_price_per_kwh", "export_price_per_kwh", "genset_w", "reserve_wh"):
        values = np.asarray(getattr(situation, name), dtype=float)
        if values.shape == () and name not in ("load_w", "pv_w"):
            values = np.full(n, values)
        if values.shape != (n,):
            raise DispatchInputError(f"{name} has the shape {values.shape}; {n} steps need ({n},)")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DispatchInputError(f"{name} holds {values[bad[0]]} at step {bad[0]}; every step needs a number")
        arrays[name] = values
    if np.any(arrays["pv_w"] < 0):
        raise DispatchInputError(f"pv_w holds {arrays['pv_w'].min()} W; PV power is never below 0")
    if not 0 <= situation.soc <= 1:
        raise DispatchInputError(f"soc is {situation.soc}; it must be from 0 to 1")
    if not (math.isfinite(situation.peak_so_far_w) and situation.peak_so_far_w >= 0):
        raise DispatchInputError(f"peak_so_far_w is {situation.peak_so_far_w}; it must be a number from 0")
    for surge in situation.surges:
        if not (math.isfinite(surge.start_s) and 0 <= surge.duration_s < math.inf and math.isfinite(surge.load_w)):
            raise DispatchInputError(f"{surge} needs finite numbers and a duration from 0")
    value = situation.stored_value_per_kwh
    if value is None:
        mean_price = float(np.average(arrays["energy_price_per_kwh"], weights=step_s))
        value = max(0.0, mean_price - storage.wear_cost_per_kwh) * storage.efficiency_discharge
    elif not math.isfinite(value):
        raise DispatchInputError(f"stored_value_per_kwh is {value}; it must be a number or None")
    for name in ("genset_run_s", "battery_temperature_c"):
        if not math.isfinite(getattr(situation, name)):
            raise DispatchInputError(f"{name} is {getattr(situation, name)}; it must be a number")
    if not 0 <= situation.demand_share <= 1:
        raise DispatchInputError(f"demand_share is {situation.demand_share}; it must be from 0 to 1")
    barred = np.broadcast_to(np.asarray(situation.genset_barred, dtype=bool), (n,))
    charge, discharge = temperature_shares(situation.battery_temperature_c)
    return Inputs(step_s, **arrays, soc=float(situation.soc), peak_so_far_w=float(situation.peak_so_far_w),
                   surges=tuple(sorted(situation.surges, key=lambda surge: surge.start_s)),
                   stored_value_per_kwh=value, genset_run_s=float(situation.genset_run_s),
                   genset_barred=barred,
                   charge_max_w=charge * storage.charge_max_w,
                   discharge_max_w=discharge * storage.discharge_max_w,
                   demand_charge_per_kw=situation.demand_share * storage.demand_charge_per_kw)  # fmt: skip


def temperature_shares(celsius: float) -> tuple[float, float]:
    """Shares (charge, discharge), 0–1, of the rated power that LFP cells of that temperature may be worked at.

    No charge below 0 °C, all of it from 10 to 45 °C; discharge from −20 °C, all of it from 0 to 50 °C; none above 60.
    Typical of LFP data sheets; the BMS's own limits rule on the board.
    """
    if 10 <= celsius <= 45:
        return 1.0, 1.0
    charge = np.interp(celsius, (0, 10, 45, 55), (0, 1, 1, 0))
    return float(charge), float(np.interp(celsius, (-20, 0, 50, 60), (0, 1, 1, 0)))
