"""The self-test through a real board: a healthy site passes, and each fault is found and named."""

import itertools
import random

import pytest

from forerun.commission import contacts
from forerun.commission import selftest as commission_selftest
from forerun.commission.desk import Desk
from forerun.commission.selftest import selftest, step_w
from forerun.config import board_settings
from forerun.errors import Trouble
from forerun.plant import devices
from forerun.plant.contacts import GENSET_RUNNING, GENSET_START, TIE_IS_OPEN, TIE_OPEN, TRIP
from forerun.plant.series import Series
from forerun_wire import messages as m
from hil.commissioning import UTC_S, desk_on
from hil.noise import flips

QUICK = {"genset_cool_s": 20.0, "wake_s": 5.0, "enter_service_s": 10.0}
KEY = {name: key for key, name, *_ in m.SETTINGS}


def failures(checks):
    return {check.name: check.cause for check in checks if not check.passed}


def outcome_of(bench, desk: Desk | None = None, without=("genset", "trip")):
    desk = desk or desk_on(bench)
    checks = selftest(desk, bench.config, UTC_S, without=without)
    for check in checks:
        assert check.measured and check.limit
        assert check.passed == (not check.cause) == (not check.advice), check
    return failures(checks), desk


def test_a_healthy_site_passes_and_gets_its_settings(rig):
    with rig(host=False, plant={"starts_asleep": True, "meter_noise_w": 15.0, **QUICK}, pv_w=3000.0) as bench:
        furthest_w = 0.0

        def watch():
            nonlocal furthest_w
            furthest_w = max(furthest_w, abs(bench.site.inverter.power_w))
            bench.bench.at(bench.bench.now_us + 50_000, watch)

        watch()
        desk = desk_on(bench)
        checks = selftest(desk, bench.config, UTC_S)
        assert failures(checks) == {}
        assert len(checks) == 17
        assert furthest_w <= 1.02 * step_w(bench.config), "the battery never does more than the announced step"
        assert desk.settings() == board_settings(bench.config)
        assert bench.now_s < 240
        assert bench.bench.outputs == 0 and bench.site.genset.state == 0


def test_a_failed_test_leaves_the_battery_at_rest(rig):
    # To a reversed CT this load is an export far above its limit, against which the board would charge all it can.
    with rig(host=False, load_w=11_000.0, sections={"limits": {"export_limit_w": 5000}}) as bench:
        bench.site.pcc_ct = -1.0
        found, desk = outcome_of(bench)
        assert found == {"CT orientation": "swapped_ct"}
        settings = desk.settings()
        assert settings[KEY["charge_max_w"]] == settings[KEY["discharge_max_w"]] == 0
        bench.run(60)
        assert abs(bench.site.inverter.power_w) < 50, "a reversed CT must not set anything off"
        bench.site.pcc_ct = 1.0
        assert outcome_of(bench, desk)[0] == {}, "once it is mended, all is given back"
        assert desk.settings() == board_settings(bench.config)


@pytest.mark.parametrize(
    ("share", "cause"),
    [(-1.0, "swapped_ct"), (1 / 3, "one_ct_swapped"), (-1 / 3, "two_cts_swapped"), (-0.5, "cts_on_wrong_phases"),
     (2 / 3, "one_ct_open"), (0.0, "cts_open"), (0.75, "ct_ratio"), (2.0, "ct_ratio")],
)  # fmt: skip
def test_the_orientation_of_the_current_transformers(rig, brisk, share, cause):
    with rig(host=False) as bench:
        bench.site.pcc_ct = share
        assert outcome_of(bench)[0].get("CT orientation") == cause


def test_a_meter_that_repeats_one_value(rig, brisk):
    with rig(host=False, load_w=2500.0) as bench:
        desk = desk_on(bench)
        bench.run(2)
        bench.slave.responder.units[2].freeze(True)
        check = next(check for check in selftest(desk, bench.config, UTC_S) if not check.passed)
        assert "pcc meter (unit 2)" in check.measured and "repeats one old value" in check.advice


def test_another_meter_in_place_of_that_at_the_pcc(rig, brisk):
    sunny = Series(0, 1_000_000, [2000.0 + 40 * (second % 7) for second in range(900)])
    with rig(host=False, pv=sunny) as bench:
        units = bench.slave.responder.units
        units[2] = units[3]
        assert outcome_of(bench)[0].get("CT orientation") == "pcc_meter_blind"


def test_a_load_that_switches_meanwhile_does_no_harm(rig):
    with rig(host=False) as bench:
        bench.site.add_job(29_500_000, 900_000_000, 4000.0)
        assert "CT orientation" not in outcome_of(bench)[0]


@pytest.mark.parametrize("fault", ["ignores_watchdog", "never_reverts"])
def test_an_inverter_that_ignores_its_watchdog(rig, fault):
    with rig(host=False, sections={"safety": {"inverter_watchdog_s": 10}}) as bench:
        setattr(bench.site.inverter, fault, True)
        assert outcome_of(bench)[0] == {"inverter watchdog": "watchdog_ignored"}
        assert abs(bench.site.inverter.power_w) < 50, "it is back in the board's hand, at rest"


