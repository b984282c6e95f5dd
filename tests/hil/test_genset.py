"""The diesel set on the emulated site: what starts it, what it may not do, and how its runs are told apart."""

from datetime import UTC, datetime

from forerun.plant.series import Series
from forerun.plant.site_config import SiteConfig
from forerun_wire import messages as m

GENSET, DUMPS = 128, 1024
DUMP = 16  # its bit among the outputs
EXERCISE = 5  # reason in its events
QUICK = {"functions": GENSET, "genset_warm_up_s": 5, "genset_min_run_s": 60, "genset_cool_down_s": 20}


def relay_moves(bench, bit):
    """A list that takes (s, on) of each move of this output from now on."""
    moves, drive, before = [], bench.bench.contacts.drive, [bench.bench.outputs & bit]

    def watched(outputs):
        drive(outputs)
        if outputs & bit != before[0]:
            before[0] = outputs & bit
            moves.append((bench.now_s, bool(outputs & bit)))

    bench.bench.contacts.drive = watched
    return moves


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
        bench.run_until(lambda: bench.site.genset.state == 0, 30 * 60, 20)
        bench.run(20)
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
        bench.run_until(lambda: genset_events(bench)[3:], 2_000, 20)
        bench.run(60)
        seen = genset_events(bench)[2:]
        assert [(name, reason) for name, reason, _ in seen[:1]] == [("genset_started", 1)], "voltage: a backup run"
        assert seen[1][0] == "genset_stopped" and seen[1][2] == 1
        bench.assert_held(interruptions=1, itic=1)


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
        bench.assert_held(interruptions=1, itic=1)


def test_a_dump_load_keeps_the_set_above_its_least_load_while_the_battery_takes_nothing_and_opens_again(rig):
    """The set gives 6 kW at least from two seconds on, with a relay that moves four times, and 20 kW at most."""
    functions = {**QUICK, "functions": GENSET | DUMPS, "genset_min_load_w": 6_000}
    plant = {"genset_start_s": 3.0, "enter_service_s": 5.0, "wake_s": 1.0, "dump_w": 5_000.0}
    with rig(load_w=2_000, sections={"functions": functions}, plant=plant) as bench:
        bench.run_until_armed()
        bench.site.cut_bms_limits(0, 30_000)
        bench.site.lose_grid()
        bench.run(4)
        bench.coarse(250)
        bench.run_until(lambda: bench.site.genset_w > 0 and bench.site.dump_w > 0, 60, 0.1)
        moved = relay_moves(bench, DUMP)
        start_us = bench.bench.now_us
        bench.site.add_job(start_us + 10_000_000, 30_000_000, 9_000)
        bench.site.add_job(start_us + 60_000_000, 10_000_000, 14_000)
        trace = bench.site.record(start_us + 10_000, start_us + 90_000_000, 10_000)
        bench.run(90)
        light_s = sum(0.01 for watts in trace.genset_w if watts < 6_000)
        print("set", round(min(trace.genset_w)), "to", round(max(trace.genset_w)), "W, light s", light_s, moved)
        assert [on for _, on in moved] == [False, True, False, True]
        opened_s, closed_s, opened_again_s, _ = [at_s - start_us / 1e6 for at_s, _ in moved]
        assert 20 <= opened_s <= 23 and 40 <= closed_s <= 43, "ten seconds after the load came, with its end"
        assert 60 <= opened_again_s <= 66, "19 kW beside the dump is more than the set has"
        assert light_s <= 6 and max(trace.genset_w[6_500:]) <= 20_000 and abs(bench.site.inverter.power_w) < 60
        bench.site.cut_bms_limits(30_000, 30_000)
        bench.run_until(lambda: not bench.site.dump_w, 30, 0.1)  # the battery has it again
        bench.run(5)
        assert bench.site.genset_w >= 6_000 and bench.site.inverter.power_w < -3_500
        bench.assert_rules()
        bench.site.return_grid()
        bench.run(5)
        assert not bench.bench.outputs & DUMP, "nothing is burnt once there is a grid"


RULED = {"functions": GENSET, "genset_warm_up_s": 5, "genset_min_run_s": 40, "genset_cool_down_s": 10}
RUNS = {"genset_cool_s": 10.0, "amf_min_run_s": 30.0, "genset_base_w": 12_000.0, "enter_service_s": 5.0, "wake_s": 1.0}


def started(bench, reason):
    """When the set was started for `reason`, and that it is warmed up before it counts."""
    bench.run_until(lambda: genset_events(bench), 60, 0.5)
    name, why, tries = genset_events(bench)[0]
    assert (name, why, tries) == ("genset_started", reason, 1)
    return bench.now_s


