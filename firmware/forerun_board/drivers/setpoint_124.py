"""Active power setpoint through SunSpec model 124 (basic storage controls), in percent.

Model 124 pins the power from both sides: the discharge rate OutWRte is the upper bound and the charge rate InWRte,
negated, the lower one, so OutWRte = p and InWRte = -p leave exactly p.
"""

from forerun_board.drivers.sunspec import scale_valid, scaled

WCHA_MAX = 2
STOR_CTL_MOD = 5
OUT_W_RTE = 12
IN_W_RTE = 13
IN_OUT_RVRT_TMS = 15
CHA_GRI_SET = 17
WCHA_MAX_SF = 18
IN_OUT_SF = 25
STORAGE_COUNT = 26
CONTROL_CHARGE_AND_DISCHARGE = 3
FROM_GRID = 1

WATCHDOG_MAX_S = 0xFFFF


class Setpoint124:
    """Power as a share of WChaMax, bounded from both sides, with its reversion timer."""

    def __init__(self, device, address):
        self._device = device
        self._address = address
        self._full_w = 1
        self._full_counts = 1
        self.capable = False

    def prepare(self):
        """Generator: read WChaMax and the scale factors; `capable` says whether setpoints can be written."""
        self.capable = False
        good = yield from self._device.get(self._address, STORAGE_COUNT)
        if not good:
            return
        bus = self._device.bus
        scale = bus.i16(IN_OUT_SF)
        if not (scale_valid(bus.i16(WCHA_MAX_SF)) and -2 <= scale <= 0) or bus.u16(WCHA_MAX) in (0, 0xFFFF):
            self._device.refused(self._address + WCHA_MAX)
            return
        self._full_w = max(1, scaled(bus.u16(WCHA_MAX), bus.i16(WCHA_MAX_SF)))
        self._full_counts = scaled(100, -scale)
        self.capable = True

    def counts(self, power_w):
        """The register value for `power_w`, its size cut down, at most 100 %."""
        size = min(abs(power_w), self._full_w) * self._full_counts // self._full_w
        return size if power_w >= 0 else -size

    def start_write(self, counts):
        """Start writing OutWRte and InWRte, both in one frame so that they never contradict each other."""
        bus = self._device.bus
        bus.values[0] = counts & 0xFFFF
        bus.values[1] = -counts & 0xFFFF
        bus.write(self._device.unit, self._address + OUT_W_RTE, 2)

    def arm(self, counts, watchdog_s):
        """Generator: enable both rates with their reversion; True if each write was accepted."""
        put = self._device.put
        at = self._address
        return (
            (yield from put(at + OUT_W_RTE, counts & 0xFFFF, -counts & 0xFFFF))
            and (yield from self.refresh(watchdog_s))
            and (yield from put(at + CHA_GRI_SET, FROM_GRID))
            and (yield from put(at + STOR_CTL_MOD, CONTROL_CHARGE_AND_DISCHARGE))
        )

    def refresh(self, watchdog_s):
        """Generator: start the reversion timer anew, never with 0, which would mean never; True if accepted."""
        return (yield from self._device.put(self._address + IN_OUT_RVRT_TMS, max(1, min(watchdog_s, WATCHDOG_MAX_S))))

    def confirm(self, watchdog_s):
        """Generator: 1 if the inverter says that rates and watchdog are armed, 0 if not, -1 if it did not say."""
        good = yield from self._device.get(self._address + STOR_CTL_MOD, IN_OUT_RVRT_TMS - STOR_CTL_MOD + 1)
        if not good:
            return -1
        bus = self._device.bus
        armed = bus.u16(0) == CONTROL_CHARGE_AND_DISCHARGE and bus.u16(IN_OUT_RVRT_TMS - STOR_CTL_MOD) == watchdog_s
        return 1 if armed else 0
