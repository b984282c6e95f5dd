"""One decision: from the frozen process image to a setpoint, and the name of the limit that bound it."""

from forerun_board.control import events as ev
from forerun_board.control import image as im
from forerun_board.control import window as win
from forerun_board.control.config import FALLBACK_SELF_CONSUMPTION, SENSOR_PULSE
from forerun_board.control.events import EventRing
from forerun_board.control.export_hold import ExportHold
from forerun_board.control.freshness import Freshness
from forerun_board.control.frozen import Frozen
from forerun_board.control.interlock import Interlock
from forerun_board.control.lease import HOLD_PCC, Lease
from forerun_board.control.persistence import Persistence
from forerun_board.control.plan import Plan
from forerun_board.control.prepare import Prepare
from forerun_board.control.ramp import Ramp
from forerun_board.control.trim import Trim
from forerun_board.control.window import Window

# States, as on the wire.
STARTING = 0
IDLE = 1
PLANNED = 2
LEASED = 3
FALLBACK = 4
PREPARING = 5
FAULTED = 6
GRID_DOWN = 7

# Bits of `faults`.
FAULT_TRIP = 1
FAULT_DOOR = 2
FAULT_PCC_METER = 4
FAULT_INVERTER = 8
FAULT_BATTERY = 16
FAULT_PV_METER = 32
FAULT_GENSET_METER = 64
FAULT_HOST_LOST = 128
FAULT_IMPORT_LIMIT = 256
FAULT_WATCHDOG = 512  # set by the round, which knows what the inverter confirmed

OUTPUT_TRIP = 1
OUTPUT_GENSET_START = 2
OUTPUT_HEATER = 4
OUTPUT_FAN = 8
OUTPUT_DUMP = 16
OUTPUT_TIE_OPEN = 32
OUTPUT_FORM = 64  # the inverter is asked to be the grid behind the open contactor
OUTPUT_SYNCHRONISE = 128  # and to follow the grid's voltage and frequency, before the contactor closes
OUTPUT_SHED_SHIFT = 8  # from here on: one contact for each of three groups of loads, closed = off
OUTPUT_PV_SHIFT = 16  # from here on: what PV has to hold back, in tenths of its rating

SOC_HYSTERESIS_PERMILLE = 10
GRID_LOST_MV = 115_000  # half of 230 V: no dip that a grid-following inverter should ride through lasts here
GRID_BACK_MV = 195_500
GRID_LOST_MS = 100
GRID_BACK_MS = 3000
FROZEN_MS = 2000
LIMIT_MS = 1000  # an import above its limit for longer than this is an event, and so is its end
HURRY_MS = 250  # by then an inverter has answered
HURRIED_MS = 400  # a round on a slow line; in longer ones it has answered before anybody looks again
SLOW_LINE_MS = 80  # rounds longer than this read inverter and meter tens of ms apart
MOVING_MS = 150  # after an order an inverter is under way for at most so long
PRESSING_W = 500  # what a load's own noise does not reach
RAMP_OPEN_W_PER_S = 1_000_000
_ORDER = -1  # the PCC is held where a lease, the plan or the fallback wants it
SUBMETER_INTERVAL_MS = 1000  # how often the round reads the meters that no limit depends on


