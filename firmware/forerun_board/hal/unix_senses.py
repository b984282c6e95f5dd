"""The pins of a board in lockstep: ADC channels, sensors and pulses as the master's releases have them."""

import struct

from forerun_board.clock import MASK
from forerun_board.control.config import SENSOR_AIR, SENSOR_CELL

try:
    from forerun_board.hal.inner_viper import tick
except (ImportError, SyntaxError, ValueError):  # not compiled for this processor
    from forerun_board.control.inner import tick

_COUNTS = "<HHH"  # pulses, PCC voltage, PCC current
_COUNTS_AT = 18
_AIR_AT = 24  # an SHT3x's answer, six bytes
_CELL_AT = 30  # a DS18B20's scratchpad, nine
_TICK_US = 1000


class Played:
    """Steps the inner loop each millisecond and counts pulses; to the drivers it is their one-wire and I²C bus."""

    def __init__(self, release, clock):
        self.counted = None
        self._release = release
        self._clock = clock
        self._state = None
        self._ticked_us = 0
        self._pulses = 0
        self._read_at = 0

    def begin(self, state):
        """The inner loop runs on `state` from here on."""
        self._state = state
        self._ticked_us = self._clock.ticks_us

    def wait_us(self):
        """Time until the next step of the inner loop, in µs."""
        if self._state is None:
            return MASK
        return max(0, _TICK_US - ((self._clock.ticks_us - self._ticked_us) & MASK))

    def step(self):
        """Do what the release that just came calls for."""
        pulses, voltage, current = struct.unpack_from(_COUNTS, self._release, _COUNTS_AT)
        if self._state is not None and (self._clock.ticks_us - self._ticked_us) & MASK >= _TICK_US:
            self._ticked_us = (self._ticked_us + _TICK_US) & MASK
            tick(self._state, voltage, current)
        while self.counted is not None and self._pulses != pulses:
            self._pulses = (self._pulses + 1) & 0xFFFF
            self.counted.pulse(self._clock.ms)

    def climate(self, config):
        """The sensors that the settings name."""
        from forerun_board.drivers.climate import Climate, Ds18b20, Sht3x

        cell = Ds18b20(self) if config.sensors & SENSOR_CELL else None
        return Climate(cell, Sht3x(self) if config.sensors & SENSOR_AIR else None)

    # ---- as the drivers use their buses

    def reset(self):
        """True: somebody is there, as far as a wire can tell."""
        self._read_at = _CELL_AT
        return True

    def writebyte(self, value):
        """Whatever is asked of the sensor, it has measured already."""

    def readbyte(self):
        """The next byte of the scratchpad."""
        self._read_at += 1
        return self._release[self._read_at - 1]

    def writeto(self, address, data):
        """Number of bytes taken."""
        return len(data)

    def readfrom_into(self, address, buffer):
        """The sensor's answer."""
        for i in range(len(buffer)):
            buffer[i] = self._release[_AIR_AT + i]
