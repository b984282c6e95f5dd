"""The command line as a person meets it: exit status, one sentence, no traceback, JSON that parses."""

import json
import os
import pty
import re
import subprocess
import sys
import tty
from pathlib import Path

import pytest

from forerun import config, console


def forerun(*words, folder=None):
    command = [sys.executable, "-m", "forerun", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)


def complains(done, status, *parts):
    """One line on standard error, the expected status, no traceback, nothing on standard output."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]
    assert done.stdout == ""


def test_what_is_reported_is_told_in_words(capsys):
    console.show_report({"first_utc_s": 0, "findings": (), "files": ["a", "b"], "issued": True, "by": {"x": None}})
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [[name, words.strip()] for name, words in told] == [
        ["first", "1970-01-01 00:00:00 UTC"], ["findings", "none"], ["files", "a, b"], ["issued", "yes"],
        ["by", "x: none"]]  # fmt: skip


def test_help_names_every_command():
    done = forerun("--help")
    assert done.returncode == 0
    for command in ("demo", "run", "report", "emulate", "board", "commission"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["run", "report"])
def test_a_missing_site_file(command, tmp_path):
    complains(forerun(command, "--site", tmp_path / "nowhere.toml"), 2, "nowhere.toml", "no such file")


def test_a_value_out_of_range_names_file_key_value_and_range(tmp_path):
    text = config.EXAMPLE.read_text().replace("import_limit_w = 15000", "import_limit_w = -5")
    (tmp_path / "site.toml").write_text(text)
    done = forerun("run", "--site", "site.toml", folder=tmp_path)
    complains(done, 2, "site.toml", "limits.import_limit_w", "-5", "from 0 to 1000000")


def test_wrong_usage_is_status_2():
    done = forerun("demo", "--seed", "many")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert forerun("nonsense").returncode == 2
    complains(forerun("emulate", "--baud", "1234"), 2, "1234", "115200")


def test_a_port_that_is_not_there():
    complains(forerun("board", "info", "--port", "/dev/tty-not-there"), 1, "/dev/tty-not-there", "plugged in")
    complains(forerun("emulate", "--port", "/dev/tty-not-there"), 1, "/dev/tty-not-there", "plugged in")
    flash = ("commission", "flash", "--port", "/dev/tty-not-there", "--board")
    complains(forerun(*flash, "pico"), 1, "/dev/tty-not-there", "plugged in")
    complains(forerun(*flash, "toaster"), 2, "toaster", "esp32s3, pico, pico2")


def test_a_port_that_is_in_use():
    import serial

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    path = os.ttyname(theirs)
    with serial.Serial(path, exclusive=True):
        complains(forerun("board", "info", "--port", path), 1, path, "in use")
    os.close(ours)
    os.close(theirs)


def test_a_report_without_a_journal_says_how_to_get_one(tmp_path):
    (tmp_path / "site.toml").write_text(config.EXAMPLE.read_text())
    complains(forerun("report", "--site", "site.toml", folder=tmp_path), 1, "journal.forerun", "forerun run")


def test_an_empty_journal_gives_no_report_but_a_sentence(tmp_path):
    (tmp_path / "site.toml").write_text(config.EXAMPLE.read_text())
    (tmp_path / "journal.forerun").touch()
    complains(forerun("report", "--site", "site.toml", folder=tmp_path), 1, "no meter record yet")


def test_a_foreign_file_as_journal_is_left_alone(tmp_path):
    (tmp_path / "site.toml").write_text(config.EXAMPLE.read_text())
    notes = tmp_path / "journal.forerun"
    notes.write_bytes(b"these are my notes")
    complains(forerun("run", "--site", "site.toml", folder=tmp_path), 1, "journal.forerun", "not a journal")
    assert notes.read_bytes() == b"these are my notes"


def test_the_demo_site_is_a_valid_site_file():
    site = config.load(Path(config.__file__).with_name("demo_site.toml"))
    assert site.limits.import_limit_w == 12_000


def test_what_nobody_foresaw_is_one_sentence_too(tmp_path):
    """A fault of the program, and a file that the system refuses, end as any other trouble does."""
    code = "import sys; from forerun import cli\nsys.argv = ['forerun']\ncli.app = lambda: {}\ncli.main()"
    for fault, words in (("1 / 0", ("ZeroDivisionError", "<string>:3", "-X dev")),
                         ("(_ for _ in ()).throw(OSError(28, 'No space left'))", ("could not be: No space left",)),
                         (f"open({str(tmp_path)!r})", (str(tmp_path), "Is a directory"))):  # fmt: skip
        command = [sys.executable, "-c", code.format(fault)]
        complains(subprocess.run(command, capture_output=True, text=True, check=False), 1, *words)
    command[1:1] = ["-X", "dev"]
    assert "Traceback" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


_HELP = """
import contextlib, json, sys
from typer.main import get_command
from forerun.cli import app
def commands(command, words):
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, [*words, name])
for words in commands(get_command(app), []):
    sys.argv = ["forerun", *words, "--help"]
    with contextlib.suppress(SystemExit):
        app()
    print(json.dumps([" ".join(words), sorted({name.split(".")[0] for name in sys.modules}), len(sys.modules)]),
          file=sys.stderr)
"""


def test_help_of_every_command_imports_next_to_nothing():
    """How fast --help is depends on the machine; what it imports does not."""
    done = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True,
                          env={**os.environ, "COLUMNS": "80"})  # fmt: skip
    assert not re.findall(r"(?m)^  \S.*\.\.\.$", done.stdout), "a description that is cut off"
    told = [json.loads(line) for line in done.stderr.splitlines()]
    heavy = {"numpy", "rich", "fastapi", "pydantic", "cbor2", "cryptography", "serial", "highspy", "asyncio"}
    assert len(told) > 50 and "Usage: forerun commission selftest" in done.stdout
    for words, loaded, count in told:
        assert not heavy & set(loaded) and count < 320, (words, heavy & set(loaded), count)


@pytest.mark.parametrize(("asked", "threads"), [("", 1), ("2", 2)])
def test_algebra_has_one_thread_unless_somebody_asks_for_more(asked, threads):
    code = ("import os, sys; from forerun import cli\nsys.argv, cli.app = ['forerun'], lambda: None\ncli.main()\n"
            "import numpy; print(len(os.listdir('/proc/self/task')), os.cpu_count())")  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    if asked:
        environment["OPENBLAS_NUM_THREADS"] = asked
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found, cores = map(int, done.stdout.split())
    assert found == min(threads, cores)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_there(shell):
    words = {"_FORERUN_COMPLETE": f"source_{shell}"}
    code = "import sys; sys.argv = ['forerun']\nfrom forerun.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **words}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert "forerun" in done.stdout and "COMPLETE" in done.stdout


def test_every_command_can_answer_in_json():
    from typer.main import get_command

    from forerun.cli import app

    def without(command, words):
        if inner := getattr(command, "commands", None):
            return [found for name, one in inner.items() for found in without(one, [*words, name])]
        offered = [option for parameter in command.params for option in parameter.opts]
        return [] if "--json" in offered else [" ".join(words)]

    assert len(get_command(app).commands) > 10 and without(get_command(app), []) == []
