"""Seeded fuzz: whatever a line does to good frames, nothing is raised, nothing wrong gets through, and what comes
behind the next delimiter is read."""

from forerun_wire import messages
from forerun_wire.framing import FrameQueue
from forerun_wire.host import counts_of
from forerun_wire.session import EVENTS_MAX
from lane import Chance, session

SEED = 20261122


def make_line(queue, kind, fields, seed):
    at = queue.reserve()
    queue.commit(messages.encode(queue.buffer, at + 1, kind, fields), seed)
    line = bytes(queue.outgoing(4096))
    queue.sent(len(line))
    return line


def spoil(chance, line):
    """`line` with one of the things that happen to it; the delimiter at its end may go too."""
    spot = chance.below(len(line))
    what = chance.below(8)
    if what == 0:
        return line[:spot] + bytes([line[spot] ^ (1 << chance.below(8))]) + line[spot + 1 :]
    if what == 1:
        return line[:spot]
    if what == 2:
        return line[:spot] + chance.bytes(1 + chance.below(9)) + line[spot:]
    if what == 3:
        return line[:spot] + line[spot + 1 + chance.below(4) :]
    if what == 4:
        return chance.bytes(chance.below(700))
    if what == 5:
        return line + line
    if what == 6:
        return line[spot:] + line[:spot]
    return line[:spot] + chance.bytes(chance.below(12)) + line[spot + chance.below(12) :]


def any_value(chance, depth=0):
    what = chance.below(7 if depth < 2 else 5)
    if what == 0:
        return chance.below(24)
    if what == 1:
        return -chance.below(1 << 30)
    if what == 2:
        return chance.below(1 << 31) << chance.below(33)
    if what == 3:
        return chance.bytes(chance.below(30))
    if what == 4:
        return (None, True, False, "text", "")[chance.below(5)]
    if what == 5:
        return [any_value(chance, depth + 1) for _ in range(chance.below(5))]
    pairs = {}
    for _ in range(chance.below(4)):
        key = chance.below(100)
        pairs[key] = any_value(chance, depth + 1)
    return pairs


def fuzz(seed, role, frames, schema=messages.SCHEMA_HASH):
    """Counts after `frames` frames to one side, three of four of them spoiled; each good one has to arrive."""
    chance = Chance(seed)
    queue = FrameQueue(512)
    side = session(role, "side", "test", b"this-one", schema=schema)
    crc_seed = messages.seed_of(schema)
    hello = (1, schema, 1 - role, b"the-peer", "peer", "t", 512, 8, bytes(8), 0, side.nonce, 0)
    line = make_line(queue, messages.HELLO, hello, 0)
    side.receive(line, len(line), 0)
    assert side.event()[0] == ("hello" if role else "host")
    if role == messages.ROLE_HOST:
        side.acknowledge(0)
    unknown = side.whole = 0
    expected = before = None
    random = []  # good commands and records of any content, which may be kept until what is missing before them comes
    for i in range(frames):
        kind = chance.below(4)
        if kind == 0:
            # Good frame behind whatever came: one delimiter, and it has to be understood.
            good, fields, due = good_frame(role, i)
            line = b"\x00" + make_line(queue, good, fields, crc_seed)
            side.receive(line, len(line), i)
            assert events(side)[-1:] == [due], (seed, i)
            continue
        if kind == 1:
            fields = [any_value(chance) for _ in range(chance.below(8))]
            any_kind = chance.below(40)
            line = b"\x00" + make_line(queue, any_kind, fields, crc_seed if messages.seeded(any_kind) else 0)
            if any_kind == messages.COMMAND:
                random.append(("command",) + tuple(fields[:2]) + (fields[2:], messages.COMMISSION))
            elif any_kind == messages.RECORD:
                random.append(("record",) + tuple(fields[:1] + fields[2:6]) + (fields[6:],))
            unknown += any_kind >= len(messages.KINDS) and len(line) <= 512
        elif kind == 2:
            before = expected
            good, fields, expected = next_frame(side, role, i)
            line = spoil(chance, make_line(queue, good, fields, crc_seed))
        else:
            line = spoil(chance, make_line(queue, messages.HELLO, hello, 0))
        side.receive(line, len(line), i)
        side.sent(len(side.outgoing(4096)))
        for event in events(side):
            assert event[0] in MAY_COME[role], (seed, i, event)
            if event[0] in ("command", "record"):
                # It came through whole, or not at all; the one before may have waited for its delimiter.
                assert event in (expected, before) or event in random, (seed, i, event)
                side.whole += 1
            if event[0] == "command":
                side.reply(event[1], messages.DONE)
    counts = counts_of(side)
    counts["whole"] = side.whole
    assert unknown <= counts["unknown_kind"] <= unknown + frames // 10, (seed, counts, unknown)
    return counts


MAY_COME = (
    ("command", "record_ack", "heartbeat", "refused", "not_understood"),
    ("reply", "record", "telemetry", "clock", "refused", "not_understood"),
)


def good_frame(role, i):
    """(kind, fields, the event that has to follow)"""
    if role == messages.ROLE_BOARD:
        return messages.HEARTBEAT, (i,), ("heartbeat", i)
    values = [i] + [i % 120] * 19
    messages.encode_telemetry(_packed, 0, values)
    return messages.TELEMETRY, (bytes(_packed[4:]),), ("telemetry", values)


_packed = bytearray(66)


def next_frame(side, role, i):
    """Likewise for what the side waits for: the next command of a board, the next record of a host."""
    if role == messages.ROLE_BOARD:
        seq = side._next_seq
        return messages.COMMAND, (seq, 2, 0, 5000, i), ("command", seq, 2, [0, 5000, i], messages.COMMISSION)
    before = side._delivered
    record = [before + 1, 1, 2, 3, 2, 4, 5, i]
    return messages.RECORDS, (before, record), ("record", before + 1, 1, 2, 3, 2, [4, 5, i])


def events(side):
    """The events that wait."""
    found = []
    for _ in range(2 * EVENTS_MAX + 1):
        event = side.event()
        if event is None:
            return found
        found.append(event)
    raise AssertionError("events without end")


def test_fuzz_ten_thousand_frames():
    for role in (messages.ROLE_BOARD, messages.ROLE_HOST):
        counts = fuzz(SEED + role, role, 5000)
        assert counts["whole"] > 10, counts  # a spoiled delimiter lets some through
        for counter in ("bad_crc", "bad_cobs", "bad_cbor", "oversize", "unknown_kind"):
            assert counts[counter] > 10, (SEED + role, counts)


def test_fuzz_counts_are_the_same_on_every_interpreter():
    counts = fuzz(7, messages.ROLE_BOARD, 500, b"a schema")  # what a spoiled CRC hits depends on it
    names = ("frames_in", "bad_crc", "bad_cobs", "bad_cbor", "oversize", "unknown_kind", "early", "whole")
    assert [counts[name] for name in names] == EXPECTED, (7, [counts[name] for name in names])


EXPECTED = [313, 40, 210, 37, 4, 81, 0, 16]
