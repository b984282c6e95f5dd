"""SunSpec battery inverter: 701 or 103 measured, 704 or 124 or 123 commanded, 802 or 713 or 124 for the battery.

Beside these: 702, 121 or 120 for what it accepts, 122 for whether its storage is connected, 715 to wake it.
"""

from forerun_board.control.image import (
    INVERTER_ASLEEP,
    INVERTER_FAULT,
    INVERTER_RUNNING,
    INVERTER_WAKING,
    POWER_MAX_W,
    saturated_w,
)
from forerun_board.drivers.sunspec import (
    NOT_IMPLEMENTED_I16,
    NOT_IMPLEMENTED_U16,
    RESCALED,
    SunspecDevice,
    energy_wh,
    scale_valid,
    scaled,
)

LENGTHS = {701: 153, 103: 50, 704: 65, 713: 7, 802: 62, 715: 7, 123: 24, 124: 24, 121: 30, 702: 50, 120: 26, 122: 44}
FAST_COUNT_701 = 19  # ID … Hz
FAST_COUNT_103 = 39  # ID … St
SCALES_AT_701 = 113
SCALES_COUNT_701 = 10
ENERGY_AT_701 = 19  # TotWhInj, TotWhAbs
BATTERY_AT_802 = 11  # SoC … ADisChaMax
BATTERY_COUNT_802 = 36  # the longest reading in the rounds
SCALES_AT_802 = 52
OPCTL_AT_715 = 8
EXIT_STANDBY = 3
BATTERY_READY = (3, 4)  # connected, standby
STORAGE_AT_122 = 3  # StorConn
STORAGE_CONNECTED = 1
SOC_MOST_PERMILLE = 1020  # some count a little beyond full
SOC_JUMP_PERMILLE = 100
APART_W = 1000
APART_SAMPLES = 8  # readings in a row that are nowhere near the setpoint: is it still what the inverter has?

# InvSt of model 701 and St of model 103 in the words of the process image.
STATES_701 = (
    INVERTER_ASLEEP, INVERTER_ASLEEP, INVERTER_WAKING, INVERTER_RUNNING, INVERTER_RUNNING, INVERTER_WAKING,
    INVERTER_FAULT, INVERTER_ASLEEP,
)  # fmt: skip
STATES_103 = (
    INVERTER_FAULT, INVERTER_ASLEEP, INVERTER_ASLEEP, INVERTER_WAKING, INVERTER_RUNNING, INVERTER_RUNNING,
    INVERTER_WAKING, INVERTER_FAULT, INVERTER_ASLEEP,
)  # fmt: skip


