"""Forecasts as quantiles: what the site did at the same time of past days, moved by how today differs so far."""

from dataclasses import dataclass

import numpy as np

DAY_S = 86_400
PAST_DAYS = 7
LEVELS = (0.1, 0.5, 0.9)
# Today's difference from past days fades with this time constant: best of 0.5 to 24 h on the Google 2019 trace.
FADE_S = 2 * 3600
RECENT_S = 2 * 3600


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


def forecast_load(load_w: np.ndarray, step_s: int, count: int, default_w: float = 0.0) -> Forecast:
    """Load [W] of the next `count` steps from load_w (n,), the history up to now, NaN where nothing was measured.

    The mean of up to PAST_DAYS days at the same time, plus today's difference fading out, with the errors that this
    rule made at each lead so far. Before a day and a quarter: the last value, within the range seen. Without any
    history: default_w.
    """
    load_w, season = _checked("load_w", load_w, step_s, count)
    known = load_w[np.isfinite(load_w)]
    if len(known) == 0:
        return _flat(step_s, count, (default_w, default_w, default_w), f"no history: default {default_w:.0f} W")
    usual, error = _usual(load_w, season)
    if np.count_nonzero(np.isfinite(error)) < season // 4:
        spread = np.quantile(known, (LEVELS[0], LEVELS[2]))
        low, high = min(spread[0], known[-1]), max(spread[1], known[-1])
        return _flat(step_s, count, (low, known[-1], high), "persistence: less than a day and a quarter of history")
    now = _last(error)
    fade = np.exp(-np.arange(1, count + 1) * step_s / FADE_S)
    spreads = _error_quantiles(error, fade)
    ahead = _ahead(usual, load_w, season, count) + fade * now
    low, middle, high = (np.clip(ahead + spread, 0, None) for spread in spreads)
    days = min(PAST_DAYS, len(load_w) // season)
    return Forecast(step_s, low, middle, high, f"same time of {days} past days, today's difference fading")


def forecast_pv(pv_w: np.ndarray, step_s: int, count: int) -> Forecast:
    """PV [W] of the next `count` steps from pv_w (n,), the history up to now, NaN where nothing was measured.

    The mean of up to PAST_DAYS days at the same time, scaled by today's recent ratio to it while that fades; quantiles
    from what those days gave around that time. With less than a day of history none is counted on.
    """
    pv_w, season = _checked("pv_w", pv_w, step_s, count)
    if np.count_nonzero(np.isfinite(pv_w)) < season:
        return _flat(step_s, count, (0.0, 0.0, 0.0), "less than a day of PV history: none is counted on")
    usual, error = _usual(pv_w, season)
    recent = slice(-max(1, RECENT_S // step_s), None)
    seen, expected = pv_w[recent], (pv_w - error)[recent]
    both = np.isfinite(seen) & np.isfinite(expected)
    total = expected[both].sum()
    # At dawn and at night a ratio says nothing: it needs a twentieth of the usual best power behind it.
    clear = total > 0.05 * np.nanmax(pv_w) * max(1, np.count_nonzero(both))
    ratio = np.clip(seen[both].sum() / total, 0.1, 2.0) if clear else 1.0
    fade = np.exp(-np.arange(1, count + 1) * step_s / FADE_S)
    ahead = _ahead(usual, pv_w, season, count) * (1 + (ratio - 1) * fade)
    low, high = _day_quantiles(pv_w, season, max(1, 1800 // step_s), count)
    best = np.nanmax(pv_w)
    middle = np.clip(ahead, 0, best)
    days = min(PAST_DAYS, len(pv_w) // season)
    basis = f"same time of {days} past days, times {ratio:.2f} fading"
    return Forecast(step_s, np.minimum(low, middle), middle, np.maximum(high, middle), basis)


def _checked(name: str, values: np.ndarray, step_s: int, count: int) -> tuple[np.ndarray, int]:
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


def _day_quantiles(values: np.ndarray, season: int, around: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) 0.1 and 0.9 quantile over the past days of what was seen within `around` steps of the same time."""
    days = min(PAST_DAYS, len(values) // season)
    table = values[-days * season :].reshape(days, season)
    near = np.concatenate([np.roll(table, shift, axis=1) for shift in range(-around, around + 1)])
    filled = np.where(np.isfinite(near), near, np.nanmean(values))
    low, high = np.quantile(filled, (LEVELS[0], LEVELS[2]), axis=0)
    place = np.arange(count) % season
    return low[place], high[place]
