"""What all SunSpec devices share: finding the models, scaling with their scale factors, and the device's health."""

from forerun_board.drivers.modbus_rtu import EXCEPTION, OK

BASES = (40000, 0, 50000)
MODELS_MAX = 32
END = 0xFFFF
NOT_IMPLEMENTED_I16 = -0x8000
NOT_IMPLEMENTED_U16 = 0xFFFF
RESCALED = 2  # an answer of confirm(): the registers count in another size than when they were written
SCALE_MAX = 10
DOWN_AFTER = 3  # failures in a row

# What a driver's generator yields to the round that drives it.
ASK = 0  # wants to start a transaction when the line has time for it
WAIT = 1  # its transaction is under way

_POWERS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
VALUE_MAX = 500_000_000
ENERGY_MAX_WH = (1 << 63) - 1


def scaled(value, scale):
    """value * 10**scale, cut towards minus infinity and held inside ±VALUE_MAX, without leaving 31 bits."""
    if scale >= 0:
        if value == 0:
            return 0
        if scale > 8 or abs(value) > VALUE_MAX // _POWERS[scale]:
            return VALUE_MAX if value > 0 else -VALUE_MAX
        return value * _POWERS[scale]
    if scale < -8:
        return 0 if value >= 0 else -1
    return max(-VALUE_MAX, min(VALUE_MAX, value // _POWERS[-scale]))


def energy_wh(count, scale):
    """count * 10**scale in Wh, at most what fits the 64 bits of a record; not for the cycle."""
    return min(count * 10**scale, ENERGY_MAX_WH) if scale >= 0 else count // 10**-scale


def scale_valid(scale):
    """True for a scale factor that the standard permits."""
    return -SCALE_MAX <= scale <= SCALE_MAX


class SunspecDevice:
    """One unit on the bus: `attached` once its models are known, `down` after failures in a row.

    `refuse(address, unit)` is called when a device begins to answer with something that must not be believed.
    """

    def __init__(self, bus, unit, refuse):
        self.unit = unit
        self.attached = False
        self.down = True
        self.failures = 0
        self.models = {}  # model id -> (address of its id register, length)
        self.bus = bus
        self._refuse = refuse
        self._refused = False

    def succeeded(self):
        """The device answered, and with sense."""
        self.failures = 0
        self.down = False
        self._refused = False

    def failed(self):
        """The device was silent, garbled or made no sense."""
        self.failures = min(self.failures + 1, 1000)
        if self.failures >= DOWN_AFTER:
            self.down = True

    def refused(self, address):
        """An answer that must not be believed: an event the first time, a failure each time."""
        if not self._refused:
            self._refused = True
            self._refuse(address, self.unit)
        self.failed()

    def get(self, address, count, retries=1):
        """Generator: True if `count` registers at `address` are now in the bus's answer."""
        yield from self._ask(address, count, retries)
        return self._settle(address)

    def _ask(self, address, count, retries):
        yield ASK
        self.bus.read(self.unit, address, count, retries)
        while self.bus.busy:
            yield WAIT

    def put(self, address, *registers):
        """Generator: True if exactly these registers were written (function 16)."""
        yield ASK
        for i in range(len(registers)):
            self.bus.values[i] = registers[i]
        self.bus.write(self.unit, address, len(registers))
        while self.bus.busy:
            yield WAIT
        return self._settle(address)

    def _settle(self, address):
        if self.bus.outcome == OK:
            return True
        if self.bus.outcome == EXCEPTION:
            self.refused(address)
        else:
            self.failed()
        return False

    def discover(self):
        """Generator: True if a SunSpec map was found; `models` then holds the first of each model."""
        self.attached = False
        self.models = {}
        for base in BASES:
            yield from self._ask(base, 2, 0)
            if self.bus.outcome == OK:
                if self.bus.u16(0) == 0x5375 and self.bus.u16(1) == 0x6E53:
                    return (yield from self._walk(base + 2))
            elif self.bus.outcome != EXCEPTION:
                break  # nobody there: no need to ask three times
        self.failed()
        return False

    def _walk(self, address):
        for _ in range(MODELS_MAX):
            found = yield from self.get(address, 2)
            if not found:
                return False
            model = self.bus.u16(0)
            length = self.bus.u16(1)
            if model == END:
                return True
            if model not in self.models:
                self.models[model] = (address, length)
            address += 2 + length
            if address > 0xFFFF:
                break
        self.refused(address)
        return False
