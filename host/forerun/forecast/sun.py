"""PV forecasts: what a clear sky would give by the sun's place, times how clear it has been."""

from functools import lru_cache

import numpy as np

from forerun.forecast.model import DAY_S, LEVELS, Forecast, checked_history, quantiles

FADE_S = 3 * 3600  # today's clearness fades to the usual one with this time constant
_PAST_DAYS = 14
_FIT_ROWS = 500
_NEAR, _PENALTY = 0.02, 1.0  # of the best that was measured: so the fit is the same for an array of any size
_ENOUGH = 100  # lit steps with a weather forecast before it counts
_SHARES = np.linspace(0, 1, 5)
_CLEAREST = 1.4  # bright cloud edges give more than a clear sky
_LEAST_SUN = 0.04  # share of the best power below which a ratio to the clear sky says nothing


def forecast_pv(pv_w: np.ndarray, step_s: int, count: int, start_utc_s: float, place: tuple[float, float],
                sky: np.ndarray | None = None) -> Forecast:  # fmt: skip
    """PV [W] of the next `count` steps from pv_w (n,), the history up to start_utc_s, NaN where nothing was measured.

    place: (latitude, longitude) in degrees. The array's direction is learnt: the sun's direct and diffuse clear-sky
    irradiance on it, fitted to the best of what was measured. The quantiles are those of the past at the same lead.
    With less than a day of history none is counted on.

    sky (n + count,): clearness by a weather forecast, as it was forecast for the past and is for what comes, NaN where
    it is not known; it counts as much as it was worth at that lead, and without it the forecast is what it was.
    """
    pv_w, season = checked_history("pv_w", pv_w, step_s, count)
    pv_w = pv_w[-_PAST_DAYS * season :]
    n = len(pv_w)
    known = np.isfinite(pv_w)
    if np.count_nonzero(known) < season:
        return Forecast(step_s, *(np.zeros(count) for _ in LEVELS), "less than a day of PV history: none is counted on")
    clear = clear_sky_w(pv_w, _irradiance_of_steps(start_utc_s - step_s * n, step_s, n + count, place))
    lit = (clear[:n] > _LEAST_SUN * max(1.0, clear.max())) & known
    if not lit.any():
        return Forecast(step_s, *(np.zeros(count) for _ in LEVELS), "no PV was seen by daylight: none is counted on")
    ratio = np.where(lit, np.clip(pv_w / np.maximum(clear[:n], 1e-9), 0, _CLEAREST), np.nan)
    recent = _running(ratio, max(1, 3600 // step_s))
    usual = float(quantiles(ratio[lit], (0.5,))[0])
    leads = np.arange(1, count + 1)
    marks = _marks(count)
    told = np.full(n + count, np.nan) if sky is None else np.asarray(sky, dtype=float)[-(n + count) :]
    at = np.flatnonzero(lit)
    past = at, ratio[at] - usual, recent - usual, (ratio - _as_here(told, ratio)[:n])[at]
    found = [_differences_at(lead, np.exp(-lead * step_s / FADE_S), *past) for lead in marks]
    low, middle, high, weight = (np.interp(leads, marks, column) for column in np.array(found).T)
    fade, now = np.exp(-leads * step_s / FADE_S), recent[-1] - usual
    own, ahead = usual + fade * now, _as_here(told, ratio)[n:]
    own = np.where(np.isfinite(ahead), own + weight * (ahead - own), own)
    ahead, lows, highs = (np.clip(own + part, 0, _CLEAREST) * clear[n:] for part in (middle, low, high))
    words = f"clear sky by the sun's place, times {usual + now:.2f} fading to {usual:.2f}"
    if np.isfinite(told[n:]).any() and weight.any():
        words += f", {weight.mean():.0%} by the weather forecast"
    return Forecast(step_s, np.minimum(lows, ahead), ahead, np.maximum(highs, ahead), words)


@lru_cache(maxsize=4)
def _marks(count: int) -> list[int]:
    """The leads that are looked at, ever further apart; what lies between is interpolated."""
    return sorted(set(np.geomspace(1, count, min(count, 8)).astype(int).tolist()))


def _as_here(told: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """The forecast clearness as this array saw such skies: in the mean, once there are enough steps to tell."""
    both = np.isfinite(told[: len(ratio)]) & np.isfinite(ratio)
    if np.count_nonzero(both) < _ENOUGH:
        return told
    seen = np.mean(ratio[both]) / max(1e-3, np.mean(told[: len(ratio)][both]))
    return told * np.clip(seen, 0.5, 2.0)


def _differences_at(lead: int, fade: float, at: np.ndarray, clearer: np.ndarray, recent: np.ndarray,
                    wrong_told: np.ndarray) -> np.ndarray:  # fmt: skip
    """(4,) quantiles of how the clearness differed from this rule at that lead, and the weight 0–1 of the weather
    forecast with which it differed least; of all clearness when few are known.

    at (k,): the lit steps of the past (n,); clearer (k,): by how much than usual they were; recent (n,): and what was
    known of that at each step; wrong_told (k,): and by how much the weather forecast had told less.
    """
    first, weight = np.searchsorted(at, lead), 0.0
    wrong, wrong_told = clearer[first:] - fade * recent[at[first:] - lead], wrong_told[first:]
    both = np.isfinite(wrong_told)
    if np.count_nonzero(both) >= _ENOUGH:
        mixed = [wrong[both] + share * (wrong_told[both] - wrong[both]) for share in _SHARES]
        best = int(np.argmin([np.abs(item).mean() for item in mixed]))
        weight, wrong = float(_SHARES[best]), mixed[best]
    return np.append(quantiles(wrong if len(wrong) >= 30 else clearer, LEVELS), weight)


def _running(ratio: np.ndarray, steps: int) -> np.ndarray:
    """(n,) the last known clearness, as the mean of up to `steps` lit steps; at night that of the evening."""
    known = np.isfinite(ratio)
    seen, count = ratio[known], np.cumsum(known)
    sums = np.concatenate([[0.0], np.cumsum(seen)])
    first = np.maximum(np.arange(len(sums)) - steps, 0)
    means = (sums - sums[first]) / np.maximum(np.arange(len(sums)) - first, 1)
    means[0] = quantiles(seen, (0.5,))[0]  # nothing was lit yet
    return means[count]


def clear_sky_w(pv_w: np.ndarray, irradiance: np.ndarray) -> np.ndarray:
    """(m,) W ≥ 0 that a clear sky gives, from irradiance (m, 4) whose first rows belong to pv_w (n,).

    The upper 4 % of what was measured in proportion to direct irradiance from east, north and above, and to diffuse:
    a regression in which falling short of a measurement counts 24 times as much as exceeding it.
    """
    best = np.nanmax(pv_w)
    usable = np.flatnonzero(np.isfinite(pv_w) & (irradiance[: len(pv_w), 3] > 0))
    usable = usable[:: max(1, len(usable) // _FIT_ROWS)]
    if len(usable) < 8 or best <= 0:
        return np.zeros(len(irradiance))
    both = np.vstack([irradiance[usable].T, pv_w[usable] / best])
    rows, seen = both[:4], both[4]
    weights, weight = seen**2 / _NEAR, np.zeros(4)  # begun at the brightest: of equal weights, half as many rounds more
    penalty = _PENALTY * np.diag(np.sum(rows**2, axis=1) + 1e-9 * len(seen))
    for _ in range(8):
        normal = (rows * weights) @ both.T
        weight = np.linalg.solve(normal[:, :4] + penalty, normal[:, 4])
        short = seen - weight @ rows
        weights = np.where(short > 0, 24.0, 1.0) / np.maximum(np.abs(short), _NEAR)
    return best * np.clip(irradiance @ weight, 0, 1.05)


def _irradiance_of_steps(start_utc_s: float, step_s: int, count: int, place: tuple[float, float]) -> np.ndarray:
    """(count, 4) at the middle of each step. A forecast has nearly all of its days in common with the one before."""
    if start_utc_s % step_s or DAY_S % step_s:
        return _irradiance(start_utc_s + step_s * (np.arange(count) + 0.5), *place)
    first, last = int(start_utc_s // DAY_S), int((start_utc_s + step_s * count) // DAY_S)
    days = np.concatenate([_irradiance_of_day(day, step_s, *place) for day in range(first, last + 1)])
    skipped = int(start_utc_s - first * DAY_S) // step_s
    return days[skipped : skipped + count]


@lru_cache(maxsize=64)
def _irradiance_of_day(day: int, step_s: int, latitude: float, longitude: float) -> np.ndarray:
    return _irradiance(day * DAY_S + step_s * (np.arange(DAY_S // step_s) + 0.5), latitude, longitude)


def _irradiance(utc_s: np.ndarray, latitude: float, longitude: float) -> np.ndarray:
    """(m, 4) clear-sky irradiance in kW/m²: direct times the sun's direction (east, north, up), and diffuse.

    Direct: Meinel 1976, 1.353 · 0.7^(AM^0.678) with the air mass of Kasten and Young 1989. Diffuse grows with the
    root of the sun's height: at sunrise the sky is bright long before the beam is.
    """
    east, north, up = sun_direction(utc_s, latitude, longitude)
    elevation = np.degrees(np.arcsin(np.clip(up, -1, 1)))
    above = elevation > 0
    lifted = np.maximum(elevation, 0.0)
    mass = 1 / (np.sin(np.radians(lifted)) + 0.50572 * (lifted + 6.07995) ** -1.6364)
    direct = np.where(above, 1.353 * 0.7 ** (mass**0.678), 0.0)
    return np.stack([direct * east, direct * north, direct * up, 0.12 * np.sqrt(np.maximum(up, 0))], axis=1)


def clear_ghi_w_per_m2(utc_s: np.ndarray, latitude: float, longitude: float) -> np.ndarray:
    """(m,) W/m² on a level plane under a clear sky, by the same formulas as what an array is fitted to."""
    rows = _irradiance(utc_s, latitude, longitude)
    return 1000 * (rows[:, 2] + rows[:, 3])


def sun_direction(utc_s: np.ndarray, latitude: float, longitude: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vector to the sun (east, north, up), good to 0.1° between 1950 and 2050.

    Source: The Astronomical Almanac's low-precision formulas for the sun, without refraction.
    """
    days = (np.asarray(utc_s, dtype=float) - 946_728_000) / DAY_S  # since 2000-01-01 12:00
    mean = np.radians(280.460 + 0.9856474 * days)
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = mean + np.radians(1.915) * np.sin(anomaly) + np.radians(0.020) * np.sin(2 * anomaly)
    tilt = np.radians(23.439 - 4e-7 * days)
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    right_ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    sidereal = np.radians((280.46062 + 360.98564737 * days + longitude) % 360)
    hour, place = sidereal - right_ascension, np.radians(latitude)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(place) * np.sin(declination) - np.sin(place) * np.cos(declination) * np.cos(hour)
    up = np.sin(place) * np.sin(declination) + np.cos(place) * np.cos(declination) * np.cos(hour)
    return east, north, up
