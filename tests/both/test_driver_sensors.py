"""Pulse meter and climate sensors, against the numbers of their data sheets."""

from forerun_board.drivers.climate import Ds18b20, Sht3x, crc8_maxim, crc8_sensirion
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
