"""Events that the control laws raise: a small ring of integers, emptied after the decision."""

from array import array

# Codes as on the wire (a test compares them with its table).
METER_STALE = 1
METER_BACK = 2
INVERTER_LOST = 3
INVERTER_BACK = 4
HOST_LOST = 5
HOST_BACK = 6
LEASE_ENDED = 7
PLAN_ENDED = 8
IMPORT_LIMIT_EXCEEDED = 9
IMPORT_LIMIT_HELD = 10
GRID_LOST = 11
GRID_BACK = 12
RECORDS_DROPPED = 13
SETTINGS_CHANGED = 14
INVERTER_AWAKE = 15
PREPARE_STARTED = 16
PREPARE_READY = 17
PREPARE_ENDED = 18
BATTERY_STALE = 19
BATTERY_BACK = 20
MODBUS_REFUSED = 21
WATCHDOG_UNCONFIRMED = 22
METER_FROZEN = 23
METER_MOVING = 24
PREPARE_LATE = 25
AUTH_FAILED = 50
KEY_CHANGED = 51
KEYS_UNREADABLE = 52
ANALOG_LOST = 53
ANALOG_BACK = 54
SENSOR_LOST = 55
SENSOR_BACK = 56
UPDATE_CONFIRMED = 57
UPDATE_FELL_BACK = 58
FUNCTIONS_LEFT_OUT = 60  # memory does not hold what `functions`, the value, asks for
COMMAND_REFUSED = 59  # value: the operation, limit: the code of the refusal

CAPACITY = 16


class EventRing:
    """First in, first out; when full the newest is counted in `lost` and dropped."""

    def __init__(self):
        self._slots = array("i", [0] * (3 * CAPACITY))
        self._first = 0
        self.count = 0
        self.lost = 0
        self.code = 0
        self.value = 0
        self.limit = 0

    def push(self, code, value, limit):
        """Note that `code` happened at `value`, against `limit` (units depend on the code)."""
        if self.count == CAPACITY:
            self.lost = min(self.lost + 1, 1 << 29)
            return
        at = 3 * ((self._first + self.count) % CAPACITY)
        self._slots[at] = code
        self._slots[at + 1] = value
        self._slots[at + 2] = limit
        self.count += 1

    def pop(self):
        """True when there was an event: it is now in `code`, `value`, `limit`."""
        if self.count == 0:
            return False
        at = 3 * self._first
        self.code = self._slots[at]
        self.value = self._slots[at + 1]
        self.limit = self._slots[at + 2]
        self._first = (self._first + 1) % CAPACITY
        self.count -= 1
        return True
