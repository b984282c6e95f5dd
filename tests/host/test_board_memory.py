"""The board's memory is a budget: what stays free with the byte code of a deployment, on both word widths."""

import json
import subprocess
from pathlib import Path

import pytest

from forerun import bytecode
from forerun.plant import board
from forerun.plant.board import ALL_HEAP_BYTES
from forerun.simulate.emulated import EmulatedSite
from forerun.simulate.scene import new_site, scene
from forerun_wire import messages as m
from hil.rig import Rig
from host.test_lanes import ROOT, tool

RP2040_BYTES = 190_000  # of its 264 kB, what the interpreter leaves to Python at least
# Of the 64-bit unix port, whose words are twice as wide as a board's: in 192 KiB, with everything in ALL_HEAP_BYTES.
ORDINARY_FREE_64 = 27_500  # 28.1 kB measured: a leap is seen here, what binds are the words of a board below
ALL_FREE_64 = 20_000
ALL_FREE_32 = 35_000  # with every function and a key; 20 kB have to be left after a day
HOURS = 1
WAITING_BYTES = 2_048  # records that go to flash in the next quiet moment
ALL_FUNCTIONS = next(high for _, name, _, _, high, _ in m.SETTINGS if name == "functions")


@pytest.mark.parametrize(("functions", "heap", "least"), [(0, "192k", ORDINARY_FREE_64),
                                                          (ALL_FUNCTIONS, ALL_HEAP_BYTES, ALL_FREE_64)])  # fmt: skip
def test_free_memory_on_the_64_bit_port(tmp_path, functions, heap, least):
    tool("micropython", "MICROPYTHON")
    with Rig(tmp_path, sections={"functions": {"functions": functions}}, heap=heap) as bench:
        bench.run_until_armed()
        bench.run(20)
        free = bench.host.latest["heap_free"]
    print(json.dumps({"bench": "heap_free_64_bit", "functions": functions, "bytes": free}))
    assert free >= least


@pytest.mark.parametrize("kind", ({"with_board": True}, {"bare": True}))
def test_a_board_of_the_emulated_site_has_room_for_every_function(monkeypatch, kind):
    """In the 192 KiB of the unix port it started anew every other second, once set and islanding were commissioned."""
    heaps = []
    monkeypatch.setattr(board.BoardProcess, "power_on", lambda self: heaps.append(self.heap))
    monkeypatch.setattr(board.BareBoard, "power_on", lambda self: heaps.append(self.heap))
    with EmulatedSite(new_site(scene(), seed=1)[0], **kind):
        assert heaps == [ALL_HEAP_BYTES]


def test_what_is_in_use_is_the_same_after_hours_and_frames_of_many_lengths(tmp_path):
    tool("micropython", "MICROPYTHON")
    with Rig(tmp_path) as bench:
        bench.run_until_armed()
        bench.coarse(4000)
        free = []
        for longest in (1, 25, 25):
            for count in range(24):
                assert bench.command(m.SETTINGS_GET, *range(1, 1 + count % longest))[0] == m.DONE
                bench.run(90)
            for _ in range(8):  # a short answer in the place of each long one that is kept to be repeated
                bench.command(m.SETTINGS_GET, 1)
            bench.run(60)
            free.append(bench.host.latest["heap_free"])
    print(json.dumps({"bench": "heap_free_by_the_half_hour", "bytes": free}))
    assert max(free) - min(free) <= 1024


