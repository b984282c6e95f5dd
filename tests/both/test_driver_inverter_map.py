"""An inverter that knows nothing of SunSpec, driven from its description; registers are the numbers of its manual."""

import json

from bus_bench import Bank, Line, finish, run
from forerun_board.control.image import INVERTER_ASLEEP, INVERTER_FAULT, INVERTER_RUNNING
from forerun_board.drivers.inverter_map import InverterMap, objection
from forerun_board.drivers.modbus_rtu import Master

# As a file: 33000 power (two registers, charging positive), 33005 state, tenths of a percent, tens of watts.
TEXT = """{
 "power": {"at": 33000, "words": 2, "scale": 0, "sign": -1},
 "state": {"at": 33005, "asleep": [0], "waking": [1], "running": [2, 3]},
 "soc": {"at": 33050, "scale": -1}, "charge_max": {"at": 33051, "scale": 1}, "discharge_max": {"at": 33052, "scale": 1},
 "setpoint": {"at": 43100, "words": 2, "scale": 1, "sign": -1, "low": -20000, "high": 25000},
 "enable": {"at": 43110, "value": 170}, "watchdog": {"at": 43111}
}"""


def bench():
    registers = {33000 + i: 0 for i in range(6)}
    registers.update({33050: 503, 33051: 1200, 33052: 1500, 43100: 0, 43101: 0, 43102: 77, 43110: 0, 43111: 0})
    bank = Bank(registers)
    bus = Master(Line({9: bank}), 19_200, 0)
    return bank, bus, InverterMap(bus, 9, lambda address, unit: None, json.loads(TEXT))


def test_it_is_found_read_and_armed_with_its_watchdog_first():
    bank, bus, inverter = bench()
    bank.registers[33000], bank.registers[33001], bank.registers[33005] = 0xFFFF, 0xF060, 2  # -4000: discharges
    run(bus, inverter.attach())
    assert inverter.attached and not inverter.down
    assert (inverter.active_power_w, inverter.state) == (4_000, INVERTER_RUNNING)
    run(bus, inverter.read_battery())
    assert (inverter.soc_permille, inverter.charge_max_w, inverter.discharge_max_w) == (503, 12_000, 15_000)
    run(bus, inverter.arm(3_009, 30))
    assert inverter.armed and inverter.confirmed
    assert bank.writes == [(43111, [30]), (43100, [0xFFFF, 0x10000 - 300]), (43110, [170])]
    assert bank.registers[43102] == 77, "the neighbour is not touched"


def test_a_setpoint_is_written_once_inside_its_limits():
    bank, bus, inverter = bench()
    run(bus, inverter.attach())
    run(bus, inverter.arm(0, 30))
    bank.writes.clear()
    for power_w, registers in ((-60_000, [0, 2_000]), (60_000, [0xFFFF, 0x10000 - 2_500])):
        assert inverter.start_setpoint(power_w)
        finish(bus)
        inverter.finish_setpoint()
        assert bank.writes.pop() == (43100, registers)
        assert not inverter.start_setpoint(power_w), "it has that already"
    for code, state in ((0, INVERTER_ASLEEP), (9, INVERTER_FAULT)):
        bank.registers[33005] = code
        inverter.start_fast()
        finish(bus)
        assert inverter.finish_fast() and inverter.state == state


def test_an_inverter_that_refuses_its_watchdog_is_not_commanded():
    bank, bus, inverter = bench()
    run(bus, inverter.attach())
    bank.refuses = (43111,)
    run(bus, inverter.arm(5_000, 30))
    assert not inverter.armed and bank.writes == []


def test_a_bad_description_is_refused_with_a_sentence():
    for name, key, value, words in (
        ("power", "at", 70_000, "outside 0 to 65534"), ("soc", "scale", 11, "scale 11 is outside"),
        ("setpoint", "low", 5, "no room"), ("power", "words", 3, "words is 1 or 2"),
    ):  # fmt: skip
        description = json.loads(TEXT)
        description[name][key] = value
        assert words in objection(description), objection(description)
    description = json.loads(TEXT)
    del description["watchdog"]
    assert objection(description) == "watchdog needs a register address, `at`"
    assert objection(json.loads(TEXT)) is None
