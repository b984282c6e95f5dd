"""An announced load step: the site is made ready for it, and just before it the PCC is given headroom.

A limiter that waits for the meter lets the step through for the inverter's reaction time, and on a weak feeder that is
a dip. So from a few seconds before the announced start until the step is seen, the import is held lower by the step's
own power: when it comes, it fits.
"""

from forerun_board.control.events import PREPARE_ENDED, PREPARE_LATE, PREPARE_READY, PREPARE_STARTED
from forerun_board.control.table import Machine

ROWS = (
    ("idle", "announced", "", "prepare", "wake"),
    ("prepare", "over", "", "recover", "end"),
    ("prepare", "fit", "", "ready", "tell_ready"),
    ("prepare", "due", "", "late", "tell_late"),
    ("late", "over", "", "recover", "end"),
    ("late", "fit", "", "ready", "tell_ready"),
    ("ready", "over", "", "recover", "end"),
    ("ready", "step_seen", "", "carry", "open_ramp"),
    ("carry", "over", "", "recover", "end"),
    ("carry", "carried", "", "carry", "close_ramp"),
    ("recover", "recovered", "", "idle", ""),
    ("recover", "recover_late", "", "idle", ""),
)

HEADROOM_LEAD_MS = 10_000  # clocks of scheduler, host and board together are better than this
HEADROOM_LATE_MS = 60_000  # a job that has not shown up by then is not waited for
NOTICE_MS = 300_000  # all is to be ready so long before the step; with less notice, at the step
CARRY_MS = 10_000  # after the step was seen the ramp holds nothing back for so long
RECOVER_MS = 3_600_000


class Prepare:
    """`active` from the announcement to the end of the step; `ready` once the inverter runs and the charge is there;
    `headroom_w` >= 0 is what the import has to stay below its limit because the step may come any moment.

    `charge`: the reserve is not there yet and has to be charged; `release_pv`: PV is not to be curtailed by command;
    `ramp_open`: the step is there, nothing waits for the ramp. `soc_permille` and `reserve_permille` are set before.
    """

    def __init__(self):
        self._machine = Machine(ROWS)
        self.active = False
        self.ready = False
        self.headroom_w = 0
        self.power_w = 0
        self.soc_permille = 1000
        self.reserve_permille = 0
        self.charge = False
        self.release_pv = False
        self.ramp_open = False
        self.announced = self.over = self.fit = self.due = self.step_seen = self.carried = False
        self.recovered = self.recover_late = False
        self._until_start_ms = 0
        self._remaining_ms = 0
        self._waited_ms = 0
        self._given_up = False
        self._short_notice = False
        self._base_load_w = 0

    @property
    def state(self):
        """Name of the state, as in the table."""
        return self._machine.state

    def start(self, power_w, start_in_s, duration_s, events):
        """A step of `power_w` comes in `start_in_s` and lasts `duration_s` (each at most 86400); replaces another. 0 W:
        the one that was expected does not come."""
        if power_w == 0:
            self._until_start_ms = self._remaining_ms = 0
            return
        self.active = True
        self.ready = False
        self.headroom_w = 0
        self.power_w = power_w
        self.ramp_open = False
        self._until_start_ms = 1000 * start_in_s
        self._remaining_ms = 1000 * duration_s
        self._waited_ms = 0
        self._given_up = False
        self._short_notice = self._until_start_ms <= NOTICE_MS
        self.step_seen = False
        self._machine.state = ROWS[0][0]
        self.announced = True
        self._machine.step(self, 0)
        self.announced = False
        events.push(PREPARE_STARTED, power_w, start_in_s)

    def step(self, dt_ms, running, load_w, lead_ms, events):
        """Advance; `running`: the inverter follows setpoints. Raises ready (with the notice left in s), late and ended.

        `lead_ms`: what the ramp needs for the step's power, on top of HEADROOM_LEAD_MS.
        """
        if self._machine.state == "idle":
            return
        reserved = self.soc_permille >= self.reserve_permille
        self.fit = running and reserved
        self.due = self._until_start_ms <= (0 if self._short_notice else NOTICE_MS)
        self.carried = self.ramp_open and self._machine.state_ms + dt_ms >= CARRY_MS
        self.recovered = reserved
        self.recover_late = self._machine.state_ms + dt_ms >= RECOVER_MS
        self.over = False
        if self.active:
            self._make_headroom(dt_ms, load_w, lead_ms)
        left_s = self._until_start_ms // 1000
        self._count_down(dt_ms)
        action = self._machine.step(self, dt_ms)
        if action is not None:
            self._act(action, left_s, events)
        state = self._machine.state
        self.charge = not reserved and (state == "prepare" or state == "late" or state == "recover")
        self.release_pv = self.active

    def _count_down(self, dt_ms):
        if self._until_start_ms > dt_ms:
            self._until_start_ms -= dt_ms
            return
        dt_ms -= self._until_start_ms
        self._until_start_ms = 0
        self._remaining_ms = max(0, self._remaining_ms - dt_ms)
        self.over = self.active and self._remaining_ms == 0

    def _act(self, action, left_s, events):
        if action == "tell_ready":
            self.ready = True
            events.push(PREPARE_READY, self.power_w, left_s)
        elif action == "tell_late":
            events.push(PREPARE_LATE, self.power_w, left_s)
        elif action == "open_ramp":
            self.ramp_open = True
        elif action == "close_ramp":
            self.ramp_open = False
        elif action == "end":
            self.active = False
            self.headroom_w = 0
            self.ramp_open = False
            events.push(PREPARE_ENDED, self.power_w, 0)

    def _make_headroom(self, dt_ms, load_w, lead_ms):
        if self.step_seen or self._given_up or self._until_start_ms > HEADROOM_LEAD_MS + lead_ms:
            return
        if self.headroom_w == 0:
            self.headroom_w = self.power_w
            self._base_load_w = load_w
        if self._until_start_ms == 0:
            self._waited_ms += dt_ms
        # Half of it is enough to tell the step from the load's own noise.
        self.step_seen = 2 * (load_w - self._base_load_w) >= self.power_w
        self._given_up = not self.step_seen and self._waited_ms >= HEADROOM_LATE_MS
        if self.step_seen or self._given_up:
            self.headroom_w = 0
