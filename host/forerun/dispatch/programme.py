"""The linear programme of a plan: one model for given steps, warm from one plan to the next.

Limits that the world can break (import and export at the PCC, a state of charge already out of bounds, the energy that
an announced surge needs) cost money in the programme instead of forbidding, so that it always has an answer.
"""

import highspy
import numpy as np

from forerun.dispatch.reserve import tiers
from forerun.dispatch.situation import Inputs, Storage

# Penalties as multiples of the dearest thing in the tariff. The order is what counts: a broken import limit costs more
# than any stored energy can earn in 48 h, energy for a surge more than any price, the reserve about one hour's price.
OVER_LIMIT = 200.0
SURGE = 50.0
BELOW_MIN = 2.0
RESERVE = 1.0
ABOVE_MAX = 1.0
_TIE = 1e-5  # where two answers cost the same: work the battery less, charge sooner, discharge later

_TOLERANCE_KW = 1e-6
_ROUNDS = 4
_FLIPS, _FLIP_STEPS = 4, 1200  # so many are tried, and more in a short plan, whose runs are quicker
_ITERATIONS = 100_000
_BLOCKS = ("charge", "discharge", "import", "over_import", "export", "over_export", "curtail", "genset",
           "low", "surge", "reserve", "free", "high")  # fmt: skip


