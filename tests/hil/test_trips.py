"""Trips on the emulated site: each says cause, value, limit and time; who could be hurt decides whether it latches."""

import pytest

from forerun_wire import messages as m
from hil.rig import ANALOG

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


@pytest.mark.parametrize(("cause", "disturb", "calm", "low", "high", "limit"), [
    ("over_voltage", lambda site: site.set_grid_voltage(275.0), lambda site: site.set_grid_voltage(230.0),
     264_501, 276_000, 264_500),
    ("under_voltage", lambda site: site.set_grid_voltage(185.0), lambda site: site.set_grid_voltage(230.0),
     170_000, 195_499, 195_500),
    ("over_frequency", lambda site: site.set_grid_frequency(51.7), lambda site: site.set_grid_frequency(50.0),
     51_700, 51_700, 51_500),
    ("under_frequency", lambda site: site.set_grid_frequency(47.3), lambda site: site.set_grid_frequency(50.0),
     47_300, 47_300, 47_500),
])  # fmt: skip
def test_a_measured_trip_opens_in_its_time_says_why_and_clears_itself(rig, cause, disturb, calm, low, high, limit):
    plant = {"trip_high_s": 10.0, "enter_service_s": 5.0, "wake_s": 1.0}  # the inverter's own protection is slower here
    with rig(sections=TRIPS, plant=plant) as bench:
        running(bench)
        start_s = bench.now_s
        bench.bench.at(bench.bench.now_us, lambda: disturb(bench.site))
        bench.run_until(lambda: bench.bench.outputs & 1, 1.0, 0.02)
        assert 0.2 <= bench.now_s - start_s <= 0.4, "200 ms are commissioned, and the rounds that see it"
        assert bench.site.inverter.contactor_open and bench.site.inverter.power_w == 0.0
        bench.run(4)
        (name, value, at), = trips(bench)
        assert name == "tripped_" + cause and low <= value <= high and at == limit
        (at_s,) = [event[0] for event in bench.events() if event[1] == name]
        assert abs(at_s - start_s) < 1.0, "the board's time of it, in s since boot"
        assert bench.host.latest["faults"] & 1 and bench.host.latest["bound_by"] == m.BOUND_TRIP
        calm(bench.site)
        bench.run(2.5)
        assert bench.site.inverter.contactor_open, "calm for three seconds first"
        bench.run(14)
        assert [name for name, _, _ in trips(bench)] == ["tripped_" + cause, "trip_cleared"]
        assert abs(bench.site.inverter.power_w - 4_000) < 100, "and the order goes on"


def test_a_hot_battery_trips_and_comes_back_when_it_has_cooled(rig):
    with rig(sections={**TRIPS, "sensors": {"sensors": 1}}, senses=True) as bench:
        running(bench)
        bench.bench.senses.cell_c = 72.0
        bench.run_until(lambda: bench.bench.outputs & 1, 30, 0.1)
        bench.run(2)
        assert trips(bench) == [("tripped_over_temperature", 720, 700)] and bench.site.inverter.contactor_open
        bench.bench.senses.cell_c = 40.0
        bench.run_until(lambda: not bench.bench.outputs & 1, 40, 0.1)
        bench.run(2)
        assert trips(bench)[-1][0] == "trip_cleared"


def test_overcurrent_and_overvoltage_of_the_channels_trip_within_a_round(rig):
    channels = {**ANALOG, "trip_current_ma": 40_000, "trip_voltage_mv": 270_000}
    with rig(sections={"sensors": channels}, senses=True, plant={"trip_high_s": 10.0}) as bench:
        bench.run_until_armed()
        bench.run(6)
        for disturb, calm, name, limit in (
            (lambda: setattr(bench.bench.senses, "current_share", 5.0),
             lambda: setattr(bench.bench.senses, "current_share", 1.0), "tripped_over_current", 40_000),
            (lambda: bench.site.set_grid_voltage(285.0), lambda: bench.site.set_grid_voltage(230.0),
             "tripped_over_voltage", 270_000),
        ):  # fmt: skip
            disturb()
            assert bench.run_until(lambda: bench.bench.outputs & 1, 1, 0.002) <= 0.1, name
            bench.run(1)
            assert trips(bench)[-1][0] == name and trips(bench)[-1][1] > limit == trips(bench)[-1][2]
            calm()
            bench.run_until(lambda: not bench.bench.outputs & 1, 6, 0.1)
            bench.run(1)
            assert trips(bench)[-1][0] == "trip_cleared"


@pytest.mark.parametrize(("contact", "cause", "functions"), [
    (1, "emergency_stop", 0), (2, "door", 0), (8, "insulation", 0), (1, "emergency_stop", TRIP),
])  # fmt: skip
def test_what_could_hurt_somebody_stays_tripped_through_a_restart_until_it_is_reset(rig, contact, cause, functions):
    """Whatever the site is commissioned for; the contactor is open before the first round after the restart."""
    with rig(sections={"functions": {"functions": functions}}) as bench:
        running(bench)
        bench.bench.inputs = contact
        bench.run_until(lambda: bench.bench.outputs & 1, 0.2, 0.005)
        bench.run(1)
        assert trips(bench) == [("tripped_" + cause, 1, 0)] and bench.site.inverter.contactor_open
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
