"""SunSpec drivers against banks of registers whose numbers come from the model definitions, not from the drivers."""

from bus_bench import Bank, Line, finish, run, sunspec_map
from forerun_board.control.image import INVERTER_ASLEEP, INVERTER_FAULT, INVERTER_RUNNING, INVERTER_WAKING
from forerun_board.drivers.inverter_sunspec import InverterSunspec
from forerun_board.drivers.meter_sunspec import MeterSunspec
from forerun_board.drivers.modbus_rtu import Master
from forerun_board.drivers.sunspec import scaled

UNIT = 9
SF_NONE = 0x8000


def _meter_points(**changed):
    points = {7: 2304, 8: 2311, 9: 2300, 10: 2302, 15: -1, 16: 4998, 17: -2, 18: -1234, 22: 1, 39: 250, 46: 1, 47: 7}
    points[54] = 2
    for offset in changed:
        points[int(offset[1:])] = changed[offset]
    return points


def _meter(base=40000, length=105, **changed):
    models = [(1, 66, {}), (203, length, _meter_points(**changed))]
    line = Line({UNIT: Bank(sunspec_map(base, models))})
    bus = Master(line, 115200)
    refusals = []
    return line, bus, MeterSunspec(bus, UNIT, lambda address, unit: refusals.append((address, unit))), refusals


def test_meter_is_found_wherever_the_standard_lets_it_be():
    for base in (40000, 0, 50000):
        _, bus, meter, refusals = _meter(base)
        run(bus, meter.attach())
        assert meter.attached and not meter.down and refusals == [], base


def test_meter_values_are_scaled_to_watts_millivolts_and_millihertz():
    _, bus, meter, _ = _meter()
    run(bus, meter.attach())
    meter.start_fast()
    finish(bus)
    assert meter.finish_fast()
    assert (meter.power_w, meter.voltage_mv, meter.frequency_millihz) == (-12_340, 230_000, 49_980)
    run(bus, meter.read_energy())
    assert meter.energy_fresh
    assert (meter.export_wh, meter.import_wh) == (25_000, (1 << 16 | 7) * 100)


def test_values_that_must_not_be_believed_are_refused_with_one_event():
    for changed in ({"p18": SF_NONE}, {"p22": 11}, {"p22": SF_NONE}, {"p15": -11}, {"p17": 100}):
        _, bus, meter, refusals = _meter(**changed)
        run(bus, meter.attach())
        for _ in range(3):
            meter.start_fast()
            finish(bus)
            assert not meter.finish_fast(), changed
        assert len(refusals) == 1 and refusals[0][1] == UNIT, (changed, refusals)
        assert meter.down and meter.power_w == 0


def test_a_meter_of_another_length_is_not_read():
    _, bus, meter, refusals = _meter(length=100)
    run(bus, meter.attach())
    assert not meter.attached and len(refusals) == 1


def test_a_meter_that_changes_its_map_is_looked_for_anew():
    line, bus, meter, refusals = _meter()
    run(bus, meter.attach())
    line.units[UNIT].registers = sunspec_map(50000, [(1, 66, {}), (203, 105, _meter_points())])
    meter.start_fast()
    finish(bus)
    assert not meter.finish_fast() and len(refusals) == 1  # exception 2: not there any more
    for _ in range(2):
        meter.start_fast()
        finish(bus)
        meter.finish_fast()
    assert meter.down
    meter.attached = False
    run(bus, meter.attach())
    assert meter.attached and not meter.down


def test_powers_saturate_and_never_leave_31_bits():
    for raw, scale, expected in ((32767, 3, 10_000_000), (-32768 + 1, 10, -10_000_000), (0, 10, 0), (-1, -10, -1)):
        _, bus, meter, _ = _meter(p18=raw, p22=scale)
        run(bus, meter.attach())
        meter.start_fast()
        finish(bus)
        assert meter.finish_fast() and meter.power_w == expected, (raw, scale, meter.power_w)
    for value in (-65535, -1, 0, 1, 65535):
        for scale in range(-11, 12):
            exact = value * 10**scale if scale >= 0 else value // 10**-scale
            assert scaled(value, scale) == max(-500_000_000, min(500_000_000, exact)), (value, scale)


