"""What the board holds on the emulated site: import limit, lease, ramp, battery limits."""

import pytest

import bench_board
from forerun.plant.series import Series
from forerun_wire import messages as m

PEAK = 32


def test_import_limit_after_a_step_that_the_inverter_can_carry(rig):
    with rig(load_w=6000, sections={"limits": {"import_limit_w": 10_000}}) as bench:
        bench.run_until_armed()
        assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 60_000)[0] == m.DONE
        bench.run(2)
        assert abs(bench.site.pcc_import_w - 6000) < 200
        start_us = bench.bench.now_us
        bench.site.add_job(start_us, 30_000_000, 9_000)
        trace = bench.site.record(start_us, start_us + 20_000_000, 10_000)
        bench.run(20)
        over_ms = sum(10 for watts in trace.pcc_import_w if watts > 10_000)
        assert 0 < over_ms <= 200, f"{over_ms} ms above the limit of 10 kW"
        assert max(trace.pcc_import_w[100:]) <= 10_000, "the limit is held once it is reached"
        bench.assert_held(over_s=0.2)
        assert bench.host.latest["bound_by"] == m.BOUND_IMPORT_LIMIT


def test_a_setpoint_ends_with_its_lease_and_says_so(rig):
    with rig() as bench:
        bench.run_until_armed()
        assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 4000, 5000)[0] == m.DONE
        bench.run(3)
        assert abs(bench.site.inverter.power_w - 4000) < 50
        assert bench.host.latest["state"] == m.LEASED
        bench.run(4)
        assert bench.host.latest["state"] == m.PLANNED, "the plan takes over, never the last value"
        assert abs(bench.site.inverter.power_w - 4000) > 500
        assert "lease_ended" in bench.names()


def test_ramp_rate_is_held(rig):
    with rig(sections={"limits": {"ramp_w_per_s": 2000}}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 120_000)
        bench.run(8)
        start_us = bench.bench.now_us
        trace = bench.site.record(start_us, start_us + 8_000_000, 10_000)
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 10_000, 120_000)
        bench.run(8)
        fastest = max(after - before for before, after in zip(trace.inverter_w, trace.inverter_w[100:], strict=False))
        assert 1500 < fastest <= 2000 * 1.1, f"{fastest} W in a second, 2000 W/s are allowed"
        assert abs(trace.inverter_w[-1] - 10_000) < 50


def test_battery_stops_at_its_lowest_state_of_charge(rig):
    plant = {"start_soc": 0.22, "battery_wh": 2000.0, "battery_w": 10_000.0}
    with rig(plant=plant, sections={"limits": {"soc_min": 0.2}, "battery": {"capacity_wh": 2000}}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 5000, 300_000)
        bench.run(120)
        assert bench.site.battery.soc > 0.19
        assert bench.site.inverter.power_w < 100
        assert bench.host.latest["bound_by"] == m.BOUND_SOC


def test_the_mean_of_a_billing_window_is_held_and_a_frugal_start_is_given_back(rig):
    limit_w, window_s = 8_000, 300
    functions = {"functions": PEAK, "peak_limit_w": limit_w, "peak_window_s": window_s}
    limits = {"import_limit_w": 14_000, "ramp_w_per_s": 30_000}
    load = Series(0, 100_000_000, [5_000.0, 12_000.0, 13_000.0, 12_000.0, 6_000.0, 12_500.0, 12_500.0, 4_000.0] * 2)
    with rig(loads=[load], sections={"functions": functions, "limits": limits}) as bench:
        bench.run_until_armed()
        begins_s = 1_000 * window_s + bench.now_s % window_s  # of the day: windows begin where the series does
        uptime_s = bench.command(m.INFO)[1][3]
        assert bench.command(m.SITE_TIME, round(begins_s) % 86_400)[0] == m.DONE and uptime_s < window_s
        bench.coarse(500)
        means, most_w = [], 0.0
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 7_200_000)
        bench.run(window_s - bench.now_s % window_s)
        for _ in range(4):
            before_wh = bench.site.totals().import_wh
            for _ in range(window_s // 10):
                bench.run(10)
                most_w = max(most_w, bench.site.pcc_import_w)
            means.append((bench.site.totals().import_wh - before_wh) * 3600 / window_s)
        print("means of the windows", [round(mean) for mean in means], "most", round(most_w))
        assert max(means) <= 1.01 * limit_w, "what the tariff counts"
        assert 1.2 * limit_w < most_w <= 14_000, "a window that began with little may take more, below the limit"
        assert bench.site.battery.soc >= 0.10
        bench.assert_held()


@pytest.mark.parametrize("sign", [1, -1])
def test_bms_that_cuts_its_limit_is_obeyed(rig, sign):
    with rig(load_w=3000) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, sign * 8000, 120_000)
        bench.run(3)
        bench.site.cut_bms_limits(3000, 2000)
        bench.run(3)
        least_w, most_w = -3000, 2000
        rest_w = 0.05 * bench.site.battery.voltage_v  # model 802 rounds to 0.1 A
        assert bench.host.latest["discharge_max_w"] <= most_w + rest_w
        assert least_w - rest_w <= bench.host.latest["setpoint_w"] <= most_w + rest_w
        assert bench.host.latest["bound_by"] == m.BOUND_BATTERY
        assert least_w - rest_w <= bench.site.inverter.power_w <= most_w + rest_w
        bench.site.cut_bms_limits(0, 0)
        bench.run(3)
        assert bench.site.inverter.controls[704]["WSet"] == 0, "nothing is asked of it that it does not permit"
        bench.assert_held()


