"""SunSpec models of what an inverter is rated for, what its storage is connected to, and what it does for the grid."""

from collections.abc import Callable, Mapping
from typing import Any

from forerun.integrations.sunspec import Model
from forerun.plant.site import Site


def controlled(site: Site, number: int, fixed: dict[str, Any],
               live: Mapping[str, Callable[[], float]] | None = None) -> Model:
    """A model whose writable points are the inverter's control registers of that number."""
    inverter = site.inverter
    return Model(number, fixed, live or {}, inverter.controls[number],
                 lambda changes: inverter.check(number, changes),
                 lambda changes: inverter.written(site.now_us, number, changes))


def strings(power_w: Callable[[], float], count: int = 2) -> Model:
    """Model 160: `count` strings that share power_w evenly."""
    fixed: dict[str, Any] = {"DCW_SF": 0, "DCA_SF": -1, "DCV_SF": -1, "N": count}
    for index in range(count):
        fixed[f"module[{index}].ID"] = index + 1
    return Model(160, fixed, {f"module[{index}].DCW": lambda: power_w() / count for index in range(count)})


def _model_120(site: Site) -> Model:
    w_max = site.inverter.w_max
    return Model(120, {"DERTyp": 82, "WRtg": w_max, "WRtg_SF": 1, "WHRtg": site.battery.capacity_wh, "WHRtg_SF": 1,
                       "MaxChaRte": w_max, "MaxChaRte_SF": 1, "MaxDisChaRte": w_max, "MaxDisChaRte_SF": 1})


def _model_121(site: Site) -> Model:
    return Model(121, {"WMax": site.inverter.w_max, "WMax_SF": 1, "VRef": 400, "VRef_SF": 0, "VRefOfs": 0,
                       "VRefOfs_SF": 0})


def _model_122(site: Site) -> Model:
    return Model(122, {"PVConn": 0, "ECPConn": 1},
                 {"StorConn": lambda: 0b111 if site.battery.connected else 0,
                  "ActWh": lambda: site.inverter.discharge_wh})


def _model_703(site: Site) -> Model:
    return controlled(site, 703, {"V_SF": -1, "Hz_SF": -3})


def _model_711(site: Site) -> Model:
    return controlled(site, 711, {"NCtl": 1, "Db_SF": -3, "K_SF": -3, "RspTms_SF": 0, "AdptCtlRslt": 1,
                                  "Ctl[0].RspTms": 1, "Ctl[0].ReadOnly": 0})


def _model_712(site: Site) -> Model:
    return controlled(site, 712, {"NPt": 2, "NCrv": 1, "W_SF": -1, "DeptRef_SF": -1, "AdptCrvRslt": 1})


BUILDERS = {120: _model_120, 121: _model_121, 122: _model_122, 703: _model_703, 711: _model_711, 712: _model_712,
            160: lambda site: strings(lambda: site.pv_w)}
