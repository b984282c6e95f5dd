"""Trips: what takes the inverter off the bus at once, latched where people could be hurt, self-clearing where not.

Defaults from EN 50549-1:2019, table 8 (voltage 0.85 / 1.15 of nominal, 47.5 / 51.5 Hz); times are commissioned.
"""

from array import array

from forerun_board.control.table import Machine

ROWS = (
    ("closed", "dangerous", "", "latched", "trip"),
    ("closed", "unfit", "", "open", "trip"),
    ("open", "dangerous", "", "latched", "trip"),
    ("open", "fit_again", "", "closed", "close"),
    ("latched", "reset", "safe", "closed", "close"),
)

# Codes of its events, as on the wire.
TRIP_CLEARED = 35
TRIPPED = 40  # and the cause

NONE = 0
EMERGENCY_STOP = 1
DOOR = 2
INSULATION = 3
OVER_VOLTAGE = 4
UNDER_VOLTAGE = 5
OVER_FREQUENCY = 6
UNDER_FREQUENCY = 7
OVER_CURRENT = 8
OVER_TEMPERATURE = 9
CAUSES = 10
LATCHED_UP_TO = INSULATION
BACK_MS = 3000
MAX_MS = 1 << 29


class Trip:
    """`open` while tripped; then `cause`, `value`, `limit` and `at_s`, uptime in s, say why and since when.

    `emergency_stop`, `door`, `insulation`: inputs. `reset`: the button at the cabinet; it acts only once all latched
    causes are gone, and never by itself.
    """

    def __init__(self, config, current_max_ma=0, temperature_max_decic=700):
        self._machine = Machine(ROWS)
        # Low and high edge for each measured cause, and how long it has been outside.
        self._limit = array("i", [
            0, 0, 0, 0, config.over_voltage_mv, config.under_voltage_mv, config.over_frequency_millihz,
            config.under_frequency_millihz, current_max_ma, temperature_max_decic,
        ])  # fmt: skip
        self._outside_ms = array("i", [0] * CAUSES)
        self._delay_ms = config.trip_delay_ms
        self._calm_ms = 0
        self.emergency_stop = False
        self.door = False
        self.insulation = False
        self.reset = False
        self.open = False
        self.cause = NONE
        self.value = 0
        self.limit = 0
        self.at_s = 0
        self.dangerous = self.unfit = self.fit_again = self.safe = False

    @property
    def latched(self):
        """Whether somebody has to come and reset it."""
        return self._machine.state == "latched"

    def latch(self, cause, now_s, events):
        """Be as after a trip by `cause` that nobody has reset, and raise TRIPPED: the danger may still be there."""
        self._machine.state = "latched"
        self.open = True
        self.cause = cause
        self.value = 1
        self.limit = 0
        self.at_s = now_s
        events.push(TRIPPED + cause, 1, 0)

    def step(self, voltage_mv, frequency_millihz, current_ma, temperature_decic, now_s, dt_ms, events):
        """Judge one sample; raises TRIPPED (value, limit of the cause in the event after it) and TRIP_CLEARED."""
        danger = NONE
        if self.emergency_stop:
            danger = EMERGENCY_STOP
        elif self.door:
            danger = DOOR
        elif self.insulation:
            danger = INSULATION
        self._outside(OVER_VOLTAGE, voltage_mv > self._limit[OVER_VOLTAGE], dt_ms)
        self._outside(UNDER_VOLTAGE, voltage_mv < self._limit[UNDER_VOLTAGE], dt_ms)
        self._outside(OVER_FREQUENCY, frequency_millihz > self._limit[OVER_FREQUENCY], dt_ms)
        self._outside(UNDER_FREQUENCY, frequency_millihz < self._limit[UNDER_FREQUENCY], dt_ms)
        self._outside(OVER_CURRENT, current_ma > self._limit[OVER_CURRENT] > 0, dt_ms)
        self._outside(OVER_TEMPERATURE, temperature_decic > self._limit[OVER_TEMPERATURE], dt_ms)
        found = NONE
        calm = True
        for cause in range(OVER_VOLTAGE, CAUSES):
            if self._outside_ms[cause] > 0:
                calm = False
            if found == NONE and self._outside_ms[cause] >= self._delay_ms:
                found = cause
        self._calm_ms = min(MAX_MS, self._calm_ms + dt_ms) if calm else 0
        self.dangerous = danger != NONE
        self.unfit = found != NONE
        self.safe = danger == NONE and calm
        self.fit_again = self._calm_ms >= BACK_MS
        action = self._machine.step(self, dt_ms)
        if action == "trip":
            self.open = True
            self.cause = danger or found
            self.limit = self._limit[self.cause]
            self.at_s = now_s
            self.value = 1
            if self.cause == OVER_VOLTAGE or self.cause == UNDER_VOLTAGE:
                self.value = voltage_mv
            elif self.cause == OVER_FREQUENCY or self.cause == UNDER_FREQUENCY:
                self.value = frequency_millihz
            elif self.cause == OVER_CURRENT:
                self.value = current_ma
            elif self.cause == OVER_TEMPERATURE:
                self.value = temperature_decic
            events.push(TRIPPED + self.cause, self.value, self.limit)
        elif action == "close":
            self.open = False
            events.push(TRIP_CLEARED, self.cause, now_s - self.at_s)

    def _outside(self, cause, outside, dt_ms):
        # A sample that is outside counts from itself on: one alone never trips, however long the round.
        if not outside:
            self._outside_ms[cause] = 0
        elif self._outside_ms[cause] == 0:
            self._outside_ms[cause] = 1
        else:
            self._outside_ms[cause] = min(MAX_MS, self._outside_ms[cause] + dt_ms)
