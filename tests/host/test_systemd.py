"""The shipped unit is one that systemd takes and calls well hardened; and what it is told, and when."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

from debian import program
from forerun.site.systemd import Systemd

UNIT = Path(__file__).parents[2] / "examples/systemd/forerun.service"
EXPOSURE = "15"  # tenths; systemd calls anything below 20 well protected


def test_the_unit_is_valid_and_hardened(tmp_path):
    analyze = program("systemd-analyze", "systemd")
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/forerun/bin/forerun serve", f"{sys.executable} -m forerun serve"))
    done = subprocess.run([analyze, "verify", here], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "forerun.site.service" not in done.stderr, done.stderr
    words = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", here]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_watchdog_is_fed_at_half_its_time_and_no_more(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("forerun.site.systemd.time.monotonic", lambda: now[0])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.setblocking(False)
        manager = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        manager.ready()
        for _ in range(310):  # 31 s in tenths
            manager.alive("idle")
            now[0] += 0.1
        heard = []
        while True:
            try:
                heard.append(line.recv(4096).decode())
            except BlockingIOError:
                break
    assert heard == ["READY=1", *["WATCHDOG=1\nSTATUS=idle"] * 3]


def test_a_manager_that_does_not_listen_holds_nothing_up(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        manager = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2"})

        def tell():
            for _ in range(2000):  # far more than its queue takes
                manager.alive("idle")

        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(timeout=10)
        assert not telling.is_alive()


def test_without_systemd_nothing_happens(tmp_path):
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "2"}).alive("idle")
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}).alive("idle")
