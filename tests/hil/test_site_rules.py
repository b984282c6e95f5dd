"""Rules of a site on the emulated one: when the diesel set may start, warmth, cables, and what is refused."""

from datetime import datetime

import pytest

from forerun.plant import rtu
from forerun_wire import messages as m

GENSET, CARE, VOLT_VAR = 128, 64, 8
NIGHT = {"functions": GENSET, "genset_warm_up_s": 5, "genset_min_run_s": 30, "genset_cool_down_s": 10,
         "quiet_start_min": 22 * 60, "quiet_end_min": 6 * 60}  # fmt: skip


def plan(bench, *segments):
    """Give the board a plan of (duration_s, mode, value_w) that begins now; the codes of both replies."""
    points = [number for segment in segments for number in segment]
    uptime_s = bench.command(m.INFO)[1][3]
    return (bench.command(m.PLAN_POINTS, 77, 0, *points)[0],
            bench.command(m.PLAN_COMMIT, 77, len(segments), uptime_s)[0])  # fmt: skip


def starts_on_plan(bench):
    """Whether the start contact closes within 5 s of a plan that wants the set."""
    assert not bench.bench.outputs & 2
    assert plan(bench, (600, m.HOLD_PCC + m.WITH_SET, 0)) == (m.DONE, m.DONE)
    bench.run(5)
    return bool(bench.bench.outputs & 2)


def test_the_set_starts_on_plan_but_not_in_quiet_hours_and_never_without_fuel(rig):
    with rig(host=True, sections={"functions": NIGHT}) as bench:
        bench.run_until_armed()
        bench.command(m.SITE_TIME, 23 * 3600)
        assert not starts_on_plan(bench)
        bench.bench.inputs = 128
        bench.command(m.SITE_TIME, 12 * 3600)
        assert not starts_on_plan(bench), "the tank is empty"
        bench.bench.inputs = 0
        bench.run(20)
        assert not bench.bench.outputs & 2, "its float has to be at rest for half a minute"
        bench.run(8)
        assert starts_on_plan(bench)
        bench.run(15)
        started = [event for event in bench.events() if event[1] == "genset_started"]
        assert started[0][2] == 4, "reason: plan"


def test_until_the_time_was_told_all_hours_are_quiet(rig):
    with rig(host=False, sections={"functions": NIGHT}) as bench:
        bench.start_host()
        bench.host._tell_time = lambda now_s: None
        bench.run_until_armed()
        assert not starts_on_plan(bench)
        bench.command(m.SITE_TIME, 12 * 3600)
        bench.run_until(lambda: bench.bench.outputs & 2, 5)  # the plan that stands wants it


@pytest.mark.parametrize("utc, quiet_until, quiet_before, quiet_after", [
    ("2019-03-31T00:58:00+00:00", 150, True, False),  # 02:00 becomes 03:00: the night ends an hour sooner
    ("2019-10-27T00:58:00+00:00", 150, False, True),  # 03:00 becomes 02:00: once more what it was an hour ago
])  # fmt: skip
def test_quiet_hours_are_those_of_the_site_when_its_clocks_change(rig, utc, quiet_until, quiet_before, quiet_after):
    """Night ends at 02:30 in Oslo; the clocks change at 01:00 UTC, two minutes after the host has begun."""
    night = {**NIGHT, "quiet_start_min": 60, "quiet_end_min": quiet_until, "genset_min_run_s": 0}
    utc_s = round(datetime.fromisoformat(utc).timestamp())
    zone = {"timezone": "Europe/Oslo"}
    with rig(utc_s=utc_s, sections={"functions": night, "reporting": zone}) as bench:
        bench.run_until_armed()
        assert bench.now_s < 100
        assert starts_on_plan(bench) != quiet_before
        bench.coarse(500)
        bench.run(122 - bench.now_s)
        plan(bench, (600, m.HOLD_PCC, 0))
        bench.run_until(lambda: not bench.bench.outputs & 2, 60, 0.5)
        assert starts_on_plan(bench) != quiet_after


def test_a_cold_battery_is_warmed_and_not_charged_before(rig):
    plant = {"battery_temperature_c": 2.0, "ambient_c": -10.0, "heater_w": 60_000.0,
             "feeder_r_ohm": 0.2}  # fmt: skip
    free = {"import_limit_w": 60_000, "export_limit_w": 60_000}
    sections = {"functions": {"functions": CARE}, "sensors": {"sensors": 1}, "limits": free}
    with rig(plant=plant, sections=sections, senses=True) as bench:

        def temperature_c():
            bench.bench.senses.cell_c = bench.site.battery.temperature_c
            return bench.site.battery.temperature_c

        temperature_c()
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, -20_000, 600_000)
        bench.run_until(lambda: temperature_c() and bench.site.heater_on, 30, 0.5)
        bench.run(3)
        assert -12_000 < bench.site.inverter.power_w < 100, "between 0 and 10 °C charging comes back slowly"
        bench.run_until(lambda: temperature_c() >= 9.5 and not bench.site.heater_on, 240, 1)
        bench.run_until(lambda: temperature_c() and bench.site.inverter.power_w < -15_000, 60, 1)
        bench.site.set_battery_temperature(-1.0)
        bench.run_until(lambda: temperature_c() and abs(bench.site.inverter.power_w) < 60, 60, 0.5)


