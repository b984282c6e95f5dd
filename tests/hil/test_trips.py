"""Trips on the emulated site: each says cause, value, limit and time; who could be hurt decides whether it latches."""

import pytest

from forerun_wire import messages as m
from hil.rig import ANALOG, WIDE

TRIP = 512
TRIPS = {"functions": {"functions": TRIP}}


def trips(bench):
    """(name, value, limit) of each trip and clearance, in order."""
    return [event[1:] for event in bench.events() if event[1].startswith("trip")]


def running(bench, power_w=4_000):
    bench.run_until_armed()
    bench.command(m.SETPOINT, m.HOLD_BATTERY, power_w, 600_000)
    bench.run(3)
    assert abs(bench.site.inverter.power_w - power_w) < 100


# cause: (what brings it on, what ends it, lowest and highest value told, limit, opens after so many seconds, at most)
MEASURED = {
    "over_voltage": (lambda hil: hil.site.set_grid_voltage(275.0), lambda hil: hil.site.set_grid_voltage(230.0),
                     264_501, 276_000, 264_500, 0.2, 0.4),
    "under_voltage": (lambda hil: hil.site.set_grid_voltage(185.0), lambda hil: hil.site.set_grid_voltage(230.0),
                      170_000, 195_499, 195_500, 0.2, 0.4),
    "over_frequency": (lambda hil: hil.site.set_grid_frequency(51.7), lambda hil: hil.site.set_grid_frequency(50.0),
                       51_700, 51_700, 51_500, 0.2, 0.4),
    "under_frequency": (lambda hil: hil.site.set_grid_frequency(47.3), lambda hil: hil.site.set_grid_frequency(50.0),
                        47_300, 47_300, 47_500, 0.2, 0.4),
    "over_current": (lambda hil: setattr(hil.bench.senses, "current_share", 20.0),
                     lambda hil: setattr(hil.bench.senses, "current_share", 1.0), 40_001, 60_000, 40_000, 0.0, 0.1),
    "over_temperature": (lambda hil: setattr(hil.bench.senses, "cell_c", 72.0),
                         lambda hil: setattr(hil.bench.senses, "cell_c", 40.0), 720, 720, 700, 0.2, 12.0),
}  # fmt: skip
CODES = {name: code for code, name in m.EVENTS}
CONTACTS = {"emergency_stop": 1, "door": 2, "insulation": 8}


def tripped(bench, cause, disturb, latest_s):
    """Bring a trip on; when it was brought on, and the one event that says so, after (value, limit) were told."""
    began_s, before = bench.now_s, len(trips(bench))
    bench.bench.at(bench.bench.now_us, disturb)
    bench.run_until(lambda: bench.bench.outputs & 1, latest_s, 0.005)
    opened_s = bench.now_s
    assert bench.site.inverter.contactor_open and bench.site.inverter.power_w == 0.0
    bench.run(1.5)
    assert len(trips(bench)) == before + 1, trips(bench)
    at_s, name, value, limit = [event for event in bench.events() if event[1].startswith("trip")][-1]
    assert name == "tripped_" + cause
    assert abs(at_s - opened_s) <= 0.06, f"the board's time of it, {at_s} s, is that of its round, {opened_s} s"
    assert bench.host.latest["faults"] & 1 and bench.host.latest["bound_by"] == m.BOUND_TRIP
    return opened_s - began_s, value, limit


@pytest.mark.parametrize("cause", MEASURED)
def test_a_measured_trip_opens_in_its_time_says_cause_value_limit_and_time_and_clears_itself(rig, cause):
    """Limits: 200 ms are commissioned, and the rounds that see it; the channels' trip within two half cycles and the
    round; the sensor is asked every ten seconds."""
    disturb, calm, low, high, limit, earliest_s, latest_s = MEASURED[cause]
    plant = {"trip_high_s": 10.0, "enter_service_s": 5.0, "wake_s": 1.0}  # the inverter's own protection is slower here
    sections = {**TRIPS, "sensors": {**ANALOG, "trip_current_ma": 40_000, "sensors": 1}}
    with rig(sections=sections, plant=plant, senses=True, heap=WIDE) as bench:
        running(bench)
        took_s, value, told_limit = tripped(bench, cause, lambda: disturb(bench), latest_s)
        print("opened after", took_s)
        assert earliest_s <= took_s <= latest_s and low <= value <= high and told_limit == limit
        calm(bench)
        calmed_s = bench.now_s
        bench.run(2.5)
        assert bench.site.inverter.contactor_open, "calm for three seconds first"
        bench.run_until(lambda: not bench.bench.outputs & 1, 16, 0.1)
        assert bench.now_s - calmed_s <= 3.3 + latest_s
        bench.run_until(lambda: abs(bench.site.inverter.power_w - 4_000) < 100, 12, 0.5)  # and the order goes on
        name, code, open_s = trips(bench)[-1]
        assert (name, code) == ("trip_cleared", CODES["tripped_" + cause] - 40) and open_s >= 3
        outside = {"over_voltage": {"swells": 1, "itic": 1}, "under_voltage": {"dips": 1, "itic": 1}}
        bench.assert_held(**outside.get(cause, {}))  # the grid's own; nobody on the site makes it worse


def test_overvoltage_of_the_channels_trips_within_a_round(rig):
    channels = {**ANALOG, "trip_voltage_mv": 270_000}
    with rig(sections={"sensors": channels}, senses=True, plant={"trip_high_s": 10.0}) as bench:
        running(bench)
        _, value, limit = tripped(bench, "over_voltage", lambda: bench.site.set_grid_voltage(285.0), 0.1)
        assert 270_000 < value < 290_000 and limit == 270_000
        bench.site.set_grid_voltage(230.0)
        bench.run_until(lambda: not bench.bench.outputs & 1, 6, 0.1)
        bench.run(1)
        assert trips(bench)[-1][:2] == ("trip_cleared", CODES["tripped_over_voltage"] - 40)
        bench.assert_held(swells=1, itic=1)


@pytest.mark.parametrize("cause", CONTACTS)
def test_what_could_hurt_somebody_stays_tripped_through_a_restart_until_it_is_reset(rig, cause):
    with rig() as bench:
        running(bench)

        def close():
            bench.bench.inputs = CONTACTS[cause]

        took_s, value, limit = tripped(bench, cause, close, 0.2)
        assert took_s <= 0.065 and (value, limit) == (1, 0), "the round that sees the contact opens"
        bench.bench.inputs = 0
        bench.bench.power_off()
        bench.run(3)
        bench.bench.power_on()
        bench.run_until(lambda: bench.bench.outputs & 1, 1, 0.01)
        bench.run_until(lambda: bench.host.latest.get("state") == m.FAULTED and bench.host.session.up, 20, 0.25)
        bench.run(5)
        assert bench.site.inverter.contactor_open and bench.site.inverter.power_w == 0.0
        assert trips(bench) == [("tripped_" + cause, 1, 0)] * 2, "it says again why it stands"
        assert bench.command(m.SETTINGS_SET, 6, 9_000)[0] == m.DONE
        assert bench.command(m.SETTINGS_SET, 67, 264_000)[0] == m.DONE  # commissions the functions anew
        bench.run(2)
        assert bench.site.inverter.contactor_open, "no setting resets it"
        bench.bench.inputs = 4
        bench.run(1)
        bench.bench.inputs = 0
        bench.run(2)
        assert not bench.site.inverter.contactor_open and trips(bench)[-1][0] == "trip_cleared"
        bench.bench.power_off()
        bench.run(1)
        bench.bench.power_on()
        bench.run(5)
        assert not bench.bench.outputs & 1, "and a restart does not bring it back"
