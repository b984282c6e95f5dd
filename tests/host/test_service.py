"""The host against a board's session in memory: what is acknowledged, and what happens when the disk takes nothing."""

import errno
import os
import sys
from pathlib import Path

import pytest

from forerun import config
from forerun.evidence import Tree
from forerun.service import Service
from forerun.sitekey import signing_key
from forerun.store import Journal, read
from forerun_wire import messages as m
from forerun_wire.board import BoardSession

sys.path.insert(0, str(Path(__file__).parents[1] / "both"))
from lane import Shelf

STORE = b"store-01"


class Disk:
    """The os module, with a switch that makes it full."""

    def __init__(self):
        self.full = False

    def __getattr__(self, name):
        return getattr(os, name)

    def pwrite(self, *args):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(*args)


class Bench:
    """A service and a board's session joined by a perfect line; time in ms."""

    def __init__(self, folder):
        self.disk = Disk()
        self.path = folder / "journal.forerun"
        self.journal = Journal(self.path, self.disk)
        self.said = []
        self.host = Service(config.load(config.EXAMPLE), self.journal, nonce=b"h" * 8, say=self.said.append)
        self.board = BoardSession("bench", "test", b"b" * 8, store_id=STORE, boot_count=1)
        self.board.source = self.shelf = Shelf()
        self.acknowledged = []
        self.now_ms = 0

    def run(self, milliseconds):
        for _ in range(milliseconds // 10):
            self.now_ms += 10
            self.board.tick(self.now_ms)
            data = bytes(self.board.outgoing(4096))
            self.board.sent(len(data))
            self.host.receive(data, self.now_ms * 1000)
            self.host.step(self.now_ms * 1000)
            data = self.host.outgoing()
            self.board.receive(data, len(data), self.now_ms)
            while (event := self.board.event()) is not None:
                if event[0] == "record_ack":
                    self.acknowledged.append(event[1])
                elif event[0] == "command":
                    self.board.reply(event[1], m.DONE, *([0] * len(event[3])))


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.run(1000)
    assert bench.board.up
    yield bench
    bench.disk.full = False
    bench.journal.close()


def numbers(bench):
    return [entry.body[1] for entry in read(bench.path) if getattr(entry, "kind", "") == "record"]


def event(number):
    return (number, 1, 10 + number, 0, m.EVENT, [m.INVERTER_AWAKE, 0, 0])


def test_a_record_is_acknowledged_after_it_is_on_disk(bench):
    bench.shelf.put(*event(1))
    bench.run(500)
    assert numbers(bench) == [1]
    assert bench.acknowledged[-1] == 1


def test_a_full_disk_acknowledges_nothing_tells_and_resumes_by_itself(bench):
    bench.disk.full = True
    for number in (1, 2, 3):
        bench.shelf.put(*event(number))
    bench.run(8000)
    assert numbers(bench) == [] and set(bench.acknowledged) <= {0}
    assert any("disk is full" in sentence for sentence in bench.said)
    assert not any("in service" in sentence for sentence in bench.said), "what is told is on disk"
    complaints = sum("disk is full" in sentence for sentence in bench.said)
    assert complaints <= 5, "told, not shouted"
    bench.disk.full = False
    bench.run(8000)
    assert numbers(bench) == [1, 2, 3]
    assert bench.acknowledged[-1] == 3
    assert sum("in service" in sentence for sentence in bench.said) == 3


def test_orders_without_a_board_are_refused_in_a_sentence(tmp_path):
    from forerun.errors import Trouble

    with Journal(tmp_path / "journal.forerun") as journal:
        host = Service(config.load(config.EXAMPLE), journal, nonce=b"h" * 8)
        with pytest.raises(Trouble, match="no board is connected"):
            host.command(m.INFO)


def test_the_journal_is_sealed_once_an_hour(tmp_path):
    bench = Bench(tmp_path)
    bench.host._key = signing_key(tmp_path / "site.key")
    for hour in (0, 0, 1, 1, 3):
        bench.now_ms = hour * 3_600_000 + bench.now_ms % 3_600_000
        bench.run(100)
    bench.journal.close()
    entries = list(read(bench.path))
    roots = [entry for entry in entries if entry.kind == "root"]
    assert [entry.utc_us // 3_600_000_000 for entry in roots] == [0, 1, 3]
    for root in roots:
        tree = Tree()
        for entry in entries[: root.body["size"]]:
            tree.append(entry.raw)
        assert root.body["size"] == root.sequence_no and root.body["root"] == tree.root()
