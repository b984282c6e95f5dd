"""What an emulated site is made of: ratings, delays and the feeder's impedance, with the demo site's values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """What stands on the site. Watts, volts and ohms are per site, except voltage and feeder impedance: per phase."""

    nominal_v: float = 230.0
    source_v: float = 230.0  # open-circuit voltage of the feeder
    feeder_r_ohm: float = 0.75  # a weak rural feeder
    feeder_x_ohm: float = 0.30
    grid_hz: float = 50.0
    load_power_factor: float = 0.99  # lagging; servers behind active rectifiers
    ups_hold_up_s: float = 0.02  # what the servers' own supplies bridge
    ups_recharge_w: float = 500.0

    inverter_va: float = 30_000.0
    current_limit: float = 1.1  # of rated current, at any voltage
    inverter_tau_s: float = 0.03
    inverter_ramp_w_per_s: float = 100_000.0
    inverter_efficiency: float = 0.97  # one way, AC to DC or back
    inverter_self_w: float = 60.0  # inverter and BMS awake, drawn from the battery
    inverter_sleep_w: float = 15.0
    sleep_after_s: float = 600.0  # at a setpoint of 0 W or none
    wake_s: float = 20.0
    enter_service_s: float = 60.0  # EN 50549-1; IEEE 1547-2018 has 300 s
    trip_low_s: float = 3.0  # below 0.80 of nominal
    trip_high_s: float = 0.2  # above 1.15 of nominal
    wake_on_setpoint: bool = True  # a setpoint other than 0 W wakes it; else only OpCtl does
    setpoint_restarts_watchdog: bool = False  # whether a setpoint write restarts the reversion timer
    starts_asleep: bool = False

    battery_wh: float = 60_000.0
    start_soc: float = 0.5
    battery_w: float = 32_000.0  # DC, either way
    battery_cells: int = 160
    battery_r_ohm: float = 0.10
    battery_temperature_c: float = 20.0

    genset_w: float = 20_000.0  # rated; 0 = no set
    genset_start_s: float = 12.0
    genset_cool_s: float = 180.0
    genset_base_w: float = 0.0  # given beside the grid while the start contact is closed; 0: it only stands in for it
    amf_low_pu: float = 0.90
    amf_return_pu: float = 0.92
    amf_delay_s: float = 10.0
    amf_min_run_s: float = 1800.0
    amf_return_s: float = 30.0

    pv_inverter: bool = False  # whether it is on the bus as a unit of its own
    pv_rated_w: float = 40_000.0  # what its curtailment counts from
    load_groups: tuple[float, ...] = ()  # shares of the load that the board's shedding contacts switch off, first first

    ambient_c: float | None = None  # None: the battery keeps its temperature
    pack_wh_per_k: float = 140.0  # heat capacity of 500 kg of cells
    pack_w_per_k: float = 10.0  # to the air around it; four times as much with the fan
    heater_w: float = 1_500.0
    dump_w: float = 0.0  # resistor that the board's dump contact puts on the bus

    meter_w_sf: int = 0  # scale factor of the meters' W: at 0 a reading saturates at 32767 W
    meter_noise_w: float = 0.0  # standard deviation of one reading of the PCC meter's power
