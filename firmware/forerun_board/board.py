"""A running board: the only place that knows all parts."""

import gc
import struct
import sys

from forerun_board import __version__
from forerun_board.control.config import Config
from forerun_board.control.controller import OUTPUT_TRIP, Controller
from forerun_board.control.events import FUNCTIONS_LEFT_OUT, UPDATE_FELL_BACK
from forerun_board.control.image import Image
from forerun_board.cycle import Cycle
from forerun_board.fieldbus import FieldBus
from forerun_board.interval import Interval
from forerun_board.link import Link
from forerun_board.records import WAITING_MAX, Records
from forerun_board.settings import CYCLE_MS, FIRST_FUNCTION, Settings
from forerun_board.slots import CONFIRM_S
from forerun_board.twoslot import TwoSlot, exists, make_directory
from forerun_wire import messages as m
from forerun_wire.board import BoardSession

# What a host may have under way to this board: more would be held here at once after a lost frame.
COMMANDS = 8
COMMAND_BYTES = 1024
KIND_MAP = 1  # of the setting inverter_kind


class Board:
    """All parts, put together on a hal, and the loop that drives them."""

    def __init__(self, hal):
        self.hal = hal
        self.clock = hal.clock
        make_directory(hal.store)
        self.config = Config()
        self.settings = Settings(TwoSlot(hal.store + "/settings"), self.config)
        hal.open_lines(self.config.bus_baud)
        self.records = Records(hal.store, self._count_boot())
        self.records.keep_oldest = self.config.records_keep
        self.image = Image()
        self.controller = Controller(self.config)
        self._latched = False  # as it is kept on flash
        if exists(hal.store + "/trip"):
            self._latch_again()
        self._restart_s = -1  # second of uptime at which to start anew
        try:
            self._commission()
        except MemoryError:  # more than this board holds: it keeps its limits, and says what it goes without
            self.controller.commission(None)
            self.controller.events.push(FUNCTIONS_LEFT_OUT, self.config.functions, 0)
        self.fieldbus = self._new_bus()
        self.cycle = Cycle(
            hal, self.config, self.controller, self.image, self.fieldbus, self._report, self._flush
        )
        self._interval = Interval(self.config, self.image, self.clock)
        self._telemetry = [0] * 20
        self._telemetry_ms = self.clock.ms
        self.pending_key = None
        self.new_keys = None
        session = BoardSession(
            hal.identity,
            "forerun " + __version__,
            hal.random(8),
            window=COMMANDS,
            buffer=COMMAND_BYTES,
            store_id=self.records.store_id,
            boot_count=self.boot_count,
            source=self.records,
        )
        session.lost_ms = self.config.host_lost_ms
        self.session = session
        if exists(hal.store + "/keys"):
            self._begin_keys()
        self.link = Link(session, hal.link, self)
        self.update = None
        self.on_trial = False
        if exists(hal.store + "/slots"):
            self._look_at_slots()
        self.senses = None
        self._begin_senses()
        self._note(m.BOOT, [hal.reset_cause(), self.records.torn_bytes])
        if self.settings.lengthened_from:
            self.controller.events.push(m.SETTINGS_CHANGED, CYCLE_MS, self.config.cycle_ms)

    def run(self):
        """Drive everything, for ever. Memory that no longer holds something in one piece does so after a new start: a
        board goes on, as it would by its watchdog."""
        try:
            self._drive()
        except MemoryError:
            self.hal.restart()

    def _drive(self):
        """Nothing in the loop waits but hal.wait()."""
        while True:
            self.link.receive()
            self.cycle.poll()
            self.link.send()
            self.cycle.alive.link()
            self.hal.wait(min(self.cycle.wait_us(), self.link.wait_us()))

    def note_acted(self, op, mode, value_w, reason):
        """Keep a record of what the board was told to do."""
        self._note(m.ACTED, [op, mode, value_w, reason])

    def change_settings(self, pairs):
        """Take settings that have been checked; the bus begins anew if they concern it."""
        if self.settings.set(pairs):
            self.hal.set_bus_baud(self.config.bus_baud)
            del self.cycle.fieldbus, self.fieldbus  # two of them at a time would be one too many for the memory
            gc.collect()
            self.fieldbus = self._new_bus()
            self.cycle.begin_anew(self.fieldbus)
        elif self.fieldbus.inverter.grid is not None:
            self.fieldbus.inverter.grid.ready = False  # its values may be other ones now
        self.session.lost_ms = self.config.host_lost_ms
        self.records.keep_oldest = self.config.records_keep
        for i in range(0, len(pairs), 2):
            self.controller.events.push(m.SETTINGS_CHANGED, pairs[i], pairs[i + 1])
        if max(pairs[i] for i in range(0, len(pairs), 2)) >= FIRST_FUNCTION:
            self.recommission()
            self._begin_senses()

    def _new_bus(self):
        """The field bus as the settings have it. A description that went bad is an event, and nothing is written by it;
        what the inverter was told last, its own watchdog takes away."""
        inverter_map = None
        if self.config.inverter_kind == KIND_MAP:
            from forerun_board.described import read_map

            try:
                inverter_map = read_map(self.hal.store)
            except (OSError, ValueError):
                self.controller.events.push(m.MODBUS_REFUSED, 0, self.config.inverter_unit)
        return FieldBus(self.hal.bus, self.config, self.controller, self.image, self.clock, inverter_map)

    def recommission(self):
        """Begin the functions anew. Where they no longer fit in one piece, while the board has run for long, it starts
        anew: then there is room."""
        try:
            self._commission()
        except MemoryError:
            self.controller.commission(None)
            self._restart_s = self.clock.s + 1

    def take_new_keys(self):
        """Go on with a key that was just confirmed, in a new session; what is queued for the host goes out before."""
        if self.new_keys is not None:
            self._use_keys(self.new_keys)
            self.controller.events.push(m.KEY_CHANGED, self.new_keys.id, 0)
            self.new_keys = None
            self.session.restart()

    def _begin_keys(self):
        from forerun_board.keys import LOCKED_ID, load

        keys = load(self.hal.store)
        self._use_keys(keys)
        if keys.id == LOCKED_ID:
            self.controller.events.push(m.KEYS_UNREADABLE, 0, 0)

    def _use_keys(self, keys):
        self.session.keys = keys
        self.records.keys = keys

    def updating(self):
        """The maintenance state, which is in memory only while somebody asks about it."""
        if self.update is None:
            gc.collect()
            from forerun_board.update import Update

            self.update = Update(self)
        return self.update

    def _forget_update(self):
        self.update = None
        sys.modules.pop("forerun_board.update")
        package = sys.modules["forerun_board"]
        if hasattr(package, "update"):
            del package.update  # type: ignore  # a module is known by its package too

    def _look_at_slots(self):
        from forerun_board.slots import Slots

        slots = Slots(self.hal.store)
        self.on_trial = slots.trial != 0
        if slots.fallen:
            self.controller.events.push(UPDATE_FELL_BACK, slots.fallen, 0)
            slots.fallen = 0
            slots.keep()

    def _begin_senses(self):
        self.senses = self.cycle.fast = None
        if self.config.voltage_gain_q8 or self.config.sensors:
            from forerun_board.senses import Senses

            self.senses = Senses(self)

    def _commission(self):
        """Begin the functions that the settings want; where they want none, their code never comes into memory."""
        self.controller.commission(None)
        gc.collect()
        if self.config.functions or self.config.pv_limit_permille < 1000:
            from forerun_board.control import functions

            for bits, name in functions.MODULES:
                if self.config.functions & bits:
                    gc.collect()
                    __import__("forerun_board.control." + name)
            gc.collect()
            curves = None
            if exists(self.hal.store + "/curves"):
                from forerun_board.described import read_curves

                curves = read_curves(self.hal.store)
            self.controller.commission(functions.Functions(self.config, curves))

    def _latch_again(self):
        kept = TwoSlot(self.hal.store + "/trip").read()
        if kept and kept[0]:
            self.controller.interlock.latch(kept[0], self.clock.s, self.controller.events)
            self.hal.set_outputs(OUTPUT_TRIP)  # before anything else
            self._latched = True

    def _keep_latch(self, interlock):
        """What only a person may reset outlives a restart. The site is at rest now: flash may take its time."""
        self._latched = interlock.latched
        slots = TwoSlot(self.hal.store + "/trip")
        slots.read()
        slots.write(bytes([interlock.cause if interlock.latched else 0]))

    def _count_boot(self):
        """Identity of the record store, eight bytes; counts this boot in `boot_count`."""
        slots = TwoSlot(self.hal.store + "/boot")
        kept = slots.read()
        if kept is None:
            kept = self.hal.random(8) + struct.pack("<I", 0)
        self.boot_count = struct.unpack("<I", kept[8:12])[0] + 1
        slots.write(kept[:8] + struct.pack("<I", self.boot_count))
        return kept[:8]

    def _note(self, kind, body):
        self.records.add(self.boot_count, self.clock.s, self.clock.us // 1000, kind, body)

    def _report(self):
        """The end of a round: events and intervals become records, and from time to time telemetry goes out."""
        controller = self.controller
        events = controller.events
        while events.pop():
            self._note(m.EVENT, [events.code, events.value, events.limit])
        if controller.interlock.latched != self._latched:
            self._keep_latch(controller.interlock)
        gap = self.records.gap()
        if gap is not None:
            self._note(m.GAP, gap)
            self._note(m.EVENT, [m.RECORDS_DROPPED, gap[2] - gap[1] + 1, 0])
        if self.on_trial and self.clock.s >= CONFIRM_S:
            self.hal.restart()  # into the firmware before: nobody confirmed this one
        if self.update is not None:
            self.update.step()
            if self.update.idle:
                self._forget_update()
        if self.senses is not None:
            self.senses.round()
        self._interval.note(self.image.dt_ms)
        if 0 <= self._restart_s <= self.clock.s:
            self.records.flush()
            self.hal.restart()
        if self._interval.due(self.fieldbus):
            self._note(m.INTERVAL, self._interval.body)
        if m.elapsed_ms(self.clock.ms, self._telemetry_ms) >= self.config.telemetry_ms:
            self._telemetry_ms = self.clock.ms
            self._fill_telemetry()
            self.link.send_telemetry(self._telemetry)

    def _flush(self):
        if self.senses is not None:
            self.senses.slack()
        pending = self.records.pending()
        # On some boards nothing else runs while flash is written: not in the middle of a ramp, unless memory fills up.
        if pending > WAITING_MAX // 2 or (pending > 0 and self.controller.bound_by != m.BOUND_RAMP):
            self.records.flush()

    def _fill_telemetry(self):
        values = self._telemetry
        image = self.image
        controller = self.controller
        values[0] = self.clock.s
        values[1] = self.clock.us // 1000
        values[2] = controller.state
        values[3] = controller.bound_by
        values[4] = controller.faults
        values[5] = controller.setpoint_w
        values[6] = image.active_power_w
        values[7] = image.pcc_import_w
        values[8] = image.pcc_voltage_mv
        values[9] = min(image.frequency_millihz, m.TELEMETRY_MAX)
        values[10] = image.soc_permille
        values[11] = image.charge_max_w
        values[12] = image.discharge_max_w
        values[13] = controller.load_w
        values[14] = image.pv_w
        values[15] = image.genset_w
        values[16] = controller.plan.step_index
        values[17] = controller.lease.remaining_ms
        values[18] = min(self.cycle.busy_us, m.TELEMETRY_MAX)
        values[19] = self.cycle.heap_free
