"""What boards with a microcontroller share; a chip's own module adds its name and its watchdog."""

import os
import sys

import pins  # boards/<board>/pins.py, which lies in the root of the board's files
from machine import WDT, Pin, reset_cause, unique_id

from forerun_board.clock import Clock
from forerun_board.control.controller import OUTPUT_GENSET_START, OUTPUT_TRIP
from forerun_board.control.image import INPUT_DOOR, INPUT_EMERGENCY_STOP
from forerun_board.hal.restart import restart, store
from forerun_board.hal.uart import UartLine
from forerun_board.hal.waiter import Waiter

LINK_BAUD = 115200


class Chip:
    """A board. The REPL stays where it is; link and bus each have a UART.

    Safety contacts are closed when all is well, so a broken wire stops the site. A closed maintenance contact at start
    keeps the control from starting, and with it the watchdog, so that files can be replaced at leisure.
    """

    def __init__(self, watchdog_ms):
        if Pin(pins.MAINTENANCE, Pin.IN, Pin.PULL_UP).value() == 0:
            raise SystemExit("the maintenance contact is closed: open it and reset the board to start the control")
        self.clock = Clock()
        self.stretched_ms = 0
        self.board = pins.BOARD
        self.interpreter = "MicroPython %d.%d.%d %s" % (sys.implementation.version[:3] + (sys.platform,))
        self.identity = pins.BOARD + "-" + "".join(["%02x" % byte for byte in unique_id()])
        self.store = store()
        self._stop = Pin(pins.EMERGENCY_STOP, Pin.IN, Pin.PULL_UP)
        self._door = Pin(pins.DOOR, Pin.IN, Pin.PULL_UP)
        self._trip = Pin(pins.TRIP, Pin.OUT, value=0)
        self._genset_start = Pin(pins.GENSET_START, Pin.OUT, value=0)
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
        self._waiter.wait(us)

    def inputs(self):
        """Bits of the open safety contacts."""
        return (INPUT_EMERGENCY_STOP if self._stop.value() else 0) | (INPUT_DOOR if self._door.value() else 0)

    def set_outputs(self, bits):
        """Drive the trip and the genset contact."""
        self._trip.value(1 if bits & OUTPUT_TRIP else 0)
        self._genset_start.value(1 if bits & OUTPUT_GENSET_START else 0)

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
