"""Announced jobs in a forecast: out of the past, onto the future, corrected by what they drew; those not told yet."""

import numpy as np
import pytest

from forerun.compute.load import Announcement
from forerun.forecast.jobs import PARTS, JobLog, JobModel, Told, forecast_both, known_at, learnt_share, unseen
from forerun.forecast.model import LoadModel

DAY, STEP_S = 288, 300
N = 14 * DAY


def beneath(seed: int) -> np.ndarray:
    """A load of 5 kW with a daily shape and noise, without jobs."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.normal(size=N + DAY + 11), np.ones(12) / 12, "valid")
    return 5000 + 600 * np.sin(np.arange(N + DAY) / DAY * 2 * np.pi) + 100 * noise


def drawn(told: list[Told], power: float = 1.0, time: float = 1.0) -> np.ndarray:
    """(N + DAY,) W that the jobs really draw: `power` and `time` of what was announced."""
    at_s = STEP_S * np.arange(N + DAY)
    load_w = np.zeros(N + DAY)
    for item in told:
        first, last = item.job.start_utc_s, min(item.job.start_utc_s + time * item.job.duration_s, item.ended_utc_s)
        load_w[(at_s >= first) & (at_s < last)] += power * item.job.power_w
    return load_w


def announced(seed: int, lead_s: float = 3 * 86_400.0, a_day: int = 4) -> list[Told]:
    """Jobs on whole steps, each told lead_s before its start."""
    rng, told = np.random.default_rng(seed), []
    for index in range(a_day * N // DAY + a_day):
        start_s = STEP_S * int(rng.integers(N + DAY))
        job = Announcement(
            f"job-{index}", float(rng.uniform(2000, 6000)), start_s, STEP_S * 4 * int(rng.integers(2, 12))
        )
        told.append(Told(start_s - lead_s, job))
    return told


def error_w(forecast, real_w: np.ndarray) -> float:
    return float(np.abs(forecast.q50 - real_w).mean())


def test_jobs_that_are_known_leave_the_error_of_the_load_beneath_them():
    base_w, told = beneath(1), announced(2)
    real_w = base_w + drawn(told)
    got = JobModel(real_w[:N], STEP_S, DAY, 0.0, told).forecast(real_w[:N], DAY, 0.0, told)
    alone = LoadModel(base_w[:N], STEP_S, DAY).forecast(base_w[:N], DAY)
    blind = LoadModel(real_w[:N], STEP_S, DAY).forecast(real_w[:N], DAY)
    least_w = error_w(alone, base_w[N:])
    assert error_w(got, real_w[N:]) < 1.15 * least_w
    assert error_w(blind, real_w[N:]) > 5 * least_w
    assert "announced" in got.basis


def test_what_jobs_draw_and_how_long_is_learnt_from_the_meter():
    base_w, told = beneath(3), announced(4)
    half = JobModel((base_w + drawn(told, power=0.5))[:N], STEP_S, DAY, 0.0, told)
    assert half.share == pytest.approx([0.5] * PARTS, abs=0.05)
    early = JobModel((base_w + drawn(told, time=0.5))[:N], STEP_S, DAY, 0.0, told)
    assert early.share == pytest.approx([1, 1, 0, 0], abs=0.1)
    exact = JobModel((base_w + drawn(told))[:N], STEP_S, DAY, 0.0, told)
    assert exact.share == pytest.approx([1] * PARTS, abs=0.05)


def test_a_few_jobs_or_a_meter_that_says_nothing_teach_nothing():
    rows = np.zeros((10, PARTS))
    rows[4:6] = 1000
    load_w = np.full(10, 500.0)
    assert list(learnt_share(load_w, rows, jobs=3)) == [1] * PARTS
    assert list(learnt_share(np.full(10, np.nan), rows, jobs=30)) == [1] * PARTS
    assert np.all(learnt_share(load_w + 50 * rows.sum(axis=1), rows, jobs=30) <= 3)


def test_a_job_that_the_meter_never_saw_is_not_taken_out_and_only_widens_the_band():
    base_w, told = beneath(31)[: N + DAY], announced(32)
    real_w = base_w + drawn(told)
    now_s = STEP_S * N
    over = Told(0.0, Announcement("crashed", 4500, now_s - 6 * 3600.0, 7200))
    running = Told(0.0, Announcement("hung in the queue", 4500, now_s - 3600.0, 4 * 3600))
    early = N - 24  # the model is fitted before the one hangs
    model = JobModel(real_w[:early], STEP_S, DAY, 0.0, [*told, over, running])
    base, whole = model.both(real_w[:N], DAY, 0.0, [*told, over, running])
    usual, without = JobModel(real_w[:early], STEP_S, DAY, 0.0, told).both(real_w[:N], DAY, 0.0, told)
    assert base.q50 == pytest.approx(usual.q50, rel=0.02)
    assert whole.q50 == pytest.approx(without.q50, rel=0.02)
    assert np.all((whole.q90 - without.q90)[:35] > 3500), "it may still come"
    assert whole.q90[40:] == pytest.approx(without.q90[40:], rel=0.05)


@pytest.mark.parametrize("seed", range(40, 45))
def test_jobs_that_came_are_believed_whatever_follows_them(seed):
    """Back to back, beside each other, on a load that is hardly steady, drawing less than was said."""
    rng = np.random.default_rng(seed)
    print("seed", seed)
    told = announced(seed, a_day=12)
    told += [Told(0.0, Announcement(f"next-{k}", 5000, item.end_utc_s, 7200)) for k, item in enumerate(told[::5])]
    for unrest_w, power in ((0, 1.0), (0, 0.5), (1500, 1.0)):
        base_w = beneath(seed) + unrest_w * np.repeat(rng.normal(size=(N + DAY) // 6), 6)
        real_w = (base_w + drawn(told, power))[:N]
        share = np.full(PARTS, power)
        assert len(unseen(real_w, 0.0, STEP_S, told, share)) <= 0.01 * len(told), (unrest_w, power)


def test_jobs_told_late_are_expected_at_the_hour_at_which_they_used_to_come():
    base_w = beneath(5)
    every_night = [Told(day * 86_400 + 7000, Announcement(f"backup-{day}", 4000, day * 86_400 + 7200, 7200))
                   for day in range(15)]  # fmt: skip
    real_w = base_w + drawn(every_night)
    model = JobModel(real_w[:N], STEP_S, DAY, 0.0, every_night[:14])
    got = model.forecast(real_w[:N], DAY, 0.0, every_night)  # tonight's is told of when it is nearly there
    night, noon = slice(26, 46), slice(140, 200)
    assert np.abs(got.q50 - real_w[N:])[night].mean() < 600
    assert np.abs(got.q50 - real_w[N:])[noon].mean() < 300


HOUR = 3600


@pytest.mark.parametrize(
    "said",  # (s from the job's start on, power_w, s by which it starts later, duration_s)
    [
        [(-18 * HOUR, 4000, 0, 7200), (-6 * HOUR, 4000, 0, 7200), (-600, 4000, 0, 7200)],
        [(-18 * HOUR, 4100, 900, 7200), (-6 * HOUR, 3900, -600, 7200), (-600, 4000, 0, 7200)],  # as a queue moves
        [(1200, 4000, 0, 7200), (2400, 4000, 0, 7200), (3600, 4000, 0, 7200)],  # while it runs
        [(1200, 4000, 0, 9000), (2400, 4000, 0, 8000), (3600, 4000, 0, 7200)],
    ],
)
def test_a_job_that_is_said_again_or_corrected_is_known_since_it_was_first_told_of(said):
    """A day ahead of each night's job, and then again: what was known is not expected beside it."""
    log, base_w, nights = JobLog(), beneath(5), [day * 86_400 + 7200 for day in range(15)]
    said = [(-86_400, 4000, 0, 7200), *said]
    heard = [(night_s + at_s, Announcement(f"backup-{night_s}", power_w, night_s + later_s, duration_s))
             for night_s in nights for at_s, power_w, later_s, duration_s in said]  # fmt: skip
    for at_s, job in sorted(heard, key=lambda item: item[0]):
        if at_s <= N * STEP_S:
            log.announce(at_s, job)
    real_w = base_w + drawn([Told(0.0, Announcement("", 4000, night_s, 7200)) for night_s in nights])
    got = JobModel(real_w[:N], STEP_S, DAY, 0.0, log.told).forecast(real_w[:N], DAY, 0.0, log.told)
    assert np.abs(got.q50 - real_w[N:])[:60].mean() < 500


