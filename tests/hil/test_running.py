"""`forerun run` as a service, by the wall clock: what it tells systemd, a reload, a port that vanishes, who may look at
it, and that it gets by with the memory rules of the shipped unit."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from forerun import config
from forerun.errors import Trouble
from forerun.site import status

PATIENCE_S = 60
PR_SET_MDWE = 65  # prctl(2): no memory may be writable and executable, as with MemoryDenyWriteExecute


def until(what, why=""):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.02)
    return found


@contextmanager
def emulator():
    """The emulated site with a board: the path of the board's line."""
    command = [sys.executable, "-m", "forerun", "emulate", "--board", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline())["board_link"]
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)


@contextmanager
def plugged(link, line):
    """`link` leads to the board's line meanwhile, and no longer: the number of a closed pseudo-terminal is given to the
    next comer, whose bytes a host that tries again would take."""
    link.symlink_to(line)
    yield
    link.unlink()


def free_ports(count):
    """Different ones: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


class Unit:
    """`forerun run` started as systemd would; `heard` is what it told it, `said` its lines."""

    def __init__(self, folder, text):
        self.site, self.journal = folder / "site.toml", folder / "journal.forerun"
        self.site.write_text(text)
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(str(folder / "notify"))
        self.line.setblocking(False)
        self.heard, self.log = [], open(folder / "log", "w+")  # noqa: SIM115 (closed below)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forerun", "run", "--site", self.site], env=environment, stderr=self.log,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0),  # noqa: PLW1509 (no threads here)
        )  # fmt: skip

    def told(self, word):
        """How often systemd was told so."""
        while True:
            try:
                self.heard += self.line.recv(4096).decode().splitlines()
            except BlockingIOError:
                return sum(line.startswith(word) for line in self.heard)

    def said(self, part):
        with open(self.log.name) as log:
            return part in log.read()

    def seen(self):
        try:
            return status.read(self.journal)
        except Trouble:
            return None

    def close(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.log.close()
        self.line.close()


@pytest.fixture
def unit(tmp_path, _interpreter):
    made = []

    def start(text):
        made.append(Unit(tmp_path, text))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_a_site_as_a_service(unit, tmp_path):
    metrics, scada, broker = free_ports(3)
    text = config.EXAMPLE.with_name("demo_site.toml").read_text().replace("/dev/ttyACM0", "board")
    text = text.replace('port = "board"', f'port = "{tmp_path}/board"')
    text += f"\n[metrics]\nport = {metrics}\n[modbus_tcp]\nport = {scada}\n"
    text += f'[mqtt]\nhost = "127.0.0.1"\nport = {broker}\n'
    with emulator() as board, plugged(tmp_path / "board", board):
        site = unit(text)
        until(lambda: site.told("READY=1"))
        seen = until(lambda: (seen := site.seen()) and seen["live"] and seen["plan"] and seen)
        assert seen["link"]["connected"] and seen["store"]["entries"] > 3
        assert stat.S_IMODE(os.stat(status.socket_path(site.journal)).st_mode) == 0o600
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as page:
            assert b"forerun_link_up 1.0" in page.read()
        socket.create_connection(("127.0.0.1", scada), 10).close()
        until(lambda: site.told("WATCHDOG=1") >= 2)
        assert any(line.startswith("STATUS=") and "import" in line for line in site.heard)

        site.site.write_text(text.replace("import_limit_w = 12000", "import_limit_w = -4"))
        site.process.send_signal(signal.SIGHUP)
        until(lambda: site.said("import_limit_w = -4"), "a bad file is refused in one sentence")
        until(lambda: site.told("READY=1") == 2)
        assert site.said("runs on as it was") and site.seen()["import_limit_w"] == 12_000
        text = text.replace("import_limit_w = 12000", "import_limit_w = 11000")
        site.site.write_text(text)
        site.process.send_signal(signal.SIGHUP)
        until(lambda: site.said("import_limit_w is now 11000"), "the board has the new limit")
        until(lambda: site.seen()["import_limit_w"] == 11_000, "whoever looks sees it too")
        assert site.told("RELOADING=1") == 2
        failed = until(lambda: [alarm for alarm in site.seen()["alarms"] if alarm["name"] == "integration_failed"])
        assert "MQTT broker" in failed[0]["cause"], "a broker that is not there is told, and the site runs on"
    until(lambda: site.said("was lost"), "the port vanished")
    with emulator() as board:
        alarm = until(lambda: [one for one in site.seen()["alarms"] if one["name"] == "board_silent"])
        assert "forerun doctor" in alarm[0]["remedy"]
        with plugged(tmp_path / "board", board):
            until(lambda: site.seen()["link"]["connected"], "it comes back by itself")
            site.process.send_signal(signal.SIGTERM)
            assert site.process.wait(PATIENCE_S) == 0
    assert site.seen() is None
    assert not site.said("Traceback")
