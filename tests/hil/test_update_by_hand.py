"""`forerun board release` and `forerun board update` as a user gives them, over the emulated board's serial line."""

import json
import signal
import subprocess
import sys
import time

import pytest

from forerun import bytecode
from forerun.link import board_update
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun.simulate.emulated import EmulatedSite
from forerun.store.sitekey import signing_key
from forerun_board.slots import Slots
from hil.rig import EXAMPLE

OLD, NEW = "forerun 0.1.0", "forerun 9.9.9"
PATIENCE_S = 240


def command(*words):
    return subprocess.run([sys.executable, "-m", "forerun", *map(str, words)], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)  # fmt: skip


def forerun(*words, code=0):
    """What a command prints as JSON; its sentence on standard error where it fails with `code`."""
    done = command(*words)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip() if code else json.loads(done.stdout)


@pytest.fixture
def place(tmp_path, _interpreter):
    """(site file, folder, the board's flash) of an emulated site with a board that holds a key."""
    site = Site(SiteConfig(), loads=[Series(0, 1_000_000_000, [6000.0])], seed=1)
    with EmulatedSite(site, with_board=True) as emulated:
        text = EXAMPLE.read_text().replace('port = "/dev/ttyACM0"', f'port = "{emulated.link_path}"')
        path = tmp_path / "site.toml"
        path.write_text(text)
        forerun("commission", "keys", "provision", "--site", path, "--json")
        yield path, tmp_path, str(emulated.flash)


def runs(path):
    """What the board calls itself, once it answers."""
    return forerun("board", "info", "--site", path, "--json")["software"]


def test_released_updated_killed_at_a_chunk_and_updated_again(place):
    path, folder, _ = place
    made = forerun("board", "release", folder / "new.forerun", "--board", "unix", "--version", "9.9.9",
                   "--key", folder / "maker.key", "--json")  # fmt: skip
    update = ("board", "update", folder / "new.forerun", "--trust", made["trust"], "--site", path)
    assert "not the trusted one" in forerun(*update[:4], "00" * 32, *update[5:], "--json", code=1)
    assert runs(path) == OLD

    process = subprocess.Popen([sys.executable, "-u", "-m", "forerun", *map(str, update)], stdout=subprocess.PIPE,
                               text=True)  # fmt: skip
    for line in process.stdout:
        if line.startswith("sent ") and int(line.split()[1]) > made["bytes"] // 3:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL and runs(path) == OLD, "interrupted, the old firmware runs"

    done = command(*update)
    assert done.returncode == 0, done.stderr
    assert "are there already" in done.stdout and f"the board runs {NEW} (before: {OLD})" in done.stdout
    assert runs(path) == NEW


def test_a_firmware_that_nobody_confirms_gives_way_by_itself(place):
    """The host dies between sending and confirming; this firmware waits 4 s for a confirmation in place of 120 s."""
    path, folder, flash = place
    texts = bytecode.sources()
    slots = "forerun_board/slots.py"
    assert "CONFIRM_S = 120" in texts[slots]
    texts[slots] = texts[slots].replace("CONFIRM_S = 120", "CONFIRM_S = 4")
    texts["forerun_board/__init__.py"] = '__version__ = "9.9.9"\n'
    bytecode.compile_to(folder / "lib", bytecode.shrunk(texts))
    image = board_update.image_of(folder / "lib", "9.9.9", "unix")
    key = signing_key(folder / "maker.key")
    (folder / "new.forerun").write_bytes(board_update.write_release(image, key))
    trust = key.public_key().public_bytes_raw().hex()
    process = subprocess.Popen([sys.executable, "-u", "-m", "forerun", "board", "update", folder / "new.forerun",
                                "--trust", trust, "--site", path], stdout=subprocess.PIPE, text=True)  # fmt: skip
    for line in process.stdout:
        if "restarts into the new firmware" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    seen, ends_s = [], time.monotonic() + PATIENCE_S
    while not seen or seen[-1][0]:  # on trial
        assert time.monotonic() < ends_s, seen
        time.sleep(0.02)
        slots = Slots(flash)
        if (now := (slots.trial, slots.starts_left)) not in seen:
            seen.append(now)
    print(seen)
    assert [left for _, left in seen] == [1, 0, 0], "it was started, and nobody starts it again"
    done = command("board", "info", "--site", path, "--json")
    while done.returncode:  # a board that restarts gives no answer now and then
        assert "Traceback" not in done.stderr and time.monotonic() < ends_s, done.stderr
        done = command("board", "info", "--site", path, "--json")
    assert json.loads(done.stdout)["software"] == OLD
