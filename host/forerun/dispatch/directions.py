"""Which way battery and grid flow in the steps where burning energy pays, as it does at negative prices.

A linear programme would charge and discharge at once there. Here the cost of a step is a function of its change of
stored energy alone, the grid used and PV curtailed as is cheapest, and that function is bent to its lower convex
envelope. No plan is cheaper than the cheapest way through the envelopes; in most steps that way is at a point of the
step itself, and between two of them in a few, which are rounded so that the energy stored on the way stays the same.
"""

from dataclasses import dataclass, replace

import numpy as np

from forerun.dispatch.situation import Inputs, Storage
from forerun.dispatch.solver import Solver

_SEGMENTS = 6  # of an envelope at most; a step has ten points, of which few are on it
_EDGE = 1e-6
FLOWS = ("charge", "discharge", "import", "export")


@dataclass(frozen=True, slots=True)
class Directions:
    """shut: (n, 4) bool, which of FLOWS are closed; other: the same for the other choice in each of the steps unsure.
    bound: no plan in which the set gives what it gave here is cheaper, in dearest kWh; its fuel and the peak that is
    billed already are in it."""

    shut: np.ndarray
    other: np.ndarray
    unsure: np.ndarray
    bound: float


def burning_pays(inputs: Inputs) -> bool:
    """Whether there is a step in which burning energy can pay."""
    return bool(np.any((inputs.energy_price_per_kwh < 0)
                       | (inputs.export_price_per_kwh > inputs.energy_price_per_kwh)))  # fmt: skip


