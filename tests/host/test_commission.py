"""The pure parts of commissioning: fits, seals, proposals, steps."""

import math
import os
import pty
import random
import select
import tomllib
import tty
from types import SimpleNamespace

import pytest

from forerun import config
from forerun.commission import console, desk, flashing, line, seal, selftest
from forerun.commission.calibrate import Reading, fit
from forerun.commission.flashing import live_board
from forerun.commission.line import crc16
from forerun.commission.scan import proposal
from forerun.commission.steps import Steps
from forerun.errors import Trouble, WrongUsage
from forerun.plant.board import open_line


def test_crc_of_the_specification():
    assert crc16(bytes.fromhex("0207")) == bytes.fromhex("4112")  # Modbus over Serial Line V1.02, 6.2.2


def test_a_gain_and_an_offset_are_found():
    made = fit([Reading(x, 1.01 * x - 12, 5.0) for x in (200.0, 4000.0, 9000.0)])
    assert made.gain == pytest.approx(1.01) and made.offset == pytest.approx(-12)
    assert made.passed and made.residual_max < 1e-6
    assert not fit([Reading(1000.0, 1100.0, 1.0)]).passed


def test_readings_close_together_say_nothing_of_an_offset():
    made = fit([Reading(1000.0, 1010.0, 5.0), Reading(1050.0, 1060.5, 5.0)])
    assert made.offset == 0 and made.offset_uncertainty is None
    assert made.gain == pytest.approx(1.01, abs=1e-4)
    # two readings of about 1 kW, each ±5 W: u(gain) = 5 / sqrt(1000² + 1050²)
    assert made.gain_uncertainty == pytest.approx(2 * 5 / math.hypot(1000, 1050), rel=1e-6)


def test_the_uncertainty_covers_the_truth_about_as_often_as_it_says():
    seed = 7
    noise = random.Random(seed)
    hits = 0
    for _ in range(400):
        made = fit([Reading(x, 1.005 * x + 20 + noise.gauss(0, 10), 10.0) for x in (0.0, 2000.0, 5000.0, 8000.0)])
        hits += abs(made.gain - 1.005) <= made.gain_uncertainty and abs(made.offset - 20) <= made.offset_uncertainty
    assert hits >= 0.88 * 400, f"seed {seed}: {hits} of 400"


def test_nothing_to_compare():
    with pytest.raises(ValueError):
        fit([Reading(0.0, 5.0, 1.0)])


def test_a_seal_holds_and_each_change_breaks_it(tmp_path):
    key = seal.load_key(tmp_path / "key.pem")
    document = seal.sign({"site": {"name": "Fjord"}, "n": 1}, key)
    public = document["signature"]["public_key"]
    assert seal.verify(document, public) == ""
    assert seal.sign(document["report"], seal.load_key(tmp_path / "key.pem")) == document, "the key is kept"
    other = seal.sign(document["report"], seal.load_key(tmp_path / "other.pem"))
    assert "another key" in seal.verify(other, public)
    changed = {**document, "report": {**document["report"], "n": 2}}
    assert "changed" in seal.verify(changed)
    forged = seal.sign(changed["report"], seal.load_key(tmp_path / "other.pem"))
    forged["signature"]["public_key"] = public
    assert "signature is wrong" in seal.verify(forged)
    assert "not a commissioning report" in seal.verify({"report": 1})


def test_a_key_that_is_none(tmp_path):
    (tmp_path / "key.pem").write_text("these are my notes")
    with pytest.raises(Trouble, match="not a private key"):
        seal.load_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_text() == "these are my notes"


