"""The exact optimum of a plan, by a mixed-integer programme of its own: what `forerun.dispatch` is measured against.

The same question in the same money: penalties for limits that may give way, worth of stored energy, starts and least
times of the set, one direction at a time for battery and PCC. Only the penalties' sizes come from the code under test.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from forerun.dispatch import programme
from forerun.dispatch.dispatcher import Plan, Situation, Storage
from forerun.dispatch.reserve import surge_targets, tiers
from forerun.dispatch.situation import Inputs, checked

BLOCKS = ("charge", "discharge", "import", "over", "export", "over_export", "curtail", "genset", "low", "surge",
          "reserve", "free", "high", "charging", "importing", "on", "start")  # fmt: skip
SHARES = ("charging", "importing", "on", "start")  # 0–1; a start is whole where `on` is


@dataclass(frozen=True, slots=True)
class Optimum:
    """Money and penalties of the best answer found, and what no answer can be below; both in the tariff's currency."""

    objective: float
    bound: float


def optimum(storage: Storage, asked: Situation, limit_s: float = 60.0) -> Optimum:
    inputs = checked(asked, storage)
    targets, _ = surge_targets(storage, inputs)
    return _Model(storage, inputs, targets).solve(limit_s)


def objective(storage: Storage, asked: Situation, plan: Plan) -> float:
    """What a plan costs with its penalties, less what it leaves stored, as `optimum` counts it."""
    inputs = checked(asked, storage)
    targets, _ = surge_targets(storage, inputs)
    hours, dearest = inputs.step_s / 3600, programme.dearest_price(storage, inputs)
    over = np.clip(plan.pcc_import_w - storage.import_limit_w, 0, None)
    over = over + np.clip(-plan.pcc_import_w - storage.export_limit_w, 0, None)
    left = plan.soc * storage.capacity_wh
    billed = storage.demand_charge_per_kw * inputs.peak_so_far_w / 1000  # in the optimum, in no plan's cost
    total = plan.cost + billed + programme.OVER_LIMIT * dearest * float(over @ hours) / 1000
    total -= left[-1] / 1000 * inputs.stored_value_per_kwh
    for name, _, width in tiers(storage, inputs, targets):
        inside = np.clip(left, 0, width)
        total += float(inside @ _worth(name, hours, targets)) / 1000 * dearest
        left = left - inside
    return total


def turnover(asked: Situation) -> float:
    """What the load less PV would cost or earn at its prices, each step counted positive."""
    net_w = np.abs(asked.load_w - asked.pv_w) * np.abs(asked.energy_price_per_kwh)
    return float(net_w @ asked.step_s) / 3.6e6


