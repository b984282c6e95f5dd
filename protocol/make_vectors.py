"""After a change of forerun.cddl: python protocol/make_vectors.py

Writes the schema's hash into forerun_wire/messages.py and the cases below, as that schema has them, into vectors.jsonl.
Lines of earlier schemas that are still spoken are never changed: what was once on a wire stays readable. The bytes come
from cbor2, hmac and the textbook form of COBS, not from forerun_wire, which is what they are there to check.
"""

import binascii
import hashlib
import hmac
import json
import pathlib
import re

import cbor2

from forerun_wire.messages import OLDER_SCHEMAS, SETTINGS

HERE = pathlib.Path(__file__).parent
FILE = HERE / "vectors.jsonl"
BARE = "".join("".join(line.split(";")[0] for line in (HERE / "forerun.cddl").read_text().splitlines()).split())
SCHEMA_HASH = hashlib.sha256(BARE.encode()).digest()[:8]
KEY = bytes(range(100, 132))
NONCE = bytes.fromhex("0011223344556677")
OTHER_NONCE = bytes.fromhex("fffefdfcfbfaf9f8")
STORE = bytes.fromhex("a0a1a2a3a4a5a6a7")
TELEMETRY = [
    *(1234567, 123, 3, 5, 0, 15000, 14980, -12000, 230123, 49987, 783, 30000, 30000, 21000, 8123, 0, 17, 14400, 8123),
    98123,
]
U32, I32 = (0, 2**30 - 1), (-(2**30), 2**30 - 1)
RANGES = [
    *(U32, (0, 999), (0, 7), (0, 14), (0, 65021), I32, I32, I32, U32, (0, 65021), (0, 1000), U32, U32, I32, I32, I32),
    *((-32768, 32253), U32, (0, 65021), U32),
]
TELEMETRIES = {
    "telemetry of an ordinary second": TELEMETRY,
    "telemetry, all zero": 20 * [0],
    "telemetry, all at their least": [low for low, _ in RANGES],
    "telemetry, all at their most": [high for _, high in RANGES],
}
EDGES = [
    *(0, 23, 24, 255, 256, 65535, 65536, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63),
    *(2**64 - 1, -1, -24, -25, -256, -257, -65536, -65537, -(2**30), -(2**30) - 1, -(2**31), -(2**31) - 1, -(2**32)),
    *(-(2**32) - 1, -(2**63), -(2**63) - 1, -(2**64)),
]
UNSEEDED = (0, 8, 9)


