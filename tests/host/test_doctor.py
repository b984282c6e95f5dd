"""The doctor finds the usual mistakes and says how to mend each; a sound site gets no complaint."""

import dataclasses
import json
import os
import pty
import subprocess
import sys
import threading
import tty

from forerun import config
from forerun.carbon.intake import REGISTERS
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


def test_a_board_at_its_prompt_and_a_line_where_nobody_is(monkeypatch):
    monkeypatch.setattr(doctor, "HELLO_PATIENCE_S", 0.2)
    monkeypatch.setattr(doctor, "REPL_PATIENCE_S", 1.0)
    for words, said in ((b"\r\n>>> ", "MicroPython prompt"), (b"", "nothing answers")):
        path, files = answering(words)
        found = doctor.probe(path, 115_200)
        assert found.state == doctor.WRONG and said in found.found and found.remedy
        for file in files:
            os.close(file)


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