def test_a_cable_pulled_and_put_back(rig):
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 5_000, 600_000)
        bench.run(3)
        bench.bench.bus_filter = lambda direction, data, now_us: b""
        bench.run(45)
        assert abs(bench.site.inverter.power_w) < 60 and bench.site.inverter.reversions == 1, "its own watchdog"
        bench.bench.bus_filter = None
        bench.run(12)
        assert abs(bench.site.inverter.power_w - 5_000) < 60
        assert {"inverter_lost", "inverter_back", "meter_stale", "meter_back"} <= set(bench.names())
        bench.assert_held()


def test_a_board_that_was_power_cycled_goes_on_as_commissioned(rig):
    with rig(load_w=9_000, sections={"limits": {"import_limit_w": 6_000}}) as bench:
        bench.run_until_armed()
        bench.bench.power_off()
        bench.run(2)
        bench.bench.power_on()
        bench.run(6)
        assert bench.site.pcc_import_w <= 6_000
        bench.assert_held(over_s=0.5)  # from the first boot to the first setpoint; the inverter kept it meanwhile
        assert bench.command(m.SETTINGS_GET, 6) == (m.DONE, [6_000])


def test_what_makes_no_sense_is_refused_with_a_code_and_a_sentence_and_an_event(rig):
    with rig(sections={"functions": {"functions": VOLT_VAR}}) as bench:
        bench.run_until_armed()
        good = (3, 207_000, 300, 253_000, -300)
        assert bench.command(m.CURVE_SET, *good) == (m.DONE, [])
        before = bench.command(m.SETTINGS_GET, 6, 8, 20)[1]
        rising, one, far = (3, 207_000, -300, 253_000, 300), (3, 207_000, 300), (3, 1_000, 300, 253_000, -300)
        nine = (3, *[number for i in range(9) for number in (207_000 + 5_000 * i, -i)])
        cases = (
            (m.CURVE_SET, rising), (m.CURVE_SET, one), (m.CURVE_SET, nine), (m.CURVE_SET, far),
            (m.CURVE_SET, (7, 1, 1)),
            (m.SETTINGS_SET, (6, 2_000_000)), (m.SETTINGS_SET, (16, 0)), (m.SETTINGS_SET, (1, 9600)),
            (m.SETTINGS_SET, (68, 240_000)), (m.PLAN_POINTS, (5, 119, 60, 0, 0, 60, 0, 0)),
            (m.PLAN_POINTS, (5, 0, 0, 0, 0)), (m.PLAN_POINTS, (5, 0, 60, 4, 0)), (m.PLAN_COMMIT, (5, 3, 0)),
            (m.PLAN_COMMIT, (5, 1, -700_000)), (m.SITE_TIME, (90_000,)),
        )  # fmt: skip
        for op, args in cases:
            code, results = bench.command(op, *args)
            assert code not in (m.DONE, m.BUSY) and len(results[0].split()) >= 4, (op, args, code, results)
        assert bench.command(m.SETTINGS_GET, 6, 8, 20)[1] == before
        bench.run(3)
        refused = [event for event in bench.events() if event[1] == "command_refused"]
        ops = {m.CURVE_SET, m.SETTINGS_SET, m.PLAN_POINTS, m.PLAN_COMMIT, m.SITE_TIME}
        assert {event[2] for event in refused} == ops


def test_answers_that_cannot_be_true_are_not_used_and_are_said(rig):
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 3_000, 600_000)
        bench.run(3)
        meter = bench.slave.responder.units[2]
        honest = meter.read

        def spoilt(change):
            def change_replies(direction, data, now_us):
                meters = direction == "down" and len(data) > 5 and data[0] == 2 and data[1] == 3
                return rtu._sealed(change(data[:-2])) if meters else data

            return change_replies

        cases = (
            ("another unit answers", spoilt(lambda reply: bytes([3]) + reply[1:]), None, "meter_stale"),
            ("a reply of another length", spoilt(lambda reply: reply[:2] + bytes([reply[2] + 2]) + reply[3:] + b"ab"),
             None, "meter_stale"),
            ("not a number", None, lambda at, count: b"\x80\x00" * count, "modbus_refused"),
        )  # fmt: skip
        for what, line, read, event in cases:
            before = bench.names().count(event)
            bench.bench.bus_filter, meter.read = line, read or honest
            bench.run(5)
            assert abs(bench.site.inverter.power_w) < 60, f"{what}: neither the last value nor the maximum"
            assert bench.host.latest["bound_by"] == m.BOUND_METER_STALE and bench.names().count(event) > before, what
            bench.bench.bus_filter, meter.read = None, honest
            bench.run(6)
            assert abs(bench.site.inverter.power_w - 3_000) < 60, f"{what}: over, and the order goes on"
