"""When the diesel set runs: dynamic programming over stored energy and the set's state, on coarse actions.

The powers that it thinks of are only good enough to choose the hours; the linear programme then finds the powers.
"""

import numpy as np

from forerun.dispatch.programme import ABOVE_MAX, BELOW_MIN, OVER_LIMIT, RESERVE, SURGE, dearest_price
from forerun.dispatch.reserve import tiers
from forerun.dispatch.situation import Genset, Inputs, Storage

_LEVELS = 61
_POWERS = 7
_BARRED = 100.0


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


def moves(genset: Genset, inputs: Inputs, on: np.ndarray, flows: dict, worth_per_kw: np.ndarray) -> list[np.ndarray]:
    """Other hours for the set, the most promising first: each stretch begun or ended a step sooner or later.
    worth_per_kw: (n,) what a kW more saves in each step; to the first order that rates them."""
    n, hours = len(on), inputs.step_s / 3600
    turning = hours * genset.idle_cost_per_h
    per_kw = worth_per_kw - hours * genset.cost_per_kwh
    adds = np.maximum(per_kw * genset.least_w, per_kw * genset.rated_w) / 1000 - turning
    drops = turning - per_kw * flows["genset"]
    found: list[tuple[float, int, bool]] = []
    for first, last in _stretches(on):
        found += [(float(drops[first]), first, False), (float(drops[last - 1]), last - 1, False)]
        found += [(float(adds[step]), step, True) for step in (first - 1, last) if 0 <= step < n]
    made = []
    for _, step, runs in sorted(found, key=lambda move: -move[0]):
        other = on.copy()
        other[step] = runs
        if _allowed(genset, inputs, other):
            made.append(other)
    return made


def _stretches(on: np.ndarray) -> list[tuple[int, int]]:
    """(first, one after the last) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _allowed(genset: Genset, inputs: Inputs, on: np.ndarray) -> bool:
    """Whether each stretch lasts as long as the set must run; the last one may go on beyond the horizon."""
    must = running_steps(genset, inputs)
    if np.any(must & ~on) or np.any(inputs.genset_barred & on & ~must):
        return False
    ends = np.concatenate([[0.0], np.cumsum(inputs.step_s)])
    return all(last == len(on) or (first == 0 and inputs.genset_run_s > 0)
               or ends[last] - ends[first] >= genset.min_run_s for first, last in _stretches(on))  # fmt: skip


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
        # A board does not start its set in quiet hours: no need is great enough for a plan that counts on it there.
        barred = inputs.genset_barred[:, None] * hours * (_BARRED * OVER_LIMIT * self.dearest * genset.rated_w / 1000)
        running = wear + fuel + barred + self._grid(left_w - genset_w, peak_w)
        return stored_wh, wear + self._grid(left_w, peak_w), running

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
        must = int(np.count_nonzero(running_steps(genset, self.inputs)))
        rows = _rows(forced, must)
        place, share, beyond = self._landing_of(self.levels, self.stored_wh[:, :, None])
        off, running = self.off[:, :, None] + beyond, self.running[:, :, None] + beyond
        ahead = np.zeros((rows[n], _LEVELS))
        values = [ahead] * (n + 1)
        starts_here, stops_here = np.zeros((2, n, _LEVELS), dtype=bool)
        for step in range(n - 1, -1, -1):
            after = self._after(ahead + self.held[step], place[step], share[step])
            stay_off = np.minimum.reduce(after[0] + off[step], axis=0)
            going = np.minimum.reduce(after[1:] + running[step], axis=1)  # followed by: free, then forced 1, 2, …
            start = going[forced[step]] + genset.start_cost
            starts_here[step], stops_here[step] = start < stay_off, stay_off < going[0]
            ahead = np.empty((rows[step], _LEVELS))
            np.minimum(stay_off, start, out=ahead[0])
            np.minimum(going[0], stay_off, out=ahead[1])
            ahead[2:] = going[: rows[step] - 2]
            values[step] = ahead
        return self._forwards(values, forced, must, starts_here, stops_here)

    @staticmethod
    def _after(ahead: np.ndarray, place: np.ndarray, share: np.ndarray) -> np.ndarray:
        """(rows, …) values where the actions land, between two levels."""
        near = ahead.take(place, axis=1)
        return near + share * (ahead.take(place + 1, axis=1) - near)

    def _landing_of(self, from_wh, change_wh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Level below where each action lands, share of the way to the next, and the cost of going beyond."""
        to_wh = from_wh + change_wh
        inside = np.minimum(np.maximum(to_wh, self.levels[0]), self.levels[-1])
        at = (inside - self.levels[0]) / self.width
        place = np.minimum(at.astype(np.int64), _LEVELS - 2)
        return place, at - place, np.abs(to_wh - inside) * (OVER_LIMIT * self.dearest / 1000)

    def _forwards(self, values: list[np.ndarray], forced: np.ndarray, must: int, starts_here, stops_here) -> np.ndarray:
        """(n,) bool along the one way that begins with what is stored now; the way between is that of the powers."""
        n = len(self.hours)
        running, energy, on = self.inputs.genset_run_s > 0, self.start_wh, np.zeros(n, dtype=bool)
        low_wh, high_wh = float(self.levels[0]), float(self.levels[-1])
        for step in range(n):
            level = round((energy - low_wh) / self.width)
            goes = must > 0 or not stops_here[step, level] if running else must > 0 or starts_here[step, level]
            if goes:
                must = max(0, (must if running else forced[step] + 1) - 1)
            running = on[step] = bool(goes)
            row = 1 + must if running else 0
            place, share, cost = self._landing_of(energy, self.stored_wh[step])
            ahead = values[step + 1][row] + self.held[step]
            cost += ahead[place] * (1 - share) + ahead[place + 1] * share
            cost += self.running[step] if running else self.off[step]
            energy = min(high_wh, max(low_wh, energy + float(self.stored_wh[step, cost.argmin()])))
        return on


def _rows(forced: np.ndarray, must: int) -> list[int]:
    """How many rows of values each step needs, one more for what comes after the last: two, and one for each further
    step that a start before it (or the set that runs already) may still force."""
    rows = [2 + must]
    for count in forced:
        rows.append(max(2, rows[-1] - 1, 2 + int(count)))
    return rows
