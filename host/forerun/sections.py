"""The site file's sections: one dataclass each, its keys with type, allowed range and default as data.

`forerun.config` reads a file into them; the reference of the documentation is made from them.
"""
# ruff: noqa: RUF009 (_key is a dataclasses.field that also carries the allowed range)

import dataclasses
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from forerun_wire.messages import FALLBACKS

NONE = "none"
BAUD_RATES = (9600, 19200, 38400, 57600, 115200)


def _key(kind: type, low=None, high=None, default=dataclasses.MISSING, *, one_of=None, hourly: bool = False):
    """A key of the site file: type, allowed range (both ends included), default; without a default it is required."""
    metadata = {"kind": kind, "low": low, "high": high, "one_of": one_of, "hourly": hourly}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class SiteSection:
    name: str = _key(str)
    latitude: float = _key(float, -90, 90)
    longitude: float = _key(float, -180, 180)


@dataclass(frozen=True, slots=True)
class LinkSection:
    """The serial line to the board, and how often it reports."""

    port: str = _key(str)
    baud: int = _key(int, 9600, 4_000_000, 921_600)
    telemetry_ms: int = _key(int, 50, 60_000, 200)


@dataclass(frozen=True, slots=True)
class BusSection:
    """The Modbus RTU line from the board to inverter and meters. Unit 0: there is no such device.

    inverter_kind 0: SunSpec; 1: as inverter.json in the board's record folder describes it.
    """

    baud: int = _key(int, default=115_200, one_of=BAUD_RATES)
    inverter_unit: int = _key(int, 1, 247, 1)
    pcc_meter_unit: int = _key(int, 1, 247, 2)
    pv_meter_unit: int = _key(int, 0, 247, 3)
    genset_meter_unit: int = _key(int, 0, 247, 4)
    pv_inverter_unit: int = _key(int, 0, 247, 0)
    inverter_kind: int = _key(int, 0, 1, 0)


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """What the site may do. soc_min and soc_max are shares of the capacity; the margin is held below the limit."""

    import_limit_w: int = _key(int, 0, 1_000_000)
    export_limit_w: int = _key(int, 0, 1_000_000)
    charge_max_w: int = _key(int, 0, 1_000_000)
    discharge_max_w: int = _key(int, 0, 1_000_000)
    ramp_w_per_s: int = _key(int, 10, 1_000_000, 20_000)
    soc_min: float = _key(float, 0, 1, 0.1)
    soc_max: float = _key(float, 0, 1, 0.95)
    import_margin_w: int = _key(int, 0, 10_000, 300)


@dataclass(frozen=True, slots=True)
class SafetySection:
    """What the board does alone, and how soon it notices that it is."""

    fallback: str = _key(str, default="self_consumption", one_of=FALLBACKS)
    host_lost_s: float = _key(float, 1, 600, 10.0)
    stale_s: float = _key(float, 0.2, 60, 3.0)
    inverter_watchdog_s: int = _key(int, 2, 3600, 30)
    cycle_ms: int = _key(int, 20, 5000, 50)


