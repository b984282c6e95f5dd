"""What the board feels by its own pins, on the emulated site: analogue channels, climate sensors, pulse meter."""

import bench_board
from forerun_wire import messages as m
from hil.rig import ANALOG, WIDE, Rig


def test_a_load_step_seen_by_the_analogue_channel_is_answered_in_25_ms(_interpreter):
    seed = 6
    print(f"seed {seed}")
    figures = bench_board.load_steps(8, seed, senses=True, sections={"sensors": ANALOG})
    assert max(figures["setpoint_ms"]) <= 25, figures
    assert max(figures["limit_ms"]) <= 200, figures


def test_a_step_caught_in_the_middle_of_a_half_cycle_is_followed_at_once(_interpreter):
    """Little above the limit: what the half cycle shows at first asks for less than half of what is needed."""
    figures = bench_board.load_steps(8, 2, 5_000, 5_400, senses=True, sections={"sensors": ANALOG})
    assert max(figures["setpoint_ms"]) <= 25, figures


def test_a_ct_that_has_it_wrong_is_not_believed_and_the_meter_goes_on(tmp_path):
    limits = {"limits": {"import_limit_w": 10_000}, "sensors": ANALOG}
    with Rig(tmp_path, load_w=6_000, sections=limits, senses=True) as bench:
        bench.run_until_armed()
        bench.run_until(lambda: "analog_back" in bench.names(), 30, 0.5)
        for share, sign in ((2.5, 1), (-1.0, -1)):
            bench.bench.senses.current_share = share
            before = bench.names().count("analog_lost")
            bench.run_until(lambda before=before: bench.names().count("analog_lost") > before, 10, 0.5)
            assert (bench.events()[-1][2] > 0) == (sign > 0), "the event says what the channel showed"
            bench.run(3)
            assert abs(bench.site.pcc_import_w - 6_000) < 200, "nothing is done about what is not there"
            bench.site.add_job(bench.bench.now_us + 50_000, 1_000_000, 8_000)
            bench.run(0.5)
            assert bench.site.pcc_import_w <= 10_100, "and what is there is held by the meter's readings"
            bench.bench.senses.current_share = 1.0
            before = bench.names().count("analog_back")
            bench.run_until(lambda before=before: bench.names().count("analog_back") > before, 10, 0.5)
        bench.assert_held(over_s=0.2)


def test_overcurrent_trips_at_once_and_clears_itself(tmp_path):
    sections = {"sensors": {**ANALOG, "trip_current_ma": 40_000}}
    with Rig(tmp_path, load_w=6_000, sections=sections, senses=True, heap=WIDE) as bench:
        bench.run_until_armed()
        bench.run_until(lambda: "analog_back" in bench.names(), 30, 0.25)
        bench.bench.senses.current_share = 5.0  # 43 A where 8.7 are
        took_s = bench.run_until(lambda: bench.bench.outputs & 1, 1, 0.002)
        assert took_s <= 0.1, took_s
        bench.run(1)
        assert bench.host.latest["faults"] & 1
        bench.bench.senses.current_share = 1.0
        bench.run_until(lambda: not bench.bench.outputs & 1, 6, 0.1)
        bench.run(1)
        assert {"tripped_over_current", "trip_cleared"} <= set(bench.names())


def test_cells_too_cold_are_not_charged_and_a_lost_sensor_says_so(tmp_path):
    sections = {"functions": {"functions": 64}, "sensors": {"sensors": 3}, "bus": {"genset_meter_unit": 0}}
    with Rig(tmp_path, load_w=3_000, sections=sections, senses=True) as bench:
        bench.run_until_armed()

        bench.coarse(250)

        def charging():
            bench.command(m.SETPOINT, m.HOLD_BATTERY, -5_000, 60_000)
            bench.run(25)
            return bench.host.latest["setpoint_w"]

        assert charging() == -5_000
        bench.bench.senses.cell_c = -1.0
        assert charging() == 0 and bench.host.latest["bound_by"] == m.BOUND_TEMPERATURE
        bench.bench.senses.cell_c = 20.0
        assert charging() == -5_000
        bench.bench.senses.cell_c = bench.bench.senses.air_c = None
        bench.run_until(lambda: bench.names().count("sensor_lost") == 2, 90, 1)
        bench.run(90)
        assert charging() == 0, "it may be freezing: nothing is charged by guesswork"
        bench.bench.senses.cell_c = bench.bench.senses.air_c = 21.0
        bench.run_until(lambda: bench.names().count("sensor_back") == 2, 30, 1)
        assert charging() == -5_000


def test_pulses_of_a_meter_without_a_bus_are_pv(tmp_path):
    sections = {"bus": {"pv_meter_unit": 0}, "sensors": {"sensors": 4, "pulses_per_kwh": 1000}}
    with Rig(tmp_path, load_w=6_000, pv_w=3_600, sections=sections, senses=True) as bench:
        bench.run_until_armed()
        bench.run(30)
        assert abs(bench.host.latest["pv_w"] - 3_600) <= 200, bench.host.latest
        assert abs(bench.host.latest["load_w"] - 6_000) <= 400
        assert not bench.host.latest["faults"] & 32
