"""Load forecasts as quantiles: members weighed by how they did of late, with the errors they made around them.

The thresholds here were chosen on weeks of public traces that no score is published for.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from forerun.forecast.members import UNSEEN_BY_NONE, Analogues, Clock, LeadRegression

DAY_S = 86_400
PAST_DAYS = 7
LEVELS = (0.1, 0.5, 0.9)
# Today's difference from past days fades with this time constant: best of 0.5 to 24 h on the Google 2019 trace.
FADE_S = 2 * 3600
MODEL_DAYS = 6  # a regression needs so much; before, the usual day with today's difference fading
CHECK_DAYS = 14  # of the end of the history on which the members are weighed and the intervals measured
_UNCHECKED_DAYS = 4  # of the beginning: too little lies before them
_CHECKS, _BLOCKS = 400, 7  # forecasts, and parts of the history left out in turn, of that check
# What was found so many days ago about leads of an hour counts half; at other leads longer by their root, since errors
# of far leads overlap: as many independent ones are to be left.
_FRESH_DAYS = 2.5
MAX_DAYS = 42
_SETTLED_H = 6
_SAMPLES = 199  # errors kept a lead; a prime, so that they meet every sample of what is unknown
MISSING = 0.3  # share of the last week that may be missing


class ForecastError(ValueError):
    """One sentence: which input has a shape or a step that no forecast can be made from."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """q10, q50, q90: (count,) interval means [W], index = step from the end of the history; basis: what was used."""

    step_s: int
    q10: np.ndarray
    q50: np.ndarray
    q90: np.ndarray
    basis: str


def forecast_load(load_w: np.ndarray, step_s: int, count: int, default_w: float = 0.0,
                  model: "LoadModel | None" = None) -> Forecast:  # fmt: skip
    """Load [W] of the next `count` steps from load_w (n,), the history up to now, NaN where nothing was measured.

    `model` was fitted to an earlier end of the same history; without one it is fitted now, when there is enough. With
    less: the mean of the past days at the same time, plus today's difference fading out. Before a day and a quarter:
    the last value. Both within the range seen. Without any history: default_w.
    """
    load_w, season = checked_history("load_w", load_w, step_s, count)
    known = load_w[np.isfinite(load_w)]
    if len(known) == 0:
        return _flat(step_s, count, (default_w, default_w, default_w), f"no history: default {default_w:.0f} W")
    if can_fit(load_w, step_s):
        model = model or LoadModel(load_w, step_s, count)
        if model.count >= count:
            return model.forecast(load_w, count)
    usual, error = _usual(load_w, season)
    if np.count_nonzero(np.isfinite(error)) < season // 4:
        spread = np.quantile(known, (LEVELS[0], LEVELS[2]))
        low, high = min(spread[0], known[-1]), max(spread[1], known[-1])
        return _flat(step_s, count, (low, known[-1], high), "persistence: less than a day and a quarter of history")
    now = _last(error)
    fade = np.exp(-np.arange(1, count + 1) * step_s / FADE_S)
    spreads = _error_quantiles(error, fade)
    ahead = _ahead(usual, load_w, season, count) + fade * now
    # Nothing beyond what was seen: added to the usual day, today's difference would be so by half and more.
    low, middle, high = (np.clip(ahead + spread, max(0.0, known.min()), max(0.0, known.max())) for spread in spreads)
    days = min(PAST_DAYS, len(load_w) // season)
    return Forecast(step_s, low, middle, high, f"same time of {days} past days, today's difference fading")


def can_fit(load_w: np.ndarray, step_s: int) -> bool:
    """Whether load_w (n,), NaN where missing, is long and whole enough for a LoadModel."""
    season = DAY_S // step_s
    return len(load_w) >= MODEL_DAYS * season and np.mean(~np.isfinite(load_w[-7 * season :])) <= MISSING


class LoadModel:
    """Members fitted to a history, their weight at each lead, and the quantiles of what they got wrong.

    Weights and quantiles come from forecasts of the last CHECK_DAYS made by coefficients that had not seen the days
    forecast. A model that loses there to the last value or to yesterday's gives way to it.
    """

    def __init__(self, load_w: np.ndarray, step_s: int, count: int):
        load_w, season = checked_history("load_w", load_w, step_s, count)
        values = _levelled(_filled(load_w, season)[-MAX_DAYS * season :], season)
        n = len(values)
        self.step_s, self.count, self._clock = step_s, count, Clock.of(step_s, count)
        self._analogues, leads = Analogues(self._clock), self._clock.leads
        check = min(CHECK_DAYS * season, max(n // 2, n - _UNCHECKED_DAYS * season))
        # An odd stride, so that the origins meet every minute of the hour.
        origins = np.arange(n - check, n, max(1, check // _CHECKS) | 1)
        edges = np.linspace(n - check, n, min(_BLOCKS, max(3, check // season)) + 1).astype(int)
        blocks = [(first, last + int(leads[-1])) for first, last in itertools.pairwise(edges)]
        week = min(7 * season, n // 3)
        self._regression = LeadRegression(values, self._clock, [*blocks, (n - week, 2 * n)])
        members = self._members(values, origins, leads, np.searchsorted(edges, origins, side="right") - 1)
        target = origins[:, None] + leads - 1
        actual = np.where(target < n, values[np.minimum(target, n - 1)], np.nan)
        late = origins >= n - week
        blind = members[:, late].copy()
        blind[2] = self._regression.ahead(values, origins[late], leads, len(blocks))[0]
        half_life = _FRESH_DAYS * season * np.sqrt(np.maximum(1, leads * 24 / season))
        fresh = 0.5 ** ((n - origins)[:, None] / half_life)
        both = np.concatenate([members, blind], axis=1), *(
            np.concatenate([part, part[late]]) for part in (actual, fresh))  # fmt: skip
        self._weights = _weights(*both, leads * 288 / season)
        self._weights, self.basis = _given_way(self._weights, blind, actual[late])
        error = (actual - np.einsum("ml,mol->ol", self._weights, members)) / _spread(values, origins, leads, season)
        # The coefficients that were checked knew the days after, too, and load drifts on: a little wider when far.
        wider = 1 + _FAR_WIDER * np.sqrt(np.minimum(1, leads / (season / 2)))
        low, high = _quantiles(error, fresh, (LEVELS[0], LEVELS[2])) @ _beside(leads, 0.35)
        self._low, self._high = np.minimum(0, low * wider), np.maximum(0, high * wider)
        self._errors = np.stack([_spaced(part[np.isfinite(part)], _SAMPLES) for part in error.T])
        self._error_levels = quantiles(self._errors, LEVELS)

    @property
    def leads(self) -> np.ndarray:
        """(k,) the steps ahead that everything is fitted at; what lies between is interpolated."""
        return self._clock.leads

    def forecast(
        self, load_w: np.ndarray, count: int, unknown: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Forecast:
        """The next `count` steps (at most those the model was made for) after load_w (n,), NaN where missing.

        unknown: (k,) leads, and (k, samples) W that came there before on top of what the history told.
        """
        season = DAY_S // self.step_s
        values = _levelled(_filled(np.asarray(load_w, dtype=float), season)[-MAX_DAYS * season :], season)
        leads, now = np.arange(1, count + 1), np.array([len(values)])
        members = self._members(values, now, leads)
        known = self._clock.leads
        weights = np.stack([np.interp(leads, known, row) for row in self._weights])
        middle = np.einsum("ml,mol->l", weights, members)
        spread = _spread(values, now, leads, season)[0]
        low, high = (np.interp(leads, known, level) * spread for level in (self._low, self._high))
        if unknown is not None:
            moved = self._moved(*unknown, spread)
            less, more, most = (np.interp(leads, unknown[0], level) for level in moved.T)
            middle, low, high = middle + more, low + less - more, high + most - more
        return Forecast(
            self.step_s, *(np.clip(level, 0, None) for level in (middle + low, middle, middle + high)), self.basis
        )

    def _moved(self, leads: np.ndarray, unknown_w: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """(k, 3) by how much what is unknown moves each quantile of the errors."""
        at, here = nearest(self._clock.leads, leads), spread[leads - 1]
        wrong = self._errors[at] * here[:, None] + unknown_w[:, np.arange(_SAMPLES) % unknown_w.shape[1]]
        return np.maximum(0, quantiles(wrong, LEVELS) - self._error_levels[at] * here[:, None])

    def _members(self, values: np.ndarray, origins, leads, block=UNSEEN_BY_NONE) -> np.ndarray:
        """(5, origins, leads) by _NAMES; yesterday is the last day that is known at that time."""
        season = self._clock.day
        last = np.repeat(values[origins - 1][:, None], len(leads), axis=1)
        yesterday = values[origins[:, None] + leads - 1 - season * (1 + (leads - 1) // season)]
        return np.stack([last, yesterday, *self._regression.ahead(values, origins, leads, block),
                         self._analogues.ahead(values, origins, leads)])  # fmt: skip


_NAMES = ("last value", "same time yesterday", "regression by lead", "what holds in general", "analogues")
# The mixes without evidence of the next step and of far leads, best of a few on development series.
_START, _START_FAR = np.array([0.0, 0.0, 0.8, 0.2, 0.0]), np.array([0.0, 0.0, 0.6, 0.4, 0.0])
_ANALOGUES = np.array([[0.0], [0.0], [0.0], [0.0], [1.0]])
_TO_START, _TEMPERATURE = 0.05, 0.02
_FAR_WIDER = 0.12
# The last 1/_LATE of a day tells a share of how far near leads go wrong; it counts at most so many times the usual.
_LATE, _OF_LATE, _LATE_MOST = 4, 0.6, 3.0
_ALWAYS, _FAR = 0.1, 72  # of leads so many five minutes ahead and farther, analogues have this share in any case
_GRID = np.array([mix for mix in itertools.product((0, 1, 2, 5), (0, 1, 2, 5), range(6), range(4), range(6))
                  if sum(mix) == 5]) / 5  # fmt: skip


def _weights(members: np.ndarray, actual: np.ndarray, fresh: np.ndarray, five_minutes: np.ndarray) -> np.ndarray:
    """(5, leads) weights from members (5, origins, leads), what came and how much it counts (both (origins, leads)).

    The mean of all mixes, each counting exponentially less with its error over that of the best, smoothed over
    neighbouring leads, and with its distance from the mix without evidence.
    """
    known = np.isfinite(actual)
    actual, fresh = np.where(known, actual, 0), np.where(known, fresh, 0)
    fresh = fresh / fresh.sum(axis=0)
    errors = np.stack([(np.abs(actual - np.tensordot(mix, members, 1)) * fresh).sum(axis=0) for mix in _GRID])
    relative = errors / (errors.min(axis=0) + 1e-12)
    far = np.minimum(1, five_minutes / _FAR)
    start = _START[:, None] * (1 - far) + _START_FAR[:, None] * far
    worse = relative @ _beside(five_minutes, 0.5) + _TO_START * np.abs(_GRID[:, :, None] - start).sum(axis=1)
    share = np.exp((worse.min(axis=0) - worse) / _TEMPERATURE)
    always = _ALWAYS * far
    return (1 - always) * (_GRID.T @ (share / share.sum(axis=0))) + always * _ANALOGUES


def _beside(leads: np.ndarray, reach: float) -> np.ndarray:
    """(leads, leads) what each lead, in a column, takes of the others: most of those that are nearly as far, `reach`
    being the deviation of their logarithms."""
    log = np.log(leads)
    kernel = np.exp(-0.5 * ((log[:, None] - log) / reach) ** 2)
    return kernel / kernel.sum(axis=0)


def _quantiles(error: np.ndarray, fresh: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """(levels, leads) quantiles of error (origins, leads), NaN where unknown, each counting as much as it is fresh."""
    order = np.argsort(error, axis=0)  # what is unknown comes last
    error, fresh = (np.take_along_axis(part, order, axis=0) for part in (error, np.where(np.isnan(error), 0, fresh)))
    below = (np.cumsum(fresh, axis=0) - fresh / 2) / fresh.sum(axis=0)
    known = np.isfinite(error)
    return np.stack([np.interp(levels, below[here, lead], error[here, lead])
                     for lead, here in enumerate(known.T)], axis=1)  # fmt: skip


def _given_way(weights: np.ndarray, blind: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, str]:
    """(weights, what they mean in words); those of a naive rule where the mix lost to it over the last week, when
    nothing of that week had been fitted to: blind (5, origins, leads)."""
    mixed = np.nanmean(np.abs(actual - np.einsum("ml,mol->ol", weights, blind)))
    naive = [np.nanmean(np.abs(actual - blind[index])) for index in (0, 1)]
    if min(naive) < mixed:
        best = int(np.argmin(naive))
        weights = np.zeros_like(weights)
        weights[best] = 1
        return weights, f"{_NAMES[best]}: the model lost to it over the last days"
    shares = [f"{share:.0%} {name}" for share, name in zip(weights.mean(axis=1), _NAMES, strict=True) if share > 0.005]
    return weights, " + ".join(shares)


def _spread(values: np.ndarray, origins: np.ndarray, leads: np.ndarray, season: int) -> np.ndarray:
    """(origins, leads) how restless the load is around that time of day, over all day and the last week; of near leads
    as much more or less as the last hours before the origin were more or less restless than all the history."""
    reach, hour = season // 16, max(1, season // 24)
    width = 2 * reach + 1
    first, last = np.full(reach, values[0]), np.full(reach, values[-1])
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([first, values, last]))])
    restless = np.abs(values - (sums[width:] - sums[:-width]) / width)
    restless = np.minimum(restless, quantiles(restless, (0.98,)))
    sums, overall = np.concatenate([[0.0], np.cumsum(restless)]), restless.mean() + 1e-9
    day = np.arange(1, 8)[:, None, None]
    there = origins[:, None] + leads - 1 - season * (day + (leads - 1) // season)
    high = np.minimum(np.maximum(there + hour + 1, 1), origins[:, None])
    low = np.minimum(np.maximum(there - hour, 0), high - 1)
    total = np.where(there >= hour, (sums[high] - sums[low]) / (high - low), overall).mean(axis=0)
    steps = np.abs(np.diff(values, prepend=values[0]))
    steps = np.minimum(steps, quantiles(steps, (0.98,)) + steps.mean())
    sums, first = np.concatenate([[0.0], np.cumsum(steps)]), np.maximum(0, origins - max(1, season // _LATE))
    late = np.minimum((sums[origins] - sums[first]) / (origins - first) / (steps.mean() + 1e-9), _LATE_MOST)
    share = _OF_LATE * np.exp(-(leads - 1) / (season / 2))
    return np.sqrt((total**2 + overall**2) / 2 * (1 + share * (late[:, None] ** 2 - 1)))


def _filled(values: np.ndarray, season: int) -> np.ndarray:
    """The history without gaps: an hour and less by a straight line, more by the nearest day that knows that time."""
    missing = ~np.isfinite(values)
    if not missing.any():
        return values
    filled, index = values.copy(), np.arange(len(values))
    gap = np.cumsum(np.diff(missing, prepend=False)) * missing
    length = np.bincount(gap, minlength=gap.max() + 1)
    short = missing & (length[gap] <= season // 24) & (index < index[~missing][-1])
    filled[short] = np.interp(index[short], index[~missing], values[~missing])
    for day in range(1, len(values) // season + 1):
        for shift in (day * season, -day * season):
            source = index - shift
            usable = ~np.isfinite(filled) & (source >= 0) & (source < len(values))
            filled[usable] = values[source[usable]]
    return np.where(np.isfinite(filled), filled, np.nanmean(values))


def quantiles(values: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """(…, levels) of values (…, n) without gaps, between neighbours in proportion. np.quantile takes three to ten times
    as long."""
    ordered, at = np.sort(values, axis=-1), np.array(levels) * (values.shape[-1] - 1)
    low = at.astype(int)
    below, above = ordered[..., low], ordered[..., np.minimum(low + 1, values.shape[-1] - 1)]
    return below + (at - low) * (above - below)


def nearest(marks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index into marks (sorted) of the one nearest to each value."""
    return np.searchsorted((marks[1:] + marks[:-1]) / 2, values)


