"""When the diesel set starts, how long it runs, and when it may not: a table, its facts, and nothing else.

The set's own panel guards the engine; this decides what the start contact says and what is asked of the battery so
that the engine is never idling under load it does not have.
"""

from forerun_board.control.persistence import Persistence
from forerun_board.control.table import Machine

ROWS = (
    ("off", "must_start", "startable", "cranking", "crank"),
    ("off", "may_start", "startable", "cranking", "crank"),
    ("cranking", "called_off", "", "off", "stop"),
    ("cranking", "turning", "", "warming", "started"),
    ("cranking", "crank_over", "tries_left", "resting", "rest"),
    ("cranking", "crank_over", "", "locked", "lock_out"),
    ("resting", "called_off", "", "off", "stop"),
    ("resting", "rest_over", "", "cranking", "crank"),
    ("locked", "released", "", "off", "stop"),
    ("warming", "blocked", "", "off", "stop"),
    ("warming", "stalled", "tries_left", "resting", "rest"),
    ("warming", "stalled", "", "locked", "lock_out"),
    ("warming", "warm", "", "running", "load"),
    ("running", "blocked", "", "off", "stop"),
    ("running", "stalled", "tries_left", "resting", "rest"),
    ("running", "stalled", "", "locked", "lock_out"),
    ("running", "max_run_over", "", "cooling", "unload"),
    ("running", "underloaded", "", "cooling", "unload"),
    ("running", "may_stop", "min_run_over", "cooling", "unload"),
    ("cooling", "blocked", "", "off", "stop"),
    ("cooling", "must_start", "rested", "running", "load"),
    ("cooling", "cool", "", "off", "stop"),
    ("cooling", "stalled", "", "off", "stop"),
)

# Codes of its events, as on the wire.
GENSET_STARTED = 26
GENSET_START_FAILED = 27
GENSET_LOCKED_OUT = 28
GENSET_STOPPED = 29

# Why it started, in the order in which they are asked.
REASON_NONE = 0
REASON_VOLTAGE = 1
REASON_SOC = 2
REASON_LOAD = 3
REASON_PLAN = 4
REASON_EXERCISE = 5

CRANK_MS = 20_000
REST_MS = 30_000
STALL_MS = 3000
UNDERLOAD_MS = 600_000  # half-burnt fuel is a matter of hours, not of a passing cloud
FUEL_MS = 30_000  # a float that dances stops the engine once, and not at each of its moves
FILL_MS = 4000
DUMP_MS = 4000  # from then on it is known what a dump load takes: the set's meter is read once a second
SPARE_MS = 10_000  # so long its load has to do without the dump before it opens
DUMP_AGAIN_MS = 600_000  # what it takes may have been mistaken for what the servers do: looked at again
# Load and PV are sums of readings that are not of the same moment: a set that takes load makes them jump for a second.
LOAD_MS = 10_000  # a load above the threshold for less than this does not start an engine, nor does a gap end a run
COVER_MS = 10_000
WEAK_MS = 2_000  # a dip is no reason to crank; a grid that is lost is one at once
MAX_MS = 1 << 29
EXERCISE_MS = 1_200_000
HOUR_MS = 3_600_000
TURNING_MIN_MILLIHZ = 40_000


