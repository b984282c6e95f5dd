"""What a site was commissioned for beyond its limits, on the emulated site with the faults it is there for."""

from forerun.plant.series import Series
from forerun_wire import messages as m

# The 64-bit port's words are twice as wide as a board's: with functions in memory this is what 192 KiB hold there.
WIDE = "192k"
OVER_UNDER, VOLT_WATT, ENTER, GENSET, TRIP = 3, 4, 16, 128, 512
FREE = {"import_limit_w": 60_000, "export_limit_w": 60_000}


def test_frequency_excursion_takes_discharge_and_pv_away_and_gives_them_back(rig):
    sections = {"functions": {"functions": OVER_UNDER}, "limits": FREE}
    with rig(load_w=20_000, pv_w=9_000, plant={"pv_rated_w": 10_000.0}, sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 25_000, 600_000)
        bench.run(5)
        assert abs(bench.site.inverter.power_w - 25_000) < 100 and bench.site.pv_w == 9_000
        bench.site.set_grid_frequency(51.2)
        bench.run(1)
        assert bench.site.inverter.power_w <= 18_050, "5 % droop from 50.2 Hz: 60 % of 30 kW at 51.2 Hz"
        assert bench.site.pv_w <= 0.6 * 10_000
        bench.run(1)
        assert bench.host.latest["bound_by"] == m.BOUND_FREQUENCY
        bench.site.set_grid_frequency(50.0)
        bench.run(3)
        assert abs(bench.site.inverter.power_w - 25_000) < 100 and bench.site.pv_w == 9_000
        bench.command(m.SETPOINT, m.HOLD_BATTERY, -20_000, 600_000)
        bench.run(4)
        bench.site.set_grid_frequency(49.0)
        bench.run(2)
        assert bench.site.inverter.power_w >= -20_000 and bench.host.latest["frequency_millihz"] == 49_000
        bench.site.set_grid_frequency(48.3)
        bench.run(2)
        assert abs(bench.site.inverter.power_w + 12_000) < 100, "1.5 Hz below 49.8: 12 kW of charging are left"
        bench.run(3)
        assert bench.names().count("support_began") == 2 and bench.names().count("support_ended") == 1
        bench.assert_held(dips=1)  # of the 40 kW that the freed limits let in over this feeder


