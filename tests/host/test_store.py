"""The journal: what was acknowledged is there afterwards, whatever happened to process, disk or bytes."""

import errno
import os
import random
import signal
import subprocess
import sys
import zlib

import cbor2
import pytest

from forerun.store.journal import (
    MAX_BUFFER_BYTES,
    Damage,
    Entry,
    Journal,
    JournalBusy,
    JournalDamaged,
    JournalFull,
    JournalUnwritable,
    read,
)

STORE = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def body(number: int) -> list:
    return [1, number, 0, 1, 300, 7 * number]


def filled(path, count: int) -> list[int]:
    """A journal of `count` records; the offset of each item and the end."""
    with Journal(path) as journal:
        for number in range(1, count + 1):
            assert journal.append_record(1000 * number, "board", STORE, number, body(number))
    return [entry.offset for entry in read(path)] + [path.stat().st_size]


def numbers(path) -> list[int]:
    return [entry.body[1] for entry in read(path) if isinstance(entry, Entry)]


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        assert journal.append(5, "host", "plan", {"points": [1, 2]}) == 0
        assert journal.append(6, "board", "event", [9, -16000, 15000]) == 1
        assert list(read(path)) == []
        assert journal.commit() == path.stat().st_size > 0
        assert journal.commit() == 0
    assert [(e.sequence_no, e.utc_us, e.source, e.kind, e.body) for e in read(path)] == [
        (0, 5, "host", "plan", {"points": [1, 2]}),
        (1, 6, "board", "event", [9, -16000, 15000]),
    ]


def test_the_file_is_a_cbor_sequence_that_any_reader_opens(tmp_path):
    path = tmp_path / "journal"
    filled(path, 3)
    with open(path, "rb") as file:
        decoder, seen = cbor2.CBORDecoder(file), []
        while file.tell() < path.stat().st_size:
            crc, raw = decoder.decode()
            assert crc == zlib.crc32(raw)
            assert cbor2.dumps(cbor2.loads(raw), canonical=True) == raw
            seen.append(cbor2.loads(raw)[4][1])
    assert seen == [1, 2, 3]
    assert path.read_bytes()[:2] == b"\x82\x1a"


