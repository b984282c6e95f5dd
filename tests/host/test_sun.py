"""PV forecasts: the sun's place against another's code, the array's direction learnt, clouds that fade."""

import numpy as np
import pandas as pd
import pvlib
import pytest

from forerun.forecast.sun import forecast_pv, sun_direction

DAY = 288
PLACE = (63.4, 10.4)
MIDNIGHT = 1_774_828_800  # 2026-03-30


def south_w(days: int, start_utc_s: float = MIDNIGHT) -> np.ndarray:
    """A clear-sky array of 5 kW at 40° to the south, by pvlib."""
    times = pd.to_datetime(start_utc_s + 300 * (np.arange(days * DAY) + 0.5), unit="s", utc=True)
    place = pvlib.location.Location(*PLACE)
    sky, sun = place.get_clearsky(times, model="haurwitz"), place.get_solarposition(times)
    parts = pvlib.irradiance.erbs(sky["ghi"], sun["zenith"], times)
    plane = pvlib.irradiance.get_total_irradiance(
        40, 180, sun["apparent_zenith"], sun["azimuth"], parts["dni"], sky["ghi"], parts["dhi"]
    )
    return 5 * np.nan_to_num(plane["poa_global"].to_numpy())


def test_the_sun_stands_where_pvlib_says():
    times = pd.date_range("2026-01-01", "2026-12-31", freq="211min", tz="UTC")
    utc_s = (times - pd.Timestamp(0, tz="UTC")).total_seconds().to_numpy()
    for latitude, longitude in ((63.4, 10.4), (-33.9, 151.2), (0.0, -78.5)):
        sun = pvlib.solarposition.get_solarposition(times, latitude, longitude)
        east, north, up = sun_direction(utc_s, latitude, longitude)
        assert np.abs(np.degrees(np.arcsin(up)) - sun["elevation"].to_numpy()).max() < 0.05
        turn = (np.degrees(np.arctan2(east, north)) - sun["azimuth"].to_numpy() + 180) % 360 - 180
        assert np.abs(turn[up < 0.95]).max() < 0.3


def test_a_clear_array_is_foreseen_from_its_past_at_any_hour():
    pv_w = south_w(12)
    for now in (10 * DAY, 10 * DAY + 100, 10 * DAY + 160, 10 * DAY + 250):
        got = forecast_pv(pv_w[:now], 300, DAY, MIDNIGHT + 300 * now, PLACE)
        real = pv_w[now : now + DAY]
        assert np.abs(got.q50 - real).mean() < 0.03 * real.mean(), now
        assert np.all(got.q10 <= got.q50) and np.all(got.q50 <= got.q90) and got.q10.min() >= 0


def test_an_array_of_any_size_is_foreseen_alike():
    pv_w, now = south_w(10), 9 * DAY + 130
    pv_w[7 * DAY :] *= 0.5
    one, many = (forecast_pv(size * pv_w[:now], 300, DAY, MIDNIGHT + 300 * now, PLACE) for size in (1, 100))
    for level in ("q10", "q50", "q90"):
        assert getattr(many, level) == pytest.approx(100 * getattr(one, level), rel=1e-6, abs=1e-3), level


def test_clouds_now_dim_the_next_hour_and_fade():
    pv_w = south_w(13)
    now = 10 * DAY + 130
    cloudy = pv_w[:now].copy()
    cloudy[10 * DAY :] *= 0.3
    got = forecast_pv(cloudy, 300, 2 * DAY, MIDNIGHT + 300 * now, PLACE)
    assert got.q50[3] == pytest.approx(0.3 * pv_w[now + 3], rel=0.35)
    assert got.q50[DAY] > 0.8 * pv_w[now]
    assert got.q50[pv_w[now : now + 2 * DAY] == 0].max() < 100


def test_without_history_or_daylight_none_is_counted_on():
    assert list(forecast_pv(np.ones(100), 300, 2, MIDNIGHT, PLACE).q90) == [0, 0]
    assert "none is counted on" in forecast_pv(np.zeros(3 * DAY), 300, 2, MIDNIGHT, PLACE).basis
    holed = south_w(6)
    holed[np.random.default_rng(1).random(len(holed)) < 0.3] = np.nan
    got = forecast_pv(holed, 300, 2 * DAY, MIDNIGHT + 6 * 86400, PLACE)
    assert np.all(np.isfinite(got.q50)) and got.q50.max() > 1000
