"""The round: wait, sample, decide, actuate, report; it starts at fixed periods and never waits inside a call."""

import gc

from forerun_board.alive import Alive
from forerun_board.clock import MASK
from forerun_board.control.controller import FAULT_WATCHDOG
from forerun_board.fieldbus import SAMPLES

WAIT = 0
SAMPLE = 1
DECIDE = 2
ACTUATE = 3
REPORT = 4

GC_MS = 1000
GC_ROUNDS = 4  # in stretched rounds a second is less than one of them
GC_SLACK_US = 20_000  # what a collection may take on the slowest board
CROWDED_ROUNDS = 2


class Cycle:
    """Joins the parts. `poll()` does all that is due; `wait_us()` says when it must be called again.

    `report()` is called once a round, `flush()` in the slack, when a pause for flash or memory does no harm.
    """

    def __init__(self, hal, config, controller, image, fieldbus, report, flush):
        self.phase = WAIT
        self.rounds = 0
        self.overruns = 0  # round starts that had to be left out or came late
        self.busy_us = 0  # from the start of the last round to its report
        self.heap_free = gc.mem_free() if hasattr(gc, "mem_free") else 0
        self.worst_us = 0  # of busy_us, since boot
        self.worst_late_us = 0  # how long after its time a round began, since boot
        self.tested = 0  # contacts that somebody who holds the battery has asked for, besides the controller's
        self.fast = None  # control.fast.Fast, where there are analogue channels
        self.fieldbus = fieldbus
        self.alive = Alive(hal.feed)
        self._hal = hal
        self._clock = hal.clock
        self._config = config
        self._controller = controller
        self._image = image
        self._report = report
        self._flush = flush
        self._period_us = 0
        self._start_us = self._clock.ticks_us  # when this round was to start
        self._began_ms = self._clock.ms  # when it really did
        self._began_us = self._start_us
        self._sample = 0
        self._waits_for_bus = False
        self._watching = False  # a look at the PCC meter between rounds is under way
        self._early = False  # this period has had its decision before time
        self._crowded = 0  # rounds in a row that left no time at all: devices answer slower than was planned
        self._collected_ms = self._clock.ms
        self._collected_round = 0
        self._set_period()
        self._start_us = (self._start_us - self._period_us) & MASK  # the first round is due now

    def _set_period(self):
        period_ms = self._hal.stretched_ms or self._config.cycle_ms
        # Ages still stem from the round before, which may have been a longer one.
        self._image.period_ms = max(period_ms, self._period_us // 1000)
        self._period_us = 1000 * period_ms

    def begin_anew(self, fieldbus):
        """Other devices from here on; the round under way is given up."""
        self.fieldbus = fieldbus
        self._waits_for_bus = False
        self._watching = False
        self.phase = WAIT

    def poll(self):
        """Do what is due now."""
        bus = self.fieldbus.bus
        bus.poll(self._clock.ticks_us)
        while True:
            self._move()
            if not bus.busy:
                return
            bus.poll(self._clock.ticks_us)  # what was just started may go out at once
            if bus.busy:
                return

    def _move(self):
        moving = True
        while moving:
            if self.phase == WAIT:
                moving = self._wait()
            elif self.phase == SAMPLE:
                moving = self._take_samples()
            elif self.phase == DECIDE:
                moving = self._decide()
            elif self.phase == ACTUATE:
                moving = self._actuate()
            else:
                moving = self._finish()

    def wait_us(self):
        """Time until poll() has something to do even if no byte comes, in µs."""
        bus = self.fieldbus.bus
        left_us = self._left_us()
        if bus.busy:  # nothing goes on before its transaction is over, except that a round may fall due meanwhile
            bus_us = bus.wait_us(self._clock.ticks_us)
            return min(bus_us, left_us) if self.phase == WAIT and left_us > 0 else bus_us
        urgent_ms = self.fieldbus.urgent_ms()
        if urgent_ms >= 0:
            left_us = min(left_us, 1000 * min(urgent_ms, 60_000))
        return max(0, left_us)

    def _left_us(self):
        """µs until the next round is to start; 0 or less when it is due."""
        return self._period_us - ((self._clock.ticks_us - self._start_us) & MASK)

    def _wait(self):
        if self._watching and self._looked():
            return True
        left_us = self._left_us()
        fast = self.fast
        if fast is not None and left_us > 0 and fast.pressing(self._controller):
            if not self.fieldbus.settle():
                return False
            self._open_image()
            self.phase = DECIDE
            return True
        if left_us <= 0:
            if not self.fieldbus.settle():
                return False
            if self._crowded >= CROWDED_ROUNDS and self._serve_others():
                return False
            self._crowded += 1
            self._begin(left_us)
            return True
        self._crowded = 0
        if not self.fieldbus.work(left_us):
            self._use_slack(left_us)
            watched = fast is not None and fast.trusted
            if not (watched or self._early or self._hal.stretched_ms):
                self._watching = self.fieldbus.start_watch(self._left_us())
        return False

    def _serve_others(self):
        """True if the line is in use: one transaction of those between rounds, or flash and collector at least, go
        before a round that is due, since with devices this slow they would never have their turn."""
        self._crowded = 0
        if self.fieldbus.work(self.fieldbus.slow_us):
            return True
        self._use_slack(GC_SLACK_US)
        return False

    def _looked(self):
        """True if what the look at the PCC meter found has begun a decision before its time, one in each period."""
        if self.fieldbus.bus.busy:
            return False
        self._watching = False
        if not (self.fieldbus.finish_watch() and self._controller.import_pressing(self._image.pcc_import_w)):
            return False
        self._early = True
        self._open_image()
        self._image.pcc_age_ms = 0
        self.phase = DECIDE
        return True

    def _use_slack(self, left_us):
        """Flash and the collector have their known place: here, when the bus is quiet and there is time."""
        if left_us < GC_SLACK_US:
            return
        self._flush()
        passed_ms = (self._clock.ms - self._collected_ms) & MASK
        if passed_ms >= GC_MS and self.rounds - self._collected_round >= GC_ROUNDS:
            self._collected_ms = self._clock.ms
            self._collected_round = self.rounds
            gc.collect()
            if hasattr(gc, "mem_free"):
                self.heap_free = gc.mem_free()

    def _begin(self, left_us):
        self.worst_late_us = max(self.worst_late_us, -left_us)
        if -left_us >= self._period_us:  # one start or more was missed altogether: begin a new rhythm here
            self.overruns += -left_us // self._period_us
            self._start_us = self._clock.ticks_us
        else:
            self._start_us = (self._start_us + self._period_us) & MASK
        self._set_period()
        self._open_image()
        self._early = False
        self._sample = 0
        self._waits_for_bus = False
        self.phase = SAMPLE

    def _open_image(self):
        self._began_us = self._clock.ticks_us
        self._image.inputs = self._hal.inputs()
        self._image.now_s = self._clock.s
        self._image.begin((self._clock.ms - self._began_ms) & MASK)
        self._began_ms = self._clock.ms

    def _take_samples(self):
        fieldbus = self.fieldbus
        while self._sample < SAMPLES:
            if self._waits_for_bus:
                if fieldbus.bus.busy:
                    return False
                self._waits_for_bus = False
                fieldbus.finish_sample(self._sample)
                self._sample += 1
            elif self.fast is not None and self.fast.pressing(self._controller):
                break  # what is known is enough: the rest of the readings would only be late
            elif fieldbus.start_sample(self._sample):
                self._waits_for_bus = True
            else:
                self._sample += 1
        self.phase = DECIDE
        return True

    def _decide(self):
        controller = self._controller
        fast = self.fast
        if fast is not None:
            fast.measure(self._image, controller.events)
        self._image.commanded = self.fieldbus.inverter.armed
        controller.step(self._image)
        if fast is not None:
            fast.order(controller, self._image)
        if self.fieldbus.inverter.armed and not self.fieldbus.inverter.confirmed:
            controller.faults |= FAULT_WATCHDOG
        self._hal.set_outputs(controller.outputs | self.tested)
        if controller.command:
            self._waits_for_bus = self.fieldbus.start_setpoint(controller.setpoint_w)
        self.phase = ACTUATE
        return True

    def _actuate(self):
        if self._waits_for_bus:
            if self.fieldbus.bus.busy:
                return False
            self._waits_for_bus = False
            self.fieldbus.inverter.finish_setpoint()
        self.phase = REPORT
        return True

    def _finish(self):
        self.rounds += 1
        self.busy_us = (self._clock.ticks_us - self._began_us) & MASK
        self.worst_us = max(self.worst_us, self.busy_us)
        self._report()
        self.alive.round(self.fieldbus.bus.transactions)
        self.phase = WAIT
        return True
