"""UTC of each record and how surely it is known: with drift, a host clock that is set, board resets, long uptimes."""

import sys
from pathlib import Path

import pytest

from forerun import config
from forerun.site.service import Service
from forerun.store.journal import Journal, read
from forerun_verify import journal as evidence
from forerun_wire import messages as m
from forerun_wire.board import BoardSession

sys.path.insert(0, str(Path(__file__).parents[1] / "both"))
from lane import Shelf

STORE = b"store-01"
UTC_US = 1_790_000_000_000_000
WRAP_MS = 1 << 30


class Site:
    """A host and a board whose crystal is off, on a line that takes 10 ms back and nothing there."""

    def __init__(self, folder, ppm=40, uptime_s=5.0):
        self.path = folder / "journal.forerun"
        self.journal = Journal(self.path)
        self.true_us = 0
        self.ppm = ppm
        self.shelf = Shelf()
        self.truth = {}  # number of a record -> true µs when it was made
        self.boot_count = 0
        self.offset_us = UTC_US
        self.reset(uptime_s)
        self.restart_host()

    def restart_host(self):
        nonce = b"host%04d" % (self.true_us // 1_000_000 % 10000)
        self.host = Service(config.load(config.EXAMPLE), self.journal, nonce=nonce, utc_offset_us=self.offset_us)

    def reset(self, uptime_s=0.0):
        """The board starts anew; its records are kept."""
        self.boot_count += 1
        self.began_us, self.uptime_us = self.true_us, uptime_s * 1e6
        self.board = BoardSession("bench", "test", b"board%03d" % self.boot_count, store_id=STORE,
                                  boot_count=self.boot_count)  # fmt: skip
        self.board.source = self.shelf

    def board_us(self):
        return round(self.uptime_us + (self.true_us - self.began_us) * (1 + self.ppm / 1e6))

    def note(self):
        """The board makes a record now."""
        number = len(self.truth) + 1
        self.truth[number] = self.true_us
        at_us = self.board_us()
        self.shelf.put(number, self.boot_count, at_us // 1_000_000, at_us // 1000 % 1000)

    def run(self, seconds, linked=True):
        for _ in range(round(seconds * 100)):
            self.true_us += 10_000
            board_us = self.board_us()
            board_ms = board_us // 1000 % WRAP_MS
            self.board.tick(board_ms)
            data = bytes(self.board.outgoing(4096))
            self.board.sent(len(data))
            self.host.receive(data if linked else b"", self.true_us)
            self.host.step(self.true_us)
            data = self.host.outgoing() if linked else b""
            self.board.receive(data, len(data), board_ms)
            while (event := self.board.event()) is not None:
                if event[0] == "record_ack":
                    self.shelf.keep([number for number in self.shelf.records if number > event[1]])
                elif event[0] == "heartbeat":
                    self.board.send_clock(event[1], *divmod(board_us, 1_000_000), *divmod(board_us, 1_000_000))
                elif event[0] == "command":
                    self.board.reply(event[1], m.DONE, *([0] * len(event[3])))

    def records(self):
        """{number: entry} of the records in the journal."""
        return {entry.body[1]: entry for entry in read(self.path) if getattr(entry, "kind", "") == "record"}

    def error_us(self, number, offset_us=UTC_US):
        return abs(self.records()[number].utc_us - offset_us - self.truth[number])


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.journal.close()


def test_each_record_says_how_surely_its_utc_is_known_and_is_right(site):
    for _ in range(12):
        site.run(5)
        site.note()
    site.run(1)
    entries = site.records()
    assert sorted(entries) == list(range(1, 13))
    for number, entry in entries.items():
        assert site.error_us(number) <= entry.half_us <= 12_000, (number, site.error_us(number), entry.half_us)


def test_records_of_an_outage_are_known_as_surely_as_the_crystal_allows(site):
    site.run(30)
    site.run(20, linked=False)
    site.note()
    site.run(150, linked=False)
    site.note()
    site.run(10)
    for number in (1, 2):
        assert site.error_us(number) <= site.records()[number].half_us < 60_000


def test_a_reset_board_s_older_records_go_by_the_clock_of_their_boot(site):
    site.run(30)
    site.run(60, linked=False)
    site.note()
    site.reset()
    site.run(3, linked=False)
    site.note()
    site.restart_host()  # the host has only the journal to know the boot before by
    site.run(10)
    old, new = site.records()[1], site.records()[2]
    assert site.error_us(1) <= old.half_us < 60_000 and site.error_us(2) <= new.half_us < 20_000
    assert old.body[2] == 1 and new.body[2] == 2


def test_records_of_a_boot_that_no_host_saw_say_so(site):
    site.note()
    site.reset()
    site.run(10)
    assert site.records()[1].half_us == -1


@pytest.mark.parametrize("by_s", [3600, -3600, 7 * 365 * 86400])
def test_a_leap_of_the_host_s_clock_moves_what_comes_after_it_and_is_told(site, by_s):
    site.run(20)
    site.note()
    site.run(2)
    site.offset_us = site.host.utc_offset_us = UTC_US + by_s * 1_000_000
    site.host.clock_stepped(by_s * 1_000_000, site.true_us)
    site.note()
    site.run(5)
    assert site.error_us(1) <= site.records()[1].half_us < 20_000
    assert site.error_us(2, site.offset_us) <= site.records()[2].half_us < 20_000
    assert any(entry.kind == "link" and entry.body[0] == "clock stepped" for entry in read(site.path))


@pytest.mark.parametrize("wraps_ms", [2**30, 2**31, 2**32])
def test_uptimes_over_every_wrap_of_a_millisecond_counter(tmp_path, wraps_ms):
    site = Site(tmp_path, uptime_s=wraps_ms / 1000 - 8)  # 12.4, 24.9 and 49.7 days
    for _ in range(4):
        site.run(4)
        site.note()
    site.run(1)
    site.journal.close()
    entries = site.records()
    assert sorted(entries) == [1, 2, 3, 4]
    for number, entry in entries.items():
        assert site.error_us(number) <= entry.half_us < 20_000, number
    assert sum(entry.kind == "link" and entry.body[0] == "up" for entry in read(site.path)) == 1, "no link was lost"


def test_records_without_it_are_still_read_and_what_comes_behind_it_is_skipped(tmp_path):
    path = tmp_path / "journal.forerun"
    with Journal(path) as journal:
        journal.append_record(1_000_000, "board", STORE, 1, [1, 1, 0, 4, 1, 0])
        journal.append_record(2_000_000, "board", STORE, 2, [1, 2, 0, 4, 1, 0], 350)
    with Journal(path) as journal:  # and the file is gone on with
        journal.append_record(3_000_000, "board", STORE, 3, [1, 3, 0, 4, 1, 0], -1)
        assert journal.on_disk("board", STORE) == 2
    assert [entry.half_us for entry in read(path)] == [None, 350, -1]
    entries, complaints = evidence.read(path)
    assert [entry.body[1] for entry in entries] == [1, 2, 3] and not complaints
