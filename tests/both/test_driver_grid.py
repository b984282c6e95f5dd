"""Grid functions, reactive power, strings and changing scale factors of an inverter, by the models' own numbers."""

from bus_bench import Bank, Line, finish, run, sunspec_map
from forerun_board.control.config import Config
from forerun_board.drivers.grid_sunspec import GridSunspec
from forerun_board.drivers.inverter_sunspec import InverterSunspec
from forerun_board.drivers.modbus_rtu import Master
from forerun_board.drivers.strings_sunspec import read_strings

UNIT = 9
OVER, UNDER, VOLT_VAR, ENTER = 1, 2, 8, 16
BATTERY = {11: 500, 22: 3, 34: 4000, 45: 500, 46: 500, 56: -1, 59: -1, 62: -1}
BASE = [
    (1, 66, {}),
    (701, 153, {4: 3, 22: 1, 26: 2}),
    (704, 65, {55: 0, 57: 1}),
    (802, 62, BATTERY),
]


def bench(models, functions=0, **settings):
    """(bank, bus, inverter, config, {model: address of its id register}, refusals), the inverter attached."""
    bank = Bank(sunspec_map(40000, models))
    bus = Master(Line({UNIT: bank}), 115200)
    refusals = []
    inverter = InverterSunspec(bus, UNIT, lambda address, unit: refusals.append(address))
    config = Config()
    config.functions = functions
    for name in settings:
        setattr(config, name, settings[name])
    inverter.grid = GridSunspec(inverter, config)
    run(bus, inverter.attach())
    assert inverter.attached, refusals
    at, places = 40002, {}
    for model, length, _ in models:
        places[model] = at
        at += length + 2
    return bank, bus, inverter, config, places, refusals


def sample(bus, inverter):
    inverter.start_fast()
    finish(bus)
    return inverter.finish_fast()


def test_enter_service_goes_into_model_703_with_its_scale_factors():
    models = BASE + [(703, 17, {17: -1, 18: -3})]
    bank, bus, inverter, _, at, refusals = bench(models, ENTER, enter_delay_s=300, enter_ramp_permille_per_min=100)
    run(bus, inverter.grid.begin())
    registers = [bank.registers[at[703] + i] for i in range(2, 15)]
    assert registers == [1, 1100, 850, 0, 50_200, 0, 49_500, 0, 300, 0, 0, 0, 600]
    assert inverter.grid.ready and refusals == []


def test_droop_goes_into_a_control_of_model_711_that_can_be_written():
    for read_only, number in ((0, 1), (1, 2)):
        models = BASE + [(711, 32, {5: 2, 11: -3, 12: -3, 23: read_only})]
        bank, bus, inverter, _, at, _ = bench(models, OVER | UNDER, over_droop_permille=40)
        run(bus, inverter.grid.begin())
        first = at[711] + 14 + 10 * (number - 1)
        assert [bank.registers[first + i] for i in range(6)] == [0, 200, 0, 200, 40, 50]
        assert bank.registers[at[711] + 3] == number and bank.registers[at[711] + 2] == 1
    models = BASE + [(711, 22, {5: 1, 11: -3, 12: -3, 23: 1})]
    bank, bus, inverter, _, at, _ = bench(models, OVER)
    run(bus, inverter.grid.begin())
    assert bank.registers[at[711] + 2] == 0, "its only control cannot be written: the board acts alone"


def test_a_scale_factor_without_sense_keeps_the_values_back():
    models = BASE + [(703, 17, {17: 3, 18: -3})]
    bank, bus, inverter, _, at, refusals = bench(models, ENTER)
    run(bus, inverter.grid.begin())
    assert refusals == [at[703] + 17] and bank.writes == []


def test_reactive_power_goes_through_704_with_its_reversion_and_touches_nothing_else():
    bank, bus, inverter, _, at, _ = bench(BASE + [(705, 65, {2: 1})], VOLT_VAR)
    run(bus, inverter.grid.begin())
    assert bank.registers[at[705] + 2] == 0, "a curve of its own would fight over it"
    grid = inverter.grid
    assert not grid.var_due(99) and grid.var_due(-12_345) and not grid.holds_var
    bank.writes = []
    assert run(bus, grid.write_var(-12_345, 30))
    var = at[704]
    assert bank.writes == [(var + 44, [0, 0, 30]), (var + 35, [1, 4, 0, 0xFFFF, 0xFFFF - 1233, 0, 0])]
    assert grid.holds_var and not grid.var_due(-12_345)
    bank.writes = []
    assert run(bus, grid.write_var(5_000, 0))
    assert bank.writes == [(var + 44, [0, 0, 1]), (var + 38, [0, 500])], "the timer is never written as 0, never"


