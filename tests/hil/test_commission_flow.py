"""All of a commissioning through the command line: in the bench's time with a counted person, then on real ports."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from forerun.cli import app
from forerun.commission import cli, desk, flashing, line, seal
from forerun.commission.cli import Person
from forerun.errors import Trouble, WrongUsage
from forerun.plant.site import Site
from forerun.simulate.emulated import EmulatedSite
from hil.commissioning import UTC_S, SlaveLine, opened_desk

PATIENCE_S = 60
BRIEFLY = ("--without", "genset", "--without", "trip")


class Bench:
    """The command line with ports that are the bench's, in a folder of its own; counts what a person is asked."""

    def __init__(self, rig, monkeypatch, folder, there=False):
        self.rig, self.site, self.questions = rig, folder / "site.toml", []
        monkeypatch.setattr(line, "SerialLine", lambda port, baud: SlaveLine(rig.site, rig.slave))
        monkeypatch.setattr(desk, "open_desk", lambda port, baud, keys=None: opened_desk(rig))
        monkeypatch.setattr(cli.time, "time", lambda: UTC_S)
        monkeypatch.setattr(Person, "__init__", lambda person, as_json: setattr(person, "there", there and not as_json))
        Person.questions = 0
        monkeypatch.setattr(typer, "prompt", self._answer)
        monkeypatch.setattr(typer, "confirm", self._answer)

    def _answer(self, question, default=None):
        self.questions.append(question)
        if "reference" in question:
            return "5.0" if "Accuracy" in question else f"{self.rig.site.pcc_import_w * 1.004:.1f}"
        return default or "Ada Example"

    def call(self, *words, status=0):
        done = CliRunner().invoke(app, ["commission", *words, "--site", str(self.site)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return done.stdout

    def json(self, *words, status=0):
        return json.loads(self.call(*words, "--json", status=status))


def test_a_healthy_site_from_scan_to_seal_with_at_most_ten_questions(rig, monkeypatch, tmp_path):
    with rig(host=False, plant={"starts_asleep": True, "meter_noise_w": 15.0}) as hil:
        bench = Bench(hil, monkeypatch, tmp_path, there=True)
        bench.rig.bench.power_off()
        bench.call("scan", "--port", "modbus")
        hil.bench.now_us = hil.site.now_us
        hil.bench.power_on()
        assert "next: forerun commission calibrate" in bench.call("selftest")
        bench.call("calibrate")
        bench.call("calibrate", "--hold-w", "3000")
        assert "sealed:" in bench.call("seal")
        assert 5 <= len(bench.questions) <= 10, bench.questions
        assert hil.now_s < 15 * 60

        state = bench.json("status")
        assert state["sealed"] and state["next"] == ""
        document = json.loads((tmp_path / "site.commissioning.json").read_text())
        assert seal.verify(document) == ""
        content = document["report"]
        assert content["commissioned_by"] == "Ada Example"
        assert content["settings"]["import_limit_w"] == 15_000
        assert all(check["passed"] for check in content["steps"]["selftest"]["checks"])
        gain = content["steps"]["calibrate"]["fits"]["pcc_import_w"]
        assert abs(gain["gain"] - 1.004) <= gain["gain_uncertainty"] + 0.002
        page = (tmp_path / "site.commissioning.html").read_text()
        assert document["report_sha256"] in page and "Ada Example" in page and "CT orientation" in page
        paper = (tmp_path / "site.commissioning.pdf").read_bytes()
        assert paper.startswith(b"%PDF-") and paper == seal.pdf(document), "the same report gives the same paper"
        assert paper != seal.pdf({**document, "report_sha256": "0" * 64})
        names = {check["name"] for check in content["steps"]["selftest"]["checks"]}
        assert {"genset start", "trip relay", "genset stop"} <= names
        assert stat.S_IMODE(os.stat(tmp_path / "site.key.pem").st_mode) == 0o600

        moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
        bench.site = moved / "site.toml"
        assert bench.json("status")["sealed"], "wherever its folder is"
        bench.site.write_text(bench.site.read_text().replace("import_limit_w = 15000", "import_limit_w = 14000"))
        assert "changed after the seal" in bench.json("status")["problem"]
        with pytest.raises(Trouble, match="changed after the self-test"):
            bench.call("seal", "--by", "Ada Example")


def test_every_step_goes_without_a_person_and_goes_on_where_it_was(rig, brisk, monkeypatch, tmp_path):
    with rig(host=False) as hil:
        bench = Bench(hil, monkeypatch, tmp_path)
        assert bench.json("status")["next"] == "scan"
        with pytest.raises(Trouble, match="--by is needed"):
            bench.json("scan", "--port", "modbus", "--name", "Node 7", "--units", "1-6")
            monkeypatch.setattr(hil.bench, "now_us", hil.site.now_us)
            bench.json("selftest", "--yes", *BRIEFLY)
            assert bench.json("status")["next"] == "seal"
            for power_w in ("0", "3000"):
                held = ("calibrate", "--hold-w", power_w)
                assert bench.json(*held) == {"held_w": int(power_w), "for_s": 300}
                hil.run(20)
                exact = ("--reference", f"{hil.site.pcc_import_w:.1f}", "--accuracy", "10")
                fits = bench.json(*held, *exact)["fits"]["pcc_import_w"]
            assert fits["readings"] == 2 and fits["offset_uncertainty"] > 0 and abs(fits["gain"] - 1) < 0.005
            bench.json("calibrate", "--reference", "9000", "--accuracy", "10", "--anew", status=1)
            with pytest.raises(Trouble, match="calibrate has not passed"):
                bench.json("seal", "--by", "Ada Example")
            bench.json(*held, *exact, "--anew")
            bench.json("seal")
        sealed = bench.json("seal", "--by", "Ada Example")
        assert sealed["passed"] and bench.json("status")["sealed"]
        assert 'name = "Node 7"' in bench.site.read_text()
        assert not bench.questions
        bench.json("selftest", "--yes", *BRIEFLY)
        assert bench.json("status")["next"] == "seal", "a step done again takes the seal away"


def test_what_is_wrong_ends_with_status_1_and_stays_on_record(rig, brisk, monkeypatch, tmp_path):
    with rig(host=False) as hil:
        bench = Bench(hil, monkeypatch, tmp_path)
        with pytest.raises(WrongUsage, match="no such file"):
            bench.json("selftest", "--yes", *BRIEFLY)
        hil.bench.power_off()  # whoever scans takes the board off the line
        responder = hil.slave.responder
        spare = responder.units[3]
        responder.share(2, spare)
        found = bench.json("scan", "--port", "modbus", "--units", "1-6", status=1)
        assert [problem["cause"] for problem in found["problems"]] == ["shared_unit"]
        assert not bench.site.exists(), "no proposal from a line that cannot be trusted"
        responder._sharing.clear()
        bench.json("scan", "--port", "modbus", "--units", "1-6")
        text = bench.site.read_text().replace("inverter_unit = 1", "inverter_unit = 11")
        bench.site.write_text(text)
        found = bench.json("scan", "--port", "modbus", "--units", "1-6", status=1)
        assert [problem["cause"] for problem in found["problems"]] == ["wrong_unit"]
        assert bench.site.read_text() == text, "an existing site file is left alone"
        with pytest.raises(Trouble, match="scan has not passed"):
            bench.call("seal", "--by", "Ada")
        bench.json("scan", "--port", "modbus", "--units", "1-6", "--force")
        assert "inverter_unit = 1\n" in bench.site.read_text()
        hil.bench.now_us = hil.site.now_us
        hil.bench.power_on()
        hil.site.pcc_ct = -1.0
        failed = bench.json("selftest", "--yes", *BRIEFLY, status=1)
        assert [check["cause"] for check in failed["checks"] if not check["passed"]] == ["swapped_ct"]
        assert bench.json("status")["next"] == "selftest"
        with pytest.raises(Trouble, match="selftest has not passed"):
            bench.call("seal", "--by", "Ada")


def test_wrong_usage_is_one_sentence(rig, monkeypatch, tmp_path):
    with rig(host=False) as hil:
        bench = Bench(hil, monkeypatch, tmp_path)
        for words, sentence in (
            (("scan", "--port", "modbus", "--units", "0-300"), "--units 0-300: it must be"),
            (("scan", "--port", "modbus", "--baud", "1200"), "--baud 1200: it must be one of"),
            (("scan", "--port", "modbus", "--units", "1-6", "--import-limit-w", "much"), "--import-limit-w much"),
            (("scan", "--port", "modbus", "--units", "1-6", "--import-limit-w", "-4"), "--import-limit-w -4"),
            (("scan", "--port", "modbus", "--units", "1-6", "--pcc-meter", "9"), "a meter answers at 2, 3, 4"),
            (("calibrate", "--quantity", "luck"), "--quantity luck: it must be one of"),
        ):
            with pytest.raises(WrongUsage, match=sentence):
                bench.json(*words)
        assert not bench.site.exists()
        bench.site.with_suffix(".commission.json").write_text("{")
        with pytest.raises(Trouble, match="cannot be read as the steps"):
            bench.json("status")


# ---- on real ports, by the wall clock


def forerun(*words):
    command = [sys.executable, "-m", "forerun", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def emulated(request, _interpreter):
    command = [sys.executable, "-m", "forerun", "emulate", "--json", *request.param]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("emulated", [["--baud", "38400"]], indirect=True)
def test_a_scan_of_a_real_line(emulated, tmp_path):
    site = tmp_path / "site.toml"
    began = time.monotonic()
    done = forerun("commission", "scan", "--port", emulated["modbus"], "--units", "1-6", "--site", site, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["baud"] == 38_400
    assert [device["kind"] for device in found["devices"]] == ["inverter", "meter", "meter", "meter"]
    assert time.monotonic() - began < PATIENCE_S / 2
    assert "baud = 38400" in site.read_text() and "cycle_ms = 100" in site.read_text()


@pytest.mark.parametrize("emulated", [["--board"]], indirect=True)
def test_a_board_that_controls_a_site_is_not_flashed(emulated, tmp_path):
    words = ("commission", "flash", "--port", emulated["board_link"], "--board", "pico", "--site", tmp_path / "s.toml")
    deadline = time.monotonic() + PATIENCE_S
    done = forerun(*words, "--json")
    while "controls a site" not in done.stderr and time.monotonic() < deadline:  # the board has just been started
        done = forerun(*words, "--json")
    assert done.returncode == 1 and "controls a site" in done.stderr and "--maintenance" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "s.commission.json").exists()


def test_a_bare_board_is_looked_at_flashed_and_heard(_interpreter, tmp_path):
    spoilt = []

    def spoil(step):
        if step == "comparing" and not spoilt:
            spoilt.append(flash / "lib/forerun_board/cycle.mpy")
            spoilt[0].write_bytes(b"M")

    with EmulatedSite(Site(), bare=True) as emulated:
        flash = emulated.flash
        port, link = emulated.prompt_path, emulated.link_path
        words = ("commission", "flash", "--port", port, "--link", link, "--site", tmp_path / "site.toml")
        done = forerun(*words, "--board", "pico")
        assert done.returncode == 1 and "takes --board unix, not pico" in done.stderr
        with pytest.raises(Trouble, match=r"cycle\.mpy came out wrong on the board"):
            flashing.flash(port, "unix", flashing.who(port), spoil)
        assert spoilt and not (flash / "main.py").exists(), "a board with half a firmware starts nothing"
        done = forerun(*words, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["board"] == "unix", done.stderr
        assert told["hello"]["identity"] == "emulated-board" and len(told["files"]) > 60
        assert forerun("commission", "flash", "--site", tmp_path / "site.toml").returncode == 2, "which board?"