class GensetControl:
    """`start` is the contact; `loadable` whether the set may be given load; `charge_w` >= 0 what the battery should
    take to keep the engine at its least load; `dump` whether that has to go to a dump load.

    Set before each step: `turning` (its frequency or voltage is there), `power_w` (what it gives; < 0: not known),
    `soc_permille`, `load_w`, `grid_good` (the grid could carry the site), `grid_weak` (its voltage is not in range),
    `plan` (the host wants it), `pv_covers` (PV and battery carry the load), `quiet` (hours of the night),
    `fuel_permille` (< 0: not known), `charge_free_w` (what the battery can still take), `dump_there`, `trip`, `release`
    (somebody at the set).
    """

    def __init__(self, config):
        self._config = config
        self._machine = Machine(ROWS)
        self.turning = False
        self.power_w = 0
        self.soc_permille = 500
        self.load_w = 0
        self.grid_good = True
        self.grid_weak = False
        self.plan = False
        self.pv_covers = False
        self.quiet = False
        self.fuel_permille = -1
        self.charge_free_w = 0
        self.dump_there = False
        self.trip = False
        self.release = False
        self.start = False
        self.loadable = False
        self.charge_w = 0
        self.dump = False
        self.reason = REASON_NONE
        self.tries = 0
        self.run_s = 0  # of this run, load or not
        self.exercise_s = 0  # of all exercise runs: reported apart, nobody should call them backup
        self.total_s = 0
        # Facts of the table.
        self.must_start = self.may_start = self.startable = self.called_off = self.crank_over = False
        self.tries_left = self.rest_over = self.released = self.blocked = self.stalled = self.warm = False
        self.max_run_over = self.underloaded = self.may_stop = self.min_run_over = self.rested = self.cool = False
        self._silent_ms = 0
        self._light_ms = 0
        self._dry_ms = 0  # until a tank that was empty is believed not to be
        self._dump_ms = self._spare_ms = 0  # since the dump closed; since nobody needs it any more
        self._before_w = self._dump_w = 0  # what the set gave before it closed; what it takes
        self._heavy = Persistence(LOAD_MS, LOAD_MS)
        self._covered = Persistence(COVER_MS, COVER_MS)
        self._weak = Persistence(WEAK_MS, WEAK_MS)
        self._second_ms = 0
        self._idle_ms = 0  # since it last ran: what exercise counts
        self._idle_h = 0
        self._max_run_hit = False

    @property
    def state(self):
        """Name of the state, as in the table."""
        return self._machine.state

    def step(self, dt_ms, events):
        """Decide for this round; raises GENSET_* on `events`."""
        self._find_facts(dt_ms)
        action = self._machine.step(self, dt_ms)
        if action is not None:
            self._act(action, events)
        self._count(dt_ms)
        self._fill_load(dt_ms)

    def _find_facts(self, dt_ms):
        config = self._config
        state = self._machine.state
        in_state_ms = self._machine.state_ms + dt_ms
        self._heavy.step(self.load_w > config.genset_start_load_w > 0, dt_ms)
        self._covered.step(self.pv_covers, dt_ms)
        self._weak.step(self.grid_weak, dt_ms)
        covered = self._covered.active
        voltage = self._weak.active or not self.grid_good
        soc = self.soc_permille <= config.genset_start_soc_permille
        load = self._heavy.active
        exercise = self._idle_h >= config.genset_exercise_h > 0
        self.must_start = voltage or soc
        self.may_start = (load or self.plan or exercise) and not self.quiet and not covered
        self._dry_ms = FUEL_MS if self.fuel_permille == 0 else max(0, self._dry_ms - dt_ms)
        self.startable = not self.trip and self._dry_ms == 0
        if state == "off":
            if voltage:
                self.reason = REASON_VOLTAGE
            elif soc:
                self.reason = REASON_SOC
            elif load:
                self.reason = REASON_LOAD
            elif self.plan:
                self.reason = REASON_PLAN
            else:
                self.reason = REASON_EXERCISE
        self.blocked = not self.startable
        self.called_off = self.blocked or not (self.must_start or self.may_start)
        self.crank_over = in_state_ms >= CRANK_MS
        self.rest_over = in_state_ms >= REST_MS
        self.tries_left = self.tries < config.genset_tries
        self.released = self.release
        self._silent_ms = 0 if self.turning else min(MAX_MS, self._silent_ms + dt_ms)
        self.stalled = self._silent_ms >= STALL_MS
        self.warm = in_state_ms >= 1000 * config.genset_warm_up_s
        self.cool = in_state_ms >= 1000 * config.genset_cool_down_s
        self.rested = not self._max_run_hit
        self.min_run_over = self.run_s >= config.genset_min_run_s
        self.max_run_over = self.run_s >= config.genset_max_run_s
        # Beside a good grid neither battery nor dump can load it: what they take comes from the grid.
        # An exercise is short enough to go without load.
        light = self.grid_good and 0 <= self.power_w < config.genset_min_load_w and self.reason != REASON_EXERCISE
        light = light and state == "running"
        self._light_ms = min(MAX_MS, self._light_ms + dt_ms) if light else 0
        self.underloaded = self._light_ms >= UNDERLOAD_MS
        self.may_stop = self._goal_reached(in_state_ms)

    def _goal_reached(self, in_state_ms):
        """What it was started for is over: the grid is back, the charge is there, PV covers, the plan ended."""
        config = self._config
        if self.must_start:
            return False
        if self.reason == REASON_EXERCISE:
            return in_state_ms >= EXERCISE_MS
        if self.reason == REASON_SOC:
            full = min(config.genset_stop_soc_permille, config.soc_max_permille)  # more will not come
            return self.soc_permille >= full or self._covered.active
        return self._covered.active or not self.may_start

    def _act(self, action, events):
        if action == "crank":
            self.tries += 1
            self.start = True
            self._silent_ms = 0
        elif action == "rest":
            self.start = False
            self.loadable = False
            events.push(GENSET_START_FAILED, self.tries, self._config.genset_tries)
        elif action == "lock_out":
            self.start = False
            self.loadable = False
            events.push(GENSET_LOCKED_OUT, self.tries, self._config.genset_tries)
        elif action == "started":
            self.run_s = 0
            self._max_run_hit = False
            events.push(GENSET_STARTED, self.reason, self.tries)
        elif action == "load":
            self.loadable = True
        elif action == "unload":
            self.tries = 0
            self.loadable = False
            self._max_run_hit = self.max_run_over
        else:
            if self.run_s > 0 or self.released:  # 0 s: somebody has taken the lock-out back
                events.push(GENSET_STOPPED, self.run_s, self.reason)
            self.start = False
            self.loadable = False
            self.tries = 0
            self.run_s = 0

    def _count(self, dt_ms):
        state = self._machine.state
        if state == "warming" or state == "running" or state == "cooling":
            self._idle_ms = 0
            self._idle_h = 0
            self._second_ms += dt_ms
            seconds = self._second_ms // 1000
            self._second_ms %= 1000
            self.run_s = min(MAX_MS, self.run_s + seconds)
            self.total_s = min(MAX_MS, self.total_s + seconds)
            if self.reason == REASON_EXERCISE:
                self.exercise_s = min(MAX_MS, self.exercise_s + seconds)
        else:
            self._idle_ms += dt_ms
            self._idle_h = min(MAX_MS, self._idle_h + self._idle_ms // HOUR_MS)
            self._idle_ms %= HOUR_MS

    def _fill_load(self, dt_ms):
        """Ask the battery, else the dump, for what the engine lacks to its least load.

        Slowly, because its power is measured once a second, and up to a bit more, because loads move.
        """
        if self._machine.state != "running" or self.power_w <= 0:
            self.charge_w = 0
            self.dump = False
            return
        least_w = self._config.genset_min_load_w
        own_w = self._without_dump_w(dt_ms)
        lacking_w = least_w + (least_w >> 4) - own_w
        wanted_w = self.charge_w + (lacking_w * min(dt_ms, FILL_MS // 2) + FILL_MS // 2) // FILL_MS
        self.charge_w = max(0, min(wanted_w, self.charge_free_w))
        needed = lacking_w > 0 and wanted_w > self.charge_w
        self._spare_ms = 0 if needed else min(MAX_MS, self._spare_ms + dt_ms)
        if not self.dump:
            self._before_w = self.power_w
            self._dump_ms = self._dump_w = 0
            self.dump = needed and self.dump_there
        elif self._spare_ms >= SPARE_MS or own_w > 2 * least_w or self._dump_ms >= DUMP_AGAIN_MS:
            self.dump = False

    def _without_dump_w(self, dt_ms):
        """What the set gives to servers and battery. A dump takes what it gave more just after the dump closed."""
        if not self.dump:
            return self.power_w
        self._dump_ms += dt_ms
        if self._dump_ms <= DUMP_MS:
            self._dump_w = max(0, self.power_w - self._before_w)
            return self._before_w
        return self.power_w - self._dump_w