def messages():
    """(name, message) of every kind, and of what is easy to get wrong."""
    hello = [0, 1, SCHEMA_HASH, 0, NONCE, "unix-board", "forerun 0.1.0", 512, 8, STORE, 41]
    yield "hello of a board, asking", [*hello, bytes(8), 0, 1024, 0]
    yield "hello of a board with a key, answering", [*hello, OTHER_NONCE, 0, 1024, 0xABCDEF]
    yield (
        "hello of a host, µ in its name",
        [0, 1, SCHEMA_HASH, 1, OTHER_NONCE, "µ-host", "", 2048, 16, bytes(8), 0, NONCE, 65535, 32768, 0],
    )
    yield "heartbeat", [1, 7]
    yield "heartbeat, last count", [1, 2**30 - 1]
    yield "clock", [2, 7, 86400, 999999, 86401, 0]
    yield "command info", [3, 0, 1]
    yield "command setpoint, charge", [3, 1, 2, 0, -30000, 10000]
    yield "command setpoint, hold import", [3, 65535, 2, 1, 14700, 60000]
    yield "command plan_points", [3, 2, 3, 99, 0, 900, 1, 14700, 900, 0, -12000, 1800, 0, 0]
    yield "command plan_commit", [3, 3, 4, 99, 3, 1234567]
    yield "command plan_clear", [3, 4, 5]
    yield "command prepare", [3, 5, 6, 18000, 900, 3600]
    yield "command settings_get, all", [3, 6, 7, *(key for key, *_ in SETTINGS)]
    yield "command settings_set", [3, 7, 8, 6, 15000, 0, 50]
    yield "reply of info", [4, 0, 0, "unix-board", "micropython 1.29", 98123, 1234567, 50, 41, 4023233417]
    yield "reply of settings_get", [4, 6, 0, *(default for *_, default in SETTINGS)]
    yield "reply, done", [4, 1, 0]
    yield "reply, refused", [4, 1, 1, "value_w 40000 is above discharge_max_w 30000"]
    yield "reply with every integer edge", [4, 9, 0, *EDGES]
    for size in (240, 241, 242, 243, 244, 245, 246, 247, 248, 500):
        yield f"reply with {size} bytes without a zero", [4, 9, 0, bytes(1 + i % 255 for i in range(size))]
    yield "reply with 200 zeros", [4, 9, 0, bytes(200)]
    for name, values in TELEMETRIES.items():
        yield name, [13, packed(values)]
    yield "command maintenance", [3, 8, 9, 600]
    yield "command maintenance, a contact driven", [3, 18, 9, 60, 2]
    yield "command update_begin", [3, 9, 10, 70000, bytes(range(32)), "0.2.0", 3100, bytes(range(32, 64))]
    yield "command update_chunk", [3, 10, 11, 4096, bytes(300), bytes(range(8))]
    yield "command update_commit", [3, 11, 12]
    yield "command update_status", [3, 12, 13]
    yield "command key_set", [3, 13, 14, KEY]
    yield "command key_confirm", [3, 14, 15, proof(b"host")]
    yield "command site_time", [3, 15, 16, 43200]
    yield "command curve_set, volt-var", [3, 16, 17, 3, 207000, 440, 225400, 0, 234600, 0, 248400, -440]
    yield "command curve_set, as the settings say", [3, 17, 17, 0]
    yield "reply of key_set", [4, 13, 0, proof(b"board")]
    yield "reply, not allowed", [4, 15, 6, "operation 2 needs a key of this board for role 1"]
    interval = [12, 41, 86400, 5, 1, 300, 123456, 0, 4500, 0, 81234, 0, 14980, 228900, 783, 0, 57]
    yield "records, an interval", [11, 11, interval]
    yield "records, an interval with its tag", [11, 11, [*interval, record_tag(interval)]]
    yield "records after a gap", [11, 12, [30, 41, 91800, 0, 1, 300, 9, 0, 4500, 9, 81234, 0, 1, 1, 0, 15, 0]]
    yield (
        "records, one of each other kind",
        [
            *(11, 0, [1, 1, 0, 0, 4, 1, 0], [31, 41, 91801, 250, 2, 9, 15420, 15000]),
            *([32, 41, 91802, 999, 3, 2, 0, -30000, 3], [33, 41, 91803, 0, 5, 0, 13, 29]),
        ],
    )
    yield "record_ack", [7, 32]
    yield "record_ack of nothing", [7, 0]
    yield "record_ack, others came too", [7, 32, 33, 60, 81, 100]
    yield "held", [12, 65535, 5]
    yield "not_understood", [8, 23]
    yield "refused", [9, 1, "board speaks schema 0123abcd, this host 4567cdef: update the board", NONCE]
    yield "refused, occupied", [9, 3, "site-7 is connected to this board: stop it first", OTHER_NONCE]
    yield "sealed setpoint", sealed(0, 1, 70001, [3, 4465, 2, 0, -30000, 10000])
    yield "sealed settings", sealed(0, 2, 3, [3, 3, 8, 6, 15000])
    yield "sealed reply", sealed(0x80, 1, 70001, [4, 4465, 0])
    yield "sealed record_ack", sealed(0, 1, 0, [7, 32])
    yield "heartbeat of a later version, with a field more", [1, 8, "later"]
    yield "telemetry of a later version, with a field more", [13, packed(TELEMETRY) + b"\x09\x00"]


def packed(values):
    """The fields of a telemetry frame as forerun.cddl says: a fixed number of bytes each, 02 added in each byte."""
    sizes = [2 if high in (999, 1000, 65021, 32253) else 4 if high > 65021 else 1 for _, high in RANGES]
    parts = []
    for value, size in zip(values, sizes, strict=True):
        parts.append((value + int.from_bytes(size * b"\x02") & 256**size - 1).to_bytes(size))
    return b"".join(parts)


def role_key(purpose):
    return hmac.digest(KEY, purpose, "sha256")


def sealed(sender, role, counter, message):
    """The message with the tag of a session between NONCE, the board, and OTHER_NONCE, the host."""
    inner = cbor2.dumps(message)
    data = NONCE + OTHER_NONCE + bytes([sender | role]) + counter.to_bytes(4, "big") + inner
    tag = hmac.digest(role_key((b"record", b"operate", b"commission")[role]), data, "sha256")[:8]
    return [10, role, counter, tag, inner]


def proof(who):
    return hmac.digest(KEY, who + NONCE + OTHER_NONCE, "sha256")[:8]


def record_tag(record):
    return hmac.digest(role_key(b"record"), STORE + cbor2.dumps(record), "sha256")[:8]


