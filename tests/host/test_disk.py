"""Real disks that are full or read-only: nothing is acknowledged, it is told, and work goes on by itself."""

import contextlib
import os
import resource
import subprocess
import sys

import pytest

from forerun import config
from forerun.store.journal import Journal, JournalUnwritable
from site_service import Bench, recorded


@contextlib.contextmanager
def small_disk(folder, size="192k"):
    """A file system of its own on `folder`, so small that it can be filled."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("a file system of one's own needs root and mount(8): hardware of a kind")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        bench = Bench(disk / "journal.forerun")
        bench.run(1000)
        bench.send(1)
        bench.run(500)
        assert bench.acknowledged[-1] == 1 and "journal_blocked" not in bench.alarms()
        filler = open(disk / "filler", "wb", buffering=0)  # noqa: SIM115 (closed below)
        with contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        last = 1
        while "journal_blocked" not in bench.alarms():  # what is left of the journal's last page takes some of them
            last += 1
            assert last < 200
            bench.send(last)
            bench.run(200)
        bench.run(6000)
        on_disk = recorded(disk / "journal.forerun")
        assert on_disk == list(range(1, last)) and max(bench.acknowledged) == last - 1, "only what is on disk"
        assert any("the disk is full" in sentence for sentence in bench.said) and "journal_blocked" in bench.alarms()
        os.truncate(filler.fileno(), 0)
        bench.run(12_000)
        assert recorded(disk / "journal.forerun") == list(range(1, last + 1)), "nothing is lost, nothing is there twice"
        assert bench.acknowledged[-1] == last and "journal_blocked" not in bench.alarms()
        filler.close()
        bench.journal.close()


def test_a_file_that_may_not_grow_counts_as_full(tmp_path):
    """The same by a limit of the process, which needs no rights: EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench = Bench(tmp_path / "journal.forerun")
    bench.run(1000)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bench.journal.health().bytes, hard))
        bench.send(1)
        bench.run(7000)
        assert not [number for number in bench.acknowledged if number] and "journal_blocked" in bench.alarms()
        assert any("the disk is full" in sentence for sentence in bench.said)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    bench.run(7000)
    assert bench.acknowledged[-1] == 1 and recorded(tmp_path / "journal.forerun") == [1]
    bench.journal.close()


def test_a_read_only_disk_is_one_sentence(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "site.toml").write_text(config.EXAMPLE.read_text())
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(JournalUnwritable, match=r"Read-only file system\); check store.path"):
            Journal(disk / "journal.forerun")
        command = [sys.executable, "-m", "forerun", "run", "--site", disk / "site.toml", "--for", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert "Read-only file system" in done.stderr
