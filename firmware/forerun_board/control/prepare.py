"""An announced load step: the inverter is kept awake for it, and just before it the PCC is given headroom.

A limiter that waits for the meter lets the step through for the inverter's reaction time, and on a weak feeder that is
a dip. So from a few seconds before the announced start until the step is seen, the import is held lower by the step's
own power: when it comes, it fits.
"""

from forerun_board.control.events import PREPARE_ENDED, PREPARE_READY, PREPARE_STARTED

HEADROOM_LEAD_MS = 10_000  # clocks of scheduler, host and board together are better than this
HEADROOM_LATE_MS = 60_000  # a job that has not shown up by then is not waited for


class Prepare:
    """`active` from the announcement to the end of the step; `ready` once the inverter runs; `headroom_w` >= 0 is what
    the import has to stay below its limit because the step may come any moment."""

    def __init__(self):
        self.active = False
        self.ready = False
        self.headroom_w = 0
        self.power_w = 0
        self._until_start_ms = 0
        self._remaining_ms = 0
        self._waited_ms = 0
        self._seen = False
        self._base_load_w = 0

    def start(self, power_w, start_in_s, duration_s, events):
        """A step of `power_w` comes in `start_in_s` and lasts `duration_s` (each at most 86400); replaces another."""
        self.active = True
        self.ready = False
        self.headroom_w = 0
        self.power_w = power_w
        self._until_start_ms = 1000 * start_in_s
        self._remaining_ms = 1000 * duration_s
        self._waited_ms = 0
        self._seen = False
        events.push(PREPARE_STARTED, power_w, start_in_s)

    def step(self, dt_ms, running, load_w, lead_ms, events):
        """Advance; `running`: the inverter follows setpoints. Raises ready (with the notice left in s) and ended.

        `lead_ms`: what the ramp needs for the step's power, on top of HEADROOM_LEAD_MS.
        """
        if not self.active:
            return
        if running and not self.ready:
            self.ready = True
            events.push(PREPARE_READY, self.power_w, self._until_start_ms // 1000)
        self._make_headroom(dt_ms, load_w, lead_ms)
        if self._until_start_ms > dt_ms:
            self._until_start_ms -= dt_ms
            return
        dt_ms -= self._until_start_ms
        self._until_start_ms = 0
        self._remaining_ms -= dt_ms
        if self._remaining_ms <= 0:
            self.active = False
            self.headroom_w = 0
            events.push(PREPARE_ENDED, self.power_w, 0)

    def _make_headroom(self, dt_ms, load_w, lead_ms):
        if self._seen or self._until_start_ms > HEADROOM_LEAD_MS + lead_ms:
            return
        if self.headroom_w == 0:
            self.headroom_w = self.power_w
            self._base_load_w = load_w
        if self._until_start_ms == 0:
            self._waited_ms += dt_ms
        # Half of it is enough to tell the step from the load's own noise.
        if 2 * (load_w - self._base_load_w) >= self.power_w or self._waited_ms >= HEADROOM_LATE_MS:
            self._seen = True
            self.headroom_w = 0