@dataclass(frozen=True, slots=True)
class FunctionsSection:
    """What the board does for the grid, battery and genset beyond its limits, under the names of its own settings.

    `functions` adds up what is commissioned: 1 over- and 2 underfrequency, 4 volt-watt, 8 volt-var, 16 enter service,
    32 peak shaving, 64 battery temperature and taper, 128 genset, 256 islanding, 512 measured trips,
    1024 a dump load for the genset.
    """

    functions: int = _key(int, 0, 2047, 0)
    rated_w: int = _key(int, 1000, 1000000, 30000)
    over_start_millihz: int = _key(int, 50000, 52000, 50200)
    over_droop_permille: int = _key(int, 20, 120, 50)
    under_start_millihz: int = _key(int, 46000, 50000, 49800)
    under_droop_permille: int = _key(int, 20, 120, 50)
    volt_watt_start_mv: int = _key(int, 230000, 270000, 243800)
    volt_watt_end_mv: int = _key(int, 231000, 290000, 253000)
    volt_var_permille: int = _key(int, 0, 600, 440)
    enter_delay_s: int = _key(int, 0, 1800, 60)
    enter_ramp_permille_per_min: int = _key(int, 10, 60000, 100)
    peak_limit_w: int = _key(int, 0, 1000000, 15000)
    peak_window_s: int = _key(int, 300, 3600, 3600)
    export_margin_w: int = _key(int, 0, 10000, 0)
    surge_reserve_permille: int = _key(int, 0, 1000, 0)
    meter_freeze_s: int = _key(int, 0, 3600, 0)
    genset_min_load_w: int = _key(int, 0, 1000000, 6000)
    genset_warm_up_s: int = _key(int, 0, 600, 30)
    genset_min_run_s: int = _key(int, 0, 14400, 1800)
    genset_max_run_s: int = _key(int, 600, 604800, 86400)
    genset_cool_down_s: int = _key(int, 0, 1800, 180)
    genset_tries: int = _key(int, 1, 10, 3)
    genset_start_soc_permille: int = _key(int, 0, 1000, 150)
    genset_stop_soc_permille: int = _key(int, 0, 1000, 800)
    genset_start_load_w: int = _key(int, 0, 1000000, 0)
    genset_exercise_h: int = _key(int, 0, 2000, 0)
    pv_limit_permille: int = _key(int, 0, 1000, 1000)
    battery_wh: int = _key(int, 0, 10000000, 0)
    shed_groups: int = _key(int, 0, 3, 0)
    shed_margin_s: int = _key(int, 0, 3600, 300)
    quiet_start_min: int = _key(int, 0, 1439, 0)
    quiet_end_min: int = _key(int, 0, 1439, 0)
    over_voltage_mv: int = _key(int, 230000, 345000, 264500)
    under_voltage_mv: int = _key(int, 0, 230000, 195500)
    over_frequency_millihz: int = _key(int, 50000, 65000, 51500)
    under_frequency_millihz: int = _key(int, 45000, 50000, 47500)
    trip_delay_ms: int = _key(int, 0, 10000, 200)
    heater_decic: int = _key(int, 0, 200, 50)
    fan_decic: int = _key(int, 200, 600, 350)
    grid_wait_s: int = _key(int, 3, 1800, 60)


@dataclass(frozen=True, slots=True)
class SensorsSection:
    """What the board feels and drives by its own pins, under the names of its own settings.

    Gains are mV and mA per count of the ADC, in 1/256; 0: there are no such channels. `sensors` adds up what is
    connected: 1 DS18B20 on the battery, 2 SHT3x beside it, 4 pulse meter of PV.
    """

    voltage_gain_q8: int = _key(int, 0, 262_144, 0)
    current_gain_q8: int = _key(int, 0, 262_144, 0)
    ct_phases: int = _key(int, 1, 3, 3)
    ct_reversed: int = _key(int, 0, 1, 0)
    trip_current_ma: int = _key(int, 0, 10_000_000, 0)
    trip_voltage_mv: int = _key(int, 0, 1_000_000, 0)
    stage_max_w: int = _key(int, 0, 100_000, 0)
    stage_kp_q8: int = _key(int, 0, 2_560, 128)
    stage_ki_q16: int = _key(int, 0, 6_553, 3_276)
    stage_droop_q10: int = _key(int, 0, 100_000, 0)
    sensors: int = _key(int, 0, 7, 0)
    pulses_per_kwh: int = _key(int, 10, 10_000, 1_000)


@dataclass(frozen=True, slots=True)
class BatterySection:
    """Efficiencies from the AC side; wear per kWh discharged; soc_reserve is what the plan likes to keep;
    autonomy_h: for so long it likes to bridge an outage that could begin at any time; cost_per_kwh: what a kWh of
    capacity costs to buy, which only simulations ask for, 0 = not stated."""

    capacity_wh: int = _key(int, 1, 10_000_000)
    efficiency_charge: float = _key(float, 0.5, 1, 0.95)
    efficiency_discharge: float = _key(float, 0.5, 1, 0.95)
    wear_cost_per_kwh: Decimal = _key(Decimal, 0, 1_000, Decimal(0))
    soc_reserve: float = _key(float, 0, 1, 0.2)
    autonomy_h: float = _key(float, 0, 48, 0.0)
    cost_per_kwh: Decimal = _key(Decimal, 0, 1_000_000, Decimal(0))


@dataclass(frozen=True, slots=True)
class PvSection:
    """The PV array's rating; 0: none. Only simulations need it: a running site learns its array from the meter.
    cost_per_kw: what a kWp costs to buy, 0 = not stated. weather: file or address of a weather forecast
    (docs/forecasting.md); none = not."""

    peak_w: int = _key(int, 0, 10_000_000, 0)
    cost_per_kw: Decimal = _key(Decimal, 0, 1_000_000, Decimal(0))
    weather: str = _key(str, default=NONE)


