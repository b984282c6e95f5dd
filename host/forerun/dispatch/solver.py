"""A linear programme that stays in HiGHS from one plan to the next: warm, and told only of what has changed."""

import highspy
import numpy as np

# One thread and the simplex method: the same question gets the same answer, bit for bit.
_OPTIONS = (
    ("output_flag", False),
    ("threads", 1),
    ("random_seed", 0),
    ("solver", "simplex"),
    ("presolve", "off"),
    ("dual_feasibility_tolerance", 1e-9),
    ("simplex_iteration_limit", 100_000),
    # Devex: weights of steepest edge are worked out anew after each basis that is set, which is half of a short run.
    ("simplex_dual_edge_weight_strategy", 1),
)


class Solver:
    """min cost · x, lower ≤ x ≤ upper, row_lower ≤ A x ≤ row_upper; A is given once, all else may change.

    A column that is not `live` has the same bound below as above, and where it stands in a row that is no equation it
    is 0: HiGHS is not told of it, since each run looks at all columns several times over. `perturbed` costs break ties
    between steps that are alike, but lead away from a warm start, and back again when they are put right."""

    def __init__(self, row: np.ndarray, column: np.ndarray, value: np.ndarray, row_lower: np.ndarray,
                 row_upper: np.ndarray, live: np.ndarray, perturbed: bool = False):  # fmt: skip
        self.highs = highspy.Highs()
        for option, setting in _OPTIONS:
            self.highs.setOptionValue(option, setting)
        self.highs.setOptionValue("dual_simplex_cost_perturbation_multiplier", float(perturbed))
        self._live = np.flatnonzero(live)
        self._place = np.where(live, np.cumsum(live) - 1, -1).astype(np.int32)  # HiGHS refuses what has none
        self._fixed = np.flatnonzero(~live)
        self._cost, self._lower, self._upper = np.zeros(len(live)), np.zeros(len(live)), np.full(len(live), np.inf)
        told = live[column]
        self._kept = row[~told], column[~told], value[~told]
        row, column, value = row[told], self._place[column[told]], value[told]
        order, count = np.lexsort((row, column)), len(self._live)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = count, len(row_lower)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(count), np.zeros(count), np.full(count, np.inf)
        lp.row_lower_, lp.row_upper_ = row_lower, row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(column[order], np.arange(count + 1))
        lp.a_matrix_.index_, lp.a_matrix_.value_ = row[order], value[order]
        self.highs.passModel(lp)
        self._values: np.ndarray | None = None
        self._bases: dict[str, highspy.HighsBasis] = {}
        self._at: str | None = None  # nothing was run since it was kept under this name

    def bound(self, lower: np.ndarray, upper: np.ndarray, at: np.ndarray | slice) -> None:
        """Bounds of the columns `at`; they may change where a column is live."""
        changed = np.flatnonzero((lower != self._lower[at]) | (upper != self._upper[at]))
        if len(changed):
            self.highs.changeColsBounds(len(changed), self._place[at][changed], lower[changed], upper[changed])
            self._lower[at], self._upper[at] = lower, upper

    def price(self, cost: np.ndarray, at: np.ndarray | slice) -> None:
        """Costs of the columns `at`; they may change where a column is live."""
        changed = np.flatnonzero(cost != self._cost[at])
        if len(changed):
            self.highs.changeColsCost(len(changed), self._place[at][changed], cost[changed])
            self._cost[at] = cost

    def ask(self, lower: np.ndarray, upper: np.ndarray, cost: np.ndarray, right: np.ndarray) -> None:
        """Bounds and costs of all columns, and the right-hand sides of the first rows, which are equations."""
        self.bound(lower[self._live], upper[self._live], self._live)
        self.price(cost[self._live], self._live)
        for kept, asked in ((self._lower, lower), (self._upper, upper), (self._cost, cost)):
            kept[self._fixed] = asked[self._fixed]
        row, column, value = self._kept
        right = right - np.bincount(row, value * lower[column], len(right))[: len(right)]
        self.highs.changeRowsBounds(len(right), np.arange(len(right), dtype=np.int32), right, right)

    def prices(self, at: np.ndarray | slice) -> np.ndarray:
        """Costs of the columns `at` as they were last given."""
        return self._cost[at]

    def run(self) -> bool:
        """True when optimal; a basis that leads nowhere is dropped once."""
        self._values = self._at = None
        for _ in range(2):
            self.highs.run()
            if self.highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                return True
            self.highs.clearSolver()
        return False

    def keep(self, name: str) -> None:
        """Remember where the last answer was found."""
        self._bases[name], self._at = self.highs.getBasis(), name

    def go_back(self, name: str) -> None:
        """Start the next run from where `keep` was called with this name, and from the last answer before that."""
        if self._at != name and name in self._bases:  # a basis that is set anew is also factored anew
            self.highs.setBasis(self._bases[name])

    @property
    def objective(self) -> float:
        """Of the last answer."""
        return self.highs.getObjectiveValue() + float(self._cost[self._fixed] @ self._lower[self._fixed])

    def values(self) -> np.ndarray:
        """(columns,) of the last answer; not to be changed."""
        if self._values is None:
            self._values = self._lower.copy()
            self._values[self._live] = np.fromiter(self.highs.getSolution().col_value, float, len(self._live))
        return self._values

    def row_prices(self) -> np.ndarray:
        """(rows,) by how much the objective grows for one more of each right-hand side."""
        return np.array(self.highs.getSolution().row_dual)
