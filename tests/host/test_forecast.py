"""Forecasts: exact on what repeats, honest about what does not, and better than the naive ones on a real trace."""

import numpy as np
import pytest

from forerun.compute.load import google_2019_utilisation, node_power_w
from forerun.forecast.members import UNSEEN_BY_NONE, Clock, LeadRegression, _Past, usual_coefficients
from forerun.forecast.model import (
    Forecast,
    ForecastError,
    LoadModel,
    _quantiles,
    _spread,
    _weights,
    forecast_load,
    quantiles,
)

DAY = 288


def ordered(forecast: Forecast, count: int) -> bool:
    shapes = {values.shape for values in (forecast.q10, forecast.q50, forecast.q90)}
    assert shapes == {(count,)}
    return bool(np.all(forecast.q10 <= forecast.q50 + 1e-9) and np.all(forecast.q50 <= forecast.q90 + 1e-9))


def test_what_repeats_every_day_is_foreseen_exactly():
    day = 5000 + 1000 * np.sin(np.arange(DAY) / DAY * 2 * np.pi)
    got = forecast_load(np.tile(day, 4)[: 3 * DAY + 100], 300, DAY)
    np.testing.assert_allclose(got.q50, np.roll(day, -100), atol=1e-6)
    np.testing.assert_allclose(got.q10, got.q90, atol=1e-6)
    assert got.basis == "same time of 3 past days, today's difference fading"