def test_free_memory_in_the_words_of_a_board(tmp_path):
    node = tool("node", "NODE")
    if not (ROOT / "tests" / "wasm" / "node_modules" / "@micropython").exists():
        pytest.skip("the WebAssembly port is missing: npm --prefix tests/wasm ci")
    sources = bytecode.sources()
    sources["forerun_wire/host.py"] = (ROOT / "protocol" / "forerun_wire" / "host.py").read_text()
    for name in ("board_bench.py", "bus_bench.py", "lane.py"):
        sources[name] = (ROOT / "tests" / "both" / name).read_text()
    bytecode.compile_to(tmp_path, bytecode.shrunk(sources))
    command = [node, "tests/wasm/memory.mjs", str(tmp_path), str(ALL_FUNCTIONS), str(HOURS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = {line.pop("what"): line for line in map(json.loads, done.stdout.splitlines())}
    print(json.dumps({"bench": "heap_32_bit", "heap": RP2040_BYTES, "hours": HOURS, **lines}))
    for what in ("functions", "key", "hours"):
        assert RP2040_BYTES - lines[what]["used"] >= ALL_FREE_32, what
    assert lines["hours"]["used"] - lines["key"]["used"] <= WAITING_BYTES


def test_numbers_take_the_place_of_their_names_across_modules():
    sources = {
        "a/__init__.py": "",
        "a/one.py": '"""Words."""\nLOW = 1 << 3\n_OWN = -LOW\nNAMES = ("x",)\n\ndef f(n):\n    """More."""\n'
                    "    return LOW + n + _OWN\n",
        "a/two.py": "from a import one as o\nfrom a.one import LOW, f\nHIGH = LOW + o.LOW\n"
                    "class C:\n    x = HIGH\ndef g(low=2):\n    return f(o.LOW + low)\n",
    }  # fmt: skip
    small = bytecode.shrunk(sources)
    assert "LOW" not in small["a/one.py"] and '"""' not in small["a/one.py"] and "NAMES" in small["a/one.py"]
    assert "8 + n + -8" in small["a/one.py"]
    assert "import f" in small["a/two.py"] and "one as o" not in small["a/two.py"]
    one: dict = {}
    exec(small["a/one.py"], one)
    assert one["f"](4) == 4 and one["NAMES"] == ("x",)
    for other in ("def g(LOW):\n    return LOW\n", "class C:\n    LOW = 5\n", "for LOW in ():\n    pass\n"):
        with pytest.raises(bytecode.NoByteCode, match=r"a/two\.py: LOW"):
            bytecode.shrunk({**sources, "a/two.py": "from a.one import LOW\n" + other})


def test_a_source_that_does_not_compile_is_told_by_name(tmp_path):
    with pytest.raises(bytecode.NoByteCode, match=r"a/bad\.py"):
        bytecode.compile_to(Path(tmp_path), {"a/bad.py": "def f(:\n"})


def test_state_machines_share_their_names_and_those_that_others_know_stay():
    sources = {
        "a/__init__.py": "",
        "a/one.py": 'ROWS = (("idle", "go", "may", "busy", "start"), ("busy", "done", "", "idle", ""))\n'
                    "class M:\n    def f(self):\n        self.go = self.may = self.done\n"
                    '        return "idle" if self.state == "busy" else "start"\n',
        "a/two.py": "def f(m):\n    m.may = True\n",
    }  # fmt: skip
    small = bytecode.shrunk(sources)["a/one.py"]
    assert "(('s0', 'f0', 'may', 's1', 'a0'), ('s1', 'f1', '', 's0', ''))" in small
    assert "self.f0 = self.may = self.f1" in small and "return 's0' if self.state == 's1' else 'a0'" in small
    sources["a/one.py"] = 'ROWS = (("idle", "go", "", "busy", "go"),)\n'
    with pytest.raises(bytecode.NoByteCode, match="go is the name of two things"):
        bytecode.shrunk(sources)


def test_what_a_class_keeps_to_itself_shares_its_names_and_nothing_else_does():
    sources = {
        "a/__init__.py": "",
        "a/base.py": "class B:\n    def __init__(self):\n        self._one = 1\n        self.two = 2\n"
                     "    def _help(self):\n        return self._one\n",
        "a/sub.py": "from a.base import B\nclass C(B):\n    def f(self):\n"
                    "        self._three = self._one + self._help()\n",
        "a/other.py": "class D:\n    def __init__(self, b):\n        self._four = self._seen = b\n",
        "a/spy.py": "def f(d):\n    return d._seen\n",
    }  # fmt: skip
    small = bytecode.shrunk(sources)
    for words in ("self._0 = 1", "self.two = 2", "def _help"):
        assert words in small["a/base.py"]
    assert "self._1 = self._0 + self._help()" in small["a/sub.py"], "one family: no name of the base is taken again"
    assert "self._0 = self._seen = b" in small["a/other.py"] and "d._seen" in small["a/spy.py"]
