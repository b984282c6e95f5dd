"""Grid support, enter service, billing windows, battery care, frozen meters: tables of ticks."""

from array import array

from control_scene import Scene
from forerun_board.control import battery_care, grid_support, inner
from forerun_board.control import config as c
from forerun_board.control.battery_care import BatteryCare, Thermostat
from forerun_board.control.config import Config
from forerun_board.control.curve import FALLING, RISING, Curve, objection
from forerun_board.control.enter_service import EnterService
from forerun_board.control.fast import Fast
from forerun_board.control.functions import Functions
from forerun_board.control.grid_support import GridSupport
from forerun_board.control.peak import Peak
from forerun_wire import messages as m


def commissioned(mask, **settings):
    """A scene with those functions."""
    scene = Scene(functions=mask, export_limit_w=100_000, import_limit_w=100_000)
    scene.set(**settings)
    scene.controller.commission(Functions(scene.config))
    return scene


def test_a_curve_is_flat_outside_and_straight_between_its_points():
    curve = Curve((10, 1000, 20, 500, 30, 500, 40, -1000))
    for x, y in ((-5, 1000), (10, 1000), (15, 750), (20, 500), (25, 500), (35, -250), (40, -1000), (999, -1000)):
        assert curve.at(x) == y, (x, curve.at(x))
    widest = Curve((0, -1000, 500_000, 1000))
    assert (widest.at(250_000), widest.at(499_999), widest.at(500_000)) == (0, 999, 1000)


def test_what_is_no_curve_is_refused_with_a_sentence():
    cases = (
        ((1, 2, 3), FALLING, "3 numbers"),
        ((1, 2), FALLING, "2 to 8 points, not 1"),
        (tuple(range(18)), RISING, "2 to 8 points, not 9"),
        ((0, 5, 0, 4), FALLING, "x = 0 of point 2 does not rise above 0"),
        ((0, 5, 1, 6), FALLING, "y = 6 of point 2 lets the curve rise from 5"),
        ((0, 6, 1, 5), RISING, "y = 5 of point 2 lets the curve fall from 6"),
        ((0, 6, 101, 5), FALLING, "x = 101 of point 2 is outside 0 to 100"),
        ((0, 11, 100, 5), FALLING, "y = 11 of point 1 is outside -10 to 10"),
    )
    for points, direction, words in cases:
        sentence = objection(points, 0, 100, -10, 10, direction)
        assert sentence is not None and words in sentence, sentence
    assert objection((0, 6, 100, 6), 0, 100, -10, 10, FALLING) is None
    assert objection((0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), 0, 100, -10, 10, RISING) is None


def test_every_commissioned_curve_is_one_at_both_ends_of_its_settings():
    ranges = {name: (low, high) for _, name, _, low, high, _ in m.SETTINGS}
    for end in (0, 1):
        for droop in (0, 1):
            over = grid_support.over_frequency(
                ranges["over_start_millihz"][end], ranges["over_droop_permille"][droop])
            under = grid_support.under_frequency(
                ranges["under_start_millihz"][end], ranges["under_droop_permille"][droop])
            assert grid_support.frequency_objection(over) is None
            assert grid_support.frequency_objection(under) is None
        assert grid_support.voltage_objection(grid_support.volt_var(230_000, ranges["volt_var_permille"][end])) is None
        start, stop = ranges["volt_watt_start_mv"][end], ranges["volt_watt_end_mv"][end]
        assert grid_support.voltage_objection(grid_support.volt_watt(start, stop)) is None


def test_frequency_moves_the_bounds_along_the_droop():
    support = GridSupport(
        30_000, Curve(grid_support.over_frequency(50_200, 50)), Curve(grid_support.under_frequency(49_800, 50))
    )
    rows = (  # 5 % droop: 40 % of the rated power for each Hz
        (50_000, -30_000, 30_000, 1000),
        (50_200, -30_000, 30_000, 1000),
        (51_200, -30_000, 18_000, 600),
        (52_700, -30_000, 0, 0),
        (53_950, -30_000, -15_000, 0),
        (48_800, -18_000, 30_000, 1000),
        (47_300, 0, 30_000, 1000),
        (44_000, -30_000, 30_000, 1000),  # no grid, nothing to help
        (0, -30_000, 30_000, 1000),
    )
    for frequency, low, high, pv in rows:
        support.step(frequency, 230_000)
        assert (support.low_w, support.high_w, support.pv_permille) == (low, high, pv), frequency


