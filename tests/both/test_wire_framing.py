"""COBS, CRC and the stream of frames: textbook examples, every length around a block, chunks, overflow, the heap."""

import gc
from binascii import crc32

from forerun_wire import messages
from forerun_wire.cbor import Reader
from forerun_wire.framing import RESIDUE, Deframer, FrameQueue, cobs_decode, cobs_encode, payload_max
from forerun_wire.host import telemetry_values
from lane import IS_MICROPYTHON, SMALL_INT_BITS, Chance, vectors

# S. Cheshire, M. Baker: Consistent Overhead Byte Stuffing, and the table of examples that everyone checks against.
COBS = (
    (b"\x00", b"\x01\x01"),
    (b"\x00\x00", b"\x01\x01\x01"),
    (b"\x00\x11\x00", b"\x01\x02\x11\x01"),
    (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
    (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
    (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
    (bytes(range(0, 255)), b"\x01\xff" + bytes(range(1, 255))),
    (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    (bytes(range(2, 256)) + b"\x00", b"\xff" + bytes(range(2, 256)) + b"\x01\x01"),
    (bytes(range(3, 256)) + b"\x00\x01", b"\xfe" + bytes(range(3, 256)) + b"\x02\x01"),
)
# An ordinary second after two weeks, and what forerun.cddl allows at most and at least.
ORDINARY = [1234567, 123, 3, 5, 0, 15000, 14980, -12000, 230123, 49987, 783]
ORDINARY += [30000, 30000, 21000, 8123, 0, 17, 14400, 8123, 98123]
MOST = [(1 << 30) - 1 - 0x2020202] * 20
LEAST = [0] * 20
for _i, _low, _high in ((1, 0, 999), (2, 0, 7), (3, 0, 14), (4, 0, 65021), (9, 0, 65021), (10, 0, 1000),
                        (16, -32768, 32253), (18, 0, 65021)):  # fmt: skip
    MOST[_i] = _high
    LEAST[_i] = _low
for _i in (5, 6, 7, 13, 14, 15):
    LEAST[_i] = -(1 << 30)


def encoded(data):
    buffer = bytearray(b"\xaa" + data + b"\xaa" * 8)
    return bytes(buffer[: cobs_encode(buffer, 0, 1 + len(data))])


def decoded(code):
    buffer = bytearray(code)
    end = cobs_decode(buffer, len(code))
    return None if end < 0 else bytes(buffer[1:end])


def framed(payload, seed=0, max_frame=512):
    queue = FrameQueue(max_frame)
    at = queue.reserve()
    queue.buffer[at + 1 : at + 1 + len(payload)] = payload
    queue.commit(at + 1 + len(payload), seed)
    return bytes(queue.outgoing(len(queue.buffer)))


def unframed(deframer, line, seed=0, chunk=1000):
    """Payloads of the good frames in `line`, fed in chunks."""
    found = []
    for start in range(0, len(line), chunk):
        part = line[start : start + chunk]
        at = 0
        while at < len(part):
            at = deframer.feed(part, at, len(part))
            if deframer.size and deframer.check(seed):
                found.append(bytes(deframer.buffer[1 : 1 + deframer.size]))
    return found


def test_cobs_examples_both_ways():
    for data, code in COBS:
        assert encoded(data) == code, data
        assert decoded(code) == data, data


def test_cobs_of_every_length_around_a_block():
    for size in list(range(1, 8)) + list(range(250, 260)) + list(range(504, 514)) + list(range(760, 768)):
        run = bytes([1 + i % 255 for i in range(size)])
        for data in (run, b"\x00" + run, run + b"\x00", run[: size // 2] + b"\x00" + run[size // 2 :], bytes(size)):
            code = encoded(data)
            assert 0 not in code and len(code) <= len(data) + 1 + len(data) // 254, size
            assert decoded(code) == data, size


def test_cobs_decoder_takes_the_longer_form_of_a_full_block():
    data = bytes(range(1, 255))
    assert decoded(b"\xff" + data + b"\x01") == data


def test_cobs_decoder_refuses_what_points_beyond_the_frame():
    for code in (b"\x02", b"\x05\x01\x01", b"\xff" + b"\x01" * 253, b"\x02\x01\xf0\x01"):
        assert decoded(code) is None, code


def test_payload_max_is_what_fits_whatever_the_bytes():
    for max_frame in (256, 257, 258, 259, 260, 512, 513, 1024):
        size = payload_max(max_frame)
        # CRC bytes without a zero make the longest line; try until one comes up.
        longest = max(len(framed(bytes([1 + (i + j) % 255 for i in range(size)]), j, max_frame)) for j in range(40))
        assert longest <= max_frame, max_frame
        assert unframed(Deframer(max_frame), framed(b"\x01" * size, 0, max_frame)) == [b"\x01" * size], max_frame
    assert payload_max(512) == 504


def test_residue_is_the_same_for_any_data_and_seed():
    chance = Chance(7)
    for _ in range(50):
        data = chance.bytes(chance.below(40))
        seed = chance.below(1 << 31) * 2
        assert crc32(data + crc32(data, seed).to_bytes(4, "little"), seed) == RESIDUE
    assert RESIDUE < 1 << 30


def test_another_seed_is_another_crc():
    deframer = Deframer(256)
    assert unframed(deframer, framed(b"\x82\x01\x07", 1), 2) == []
    assert deframer.bad_crc == 1 and deframer.frames == 0


def test_frames_come_out_the_same_however_the_bytes_are_cut():
    chance = Chance(99)
    payloads = [chance.bytes(1 + chance.below(300)) for _ in range(12)]
    line = b"".join([framed(payload, 5) for payload in payloads])
    for chunk in (1, 2, 3, 7, 64, 255, 256, len(line)):
        assert unframed(Deframer(512), line, 5, chunk) == payloads, chunk


def test_lone_delimiters_are_nothing():
    deframer = Deframer(256)
    assert unframed(deframer, b"\x00\x00" + framed(b"\x01") + b"\x00\x00") == [b"\x01"]
    assert deframer.bad_cobs == deframer.bad_crc == deframer.oversize == 0


def test_too_short_for_a_crc_is_counted():
    deframer = Deframer(256)
    assert unframed(deframer, b"\x03\x01\x02\x00" + b"\x05\x01\x02\x03\x04\x00") == []
    assert deframer.bad_cobs == 2


def test_frames_too_long_are_counted_once_and_the_next_one_is_read():
    for size in (511, 512, 513, 600, 5000):
        for chunk in (1, 50, 10000):
            deframer = Deframer(512)
            line = b"\x08" * size + b"\x00" + framed(b"\x82\x01\x07")
            assert unframed(deframer, line, 0, chunk) == [b"\x82\x01\x07"], (size, chunk)
            assert deframer.oversize == (1 if size > 511 else 0), (size, chunk)
            assert deframer.bad_cobs == (0 if size > 511 else 1), (size, chunk)


def test_queue_says_no_when_the_line_is_behind_and_goes_on_after():
    queue = FrameQueue(256)
    deframer = Deframer(256)
    sent = []
    arrived = 0
    chance = Chance(3)
    for round_number in range(250):
        at = queue.reserve()
        if at >= 0:
            payload = chance.bytes(1 + chance.below(240))
            queue.buffer[at + 1 : at + 1 + len(payload)] = payload
            queue.commit(at + 1 + len(payload), 9)
            sent.append(payload)
        else:
            assert len(queue.outgoing(10000)) > 256, round_number
        part = bytes(queue.outgoing(chance.below(200)))
        queue.sent(len(part))
        for payload in unframed(deframer, part, 9):
            assert payload == sent[arrived], round_number
            arrived += 1
    assert unframed(deframer, bytes(queue.outgoing(10000)), 9) == sent[arrived:]
    assert 100 < len(sent) < 250


def test_twenty_fields_of_telemetry_are_72_bytes_whatever_they_say():
    for values in (ORDINARY, LEAST, MOST, [0] * 20):
        queue = FrameQueue(512)
        at = queue.reserve()
        queue.commit(messages.encode_telemetry(queue.buffer, at + 1, values), 77)
        line = bytes(queue.outgoing(512))
        assert len(values) == len(messages.TELEMETRY_FIELDS)
        assert unframed(Deframer(512), line, 77) == [payload_of(values)]
        assert telemetry_values(messages.decode_payload(payload_of(values))[1]) == list(values)
        assert len(line) == 72, len(line)


def test_small_values_of_telemetry_hold_no_zero_byte():
    # COBS takes a step for each: this is what makes an ordinary frame cheap.
    for value in (0, 1, 5, 255, 300, 999):
        assert payload_of([value & 7 if i in (2, 3) else value for i in range(20)]).find(b"\x00") < 0, value


def payload_of(values):
    buffer = bytearray(300)
    return bytes(buffer[: messages.encode_telemetry(buffer, 0, values)])


def test_telemetry_makes_next_to_no_garbage():
    if not IS_MICROPYTHON:
        return
    queue = FrameQueue(512)
    seed = messages.seed_of(messages.SCHEMA_HASH)
    values = list(ORDINARY)

    def send():
        at = queue.reserve()
        queue.commit(messages.encode_telemetry(queue.buffer, at + 1, values), seed)
        queue.sent(queue.tail - queue.head)

    for _ in range(3):
        send()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(20):
        send()
    grown = gc.mem_alloc() - before
    gc.enable()
    # The CRC itself is a long integer on a board: an object and its digits, nothing else.
    assert grown <= 20 * 64, grown


def test_reading_telemetry_makes_little_more_than_its_bytes():
    if not IS_MICROPYTHON:
        return
    reader = Reader(payload_of(ORDINARY))
    messages.decode(reader)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(20):
        reader.set(reader.buffer, 0, reader.end)
        messages.decode(reader)
    grown = gc.mem_alloc() - before
    gc.enable()
    word = 4 if SMALL_INT_BITS == 31 else 8
    assert grown <= 20 * 56 * word, grown  # a list of two, a slice and its 62 bytes


SEED = messages.seed_of(messages.SCHEMA_HASH)


def take(deframer, reader, chunk, end, fields):
    """Number of fields of the last frame in chunk[:end], which are put into `fields`."""
    at = 0
    while at < end:
        at = deframer.feed(chunk, at, end)
    if not deframer.check(SEED):
        return 0
    reader.set(deframer.buffer, 1, 1 + deframer.size)
    count = reader.array()
    for i in range(count):
        fields[i] = reader.value()
    return count


def test_hot_frames_are_taken_in_checked_and_read_under_heap_lock():
    hot = ("heartbeat", "heartbeat, last count", "clock", "command setpoint, charge", "command setpoint, hold import",
           "record_ack", "held")  # fmt: skip
    cases = [case for case in vectors() if case["name"] in hot and case["schema"] == messages.SCHEMA_HASH]
    assert len(cases) == len(hot)
    deframer = Deframer(512)
    reader = Reader(b"")
    chunk = bytearray(256)  # as the board reads its port: the frame behind something else, in a longer buffer
    fields = [0] * 8

    for case in cases:
        line = b"\x00" + case["line"]
        chunk[: len(line)] = line
        assert take(deframer, reader, chunk, len(line), fields) == len(case["value"])  # once for the view that is kept
        if IS_MICROPYTHON:
            import micropython

            micropython.heap_lock()
            try:
                count = take(deframer, reader, chunk, len(line), fields)
            finally:
                micropython.heap_unlock()
            assert fields[:count] == case["value"], case["name"]