# ---- inverters


def _models_704():
    """A DER of 30 kW: 701, 702, 704, 713, 715 and 802."""
    battery = {11: 655, 22: 3, 34: 4012, 45: 400, 46: 750, 54: 0, 56: -1, 59: -1, 62: -1}
    measured = {3: 1, 4: 3, 10: -4321, 113: -1, 114: -1, 115: -2, 116: 0, 120: 0, 21: 1, 22: 2, 26: 300}
    return [
        (1, 66, {}),
        (701, 153, measured),
        (702, 50, {26: 3000, 45: 1}),
        (704, 65, {55: 0}),
        (713, 7, {4: 50}),
        (715, 7, {}),
        (802, 62, battery),
    ]


def _models_124():
    """An older hybrid: 103 with its scale factors beside the values, 121, 123 and 124."""
    measured = {14: 250, 15: 1, 38: 4}
    storage = {2: 5000, 8: 7325, 18: 0, 22: -2, 25: -2}
    return [
        (1, 66, {}),
        (103, 50, measured),
        (121, 30, {2: 6000, 22: 0}),
        (123, 24, {23: -2}),
        (124, 24, storage),
    ]


def _inverter(models):
    bank = Bank(sunspec_map(40000, models))
    line = Line({UNIT: bank})
    bus = Master(line, 115200)
    refusals = []
    inverter = InverterSunspec(bus, UNIT, lambda address, unit: refusals.append((address, unit)))
    run(bus, inverter.attach())
    return bank, bus, inverter, refusals


def _at(models, wanted):
    """Address of the id register of model `wanted`."""
    at = 40002
    for model, length, _ in models:
        if model == wanted:
            return at
        at += length + 2
    raise AssertionError(wanted)


def _sample(bus, inverter):
    inverter.start_fast()
    finish(bus)
    return inverter.finish_fast()


def test_inverter_701_with_battery_802():
    _, bus, inverter, refusals = _inverter(_models_704())
    assert inverter.attached and refusals == [] and inverter.power_max_w == 30_000
    assert _sample(bus, inverter)
    assert (inverter.active_power_w, inverter.state) == (-4_321, INVERTER_RUNNING)
    run(bus, inverter.read_battery())
    assert inverter.battery_fresh
    assert (inverter.soc_permille, inverter.charge_max_w, inverter.discharge_max_w) == (655, 16_048, 30_090)
    run(bus, inverter.read_energy())
    assert inverter.energy_fresh and (inverter.discharge_wh, inverter.charge_wh) == ((1 << 16) + 2, 300)


def test_states_of_701_and_of_103():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    at = _at(models, 701)
    words = {
        0: INVERTER_ASLEEP, 1: INVERTER_ASLEEP, 2: INVERTER_WAKING, 3: INVERTER_RUNNING, 4: INVERTER_RUNNING,
        5: INVERTER_WAKING, 6: INVERTER_FAULT, 7: INVERTER_ASLEEP, 0xFFFF: INVERTER_RUNNING,
    }  # fmt: skip
    for code in words:
        bank.registers[at + 4] = code
        assert _sample(bus, inverter) and inverter.state == words[code], code
    bank.registers[at + 4] = 8
    assert not _sample(bus, inverter)
    models = _models_124()
    bank, bus, inverter, _ = _inverter(models)
    words = {1: INVERTER_ASLEEP, 2: INVERTER_ASLEEP, 3: INVERTER_WAKING, 4: INVERTER_RUNNING, 5: INVERTER_RUNNING}
    for code in words:
        bank.registers[_at(models, 103) + 38] = code
        assert _sample(bus, inverter) and inverter.state == words[code], code
    assert inverter.active_power_w == 2_500


