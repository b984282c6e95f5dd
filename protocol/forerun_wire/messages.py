"""The messages as forerun.cddl states them: kinds, operations, codes, fields, settings; packing and reading them."""

import binascii
import struct

from forerun_wire.cbor import ARRAY, CborError, Reader, pack, pack_head, pack_int

VERSION = 1
SCHEMA_HASH = b"\xa4\xe0\x49\xc7\x0b\xfb\xcd\x1b"  # of forerun.cddl; tests/host/test_wire_schema.py says how
OLDER_SCHEMAS = (  # of schemas/: still spoken, oldest first
    b"\x5b\xa4\xe4\x94\xa4\xa1\x89\x69",
    b"\x87\x75\x8e\xc0\x72\xde\xac\x9c",
    b"\x34\xb9\x33\x96\x52\x2c\xd1\xd9",
)
BEFORE_BATCHES = OLDER_SCHEMAS[:2]  # a record a frame, and no HELD

# Kinds of message: element 0 of each array.
HELLO = 0
HEARTBEAT = 1
CLOCK = 2
COMMAND = 3
REPLY = 4
TELEMETRY_ARRAY = 5  # of schemas 1 to 3 only
RECORD = 6  # one record; of schemas 1 and 2 only
RECORD_ACK = 7
NOT_UNDERSTOOD = 8
REFUSED = 9
SEALED = 10
RECORDS = 11
HELD = 12
TELEMETRY = 13

# Fields of a hello, by their place behind the kind; names.py has the names of these and of all others.
HELLO_VERSION = 0
HELLO_SCHEMA = 1
HELLO_ROLE = 2
HELLO_NONCE = 3
HELLO_IDENTITY = 4
HELLO_MAX_FRAME = 6
HELLO_WINDOW = 7
HELLO_HEARD = 10
HELLO_FIRST_SEQ = 11
HELLO_BUFFER = 12
HELLO_KEY_ID = 13

# Type of each field that the oldest schema spoken has: u unsigned, i signed, b eight bytes, s any bytes, t text.
# What follows them is only checked to be CBOR.
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
    "uubs",
    "u",
    "uu",
    "s",
)

ROLE_BOARD = 0
ROLE_HOST = 1

# Operations of a command, with its arguments -> results.
INFO = 1  # [] -> [board, interpreter, heap_free, uptime_s, cycle_ms, boot_count, settings_crc,
# reset_cause, worst_cycle_us, worst_late_us]
SETPOINT = 2  # [mode, value_w, lease_ms]
PLAN_POINTS = 3  # [plan_id, first_index, (duration_s, mode, value_w)...]
PLAN_COMMIT = 4  # [plan_id, count, start_uptime_s]
PLAN_CLEAR = 5  # []
PREPARE = 6  # [power_w, start_in_s, duration_s]
SETTINGS_GET = 7  # [key...] -> [value...]
SETTINGS_SET = 8  # [key, value, ...], all or nothing
MAINTENANCE = 9  # [hold_s]
UPDATE_BEGIN = 10  # [size, sha256, version, manifest_size, signature] -> [offset, chunk_max]
UPDATE_CHUNK = 11  # [offset, data, hash] -> [next offset]
UPDATE_COMMIT = 12  # [], and once more after the restart
UPDATE_STATUS = 13  # [] -> [state, offset, version]
KEY_SET = 14  # [key] -> [proof]
KEY_CONFIRM = 15  # [proof]
SITE_TIME = 16  # [second of the site's local day]
CURVE_SET = 17  # [curve, x, y, x, y, ...]; no points: back to what the settings say

# What a key lets its holder do; without one everybody may read, and a board without a key lets everybody do everything.
READ = 0
OPERATE = 1
COMMISSION = 2
OP_ROLES = b"\x00\x00\x01\x01\x01\x01\x01\x00\x02\x02\x02\x02\x02\x00\x02\x02\x01\x02"  # by operation

HOLD_BATTERY = 0  # value_w is the active_power_w of the inverter, > 0 discharges
HOLD_PCC = 1  # value_w is the pcc_import_w to hold, > 0 imports
WITH_SET = 2  # added to either in a plan: the diesel set is to run

# Codes of a reply; any but DONE is followed by one sentence.
DONE = 0
OUT_OF_RANGE = 1
WRONG_STATE = 2
UNKNOWN_OP = 3
MALFORMED = 4
BUSY = 5
NOT_ALLOWED = 6

# Codes of a refusal of the whole session.
REFUSED_SCHEMA = 1
REFUSED_VERSION = 2
REFUSED_OCCUPIED = 3

# Kinds of record.
INTERVAL = 1
EVENT = 2
ACTED = 3
BOOT = 4
GAP = 5

# Causes of a gap.
OLDEST_DROPPED = 0
NEWEST_REFUSED = 1
MEMORY_FULL = 2
UNREADABLE = 3

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
AUTH_FAILED = 50
KEY_CHANGED = 51
KEYS_UNREADABLE = 52

STARTING = 0
IDLE = 1
PLANNED = 2
LEASED = 3
FALLBACK = 4
PREPARING = 5
FAULTED = 6
GRID_DOWN = 7

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

