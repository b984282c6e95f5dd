"""The wire against other code: cbor2 on the host, MicroPython's own output, and a long seeded fuzz."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forerun_wire import messages
from forerun_wire.cbor import CborError, Reader, pack
from forerun_wire.framing import Deframer, FrameQueue, cobs_decode, cobs_encode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "both"))

INTEGERS = st.integers(-(2**64), 2**64 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(INTEGERS, inner, max_size=5),
    max_leaves=12,
)


def depth(value) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def packed(value) -> bytes:
    buffer = bytearray(4096)
    return bytes(buffer[: pack(buffer, 0, value)])


def by_cbor2(value):
    """The same with map keys in bytewise order of their encoding, which cbor2 leaves to the caller."""
    if isinstance(value, dict):
        return {key: by_cbor2(value[key]) for key in sorted(value, key=cbor2.dumps)}
    return [by_cbor2(item) for item in value] if isinstance(value, list) else value


@given(VALUES.filter(lambda value: depth(value) <= 4))
def test_same_bytes_as_cbor2_and_back(value):
    data = packed(value)
    assert data == cbor2.dumps(by_cbor2(value))
    assert cbor2.loads(data) == value
    reader = Reader(data)
    assert reader.value() == value and reader.at == len(data)


@given(st.binary(max_size=60))
def test_what_the_reader_takes_cbor2_takes_and_reads_the_same(data):
    reader = Reader(data)
    try:
        value = reader.value()
    except CborError:
        return
    assert cbor2.loads(data[: reader.at]) == value
    assert packed(value) == data[: reader.at]


@given(st.binary(min_size=1, max_size=800), st.integers(0, 255))
def test_cobs_of_anything_comes_back(data, fill):
    data = data.replace(bytes([fill]), b"\x01")
    buffer = bytearray(b"\x00" + data + bytes(8))
    end = cobs_encode(buffer, 0, 1 + len(data))
    assert 0 not in buffer[:end]
    assert bytes(buffer[1 : cobs_decode(buffer, end)]) == data


@given(st.lists(st.binary(max_size=700), max_size=6))
def test_any_bytes_leave_the_deframer_ready_for_the_next_frame(chunks):
    deframer = Deframer(512)
    queue = FrameQueue(512)
    end = messages.encode(queue.buffer, queue.reserve() + 1, messages.HEARTBEAT, (7,))
    queue.commit(end, 5)
    good = bytes(queue.outgoing(512))
    for data in [*chunks, b"\x00"]:
        at = 0
        while at < len(data):
            at = deframer.feed(data, at, len(data))
            if deframer.size:
                deframer.check(5)
    before = deframer.frames
    assert deframer.feed(good, 0, len(good)) == len(good)
    assert deframer.size and deframer.check(5) and deframer.frames == before + 1


def test_cbor2_reads_what_micropython_wrote():
    beside = Path(sys.executable).parent / "micropython"
    micropython = os.environ.get("MICROPYTHON") or (str(beside) if beside.exists() else shutil.which("micropython"))
    if not micropython:
        pytest.skip("micropython is missing: install forerun[test], or point MICROPYTHON at one")
    program = """
import binascii, sys
sys.path.insert(0, "protocol")
from forerun_wire.cbor import pack
buffer = bytearray(600)
for value in (%r):
    print(binascii.hexlify(buffer[:pack(buffer, 0, value)]).decode())
"""
    bits = (0, 5, 8, 16, 30, 32, 62, 63)
    edges = [sign * (1 << bit) + offset for bit in bits for sign in (1, -1) for offset in (-1, 0)]
    others = [b"", b"\x00\xff" * 99, "", "µ–水", [], [1, [2, [b"x", None]]], {}, {-1: True, 300: [False], 2: "y"}]
    values = edges + others
    done = subprocess.run(
        [micropython, "-c", program % values], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    got = [cbor2.loads(bytes.fromhex(line), allow_duplicate_keys=False) for line in done.stdout.splitlines()]
    assert got == values


def test_fuzz_a_hundred_thousand_frames():
    from test_wire_fuzz import fuzz

    for role in (messages.ROLE_BOARD, messages.ROLE_HOST):
        counts = fuzz(1905 + role, role, 50_000)
        assert counts["bad_crc"] > 1000 and counts["oversize"] > 100, counts
