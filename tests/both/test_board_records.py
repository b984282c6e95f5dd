"""Records, settings and the two slots on a file system: order, power cuts at every byte, bounds."""

import os

from board_bench import discard, scratch
from forerun_board import records as module
from forerun_board.clock import Clock
from forerun_board.records import Records
from forerun_board.twoslot import TwoSlot, exists
from forerun_wire import auth, messages
from forerun_wire.cbor import Reader, pack


def _add(store, count, size=1):
    for _ in range(count):
        store.add(1, store.next_number, 5, 2, [store.next_number] * size)
        store.flush()


def _read_all(store, after, size=1):
    buffer = bytearray(400)
    numbers = []
    count = 1
    while count:
        count, last, end = store.fetch(after, 0, buffer, 7, 300, 20)
        assert end <= 307
        reader = Reader(buffer, 7, end)
        for _ in range(count):
            record = reader.value()
            assert record == [record[0], 1, record[0], 5, 2] + size * [record[0]], record
            numbers.append(record[0])
        assert reader.at == end and last == (numbers[-1] if numbers else after)
        after = last
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
    store.add(1, 1, 5, 2, [1])
    assert _read_all(store, 0) == [] and store.pending() == 1 and store.newest == 0
    store.flush()
    assert _read_all(store, 0) == [1] and store.pending() == 0 and store.newest == 1
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


def test_records_are_fetched_again_as_they_were_sent():
    path = scratch()
    store = Records(path)
    _add(store, 150, 3)
    buffer = bytearray(300)
    sent = []
    after = 0
    while after < 150:
        _, last, end = store.fetch(after, 0, buffer, 0, 200, 20)
        sent.append((after, last, bytes(buffer[:end])))
        after = last
    assert len(sent) > 8
    for after, last, data in sent[::3] + sent[::-2]:
        _, again, end = store.fetch(after, last, buffer, 0, 200, 20)
        assert again == last and bytes(buffer[:end]) == data
    assert store.fetch(150, 0, buffer, 0, 200, 20)[0] == 0
    assert store.fetch(10, 0, buffer, 0, 3, 20)[0] == 0  # no room for one
    assert store.fetch(10, 0, buffer, 0, 200, 1)[:2] == (1, 11)
    discard(path)


def _small(keep_oldest):
    path = scratch()
    store = Records(path)
    store.keep_oldest = keep_oldest
    return path, store


def test_a_full_store_drops_its_oldest_and_says_which():
    kept = module.SEGMENTS_MAX
    module.SEGMENTS_MAX = 3
    try:
        path, store = _small(0)
        store.acknowledge(10)
        _add(store, 64 * 3 + 1)
        assert store.gap() == [messages.OLDEST_DROPPED, 11, 64] and store.gap() is None
        assert _read_all(store, 0)[0] == 65 and _read_all(store, 0)[-1] == 193
        assert Records(path).next_number == 194
        _add(store, 128)
        assert store.gap() == [messages.OLDEST_DROPPED, 65, 192]
    finally:
        module.SEGMENTS_MAX = kept
    discard(path)


def test_a_full_store_that_keeps_its_oldest_says_what_it_did_not_take():
    kept = module.SEGMENTS_MAX
    module.SEGMENTS_MAX = 3
    try:
        path, store = _small(1)
        _add(store, 64 * 3 + 5)
        assert store.gap() is None, "there is no room for the record that would tell"
        assert _read_all(store, 0) == list(range(1, 193))
        store.acknowledge(64)
        assert store.gap() == [messages.NEWEST_REFUSED, 193, 197]
        _add(store, 2)
        assert _read_all(store, 64) == list(range(65, 193)) + [198, 199]
        again = Records(path)
        assert again.next_number == 200 and _read_all(again, 192) == [198, 199]
    finally:
        module.SEGMENTS_MAX = kept
    discard(path)


def test_too_much_for_the_memory_between_two_flushes_is_told_too():
    path = scratch()
    store = Records(path)
    for _ in range(40):
        store.add(1, 0, 0, 2, [0])
    store.flush()
    assert store.gap() == [messages.MEMORY_FULL, 33, 40] and store.next_number == 41 and store.newest == 32
    discard(path)


