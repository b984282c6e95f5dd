"""The optional parts of a running site, each of them hindered in turn: the site runs on, says so, and tries again."""

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial

import pytest

from forerun.errors import Trouble
from forerun.integrations import Serving, metrics
from forerun.operate import _page
from forerun.site import integrations, status
from forerun.site.doctor import examine
from forerun.site.integrations import Integrations
from forerun.site.running import Running
from site_web import site_file

PATIENCE_S = 30
NOWHERE = "192.0.2.1"  # RFC 5737: no machine has it


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(integrations, "RETRY_S", 0.05)
    monkeypatch.setattr(integrations, "LOOK_S", 0.02)
    monkeypatch.setattr("forerun.site.running.LOOK_AROUND_S", 0.05)


@contextlib.contextmanager
def occupied():
    with socket.create_server(("127.0.0.1", 0)) as line:
        yield line.getsockname()[1]


def running(path, said, port=None):
    return Running(path, say=said.append, web=lambda site: _page(site, None, port))


def turn_until(site, condition):
    """The site's loop turns until it holds."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < ends, site.snapshot.alarms
        site.poll(0.02)
    return found


def failed(site):
    return [alarm for alarm in site.snapshot.alarms if alarm.name == "integration_failed"]


def reached(port):
    socket.create_connection(("127.0.0.1", port), 5).close()
    return True


@pytest.mark.parametrize("name", ["web", "metrics", "modbus_tcp"])
def test_a_port_in_use_is_told_and_taken_once_it_is_free(name, tmp_path):
    path, said = site_file(tmp_path), []
    with contextlib.ExitStack() as other:
        port = other.enter_context(occupied())
        path.write_text(f"{path.read_text()}\n[{name}]\nport = {port}\n")
        with running(path, said, None if name == "web" else 0) as site:
            (alarm,) = turn_until(site, lambda: failed(site))
            assert str(port) in alarm.cause and "the site runs on" in alarm.cause
            assert f"{name}.port" in alarm.remedy and "tried again" in alarm.remedy
            assert "integration_failed" in [one["name"] for one in status.read(site.journal.path)["alarms"]]
            assert b'forerun_alarm{name="integration_failed"' in metrics.text(lambda: site.snapshot)
            entries = site.snapshot.store.entries
            site.ask(lambda service, now_us: service.note_control(["tried"], now_us))
            turn_until(site, lambda: site.snapshot.store.entries > entries)  # the loop works
            time_told = sum(str(port) in sentence for sentence in said)
            other.close()
            turn_until(site, lambda: not failed(site))
            assert reached(port) and time_told == 1, said
            if name != "modbus_tcp":
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()


@pytest.mark.parametrize(("text", "words"), [
    (f'[web]\nhost = "{NOWHERE}"', f"the page at http://{NOWHERE}"),
    ('[web]\nhost = "no..name"', "the page at http://no..name"),
    (f'[metrics]\nport = 9464\nhost = "{NOWHERE}"', f"on {NOWHERE} cannot be opened"),
    ('[metrics]\nport = 9464\nhost = "no..name"', "no..name"),
    (f'[modbus_tcp]\nport = 5020\nhost = "{NOWHERE}"', f"on {NOWHERE} cannot be opened"),
    ('[modbus_tcp]\nport = 5020\nhost = "no..name"', "no..name"),
    ('[mqtt]\nhost = "127.0.0.1"\nport = 1', "127.0.0.1:1 cannot be reached"),
    ('[mqtt]\nhost = "no..name"', "no..name:1883 cannot be reached"),
    ('[mqtt]\nhost = "127.0.0.1"\nusername = "a"\npassword_file = "gone"', "gone cannot be read"),
    ('[mqtt]\nhost = "127.0.0.1"\nca_file = "site.toml"', "site.toml cannot be used"),
    ('[compute]\nreplay = "gone.csv"', "gone.csv"),
])  # fmt: skip
def test_what_is_written_wrong_is_told_and_the_site_runs(text, words, tmp_path):
    path, said = site_file(tmp_path), []
    path.write_text(f"{path.read_text()}\n{text}\n")
    with running(path, said, None if "[web]" in text else 0) as site:
        (alarm,) = turn_until(site, lambda: failed(site))
        assert words in alarm.cause and alarm.remedy
        site.poll(0.02)
        assert status.read(site.journal.path)["alarms"]


def test_files_that_hinder_the_page_and_the_status_socket_are_told(tmp_path):
    path, said = site_file(tmp_path), []
    for name in ("tokens", "sock"):
        (tmp_path / f"journal.forerun.{name}").mkdir()
    with running(path, said, 0) as site:
        alarms = turn_until(site, lambda: len(found := failed(site)) == 2 and found)
        assert any("journal.forerun.tokens cannot" in alarm.cause and "chown" in alarm.remedy for alarm in alarms)
        assert any("status socket" in alarm.cause for alarm in alarms)
        for name in ("tokens", "sock"):
            (tmp_path / f"journal.forerun.{name}").rmdir()
        turn_until(site, lambda: not failed(site))
        assert status.read(site.journal.path)["site"] == "Demo node"


def test_a_reload_leaves_alone_what_it_does_not_change(tmp_path):
    path, said = site_file(tmp_path), []
    text = path.read_text()
    with occupied() as free:
        pass
    with running(path, said) as site:
        turn_until(site, lambda: any("the page" in words or "page and API" in words for words in said))
        path.write_text(f"{text}\n[web]\nport = {free}\n")
        site.reload()
        turn_until(site, lambda: f"page and API at http://127.0.0.1:{free}" in said)
        count = len(said)
        path.write_text(f"{text}\n[web]\nport = {free}\n[modbus_tcp]\nport = 1\nhost = '{NOWHERE}'\n")
        site.reload()
        turn_until(site, lambda: failed(site))
        path.write_text(f"{text}\n[web]\nport = {free}\n")
        site.reload()
        turn_until(site, lambda: not failed(site))
        assert reached(free) and not any("page and API" in sentence for sentence in said[count:])


def test_a_part_begins_with_the_site_as_it_was_just_read(tmp_path, monkeypatch):
    path, said, limits = site_file(tmp_path), [], []

    @contextlib.contextmanager
    def begun(section, seen):
        limits.append(seen().import_limit_w)
        yield Serving(section.port, lambda: True)

    monkeypatch.setattr("forerun.integrations.modbus_tcp.serve", begun)
    text = f"{path.read_text()}\n[modbus_tcp]\nport = 5020\n"
    path.write_text(text)
    with running(path, said, 0) as site:
        turn_until(site, lambda: limits == [12_000])
        path.write_text(text.replace("import_limit_w = 12000", "import_limit_w = 9000"))
        assert site.reload()
        turn_until(site, lambda: len(limits) == 2)
        assert limits[1] == 9_000


class Fragile:
    """A part that breaks the first time, or ends by itself when told to."""

    def __init__(self):
        self.began, self.alive, self.ended = 0, True, 0

    @contextlib.contextmanager
    def part(self):
        self.began += 1
        if self.began == 1:
            raise IndexError("a fault of the program")
        self.alive = True
        try:
            yield self
        finally:
            self.ended += 1
            raise OSError("and it does not close either")


def test_a_fault_of_the_program_in_a_part_stays_there():
    said, fragile, other = [], Fragile(), threading.Event()
    with Integrations(said.append) as parts:
        parts.want({"fragile": (1, fragile.part), "other": (1, partial(contextlib.closing, Closing(other)))})
        wait_for(lambda: fragile.began == 2)
        assert said == ["IndexError: a fault of the program: the site runs on without it"]
        wait_for(lambda: not parts.complaints)
        fragile.alive = False
        wait_for(lambda: fragile.began == 3)
        assert any("ended by itself" in sentence for sentence in said) and fragile.ended == 1
        assert not other.is_set(), "the others are left alone"
    assert other.is_set() and fragile.ended == 2


class Closing:
    alive = True

    def __init__(self, closed):
        self.close = closed.set


def wait_for(condition):
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize(("name", "maker", "end"), [
    ("metrics", "metrics.start_http_server", lambda begun: begun[0].shutdown()),
    ("modbus_tcp", "modbus_tcp.ModbusTcpServer",
     lambda begun: begun.transport.get_loop().call_soon_threadsafe(begun.transport.close)),
])  # fmt: skip
def test_a_server_that_ended_by_itself_is_told_and_begun_again(name, maker, end, tmp_path, monkeypatch):
    path, said, begun = site_file(tmp_path), [], []
    module, maker = maker.split(".")
    made = getattr(importlib.import_module(f"forerun.integrations.{module}"), maker)
    monkeypatch.setattr(f"forerun.integrations.{module}.{maker}",
                        lambda *args, **more: begun.append(made(*args, **more)) or begun[-1])  # fmt: skip
    with occupied() as port:
        pass
    path.write_text(f"{path.read_text()}\n[{name}]\nport = {port}\n")
    with running(path, said, 0) as site:
        first = turn_until(site, lambda: site.integrations.given(name))
        end(begun[0])
        turn_until(site, lambda: any(f"{name} ended by itself" in sentence for sentence in said))
        turn_until(site, lambda: site.integrations.given(name) not in (None, first))
        turn_until(site, lambda: not failed(site))
        assert reached(port)


def test_the_command_itself_goes_on_without_its_page(tmp_path):
    path = site_file(tmp_path)
    with occupied() as port:
        command = [sys.executable, "-m", "forerun", "serve", "--site", path, "--port", str(port)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
        try:
            wait_for(lambda: alarms_of(path))
            found = [one for one in examine(path) if one.check == "integration failed"]
            assert re.search(rf"127\.0\.0\.1:{port} .*Address already in use", found[0].found) and found[0].remedy
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0 and "Traceback" not in said, said


def alarms_of(path):
    try:
        seen = status.read(path.with_name("journal.forerun"))
    except Trouble:
        return False
    return "integration_failed" in [one["name"] for one in seen["alarms"]]
