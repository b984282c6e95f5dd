"""State machines: what each table does when its facts come in the order of a bad day."""

from control_scene import Scene
from forerun_board.control import config as c
from forerun_board.control import genset_control, interlock, islanding, prepare, trip
from forerun_board.control.config import Config
from forerun_board.control.events import EventRing
from forerun_board.control.functions import Functions
from forerun_board.control.genset_control import GensetControl
from forerun_board.control.interlock import Interlock
from forerun_board.control.islanding import Islanding, Shedding
from forerun_board.control.table import Machine, mermaid
from forerun_board.control.trip import Trip
from forerun_wire import messages as m

TABLES = ((genset_control.ROWS, GensetControl(Config())), (islanding.ROWS, Islanding()), (trip.ROWS, Trip(Config())),
          (interlock.ROWS, Interlock()),
          (prepare.ROWS, prepare.Prepare()))  # fmt: skip


def codes(events):
    found = []
    while events.pop():
        found.append(events.code)
    return found


class Facts:
    def __init__(self, **facts):
        for name in facts:
            setattr(self, name, facts[name])


def test_the_first_row_that_holds_is_taken_one_a_step():
    rows = (("a", "go", "may", "b", "first"), ("a", "go", "", "c", "second"), ("b", "go", "", "a", ""))
    machine = Machine(rows)
    assert machine.step(Facts(go=False, may=True), 10) is None and machine.state_ms == 10
    assert machine.step(Facts(go=True, may=True), 10) == "first" and machine.state == "b" and machine.state_ms == 0
    assert machine.step(Facts(go=True, may=True), 5) == "" and machine.state == "a"
    assert machine.step(Facts(go=True, may=False), 5) == "second" and machine.state == "c"
    assert machine.step(Facts(go=True, may=False), 5) is None
    assert mermaid(rows[:2]) == (
        "stateDiagram-v2\n    [*] --> a\n    a --> b : go [may] / first\n    a --> c : go / second\n"
    )


def test_every_table_is_sound():
    for rows, facts in TABLES:
        states = {row[0] for row in rows}
        reached = {rows[0][0]} | {row[3] for row in rows}
        assert states == reached, "no state without a way in or a way out: %s" % (states ^ reached)
        for row in rows:
            assert len(row) == 5
            assert hasattr(facts, row[1]) and (row[2] == "" or hasattr(facts, row[2])), row
        for number, row in enumerate(rows):
            for earlier in rows[:number]:
                hidden = earlier[0] == row[0] and earlier[1] == row[1] and earlier[2] in ("", row[2])
                assert not hidden, "%s can never be taken" % (row,)


def genset(**settings):
    config = Config()
    for name in settings:
        setattr(config, name, settings[name])
    return GensetControl(config), EventRing()


def play(part, events, seconds, **facts):
    """`seconds` of rounds of a second with these facts; the codes of the events."""
    for name in facts:
        assert hasattr(part, name), name
        setattr(part, name, facts[name])
    for _ in range(seconds):
        part.step(1000, events)
    return codes(events)


def test_a_set_warms_up_runs_its_least_time_and_cools_down_once_the_grid_is_back():
    part, events = genset()
    assert play(part, events, 5) == [] and not part.start
    assert play(part, events, 1, grid_good=False) == [] and part.start and part.state == "cranking"
    assert play(part, events, 3, turning=True, power_w=0) == [m.GENSET_STARTED] and part.state == "warming"
    assert part.reason == genset_control.REASON_VOLTAGE and not part.loadable
    play(part, events, 30)
    assert part.state == "running" and part.loadable
    play(part, events, 600, power_w=9_000, grid_good=True)
    assert part.state == "running", "the grid is back, but the engine runs its least time"
    play(part, events, 1_200)
    assert part.state == "cooling" and part.start and not part.loadable
    assert play(part, events, 200) == [m.GENSET_STOPPED]
    assert part.state == "off" and not part.start


def test_a_set_that_does_not_start_is_tried_again_and_then_locked_out():
    part, events = genset(genset_tries=3)
    found = play(part, events, 110, grid_good=False)
    assert found == [m.GENSET_START_FAILED, m.GENSET_START_FAILED], found
    found += play(part, events, 60)
    assert found == [m.GENSET_START_FAILED] * 2 + [m.GENSET_LOCKED_OUT] and not part.start
    assert play(part, events, 3_600) == [], "and it stays locked out"
    play(part, events, 1, release=True)
    assert part.state == "off"
    play(part, events, 2, release=False)
    assert part.state == "cranking" and part.tries == 1