def dropped():
    """(name, payload, counter, how to spoil the line) of what has to be dropped, counted, and survived."""
    good = cbor2.dumps([1, 7])
    yield "one bit wrong", good, "bad_crc", lambda line: line[:2] + bytes([line[2] ^ 2]) + line[3:]
    yield "one byte lost", good, "bad_cobs", lambda line: line[:3] + line[4:]
    yield "code points beyond the frame", good, "bad_cobs", lambda line: b"\xf0" + line[1:]
    yield "cut short", good, "bad_cobs", lambda line: line[:4] + b"\x00"
    yield "longer than 512 bytes", cbor2.dumps([4, 9, 0, b"x" * 600]), "oversize", bytes
    yield "kind 23", cbor2.dumps([23, 1]), "unknown_kind", bytes
    yield "integer not in its shortest form", bytes.fromhex("82011807"), "bad_cbor", bytes
    yield "indefinite array", bytes.fromhex("9f0107ff"), "bad_cbor", bytes
    yield "float", cbor2.dumps([1, 1.5]), "bad_cbor", bytes
    yield "tag", cbor2.dumps([4, 1, 0, cbor2.CBORTag(40, 1)]), "bad_cbor", bytes
    yield "text that is not UTF-8", bytes.fromhex("8404010061ff"), "bad_cbor", bytes
    yield "map keys not in order", bytes.fromhex("84040100a202010101"), "bad_cbor", bytes
    yield "map key twice", bytes.fromhex("84040100a201010101"), "bad_cbor", bytes
    yield "bytes behind the message", cbor2.dumps([1, 7]) + b"\x00", "bad_cbor", bytes
    yield "array promises more than there is", bytes.fromhex("8201"), "bad_cbor", bytes
    yield "string of 2**64 - 1 bytes", bytes.fromhex("84040100") + b"\x5b" + 8 * b"\xff", "bad_cbor", bytes
    yield "nested too deep", bytes.fromhex("84040100") + 200 * b"\x81" + b"\x01", "bad_cbor", bytes
    yield "field missing", cbor2.dumps([2, 1, 2, 3, 4]), "bad_cbor", bytes
    yield "field of another type", cbor2.dumps([1, "7"]), "bad_cbor", bytes
    yield "true is not a number", cbor2.dumps([1, True]), "bad_cbor", bytes


def line_of(payload, kind, schema):
    """The bytes on the line: COBS( payload || CRC-32 ) 0x00."""
    seed = 0 if kind in UNSEEDED else binascii.crc32(schema)
    data = payload + binascii.crc32(payload, seed).to_bytes(4, "little")
    out = bytearray()
    blocks = data.split(b"\x00")
    for number, block in enumerate(blocks):
        while len(block) > 254 or (len(block) == 254 and number + 1 < len(blocks)):
            out += b"\xff" + block[:254]
            block = block[254:]
        out += bytes([len(block) + 1]) + block
    return bytes(out) + b"\x00"


def readable(value):
    """The same for JSON, where bytes are {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [readable(item) for item in value] if isinstance(value, list) else value


def main():
    messages_py = HERE / "forerun_wire" / "messages.py"
    written = "".join(f"\\x{byte:02x}" for byte in SCHEMA_HASH)
    pattern = re.compile(r"^SCHEMA_HASH = [^#]*  #", re.MULTILINE)
    messages_py.write_text(pattern.sub(lambda _: f'SCHEMA_HASH = b"{written}"  #', messages_py.read_text()))
    lines = FILE.read_text().splitlines()
    kept = [line for line in lines if bytes.fromhex(json.loads(line)["schema"]) in OLDER_SCHEMAS]
    new = []
    for name, value in messages():
        line = line_of(cbor2.dumps(value), value[0], SCHEMA_HASH)
        case = {"name": name, "schema": SCHEMA_HASH.hex(), "value": readable(value)}
        if value[0] == 13:
            case["telemetry"] = TELEMETRIES.get(name, TELEMETRY)
        new.append({**case, "hex": line.hex()})
    for name, payload, counter, spoil in dropped():
        line = spoil(line_of(payload, payload[1], SCHEMA_HASH))
        new.append({"name": name, "schema": SCHEMA_HASH.hex(), "dropped": counter, "hex": line.hex()})
    FILE.write_text("\n".join(kept + [json.dumps(case, ensure_ascii=False) for case in new]) + "\n")
    print(f"schema {SCHEMA_HASH.hex()}: {len(new)} cases, {len(kept)} of earlier schemas kept")


if __name__ == "__main__":
    main()
