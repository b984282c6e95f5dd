"""What a board feels by its own pins: analogue channels, climate sensors, pulse meter.

In memory only where the settings name one of them. What the board has not got, or hears no more, is an event and counts
as not measured.
"""

from forerun_board.control import events as ev
from forerun_board.control.config import SENSOR_AIR, SENSOR_CELL, SENSOR_PULSE

ANALOG = 4  # value of a SENSOR_LOST beside those of drivers/climate.py


class Senses:
    """Puts what it measures into the board's image: round() in each round, slack() when a few ms do no harm."""

    def __init__(self, board):
        self._board = board
        self._climate = None
        self._pulses = None
        config = board.config
        if config.voltage_gain_q8 and config.current_gain_q8:
            self._begin_inner(config)
        if config.sensors & (SENSOR_CELL | SENSOR_AIR):
            self._climate = board.hal.climate(config)
            if self._climate is None:
                board.controller.events.push(ev.SENSOR_LOST, config.sensors & (SENSOR_CELL | SENSOR_AIR), 0)
        if config.sensors & SENSOR_PULSE:
            from forerun_board.drivers.pulse_meter import PulseMeter

            self._pulses = PulseMeter(config.pulses_per_kwh)
            board.hal.count_pulses(self._pulses)

    def _begin_inner(self, config):
        from forerun_board.control.fast import Fast
        from forerun_board.drivers.analog import commissioned

        state = commissioned(config)
        if self._board.hal.start_inner(state, config):
            self._board.cycle.fast = Fast(state, config)
        else:
            self._board.controller.events.push(ev.SENSOR_LOST, ANALOG, 0)

    def round(self):
        """The pulse meter's power, for the round that comes."""
        if self._pulses is not None:
            image = self._board.image
            image.pv_w = self._pulses.power_w(self._board.clock.ms)
            image.pulse_wh = self._pulses.energy_wh
            image.pv_age_ms = 0

    def slack(self):
        """A sensor's turn, if it is time."""
        if self._climate is not None:
            board = self._board
            self._climate.step(board.image, board.clock.ms, board.controller.events)