def test_a_set_that_stalls_again_and_again_is_locked_out_too():
    part, events = genset(genset_tries=2, genset_warm_up_s=1)
    play(part, events, 2, grid_good=False)
    assert play(part, events, 10, turning=True, power_w=8_000) == [m.GENSET_STARTED] and part.state == "running"
    assert play(part, events, 3, turning=False) == [m.GENSET_START_FAILED]
    play(part, events, 31)
    play(part, events, 10, turning=True)
    assert m.GENSET_LOCKED_OUT in play(part, events, 4, turning=False)


def test_starts_on_charge_load_voltage_and_plan_each_with_its_reason_and_stop():
    starts = (
        ({"soc_permille": 150}, genset_control.REASON_SOC, {"soc_permille": 799}, {"soc_permille": 800}),
        ({"load_w": 9_000}, genset_control.REASON_LOAD, {"load_w": 8_500}, {"load_w": 7_000}),
        ({"grid_weak": True}, genset_control.REASON_VOLTAGE, {"grid_weak": True}, {"grid_weak": False}),
        ({"plan": True}, genset_control.REASON_PLAN, {"plan": True}, {"plan": False}),
        ({"plan": True}, genset_control.REASON_PLAN, {"plan": True}, {"pv_covers": True}),
    )
    for start, reason, still, over in starts:
        part, events = genset(genset_start_load_w=8_000, genset_min_run_s=60)
        play(part, events, 9, **start)
        early = reason == genset_control.REASON_LOAD
        assert (part.state == "off") == early, (start, part.state)
        play(part, events, 3)
        play(part, events, 3, turning=True, power_w=8_000)
        play(part, events, 200, **still)
        assert part.state == "running" and part.reason == reason, (start, part.state, part.reason)
        play(part, events, 12, **over)
        assert part.state == "cooling", (start, part.state)


def test_quiet_hours_hold_back_what_can_wait_and_nothing_else():
    part, events = genset(genset_start_load_w=8_000, genset_exercise_h=1)
    play(part, events, 4_000, quiet=True, plan=True, load_w=10_000)
    assert part.state == "off"
    play(part, events, 2, soc_permille=100)
    assert part.state == "cranking"


def test_an_exercise_run_is_short_and_counted_apart():
    part, events = genset(genset_exercise_h=2, genset_min_run_s=600)
    play(part, events, 7_199)
    assert part.state == "off"
    play(part, events, 3)
    assert part.state == "cranking" and part.reason == genset_control.REASON_EXERCISE
    play(part, events, 2_000, turning=True, charge_free_w=6_000)
    assert part.state == "off" and 1_300 < part.exercise_s < 1_500 and part.total_s == part.exercise_s
    play(part, events, 3, turning=False, grid_good=False)
    play(part, events, 100, turning=True)
    assert part.exercise_s < part.total_s


def test_no_fuel_no_start_and_a_trip_stops_at_once():
    part, events = genset()
    play(part, events, 100, grid_good=False, fuel_permille=0)
    assert part.state == "off"
    play(part, events, 29, fuel_permille=300)
    assert part.state == "off", "half a minute, because a float dances"
    play(part, events, 3)
    assert part.state == "cranking"
    play(part, events, 60, turning=True)
    assert part.state == "running"
    play(part, events, 1, trip=True)
    assert part.state == "off" and not part.start


def test_the_longest_run_ends_even_while_it_is_wanted():
    part, events = genset(genset_max_run_s=3_600, genset_min_run_s=600)
    play(part, events, 2, grid_good=False)
    play(part, events, 3_650, turning=True, power_w=8_000)
    assert part.state == "cooling"
    play(part, events, 100)
    assert part.state == "cooling", "and it is not put under load again before it has stopped"


def test_an_engine_never_idles():
    part, events = genset(genset_min_load_w=6_000)
    play(part, events, 2, plan=True)
    play(part, events, 60, turning=True, power_w=0, charge_free_w=30_000)
    assert part.charge_w == 0, "the panel has not given it the site: nothing can be loaded"
    for _ in range(40):
        play(part, events, 1, power_w=2_000 + part.charge_w)
    assert 6_000 <= part.power_w <= 6_600 and not part.dump
    for _ in range(40):
        play(part, events, 1, power_w=9_000 + part.charge_w)
    assert part.charge_w == 0, "there is load enough"
    for _ in range(40):
        play(part, events, 1, power_w=2_000 + part.charge_w, charge_free_w=1_000, dump_there=True)
    assert part.charge_w == 1_000 and part.dump
    play(part, events, 1, charge_free_w=0, dump_there=False, power_w=-1)
    assert not part.dump, "what nobody measures is not filled up"
    part.power_w = 3_000
    play(part, events, 700, charge_free_w=0, dump_there=False)
    assert part.state in ("cooling", "off"), "neither battery nor dump: it has to stop"


