"""Records, settings and the two slots on a file system: order, power cuts at every byte, bounds."""

import os

from board_bench import discard, scratch
from forerun_board import records as module
from forerun_board.clock import Clock
from forerun_board.records import Records
from forerun_board.twoslot import TwoSlot


def _add(store, count, size=1):
    for _ in range(count):
        store.add(1, store.next_number, 5, 2, [store.next_number] * size)
        store.flush()


def _read_all(store, after):
    store.rewind(after)
    numbers = []
    record = store.read()
    while record is not None:
        assert record[1:5] == [1, record[0], 5, 2] and record[5][0] == record[0], record
        numbers.append(record[0])
        record = store.read()
    return numbers


def test_records_come_back_in_order_from_wherever_the_host_is():
    path = scratch()
    store = Records(path)
    _add(store, 150)
    for after in (0, 1, 63, 64, 65, 149, 150):
        assert _read_all(store, after) == list(range(after + 1, 151)), after
    again = Records(path)
    assert again.next_number == 151 and again.torn_bytes == 0
    assert _read_all(again, 100) == list(range(101, 151))
    discard(path)


def test_what_is_not_flushed_is_not_sent_and_what_is_sent_keeps_its_number():
    path = scratch()
    store = Records(path)
    store.rewind(0)
    store.add(1, 1, 5, 2, [1])
    assert store.read() is None and store.pending() == 1
    store.flush()
    assert store.read()[0] == 1 and store.pending() == 0
    discard(path)


def test_acknowledged_segments_go_and_numbers_go_on():
    path = scratch()
    store = Records(path)
    _add(store, 130)
    store.acknowledge(130)
    assert len(os.listdir(path)) == 1
    again = Records(path)
    assert again.next_number == 131
    _add(again, 1)
    assert _read_all(again, 130) == [131]
    discard(path)


def test_a_power_cut_at_any_byte_loses_only_what_was_being_written():
    path = scratch()
    store = Records(path)
    _add(store, 3)
    name = path + "/" + os.listdir(path)[0]
    with open(name, "rb") as file:
        whole = file.read()
    ends = [0]
    while ends[-1] < len(whole):
        ends.append(ends[-1] + 10 + whole[ends[-1]])
    for cut in range(len(whole) + 1):
        for other in os.listdir(path):
            os.remove(path + "/" + other)
        with open(name, "wb") as file:
            file.write(whole[:cut])
        kept = len([end for end in ends[1:] if end <= cut])
        torn = Records(path)
        assert torn.next_number == kept + 1, cut
        assert torn.torn_bytes == cut - ends[kept], cut
        _add(torn, 2)
        assert _read_all(torn, 0) == list(range(1, kept + 3)), cut
        assert _read_all(Records(path), 0) == list(range(1, kept + 3)), cut
    discard(path)


def test_a_full_store_drops_its_oldest_and_counts_them():
    path = scratch()
    kept = module.SEGMENTS_MAX
    module.SEGMENTS_MAX = 3
    try:
        store = Records(path)
        _add(store, 64 * 3 + 1)
        assert store.dropped == 64
        assert _read_all(store, 0)[0] == 65 and _read_all(store, 0)[-1] == 193
        assert Records(path).next_number == 194
    finally:
        module.SEGMENTS_MAX = kept
    discard(path)


def test_too_much_for_the_memory_between_two_flushes_is_counted_too():
    path = scratch()
    store = Records(path)
    for _ in range(40):
        store.add(1, 0, 0, 2, [0])
    store.flush()
    assert store.dropped == 8 and store.next_number == 33
    discard(path)


def test_two_slots_always_hold_one_whole_payload():
    path = scratch()
    slots = TwoSlot(path + "/s")
    assert slots.read() is None
    for value in (b"one", b"two", b"three"):
        slots.write(value)
        assert TwoSlot(path + "/s").read() == value
    with open(path + "/s.0", "rb") as file:
        newest = file.read()  # the third write
    for cut in range(len(newest)):
        with open(path + "/s.0", "wb") as file:
            file.write(newest[:cut])
        again = TwoSlot(path + "/s")
        assert again.read() == b"two", cut
        again.write(b"four")
        assert TwoSlot(path + "/s").read() == b"four", cut
        with open(path + "/s.0", "rb") as file:
            assert file.read() != newest
        slots = TwoSlot(path + "/s")
        slots.read()
        for name in ("s.0", "s.1"):
            os.remove(path + "/" + name)
        fresh = TwoSlot(path + "/s")
        fresh.read()
        fresh.write(b"one")
        fresh.write(b"two")
    discard(path)


def test_clock_counts_seconds_without_end_and_its_ticks_modulo():
    clock = Clock()
    clock.advance(999_999)
    assert (clock.s, clock.us, clock.ms) == (0, 999_999, 999)
    clock.advance(1)
    assert (clock.s, clock.us, clock.ms) == (1, 0, 1_000)
    for _ in range(3_000):
        clock.advance(500_000_000 + 333)
    total_us = 1_000_000 + 3_000 * 500_000_333
    assert (clock.s, clock.us) == (total_us // 1_000_000, total_us % 1_000_000)
    assert clock.ms == total_us // 1000 % (1 << 30) and clock.ticks_us == total_us % (1 << 30)
