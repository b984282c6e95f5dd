"""The inner loop on a chip: two ADC channels, a PWM to a power stage and the trip output, each millisecond."""

import pins
from machine import ADC, PWM, Pin

try:
    from forerun_board.hal.inner_viper import tick
except ImportError:  # was not compiled for this chip
    from forerun_board.control.inner import tick

from forerun_board.control.inner import TRIPPED

PERIOD_MS = 1
STAGE_HZ = 20_000


class InnerLoop:
    """Runs from a timer once that calls `tick`, which allocates nothing and waits for nobody."""

    def __init__(self, state, stage_max_w, trip):
        self._state = state
        self._voltage = ADC(Pin(pins.VOLTAGE))
        self._current = ADC(Pin(pins.CURRENT))
        self._trip = trip
        self._stage = PWM(Pin(pins.STAGE), freq=STAGE_HZ, duty_u16=0) if stage_max_w else None
        self._scale = 65_535 * 256 // max(stage_max_w, 256)
        self.tick = self._step  # bound once: a hard timer's callback may not allocate

    def _step(self, _):
        setpoint_w = tick(self._state, self._voltage.read_u16() >> 4, self._current.read_u16() >> 4)
        if self._stage is not None:
            self._stage.duty_u16(setpoint_w * self._scale >> 8)
        if self._state[TRIPPED]:
            self._trip.value(1)