def test_battery_that_is_not_connected_gives_and_takes_nothing():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    bank.registers[_at(models, 802) + 22] = 99
    run(bus, inverter.read_battery())
    assert (inverter.battery_fresh, inverter.charge_max_w, inverter.discharge_max_w) == (True, 0, 0)
    for offset in (11, 34, 45):
        bank, bus, inverter, refusals = _inverter(models)
        bank.registers[_at(models, 802) + offset] = 0xFFFF
        run(bus, inverter.read_battery())
        assert not inverter.battery_fresh and len(refusals) == 1, offset


def test_arming_704_writes_watts_and_a_reversion_to_zero_that_is_never_never():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    bank.registers[_at(models, 704) + 26] = 77  # a reversion value that somebody left
    run(bus, inverter.arm(-4_500, 30))
    assert inverter.armed and inverter.confirmed
    at = _at(models, 704)
    values = [bank.registers[at + offset] for offset in (22, 23, 24, 25, 26, 27, 30, 31, 32)]
    assert values == [1, 1, 0xFFFF, 0x10000 - 4_500, 0, 0, 1, 0, 30]
    order = [address - at for address, _ in bank.writes]
    assert order.index(24) < order.index(22), "the setpoint is there before it is enabled"
    assert order.index(31) < order.index(22), "and so is what ends it"


def test_a_setpoint_write_touches_its_two_registers_only_and_only_when_it_changes():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    run(bus, inverter.arm(0, 30))
    bank.writes = []
    assert not inverter.start_setpoint(0)
    assert inverter.start_setpoint(70_000), "held at the 30 kW that the nameplate allows"
    finish(bus)
    inverter.finish_setpoint()
    assert bank.writes == [(_at(models, 704) + 24, [0, 30_000])]
    assert not inverter.start_setpoint(40_000)


def test_a_setpoint_that_was_refused_is_tried_again():
    models = _models_704()
    bank, bus, inverter, refusals = _inverter(models)
    run(bus, inverter.arm(0, 30))
    bank.refuses = (_at(models, 704) + 24,)
    assert inverter.start_setpoint(1_000)
    finish(bus)
    inverter.finish_setpoint()
    assert len(refusals) == 1
    bank.refuses = ()
    assert inverter.start_setpoint(1_000)


def test_an_inverter_that_forgets_its_watchdog_is_found_out():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    run(bus, inverter.arm(0, 30))
    assert inverter.confirmed
    bank.registers[_at(models, 704) + 30] = 0
    run(bus, inverter.check(30))
    assert not inverter.armed, "it is to be armed again"

    class Deaf(Bank):
        def answer(self, frame):
            answer = Bank.answer(self, frame)
            self.registers[_at(models, 704) + 32] = 0  # takes the write, keeps no timer
            return answer

    line = Line({UNIT: Deaf(sunspec_map(40000, models))})
    bus = Master(line, 115200)
    inverter = InverterSunspec(bus, UNIT, lambda address, unit: None)
    run(bus, inverter.attach())
    run(bus, inverter.arm(0, 30))
    assert inverter.armed and not inverter.confirmed
    run(bus, inverter.check(30))
    assert inverter.armed, "whoever cannot keep a timer is not armed again and again"


def test_an_inverter_that_counts_in_another_size_is_armed_again_confirmed_or_not():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    at = _at(models, 704)
    run(bus, inverter.arm(1_500, 30))
    inverter.confirmed = False  # it did not say: its answer was lost
    run(bus, inverter.check(30))
    assert inverter.armed and inverter.confirmed, "and says so now"
    inverter.confirmed = False
    bank.registers[at + 55] = 2  # WSet_SF: hundreds of watts, so 1500 are 150 kW
    run(bus, inverter.check(30))
    assert not inverter.armed
    run(bus, inverter.arm(1_500, 30))
    assert inverter.armed and bank.registers[at + 25] == 15

    plain = bank.answer

    def answer(frame):  # the size changes just after it was read
        reply = plain(frame)
        if frame[1] == 3 and (frame[2] << 8 | frame[3]) == at + 55:
            bank.registers[at + 55] = 0
        return reply

    bank.answer = answer
    run(bus, inverter.arm(1_500, 30))
    assert not inverter.armed, "what was written may mean anything"
    run(bus, inverter.arm(1_500, 30))
    assert inverter.armed and bank.registers[at + 25] == 1_500