def test_a_record_is_taken_once_also_after_reopening(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        assert journal.append_record(1, "board", STORE, 7, body(7)) is True
        assert journal.append_record(1, "board", STORE, 7, body(7)) is False
        assert journal.append_record(1, "board", b"another!", 7, body(7)) is True
        assert journal.append_record(1, "other", STORE, 7, body(7)) is True
        assert journal.on_disk("board", STORE) is None
    with Journal(path) as journal:
        assert journal.on_disk("board", STORE) == 7
        assert journal.append_record(1, "board", STORE, 7, body(7)) is False
        assert journal.append_record(1, "board", STORE, 8, body(8)) is True
        assert journal.on_disk("board", STORE) == 7
        journal.commit()
        assert journal.on_disk("board", STORE) == 8
        assert journal.on_disk("nobody", STORE) is None
    assert len(list(read(path))) == 4


def test_numbers_that_never_came_are_a_gap_until_they_come(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        for number in (10, 11, 15, 16, 20):
            assert journal.append_record(1, "board", STORE, number, body(number))
        assert journal.gaps() == {("board", STORE): [(12, 14), (17, 19)]}
    with Journal(path) as journal:
        assert journal.gaps() == {("board", STORE): [(12, 14), (17, 19)]}
        assert journal.append_record(1, "board", STORE, 13, body(13)) is True
        assert journal.append_record(1, "board", STORE, 13, body(13)) is False
        assert journal.gaps() == {("board", STORE): [(12, 12), (14, 14), (17, 19)]}
        for number in (12, 14, 17, 18, 19, 8):
            assert journal.append_record(1, "board", STORE, number, body(number))
        assert journal.gaps() == {("board", STORE): [(9, 9)]}
        assert journal.append_record(1, "board", STORE, 9, body(9))
        assert journal.gaps() == {}


def test_a_file_cut_at_any_byte_opens_with_every_whole_entry(tmp_path):
    whole = tmp_path / "whole"
    offsets = filled(whole, 4)
    data = whole.read_bytes()
    for length in range(len(data) + 1):
        path = tmp_path / f"cut-{length}"
        path.write_bytes(data[:length])
        kept = sum(offset <= length for offset in offsets[1:])
        torn = data[offsets[kept] : length]
        with Journal(path) as journal:
            assert numbers(path) == list(range(1, kept + 1)), length
            assert (journal.torn is None) == (torn == b""), length
            assert journal.on_disk("board", STORE) == (kept or None)
            assert journal.append_record(1, "board", STORE, 99, body(99))
        side = tmp_path / f"cut-{length}.torn-{offsets[kept]}"
        if torn:
            assert side.read_bytes() == torn
            assert str(offsets[kept]) in journal.message and side.name in journal.message
        else:
            assert not side.exists() and journal.message == ""
        assert numbers(path) == [*range(1, kept + 1), 99]
        assert all(isinstance(item, Entry) for item in read(path))


def test_zeros_at_the_end_are_a_torn_tail_too(tmp_path):
    """What some file systems leave after a power cut: the length is there, the data is not."""
    path = tmp_path / "journal"
    offsets = filled(path, 2)
    with open(path, "r+b") as file:
        file.seek(offsets[1])
        file.write(bytes(offsets[2] - offsets[1] + 4096))
    with Journal(path) as journal:
        assert journal.torn.offset == offsets[1] and journal.torn.tail
    assert numbers(path) == [1]


def test_two_different_torn_tails_at_one_offset_are_both_kept(tmp_path):
    path = tmp_path / "journal"
    end = filled(path, 1)[-1]
    for tail in (b"\x82", b"\x82\x1a", b"\x82"):
        with open(path, "ab") as file:
            file.write(tail)
        Journal(path).close()
    kept = sorted(item.name for item in tmp_path.iterdir() if "torn" in item.name)
    assert kept == [f"journal.torn-{end}", f"journal.torn-{end}-2"]


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_before_the_last_entry_is_refused_and_changes_nothing(tmp_path, seed):
    path = tmp_path / "journal"
    offsets = filled(path, 5)
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    at = rng.randrange(offsets[-2])
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    hit = sum(offset <= at for offset in offsets[:-1])
    with pytest.raises(JournalDamaged) as refused:
        Journal(path)
    message = str(refused.value)
    assert str(path) in message and f"byte {offsets[hit - 1]}" in message and "move the file aside" in message
    assert path.read_bytes() == data
    assert [item.name for item in tmp_path.iterdir()] == ["journal"]
    assert numbers(path) == [number for number in range(1, 6) if number != hit]
    damage = [item for item in read(path) if isinstance(item, Damage)]
    assert [(item.offset, item.length, item.tail) for item in damage] == [
        (offsets[hit - 1], offsets[hit] - offsets[hit - 1], False)
    ]


def test_an_entry_taken_out_of_the_middle_is_noticed(tmp_path):
    path = tmp_path / "journal"
    offsets = filled(path, 4)
    data = path.read_bytes()
    path.write_bytes(data[: offsets[1]] + data[offsets[2] :])
    with pytest.raises(JournalDamaged, match="entry 1 is missing"):
        Journal(path)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("[site]\nname = 'x'\n")
    with pytest.raises(JournalDamaged, match="not a journal"):
        Journal(path)
    assert path.read_text().startswith("[site]")


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "journal"
    with Journal(path), pytest.raises(JournalBusy, match=r"another forerun process.*store\.path"):
        Journal(path)
    Journal(path).close()


class Disk:
    """The os functions that make things durable: notes their order, and fails when told to."""

    def __init__(self):
        self.calls, self.fail, self.room = [], {}, None

    def _do(self, name, *args):
        self.calls.append(name)
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))
        return getattr(os, name)(*args)

    def pwrite(self, file, data, offset):
        if self.room is not None:
            data, self.room = data[: self.room], self.room - min(self.room, len(data))
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._do("pwrite", file, data, offset)

    def fdatasync(self, file):
        return self._do("fdatasync", file)

    def ftruncate(self, file, length):
        return self._do("ftruncate", file, length)


