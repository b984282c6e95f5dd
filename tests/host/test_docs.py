"""The pages: every command that they show is carried out as written, and the documentation builds without a warning.

What a command names that a reader has to fill in is filled in here. What needs hardware, minutes or a person's answer
is checked for its spelling instead: those commands have tests of their own under tests/hil.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from forerun.operate import EmulatedSite
from forerun.plant.site import Site
from hil.rig import EXAMPLE, Rig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "firmware/README.md",
         ROOT / "protocol/README.md", ROOT / "host/CARBON.md"]  # fmt: skip
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPELLING = re.compile(r"forerun (commission (?!status)|board (flash|update)|demo|simulate|surge)")
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


def as_run(command: str, link: str, bus: str) -> str:
    """The command with what a reader fills in, shortened where it would go on for ever."""
    command = re.sub(r"\bPORT\b(?!=)", link, command)
    command = re.sub(r"/dev/(ttyUSB0|pts/3)", bus, command)
    if command.startswith("make "):
        return re.sub(r"^make", f"make -n -C {shlex.quote(str(ROOT))}", command)
    if SPELLING.search(command):
        return command + " --help"
    if GOES_ON.search(command):
        return command + " --for 1"
    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder like the repository's root, with a site file and the journal of a quarter of an hour."""
    place = tmp_path_factory.mktemp("reader")
    for entry in ("host", "examples", "protocol", "firmware", "tests", "docs", "pyproject.toml"):
        (place / entry).symlink_to(ROOT / entry)
    (place / ".venv").symlink_to(sys.prefix)
    with Rig(place) as bench:
        bench.run(960)
    (place / "site.toml").write_text(EXAMPLE.read_text())
    (place / "FILE.csv").write_text("cpu\n" + "".join(f"{50 + 20 * (i % 288 > 144)}\n" for i in range(288 * 22)))
    return place


@pytest.fixture(scope="module")
def lines():
    """(board's link, Modbus line) of an emulated site in real time, and the Modbus line of one without a board."""
    with EmulatedSite(Site(), with_board=True) as with_board, EmulatedSite(Site()) as alone:
        yield with_board.link_path, alone.path


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)],
                         ids=lambda page: page.relative_to(ROOT).as_posix())  # fmt: skip
def test_every_command_of_a_page_does_what_it_says(page, folder, lines):
    environment = {**os.environ, "COLUMNS": "120", "PATH": f".venv/bin:{os.environ['PATH']}"}
    for command in commands(page):
        done = subprocess.run(["bash", "-c", as_run(command, *lines)], cwd=folder, env=environment,
                              capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


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