class Programme:
    """Columns in blocks of n (see _BLOCKS), then the peak. Rows: balance, state of charge, peak; n each. kW and kWh."""

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

    def set(self, inputs: Inputs, targets_wh: np.ndarray) -> None:
        """Take this situation; the genset may run at any power up to its rating until `commit` says when it is on."""
        if self._step_s is None or not np.array_equal(self._step_s, inputs.step_s):
            self._build(inputs.step_s)
        self._set(inputs, targets_wh)

    def commit(self, on: np.ndarray) -> None:
        """The genset runs between its least power and its rating in the steps where `on`, and not at all elsewhere."""
        genset, columns = self.storage.genset, self._columns["genset"].astype(np.int32)
        lower, upper = on * genset.least_w / 1000, on * genset.rated_w / 1000
        self._highs.changeColsBounds(len(columns), columns, lower, upper)
        cost = self._hours * genset.cost_per_kwh / self.dearest
        self._highs.changeColsCost(len(columns), columns, cost)

    def _build(self, step_s: np.ndarray) -> None:
        n, storage = len(step_s), self.storage
        hours, steps = step_s / 3600, np.arange(n)
        columns = {name: index * n + steps for index, name in enumerate(_BLOCKS)}
        slices = [columns[name] for name in ("low", "surge", "reserve", "free", "high")]
        one, balance, energy, peak = np.ones(n), steps, n + steps, 2 * n + steps
        parts = [(balance, columns[name], sign * one) for name, sign in (
            ("charge", -1), ("discharge", 1), ("import", 1), ("over_import", 1), ("export", -1), ("over_export", -1),
            ("curtail", -1), ("genset", 1))]  # fmt: skip
        parts += [(energy, columns["charge"], -hours * storage.efficiency_charge)]
        parts += [(energy, columns["discharge"], hours / storage.efficiency_discharge)]
        parts += [(energy, tier, one) for tier in slices] + [(energy[1:], tier[:-1], -one[1:]) for tier in slices]
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
        self._step_s, self._columns, self._count, self._hours = step_s, columns, count, hours

    def _set(self, inputs: Inputs, targets_wh: np.ndarray) -> None:
        """Bounds, right-hand sides and costs of this situation (kW, kWh, prices over the dearest one)."""
        storage, n, at = self.storage, len(inputs.step_s), self._columns
        lower, upper, cost = np.zeros(self._count), np.full(self._count, np.inf), np.zeros(self._count)
        hours = inputs.step_s / 3600
        upper[at["charge"]], upper[at["discharge"]] = inputs.charge_max_w / 1000, inputs.discharge_max_w / 1000
        upper[at["import"]], upper[at["export"]] = storage.import_limit_w / 1000, storage.export_limit_w / 1000
        upper[at["curtail"]] = inputs.pv_w / 1000
        genset = storage.genset
        upper[at["genset"]] = genset.rated_w / 1000 if genset else 0.0
        # Only the load may go over the import limit: the board would never charge there.
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        upper[at["over_import"]] = np.clip(rest_w - storage.import_limit_w, 0, None) / 1000
        for name, low, width in tiers(storage, inputs, targets_wh):
            lower[at[name]], upper[at[name]] = low / 1000, width / 1000
        lower[-1] = inputs.peak_so_far_w / 1000
        price, export_price = inputs.energy_price_per_kwh, inputs.export_price_per_kwh
        dearest = self.dearest = dearest_price(storage, inputs)
        surge_count = max(1, np.count_nonzero(targets_wh))
        passed = np.cumsum(inputs.step_s) / np.sum(inputs.step_s)
        cost[at["charge"]] = _TIE * hours * (1 + passed)
        cost[at["discharge"]] = hours * (storage.wear_cost_per_kwh / dearest + _TIE * (2 - passed))
        cost[at["import"]], cost[at["over_import"]] = hours * price / dearest, hours * (price / dearest + OVER_LIMIT)
        cost[at["export"]], cost[at["over_export"]] = (
            -hours * export_price / dearest, hours * (OVER_LIMIT - export_price / dearest))  # fmt: skip
        cost[at["curtail"]] = _TIE * hours
        if genset:  # at best all of its power pays for its turning
            least_per_kwh = genset.cost_per_kwh + 1000 * genset.idle_cost_per_h / genset.rated_w
            cost[at["genset"]] = hours * least_per_kwh / dearest
        cost[at["low"]], cost[at["surge"]] = -BELOW_MIN * hours, -SURGE / surge_count - RESERVE * hours
        cost[at["reserve"]], cost[at["high"]] = -RESERVE * hours, ABOVE_MAX * hours
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

    def solve(self) -> tuple[dict[str, np.ndarray], float]:
        """Flows in kW by block, each step one way only, and what they cost in the tariff's currency with penalties; all
        zero and infinite when the solver gave up.

        Where burning energy pays (negative prices), a linear programme charges and discharges, or imports and exports,
        at once. Such a step is closed to the smaller of the two and the programme solved again from there; then the
        other choice is tried where the prices of the answer promise most, and kept where it is cheaper.
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
            return {name: np.zeros(len(self._step_s)) for name in _BLOCKS}, np.inf
        best, least = self._flows(), self._highs.getInfo().objective_function_value
        for opened, shut in self._promising(closed):
            self._open([shut], True)
            self._open([opened], False)
            if self._run() and self._highs.getInfo().objective_function_value < least - 1e-9 and not self._both_ways():
                best, least = self._flows(), self._highs.getInfo().objective_function_value
            else:
                self._open([opened], True)
                self._open([shut], False)
        return best, least * self.dearest

    def _promising(self, closed: dict[int, int]) -> list[tuple[int, int]]:
        """Pairs (open, shut), those first that gain most, to the first order, when the shut flow takes the place of the
        other: what a kW of the shut one saves times its limit, less what the open one earns now."""
        solution = self._highs.getSolution()
        dual, value = np.asarray(solution.col_dual), np.asarray(solution.col_value)
        gains = {pair: -dual[pair[1]] * min(self._upper[pair[1]], 1e3) + dual[pair[0]] * value[pair[0]]
                 for pair in closed.items()}  # fmt: skip
        found = sorted(gains, key=lambda pair: -gains[pair])
        return found[: max(_FLIPS, _FLIP_STEPS // len(self._step_s))]

    def worth_per_kw(self) -> np.ndarray:
        """(n,) what one kW more, from nowhere, would save in each step, in the tariff's currency."""
        return np.asarray(self._highs.getSolution().row_dual)[: len(self._step_s)] * self.dearest

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


def dearest_price(storage: Storage, inputs: Inputs) -> float:
    """What the penalties are multiples of: the dearest kWh that anything here could cost."""
    prices = (inputs.energy_price_per_kwh, inputs.export_price_per_kwh, inputs.stored_value_per_kwh)
    dearest = max(float(np.max(np.abs(price))) for price in prices)
    genset = storage.genset
    if genset:
        dearest = max(dearest, genset.cost_per_kwh + 1000 * genset.idle_cost_per_h / max(genset.least_w, 1.0))
    return dearest + storage.wear_cost_per_kwh + storage.demand_charge_per_kw + 1e-3
