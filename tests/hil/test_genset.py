"""The diesel set on the emulated site: what starts it, what it may not do, and how its runs are told apart."""

from datetime import UTC, datetime

from forerun.plant.site_config import SiteConfig
from forerun_wire import messages as m

GENSET = 128
EXERCISE = 5  # reason in its events
QUICK = {"functions": GENSET, "genset_warm_up_s": 5, "genset_min_run_s": 60, "genset_cool_down_s": 20}


def genset_events(bench):
    """(name, value, limit) of what the set did, in order."""
    return [event[1:] for event in bench.events() if event[1].startswith("genset")]


def test_an_exercise_run_waits_for_the_end_of_quiet_hours_and_is_told_apart_from_backup(rig):
    functions = {**QUICK, "genset_exercise_h": 1, "quiet_start_min": 12 * 60, "quiet_end_min": 13 * 60 + 30}
    noon_s = datetime(2019, 9, 20, 12, tzinfo=UTC).timestamp()
    with rig(sections={"functions": functions}, plant={"genset_cool_s": 20.0}, utc_s=int(noon_s)) as bench:
        bench.run_until_armed()
        bench.coarse(4000)
        bench.run(88 * 60)
        assert bench.site.genset.starts == 0, "an hour without a run is over, but these are quiet hours"
        bench.run_until(lambda: bench.site.genset.state == 2, 300, 4)
        assert bench.now_s >= 90 * 60
        bench.run(30 * 60)
        assert bench.site.genset.state == 0 and bench.site.genset.starts == 1
        started, stopped = genset_events(bench)
        assert started[:2] == ("genset_started", EXERCISE)
        assert stopped[0] == "genset_stopped" and stopped[2] == EXERCISE and 1200 <= stopped[1] <= 1300
        assert bench.site.genset.wh == 0.0 and bench.site.genset.litres > 0.0, "it carried nobody, and burnt fuel"
        bench.coarse(0)
        bench.site.lose_grid()
        bench.run(30)
        bench.coarse(500)
        bench.run(90)
        bench.site.return_grid()
        bench.coarse(2000)
        bench.run(2_000)
        seen = genset_events(bench)[2:]
        assert [(name, reason) for name, reason, _ in seen[:1]] == [("genset_started", 1)], "voltage: a backup run"
        assert seen[1][0] == "genset_stopped" and seen[1][2] == 1


def test_a_set_under_little_load_is_loaded_by_charging_and_never_runs_below_its_least_load(rig):
    functions = {**QUICK, "genset_min_load_w": 6_000}
    plant = {"amf_min_run_s": 60.0, "genset_cool_s": 20.0, "enter_service_s": 5.0, "wake_s": 1.0}
    with rig(load_w=2_000, sections={"functions": functions}, plant=plant) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.genset_w > 0, 60, 0.5)
        bench.run(60)
        start_us = bench.bench.now_us
        trace = bench.site.record(start_us, start_us + 20_000_000, 10_000)
        bench.run(21)
        print("set", round(min(trace.genset_w)), "to", round(max(trace.genset_w)), "W")
        assert min(trace.genset_w) >= 6_000 and max(trace.genset_w) <= 7_000
        assert bench.host.latest["bound_by"] == m.BOUND_GRID_LOST and bench.site.inverter.power_w < -3_500
        bench.site.add_job(bench.bench.now_us, 60_000_000, 9_000)
        bench.run(40)
        assert abs(bench.site.inverter.power_w) < 60, "the servers load it: the battery is not asked any more"
        assert bench.site.genset_w <= SiteConfig().genset_w
        bench.site.return_grid()
        bench.run_until(lambda: bench.site.pcc_import_w > 0, 120, 0.5)
        bench.run(5)
        assert bench.host.latest["setpoint_w"] > -100, "and nothing is charged for its sake on the grid"
        assert bench.site.totals().soc <= 0.95
