"""By the wall clock: emulator, board and host as separate programs on real serial lines; the host killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forerun import config
from forerun.store.journal import Damage, read

PATIENCE_S = 60


def start(*words, **options):
    command = [sys.executable, "-m", "forerun", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


@pytest.fixture
def emulated(_interpreter):
    process = start("emulate", "--board", "--json")
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def site_toml(folder: Path, port: str) -> Path:
    text = config.EXAMPLE.with_name("demo_site.toml").read_text()
    path = folder / "site.toml"
    path.write_text(text.replace("/dev/ttyACM0", port))
    return path


def test_board_info(emulated):
    done = start("board", "info", "--port", emulated["board_link"], "--json")
    out, _ = done.communicate(timeout=PATIENCE_S)
    info = json.loads(out)
    assert done.returncode == 0
    assert info["identity"] == "emulated-board"
    assert info["interpreter"].startswith("MicroPython")
    assert info["heap_free"] > 8000


def test_run_keeps_the_journal_through_kill_9(emulated, tmp_path):
    site = site_toml(tmp_path, emulated["board_link"])
    journal = tmp_path / "journal.forerun"

    def records():
        return [entry for entry in read(journal) if not isinstance(entry, Damage) and entry.kind == "record"]

    process = start("run", "--site", site, "--json")
    for line in process.stdout:  # until the board's own records are on disk
        if "import_limit_w is now" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    before = [entry.body[1] for entry in records()]
    assert before
    with open(journal, "ab") as file:
        file.write(b"\x82\x1a\x01")  # a write cut short

    process = start("run", "--site", site, "--json")
    said = []
    deadline = time.monotonic() + PATIENCE_S
    for line in process.stdout:
        said.append(line)
        if "is connected" in line or time.monotonic() > deadline:
            break
    process.send_signal(signal.SIGTERM)
    summary = process.stdout.read().strip().splitlines()[-1]
    assert process.wait(PATIENCE_S) == 0
    assert "incomplete" in said[0], "the torn tail is told"
    assert json.loads(summary)["board"] == "emulated-board"
    after = [entry.body[1] for entry in records()]
    assert after[: len(before)] == before
    assert len(after) == len(set(after))
    assert os.path.getsize(journal) > 0
