"""What keeps a battery well beyond what its BMS announces: taper near full and empty, temperature, no dew."""

from forerun_board.control.curve import Curve

COLDEST_DECIC = -250
HOTTEST_DECIC = 600
UNKNOWN_PERMILLE = 500

# Lithium iron phosphate. Charging below 0 °C plates lithium, so there is none; from 0 to 10 °C it comes back slowly.
# Common limits of cell data sheets: charge 0…55 °C, discharge -20…60 °C, derated towards both ends.
CHARGE = (0, 0, 50, 300, 100, 1000, 400, 1000, 500, 300, 550, 0)
DISCHARGE = (-200, 0, -100, 400, 0, 1000, 450, 1000, 600, 0)
# Constant current up to 90 %, then the current that a constant voltage leaves.
TAPER_FULL = (900, 1000, 950, 500, 990, 100, 1000, 0)
TAPER_EMPTY = (20, 0, 50, 300, 100, 1000)

# Pressure of saturated water vapour in Pa (Magnus formula over water) each 10 °C from -30 to 60 °C.
_SATURATION_PA = (51, 125, 286, 611, 1228, 2339, 4246, 7384, 12349, 19946)


class BatteryCare:
    """`charge_permille` and `discharge_permille` of the rated power; `heat`, `fan` and `dew` for the outputs."""

    def __init__(self, config):
        self._charge = Curve(CHARGE)
        self._discharge = Curve(DISCHARGE)
        self._full = Curve(TAPER_FULL)
        self._empty = Curve(TAPER_EMPTY)
        self._heater = Thermostat(config.heater_decic, config.heater_decic + 50)
        self._fan = Thermostat(config.fan_decic, config.fan_decic - 50)
        self._guard = Thermostat(950, 850)  # permille of saturation at the cold surface
        self.charge_permille = 0
        self.discharge_permille = 0
        self.heat = False
        self.fan = False
        self.dew = False

    def step(self, cell_decic, soc_permille, air_decic, humidity_permille):
        """Temperatures in 0.1 °C; `humidity_permille` < 0: not measured. Beyond -25…+60 °C nothing flows.

        Dew: the air is heated, and not blown, until its vapour is clearly below what saturates at the cells.
        """
        self.dew = humidity_permille >= 0 and self._guard.step(
            surface_humidity_permille(cell_decic, air_decic, humidity_permille)
        )
        self.heat = self._heater.step(cell_decic) or self.dew
        self.fan = self._fan.step(cell_decic) and not self.dew
        if not COLDEST_DECIC <= cell_decic <= HOTTEST_DECIC:
            self.charge_permille = 0
            self.discharge_permille = 0
            return
        charge = self._charge.at(cell_decic)
        if soc_permille > TAPER_FULL[0]:
            charge = min(charge, self._full.at(soc_permille))
        self.charge_permille = charge
        discharge = self._discharge.at(cell_decic)
        if soc_permille < TAPER_EMPTY[-2]:
            discharge = min(discharge, self._empty.at(soc_permille))
        self.discharge_permille = discharge

    def lose(self):
        """The temperature is not known: no charging by guesswork, it may be freezing, and discharge by half."""
        self.charge_permille = 0
        self.discharge_permille = min(self.discharge_permille, UNKNOWN_PERMILLE)
        self.heat = False


class Thermostat:
    """On at one threshold, off at another: above and below it (`on` > `off`), or the other way round."""

    def __init__(self, on, off):
        self._on = on
        self._off = off
        self.active = False

    def step(self, value):
        """Whether it is on, now that the measurement is `value`."""
        if self._on > self._off:
            self.active = value >= self._on or (self.active and value > self._off)
        else:
            self.active = value <= self._on or (self.active and value < self._off)
        return self.active


def surface_humidity_permille(surface_decic, air_decic, humidity_permille):
    """Relative humidity of the air where it touches a surface, in permille; 1000 and more is dew. At most 10000."""
    vapour_pa = saturation_pa(air_decic) * max(0, min(1000, humidity_permille)) // 1000
    return min(10_000, vapour_pa * 1000 // saturation_pa(surface_decic))


def saturation_pa(decic):
    """Pressure of saturated water vapour at `decic` (0.1 °C, held inside -30…60 °C) in Pa; within 10 %."""
    decic = max(-300, min(599, decic)) + 300
    low = _SATURATION_PA[decic // 100]
    return low + (_SATURATION_PA[decic // 100 + 1] - low) * (decic % 100) // 100