def test_a_dump_load_holds_the_least_load_without_flapping_and_opens_when_others_do():
    part, events = genset(genset_min_load_w=6_000)
    play(part, events, 2, plan=True, dump_there=True)
    play(part, events, 60, turning=True, power_w=0)
    moves, before = [], False

    def seconds(count, load_w, charge_free_w=0, dump_w=5_000):
        nonlocal before
        for _ in range(count):
            given_w = load_w + part.charge_w + (dump_w if part.dump else 0)
            play(part, events, 1, power_w=given_w, charge_free_w=charge_free_w)
            if part.dump != before:
                moves.append((part.dump, part.power_w))
                before = part.dump
        return part.power_w

    assert seconds(60, 2_000) == 7_000 and moves == [(True, 2_000)], moves
    assert seconds(9, 9_000) == 14_000, "for nine seconds it may be a passing load"
    assert seconds(20, 9_000) == 9_000 and moves[1:] == [(False, 14_000)], moves
    seconds(30, 2_000)
    assert seconds(2, 17_000) == 17_000, "so much at once is not doubted: the set would be overloaded"
    seconds(30, 2_000)
    del moves[:]
    assert 6_000 <= seconds(40, 2_000, charge_free_w=8_000) <= 6_700, "a battery that can take it again does"
    assert [on for on, _ in moves] == [False] and moves[0][1] >= 6_000 + 5_000, moves
    del moves[:]
    seconds(2_000, 3_000)
    assert [on for on, _ in moves] == [True] + [False, True] * 3, "looked at again every ten minutes, for a second"


def island(part, events, seconds, **facts):
    for name in facts:
        assert hasattr(part, name), name
        setattr(part, name, facts[name])
    for _ in range(seconds * 10):
        part.step(100, events)
    return codes(events)


def test_an_island_is_formed_kept_synchronised_and_left():
    part, events = Islanding(), EventRing()
    assert island(part, events, 5) == [] and part.state == "on_grid"
    part.step(50, events)
    island(part, events, 1, grid_mv=0, grid_millihz=0, bus_mv=0, bus_millihz=0)
    assert part.state == "parting" and part.tie_wanted_open and not part.forming, "first away from the grid"
    part.tie_open = True
    part.step(20, events)
    assert part.forming and part.state == "forming"
    assert island(part, events, 1, bus_mv=229_000, bus_millihz=50_400) == [m.ISLAND_FORMED]
    island(part, events, 600)
    assert part.state == "island"
    island(part, events, 59, grid_mv=231_000, grid_millihz=50_000)
    assert part.state == "island", "a grid is believed after a minute"
    island(part, events, 2)
    assert part.state == "syncing" and part.synchronise and part.tie_wanted_open, "0.4 Hz apart: not yet"
    island(part, events, 1, bus_millihz=50_200)
    assert part.state == "closing" and not part.tie_wanted_open
    assert island(part, events, 1, tie_open=False) == [m.ISLAND_LEFT]
    assert part.state == "on_grid" and not part.forming


def test_a_tie_that_does_not_close_sends_the_site_back_into_its_island():
    part, events = Islanding(), EventRing()
    island(part, events, 1, grid_mv=0, bus_mv=0)
    island(part, events, 1, tie_open=True, bus_mv=230_000)
    island(part, events, 62, grid_mv=230_000)
    assert part.state == "closing"
    island(part, events, 3)
    assert part.tie_wanted_open and part.state == "island", part.state
    island(part, events, 58)
    assert part.state == "closing", "and it tries again after a minute"


