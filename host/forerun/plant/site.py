"""The emulated site: feeder, inverter with battery, PV, servers and diesel set on one bus behind one clock.

Quasi-static RMS, three-phase balanced. Powers at the PCC: load = import + inverter + PV + genset.
"""

import heapq
from collections.abc import Callable
from math import acos, tan

from forerun.plant.battery import Battery
from forerun.plant.faults import ActedOn
from forerun.plant.feeder import pcc_voltage_v
from forerun.plant.genset import RUNNING, Amf, Genset
from forerun.plant.inverter import (
    ALARM_AC_DISCONNECT,
    ALARM_GRID_DISCONNECT,
    Inverter,
)
from forerun.plant.island import Island
from forerun.plant.quality import Quality
from forerun.plant.recording import Totals, Trace
from forerun.plant.series import NEVER, Series
from forerun.plant.site_config import SiteConfig

FINE_US = 10_000  # sub-step while power moves fast: one RMS half-cycle
FINE_W = 500.0  # inverter further than this from its target counts as moving fast
COARSE_US = 30_000_000
BUSY_US = 1_000_000  # step while a set runs, the bus is dead or low, or the inverter enters service
NEAR_DIP_PU = 0.93
MINUTE_US = 60_000_000


class Site(ActedOn):
    """One site. `now_us` only moves in advance(); attributes hold the state at now_us, after what fell due then."""

    def __init__(self, config: SiteConfig | None = None, *, loads: list[Series] | None = None,
                 pv: Series | None = None, seed: int = 0):
        self.config = config = config or SiteConfig()
        self.seed = seed
        self.now_us = 0
        self.battery = Battery(config.battery_wh, config.start_soc, config.battery_w, config.battery_cells,
                               config.battery_r_ohm, config.battery_temperature_c)
        self.inverter = Inverter(config, self.battery)
        self.genset = Genset(config.genset_w or 1.0, _us(config.genset_start_s), _us(config.genset_cool_s))
        self.amf = Amf(self.genset, config.amf_low_pu, config.amf_return_pu, _us(config.amf_delay_s),
                       _us(config.amf_min_run_s), _us(config.amf_return_s))
        self.quality = Quality()
        self.island = Island()
        self.source_v = config.source_v
        self.grid_live = True
        self.grid_hz = config.grid_hz
        self.pcc_ct = 1.0  # fault: share of the true power that the PCC meter shows; −1 all CTs backwards, 1/3 one of 3
        self._loads = list(loads or [])
        self._pv = pv
        self.tan_phi = tan(acos(config.load_power_factor))

        self.load_w = 0.0  # demand of servers and other loads
        self.pv_w = 0.0
        self.pcc_import_w = 0.0
        self.pcc_voltage_v = config.source_v
        self.bus_pu = 1.0
        self.frequency_hz = config.grid_hz
        self.genset_w = 0.0
        self._pv_available_w = 0.0
        self._pv_slope = 0.0
        self._pv_cap_w = 1e12  # by the curtailment relays
        self.pv_inverter_cap_w = 1e12  # by its own registers
        self._shed_w = 0.0
        self._shed = 0.0  # share of the load that is switched off
        self.shed_wh = 0.0
        self.heater_on = self.fan_on = False
        self.dump_w = 0.0  # what the dump load takes of a bus with voltage
        self._pv_back_us = 0  # PV inverters re-enter service then
        self._jobs_w: list[float] = []
        self._dead = False
        self._hold_up_until_us = NEVER
        self._ups_debt_wh = 0.0

        self.load_wh = self.unserved_wh = self.import_wh = self.export_wh = 0.0
        self.pv_wh = self.pv_curtailed_wh = self.ups_wh = self.ups_recharge_wh = 0.0
        self.peak_import_w = 0.0
        self.peak_import_1min_w = 0.0

        self._start_energy_wh = self.battery.energy_wh
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._queued = 0
        self._series_us = 0
        self._minute_us = MINUTE_US
        self._minute_mark = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._minute_v_us = 0.0
        self._minute_min_v = 1e9
        self.minutes = Trace()  # one row a minute: means of the minute that ends at t_us; pcc_min_v and soc are not
        self._recordings: list[tuple[int, int, int, Trace]] = []
        self._recording: tuple[int, int, int, Trace] | None = None
        self._recording_us = NEVER
        self._due_now()

    # --- scheduling ---------------------------------------------------------------------------------------------

    def at(self, at_us: int, action: Callable[[], object]) -> None:
        """Call `action` when the clock reaches at_us; equal times in the order given. ValueError for the past."""
        if at_us < self.now_us:
            raise ValueError(f"event at {at_us} us is before the site's clock, {self.now_us} us")
        heapq.heappush(self._queue, (at_us, self._queued, action))
        self._queued += 1

    def add_job(self, start_us: int, duration_us: int, power_w: float) -> None:
        """An extra constant load of power_w from start_us for duration_us; a step within one 10 ms half-cycle."""
        self.at(start_us, lambda: self._jobs_w.append(power_w))
        self.at(start_us + duration_us, lambda: self._jobs_w.remove(power_w))

    def record(self, start_us: int, end_us: int, step_us: int) -> Trace:
        """Trace that fills with one row per step_us (1000 to 10000) between start_us and end_us as time passes.

        Rows are means of the step that ends at t_us. Of recordings that overlap, the one that starts first has its
        rows whole and the other begins when it is over.
        """
        if not 1000 <= step_us <= FINE_US:
            raise ValueError(f"recording step is {step_us} us; 1000 to {FINE_US} us is possible")
        trace = Trace()
        self._recordings.append((start_us, end_us, step_us, trace))
        self._recordings.sort(key=lambda recording: recording[0])
        self._next_recording()
        return trace

    # --- time ---------------------------------------------------------------------------------------------------

    def advance(self, to_us: int) -> None:
        """Integrate up to to_us; a time that has passed does nothing."""
        while self.now_us < to_us:
            now = self.now_us
            inverter = self.inverter
            room_w = self.load_w if self.amf.on_load else 1e12
            target = inverter.retarget(self.bus_pu, room_w)
            apart = target - inverter.power_w
            end = now + COARSE_US
            if apart > FINE_W or apart < -FINE_W or self.amf.ready:
                end = now + FINE_US
            elif (self.bus_pu < NEAR_DIP_PU or self.amf.busy or self._dead or inverter.waits or not self.grid_live
                  or self.island.live):
                end = now + BUSY_US
            if self._recording is not None:
                start, _, step, _ = self._recording
                end = min(end, now + step - (now - start) % step)
            end = min(end, to_us, self._series_us, self._minute_us, self._recording_us, self._hold_up_until_us,
                      self._pv_back_us if self._pv_back_us > now else NEVER,
                      inverter.next_us, inverter.wait_us(now), self.genset.next_us)
            if self._queue and self._queue[0][0] < end:
                end = self._queue[0][0]
            panel_us = self.amf.next_us()
            if now < panel_us < end:
                end = panel_us
            if end > now:
                self._step(now, end)
            self._due_now()

    def _due_now(self) -> None:
        """Everything that falls due at now_us, then the powers and voltages that follow from it."""
        now = self.now_us
        while self._queue and self._queue[0][0] <= now:
            heapq.heappop(self._queue)[2]()
            self._series_us = now
        if self._series_us <= now:
            self._read_series(now)
        if now >= self._minute_us:
            self._end_minute(now)
        if now >= self._recording_us:
            self._next_recording()
        if now >= self._hold_up_until_us:
            self._hold_up_until_us = NEVER
        self.genset.on_time(now)
        self.amf.on_time(now)
        self.inverter.on_time(now)
        self._solve()

    def _read_series(self, now: int) -> None:
        load = 0.0
        due = NEVER
        for series in self._loads:
            value, _, next_us = series.at(now)
            load += value
            due = min(due, next_us)
        for job_w in self._jobs_w:
            load += job_w
        self.load_w = load * (1.0 - self._shed)
        self._shed_w = load - self.load_w
        if self._pv is not None:
            self._pv_available_w, self._pv_slope, next_us = self._pv.at(now)
            due = min(due, next_us)
        self._series_us = due

    def _solve(self) -> None:
        """Who feeds the bus now, and the state that a meter would read at this instant."""
        config = self.config
        inverter = self.inverter
        on_set = self.amf.on_load and self.genset.state >= 2
        island = self.island
        dead = not on_set and not island.live and (not self.grid_live or island.tie_open)
        if dead != self._dead:
            self._dead = dead
            if dead:
                inverter.trip(ALARM_AC_DISCONNECT | ALARM_GRID_DISCONNECT)
                hold_up_us = _us(config.ups_hold_up_s)
                self._hold_up_until_us = self.now_us + hold_up_us if hold_up_us else NEVER
                self._pv_back_us = NEVER
            else:
                self._hold_up_until_us = NEVER
                self._pv_back_us = self.now_us + _us(config.enter_service_s)
        self.pv_w = self._pv_now_w(self._pv_available_w, self.now_us)
        mains_pu = 0.0
        load_w = self.load_w + self.dump_w + (config.ups_recharge_w if self._ups_debt_wh > 0.0 else 0.0)
        if dead:
            self.pcc_import_w = self.genset_w = 0.0
            self.bus_pu = self.frequency_hz = 0.0
            self.pcc_voltage_v = mains_pu = self.source_v if self.grid_live else 0.0
            mains_pu /= config.nominal_v
        elif island.live:
            self.pcc_import_w = self.genset_w = 0.0
            self.pcc_voltage_v = self.source_v if self.grid_live else 0.0
            if not inverter.hold(load_w - self.pv_w):
                island.live = False
                island.blackouts += 1
                self._solve()
                return
            island.hold(inverter.power_w, inverter.w_max, self._mains_pu(0.0), self.grid_hz)
            self.bus_pu, self.frequency_hz = island.bus_pu, island.hz
        elif on_set:
            room_w = load_w - inverter.power_w
            self.pv_w = max(0.0, min(self.pv_w, room_w))
            self.genset_w = room_w - self.pv_w
            self.pcc_import_w = 0.0
            self.pcc_voltage_v = self.source_v if self.grid_live else 0.0
            self.bus_pu, self.frequency_hz = 1.0, self.genset.hz
            mains_pu = self._mains_pu(self.genset_w)
        else:
            self.genset_w = self._beside_w()
            self.pcc_import_w = import_w = load_w - inverter.power_w - self.pv_w - self.genset_w
            self.bus_pu = mains_pu = self._mains_pu(import_w)
            self.pcc_voltage_v = self.bus_pu * config.nominal_v
            self.frequency_hz = self.grid_hz
            if import_w > self.peak_import_w:
                self.peak_import_w = import_w
        # Delays of inverter and panel count from this instant, so that the next step can end where they do.
        if not island.live:
            inverter.observe(self.now_us, self.now_us, self.bus_pu, self.frequency_hz)
        if config.genset_w:
            self.amf.observe(self.now_us, self.now_us, mains_pu)

    def _beside_w(self) -> float:
        """What the set gives in parallel with a live grid."""
        return self.config.genset_base_w if self.amf.remote_start and self.genset.state == RUNNING else 0.0

    @property
    def pcc_hz(self) -> float:
        """What the meter on the grid's side of the contactor sees."""
        return self.frequency_hz if not self.island.tie_open else self.grid_hz if self.grid_live else 0.0

    def _pv_now_w(self, offered_w: float, at_us: int) -> float:
        return min(offered_w, self._pv_cap_w, self.pv_inverter_cap_w) if at_us >= self._pv_back_us else 0.0

    def _mains_pu(self, import_w: float) -> float:
        """PCC voltage in per unit if the mains carried import_w and the load's reactive power; 0 when they are lost."""
        config = self.config
        if not self.grid_live:
            return 0.0
        return pcc_voltage_v(self.source_v, config.feeder_r_ohm, config.feeder_x_ohm, import_w,
                             self.load_w * self.tan_phi - self.inverter.reactive_var) / config.nominal_v

    def _step(self, now: int, end: int) -> None:
        """Integrate from now to end: load constant, PV straight, inverter exact."""
        config = self.config
        dt_us = end - now
        hours = dt_us / 3.6e9
        load_w = self.load_w
        start_import_w = self.pcc_import_w
        inverter_w = self.inverter.step(dt_us)
        offered_w = self._pv_available_w + self._pv_slope * dt_us * 0.5
        self._pv_available_w += self._pv_slope * dt_us
        pv_w = self._pv_now_w(offered_w, now)
        self.now_us = end
        self.load_wh += load_w * hours
        self.shed_wh += self._shed_w * hours
        if config.ambient_c is not None:
            self._warm(hours)
        import_w = genset_w = 0.0
        if self.island.live:
            self._recharge_w(hours)
            pcc_v = worst_v = self.source_v if self.grid_live else 0.0
            bus_pu, mains_pu = self.island.bus_pu, self._mains_pu(load_w)
        elif self._dead:
            pcc_v = worst_v = bus_pu = mains_pu = pv_w = 0.0
            if self._hold_up_until_us != NEVER:
                self.ups_wh += load_w * hours
                self._ups_debt_wh += load_w * hours
            else:
                self.unserved_wh += load_w * hours
        else:
            net_w = load_w + self.dump_w + self._recharge_w(hours) - inverter_w
            if self.amf.on_load:
                pv_w = max(0.0, min(pv_w, net_w))
                genset_w = net_w - pv_w  # below 0 only for the moment that the inverter needs to come down
                pcc_v = worst_v = self.source_v if self.grid_live else 0.0
                bus_pu = 1.0
                mains_pu = self._mains_pu(genset_w)
            else:
                genset_w = self._beside_w()
                import_w = net_w - pv_w - genset_w
                if import_w >= 0.0:
                    self.import_wh += import_w * hours
                else:
                    self.export_wh -= import_w * hours
                bus_pu = mains_pu = self._mains_pu(import_w)
                pcc_v = worst_v = bus_pu * config.nominal_v
                if dt_us > FINE_US and start_import_w - import_w > 10.0:
                    worst_v = self._mains_pu(start_import_w) * config.nominal_v
        self.pv_wh += pv_w * hours
        if offered_w > pv_w:
            self.pv_curtailed_wh += (offered_w - pv_w) * hours
        self._minute_v_us += pcc_v * dt_us
        if worst_v < self._minute_min_v:
            self._minute_min_v = worst_v
        self.genset.step(genset_w, dt_us)
        self.quality.observe(now, end, worst_v / config.nominal_v, pcc_v / config.nominal_v, bus_pu)
        if not self.island.live:
            self.inverter.observe(now, end, bus_pu, self.frequency_hz)
        if config.genset_w:
            self.amf.observe(now, end, mains_pu)
        if self._recording is not None and (end - self._recording[0]) % self._recording[2] == 0:
            self._recording[3].note(self, end, pcc_v, worst_v, import_w, inverter_w, load_w, pv_w, genset_w)

    def _warm(self, hours: float) -> None:
        """Heater, own losses and the air around the battery move its temperature."""
        config, battery = self.config, self.battery
        to_air_w = config.pack_w_per_k * (4.0 if self.fan_on else 1.0) * (battery.temperature_c - config.ambient_c)
        heat_w = (config.heater_w if self.heater_on else 0.0) + battery.current_a**2 * config.battery_r_ohm
        battery.temperature_c += (heat_w - to_air_w) * hours / config.pack_wh_per_k
        battery.limit()

    def _recharge_w(self, hours: float) -> float:
        """Mean power with which the UPS takes back, in this step, what it gave."""
        debt_wh = self._ups_debt_wh
        if debt_wh <= 0.0:
            return 0.0
        recharge_wh = min(self.config.ups_recharge_w * hours, debt_wh)
        self._ups_debt_wh = debt_wh - recharge_wh
        self.ups_recharge_wh += recharge_wh
        return recharge_wh / hours

    # --- logs ---------------------------------------------------------------------------------------------------

    def _end_minute(self, now: int) -> None:
        inverter = self.inverter
        mark = (self.import_wh, self.export_wh, inverter.discharge_wh, inverter.charge_wh, self.load_wh, self.pv_wh,
                self.genset.wh)
        imported, exported, discharged, charged, load, pv, genset = (
            (after - before) * 60.0 for after, before in zip(mark, self._minute_mark, strict=True))
        mean_import_w = imported - exported
        if mean_import_w > self.peak_import_1min_w:
            self.peak_import_1min_w = mean_import_w
        self.minutes.note(self, now, self._minute_v_us / MINUTE_US, self._minute_min_v, mean_import_w,
                          discharged - charged, load, pv, genset)
        self._minute_mark = mark
        self._minute_v_us = 0.0
        self._minute_min_v = 1e9
        self._minute_us = now + MINUTE_US

    def _next_recording(self) -> None:
        """Choose the recording that now_us is in, and when to choose again."""
        now = self.now_us
        self._recordings = [recording for recording in self._recordings if recording[1] > now]
        self._recording = None
        self._recording_us = NEVER
        if self._recordings:
            first = self._recordings[0]
            if first[0] <= now:
                self._recording = first
                self._recording_us = first[1]
            else:
                self._recording_us = first[0]

    def totals(self) -> Totals:
        """Energy by source and sink in Wh, peaks, fuel and supply quality since the start."""
        inverter = self.inverter
        return Totals(
            load_wh=self.load_wh, unserved_wh=self.unserved_wh, import_wh=self.import_wh, export_wh=self.export_wh,
            discharge_wh=inverter.discharge_wh, charge_wh=inverter.charge_wh, pv_wh=self.pv_wh,
            pv_curtailed_wh=self.pv_curtailed_wh, genset_wh=self.genset.wh, ups_wh=self.ups_wh,
            ups_recharge_wh=self.ups_recharge_wh,
            battery_losses_wh=inverter.conversion_wh + inverter.standby_wh + self.battery.ohmic_wh,
            peak_import_1min_w=self.peak_import_1min_w, peak_import_w=self.peak_import_w,
            genset_hours=self.genset.run_us / 3.6e9, genset_litres=self.genset.litres,
            genset_starts=self.genset.starts,
            min_pcc_v=self.quality.min_pcc_pu * self.config.nominal_v if self.now_us else self.pcc_voltage_v,
            dip_count=self.quality.dip_count, dip_s=self.quality.dip_us / 1e6,
            interruption_count=self.quality.interruption_count, itic_violations=self.quality.itic_violations,
            soc=self.battery.soc,
        )


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
