"""Pulse meter and climate sensors, against the numbers of their data sheets."""

from forerun_board.drivers.climate import Ds18b20, Sht3x, crc8_maxim, crc8_sensirion
from forerun_board.drivers.expander import Expander
from forerun_board.drivers.pulse_meter import PulseMeter


def test_pulses_give_energy_and_power_and_bounces_are_counted_apart():
    meter = PulseMeter(1000)  # 1 Wh a pulse
    now_ms = (1 << 30) - 5_000  # the clock wraps on the way
    for _ in range(10):
        meter.pulse(now_ms & 0x3FFFFFFF)
        meter.pulse((now_ms + 5) & 0x3FFFFFFF)
        now_ms += 1_800
    assert (meter.energy_wh, meter.bounces) == (10, 10)
    assert meter.power_w((now_ms - 1_800) & 0x3FFFFFFF) == 2_000
    assert meter.power_w((now_ms - 1_800 + 7_200) & 0x3FFFFFFF) == 500, "overdue: it cannot be more than this"
    assert meter.power_w((now_ms + 700_000) & 0x3FFFFFFF) == 0
    slow = PulseMeter(3_000)
    for number in range(7):
        slow.pulse(1_000 * number)
    assert slow.energy_wh == 2 and slow.power_w(6_000) == 1_200
    for wrong in (9, 10_001):
        try:
            PulseMeter(wrong)
        except ValueError as error:
            assert str(wrong) in str(error)
        else:
            raise AssertionError("%d was taken" % wrong)


class I2c:
    def __init__(self, answer):
        self.answer = answer
        self.written = []
        self.there = True

    def writeto(self, address, data):
        if not self.there:
            raise OSError(5)
        self.written.append((address, bytes(data)))
        return len(data)

    def readfrom_into(self, address, buffer):
        if not self.there:
            raise OSError(5)
        buffer[:] = self.answer


def test_sht3x_speaks_as_its_data_sheet_says():
    assert crc8_sensirion(b"\xbe\xef", 0) == 0x92  # the data sheet's own example
    raw = bytearray(b"\x66\x66\x00\x80\x00\x00")  # 26214 -> 25.0 °C, 32768 -> 50.0 %
    raw[2], raw[5] = crc8_sensirion(raw, 0), crc8_sensirion(raw, 3)
    bus = I2c(bytes(raw))
    sensor = Sht3x(bus)
    assert sensor.start() and bus.written == [(0x44, b"\x24\x00")]
    assert sensor.finish() and (sensor.decic, sensor.humidity_permille) == (250, 500)
    raw[0] ^= 1
    bus.answer = bytes(raw)
    assert not sensor.finish() and sensor.decic == 250
    bus.there = False
    assert not sensor.start() and not sensor.finish()


class Wire:
    def __init__(self, scratchpad):
        self.scratchpad = scratchpad
        self.written = []
        self.there = True
        self.at = 0

    def reset(self):
        self.at = 0
        return self.there

    def writebyte(self, value):
        self.written.append(value)

    def readbyte(self):
        self.at += 1
        return self.scratchpad[self.at - 1]


def scratchpad(raw):
    data = bytearray((raw & 0xFF, raw >> 8, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10, 0))
    data[8] = crc8_maxim(data, 8)
    return data


def test_ds18b20_reads_the_table_of_its_data_sheet():
    for raw, decic in ((0x07D0, 1250), (0x0191, 250), (0x00A2, 101), (0x0008, 5), (0, 0), (0xFFF8, -5),
                       (0xFF5E, -102), (0xFC90, -550)):  # fmt: skip
        wire = Wire(scratchpad(raw))
        sensor = Ds18b20(wire)
        assert sensor.start() and wire.written == [0xCC, 0x44]
        assert sensor.finish() and sensor.decic == decic, hex(raw)
        assert wire.written[2:] == [0xCC, 0xBE]
    assert not Ds18b20(Wire(scratchpad(0x0550))).finish(), "85 °C after power-on is no measurement"
    assert not Ds18b20(Wire(bytearray(9))).finish(), "a wire held low"
    spoilt = scratchpad(0x0191)
    spoilt[0] ^= 4
    assert not Ds18b20(Wire(spoilt)).finish()
    gone = Wire(scratchpad(0x0191))
    gone.there = False
    assert not Ds18b20(gone).start() and not Ds18b20(gone).finish()


