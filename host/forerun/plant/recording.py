"""What is kept of an emulated site: a trace of its powers and voltages, and the totals since its start."""

from array import array
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the site's start. load = what the servers asked for; served + unserved = load."""

    load_wh: float
    unserved_wh: float
    import_wh: float
    export_wh: float
    discharge_wh: float
    charge_wh: float
    pv_wh: float
    pv_curtailed_wh: float
    genset_wh: float
    ups_wh: float
    ups_recharge_wh: float
    battery_losses_wh: float  # conversion, resistance, own consumption
    peak_import_1min_w: float
    peak_import_w: float
    genset_hours: float
    genset_litres: float
    genset_starts: int
    min_pcc_v: float  # lowest 10 ms
    dip_count: int  # EN 50160, below 90 % for 10 ms or longer
    dip_s: float
    interruption_count: int
    itic_violations: int
    soc: float


class Trace:
    """Columns of one recording; each column an array('d'), t_us an array('q')."""

    __slots__ = ("frequency_hz", "genset_w", "inverter_w", "load_w", "pcc_import_w", "pcc_min_v", "pcc_v", "pv_w",
                 "soc", "t_us")

    def __init__(self):
        self.t_us = array("q")
        self.pcc_v = array("d")
        self.pcc_min_v = array("d")
        self.pcc_import_w = array("d")
        self.inverter_w = array("d")
        self.load_w = array("d")
        self.pv_w = array("d")
        self.genset_w = array("d")
        self.soc = array("d")
        self.frequency_hz = array("d")

    def note(self, site, t_us: int, pcc_v: float, min_v: float, import_w: float, inverter_w: float, load_w: float,
             pv_w: float, genset_w: float) -> None:
        """One row: means of the step that ends at t_us, and the charge and frequency of `site` then."""
        self.t_us.append(t_us)
        self.pcc_v.append(pcc_v)
        self.pcc_min_v.append(min_v)
        self.pcc_import_w.append(import_w)
        self.inverter_w.append(inverter_w)
        self.load_w.append(load_w)
        self.pv_w.append(pv_w)
        self.genset_w.append(genset_w)
        self.soc.append(site.battery.energy_wh / site.battery.capacity_wh)
        self.frequency_hz.append(site.frequency_hz)