def test_reactive_power_through_123_is_in_percent_of_the_rated_power():
    models = [
        (1, 66, {}),
        (103, 50, {14: 0, 15: 0, 38: 4}),
        (121, 30, {2: 6000, 22: 0}),
        (123, 24, {23: -2, 25: -1}),
        (124, 24, {2: 5000, 8: 7325, 22: -2, 25: -2}),
    ]
    bank, bus, inverter, _, at, _ = bench(models, VOLT_VAR, rated_w=10_000)
    run(bus, inverter.grid.begin())
    bank.writes = []
    assert run(bus, inverter.grid.write_var(-4_400, 20))
    assert bank.writes == [(at[123] + 19, [20]), (at[123] + 15, [0x10000 - 440]), (at[123] + 21, [1, 1])]


def test_a_storage_that_is_not_connected_gives_no_fresh_battery():
    models = [
        (1, 66, {}),
        (103, 50, {14: 0, 15: 0, 38: 4}),
        (120, 26, {3: 500, 4: 1}),
        (122, 44, {3: 0}),
        (124, 24, {2: 5000, 8: 7325, 22: -2, 25: -2}),
    ]
    bank, bus, inverter, _, at, _ = bench(models)
    assert inverter.power_max_w == 5_000, "from model 120, when neither 702 nor 121 is there"
    run(bus, inverter.read_battery())
    assert not inverter.battery_fresh
    bank.registers[at[122] + 3] = 0b11
    run(bus, inverter.read_battery())
    assert inverter.battery_fresh and inverter.soc_permille == 732


def test_strings_of_model_160_are_added_up():
    points = {4: -1, 8: 2, 21: 12_345, 41: 0xFFFF}
    _, bus, inverter, _, _, _ = bench(BASE + [(160, 48, points)])
    assert run(bus, read_strings(inverter)) == 1_234, "a string without a value counts for nothing"
    bus2 = bench(BASE + [(160, 48, {4: 11, 8: 2})])
    assert run(bus2[1], read_strings(bus2[2])) == -1 and bus2[5] == [bus2[4][160] + 4]


def test_a_reading_of_another_order_of_magnitude_counts_once_the_scale_factor_was_read():
    bank, bus, inverter, _, at, _ = bench(BASE)
    bank.registers[at[701] + 10] = 5_000
    inverter._written_w = 5_000
    assert sample(bus, inverter) and inverter.active_power_w == 5_000
    bank.registers[at[701] + 10] = 500  # the inverter has gone over to tens of watts
    bank.registers[at[701] + 116] = 1
    assert not sample(bus, inverter) and inverter.active_power_w == 5_000 and inverter.scales_due
    assert run(bus, inverter.read_scales()) and not inverter.scales_due
    assert sample(bus, inverter) and inverter.active_power_w == 5_000
    bank.registers[at[701] + 10] = 50  # and this is a real change: the scale factor has been read, and is the same
    assert not sample(bus, inverter)
    assert run(bus, inverter.read_scales()) and sample(bus, inverter) and inverter.active_power_w == 500


def test_a_setpoint_whose_scale_factor_changed_is_found_out_and_handed_over_anew():
    bank, bus, inverter, _, at, _ = bench(BASE)
    run(bus, inverter.arm(5_000, 30))
    assert inverter.armed and inverter.confirmed
    bank.registers[at[701] + 10] = 5_000
    assert sample(bus, inverter)
    bank.registers[at[704] + 55] = 1  # what stands there now means 50 kW
    bank.registers[at[701] + 10] = 9_000
    for _ in range(8):
        assert not inverter.check_due and sample(bus, inverter)
    assert inverter.check_due
    run(bus, inverter.check(30))
    assert not inverter.armed and not inverter.check_due
    run(bus, inverter.arm(5_000, 30))
    assert inverter.armed and inverter.confirmed
    assert [bank.registers[at[704] + 24], bank.registers[at[704] + 25]] == [0, 500]
