"""An announced load step: the inverter is kept awake from the announcement until the step is over."""

from forerun_board.control.events import PREPARE_ENDED, PREPARE_READY, PREPARE_STARTED


class Prepare:
    """`active` from the announcement to the end of the step; `ready` once the inverter runs."""

    def __init__(self):
        self.active = False
        self.ready = False
        self._power_w = 0
        self._until_start_ms = 0
        self._remaining_ms = 0

    def start(self, power_w, start_in_s, duration_s, events):
        """A step of `power_w` comes in `start_in_s` and lasts `duration_s` (each at most 86400); replaces another."""
        self.active = True
        self.ready = False
        self._power_w = power_w
        self._until_start_ms = 1000 * start_in_s
        self._remaining_ms = 1000 * duration_s
        events.push(PREPARE_STARTED, power_w, start_in_s)

    def step(self, dt_ms, running, events):
        """Advance; `running`: the inverter follows setpoints. Raises ready (with the notice left in s) and ended."""
        if not self.active:
            return
        if running and not self.ready:
            self.ready = True
            events.push(PREPARE_READY, self._power_w, self._until_start_ms // 1000)
        if self._until_start_ms > dt_ms:
            self._until_start_ms -= dt_ms
            return
        dt_ms -= self._until_start_ms
        self._until_start_ms = 0
        self._remaining_ms -= dt_ms
        if self._remaining_ms <= 0:
            self.active = False
            events.push(PREPARE_ENDED, self._power_w, 0)
