"""Weather forecasts for PV: two published shapes, everything that may be wrong with them, and what they are worth."""

import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from forerun.compute import sources
from forerun.compute.sources import SourceError
from forerun.compute.weather import HOUR_S, Sky, clearness_of
from forerun.forecast.sun import clear_ghi_w_per_m2, forecast_pv

DAY, PLACE = 288, (63.4, 10.4)
NOON = 1_781_784_000  # 2026-06-18T12:00Z


def open_meteo(start_s, values, key="shortwave_radiation", offset_s=0):
    """As the forecast API answers: the time is local and without offset."""
    times = [datetime.fromtimestamp(start_s + HOUR_S * index + offset_s, UTC).strftime("%Y-%m-%dT%H:%M")
             for index in range(len(values))]  # fmt: skip
    return {"latitude": 63.42, "longitude": 10.4, "utc_offset_seconds": offset_s, "timezone": "GMT", "elevation": 10.0,
            "hourly_units": {"time": "iso8601", key: "W/m²"}, "hourly": {"time": times, key: values}}  # fmt: skip


def met_norway(start_s, covers):
    """As Locationforecast 2.0 compact answers: GeoJSON."""
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10.4, 63.4, 10]}, "properties": {
        "meta": {"updated_at": "2026-06-18T11:31:12Z", "units": {"cloud_area_fraction": "%"}},
        "timeseries": [{"time": datetime.fromtimestamp(start_s + HOUR_S * index, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                        "data": {"instant": {"details": {"cloud_area_fraction": cover, "air_temperature": 12.1}}}}
                       for index, cover in enumerate(covers)]}}  # fmt: skip


def test_irradiance_is_the_mean_of_the_hour_that_ends_at_its_time():
    inside = NOON + np.arange(150, HOUR_S, 300.0)
    half = 0.5 * float(clear_ghi_w_per_m2(inside, *PLACE).mean())
    got = clearness_of("weather", open_meteo(NOON, [None, half, *[100] * 10]), PLACE, NOON)
    assert got[NOON] == pytest.approx(0.5) and NOON - HOUR_S not in got
    local = clearness_of("weather", open_meteo(NOON, [None, half, *[100] * 10], offset_s=7200), PLACE, NOON)
    assert local == got
    seconds = open_meteo(NOON, [None, half, *[100] * 10])
    seconds["hourly"]["time"] = [NOON + HOUR_S * index for index in range(12)]  # timeformat=unixtime
    assert clearness_of("weather", seconds, PLACE, NOON) == got


def test_cloud_cover_of_both_services_dims_as_kasten_and_czeplak_measured():
    covers = [0, 50, 100, *[0] * 9]
    found = clearness_of("weather", met_norway(NOON, covers), PLACE, NOON)
    assert [round(found[NOON + HOUR_S * index], 3) for index in range(3)] == [1, 0.929, 0.25]
    assert clearness_of("weather", open_meteo(NOON, covers, key="cloud_cover"), PLACE, NOON) == found


