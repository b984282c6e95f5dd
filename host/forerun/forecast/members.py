"""The ways in which a load forecast is made: a regression for each lead, and what followed similar pasts.

Each member is fitted to a history without gaps (n,) of evenly spaced means and gives medians; `forerun.forecast.model`
weighs them against each other and puts the quantiles around them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

DAYS = 7  # days back that a regression looks at the target's time of day
_PENALTIES = (5.0, 50.0)
_ROUNDS = 5  # reweightings from least squares towards least absolute errors
_MAX_ROWS = 6000
UNSEEN_BY_NONE = -2  # in place of a block: by what was fitted to the whole history


@dataclass(frozen=True, slots=True)
class Clock:
    """Steps in a day, an hour, and leads at which coefficients are fitted."""

    day: int
    hour: int
    leads: np.ndarray

    @classmethod
    def of(cls, step_s: int, count: int) -> "Clock":
        day, hour = 86_400 // step_s, max(1, 3600 // step_s)
        # Every step of the next hour, and no far lead on the same minute of the hour as the one before it: what runs
        # every hour looks the same from whole hours ahead only.
        near = np.array([*range(1, 13), 15, 18, 21, 25, 30, 37, 43, 49])
        far = np.concatenate([np.arange(74, 289, 25), np.arange(323, 1 + max(323, count), 49)]) * day // 288
        leads = np.unique(np.concatenate([near, far, [count]]))
        return cls(day, hour, leads[(leads >= 1) & (leads <= count)])

    def around(self, lead: int, rows: int) -> np.ndarray:
        """(rows,) leads in turn from half way to the fitted lead before to half way to the next one: what is fitted to
        them holds in between, too."""
        at = int(np.searchsorted(self.leads, lead))
        low = (self.leads[max(0, at - 1)] + lead + 1) // 2
        high = (self.leads[min(len(self.leads) - 1, at + 1)] + lead) // 2
        return low + np.arange(rows) * 7 % (high - low + 1)


class LeadRegression:
    """Least absolute errors by reweighted ridge, one set of coefficients a lead, shrunk towards what holds for loads
    in general; coefficients between fitted leads lie on straight lines.

    coefficients: (2 + blocks, leads, columns): of the whole history, of loads in general, and of the history less each
    block (first, last) of target steps, which so can be forecast by coefficients that have not seen it.
    """

    def __init__(self, history: np.ndarray, clock: Clock, blocks: Sequence[tuple[int, int]] = ()):
        self.clock = clock
        self.scale = float(history.std()) or 1.0
        past = _Past(history, clock)
        each = [self._fitted(past, int(lead), _prior(lead * 288 / clock.day), blocks) for lead in clock.leads]
        self.coefficients = np.stack(each, axis=1)
        self._kept: tuple[np.ndarray, np.ndarray] | None = None  # leads, and the coefficients between the fitted ones

    def _fitted(self, past: "_Past", lead: int, prior: np.ndarray, blocks: Sequence[tuple[int, int]]) -> np.ndarray:
        """(2 + blocks, columns) coefficients of one lead drawn to `prior`, the mean over the penalties. Far leads are
        penalised more: their errors overlap, so they tell less than their number."""
        n, size = len(past.values), len(prior)
        first = min(2 * self.clock.day, n // 3)
        at = np.arange(first, n - lead + 1, max(1, -(-(n - lead - first) // _MAX_ROWS)))
        around = self.clock.around(lead, len(at))
        at, around = at[at + around <= n], around[at + around <= n]
        if len(at) < 4 * size:
            return np.tile(prior, (2 + len(blocks), 1))
        rows, base = past.rows(at, around, self.scale)
        target = at + around - 1
        rest = (past.values[target] - base) / self.scale - rows @ prior
        ridges = [penalty * np.sqrt(lead) / 3 * np.eye(size) for penalty in _PENALTIES]
        weights = np.ones(len(at))
        for _ in range(_ROUNDS):
            weighted = rows * weights[:, None]
            found = np.linalg.solve(weighted.T @ rows + ridges[0], weighted.T @ rest)
            wrong = np.abs(rest - rows @ found)
            mean = wrong.mean() + 1e-12
            weights = mean / np.maximum(wrong, 0.1 * mean)
        weighted = rows * weights[:, None]
        square, right = weighted.T @ rows, weighted.T @ rest
        squares, rights = [square], [right]
        for begin, end in blocks:
            inside = (target >= begin) & (target < end)
            at = np.flatnonzero(inside)
            here = slice(at[0], at[-1] + 1) if len(at) else slice(0)  # nearly all of it is of the block
            part = weighted[here] * inside[here, None]
            squares.append(square - part.T @ rows[here])
            rights.append(right - part.T @ rest[here])
        found = sum(np.linalg.solve(np.array(squares) + ridge, np.array(rights)[..., None])[..., 0] for ridge in ridges)
        found = prior + found / len(_PENALTIES)
        return np.stack([found[0], prior, *found[1:]])

    def ahead(self, history: np.ndarray, origins: np.ndarray, leads: np.ndarray, block=UNSEEN_BY_NONE) -> np.ndarray:
        """(2, origins, leads) medians by the fitted coefficients and by those of loads in general; each origin uses
        only what lies before it. block (origins,): by coefficients that have not seen that block."""
        # Those of the blocks are asked for in a fit only, and are most of the work.
        if np.all(np.asarray(block) == UNSEEN_BY_NONE):
            kept = self._kept
            if kept is None or not np.array_equal(kept[0], leads):
                kept = self._kept = leads, self._between(self.coefficients[:2], leads)
            weights = kept[1]
        else:
            weights = self._between(self.coefficients, leads)
        rows, base = _Past(history, self.clock).rows(origins[:, None], leads, self.scale)
        own = np.einsum("olc,ocl->ol", rows, weights[np.broadcast_to(2 + np.asarray(block), len(origins))])
        return np.stack([own, np.einsum("olc,cl->ol", rows, weights[1])]) * self.scale + base

    def _between(self, coefficients: np.ndarray, leads: np.ndarray) -> np.ndarray:
        """(sets, columns, leads) of coefficients (sets, fitted leads, columns)."""
        fitted = self.clock.leads
        after = np.minimum(np.searchsorted(fitted, leads), len(fitted) - 1)
        before = np.maximum(after - 1, 0)
        share = np.clip((leads - fitted[before]) / np.maximum(1, fitted[after] - fitted[before]), 0, 1)[:, None]
        return (coefficients[:, before] * (1 - share) + coefficients[:, after] * share).swapaxes(1, 2)


class Analogues:
    """What followed those moments of the past that looked most like now: the median over the nearest ones."""

    _WINDOWS = ((0, 3), (0, 12), (12, 24), (24, 36), (36, 72), (72, 144), (144, 216), (216, 288))
    _WEIGHTS = np.array([1, 2, 2, 1, 1, 2, 2, 2, 2.0])
    _NEAREST = 30

    def __init__(self, clock: Clock):
        self.clock = clock

    def ahead(self, history: np.ndarray, origins: np.ndarray, leads: np.ndarray) -> np.ndarray:
        """(origins, leads) medians. Three hours' difference in time of day count as much as the spread of the load."""
        day, reach = self.clock.day, int(leads[-1])
        stride, variance = max(1, day // 96), history.var() + 1e-12
        days = np.lib.stride_tricks.sliding_window_view(_sums(history), day + 1)  # sums up to a moment and a day before
        moments = np.arange(day, len(history) + 1, stride)
        shapes = self._shapes(history[day - 1 :: stride], days[::stride])
        now = self._shapes(history[origins - 1], days[origins - day])
        result = np.empty((len(origins), len(leads)))
        for row, origin in enumerate(origins):
            usable = np.searchsorted(moments, origin - reach, side="right")
            if usable <= self._NEAREST:
                result[row] = history[origin - 1]
                continue
            apart = self._WEIGHTS @ (shapes[:, :usable] - now[:, row, None]) ** 2 / variance
            later = moments[:usable] - origin + day // 2
            later -= later // day * day  # in place of a remainder, which numpy takes one at a time
            hours = np.abs(later - day // 2) * 24 / day
            nearest = np.argpartition(apart + hours**2 / 8, self._NEAREST)[: self._NEAREST]
            result[row] = _median(history[moments[nearest] + leads[:, None] - 1])
        return result

    def _shapes(self, last: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """(9, k) of the last values (k,) before some moments, and the sums (k, day + 1) over the day before them."""
        day, rows = self.clock.day, [last]
        for near, far in ((near * day // 288, max(1, far * day // 288)) for near, far in self._WINDOWS):
            rows.append((sums[:, day - near] - sums[:, day - far]) / (far - near) if far > near else last)
        return np.stack(rows)


class _Past:
    """Sums of a history from which the rows of a regression are made without looking beyond their origin."""

    def __init__(self, values: np.ndarray, clock: Clock):
        self.values, self.clock, self.sums = values, clock, _sums(values)

    def _around(self, index: np.ndarray, reach: int, limit: np.ndarray) -> np.ndarray:
        low, high = np.maximum(index - reach, 0), np.maximum(np.minimum(index + reach + 1, limit), 1)
        low = np.minimum(low, high - 1)
        return (self.sums[high] - self.sums[low]) / (high - low)

    def _back(self, at: np.ndarray, steps: int) -> np.ndarray:
        return (self.sums[at] - self.sums[np.maximum(at - steps, 0)]) / np.minimum(at, steps)

    def rows(self, at: np.ndarray, lead, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """((…, p) rows in units of `scale`, base that they are counted from, shaped like at); … from broadcasting at
        and lead."""
        values, day, hour = self.values, self.clock.day, self.clock.hour
        lead = np.asarray(lead)
        target = at + lead - 1
        base, last = self._back(at, DAYS * day), values[at - 1]
        recent = [last, *(values[np.maximum(at - back, 0)] for back in (2, 3, 4, 6)), *(
            self._back(at, max(1, hour * minutes // 60)) for minutes in (15, 30, 60, 180, 720, 1440))]  # fmt: skip
        skip = (lead - 1) // day  # a lead of more than a day cannot look at yesterday's value
        along = (-1, *[1] * target.ndim)
        number = np.arange(1, DAYS + 1).reshape(along)
        there, before = target - (number + skip) * day, at - number * day
        known, seen = there >= hour, before >= hour
        there, before = np.maximum(there, 0), np.maximum(before, hour)
        wide, fine = (np.where(known, self._around(there, reach, at), np.nan) for reach in (hour, 1))
        then = np.where(seen, (self.sums[before] - self.sums[before - hour]) / hour, np.nan)
        usual, usual_fine, usual_now = _mean(wide), _mean(fine), _mean(then)
        past_week = np.where(np.isfinite(wide[-1]), wide[-1], usual)
        middle = np.sort(np.where(np.isfinite(wide), wide, usual), axis=0)[DAYS // 2]  # their median
        minute = target - hour * -(-lead // hour)  # the same minute of the last hour: what runs every hour
        hourly = values[np.maximum(minute - hour * np.arange(12).reshape(along), 0)].mean(axis=0)
        columns = [*recent, fine[0], wide[0], usual_fine, usual, middle, past_week, usual_now, then[0], hourly,
                   values[np.maximum(minute, 0)]]  # fmt: skip
        waves = _waves(day)
        whole = np.empty((len(columns) + len(waves), *target.shape))
        levels = whole[: len(columns)]
        for place, column in zip(levels, columns, strict=True):
            place[...] = column
        levels -= base
        levels /= scale
        np.copyto(levels, 0.0, where=np.isnan(levels))
        np.take(waves, target % day, axis=1, out=whole[len(columns) :])
        return np.moveaxis(whole, 0, -1), base


@cache
def _waves(day: int) -> np.ndarray:
    """(7, day) three waves and a constant over the steps of a day."""
    angle = 2 * np.pi / day * np.arange(day)
    waves = [wave(number * angle) / 2 for number in (1, 2, 3) for wave in (np.sin, np.cos)]
    return np.stack([*waves, np.ones(day)])


@cache
def usual_coefficients() -> tuple[np.ndarray, np.ndarray]:
    """((k,) leads in five minutes, (k, 28) coefficients) that hold for loads in general: what a regression starts from.

    Fitted by `tests/fit_prior.py` to some dozens of public compute traces at once; none of their last weeks is in it.
    """
    table = np.loadtxt(files("forerun.forecast").joinpath("load_prior.csv").read_text().splitlines(), delimiter=",")
    return table[:, 0], table[:, 1:]


def _prior(lead: float) -> np.ndarray:
    """Coefficients that this history has not spoken to yet; `lead` in five minutes."""
    leads, table = usual_coefficients()
    return np.array([np.interp(lead, leads, column) for column in table.T])


def _median(rows: np.ndarray) -> np.ndarray:
    """(…,) of rows (…, n); np.median takes ten times as long on short ones."""
    ordered, n = np.sort(rows, axis=-1), rows.shape[-1]
    return (ordered[..., (n - 1) // 2] + ordered[..., n // 2]) / 2


def _mean(rows: np.ndarray) -> np.ndarray:
    known = np.isfinite(rows)
    if known.all():
        return rows.mean(axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, rows, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _sums(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values)])
