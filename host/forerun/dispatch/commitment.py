"""When the diesel set runs: dynamic programming over stored energy and the set's state, on coarse actions.

The powers that it thinks of are only good enough to choose the hours; the linear programme then finds the powers.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from forerun.dispatch.directions import grid_cost
from forerun.dispatch.programme import ABOVE_MAX, BELOW_MIN, OVER_LIMIT, RESERVE, SURGE, dearest_price
from forerun.dispatch.reserve import tiers
from forerun.dispatch.situation import Genset, Inputs, Storage

_LEVELS = 61
_LINE = 3 * _LEVELS + 1
_POWERS = 13  # even ones; in short steps every second or fourth of them, as long as they lie so near each other:
_APART = 4.0  # levels
_ORDER = (*range(0, _POWERS, 4), *range(2, _POWERS, 4), *range(1, _POWERS, 2))
_FEWER = (len(range(0, _POWERS, 4)), len(range(0, _POWERS, 2)))
_BARRED = 100.0
_FORCED = 8  # more steps that a start forces are not told apart in the values; the way forwards keeps to all of them
_ROOM = 0.5  # of a step: about what the rest of a stretch may lack to do the work of a step that is left out
_SHIFT, _LONGER, _WHOLE = 0.15, 0.05, 0.002  # of what a move promises to the first order, about so much comes true


def commitment(storage: Storage, inputs: Inputs, targets_wh: np.ndarray, peak_w: float) -> np.ndarray:
    """(n,) bool: when the set is to run. peak_w: the import that a plan without least power and starts would reach;
    where a demand charge is to pay, more than that costs it."""
    return _Search(storage, inputs, targets_wh, max(peak_w, inputs.peak_so_far_w)).way()


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


def moves(genset: Genset, inputs: Inputs, on: np.ndarray, flows: dict, worth_per_kw: np.ndarray,
          least: float) -> Iterator[np.ndarray]:  # fmt: skip
    """Other hours for the set, the most promising first, of those that may save more than `least`: a stretch begun
    or ended a step sooner or later, or both; left out; or run through to the next.

    worth_per_kw: (n,) what a kW more saves in each step. It tells the most that a move can save: the cost is a convex
    function of the set's power. How much of that comes true differs from kind to kind of move.
    """
    hours, n, rated_kw = inputs.step_s / 3600, len(on), genset.rated_w / 1000
    turning = hours * genset.idle_cost_per_h
    per_kw = worth_per_kw - hours * genset.cost_per_kwh
    add = np.maximum(per_kw * genset.least_w / 1000, per_kw * rated_kw) - turning
    drop = turning - per_kw * flows["genset"]
    # Sums from the first step on, so that a stretch is a difference.
    added, dropped, spare_kwh = (np.concatenate([[0.0], np.cumsum(values)]).tolist() for values in (
        add, drop, hours * (rated_kw - flows["genset"])))  # fmt: skip
    add, drop, step_kwh, stretches = add.tolist(), drop.tolist(), (hours * rated_kw).tolist(), _stretches(on)
    found: list[tuple[float, tuple[int, ...], slice]] = []  # what may come true, steps to turn, stretch to turn

    def offer(share: float, promise: float, *steps: int, stretch: slice = slice(0)) -> None:
        if share * promise > least:
            found.append((share * promise, steps, stretch))

    for first, last in stretches:
        spare = spare_kwh[last] - spare_kwh[first]
        for edge, beyond, other in ((first, first - 1, last - 1), (last - 1, last, first)):
            # The other steps of the stretch do its work, or it was none.
            fits = spare >= (1 - _ROOM) * step_kwh[edge]
            offer(1.0 if fits else _LONGER, drop[edge], edge)
            if 0 <= beyond < n:
                offer(_LONGER, add[beyond], beyond)
                offer(_SHIFT, add[beyond] + drop[other], beyond, other)
        offer(_WHOLE, dropped[last] - dropped[first] + genset.start_cost, stretch=slice(first, last))
    for (_, last), (first, _) in pairwise(stretches):
        offer(_WHOLE, added[first] - added[last] + genset.start_cost, stretch=slice(last, first))
    for _, steps, stretch in sorted(found, key=lambda move: -move[0]):
        other = on.copy()
        other[list(steps)] ^= True
        other[stretch] ^= True
        if _allowed(genset, inputs, other):
            yield other


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
        self.start_wh = inputs.soc * storage.capacity_wh
        low_wh = min(self.start_wh, storage.soc_min * storage.capacity_wh)
        high_wh = max(self.start_wh, storage.soc_max * storage.capacity_wh)
        self.levels = np.linspace(low_wh, high_wh, _LEVELS)
        self.width = max(self.levels[1] - self.levels[0], 1e-9)
        self.peak_w, self.beyond = peak_w, OVER_LIMIT * self.dearest / 1000
        # What import is kept below while the set runs, or the battery is to help.
        self.lop_w = min(peak_w, storage.import_limit_w) if storage.demand_charge_per_kw else storage.import_limit_w
        limit_w, rated_w = self.lop_w, self.genset.rated_w
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        even_w = np.linspace(-inputs.charge_max_w, inputs.discharge_max_w, _POWERS)
        even = [np.full_like(rest_w, even_w[index]) for index in _ORDER]
        self.off = self._actions([0 * rest_w, rest_w, rest_w - limit_w, rest_w + storage.export_limit_w, *even], False)
        self.running = self._actions([0 * rest_w, rest_w - self.genset.least_w, rest_w - rated_w,
                                      rest_w - limit_w - rated_w, *even], True)  # fmt: skip
        # The longer a step, the more powers are told apart: by how many levels they move the charge is what counts.
        apart = self.hours * (even_w[1] - even_w[0]) / self.width
        self.actions = (4 + np.select([4 * apart <= _APART, 2 * apart <= _APART], _FEWER, _POWERS)).tolist()
        self.held = self._held()

    def _actions(self, battery_w: list[np.ndarray], with_set: bool) -> tuple[np.ndarray, np.ndarray]:
        """(n, A) change of stored energy, and what it costs."""
        storage, inputs, genset, hours = self.storage, self.inputs, self.genset, self.hours[:, None]
        battery_w = np.clip(np.stack(battery_w, axis=1), -inputs.charge_max_w, inputs.discharge_max_w)
        out_w, in_w = np.maximum(battery_w, 0), np.maximum(-battery_w, 0)
        stored_wh = (in_w * storage.efficiency_charge - out_w / storage.efficiency_discharge) * hours
        left_w = (inputs.load_w - inputs.pv_w - inputs.genset_w)[:, None] - battery_w
        cost = hours * out_w / 1000 * storage.wear_cost_per_kwh
        if with_set:
            # Its fuel is worth burning for what may be exported, for what would be imported, or only for what may not.
            aim_w = np.select([inputs.export_price_per_kwh > genset.cost_per_kwh,
                               inputs.energy_price_per_kwh > genset.cost_per_kwh],
                              [storage.export_limit_w, 0.0], -self.lop_w)[:, None]  # fmt: skip
            genset_w = np.clip(left_w + aim_w, genset.least_w, genset.rated_w)
            cost += hours * (genset.idle_cost_per_h + genset_w / 1000 * genset.cost_per_kwh)
            # A board does not start its set in quiet hours: no need is great enough for a plan that counts on it there.
            cost += inputs.genset_barred[:, None] * hours * (_BARRED * self.beyond * genset.rated_w)
            left_w = left_w - genset_w
        return stored_wh, cost + grid_cost(storage, inputs, left_w, OVER_LIMIT * self.dearest, self.peak_w)[0]

    def _held(self) -> np.ndarray:
        """(n, L) cost, below 0 for a benefit, of having each level stored at the end of each step."""
        held = np.zeros((len(self.hours), _LEVELS))
        worth = {"low": -BELOW_MIN, "surge": -RESERVE, "reserve": -RESERVE, "free": 0.0, "high": ABOVE_MAX}
        floor = np.zeros(len(self.hours))
        for name, _, width in self.slices:
            per_kwh = worth[name] * self.hours - (SURGE / self.surge_count if name == "surge" else 0.0)
            if np.any(per_kwh):
                inside = np.clip(self.levels - floor[:, None], 0, width[:, None]) / 1000
                held += inside * per_kwh[:, None] * self.dearest
            floor = floor + width
        held[-1] -= self.levels / 1000 * self.inputs.stored_value_per_kwh
        return held

    def way(self) -> np.ndarray:
        """(n,) bool. Rows of values: off, on and free to stop, then on for 1, 2, … more steps."""
        n, genset = len(self.hours), self.genset
        ends = np.cumsum(self.inputs.step_s)
        forced = np.searchsorted(ends, ends - self.inputs.step_s + genset.min_run_s) - np.arange(n)
        forced = np.clip(forced, 0, np.arange(n, 0, -1) - 1)  # steps that must follow a step of starting
        must = int(np.count_nonzero(running_steps(genset, self.inputs)))
        rows = _rows(np.minimum(forced, _FORCED), min(must, _FORCED))
        most = max(rows)
        place, share, cost = self._shifts(most)
        # Each row is written between what lies beyond its ends, and looked at from each place on.
        wide = np.zeros((most, _LINE))
        below, inside, above = wide[:, :_LEVELS], wide[:, _LEVELS : 2 * _LEVELS], wide[:, 2 * _LEVELS :]
        views = np.lib.stride_tricks.as_strided(wide, (wide.size - _LEVELS, _LEVELS + 1), (8, 8))
        above_costs = self.width * self.beyond * np.arange(1, _LEVELS + 2)
        below_costs = above_costs[-2::-1]
        values = np.zeros((n + 1, most, _LEVELS))
        stay_off, go_on, start = np.zeros((3, n, _LEVELS))
        for step in range(n - 1, -1, -1):
            count, now = rows[step + 1], rows[step]
            np.add(values[step + 1, :count], self.held[step], out=inside[:count])
            np.add(inside[:count, :1], below_costs, out=below[:count])
            np.add(inside[:count, -1:], above_costs, out=above[:count])
            few = self.actions[step]
            seen = views[place[step, :count, :few]]
            near = seen[..., :-1]
            least = seen[..., 1:] - near
            least *= share[step, :count, :few]
            least += near
            least += cost[step, :count, :few]
            least = np.minimum.reduce(least, axis=1)  # off, then followed by: free, then forced 1, 2, …
            stay_off[step], go_on[step] = least[0], least[1]
            np.add(least[1 + min(forced[step], _FORCED)], genset.start_cost, out=start[step])
            np.minimum(least[0], start[step], out=values[step, 0])
            np.minimum(least[1], least[0], out=values[step, 1])
            values[step, 2:now] = least[1 : now - 1]
        return self._forwards(values, forced, must, start < stay_off, stay_off < go_on)

    def _shifts(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, rows, A): for each row of values, where the view that an action leads to begins; (n, rows, A, 1) share of
        the way to the next one, and cost. The levels are even, so that an action goes up as far from each."""
        which = np.minimum(np.arange(rows), 1)  # off, or running
        up = np.stack((self.off[0], self.running[0]), axis=1) / self.width
        inside = np.minimum(np.maximum(up, -_LEVELS), _LEVELS - 1)
        whole = np.floor(inside)
        cost = np.stack((self.off[1], self.running[1]), axis=1) + np.abs(up - inside) * (self.width * self.beyond)
        lines = _LINE * np.arange(rows)[:, None] + _LEVELS
        return (whole.astype(np.int64)[:, which] + lines, (inside - whole)[:, which, :, None],
                cost[:, which, :, None])  # fmt: skip

    def _forwards(self, values: np.ndarray, forced: np.ndarray, must: int, starts_here, stops_here) -> np.ndarray:
        """(n,) bool along the one way that begins with what is stored now; the way between is that of the powers."""
        n, span = len(self.hours), self.levels[-1] - self.levels[0] + 1.0
        levels = np.concatenate([[self.levels[0] - span], self.levels, [self.levels[-1] + span]])
        running, energy, on = self.inputs.genset_run_s > 0, self.start_wh, np.zeros(n, dtype=bool)
        low_wh, high_wh = float(self.levels[0]), float(self.levels[-1])
        worth = np.empty(_LEVELS + 2)
        for step in range(n):
            level = round((energy - low_wh) / self.width)
            goes = must > 0 or not stops_here[step, level] if running else must > 0 or starts_here[step, level]
            if goes:
                must = max(0, (must if running else forced[step] + 1) - 1)
            running = on[step] = bool(goes)
            stored_wh, cost = self.running if running else self.off
            worth[1:-1] = values[step + 1, 1 + min(must, _FORCED) if running else 0] + self.held[step]
            worth[0], worth[-1] = worth[1] + span * self.beyond, worth[-2] + span * self.beyond
            to_wh = energy + stored_wh[step]
            best = (np.interp(to_wh, levels, worth) + cost[step]).argmin()
            energy = min(high_wh, max(low_wh, float(to_wh[best])))
        return on


def _rows(forced: np.ndarray, must: int) -> list[int]:
    """How many rows of values each step needs, one more for what comes after the last: two, and one for each further
    step that a start before it (or the set that runs already) may still force."""
    rows = [2 + must]
    for count in forced:
        rows.append(max(2, rows[-1] - 1, 2 + int(count)))
    return rows
