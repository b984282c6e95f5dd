"""SunSpec three-phase meter, model 203 (also 201, 202, 204: same layout): power, voltage, frequency, energy."""

from forerun_board.control.image import saturated_w
from forerun_board.drivers.modbus_rtu import OK
from forerun_board.drivers.sunspec import (
    NOT_IMPLEMENTED_I16,
    SunspecDevice,
    energy_wh,
    scale_valid,
    scaled,
)

METER_MODELS = (203, 201, 202, 204)
FAST_COUNT = 23  # ID … W_SF
POWER_AT = 18
WATCH_COUNT = 5  # W … W_SF
DEAD_MV = 115_000
ENERGY_AT = 38  # TotWhExp … TotWh_SF
ENERGY_COUNT = 17


class MeterSunspec(SunspecDevice):
    """A meter. `power_w` > 0 imports (flows from the PCC's or source's side, as the meter counts TotWhImp)."""

    def __init__(self, bus, unit, refuse):
        super().__init__(bus, unit, refuse)
        self.power_w = 0
        self.voltage_mv = -1  # lowest of the phases that are there, -1: tells none
        self.frequency_millihz = 0  # 0: does not tell
        self.needs_voltage = self.needs_frequency = False  # a reading without them is refused
        self.import_wh = 0
        self.export_wh = 0
        self.energy_fresh = False
        self._address = 0
        self._length = 0

    def attach(self):
        """Generator: find the meter's model, or make sure that it is still where it was."""
        if self.attached:
            same = yield from self.get(self._address, FAST_COUNT, 0)
            if same and self.take_fast():
                return
            if not same:
                return
        found = yield from self.discover()
        if not found:
            return
        for model in METER_MODELS:
            if model in self.models:
                self._address, self._length = self.models[model]
                if self._length == 105:
                    self.attached = True
                    self.succeeded()
                    return
        self.refused(self._address)

    def start_fast(self):
        """Start the round's reading."""
        self.bus.read(self.unit, self._address, FAST_COUNT)

    def finish_fast(self):
        """True if the round's reading is good: power_w, voltage_mv and frequency_millihz are new."""
        return self._settle(self._address) and self.take_fast()

    def start_watch(self):
        """Start the shortest reading there is: the power alone."""
        self.bus.read(self.unit, self._address + POWER_AT, WATCH_COUNT, 0)

    def finish_watch(self):
        """True if the power is new. A failure counts for nothing: the round's own readings judge the meter."""
        bus = self.bus
        if bus.outcome != OK or bus.i16(0) == NOT_IMPLEMENTED_I16 or not scale_valid(bus.i16(4)):
            return False
        self.power_w = saturated_w(scaled(bus.i16(0), bus.i16(4)))
        return True

    def take_fast(self):
        """True if the bus's answer is a meter's; stores it."""
        bus = self.bus
        if bus.u16(0) not in METER_MODELS or bus.u16(1) != self._length:
            self.attached = False
            self.refused(self._address)
            return False
        volt_scale = bus.i16(15)
        hertz_scale = bus.i16(17)
        watt_scale = bus.i16(22)
        if (
            bus.i16(18) == NOT_IMPLEMENTED_I16
            or not scale_valid(watt_scale)
            or not scale_valid(volt_scale)
            or not scale_valid(hertz_scale)
        ):
            self.refused(self._address)
            return False
        lowest = -1
        for i in range(7, 11):  # the mean, then the phases
            volts = bus.i16(i)
            if volts >= 0 and (lowest < 0 or volts < lowest):
                lowest = volts
        voltage_mv = -1 if lowest < 0 else scaled(lowest, volt_scale + 3)
        hertz = bus.i16(16)
        # A grid without voltage has no frequency either.
        if (voltage_mv < 0 and self.needs_voltage) or (hertz <= 0 and voltage_mv > DEAD_MV and self.needs_frequency):
            self.refused(self._address)
            return False
        self.power_w = saturated_w(scaled(bus.i16(18), watt_scale))
        self.voltage_mv = voltage_mv
        self.frequency_millihz = scaled(max(0, hertz), hertz_scale + 3)
        self.succeeded()
        return True

    def read_fast(self):
        """Generator: True if the reading is good, for a meter that is read between rounds."""
        good = yield from self.get(self._address, FAST_COUNT)
        return good and self.take_fast()

    def read_energy(self):
        """Generator: bring import_wh and export_wh up to date; `energy_fresh` says whether that worked."""
        good = yield from self.get(self._address + ENERGY_AT, ENERGY_COUNT)
        if not good:
            return
        bus = self.bus
        scale = bus.i16(16)
        if not scale_valid(scale):
            self.refused(self._address + ENERGY_AT)
            return
        self.export_wh = energy_wh(bus.u32(0), scale)
        self.import_wh = energy_wh(bus.u32(8), scale)
        self.energy_fresh = True
        self.succeeded()