def test_nothing_may_be_acknowledged_before_the_sync_returned(tmp_path):
    disk = Disk()
    with Journal(tmp_path / "journal", disk) as journal:
        journal.append_record(1, "board", STORE, 1, body(1))
        assert disk.calls == []
        seen = []
        do = disk._do
        disk._do = lambda name, *args: (seen.append((name, journal.on_disk("board", STORE))), do(name, *args))[1]
        journal.commit()
        assert seen == [("pwrite", None), ("fdatasync", None)]
        assert journal.on_disk("board", STORE) == 1


def test_a_full_disk_acknowledges_nothing_and_can_go_on_later(tmp_path):
    path, disk = tmp_path / "journal", Disk()
    with Journal(path, disk) as journal:
        journal.append_record(1, "board", STORE, 1, body(1))
        journal.commit()
        size = path.stat().st_size
        journal.append_record(2, "board", STORE, 2, body(2))
        disk.room = 11
        with pytest.raises(JournalFull, match=r"the disk is full; .*free space, then commit again"):
            journal.commit()
        assert journal.on_disk("board", STORE) == 1
        assert path.stat().st_size == size
        assert journal.append_record(3, "board", STORE, 3, body(3)) is True
        disk.room = None
        journal.commit()
        assert journal.on_disk("board", STORE) == 3
    assert numbers(path) == [1, 2, 3]


def test_after_a_failed_sync_everything_is_written_again(tmp_path):
    path, disk = tmp_path / "journal", Disk()
    with Journal(path, disk) as journal:
        journal.append_record(1, "board", STORE, 1, body(1))
        disk.fail = {"fdatasync": errno.EIO, "ftruncate": errno.EIO}
        with pytest.raises(JournalUnwritable, match="check disk and mount"):
            journal.commit()
        assert journal.on_disk("board", STORE) is None
        disk.fail, disk.calls = {}, []
        journal.commit()
        assert disk.calls == ["pwrite", "fdatasync"]
    assert numbers(path) == [1]


def test_waiting_for_a_disk_has_a_limit(tmp_path):
    disk = Disk()
    journal = Journal(tmp_path / "journal", disk)
    big, taken = bytes(1_000_000), 0
    with pytest.raises(JournalFull, match="this entry is not taken"):
        for number in range(1, 20):
            journal.append_record(1, "board", STORE, number, [big])
            taken = number
    assert taken == MAX_BUFFER_BYTES // 1_000_000
    journal.commit()
    assert journal.append_record(1, "board", STORE, taken + 1, [big]) is True
    journal.close()
    with pytest.raises(ValueError, match="longer than"):
        Journal(tmp_path / "two").append(1, "x", "y", bytes(2_000_000))


def test_a_path_that_cannot_be_opened_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnwritable, match=r"cannot be opened for writing .*store\.path"):
        Journal(tmp_path / "file" / "journal")


WRITER = """
import sys
from forerun.store.journal import Journal
with Journal(sys.argv[1]) as journal:
    number = (journal.on_disk("board", b"12345678") or 0) + 1
    while True:
        for number in range(number, number + 3):
            assert journal.append_record(number, "board", b"12345678", number, [bytes(number % 700)])
        journal.commit()
        print(number, flush=True)
        number += 1
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path, seed):
    path, rng, acknowledged = tmp_path / "journal", random.Random(seed), 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(rng.randrange(1, 60)):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
        writer.wait()
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])
        with Journal(path) as journal:
            assert journal.on_disk("board", b"12345678") >= acknowledged
            assert journal.gaps() == {}
        assert numbers(path) == list(range(1, len(numbers(path)) + 1)), f"seed {seed}"
