"""The site's Modbus units: a SunSpec inverter with battery (1) and three meters (PCC 2, PV 3, genset 4).

Signs on the registers: model 701 W and 802 W > 0 inject or discharge. A meter's W > 0 flows from its source into the
site and is counted in TotWhImp: import at the PCC, generation at the PV and genset meters.
"""

from collections.abc import Callable
from math import sqrt
from random import Random
from typing import Any

from forerun.integrations.sunspec import Bank, Model
from forerun.plant.grid_models import BUILDERS, controlled, strings
from forerun.plant.inverter import FAULT, RUNNING, SLEEPING, STARTING
from forerun.plant.rtu import Slave
from forerun.plant.site import Site

INVERTER_UNIT, PCC_METER_UNIT, PV_METER_UNIT, GENSET_METER_UNIT, PV_INVERTER_UNIT = 1, 2, 3, 4, 5
INVERTER_MODELS = (1, 103, 123, 124, 701, 702, 704, 713, 715, 802, 120, 121, 122, 703, 711, 712)

_ST_103 = {SLEEPING: 2, STARTING: 3, RUNNING: 4, FAULT: 7}  # St of model 103 from InvSt of 701; anything else: off


def units(site: Site, models: tuple[int, ...] = INVERTER_MODELS) -> dict[int, Bank]:
    """{unit id: registers} of the whole site; `models`: what the inverter offers, in this order, 1 first.

    Faults: bank.freeze(True) freezes a meter's values, bank.is_silent = lambda: True takes it off the bus.
    """
    noise = Random(site.seed)

    def pcc_w() -> float:
        sigma_w = site.config.meter_noise_w
        return site.pcc_import_w * site.pcc_ct + (noise.gauss(0.0, sigma_w) if sigma_w else 0.0)

    def pcc_wh(direction: float) -> float:
        forward = direction * site.pcc_ct > 0.0
        return abs(site.pcc_ct) * (site.import_wh if forward else site.export_wh)

    def on_pcc_v() -> float:
        return site.pcc_voltage_v

    def on_bus_v() -> float:
        return site.bus_pu * site.config.nominal_v

    meters = {
        PCC_METER_UNIT: ("PCC", pcc_w, on_pcc_v, lambda: pcc_wh(1.0), lambda: pcc_wh(-1.0)),
        PV_METER_UNIT: ("PV", lambda: site.pv_w, on_bus_v, lambda: site.pv_wh, lambda: 0.0),
        GENSET_METER_UNIT: ("GENSET", lambda: site.genset_w, on_bus_v, lambda: site.genset.wh, lambda: 0.0),
    }
    banks = {INVERTER_UNIT: inverter_bank(site, models)}
    for number, (name, power_w, voltage_v, import_wh, export_wh) in meters.items():
        var = (lambda: site.load_w * site.tan_phi) if number == PCC_METER_UNIT else (lambda: 0.0)
        hz = (lambda: site.pcc_hz) if number == PCC_METER_UNIT else (lambda: site.frequency_hz)
        banks[number] = meter_bank(site, name, power_w, var, voltage_v, import_wh, export_wh, hz)
    if site.config.pv_inverter:
        banks[PV_INVERTER_UNIT] = pv_inverter_bank(site)
    return banks


def pv_inverter_bank(site: Site) -> Bank:
    """The PV inverter: models 1, 103, 123 and 160; WMaxLimPct curtails it."""
    rated_w = site.config.pv_rated_w
    limits: dict[str, float] = {"WMaxLimPct": 100, "WMaxLimPct_RvrtTms": 0, "WMaxLim_Ena": 0}
    reversion = [0]

    def written(changes: dict[str, float]) -> None:
        site.set_pv_inverter_limit(limits["WMaxLimPct"] / 100.0 if limits["WMaxLim_Ena"] else 1.0)
        if limits["WMaxLimPct_RvrtTms"] and limits["WMaxLim_Ena"]:
            reversion[0] = number = reversion[0] + 1
            site.at(site.now_us + int(limits["WMaxLimPct_RvrtTms"] * 1e6), lambda: revert(number))

    def revert(number: int) -> None:
        if number == reversion[0]:
            limits["WMaxLim_Ena"] = 0
            site.set_pv_inverter_limit(1.0)

    measured = Model(103, {"W_SF": 0, "Hz_SF": -2, "WH_SF": 0},
                     {"W": lambda: site.pv_w, "Hz": lambda: site.frequency_hz, "WH": lambda: site.pv_wh,
                      "St": lambda: 4 if site.pv_w > 0.0 else 2})
    immediate = Model(123, {"WMaxLimPct_SF": -1}, {}, limits, lambda changes: None, written)
    nameplate = Model(120, {"DERTyp": 4, "WRtg": rated_w, "WRtg_SF": 1})
    return Bank([_common("PV", site.seed)(site), measured, nameplate, immediate, strings(lambda: site.pv_w)])


