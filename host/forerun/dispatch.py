"""Dispatch: what the battery does over the next hours, as a linear programme that always has an answer.

Limits that the world can break (import and export at the PCC, a state of charge already out of bounds, the energy
that an announced surge needs) cost money in the programme instead of forbidding; what was relaxed is said in the plan.
"""

import math
from dataclasses import dataclass, field, fields

import highspy
import numpy as np

HOLD_BATTERY, HOLD_PCC = 0, 1
MAX_POINTS = 96
LEAD_S = 300  # energy for a surge is complete this long before the surge

# Penalties as multiples of the dearest thing in the tariff. The order is what counts: a broken import limit costs more
# than any stored energy can earn in 48 h, energy for a surge more than any price, the reserve about one hour's price.
_OVER_LIMIT = 200.0
_SURGE = 50.0
_BELOW_MIN = 2.0
_RESERVE = 1.0
_ABOVE_MAX = 1.0
_TIE = 1e-5  # where two answers cost the same: work the battery less, charge sooner, discharge later

_IDLE_W = 50.0
_TOLERANCE_KW = 1e-6
_ROUNDS = 4
_FLIPS = 24
_ITERATIONS = 100_000
_BLOCKS = ("charge", "discharge", "import", "over_import", "export", "over_export", "curtail",
           "low", "surge", "reserve", "free", "high")  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class Surge:
    """A stretch of announced load: from start_s after the plan's start, duration_s long, load_w in all (base and job).
    Surges of one plan do not overlap (`forerun.compute.surges` makes them so)."""

    start_s: float
    duration_s: float
    load_w: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a plan is made. Arrays are (n,) interval means, index = step; a scalar price holds throughout.

    load_w includes announced jobs. soc: 0–1 now. peak_so_far_w: highest import already billed this month.
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


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """battery_w > 0 discharges, pcc_import_w > 0 imports, curtail_w is PV left unused, each (n,) means of a step;
    soc (n,) 0–1 at the end of each step; cost in the tariff's currency, without penalties and stored value;
    relaxed: one sentence for each limit that this plan does not keep."""

    step_s: np.ndarray
    battery_w: np.ndarray
    pcc_import_w: np.ndarray
    curtail_w: np.ndarray
    soc: np.ndarray
    cost: float
    relaxed: tuple[str, ...]
    solve_ms: float = field(repr=False)

    def __eq__(self, other):
        if not isinstance(other, Plan):
            return NotImplemented
        names = [item.name for item in fields(self) if item.name != "solve_ms"]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None


