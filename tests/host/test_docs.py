"""The pages: every command that they show is carried out as written, and the documentation builds without a warning.

What a command names that a reader has to fill in is filled in here. What needs hardware, minutes or a person's answer
is checked for its spelling instead: those commands have tests of their own under tests/hil.
"""

import contextlib
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from forerun.boards import board_info
from forerun.errors import Trouble
from forerun.plant.site import Site
from forerun.simulate.emulated import EmulatedSite
from hil.rig import EXAMPLE
from site_journal import write

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "firmware/README.md",
         ROOT / "protocol/README.md", ROOT / "host/CARBON.md"]  # fmt: skip
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPELLING = re.compile(r"forerun (commission (?!status)|board (flash|update)|demo|simulate|surge)")
# A file, an address or a date that only the reader has.
OWN = re.compile(r"…|answer\.xml|certificates\.csv|tsa\.example|theirs\.json|--(from|at) 20")
OF_A_RUNNING_SITE = re.compile(r"forerun (status|top|doctor)\b")
FINDS_FAULTS = re.compile(r"forerun doctor\b")  # exit status 1 when it found one
PATIENCE_S = 120
GOES_ON = re.compile(r"forerun (emulate|run|serve|top)\b(?!.*--for)")


def commands(page: Path) -> list[str]:
    """The commands of a page in order, without comments; a line that ends in a backslash goes on."""
    lines = []
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#\s.*", "", line).strip()
            if command and not command.startswith("#"):
                lines.append(command)
    return lines


def as_run(command: str, site: "Reader") -> str:
    """The command with what a reader fills in, shortened where it would go on for ever."""
    # All at once: what stands in for one may be spelt like another (a link of /dev/pts/3 is no Modbus line of a page).
    stands_in = {"PORT": site.link, "TOKEN": site.token, "http://127.0.0.1:8420": site.url}
    command = re.sub(r"\bPORT\b(?!=)|/dev/(?:ttyUSB0|pts/3)\b|http://127\.0\.0\.1:8420|TOKEN",
                     lambda found: stands_in.get(found[0], site.bus), command)  # fmt: skip
    if OF_A_RUNNING_SITE.search(command):
        command = command.replace("site.toml", "served/site.toml")
    if command.startswith("make "):
        return re.sub(r"^make", f"make -n -C {shlex.quote(str(ROOT))}", command)
    if SPELLING.search(command) or OWN.search(command):
        return command + " --help"
    if GOES_ON.search(command):
        return command + " --for 1"
    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder like the repository's root, with a site file, the journal of a day, and its report."""
    place = tmp_path_factory.mktemp("reader")
    for entry in ("host", "examples", "protocol", "firmware", "tests", "docs", "pyproject.toml"):
        (place / entry).symlink_to(ROOT / entry)
    (place / ".venv").symlink_to(sys.prefix)
    write(place / "journal.forerun", 96)
    (place / "site.toml").write_text(EXAMPLE.read_text())
    (place / "FILE.csv").write_text("cpu\n" + "".join(f"{50 + 20 * (i % 288 > 144)}\n" for i in range(288 * 8)))
    return place


@dataclass(frozen=True)
class Reader:
    """What a reader fills in: the board's link, a Modbus line, the address of a served site and a token for it."""

    link: str
    bus: str
    url: str
    token: str


def answer_of_board(link: str, site: Path) -> dict | None:
    """What the board at `link` says of itself, None while it only begins to."""
    try:
        return board_info(link, 115_200, site)
    except Trouble:
        return None


