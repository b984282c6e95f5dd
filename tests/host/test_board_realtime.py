"""The board by the wall clock, as its own process: it goes on whatever happens to its lines, and says why it ends."""

import os
import pty
import select
import subprocess
import sys
import tty
from pathlib import Path

import pytest

from forerun.bytecode import compiled_packages
from forerun.plant.board import ENTRY

PATIENCE_S = 20.0


def crc(data: bytes) -> int:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


class Line:
    """A pseudo-terminal; `ours` is this test's end."""

    def __init__(self):
        self.ours, self.theirs = pty.openpty()
        tty.setraw(self.ours)
        self.path = os.ttyname(self.theirs)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            assert select.select([self.ours], [], [], PATIENCE_S)[0], f"nothing came within {PATIENCE_S} s"
            data += os.read(self.ours, 4096)
        return data

    def close(self) -> None:
        for fd in (self.ours, self.theirs):
            if fd >= 0:
                os.close(fd)
        self.ours = self.theirs = -1


@pytest.fixture
def lines():
    made = [Line(), Line()]
    yield made
    for line in made:
        line.close()


def start(store: Path, link: str, bus: str) -> subprocess.Popen:
    interpreter = os.environ.get("FORERUN_MICROPYTHON") or str(Path(sys.executable).with_name("micropython"))
    if not Path(interpreter).exists():
        pytest.skip("micropython is missing: install forerun[test]")
    environment = {**os.environ, "MICROPYPATH": compiled_packages().name}
    environment |= {"FORERUN_LINK": link, "FORERUN_BUS": bus, "FORERUN_STORE": str(store)}
    command = [interpreter, "-X", "heapsize=192k", "-c", ENTRY]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)  # fmt: skip


def cpu_s(process: subprocess.Popen) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_board_without_site_or_host_keeps_asking_and_greeting(lines, tmp_path):
    link, bus = lines
    board = start(tmp_path / "store", link.path, bus.path)
    try:
        request = bus.read(8)[:8]
        assert request[:6] == b"\x01\x03\x9c\x40\x00\x02" and crc(request) == 0, "unit 1, 40000, two registers"
        assert 0 in link.read(40), "a hello ends with its delimiter"
    finally:
        board.kill()
        board.communicate()


def test_a_link_whose_far_end_goes_away_neither_stops_nor_spins_the_board(lines, tmp_path):
    link, bus = lines
    board = start(tmp_path / "store", link.path, bus.path)
    try:
        link.read(40)
        link.close()
        bus.read(8)
        before_s = cpu_s(board)
        assert len(bus.read(8 * 8)) >= 64, "it still looks for its devices"
        assert board.poll() is None
        assert cpu_s(board) - before_s < 1.5, "and does not spin"
    finally:
        board.kill()
        board.communicate()


def test_a_missing_line_is_said_on_stderr(lines, tmp_path):
    board = start(tmp_path / "store", str(tmp_path / "nothing"), lines[1].path)
    out, err = board.communicate(timeout=PATIENCE_S)
    assert board.returncode == 1 and out == b"" and b"OSError" in err