def test_a_whole_answer_in_the_published_form_is_read(tmp_path):
    """Form and fields as in MET Norway's ForecastJSON page and Locationforecast 2.0's OpenAPI description, values ours:
    by the hour for two and a half days, then every six hours, the last ones without the periods that follow."""
    hours = [*range(58), *range(60, 238, 6)]
    cover = lambda hour: round(50 + 50 * float(np.sin(hour / 5)), 1)  # noqa: E731
    entries = []
    for hour in hours:
        details = {"air_pressure_at_sea_level": 1012.1, "air_temperature": 11.6, "cloud_area_fraction": cover(hour),
                   "relative_humidity": 71.2, "wind_from_direction": 231.4, "wind_speed": 4.3}  # fmt: skip
        data = {"instant": {"details": details}, "next_12_hours": {"summary": {"symbol_code": "cloudy"}, "details": {}}}
        if hour < 58:
            data["next_1_hours"] = {"summary": {"symbol_code": "lightrain"}, "details": {"precipitation_amount": 0.3}}
        at = datetime.fromtimestamp(NOON + HOUR_S * hour, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entries.append({"time": at, "data": data if hour != hours[-1] else {"instant": {"details": details}}})
    units = {"air_pressure_at_sea_level": "hPa", "air_temperature": "celsius", "cloud_area_fraction": "%",
             "precipitation_amount": "mm", "relative_humidity": "%", "wind_from_direction": "degrees",
             "wind_speed": "m/s"}  # fmt: skip
    answer = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10.4, 63.4, 10]}, "properties": {
        "meta": {"updated_at": "2026-06-18T11:31:12Z", "units": units}, "timeseries": entries}}  # fmt: skip
    (tmp_path / "sky.json").write_text(json.dumps(answer))
    document = sources.document("weather", str(tmp_path / "sky.json"), time.time())
    sky = Sky()
    sky.take(clearness_of("weather", document, PLACE, NOON + 1800), NOON + 1800)
    clear = sky.steps(NOON, 300, 3 * DAY)
    for hour in (0, 7, 57):
        expected = 1 - 0.75 * (cover(hour) / 100) ** 3.4
        np.testing.assert_allclose(clear[12 * hour : 12 * (hour + 1)], expected)
    assert np.isfinite(clear[: 58 * 12]).all() and np.isnan(clear[58 * 12 : 60 * 12]).all()
    del answer["properties"]["timeseries"][0]["data"]["instant"]["details"]["cloud_area_fraction"]
    assert NOON not in clearness_of("weather", answer, PLACE, NOON)  # a value that is missing is left out
    refused = {"error": True, "reason": "Cannot initialize SurfacePressureVariable from invalid String value"}
    with pytest.raises(SourceError, match="neither Open-Meteo's `hourly` nor MET Norway's"):
        clearness_of("weather", refused, PLACE, NOON)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"daily": {}}, "neither Open-Meteo"),
        (open_meteo(NOON, [1] * 12, key="temperature_2m"), "ask for hourly="),
        (open_meteo(NOON, [1e5] * 12), "shortwave_radiation is 100000"),
        (open_meteo(NOON, [-3] * 12, key="cloud_cover"), "cloud_cover is -3"),
        (met_norway(NOON, [0.4, 101] * 6), "cloud_area_fraction is 101"),
        (met_norway(NOON - 40 * HOUR_S, [10] * 40), "ends before the next six hours"),
        (met_norway(NOON + 60, [10] * 12), "no whole hour"),
    ],
)
def test_a_forecast_that_is_stale_or_absurd_is_refused_in_one_sentence(document, said):
    with pytest.raises(SourceError, match=said):
        clearness_of("weather", document, PLACE, NOON)


def test_the_sky_keeps_what_was_forecast_before_each_hour():
    sky = Sky()
    sky.take({0: 0.2, 3600: 0.4}, now_s=-60)
    sky.take({0: 0.9, 3600: 0.5, 7200: 0.6}, now_s=10)  # the first hour has begun
    np.testing.assert_array_equal(sky.steps(0, 1800, 7), [0.2, 0.2, 0.5, 0.5, 0.6, 0.6, np.nan])
    sky.drop_ahead(10)
    np.testing.assert_array_equal(sky.steps(0, 3600, 2), [0.2, np.nan])


def cloudy_site(seed: int):
    """(pv_w, clearness) of 21 days in June in which every day has its own clouds, 5-minute steps."""
    rng = np.random.default_rng(seed)
    clear = 5 * clear_ghi_w_per_m2(NOON - 43_200 + 300 * (np.arange(21 * DAY) + 0.5), *PLACE)
    clearness = np.repeat(rng.uniform(0.15, 1.0, 21 * 4), DAY // 4)
    return clear * clearness * rng.uniform(0.9, 1.1, len(clear)), clearness


def errors_w(pv_w, sky):
    wrong, inside = [], []
    for now in range(15 * DAY, 20 * DAY, 71):
        told = None if sky is None else sky[: now + DAY]
        got = forecast_pv(pv_w[:now], 300, DAY, NOON - 43_200 + 300 * now, PLACE, told)
        real = pv_w[now : now + DAY]
        wrong.append(np.abs(got.q50 - real).mean())
        inside.append(np.mean(((real >= got.q10 - 1) & (real <= got.q90 + 1))[real > 100]))
    return np.mean(wrong), np.mean(inside)


def test_a_good_weather_forecast_is_leant_on_and_a_bad_one_is_not():
    pv_w, clearness = cloudy_site(seed=1)
    rng = np.random.default_rng(2)
    alone, _ = errors_w(pv_w, None)
    good, covered = errors_w(pv_w, 0.8 * clearness * rng.uniform(0.85, 1.15, len(clearness)))  # and 20 % too dark
    bad, _ = errors_w(pv_w, rng.permutation(clearness))
    assert good < 0.5 * alone
    assert bad < 1.1 * alone
    assert 0.65 < covered < 0.95
    assert errors_w(pv_w, np.full(len(clearness), np.nan))[0] == alone
    got = forecast_pv(pv_w[: 15 * DAY], 300, DAY, NOON - 43_200 + 300 * 15 * DAY, PLACE, clearness[: 16 * DAY])
    assert "by the weather forecast" in got.basis