class Controller:
    """The decision chain and its state. `step(image)` leaves its result in the attributes below; it allocates nothing.

    Stages, highest priority first: trip and door, stale PCC meter, battery (BMS), state of charge, grid lost, import
    limit, export limit; then the wanted power (lease, plan or fallback), held back by the ramp and put into the window.
    """

    def __init__(self, config):
        self.config = config
        self.events = EventRing()
        self.lease = Lease()
        self.plan = Plan()
        self.prepare = Prepare()
        self.window = Window()
        self.setpoint_w = 0  # active_power_w to command; only when `command`
        self.command = False  # False: the inverter is lost, its own watchdog acts
        self.wake = False  # the inverter sleeps and is wanted
        self.bound_by = win.BOUND_NONE
        self.state = STARTING
        self.faults = 0
        self.outputs = 0
        self.load_w = 0
        self.load_known = False
        self.pv_w = 0  # 0 also when it is not known
        self.genset_w = -1  # -1: not known
        self.reactive_var = 0  # > 0 injects
        self.pv_permille = 1000  # of its rating: what PV may feed in
        self.held_import_w = 0  # the import that is held: margin and headroom below the limit
        self.day_offset_s = -1  # second of the local day when the board started; -1: nobody has said
        self.meter = Freshness(ev.METER_STALE, ev.METER_BACK)
        self.inverter = Freshness(ev.INVERTER_LOST, ev.INVERTER_BACK)
        self.battery = Freshness(ev.BATTERY_STALE, ev.BATTERY_BACK)
        self.host = Freshness(ev.HOST_LOST, ev.HOST_BACK)
        self.interlock = Interlock()
        self.export_hold = ExportHold()
        self.commission(None)
        self._frozen = Frozen(FROZEN_MS)
        self._ramp = Ramp()
        self._import_trim = Trim()
        self._export_trim = Trim()
        self._hold_trim = Trim()
        self._grid_lost = Persistence(GRID_LOST_MS, GRID_BACK_MS)
        self._over_limit = Persistence(LIMIT_MS, LIMIT_MS)
        self._heard = False  # whether this round knows more of the import than the one before
        self._import_w = 0
        self._metered_w = 0  # PCC import and inverter together when the meter was read last
        self._net_w = 0  # what the inverter would have to give for zero import, as of then
        self._hurry_ms = 0
        self._order_ms = 0  # since the setpoint was another one
        self._empty = False
        self.full = False  # no charge until the charge is clearly off its upper bound
        self._was_running = False
        self._source = FALLBACK
        self._holds_pcc = False
        self._held_pcc_w = 0
        self._regulated = 0  # what the PCC was held at by the setpoint before: an import or export limit, an order

    def commission(self, functions):
        """What is there beyond this chain from now on: Functions, or None."""
        self.functions = functions
        self.pv_permille = 1000
        self.reactive_var = 0

    def step(self, image):
        """Decide for this round."""
        dt_ms = image.dt_ms
        self._order_ms = min(self._order_ms + dt_ms, im.AGE_MAX_MS)
        self._judge_sources(image, dt_ms)
        self._watch_grid(image, dt_ms)
        self.interlock.step(image.inputs, image.now_s, dt_ms, self.events)
        if self.interlock.latched:
            self.faults |= FAULT_TRIP
        running = image.inverter_state == im.INVERTER_RUNNING and not self.inverter.stale
        if running and not self._was_running:
            self.events.push(ev.INVERTER_AWAKE, image.active_power_w, 0)
        self._was_running = running
        lead_ms = 1000 * (self.prepare.power_w // self.config.ramp_w_per_s + 1)
        self.prepare.soc_permille = image.soc_permille
        self.prepare.reserve_permille = self.config.surge_reserve_permille
        self.prepare.step(dt_ms, running, self.load_w, lead_ms, self.events)
        if self.functions is not None:
            self.functions.step(self, image, dt_ms)
        if self._grid_lost.active or image.inputs & im.INPUT_TIE_OPEN:
            self.export_hold.release()
        elif not self.meter.stale:
            export_w = self.config.export_limit_w - self.config.export_margin_w
            self.export_hold.step(image.pcc_import_w, export_w, self.pv_w, dt_ms)

        self._open_window(image, self._net_w, running)
        wanted_w = self._wanted_w(dt_ms, self._net_w)
        previous_w = 0
        if running:
            previous_w = self.setpoint_w if image.commanded else image.active_power_w
        self._ramp.step(RAMP_OPEN_W_PER_S if self.prepare.ramp_open else self.config.ramp_w_per_s, dt_ms)
        ramp_w = self._ramp.step_w
        self.window.narrow(
            previous_w - ramp_w, previous_w + ramp_w, win.BOUND_RAMP if running else win.BOUND_INVERTER
        )
        given_w = self.setpoint_w
        self.setpoint_w = self.window.clamp(wanted_w)
        self.bound_by = self.window.bound_by
        if self.setpoint_w != given_w:
            self._order_ms = 0

        self.command = not self.inverter.stale
        if not self.command:
            self.setpoint_w = 0
            self.bound_by = win.BOUND_INVERTER
        asleep = image.inverter_state == im.INVERTER_ASLEEP
        held = self.faults & (FAULT_TRIP | FAULT_DOOR) or self._grid_lost.active
        self.wake = self.command and not held and (self.prepare.active or (asleep and self.setpoint_w != 0))
        if self._heard:
            self._trim(image, dt_ms, running)
        self._watch_limit(image, dt_ms)
        self._conclude(image)

    def _judge_sources(self, image, dt_ms):
        """Stale is judged against three rounds at least, so that a stretched round is not a fault."""
        limit_ms = slow_ms = self.config.stale_ms
        three_ms = 3 * image.period_ms
        if three_ms > limit_ms:
            limit_ms = three_ms
        if three_ms < 3 * SUBMETER_INTERVAL_MS:
            three_ms = 3 * SUBMETER_INTERVAL_MS
        if three_ms > slow_ms:
            slow_ms = three_ms
        self.pv_w = image.pv_w if image.pv_age_ms <= slow_ms else 0
        self.genset_w = image.genset_w if image.genset_age_ms <= slow_ms else -1
        self.meter.step(image.pcc_age_ms, limit_ms, dt_ms, self.events)
        # A meter that the site is not connected to, or that a set stands in for, shows nothing of what moves on it.
        tie_open = image.inputs & im.INPUT_TIE_OPEN
        apart = tie_open or (self.genset_w > 0 and image.pcc_import_w == 0)
        measured = image.pcc_age_ms == 0 and image.pcc_voltage_mv > 0 and not apart
        if measured and self._frozen.step(image, dt_ms, 1000 * self.config.meter_freeze_s):
            code = ev.METER_FROZEN if self._frozen.active else ev.METER_MOVING
            self.events.push(code, self._frozen.moved_w, image.pcc_import_w)
        if self._frozen.active:
            self.meter.stale = True  # it answers, but does not measure
        self.inverter.step(image.inverter_age_ms, limit_ms, dt_ms, self.events)
        self.battery.step(image.battery_age_ms, slow_ms, dt_ms, self.events)
        host_ms = max(self.config.host_lost_ms, 3 * image.period_ms)
        self.host.step(image.host_age_ms, host_ms, dt_ms, self.events)

        faults = 0
        # A reading of before stands beside the inverter's power of then: beside that of now, it would be acted on in
        # each round again, further every time. What analogue channels tell between readings is another import.
        import_w = self._import_w
        self._heard = image.pcc_age_ms == 0 or image.pcc_import_w != import_w
        self._import_w = image.pcc_import_w
        if self._heard:
            self._find_net(image, import_w)
        # Nothing flows through an open contactor, whatever was measured before it opened.
        self.load_w = image.active_power_w if tie_open else self._metered_w
        self.load_known = not (self.inverter.stale or (self.meter.stale and not tie_open))
        if image.inputs & im.INPUT_FAST_TRIP:
            faults |= FAULT_TRIP
        if image.inputs & im.INPUT_DOOR:
            faults |= FAULT_DOOR
        if self.meter.stale:
            faults |= FAULT_PCC_METER
        if self.inverter.stale:
            faults |= FAULT_INVERTER
        if self.battery.stale:
            faults |= FAULT_BATTERY
        if self.config.pv_meter_unit != 0 or self.config.sensors & SENSOR_PULSE:
            if image.pv_age_ms > slow_ms:
                faults |= FAULT_PV_METER
            else:
                self.load_w += self.pv_w
        if self.config.genset_meter_unit != 0:
            if image.genset_age_ms > slow_ms:
                faults |= FAULT_GENSET_METER
            else:
                self.load_w += self.genset_w
        if self.host.stale:
            faults |= FAULT_HOST_LOST
        self.faults = faults

    @property
    def grid_down(self):
        """Whether the PCC is without voltage."""
        return self._grid_lost.active

    def _watch_grid(self, image, dt_ms):
        if self.meter.stale:
            return  # unknown: stays what it was
        threshold_mv = GRID_BACK_MV if self._grid_lost.active else GRID_LOST_MV
        if self._grid_lost.step(image.pcc_voltage_mv < threshold_mv, dt_ms):
            code = ev.GRID_LOST if self._grid_lost.active else ev.GRID_BACK
            self.events.push(code, image.pcc_voltage_mv, threshold_mv)

    def _find_net(self, image, before_w):
        """What the inverter would have to give for zero import; before_w: the import known in the round before.

        Where the inverter was not heard it has gone some of the way to its setpoint, from where it was in the round
        before: the load counts as unchanged if that explains the import, else as changed by no more than it must.
        """
        import_w = image.pcc_import_w
        running = image.inverter_state == im.INVERTER_RUNNING and not self.inverter.stale
        if image.inverter_age_ms == 0:
            self._net_w = import_w + self._active_w(image, running)
            self._metered_w = import_w + image.active_power_w
            return
        least_w = most_w = self._net_w - before_w
        under_way = self._order_ms - image.inverter_age_ms < MOVING_MS
        if running and image.commanded and under_way:
            least_w = min(least_w, self.setpoint_w)
            most_w = max(most_w, self.setpoint_w)
        self._net_w = max(import_w + least_w, min(import_w + most_w, self._net_w))
        self._metered_w = self._net_w

    def _active_w(self, image, running):
        """The inverter's power when the meter was read. On a slow line it has gone where it was told by then, if it was
        still under way when it was read itself."""
        period_ms = image.period_ms
        since_ms = self._order_ms - image.inverter_age_ms  # less than a round: the order was one before its time
        if running and image.commanded and period_ms > SLOW_LINE_MS and 0 <= since_ms < min(MOVING_MS, period_ms - 10):
            return self.setpoint_w
        return image.active_power_w

    def _open_window(self, image, net_w, running):
        """The permitted power before the ramp, stage by stage."""
        config = self.config
        window = self.window
        window.open()
        if self.faults & (FAULT_TRIP | FAULT_DOOR):
            window.narrow(0, 0, win.BOUND_TRIP)
        if self.meter.stale:
            window.narrow(0, 0, win.BOUND_METER_STALE)
        if self.battery.stale:
            window.narrow(0, 0, win.BOUND_BATTERY)
        else:
            window.narrow(
                -min(config.charge_max_w, image.charge_max_w),
                min(config.discharge_max_w, image.discharge_max_w),
                win.BOUND_BATTERY,
            )
            self._narrow_to_charge(image.soc_permille)
            if self.functions is not None:
                self.functions.narrow_battery(window)
        if self._grid_lost.active:
            least_w = 0 if self.functions is None else -self.functions.charge_w
            window.narrow(least_w, least_w, win.BOUND_GRID_LOST)  # what a diesel set lacks to its least load
        self._find_held_import()
        held_w = self.held_import_w
        needed_w = net_w - held_w + self._import_trim.trim_w
        over = running and image.pcc_import_w > held_w
        self._hurry_ms = min(self._hurry_ms + image.dt_ms, 4 * HURRY_MS) if over else 0
        hurry_ms = HURRY_MS
        if image.period_ms <= HURRIED_MS:
            hurry_ms = max(HURRY_MS, 2 * image.period_ms)
        if over and self._hurry_ms <= hurry_ms:
            needed_w = self._hurried_w(needed_w, image, held_w)
        window.narrow(needed_w, win.WIDEST_W, win.BOUND_IMPORT_LIMIT)
        export_w = config.export_limit_w - config.export_margin_w
        window.narrow(-win.WIDEST_W, net_w + export_w + self._export_trim.trim_w, win.BOUND_EXPORT_LIMIT)
        if self.functions is not None:
            self.functions.narrow_grid(window)

    def _hurried_w(self, needed_w, image, held_w):
        """What is asked for just after the import rose above its limit: needed_w, and what makes an inverter get there
        sooner. In rounds longer than an inverter's answer there is nothing to hurry.

        The meter was read later than the inverter, which may have moved meanwhile, so that too little seems to be
        needed: nothing is taken back that is still under way, all of it where the inverter was read before the order
        was given. And who lags behind his setpoint is there sooner if it is set further: by a quarter of the way that
        is left, never so far that it could export.
        """
        active_power_w = image.active_power_w
        if image.inverter_age_ms > 0:
            active_power_w = self._metered_w - image.pcc_import_w
        hurried_w = needed_w + max(0, min((needed_w - active_power_w) // 4, held_w))
        if image.inverter_age_ms >= self._order_ms:
            return max(hurried_w, self.setpoint_w)
        under_way_w = max(0, self.setpoint_w - active_power_w)
        return max(hurried_w, min(self.setpoint_w, needed_w + under_way_w // 2))

    def import_pressing(self, import_w):
        """Whether this import is so far above what is held that it should not wait for the next round."""
        return not self.meter.stale and import_w > self.held_import_w + PRESSING_W

    def _find_held_import(self):
        """The import to hold. What margin and headroom take is never exported against the export limit."""
        config = self.config
        held_w = config.import_limit_w - config.import_margin_w
        if held_w < 0:
            held_w = 0
        if self.functions is not None and self.functions.peak is not None and self.functions.peak.allowed_w < held_w:
            held_w = self.functions.peak.allowed_w
        held_w -= self.prepare.headroom_w
        self.held_import_w = held_w if held_w > -config.export_limit_w else -config.export_limit_w

    def _narrow_to_charge(self, soc_permille):
        """No discharge at the lower bound, no charge at the upper, each until the charge is clearly off it again."""
        low = self.config.soc_min_permille
        high = self.config.soc_max_permille
        if soc_permille <= low:
            self._empty = True
        elif soc_permille >= low + SOC_HYSTERESIS_PERMILLE:
            self._empty = False
        if soc_permille >= high:
            self.full = True
        elif soc_permille <= high - SOC_HYSTERESIS_PERMILLE:
            self.full = False
        if self._empty:
            self.window.narrow(-win.WIDEST_W, 0, win.BOUND_SOC)
        if self.full:
            self.window.narrow(0, win.WIDEST_W, win.BOUND_SOC)

    def _wanted_w(self, dt_ms, net_w):
        """active_power_w that is wanted: the lease before the plan before the commissioned fallback."""
        if self.lease.step(dt_ms):
            self.events.push(ev.LEASE_ENDED, self.lease.value_w, self.lease.mode)
        if self.plan.step(dt_ms):
            self.events.push(ev.PLAN_ENDED, self.plan.plan_id, 0)
        if self.prepare.charge and self.lease.remaining_ms == 0:
            self._source = PLANNED
            self._holds_pcc = False
            return -win.WIDEST_W  # the reserve for the announced step, as fast as all limits let it
        if self.lease.remaining_ms > 0:
            self._source = LEASED
            mode = self.lease.mode
            value_w = self.lease.value_w
        elif self.plan.step_index >= 0:
            self._source = PLANNED
            mode = self.plan.mode & 1  # the other bit is the diesel set's
            value_w = self.plan.value_w
        elif self.config.fallback == FALLBACK_SELF_CONSUMPTION:
            self._source = FALLBACK
            mode = HOLD_PCC
            value_w = 0
        else:
            self._source = FALLBACK if self.host.stale else IDLE
            self._held_pcc_w = 0
            self._holds_pcc = False
            return 0
        self._holds_pcc = mode == HOLD_PCC
        self._held_pcc_w = value_w
        if self._holds_pcc:
            return net_w - value_w + self._hold_trim.trim_w
        return value_w

    def _trim(self, image, dt_ms, running):
        """Close the small rest between what was asked and what the PCC meter sees."""
        regulated = 0
        if running and not self.meter.stale:
            if self.bound_by == win.BOUND_IMPORT_LIMIT:
                regulated = win.BOUND_IMPORT_LIMIT
            elif self.bound_by == win.BOUND_EXPORT_LIMIT:
                regulated = win.BOUND_EXPORT_LIMIT
            elif self._holds_pcc and self.bound_by == win.BOUND_NONE:
                regulated = _ORDER
        # The first round of regulating sees what was before it, which no trim has to answer for.
        binding = regulated if regulated == self._regulated else 0
        self._regulated = regulated
        import_w = image.pcc_import_w
        self._import_trim.step(import_w - self.held_import_w, binding == win.BOUND_IMPORT_LIMIT, dt_ms)
        export_w = self.config.export_limit_w - self.config.export_margin_w
        self._export_trim.step(import_w + export_w, binding == win.BOUND_EXPORT_LIMIT, dt_ms)
        self._hold_trim.step(import_w - self._held_pcc_w, binding == _ORDER, dt_ms)

    def _watch_limit(self, image, dt_ms):
        """Say when the import stays above its limit though all that is permitted was done, and when that is over."""
        over = not self.meter.stale and image.pcc_import_w > self.config.import_limit_w
        if self._over_limit.step(over, dt_ms):
            code = ev.IMPORT_LIMIT_EXCEEDED if self._over_limit.active else ev.IMPORT_LIMIT_HELD
            self.events.push(code, image.pcc_import_w, self.config.import_limit_w)
        if self._over_limit.active:
            self.faults |= FAULT_IMPORT_LIMIT

    def _conclude(self, image):
        """The state to report and the hard outputs."""
        self.outputs = 0
        self.pv_permille = self.export_hold.permille
        if self.faults & FAULT_TRIP:
            self.outputs |= OUTPUT_TRIP
        if self.functions is not None:
            self.functions.drive(self)
        elif self._grid_lost.active and self.config.genset_meter_unit != 0 and not self.faults & FAULT_TRIP:
            self.outputs |= OUTPUT_GENSET_START
        self.outputs |= (1000 - self.pv_permille + 99) // 100 << OUTPUT_PV_SHIFT
        if self.faults & (FAULT_TRIP | FAULT_DOOR):
            self.state = FAULTED
        elif self._grid_lost.active:
            self.state = GRID_DOWN
        elif not (self.meter.seen and self.inverter.seen):
            self.state = STARTING
        elif self.faults & (FAULT_PCC_METER | FAULT_INVERTER | FAULT_BATTERY):
            self.state = FAULTED
        elif self.prepare.active:
            self.state = PREPARING
        else:
            self.state = self._source
