"""The devices on the bus and the order in which the round talks to them."""

from array import array

from forerun_board.clock import MASK
from forerun_board.control.config import (
    FUNCTION_ENTER_SERVICE,
    FUNCTION_ISLANDING,
    FUNCTION_OVER_FREQUENCY,
    FUNCTION_TRIP,
    FUNCTION_UNDER_FREQUENCY,
    FUNCTION_VOLT_VAR,
)
from forerun_board.control.image import saturated_w
from forerun_board.drivers.inverter_sunspec import BATTERY_COUNT_802, FAST_COUNT_103, FAST_COUNT_701, InverterSunspec
from forerun_board.drivers.meter_sunspec import FAST_COUNT, WATCH_COUNT, MeterSunspec
from forerun_board.drivers.modbus_rtu import Master, read_us, write_us
from forerun_board.drivers.sunspec import ASK
from forerun_wire.messages import (
    MODBUS_REFUSED,
    QUALITY_BATTERY,
    QUALITY_GENSET,
    QUALITY_PCC,
    QUALITY_PV,
    WATCHDOG_UNCONFIRMED,
)

SAMPLES = 2  # readings of each round: inverter first, PCC meter last, so that what limits judge is the newest
BATTERY_MS = 1000
SUBMETER_MS = 1000
SCALES_MS = 10_000
REATTACH_MS = 1000
REATTACH_SUBMETER_MS = 10_000  # a missing sub-meter must not slow the round every second
REARM_MS = 1000
DECIDED_MS = 2000  # so long an inverter is left with what it was told before, until there is a decision to hand over
WAKE_MS = 5000
VAR_MS = 500
TELL_AGAIN_MS = 60_000
CYCLE_MAX_MS = 5000

NEED_FREQUENCY = (
    FUNCTION_OVER_FREQUENCY
    | FUNCTION_UNDER_FREQUENCY
    | FUNCTION_ENTER_SERVICE
    | FUNCTION_ISLANDING
    | FUNCTION_TRIP
)
GRID_FUNCTIONS = FUNCTION_OVER_FREQUENCY | FUNCTION_UNDER_FREQUENCY | FUNCTION_VOLT_VAR | FUNCTION_ENTER_SERVICE

# When a job is wanted.
DOWN = 0
UP = 1
UNARMED = 2
ARMED = 3
ASLEEP = 4  # and wanted
ENERGY = 5  # its registers have not been read
SCALES = 6
CHECK = 7
GRID = 8  # functions of its own not handed over
VAR = 9  # another reactive power
STRINGS = 10
CURTAIL = 11  # PV inverter: another limit, or its reversion timer

# How it is run.
URGENT = 1  # even when the line has no time for it
STRETCHES = 2  # follows the round period when that is the longer one


def slow_us(baud):
    """Time a round leaves for one reading of those that are not part of it, in µs: for the longest."""
    return read_us(max(BATTERY_COUNT_802, FAST_COUNT_103), baud)


