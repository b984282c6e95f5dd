"""What boards with a microcontroller share; a chip's own module adds its name and its watchdog."""

import os
import sys

import pins  # boards/<board>/pins.py, which lies in the root of the board's files
from machine import WDT, Pin, Timer, reset_cause, unique_id

from forerun_board.clock import Clock
from forerun_board.control import controller as ctl
from forerun_board.control import image as im
from forerun_board.hal.restart import restart, store
from forerun_board.hal.uart import UartLine
from forerun_board.hal.waiter import Waiter

LINK_BAUD = 115200
LOOK_US = 3_000  # with so much time to the next thing to do, the expander is asked


class Chip:
    """A board. The REPL stays where it is; link and bus each have a UART.

    A closed maintenance contact at start keeps the control from starting, and with it the watchdog, so that files can
    be replaced at leisure.
    """

    timer_id = -1
    hard_timer = True

    def __init__(self, watchdog_ms):
        if Pin(pins.MAINTENANCE, Pin.IN, Pin.PULL_UP).value() == 0:
            raise SystemExit("the maintenance contact is closed: open it and reset the board to start the control")
        self.clock = Clock()
        self.stretched_ms = 0
        self.board = pins.BOARD
        self.interpreter = "MicroPython %d.%d.%d %s" % (sys.implementation.version[:3] + (sys.platform,))
        self.identity = pins.BOARD + "-" + "".join(["%02x" % byte for byte in unique_id()])
        self.store = store()
        self._inputs = _inputs()
        self._trip = Pin(pins.TRIP, Pin.OUT, value=0)
        self._outputs = _outputs()
        self._pv_60 = None if pins.PV_60 is None else Pin(pins.PV_60, Pin.OUT, value=0)
        self._pv_0 = None if pins.PV_0 is None else Pin(pins.PV_0, Pin.OUT, value=0)
        self._more = None
        if getattr(pins, "EXPANDER", None) is not None:  # an update of the firmware leaves an older pins.py where it is
            from forerun_board.hal.contacts import Contacts

            self._more = Contacts()
        self._watchdog_ms = watchdog_ms

    def open_lines(self, bus_baud):
        """Open link and bus, and start the watchdog."""
        self.link = UartLine(pins.LINK_UART, LINK_BAUD, pins.LINK_TX, pins.LINK_RX, None)
        self.bus = UartLine(pins.BUS_UART, bus_baud, pins.BUS_TX, pins.BUS_RX, pins.BUS_DE)
        self._waiter = Waiter(self.clock, self.link.uart, self.bus.uart)
        self._watchdog = WDT(timeout=self._watchdog_ms)

    def set_bus_baud(self, baud):
        """Another speed from here on."""
        self.bus.set_baud(baud)

    def wait(self, us):
        """Until a byte comes, but at most `us`."""
        if self._more is not None and us >= LOOK_US:
            self._more.look()
            us -= LOOK_US // 2  # it took less; what is left is asked for again
        self._waiter.wait(us)

    def inputs(self):
        """Bits of the contacts, as control/image.py names them."""
        bits = 0
        for bit, pin, level in self._inputs:
            if pin.value() == level:
                bits |= bit
        return bits if self._more is None else bits | self._more.inputs()

    def set_outputs(self, bits):
        """Drive the contacts, as control/controller.py names them; PV's are never looser than its tenths."""
        self._trip.value(1 if bits & ctl.OUTPUT_TRIP else 0)
        for bit, pin in self._outputs:
            pin.value(1 if bits & bit else 0)
        if self._more is not None:
            self._more.drive(bits)
        tenths = bits >> ctl.OUTPUT_PV_SHIFT & 15
        some = 0 < tenths <= 4 and self._pv_60 is not None
        if self._pv_60 is not None:
            self._pv_60.value(1 if some else 0)
        if self._pv_0 is not None:
            self._pv_0.value(1 if tenths and not some else 0)

    def start_inner(self, state, config):
        """True: the inner loop runs on `state` from here on."""
        from forerun_board.hal.inner_loop import PERIOD_MS, InnerLoop

        loop = InnerLoop(state, config.stage_max_w, self._trip)
        self._timer = Timer(self.timer_id, period=PERIOD_MS, callback=loop.tick, hard=self.hard_timer)
        return True

    def climate(self, config):
        """The climate sensors that the settings name."""
        from forerun_board.hal.senses import climate

        return climate(config)

    def count_pulses(self, meter):
        """Have the pulse input counted by `meter`."""
        from forerun_board.hal.senses import count_pulses

        count_pulses(meter, self.clock)

    def feed(self):
        """A round is over: the watchdog begins anew."""
        self._watchdog.feed()

    def random(self, count):
        """`count` bytes that no other boot has."""
        return os.urandom(count)

    def reset_cause(self):
        """Why the board started, as machine.reset_cause() numbers it on this chip."""
        return reset_cause()

    def restart(self):
        """Start the board anew."""
        restart()


def _inputs():
    """(bit, pin, level that sets it) of the contacts that this board has. Safety contacts are closed to ground when all
    is well, so that a broken wire is noticed; the others close when there is something to say."""
    found = []
    for bit, number, level in (
        (im.INPUT_EMERGENCY_STOP, pins.EMERGENCY_STOP, 1),
        (im.INPUT_DOOR, pins.DOOR, 1),
        (im.INPUT_INSULATION, pins.INSULATION, 1),
        (im.INPUT_RESET, pins.RESET, 0),
        (im.INPUT_TIE_OPEN, pins.TIE_CONTACT, 0),
        (im.INPUT_GENSET_RUNNING, pins.GENSET_RUNNING, 0),
        (im.INPUT_FUEL_LOW, getattr(pins, "FUEL_LOW", None), 0),
    ):
        if number is not None:
            found.append((bit, Pin(number, Pin.IN, Pin.PULL_UP), level))
    return found


def _outputs():
    """(bit, pin) of the outputs that this board has besides the trip."""
    found = []
    for bit, number in (
        (ctl.OUTPUT_GENSET_START, pins.GENSET_START),
        (ctl.OUTPUT_HEATER, pins.HEATER),
        (ctl.OUTPUT_FAN, pins.FAN),
        (ctl.OUTPUT_DUMP, pins.DUMP),
        (ctl.OUTPUT_TIE_OPEN, pins.TIE_OPEN),
    ):
        if number is not None:
            found.append((bit, Pin(number, Pin.OUT, value=0)))
    return found
