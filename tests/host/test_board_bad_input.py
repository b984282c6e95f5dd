"""A whole board against registers, settings and clocks that nobody would think of: it never stops, believes nothing
that cannot be, says so, and is well again once what it is told is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from board_bench import AT_701, AT_802, INVERTER, PCC, Bench
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.functions import Functions
from forerun_board.control.image import INVERTER_RUNNING, Image
from forerun_board.settings import FUNCTIONS, Settings
from forerun_wire import messages as m

AT_203 = 40070
SIGNED, UNSIGNED = 0x8000, 0xFFFF  # SunSpec: not implemented
# What the rounds and the battery's reading take of each model: {offset: marker of its type}.
POINTS = {
    (PCC, AT_203): {7: SIGNED, 8: SIGNED, 9: SIGNED, 10: SIGNED, 15: SIGNED, 16: SIGNED, 17: SIGNED, 18: SIGNED,
                    22: SIGNED},
    (INVERTER, AT_701): {3: UNSIGNED, 4: UNSIGNED, 10: SIGNED, 16: UNSIGNED, 17: UNSIGNED, 18: UNSIGNED, 114: SIGNED,
                         115: SIGNED, 116: SIGNED, 120: SIGNED},
    (INVERTER, AT_802): {11: UNSIGNED, 22: UNSIGNED, 34: UNSIGNED, 45: UNSIGNED, 46: UNSIGNED, 56: SIGNED, 59: SIGNED,
                         62: SIGNED},
}  # fmt: skip
HARMLESS = {  # a phase that is not there; energy scale, terminals and state that the inverter does not tell
    (PCC, AT_203): (7, 8, 9, 10, 16),
    (INVERTER, AT_701): (3, 4, 16, 17, 18, 114, 115, 120),
}
# Scale factors that are not beside their values: noticed when they are read again, every ten seconds.
LATER = {(INVERTER, AT_701): (116,), (INVERTER, AT_802): (56, 59, 62)}


STALE_MS = 200


def settled(functions=0, start_ms=0):
    """A board that carries an order of 2 kW."""
    bench = Bench(start_ms=start_ms)
    bench.units[INVERTER].registers[AT_701 + 3] = 1  # St: on
    bench.run(1500)
    wanted = (20, functions) if functions else ()
    assert bench.command(m.SETTINGS_SET, 13, STALE_MS, *wanted)[0] == m.DONE
    assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 2_000, 600_000)[0] == m.DONE
    assert well(bench), bench.telemetry
    bench.records.clear()
    return bench


def begin_anew(bench):
    """What was told before is forgotten by the test, and by the board as if a minute had passed."""
    bench.records.clear()
    told = bench.board.fieldbus._told
    for i in range(len(told)):
        told[i] = 0


def well(bench):
    """True once the order is carried, within 8 s."""
    end_ms = bench.now_ms + 8_000
    while bench.now_ms < end_ms:
        bench.run(bench.now_ms + 100)
        if bench.value("state") == m.LEASED and bench.value("setpoint_w") == 2_000 and not bench.value("faults") & 63:
            return True
    return False


@pytest.mark.parametrize(("unit", "at"), POINTS)
def test_a_point_that_is_no_number_is_refused_and_nothing_else_happens(unit, at):
    bench = settled()
    bench.board.config.telemetry_ms = 100
    registers = bench.units[unit].registers
    for offset, marker in POINTS[unit, at].items():
        kept = registers[at + offset]
        registers[at + offset] = marker
        begin_anew(bench)
        bench.run(bench.now_ms + (4_500 if at == AT_802 else 800))
        told = bench.codes()
        assert m.GRID_LOST not in told and bench.value("state") != m.GRID_DOWN, offset
        if offset in LATER.get((unit, at), ()):
            bench.run(bench.now_ms + 14_000)
            told = bench.codes()
        harmless = offset in HARMLESS.get((unit, at), ())
        assert bench.value("setpoint_w") == (2_000 if harmless else 0), offset
        assert (m.MODBUS_REFUSED in told) != harmless, (offset, told)
        registers[at + offset] = kept
        assert well(bench), (offset, bench.codes(), bench.telemetry)
    bench.end()


def test_voltage_and_frequency_that_the_meter_does_not_tell_are_no_lost_grid_and_no_trip():
    bench = settled(functions=512)
    bench.board.config.telemetry_ms = 100
    registers = bench.units[PCC].registers
    for offsets, value in (((7, 8, 9, 10), SIGNED), ((16,), SIGNED), ((7, 8, 9, 10), -230 & 0xFFFF), ((16,), 0)):
        kept = [registers[AT_203 + offset] for offset in offsets]
        for offset in offsets:
            registers[AT_203 + offset] = value
        begin_anew(bench)
        bench.run(bench.now_ms + 1_500)
        assert bench.value("setpoint_w") == 0 and bench.value("bound_by") == m.BOUND_METER_STALE, offsets
        told = bench.codes()
        assert told.count(m.MODBUS_REFUSED) == 1 and m.METER_STALE in told, told
        assert not {m.GRID_LOST, 40 + 5, 40 + 7} & set(told) and bench.hal.outputs == 0
        for offset, number in zip(offsets, kept, strict=True):
            registers[AT_203 + offset] = number
        assert well(bench)
    for offset in (7, 8, 9, 10, 16):
        registers[AT_203 + offset] = 0
    bench.run(bench.now_ms + 1_500)
    assert m.GRID_LOST in bench.codes(), "no voltage and no frequency: that is a grid that is gone"
    bench.end()


def test_a_device_that_goes_on_talking_nonsense_does_not_fill_the_records():
    bench = settled()
    units = bench.units
    units[PCC].registers[AT_203 + 18] = SIGNED  # each reading
    units[INVERTER].registers[AT_802 + 34] = UNSIGNED  # once a second, between good ones of the same device
    bench.records.clear()
    bench.run(bench.now_ms + 20_000)
    assert bench.codes().count(m.MODBUS_REFUSED) == 2, bench.codes()
    bench.hal.stretched_ms = 5_000
    bench.run(bench.now_ms + 70_000)
    assert bench.codes().count(m.MODBUS_REFUSED) == 2, bench.codes()
    bench.end()


def test_a_charge_that_jumps_is_asked_for_again_and_one_that_cannot_be_is_refused():
    bench = settled()
    bench.board.config.telemetry_ms = 100
    registers = bench.units[INVERTER].registers
    # Another scale factor between two readings: 50.0 % in hundredths.
    registers[AT_802 + 11], registers[AT_802 + 56] = 5_000, 0xFFFE
    for _ in range(40):
        bench.run(bench.now_ms + 100)
        assert bench.value("soc_permille") == 500 and bench.value("setpoint_w") == 2_000
    registers[AT_802 + 11] = 9_700
    bench.run(bench.now_ms + 3_500)
    assert bench.value("soc_permille") == 970, "a charge that stays where it jumped to is true"
    bench.records.clear()
    registers[AT_802 + 11] = 20_000
    bench.run(bench.now_ms + 4_500)
    assert bench.value("soc_permille") == 970 and m.MODBUS_REFUSED in bench.codes()
    assert bench.value("setpoint_w") == 0 and bench.value("bound_by") == m.BOUND_BATTERY
    registers[AT_802 + 11] = 5_000
    assert well(bench)
    bench.end()


@pytest.mark.parametrize("before_ms", [3_700, 9_300])
def test_clocks_that_wrap_change_nothing(before_ms):
    """Ticks and milliseconds count modulo 2**30."""
    bench = settled(start_ms=(1 << 30) - before_ms)
    started = len(bench.records)
    for _ in range(12):
        bench.run(bench.now_ms + 1_000)
        assert bench.value("setpoint_w") == 2_000 and bench.value("faults") == 0
    assert bench.hal.clock.ms < 20_000 and len(bench.records) == started
    assert bench.board.cycle.overruns == 0
    bench.end()


class Slots:
    """Two slots that keep nothing."""

    def read(self):
        return None

    def write(self, packed):
        pass


def edge(low, high, default):
    return st.sampled_from(sorted({low, min(low + 1, high), default, max(high - 1, low), high, low - 1, high + 1}))


RANGES = {row[0]: (row[3], row[4]) for row in m.SETTINGS}
one_setting = st.sampled_from(m.SETTINGS).flatmap(
    lambda row: st.tuples(st.just(row[0]), edge(row[3], row[4], row[5]))
)
measured = st.fixed_dictionaries({
    "pcc_import_w": st.sampled_from([-200_000, -5_000, 0, 5_000, 40_000, 200_000]),
    "active_power_w": st.sampled_from([-30_000, 0, 30_000]),
    "soc_permille": st.sampled_from([0, 1, 99, 100, 500, 950, 999, 1000]),
    "charge_max_w": st.sampled_from([0, 1, 30_000]),
    "discharge_max_w": st.sampled_from([0, 1, 30_000]),
    "pcc_voltage_mv": st.sampled_from([0, 100_000, 207_000, 230_000, 253_000, 300_000]),
    "frequency_millihz": st.sampled_from([0, 47_000, 49_500, 50_000, 50_500, 52_000]),
    "cell_decic": st.sampled_from([-400, -250, -201, -1, 0, 50, 250, 449, 599, 600, 601]),
    "temperature_age_ms": st.sampled_from([0, 0, 0, 1 << 29]),
    "pv_w": st.sampled_from([0, 20_000]),
    "genset_w": st.sampled_from([0, 100, 20_000]),
    "inputs": st.sampled_from([0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 128]),
})  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.lists(one_setting, min_size=1, max_size=4), min_size=1, max_size=25), st.sampled_from([0, 64, 2047]),
       st.lists(measured, min_size=1, max_size=4), st.sampled_from([-30_000, 0, 30_000]))  # fmt: skip
def test_settings_at_the_ends_of_their_ranges_are_refused_together_or_safe_together(writes, mask, ticks, order_w):
    """What is taken never lets the battery leave its limits, its charge window and its temperatures."""
    config = Config()
    kept = Settings(Slots(), config)
    for pairs in ([(FUNCTIONS, mask)], *writes):
        flat = [number for pair in pairs for number in pair]
        fits = all(RANGES[key][0] <= value <= RANGES[key][1] for key, value in pairs)
        objection = kept.objection(flat)
        if objection is None:
            assert fits, f"{pairs} was taken"
            kept.set(flat)
            assert all(kept.get(key) == value for key, value in dict(pairs).items())
        else:
            named = any(m.SETTINGS[key][1] in objection for key, _ in pairs)
            assert len(objection.split()) >= 5 and (fits or named), objection
        assert kept.objection([number for key in RANGES for number in (key, kept.get(key))]) is None, "all together"
    controller, image = Controller(config), Image()
    if config.functions:
        controller.commission(Functions(config))
    controller.lease.grant(m.HOLD_BATTERY, order_w, 86_400_000)
    image.inverter_state = INVERTER_RUNNING
    latched = False
    for values in ticks:
        for name, value in values.items():
            setattr(image, name, value)
        for _ in range(3):  # cells and engines are looked at in turns
            image.begin(50)
            image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.host_age_ms = 0
            image.temperature_age_ms = values["temperature_age_ms"]
            controller.step(image)
            while controller.events.pop():
                pass
        given_w = controller.setpoint_w
        latched = values["inputs"] & 11 != 0 or (latched and not values["inputs"] & 4)
        assert not (latched and given_w), controller.bound_by
        assert given_w >= -min(config.charge_max_w, image.charge_max_w)
        assert given_w <= min(config.discharge_max_w, image.discharge_max_w)
        assert given_w <= 0 or image.soc_permille > config.soc_min_permille
        assert given_w >= 0 or image.soc_permille < config.soc_max_permille
        if config.functions & 64:
            cold = image.cell_decic <= 0 or image.cell_decic >= 550 or image.temperature_age_ms > 120_000
            assert not (cold and given_w < 0), "no charging of cells that freeze, or may"
            assert not (given_w and not -200 < image.cell_decic < 600)
            assert image.temperature_age_ms < 120_000 or given_w <= config.rated_w // 2