def test_a_genset_that_fails_to_start_is_tried_again_and_locked_out(rig):
    sections = {"functions": {"functions": GENSET, "genset_tries": 2}}
    with rig(sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.site.genset.failing_starts = 99
        bench.site.lose_grid()
        bench.run(15)
        assert bench.site.genset.state != 2 and bench.bench.outputs & 2
        bench.coarse(250)
        bench.run(100)
        assert bench.names().count("genset_start_failed") == 1 and bench.names().count("genset_locked_out") == 1
        assert not bench.bench.outputs & 2, "nobody cranks an engine that will not start until its battery is flat"
        bench.assert_held(interruptions=1, itic=1)


def test_a_genset_that_starts_at_the_second_try_carries_the_site_and_stops_when_the_grid_is_back(rig):
    sections = {"functions": {"functions": GENSET, "genset_warm_up_s": 5, "genset_min_run_s": 60,
                              "genset_cool_down_s": 20}}  # fmt: skip
    plant = {"amf_min_run_s": 60.0, "genset_cool_s": 20.0}
    with rig(plant=plant, sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.site.genset.failing_starts = 1
        bench.site.lose_grid()
        bench.run(5)
        bench.coarse(250)
        bench.run(85)
        assert bench.site.genset_w > 5_000, "it carries the servers"
        assert bench.site.genset.starts == 2
        bench.site.return_grid()
        bench.run(200)
        assert bench.site.genset.state == 0 and not bench.bench.outputs & 2
        seen = [name for name in bench.names() if name.startswith("genset")]
        assert seen == ["genset_start_failed", "genset_started", "genset_stopped"], seen
        bench.assert_held(interruptions=1, itic=1)


def test_a_dip_is_ridden_through(rig):
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 3000, 600_000)
        bench.run(3)
        bench.site.set_grid_voltage(170.0)
        bench.run(0.3)
        bench.site.set_grid_voltage(230.0)
        bench.run(5)
        assert "grid_lost" not in bench.names()
        assert abs(bench.site.inverter.power_w - 3000) < 60
        totals = bench.site.totals()
        assert totals.dip_count == 1 and totals.itic_violations == 0
        bench.assert_held(dips=1)


def test_cloud_edge_does_not_break_the_import_limit(rig):
    pv = Series(0, 1_000_000, [14_000.0] * 90 + [2_000.0], linear=True)
    with rig(load_w=16_000, pv=pv, sections={"limits": {"import_limit_w": 10_000}}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        assert bench.now_s < 85
        start_us = round(bench.bench.now_us / 10_000) * 10_000 + 10_000
        trace = bench.site.record(start_us, 100_000_000, 10_000)
        bench.run(100.5 - bench.now_s)
        assert max(trace.pv_w) > 13_000 and min(trace.pv_w) < 2_100, "12 kW of PV went in one second"
        over_ms = sum(10 for watts in trace.pcc_import_w if watts > 10_000)
        excess_w = max(trace.pcc_import_w) - 10_000
        assert over_ms <= 1_200 and excess_w <= 1_500, f"{over_ms} ms above the limit, by {excess_w:.0f} W"
        assert max(trace.pcc_import_w[-500:]) <= 10_000
        bench.assert_held(over_s=1.2)


def test_service_is_entered_slowly_after_the_grid_was_away(rig):
    sections = {"functions": {"functions": ENTER, "enter_delay_s": 20, "enter_ramp_permille_per_min": 1000}}
    plant = {"enter_service_s": 5.0, "wake_s": 1.0, "genset_w": 0.0}
    with rig(plant=plant, sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 10_000, 600_000)
        bench.run(4)
        bench.site.lose_grid()
        bench.run(5)
        bench.site.return_grid()
        bench.run(20)
        assert abs(bench.site.inverter.power_w) < 60
        start_us = round(bench.bench.now_us / 10_000) * 10_000 + 10_000
        trace = bench.site.record(start_us, start_us + 60_000_000, 10_000)
        bench.run(62)
        assert abs(bench.site.inverter.power_w - 10_000) < 60
        steepest = max(after - before for before, after in zip(trace.inverter_w, trace.inverter_w[1000:], strict=False))
        assert 4_000 < steepest <= 5_200, f"{steepest:.0f} W in 10 s; 500 W each second are commissioned"
        bench.assert_held(interruptions=1, itic=1)


def test_a_frozen_meter_is_noticed_and_not_believed(rig):
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        bench.run(5)
        meter = bench.slave.responder.units[2]
        meter.freeze(True)
        bench.run(10)
        assert "meter_frozen" not in bench.names(), "nothing moves on this site: nobody could tell"
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 6_000, 600_000)
        bench.run(4)
        assert abs(bench.site.inverter.power_w) < 60 and bench.host.latest["bound_by"] == m.BOUND_METER_STALE
        meter.freeze(False)
        bench.site.add_job(bench.bench.now_us, 60_000_000, 200)
        bench.run(3)
        assert abs(bench.site.inverter.power_w - 6_000) < 60
        assert bench.names().count("meter_frozen") == 1 and bench.names().count("meter_moving") == 1
        bench.assert_held()


def test_an_inverter_that_restarts_is_armed_again(rig):
    with rig(plant={"wake_s": 8.0, "enter_service_s": 10.0}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 4_000, 600_000)
        bench.run(3)
        bench.site.restart_inverter()
        assert bench.site.inverter.controls[704]["WSetRvrtTms"] == 0, "it forgot its watchdog"
        bench.run(30)
        assert abs(bench.site.inverter.power_w - 4_000) < 60
        assert bench.site.inverter.controls[704]["WSetRvrtTms"] == 30
        assert bench.names().count("inverter_lost") == 1 and bench.names().count("inverter_back") == 1
        bench.assert_held()


def test_a_latched_trip_stays_until_somebody_resets_it(rig):
    with rig(sections={"functions": {"functions": TRIP}}, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 4_000, 600_000)
        bench.run(3)
        bench.bench.inputs = 1
        bench.run(1)
        assert bench.site.inverter.contactor_open and bench.site.inverter.power_w == 0.0
        bench.bench.inputs = 0
        bench.run(10)
        assert bench.site.inverter.contactor_open and bench.host.latest["state"] == m.FAULTED
        bench.bench.inputs = 4
        bench.run(1)
        assert bench.site.inverter.contactor_open, "a button that is held, or sticks, resets nothing"
        bench.bench.inputs = 0
        bench.run(1)
        assert not bench.site.inverter.contactor_open
        bench.run(2)
        assert [name for name in bench.names() if name.startswith("trip")] == ["tripped_emergency_stop", "trip_cleared"]


def test_volt_watt_takes_discharge_and_pv_away_at_a_high_voltage_by_the_default_and_by_a_curve_of_the_site(rig):
    """IEEE 1547-2018, table 10: full up to 1.06 of nominal, none from 1.10; then a curve of four points."""
    sections = {"functions": {"functions": VOLT_WATT}, "limits": FREE}
    plant = {"pv_rated_w": 10_000.0, "feeder_r_ohm": 0.05, "feeder_x_ohm": 0.05}
    with rig(load_w=20_000, pv_w=9_000, plant=plant, sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 20_000, 600_000)
        bench.site.set_grid_voltage(248.4)  # 1.08: half of the way
        bench.run(3)
        permille = (253_000 - 1000 * bench.site.pcc_voltage_v) / (253_000 - 243_800) * 1000
        assert abs(bench.site.inverter.power_w - 30 * permille) < 300 and bench.site.pv_w <= 10 * permille
        assert bench.host.latest["bound_by"] == m.BOUND_VOLTAGE
        assert bench.command(m.CURVE_SET, 2, 240_000, 1000, 245_000, 400, 250_000, 400, 252_000, 0) == (m.DONE, [])
        bench.run(4)
        assert abs(bench.site.inverter.power_w - 12_000) < 100, "the flat part of the site's own curve"
        bench.site.set_grid_voltage(230.0)
        bench.run(3)
        assert abs(bench.site.inverter.power_w - 20_000) < 100 and bench.site.pv_w == 9_000
        bench.assert_held()


def test_a_frequency_that_moves_a_hertz_a_second_is_followed_on_the_way_down_and_up(rig):
    sections = {"functions": {"functions": OVER_UNDER}, "limits": FREE}
    with rig(load_w=8_000, plant={"feeder_r_ohm": 0.1}, sections=sections, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        bench.run(1)
        for tenth in range(1, 21):
            bench.site.set_grid_frequency(50.0 - tenth / 10)
            bench.run(0.1)
        bench.run(0.4)
        share = (49.8 - 48.0) / 2.5 - 1  # of the way from full charging to full discharging, 5 % droop
        assert abs(bench.site.inverter.power_w - max(0.0, 30_000 * share)) < 100
        bench.command(m.SETPOINT, m.HOLD_BATTERY, -20_000, 600_000)
        bench.run(2)
        assert abs(bench.site.inverter.power_w - 30_000 * share) < 150, "the most charging that 48 Hz leaves"
        for tenth in range(1, 21):
            bench.site.set_grid_frequency(48.0 + tenth / 10)
            bench.run(0.1)
        bench.run(1)
        assert abs(bench.site.inverter.power_w + 20_000) < 100
        bench.assert_held()
