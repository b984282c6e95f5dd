"""Active power limit through SunSpec model 123 (immediate controls), for an inverter without storage controls."""

from forerun_board.drivers.sunspec import scale_valid, scaled

WMAX_121 = 2
WMAX_SF_121 = 22
WMAX_LIM_PCT = 5
WMAX_LIM_RVRT_TMS = 7
WMAX_LIM_ENA = 9
WMAX_LIM_SF = 23
WATCHDOG_MAX_S = 0xFFFF


class Setpoint123:
    """Power as a share of WMax, bounded from above only: this inverter cannot be told to charge."""

    def __init__(self, device, address, settings_address):
        self._device = device
        self._address = address
        self._settings_address = settings_address
        self._full_w = 1
        self._full_counts = 1
        self.capable = False

    def prepare(self):
        """Generator: read WMax (model 121) and the scale factor; `capable` says whether setpoints can be written."""
        self.capable = False
        good = yield from self._device.get(self._settings_address, WMAX_SF_121 + 1)
        if not good:
            return
        bus = self._device.bus
        if not scale_valid(bus.i16(WMAX_SF_121)) or bus.u16(WMAX_121) in (0, 0xFFFF):
            self._device.refused(self._settings_address + WMAX_121)
            return
        self._full_w = max(1, scaled(bus.u16(WMAX_121), bus.i16(WMAX_SF_121)))
        good = yield from self._device.get(self._address + WMAX_LIM_SF, 1)
        if not good:
            return
        if not -2 <= bus.i16(0) <= 0:
            self._device.refused(self._address + WMAX_LIM_SF)
            return
        self._full_counts = scaled(100, -bus.i16(0))
        self.capable = True

    def counts(self, power_w):
        """The register value for `power_w`, cut down, 0 … 100 %."""
        return max(0, min(power_w, self._full_w)) * self._full_counts // self._full_w

    def start_write(self, counts):
        """Start writing WMaxLimPct and nothing else."""
        bus = self._device.bus
        bus.values[0] = counts
        bus.write(self._device.unit, self._address + WMAX_LIM_PCT, 1)

    def arm(self, counts, watchdog_s):
        """Generator: enable the limit with its reversion; True if each write was accepted."""
        put = self._device.put
        return (
            (yield from put(self._address + WMAX_LIM_PCT, counts))
            and (yield from self.refresh(watchdog_s))
            and (yield from put(self._address + WMAX_LIM_ENA, 1))
        )

    def refresh(self, watchdog_s):
        """Generator: start the reversion timer anew, never with 0, which would mean never; True if accepted."""
        return (yield from self._device.put(self._address + WMAX_LIM_RVRT_TMS, max(1, min(watchdog_s, WATCHDOG_MAX_S))))

    def confirm(self, watchdog_s):
        """Generator: 1 if the inverter says that limit and watchdog are armed, 0 if not, -1 if it did not say."""
        good = yield from self._device.get(self._address + WMAX_LIM_PCT, WMAX_LIM_ENA - WMAX_LIM_PCT + 1)
        if not good:
            return -1
        bus = self._device.bus
        armed = bus.u16(WMAX_LIM_RVRT_TMS - WMAX_LIM_PCT) == watchdog_s and bus.u16(WMAX_LIM_ENA - WMAX_LIM_PCT) == 1
        return 1 if armed else 0
