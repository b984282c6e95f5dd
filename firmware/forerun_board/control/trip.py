"""Measured trips: they take the inverter off the bus at once and clear themselves, because nobody is hurt by waiting.

Defaults from EN 50549-1:2019, table 8 (voltage 0.85 / 1.15 of nominal, 47.5 / 51.5 Hz); times are commissioned. What
could hurt somebody is latched, commissioned or not: control/interlock.py.
"""

from array import array

from forerun_board.control.interlock import NONE, TRIP_CLEARED, TRIPPED
from forerun_board.control.table import Machine

ROWS = (
    ("closed", "unfit", "", "open", "trip"),
    ("open", "fit_again", "", "closed", "close"),
)

OVER_VOLTAGE = 4
UNDER_VOLTAGE = 5
OVER_FREQUENCY = 6
UNDER_FREQUENCY = 7
OVER_CURRENT = 8
OVER_TEMPERATURE = 9
CAUSES = 10
BACK_MS = 3000
MAX_MS = 1 << 29


class Trip:
    """`open` while tripped; then `cause`, `value`, `limit` and `at_s`, uptime in s, say why and since when."""

    def __init__(self, config, current_max_ma=0, temperature_max_decic=700):
        self._machine = Machine(ROWS)
        # Edge for each measured cause, and how long it has been outside.
        self._limit = array("i", [
            0, 0, 0, 0, config.over_voltage_mv, config.under_voltage_mv, config.over_frequency_millihz,
            config.under_frequency_millihz, current_max_ma, temperature_max_decic,
        ])  # fmt: skip
        self._outside_ms = array("i", [0] * CAUSES)
        self._delay_ms = config.trip_delay_ms
        self._calm_ms = 0
        self._was_outside = False
        self.open = False
        self.cause = NONE
        self.value = 0
        self.limit = 0
        self.at_s = 0
        self.unfit = self.fit_again = False

    def step(self, voltage_mv, frequency_millihz, current_ma, temperature_decic, now_s, dt_ms, events):
        """Judge one sample; raises TRIPPED (value, limit of the cause in the event after it) and TRIP_CLEARED."""
        limit = self._limit
        outside = 0  # a bit for each cause
        if voltage_mv > limit[OVER_VOLTAGE]:
            outside |= 1 << OVER_VOLTAGE
        elif voltage_mv < limit[UNDER_VOLTAGE]:
            outside |= 1 << UNDER_VOLTAGE
        if frequency_millihz > limit[OVER_FREQUENCY]:
            outside |= 1 << OVER_FREQUENCY
        elif frequency_millihz < limit[UNDER_FREQUENCY]:
            outside |= 1 << UNDER_FREQUENCY
        if current_ma > limit[OVER_CURRENT] > 0:
            outside |= 1 << OVER_CURRENT
        if temperature_decic > limit[OVER_TEMPERATURE]:
            outside |= 1 << OVER_TEMPERATURE
        found = NONE
        if outside or self._was_outside:
            found = self._longest(outside, dt_ms)
        self._was_outside = outside != 0
        self._calm_ms = 0 if outside else min(MAX_MS, self._calm_ms + dt_ms)
        self.unfit = found != NONE
        self.fit_again = self._calm_ms >= BACK_MS
        action = self._machine.step(self, dt_ms)
        if action == "trip":
            self.open = True
            self.cause = found
            self.limit = limit[found]
            self.at_s = now_s
            if found <= UNDER_VOLTAGE:
                self.value = voltage_mv
            elif found <= UNDER_FREQUENCY:
                self.value = frequency_millihz
            elif found == OVER_CURRENT:
                self.value = current_ma
            else:
                self.value = temperature_decic
            events.push(TRIPPED + found, self.value, self.limit)
        elif action == "close":
            self.open = False
            events.push(TRIP_CLEARED, self.cause, now_s - self.at_s)

    def _longest(self, outside, dt_ms):
        """The first cause that has been outside for the whole delay, or NONE; counts this sample."""
        found = NONE
        times_ms = self._outside_ms
        for cause in range(OVER_VOLTAGE, CAUSES):
            held_ms = 0
            if outside >> cause & 1:
                # A sample that is outside counts from itself on: one alone never trips, however long the round.
                held_ms = times_ms[cause]
                held_ms = min(MAX_MS, held_ms + dt_ms) if held_ms else 1
                if found == NONE and held_ms >= self._delay_ms:
                    found = cause
            times_ms[cause] = held_ms
        return found