def test_a_wrong_unit(rig):
    with rig(host=False) as bench:
        units = bench.slave.responder.units
        units[9] = units.pop(1)
        assert outcome_of(bench)[0] == {"devices on the bus": "wrong_unit"}


def test_a_shared_address(rig):
    with rig(host=False) as bench:
        responder = bench.slave.responder
        responder.share(2, responder.units.pop(3))
        desk = desk_on(bench)
        check = next(check for check in selftest(desk, bench.config, UTC_S) if not check.passed)
        assert check.cause == "wrong_unit" and "two devices at this one" in check.advice and "unit 2" in check.measured


@pytest.mark.parametrize("baud", [9600, 38_400])
def test_a_wrong_line_rate_is_named_with_the_right_one(rig, baud):
    with rig(host=False) as bench:
        bench.bench.slave = devices.slave(bench.site, baud=baud)
        desk = desk_on(bench)
        check = next(check for check in selftest(desk, bench.config, UTC_S) if not check.passed)
        assert check.cause == "wrong_line_rate" and f"set bus.baud = {baud}" in check.advice
        assert desk.settings()[KEY["bus_baud"]] == bench.config.bus.baud


def test_a_dead_bus_is_no_line_rate(rig):
    with rig(host=False) as bench:
        bench.slave.responder.units.clear()
        assert outcome_of(bench)[0] == {"devices on the bus": "bus_silent"}


def test_noise_on_either_line(rig):
    for line, name in (("bus_filter", "Modbus line"), ("link_filter", "link to the board")):
        with rig(host=False) as bench:
            noise = flips(random.Random(4), 0.05)
            desk = desk_on(bench)
            setattr(bench.bench, line, lambda direction, data, now_us, noise=noise: noise(data))
            found, _ = outcome_of(bench, desk)
            assert found.get(name) == ("noisy_line" if line == "bus_filter" else "noisy_link"), line


@pytest.mark.parametrize(("frames", "cause"), [(30, ""), (10_000, "noisy_link")])
def test_a_host_that_was_late_may_ask_once_more(rig, brisk, frames, cause):
    """Every tenth frame never comes, none is garbled: for a while that is a busy host, for long a loose cable."""
    with rig(host=False) as bench:
        desk, seen = desk_on(bench), itertools.count()
        tester = commission_selftest._Tester(desk, bench.config, (), ("genset", "trip"))
        bench.bench.link_filter = lambda direction, data, now_us: (
            b"" if data and (number := next(seen)) % 10 == 0 and number < frames else data)  # fmt: skip
        assert tester.link().cause == cause


@pytest.mark.parametrize(("share", "named"), [(0.0, {}), (0.05, {"Modbus line": "noisy_line"})])
def test_a_slow_line_is_judged_as_well(rig, share, named):
    """At 9600 baud a round takes longer than telemetry can tell; the board counts its requests."""
    sections = {"bus": {"baud": 9600}, "safety": {"cycle_ms": 500, "inverter_watchdog_s": 10}}
    with rig(host=False, sections=sections) as bench:
        bench.bench.slave = devices.slave(bench.site, baud=9600)
        desk, noise = desk_on(bench), flips(random.Random(4), share)
        desk.set(board_settings(bench.config))
        bench.bench.bus_filter = lambda direction, data, now_us: noise(data)
        tester = commission_selftest._Tester(desk, bench.config, (), ("genset", "trip"))
        tester.hold_still()
        assert tester.devices().passed
        assert failures([tester.line()]) == named


def test_an_inverter_that_does_not_follow(rig, monkeypatch):
    monkeypatch.setattr(commission_selftest, "WAKE_S", 60.0)
    with rig(host=False) as bench:
        bench.site.inverter.open_contactor(0, True)
        assert outcome_of(bench)[0] == {"inverter in service": "inverter_asleep"}


def test_a_host_that_does_not_know_the_year(rig):
    with rig(host=False, sections={"safety": {"inverter_watchdog_s": 4}}) as bench:
        checks = selftest(desk_on(bench), bench.config, 0.0, without=("genset", "trip"))
        assert failures(checks) == {"clock": "clock"}


# ---- contacts

NO_COOLING = {"functions": {"genset_cool_down_s": 0}, "safety": {"inverter_watchdog_s": 2}}


def faulty_genset(bench):
    bench.site.genset.failing_starts = 9


def lost_running_contact(bench):
    bench.bench.contacts.lost_inputs = GENSET_RUNNING


def test_a_set_that_still_cools_down_from_a_test_broken_off_is_waited_for(rig, brisk):
    with rig(host=False, plant=QUICK, sections=NO_COOLING) as bench:
        desk = desk_on(bench)
        bench.run(2)
        desk.lease(0, 30)
        desk.ask(m.MAINTENANCE, 60, GENSET_START)
        desk.wait(15)
        test = contacts.ContactTest(desk, bench.config, 1000, 60.0, ("trip",))
        assert bench.site.genset.state, "it runs"
        assert [check.name for check in test.checks() if check.passed] == ["genset start", "genset stop"]


