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
        self.functions = 0  # bits: FUNCTION_*
        self.rated_w = 30000
        self.over_start_millihz = 50200
        self.over_droop_permille = 50
        self.under_start_millihz = 49800
        self.under_droop_permille = 50
        self.volt_watt_start_mv = 243800
        self.volt_watt_end_mv = 253000
        self.volt_var_permille = 440
        self.enter_delay_s = 60
        self.enter_ramp_permille_per_min = 100
        self.peak_limit_w = 15000
        self.peak_window_s = 3600
        self.export_margin_w = 0
        self.surge_reserve_permille = 0  # 0 = off
        self.meter_freeze_s = 0  # 0 = off
        self.genset_min_load_w = 6000
        self.genset_warm_up_s = 30
        self.genset_min_run_s = 1800
        self.genset_max_run_s = 86400
        self.genset_cool_down_s = 180
        self.genset_tries = 3
        self.genset_start_soc_permille = 150
        self.genset_stop_soc_permille = 800
        self.genset_start_load_w = 0  # 0 = off
        self.genset_exercise_h = 0  # 0 = off
        self.pv_limit_permille = 1000
        self.records_keep = 0  # of a full store: 0 the newest records, 1 the oldest
        self.voltage_gain_q8 = 0  # analogue channels: mV and mA per count, in 1/256; 0 = none
        self.current_gain_q8 = 0
        self.ct_phases = 3
        self.ct_reversed = 0
        self.trip_current_ma = 0  # 0 = off
        self.trip_voltage_mv = 0  # 0 = off
        self.stage_max_w = 0  # 0 = no directly driven stage
        self.stage_kp_q8 = 128
        self.stage_ki_q16 = 3276
        self.stage_droop_q10 = 0
        self.sensors = 0  # bits: SENSOR_*
        self.pulses_per_kwh = 1000

        self.inverter_kind = 0
        self.pv_inverter_unit = 0
        self.battery_wh = 0
        self.shed_groups = 0
        self.shed_margin_s = 300
        self.quiet_start_min = 0
        self.quiet_end_min = 0
        self.over_voltage_mv = 264500
        self.under_voltage_mv = 195500
        self.over_frequency_millihz = 51500
        self.under_frequency_millihz = 47500
        self.trip_delay_ms = 200
        self.heater_decic = 50
        self.fan_decic = 350
        self.grid_wait_s = 60


NOMINAL_MILLIHZ = 50_000
FALLBACK_IDLE = 0
FALLBACK_SELF_CONSUMPTION = 1

# Bits of `sensors`.
SENSOR_CELL = 1  # DS18B20 on the battery
SENSOR_AIR = 2  # SHT3x beside it
SENSOR_PULSE = 4  # S0 meter of PV

# Bits of `functions`: what was commissioned beyond limits, orders and the battery's own bounds.
FUNCTION_OVER_FREQUENCY = 1
FUNCTION_UNDER_FREQUENCY = 2
FUNCTION_VOLT_WATT = 4
FUNCTION_VOLT_VAR = 8
FUNCTION_ENTER_SERVICE = 16
FUNCTION_PEAK = 32
FUNCTION_BATTERY_CARE = 64
FUNCTION_GENSET = 128
FUNCTION_ISLANDING = 256
FUNCTION_TRIP = 512
FUNCTION_DUMP = 1024  # a dump load hangs on its contact
