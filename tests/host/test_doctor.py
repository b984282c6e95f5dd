"""The doctor finds the usual mistakes and says how to mend each; a sound site gets no complaint."""

import contextlib
import dataclasses
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import threading
import tty
from pathlib import Path
from types import SimpleNamespace

import pytest

import forerun_board
import forerun_wire
from forerun import config
from forerun.carbon.intake import REGISTERS
from forerun.link import port
from forerun.plant.board import BoardProcess, line_rate, open_line
from forerun.site import doctor
from forerun.store.journal import read
from forerun_wire import messages
from site_journal import site_file, write


def wrong(findings):
    return {finding.check: finding for finding in findings if finding.state == doctor.WRONG}


def changed(**sections):
    site = config.load(config.EXAMPLE)
    for name, values in sections.items():
        site = dataclasses.replace(site, **{name: dataclasses.replace(getattr(site, name), **values)})
    return site


def test_the_example_site_is_sound_and_its_mistakes_are_named():
    assert {finding.state for finding in doctor.site_findings(changed())} == {doctor.OK}
    found = wrong(doctor.site_findings(changed(site={"longitude": -150.0})))
    assert "longitude" in found["time zone"].remedy
    assert "place" in wrong(doctor.site_findings(changed(site={"latitude": 0.0, "longitude": 0.0})))
    notes = [finding.check for finding in doctor.site_findings(
        changed(bus={"baud": 9600}, safety={"inverter_watchdog_s": 600}, battery={"capacity_wh": 80}))]  # fmt: skip
    assert {"cycle", "watchdog", "battery"} <= set(notes)


def backwards(index, record):
    """The PCC meter with its CTs the wrong way round: import and export change places."""
    registers = record["registers"]
    return [{**record, "registers": [registers[1], registers[0], *registers[2:]]}]


def silent(index, record):
    return [{**record, "quality": messages.QUALITY_PV}]


def test_backward_cts_are_suspected_from_the_data(tmp_path):
    assert REGISTERS[:2] == ("import_wh", "export_wh")
    for name, change, check in (("sound", None, None), ("turned", backwards, "PCC meter"), ("gone", silent, "meters")):
        write(tmp_path / name, 96, change)
        found = wrong(doctor.meter_findings(list(read(tmp_path / name))))
        assert set(found) <= {check}, (name, found)
        if check == "PCC meter":
            assert "backwards" in found[check].remedy


def answering(words):
    """(path of a pty at whose other end somebody answers each line with `words`, what ends it)"""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def serve():
        try:
            while data := os.read(ours, 1024):
                if b"\r\n" in data and words:
                    os.write(ours, words)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    return os.ttyname(theirs), (ours, theirs)


def test_a_board_at_its_prompt_and_a_line_where_nobody_is(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "HELLO_PATIENCE_S", 0.2)
    monkeypatch.setattr(doctor, "REPL_PATIENCE_S", 1.0)
    for words, said in ((b"\r\n>>> ", "MicroPython prompt"), (b"", "nothing answers")):
        path, files = answering(words)
        [found] = doctor.probe(tmp_path / "site.toml", path, 115_200)
        assert found.state == doctor.WRONG and said in found.found and found.remedy
        for file in files:
            os.close(file)


@contextlib.contextmanager
def board_at(folder, baud, **options):
    """A real board whose link carries bytes only at this rate, with nobody on its Modbus line: the path of its link."""
    board = BoardProcess(folder / "flash", lockstep=False, **options)
    ours, theirs, path = open_line()
    stop, stopped = os.pipe()

    def carry():
        while stop not in (ready := select.select([board.link_fd, ours, stop], [], [])[0]):
            for one, other in ((board.link_fd, ours), (ours, board.link_fd)):
                if one in ready:
                    data = os.read(one, 4096)
                    if line_rate(ours) == baud:
                        os.write(other, data)

    thread = threading.Thread(target=carry)
    try:
        yield board, path, thread.start
    finally:
        os.write(stopped, b"x")
        if thread.is_alive():
            thread.join()
        board.close()
        for fd in (ours, theirs, stop, stopped):
            os.close(fd)


def test_a_wrong_line_rate_and_a_stale_meter_on_a_real_board(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "REPL_PATIENCE_S", 0.3)
    with board_at(tmp_path, 115_200) as (board, path, start):
        board.power_on()
        start()
        [found] = doctor.probe(tmp_path / "site.toml", path, 57_600)
        assert found.state == doctor.WRONG and "answers at 115200 baud, not at 57600" in found.found
        assert found.remedy == "set link.baud = 115200"
        told = {finding.check: finding for finding in doctor.probe(tmp_path / "site.toml", path, 115_200)}
        assert told["board"].state == doctor.OK
        assert "the meter at the PCC does not answer" in wrong(told.values())["meter stale"].found
        assert "commission scan" in told["meter stale"].remedy
        assert {"inverter lost", "battery stale"} <= wrong(told.values()).keys()