def test_voltage_takes_power_away_and_asks_for_reactive_power():
    support = GridSupport(
        30_000, volt_watt=Curve(grid_support.volt_watt(243_800, 253_000)),
        volt_var=Curve(grid_support.volt_var(230_000, 440)),
    )
    rows = (
        (200_000, 30_000, 440), (211_600, 30_000, 440), (218_500, 30_000, 220), (230_000, 30_000, 0),
        (234_600, 30_000, 0), (241_500, 30_000, -220), (248_400, 15_000, -440), (253_000, 0, -440),
        (50_000, 30_000, 0),
    )  # fmt: skip
    for voltage, high, reactive in rows:
        support.step(50_000, voltage)
        assert (support.volt_high_w, support.reactive_permille) == (high, reactive), voltage


def test_high_frequency_bounds_a_discharge_by_name_and_is_said_once():
    scene = commissioned(c.FUNCTION_OVER_FREQUENCY | c.FUNCTION_UNDER_FREQUENCY)
    scene.controller.lease.grant(m.HOLD_BATTERY, 25_000, 60_000)
    rows = [
        (50, 50_000, "->", 25_000, m.BOUND_NONE),
        (50, 51_200, "->", 18_000, m.BOUND_FREQUENCY),
        (50, 53_950, "->", -15_000, m.BOUND_FREQUENCY),
        (50, 50_100, "->", 25_000, m.BOUND_NONE),
    ]
    scene.play("dt frequency_millihz -> setpoint_w bound_by", rows)
    assert scene.codes() == [m.INVERTER_AWAKE, m.SUPPORT_BEGAN, m.SUPPORT_ENDED]
    scene.controller.lease.grant(m.HOLD_BATTERY, -25_000, 60_000)
    assert scene.tick(50, frequency_millihz=48_800).setpoint_w == -18_000
    assert scene.tick(50, frequency_millihz=48_800, soc_permille=50).setpoint_w == -18_000
    scene.tick(50, frequency_millihz=46_000)
    assert scene.controller.bound_by == m.BOUND_SOC, "an empty battery is not discharged for the grid"


def test_high_voltage_bounds_a_discharge_by_name():
    scene = commissioned(c.FUNCTION_VOLT_WATT)
    scene.controller.lease.grant(m.HOLD_BATTERY, 25_000, 60_000)
    rows = [(50, 230_000, "->", 25_000, m.BOUND_NONE), (50, 248_400, "->", 15_000, m.BOUND_VOLTAGE)]
    scene.play("dt pcc_voltage_mv -> setpoint_w bound_by", rows)


def test_service_is_entered_after_the_delay_and_along_the_ramp():
    enter = EnterService(60_000, 100)
    assert enter.permille == 1000
    enter.leave()
    rows = (
        (230_000, 50_000, 30_000, 0), (260_000, 50_000, 1_000, 0), (230_000, 50_300, 1_000, 0),
        (230_000, 50_000, 59_900, 0), (230_000, 50_000, 100, 0), (230_000, 50_000, 6_000, 10),
        (230_000, 50_000, 30_000, 60),
    )  # fmt: skip
    for voltage, frequency, dt_ms, permille in rows:
        enter.step(voltage, frequency, dt_ms)
        assert enter.permille == permille, (voltage, frequency, dt_ms, enter.permille)
    for _ in range(600 * 20 + 20):
        enter.step(230_000, 50_000, 50)
    assert enter.permille == 1000


def test_a_site_comes_back_slowly_after_the_grid_was_away():
    scene = commissioned(c.FUNCTION_ENTER_SERVICE, enter_delay_s=10, enter_ramp_permille_per_min=1000)
    scene.controller.lease.grant(m.HOLD_BATTERY, 20_000, 600_000)
    assert scene.tick().setpoint_w == 20_000
    for _ in range(4):
        scene.tick(100, pcc_voltage_mv=0)
    for _ in range(95):
        controller = scene.tick(100, pcc_voltage_mv=230_000)
    assert (controller.setpoint_w, controller.bound_by) == (0, m.BOUND_ENTER_SERVICE)
    for _ in range(140):
        controller = scene.tick(100)
    # 3 s until the grid counts as back, 10 s of delay, and then 500 W each second.
    assert 4_500 <= controller.setpoint_w <= 5_500, controller.setpoint_w