def starter_stuck_open(bench):
    bench.bench.contacts.stuck_open = GENSET_START


def starter_stuck_closed(bench):
    bench.bench.contacts.stuck_closed = GENSET_START
    bench.bench.contacts.drive(0)
    bench.run(15)


def starter_welds(bench):
    """The relay closes as it should, and never opens again."""
    weld(bench.bench.contacts, GENSET_START)


def weld(wires, mask):
    drive = wires.drive

    def welding(outputs):
        wires.stuck_closed |= outputs & mask
        drive(outputs)

    wires.drive = welding


def starter_on_the_other_contact(bench):
    bench.bench.contacts.other_contact = GENSET_START
    bench.bench.contacts.drive(0)
    bench.run(15)


def running_contact_on_the_other_side(bench):
    bench.bench.contacts.other_input = GENSET_RUNNING


@pytest.mark.parametrize(
    ("fault", "found"),
    [(faulty_genset, {"genset start": "genset_no_start"}), (lost_running_contact, {"genset start": "genset_no_start"}),
     (starter_stuck_open, {"genset start": "genset_no_start"}), (starter_stuck_closed, {"genset start": "genset_runs"}),
     (starter_welds, {"genset stop": "genset_no_stop"}),
     (starter_on_the_other_contact, {"genset start": "genset_other_contact"}),
     (running_contact_on_the_other_side, {"genset start": "genset_other_contact"})],
)  # fmt: skip
def test_a_set_that_does_not_do_what_its_start_contact_says(rig, brisk, fault, found):
    with rig(host=False, plant=QUICK, sections=NO_COOLING) as bench:
        fault(bench)
        assert outcome_of(bench, without=("trip",))[0] == found


@pytest.mark.parametrize(
    ("fault", "mask", "found"),
    [("stuck_open", TRIP, {"trip relay": "trip_stuck"}),
     ("other_contact", TRIP, {"inverter in service": "inverter_asleep", "trip relay": "trip_other_contact"}),
     ("stuck_open", TIE_OPEN, {"grid contactor": "tie_stuck_closed"}),
     ("stuck_closed", TIE_OPEN, {"grid contactor": "tie_stuck_open"}),
     ("other_input", TIE_IS_OPEN, {"grid contactor": "tie_other_contact"}),
     ("lost_inputs", TIE_IS_OPEN, {"grid contactor": "tie_stuck_closed"})],
)  # fmt: skip
def test_relays_are_read_back(rig, brisk, fault, mask, found):
    sections = {"safety": {"inverter_watchdog_s": 2}, "functions": {"functions": 256 if mask != TRIP else 0}}
    with rig(host=False, plant=QUICK, sections=sections, heap="256k") as bench:
        setattr(bench.bench.contacts, fault, mask)
        bench.bench.contacts.drive(0)
        without = ("genset",) if mask == TRIP else ("genset", "trip")
        assert found.items() <= outcome_of(bench, without=without)[0].items()
        assert bench.bench.outputs & (TRIP | TIE_OPEN) == 0, "nothing stays driven"


def test_a_trip_relay_that_does_not_open_again(rig, brisk):
    with rig(host=False, plant=QUICK, sections={"safety": {"inverter_watchdog_s": 2}}) as bench:
        weld(bench.bench.contacts, TRIP)
        assert outcome_of(bench, without=("genset",))[0] == {"trip relay": "trip_stays_open"}


def test_contacts_are_driven_only_while_the_battery_is_held_and_nothing_is_tripped(rig):
    with rig(host=False) as bench:
        desk = desk_on(bench)
        with pytest.raises(Trouble, match="lease a setpoint first"):
            desk.ask(m.MAINTENANCE, 60, GENSET_START)
        with pytest.raises(Trouble, match="contacts go up to 63"):
            desk.ask(m.MAINTENANCE, 60, 64)
        desk.lease(0, 30)
        desk.ask(m.MAINTENANCE, 60, GENSET_START)
        desk.wait(20)
        assert bench.bench.outputs == GENSET_START and desk.ask(m.MAINTENANCE, 60, GENSET_START)[0] == GENSET_RUNNING
        desk.wait(15)
        assert bench.bench.outputs == 0, "the lease is over: nobody holds the battery any more"
        desk.lease(0, 30)
        desk.ask(m.MAINTENANCE, 60, GENSET_START)
        desk.wait(1)
        bench.bench.inputs = 1
        desk.wait(1)
        assert bench.bench.outputs == TRIP, "an emergency stop stops the set too"
        bench.bench.inputs = 0
        desk.wait(1)
        assert bench.bench.outputs == TRIP, "until somebody resets it"
        bench.bench.inputs = 4
        desk.wait(1)
        bench.bench.inputs = 0
        desk.wait(1)
        assert bench.bench.outputs == 0, "and the set does not start again by itself"