class InverterSunspec(SunspecDevice):
    """The inverter with its battery. active_power_w > 0 discharges. `armed` once it follows our setpoint."""

    def __init__(self, bus, unit, refuse):
        super().__init__(bus, unit, refuse)
        self.active_power_w = 0
        self.voltage_mv = -1  # of its own terminals, -1: does not say
        self.frequency_millihz = 0
        self.state = INVERTER_ASLEEP
        self.soc_permille = 0
        self.charge_max_w = 0
        self.discharge_max_w = 0
        self.battery_fresh = False  # the last read_battery() was good
        self._soc_known = False
        self.charge_wh = 0
        self.discharge_wh = 0
        self.energy_fresh = False
        self.counts_energy = True  # False: no energy registers, the round integrates
        self.power_max_w = POWER_MAX_W
        # Setpoint704, 124 or 123: only the code of the one that is used comes into memory.
        self.setpoint: "Any" = None  # type: ignore  # noqa: F821
        self.written_counts = 0
        self._pending_counts = 0
        self.armed = False
        self.confirmed = False
        self.grid: "Any" = None  # type: ignore  # noqa: F821  GridSunspec, where such functions are commissioned
        self._scales_fresh = False
        self.scales_due = False  # a reading that may be due to another scale factor: it counts once they were read
        self.check_due = False
        self._written_w = 0
        self._apart = 0
        self._measured = 701
        self._address = 0
        self._watt_scale = 0
        self._volt_scale_701 = 0
        self._hertz_scale = 0
        self._energy_scale = 0
        self._battery_model = 0
        self._battery_address = 0
        self._soc_scale = 0
        self._volt_scale = 0
        self._ampere_scale = 0

    # ---- finding it

    def attach(self):
        """Generator: find the models, or make sure that they are still where they were."""
        if self.attached:
            same = yield from self.get(self._address, self._fast_count(), 0)
            if same and self.take_fast():
                self.armed = False  # it may have been without power
                return
            if not same:
                return
        self.armed = False
        found = yield from self.discover()
        if not found:
            return
        if not self._find():
            self.refused(self._address)
            return
        good = yield from self.read_scales()
        if not good:
            return
        yield from self._read_nameplate()
        yield from self.setpoint.prepare()
        if self.setpoint.capable:
            self.attached = True
            self.succeeded()

    def _model(self, model):
        """Address of `model` if it is there with the length that the standard gives it, else 0."""
        address, length = self.models.get(model, (0, 0))
        return address if length == LENGTHS[model] else 0

    def _find(self):
        """Choose the models to use; False if something indispensable is missing."""
        self._measured = 701 if self._model(701) else 103
        self._address = self._model(self._measured)
        self.counts_energy = self._measured == 701
        self._battery_model = 0
        for model in (802, 713, 124):
            if self._model(model):
                self._battery_model = model
                self._battery_address = self._model(model)
                break
        if self._model(704):
            from forerun_board.drivers.setpoint_704 import Setpoint704

            self.setpoint = Setpoint704(self, self._model(704))
        elif self._model(124):
            from forerun_board.drivers.setpoint_124 import Setpoint124

            self.setpoint = Setpoint124(self, self._model(124))
        elif self._model(123) and self._model(121):
            from forerun_board.drivers.setpoint_123 import Setpoint123

            self.setpoint = Setpoint123(self, self._model(123), self._model(121))
        else:
            return False
        return self._address != 0 and self._battery_model != 0

    def _read_nameplate(self):
        """Generator: the power it accepts, from model 702, 121 or 120; without one the settings alone hold."""
        self.power_max_w = POWER_MAX_W
        if self._model(702):
            good = yield from self.get(self._model(702) + 26, 20)
            scale = self.bus.i16(19)
        elif self._model(121):
            good = yield from self.get(self._model(121) + 2, 21)
            scale = self.bus.i16(20)
        elif self._model(120):
            good = yield from self.get(self._model(120) + 3, 2)
            scale = self.bus.i16(1)
        else:
            return
        if good and scale_valid(scale) and self.bus.u16(0) not in (0, NOT_IMPLEMENTED_U16):
            self.power_max_w = saturated_w(scaled(self.bus.u16(0), scale))

    def read_scales(self):
        """Generator: True if the scale factors that are not beside their values are up to date."""
        bus = self.bus
        self.scales_due = False
        self._scales_fresh = True
        if self._measured == 701:
            good = yield from self.get(self._address + SCALES_AT_701, SCALES_COUNT_701)
            if not good:
                return False
            self._volt_scale_701 = bus.i16(1)
            self._hertz_scale = bus.i16(2)
            self._watt_scale = bus.i16(3)
            self._energy_scale = bus.i16(7)
            if not scale_valid(self._watt_scale):
                self.refused(self._address + SCALES_AT_701 + 3)
                return False
            self.counts_energy = scale_valid(self._energy_scale)
        if self._battery_model == 802:
            good = yield from self.get(self._battery_address + SCALES_AT_802, 12)
            if not good:
                return False
            self._soc_scale = bus.i16(4)
            self._volt_scale = bus.i16(7)
            self._ampere_scale = bus.i16(10)
            if not (
                scale_valid(self._soc_scale) and scale_valid(self._volt_scale) and scale_valid(self._ampere_scale)
            ):
                self.refused(self._battery_address + SCALES_AT_802)
                return False
        return True

    # ---- the round's reading

    def _fast_count(self):
        return FAST_COUNT_701 if self._measured == 701 else FAST_COUNT_103

    def start_fast(self):
        """Start the round's reading."""
        self.bus.read(self.unit, self._address, self._fast_count())

    def finish_fast(self):
        """True if the round's reading is good: active_power_w and state are new."""
        return self._settle(self._address) and self.take_fast()

    def take_fast(self):
        """True if the bus's answer is the measuring model; stores it."""
        bus = self.bus
        if bus.u16(0) != self._measured or bus.u16(1) != LENGTHS[self._measured]:
            self.attached = False
            self.refused(self._address)
            return False
        if self._measured == 701:
            watts = bus.i16(10)
            code = bus.u16(4)
            if code == NOT_IMPLEMENTED_U16:
                code = 3 if bus.u16(3) == 1 else 0
            states = STATES_701
            # Two registers; a value that would leave 31 bits is none.
            hertz = bus.u16(17) << 16 | bus.u16(18) if bus.u16(17) < 0x1000 else NOT_IMPLEMENTED_U16
            self._take_bus(bus.u16(16), self._volt_scale_701, hertz, self._hertz_scale)
        else:
            watts = bus.i16(14)
            self._watt_scale = bus.i16(15)
            code = bus.u16(38)
            states = STATES_103
            self._take_bus(bus.u16(10), bus.i16(13), bus.u16(16), bus.i16(17))
        if watts == NOT_IMPLEMENTED_I16 or not scale_valid(self._watt_scale) or code >= len(states):
            self.refused(self._address)
            return False
        watts = saturated_w(scaled(watts, self._watt_scale))
        self.succeeded()
        if self._measured == 701 and not self._scales_fresh and self._is_doubtful(watts):
            self.scales_due = True
            return False
        self._scales_fresh = False
        self.active_power_w = watts
        self.state = states[code]
        far = self.armed and self.state == INVERTER_RUNNING
        far = far and abs(watts - self._written_w) > APART_W + abs(self._written_w) // 2
        self._apart = self._apart + 1 if far and self._apart < APART_SAMPLES else 0
        if self._apart == APART_SAMPLES:
            self.check_due = True
        return True

    def _take_bus(self, volts, volt_scale, hertz, hertz_scale):
        self.voltage_mv = -1
        if volts != NOT_IMPLEMENTED_U16 and scale_valid(volt_scale):
            self.voltage_mv = scaled(volts, volt_scale + 3)
        self.frequency_millihz = 0
        if hertz < 1_000_000 and hertz != NOT_IMPLEMENTED_U16 and scale_valid(hertz_scale):
            self.frequency_millihz = scaled(hertz, hertz_scale + 3)

    def _is_doubtful(self, watts):
        """Whether this power is another order of magnitude than the one before and the setpoint: some inverters change
        their scale factors at run time, and that of model 701 is not beside its value."""
        before, wanted = abs(self.active_power_w), abs(self._written_w)
        return abs(watts) > 3 * max(before, wanted, APART_W) or (
            before > APART_W and 5 * abs(watts) < before and 2 * wanted > before
        )

    # ---- slower readings

    def read_battery(self):
        """Generator: bring soc_permille, charge_max_w and discharge_max_w up to date, and set battery_fresh if so."""
        self.battery_fresh = False
        if self._battery_model == 802:
            yield from self._read_802()
            return
        if self._model(122):
            good = yield from self.get(self._model(122) + STORAGE_AT_122, 1)
            status = self.bus.u16(0)
            if not good or (status != NOT_IMPLEMENTED_U16 and not status & STORAGE_CONNECTED):
                return
        if self._battery_model == 713:
            good = yield from self.get(self._battery_address, 9)
            if good:
                self._take_soc(self.bus.u16(4), self.bus.i16(8))
        else:
            good = yield from self.get(self._battery_address, 26)
            if good:
                self._take_soc(self.bus.u16(8), self.bus.i16(22))

    def _read_802(self):
        good = yield from self.get(self._battery_address + BATTERY_AT_802, BATTERY_COUNT_802)
        if not good:
            return
        bus = self.bus
        volts = bus.u16(34 - BATTERY_AT_802)
        charge = bus.u16(45 - BATTERY_AT_802)
        discharge = bus.u16(46 - BATTERY_AT_802)
        state = bus.u16(22 - BATTERY_AT_802)
        if NOT_IMPLEMENTED_U16 in (volts, charge, discharge, state):
            self.refused(self._battery_address + 22)
            return
        ready = state in BATTERY_READY
        self._take_soc(bus.u16(0), self._soc_scale)
        decivolts = max(0, min(20_000, scaled(volts, self._volt_scale + 1)))
        self.charge_max_w = _power_w(decivolts, scaled(charge, self._ampere_scale + 1)) if ready else 0
        self.discharge_max_w = _power_w(decivolts, scaled(discharge, self._ampere_scale + 1)) if ready else 0

    def _take_soc(self, percent, scale):
        if percent == NOT_IMPLEMENTED_U16 or not scale_valid(scale):
            self.refused(self._battery_address)
            return
        permille = scaled(percent, scale + 1)
        strange = permille > SOC_MOST_PERMILLE
        if strange or (self._soc_known and abs(permille - self.soc_permille) > SOC_JUMP_PERMILLE):
            # No battery is so fast. Another scale factor? The next reading counts, with factors that are new.
            self.scales_due = True
            if strange and not self._soc_known:
                self.refused(self._battery_address)
            self._soc_known = False
            return
        self._soc_known = True
        self.soc_permille = min(1000, permille)
        if self._battery_model != 802:  # knows no limits of the moment: the settings hold
            self.charge_max_w = self.discharge_max_w = POWER_MAX_W
        self.battery_fresh = True
        self.succeeded()

    def read_energy(self):
        """Generator: bring charge_wh and discharge_wh up to date (model 701); `energy_fresh` says so."""
        good = yield from self.get(self._address + ENERGY_AT_701, 8)
        if not good:
            return
        scale = self._energy_scale
        if self.bus.u16(0) == NOT_IMPLEMENTED_U16 or self.bus.u16(4) == NOT_IMPLEMENTED_U16:
            self.counts_energy = False  # until its scale factors are read again: the round integrates
            return
        self.discharge_wh = energy_wh(self.bus.u64(0), scale)
        self.charge_wh = energy_wh(self.bus.u64(4), scale)
        self.energy_fresh = True

    # ---- commanding it

    def arm(self, power_w, watchdog_s):
        """Generator: hand over `power_w` together with the reversion that protects the site from a dead board."""
        self.armed = False
        yield from self.setpoint.prepare()
        if not self.setpoint.capable:
            return
        counts = self.setpoint.counts(self._accepted_w(power_w))
        accepted = yield from self.setpoint.arm(counts, watchdog_s)
        if not accepted:
            return
        answer = yield from self.setpoint.confirm(watchdog_s)
        if answer == RESCALED:
            return  # between the reading of the factor and the writing: once more
        self.armed = True
        self.confirmed = answer == 1
        self.written_counts = counts
        self._written_w = power_w
        self._apart = 0
        if self.grid is not None:
            self.grid.ready = False  # it may have forgotten these too

    def refresh(self, watchdog_s):
        """Generator: start the reversion timer anew; True if accepted."""
        return (yield from self.setpoint.refresh(watchdog_s))

    def check(self, watchdog_s):
        """Generator: see that the inverter still has what it was given; else it will be armed again."""
        self.check_due = False
        answer = yield from self.setpoint.confirm(watchdog_s)
        if answer == 1:
            self.confirmed = True
        elif answer == RESCALED or (answer == 0 and self.confirmed):
            self.armed = False

    def start_setpoint(self, power_w):
        """True if a write was started; False if the inverter has this setpoint already."""
        self._written_w = power_w
        counts = self.setpoint.counts(self._accepted_w(power_w))
        if counts == self.written_counts:
            return False
        self._pending_counts = counts
        self.setpoint.start_write(counts)
        return True

    def finish_setpoint(self):
        """Settle the write; a setpoint that was not taken is written again in the next round."""
        if self._settle(self.bus.address):
            self.written_counts = self._pending_counts

    def wake(self):
        """Generator: ask the inverter to leave standby, and to stay out of it (model 715)."""
        if self._model(715):
            yield from self.put(self._model(715) + OPCTL_AT_715, EXIT_STANDBY)

    def _accepted_w(self, power_w):
        return max(-self.power_max_w, min(self.power_max_w, power_w))


def _power_w(decivolts, deciamperes):
    return decivolts * max(0, min(20_000, deciamperes)) // 100