@pytest.fixture(scope="module")
def reader(folder):
    """Emulated sites in real time: one with a board, one without, and one that is being served."""
    forerun = [sys.executable, "-m", "forerun"]
    served = folder / "served"
    served.mkdir()
    with contextlib.ExitStack() as cleanup:
        emulated = [cleanup.enter_context(EmulatedSite(Site(), with_board=board)) for board in (True, False, True)]
        text = re.sub(r'(?m)^port = .*', f'port = "{emulated[2].link_path}"', EXAMPLE.read_text(), count=1)
        (served / "site.toml").write_text(text)
        made = subprocess.run([*forerun, "token", "add", "reader", "--role", "commission", "--json"],
                              cwd=served, capture_output=True, text=True, check=True)  # fmt: skip
        server = subprocess.Popen([*forerun, "serve", "--port", "0", "--json"], cwd=served, stdout=subprocess.PIPE)
        cleanup.callback(server.stdout.close)
        cleanup.callback(server.wait)
        cleanup.callback(server.terminate)
        ends = time.monotonic() + PATIENCE_S
        while answer_of_board(emulated[0].link_path, folder / "site.toml") is None:
            assert time.monotonic() < ends, "the board does not come up"
        url = next(found[0] for line in server.stdout if (found := re.findall(r"http://[\w.:]+", line.decode())))
        yield Reader(emulated[0].link_path, emulated[1].path, url, json.loads(made.stdout)["token"])


class Programs:
    """Starts commands as `bash -c` does. Those of `forerun` alone get a process that has its libraries in memory and
    the board's byte code made: the same program in a process of its own, without the second that each would take."""

    def __init__(self, folder: Path):
        self.folder, self.done = folder, {}
        self.environment = {**os.environ, "COLUMNS": "120", "PATH": f".venv/bin:{os.environ['PATH']}"}
        self.ready = subprocess.Popen([sys.executable, "-c", READY], cwd=folder, env=self.environment, text=True,
                                      start_new_session=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)  # fmt: skip

    def run(self, command: str) -> tuple[int, str]:
        """(exit status, output); what a page before said in the same words is not done again."""
        command = command.replace(".venv/bin/forerun ", "forerun ")
        if command not in self.done:
            words = shlex.split(command)
            plain = words[0] == "forerun" and not re.search(r"[*|;$&<>(]", command)
            self.done[command] = self._fork(words[1:]) if plain else self._start(command)
        return self.done[command]

    def _fork(self, words: list[str]) -> tuple[int, str]:
        self.ready.stdin.write(json.dumps(words) + "\n")
        self.ready.stdin.flush()
        # One answer a command: nothing of it can be left in the reader's buffer.
        assert select.select([self.ready.stdout], [], [], PATIENCE_S)[0], f"no end of forerun {shlex.join(words)}"
        status, output = json.loads(self.ready.stdout.readline())
        return status, output

    def _start(self, command: str) -> tuple[int, str]:
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        self.ready.stdin.close()
        try:
            self.ready.wait(10)
        except subprocess.TimeoutExpired:  # in a command that does not end
            os.killpg(self.ready.pid, signal.SIGKILL)
            self.ready.wait()
        self.ready.stdout.close()


READY = """
import json, os, sys, tempfile
from forerun.cli import main
from forerun import boards, operate
from forerun.carbon import accounting
from forerun.dispatch import planning
from forerun.report import publish, pictures, rendering
from forerun.web import server
from forerun import bytecode
from forerun.forecast import backtest
bytecode.compiled_packages()
backtest.EVERY = 400  # a few origins show that the command does what it says
for line in sys.stdin:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for fd in (1, 2):
                os.dup2(output.fileno(), fd)
            sys.argv = ["forerun", *json.loads(line)]
            status = 1
            try:
                main()
                status = 0
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                import traceback
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        print(json.dumps([status, output.read()]), flush=True)
"""


@pytest.fixture(scope="module")
def programs(folder):
    started = Programs(folder)
    assert started.run("forerun report --json")[0] == 0
    yield started
    started.close()


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)],
                         ids=lambda page: page.relative_to(ROOT).as_posix())  # fmt: skip
def test_every_command_of_a_page_does_what_it_says(page, programs, reader):
    for command in commands(page):
        status, output = programs.run(as_run(command, reader))
        fine = (0, 1) if FINDS_FAULTS.search(command) else (0,)
        assert status in fine and "Traceback" not in output, f"{command}\n{output[-2000:]}"


def test_what_a_reader_fills_in_is_not_taken_for_the_words_of_the_page():
    site = Reader("/dev/pts/3", "/dev/pts/30", "http://127.0.0.1:8420", "aTOKEN")
    assert (as_run("forerun --port PORT --bus /dev/pts/3 --url http://127.0.0.1:8420 --token TOKEN", site)
            == "forerun --port /dev/pts/3 --bus /dev/pts/30 --url http://127.0.0.1:8420 --token aTOKEN")  # fmt: skip


