"""Modbus RTU client: frames of the specification, silence before each, and every way an answer can be bad."""

from bus_bench import Bank, Line, finish, framed
from forerun_board.drivers import modbus_rtu as rtu
from lane import Chance


def _bench(baud=115200):
    line = Line({17: Bank({107 + i: value for i, value in enumerate((0x022B, 0x0000, 0x0064))})})
    return line, rtu.Master(line, baud)


def test_reads_what_the_specification_shows():
    line, bus = _bench()  # Modbus Application Protocol V1.1b3, 6.3: registers 108-110 hold 022B 0000 0064
    bus.read(17, 107, 3)
    finish(bus)
    assert line.requests[0] == framed(b"\x11\x03\x00\x6b\x00\x03")
    assert bus.outcome == rtu.OK
    assert [bus.u16(i) for i in range(3)] == [0x022B, 0, 100]


def test_writes_exactly_the_registers_it_is_asked_to():
    line, bus = _bench()
    bus.values[0], bus.values[1] = 0x000A, 0x0102
    bus.write(17, 108, 2)
    finish(bus)
    assert line.requests[0] == framed(b"\x11\x10\x00\x6c\x00\x02\x04\x00\x0a\x01\x02")
    assert bus.outcome == rtu.OK and line.units[17].writes == [(108, [0x000A, 0x0102])]
    bus.values[0] = 7
    bus.write_single(17, 107)
    finish(bus)
    assert line.requests[1] == framed(b"\x11\x06\x00\x6b\x00\x07") and bus.outcome == rtu.OK


def test_numbers_with_signs_and_in_several_registers():
    line, bus = _bench()
    line.units[17].registers = {0: 0xFFFE, 1: 0x8000, 2: 0x0001, 3: 0x0002}
    bus.read(17, 0, 4)
    finish(bus)
    assert (bus.i16(0), bus.i16(1), bus.u32(0), bus.u64(0)) == (-2, -0x8000, 0xFFFE8000, 0xFFFE800000010002)


def test_the_line_is_silent_for_three_and_a_half_characters_before_each_request():
    for baud, silence_us in ((9600, 4011), (19200, 2006), (38400, 1750), (115200, 1750)):
        line, bus = _bench(baud)
        ended_us = 1000
        bus.read(17, 107, 1)
        ended_us = finish(bus, ended_us)
        bus.read(17, 107, 1)
        bus.poll(ended_us)
        bus.poll(ended_us + silence_us - 1)
        assert len(line.requests) == 1, baud
        bus.poll(ended_us + silence_us)
        assert len(line.requests) == 2, baud


def test_time_wraps_without_a_hiccup():
    line, bus = _bench()
    line.units = {}
    bus.read(17, 107, 1, 0)
    began_us = (1 << 30) - 50_000
    ended_us = finish(bus, began_us)
    assert bus.outcome == rtu.SILENT and 100_000 < ended_us - began_us < 110_000


def test_silence_is_tried_again_once_and_then_told():
    line, bus = _bench()
    line.units = {}
    bus.read(17, 107, 1)
    finish(bus)
    assert bus.outcome == rtu.SILENT and len(line.requests) == 2 and bus.retried == 1


def test_a_bad_answer_is_tried_again_and_a_good_one_then_counts():
    tampered = (
        lambda a: a[:-1] + bytes([a[-1] ^ 1]),  # CRC
        lambda a: framed(b"\x12" + a[1:-2]),  # another unit
        lambda a: framed(a[:1] + b"\x04" + a[2:-2]),  # another function
        lambda a: framed(a[:2] + b"\x04" + a[3:-2]),  # says another length
        lambda a: a[:-3],  # cut short
        lambda a: b"",
    )
    for number in range(len(tampered)):
        line, bus = _bench()
        bad = [tampered[number]]
        line.tamper = lambda answer, bad=bad: bad.pop()(answer) if bad else answer
        bus.read(17, 107, 3)
        finish(bus)
        assert bus.outcome == rtu.OK and bus.u16(2) == 100, number
        bad.extend([tampered[number], tampered[number]])
        bus.read(17, 107, 3)
        finish(bus)
        assert bus.outcome in (rtu.GARBLED, rtu.SILENT), number


def test_an_exception_is_an_answer_and_is_not_tried_again():
    line, bus = _bench()
    bus.read(17, 500, 1)
    finish(bus)
    assert (bus.outcome, bus.exception, len(line.requests)) == (rtu.EXCEPTION, 2, 1)


def test_an_echo_that_differs_is_no_confirmation_of_a_write():
    line, bus = _bench()
    line.tamper = lambda answer: framed(answer[:3] + b"\x00" + answer[4:-2])
    bus.values[0] = 5
    bus.write(17, 108, 1)
    finish(bus)
    assert bus.outcome == rtu.GARBLED


def test_a_late_answer_is_not_taken_for_the_next_one():
    line, bus = _bench()
    late = Bank({107: 0xDEAD}).answer(b"\x11\x03\x00\x6b\x00\x01")
    line.waiting = late
    bus.read(17, 107, 1)
    finish(bus)
    assert bus.outcome == rtu.OK and bus.u16(0) == 0x022B


def test_noise_never_raises_and_never_passes_for_an_answer():
    chance = Chance(31)
    line, bus = _bench()
    passed = 0
    for number in range(150):
        line.requests = []
        line.tamper = lambda answer: chance.bytes(chance.below(20))
        bus.read(17, 107, 1, 0)
        finish(bus, number * 1_000_000 & 0x3FFFFFFF)
        passed += bus.outcome == rtu.OK
    assert passed == 0, "seed 31"


def test_the_round_is_planned_from_the_line_rate():
    # 8 characters out and 5 + 2n back, 11 bits each, 5 ms turnaround, 3.5 characters of silence.
    assert abs(rtu.read_us(50, 9600) - (113 * 11e6 / 9600 + 5000 + 4010)) < 200
    assert abs(rtu.read_us(50, 115200) - (113 * 11e6 / 115200 + 5000 + 1750)) < 200
    assert abs(rtu.write_us(2, 115200) - (21 * 11e6 / 115200 + 5000 + 1750)) < 50
