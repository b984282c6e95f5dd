"""Temperature and humidity: SHT3x on I²C, DS18B20 on one wire. Given a bus, never a pin."""

from forerun_board.control.events import SENSOR_BACK, SENSOR_LOST

SHT_ADDRESS = 0x44
SHT_MEASURE = b"\x24\x00"  # single shot, high repeatability, no clock stretching (SHT3x data sheet, table 9)
SHT_MS = 16  # longest conversion
DS_SKIP_ROM = 0xCC
DS_CONVERT = 0x44
DS_READ = 0xBE
DS_MS = 750  # 12 bits
DS_POWER_ON_DECIC = 850  # what its scratchpad holds before the first conversion: no measurement

MEASURE_MS = 10_000
LOST_MS = 60_000
CELL = 1
AIR = 2
_MASK = 0x3FFF_FFFF


class Climate:
    """The sensors that are there: `cell` on the battery, `air` beside it, or None. step() may take a few ms.

    A sensor silent for LOST_MS is lost: its humidity counts as not measured, and the age of the cells' temperature goes
    on growing, until nothing is charged any more; both are events.
    """

    def __init__(self, cell, air):
        self._cell = cell
        self._air = air
        self._begun_ms = -MEASURE_MS
        self._measuring = False
        self._lost = 0  # CELL, AIR
        self._cell_heard_ms = self._air_heard_ms = -1  # -1: the first step says when waiting began

    def step(self, image, now_ms, events):
        """Do what is due at `now_ms` (modulo 2**30); a good measurement goes into `image`."""
        if self._cell_heard_ms < 0:
            self._cell_heard_ms = self._air_heard_ms = now_ms
            self._begun_ms = now_ms - MEASURE_MS
        passed_ms = (now_ms - self._begun_ms) & _MASK
        if not self._measuring:
            if passed_ms >= MEASURE_MS:
                self._begun_ms = now_ms
                self._measuring = True
                if self._cell is not None:
                    self._cell.start()
                if self._air is not None:
                    self._air.start()
        elif passed_ms >= DS_MS:
            self._measuring = False
            self._finish(image, now_ms, events)

    def _finish(self, image, now_ms, events):
        if self._cell is not None:
            if self._cell.finish():
                image.cell_decic = self._cell.decic
                image.temperature_age_ms = 0
                self._cell_heard_ms = now_ms
            self._judge(CELL, now_ms - self._cell_heard_ms, events)
        if self._air is not None:
            if self._air.finish():
                image.air_decic = self._air.decic
                image.humidity_permille = self._air.humidity_permille
                self._air_heard_ms = now_ms
            if self._judge(AIR, now_ms - self._air_heard_ms, events):
                image.humidity_permille = -1

    def _judge(self, which, silent_ms, events):
        """True while sensor `which` is lost."""
        lost = (silent_ms & _MASK) >= LOST_MS
        if lost != (self._lost & which != 0):
            self._lost ^= which
            events.push(SENSOR_LOST if lost else SENSOR_BACK, which, LOST_MS // 1000)
        return lost


class Sht3x:
    """`start()`, at least SHT_MS later `finish()`: `decic` in 0.1 °C and `humidity_permille`, or False."""

    def __init__(self, i2c, address=SHT_ADDRESS):
        self._i2c = i2c
        self._address = address
        self._answer = bytearray(6)
        self.decic = 0
        self.humidity_permille = -1

    def start(self):
        """True if the sensor took the command to measure."""
        try:
            return self._i2c.writeto(self._address, SHT_MEASURE) == len(SHT_MEASURE)
        except OSError:
            return False  # nobody answers: the age of the last value says so

    def finish(self):
        """True if a whole measurement was read."""
        answer = self._answer
        try:
            self._i2c.readfrom_into(self._address, answer)
        except OSError:
            return False
        if crc8_sensirion(answer, 0) != answer[2] or crc8_sensirion(answer, 3) != answer[5]:
            return False
        self.decic = (answer[0] << 8 | answer[1]) * 1750 // 65535 - 450
        self.humidity_permille = (answer[3] << 8 | answer[4]) * 1000 // 65535
        return True


class Ds18b20:
    """The only sensor on its wire: `start()`, at least DS_MS later `finish()`: `decic` in 0.1 °C, or False."""

    def __init__(self, wire):
        self._wire = wire
        self._answer = bytearray(9)
        self.decic = 0

    def start(self):
        """True if somebody answered the reset pulse and was told to measure."""
        if not self._wire.reset():
            return False
        self._wire.writebyte(DS_SKIP_ROM)
        self._wire.writebyte(DS_CONVERT)
        return True

    def finish(self):
        """True if a whole measurement was read."""
        if not self._wire.reset():
            return False
        self._wire.writebyte(DS_SKIP_ROM)
        self._wire.writebyte(DS_READ)
        answer = self._answer
        for i in range(9):
            answer[i] = self._wire.readbyte()
        if crc8_maxim(answer, 8) != answer[8] or answer[4] & 0x1F != 0x1F:
            return False  # the low bits of the configuration are always ones: a wire held low has a good CRC too
        raw = answer[1] << 8 | answer[0]
        if raw >= 0x8000:
            raw -= 0x10000
        decic = raw * 10 // 16
        if decic == DS_POWER_ON_DECIC:
            return False
        self.decic = decic
        return True


def crc8_sensirion(data, start):
    """CRC-8 of the two bytes from `start` on: polynomial 0x31, from 0xFF."""
    crc = 0xFF
    for i in range(start, start + 2):
        crc ^= data[i]
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def crc8_maxim(data, count):
    """CRC-8 of the first `count` bytes: polynomial 0x31 reflected, from 0."""
    crc = 0
    for i in range(count):
        crc ^= data[i]
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc
