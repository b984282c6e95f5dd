"""Active power setpoint through SunSpec model 704 (DER AC controls, IEEE 1547-2018 functions)."""

from forerun_board.drivers.sunspec import RESCALED, SCALE_MAX

WSET_ENA = 22
WSET_MOD = 23
WSET = 24  # i32
WSET_RVRT = 26  # i32
WSET_ENA_RVRT = 30
WSET_RVRT_TMS = 31  # u32
WSET_SF = 55
CONTROLS_COUNT = WSET_SF - WSET_ENA + 1
MODE_WATTS = 1
LEAST_SCALE = -3  # a megawatt in finer steps would not fit a board's integers, nor soon the register


class Setpoint704:
    """WSet in watts with its reversion timer; on reversion the inverter goes to 0 W."""

    def __init__(self, device, address):
        self._device = device
        self._address = address
        self._scale = 0
        self.capable = False

    def prepare(self):
        """Generator: read the scale factor; `capable` says whether setpoints can be written."""
        self.capable = False
        good = yield from self._device.get(self._address + WSET_SF, 1)
        if not good:
            return
        self._scale = self._device.bus.i16(0)
        if not LEAST_SCALE <= self._scale <= SCALE_MAX:
            self._device.refused(self._address + WSET_SF)
            return
        self.capable = True

    def counts(self, power_w):
        """The register value nearest below `power_w` in its size."""
        if self._scale >= 0:
            unit_w = 10 ** min(self._scale, 8)
            return power_w // unit_w if power_w >= 0 else -(-power_w // unit_w)
        return power_w * 10**-self._scale

    def start_write(self, counts):
        """Start writing WSet: its two registers and no other."""
        bus = self._device.bus
        bus.values[0] = (counts >> 16) & 0xFFFF
        bus.values[1] = counts & 0xFFFF
        bus.write(self._device.unit, self._address + WSET, 2)

    def arm(self, counts, watchdog_s):
        """Generator: enable the setpoint with its reversion; True if each write was accepted."""
        put = self._device.put
        at = self._address
        return (
            (yield from put(at + WSET, (counts >> 16) & 0xFFFF, counts & 0xFFFF))
            and (yield from put(at + WSET_RVRT, 0, 0))
            and (yield from put(at + WSET_ENA_RVRT, 1))
            and (yield from self.refresh(watchdog_s))
            and (yield from put(at + WSET_MOD, MODE_WATTS))
            and (yield from put(at + WSET_ENA, 1))
        )

    def refresh(self, watchdog_s):
        """Generator: start the reversion timer anew, never with 0, which would mean never; True if accepted."""
        return (yield from self._device.put(self._address + WSET_RVRT_TMS, 0, max(1, watchdog_s)))

    def confirm(self, watchdog_s):
        """Generator: 1 if the inverter says that setpoint and watchdog are armed, 0 if not, -1 if it did not say, or
        RESCALED."""
        good = yield from self._device.get(self._address + WSET_ENA, CONTROLS_COUNT)
        if not good:
            return -1
        bus = self._device.bus
        if bus.i16(WSET_SF - WSET_ENA) != self._scale:
            return RESCALED
        armed = (
            bus.u16(0) == 1
            and bus.u16(1) == MODE_WATTS
            and bus.u16(WSET_ENA_RVRT - WSET_ENA) == 1
            and bus.u16(WSET_RVRT_TMS - WSET_ENA) == 0
            and bus.u16(WSET_RVRT_TMS - WSET_ENA + 1) == watchdog_s
        )
        return 1 if armed else 0