def slave(site: Site, baud: int = 115_200, turnaround_us: int = 2000,
          models: tuple[int, ...] = INVERTER_MODELS) -> Slave:
    """The site's four units on one line, ready for lockstep; slave.responder.units holds the banks."""
    return Slave(units(site, models), baud, turnaround_us, site.advance, site.seed)


def inverter_bank(site: Site, models: tuple[int, ...] = INVERTER_MODELS) -> Bank:
    """Registers of the inverter and its battery; silent while it restarts."""
    builders = {1: _common("PCS", site.seed), 103: _model_103, 123: _model_123, 124: _model_124, 701: _model_701,
                702: _model_702, 704: _model_704, 713: _model_713, 715: _model_715, 802: _model_802, **BUILDERS}
    unknown = [number for number in models if number not in builders]
    if unknown:
        raise ValueError(f"inverter model {unknown[0]} is not emulated; there are {sorted(builders)}")
    bank = Bank([builders[number](site) for number in models])
    bank.is_silent = lambda: site.now_us < site.inverter.silent_until_us
    return bank


def meter_bank(site: Site, name: str, power_w: Callable[[], float], var: Callable[[], float],
               voltage_v: Callable[[], float], import_wh: Callable[[], float], export_wh: Callable[[], float],
               hz: Callable[[], float]) -> Bank:  # fmt: skip
    """Registers of one three-phase meter, models 1 and 203; the site is balanced, so each phase has a third."""

    def va() -> float:
        return sqrt(power_w() ** 2 + var() ** 2)

    def amps() -> float:
        volts = voltage_v()
        return va() / (3.0 * volts) if volts > 1.0 else 0.0

    def factor() -> float:
        apparent = va()
        return power_w() / apparent if apparent > 1.0 else 1.0

    def line_v() -> float:
        return voltage_v() * 1.7320508

    live: dict[str, Callable[[], float]] = {"W": power_w, "VA": va, "VAR": var, "PF": factor, "PhV": voltage_v,
                                                   "PPV": line_v, "A": lambda: 3.0 * amps(), "TotWhImp": import_wh,
                                                   "TotWhExp": export_wh, "Hz": hz}
    for phase in "ABC":
        live["Aph" + phase] = amps
        live["PhVph" + phase] = voltage_v
        live["Wph" + phase] = lambda: power_w() / 3.0
    for pair in ("AB", "BC", "CA"):
        live["PhVph" + pair] = line_v
    fixed = {"A_SF": -1, "V_SF": -1, "Hz_SF": -2, "W_SF": site.config.meter_w_sf, "VA_SF": site.config.meter_w_sf,
             "VAR_SF": site.config.meter_w_sf, "PF_SF": -3, "TotWh_SF": 0, "Evt": 0}
    return Bank([_common(f"METER-{name}", site.seed)(site), Model(203, fixed, live)])


def _common(kind: str, seed: int) -> Callable[[Site], Model]:
    return lambda site: Model(1, {"Mn": "Forerun", "Md": f"EMULATED-{kind}", "Opt": "emulated", "Vr": "1",
                                  "SN": f"{kind}-{seed:04d}", "DA": 0})


