"""What the board's own channels feel of the site: ADC counts of PCC voltage and current, sensors, pulses.

Instantaneous values of phase 1; the site is balanced. 12-bit counts around half the supply, as an ADC gives them.
"""

import functools
from math import pi, sin, sqrt

SHT_BYTES = 6
DS_BYTES = 9
VOLTAGE_MV = 230.0  # a count
CURRENT_MA = 64.0
_LAST = 4095


class Senses:
    """Values that a test may change: `voltage_share` and `current_share` of what is true (−1: CT backwards, 0: off it),
    `cell_c` and `air_c` in °C (None: the sensor is gone), `humidity` (0 to 1), `watt_hours_per_pulse`."""

    def __init__(self, site):
        self.site = site
        self.voltage_share = 1.0
        self.current_share = 1.0
        self.cell_c: float | None = 20.0
        self.air_c: float | None = 20.0
        self.humidity = 0.5
        self.watt_hours_per_pulse = 1.0

    def counts(self, now_us: int) -> tuple[int, int]:
        """What the two channels read at `now_us`, which the site has reached."""
        site = self.site
        wave = sqrt(2.0) * sin(2.0 * pi * site.frequency_hz * (now_us % 1_000_000_000) / 1e6)
        volts = site.pcc_voltage_v
        amperes = site.pcc_import_w / (3.0 * volts) if volts > 1.0 else 0.0
        return (_count(self.voltage_share * volts * wave * 1000.0 / VOLTAGE_MV),
                _count(self.current_share * amperes * wave * 1000.0 / CURRENT_MA))  # fmt: skip

    def pulses(self) -> int:
        """Pulses of the PV meter since the start, modulo 65536."""
        return int(self.site.pv_wh / self.watt_hours_per_pulse) & 0xFFFF

    def air(self) -> bytes:
        """An SHT3x's answer (its data sheet, 4.4); zeros, whose sum is wrong, when it is gone."""
        return bytes(SHT_BYTES) if self.air_c is None else _sht(self.air_c, self.humidity)

    def cell(self) -> bytes:
        """A DS18B20's scratchpad (its data sheet, figure 9); ones, as an empty wire reads, when it is gone."""
        return b"\xff" * DS_BYTES if self.cell_c is None else _scratchpad(self.cell_c)


# Each millisecond asks for both, and they seldom change.
@functools.lru_cache(1)
def _sht(air_c: float, humidity: float) -> bytes:
    answer = b""
    for share in ((air_c + 45.0) / 175.0, humidity):
        word = round(share * 65535).to_bytes(2, "big")
        answer += word + bytes([_crc(word, 0x31, 0xFF)])
    return answer


@functools.lru_cache(1)
def _scratchpad(cell_c: float) -> bytes:
    pad = (round(cell_c * 16) & 0xFFFF).to_bytes(2, "little") + b"\x4b\x46\x7f\xff\x0c\x10"
    crc = 0
    for byte in pad:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return pad + bytes([crc])


def _count(value: float) -> int:
    return max(0, min(_LAST, round(2048.0 + value)))


def _crc(data: bytes, polynomial: int, start: int) -> int:
    crc = start
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ polynomial) & 0xFF if crc & 0x80 else crc << 1
    return crc
