"""Leaving the grid when it fails, living without it, and going back to it: a table, its facts, and nothing else.

Conditions to go back: IEEE 1547-2018, table 5 (up to 500 kVA: 0.3 Hz, 10 %, 20 degrees) between both sides of the
tie; of the three the phase is the synchroniser's own affair, which closes only when asked to and in phase.
"""

from forerun_board.control.table import Machine

ROWS = (
    ("on_grid", "grid_lost", "", "parting", "open_tie"),
    ("parting", "tie_open", "may_form", "forming", "form"),
    ("parting", "tie_open", "", "dark", "wait"),
    ("parting", "tie_late", "", "dark", "stop"),
    ("forming", "alive", "", "island", "carry"),
    ("forming", "form_late", "", "dark", "stop"),
    ("island", "collapsed", "", "dark", "stop"),
    ("island", "grid_healthy", "", "syncing", "synchronise"),
    ("syncing", "collapsed", "", "dark", "stop"),
    ("syncing", "grid_lost", "", "island", "carry"),
    ("syncing", "in_step", "", "closing", "close_tie"),
    ("closing", "tie_closed", "", "on_grid", "follow"),
    ("closing", "tie_late", "", "parting", "open_tie"),
    ("dark", "grid_healthy", "tie_closed", "on_grid", "follow"),
    ("dark", "grid_healthy", "", "returning", "close_tie"),
    ("dark", "black_start_due", "may_form", "black_start", "form"),
    ("black_start", "alive", "", "island", "restore"),
    ("black_start", "form_late", "", "dark", "stop"),
    ("returning", "tie_closed", "", "on_grid", "follow"),
    ("returning", "tie_late", "", "dark", "stop"),
)

# Codes of its events, as on the wire.
ISLAND_FORMED = 30
ISLAND_LEFT = 31
ISLAND_DARK = 32
LOAD_SHED = 33
LOAD_RESTORED = 34

TIE_MS = 2000
FORM_MS = 10_000
COLLAPSED_MS = 500
BLACK_START_MS = 30_000  # all loads off and all inverters at rest before the bus is made live
SYNC_MILLIHZ = 300
SYNC_MV = 23_000
LOST_MS = 100
MAX_MS = 1 << 29