def test_a_log_says_since_when_each_part_of_a_job_is_known():
    log = JobLog()
    log.announce(0, Announcement("a", 1000, 600, 600))
    log.announce(10, Announcement("a", 1000, 600, 600))  # no news
    assert [item.known for item in log.told] == [()]
    log.announce(20, Announcement("a", 1000, 300, 600))  # sooner: its first half is news
    log.announce(30, Announcement("a", 1200, 300, 1800))  # longer
    assert log.told[-1].known == ((600, 20), (900, 0))
    log.announce(800, Announcement("a", 1200, 300, 1800))  # it runs: what is left of it is no news either
    assert len(log.told) == 3
    log.announce(950, Announcement("a", 1200, 300, 2000))
    assert log.told[-1].known == ((2100, 30),) and log.told[-1].job.start_utc_s == 950
    log.announce(960, Announcement("a", 9000, 300, 2000))  # so much more was not known
    assert log.told[-1].known == () and log.told[-2].ended_utc_s == 960


def test_nothing_that_is_told_later_reaches_a_forecast():
    real_w, told = beneath(6)[:N], announced(7, lead_s=3600.0)
    now_s = float(STEP_S * N)
    model = JobModel(real_w, STEP_S, DAY, 0.0, told)
    later = [item for item in told if item.announced_utc_s <= now_s]
    np.testing.assert_array_equal(
        model.forecast(real_w, DAY, 0.0, told).q50, model.forecast(real_w, DAY, 0.0, later).q50
    )
    item = Told(0.0, told[0].job, ended_utc_s=50.0)
    assert known_at(item, 49.0).ended_utc_s == np.inf and known_at(item, 50.0) is item


