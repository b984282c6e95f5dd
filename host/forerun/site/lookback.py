"""What the records of a site say of it now, for whoever looks: alarms, the last day's readings, preparations."""

from collections import deque

from forerun.carbon.intake import REGISTERS, Reading
from forerun.site import alarms
from forerun_wire import messages

READINGS_S = 26 * 3600  # readings kept: a local day with the hour that the clocks turn back
PREPARATIONS_KEPT = 32
_PREPARATIONS = (messages.PREPARE_STARTED, messages.PREPARE_READY, messages.PREPARE_LATE)


class LookBack:
    """Built from records in the order in which the board made them; a restart reads them from the journal again."""

    def __init__(self) -> None:
        self.alarms = alarms.Raised()
        self.readings: deque[Reading] = deque()
        self.preparations: deque[tuple[int, int, int, int]] = deque(maxlen=PREPARATIONS_KEPT)  # UTC s, code, W, s ahead
        self.last_soc: float | None = None  # of the last interval
        self.maintenance_until_s = 0  # UTC; the board holds the battery at 0 W so long, unless it gets another order

    def learn(self, utc_s: int, kind: int, body: list) -> None:
        """Take the next record: its time in UTC, its kind and the fields that its kind has."""
        if kind == messages.INTERVAL:
            self._learn_interval(utc_s, messages.fields_named(messages.INTERVAL_FIELDS, body))
        elif kind == messages.BOOT:
            self.alarms.boot()
            self.maintenance_until_s = 0
        elif kind == messages.ACTED:
            op, _, value, reason = body[:4]
            if op == messages.MAINTENANCE and reason == 0:
                self.maintenance_until_s = utc_s + value
            elif op == messages.SETPOINT:
                self.maintenance_until_s = 0  # somebody has given another order since
        elif kind == messages.EVENT:
            code, value, limit = body[:3]
            self.alarms.take(utc_s, code, value, limit)
            if code in _PREPARATIONS:
                self.preparations.append((utc_s, code, value, limit))

    def _learn_interval(self, utc_s: int, interval: dict) -> None:
        self.last_soc = interval["soc_permille"] / 1000
        registers = (interval[name] for name in (*REGISTERS, "soc_permille", "quality"))
        self.readings.append(Reading(utc_s, *registers))
        while self.readings[0].utc_s < utc_s - READINGS_S:
            self.readings.popleft()