@pytest.fixture
def prompt():
    """A pseudo-terminal in place of a board's MicroPython prompt: (our end, its path)."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_silent_port_is_only_listened_to(prompt):
    ours, path = prompt
    assert live_board(path, 115_200) == ""
    assert not select.select([ours], [], [], 0)[0], "bytes sent to a prompt can stop what runs there"


def test_who_cannot_be_asked_may_control_a_site(prompt, monkeypatch):
    path = prompt[1]
    monkeypatch.setattr(desk, "ANSWER_S", 0.2)
    monkeypatch.setattr(flashing, "_speaks", lambda port, baud: True)
    assert "cannot be asked whether it controls a site" in live_board(path, 115_200)


def test_a_board_without_room_is_told_before_anything_is_put_on_it():
    with pytest.raises(Trouble, match="room for 300 KiB, firmware and records take 516"):
        flashing._check_room({"free_bytes": 300 << 10, "block_bytes": 4096}, [100] * 65)
    flashing._check_room({"free_bytes": 516 << 10, "block_bytes": 4096}, [100] * 65)


def test_equal_settings_have_equal_hashes():
    assert seal.settings_hash({1: 5, 0: 50}) == seal.settings_hash({0: 50, 1: 5}) != seal.settings_hash({0: 50, 1: 6})


def test_a_proposal_is_the_example_with_other_values(tmp_path):
    text = proposal(config.EXAMPLE.read_text(), {"site": {"name": 'Ö "7"'}, "bus": {"baud": 9600, "inverter_unit": 13,
                    "pcc_meter_unit": 15}, "safety": {"cycle_ms": 500}})  # fmt: skip
    (tmp_path / "site.toml").write_text(text)
    site = config.load(tmp_path / "site.toml")
    assert (site.site.name, site.bus.baud, site.bus.inverter_unit, site.link.baud) == ('Ö "7"', 9600, 13, 921_600)
    before, after = tomllib.loads(config.EXAMPLE.read_text()), tomllib.loads(text)
    assert [name for name in before if before[name] != after[name]] == ["site", "bus", "safety"]
    assert text.count("#") == config.EXAMPLE.read_text().count("#")


def test_steps_are_kept_and_one_done_again_takes_the_seal_away(tmp_path):
    steps = Steps(tmp_path / "site.toml")
    for name in ("scan", "selftest", "seal"):
        assert steps.next() == name
        steps.record(name, True, 0.0)
    again = Steps(tmp_path / "site.toml")
    assert again.next() == "" and again.done["scan"]["utc"] == "1970-01-01T00:00:00Z"
    again.record("scan", False, 1.0)
    assert Steps(tmp_path / "site.toml").next() == "scan" and "seal" not in again.done


@pytest.mark.parametrize("steps", ["[1]", '{"scan": {"utc": "x"}}', '{"scan": {"passed": true}}', '{"scan": 1}'])
def test_a_record_of_steps_that_is_none_is_one_sentence(tmp_path, steps):
    (tmp_path / "site.commission.json").write_text(f'{{"version": 1, "steps": {steps}}}')
    with pytest.raises(Trouble, match="cannot be read as the steps done so far"):
        Steps(tmp_path / "site.toml")


@pytest.mark.parametrize(("ppm", "utc_s", "advice"), [(150, 1.8e9, ""), (-150, 1.8e9, ""), (500, 1.8e9, "replace the"),
                                                      (-500, 1.8e9, "replace the"), (0, 0.0, "never set")])  # fmt: skip
def test_a_board_with_a_wrong_clock_and_a_host_without_a_date(ppm, utc_s, advice):
    tester = object.__new__(selftest._Tester)
    # Of the clocks, each second: board µs, offset µs, round trip µs.
    exchanges = [(second * 1_000_000, -second * ppm, 4000 + second % 3 * 500) for second in range(301)]
    tester.desk = SimpleNamespace(exchanges=exchanges, wait=lambda seconds: None)
    check = tester.clock(utc_s)
    assert check.passed == (not advice) and advice in check.advice and f"{abs(ppm)} ± " in check.measured


def test_a_folder_that_takes_nothing_is_told_before_a_step_is_done(tmp_path, monkeypatch):
    with pytest.raises(Trouble, match="there is no such folder"):
        Steps(tmp_path / "nowhere" / "site.toml", writes=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(Trouble, match="may not write there"):
        Steps(tmp_path / "site.toml", writes=True)
    assert Steps(tmp_path / "site.toml").next() == "scan", "to look is free"


def person(monkeypatch, *answers):
    """Somebody at a terminal who gives these answers, one after the other."""
    left = list(answers)
    monkeypatch.setattr("typer.prompt", lambda question, default=None: left.pop(0))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return console.Person(as_json=False), left


def test_an_answer_without_sense_is_asked_for_again(monkeypatch, capsys):
    somebody, left = person(monkeypatch, "much", "nan", "1e999", "-4", "2e6", "4000")
    assert somebody.ask("", "--import-limit-w", "Import limit in W", means=console.number(0, 1_000_000)) == 4000
    assert not left and somebody.questions == 1
    assert capsys.readouterr().out.splitlines()[0] == "it must be a number from 0 to 1000000"
    somebody, left = person(monkeypatch, "  ", "\x1b[A", " Ada ")
    assert somebody.ask("", "--by", "Who commissioned this site") == "Ada" and not left


@pytest.mark.parametrize("text", ["much", "nan", "inf", "1e999", "-1", "٣٣٣٣٣٣٣٣٣"])
def test_an_option_without_sense_is_wrong_usage(text):
    with pytest.raises(WrongUsage, match=f"--import-limit-w {text}: it must be a number from 0 to 1000000"):
        console.Person(as_json=True).ask(text, "--import-limit-w", "", means=console.number(0, 1_000_000))


def test_a_port_that_vanishes_in_a_scan_is_one_sentence():
    ours, theirs, path = open_line()
    with line.SerialLine(path, 9600) as opened:
        os.close(theirs)
        os.close(ours)
        with pytest.raises(Trouble, match="was unplugged, or another program reads from it"):
            line.read(opened, 1, 40_000, 2)
