"""An LFP battery: stored energy, open-circuit voltage, internal resistance and the limits its BMS announces."""

from math import sqrt

# Open-circuit voltage of one LFP cell every 5 % of SoC: flat in the middle, steep at both ends.
_CELL_OCV = (2.90, 3.16, 3.21, 3.235, 3.255, 3.27, 3.283, 3.290, 3.294, 3.297, 3.300,
             3.303, 3.306, 3.315, 3.328, 3.332, 3.334, 3.336, 3.339, 3.347, 3.450)


class Battery:
    """Stored energy in Wh and DC power in W; dc_w > 0 discharges."""

    __slots__ = (
        "_cells", "_r_ohm", "bms_charge_cap_w", "bms_discharge_cap_w", "capacity_wh", "charge_max_w", "connected",
        "current_a", "dc_w", "discharge_max_w", "empty_soc", "energy_wh", "ohmic_wh", "rated_w", "temperature_c",
        "voltage_v",
    )

    def __init__(self, capacity_wh: float, soc: float, rated_w: float, cells: int, r_ohm: float,
                 temperature_c: float, empty_soc: float = 0.02):
        self.capacity_wh = capacity_wh
        self.energy_wh = capacity_wh * soc
        self.rated_w = rated_w
        self._cells = cells
        self._r_ohm = r_ohm
        self.temperature_c = temperature_c
        self.empty_soc = empty_soc  # the BMS opens discharge here
        self.connected = True
        self.bms_charge_cap_w = rated_w  # lowered by the fault "BMS limit cut"
        self.bms_discharge_cap_w = rated_w
        self.current_a = 0.0
        self.dc_w = 0.0
        self.ohmic_wh = 0.0
        self.voltage_v = self.open_circuit_v()
        self.charge_max_w = 0.0
        self.discharge_max_w = 0.0
        self.limit()

    @property
    def soc(self) -> float:
        """State of charge, 0 to 1, of the stored energy."""
        return self.energy_wh / self.capacity_wh

    @property
    def rated_ah(self) -> float:
        """Charge in Ah at the flat middle of the voltage curve."""
        return self.capacity_wh / (_CELL_OCV[10] * self._cells)

    def open_circuit_v(self) -> float:
        """Pack voltage in V with no current."""
        place = self.energy_wh / self.capacity_wh * 20.0
        index = int(place)
        if index >= 20:
            return _CELL_OCV[20] * self._cells
        low = _CELL_OCV[index]
        return (low + (_CELL_OCV[index + 1] - low) * (place - index)) * self._cells

    def limit(self) -> None:
        """Set charge_max_w and discharge_max_w (DC W, >= 0) from SoC, temperature, contactor and BMS cut.

        Charge tapers from 90 % SoC to nothing at 100 %, discharge over the last 3 % above empty; LFP takes no
        charge below 0 °C.
        """
        soc = self.energy_wh / self.capacity_wh
        charge_w = discharge_w = self.rated_w
        if soc > 0.9:
            charge_w *= (1.0 - soc) * 10.0 if soc < 1.0 else 0.0
        if soc < self.empty_soc + 0.03:
            discharge_w *= (soc - self.empty_soc) / 0.03 if soc > self.empty_soc else 0.0
        if self.temperature_c < 0.0:
            charge_w = 0.0
        if not self.connected:
            charge_w = discharge_w = 0.0
        self.charge_max_w = min(charge_w, self.bms_charge_cap_w)
        self.discharge_max_w = min(discharge_w, self.bms_discharge_cap_w)

    def step(self, dc_w: float, hours: float) -> None:
        """Draw dc_w (> 0 discharges) at the terminals for `hours`; what the resistance burns comes on top."""
        ocv = self.open_circuit_v()
        r = self._r_ohm
        root = ocv * ocv - 4.0 * r * dc_w
        current = (ocv - sqrt(root)) / (2.0 * r) if root > 0.0 else ocv / (2.0 * r)
        self.energy_wh -= ocv * current * hours
        self.ohmic_wh += current * current * r * hours
        if self.energy_wh < 0.0:
            self.energy_wh = 0.0
        self.current_a = current
        self.voltage_v = ocv - current * r
        self.dc_w = dc_w
        self.limit()
