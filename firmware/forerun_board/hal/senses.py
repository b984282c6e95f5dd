"""Climate sensors and pulse meter on a chip's pins; in memory only where the settings name one."""

import pins
from machine import I2C, Pin
from onewire import OneWire

from forerun_board.control.config import SENSOR_AIR, SENSOR_CELL
from forerun_board.drivers.climate import Climate, Ds18b20, Sht3x


def climate(config):
    """The climate sensors that the settings name."""
    cell = air = None
    if config.sensors & SENSOR_CELL:
        cell = Ds18b20(OneWire(Pin(pins.ONE_WIRE)))
    if config.sensors & SENSOR_AIR:
        air = Sht3x(I2C(0, sda=Pin(pins.SDA), scl=Pin(pins.SCL), freq=100_000))
    return Climate(cell, air)


def count_pulses(meter, clock):
    """Have every falling edge of the pulse input counted by `meter`."""
    pin = Pin(pins.PULSE, Pin.IN, Pin.PULL_UP)
    pin.irq(lambda _: meter.pulse(clock.ms), Pin.IRQ_FALLING)