def _model_103(site: Site) -> Model:
    inverter, battery = site.inverter, site.battery

    def amps() -> float:
        volts = site.bus_pu * site.config.nominal_v
        return abs(inverter.power_w) / (3.0 * volts) if volts > 1.0 else 0.0

    def phase_v() -> float:
        return site.bus_pu * site.config.nominal_v

    fixed = {"A_SF": -1, "V_SF": -1, "W_SF": 0, "Hz_SF": -2, "VA_SF": 0, "VAr_SF": 0, "PF_SF": -3, "WH_SF": 0,
             "DCA_SF": -1, "DCV_SF": -1, "DCW_SF": 0, "Tmp_SF": -1, "VAr": 0, "Evt2": 0}
    live: dict[str, Callable[[], float]] = {
        "A": lambda: 3.0 * amps(), "AphA": amps, "AphB": amps, "AphC": amps,
        "PhVphA": phase_v, "PhVphB": phase_v, "PhVphC": phase_v,
        "W": lambda: inverter.power_w, "VA": lambda: abs(inverter.power_w), "Hz": lambda: site.frequency_hz,
        "WH": lambda: inverter.discharge_wh, "DCV": lambda: battery.voltage_v, "DCW": lambda: battery.dc_w,
        "TmpCab": lambda: _cabinet_c(site), "St": lambda: _ST_103.get(inverter.state, 1),
        "Evt1": lambda: inverter.alarms,
    }
    return Model(103, fixed, live)


def _model_701(site: Site) -> Model:
    inverter = site.inverter

    def amps() -> float:
        volts = site.bus_pu * site.config.nominal_v
        return abs(inverter.power_w) / (3.0 * volts) if volts > 1.0 else 0.0

    def phase_v() -> float:
        return site.bus_pu * site.config.nominal_v

    def line_v() -> float:
        return phase_v() * 1.7320508

    def throttled_pct() -> float:
        demanded_w, power_w = abs(inverter.desired_w), abs(inverter.target_w)
        return 100.0 * power_w / demanded_w if demanded_w > power_w else 100.0

    fixed = {"ACType": 2, "DERMode": 1, "PF": 1, "ThrotSrc": 0, "A_SF": -1, "V_SF": -1, "Hz_SF": -3,
             "W_SF": 0, "PF_SF": -3, "VA_SF": 0, "Var_SF": 0, "TotWh_SF": 0, "TotVarh_SF": 0, "Tmp_SF": -1,
             "MnAlrmInfo": ""}
    live: dict[str, Callable[[], float]] = {
        "St": lambda: 1 if inverter.state == RUNNING else 0,
        "InvSt": lambda: inverter.state,
        "ConnSt": lambda: 1 if inverter.state == RUNNING else 0,
        "Alrm": lambda: inverter.alarms,
        "W": lambda: inverter.power_w, "VA": lambda: abs(inverter.power_w), "A": lambda: 3.0 * amps(),
        "Var": lambda: inverter.reactive_var, "LLV": line_v, "LNV": phase_v, "Hz": lambda: site.frequency_hz,
        "TotWhInj": lambda: inverter.discharge_wh, "TotWhAbs": lambda: inverter.charge_wh,
        "TmpCab": lambda: _cabinet_c(site), "TmpAmb": lambda: site.battery.temperature_c, "ThrotPct": throttled_pct,
    }
    for phase, pair in (("L1", "L1L2"), ("L2", "L2L3"), ("L3", "L3L1")):
        live["W" + phase] = lambda: inverter.power_w / 3.0
        live["A" + phase] = amps
        live["V" + phase] = phase_v
        live["V" + pair] = line_v
    return Model(701, fixed, live)


def _model_702(site: Site) -> Model:
    config, w_max = site.config, site.inverter.w_max
    current_a = config.inverter_va / (3.0 * config.nominal_v)
    ratings = {"WMax": w_max, "VAMax": w_max, "WChaRteMax": w_max, "WDisChaRteMax": w_max, "VAChaRteMax": w_max,
               "VADisChaRteMax": w_max, "VNom": config.nominal_v * 1.7320508, "AMax": current_a * config.current_limit}
    fixed: dict[str, Any] = {"W_SF": 1, "VA_SF": 1, "Var_SF": 1, "V_SF": -1, "A_SF": -1, "PF_SF": -3,
                                     "VarMaxInjRtg": 0, "VarMaxAbsRtg": 0, "CtrlModes": 1, "IntIslandCatRtg": 0}
    for name, value in ratings.items():
        fixed[name + "Rtg"] = fixed[name] = value
    return Model(702, fixed)


def _model_123(site: Site) -> Model:
    return controlled(site, 123, {"WMaxLimPct_SF": -1, "OutPFSet_SF": -3, "VArPct_SF": -1})


