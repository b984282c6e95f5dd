"""What the numbers of messages.py are called. Words for people: they stay off the boards, whose memory they would fill.

`forerun_wire.messages` has all of these too, except on MicroPython.
"""

from forerun_wire.messages import (
    ACTED,
    AUTH_FAILED,
    BATTERY_BACK,
    BATTERY_STALE,
    BOOT,
    CURVE_SET,
    EVENT,
    GAP,
    GRID_BACK,
    GRID_LOST,
    HOST_BACK,
    HOST_LOST,
    IMPORT_LIMIT_EXCEEDED,
    IMPORT_LIMIT_HELD,
    INFO,
    INTERVAL,
    INVERTER_AWAKE,
    INVERTER_BACK,
    INVERTER_LOST,
    KEY_CHANGED,
    KEY_CONFIRM,
    KEY_SET,
    KEYS_UNREADABLE,
    LEASE_ENDED,
    MAINTENANCE,
    METER_BACK,
    METER_STALE,
    MODBUS_REFUSED,
    PLAN_CLEAR,
    PLAN_COMMIT,
    PLAN_ENDED,
    PLAN_POINTS,
    PREPARE,
    PREPARE_ENDED,
    PREPARE_READY,
    PREPARE_STARTED,
    RECORDS_DROPPED,
    REFUSED_OCCUPIED,
    REFUSED_SCHEMA,
    REFUSED_VERSION,
    SETPOINT,
    SETTINGS_CHANGED,
    SETTINGS_GET,
    SETTINGS_SET,
    SETTINGS_TEXT,
    SITE_TIME,
    UPDATE_BEGIN,
    UPDATE_CHUNK,
    UPDATE_COMMIT,
    UPDATE_STATUS,
    WATCHDOG_UNCONFIRMED,
    setting,
)

# Codes of events that only functions commissioned apart raise.
METER_FROZEN = 23
METER_MOVING = 24
PREPARE_LATE = 25
GENSET_STARTED = 26
GENSET_START_FAILED = 27
GENSET_LOCKED_OUT = 28
GENSET_STOPPED = 29
ISLAND_FORMED = 30
ISLAND_LEFT = 31
ISLAND_DARK = 32
LOAD_SHED = 33
LOAD_RESTORED = 34
TRIP_CLEARED = 35
SUPPORT_BEGAN = 36
SUPPORT_ENDED = 37
TRIPPED_EMERGENCY_STOP = 41
TRIPPED_DOOR = 42
TRIPPED_INSULATION = 43
TRIPPED_OVER_VOLTAGE = 44
TRIPPED_UNDER_VOLTAGE = 45
TRIPPED_OVER_FREQUENCY = 46
TRIPPED_UNDER_FREQUENCY = 47
TRIPPED_OVER_CURRENT = 48
TRIPPED_OVER_TEMPERATURE = 49
ANALOG_LOST = 53
ANALOG_BACK = 54
SENSOR_LOST = 55
SENSOR_BACK = 56
UPDATE_CONFIRMED = 57
UPDATE_FELL_BACK = 58
COMMAND_REFUSED = 59
FUNCTIONS_LEFT_OUT = 60

# Names of bounds that only such functions set.
BOUND_FREQUENCY = 10
BOUND_VOLTAGE = 11
BOUND_ENTER_SERVICE = 12
BOUND_TEMPERATURE = 13
BOUND_PEAK = 14

HELLO_FIELDS = (
    "version",
    "schema",
    "role",
    "nonce",
    "identity",
    "software",
    "max_frame",
    "window",
    "store_id",
    "boot_count",
    "heard",
    "first_seq",
    "buffer",
    "key_id",
)

KINDS = (
    "hello",
    "heartbeat",
    "clock",
    "command",
    "reply",
    "telemetry_array",
    "record",
    "record_ack",
    "not_understood",
    "refused",
    "sealed",
    "records",
    "held",
    "telemetry",
)