def test_what_collapses_goes_dark_and_starts_again_without_its_loads():
    part, events = Islanding(), EventRing()
    island(part, events, 1, grid_mv=0, bus_mv=0)
    island(part, events, 1, tie_open=True, bus_mv=230_000)
    assert m.ISLAND_DARK in island(part, events, 1, bus_mv=20_000)
    assert part.state == "dark" and part.shed_all and not part.forming
    island(part, events, 29)
    assert part.state == "dark"
    island(part, events, 2)
    assert part.state == "black_start" and part.forming and part.shed_all
    assert island(part, events, 1, bus_mv=230_000) == [m.ISLAND_FORMED] and not part.shed_all
    island(part, events, 1, bus_mv=0, may_form=False)
    island(part, events, 120)
    assert part.state == "dark", "no charge, no black start"
    island(part, events, 61, grid_mv=230_000)
    island(part, events, 1, tie_open=False)
    assert part.state == "on_grid"


def test_loads_go_by_priority_with_their_margin_and_come_back_one_by_one():
    shed, events = Shedding(3, 300), EventRing()

    def run(seconds, **values):
        for _ in range(seconds):
            shed.step(values["load_w"], values["available_w"], values["energy_wh"], 1000, events)
        return codes(events)

    assert run(600, load_w=6_000, available_w=20_000, energy_wh=5_000) == []
    run(1, load_w=6_000, available_w=20_000, energy_wh=900)
    assert shed.leaving == 1 and shed.level == 0, "540 s are left: the group is told"
    assert run(300, load_w=6_000, available_w=20_000, energy_wh=900) == [m.LOAD_SHED] and shed.level == 1
    assert run(2, load_w=25_000, available_w=20_000, energy_wh=9_000) == [m.LOAD_SHED, m.LOAD_SHED]
    assert shed.level == 3
    assert run(299, load_w=4_000, available_w=20_000, energy_wh=9_000) == []
    assert run(302, load_w=4_000, available_w=20_000, energy_wh=9_000) == [m.LOAD_RESTORED, m.LOAD_RESTORED]


def trip_step(part, events, rounds, **measured):
    values = {"voltage_mv": 230_000, "frequency_millihz": 50_000, "current_ma": 0, "temperature_decic": 250}
    values.update(measured)
    for number in range(rounds):
        part.step(values["voltage_mv"], values["frequency_millihz"], values["current_ma"],
                  values["temperature_decic"], 100 + number, 50, events)  # fmt: skip
    found = []
    while events.pop():
        found.append((events.code, events.value, events.limit))
    return found


def test_a_measured_trip_says_cause_value_limit_and_time_and_clears_itself():
    cases = (
        (trip.OVER_VOLTAGE, {"voltage_mv": 270_000}, 270_000, 264_500),
        (trip.UNDER_VOLTAGE, {"voltage_mv": 150_000}, 150_000, 195_500),
        (trip.OVER_FREQUENCY, {"frequency_millihz": 51_600}, 51_600, 51_500),
        (trip.UNDER_FREQUENCY, {"frequency_millihz": 47_400}, 47_400, 47_500),
        (trip.OVER_CURRENT, {"current_ma": 60_000}, 60_000, 50_000),
        (trip.OVER_TEMPERATURE, {"temperature_decic": 701}, 701, 700),
    )
    for cause, measured, value, limit in cases:
        part, events = Trip(Config(), 50_000), EventRing()
        assert trip_step(part, events, 4, **measured) == [] and not part.open, "200 ms are waited for"
        assert trip_step(part, events, 2, **measured) == [(40 + cause, value, limit)]
        assert part.open
        assert (part.cause, part.value, part.limit, part.at_s) == (cause, value, limit, 100)
        assert trip_step(part, events, 59) == [] and part.open
        assert trip_step(part, events, 2)[0][:2] == (m.TRIP_CLEARED, cause) and not part.open
        assert trip_step(part, events, 1, **measured) == [] and trip_step(part, events, 100) == []


def interlock_step(part, events, rounds, inputs):
    for number in range(rounds):
        part.step(inputs, 100 + number, 50, events)
    found = []
    while events.pop():
        found.append((events.code, events.value, events.limit))
    return found


def test_what_could_hurt_somebody_stays_until_it_is_reset():
    for contact, cause in ((1, 1), (2, 2), (8, 3), (11, 1), (10, 2)):
        part, events = Interlock(), EventRing()
        assert interlock_step(part, events, 1, 0) == [] and not part.latched
        assert interlock_step(part, events, 1, contact) == [(40 + cause, 1, 0)] and part.latched
        assert (part.cause, part.at_s) == (cause, 100)
        assert interlock_step(part, events, 10, contact | 4) == [] and part.latched, "not while the cause is there"
        assert interlock_step(part, events, 100, 0) == [] and part.latched, "and never by itself"
        assert interlock_step(part, events, 5, 4) == [] and part.latched, "a button that is held resets nothing"
        assert interlock_step(part, events, 1, 0) == [(m.TRIP_CLEARED, cause, 0)] and not part.latched
        assert interlock_step(part, events, 9, 4) == interlock_step(part, events, 9, 0) == []