def test_a_bms_that_cuts_everything_in_the_middle_of_a_surge_is_obeyed_and_the_limit_held_again_after_it(rig):
    with rig(load_w=6000, plant={"feeder_r_ohm": 0.2}, sections={"limits": {"import_limit_w": 10_000}}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        bench.site.add_job(bench.bench.now_us + 1_000_000, 60_000_000, 20_000)
        bench.run(3)
        assert bench.site.pcc_import_w <= 10_000
        bench.site.cut_bms_limits(0, 0)
        bench.run(3)
        assert bench.site.inverter.controls[704]["WSet"] == 0 and bench.site.pcc_import_w > 25_000
        bench.run(2)
        assert bench.host.latest["faults"] & 256 and bench.host.latest["bound_by"] == m.BOUND_BATTERY
        bench.site.cut_bms_limits(32_000, 32_000)
        took_s = bench.run_until(lambda: bench.site.pcc_import_w <= 10_000, 3)
        assert took_s <= 1.5, "the battery is read once a second"
        bench.run(3)
        seen = bench.names()
        assert seen.count("import_limit_exceeded") == 1 and seen.count("import_limit_held") == 1
        bench.assert_held(over_s=7)


def test_nothing_is_exported_where_nothing_may_be(rig):
    """Export limit 0: cloud edges and a load that goes off, by the battery; then it is full, and PV has to go down."""
    sun = [6_000.0] * 40 + [1_000.0] * 5 + [6_000.0] * 5
    plant = {"pv_rated_w": 10_000.0, "start_soc": 0.938, "battery_wh": 2_000.0, "battery_w": 20_000.0}
    limits = {"export_limit_w": 0, "soc_max": 0.95}
    sections = {"limits": limits, "safety": {"fallback": "idle"}, "battery": {"capacity_wh": 2_000}}
    with rig(load_w=2_000, pv=Series(0, 1_000_000, sun, linear=True), plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        bench.site.add_job(bench.bench.now_us + 1_500_000, 2_000_000, 3_500)
        start_us = bench.bench.now_us
        trace = bench.site.record(start_us - start_us % 10_000 + 10_000, start_us + 8_000_000, 10_000)
        bench.run(8)
        over_ms = sum(10 for watts in trace.pcc_import_w[:-1] if watts < -100)
        assert over_ms <= 300 and max(map(abs, trace.pcc_import_w[-300:])) <= 100, over_ms
        trace = bench.site.record(bench.bench.now_us, 80_000_000, 10_000)
        bench.run_until(lambda: bench.host.latest["bound_by"] == m.BOUND_SOC, 60, 0.5)
        bench.run(80 - bench.now_s)
        spells, out_ms = [], 0  # ms in one go that more than 100 W were exported
        for watts in [*trace.pcc_import_w, 0.0]:
            if watts < -100:
                out_ms += 10
            elif out_ms:
                spells.append(out_ms)
                out_ms = 0
        exported_wh = bench.site.totals().export_wh
        print("exported", round(exported_wh, 2), "Wh, in spells of", spells, "ms; PV", round(bench.site.pv_w), "W")
        assert len(spells) == 1 and spells[0] <= 1_200, "the second that the battery is waited for, then PV goes down"
        assert exported_wh <= 2 and bench.site.battery.soc <= 0.952 and bench.site.pcc_import_w >= -100
        assert 1_500 <= bench.site.pv_w <= 2_100, "down to the load, and no further than the contacts' tenths"
        assert bench.bench.outputs >> 16 >= 5, "tenths that PV holds back"
        bench.assert_held()


def test_values_out_of_range_are_refused_with_a_sentence_and_change_nothing(rig):
    with rig() as bench:
        bench.run_until_armed()
        before = bench.command(m.SETTINGS_GET, 6, 8)[1]
        for op, args in (
            (m.SETTINGS_SET, (6, 9000, 8, 1)),
            (m.SETPOINT, (7, 0, 1000)),
            (m.SETPOINT, (m.HOLD_BATTERY, 99_000_000, 1000)),
            (m.PLAN_COMMIT, (9, 3, 0)),
        ):
            code, results = bench.command(op, *args)
            assert code != m.DONE, (op, args)
            assert isinstance(results[0], str) and results[0], (op, args)
        assert bench.command(m.SETTINGS_GET, 6, 8)[1] == before


def test_load_steps_at_any_phase_of_the_round_are_answered_in_time(_interpreter):
    seed = 5
    print(f"seed {seed}")
    figures = bench_board.load_steps(16, seed)
    assert max(figures["setpoint_ms"]) <= 60, figures
    assert max(figures["limit_ms"]) <= 200, figures


@pytest.mark.parametrize(("baud", "limit_ms"), [(19_200, 250), (9_600, 400)])
def test_load_steps_on_a_slow_line_are_answered_once_and_nothing_is_taken_back(_interpreter, baud, limit_ms):
    """Inverter and meter are read 40 to 80 ms apart there: one under way counts as arrived where it was told."""
    seed = 11
    print(f"seed {seed}")
    figures = bench_board.load_steps(8, seed, **bench_board.line_options(baud))
    assert max(figures["limit_ms"]) <= limit_ms, figures


def test_load_steps_beside_noise_cost_a_repeated_reading_and_no_more(_interpreter):
    """A frame in twenty comes with a wrong bit: most steps are answered as ever, none is left for a second."""
    figures = bench_board.load_steps(12, 7, noise=0.05)
    late = [limit_ms for limit_ms in figures["limit_ms"] if limit_ms > 200]
    assert len(late) <= 3 and max(figures["limit_ms"]) <= 600, figures
