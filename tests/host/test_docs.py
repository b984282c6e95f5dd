"""The pages: every command that they show is carried out as written, and the documentation builds without a warning.

What a command names that a reader has to fill in is filled in here. What needs hardware, minutes or a person's answer
is checked for its spelling instead: those commands have tests of their own under tests/hil.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from forerun.plant.site import Site
from forerun.simulate.emulated import EmulatedSite
from hil.rig import EXAMPLE, Rig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "firmware/README.md",
         ROOT / "protocol/README.md", ROOT / "host/CARBON.md"]  # fmt: skip
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPELLING = re.compile(r"forerun (commission (?!status)|board (flash|update)|demo|simulate|surge)")
# A file, an address or a date that only the reader has.
OWN = re.compile(r"…|answer\.xml|certificates\.csv|tsa\.example|theirs\.json|--(from|at) 20")
OF_A_RUNNING_SITE = re.compile(r"forerun (status|top|doctor)\b")
FINDS_FAULTS = re.compile(r"forerun doctor\b")  # exit status 1 when it found one
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
    command = re.sub(r"\bPORT\b(?!=)", site.link, command)
    command = re.sub(r"/dev/(ttyUSB0|pts/3)", site.bus, command)
    command = command.replace("http://127.0.0.1:8420", site.url).replace("TOKEN", site.token)
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
    """A folder like the repository's root, with a site file, the journal of a quarter of an hour, and its report."""
    place = tmp_path_factory.mktemp("reader")
    for entry in ("host", "examples", "protocol", "firmware", "tests", "docs", "pyproject.toml"):
        (place / entry).symlink_to(ROOT / entry)
    (place / ".venv").symlink_to(sys.prefix)
    with Rig(place) as bench:
        bench.run(960)
    (place / "site.toml").write_text(EXAMPLE.read_text())
    subprocess.run([sys.executable, "-m", "forerun", "report", "--json"], cwd=place, check=True, capture_output=True)
    (place / "FILE.csv").write_text("cpu\n" + "".join(f"{50 + 20 * (i % 288 > 144)}\n" for i in range(288 * 22)))
    return place


@dataclass(frozen=True)
class Reader:
    """What a reader fills in: the board's link, a Modbus line, the address of a served site and a token for it."""

    link: str
    bus: str
    url: str
    token: str


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
        url = next(found[0] for line in server.stdout if (found := re.findall(r"http://[\w.:]+", line.decode())))
        yield Reader(emulated[0].link_path, emulated[1].path, url, json.loads(made.stdout)["token"])


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)],
                         ids=lambda page: page.relative_to(ROOT).as_posix())  # fmt: skip
def test_every_command_of_a_page_does_what_it_says(page, folder, reader):
    environment = {**os.environ, "COLUMNS": "120", "PATH": f".venv/bin:{os.environ['PATH']}"}
    for command in commands(page):
        done = subprocess.run(["bash", "-c", as_run(command, reader)], cwd=folder, env=environment,
                              capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        fine = (0, 1) if FINDS_FAULTS.search(command) else (0,)
        assert done.returncode in fine, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_the_pages_show_commands():
    assert len(commands(ROOT / "README.md")) > 10
    assert len({page for page in PAGES if commands(page)}) > 3


@pytest.mark.xdist_group("docs")
def test_the_documentation_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    settings = (tmp_path / "reference/board-settings.html").read_text()
    assert "import_limit_w" in settings and "15000" in settings


def test_each_test_that_the_page_of_tests_names_is_there():
    """Lines say `file: test, test; file: test`."""
    named = []
    for line in (ROOT / "docs/tested.md").read_text().splitlines():
        if line.startswith("| ") and "test_" in line:
            for part in line.split("|")[2].split(";"):
                file, tests = part.split(":")
                named += [(file.strip(), test.strip()) for test in tests.split(",")]
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}(" in (ROOT / f"tests/hil/{file}.py").read_text(), f"{file} has no {test}"
