"""Contacts on an I²C expander: islanding, load shedding, tank; in memory only where a board's pins name one."""

import pins
from machine import I2C, Pin

from forerun_board.control import controller as ctl
from forerun_board.control import image as im
from forerun_board.drivers.expander import Expander

TIMEOUT_US = 1_000  # a bus that hangs must not hold the round up: three times what a transfer takes


class Contacts:
    """Port A: GPA0 form, GPA1 synchronise, GPA2 to GPA4 the groups of loads, high is on. Port B: GPB0 float switch,
    to ground when the tank is low, GPB1 insulation monitor, to ground when all is well, if pins.EXPANDER_INSULATION."""

    def __init__(self):
        i2c = I2C(0, sda=Pin(pins.SDA), scl=Pin(pins.SCL), freq=100_000, timeout=TIMEOUT_US)
        self._expander = Expander(i2c, pins.EXPANDER)
        self._expander.drive(0)

    def look(self):
        """Read the inputs ahead of the round that will ask for them; at most TIMEOUT_US."""
        self._expander.look()

    def inputs(self):
        """Bits as control/image.py names them. Silence opens the insulation contact; a tank nobody sees is not low."""
        port = self._expander.read()
        bits = 0
        if port >= 0 and not port & 1:
            bits |= im.INPUT_FUEL_LOW
        if pins.EXPANDER_INSULATION and (port < 0 or port & 2):
            bits |= im.INPUT_INSULATION
        return bits

    def drive(self, outputs):
        """The outputs as control/controller.py names them."""
        bits = (outputs >> ctl.OUTPUT_SHED_SHIFT & 7) << 2
        if outputs & ctl.OUTPUT_FORM:
            bits |= 1
        if outputs & ctl.OUTPUT_SYNCHRONISE:
            bits |= 2
        self._expander.drive(bits)