@dataclass(frozen=True, slots=True)
class TariffSection:
    """Prices in `currency`. energy_price_per_kwh: one number, or 24 of them, one per hour of the UTC day.
    demand_charge_per_kw_month: on the highest hour of import in a month of reporting.timezone."""

    currency: str = _key(str)
    energy_price_per_kwh: Decimal | tuple[Decimal, ...] = _key(Decimal, -100_000, 100_000, hourly=True)
    export_price_per_kwh: Decimal = _key(Decimal, -100_000, 100_000, Decimal(0))
    demand_charge_per_kw_month: Decimal = _key(Decimal, 0, 1_000_000, Decimal(0))
    carbon_price_per_tonne: Decimal = _key(Decimal, 0, 1_000_000, Decimal(0))


@dataclass(frozen=True, slots=True)
class GensetSection:
    """A diesel set that the plan may call for, beside the grid, where the board rules it (functions 128); rated_w = 0:
    none, or one that only stands in for a lost grid. min_load as a share of it. Fuel: the line through
    idle_litre_per_h, while it turns, and litre_per_kwh on top; the defaults are those of a typical 20 kW set."""

    rated_w: int = _key(int, 0, 1_000_000, 0)
    min_load: float = _key(float, 0, 1, 0.3)
    min_run_s: int = _key(int, 0, 86_400, 1800)
    start_cost: Decimal = _key(Decimal, 0, 1_000, Decimal(2))
    fuel_price_per_litre: Decimal = _key(Decimal, 0, 1_000, Decimal("1.60"))
    idle_litre_per_h: Decimal = _key(Decimal, 0, 1_000, Decimal("1.2"))
    litre_per_kwh: Decimal = _key(Decimal, 0, 10, Decimal("0.25"))


@dataclass(frozen=True, slots=True)
class CarbonSection:
    """Emission factors and where they come from. grid_g_per_kwh: location-based, one number or 24 by hour of the
    UTC day. The diesel default is DESNZ 2025 B7 at the tailpipe; litres per kWh are for a set without fuel meter."""

    grid_g_per_kwh: Decimal | tuple[Decimal, ...] = _key(Decimal, 0, 3_000, hourly=True)
    grid_source: str = _key(str)
    grid_region: str = _key(str)
    grid_valid_from: date = _key(date)
    grid_valid_until: date = _key(date)
    diesel_kg_per_litre: Decimal = _key(Decimal, 0, 10, Decimal("2.57082"))
    diesel_source: str = _key(str, default="DESNZ 2025, diesel (average biofuel blend, B7)")
    diesel_valid_from: date = _key(date, default=date(2025, 1, 1))
    diesel_valid_until: date = _key(date, default=date(2025, 12, 31))
    diesel_litre_per_kwh: Decimal = _key(Decimal, 0, 10, Decimal("0.34"))
    diesel_litre_source: str = _key(str, default="typical 20 kW set at half load, 3.4 L/h")


@dataclass(frozen=True, slots=True)
class PlanSection:
    """How far the plan looks, and how often it is made anew."""

    horizon_h: int = _key(int, 1, 48, 24)
    period_s: int = _key(int, 60, 3600, 300)


@dataclass(frozen=True, slots=True)
class EquipmentSection:
    """Nameplates, and what making each thing emitted, from its product declaration; 0 = not known, and said so."""

    pv_peak_w: int = _key(int, 0, 10_000_000, 0)
    genset_power_w: int = _key(int, 0, 10_000_000, 0)
    battery_embodied_kg: Decimal = _key(Decimal, 0, 100_000_000, Decimal(0))
    pv_embodied_kg: Decimal = _key(Decimal, 0, 100_000_000, Decimal(0))
    inverter_embodied_kg: Decimal = _key(Decimal, 0, 100_000_000, Decimal(0))
    genset_embodied_kg: Decimal = _key(Decimal, 0, 100_000_000, Decimal(0))
    battery_life_years: int = _key(int, 1, 50, 15)
    pv_life_years: int = _key(int, 1, 50, 30)
    inverter_life_years: int = _key(int, 1, 50, 15)
    genset_life_years: int = _key(int, 1, 50, 20)
    embodied_source: str = _key(str, default="not stated")
    pv_commissioned: str = _key(str, default="not stated")
    battery_commissioned: str = _key(str, default="not stated")