def _worth(name: str, hours: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n,) cost, below 0 for a benefit, of a kWh in this slice at the end of each step, in dearest kWh."""
    per_h = {"low": -programme.BELOW_MIN, "surge": -programme.RESERVE, "reserve": -programme.RESERVE, "free": 0.0,
             "high": programme.ABOVE_MAX}[name]  # fmt: skip
    return per_h * hours - (programme.SURGE / max(1, np.count_nonzero(targets)) if name == "surge" else 0.0)


class _Model:
    def __init__(self, storage: Storage, inputs: Inputs, targets: np.ndarray):
        self.storage, self.inputs, self.targets, self.n = storage, inputs, targets, len(inputs.step_s)
        self.hours = inputs.step_s / 3600
        self.at = {name: index * self.n + np.arange(self.n) for index, name in enumerate(BLOCKS)}
        self.count = len(BLOCKS) * self.n + 1
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def row(self, entries, low: float, high: float) -> None:
        number = len(self.low)
        self.entries += [(number, int(column), float(value)) for column, value in entries]
        self.low.append(low)
        self.high.append(high)

    def solve(self, limit_s: float) -> Optimum:
        lower, upper, cost = self._columns()
        self._rows(upper)
        row, column, value = zip(*self.entries, strict=True)
        matrix = coo_matrix((value, (row, column)), shape=(len(self.low), self.count))
        whole = np.zeros(self.count)
        paid = np.any(self.inputs.energy_price_per_kwh <= np.maximum(0, self.inputs.export_price_per_kwh))
        for name in ("charging", "importing", "on") if paid else ("on",):  # else nothing is won by both ways at once
            whole[self.at[name]] = 1
        found = milp(cost, constraints=LinearConstraint(matrix, self.low, self.high), bounds=Bounds(lower, upper),
                     integrality=whole, options={"time_limit": limit_s, "mip_rel_gap": 1e-4})  # fmt: skip
        assert found.x is not None, found.message
        return Optimum(float(found.fun), float(found.mip_dual_bound))

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        storage, inputs, at, hours = self.storage, self.inputs, self.at, self.hours
        lower, upper, cost = np.zeros(self.count), np.full(self.count, np.inf), np.zeros(self.count)
        dearest = programme.dearest_price(storage, inputs)
        for name, watts in (("charge", inputs.charge_max_w), ("discharge", inputs.discharge_max_w),
                            ("import", storage.import_limit_w), ("export", storage.export_limit_w),
                            ("curtail", inputs.pv_w), ("genset", storage.genset.rated_w if storage.genset else 0.0),
                            ("over", np.clip(self._rest_w() - storage.import_limit_w, 0, None))):  # fmt: skip
            upper[at[name]] = watts / 1000
        upper[at["over_export"]] = 1e4
        for name in SHARES:
            upper[at[name]] = 1.0
        for name, low, width in tiers(storage, inputs, self.targets):
            lower[at[name]], upper[at[name]] = low / 1000, width / 1000
            cost[at[name]] = _worth(name, hours, self.targets) * dearest
            cost[at[name][-1]] -= inputs.stored_value_per_kwh
        cost[at["discharge"]] = hours * storage.wear_cost_per_kwh
        cost[at["import"]] = hours * inputs.energy_price_per_kwh
        cost[at["over"]] = hours * (inputs.energy_price_per_kwh + programme.OVER_LIMIT * dearest)
        cost[at["export"]] = -hours * inputs.export_price_per_kwh
        cost[at["over_export"]] = hours * (programme.OVER_LIMIT * dearest - inputs.export_price_per_kwh)
        if storage.genset:
            cost[at["genset"]] = hours * storage.genset.cost_per_kwh
            cost[at["on"]] = hours * storage.genset.idle_cost_per_h
            cost[at["start"]] = storage.genset.start_cost
        else:
            upper[at["on"]] = 0.0
        lower[-1], cost[-1] = inputs.peak_so_far_w / 1000, storage.demand_charge_per_kw
        return lower, upper, cost

    def _rest_w(self) -> np.ndarray:
        return self.inputs.load_w - self.inputs.pv_w - self.inputs.genset_w

    def _rows(self, upper: np.ndarray) -> None:
        storage, inputs, at, rest_w = self.storage, self.inputs, self.at, self._rest_w()
        slices = ("low", "surge", "reserve", "free", "high")
        for t in range(self.n):
            c = {name: columns[t] for name, columns in at.items()}
            self.row([(c["import"], 1), (c["over"], 1), (c["export"], -1), (c["over_export"], -1), (c["discharge"], 1),
                      (c["charge"], -1), (c["curtail"], -1), (c["genset"], 1)], rest_w[t] / 1000,
                     rest_w[t] / 1000)  # fmt: skip
            start = inputs.soc * storage.capacity_wh / 1000 if t == 0 else 0.0
            before = [(at[name][t - 1], -1) for name in slices] if t else []
            self.row([(c[name], 1) for name in slices] + before
                     + [(c["charge"], -storage.efficiency_charge * self.hours[t]),
                        (c["discharge"], self.hours[t] / storage.efficiency_discharge)], start, start)  # fmt: skip
            self.row([(c["charge"], 1), (c["charging"], -upper[c["charge"]])], -np.inf, 0)
            if storage.genset and upper[c["over"]] > 0:  # what the set gives is the load's first
                self.row([(c["over"], 1), (c["charging"], upper[c["over"]])], -np.inf, upper[c["over"]])
            self.row([(c["discharge"], 1), (c["charging"], upper[c["discharge"]])], -np.inf, upper[c["discharge"]])
            much = upper[c["import"]] + upper[c["over"]]
            self.row([(c["import"], 1), (c["over"], 1), (c["importing"], -much)], -np.inf, 0)
            out = 1000.0
            self.row([(c["export"], 1), (c["over_export"], 1), (c["importing"], out)], -np.inf, out)
            self.row([(c["import"], 1), (c["over"], 1), (self.count - 1, -1)], -np.inf, 0)
            self._set_rows(t, c)

    def _set_rows(self, t: int, c: dict) -> None:
        genset, inputs = self.storage.genset, self.inputs
        if genset is None:
            return
        self.row([(c["genset"], 1), (c["on"], -genset.rated_w / 1000)], -np.inf, 0)
        self.row([(c["genset"], 1), (c["on"], -genset.least_w / 1000)], 0, np.inf)
        ran = 1.0 if inputs.genset_run_s > 0 else 0.0
        before = [(self.at["on"][t - 1], 1)] if t else []
        self.row([(c["start"], 1), (c["on"], -1), *before], -ran if t == 0 else 0, np.inf)
        starts = np.cumsum(inputs.step_s) - inputs.step_s
        for later in range(t + 1, self.n):
            if starts[later] - starts[t] >= genset.min_run_s:
                break
            self.row([(c["start"], 1), (self.at["on"][later], -1)], -np.inf, 0)
        if ran and starts[t] < genset.min_run_s - inputs.genset_run_s:
            self.row([(c["on"], 1)], 1, 1)
        elif inputs.genset_barred[t]:
            self.row([(c["on"], 1)], 0, 0)