def test_a_billing_window_has_a_budget_and_begins_anew():
    peak = Peak(10_000, 900, 30_000)
    rows = (  # import, seconds, allowed for the rest
        (4_000, 300, 13_000),
        (13_000, 300, 13_000),
        (25_000, 150, 1_000),
        (25_000, 60, 0),
        (0, 90, 10_000),
        (10_000, 450, 10_000),
    )
    for import_w, seconds, allowed in rows:
        for _ in range(seconds):
            peak.step(import_w, 1000)
        assert abs(peak.allowed_w - allowed) <= 40, (import_w, seconds, peak.allowed_w)
    peak = Peak(10_000, 900, 12_000)
    for _ in range(800):
        peak.step(-5_000, 1000)
    assert peak.allowed_w == 12_000, "the import limit stays, and export gives nothing back"
    peak.align(450)
    for _ in range(450):
        peak.step(10_000, 1000)
    assert abs(peak.allowed_w - 10_000) < 20


def test_peak_shaving_holds_the_mean_of_a_window():
    scene = commissioned(c.FUNCTION_PEAK, peak_limit_w=10_000, peak_window_s=300, import_limit_w=20_000)
    power_w, energy = 0, 0
    for second in range(300):
        load_w = 5_000 if second < 100 else 16_000
        import_w = load_w - power_w
        energy += import_w
        power_w = scene.tick(1000, pcc_import_w=import_w, active_power_w=power_w).setpoint_w
        assert import_w <= 20_000
    assert 9_000 <= energy // 300 <= 10_050, energy // 300
    assert power_w > 0


def test_zero_export_keeps_its_margin():
    scene = Scene(export_limit_w=0, export_margin_w=200)
    rows = [
        (50, 500, 0, "->", 0, m.BOUND_NONE),
        (50, 100, 0, "->", -100, m.BOUND_EXPORT_LIMIT),
        (50, -4_000, 0, "->", -4_200, m.BOUND_EXPORT_LIMIT),
    ]
    scene.play("dt pcc_import_w active_power_w -> setpoint_w bound_by", rows)


def test_cold_hot_full_and_empty_cells_take_less():
    care = BatteryCare(Config())
    rows = (  # 0.1 °C, soc, charge, discharge
        (200, 500, 1000, 1000), (-1, 500, 0, 994), (0, 500, 0, 1000), (50, 500, 300, 1000), (100, 500, 1000, 1000),
        (-200, 500, 0, 0), (-251, 500, 0, 0), (450, 500, 650, 1000), (550, 500, 0, 333), (600, 500, 0, 0),
        (700, 500, 0, 0), (200, 900, 1000, 1000), (200, 950, 500, 1000), (200, 990, 100, 1000), (200, 1000, 0, 1000),
        (200, 50, 1000, 300), (200, 20, 1000, 0),
    )  # fmt: skip
    for decic, soc, charge, discharge in rows:
        care.step(decic, soc, 200, -1)
        assert (care.charge_permille, care.discharge_permille) == (charge, discharge), (decic, soc)
    for points in (battery_care.CHARGE, battery_care.DISCHARGE):
        assert objection(points[:6], -250, 1000, 0, 1000, RISING) is None
        assert objection(points[6:], -250, 1000, 0, 1000, FALLING) is None
    assert objection(battery_care.TAPER_EMPTY, 0, 1000, 0, 1000, RISING) is None
    assert objection(battery_care.TAPER_FULL, 0, 1000, 0, 1000, FALLING) is None


def test_heater_and_fan_have_hysteresis_and_dew_overrules_the_fan():
    heater, fan = Thermostat(50, 100), Thermostat(350, 300)
    for value, heats, blows in ((200, 0, 0), (51, 0, 0), (50, 1, 0), (99, 1, 0), (100, 0, 0), (350, 0, 1), (301, 0, 1),
                                (300, 0, 0)):  # fmt: skip
        assert (heater.step(value), fan.step(value)) == (bool(heats), bool(blows)), value
    care = BatteryCare(Config())
    care.step(360, 500, 360, 400)
    assert care.fan and not care.heat and not care.dew
    care.step(200, 500, 300, 600)  # 60 % at 30 °C is 109 % at 20 °C
    assert care.dew and care.heat and not care.fan
    care.step(260, 500, 300, 700)  # 88 % at the cells: not yet clearly dry
    assert care.dew
    care.step(290, 500, 300, 700)
    assert not care.dew and not care.heat


def test_vapour_pressure_is_that_of_the_tables():
    for decic, pa in ((-300, 51), (0, 611), (50, 872), (200, 2339), (250, 3169), (600, 19946)):
        assert abs(battery_care.saturation_pa(decic) - pa) * 10 <= pa, decic
    assert battery_care.surface_humidity_permille(0, 300, 1000) == 4246 * 1000 // 611


