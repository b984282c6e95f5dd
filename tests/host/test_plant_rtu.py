"""The strict Modbus RTU slave, byte times included. Frames and register numbers are literals."""

import struct

import pytest
from pymodbus.framer import FramerRTU

from forerun.plant.devices import slave as new_slave
from forerun.plant.series import Series
from forerun.plant.site import Site

ID_203 = bytes.fromhex("02 03 9c 86 00 02")  # unit 2, read 2 registers at 40070: model 203's header


def with_crc(frame: bytes) -> bytes:
    crc = FramerRTU.compute_CRC(frame)  # pymodbus: high byte is the one sent first
    return frame + struct.pack(">H", crc)


def exchange(slave, frame: bytes, at_us: float) -> tuple[bytes, int]:
    """What the slave sends after this request, and when its last byte has arrived."""
    slave.receive(frame, at_us)
    reply, due = b"", int(at_us)
    while (next_us := slave.next_due_us()) is not None:
        due = next_us
        reply += slave.take(due)
    return reply, due


@pytest.fixture
def slave():
    return new_slave(Site(loads=[Series(0, 1_000_000, [9_000.0])]), baud=9600)


def test_reply_comes_after_silence_turnaround_and_line_time(slave):
    reply, due_us = exchange(slave, with_crc(ID_203), 1_000_000)
    assert reply == with_crc(bytes.fromhex("02 03 04 00 cb 00 69"))
    char_us = 11e6 / 9600
    assert due_us == pytest.approx(1_000_000 + 8 * char_us + 3.5 * char_us + 2000 + 9 * char_us, abs=3)


def test_the_request_is_looked_at_when_its_silence_is_over():
    """A load step between request and reply is in the reply only if it came before the end of the request."""
    site = Site(loads=[Series(0, 1_000_000, [9_000.0, 12_000.0])])
    slave = new_slave(site, baud=9600)
    power = with_crc(bytes.fromhex("02 03 9c 98 00 01"))  # 40088: W of model 203
    length_us = (8 + 3.5) * 11e6 / 9600
    assert exchange(slave, power, 1_000_000 - length_us - 100)[0][3:5] == struct.pack(">h", 9_000)
    assert exchange(slave, power, 2_000_000)[0][3:5] == struct.pack(">h", 12_000)
    site = Site(loads=[Series(0, 1_000_000, [9_000.0, 12_000.0])])
    assert exchange(new_slave(site, baud=9600), power, 1_000_000 - length_us + 100)[0][3:5] == struct.pack(">h", 12_000)


@pytest.mark.parametrize(("baud", "gap_us", "answered", "counted"), [
    (9600, 1_700, True, None),  # t1.5 = 1.72 ms
    (9600, 2_500, False, "timing"),  # more than t1.5: the frame is broken
    (9600, 4_100, False, "bad_crc"),  # more than t3.5 = 4.01 ms: two frames, both without a CRC
    (115_200, 700, True, None),  # above 19200 baud t1.5 is 0.75 ms
    (115_200, 1_000, False, "timing"),
    (115_200, 1_800, False, "bad_crc"),  # and t3.5 is 1.75 ms
])
def test_gap_inside_a_frame(baud, gap_us, answered, counted):
    slave = new_slave(Site(), baud=baud)
    frame = with_crc(ID_203)
    slave.receive(frame[:3], 0)
    reply, due_us = exchange(slave, frame[3:], 3 * 11e6 / baud + gap_us)
    assert bool(reply) is answered
    if counted:
        assert slave.responder.counts[counted] >= 1
    again, _ = exchange(slave, frame, due_us + 100_000)
    assert again, "the next good frame is answered"


def test_two_requests_without_silence_between_them_are_one_bad_frame(slave):
    frame = with_crc(ID_203)
    slave.receive(frame, 0)
    reply, due_us = exchange(slave, frame, 8 * 11e6 / 9600 + 500)
    assert reply == b""
    assert exchange(slave, frame, due_us + 10_000)[0]


def test_a_request_that_follows_a_reply_too_soon_is_dropped(slave):
    frame = with_crc(ID_203)
    _, due_us = exchange(slave, frame, 0)
    assert exchange(slave, frame, due_us + 2_000)[0] == b""
    assert slave.responder.counts["timing"] == 1
    assert exchange(slave, frame, due_us + 50_000)[0]


