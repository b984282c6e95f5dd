"""What could hurt somebody: it takes the inverter off the bus at once, and stays so until it is reset on site."""

from forerun_board.control.image import INPUT_DOOR, INPUT_EMERGENCY_STOP, INPUT_INSULATION, INPUT_RESET
from forerun_board.control.table import Machine

ROWS = (
    ("safe", "danger", "", "latched", "trip"),
    ("latched", "reset", "", "safe", "release"),
)

# Codes of its events, as on the wire.
TRIP_CLEARED = 35
TRIPPED = 40  # and the cause

NONE = 0
EMERGENCY_STOP = 1
DOOR = 2
INSULATION = 3


class Interlock:
    """`latched` from the first round in which a safety contact is open, whatever the site is commissioned for. Then
    `cause` and `at_s`, uptime in s, say why and since when. The button at the cabinet resets it once all contacts are
    closed again, when it is let go (ISO 13849-1:2015, 5.2.2): one that sticks resets nothing."""

    def __init__(self):
        self._machine = Machine(ROWS)
        self.latched = False
        self.cause = NONE
        self.at_s = 0
        self.danger = self.reset = False
        self._button_open = False  # in the round before
        self._pressed = False  # since it was open, with nothing in the way

    def latch(self, cause, now_s, events):
        """Be as after a trip by `cause` that nobody has reset, and raise TRIPPED: the danger may still be there."""
        self._machine.state = "latched"
        self.latched = True
        self.cause = cause
        self.at_s = now_s
        events.push(TRIPPED + cause, 1, 0)

    def step(self, inputs, now_s, dt_ms, events):
        """Judge the contacts; raises TRIPPED and TRIP_CLEARED (after so many s)."""
        cause = NONE
        if inputs & INPUT_EMERGENCY_STOP:
            cause = EMERGENCY_STOP
        elif inputs & INPUT_DOOR:
            cause = DOOR
        elif inputs & INPUT_INSULATION:
            cause = INSULATION
        self.danger = cause != NONE
        button_open = inputs & INPUT_RESET == 0
        self.reset = self._pressed and button_open and cause == NONE
        self._pressed = (self._pressed or self._button_open) and not button_open and cause == NONE
        self._button_open = button_open
        action = self._machine.step(self, dt_ms)
        if action == "trip":
            self.latch(cause, now_s, events)
        elif action == "release":
            self.latched = False
            events.push(TRIP_CLEARED, self.cause, now_s - self.at_s)