def round_ms(baud, tenths_per_s):
    """The least cycle_ms at this bus_baud: room for both fast readings, the setpoint and one slow reading, and enough
    between the rounds for so many tenths of slow readings a second."""
    fixed_us = read_us(FAST_COUNT_701, baud) + read_us(FAST_COUNT, baud) + write_us(2, baud)
    slow = slow_us(baud)
    least_ms = -(-(fixed_us + slow) // 1000)
    while (1000 * least_ms - fixed_us) * 10 < slow * tenths_per_s * least_ms // 1000 and least_ms < CYCLE_MAX_MS:
        least_ms += 1
    return least_ms


def tenths_per_s(pv_meter_unit, genset_meter_unit, functions):
    """How many tenths of slow readings and writes a second are planned: battery, sub-meters, reactive power; and what
    is rare (reversion timer, checks, scale factors, energy)."""
    tenths = 14
    if pv_meter_unit:
        tenths += 10
    if genset_meter_unit:
        tenths += 10
    return tenths + 10 if functions & FUNCTION_VOLT_VAR else tenths


class Job:
    """Bus work between rounds: a generator made when due, resumed one transaction at a time while there is slack."""

    def __init__(self, make, interval_ms, when, device, how=0):
        self._make = make
        self.interval_ms = interval_ms
        self.when = when
        self.device = device
        self.how = how
        self.last_ms = -1  # -1: never

    def begin(self, now_ms):
        """The work, as a generator that has not yet begun."""
        self.last_ms = now_ms
        return self._make()

    def lateness_ms(self, now_ms):
        """How long it has been due, in ms; negative while it is not."""
        if self.last_ms < 0:
            return 2 * self.interval_ms
        return ((now_ms - self.last_ms) & MASK) - self.interval_ms


class FieldBus:
    """Inverter and meters, their samples for the image, and the jobs between rounds, first come first in the list."""

    def __init__(self, stream, config, controller, image, clock, inverter_map=None):
        self.bus = Master(stream, config.bus_baud, clock.ticks_us)
        self._config = config
        self._controller = controller
        self._image = image
        self._clock = clock
        self._told = array("i", [0] * 8)  # unit and address of what was refused lately, and when
        self._told_next = 0
        self.inverter: "Any" = self._make_inverter(inverter_map)  # type: ignore  # noqa: F821  one of two kinds
        self.pcc_meter = MeterSunspec(self.bus, config.pcc_meter_unit, self._refuse)
        self.pcc_meter.needs_voltage = True
        self.pcc_meter.needs_frequency = config.functions & NEED_FREQUENCY != 0
        self.pv_meter = MeterSunspec(self.bus, config.pv_meter_unit, self._refuse) if config.pv_meter_unit else None
        self.genset_meter = (
            MeterSunspec(self.bus, config.genset_meter_unit, self._refuse) if config.genset_meter_unit else None
        )
        self.pv_inverter: "Any" = None  # type: ignore  # noqa: F821
        if config.pv_inverter_unit:
            from forerun_board.drivers.pv_sunspec import PvSunspec

            self.pv_inverter = PvSunspec(self.bus, config.pv_inverter_unit, self._refuse)
        self._devices = [d for d in (self.pcc_meter, self.inverter, self.pv_meter, self.genset_meter) if d is not None]
        self.slow_us = slow_us(config.bus_baud)  # what a round leaves for one reading that is not part of it
        self._watch_us = read_us(WATCH_COUNT, config.bus_baud)
        self._generator = None
        self._pressing = False
        self._undecided_ms = -1  # since when an inverter waits to be armed
        self._step = ASK
        self._make_jobs()

    def _make_inverter(self, inverter_map):
        """Of SunSpec, or as `inverter_map`, a checked description, says."""
        config = self._config
        if inverter_map is not None:
            from forerun_board.drivers.inverter_map import InverterMap

            return InverterMap(self.bus, config.inverter_unit, self._refuse, inverter_map)
        inverter = InverterSunspec(self.bus, config.inverter_unit, self._refuse)
        if config.functions & GRID_FUNCTIONS:
            from forerun_board.drivers.grid_sunspec import GridSunspec

            inverter.grid = GridSunspec(inverter, config)
        return inverter

    def _make_jobs(self):
        inverter = self.inverter
        watchdog_ms = 1000 * self._config.inverter_watchdog_s
        # Half the watchdog's time less what a round with a silent device may cost.
        self._refresh_job = Job(self._refresh, watchdog_ms // 2 - 500, ARMED, inverter, URGENT)
        jobs = [
            Job(self._arm, REARM_MS, UNARMED, inverter, URGENT),
            self._refresh_job,
            Job(inverter.wake, WAKE_MS, ASLEEP, inverter, URGENT),
            Job(inverter.attach, REATTACH_MS, DOWN, inverter),
            Job(self.pcc_meter.attach, REATTACH_MS, DOWN, self.pcc_meter),
            Job(self._read_battery, BATTERY_MS, UP, inverter, STRETCHES),
        ]
        for meter, read in ((self.pv_meter, self._read_pv), (self.genset_meter, self._read_genset)):
            if meter is not None:
                jobs.append(Job(meter.attach, REATTACH_SUBMETER_MS, DOWN, meter))
                jobs.append(Job(read, SUBMETER_MS, UP, meter, STRETCHES))
        for device in self._devices:
            jobs.append(Job(device.read_energy, 0, ENERGY, device))
        self._check_job = Job(self._check, max(10_000, watchdog_ms), CHECK, inverter)
        jobs.append(self._check_job)
        self._scales_job = Job(inverter.read_scales, SCALES_MS, SCALES, inverter)
        jobs.append(self._scales_job)
        if inverter.grid is not None:
            jobs.append(Job(inverter.grid.begin, REARM_MS, GRID, inverter))
            self._var_job = Job(self._write_var, VAR_MS, VAR, inverter)
            jobs.append(self._var_job)
        if self.pv_inverter is not None:
            jobs.append(Job(self.pv_inverter.attach, REATTACH_SUBMETER_MS, DOWN, self.pv_inverter))
            jobs.append(Job(self._curtail, VAR_MS, CURTAIL, self.pv_inverter))
        if self.pv_meter is None:
            jobs.append(Job(self._read_strings, SUBMETER_MS, STRINGS, inverter, STRETCHES))
        self._jobs = jobs

    def _wanted(self, job):
        device = job.device
        when = job.when
        if when == DOWN or not (device.attached and not device.down):
            return when == DOWN and not (device.attached and not device.down)
        if when == UP:
            return True
        if when == ARMED:
            return device.armed
        if when == UNARMED:
            return not device.armed and self._decided()
        if when == ENERGY:
            return not device.energy_fresh and (device is not self.inverter or device.counts_energy)
        if when == ASLEEP:
            return self._controller.wake
        if when == SCALES:
            return True
        if when == CURTAIL:
            held_ms = (self._clock.ms - job.last_ms) & MASK
            wanted = self._controller.pv_permille
            return wanted != device.given_permille or (wanted < 1000 and held_ms >= self._refresh_job.interval_ms)
        if when == STRINGS:
            return 160 in device.models
        if not device.armed:
            return False
        if when == GRID:
            return not device.grid.ready
        if when == VAR:
            grid = device.grid
            held_ms = (self._clock.ms - job.last_ms) & MASK
            return grid.var_due(self._controller.reactive_var) or (
                grid.holds_var and held_ms >= self._refresh_job.interval_ms
            )
        return True  # CHECK

    def _decided(self):
        """Whether the setpoint is one that knows meter, battery and inverter, which is not waited for long: 0 W, handed
        to an inverter that carries the site when its board has restarted, would break the import limit."""
        controller = self._controller
        if controller.command and not (controller.meter.stale or controller.battery.stale):
            return True
        if self._undecided_ms < 0:
            self._undecided_ms = self._clock.ms
        return (self._clock.ms - self._undecided_ms) & MASK >= DECIDED_MS

    def forget_energy(self):
        """Have all energy registers read again, as soon as the line has time."""
        for device in self._devices:
            device.energy_fresh = False

    def energy_missing(self):
        """Quality bits of the energy registers that have not been read since forget_energy()."""
        quality = 0
        if not self.pcc_meter.energy_fresh:
            quality |= QUALITY_PCC
        if not (self.inverter.counts_energy and self.inverter.energy_fresh):
            quality |= QUALITY_BATTERY
        if self.pv_meter is not None and not self.pv_meter.energy_fresh:
            quality |= QUALITY_PV
        if self.genset_meter is not None and not self.genset_meter.energy_fresh:
            quality |= QUALITY_GENSET
        return quality

    def _refuse(self, address, unit):
        """An event, unless there was one of the same registers in the minute before: a device that goes on like that
        must not fill the records."""
        key = unit << 16 | address
        told = self._told
        now_ms = self._clock.ms
        for i in range(0, len(told), 2):
            if told[i] == key:
                recent = (now_ms - told[i + 1]) & MASK < TELL_AGAIN_MS
                told[i + 1] = now_ms
                if recent:
                    return
                break
        else:
            told[self._told_next] = key
            told[self._told_next + 1] = now_ms
            self._told_next = (self._told_next + 2) % len(told)
        self._controller.events.push(MODBUS_REFUSED, address, unit)

    # ---- the round's own transactions

    def start_sample(self, index):
        """True if reading `index` of the round was started; False if its device is not there."""
        device = self.inverter if index == 0 else self.pcc_meter
        if not _up(device):
            return False
        device.start_fast()
        return True

    def finish_sample(self, index):
        """Put the reading into the image, if it is good."""
        image = self._image
        if index == 0:
            inverter = self.inverter
            good = inverter.finish_fast()
            if inverter.scales_due:
                self._scales_job.last_ms = -1
            if inverter.check_due:
                self._check_job.last_ms = -1
            if good:
                image.active_power_w = inverter.active_power_w
                image.inverter_state = inverter.state
                image.inverter_age_ms = 0
                if inverter.voltage_mv >= 0:
                    image.bus_mv = inverter.voltage_mv
                    image.bus_millihz = inverter.frequency_millihz
                    image.bus_age_ms = 0
        elif self.pcc_meter.finish_fast():
            image.pcc_import_w = self.pcc_meter.power_w
            image.pcc_voltage_mv = self.pcc_meter.voltage_mv
            image.frequency_millihz = self.pcc_meter.frequency_millihz
            image.pcc_age_ms = 0

    def start_setpoint(self, power_w):
        """True if a write was started; False if the inverter has this setpoint, or is being armed."""
        inverter = self.inverter
        return _up(inverter) and inverter.armed and inverter.start_setpoint(power_w)

    def start_watch(self, slack_us):
        """True if a short look at the PCC meter was started; what it finds may call for a decision before its time."""
        if slack_us < self._watch_us or self._step != ASK or not _up(self.pcc_meter):
            return False
        self.pcc_meter.start_watch()
        return True

    def finish_watch(self):
        """True if there was an answer: it is in the image."""
        if not self.pcc_meter.finish_watch():
            return False
        self._image.pcc_import_w = self.pcc_meter.power_w
        return True

    # ---- work between rounds

    def urgent_ms(self):
        """Time until the reversion timer must be refreshed, in ms, 0 = now; -1 = it does not run."""
        if not self._wanted(self._refresh_job):
            return -1
        return max(0, -self._refresh_job.lateness_ms(self._clock.ms))

    def work(self, slack_us):
        """True if the line is in use now; else there is nothing to do that fits into `slack_us`."""
        while not self.bus.busy:
            generator = self._generator or self._pick(slack_us)
            if generator is None:
                return False
            if self._step == ASK and not (self._pressing or slack_us >= self.slow_us):
                return False
            self._resume(generator)
        return True

    def settle(self):
        """True once no transaction between rounds is under way; its answer has then been taken."""
        if self.bus.busy:
            return False
        if self._generator is not None and self._step != ASK:
            self._resume(self._generator)
        return not self.bus.busy

    def _resume(self, generator):
        try:
            self._step = next(generator)
        except StopIteration:
            self._generator = None
            self._step = ASK

    def _pick(self, slack_us):
        """The generator of the first job in the list that is due and may run, begun; None if there is none."""
        now_ms = self._clock.ms
        for job in self._jobs:
            late_ms = job.lateness_ms(now_ms)
            if job.how & STRETCHES and job.last_ms >= 0:
                # In stretched rounds nothing moves, and what changes slowly is asked for more seldom too.
                late_ms = min(late_ms, late_ms + job.interval_ms - 2 * self._image.period_ms)
            if late_ms >= 0 and self._wanted(job):
                pressing = job.how & URGENT or late_ms >= job.interval_ms > 0
                if pressing or slack_us >= self.slow_us:
                    self._pressing = pressing
                    self._generator = job.begin(now_ms)
                    self._resume(self._generator)
                    if self._generator is not None:
                        return self._generator
        return None

    # Work that is more than a device's own.

    def _write_var(self):
        inverter = self.inverter
        return inverter.grid.write_var(self._controller.reactive_var, self._config.inverter_watchdog_s)

    def _curtail(self):
        return self.pv_inverter.limit(self._controller.pv_permille, self._config.inverter_watchdog_s)

    def _arm(self):
        inverter = self.inverter
        yield from inverter.arm(self._controller.setpoint_w, self._config.inverter_watchdog_s)
        if inverter.armed:
            self._undecided_ms = -1
            self._refresh_job.last_ms = self._clock.ms
            if not inverter.confirmed:
                self._controller.events.push(WATCHDOG_UNCONFIRMED, self._config.inverter_watchdog_s, inverter.unit)

    def _refresh(self):
        inverter = self.inverter
        accepted = yield from inverter.refresh(self._config.inverter_watchdog_s)
        if not accepted:
            self._refresh_job.last_ms = (self._clock.ms - self._refresh_job.interval_ms) & MASK  # again at once

    def _check(self):
        inverter = self.inverter
        yield from inverter.check(self._config.inverter_watchdog_s)

    def _read_battery(self):
        inverter = self.inverter
        image = self._image
        yield from inverter.read_battery()
        if inverter.battery_fresh:
            image.soc_permille = inverter.soc_permille
            image.charge_max_w = inverter.charge_max_w
            image.discharge_max_w = inverter.discharge_max_w
            image.battery_age_ms = 0

    def _read_strings(self):
        from forerun_board.drivers.strings_sunspec import read_strings

        total_w = yield from read_strings(self.inverter)
        if total_w >= 0:
            self._image.pv_w = saturated_w(total_w)
            self._image.pv_age_ms = 0

    def _read_pv(self):
        meter: "Any" = self.pv_meter  # type: ignore  # noqa: F821
        good = yield from meter.read_fast()
        if good:
            self._image.pv_w = meter.power_w
            self._image.pv_age_ms = 0

    def _read_genset(self):
        meter: "Any" = self.genset_meter  # type: ignore  # noqa: F821
        good = yield from meter.read_fast()
        if good:
            self._image.genset_w = meter.power_w
            if self.inverter.voltage_mv < 0 <= meter.voltage_mv:
                self._image.bus_mv = meter.voltage_mv
                self._image.bus_millihz = meter.frequency_millihz
                self._image.bus_age_ms = 0
            self._image.genset_age_ms = 0


def _up(device):
    return device.attached and not device.down