def test_no_charging_below_zero_and_none_by_guesswork():
    scene = commissioned(c.FUNCTION_BATTERY_CARE)
    scene.controller.lease.grant(m.HOLD_BATTERY, -10_000, 600_000)
    scene.image.temperature_age_ms = 0
    rows = [
        (50, 200, 0, "->", -10_000, m.BOUND_NONE),
        (50, 50, 0, "->", -9_000, m.BOUND_TEMPERATURE),
        (50, -5, 0, "->", 0, m.BOUND_TEMPERATURE),
        (50, 200, 0, "->", -10_000, m.BOUND_NONE),
        (50, 200, 120_001, "->", 0, m.BOUND_TEMPERATURE),
    ]
    scene.play("dt cell_decic temperature_age_ms -> setpoint_w bound_by", rows)
    scene.tick(50, cell_decic=-100, temperature_age_ms=0)
    assert scene.controller.outputs & 4, "and the heater is on"


def test_pv_is_curtailed_by_command_and_by_frequency_and_released_for_an_announced_step():
    scene = commissioned(c.FUNCTION_OVER_FREQUENCY, pv_limit_permille=600)
    for frequency, tenths in ((50_000, 4), (51_700, 6), (52_700, 10)):
        assert scene.tick(50, frequency_millihz=frequency).outputs >> 16 == tenths, frequency
    scene.controller.prepare.start(1_000, 600, 60, scene.controller.events)
    assert scene.tick(50, frequency_millihz=50_000).outputs >> 16 == 0
    assert scene.tick(50, frequency_millihz=51_700).outputs >> 16 == 6, "what the grid asks for stays"


def test_a_meter_that_stands_still_while_the_inverter_moves_is_not_believed():
    scene = Scene()
    scene.controller.lease.grant(m.HOLD_BATTERY, 5_000, 600_000)
    scene.tick(50, pcc_import_w=4_000)
    for _ in range(100):
        controller = scene.tick(50)
    assert controller.setpoint_w == 5_000, "a quiet site is no frozen meter"
    for _ in range(39):
        controller = scene.tick(50, active_power_w=5_000)
    assert controller.setpoint_w == 5_000
    for _ in range(3):
        controller = scene.tick(50)
    assert (controller.setpoint_w, controller.bound_by, controller.state) == (0, m.BOUND_METER_STALE, m.FAULTED)
    controller = scene.tick(50, active_power_w=0, pcc_import_w=4_001)
    assert controller.setpoint_w == 5_000
    assert scene.codes() == [m.INVERTER_AWAKE, m.METER_FROZEN, m.METER_MOVING]


def test_a_lost_inverter_that_comes_back_elsewhere_proves_no_frozen_meter():
    scene = Scene(stale_ms=500)
    scene.tick(50, active_power_w=4_000, pcc_import_w=2_000)
    scene.silent = ("inverter_age_ms",)
    scene.tick(50, pcc_import_w=6_000)
    for _ in range(40):
        scene.tick(50)
    scene.silent = ()
    for _ in range(100):
        scene.tick(50, active_power_w=0)
    assert m.METER_FROZEN not in scene.codes()


def test_a_meter_may_also_be_commissioned_never_to_rest_for_long():
    scene = Scene(meter_freeze_s=60)
    scene.tick()
    scene.events()
    for _ in range(61):
        controller = scene.tick(1000)
    assert controller.faults == 4 and scene.codes() == [m.METER_FROZEN]


def test_a_directly_driven_stage_gets_no_more_than_temperature_and_entering_service_leave():
    scene = commissioned(c.FUNCTION_BATTERY_CARE | c.FUNCTION_ENTER_SERVICE, stage_max_w=50_000, enter_delay_s=1)
    scene.image.temperature_age_ms = 0
    fast = Fast(array("i", [0] * inner.SIZE), scene.config)
    for cell_decic, inverter_state, most_w in ((200, 2, 30_000), (525, 2, 15_000), (610, 2, 0), (200, 1, 0)):
        for _ in range(2):  # cells and engines take turns
            scene.tick(cell_decic=cell_decic, inverter_state=inverter_state)
        fast.order(scene.controller, scene.image)
        assert fast.state[inner.POWER_MAX_W] == most_w, (cell_decic, fast.state[inner.POWER_MAX_W])
