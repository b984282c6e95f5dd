"""The commissioned settings that the control laws read, as plain integer attributes."""


class Config:
    """Settings by name, unit last; the defaults are those of the wire's settings table (a test compares them)."""

    def __init__(self):
        self.cycle_ms = 50
        self.bus_baud = 115200
        self.inverter_unit = 1
        self.pcc_meter_unit = 2
        self.pv_meter_unit = 3  # 0 = none
        self.genset_meter_unit = 4  # 0 = none
        self.import_limit_w = 15000
        self.export_limit_w = 10000
        self.ramp_w_per_s = 20000
        self.charge_max_w = 30000
        self.discharge_max_w = 30000
        self.soc_min_permille = 100
        self.soc_max_permille = 950
        self.stale_ms = 3000
        self.host_lost_ms = 10000
        self.fallback = 1  # FALLBACK_IDLE or FALLBACK_SELF_CONSUMPTION
        self.inverter_watchdog_s = 30
        self.interval_s = 300
        self.telemetry_ms = 1000
        self.import_margin_w = 300


FALLBACK_IDLE = 0
FALLBACK_SELF_CONSUMPTION = 1