def test_a_request_into_a_reply_is_a_collision(slave):
    frame = with_crc(ID_203)
    slave.receive(frame, 0)
    assert slave.take(slave.next_due_us()) == b"", "the end of the request"
    due_us = slave.next_due_us()
    slave.receive(frame, due_us - 3_000)
    assert slave.responder.counts["collision"] == 1
    assert slave.take(due_us) != b""


@pytest.mark.parametrize("frame", [
    with_crc(ID_203)[:-1] + b"\x00",  # bad CRC
    with_crc(b"\x09" + ID_203[1:]),  # unit 9 is somebody else
    with_crc(ID_203)[:5],  # torn
    bytes(300),  # longer than any frame
])
def test_silence_and_the_next_good_frame_is_answered(slave, frame):
    reply, due_us = exchange(slave, frame, 0)
    assert reply == b""
    assert exchange(slave, with_crc(ID_203), due_us + 10_000)[0]


def test_broadcast_acts_without_reply(slave):
    wset = with_crc(bytes.fromhex("00 10 9d d5 00 02 04") + struct.pack(">i", -4_000))  # 40405: WSet of model 704
    assert exchange(slave, wset, 0)[0] == b""
    assert slave.responder.units[1].read(40405, 2) == struct.pack(">i", -4_000)
    assert exchange(slave, with_crc(bytes.fromhex("00 03 9c 86 00 02")), 1_000_000)[0] == b"", "reads are not broadcast"


@pytest.mark.parametrize(("request_", "code"), [
    ("02 04 9c 86 00 02", 1),  # input registers
    ("02 2b 0e 01 00", 1),  # device identification
    ("02 03 00 00 00 02", 2),  # nothing below 40000
    ("02 03 9c f2 00 02", 2),  # 40178 is the end marker's second register, 40179 is beyond
    ("02 03 9c 86 00 7e", 3),  # 126 registers
    ("02 03 9c 86 00 00", 3),
    ("02 03 9c 86 00", 3),  # too short for a read
    ("02 06 9c 98 00 01", 2),  # W of a meter is not writable
    ("01 10 9d d5 00 02 03 00 00 00 00", 3),  # byte count does not fit
    ("01 10 9d d5 00 01 02 00 01", 3),  # half of the 32-bit WSet
    ("01 06 9d d6 00 01", 3),  # its other half
    ("01 06 9d d3 00 02", 3),  # WSetEna has 0 and 1
    ("01 10 9d d5 00 02 04 00 00 ff ff", 3),  # 65535 W from an inverter of 30 kW
])
def test_exceptions(slave, request_, code):
    frame = bytes.fromhex(request_)
    before = slave.responder.units[1].read(40381, 67)
    reply, _ = exchange(slave, with_crc(frame), 0)
    assert reply == with_crc(bytes((frame[0], frame[1] | 0x80, code)))
    assert slave.responder.units[1].read(40381, 67) == before, "a refused write changes nothing"


def test_write_single_register_echoes(slave):
    frame = with_crc(bytes.fromhex("01 06 9d d3 00 01"))  # 40403: WSetEna
    assert exchange(slave, frame, 0)[0] == frame
    assert slave.responder.units[1].read(40403, 1) == b"\x00\x01"


def test_faults_on_command(slave):
    frame = with_crc(ID_203)
    slave.responder.corrupt(replies=1)
    reply, _ = exchange(slave, frame, 0)
    good = with_crc(bytes.fromhex("02 03 04 00 cb 00 69"))
    assert len(reply) == len(good)
    assert sum((a ^ b).bit_count() for a, b in zip(reply, good, strict=True)) == 1
    slave.responder.corrupt(requests=1)
    assert exchange(slave, frame, 1_000_000)[0] == b""
    assert exchange(slave, frame, 2_000_000)[0] == good
    meter = slave.responder.units[2]
    meter.is_silent = lambda: True
    assert exchange(slave, frame, 3_000_000)[0] == b""
    assert slave.responder.counts["silent"] == 1


def test_frozen_meter_repeats_what_it_had():
    site = Site(loads=[Series(0, 1_000_000, [9_000.0, 12_000.0])])
    meter = new_slave(site).responder.units[2]
    meter.freeze(True)
    site.advance(3_000_000)
    assert struct.unpack(">h", meter.read(40088, 1)) == (9_000,)
    meter.freeze(False)
    assert struct.unpack(">h", meter.read(40088, 1)) == (12_000,)