def _spaced(values: np.ndarray, count: int) -> np.ndarray:
    """`count` of the values, evenly spaced."""
    return values[np.linspace(0, len(values) - 1, count).astype(int)]


def _levelled(values: np.ndarray, season: int) -> np.ndarray:
    """The history, with what came before a lasting step moved to the level after it: a load that has left all that it
    was for _SETTLED_H hours (a machine more, or one less) will not be back tomorrow at the same time."""
    hour = max(1, season // 24)
    hours = len(values) // hour
    first, last = 48, hours - _SETTLED_H
    if last <= first:
        return values
    means = values[len(values) - hours * hour :].reshape(hours, hour).mean(axis=1)
    for sign in (1.0, -1.0):
        load = sign * means
        before = np.maximum.accumulate(load)[first - 1 : last - 1]
        after = np.minimum.accumulate(load[::-1])[::-1][first:last]
        usual = (np.cumsum(load) / np.arange(1, hours + 1))[first - 1 : last - 1]
        apart = np.flatnonzero(after > before + (before - usual) / 2 + 1e-9 * np.abs(before))
        if len(apart):
            at = len(values) - (hours - first - int(apart[0])) * hour
            step = np.median(values[at:]) - np.median(values[:at])
            return np.concatenate([values[:at] + step, values[at:]])
    return values


def checked_history(name: str, values: np.ndarray, step_s: int, count: int) -> tuple[np.ndarray, int]:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or np.any(np.isinf(values)):
        raise ForecastError(f"{name} has the shape {values.shape} or an infinite value; it must be one row of numbers")
    if step_s <= 0 or DAY_S % step_s:
        raise ForecastError(f"step_s is {step_s}; it must divide a day of {DAY_S} s")
    if count < 1:
        raise ForecastError(f"count is {count}; a forecast has at least one step")
    return values, DAY_S // step_s


def _flat(step_s: int, count: int, levels: tuple[float, float, float], basis: str) -> Forecast:
    return Forecast(step_s, *(np.full(count, float(level)) for level in levels), basis)


def _usual(values: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """(season,) mean of the last PAST_DAYS days by place in the day, counted from the end of the history; and (n,) how
    far each value lies above the mean of the days before it, NaN on the first day."""
    n = len(values)
    past = [np.concatenate([np.full(min(n, day * season), np.nan), values[: max(0, n - day * season)]])
            for day in range(1, PAST_DAYS + 1)]  # fmt: skip
    error = values - _mean(np.stack(past))
    days = min(PAST_DAYS, -(-n // season))
    padded = np.concatenate([np.full(max(0, days * season - n), np.nan), values])[-days * season :]
    return _mean(padded.reshape(days, season)), error


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean over axis 0 of what is known; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, rows, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _ahead(usual: np.ndarray, values: np.ndarray, season: int, count: int) -> np.ndarray:
    """(count,) what is usual at the coming steps; the overall mean where no past day knows that time."""
    filled = np.where(np.isfinite(usual), usual, np.nanmean(values))
    return filled[np.arange(count) % season]


def _last(error: np.ndarray) -> float:
    """The last known error, 0 when there is none."""
    known = error[np.isfinite(error)]
    return float(known[-1]) if len(known) else 0.0


def _error_quantiles(error: np.ndarray, fade: np.ndarray) -> np.ndarray:
    """(3, count) quantiles of what was still wrong at each lead when this rule was used at every past step."""
    count, known = len(fade), error[np.isfinite(error)]
    # They change slowly with the lead: a few leads, ever further apart, carry the others.
    leads = np.unique(np.geomspace(1, count, min(count, 20)).astype(int))
    spreads = np.zeros((len(leads), len(LEVELS)))
    for index, lead in enumerate(leads):
        # Far leads have few origins left in a short history: they borrow those of the longest lead that has enough.
        reach = min(lead, max(1, len(known) // 2))
        spreads[index] = np.quantile(known[reach:] - fade[lead - 1] * known[:-reach], LEVELS)
    every = np.arange(1, count + 1)
    return np.stack([np.interp(every, leads, level) for level in spreads.T])