# One setting a line: key, name, unit, lowest, highest, default. Keys are the numbers of the lines and never used again
# for something else. As text, because a board has not the memory for a table of objects that it seldom asks.
SETTINGS_TEXT = """\
0 cycle_ms ms 20 5000 50
1 bus_baud baud 9600 115200 115200
2 inverter_unit - 1 247 1
3 pcc_meter_unit - 1 247 2
4 pv_meter_unit - 0 247 3
5 genset_meter_unit - 0 247 4
6 import_limit_w W 0 1000000 15000
7 export_limit_w W 0 1000000 10000
8 ramp_w_per_s W/s 10 1000000 20000
9 charge_max_w W 0 1000000 30000
10 discharge_max_w W 0 1000000 30000
11 soc_min_permille permille 0 1000 100
12 soc_max_permille permille 0 1000 950
13 stale_ms ms 200 60000 3000
14 host_lost_ms ms 1000 600000 10000
15 fallback - 0 1 1
16 inverter_watchdog_s s 2 3600 30
17 interval_s s 60 3600 300
18 telemetry_ms ms 50 60000 1000
19 import_margin_w W 0 10000 300
20 functions - 0 2047 0
21 rated_w W 1000 1000000 30000
22 over_start_millihz mHz 50000 52000 50200
23 over_droop_permille permille 20 120 50
24 under_start_millihz mHz 46000 50000 49800
25 under_droop_permille permille 20 120 50
26 volt_watt_start_mv mV 230000 270000 243800
27 volt_watt_end_mv mV 231000 290000 253000
28 volt_var_permille permille 0 600 440
29 enter_delay_s s 0 1800 60
30 enter_ramp_permille_per_min permille/min 10 60000 100
31 peak_limit_w W 0 1000000 15000
32 peak_window_s s 300 3600 3600
33 export_margin_w W 0 10000 0
34 surge_reserve_permille permille 0 1000 0
35 meter_freeze_s s 0 3600 0
36 genset_min_load_w W 0 1000000 6000
37 genset_warm_up_s s 0 600 30
38 genset_min_run_s s 0 14400 1800
39 genset_max_run_s s 600 604800 86400
40 genset_cool_down_s s 0 1800 180
41 genset_tries - 1 10 3
42 genset_start_soc_permille permille 0 1000 150
43 genset_stop_soc_permille permille 0 1000 800
44 genset_start_load_w W 0 1000000 0
45 genset_exercise_h h 0 2000 0
46 pv_limit_permille permille 0 1000 1000
47 records_keep - 0 1 0
48 voltage_gain_q8 mV/256 0 262144 0
49 current_gain_q8 mA/256 0 262144 0
50 ct_phases - 1 3 3
51 ct_reversed - 0 1 0
52 trip_current_ma mA 0 10000000 0
53 trip_voltage_mv mV 0 1000000 0
54 stage_max_w W 0 100000 0
55 stage_kp_q8 1/256 0 2560 128
56 stage_ki_q16 1/65536 0 6553 3276
57 stage_droop_q10 W/mHz/1024 0 100000 0
58 sensors - 0 7 0
59 pulses_per_kwh 1/kWh 10 10000 1000
60 inverter_kind - 0 1 0
61 pv_inverter_unit - 0 247 0
62 battery_wh Wh 0 10000000 0
63 shed_groups - 0 3 0
64 shed_margin_s s 0 3600 300
65 quiet_start_min min 0 1439 0
66 quiet_end_min min 0 1439 0
67 over_voltage_mv mV 230000 345000 264500
68 under_voltage_mv mV 0 230000 195500
69 over_frequency_millihz mHz 50000 65000 51500
70 under_frequency_millihz mHz 45000 50000 47500
71 trip_delay_ms ms 0 10000 200
72 heater_decic 0.1C 0 200 50
73 fan_decic 0.1C 200 600 350
74 grid_wait_s s 3 1800 60"""


def setting(line):
    """(key, name, unit, lowest, highest, default) of one line of SETTINGS_TEXT."""
    key, name, unit, low, high, default = line.split(" ")
    return int(key), name, "" if unit == "-" else unit, int(low), int(high), int(default)


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


TELEMETRY_FORMAT = ">BBBBIHBBHiiiIHHIIiiihIHI"  # head, then the fields
TELEMETRY_BYTES = 62  # of the fields
TELEMETRY_MAX = 65021  # of a field of two bytes


def encode(buffer, at, kind, fields):
    """Index after the message [kind, *fields], written at `at`. CborError if it does not fit."""
    at = pack_head(buffer, at, ARRAY, len(fields) + 1)
    at = pack_int(buffer, at, kind)
    for field in fields:
        at = pack(buffer, at, field)
    return at


def encode_telemetry(buffer, at, v):
    """Index after TELEMETRY with these 20 integers, written at `at` in one step, without making an object."""
    # Each value + 02 in each of its bytes: COBS takes a step for every zero byte, and now there is hardly one.
    struct.pack_into(
        TELEMETRY_FORMAT, buffer, at, 0x82, TELEMETRY, 0x58, TELEMETRY_BYTES,
        v[0] + 0x2020202, v[1] + 0x202, v[2] + 2, v[3] + 2, v[4] + 0x202, v[5] + 0x2020202, v[6] + 0x2020202,
        v[7] + 0x2020202, v[8] + 0x2020202, v[9] + 0x202, v[10] + 0x202, v[11] + 0x2020202, v[12] + 0x2020202,
        v[13] + 0x2020202, v[14] + 0x2020202, v[15] + 0x2020202, v[16] + 0x202, v[17] + 0x2020202, v[18] + 0x202,
        v[19] + 0x2020202,
    )  # fmt: skip
    return at + 4 + TELEMETRY_BYTES


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
    return isinstance(value, bytes if letter == "s" else str)


if hasattr(binascii, "Error"):  # not on MicroPython: words for people would fill a board's memory
    from forerun_wire.names import *  # noqa: F403