@dataclass(frozen=True, slots=True)
class ReportingSection:
    """Who reports for which installation; what is left out is flagged as missing in the report."""

    operator: str = _key(str, default="not stated")
    address: str = _key(str, default="not stated")
    country: str = _key(str, default="not stated")
    unlocode: str = _key(str, default="not stated")
    registry_id: str = _key(str, default="not stated")
    registration: str = _key(str, default="not stated")  # of the operator, as its country registers companies
    supplier: str = _key(str, default="not stated")  # of the grid's electricity
    diagram: str = _key(str, default="not stated")  # which single-line diagram shows the direct link
    power_contract: str = _key(str, default="not stated")  # which contract or PPA
    rounding: str = _key(str, default="half up", one_of=("half up", "half even"))  # of CBAM's whole tonnes
    timezone: str = _key(str, default="UTC")


@dataclass(frozen=True, slots=True)
class WebSection:
    """Where `forerun serve` has its page, its REST API and the announcement of jobs; port 0: any that is free."""

    host: str = _key(str, default="127.0.0.1")
    port: int = _key(int, 0, 65_535, 8420)


@dataclass(frozen=True, slots=True)
class ComputeSection:
    """Where the compute load is read and jobs are listed (docs/announcements.md); none = not. The meter is the truth.

    power_query answers in W and utilisation_query in 0–1, both PromQL; slurm and kubernetes are files or addresses.
    """

    every_s: float = _key(float, 1, 3600, 30.0)
    prometheus_url: str = _key(str, default="http://127.0.0.1:9090")
    power_query: str = _key(str, default=NONE)
    utilisation_query: str = _key(str, default=NONE)
    idle_w: float = _key(float, 0, 1e6, 3000.0)  # of all nodes, until the meter has taught better
    full_w: float = _key(float, 0, 1e6, 9000.0)
    redfish_url: str = _key(str, default=NONE)
    redfish_authorisation_file: str = _key(str, default=NONE)  # holds the value of the Authorization header
    replay: str = _key(str, default=NONE)
    slurm: str = _key(str, default=NONE)
    kubernetes: str = _key(str, default=NONE)


SOURCES = ("power_query", "utilisation_query", "redfish_url", "replay", "slurm", "kubernetes")


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """Where Prometheus scrapes this site: http://host:port/metrics; port 0 = nowhere."""

    host: str = _key(str, default="127.0.0.1")
    port: int = _key(int, 0, 65_535, 0)


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker that the site's values are published to, "none" = none. "none" as well for no user name, no password
    file, and no file with the authority that signed the broker's certificate (then the line is not encrypted)."""

    host: str = _key(str, default=NONE)
    port: int = _key(int, 1, 65_535, 1883)
    username: str = _key(str, default=NONE)
    password_file: str = _key(str, default=NONE)
    ca_file: str = _key(str, default=NONE)
    topic: str = _key(str, default="forerun")
    discovery_topic: str = _key(str, default="homeassistant")
    period_s: int = _key(int, 1, 3600, 5)


@dataclass(frozen=True, slots=True)
class ModbusTcpSection:
    """Where a SCADA reads the site as SunSpec models over Modbus TCP, and as which unit; port 0 = nowhere."""

    host: str = _key(str, default="127.0.0.1")
    port: int = _key(int, 0, 65_535, 0)
    unit: int = _key(int, 1, 247, 1)


@dataclass(frozen=True, slots=True)
class StoreSection:
    path: str = _key(str, default="journal.forerun")


@dataclass(frozen=True, slots=True)
class SiteFile:
    site: SiteSection
    link: LinkSection
    bus: BusSection
    limits: LimitsSection
    safety: SafetySection
    functions: FunctionsSection
    sensors: SensorsSection
    battery: BatterySection
    pv: PvSection
    genset: GensetSection
    tariff: TariffSection
    carbon: CarbonSection
    plan: PlanSection
    web: WebSection
    compute: ComputeSection
    metrics: MetricsSection
    mqtt: MqttSection
    modbus_tcp: ModbusTcpSection
    store: StoreSection
    equipment: EquipmentSection
    reporting: ReportingSection
