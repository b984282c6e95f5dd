"""Appends to vectors.jsonl the cases below that it does not have yet: python protocol/make_vectors.py

Lines that are there are never changed: what was once on a wire stays readable. The bytes come from cbor2 and the
textbook form of COBS, not from forerun_wire, which is what they are there to check.
"""

import binascii
import json
import pathlib

import cbor2

from forerun_wire.messages import SCHEMA_HASH, SETTINGS

FILE = pathlib.Path(__file__).with_name("vectors.jsonl")
NONCE = bytes.fromhex("0011223344556677")
OTHER_NONCE = bytes.fromhex("fffefdfcfbfaf9f8")
STORE = bytes.fromhex("a0a1a2a3a4a5a6a7")
TELEMETRY = [
    *(1234567, 123, 3, 5, 0, 15000, 14980, -12000, 230123, 49987, 783, 30000, 30000, 21000, 8123, 0, 17, 14400, 8123),
    98123,
]
EDGES = [
    *(0, 23, 24, 255, 256, 65535, 65536, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63),
    *(2**64 - 1, -1, -24, -25, -256, -257, -65536, -65537, -(2**30), -(2**30) - 1, -(2**31), -(2**31) - 1, -(2**32)),
    *(-(2**32) - 1, -(2**63), -(2**63) - 1, -(2**64)),
]
UNSEEDED = (0, 8, 9)


def messages():
    """(name, message) of every kind, and of what is easy to get wrong."""
    hello = [0, 1, SCHEMA_HASH, 0, NONCE, "unix-board", "forerun 0.1.0", 512, 8, STORE, 41]
    yield "hello of a board, asking", [*hello, bytes(8), 0]
    yield "hello of a board, answering", [*hello, OTHER_NONCE, 0]
    yield (
        "hello of a host, µ in its name",
        [0, 1, SCHEMA_HASH, 1, OTHER_NONCE, "µ-host", "", 2048, 16, bytes(8), 0, NONCE, 65535],
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
    yield "telemetry of an ordinary second", [5, *TELEMETRY]
    yield "telemetry, all zero", [5] + 20 * [0]
    yield "record interval", [6, 12, 11, 41, 86400, 5, 1, 300, 123456, 0, 4500, 0, 81234, 0, 14980, 228900, 783, 0, 57]
    yield "record interval after a gap", [6, 30, 12, 41, 91800, 0, 1, 300, 123999, 0, 4500, 9, 81234, 0, 1, 1, 0, 15, 0]
    yield "record event", [6, 31, 30, 41, 91801, 250, 2, 9, 15420, 15000]
    yield "record acted", [6, 32, 31, 41, 91802, 999, 3, 2, 0, -30000, 3]
    yield "record boot", [6, 1, 0, 1, 0, 0, 4, 1, 0]
    yield "record_ack", [7, 32]
    yield "record_ack of nothing", [7, 0]
    yield "not_understood", [8, 23]
    yield "refused", [9, 1, "board speaks schema 0123abcd, this host 4567cdef: update the board"]
    yield "heartbeat of a later version, with a field more", [1, 8, "later"]
    yield "telemetry of a later version, with a field more", [5, *TELEMETRY, -1]


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
    cases = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    have = {case["name"] for case in cases}
    schema = SCHEMA_HASH.hex()
    # A frame of another schema has another CRC: the same message is then another case, named after the schema.
    first = not cases or cases[0]["schema"] == schema
    new = []
    for name, value in messages():
        line = line_of(cbor2.dumps(value), value[0], SCHEMA_HASH)
        name = name if first else f"{name}, schema {schema[:8]}"
        new.append({"name": name, "schema": schema, "value": readable(value), "hex": line.hex()})
    for name, payload, counter, spoil in dropped():
        line = spoil(line_of(payload, payload[1], SCHEMA_HASH))
        new.append({"name": name, "schema": schema, "dropped": counter, "hex": line.hex()})
    with FILE.open("a") as file:
        for case in new:
            if case["name"] not in have:
                file.write(json.dumps(case, ensure_ascii=False) + "\n")
                print("added", case["name"])


if __name__ == "__main__":
    main()