class Dispatcher:
    """Plans for one site. The model is built when the steps change, and only re-bounded and re-priced otherwise."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._highs = highspy.Highs()
        # One thread and the simplex method: the same question gets the same answer, bit for bit.
        for option, value in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 0),
            ("solver", "simplex"),
            ("presolve", "off"),
            ("dual_feasibility_tolerance", 1e-9),
            ("simplex_iteration_limit", _ITERATIONS),
        ):
            self._highs.setOptionValue(option, value)
        self._step_s: np.ndarray | None = None

    def plan(self, situation: Situation) -> Plan:
        """The cheapest plan that keeps what can be kept. Raises DispatchInputError on inputs that are no numbers."""
        inputs = _checked(situation, self.storage)
        if self._step_s is None or not np.array_equal(self._step_s, inputs.step_s):
            self._build(inputs.step_s)
        targets_wh, notes = _surge_targets(self.storage, inputs)
        ran_before = self._highs.getRunTime()
        self._set(inputs, targets_wh)
        flows, solved = self._solve()
        if not solved:
            notes = [*notes, "the solver found no answer, so the battery stays idle; report this plan's inputs"]
        solve_ms = (self._highs.getRunTime() - ran_before) * 1000
        return _result(self.storage, inputs, flows, targets_wh, notes, solve_ms)

    def _build(self, step_s: np.ndarray) -> None:
        """Columns: twelve blocks of n, then the peak. Rows: balance, state of charge, peak; n each."""
        n, storage = len(step_s), self.storage
        hours, steps = step_s / 3600, np.arange(n)
        columns = {name: index * n + steps for index, name in enumerate(_BLOCKS)}
        tiers = [columns[name] for name in ("low", "surge", "reserve", "free", "high")]
        one, balance, energy, peak = np.ones(n), steps, n + steps, 2 * n + steps
        parts = [(balance, columns[name], sign * one) for name, sign in (
            ("charge", -1), ("discharge", 1), ("import", 1), ("over_import", 1), ("export", -1), ("over_export", -1),
            ("curtail", -1))]  # fmt: skip
        parts += [(energy, columns["charge"], -hours * storage.efficiency_charge)]
        parts += [(energy, columns["discharge"], hours / storage.efficiency_discharge)]
        parts += [(energy, tier, one) for tier in tiers] + [(energy[1:], tier[:-1], -one[1:]) for tier in tiers]
        parts += [(peak, columns["import"], one), (peak, columns["over_import"], one)]
        parts += [(peak, np.full(n, len(_BLOCKS) * n), -one)]
        row, column, value = (np.concatenate(piece) for piece in zip(*parts, strict=True))
        order = np.lexsort((row, column))
        count = len(_BLOCKS) * n + 1
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = count, 3 * n
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(count), np.zeros(count), np.full(count, np.inf)
        lp.row_lower_ = np.concatenate([np.zeros(2 * n), np.full(n, -np.inf)])
        lp.row_upper_ = np.zeros(3 * n)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(column[order], np.arange(count + 1))
        lp.a_matrix_.index_, lp.a_matrix_.value_ = row[order], value[order]
        self._highs.passModel(lp)
        self._step_s, self._columns, self._count = step_s, columns, count

    def _set(self, inputs: "_Inputs", targets_wh: np.ndarray) -> None:
        """Bounds, right-hand sides and costs of this situation (kW, kWh, prices over the dearest one)."""
        storage, n, at = self.storage, len(inputs.step_s), self._columns
        lower, upper, cost = np.zeros(self._count), np.full(self._count, np.inf), np.zeros(self._count)
        hours = inputs.step_s / 3600
        upper[at["charge"]], upper[at["discharge"]] = storage.charge_max_w / 1000, storage.discharge_max_w / 1000
        upper[at["import"]], upper[at["export"]] = storage.import_limit_w / 1000, storage.export_limit_w / 1000
        upper[at["curtail"]] = inputs.pv_w / 1000
        # Only the load may go over the import limit: the board would never charge there.
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        upper[at["over_import"]] = np.clip(rest_w - storage.import_limit_w, 0, None) / 1000
        for name, low, width in _tiers(storage, inputs.soc, targets_wh):
            lower[at[name]], upper[at[name]] = low / 1000, width / 1000
        lower[-1] = inputs.peak_so_far_w / 1000
        price, export_price = inputs.energy_price_per_kwh, inputs.export_price_per_kwh
        dearest = (
            max(np.max(np.abs(price)), np.max(np.abs(export_price)), abs(inputs.stored_value_per_kwh))
            + storage.wear_cost_per_kwh + storage.demand_charge_per_kw + 1e-3
        )  # fmt: skip
        surge_count = max(1, np.count_nonzero(targets_wh))
        passed = np.cumsum(inputs.step_s) / np.sum(inputs.step_s)
        cost[at["charge"]] = _TIE * hours * (1 + passed)
        cost[at["discharge"]] = hours * (storage.wear_cost_per_kwh / dearest + _TIE * (2 - passed))
        cost[at["import"]], cost[at["over_import"]] = hours * price / dearest, hours * (price / dearest + _OVER_LIMIT)
        cost[at["export"]], cost[at["over_export"]] = (
            -hours * export_price / dearest, hours * (_OVER_LIMIT - export_price / dearest))  # fmt: skip
        cost[at["curtail"]] = _TIE * hours
        cost[at["low"]], cost[at["surge"]] = -_BELOW_MIN * hours, -_SURGE / surge_count - _RESERVE * hours
        cost[at["reserve"]], cost[at["high"]] = -_RESERVE * hours, _ABOVE_MAX * hours
        for name in ("low", "surge", "reserve", "free", "high"):
            cost[at[name][-1]] -= inputs.stored_value_per_kwh / dearest
        cost[-1] = storage.demand_charge_per_kw / dearest
        right = np.concatenate([rest_w, np.zeros(n)]) / 1000
        right[n] = inputs.soc * storage.capacity_wh / 1000
        self._upper = upper
        every = np.arange(self._count, dtype=np.int32)
        self._highs.changeColsBounds(self._count, every, lower, upper)
        self._highs.changeColsCost(self._count, every, cost)
        self._highs.changeRowsBounds(2 * n, np.arange(2 * n, dtype=np.int32), right, right)

    def _solve(self) -> tuple[dict[str, np.ndarray], bool]:
        """Flows in kW by block, each step one way only; False when the solver gave up and the battery idles.

        Where burning energy pays (negative prices), a linear programme charges and discharges, or imports and exports,
        at once. Such a step is closed to the smaller of the two and the programme solved again from there; then the
        other choice is tried step by step and kept where it is cheaper.
        """
        closed: dict[int, int] = {}
        solved = self._run()
        for _ in range(_ROUNDS):
            both = self._both_ways() if solved else {}
            if not both:
                break
            closed |= both
            self._open(list(both.values()), False)
            solved = self._run()
        if not solved:
            return {name: np.zeros(len(self._step_s)) for name in _BLOCKS}, False
        best, least = self._flows(), self._highs.getInfo().objective_function_value
        for opened, shut in list(closed.items())[:_FLIPS]:
            self._open([shut], True)
            self._open([opened], False)
            if self._run() and self._highs.getInfo().objective_function_value < least - 1e-9 and not self._both_ways():
                best, least = self._flows(), self._highs.getInfo().objective_function_value
            else:
                self._open([opened], True)
                self._open([shut], False)
        return best, True

    def _flows(self) -> dict[str, np.ndarray]:
        values = np.asarray(self._highs.getSolution().col_value)
        return {name: values[columns] for name, columns in self._columns.items()}

    def _both_ways(self) -> dict[int, int]:
        """Larger column -> smaller column of every pair of opposite flows that runs at once."""
        flows, at, found = self._flows(), self._columns, {}
        into, out = flows["import"] + flows["over_import"], flows["export"] + flows["over_export"]
        for one, other, one_at, other_at in (
            (flows["charge"], flows["discharge"], at["charge"], at["discharge"]),
            (into, out, at["import"], at["export"]),
        ):
            for step in np.flatnonzero((one > _TOLERANCE_KW) & (other > _TOLERANCE_KW)):
                pair = int(one_at[step]), int(other_at[step])
                found.update([pair if one[step] >= other[step] else pair[::-1]])
        return found

    def _open(self, columns: list[int], is_open: bool) -> None:
        """Opens columns to their limit, or closes them. Where import is closed, the dear way over the limit has no
        bound: it is what keeps the programme solvable."""
        upper = self._upper[columns] if is_open else np.zeros(len(columns))
        over = [self._columns["over_import"][column - self._columns["import"][0]]
                for column in columns if column in self._columns["import"]]  # fmt: skip
        upper = np.concatenate([upper, self._upper[over] if is_open else np.full(len(over), np.inf)])
        columns = np.array([*columns, *over], dtype=np.int32)
        self._highs.changeColsBounds(len(columns), columns, np.zeros(len(columns)), upper)

    def _run(self) -> bool:
        """True when optimal; a basis that leads nowhere is dropped once."""
        for _ in range(2):
            self._highs.run()
            if self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                return True
            self._highs.clearSolver()
        return False


def dispatcher_of(site) -> Dispatcher:
    """The dispatcher of a site file (forerun.config.SiteFile); it plans the import margin below the import limit."""
    limits, battery = site.limits, site.battery
    return Dispatcher(
        Storage(
            capacity_wh=battery.capacity_wh,
            efficiency_charge=battery.efficiency_charge,
            efficiency_discharge=battery.efficiency_discharge,
            charge_max_w=limits.charge_max_w,
            discharge_max_w=limits.discharge_max_w,
            soc_min=limits.soc_min,
            soc_max=limits.soc_max,
            soc_reserve=battery.soc_reserve,
            import_limit_w=max(0, limits.import_limit_w - limits.import_margin_w),
            export_limit_w=limits.export_limit_w,
            wear_cost_per_kwh=float(battery.wear_cost_per_kwh),
            demand_charge_per_kw=float(site.tariff.demand_charge_per_kw_month),
        )
    )


def board_points(plan: Plan) -> list[tuple[int, int, int]]:
    """(duration_s, mode, value_w) for the board, at most MAX_POINTS: hold the planned import while the battery works,
    so that it takes up what the load does otherwise, and hold the battery at 0 W where the plan leaves it idle."""
    points: list[tuple[int, int, int]] = []
    for duration_s, battery_w, pcc_import_w in zip(plan.step_s, plan.battery_w, plan.pcc_import_w, strict=True):
        works = abs(battery_w) >= _IDLE_W
        mode, value_w = (HOLD_PCC, round(pcc_import_w)) if works else (HOLD_BATTERY, 0)
        if points and points[-1][1:] == (mode, value_w):
            points[-1] = (points[-1][0] + round(duration_s), mode, value_w)
        else:
            points.append((round(duration_s), mode, value_w))
    while len(points) > MAX_POINTS:
        # The far end is the least certain, and is planned again long before it comes.
        (first_s, first, first_w), (second_s, second, second_w) = points[-2:]
        mean_w = round((first_s * first_w + second_s * second_w) / (first_s + second_s))
        mode, value_w = (HOLD_PCC, mean_w) if first == second == HOLD_PCC else (HOLD_BATTERY, 0)
        points[-2:] = [(first_s + second_s, mode, value_w)]
    return points


@dataclass(frozen=True, slots=True)
class _Inputs:
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


def _checked(situation: Situation, storage: Storage) -> _Inputs:
    step_s = np.asarray(situation.step_s, dtype=float)
    if step_s.ndim != 1 or len(step_s) == 0 or not np.all(np.isfinite(step_s)) or np.any(step_s <= 0):
        raise DispatchInputError("step_s must be one row of at least one positive duration in seconds")
    n, arrays = len(step_s), {}
    for name in ("load_w", "pv_w", "energy_price_per_kwh", "export_price_per_kwh", "genset_w"):
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
    return _Inputs(step_s, **arrays, soc=float(situation.soc), peak_so_far_w=float(situation.peak_so_far_w),
                   surges=tuple(sorted(situation.surges, key=lambda surge: surge.start_s)),
                   stored_value_per_kwh=value)  # fmt: skip


def _tiers(storage: Storage, soc: float, targets_wh: np.ndarray):
    """(name, lower, upper) in Wh of the slices that stored energy is made of, worth less from slice to slice.

    The first is the floor. It gives way only to a battery that is below it already: from there the plan can idle.
    """
    start = soc * storage.capacity_wh
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    surge = np.clip(targets_wh, low, high)
    reserve = np.maximum(surge, storage.soc_reserve * storage.capacity_wh)
    return (
        ("low", np.full_like(surge, min(low, start)), np.full_like(surge, low)),
        ("surge", np.zeros_like(surge), surge - low),
        ("reserve", np.zeros_like(surge), reserve - surge),
        ("free", np.zeros_like(surge), high - reserve),
        ("high", np.zeros_like(surge), np.full_like(surge, max(0.0, start - high))),
    )


def _surge_targets(storage: Storage, inputs: _Inputs) -> tuple[np.ndarray, list[str]]:
    """Energy [Wh] that has to be stored at the end of each step, 0 where no surge asks, and what cannot be had.

    A surge needs (load − import limit) · duration / efficiency above soc_min, from LEAD_S before it starts and
    shrinking while it lasts. PV is not counted on: a cloud needs no notice. What the battery can take in between two
    surges is subtracted from what the first of them must hold for the second.
    """
    ends = np.cumsum(inputs.step_s)
    targets, notes, later_wh, later_start = np.zeros(len(ends)), [], 0.0, math.inf
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    for surge in reversed(inputs.surges):
        start, end = max(0.0, surge.start_s), surge.start_s + surge.duration_s
        excess_w = surge.load_w - storage.import_limit_w
        if end <= 0 or start >= ends[-1] or excess_w <= 0:
            continue
        if excess_w > storage.discharge_max_w:
            notes.append(
                f"the surge in {start / 60:.0f} min is {excess_w / 1000:.1f} kW above the import limit and the battery "
                f"gives {storage.discharge_max_w / 1000:.1f} kW"
            )
            excess_w = storage.discharge_max_w
        if math.isfinite(later_start):
            later_wh = max(0.0, later_wh - _recharge_wh(storage, inputs, ends, end, later_start - LEAD_S))
        drain_w = excess_w / storage.efficiency_discharge
        need_wh = later_wh + drain_w * (end - start) / 3600
        if low + need_wh > high:
            notes.append(
                f"the surge in {start / 60:.0f} min needs {need_wh / 1000:.1f} kWh and the battery holds "
                f"{(high - low) / 1000:.1f} kWh"
            )
        in_time = np.flatnonzero(ends <= start - LEAD_S)
        first = in_time[-1] if len(in_time) else 0
        for step in range(first, len(ends)):
            if ends[step] > end:
                break
            left_wh = later_wh + drain_w * (end - max(start, ends[step])) / 3600
            targets[step] = max(targets[step], min(high, low + left_wh))
        later_wh, later_start = need_wh, start
    return targets, notes


def _recharge_wh(storage: Storage, inputs: _Inputs, ends: np.ndarray, since: float, until: float) -> float:
    """Energy [Wh] that the import limit and the charger leave for the battery between two times of the plan."""
    overlap_s = np.clip(np.minimum(ends, until) - np.maximum(ends - inputs.step_s, since), 0, None)
    room_w = np.clip(storage.import_limit_w - inputs.load_w, 0, storage.charge_max_w)
    return float(np.sum(overlap_s * room_w) / 3600 * storage.efficiency_charge)


def _result(storage: Storage, inputs: _Inputs, flows: dict, targets_wh, notes: list[str], solve_ms: float) -> Plan:
    """The plan from the flows. The change of stored energy rules; battery power and import follow from it, so that
    what is left of charging while discharging after the last round disappears."""
    hours, start_wh = inputs.step_s / 3600, inputs.soc * storage.capacity_wh
    stored_w = 1000 * (
        flows["charge"] * storage.efficiency_charge - flows["discharge"] / storage.efficiency_discharge
    )  # fmt: skip
    battery_w = np.where(
        stored_w > 0, -stored_w / storage.efficiency_charge, -stored_w * storage.efficiency_discharge
    )  # fmt: skip
    battery_w[np.abs(battery_w) < 1000 * _TOLERANCE_KW] = 0.0
    curtail_w = np.clip(1000 * flows["curtail"], 0, inputs.pv_w)
    pcc_import_w = inputs.load_w - inputs.pv_w + curtail_w - inputs.genset_w - battery_w
    # Energy no longer burnt in the battery must not leave over the export limit: PV gives way first.
    too_much_w = np.clip(-pcc_import_w - storage.export_limit_w, 0, inputs.pv_w - curtail_w)
    curtail_w, pcc_import_w = curtail_w + too_much_w, pcc_import_w + too_much_w
    energy_wh = start_wh + np.cumsum(stored_w * hours)
    soc = np.clip(energy_wh / storage.capacity_wh, 0, 1)
    imported, exported = np.clip(pcc_import_w, 0, None), np.clip(-pcc_import_w, 0, None)
    above_peak_w = max(0.0, imported.max() - inputs.peak_so_far_w)
    cost = (
        np.sum(hours * (imported * inputs.energy_price_per_kwh - exported * inputs.export_price_per_kwh))
        + np.sum(hours * np.clip(battery_w, 0, None)) * storage.wear_cost_per_kwh
        + above_peak_w * storage.demand_charge_per_kw
    ) / 1000
    relaxed = (*notes, *_relaxed(storage, inputs, pcc_import_w, energy_wh, targets_wh))
    return Plan(inputs.step_s, battery_w, pcc_import_w, curtail_w, soc, float(cost), relaxed, solve_ms)


def _relaxed(storage: Storage, inputs: _Inputs, pcc_import_w, energy_wh, targets_wh) -> list[str]:
    """One sentence for each limit that the plan leaves, with the most by which it does and for how long."""
    over_w, out_w = pcc_import_w - storage.import_limit_w, -pcc_import_w - storage.export_limit_w
    low, high, reserve = (share * storage.capacity_wh
                          for share in (storage.soc_min, storage.soc_max, storage.soc_reserve))  # fmt: skip
    checks = (
        ("W", "import is above the planned limit of {:.0f} W", storage.import_limit_w, over_w),
        ("W", "export is above the limit of {:.0f} W", storage.export_limit_w, out_w),
        ("Wh", "stored energy is below the minimum of {:.0f} Wh", low, low - energy_wh),
        ("Wh", "stored energy is above the maximum of {:.0f} Wh", high, energy_wh - high),
        ("Wh", "stored energy is short of what the announced surge needs, {:.0f} Wh", targets_wh.max(),
         np.where(targets_wh > low, targets_wh - energy_wh, 0)),
        ("Wh", "stored energy is below the reserve of {:.0f} Wh", reserve,
         np.where((reserve > low) & (targets_wh == 0), reserve - np.maximum(energy_wh, low), 0)),
    )  # fmt: skip
    starts = np.cumsum(inputs.step_s) - inputs.step_s
    sentences = []
    for unit, sentence, limit, beyond in checks:
        steps = np.flatnonzero(beyond > 0.5)
        if len(steps):
            minutes, first = inputs.step_s[steps].sum() / 60, starts[steps[0]] / 60
            sentences.append(
                f"{sentence.format(limit)} by up to {beyond.max():.0f} {unit}, for {minutes:.0f} min in all, first in "
                f"{first:.0f} min"
            )
    return sentences