def test_a_low_charge_starts_the_set_and_it_stops_when_it_is_charged(rig):
    """Beside the grid, the set gives 12 kW; the battery takes them. Started at 15 %, stopped at 25 %."""
    functions = {**RULED, "genset_stop_soc_permille": 250}
    plant = {**RUNS, "start_soc": 0.152, "battery_wh": 1_500.0}
    sections = {"functions": functions, "battery": {"capacity_wh": 1_500}, "limits": {"soc_min": 0.12}}
    with rig(load_w=2_000, plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 400, 20_000)
        begun_s = started(bench, 2)
        bench.command(m.SETPOINT, m.HOLD_PCC, 0, 600_000)
        bench.run_until(lambda: bench.site.genset.state == 0, 240, 1)
        (stopped,) = genset_events(bench)[1:]
        assert stopped[0] == "genset_stopped" and stopped[2] == 2
        assert stopped[1] >= 50 and bench.now_s - begun_s >= 50, "its least run and the cool-down"
        assert 0.24 <= bench.site.battery.soc <= 0.30
        bench.assert_held()


def test_a_lasting_load_starts_the_set_a_short_one_does_not_and_pv_that_covers_ends_it(rig):
    sun = [0.0] * 85 + [15_000.0] * 500
    functions = {**RULED, "genset_start_load_w": 10_000}
    with rig(load_w=6_000, pv=Series(0, 1_000_000, sun), plant=RUNS, sections={"functions": functions}) as bench:
        bench.run_until_armed()
        now_us = bench.bench.now_us
        bench.site.add_job(now_us + 1_000_000, 7_000_000, 6_000)
        bench.run(14)
        assert not bench.bench.outputs & 2, "seven seconds of it are no reason"
        bench.site.add_job(bench.bench.now_us, 600_000_000, 6_000)
        bench.run_until(lambda: bench.bench.outputs & 2, 12, 0.1)
        assert bench.now_s >= 14 + now_us / 1e6 + 9.5, "ten seconds"
        started(bench, 3)
        running_s = bench.now_s
        bench.run_until(lambda: not bench.bench.outputs & 2, 120, 0.5)
        assert bench.now_s >= max(85, running_s + 40), "PV covers the load, and the least run is over"
        assert genset_events(bench)[1][::2] == ("genset_stopped", 3)
        bench.assert_held()  # 12 kW of load and a limit of 12 kW: not a step above it, all along


def test_the_longest_run_ends_though_the_reason_stays_and_fuel_that_ends_stops_it_at_once(rig):
    """The longest run is ten minutes here, the grid away all the while; there is no second start without a rest."""
    functions = {**RULED, "genset_max_run_s": 600}
    with rig(load_w=6_000, plant=RUNS, sections={"functions": functions}) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        started(bench, 1)
        turning_s = bench.now_s
        bench.coarse(1000)
        bench.run(560)
        assert bench.bench.outputs & 2
        bench.run_until(lambda: not bench.bench.outputs & 2, 80, 1)
        assert 600 <= bench.now_s - turning_s <= 625, "and the cool-down"
        bench.run_until(lambda: bench.bench.outputs & 2, 60, 1)
        bench.bench.inputs = 128  # the tank is empty
        bench.run_until(lambda: not bench.bench.outputs & 2, 4, 0.5)
        bench.run(30)
        assert not bench.bench.outputs & 2
        bench.assert_rules(cut_runs=1)


def test_a_float_that_dances_in_the_tank_stops_the_set_once(rig):
    """Found by faults drawn at random (seed 77): its contact moved eight times, and the starter with it."""
    functions = {**RULED, "genset_stop_soc_permille": 250}
    plant = {**RUNS, "start_soc": 0.15, "genset_start_s": 2.0}
    with rig(load_w=4_000, plant=plant, sections={"functions": functions, "limits": {"soc_min": 0.12}}) as bench:
        bench.run_until_armed()
        started(bench, 2)
        moves = relay_moves(bench, 2)

        def move_float():
            bench.bench.inputs ^= 128

        for move in range(8):
            bench.bench.at(bench.bench.now_us + 900_000 * move, move_float)
        bench.run(36)
        assert [on for _, on in moves] == [False], "stopped with the first move, and not started with the next"
        bench.run_until(lambda: moves[-1][1], 3)
        assert bench.site.genset.starts == 2
        bench.run(45)
        bench.assert_rules(cut_runs=1)