def test_refreshing_writes_the_timer_and_nothing_else():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    run(bus, inverter.arm(0, 30))
    count = len(bank.writes)
    assert run(bus, inverter.refresh(30))
    assert bank.writes[count:] == [(_at(models, 704) + 31, [0, 30])]


def test_waking_is_exit_standby():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    run(bus, inverter.wake())
    assert bank.writes == [(_at(models, 715) + 8, [3])]


def test_scale_of_704_is_obeyed():
    rows = ((1, 4_567, [0, 456]), (-1, -100, [0xFFFF, 0x10000 - 1000]), (1, -4_567, [0xFFFF, 0xFE38]))
    for scale, power_w, words in rows:
        models = _models_704()
        models[3] = (704, 65, {55: scale})
        bank, bus, inverter, _ = _inverter(models)
        run(bus, inverter.arm(power_w, 30))
        at = _at(models, 704)
        assert [bank.registers[at + 24], bank.registers[at + 25]] == words, scale


def test_scales_that_would_not_fit_the_register_are_refused():
    for scale in (-4, -10, 11):
        models = _models_704()
        models[3] = (704, 65, {55: scale})
        _, _, inverter, refusals = _inverter(models)
        assert not inverter.attached and len(refusals) == 1, scale


def test_energy_that_is_no_number_or_leaves_64_bits_is_not_reported():
    models = _models_704()
    bank, bus, inverter, _ = _inverter(models)
    at = _at(models, 701)
    for offset in range(19, 27):
        bank.registers[at + offset] = 0xFFFF
    run(bus, inverter.read_energy())
    assert not inverter.energy_fresh and not inverter.counts_energy, "the round integrates"
    _, bus, meter, _ = _meter(p38=0xFFFF, p39=0xFFFF, p54=10)
    run(bus, meter.attach())
    run(bus, meter.read_energy())
    assert meter.export_wh == (1 << 63) - 1


def test_124_pins_the_power_from_both_sides_in_one_frame():
    models = _models_124()
    bank, bus, inverter, refusals = _inverter(models)
    assert inverter.attached and refusals == []
    run(bus, inverter.read_battery())
    assert inverter.soc_permille == 732
    run(bus, inverter.arm(-2_500, 60))
    at = _at(models, 124)
    assert inverter.armed and inverter.confirmed
    assert [bank.registers[at + offset] for offset in (5, 12, 13, 15, 17)] == [3, 0x10000 - 5_000, 5_000, 60, 1]
    count = len(bank.writes)
    assert inverter.start_setpoint(1_000)
    finish(bus)
    inverter.finish_setpoint()
    assert bank.writes[count:] == [(at + 12, [2_000, 0x10000 - 2_000])]


def test_123_alone_can_only_limit():
    models = [model for model in _models_124() if model[0] != 124]
    models.append((713, 7, {4: 50, 8: 0}))
    bank, bus, inverter, _ = _inverter(models)
    assert inverter.attached
    run(bus, inverter.arm(3_000, 60))
    at = _at(models, 123)
    assert inverter.confirmed and [bank.registers[at + offset] for offset in (5, 7, 9)] == [5_000, 60, 1]
    assert inverter.start_setpoint(-3_000)
    finish(bus)
    inverter.finish_setpoint()
    assert bank.registers[at + 5] == 0


def test_an_inverter_without_the_models_that_are_needed_is_refused():
    for missing in (701, 704, 802):
        models = [model for model in _models_704() if model[0] not in (missing, 713 if missing == 802 else 0)]
        _, _, inverter, refusals = _inverter(models)
        assert not inverter.attached and len(refusals) == 1, missing
