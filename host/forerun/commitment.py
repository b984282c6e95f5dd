"""When the diesel set runs: dynamic programming over stored energy and the set's state, on coarse actions.

The powers that it thinks of are only good enough to choose the hours; the linear programme then finds the powers.
"""

import numpy as np

from forerun.programme import ABOVE_MAX, BELOW_MIN, OVER_LIMIT, RESERVE, SURGE, dearest_price
from forerun.reserve import tiers
from forerun.situation import Genset, Inputs, Storage

_LEVELS = 31
_POWERS = 7


def commitment(storage: Storage, inputs: Inputs, targets_wh: np.ndarray, peak_w: float) -> np.ndarray:
    """(n,) bool, whether the set runs in each step. peak_w: the import that a plan without least power would reach."""
    return _Search(storage, inputs, targets_wh, peak_w).on()


def running_steps(genset: Genset, inputs: Inputs) -> np.ndarray:
    """(n,) bool: the steps in which a set that runs now has to go on for its least time."""
    left_s = genset.min_run_s - inputs.genset_run_s if inputs.genset_run_s > 0 else 0.0
    return np.cumsum(inputs.step_s) - inputs.step_s < left_s


def starts(on: np.ndarray, run_s: float) -> int:
    """How often the set starts; at the first step only when it does not run already."""
    return int(np.count_nonzero(on & ~np.concatenate([[run_s > 0], on[:-1]])))


def peak_kw(flows: dict[str, np.ndarray]) -> float:
    """Highest import of a programme's flows."""
    return float((flows["import"] + flows["over_import"]).max())


