"""Settings, records and updates survive a power cut at every single write to littlefs, on the real interpreter."""

import re
import subprocess
from pathlib import Path

import pytest

from forerun.plant.board import InterpreterMissing, find_interpreter

ROOT = Path(__file__).parents[2]


def run(script: Path) -> tuple[int, str]:
    try:
        interpreter = find_interpreter()
    except InterpreterMissing as missing:
        pytest.skip(str(missing))
    command = [interpreter, "-X", "heapsize=8m", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_power_cut_at_every_write():
    status, said = run(ROOT / "tests" / "power_cut.py")
    found = re.fullmatch(r"(\d+) cuts, 0 failures", said.strip().splitlines()[-1])
    assert status == 0 and found, said
    assert int(found[1]) > 100


def test_power_cut_at_every_write_of_an_update():
    status, said = run(ROOT / "tests" / "power_cut_update.py")
    found = re.fullmatch(r"(\d+) cuts, 0 failures", said.strip().splitlines()[-1])
    assert status == 0 and found and int(found[1]) > 50, said


def test_it_would_notice_an_update_that_is_chosen_before_it_is_whole(tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    text = (ROOT / "tests" / "power_cut_update.py").read_text()
    whole, chosen = "    fill(NEW)\n", "    slots.trial, slots.starts_left = slots.free(), 1\n    slots.keep()\n"
    assert whole in text and chosen in text
    early = "    slots = Slots(STORE)\n" + chosen + whole
    (tests / "power_cut_update.py").write_text(text.replace(whole, early))
    (tests / "power_cut.py").write_text((ROOT / "tests" / "power_cut.py").read_text())
    for name in ("firmware", "protocol"):
        (tmp_path / name).symlink_to(ROOT / name)
    status, said = run(tests / "power_cut_update.py")
    assert status != 0 and ("is not whole" in said or "does not boot" in said), said


def test_it_would_notice_a_store_that_promises_too_much(tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    text = (ROOT / "tests" / "power_cut.py").read_text()
    promise = "        promised.attempted = (20_000 + hour, 11_000 + hour)\n"
    assert promise in text
    # Says that settings are safe before they are written.
    early = promise + "        promised.limits = promised.attempted\n"
    (tests / "power_cut.py").write_text(text.replace(promise, early))
    for name in ("firmware", "protocol"):
        (tmp_path / name).symlink_to(ROOT / name)
    status, said = run(tests / "power_cut.py")
    assert status != 0 and "was confirmed" in said, said