def _model_124(site: Site) -> Model:
    fixed = {"WChaMax_SF": 0, "WChaDisChaGra_SF": 0, "MinRsvPct_SF": -1, "ChaState_SF": -1, "InBatV_SF": -1,
             "InOutWRte_SF": -2}
    live = {"ChaState": lambda: 100.0 * site.battery.soc, "InBatV": lambda: site.battery.voltage_v,
            "ChaSt": lambda: _charge_state(site)}
    return controlled(site, 124, fixed, live)


def _model_704(site: Site) -> Model:
    inverter = site.inverter
    fixed = {"WMaxLimPct_SF": -1, "WSet_SF": 0, "WSetPct_SF": -1, "PF_SF": -3, "AntiIslEna": 1, "WRmpRef": 1,
             "VarSet_SF": 0}
    live = {name + "Rem": lambda name=name: inverter.revert_rem_s(704, name + "Tms", site.now_us)
            for name in ("WSetRvrt", "WMaxLimPctRvrt", "VarSetRvrt")}
    return controlled(site, 704, fixed, live)


def _model_713(site: Site) -> Model:
    battery = site.battery
    return Model(713, {"WHRtg": battery.capacity_wh, "WH_SF": 1, "Pct_SF": -1, "SoH": 100}, {
        "WHAvail": lambda: battery.energy_wh,
        "SoC": lambda: 100.0 * battery.soc,
        "Sta": lambda: 0 if battery.connected else 2,
    })


def _model_715(site: Site) -> Model:
    return controlled(site, 715, {"LocRemCtl": 0}, {"DERHb": lambda: site.now_us // 1_000_000})


def _model_802(site: Site) -> Model:
    battery = site.battery
    nominal_v = battery.capacity_wh / battery.rated_ah
    fixed = {"AHRtg": battery.rated_ah, "WHRtg": battery.capacity_wh, "WChaRteMax": battery.rated_w,
             "WDisChaRteMax": battery.rated_w, "SoCMax": 100, "SoCMin": 100 * battery.empty_soc, "SoH": 100, "NCyc": 0,
             "LocRemCtl": 0, "Typ": 4, "Evt2": 0, "EvtVnd1": 0, "EvtVnd2": 0, "VMax": nominal_v * 1.1,
             "VMin": nominal_v * 0.85, "AHRtg_SF": -1, "WHRtg_SF": 1, "WChaDisChaMax_SF": 1, "DisChaRte_SF": 0,
             "SoC_SF": -1, "DoD_SF": -1, "SoH_SF": -1, "V_SF": -1, "CellV_SF": -3, "A_SF": -1, "AMax_SF": -1,
             "W_SF": 0}
    live = {
        "SoC": lambda: 100.0 * battery.soc, "DoD": lambda: 100.0 - 100.0 * battery.soc,
        "ChaSt": lambda: _charge_state(site), "Hb": lambda: site.now_us // 1_000_000 % 65535,
        "State": lambda: 3 if battery.connected else 1,
        "Evt1": lambda: 1 << 3 if battery.temperature_c < 0.0 else 0,
        "V": lambda: battery.voltage_v, "A": lambda: battery.current_a, "W": lambda: battery.dc_w,
        "AChaMax": lambda: battery.charge_max_w / battery.voltage_v,
        "ADisChaMax": lambda: battery.discharge_max_w / battery.voltage_v,
        "CellVAvg": lambda: battery.voltage_v / site.config.battery_cells,
        "CellVMax": lambda: battery.voltage_v / site.config.battery_cells,
        "CellVMin": lambda: battery.voltage_v / site.config.battery_cells,
    }
    return controlled(site, 802, fixed, live)


def _charge_state(site: Site) -> int:
    """ChaSt of models 124 and 802."""
    battery = site.battery
    power_w = site.inverter.power_w
    if site.inverter.state != RUNNING:
        return 1
    if power_w > 1.0:
        return 3
    if power_w < -1.0:
        return 4
    if battery.soc >= 0.995:
        return 5
    return 2 if battery.soc <= battery.empty_soc else 6


def _cabinet_c(site: Site) -> float:
    return site.battery.temperature_c + 5.0 + 20.0 * abs(site.inverter.power_w) / site.inverter.w_max