# Fields behind the kind, in order. New ones go to the end; a receiver skips those that it does not know.
HEARTBEAT_FIELDS = ("count",)
CLOCK_FIELDS = ("count", "rx_s", "rx_us", "tx_s", "tx_us")
COMMAND_FIELDS = ("seq", "op")
REPLY_FIELDS = ("seq", "code")
TELEMETRY_FIELDS = (
    "uptime_s",
    "uptime_ms",
    "state",
    "bound_by",
    "faults",
    "setpoint_w",
    "active_power_w",
    "pcc_import_w",
    "pcc_voltage_mv",
    "frequency_millihz",
    "soc_permille",
    "charge_max_w",
    "discharge_max_w",
    "load_w",
    "pv_w",
    "genset_w",
    "plan_step",
    "lease_ms",
    "cycle_us",
    "heap_free",
)
RECORD_1_FIELDS = ("number", "previous", "boot_count", "uptime_s", "uptime_ms", "record_kind")  # of schemas 1 and 2
RECORD_FIELDS = ("number", "boot_count", "uptime_s", "uptime_ms", "record_kind")
RECORD_ACK_FIELDS = ("number",)
NOT_UNDERSTOOD_FIELDS = ("unknown_kind",)
REFUSED_FIELDS = ("code", "sentence", "whom")
SEALED_FIELDS = ("key_role", "counter", "tag", "inner")
RECORDS_FIELDS = ("previous",)
HELD_FIELDS = ("expected", "later")

FIELDS = (
    HELLO_FIELDS,
    HEARTBEAT_FIELDS,
    CLOCK_FIELDS,
    COMMAND_FIELDS,
    REPLY_FIELDS,
    TELEMETRY_FIELDS,
    RECORD_1_FIELDS,
    RECORD_ACK_FIELDS,
    NOT_UNDERSTOOD_FIELDS,
    REFUSED_FIELDS,
    SEALED_FIELDS,
    RECORDS_FIELDS,
    HELD_FIELDS,
    ("packed",),
)

ROLES = ("board", "host")
MODES = ("hold_battery", "hold_pcc")
CODES = ("done", "out_of_range", "wrong_state", "unknown_op", "malformed", "busy", "not_allowed")
REFUSALS = ((REFUSED_SCHEMA, "schema"), (REFUSED_VERSION, "version"), (REFUSED_OCCUPIED, "occupied"))
FALLBACKS = ("idle", "self_consumption")

OPS = (
    (INFO, "info"),
    (SETPOINT, "setpoint"),
    (PLAN_POINTS, "plan_points"),
    (PLAN_COMMIT, "plan_commit"),
    (PLAN_CLEAR, "plan_clear"),
    (PREPARE, "prepare"),
    (SETTINGS_GET, "settings_get"),
    (SETTINGS_SET, "settings_set"),
    (MAINTENANCE, "maintenance"),
    (UPDATE_BEGIN, "update_begin"),
    (UPDATE_CHUNK, "update_chunk"),
    (UPDATE_COMMIT, "update_commit"),
    (UPDATE_STATUS, "update_status"),
    (KEY_SET, "key_set"),
    (KEY_CONFIRM, "key_confirm"),
    (SITE_TIME, "site_time"),
    (CURVE_SET, "curve_set"),
)
KEY_ROLES = ("read", "operate", "commission")
INFO_FIELDS = ("board", "interpreter", "heap_free", "uptime_s", "cycle_ms", "boot_count", "settings_crc",
               "reset_cause", "worst_cycle_us", "worst_late_us", "cell_decic")  # fmt: skip

RECORD_KINDS = ((INTERVAL, "interval"), (EVENT, "event"), (ACTED, "acted"), (BOOT, "boot"), (GAP, "gap"))
INTERVAL_FIELDS = (
    "interval_s",
    "import_wh",
    "export_wh",
    "charge_wh",
    "discharge_wh",
    "pv_wh",
    "genset_wh",
    "import_max_w",
    "pcc_voltage_min_mv",
    "soc_permille",
    "quality",
    "stretched_ms",
)
EVENT_FIELDS = ("code", "value", "limit")
ACTED_FIELDS = ("op", "mode", "value_w", "reason")
BOOT_FIELDS = ("reset_cause", "torn_bytes")
GAP_FIELDS = ("cause", "first", "last")
GAP_CAUSES = ("oldest_dropped", "newest_refused", "memory_full", "unreadable")
RECORD_BODIES = {
    INTERVAL: INTERVAL_FIELDS,
    EVENT: EVENT_FIELDS,
    ACTED: ACTED_FIELDS,
    BOOT: BOOT_FIELDS,
    GAP: GAP_FIELDS,
}

