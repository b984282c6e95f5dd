"""The messages as forerun.cddl states them: kinds, operations, codes, fields, settings; packing and reading them."""

import binascii

from forerun_wire.cbor import ARRAY, CborError, Reader, pack, pack_head, pack_int

VERSION = 1
SCHEMA_HASH = b"\x5b\xa4\xe4\x94\xa4\xa1\x89\x69"  # of forerun.cddl; tests/host/test_wire_schema.py says how

# Kinds of message: element 0 of each array.
HELLO = 0
HEARTBEAT = 1
CLOCK = 2
COMMAND = 3
REPLY = 4
TELEMETRY = 5
RECORD = 6
RECORD_ACK = 7
NOT_UNDERSTOOD = 8
REFUSED = 9

KINDS = (
    "hello",
    "heartbeat",
    "clock",
    "command",
    "reply",
    "telemetry",
    "record",
    "record_ack",
    "not_understood",
    "refused",
)

# Fields behind the kind, in order. New ones go to the end; a receiver skips those that it does not know.
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
)
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
RECORD_FIELDS = ("number", "previous", "boot_count", "uptime_s", "uptime_ms", "record_kind")
RECORD_ACK_FIELDS = ("number",)
NOT_UNDERSTOOD_FIELDS = ("unknown_kind",)
REFUSED_FIELDS = ("code", "sentence")

FIELDS = (
    HELLO_FIELDS,
    HEARTBEAT_FIELDS,
    CLOCK_FIELDS,
    COMMAND_FIELDS,
    REPLY_FIELDS,
    TELEMETRY_FIELDS,
    RECORD_FIELDS,
    RECORD_ACK_FIELDS,
    NOT_UNDERSTOOD_FIELDS,
    REFUSED_FIELDS,
)

# Type of each field: u unsigned, i signed, b eight bytes, t text. What follows them is only checked to be CBOR.
_SHAPES = (
    "ububttuububu",
    "u",
    "uuuuu",
    "uu",
    "uu",
    "uuuuuiiiuuuuuiiiiuuu",
    "uuuuuu",
    "u",
    "u",
    "ut",
)

ROLE_BOARD = 0
ROLE_HOST = 1
ROLES = ("board", "host")

# Operations of a command, with its arguments -> results.
INFO = 1  # [] -> [board, interpreter, heap_free, uptime_s, cycle_ms, boot_count, settings_crc]
SETPOINT = 2  # [mode, value_w, lease_ms]
PLAN_POINTS = 3  # [plan_id, first_index, (duration_s, mode, value_w)...]
PLAN_COMMIT = 4  # [plan_id, count, start_uptime_s]
PLAN_CLEAR = 5  # []
PREPARE = 6  # [power_w, start_in_s, duration_s]
SETTINGS_GET = 7  # [key...] -> [value...]
SETTINGS_SET = 8  # [key, value, ...], all or nothing

OPS = (
    (INFO, "info"),
    (SETPOINT, "setpoint"),
    (PLAN_POINTS, "plan_points"),
    (PLAN_COMMIT, "plan_commit"),
    (PLAN_CLEAR, "plan_clear"),
    (PREPARE, "prepare"),
    (SETTINGS_GET, "settings_get"),
    (SETTINGS_SET, "settings_set"),
)
INFO_FIELDS = ("board", "interpreter", "heap_free", "uptime_s", "cycle_ms", "boot_count", "settings_crc")

HOLD_BATTERY = 0  # value_w is the active_power_w of the inverter, > 0 discharges
HOLD_PCC = 1  # value_w is the pcc_import_w to hold, > 0 imports
MODES = ("hold_battery", "hold_pcc")

# Codes of a reply; any but DONE is followed by one sentence.
DONE = 0
OUT_OF_RANGE = 1
WRONG_STATE = 2
UNKNOWN_OP = 3
MALFORMED = 4
BUSY = 5
CODES = ("done", "out_of_range", "wrong_state", "unknown_op", "malformed", "busy")

# Codes of a refusal of the whole session.
REFUSED_SCHEMA = 1
REFUSED_VERSION = 2
REFUSALS = ((REFUSED_SCHEMA, "schema"), (REFUSED_VERSION, "version"))

# Kinds of record, and the fields of each body.
INTERVAL = 1
EVENT = 2
ACTED = 3
BOOT = 4
RECORD_KINDS = ((INTERVAL, "interval"), (EVENT, "event"), (ACTED, "acted"), (BOOT, "boot"))
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
RECORD_BODIES = {INTERVAL: INTERVAL_FIELDS, EVENT: EVENT_FIELDS, ACTED: ACTED_FIELDS, BOOT: BOOT_FIELDS}

# Bits of an interval's quality: what was substituted, not measured. 0 = all measured.
QUALITY_PCC = 1
QUALITY_BATTERY = 2
QUALITY_PV = 4
QUALITY_GENSET = 8

METER_STALE = 1
METER_BACK = 2
INVERTER_LOST = 3
INVERTER_BACK = 4
HOST_LOST = 5
HOST_BACK = 6
LEASE_ENDED = 7
PLAN_ENDED = 8
IMPORT_LIMIT_EXCEEDED = 9
IMPORT_LIMIT_HELD = 10
GRID_LOST = 11
GRID_BACK = 12
RECORDS_DROPPED = 13
SETTINGS_CHANGED = 14
INVERTER_AWAKE = 15
PREPARE_STARTED = 16
PREPARE_READY = 17
PREPARE_ENDED = 18
BATTERY_STALE = 19
BATTERY_BACK = 20
MODBUS_REFUSED = 21
WATCHDOG_UNCONFIRMED = 22
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
)