def test_a_command_that_fails_is_seen(programs):
    assert programs.run("forerun explain no_such_figure")[0] == programs.run("forerun nonsense")[0] == 2
    assert programs.run("forerun report | false")[0] == 1


def test_the_pages_show_commands():
    assert len(commands(ROOT / "README.md")) > 10
    assert len({page for page in PAGES if commands(page)}) > 3


def test_the_documentation_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    settings = (tmp_path / "reference/board-settings.html").read_text()
    assert "import_limit_w" in settings and "15000" in settings


# What a board does, in the words of the page's first column: each has a test there.
FUNCTIONS = """import limit; import limit, any phase of the round; analogue channel; zero export; cloud edge;
peak shaving; ramp; lease; PV by frequency, frequency-watt; frequency ramp; PV by command; volt-watt, curves;
volt-var; enter service; BMS limits; BMS cut in a surge; state of charge; temperature; taper; heater, fan, dew;
cold battery; grid loss, return; dip; synchronisation refused; shedding; black start; set: retries, lock-out;
set: warm-up, least run, cool-down, grid back; set: start and stop by charge; set: start by load, stop by PV;
set: longest run, fuel; set: exercise, quiet hours; set: plan, fuel; set: least load; set: dump load; pre-position;
pre-position, late; trips, measured; trips, latched; lost host; lost meter, frozen meter; lost BMS; lost inverter;
dead board; state machines as diagrams; other models, addresses, units, line rates; no SunSpec; scale factors change;
pulse meter; impossible answers; noise on both lines; silence and gaps of the Modbus line;
poll schedule from the line rate; writes of 32 bits; reversion timer; contacts on an expander;
hal: each board's interfaces; board without power; host killed; hardware watchdog; power cut at every write; update;
update interrupted; faults together; settings outside their range; curve that is not monotonic;
plan in the past, with gaps, too long; reply of wrong length or unit; SunSpec's NaN markers;
scale factor outside −10 … 10; inner loop, decision: nothing allocated; inner loop, decision: time"""
# Files of tests/hil whose every test stands on the page; the others are of commissioning, pages and the host.
OF_THE_BOARD = ("battery_care", "devices", "faults", "functions", "genset", "host_killed", "island", "limits",
                "prepare", "senses", "set_on_plan", "site_rules", "trips", "update", "watchdog")  # fmt: skip


def shown_by() -> dict[str, list[tuple[Path, str]]]:
    """{function: its tests}, of docs/tested.md; its lines say `file: test, test; file: test`."""
    rows = {}
    for line in (ROOT / "docs/tested.md").read_text().splitlines():
        if line.startswith("| ") and "test_" in line:
            what, named = line.split("|")[1:3]
            rows[what.strip()] = []
            for part in named.split(";"):
                file, tests = part.strip().split(":")
                path = ROOT / "tests" / (file if "/" in file else f"hil/{file}")
                rows[what.strip()] += [(path.with_suffix(".py"), test.strip()) for test in tests.split(",")]
    return rows


def test_each_test_that_the_page_of_tests_names_is_there():
    for what, tests in shown_by().items():
        for file, test in tests:
            assert f"def {test}(" in file.read_text(), f"{what}: {file} has no {test}"


def test_every_function_of_the_board_has_a_test_on_the_page_and_every_test_of_the_board_is_on_it():
    rows = shown_by()
    wanted = {" ".join(name.split()) for name in FUNCTIONS.split(";")}
    assert wanted <= {what.replace("; ", ", ") for what in rows}, wanted - {what.replace("; ", ", ") for what in rows}
    named = {(file.stem, test) for tests in rows.values() for file, test in tests}
    for name in OF_THE_BOARD:
        text = (ROOT / f"tests/hil/test_{name}.py").read_text()
        tests = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
        missing = [test for test in tests if (f"test_{name}", test) not in named]
        assert not missing, f"docs/tested.md does not name {missing} of test_{name}.py"