def test_a_day_that_differs_moves_the_near_hours_and_not_the_far_ones():
    load_w = np.full(4 * DAY, 5000.0)
    load_w[-6:] = 8000.0
    got = forecast_load(load_w, 300, DAY)
    usual_w = 5000 + 3000 / 4 * np.isin(np.arange(DAY), np.arange(DAY - 6, DAY))
    assert got.q50[0] == pytest.approx(5000 + 3000 * np.exp(-300 / 7200), rel=0.02)
    assert np.all(np.abs(got.q50[DAY // 2 :] - usual_w[DAY // 2 :]) < 50)


def test_short_history_falls_back_and_says_so():
    got = forecast_load(np.array([1000.0, 3000.0, 2000.0]), 300, 4)
    assert list(got.q50) == [2000] * 4 and ordered(got, 4)
    assert got.q10[0] < 2000 < got.q90[0]
    assert got.basis == "persistence: less than a day and a quarter of history"
    nothing = forecast_load(np.array([]), 300, 3, default_w=4200.0)
    assert list(nothing.q50) == [4200] * 3 and nothing.basis == "no history: default 4200 W"
    assert forecast_load(np.array([np.nan, np.nan]), 300, 3).basis.startswith("no history")


@pytest.mark.parametrize("days", (0.5, 1.3, 2, 5.5))
def test_a_short_history_of_a_load_that_comes_and_goes_foresees_no_more_than_was_seen(days):
    load_w = np.where(np.arange(round(days * 288)) // 7 % 2, 8000.0, 1000.0)
    made = forecast_load(load_w, 300, 288)
    for level in (made.q10, made.q50, made.q90):
        assert level.min() >= 1000 and level.max() <= 8000


def test_missing_measurements_are_left_out_not_counted_as_zero():
    rng = np.random.default_rng(3)
    load_w = np.tile(5000 + 1000 * np.sin(np.arange(DAY) / DAY * 2 * np.pi), 5)
    holed = np.where(rng.random(len(load_w)) < 0.2, np.nan, load_w)
    np.testing.assert_allclose(forecast_load(holed, 300, DAY).q50, load_w[:DAY], atol=5)
    whole_hour = load_w.copy().reshape(5, DAY)
    whole_hour[:, 10:22] = np.nan  # a time of day that nobody ever measured
    got = forecast_load(whole_hour.ravel(), 300, DAY)
    assert np.all(np.isfinite(got.q50)) and ordered(got, DAY)


def test_on_the_real_trace_it_beats_yesterday_and_the_last_value():
    load_w = node_power_w(google_2019_utilisation(), 4000, 11_000)
    errors, inside, near, width_w = {"this": [], "yesterday": [], "last": []}, [], [], []
    for now in range(8 * DAY, 27 * DAY, 311):
        got, real = forecast_load(load_w[now - 8 * DAY : now], 300, DAY), load_w[now : now + DAY]
        assert ordered(got, DAY)
        errors["this"].append(np.abs(real - got.q50).mean())
        errors["yesterday"].append(np.abs(real - load_w[now - DAY : now]).mean())
        errors["last"].append(np.abs(real - load_w[now - 1]).mean())
        inside.append(np.mean((real >= got.q10) & (real <= got.q90)))
        near.append(got.q10[0] <= real[0] <= got.q90[0])
        width_w.append(got.q90 - got.q10)
    mean = {name: np.mean(values) for name, values in errors.items()}
    assert mean["this"] < 0.93 * mean["yesterday"] and mean["this"] < 0.82 * mean["last"], mean
    assert 0.74 < np.mean(inside) < 0.86  # nominal 0.8
    assert 0.7 < np.mean(near) < 0.9  # also five minutes ahead, where the band is much narrower
    assert np.mean(width_w, axis=0)[0] < 0.6 * np.mean(width_w, axis=0)[-1]


@pytest.mark.parametrize(
    ("history", "step_s", "count", "said"),
    [
        (np.zeros((2, 2)), 300, 4, "load_w has the shape"),
        (np.array([np.inf]), 300, 4, "infinite"),
        (np.zeros(4), 7, 4, "step_s is 7; it must divide a day"),
        (np.zeros(4), 300, 0, "count is 0"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(history, step_s, count, said):
    with pytest.raises(ForecastError, match=said):
        forecast_load(history, step_s, count)


def noisy_days(days: int, seed: int) -> np.ndarray:
    """A load with a daily shape, slow drift and noise that follows itself."""
    rng = np.random.default_rng(seed)
    n = days * DAY
    drift = np.convolve(rng.normal(size=n + 99), np.exp(-np.arange(100) / 20), mode="valid")
    return 5000 + 900 * np.sin(np.arange(n) / DAY * 2 * np.pi) + 120 * drift


def test_the_model_beats_both_naive_rules_and_its_band_holds_what_it_says():
    load_w = noisy_days(30, seed=4)
    model = LoadModel(load_w[: 22 * DAY], 300, DAY)
    ours, last, yesterday, inside = [], [], [], []
    for now in range(22 * DAY, 29 * DAY, 61):
        got, real = forecast_load(load_w[:now], 300, DAY, model=model), load_w[now : now + DAY]
        assert ordered(got, DAY) and "regression by lead" in got.basis
        ours.append(np.abs(real - got.q50).mean())
        last.append(np.abs(real - load_w[now - 1]).mean())
        yesterday.append(np.abs(real - load_w[now - DAY : now]).mean())
        inside.append(np.mean((real >= got.q10) & (real <= got.q90)))
    assert np.mean(ours) < 0.75 * np.mean(yesterday) and np.mean(ours) < 0.6 * np.mean(last)
    assert 0.74 < np.mean(inside) < 0.9, np.mean(inside)


def test_nothing_after_the_origin_reaches_a_forecast():
    load_w = noisy_days(12, seed=5)
    model = LoadModel(load_w[: 9 * DAY], 300, 2 * DAY)
    now = 10 * DAY + 17
    spoilt = load_w.copy()
    spoilt[now:] = 1e6
    same = model.forecast(load_w[:now], 2 * DAY), model.forecast(spoilt[:now], 2 * DAY)
    np.testing.assert_array_equal(same[0].q50, same[1].q50)
    assert np.all(np.isfinite(same[0].q90)) and len(same[0].q50) == 2 * DAY


def test_a_model_that_loses_to_the_last_value_gives_way_to_it():
    rng = np.random.default_rng(6)
    walk = 50_000 + np.cumsum(rng.choice([-400.0, 400.0], 14 * DAY))  # a random walk: nothing beats the last value
    got = forecast_load(np.abs(walk), 300, DAY)
    assert "last value" in got.basis
    assert np.abs(got.q50 - walk[-1]).max() < 0.25 * walk.std()


def test_a_history_with_holes_still_makes_a_model_and_a_broken_one_does_not():
    load_w = noisy_days(12, seed=7)
    holed = load_w.copy()
    holed[3 * DAY : 3 * DAY + 40] = np.nan
    holed[::17] = np.nan
    got = forecast_load(holed, 300, DAY)
    assert "regression" in got.basis
    whole = forecast_load(load_w, 300, DAY)
    assert np.abs(got.q50 - whole.q50).mean() < 0.05 * load_w.mean()
    broken = load_w.copy()
    broken[-5 * DAY :][np.random.default_rng(8).random(5 * DAY) < 0.6] = np.nan
    assert forecast_load(broken, 300, DAY).basis.startswith("same time of")


def test_a_load_that_has_moved_for_good_is_foreseen_where_it_is_now():
    load_w = noisy_days(14, seed=9)
    load_w[-10 * 12 :] += 8000  # ten hours ago a rack was added
    got = forecast_load(load_w, 300, DAY)
    assert np.abs(got.q50 - (noisy_days(15, seed=9)[14 * DAY :] + 8000)).mean() < 800
    lower = noisy_days(14, seed=9)
    lower[-10 * 12 :] -= 3900
    assert np.abs(forecast_load(lower, 300, DAY).q50 - (noisy_days(15, seed=9)[14 * DAY :] - 3900)).mean() < 800


def test_the_general_coefficients_are_whole_and_near_the_last_value_at_first():
    leads, table = usual_coefficients()
    assert leads[0] == 1 and leads[-1] == 288 and np.all(np.diff(leads) > 0) and table.shape == (len(leads), 28)
    flat = np.full(3 * DAY, 4000.0) + np.random.default_rng(1).normal(size=3 * DAY)
    fitted, general = LeadRegression(flat, Clock.of(300, DAY)).ahead(flat, np.array([3 * DAY]), np.array([1, 288]))
    assert np.abs(general - 4000).max() < 5 and np.abs(fitted - 4000).max() < 5


@pytest.mark.parametrize("step_s", [300, 900, 3600, 8 * 3600, 12 * 3600, 86_400])
def test_every_lead_lies_ahead_whatever_the_step(step_s):
    for count in (1, 2, 5, 60):
        leads = Clock.of(step_s, count).leads
        assert leads[0] == 1 and leads[-1] == count and np.all(np.diff(leads) > 0)


def test_coefficients_between_leads_lie_on_straight_lines():
    load_w = noisy_days(9, seed=10)
    clock = Clock.of(300, 2 * DAY)
    fitted = LeadRegression(load_w, clock, [(7 * DAY, 8 * DAY)])
    leads, origins = np.arange(1, 2 * DAY + 1), np.array([8 * DAY, 9 * DAY])
    at, lead = (grid.ravel() for grid in np.meshgrid(origins, leads, indexing="ij"))
    rows, base = _Past(load_w, clock).rows(at, lead, fitted.scale)
    for block, which in ((UNSEEN_BY_NONE, 0), (0, 2)):
        between = np.stack([np.interp(leads, clock.leads, column) for column in fitted.coefficients[which].T], axis=1)
        got = fitted.ahead(load_w, origins, leads, block)[0].ravel()
        expected = base + fitted.scale * (rows * np.tile(between, (len(origins), 1))).sum(axis=1)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_errors_of_late_count_more_and_unknown_ones_not_at_all():
    rng = np.random.default_rng(11)
    error = rng.normal(size=(400, 2))
    error[200:] *= 3
    error[::7, 1] = np.nan
    alike, late = np.ones((400, 2)), np.where(np.arange(400) < 200, 1e-9, 1.0)[:, None] * np.ones(2)
    for fresh, part in ((alike, slice(None)), (late, slice(200, None))):
        got = _quantiles(error, fresh, (0.1, 0.9))
        np.testing.assert_allclose(got, np.nanquantile(error[part], (0.1, 0.9), axis=0), rtol=0.05)


def test_who_was_right_of_late_weighs_more():
    rng = np.random.default_rng(12)
    actual = rng.normal(size=(100, 1))
    members = np.repeat(actual[None] + 2.0, 5, axis=0)
    members[0, :60], members[1, 60:] = actual[:60], actual[60:]  # the last value did well before, yesterday since then
    alike, late = np.ones((100, 1)), 0.5 ** (np.arange(100)[::-1, None] / 20)
    before, since = (_weights(members, actual, fresh, np.array([1.0]))[:2, 0] for fresh in (alike, late))
    assert before[0] > before[1] and since[0] < since[1]
    far = _weights(members, actual, alike, np.array([288.0]))
    assert far[4, 0] >= 0.1 and far.sum() == pytest.approx(1)


def test_restless_hours_widen_the_band_of_near_leads_alone():
    calm = 5000 + np.random.default_rng(6).normal(0, 50, 10 * DAY)
    model, restless = LoadModel(calm, 300, DAY), calm.copy()
    restless[-DAY // 4 :] += np.where(np.arange(DAY // 4) % 2, 100, -100)
    got, usual = (model.forecast(values, DAY) for values in (restless, calm))
    wider = (got.q90 - got.q10) / (usual.q90 - usual.q10)
    assert 1.4 < wider[0] < 3 and wider[0] > wider[DAY // 4] > wider[-1] and wider[-1] == pytest.approx(1.2, abs=0.15)
    # However restless, it is no reason for a band without bounds; where nearly nothing ever moved, it still counts.
    for days in (9, 20):
        wild = np.concatenate([np.zeros(days * DAY), np.tile([0.0, 9000.0], DAY // 8)])
        near, same_time_tomorrow = _spread(wild, np.array([len(wild)]), np.array([1, 1 + DAY]), DAY)[0]
        assert 1.5 < near / same_time_tomorrow < 2.2
    assert np.all(np.isfinite(_spread(calm[:12], np.array([12]), np.array([1, 2]), 1)))  # a day of one step, too


@pytest.mark.parametrize("shape", [(1,), (2,), (60,), (5, 199), (2, 3, 8)])
def test_quantiles_by_sorting_are_those_of_numpy(shape):
    values, levels = np.random.default_rng(9).normal(size=shape), (0.0, 0.1, 0.5, 0.9, 0.98, 1.0)
    usual = np.moveaxis(np.quantile(values, levels, axis=-1), 0, -1)
    np.testing.assert_allclose(quantiles(values, levels), usual, rtol=1e-12, atol=1e-12)