class Islanding:
    """`tie_wanted_open` opens the contactor to the grid; `forming` asks the inverter to be the grid; `synchronise`
    asks it to follow the grid's frequency and voltage.

    Set before each step: `grid_mv`, `grid_millihz` on the grid's side of the tie, `bus_mv`, `bus_millihz` on ours,
    `grid_known`, `bus_known` (whether these are measured), `tie_open` (its auxiliary contact), `may_form` (charge, no
    trip).
    """

    def __init__(self, nominal_mv=230_000, nominal_millihz=50_000, healthy_ms=60_000):
        self._machine = Machine(ROWS)
        self._nominal_mv = nominal_mv
        self._nominal_millihz = nominal_millihz
        self._wanted_healthy_ms = healthy_ms  # EN 50549-1:2019, 4.10.2: 60 s
        self.grid_mv = nominal_mv
        self.grid_millihz = nominal_millihz
        self.bus_mv = nominal_mv
        self.bus_millihz = nominal_millihz
        self.grid_known = True
        self.bus_known = True
        self.tie_open = False
        self.may_form = True
        self.tie_wanted_open = False
        self.forming = False
        self.synchronise = False
        self.shed_all = False
        self.grid_lost = self.grid_healthy = self.alive = self.collapsed = self.in_step = False
        self.tie_closed = self.tie_late = self.form_late = self.black_start_due = False
        self._lost_ms = 0
        self._healthy_ms = 0
        self._dead_ms = 0

    @property
    def state(self):
        """Name of the state, as in the table."""
        return self._machine.state

    def step(self, dt_ms, events):
        """Decide for this round; raises ISLAND_* on `events`."""
        self._find_facts(dt_ms)
        action = self._machine.step(self, dt_ms)
        if action is not None:
            self._act(action, events)

    def _find_facts(self, dt_ms):
        nominal_mv = self._nominal_mv
        in_state_ms = self._machine.state_ms + dt_ms
        dead = self.grid_known and self.grid_mv < nominal_mv // 2
        if not dead:
            self._lost_ms = 0
        elif self._lost_ms < MAX_MS:
            self._lost_ms += dt_ms
        self.grid_lost = self._lost_ms >= LOST_MS
        good = (
            self.grid_known
            and nominal_mv * 85 // 100 <= self.grid_mv <= nominal_mv * 110 // 100
            and self._nominal_millihz - 500 <= self.grid_millihz <= self._nominal_millihz + 200
        )
        if not good:
            self._healthy_ms = 0
        elif self._healthy_ms < MAX_MS:
            self._healthy_ms += dt_ms
        self.grid_healthy = self._healthy_ms >= self._wanted_healthy_ms
        self.alive = self.bus_known and self.bus_mv >= nominal_mv * 90 // 100
        dead_bus = self.bus_known and self.bus_mv < nominal_mv // 2
        if not dead_bus:
            self._dead_ms = 0
        elif self._dead_ms < MAX_MS:
            self._dead_ms += dt_ms
        self.collapsed = self._dead_ms >= COLLAPSED_MS
        self.in_step = (
            self.grid_known
            and self.bus_known
            and abs(self.grid_mv - self.bus_mv) <= SYNC_MV
            and abs(self.grid_millihz - self.bus_millihz) <= SYNC_MILLIHZ
        )
        self.tie_closed = not self.tie_open
        self.tie_late = in_state_ms >= TIE_MS
        self.form_late = in_state_ms >= FORM_MS
        self.black_start_due = self.tie_open and in_state_ms >= BLACK_START_MS

    def _act(self, action, events):
        self.synchronise = action == "synchronise" or action == "close_tie"
        if action == "open_tie":
            self.tie_wanted_open = True
            self._healthy_ms = 0  # a grid that was just lost, or could not be joined, has to prove itself again
        elif action == "form":
            self.forming = True
            self.shed_all = self.state == "black_start"
        elif action == "carry" or action == "restore":
            self.shed_all = False
            events.push(ISLAND_FORMED, self.bus_mv, self.bus_millihz)
        elif action == "close_tie":
            self.tie_wanted_open = False
        elif action == "follow":
            self.tie_wanted_open = False
            self.forming = False
            self.shed_all = False
            events.push(ISLAND_LEFT, self.grid_mv, self.grid_millihz)
        elif action == "stop" or action == "wait":
            self.forming = False
            self.tie_wanted_open = True
            self._healthy_ms = 0
            self.shed_all = True
            events.push(ISLAND_DARK, self.bus_mv, self._nominal_mv)


class Shedding:
    """`level`: how many groups of loads are off, the least important first, 0 to `groups`.

    A group goes when the rest of the charge, at the load there is, would last less than `margin_s`, or at once when
    the load is more than what can be given; it comes back when what it took fits again, with hysteresis and one at a
    time. `margin_s` is what the servers in a group need to be shut down in order: the group is told by `leaving`.
    """

    def __init__(self, groups, margin_s, back_ms=300_000):
        self._groups = groups
        self._margin_s = margin_s
        self._back_ms = back_ms
        self._calm_ms = 0
        self._over_ms = 0
        self._leaving_ms = 0
        self.level = 0
        self.leaving = 0  # number of the group that goes next, 0: none
        self.left_s = MAX_MS

    def shed_all(self):
        """Everything off, as for a black start."""
        self.level = self._groups
        self._calm_ms = 0

    def step(self, load_w, available_w, energy_wh, dt_ms, events):
        """`energy_wh` above the reserve (at most 250000), `available_w` what can be given now."""
        self.left_s = max(0, min(250_000, energy_wh)) * 3600 // max(1, load_w)
        self._over_ms = min(MAX_MS, self._over_ms + dt_ms) if load_w > available_w else 0
        short = self.left_s < 2 * self._margin_s
        self._calm_ms = 0 if short or load_w * 5 // 4 > available_w else min(MAX_MS, self._calm_ms + dt_ms)
        if self.level < self._groups and short:
            self.leaving = self.level + 1
            self._leaving_ms = min(MAX_MS, self._leaving_ms + dt_ms)
        else:
            self.leaving = 0
            self._leaving_ms = 0
        if self.level < self._groups and (self._over_ms >= 200 or self._leaving_ms >= 1000 * self._margin_s):
            self.level += 1
            self._over_ms = 0
            self._leaving_ms = 0
            events.push(LOAD_SHED, self.level, self.left_s)
        elif self.level > 0 and self._calm_ms >= self._back_ms and self.left_s >= 4 * self._margin_s:
            self.level -= 1
            self._calm_ms = 0
            events.push(LOAD_RESTORED, self.level, self.left_s)
