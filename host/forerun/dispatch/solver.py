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
)


class Solver:
    """min cost · x, lower ≤ x ≤ upper, row_lower ≤ A x ≤ row_upper; A is given once, all else may change."""

    def __init__(self, row: np.ndarray, column: np.ndarray, value: np.ndarray, row_lower: np.ndarray,
                 row_upper: np.ndarray, columns: int):  # fmt: skip
        self.highs = highspy.Highs()
        for option, setting in _OPTIONS:
            self.highs.setOptionValue(option, setting)
        order = np.lexsort((row, column))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, len(row_lower)
        self._cost, self._lower, self._upper = np.zeros(columns), np.zeros(columns), np.full(columns, np.inf)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = self._cost, self._lower, self._upper
        lp.row_lower_, lp.row_upper_ = row_lower, row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(column[order], np.arange(columns + 1))
        lp.a_matrix_.index_, lp.a_matrix_.value_ = row[order], value[order]
        self.highs.passModel(lp)
        self._values: np.ndarray | None = None
        self._bases: dict[str, highspy.HighsBasis] = {}
        self._at: str | None = None  # nothing was run since it was kept under this name

    def bound(self, lower: np.ndarray, upper: np.ndarray, at: np.ndarray | slice = slice(None)) -> None:
        """Bounds of the columns `at`, all of them if not said."""
        changed = np.flatnonzero((lower != self._lower[at]) | (upper != self._upper[at]))
        if len(changed):
            columns = (changed if isinstance(at, slice) else at[changed]).astype(np.int32)
            self.highs.changeColsBounds(len(columns), columns, lower[changed], upper[changed])
            self._lower[at], self._upper[at] = lower, upper

    def price(self, cost: np.ndarray, at: np.ndarray | slice = slice(None)) -> None:
        """Costs of the columns `at`, all of them if not said."""
        changed = np.flatnonzero(cost != self._cost[at])
        if len(changed):
            columns = (changed if isinstance(at, slice) else at[changed]).astype(np.int32)
            self.highs.changeColsCost(len(columns), columns, cost[changed])
            self._cost[at] = cost

    def prices(self, at: np.ndarray) -> np.ndarray:
        """Costs of the columns `at` as they were last given."""
        return self._cost[at]

    def balance(self, right: np.ndarray) -> None:
        """Right-hand sides of the first rows, which are equations."""
        self.highs.changeRowsBounds(len(right), np.arange(len(right), dtype=np.int32), right, right)

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
        return self.highs.getObjectiveValue()

    def values(self) -> np.ndarray:
        """(columns,) of the last answer; not to be changed."""
        if self._values is None:
            self._values = np.fromiter(self.highs.getSolution().col_value, float, len(self._cost))
        return self._values

    def row_prices(self) -> np.ndarray:
        """(rows,) by how much the objective grows for one more of each right-hand side."""
        return np.asarray(self.highs.getSolution().row_dual)