def test_a_board_of_another_schema_is_named_with_both(tmp_path):
    library = tmp_path / "lib"
    for package in (forerun_wire, forerun_board):
        place = Path(package.__file__).parent
        shutil.copytree(place, library / place.name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (library / "forerun_wire/messages.py").read_text()
    ours = messages.SCHEMA_HASH.hex()
    (library / "forerun_wire/messages.py").write_text(text.replace(f'b"\\x{ours[:2]}', 'b"\\x00', 1))
    with board_at(tmp_path, 115_200, heap="2m") as (board, path, start):
        board._library = SimpleNamespace(name=str(library))
        board.power_on()
        start()
        [found] = doctor.probe(tmp_path / "site.toml", path, 115_200)
    assert found.state == doctor.WRONG and f"this host {ours[:8]}" in found.found and "00" + ours[2:8] in found.found
    assert "commission flash" in found.remedy


def test_a_key_that_this_host_has_not(tmp_path):
    found = wrong(doctor._told(tmp_path / "site.toml", {"identity": "a", "software": "b", "key_id": 0xABC}, 0))
    assert "000abc" in found["board's key"].found and "keys recover" in found["board's key"].remedy


def test_a_port_that_somebody_has_and_one_that_is_not_ours():
    ours, theirs, path = open_line()
    held = rf"in use by .* \(process {os.getpid()}\)"
    with port.open_port(path, 115_200), pytest.raises(port.PortError, match=held):
        port.open_port(path, 115_200)
    os.close(ours)
    os.close(theirs)
    assert "dialout" in port._explain("/dev/null", PermissionError(13, "Permission denied"))


@pytest.mark.parametrize(
    ("line", "by", "said"),
    [('name = "', 'nmae = "', "nmae"), ('timezone = "', 'timezone = "Atlantis/', "Atlantis"),
     ("[bus]", "[buss]", "buss"), ("import_limit_w = 15000", 'import_limit_w = "much"', "import_limit_w")],
)  # fmt: skip
def test_a_site_file_with_a_slip_is_quoted(tmp_path, line, by, said):
    site = site_file(tmp_path)
    assert line in site.read_text()
    site.write_text(site.read_text().replace(line, by, 1))
    [found] = doctor.examine(site)
    assert found.check == "site file" and found.state == doctor.WRONG and said in found.found and found.remedy


def test_a_disk_nearly_full_and_a_clock_that_nobody_keeps(tmp_path, monkeypatch):
    site = config.load(site_file(tmp_path))
    monkeypatch.setattr(doctor, "DISK_LOW_BYTES", 1 << 62)
    assert "full disk" in wrong(doctor._disk(site))["disk"].remedy
    monkeypatch.setattr("forerun.site.running.clock_synchronised", lambda: False)
    assert "set-ntp" in wrong(doctor._clock())["clock"].remedy
    monkeypatch.setattr(doctor.time, "time", lambda: 86_400.0)
    assert "never set" in wrong(doctor._clock())["clock"].found


def test_the_command_says_everything_and_ends_with_status_1(tmp_path):
    write(tmp_path / "journal.forerun", 20)
    site = site_file(tmp_path)
    site.write_text(site.read_text().replace("/dev/ttyACM0", "/dev/tty-not-there"))
    with open(tmp_path / "journal.forerun", "ab") as file:
        file.write(b"\x82\x1a\x01")
    os.chmod(tmp_path / "journal.forerun.key", 0o644)
    words = [sys.executable, "-m", "forerun", "doctor", "--site", str(site), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    findings = [doctor.Finding(**item) for item in json.loads(done.stdout)["findings"]]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    found = wrong(findings)
    assert "tty-not-there" in found["port"].found and "chmod 600" in found["keys"].remedy
    assert any("cuts it off" in finding.found for finding in findings if finding.check == "journal")
    assert {"site file", "time zone", "clock", "disk", "commissioning", "service"} <= {item.check for item in findings}
    for finding in found.values():
        assert finding.remedy
    assert (tmp_path / "journal.forerun").read_bytes().endswith(b"\x82\x1a\x01"), "it changes nothing"
    site.write_text("nonsense")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "TOML" in done.stdout