class _Search:
    """Values by step backwards, then one way forwards. Energies in Wh, costs in the tariff's currency."""

    def __init__(self, storage: Storage, inputs: Inputs, targets_wh: np.ndarray, peak_w: float):
        self.storage, self.inputs, self.genset = storage, inputs, storage.genset
        self.hours = inputs.step_s / 3600
        self.slices = tiers(storage, inputs, targets_wh)
        self.surge_count = max(1, np.count_nonzero(targets_wh))
        self.dearest = dearest_price(storage, inputs)
        start_wh = inputs.soc * storage.capacity_wh
        low_wh = min(start_wh, storage.soc_min * storage.capacity_wh)
        high_wh = max(start_wh, storage.soc_max * storage.capacity_wh)
        self.levels = np.linspace(low_wh, high_wh, _LEVELS)
        self.start_wh, self.width = start_wh, max(self.levels[1] - self.levels[0], 1e-9)
        self.stored_wh, self.off, self.running = self._actions(peak_w)
        self.held = self._held()

    def _actions(self, peak_w: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, A) change of stored energy, and cost of it with the set off and with it on."""
        storage, inputs, genset, n = self.storage, self.inputs, self.genset, len(self.hours)
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        even = np.linspace(-inputs.charge_max_w, inputs.discharge_max_w, _POWERS)
        limit_w = storage.import_limit_w
        special = np.stack([0 * rest_w, rest_w, rest_w - limit_w, rest_w - genset.least_w, rest_w - genset.rated_w,
                            rest_w - limit_w - genset.rated_w], axis=1)  # fmt: skip
        battery_w = np.concatenate([np.tile(even, (n, 1)), special], axis=1)
        battery_w = np.clip(battery_w, -inputs.charge_max_w, inputs.discharge_max_w)
        out_w, in_w = np.clip(battery_w, 0, None), np.clip(-battery_w, 0, None)
        hours = self.hours[:, None]
        stored_wh = (in_w * storage.efficiency_charge - out_w / storage.efficiency_discharge) * hours
        wear = hours * out_w / 1000 * storage.wear_cost_per_kwh
        left_w = rest_w[:, None] - battery_w
        wanted_w = np.where(inputs.energy_price_per_kwh[:, None] > genset.cost_per_kwh, left_w, left_w - limit_w)
        genset_w = np.clip(wanted_w, genset.least_w, genset.rated_w)
        fuel = hours * (genset.idle_cost_per_h + genset_w / 1000 * genset.cost_per_kwh)
        return stored_wh, wear + self._grid(left_w, peak_w), wear + fuel + self._grid(left_w - genset_w, peak_w)

    def _grid(self, left_w: np.ndarray, peak_w: float) -> np.ndarray:
        """(n, A) cost of what the grid gives or takes; PV is curtailed where that is cheaper than exporting."""
        storage, inputs, hours = self.storage, self.inputs, self.hours[:, None]
        import_w, export_w = np.clip(left_w, 0, None), np.clip(-left_w, 0, None)
        price, export_price = inputs.energy_price_per_kwh[:, None], inputs.export_price_per_kwh[:, None]
        room_w = np.where(export_price > 0, storage.export_limit_w, 0.0)
        curtailed_w = np.clip(export_w - room_w, 0, inputs.pv_w[:, None])
        export_w = export_w - curtailed_w
        over_w = np.clip(import_w - storage.import_limit_w, 0, None)
        over_w = over_w + np.clip(export_w - storage.export_limit_w, 0, None)
        above_w = np.clip(import_w - max(peak_w, inputs.peak_so_far_w), 0, None)
        return (hours * (import_w * price - export_w * export_price + over_w * OVER_LIMIT * self.dearest)
                + above_w * storage.demand_charge_per_kw) / 1000  # fmt: skip

    def _held(self) -> np.ndarray:
        """(n, L) cost, below 0 for a benefit, of having each level stored at the end of each step."""
        held = np.zeros((len(self.hours), _LEVELS))
        worth = {"low": -BELOW_MIN, "surge": -RESERVE, "reserve": -RESERVE, "free": 0.0, "high": ABOVE_MAX}
        floor = np.zeros(len(self.hours))
        for name, _, width in self.slices:
            inside = np.clip(self.levels - floor[:, None], 0, width[:, None]) / 1000
            per_kwh = worth[name] * self.hours - (SURGE / self.surge_count if name == "surge" else 0.0)
            held += inside * per_kwh[:, None] * self.dearest
            floor = floor + width
        held[-1] -= self.levels / 1000 * self.inputs.stored_value_per_kwh
        return held

    def on(self) -> np.ndarray:
        """(n,) bool. Rows of values: off, on and free to stop, then on for 1, 2, … more steps at least."""
        n, genset = len(self.hours), self.genset
        ends = np.cumsum(self.inputs.step_s)
        forced = np.searchsorted(ends, ends - self.inputs.step_s + genset.min_run_s) - np.arange(n)
        forced = np.clip(forced, 0, np.arange(n, 0, -1) - 1)  # steps that must follow a step of starting
        rows = 2 + int(forced.max())
        place, share, beyond = self._landing()
        costs = np.stack([self.off, self.running])[:, :, None, :] + beyond
        values = np.zeros((n + 1, rows, _LEVELS))
        for step in range(n - 1, -1, -1):
            ahead = values[step + 1] + self.held[step]
            after = ahead[:, place[step]] + share[step] * (ahead[:, place[step] + 1] - ahead[:, place[step]])
            stay_off = (after[0] + costs[0, step]).min(axis=1)
            going = (after[1:] + costs[1, step]).min(axis=2)  # followed by: free, then forced 1, 2, …
            values[step, 2:] = going[:-1] if rows > 2 else going[:0]
            start = going[forced[step]] + genset.start_cost
            values[step, 0] = np.minimum(stay_off, start)
            values[step, 1] = np.minimum(going[0], stay_off)
        return self._forwards(values, forced)

    def _landing(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, L, A) level below where each action lands, share of the way to the next, and the cost of going beyond."""
        return self._landing_of(self.levels[None, :, None], self.stored_wh[:, None, :])

    def _landing_of(self, from_wh, change_wh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        to_wh = from_wh + change_wh
        inside = np.clip(to_wh, self.levels[0], self.levels[-1])
        at = (inside - self.levels[0]) / self.width
        place = np.minimum(at.astype(np.int64), _LEVELS - 2)
        return place, at - place, np.abs(to_wh - inside) / 1000 * OVER_LIMIT * self.dearest

    def _forwards(self, values: np.ndarray, forced: np.ndarray) -> np.ndarray:
        inputs, n = self.inputs, len(self.hours)
        must = int(np.count_nonzero(running_steps(self.genset, inputs)))
        running, energy, on = inputs.genset_run_s > 0, self.start_wh, np.zeros(n, dtype=bool)
        for step in range(n):
            place, share, beyond = self._landing_of(energy, self.stored_wh[step])
            ahead = values[step + 1] + self.held[step]
            after = ahead[:, place] + share * (ahead[:, place + 1] - ahead[:, place])
            stay = after[0] + self.off[step] + beyond
            follows = max(0, must - 1) if running else forced[step]
            row = min(1 + follows, after.shape[0] - 1)
            go = after[row] + self.running[step] + beyond + (0.0 if running else self.genset.start_cost)
            on[step] = must > 0 or go.min() < stay.min()
            if on[step]:
                must = max(0, (must if running else forced[step] + 1) - 1)
            best = np.argmin(go if on[step] else stay)
            running = bool(on[step])
            energy = float(np.clip(energy + self.stored_wh[step, best], self.levels[0], self.levels[-1]))
        return on
