"""The devices on the bus and the order in which the round talks to them."""

from forerun_board.clock import MASK
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
SCALES_MS = 60_000
REATTACH_MS = 1000
REATTACH_SUBMETER_MS = 10_000  # a missing sub-meter must not slow the round every second
REARM_MS = 1000
WAKE_MS = 5000


def round_us(baud):
    """Shortest round that the line can hold, in µs: both fast readings, the setpoint, and the longest slow reading."""
    return read_us(FAST_COUNT_701, baud) + read_us(FAST_COUNT, baud) + write_us(2, baud) + read_us(
        BATTERY_COUNT_802, baud
    )


def round_ms(baud):
    """round_us in whole ms, rounded up: the least cycle_ms at this bus_baud."""
    return -(-round_us(baud) // 1000)


class Job:
    """Bus work between rounds: a generator made when due, resumed one transaction at a time while there is slack."""

    def __init__(self, make, interval_ms, wanted, urgent=False, of=None, of_round=False):
        self._make = make
        self._of = of  # what `make` is to be called with, if anything
        self.interval_ms = interval_ms
        self.wanted = wanted
        self.urgent = urgent  # runs even when the line has no time for it
        self.of_round = of_round  # follows the round period when that is the longer one
        self.last_ms = -1  # -1: never

    def begin(self, now_ms):
        """The work, as a generator that has not yet begun."""
        self.last_ms = now_ms
        return self._make() if self._of is None else self._make(self._of)

    def lateness_ms(self, now_ms):
        """How long it has been due, in ms; negative while it is not."""
        if self.last_ms < 0:
            return 2 * self.interval_ms
        return ((now_ms - self.last_ms) & MASK) - self.interval_ms


class FieldBus:
    """Inverter and meters, their samples for the image, and the jobs between rounds, first come first in the list."""

    def __init__(self, stream, config, controller, image, clock):
        self.bus = Master(stream, config.bus_baud, clock.ticks_us)
        self.inverter = InverterSunspec(self.bus, config.inverter_unit, self._refuse)
        self.pcc_meter = MeterSunspec(self.bus, config.pcc_meter_unit, self._refuse)
        self.pv_meter = MeterSunspec(self.bus, config.pv_meter_unit, self._refuse) if config.pv_meter_unit else None
        self.genset_meter = (
            MeterSunspec(self.bus, config.genset_meter_unit, self._refuse) if config.genset_meter_unit else None
        )
        self._config = config
        self._controller = controller
        self._image = image
        self._clock = clock
        self._slow_us = read_us(max(BATTERY_COUNT_802, FAST_COUNT_103), config.bus_baud)
        self._watch_us = read_us(WATCH_COUNT, config.bus_baud)
        self._generator = None
        self._pressing = False
        self._step = ASK
        self._jobs = self._make_jobs()

    def _make_jobs(self):
        inverter = self.inverter
        watchdog_ms = 1000 * self._config.inverter_watchdog_s
        self._arm_job = Job(self._arm, REARM_MS, lambda: _up(inverter) and not inverter.armed, True)
        # Half the watchdog's time less what a round with a silent device may cost.
        self._refresh_job = Job(self._refresh, watchdog_ms // 2 - 500, lambda: _up(inverter) and inverter.armed, True)
        jobs = [
            self._arm_job,
            self._refresh_job,
            Job(inverter.wake, WAKE_MS, lambda: _up(inverter) and self._controller.wake, True),
            Job(inverter.attach, REATTACH_MS, lambda: not _up(inverter)),
            Job(self.pcc_meter.attach, REATTACH_MS, lambda: not _up(self.pcc_meter)),
            Job(self._read_battery, BATTERY_MS, lambda: _up(inverter), of_round=True),
        ]
        for meter, read in ((self.pv_meter, self._read_pv), (self.genset_meter, self._read_genset)):
            if meter is not None:
                jobs.append(Job(meter.attach, REATTACH_SUBMETER_MS, lambda meter=meter: not _up(meter)))
                jobs.append(Job(read, SUBMETER_MS, lambda meter=meter: _up(meter), of=meter, of_round=True))
        for device in (self.pcc_meter, inverter, self.pv_meter, self.genset_meter):
            if device is not None:
                jobs.append(Job(device.read_energy, 0, lambda device=device: self._wants_energy(device)))
        jobs.append(Job(self._check, max(10_000, watchdog_ms), lambda: _up(inverter) and inverter.armed))
        jobs.append(Job(inverter.read_scales, SCALES_MS, lambda: _up(inverter)))
        return jobs

    def _wants_energy(self, device):
        return _up(device) and not device.energy_fresh and (device is not self.inverter or device.counts_energy)

    def forget_energy(self):
        """Have all energy registers read again, as soon as the line has time."""
        for device in (self.pcc_meter, self.inverter, self.pv_meter, self.genset_meter):
            if device is not None:
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
            if self.inverter.finish_fast():
                image.active_power_w = self.inverter.active_power_w
                image.inverter_state = self.inverter.state
                image.inverter_age_ms = 0
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
        if not self._refresh_job.wanted():
            return -1
        return max(0, -self._refresh_job.lateness_ms(self._clock.ms))

    def work(self, slack_us):
        """True if the line is in use now; else there is nothing to do that fits into `slack_us`."""
        while not self.bus.busy:
            generator = self._generator or self._pick(slack_us)
            if generator is None:
                return False
            if self._step == ASK and not (self._pressing or slack_us >= self._slow_us):
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
            if job.of_round and job.last_ms >= 0:
                # In stretched rounds nothing moves, and what changes slowly is asked for more seldom too.
                late_ms = min(late_ms, late_ms + job.interval_ms - 2 * self._image.period_ms)
            if late_ms >= 0 and job.wanted():
                pressing = job.urgent or late_ms >= job.interval_ms > 0
                if pressing or slack_us >= self._slow_us:
                    self._pressing = pressing
                    self._generator = job.begin(now_ms)
                    self._resume(self._generator)
                    if self._generator is not None:
                        return self._generator
        return None

    def _arm(self):
        yield from self.inverter.arm(self._controller.setpoint_w, self._config.inverter_watchdog_s)
        if self.inverter.armed:
            self._refresh_job.last_ms = self._clock.ms
            if not self.inverter.confirmed:
                self._controller.events.push(WATCHDOG_UNCONFIRMED, self._config.inverter_watchdog_s, self.inverter.unit)

    def _refresh(self):
        accepted = yield from self.inverter.refresh(self._config.inverter_watchdog_s)
        if not accepted:
            self._refresh_job.last_ms = (self._clock.ms - self._refresh_job.interval_ms) & MASK  # again at once

    def _check(self):
        yield from self.inverter.check(self._config.inverter_watchdog_s)

    def _read_battery(self):
        inverter = self.inverter
        image = self._image
        yield from inverter.read_battery()
        if inverter.battery_fresh:
            image.soc_permille = inverter.soc_permille
            image.charge_max_w = inverter.charge_max_w
            image.discharge_max_w = inverter.discharge_max_w
            image.battery_age_ms = 0

    def _read_pv(self, meter):
        good = yield from meter.read_fast()
        if good:
            self._image.pv_w = meter.power_w
            self._image.pv_age_ms = 0

    def _read_genset(self, meter):
        good = yield from meter.read_fast()
        if good:
            self._image.genset_w = meter.power_w
            self._image.bus_mv = meter.voltage_mv
            self._image.bus_millihz = meter.frequency_millihz
            self._image.genset_age_ms = 0


def _up(device):
    return device.attached and not device.down
