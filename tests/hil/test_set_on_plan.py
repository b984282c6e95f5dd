"""The diesel set on the host's plan: started ahead of a deficit, doubted when it fails, carried on without a host."""

import os
from itertools import pairwise

import pytest

from forerun.compute.load import Announcement
from forerun.plant.genset import RUNNING

START, SURGE_S, SURGE_W, BASE_W = 2, 900, 14_000.0, 8_000.0
# The set is started by nothing but the plan, and the battery has nothing to carry the step with.
RULES = {"functions": 128, "genset_start_soc_permille": 0, "genset_warm_up_s": 40, "genset_min_run_s": 300,
         "genset_cool_down_s": 10, "quiet_start_min": 0, "quiet_end_min": 2}  # fmt: skip
PLANT = {"start_soc": 0.11, "genset_cool_s": 10.0, "genset_base_w": 16_000.0}
SECTIONS = {"functions": RULES, "plan": {"period_s": 300}}


def announce(bench):
    """A load step that neither the feeder nor the battery can carry is told of, and comes."""
    bench.bench.cycle_ms = lambda now_us: 500 if abs(now_us / 1e6 - SURGE_S) > 10 else 0
    bench.site.add_job(SURGE_S * 1_000_000, 1_200_000_000, SURGE_W)
    bench.run_until_armed()
    bench.host.announce(Announcement("train", SURGE_W, bench.utc_s + SURGE_S, 1200.0, 1.0), bench.bench.now_us)


def of_the_set(bench):
    return [name for name in bench.names() if name.startswith("genset")]


def test_a_plan_starts_the_set_ahead_of_a_deficit_and_the_feeder_holds(rig):
    """Limits: import at most 12 kW, voltage above 207 V (EN 50160); quiet until 00:02, warm 300 s ahead."""
    with rig(load_w=BASE_W, plant=PLANT, sections=SECTIONS) as bench:
        announce(bench)
        bench.run(100 - bench.now_s)
        assert not bench.bench.outputs & START, "these are quiet hours, for two minutes more"
        bench.run(SURGE_S - 300 - bench.now_s)
        assert bench.bench.outputs & START and bench.site.genset.state == RUNNING
        bench.run(SURGE_S + 600 - bench.now_s)
        totals = bench.site.totals()
        assert totals.peak_import_w <= 12_000 and totals.min_pcc_v > 207 and totals.dip_count == 0
        assert totals.genset_starts == 1 and totals.soc >= 0.10
        started = next(event for event in bench.events() if event[1] == "genset_started")
        assert started[2] == 4, "reason: plan"


def test_without_the_set_on_the_plan_the_same_step_breaks_the_limit(rig):
    with rig(load_w=BASE_W, plant=PLANT, sections={**SECTIONS, "functions": {"functions": 0}}) as bench:
        bench.bench.cycle_ms = lambda now_us: 500
        bench.run_until_armed()
        bench.site.add_job(bench.bench.now_us, 1_200_000_000, SURGE_W)
        bench.run_until(lambda: bench.site.pcc_import_w > 20_000 and bench.site.pcc_voltage_v < 207, 600, 5)
        bench.assert_rules()


def test_a_set_that_does_not_start_leaves_the_plan_and_comes_back_when_it_is_released(rig):
    sections = {**SECTIONS, "functions": {**RULES, "quiet_end_min": 0}}
    with rig(load_w=BASE_W, plant=PLANT, sections=sections) as bench:
        bench.site.genset.failing_starts = 99
        announce(bench)
        assert any(mode & 2 for _, mode, _ in bench.host.planner.points())
        bench.run_until(lambda: "genset_locked_out" in of_the_set(bench), 200, 5)
        bench.run(2)
        assert of_the_set(bench) == ["genset_start_failed", "genset_start_failed", "genset_locked_out"]
        plan = bench.host.planner.plan
        assert not plan.genset_w.any() and not any(mode & 2 for _, mode, _ in bench.host.planner.points())
        assert any("announced surge" in sentence for sentence in plan.relaxed), plan.relaxed
        alarms = bench.host.lookback.alarms.standing(bench.utc_s + round(bench.now_s), None)
        assert [alarm.name for alarm in alarms] == ["genset_locked_out"]
        bench.run(60)
        assert not bench.bench.outputs & START and bench.site.genset.starts == 3
        bench.site.genset.failing_starts = 0
        bench.bench.inputs = 4  # somebody at the set
        bench.run(2)
        bench.bench.inputs = 0
        bench.run_until(lambda: bench.bench.outputs & START and bench.site.genset.state == RUNNING, 60, 1)
        bench.run(2)
        assert bench.host.planner.plan.genset_w.any()
        assert not bench.host.lookback.alarms.standing(bench.utc_s + round(bench.now_s), None)


@pytest.mark.parametrize("hours", [3, *([48] if os.environ.get("FORERUN_SOAK_H") else [])])
def test_a_host_that_is_lost_leaves_a_plan_that_is_carried_to_its_end_set_and_all(rig, hours):
    """Rounds of 12 s, so that the inverter's watchdog of 30 s is still refreshed. Idle is commissioned as fallback."""
    sections = {**SECTIONS, "plan": {"period_s": 300, "horizon_h": hours}, "limits": {"import_limit_w": 9_000},
                "safety": {"fallback": "idle"}, "battery": {"capacity_wh": 1_000 * hours}}  # fmt: skip
    plant = {**PLANT, "start_soc": 0.5, "genset_base_w": 6_000.0, "battery_wh": 1_000.0 * hours}
    with rig(load_w=10_000.0, plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.run(20)
        segments, at_s = [], bench.host.planner.start_s - bench.utc_s
        for duration_s, mode, value_w in bench.host.planner.points():
            segments.append((at_s, at_s + duration_s, mode, value_w))
            at_s += duration_s
        print(segments)
        assert at_s == 3600 * hours and {2 & mode for _, _, mode, _ in segments} == {0, 2}
        bench.kill_host()
        bench.bench.cycle_ms = lambda now_us: 12_000
        for start_s, end_s, mode, value_w in segments:
            bench.run(max(0, (start_s + end_s) / 2 - bench.now_s))
            assert bench.bench.outputs & START == 2 & mode, "the set runs where the plan has it, and else not"
            # An empty battery gives nothing; a full one takes nothing of a set that gives before the plan counts on it.
            if mode & 1 and 0.11 < bench.site.battery.soc < 0.94:
                assert abs(bench.site.pcc_import_w - value_w) < 200
        bench.run(at_s + 120 - bench.now_s)
        bench.start_host()
        bench.run_until(lambda: "plan_ended" in bench.names(), 60, 1)
        ended = next(event for event in bench.events() if event[1] == "plan_ended")
        assert 0 <= ended[0] - at_s <= 24
        told = of_the_set(bench)
        runs = [mode & 2 for _, _, mode, _ in segments]
        assert told.count("genset_started") == sum(after > before for before, after in pairwise([0, *runs]))
        bench.assert_held(over_s=24, soc=(0.10, 0.96))  # two rounds, as long as they are here
