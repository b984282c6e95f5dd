"""A grid-following battery inverter: what its SunSpec controls make it do, and when it can do nothing at all."""

import math
from math import exp, sqrt

from forerun.plant.battery import Battery
from forerun.plant.series import NEVER

OFF, SLEEPING, STARTING, RUNNING, FAULT = 0, 1, 2, 3, 6  # InvSt of SunSpec model 701

ALARM_AC_DISCONNECT = 1 << 2
ALARM_GRID_DISCONNECT = 1 << 4
ALARM_MANUAL_SHUTDOWN = 1 << 6
ALARM_AC_OVER_VOLT = 1 << 10
ALARM_AC_UNDER_VOLT = 1 << 11

# Reversion timers: (model, register of the time, registers that start it by enabling, what happens when it ends).
# A string on the right is the register to copy from, a number is the value.
_REVERSIONS = (
    (704, "WSetRvrtTms", "WSetEna", {"WSet": "WSetRvrt", "WSetPct": "WSetPctRvrt", "WSetEna": "WSetEnaRvrt"}),
    (704, "WMaxLimPctRvrtTms", "WMaxLimPctEna",
     {"WMaxLimPct": "WMaxLimPctRvrt", "WMaxLimPctEna": "WMaxLimPctEnaRvrt"}),
    (704, "VarSetRvrtTms", "VarSetEna", {"VarSet": "VarSetRvrt", "VarSetEna": "VarSetEnaRvrt"}),
    (123, "VArPct_RvrtTms", "VArPct_Ena", {"VArPct_Ena": 0}),
    (123, "WMaxLimPct_RvrtTms", "WMaxLim_Ena", {"WMaxLim_Ena": 0}),
    (123, "Conn_RvrtTms", "Conn", {"Conn": 1}),
    (124, "InOutWRte_RvrtTms", "StorCtl_Mod", {"StorCtl_Mod": 0}),
)
_SETPOINTS = {"WSet", "WSetPct", "WSetEna", "WMaxLimPct", "InWRte", "OutWRte", "StorCtl_Mod"}