def test_a_log_of_announcements_knows_what_was_replaced_taken_back_and_ended_early():
    log = JobLog()
    log.announce(0, Announcement("a", 1000, 600, 600))
    log.announce(100, Announcement("a", 2000, 600, 600))  # replaces it before it came
    log.cancel(900, "a")
    log.cancel(950, "never heard of")
    first, second = log.told
    assert first.end_utc_s < first.job.start_utc_s and second.end_utc_s == 900
    log.announce(1000, Announcement("b", 500, 400, 1200))  # running already: from now on
    assert (log.told[-1].job.start_utc_s, log.told[-1].job.duration_s) == (1000, 600)
    log.forget(900)
    assert [item.job.job for item in log.told] == ["b"]
    log.cancel(1100, "b")
    assert log.told[0].end_utc_s == 1100


def test_a_job_that_is_not_sure_widens_the_band_only():
    base_w = beneath(8)
    model = JobModel(base_w[:N], STEP_S, DAY, 0.0, [])
    sure = model.forecast(base_w[:N], DAY, 0.0, [])
    job = Announcement("perhaps", 3000, STEP_S * (N + 10), 3000, confidence=0.3)
    got = model.forecast(base_w[:N], DAY, 0.0, [Told(0.0, job)])
    at = slice(10, 20)
    np.testing.assert_allclose(got.q90[at] - sure.q90[at], 3000)
    np.testing.assert_allclose(got.q50, sure.q50)


def test_with_little_history_jobs_still_leave_the_past_and_join_the_future():
    base_w, now_s = np.full(3 * DAY, 5000.0), 3.0 * 86_400
    before = Told(0.0, Announcement("yesterday", 6000, now_s - 86_400, 3600))
    ahead = Told(0.0, Announcement("soon", 2000, now_s + 600, 1200))
    real_w = base_w + drawn([before])[: 3 * DAY]
    base, load = forecast_both(real_w, STEP_S, 24, now_s, [before, ahead])
    np.testing.assert_allclose(base.q50, 5000)
    np.testing.assert_allclose(load.q50, 5000 + 2000 * np.isin(np.arange(24), np.arange(2, 6)))
    assert load.basis.endswith("1 announced")


def test_a_model_is_left_aside_while_the_history_is_too_short_for_it():
    """After the clock was set by weeks the history begins anew, and the model of before is still there."""
    base_w, now_s = beneath(9), 400.0 * 86_400
    model = JobModel(base_w[:N], STEP_S, DAY, 0.0, [])
    soon = Told(0.0, Announcement("soon", 2000, now_s + 600, 1200))
    for known in (0, 1, 40, DAY + 1, 3 * DAY):
        base, load = forecast_both(base_w[:known], STEP_S, 24, now_s, [soon], 4000.0, model)
        assert "regression" not in load.basis and np.isfinite(load.q50).all()
        np.testing.assert_allclose((load.q50 - base.q50)[2:6], 2000)
