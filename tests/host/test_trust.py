"""Announced jobs that do not come: how far their source is believed, and what that changes."""

from dataclasses import replace

import numpy as np
import pytest

from forerun.compute.announcements import PREPARED_FROM
from forerun.compute.load import Announcement
from forerun.compute.trust import BACK, DOUBTED, MISSES, UNSEEN, Trust
from forerun.store.journal import read
from site_service import Bench

BASE_W = 6_000.0


def play(trust: Trust, jobs, drawn=(), until_s=4_000, noise_w=20.0, gone=(), anew=()):
    """[(second, name, trouble)] of what changes: `drawn` are (first s, last s, W) on top of the base; `gone`: (second,
    job) that is taken back; `anew`: (second, job) as it is announced anew."""
    rng, found, jobs = np.random.default_rng(5), [], {job.job: job for job in jobs}
    for now_s in range(until_s):
        for at_s, name in gone:
            if at_s == now_s:
                jobs.pop(name)
        jobs.update((job.job, job) for at_s, job in anew if at_s == now_s)
        ahead = [job for job in jobs.values() if job.start_utc_s + job.duration_s > now_s]
        load_w = BASE_W + rng.normal(0, noise_w) + sum(watts for first, last, watts in drawn if first <= now_s < last)
        found += [(now_s, name, trouble) for name, trouble, _ in trust.look(now_s, load_w, ahead)]
    return found


def steps(count, *, every_s=600.0, power_w=5_000.0, prefix="job"):
    return [Announcement(f"{prefix}-{i}", power_w, 100.0 + i * every_s, 400.0, 0.9) for i in range(count)]


def test_three_steps_in_a_row_that_do_not_come_are_enough_and_one_that_comes_restores():
    trust, jobs = Trust(), steps(6)
    ahead = Announcement("later", 5_000.0, 90_000.0, 60.0)
    assert play(trust, jobs, [(3_110, 3_500, 4_900.0)]) == [
        (1_600, "jobs of api", UNSEEN),
        (3_110, "jobs of api", BACK),
    ]
    assert trust.believed(ahead) is ahead and not trust.doubted


def test_jobs_that_never_come_are_found_beside_one_that_comes():
    """Its end is a fall of the load, so what begins then has not taken its place."""
    jobs = [Announcement("real", 5_000.0, 100.0, 1_000.0), *steps(8, every_s=200.0)]
    found = play(Trust(), jobs, [(100, 1_100, 5_000.0)])
    assert found == [(1_600, "jobs of api", UNSEEN)], "the three after it"


def test_a_job_too_small_to_be_seen_restores_nothing():
    tiny = [Announcement(f"tiny-{i}", watts, 2_000.0 + 300 * i, 200.0) for i, watts in enumerate((0.0, 1.0, 80.0))]
    assert play(Trust(), [*steps(MISSES), *tiny]) == [(1_600, "jobs of api", UNSEEN)]


def test_what_is_doubted_is_neither_prepared_nor_planned_for():
    trust = Trust()
    play(trust, steps(MISSES), until_s=1_700)
    ahead, unlikely = Announcement("a", 1.0, 9_000.0, 60.0), Announcement("b", 1.0, 9_000.0, 60.0, 0.05)
    assert trust.believed(ahead).confidence == DOUBTED < PREPARED_FROM
    assert trust.believed(unlikely) is unlikely
    other = Announcement("slurm-1", 1.0, 9_000.0, 60.0)
    assert trust.believed(other) is other, "each source for itself"


HONEST = ("late", "early", "weak", "in a chain", "taken back", "put off", "told again", "small", "at once", "unlooked")


@pytest.mark.parametrize("case", HONEST)
def test_honest_announcements_are_never_doubted(case):
    jobs, drawn, gone, anew, noise_w = steps(6), [], [], [], 20.0
    if case == "late":  # by four minutes, each of them
        drawn = [(340 + i * 600, 700 + i * 600, 5_000.0) for i in range(6)]
    elif case == "early":  # a scheduler's estimate that nobody corrects
        drawn = [(i * 600, 400 + i * 600, 5_000.0) for i in range(1, 7)]
        jobs = jobs[1:]
    elif case == "weak":
        drawn = [(100 + i * 600, 500 + i * 600, 1_600.0) for i in range(6)]
    elif case == "in a chain":  # each begins as the one before ends, which the meter cannot see
        jobs, drawn = steps(9, every_s=400.0), [(100, 3_700, 5_000.0)]
    elif case == "put off":  # again and again, two minutes after it should have begun
        jobs, anew = steps(1), [(at_s, replace(jobs[0], start_utc_s=at_s + 300.0)) for at_s in range(220, 4_000, 420)]
    elif case == "told again":  # while it runs, with the end that is expected now
        jobs, drawn = [replace(jobs[0], duration_s=3_000.0)], [(100, 3_100, 5_000.0)]
        anew = [(at_s, Announcement("job-0", 5_000.0, at_s, 3_100.0 - at_s)) for at_s in range(600, 3_000, 300)]
    elif case == "taken back":  # half a minute after it should have begun
        gone = [(130 + i * 600, f"job-{i}") for i in range(6)]
    elif case == "small":
        jobs, noise_w = steps(6, power_w=400.0), 100.0
    elif case == "at once":  # one step, however many jobs
        jobs = [Announcement(f"job-{i}", 100.0, 100.0 + i / 10, 400.0) for i in range(300)]
    else:
        jobs = [Announcement(f"job-{i}", 5_000.0, 0.0, 400.0) for i in range(6)]
    trust = Trust()
    assert play(trust, jobs, drawn, noise_w=noise_w, gone=gone, anew=anew) == [] and not trust.doubted


def test_jobs_of_which_none_ever_comes_are_told_once_kept_through_a_restart_and_shown(tmp_path):
    bench = Bench(tmp_path / "journal.forerun")
    bench.run(1000)
    host, now_us = bench.host, lambda: bench.now_ms * 1000
    at_s = host._utc_s(now_us())
    host.latest = {"load_w": 6_000, "faults": 0, "soc_permille": 500, "uptime_s": 1, "uptime_ms": 0}
    host.change_jobs([Announcement(f"j{i}", 9_000.0, at_s + 60.0 * (i + 1), 7_200.0) for i in range(60)], [], now_us())
    for _ in range(1_200):
        bench.now_ms += 1000
        host._look_for_jobs(now_us())
    told = [sentence for sentence in bench.said if "did not come" in sentence]
    assert len(told) == 1 and "api" in told[0] and "jobs_unseen" in bench.alarms()
    assert host._jobs.order(host._utc_s(now_us())) in (None, (0, 0, 1)), "nothing is prepared for"
    kept = [entry.body for entry in read(bench.path) if entry.kind == "source"]
    assert [body[:2] for body in kept] == [["jobs of api", UNSEEN]]
    bench.journal.close()
    again = Trust()
    again.recall(*kept[0][:2], 7)
    assert again.doubted == {"api": 7}
    again.recall("jobs of api", BACK, 8)
    again.recall("slurm", UNSEEN, 8)
    assert not again.doubted