EVENTS = (
    (METER_STALE, "meter_stale"),
    (METER_BACK, "meter_back"),
    (INVERTER_LOST, "inverter_lost"),
    (INVERTER_BACK, "inverter_back"),
    (HOST_LOST, "host_lost"),
    (HOST_BACK, "host_back"),
    (LEASE_ENDED, "lease_ended"),
    (PLAN_ENDED, "plan_ended"),
    (IMPORT_LIMIT_EXCEEDED, "import_limit_exceeded"),
    (IMPORT_LIMIT_HELD, "import_limit_held"),
    (GRID_LOST, "grid_lost"),
    (GRID_BACK, "grid_back"),
    (RECORDS_DROPPED, "records_dropped"),
    (SETTINGS_CHANGED, "settings_changed"),
    (INVERTER_AWAKE, "inverter_awake"),
    (PREPARE_STARTED, "prepare_started"),
    (PREPARE_READY, "prepare_ready"),
    (PREPARE_ENDED, "prepare_ended"),
    (BATTERY_STALE, "battery_stale"),
    (BATTERY_BACK, "battery_back"),
    (MODBUS_REFUSED, "modbus_refused"),
    (WATCHDOG_UNCONFIRMED, "watchdog_unconfirmed"),
    (METER_FROZEN, "meter_frozen"),
    (METER_MOVING, "meter_moving"),
    (PREPARE_LATE, "prepare_late"),
    (GENSET_STARTED, "genset_started"),
    (GENSET_START_FAILED, "genset_start_failed"),
    (GENSET_LOCKED_OUT, "genset_locked_out"),
    (GENSET_STOPPED, "genset_stopped"),
    (ISLAND_FORMED, "island_formed"),
    (ISLAND_LEFT, "island_left"),
    (ISLAND_DARK, "island_dark"),
    (LOAD_SHED, "load_shed"),
    (LOAD_RESTORED, "load_restored"),
    (TRIP_CLEARED, "trip_cleared"),
    (SUPPORT_BEGAN, "support_began"),
    (SUPPORT_ENDED, "support_ended"),
    (TRIPPED_EMERGENCY_STOP, "tripped_emergency_stop"),
    (TRIPPED_DOOR, "tripped_door"),
    (TRIPPED_INSULATION, "tripped_insulation"),
    (TRIPPED_OVER_VOLTAGE, "tripped_over_voltage"),
    (TRIPPED_UNDER_VOLTAGE, "tripped_under_voltage"),
    (TRIPPED_OVER_FREQUENCY, "tripped_over_frequency"),
    (TRIPPED_UNDER_FREQUENCY, "tripped_under_frequency"),
    (TRIPPED_OVER_CURRENT, "tripped_over_current"),
    (TRIPPED_OVER_TEMPERATURE, "tripped_over_temperature"),
    (AUTH_FAILED, "auth_failed"),
    (KEY_CHANGED, "key_changed"),
    (KEYS_UNREADABLE, "keys_unreadable"),
    (ANALOG_LOST, "analog_lost"),
    (ANALOG_BACK, "analog_back"),
    (SENSOR_LOST, "sensor_lost"),
    (SENSOR_BACK, "sensor_back"),
    (UPDATE_CONFIRMED, "update_confirmed"),
    (UPDATE_FELL_BACK, "update_fell_back"),
    (COMMAND_REFUSED, "command_refused"),
    (FUNCTIONS_LEFT_OUT, "functions_left_out"),
)
# Bits of the telemetry's `faults`, from 1 on.
FAULTS = (
    "trip",
    "door",
    "pcc_meter",
    "inverter",
    "battery",
    "pv_meter",
    "genset_meter",
    "host_lost",
    "import_limit",
    "watchdog",
)
FAULT_BATTERY = 16

STATES = ("starting", "idle", "planned", "leased", "fallback", "prepare", "faulted", "grid_lost")
BOUNDS = (
    "none",
    "trip",
    "battery",
    "soc",
    "grid_lost",
    "import_limit",
    "export_limit",
    "ramp",
    "inverter",
    "meter_stale",
    "frequency",
    "voltage",
    "enter_service",
    "temperature",
    "peak",
)

# (key, name, unit, lowest, highest, default) of all settings.
SETTINGS = tuple([setting(line) for line in SETTINGS_TEXT.split("\n")])


def fields_named(names, values):
    """{name: value} of the fields of a message, as far as there are values."""
    return dict(zip(names, values))
