"""What the host may ask of the board: each operation checks its arguments, acts, and says what came of it."""

from forerun_board.control.events import COMMAND_REFUSED
from forerun_board.control.plan import CAPACITY, DURATION_MAX_S, START_MAX_S
from forerun_wire import messages as m

POWER_LIMIT_W = 1_000_000
LEASE_MIN_MS = 100
LEASE_MAX_MS = 86_400_000
PREPARE_MAX_S = 86_400
ID_MAX = 1 << 29

REASON_COMMAND = 0
TEMPERATURE_MS = 120_000  # as the functions have it: a sensor silent for longer than this is lost
INVERTER_KIND = 60  # setting


class Commands:
    """`execute(op, args, role)` -> (code, results). It acts on the controller and the settings of `board`."""

    def __init__(self, board):
        self._board = board
        self._refusal = 0
        self._operations = {
            m.INFO: self._info,
            m.SETPOINT: self._setpoint,
            m.PLAN_POINTS: self._plan_points,
            m.PLAN_COMMIT: self._plan_commit,
            m.PLAN_CLEAR: self._plan_clear,
            m.PREPARE: self._prepare,
            m.SETTINGS_GET: self._settings_get,
            m.SETTINGS_SET: self._settings_set,
            m.SITE_TIME: self._site_time,
            m.CURVE_SET: self._curve_set,
        }

    def execute(self, op, args, role):
        """(code, list of results): 0 and what the operation gives, or why not, in one sentence. `role`: what who asks
        has shown to be allowed. A refusal changes nothing and is an event; the same again and again is one."""
        code, results = self._execute(op, args, role)
        refusal = 0 if code in (m.DONE, m.BUSY) else 16 * op + code
        if refusal and refusal != self._refusal:
            self._board.controller.events.push(COMMAND_REFUSED, op, code)
        self._refusal = refusal
        return code, results

    def _execute(self, op, args, role):
        if op >= len(m.OP_ROLES):
            return m.UNKNOWN_OP, ["this board does not know operation %d" % op]
        if role < m.OP_ROLES[op]:
            return m.NOT_ALLOWED, ["operation %d needs a key of this board for role %d" % (op, m.OP_ROLES[op])]
        if m.MAINTENANCE <= op <= m.UPDATE_STATUS:
            return self._board.updating().execute(op, args)
        if m.KEY_SET <= op <= m.KEY_CONFIRM:
            from forerun_board import keys

            return keys.execute(self._board, op, args)
        operation = self._operations.get(op)
        if operation is None:
            return m.UNKNOWN_OP, ["this board does not know operation %d" % op]
        for arg in args:
            if not isinstance(arg, int) or arg is True or arg is False:
                return m.MALFORMED, ["all arguments of operation %d are integers" % op]
        return operation(args)

    def _info(self, args):
        board = self._board
        known = board.image.temperature_age_ms <= TEMPERATURE_MS
        return m.DONE, [
            board.hal.board,
            board.hal.interpreter,
            board.cycle.heap_free,
            board.clock.s,
            board.image.period_ms,
            board.boot_count,
            board.settings.crc(),
            board.hal.reset_cause(),
            board.cycle.worst_us,
            board.cycle.worst_late_us,
        ] + ([board.image.cell_decic] if known else [])

    def _setpoint(self, args):
        if len(args) < 3:
            return _wants("setpoint", "mode, value_w and lease_ms")
        mode, value_w, lease_ms = args[0], args[1], args[2]
        objection = _power_objection(mode, value_w)
        if objection:
            return m.OUT_OF_RANGE, [objection]
        if not LEASE_MIN_MS <= lease_ms <= LEASE_MAX_MS:
            return m.OUT_OF_RANGE, ["lease_ms = %d is outside %d to %d" % (lease_ms, LEASE_MIN_MS, LEASE_MAX_MS)]
        lease = self._board.controller.lease
        if lease.remaining_ms == 0 or lease.mode != mode or lease.value_w != value_w:
            self._board.note_acted(m.SETPOINT, mode, value_w, REASON_COMMAND)  # renewals say nothing new
        lease.grant(mode, value_w, lease_ms)
        return m.DONE, []

    def _plan_points(self, args):
        if len(args) < 5 or (len(args) - 2) % 3:
            return _wants("plan_points", "plan_id, first_index and triples of duration_s, mode, value_w")
        plan_id, first = args[0], args[1]
        count = (len(args) - 2) // 3
        if not 0 <= plan_id <= ID_MAX:
            return m.OUT_OF_RANGE, ["plan_id = %d is outside 0 to %d" % (plan_id, ID_MAX)]
        if first < 0 or first + count > CAPACITY:
            return m.OUT_OF_RANGE, ["a plan has at most %d segments" % CAPACITY]
        for i in range(2, len(args), 3):
            if not 1 <= args[i] <= DURATION_MAX_S:
                return m.OUT_OF_RANGE, ["duration_s = %d is outside 1 to %d" % (args[i], DURATION_MAX_S)]
            objection = _power_objection(args[i + 1] & ~m.WITH_SET, args[i + 2])
            if objection:
                return m.OUT_OF_RANGE, [objection]
        plan = self._board.controller.plan
        for i in range(count):
            plan.gather(plan_id, first + i, args[2 + 3 * i], args[3 + 3 * i], args[4 + 3 * i])
        return m.DONE, []

    def _plan_commit(self, args):
        if len(args) < 3:
            return _wants("plan_commit", "plan_id, count and start_uptime_s")
        plan_id, count, start_s = args[0], args[1], args[2]
        if not 1 <= count <= CAPACITY:
            return m.OUT_OF_RANGE, ["count = %d is outside 1 to %d" % (count, CAPACITY)]
        elapsed_s = self._board.clock.s - start_s
        if not -START_MAX_S <= elapsed_s <= START_MAX_S:
            return m.OUT_OF_RANGE, ["the plan starts more than %d s from now" % START_MAX_S]
        plan = self._board.controller.plan
        if not plan.complete(plan_id, count):
            return m.WRONG_STATE, ["not all %d segments of plan %d have arrived" % (count, plan_id)]
        if elapsed_s >= plan.duration_s(count):
            return m.OUT_OF_RANGE, ["the plan ended %d s ago" % (elapsed_s - plan.duration_s(count))]
        plan.commit(plan_id, count, elapsed_s)
        self._board.note_acted(m.PLAN_COMMIT, 0, plan_id, REASON_COMMAND)
        return m.DONE, []

    def _plan_clear(self, args):
        self._board.controller.plan.clear()
        self._board.note_acted(m.PLAN_CLEAR, 0, 0, REASON_COMMAND)
        return m.DONE, []

    def _prepare(self, args):
        if len(args) < 3:
            return _wants("prepare", "power_w, start_in_s and duration_s")
        power_w, start_in_s, duration_s = args[0], args[1], args[2]
        if not -POWER_LIMIT_W <= power_w <= POWER_LIMIT_W:
            return m.OUT_OF_RANGE, ["power_w = %d is outside ±%d" % (power_w, POWER_LIMIT_W)]
        if not (0 <= start_in_s <= PREPARE_MAX_S and 1 <= duration_s <= PREPARE_MAX_S):
            return m.OUT_OF_RANGE, ["start_in_s and duration_s go up to %d s" % PREPARE_MAX_S]
        controller = self._board.controller
        controller.prepare.start(power_w, start_in_s, duration_s, controller.events)
        return m.DONE, []

    def _settings_get(self, args):
        settings = self._board.settings
        for key in args:
            if settings.get(key) is None:
                return m.OUT_OF_RANGE, ["there is no setting with key %d" % key]
        return m.DONE, [settings.get(key) for key in args]

    def _settings_set(self, args):
        if not args or len(args) % 2:
            return _wants("settings_set", "pairs of key and value")
        objection = self._board.settings.objection(args)
        for i in range(0, len(args), 2):
            if not objection and args[i] == INVERTER_KIND and args[i + 1] == 1:
                from forerun_board.described import map_objection

                objection = map_objection(self._board.hal.store)
        if objection:
            return m.OUT_OF_RANGE, [objection]
        self._board.change_settings(args)
        return m.DONE, []


    def _site_time(self, args):
        if len(args) < 1 or not 0 <= args[0] < 86_400:
            return m.OUT_OF_RANGE, ["site_time takes the second of the local day, 0 to 86399"]
        board = self._board
        board.controller.day_offset_s = (args[0] - board.clock.s) % 86_400
        return m.DONE, []

    def _curve_set(self, args):
        if not args or not 0 <= args[0] <= 3:
            return m.OUT_OF_RANGE, ["curve_set takes the curve, 0 to 3, and its points"]
        from forerun_board.control.grid_support import curve_objection

        objection = curve_objection(args[0], args[1:]) if len(args) > 1 else None
        if objection:
            return m.OUT_OF_RANGE, [objection]
        from forerun_board.described import keep_curve

        keep_curve(self._board.hal.store, args[0], args[1:])
        self._board.recommission()
        return m.DONE, []


def _wants(operation, arguments):
    return m.MALFORMED, ["%s takes %s" % (operation, arguments)]


def _power_objection(mode, value_w):
    if mode not in (m.HOLD_BATTERY, m.HOLD_PCC):
        return "mode = %d is neither 0, hold_battery, nor 1, hold_pcc" % mode
    if not -POWER_LIMIT_W <= value_w <= POWER_LIMIT_W:
        return "value_w = %d is outside ±%d" % (value_w, POWER_LIMIT_W)
    return None
