"""PV strings of a hybrid inverter, SunSpec model 160; in memory only where no PV meter is commissioned."""

from forerun_board.control.image import saturated_w
from forerun_board.drivers.sunspec import NOT_IMPLEMENTED_U16, scale_valid, scaled

MODEL = 160
SCALE_AT = 4  # DCW_SF
COUNT_AT = 8
MODULE_AT = 10
MODULE_SIZE = 20
POWER_IN_MODULE = 11
STRINGS_MAX = 6


def read_strings(device):
    """Generator: DC power of all strings of the inverter `device` in W, or -1."""
    at = device.models[MODEL][0]
    good = yield from device.get(at + SCALE_AT, COUNT_AT - SCALE_AT + 1)
    if not good:
        return -1
    scale, count = device.bus.i16(0), device.bus.u16(COUNT_AT - SCALE_AT)
    if not scale_valid(scale) or not 1 <= count <= STRINGS_MAX:
        device.refused(at + SCALE_AT)
        return -1
    total_w = 0
    for i in range(count):
        good = yield from device.get(at + MODULE_AT + MODULE_SIZE * i + POWER_IN_MODULE, 1)
        if not good:
            return -1
        if device.bus.u16(0) != NOT_IMPLEMENTED_U16:
            total_w += saturated_w(scaled(device.bus.u16(0), scale))
    return total_w