def test_a_reset_button_that_sticks_or_was_pressed_too_early_resets_nothing():
    part, events = Interlock(), EventRing()
    part.latch(1, 0, events)  # as after a restart
    for inputs in (4, 4 | 1, 4, 0, 1, 4 | 1, 0):  # stuck since before, through another trip; pressed while it lasts
        interlock_step(part, events, 3, inputs)
        assert part.latched, inputs
    interlock_step(part, events, 3, 4)
    assert interlock_step(part, events, 1, 0)[0][0] == m.TRIP_CLEARED


def test_the_interlock_needs_no_commissioning_and_outlives_it():
    for functions in (0, c.FUNCTION_TRIP):
        scene = Scene(functions=functions)
        scene.controller.commission(Functions(scene.config) if functions else None)
        scene.controller.lease.grant(m.HOLD_BATTERY, 5_000, 600_000)
        for contact in (1, 2, 8):
            rows = [
                (50, 0, "->", 5_000, 0, m.LEASED),
                (50, contact, "->", 0, m.BOUND_TRIP, m.FAULTED),
                (50, 0, "->", 0, m.BOUND_TRIP, m.FAULTED),
            ]
            scene.play("dt inputs -> setpoint_w bound_by state", rows)
            assert scene.controller.outputs & 1, "door and insulation open the contactor too"
            scene.controller.commission(None)
            scene.play("dt inputs -> setpoint_w bound_by state", [(50, 0, "->", 0, m.BOUND_TRIP, m.FAULTED)])
            rows = [(50, 4, "->", 0, m.BOUND_TRIP, m.FAULTED), (50, 0, "->", 5_000, 0, m.LEASED)]
            scene.play("dt inputs -> setpoint_w bound_by state", rows)
            assert not scene.controller.outputs & 1


def test_an_announced_step_passes_through_its_states_and_charges_its_reserve():
    scene = Scene(surge_reserve_permille=600, import_limit_w=15_000, import_margin_w=0)
    controller = scene.controller
    part = controller.prepare
    assert part.state == "idle"
    part.start(8_000, 900, 60, controller.events)
    assert part.state == "prepare"
    assert scene.tick(1000, soc_permille=500, pcc_import_w=6_000).setpoint_w == -9_000, "as much as the import leaves"
    for _ in range(600):
        scene.tick(1000, pcc_import_w=15_000, active_power_w=-9_000)
    assert part.state == "late" and not part.ready
    scene.tick(1000, soc_permille=600)
    assert part.state == "ready" and part.ready and not part.charge
    for _ in range(298):
        scene.tick(1000, pcc_import_w=6_000, active_power_w=0)
    assert part.state == "ready" and part.headroom_w == 8_000
    scene.tick(1000, pcc_import_w=14_000)
    assert part.state == "carry" and part.ramp_open and part.headroom_w == 0
    for _ in range(12):
        scene.tick(1000)
    assert part.state == "carry" and not part.ramp_open
    for _ in range(60):
        scene.tick(1000, soc_permille=550)
    assert part.state == "recover" and part.charge and not part.active
    scene.tick(1000, soc_permille=600)
    assert part.state == "idle"
    found = [code for code in scene.codes() if code != m.INVERTER_AWAKE]
    assert found == [m.PREPARE_STARTED, m.PREPARE_LATE, m.PREPARE_READY, m.PREPARE_ENDED], found


def test_a_commissioned_set_is_started_by_its_table():
    scene = Scene(functions=c.FUNCTION_GENSET, genset_meter_unit=4, genset_warm_up_s=1)
    scene.controller.commission(Functions(scene.config))
    scene.image.genset_age_ms = 0
    scene.silent = ("battery_age_ms",)
    scene.tick(1000, soc_permille=0)
    assert scene.controller.outputs & 2 == 0, "a charge that is not known is no empty battery"
    scene.silent = ()
    scene.tick(1000, soc_permille=500)
    for _ in range(3):
        scene.tick(1000, pcc_voltage_mv=0)
    assert scene.controller.outputs & 2 and scene.controller.functions.genset.state == "cranking"
    for _ in range(4):
        scene.tick(1000, inputs=32)
    assert scene.controller.functions.genset.loadable
