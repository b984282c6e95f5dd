"""When the diesel set runs: dynamic programming over stored energy and the set's state, on coarse actions.

The powers that it thinks of are only good enough to choose the hours; the linear programme then finds the powers.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from forerun.dispatch.directions import grid_cost
from forerun.dispatch.programme import ABOVE_MAX, BELOW_MIN, OVER_LIMIT, RESERVE, SURGE, dearest_price
from forerun.dispatch.reserve import tiers
from forerun.dispatch.situation import Genset, Inputs, Storage

_LEVELS = 61
_POWERS = 13  # even ones; in short steps every second or fourth of them, as long as they lie so near each other:
_APART = 4.0  # levels
_ORDER = (*range(0, _POWERS, 4), *range(2, _POWERS, 4), *range(1, _POWERS, 2))
_FEWER = (len(range(0, _POWERS, 4)), len(range(0, _POWERS, 2)))
_BARRED = 100.0
_FORCED = 8  # more steps that a start forces are not told apart in the values; the way forwards keeps to all of them
_ROOM = 0.5  # of a step: about what the rest of a stretch may lack to do the work of a step that is left out
# Of what a move promises about so much comes true: where the rest lacks more, for a step more, for a stretch; for a
# shift the less the longer its steps are, in hours.
_TIGHT, _LONGER, _WHOLE, _SHIFT_H = 0.05, 0.02, 0.002, 0.05


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


class Moves:
    """Other hours for the set than the best that are known, the most promising first: a stretch begun or ended a step
    sooner or later, or both; left out; or run through to the next.

    The cost is a convex function of the set's power, so what was worth a kW in each answer tells what any hours cost at
    least. How much of what that leaves to save comes true differs from kind to kind of move.
    """

    def __init__(self, genset: Genset, inputs: Inputs):
        self.genset, self.inputs, self.step_h = genset, inputs, inputs.step_s / 3600
        self._must, self._forced = running_steps(genset, inputs), _forced(genset, inputs)
        self._never = inputs.genset_barred & ~self._must
        self._answers: list[tuple[float, np.ndarray]] = []  # what no hours cost at least, and each step of them more
        self._hours = self._shares = self._starting = self._floors = None

    def told(self, on: np.ndarray, cost: float, worth_per_kw: np.ndarray) -> None:
        """What hours (n,) cost, infinite when there was no answer, and what a kW more would save in each step, (n,)."""
        if not np.isfinite(cost):
            return
        genset = self.genset
        per_kw = worth_per_kw - self.step_h * genset.cost_per_kwh
        given = np.maximum(per_kw * genset.least_w, per_kw * genset.rated_w) / 1000
        running = self.step_h * genset.idle_cost_per_h - given
        none = cost - on @ running - genset.start_cost * starts(on, self.inputs.genset_run_s)
        self._answers.append((none, running))
        if self._floors is not None:
            self._floors = np.maximum(self._floors, none + self._hours @ running + self._starting)

    def around(self, on: np.ndarray, genset_kw: np.ndarray) -> None:
        """The best hours are these, and what the set gives in them."""
        found = list(self._found(on, genset_kw))
        turned = [(row, step) for row, (_, steps) in enumerate(found) for step in steps]
        hours = np.repeat(on[None], len(found), axis=0)
        hours[tuple(np.array(turned, dtype=int).reshape(-1, 2).T)] ^= True
        begun = hours.copy()
        begun[:, 0] &= self.inputs.genset_run_s <= 0
        begun[:, 1:] &= ~hours[:, :-1]
        so_far = np.zeros((len(hours), len(on) + 1), dtype=int)
        np.cumsum(hours, axis=1, out=so_far[:, 1:])
        short = so_far[:, np.arange(1, len(on) + 1) + self._forced] - so_far[:, :-1] <= self._forced
        fine = ~np.any((begun & short) | (hours < self._must) | (hours & self._never), axis=1)
        self._hours, self._shares = hours[fine].astype(float), np.array([share for share, _ in found])[fine]
        self._starting = self.genset.start_cost * np.count_nonzero(begun[fine], axis=1)
        self._floors = np.full(len(self._hours), -np.inf)
        for none, running in self._answers:
            self._floors = np.maximum(self._floors, none + self._hours @ running + self._starting)

    def next(self, cost: float, least: float) -> np.ndarray | None:
        """(n,) bool, the hours that may save most of `cost`, None where no hours may save more than `least`."""
        promises = self._shares * (cost - self._floors)
        return self._hours[promises.argmax()] > 0 if promises.max(initial=0.0) > least else None

    def _found(self, on: np.ndarray, genset_kw: np.ndarray) -> Iterator[tuple[float, Sequence[int]]]:
        """How much of its promise comes true, and the steps to turn, of each move."""
        step_h, stretches = self.step_h.tolist(), _stretches(on)
        rated_kw = self.genset.rated_w / 1000
        spare_kwh = [0.0, *np.cumsum(self.step_h * (rated_kw - genset_kw)).tolist()]
        for first, last in stretches:
            spare = spare_kwh[last] - spare_kwh[first]
            for edge, beyond, other in ((first, first - 1, last - 1), (last - 1, last, first)):
                # The other steps of the stretch do its work, or it was none.
                fits = spare >= (1 - _ROOM) * step_h[edge] * rated_kw
                yield 1.0 if fits else _TIGHT, (edge,)
                if 0 <= beyond < len(on):
                    yield _LONGER, (beyond,)
                    yield min(1.0, _SHIFT_H / max(step_h[beyond], step_h[other])), (beyond, other)
            yield _WHOLE, range(first, last)
        for (_, last), (first, _) in pairwise(stretches):
            yield _WHOLE, range(last, first)


def _forced(genset: Genset, inputs: Inputs) -> np.ndarray:
    """(n,) how many steps must follow one in which the set starts."""
    ends, steps = np.cumsum(inputs.step_s), np.arange(len(inputs.step_s))
    return np.clip(np.searchsorted(ends, ends - inputs.step_s + genset.min_run_s) - steps, 0, steps[::-1])


def _stretches(on: np.ndarray) -> list[tuple[int, int]]:
    """(first, one after the last) of each run of True."""
    edges = (np.flatnonzero(on[1:] != on[:-1]) + 1).tolist()
    edges = [0] * int(on[0]) + edges + [len(on)] * int(on[-1])
    return list(zip(edges[::2], edges[1::2], strict=True))


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
        self.lop_w = min(peak_w, storage.import_limit_w) if inputs.demand_charge_per_kw else storage.import_limit_w
        even_w = np.linspace(-inputs.charge_max_w, inputs.discharge_max_w, _POWERS)
        self.stored_wh, self.cost = self._actions(even_w[list(_ORDER)])
        # The longer a step, the more powers are told apart: by how many levels they move the charge is what counts.
        apart = self.hours * (even_w[1] - even_w[0]) / self.width
        powers = np.where(4 * apart <= _APART, _FEWER[0], np.where(2 * apart <= _APART, _FEWER[1], _POWERS))
        self.actions = (4 + powers).tolist()
        self.held = self._held()

    def _actions(self, even_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(2, n, A) change of stored energy, and what it costs: with the set off, and with it running."""
        storage, inputs, genset, hours = self.storage, self.inputs, self.genset, self.hours[:, None]
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        idle_w, rated_w, limit_w = 0 * rest_w, genset.rated_w, self.lop_w
        battery_w = np.empty((2, len(rest_w), 4 + len(even_w)))
        battery_w[0, :, :4].T[:] = idle_w, rest_w, rest_w - limit_w, rest_w + storage.export_limit_w
        battery_w[1, :, :4].T[:] = idle_w, rest_w - genset.least_w, rest_w - rated_w, rest_w - limit_w - rated_w
        battery_w[:, :, 4:] = even_w
        np.clip(battery_w, -inputs.charge_max_w, inputs.discharge_max_w, out=battery_w)
        out_w, in_w = np.maximum(battery_w, 0), np.maximum(-battery_w, 0)
        stored_wh = (in_w * storage.efficiency_charge - out_w / storage.efficiency_discharge) * hours
        left_w = rest_w[:, None] - battery_w
        cost = out_w * (hours / 1000 * storage.wear_cost_per_kwh)
        # Its fuel is worth burning for what may be exported, for what would be imported, or only for what may not.
        aim_w = np.where(inputs.export_price_per_kwh > genset.cost_per_kwh, storage.export_limit_w,
                         np.where(inputs.energy_price_per_kwh > genset.cost_per_kwh, 0.0, -self.lop_w))  # fmt: skip
        genset_w = np.clip(left_w[1] + aim_w[:, None], genset.least_w, rated_w)
        left_w[1] -= genset_w
        cost[1] += hours * (genset.idle_cost_per_h + genset_w / 1000 * genset.cost_per_kwh)
        # A board does not start its set in quiet hours: no need is great enough for a plan that counts on it there.
        cost[1] += inputs.genset_barred[:, None] * hours * (_BARRED * self.beyond * rated_w)
        return stored_wh, cost + grid_cost(storage, inputs, left_w, OVER_LIMIT * self.dearest, self.peak_w)[0]

    def _held(self) -> np.ndarray:
        """(n, L) cost, below 0 for a benefit, of having each level stored at the end of each step."""
        held = np.zeros((len(self.hours), _LEVELS))
        worth = {"low": -BELOW_MIN, "surge": -RESERVE, "reserve": -RESERVE, "free": 0.0, "high": ABOVE_MAX}
        floor = np.zeros(len(self.hours))
        for name, _, width in self.slices:
            per_kwh = worth[name] * self.hours - (SURGE / self.surge_count if name == "surge" else 0.0)
            if np.any(per_kwh) and np.any(width):
                inside = np.clip(self.levels - floor[:, None], 0, width[:, None]) / 1000
                held += inside * per_kwh[:, None] * self.dearest
            floor = floor + width
        held[-1] -= self.levels / 1000 * self.inputs.stored_value_per_kwh
        return held

    def way(self) -> np.ndarray:
        """(n,) bool. Rows of values before each step and after the last: off, on and free to stop, then on for 1, 2, …
        more steps."""
        n, genset = len(self.hours), self.genset
        forced = _forced(genset, self.inputs)
        must = int(np.count_nonzero(running_steps(genset, self.inputs)))
        rows = _rows(np.minimum(forced, _FORCED), min(must, _FORCED))
        first = np.concatenate([[0], np.cumsum(rows)]).tolist()
        place, share, cost, pad = self._shifts(np.array(rows), first)
        values, found = np.zeros((2, first[-1], _LEVELS), np.float32)  # found: a step before, in the row's state
        # The rows behind a step lie between what is beyond their ends, their slopes beside them, and are looked at from
        # each place on.
        ahead = np.arange(-pad, _LEVELS + pad)
        inside = np.clip(ahead, 0, _LEVELS - 1)
        held = (self.held[:, inside] + np.abs(ahead - inside) * (self.width * self.beyond)).astype(np.float32)
        wide, slopes = both = np.zeros((2, max(rows), len(ahead)), np.float32)
        views = np.lib.stride_tricks.as_strided(both, (both.size - _LEVELS + 1, _LEVELS), (4, 4))
        line, slope = wide.ravel(), slopes.ravel()
        starting = (np.array(first[1:-1]) + 1 + np.minimum(forced, _FORCED)).tolist()
        for step in range(n - 1, -1, -1):
            before, begin, end = first[step : step + 3]
            few, behind = self.actions[step], wide[: end - begin]
            values[begin:end].take(inside, 1, behind, "clip")
            behind += held[step]
            np.subtract(line[1 : behind.size], line[: behind.size - 1], slope[: behind.size - 1])
            near, least = views[place[:, :few, begin:end]]
            least *= share[:few, begin:end]
            least += near
            least += cost[:few, begin:end]
            best, mine = found[begin:end], values[before:begin]
            np.minimum.reduce(least, axis=0, out=best)
            np.minimum(found[starting[step]] + genset.start_cost, best[0], out=mine[0])
            np.minimum(best[1], best[0], out=mine[1])
            if len(mine) > 2:
                mine[2:] = best[1 : len(mine) - 1]
        values[rows[0] :] += np.repeat(self.held, rows[1:], axis=0)
        off = found[first[1:-1]]
        starts_here, stops_here = found[starting] + genset.start_cost < off, off < found[1:][first[1:-1]]
        return self._forwards(values, first, forced, must, starts_here, stops_here)

    def _shifts(self, rows: np.ndarray, first: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """(2, A, R): for each row of values behind a step, where the views of values and slopes that an action leads to
        begin; (A, R, 1) share of the way to the next level, and cost; most levels that one leads to beyond the ends.
        The levels are even, so that an action goes up as far from each."""
        up = self.stored_wh / self.width
        inside = np.clip(up, -_LEVELS, _LEVELS - 1)
        whole = np.floor(inside)
        cost = self.cost + np.abs(up - inside) * (self.width * self.beyond)
        pad = int(max(-whole.min(), whole.max() + 1))
        row, step = np.arange(first[-1]) - np.repeat(first[:-1], rows), np.repeat(np.arange(len(rows)) - 1, rows)
        each = np.minimum(row, 1), step
        line = _LEVELS + 2 * pad
        place = whole.astype(np.int64)[each].T + (line * row + pad)
        return (np.stack((place, place + line * rows.max())), (inside - whole).astype(np.float32)[each].T[:, :, None],
                cost.astype(np.float32)[each].T[:, :, None], pad)  # fmt: skip

    def _forwards(self, values: np.ndarray, first: list[int], forced: np.ndarray, must: int, starts_here: np.ndarray,
                  stops_here: np.ndarray) -> np.ndarray:  # fmt: skip
        """(n,) bool along the one way that begins with what is stored now; the way between is that of the powers."""
        n, span = len(self.hours), self.levels[-1] - self.levels[0] + 1.0
        levels = np.concatenate([[self.levels[0] - span], self.levels, [self.levels[-1] + span]])
        beyond = values[:, [0, -1]] + span * self.beyond
        worth = np.concatenate([beyond[:, :1], values, beyond[:, 1:]], axis=1, dtype=float)
        running, energy, on = self.inputs.genset_run_s > 0, self.start_wh, np.zeros(n, dtype=bool)
        low_wh, high_wh = float(self.levels[0]), float(self.levels[-1])
        for step in range(n):
            level = round((energy - low_wh) / self.width)
            goes = must > 0 or not stops_here[step, level] if running else must > 0 or starts_here[step, level]
            if goes:
                must = max(0, (must if running else forced[step] + 1) - 1)
            running = on[step] = bool(goes)
            to_wh = energy + self.stored_wh[int(running), step]
            ends = np.interp(to_wh, levels, worth[first[step + 1] + (1 + min(must, _FORCED) if running else 0)])
            best = (ends + self.cost[int(running), step]).argmin()
            energy = min(high_wh, max(low_wh, float(to_wh[best])))
        return on


def _rows(forced: np.ndarray, must: int) -> list[int]:
    """How many rows of values each step needs, one more for what comes after the last: two, and one for each further
    step that a start before it (or the set that runs already) may still force."""
    rows = [2 + must]
    for count in forced:
        rows.append(max(2, rows[-1] - 1, 2 + int(count)))
    return rows
