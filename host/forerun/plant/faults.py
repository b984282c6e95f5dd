"""What others do to an emulated site: faults of grid, battery and inverter, and the board's contacts."""

from forerun.plant.island import FORM_US, OPEN_US


class ActedOn:
    """The part of a Site that is acted on; each method takes effect at the site's present instant."""

    def lose_grid(self) -> None:
        """The mains fail at this instant."""
        self.grid_live = False
        self._solve()

    def return_grid(self) -> None:
        """The mains are back."""
        self.grid_live = True
        self._solve()

    def set_grid_voltage(self, source_v: float) -> None:
        """The feeder's open-circuit phase voltage steps to source_v."""
        self.source_v = source_v
        self._solve()

    def set_grid_frequency(self, hz: float) -> None:
        """The mains' frequency steps to `hz`."""
        self.grid_hz = hz
        self._solve()

    def set_pv_limit(self, share: float) -> None:
        """The board's curtailment relays: PV feeds at most this share (0 to 1) of its rating."""
        self._pv_cap_w = 1e12 if share >= 1.0 else share * self.config.pv_rated_w
        self._solve()

    def set_pv_inverter_limit(self, share: float) -> None:
        """The PV inverter's own limit, through its registers: at most this share (0 to 1) of its rating."""
        self.pv_inverter_cap_w = 1e12 if share >= 1.0 else share * self.config.pv_rated_w
        self._solve()

    def set_shed(self, groups: int) -> None:
        """The board's shedding contacts: bit 0 switches the first group of loads off, and so on."""
        self._shed = sum(share for i, share in enumerate(self.config.load_groups) if groups >> i & 1)
        self._series_us = self.now_us
        self._due_now()

    def set_tie(self, is_open: bool) -> None:
        """The board's contact for the contactor to the grid: it has moved 30 ms later."""
        self.island.wanted_open = is_open
        self.at(self.now_us + OPEN_US, self._move_tie)

    def _move_tie(self) -> None:
        island = self.island
        if island.wanted_open == island.tie_open:
            return
        if island.wanted_open:
            island.tie_open = True
            if island.forming:
                self.at(self.now_us + FORM_US, self._form)
        else:
            island.meet(self._mains_pu(0.0), self.grid_hz)
        self._solve()

    def set_forming(self, on: bool) -> None:
        """The board asks the inverter to be the grid behind the open contactor, or no longer to be."""
        self.island.forming = on
        if on:
            self.at(self.now_us + FORM_US, self._form)
        elif self.island.live:
            self.island.live = False
            self._solve()

    def _form(self) -> None:
        island = self.island
        if island.forming and island.tie_open and not island.live and self.inverter.form():
            island.live = True
            self._solve()

    def set_synchronise(self, on: bool) -> None:
        """The board asks the forming inverter to follow the grid's voltage and frequency."""
        self.island.synchronise = on
        self._solve()

    def set_heater(self, on: bool) -> None:
        """The board's contact for the heater in the battery cabinet, fed by the site."""
        self.heater_on = on

    def set_fan(self, on: bool) -> None:
        """The board's contact for the fan in the battery cabinet."""
        self.fan_on = on

    def set_dump(self, on: bool) -> None:
        """The board's contact for the dump load."""
        self.dump_w = self.config.dump_w if on else 0.0
        self._solve()

    def cut_bms_limits(self, charge_w: float, discharge_w: float) -> None:
        """The BMS announces and enforces at most these DC powers (W, >= 0) from now on."""
        self.battery.bms_charge_cap_w = charge_w
        self.battery.bms_discharge_cap_w = discharge_w
        self.battery.limit()

    def set_battery_temperature(self, temperature_c: float) -> None:
        """Cell temperature in °C; below 0 nothing charges."""
        self.battery.temperature_c = temperature_c
        self.battery.limit()

    def restart_inverter(self) -> None:
        """Power-cycle the inverter: it forgets its settings and is away for wake_s + enter_service_s."""
        self.inverter.restart(self.now_us)
        self._solve()

    def set_trip(self, on: bool) -> None:
        """The board's trip output: on opens the inverter's contactor."""
        self.inverter.open_contactor(self.now_us, on)
        self._solve()

    def set_genset_start(self, on: bool) -> None:
        """The board's start contact: on warms the set and keeps it ready without load."""
        if self.config.genset_w:
            self.amf.set_remote_start(on, self.now_us)