class Mcp23017:
    """Registers of an MCP23017 after power-on (DS20001952, table 3-5: all inputs, everything else 0)."""

    def __init__(self):
        self.there = True
        self.transfers = 0
        self.power_on()

    def power_on(self):
        self.registers = bytearray(22)
        self.registers[0] = self.registers[1] = 0xFF
        self.port_b = 0xFF
        self.writes = []

    def writeto_mem(self, address, register, data):
        self.transfers += 1
        if not self.there:
            raise OSError(5)
        assert address == 0x21
        self.writes.append(register)
        for i in range(len(data)):
            self.registers[register + i] = data[i]

    def readfrom_mem_into(self, address, register, data):
        self.transfers += 1
        if not self.there:
            raise OSError(5)
        assert register == 0x13 and self.registers[0x0D] == 0xFF, "pull-ups before anybody reads"
        data[0] = self.port_b

    def levels(self):
        """What port A drives."""
        return self.registers[0x14] & ~self.registers[0] & 0xFF


def test_an_expander_drives_and_reads_and_comes_back_as_it_was_told():
    chip = Mcp23017()
    expander = Expander(chip, 0x21)
    assert expander.read() == -1, "nothing is believed before it has begun"
    assert expander.drive(0x05) and chip.levels() == 0x05
    assert chip.writes[0] == 0x14 and chip.writes[-1] == 0x00, "levels before directions"
    count = len(chip.writes)
    assert expander.drive(0x05) and len(chip.writes) == count, "written when it changes"
    chip.port_b = 0xFE
    assert expander.read() == 0xFE
    chip.there = False
    assert not expander.drive(0x07)
    chip.power_on()
    chip.there = True
    assert expander.drive(0x05) and chip.levels() == 0x05, "it had been without power"
    assert expander.read() == 0xFF
    chip.power_on()
    for _ in range(100):
        expander.drive(0x05)
    assert chip.levels() == 0x05, "a dip that nobody saw"


def test_an_expander_is_read_ahead_of_the_round_and_one_that_hangs_costs_a_round_next_to_nothing():
    """Each transfer may take its whole timeout, a millisecond: they are counted."""
    chip = Mcp23017()
    expander = Expander(chip, 0x21)
    expander.drive(0)
    expander.read()
    before = chip.transfers
    for _ in range(50):
        for _ in range(9):
            expander.look()  # nine waits in a round
        asked = chip.transfers
        assert expander.read() == 0xFF and expander.drive(0) and chip.transfers == asked, "nothing left for the round"
    assert chip.transfers - before == 50, "one a round"
    chip.there = False
    assert expander.read() == 0xFF and not expander.drive(1), "a transfer that is lost is noise"
    chip.there = True
    assert expander.drive(1) and expander.read() == 0xFF and expander.failures == 2
    chip.there = False
    rounds = 0
    while expander.read() >= 0:
        expander.drive(1)
        rounds += 1
        assert rounds < 5
    assert expander.failures == 6
    before = chip.transfers
    for _ in range(400):
        expander.look()
        assert expander.read() == -1 and not expander.drive(1)
    assert chip.transfers - before <= 4 * (400 // 20), "four tries, then twenty rounds of rest"
    chip.there = True
    for _ in range(22):
        expander.drive(1)
        expander.read()
    assert expander.read() == 0xFF and chip.levels() == 1
    few = chip.transfers
    chip.there = False
    for _ in range(3):
        expander.read()
    assert chip.transfers - few == 1, "what has to be written anew is not read before"