def grid_cost(storage: Storage, inputs: Inputs, left_w: np.ndarray, over_per_kwh: float,
              peak_w: float) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(n, A) cost of a step, and power from the grid, for left_w (n, A) that battery, set and all of PV leave; PV is
    curtailed as is cheapest. over_per_kwh: for what is over a limit; import above peak_w costs the demand charge."""
    price, export_price = inputs.energy_price_per_kwh[:, None], inputs.export_price_per_kwh[:, None]
    hours, most_w = inputs.step_s[:, None] / 3600, left_w + inputs.pv_w[:, None]
    aims_w = (-np.inf, -storage.export_limit_w, 0.0, storage.import_limit_w, np.inf) if inputs.pv_w.any() else (0.0,)
    best = grid_w = None
    for aim_w in aims_w:
        here_w = np.minimum(np.maximum(aim_w, left_w), most_w)
        import_w, export_w = np.maximum(here_w, 0), np.maximum(-here_w, 0)
        over_w = np.maximum(import_w - storage.import_limit_w, 0) + np.maximum(export_w - storage.export_limit_w, 0)
        cost = (import_w * price - export_w * export_price + over_w * over_per_kwh) * hours
        cost += np.maximum(import_w - peak_w, 0) * inputs.demand_charge_per_kw
        if best is None:
            best, grid_w = cost, here_w
        else:
            grid_w = np.where(cost < best, here_w, grid_w)
            best = np.minimum(cost, best)
    return best / 1000, grid_w


class Envelopes:
    """The cheapest way through the envelopes: one small programme, warm from one plan to the next. kWh."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._n = 0

    def directions(self, inputs: Inputs, slices: list[tuple[np.ndarray, np.ndarray, np.ndarray]], dearest: float,
                   over_limit: float, peak_w: float, prices: tuple[np.ndarray, np.ndarray] | None
                   ) -> Directions | None:  # fmt: skip
        """The directions of this situation, None when the solver gave up. slices: (lower, upper, cost) of stored
        energy, (n,) each, in kWh and dearest kWh; over_limit: cost of a kWh over a limit, in the same; peak_w: import
        above it costs the demand charge. prices: where there is one, (n,) what of it a kW of import bears in each step,
        from 0 and together no more than all of it, and (n,) what a kWh stored costs, both in dearest kWh."""
        points = _Points(self.storage, inputs, over_limit * dearest, peak_w)
        stored, cost = points.envelope(_SEGMENTS + 1)
        stored, cost = stored / 1000, cost / dearest
        if self._n != len(stored):
            self._build(len(stored), len(slices))
        filled = self._filled(inputs.soc * self.storage.capacity_wh / 1000, stored, cost, slices)
        if filled is None:
            return None
        chosen, other = _rounded(stored, filled)
        return Directions(points.shut(1000 * chosen), points.shut(1000 * other),
                          np.flatnonzero(np.abs(chosen - other) > _EDGE),
                          self._bound(points, slices, dearest, *(prices or (np.zeros(len(stored)),
                                                                            self._solver.row_prices()))))  # fmt: skip

    def _bound(self, points: "_Points", slices, dearest: float, peak_prices: np.ndarray, price: np.ndarray) -> float:
        """What no plan is below, at any prices of import's peak and of stored energy, (n,). Each step goes its own
        cheapest way at them, and bears its share of the demand charge: the highest import costs no less than any such
        shares of all do, and what of the charge nobody bears is due on the peak that is billed already."""
        inputs, storage = points.inputs, self.storage
        start = price[0] * inputs.soc * storage.capacity_wh / 1000
        ways = points.cost_of(peak_prices * dearest) / dearest + price[:, None] * points.stored_wh / 1000
        onwards = price - np.append(price[1:], 0.0)
        held = sum(np.minimum(net * lower, net * upper).sum() for lower, upper, net in (
            (lower, upper, cost - onwards) for lower, upper, cost in slices))  # fmt: skip
        billed = (inputs.demand_charge_per_kw / dearest - peak_prices.sum()) * inputs.peak_so_far_w / 1000
        return float(start + ways.min(axis=1).sum() + held + billed)

    def _build(self, n: int, slices: int) -> None:
        """Columns: segments in blocks of n, then slices of stored energy; a row a step."""
        steps, blocks, count = np.arange(n), _SEGMENTS * n, (_SEGMENTS + slices) * n
        row = np.concatenate([np.tile(steps, _SEGMENTS + slices), np.tile(steps[1:], slices)])
        column = np.concatenate([np.arange(count), *(blocks + n * index + steps[:-1] for index in range(slices))])
        value = np.concatenate([-np.ones(blocks), np.ones(slices * n), -np.ones(slices * (n - 1))])
        # With ties broken fewer steps lie between two points.
        self._solver = Solver(row, column, value, np.zeros(n), np.zeros(n), np.ones(count, dtype=bool), perturbed=True)
        self._n = n

    def _filled(self, start: float, stored: np.ndarray, cost: np.ndarray, slices) -> np.ndarray | None:
        """(n, S) kWh of each segment that is used."""
        size = np.diff(stored, axis=1)
        slope = np.divide(np.diff(cost, axis=1), size, out=np.zeros_like(size), where=size > _EDGE)
        lower, upper, worth = (np.concatenate(values) for values in zip(*slices, strict=True))
        right = stored[:, 0].copy()
        right[0] += start
        self._solver.ask(np.concatenate([np.zeros(size.size), lower]), np.concatenate([size.T.ravel(), upper]),
                         np.concatenate([slope.T.ravel(), worth]), right)  # fmt: skip
        return self._solver.values()[: size.size].reshape(size.T.shape).T if self._solver.run() else None