def test_a_day_without_host_fits_the_flash_budget():
    path = scratch()
    store = Records(path)
    store.keys = auth.board_keys(bytes(range(32)))
    interval = [300] + 6 * [4294967295] + [99999, 230000, 1000, 15, 99]
    number = 0
    for i in range(288):
        store.add(4000, 2000000 + 300 * i, 999, messages.INTERVAL, interval)
        if i % 3 == 0:
            store.add(4000, 2000000 + 300 * i, 999, messages.EVENT, [9, 1000000, 1000000])
        number = store.next_number
        store.flush()
    blocks = [(os.stat(path + "/" + name)[6] + 4095) // 4096 for name in os.listdir(path)]
    assert store.gap() is None and number == 385
    assert 4096 * sum(blocks) <= 64 * 1024, blocks  # of 256 KiB that the store may take in all
    assert 5 * number <= module.SEGMENTS_MAX * module.SEGMENT_RECORDS
    discard(path)


def test_a_board_with_a_key_signs_its_records():
    path = scratch()
    store = Records(path, b"store-01")
    _add(store, 1)
    key = bytes(range(32))
    store.keys = auth.board_keys(key)
    _add(store, 1)
    buffer = bytearray(200)
    end = store.fetch(0, 0, buffer, 0, 200, 20)[2]
    reader = Reader(buffer, 0, end)
    assert reader.value() == [1, 1, 1, 5, 2, 1]
    signed = reader.value()
    assert signed[:-1] == [2, 1, 2, 5, 2, 2]
    record = bytearray(50)
    record = bytes(record[: pack(record, 0, signed[:-1])])
    assert signed[-1] == auth.record_tag(auth.blocks(auth.derive(key, messages.READ)), b"store-01", record)
    discard(path)


def _spoil(path, first, number, at):
    """Change a bit of record `number` in the segment of `first`: of its head or its body, at this byte."""
    name = "%s/%010d.rec" % (path, first)
    with open(name, "rb") as file:
        data = bytearray(file.read())
    offset = 0
    for _ in range(first, number):
        offset += 10 + data[offset] + 256 * data[offset + 1]
    data[offset + at] ^= 0x10
    with open(name, "wb") as file:
        file.write(data)


def test_a_record_that_went_bad_is_passed_over_and_told_as_a_gap():
    for restarted in (False, True):
        path = scratch()
        store = Records(path)
        _add(store, 150)
        for first, number, at in ((1, 20, 12), (65, 70, 12), (65, 71, 5), (65, 120, 1), (129, 140, 7)):
            _spoil(path, first, number, at)
        if restarted:
            store = Records(path)
            assert store.next_number == 151 and store.torn_bytes == 0, "numbers behind it are taken"
        found = _read_all(store, 0)
        # At number 120 it is the length that is wrong: nothing in its segment can be found behind it.
        assert found == [n for n in range(1, 151) if n not in (20, 70, 71, 140) and not 120 <= n <= 128], found
        gaps = [store.gap() for _ in range(5)]
        lost = [[messages.UNREADABLE, first, last] for first, last in ((20, 20), (70, 71), (120, 128), (140, 140))]
        assert gaps == lost + [None], gaps
        assert _read_all(store, 0) == found and store.gap() is None, "told once, however often they are asked for"
        discard(path)


def test_many_places_that_went_bad_are_each_told_exactly():
    path = scratch()
    store = Records(path)
    _add(store, 64)
    bad = (5, 10, 15, 20, 25, 30, 31, 40)
    for number in bad:
        _spoil(path, 1, number, 12)
    found, gaps = [], []
    while len(found) < 64 - len(bad):
        more = _read_all(store, found[-1] if found else 0)
        found += more
        gap = store.gap()
        assert more or gap, "neither goes on nor says why"
        while gap is not None:
            gaps.append(gap[1:])
            gap = store.gap()
    assert found == [n for n in range(1, 65) if n not in bad]
    assert gaps == [[5, 5], [10, 10], [15, 15], [20, 20], [25, 25], [30, 31], [40, 40]], gaps
    discard(path)


def test_records_of_earlier_firmware_are_sent_as_those_of_this_one():
    path = scratch()
    scratchpad = bytearray(60)
    old = bytes(scratchpad[: pack(scratchpad, 0, [1, 7, 5, 2, [7]])])
    with open(path + "/0000000007.rec", "wb") as file:
        file.write(module._framed(7, old))
    store = Records(path)
    assert store.newest == 7 and _read_all(store, 0) == [7]
    _add(store, 1)
    assert _read_all(store, 0) == [7, 8]
    discard(path)


def test_two_slots_always_hold_one_whole_payload():
    path = scratch()
    slots = TwoSlot(path + "/s")
    assert slots.read() is None and not exists(path + "/s")
    for value in (b"one", b"two", b"three"):
        slots.write(value)
        assert exists(path + "/s")
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
