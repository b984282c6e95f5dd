"""The host against a board's session in memory: what is acknowledged, and what happens when the disk takes nothing."""

import errno
import os
import time

import pytest

from forerun import config
from forerun.compute.load import Announcement
from forerun.evidence.hashtree import Tree
from forerun.link.port import SerialLink
from forerun.site.history import History
from forerun.site.service import Service
from forerun.site.witness import Witness
from forerun.store.journal import Journal, read
from forerun.store.sitekey import signing_key
from forerun_wire import messages as m
from site_service import Bench, event, recorded


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


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "journal.forerun", Disk())
    bench.run(1000)
    assert bench.board.up
    yield bench
    bench.disk.full = False
    bench.journal.close()


def test_a_record_is_acknowledged_after_it_is_on_disk(bench):
    bench.shelf.put(*event(1))
    bench.run(500)
    assert recorded(bench.path) == [1]
    assert bench.acknowledged[-1] == 1


def test_a_full_disk_acknowledges_nothing_tells_and_resumes_by_itself(bench):
    bench.disk.full = True
    for number in (1, 2, 3):
        bench.shelf.put(*event(number))
    bench.run(8000)
    assert recorded(bench.path) == [] and set(bench.acknowledged) <= {0}
    assert any("disk is full" in sentence for sentence in bench.said)
    assert not any("in service" in sentence for sentence in bench.said), "what is told is on disk"
    complaints = sum("disk is full" in sentence for sentence in bench.said)
    assert complaints <= 5, "told, not shouted"
    bench.disk.full = False
    bench.run(8000)
    assert recorded(bench.path) == [1, 2, 3]
    assert bench.acknowledged[-1] == 3
    assert sum("in service" in sentence for sentence in bench.said) == 3


def test_orders_without_a_board_are_refused_in_a_sentence(tmp_path):
    from forerun.errors import Trouble

    with Journal(tmp_path / "journal.forerun") as journal:
        host = Service(config.load(config.EXAMPLE), journal, nonce=b"h" * 8)
        with pytest.raises(Trouble, match="no board is connected"):
            host.command(m.INFO)


def test_the_journal_is_sealed_once_an_hour(tmp_path):
    bench = Bench(tmp_path / "journal.forerun", Disk())
    bench.host.witness = Witness(bench.journal, signing_key(tmp_path / "site.key"), (), ())
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


def test_a_clock_that_is_set_is_told_and_journalled_and_plans_go_on(tmp_path):
    said, path = [], tmp_path / "journal.forerun"
    with Journal(path) as journal:
        host = Service(config.load(config.EXAMPLE), journal, nonce=b"h" * 8, say=said.append)
        link = SerialLink(host, str(tmp_path / "no-port"), 9600)
        utc_us = [1_790_000_000_000_000]
        link.utc_us = lambda: utc_us[0] + time.monotonic_ns() // 1000
        link.poll(0)
        host._replan_at_s = host.planner._refit_at_s = host._utc_s(time.monotonic_ns() // 1000) + 300
        utc_us[0] += 500_000  # slewed
        link.poll(0)
        assert not said
        for step_us in (-86_400_000_000, 40 * 86_400_000_000):
            utc_us[0] += step_us
            link.poll(0)
            assert "clock was set by" in said[-1] and f"{step_us / 1e6:+.1f} s" in said[-1]
            now_s = host._utc_s(time.monotonic_ns() // 1000)
            due_s = max(host._replan_at_s, host.planner._refit_at_s)
            assert due_s <= now_s, "no waiting for a time that may never come"
    assert sum(entry.body[0] == "clock stepped" for entry in read(path) if entry.kind == "link") == 2


@pytest.mark.parametrize("at_once", [True, False])
def test_however_many_jobs_come_at_once_the_board_gets_the_latest_plan_and_one_step_to_prepare_for(bench, at_once):
    host, orders = bench.host, []
    host.latest = {"soc_permille": 500, "load_w": 3000, "faults": 0, "uptime_s": 1, "uptime_ms": 0}
    now_s = host._utc_s(bench.now_ms * 1000)
    jobs = [Announcement(f"job {number}", 40.0, now_s + 1200, 900.0) for number in range(100)]
    made = host.planner.make
    host.planner.make = lambda *args: (orders.append(len(args[3])), made(*args))
    if at_once:
        host.change_jobs(jobs, [], bench.now_ms * 1000)
    else:
        for job in jobs:
            host.announce(job, bench.now_ms * 1000)
    assert host.session.waiting < 64
    bench.run(3000)
    assert host.session.waiting == 0 and orders[-1] == 100, "the last plan knows all of them"
    assert len(orders) <= 4, "and not each of them had one of its own"
    told = [args for op, args in bench.orders if op == m.PREPARE]
    assert told[-1][0] == 4000 and 1197 <= told[-1][1] <= 1200 and len(told) <= 2
    host.change_jobs([], jobs, bench.now_ms * 1000)
    bench.run(3000)
    assert [args[0] for op, args in bench.orders if op == m.PREPARE][-1] == 0
    assert len(list(read(bench.path))) > 200 and host.jobs == {}


def test_a_clock_that_was_wrong_by_years_does_not_fill_the_memory():
    history = History(0)
    history.put(0, 100.0, 0.0)
    history.put(1_790_000_000 // 300 * 300, 200.0, 1.0)
    history.put(1_790_000_300 // 300 * 300, 300.0, 1.0)
    assert history.load_w == [200.0, 300.0] and history.start_s == 1_790_000_000 // 300 * 300
    history.put(0, 400.0, 0.0)
    assert history.load_w == [400.0] and history.start_s == 0
    history.put(-300, 500.0, 0.0)
    assert history.load_w == [400.0], "a step before the first one is not known"