def _rounded(stored: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) change of stored energy at a point of each step, the way to its end kept as near as can be; and at the
    other point that was to choose from."""
    wanted = stored[:, 0] + filled.sum(axis=1)
    above = np.argmax(stored >= wanted[:, None] - _EDGE, axis=1)
    steps = np.arange(len(stored))
    high, low = stored[steps, above], stored[steps, np.maximum(above - 1, 0)]
    chosen, other, behind = high.copy(), high.copy(), 0.0
    for step in np.flatnonzero(high > wanted + _EDGE):
        up, down = high[step] - wanted[step], low[step] - wanted[step]
        taken, left = (up, down) if abs(behind + up) <= abs(behind + down) else (down, up)
        behind += taken
        chosen[step], other[step] = wanted[step] + taken, wanted[step] + left
    return chosen, other


class _Points:
    """Battery powers between which a step's cost is linear, in order of the change of stored energy: (n, 10) each."""

    def __init__(self, storage: Storage, inputs: Inputs, over_per_kwh: float, peak_w: float):
        self.storage, self.inputs = storage, inputs
        pv_w, limit_w = inputs.pv_w, storage.import_limit_w
        load_w = inputs.load_w - inputs.genset_w
        rest_w = load_w - pv_w
        # Only the load may go over the import limit.
        most_w = np.clip(limit_w - rest_w, 0, inputs.charge_max_w)
        export_w, none = storage.export_limit_w, 0 * rest_w
        edges = (none - np.inf, none + np.inf, none, rest_w, rest_w - limit_w, rest_w - min(peak_w, limit_w),
                 rest_w + export_w, load_w, load_w - limit_w, load_w + export_w)  # fmt: skip
        battery_w = np.clip(np.stack(edges, axis=1), -most_w[:, None], inputs.discharge_max_w)
        battery_w = np.sort(battery_w, axis=1)[:, ::-1]
        out_w, in_w = np.clip(battery_w, 0, None), np.clip(-battery_w, 0, None)
        hours = inputs.step_s[:, None] / 3600
        self.battery_w = battery_w
        self.stored_wh = (in_w * storage.efficiency_charge - out_w / storage.efficiency_discharge) * hours
        self.over_per_kwh, self.left_w = over_per_kwh, rest_w[:, None] - battery_w
        self.wear = hours * out_w / 1000 * storage.wear_cost_per_kwh
        cost, self.grid_w = grid_cost(storage, inputs, self.left_w, over_per_kwh, peak_w)
        self.cost = cost + self.wear

    def cost_of(self, per_kw: np.ndarray) -> np.ndarray:
        """(n, 10) cost of the points where a kW of import costs so much more in each step, (n,), and the highest one
        nothing."""
        if not self.storage.demand_charge_per_kw:
            return self.cost
        priced = replace(self.inputs, energy_price_per_kwh=self.inputs.energy_price_per_kwh
                         + per_kw * 3600 / self.inputs.step_s)  # fmt: skip
        return grid_cost(self.storage, priced, self.left_w, self.over_per_kwh, np.inf)[0] + self.wear

    def envelope(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, count) stored energy and cost of the points on each step's lower convex envelope, the last one again
        where there are fewer."""
        stored, cost = self.stored_wh, self.cost
        steps, last = np.arange(len(stored)), stored.shape[1] - 1
        at = np.zeros(len(stored), dtype=int)
        found = [at]
        for _ in range(count - 2):
            ahead = stored - stored[steps, at][:, None]
            slope = np.divide(cost - cost[steps, at][:, None], ahead, out=np.full_like(cost, np.inf),
                              where=ahead > 1000 * _EDGE)  # fmt: skip
            # Of points on one line the farthest.
            least = slope.min(axis=1, keepdims=True)
            near = slope <= least + 1e-12 * np.abs(least)
            at = np.where(np.isfinite(least[:, 0]), last - np.argmax(near[:, ::-1], axis=1), last)
            found.append(at)
            if np.all(at == last):
                break
        found += [np.full_like(at, last)] * (count - len(found))
        columns = np.stack(found, axis=1)
        return np.take_along_axis(stored, columns, axis=1), np.take_along_axis(cost, columns, axis=1)

    def shut(self, stored_wh: np.ndarray) -> np.ndarray:
        """(n, 4) bool, which of FLOWS do not flow at the point nearest to each change of stored energy."""
        nearest = np.argmin(np.abs(self.stored_wh - stored_wh[:, None]), axis=1)[:, None]
        battery_w, grid_w = (np.take_along_axis(values, nearest, axis=1)[:, 0]
                             for values in (self.battery_w, self.grid_w))  # fmt: skip
        dearer = self.inputs.export_price_per_kwh > self.inputs.energy_price_per_kwh
        return np.stack([battery_w > 1, battery_w < -1, dearer & (grid_w < -1), dearer & (grid_w > 1)], axis=1)