STARTING = 0
IDLE = 1
PLANNED = 2
LEASED = 3
FALLBACK = 4
PREPARING = 5
FAULTED = 6
GRID_DOWN = 7
STATES = ("starting", "idle", "planned", "leased", "fallback", "prepare", "faulted", "grid_lost")

BOUND_NONE = 0
BOUND_TRIP = 1
BOUND_BATTERY = 2
BOUND_SOC = 3
BOUND_GRID_LOST = 4
BOUND_IMPORT_LIMIT = 5
BOUND_EXPORT_LIMIT = 6
BOUND_RAMP = 7
BOUND_INVERTER = 8
BOUND_METER_STALE = 9
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
)

# Bits of the telemetry's `faults`, from 1 on.
FAULTS = (
    "emergency_stop",
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

# (key, name, unit, lowest, highest, default); keys are never used again for something else.
SETTINGS = (
    (0, "cycle_ms", "ms", 20, 5000, 50),
    (1, "bus_baud", "baud", 9600, 115200, 115200),
    (2, "inverter_unit", "", 1, 247, 1),
    (3, "pcc_meter_unit", "", 1, 247, 2),
    (4, "pv_meter_unit", "", 0, 247, 3),
    (5, "genset_meter_unit", "", 0, 247, 4),
    (6, "import_limit_w", "W", 0, 1000000, 15000),
    (7, "export_limit_w", "W", 0, 1000000, 10000),
    (8, "ramp_w_per_s", "W/s", 10, 1000000, 20000),
    (9, "charge_max_w", "W", 0, 1000000, 30000),
    (10, "discharge_max_w", "W", 0, 1000000, 30000),
    (11, "soc_min_permille", "permille", 0, 1000, 100),
    (12, "soc_max_permille", "permille", 0, 1000, 950),
    (13, "stale_ms", "ms", 200, 60000, 3000),
    (14, "host_lost_ms", "ms", 1000, 600000, 10000),
    (15, "fallback", "", 0, 1, 1),
    (16, "inverter_watchdog_s", "s", 2, 3600, 30),
    (17, "interval_s", "s", 60, 3600, 300),
    (18, "telemetry_ms", "ms", 50, 60000, 1000),
    (19, "import_margin_w", "W", 0, 10000, 300),
)

FALLBACKS = ("idle", "self_consumption")

_TIME_MASK = 0x3FFFFFFF


def elapsed_ms(now_ms, then_ms):
    """Milliseconds from `then_ms` to `now_ms`, both counting modulo 2**30, up to 2**30 - 1."""
    return (now_ms - then_ms) & _TIME_MASK


def seed_of(schema):
    """Where the CRC-32 of a frame starts from between two that agreed on this schema hash."""
    return binascii.crc32(schema)


def seeded(kind):
    """False for the kinds that two builds with different schemas have to be able to read of each other."""
    return kind != HELLO and kind != NOT_UNDERSTOOD and kind != REFUSED


def encode(buffer, at, kind, fields):
    """Index after the message [kind, *fields], written at `at`. CborError if it does not fit."""
    at = pack_head(buffer, at, ARRAY, len(fields) + 1)
    at = pack_int(buffer, at, kind)
    for field in fields:
        at = pack(buffer, at, field)
    return at


def encode_telemetry(buffer, at, values):
    """Like encode() for TELEMETRY, for integers only, without making an object."""
    at = pack_head(buffer, at, ARRAY, len(values) + 1)
    at = pack_head(buffer, at, 0, TELEMETRY)
    for i in range(len(values)):
        at = pack_int(buffer, at, values[i])
    return at


def peek_kind(buffer, at):
    """Kind of the message that seems to start at `at`, or -1: enough to choose the seed of its CRC."""
    first = buffer[at]
    if 0x81 <= first <= 0x97:
        kind = buffer[at + 1]
    elif first == 0x98:
        kind = buffer[at + 2]
    else:
        return -1
    return kind if kind < 24 else -1


def decode(reader):
    """[kind, *fields] of the one message that the reader holds; kinds not in KINDS come unchecked.

    CborError if it is not deterministic CBOR, has bytes behind it, or a field is missing or of another type.
    """
    message = reader.value()
    if reader.at != reader.end:
        raise CborError("bytes behind the message")
    if not isinstance(message, list) or not message or not _is(message[0], "u"):
        raise CborError("not a message")
    if message[0] < len(_SHAPES):
        shape = _SHAPES[message[0]]
        if len(message) <= len(shape):
            raise CborError("a field is missing")
        for i in range(len(shape)):
            if not _is(message[i + 1], shape[i]):
                raise CborError("a field is of another type")
    return message


def decode_payload(payload):
    """[kind, *fields] of one payload in bytes, as decode()."""
    return decode(Reader(payload))


def _is(value, letter):
    if letter == "u":
        return isinstance(value, int) and value is not True and value is not False and value >= 0
    if letter == "i":
        return isinstance(value, int) and value is not True and value is not False
    if letter == "b":
        return isinstance(value, bytes) and len(value) == 8
    return isinstance(value, str)


def fields_named(names, values):
    """{name: value} of the fields of a message."""
    return {names[i]: values[i] for i in range(len(names))}