class Inverter:
    """AC power in W, > 0 injects or discharges. Holds the control registers; time comes in with every call (us)."""

    __slots__ = (
        "_awake_us",
        "_battery",
        "_enter_since_us",
        "_enter_us",
        "_high_w",
        "_limit_va",
        "_low_w",
        "_ramp_w_per_s",
        "_restarts_on_setpoint",
        "_revert_us",
        "_sleep_after_us",
        "_sleep_us",
        "_stopped",
        "_tau_s",
        "_trip_high_us",
        "_trip_low_us",
        "_trip_us",
        "_wake_on_setpoint",
        "_wake_us",
        "alarms",
        "charge_wh",
        "contactor_open",
        "controls",
        "conversion_wh",
        "desired_w",
        "discharge_wh",
        "efficiency",
        "hz",
        "ignores_watchdog",
        "never_reverts",
        "next_us",
        "power_w",
        "reference_w",
        "reversions",
        "self_w",
        "silent_until_us",
        "sleep_w",
        "standby_wh",
        "state",
        "target_w",
        "w_max",
    )

    def __init__(self, config, battery: Battery):
        self._battery = battery
        self.w_max = config.inverter_va
        self._limit_va = config.inverter_va * config.current_limit
        self._tau_s = config.inverter_tau_s
        self.efficiency = config.inverter_efficiency
        self.self_w = config.inverter_self_w
        self.sleep_w = config.inverter_sleep_w
        self._sleep_after_us = _us(config.sleep_after_s)
        self._wake_us = _us(config.wake_s)
        self._enter_us = _us(config.enter_service_s)
        self._trip_low_us = _us(config.trip_low_s)
        self._trip_high_us = _us(config.trip_high_s)
        self._wake_on_setpoint = config.wake_on_setpoint
        self._restarts_on_setpoint = config.setpoint_restarts_watchdog
        self._ramp_w_per_s = config.inverter_ramp_w_per_s
        self.state = SLEEPING if config.starts_asleep else RUNNING
        self.alarms = 0
        self.power_w = self.reference_w = self.target_w = 0.0
        self.desired_w = self._low_w = self._high_w = 0.0  # what the controls ask for, and the window they allow
        self.charge_wh = self.discharge_wh = self.conversion_wh = self.standby_wh = 0.0
        self.reversions = 0  # how often a reversion timer ended and acted
        self.ignores_watchdog = False  # fault: its registers do not keep a reversion time
        self.never_reverts = False  # fault: they do, and nothing follows
        self.contactor_open = False
        self.silent_until_us = 0
        self._stopped = False  # OpCtl STOP
        self._awake_us = self._enter_since_us = self._trip_us = NEVER
        self._sleep_us = self._sleep_after_us if self.state == RUNNING else NEVER
        self.hz = 50.0
        self.controls: dict[int, dict[str, float]] = {number: {} for number in (123, 124, 703, 704, 711, 712, 715, 802)}
        self._revert_us = [NEVER] * len(_REVERSIONS)
        self.next_us = NEVER
        self._reset_controls()
        self._schedule()

    def _reset_controls(self) -> None:
        """Factory values of the writable registers, in engineering units; the dicts stay the same objects."""
        ramp_pct = round(100.0 * self._ramp_w_per_s / self.w_max)
        self.controls[123].update(Conn_RvrtTms=0, Conn=1, WMaxLimPct=100, WMaxLimPct_RvrtTms=0, WMaxLim_Ena=0,
                                  OutPFSet=1, OutPFSet_Ena=0, VArPct_Ena=0, VArPct_RvrtTms=0, VArPct_Mod=0,
                                  VArWMaxPct=0)
        self.controls[124].update(WChaMax=self.w_max, WChaGra=100, WDisChaGra=100, StorCtl_Mod=0, MinRsvPct=0,
                                  OutWRte=100, InWRte=100, InOutWRte_RvrtTms=0, ChaGriSet=1)
        self.controls[704].update(WMaxLimPctEna=0, WMaxLimPct=100, WMaxLimPctRvrt=100, WMaxLimPctEnaRvrt=0,
                                  WMaxLimPctRvrtTms=0, WSetEna=0, WSetMod=1, WSet=0, WSetRvrt=0, WSetPct=0,
                                  WSetPctRvrt=0, WSetEnaRvrt=0, WSetRvrtTms=0, WRmp=ramp_pct, VarSetEna=0,
                                  VarSetMod=4, VarSetPri=0, VarSet=0, VarSetRvrt=0, VarSetEnaRvrt=0, VarSetRvrtTms=0)
        self.controls[703].update(ES=1, ESVHi=110, ESVLo=85, ESHzHi=51.5, ESHzLo=47.5,
                                  ESDlyTms=self._enter_us // 1_000_000, ESRmpTms=0)
        self.controls[711].update({"Ena": 0, "AdptCtlReq": 0, "Ctl[0].DbOf": 0.2, "Ctl[0].DbUf": 0.2,
                                   "Ctl[0].KOf": 0.05, "Ctl[0].KUf": 0.05})  # fmt: skip
        self.controls[712].update(Ena=0)
        self.controls[715].update(ControllerHb=0, AlarmReset=0, OpCtl=1)
        self.controls[802].update(CtrlHb=0, AlmRst=0, SetOp=1, SetInvState=3)
        for index in range(len(_REVERSIONS)):
            self._revert_us[index] = NEVER
        self._interpret()

    # --- commands -----------------------------------------------------------------------------------------------

    def check(self, model: int, changes: dict[str, float]) -> None:
        """Raise ValueError for a value that this inverter does not take."""
        limits = _LIMITS.get(model, {})
        for name, value in changes.items():
            low, high = limits.get(name, (-math.inf, math.inf))
            if name in ("WSet", "WSetRvrt"):
                low, high = -self.w_max, self.w_max
            elif name == "WChaMax":
                low, high = 0, self.w_max
            if not low <= value <= high:
                raise ValueError(f"model {model} {name} = {value} is outside {low} to {high}")

    def written(self, now_us: int, model: int, changes: dict[str, float]) -> None:
        """The registers in `changes` now hold these values (already stored in controls): act."""
        registers = self.controls[model]
        for index, (of_model, time_name, enable_name, _) in enumerate(_REVERSIONS):
            if of_model != model:
                continue
            if self.ignores_watchdog and time_name in changes:
                registers[time_name] = 0
            enables = changes.get(enable_name, 0) != 0 and self._revert_us[index] == NEVER
            feeds = self._restarts_on_setpoint and not _SETPOINTS.isdisjoint(changes)
            if time_name in changes or enables or feeds:
                time_s = registers[time_name]
                self._revert_us[index] = now_us + int(time_s * 1_000_000) if time_s else NEVER
        if model == 715 and "OpCtl" in changes:
            self._operate(now_us, int(changes["OpCtl"]))
        if (model == 715 and changes.get("AlarmReset")) or (model == 802 and changes.get("AlmRst")):
            self.alarms = 0
        if model == 703:
            self._enter_us = int(registers["ESDlyTms"] * 1_000_000)
        if model == 802:
            self._battery.connected = registers["SetOp"] == 1
            self._battery.limit()
        self._follow(now_us, wakes=not _SETPOINTS.isdisjoint(changes))

    def _operate(self, now_us: int, command: int) -> None:
        if command == 0:
            self._stopped = True
        elif command == 1:
            self._stopped = False
        elif command == 2 and self.state in (RUNNING, STARTING):
            self._stop(SLEEPING)
        elif command == 3:
            if self.state == SLEEPING:
                self._wake(now_us)
            elif self.state == RUNNING:
                self._sleep_us = NEVER  # set anew by _follow

    def restart(self, now_us: int) -> None:
        """Power-cycle: settings lost, silent on the bus for the wake time, then the enter-service delay."""
        self._stop(OFF)
        self._stopped = False
        self._reset_controls()
        self.silent_until_us = now_us + self._wake_us
        self._wake(now_us)
        self._schedule()

    def open_contactor(self, now_us: int, is_open: bool) -> None:
        """The board's trip output: open takes the inverter off the bus at once."""
        self.contactor_open = is_open
        self._follow(now_us)

    def trip(self, alarm: int) -> None:
        """Off the bus at once; starts again by itself after the enter-service delay of a healthy bus."""
        if self.state in (RUNNING, STARTING):
            self._stop(FAULT)
        self.alarms |= alarm
        self._schedule()

    # --- time and grid ------------------------------------------------------------------------------------------

    def on_time(self, now_us: int) -> None:
        """Do what fell due by now_us."""
        if now_us < self.next_us:
            return
        for index, (model, _, _, actions) in enumerate(_REVERSIONS):
            if now_us >= self._revert_us[index]:
                self._revert_us[index] = NEVER
                if self.never_reverts:
                    continue
                registers = self.controls[model]
                for name, source in actions.items():
                    registers[name] = registers[source] if isinstance(source, str) else source
                self.reversions += 1
        if now_us >= self._sleep_us:
            self._stop(SLEEPING)
        self._follow(now_us)

    def observe(self, start_us: int, now_us: int, bus_pu: float, hz: float) -> None:
        """The bus had bus_pu from start_us to now_us: trip, or count towards entering service."""
        self.hz = hz
        if self.state == RUNNING:
            if 0.80 <= bus_pu <= 1.15:
                self._trip_us = NEVER
            elif self._trip_us == NEVER:
                self._trip_us = start_us + (self._trip_low_us if bus_pu < 0.80 else self._trip_high_us)
            if now_us >= self._trip_us:
                self.trip(ALARM_AC_UNDER_VOLT if bus_pu < 0.80 else ALARM_AC_OVER_VOLT)
            return
        enter = self.controls[703]
        healthy = (enter["ES"] == 1 and enter["ESVLo"] <= 100.0 * bus_pu <= enter["ESVHi"]
                   and enter["ESHzLo"] <= hz <= enter["ESHzHi"])
        if self.state == FAULT and healthy:
            self.state = STARTING
            self._awake_us = start_us
        if self.state == STARTING and now_us >= self._awake_us:
            if not healthy:
                self._enter_since_us = NEVER
            elif self._enter_since_us == NEVER:
                self._enter_since_us = max(start_us, self._awake_us)
            if self._enter_since_us != NEVER and now_us - self._enter_since_us >= self._enter_us:
                self.state = RUNNING
                self._follow(now_us)

    @property
    def waits(self) -> bool:
        """Whether it looks at the bus to enter service."""
        return self.state in (STARTING, FAULT)

    def revert_rem_s(self, model: int, time_name: str, now_us: int) -> int:
        """Seconds until this reversion timer ends, rounded up; 0 when it does not run."""
        for index, (of_model, name, _, _) in enumerate(_REVERSIONS):
            if of_model == model and name == time_name and self._revert_us[index] != NEVER:
                return max(0, -((now_us - self._revert_us[index]) // 1_000_000))
        return 0

    def _follow(self, now_us: int, wakes: bool = False) -> None:
        """Bring state and timers in line with the controls; `wakes`: a setpoint was just written."""
        self._interpret()
        off = self._stopped or self.contactor_open or self.controls[123]["Conn"] == 0
        if off and self.state != OFF:
            self._stop(OFF)
            self.alarms |= ALARM_MANUAL_SHUTDOWN
        elif not off and self.state == OFF:
            self.alarms &= ~ALARM_MANUAL_SHUTDOWN
            self._wake(now_us)
        demanded = abs(min(max(self.desired_w, self._low_w), self._high_w)) >= 1.0
        if self.state == SLEEPING and demanded and wakes and self._wake_on_setpoint:
            self._wake(now_us)
        if self.state != RUNNING or demanded:
            self._sleep_us = NEVER
        elif self._sleep_us == NEVER:
            self._sleep_us = now_us + self._sleep_after_us
        self._schedule()

    def _wake(self, now_us: int) -> None:
        self.state = STARTING
        self._awake_us = now_us + self._wake_us
        self._enter_since_us = NEVER

    def _stop(self, state: int) -> None:
        self.state = state
        self.power_w = self.reference_w = self.target_w = 0.0
        self._sleep_us = self._awake_us = self._enter_since_us = self._trip_us = NEVER

    def _schedule(self) -> None:
        self.next_us = min(self._sleep_us, *self._revert_us)

    def wait_us(self, now_us: int) -> int:
        """When a step from now_us must end because waking, entering service or a trip delay may be over."""
        if self.state == RUNNING:
            return self._trip_us
        if self.state != STARTING:
            return NEVER
        if self._enter_since_us != NEVER:
            return self._enter_since_us + self._enter_us
        return self._awake_us if self._awake_us > now_us else NEVER

    def _interpret(self) -> None:
        """Desired power and its window from models 704, 123 and 124."""
        immediate, storage, control = self.controls[123], self.controls[124], self.controls[704]
        desired_w = 0.0
        if control["WSetEna"]:
            desired_w = control["WSet"] if control["WSetMod"] == 1 else control["WSetPct"] * self.w_max / 100.0
        high_w, low_w = self.w_max, -self.w_max
        if control["WMaxLimPctEna"]:
            high_w = control["WMaxLimPct"] * self.w_max / 100.0
        if immediate["WMaxLim_Ena"]:
            high_w = min(high_w, immediate["WMaxLimPct"] * self.w_max / 100.0)
        mode = int(storage["StorCtl_Mod"])
        if mode & 1:
            low_w = max(low_w, -storage["InWRte"] * storage["WChaMax"] / 100.0)
        if mode & 2:
            high_w = min(high_w, storage["OutWRte"] * self.w_max / 100.0)
        if low_w > high_w:  # contradicting limits: do nothing
            low_w = high_w = 0.0
        self.desired_w, self._low_w, self._high_w = float(desired_w), low_w, high_w

    def form(self) -> bool:
        """Be the grid behind the open contactor, from now on: not while stopped, or with an empty battery."""
        able = (not self._stopped and not self.contactor_open and self.controls[123]["Conn"] == 1
                and self._battery.discharge_max_w > 0.0 and self.state != SLEEPING)
        if able:
            self.state = RUNNING
            self.alarms = 0
            self._trip_us = self._enter_since_us = NEVER
            self._schedule()
        return able

    def hold(self, power_w: float) -> bool:
        """Give power_w to the bus that it forms; False, and off, if that is more than it has."""
        battery = self._battery
        high_w = min(self._limit_va, battery.discharge_max_w * self.efficiency)
        low_w = -min(self._limit_va, battery.charge_max_w / self.efficiency)
        if self.state != RUNNING or not low_w <= power_w <= high_w:
            self.trip(ALARM_AC_DISCONNECT)
            return False
        self.power_w = self.reference_w = self.target_w = power_w
        if self._sleep_us != NEVER:  # whoever is the grid does not go to sleep, whatever the setpoint says
            self._sleep_us = NEVER
            self._schedule()
        return True

    @property
    def reactive_var(self) -> float:
        """Reactive power in var, > 0 injects: from models 704 or 123, with what active power leaves of the current."""
        if self.state != RUNNING:
            return 0.0
        control, immediate = self.controls[704], self.controls[123]
        var = 0.0
        if control["VarSetEna"] and control["VarSetMod"] == 4:
            var = control["VarSet"]
        elif immediate["VArPct_Ena"] and immediate["VArPct_Mod"] == 1:
            var = immediate["VArWMaxPct"] * self.w_max / 100.0
        if not var:
            return 0.0
        most = sqrt(max(0.0, self._limit_va**2 - self.power_w**2))
        return max(-most, min(most, var))

    # --- power --------------------------------------------------------------------------------------------------

    def retarget(self, bus_pu: float, high_w: float) -> float:
        """Set and return target_w from controls, battery and current limit; high_w: what the bus can take."""
        if self.state != RUNNING:
            return 0.0
        battery = self._battery
        target = self.desired_w
        if target < self._low_w:
            target = self._low_w
        if target > self._high_w:
            target = self._high_w
        droop = self.controls[711]
        if droop["Ena"]:  # frequency droop of its own
            over_pu = (self.hz - 50.0 - droop["Ctl[0].DbOf"]) / 50.0
            under_pu = (50.0 - self.hz - droop["Ctl[0].DbUf"]) / 50.0
            if over_pu > 0.0:
                target = min(target, self.w_max * (1.0 - over_pu / droop["Ctl[0].KOf"]))
            elif under_pu > 0.0:
                target = max(target, -self.w_max * (1.0 - under_pu / droop["Ctl[0].KUf"]))
        current_limited = self._limit_va * bus_pu
        high_w = min(high_w, current_limited)
        if target > 0.0:
            high_w = min(high_w, battery.discharge_max_w * self.efficiency)
            if battery.energy_wh <= battery.capacity_wh * self.controls[124]["MinRsvPct"] / 100.0:
                high_w = 0.0
            if target > high_w:
                target = high_w if high_w > 0.0 else 0.0
        elif target < 0.0:
            low_w = -min(battery.charge_max_w / self.efficiency, current_limited)
            if target < low_w:
                target = low_w
        self.target_w = target
        return target

    def step(self, dt_us: int) -> float:
        """Mean AC power in W over the step; exact for a reference that ramps to target_w behind a first-order lag."""
        start_w, target_w = self.power_w, self.target_w
        if self.reference_w == target_w:
            mean_w = start_w if start_w == target_w else self._lag(dt_us * 1e-6)
        else:
            mean_w = self._ramp(dt_us * 1e-6)
        hours = dt_us / 3.6e9
        own_w = self.self_w if self.state not in (OFF, SLEEPING) else self.sleep_w
        if self._battery.energy_wh <= 0.0:
            own_w = 0.0
        if mean_w >= 0.0:
            dc_w = mean_w / self.efficiency
            self.discharge_wh += mean_w * hours
        else:
            dc_w = mean_w * self.efficiency
            self.charge_wh -= mean_w * hours
        self.conversion_wh += (dc_w - mean_w) * hours
        self.standby_wh += own_w * hours
        self._battery.step(dc_w + own_w, hours)
        return mean_w

    def _lag(self, dt_s: float) -> float:
        target_w = self.reference_w
        apart_w = self.power_w - target_w
        left = exp(-dt_s / self._tau_s)
        self.power_w = target_w + apart_w * left
        if -0.05 < apart_w * left < 0.05:
            self.power_w = target_w
        return target_w + apart_w * self._tau_s * (1.0 - left) / dt_s

    def _ramp(self, dt_s: float) -> float:
        rate = min(self._ramp_w_per_s, self.controls[704]["WRmp"] * self.w_max / 100.0)
        way_w = self.target_w - self.reference_w
        ramp_s = abs(way_w) / rate
        slope = rate if way_w > 0.0 else -rate
        moving_s = min(ramp_s, dt_s)
        tau = self._tau_s
        apart_w = self.power_w - self.reference_w + slope * tau
        left = exp(-moving_s / tau)
        energy_ws = (self.reference_w * moving_s + 0.5 * slope * moving_s * moving_s - slope * tau * moving_s
                     + apart_w * tau * (1.0 - left))
        self.power_w = self.reference_w + slope * moving_s - slope * tau + apart_w * left
        if ramp_s > dt_s:
            self.reference_w += slope * dt_s
            return energy_ws / dt_s
        self.reference_w = self.target_w
        rest_s = dt_s - moving_s
        if rest_s > 0.0:
            energy_ws += self._lag(rest_s) * rest_s
        return energy_ws / dt_s


_LIMITS = {
    123: {"WMaxLimPct": (0, 100), "OutPFSet": (-1, 1), "OutPFSet_Ena": (0, 0), "VArWMaxPct": (-100, 100)},
    124: {"InWRte": (-100, 100), "OutWRte": (-100, 100), "MinRsvPct": (0, 100), "StorCtl_Mod": (0, 3)},
    704: {"WMaxLimPct": (0, 100), "WMaxLimPctRvrt": (0, 100), "WSetPct": (-100, 100), "WSetPctRvrt": (-100, 100),
          "WRmp": (1, 65534)},
}


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
