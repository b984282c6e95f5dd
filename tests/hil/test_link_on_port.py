"""As a user does it, on ports: a board gets its key, has it changed and read back, all of it recorded, shown, replayed;
and the key is taken away again at MicroPython's own prompt."""

import json
import os
import pty
import re
import signal
import subprocess
import tty

import pytest

from hil.test_realtime import PATIENCE_S, site_toml, start

# A board's flash at its prompt: a file system of its own at /, with what a board keeps in it.
PROMPT = """
import os, vfs
class Flash:
    def __init__(self):
        self.data = bytearray(512 * 64)
    def readblocks(self, block, buffer, offset=0):
        buffer[:] = memoryview(self.data)[block * 512 + offset : block * 512 + offset + len(buffer)]
    def writeblocks(self, block, buffer, offset=0):
        self.data[block * 512 + offset : block * 512 + offset + len(buffer)] = buffer
    def ioctl(self, op, argument):
        return {4: 64, 5: 512}.get(op, 0)
flash = Flash()
vfs.VfsLfs2.mkfs(flash)
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(flash), "/")
os.mkdir("/records")
for name in ("keys.0", "keys.1", "boot.0"):
    open("/records/" + name, "w").close()
"""


def forerun(*words, status=0):
    process = start(*words, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, (words, out, err)
    assert "Traceback" not in err
    return out if status == 0 else err


def at_a_terminal(answer, status, *words):
    """What `forerun` with these words says to a person at a terminal who answers so."""
    screen, keyboard = pty.openpty()
    process = start(*words, stdin=keyboard, stderr=subprocess.STDOUT)
    os.write(screen, answer)
    said, _ = process.communicate(timeout=PATIENCE_S)
    os.close(screen)
    os.close(keyboard)
    assert process.returncode == status, said
    return said


@pytest.fixture
def emulated(_interpreter):
    process = start("emulate", "--board", "--json")
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_keys_of_a_board_on_a_recorded_line(emulated, tmp_path):
    recording = tmp_path / "line.rec"
    recorder = start("link", "record", recording, "--port", emulated["board_link"], stderr=subprocess.STDOUT)
    port = re.search(r"open (\S+) in place of", recorder.stdout.readline())[1]
    site = site_toml(tmp_path, port)

    def keys(command, *words, status=0):
        told_as = [] if status else ["--json"]
        return forerun("commission", "keys", command, *words, "--site", site, *told_as, status=status)

    assert json.loads(keys("status"))["key_id"] == 0
    first = json.loads(keys("provision"))
    assert first["key_id"] and first["roles"] == ["operate", "commission"]
    assert "rotate" in keys("provision", status=1)
    second = json.loads(keys("rotate"))
    assert second["key_id"] not in (0, first["key_id"])
    held = json.loads((tmp_path / "site.keys").read_text())["boards"]["emulated-board"]["key"]
    assert "half-way" in json.loads(keys("confirm"))["said"]
    keys("export", tmp_path / "other.keys")
    for name in ("site.keys", "other.keys", "journal.forerun.recordkeys"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name
    recorder.send_signal(signal.SIGINT)
    assert re.search(r"\d\d frames of the host and \d\d+ of the board", recorder.communicate(timeout=PATIENCE_S)[0])
    assert recorder.returncode == 0

    shown = [json.loads(line) for line in forerun("link", "show", recording, "--json").splitlines()]
    ops = [frame.get("inner", frame).get("op") for frame in shown]
    assert ops.count("key_set") == ops.count("key_confirm") == 2
    assert [frame["kind"] for frame in shown].count("broken") == 0
    assert {f"{key:06x}" for key in (0, first["key_id"], second["key_id"])} == {
        frame["key_id"] for frame in shown if frame["kind"] == "hello" and frame["from"] == "board"
    }
    assert bytes.fromhex(held) not in recording.read_bytes() and held not in json.dumps(shown)
    as_host = json.loads(forerun("link", "replay", recording, "--into", "host", "--json"))
    as_board = json.loads(forerun("link", "replay", recording, "--into", "board", "--json"))
    assert as_host["events"]["hello"] >= 6 and as_host["events"]["clock"] >= 1
    assert as_board["events"]["host"] >= 6 and as_board["counts"]["bad_crc"] == as_host["counts"]["bad_crc"] == 0


def test_the_key_is_taken_away_at_the_board_s_prompt(_interpreter, tmp_path):
    script = tmp_path / "prompt.py"
    script.write_text(PROMPT)
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    board = subprocess.Popen([_interpreter, "-i", str(script)], stdin=ours, stdout=ours, stderr=ours)
    try:
        port = os.ttyname(theirs)
        assert "--yes" in forerun("commission", "keys", "recover", "--port", port, status=2), "not without consent"
        said = at_a_terminal(b"n\n", 2, "commission", "keys", "recover", "--port", port)
        assert "Remove its key?" in said and "nothing was done" in said
        said = at_a_terminal(b"y\n", 0, "commission", "keys", "recover", "--port", port)
        assert "keys.0, keys.1 removed" in said and "keys provision" in said
        again = json.loads(forerun("commission", "keys", "recover", "--port", port, "--yes", "--json"))
        assert again["removed"] == [], "and nothing else was"
        refused = forerun("commission", "keys", "recover", "--port", "/dev/null", "--yes", status=1)
        assert "maintenance contact" in refused
    finally:
        board.kill()
        board.wait(PATIENCE_S)
        os.close(ours)
        os.close(theirs)
