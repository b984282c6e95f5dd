"""The shared tests on both MicroPython lanes: 64-bit unix port, and 32-bit in the heap of a small board."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "tests" / "both").glob("test_*.py"))
TIMEOUT_S = 300
# Words are twice as wide on the 64-bit port: what 192 KiB hold on a board takes 384 here. The rest is for the host's
# end and for a second board after the first, of which a collector that reads its own stack may keep pieces; 424 were
# too few where these lay badly. That a board fits its memory is shown by the 32-bit lane and by tests/hil.
HEAP_64_BIT = "heapsize=512k"


def tool(name: str, variable: str) -> str:
    """Path of a program: from the environment, from beside this interpreter, or from the PATH."""
    beside = Path(sys.executable).parent / name
    path = os.environ.get(variable) or (str(beside) if beside.exists() else shutil.which(name))
    if not path:
        pytest.skip(f"{name} is missing: install forerun[test], or point {variable} at one")
    return path


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    assert " 0 failed" in done.stdout.splitlines()[-1], done.stdout[-500:]


@pytest.mark.parametrize("name", FILES)
def test_on_64_bit_micropython(name):
    run(tool("micropython", "MICROPYTHON"), "-X", HEAP_64_BIT, "tests/both/run.py", name)


@pytest.mark.parametrize("name", FILES)
def test_on_32_bit_micropython(name):
    node = tool("node", "NODE")
    if not (ROOT / "tests" / "wasm" / "node_modules" / "@micropython").exists():
        pytest.skip("the WebAssembly port is missing: npm --prefix tests/wasm ci")
    run(node, "tests/wasm/run.mjs", name)


@pytest.mark.parametrize("body", ["", "def test_x():\n    assert 1 == 2\n", "import nothing_like_this\n"])
def test_runner_fails_on_a_failure_an_empty_file_and_a_broken_one(tmp_path, body):
    both = tmp_path / "tests" / "both"
    both.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "both" / "run.py", both)
    (both / "test_bad.py").write_text(body)
    (both / "test_good.py").write_text("def test_x():\n    assert True\n")
    micropython = tool("micropython", "MICROPYTHON")
    bad = subprocess.run([micropython, str(both / "run.py")], capture_output=True, timeout=TIMEOUT_S, check=False)
    good = subprocess.run(
        [micropython, str(both / "run.py"), "test_good.py"], capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert bad.returncode != 0 and good.returncode == 0
