"""The suite's own rules can fail: an empty file, a skip on CI, and the one excuse for a skip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"


def outcome(folder: Path, body: str, ci: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


SKIP = "import pytest\ndef test_a():\n    pytest.skip({!r})\n"


@pytest.mark.parametrize(
    ("body", "ci", "fails"),
    [
        ("def helper(): pass\n", "", True),
        ("def test_a(): pass\n", "true", False),
        (SKIP.format("mosquitto is missing"), "true", True),
        (SKIP.format("mosquitto is missing"), "", False),
        (SKIP.format("no hardware: no board is plugged in"), "true", False),
        ("import pytest\npytest.skip('nothing here', allow_module_level=True)\n", "true", True),
    ],
)
def test_rule(tmp_path, body, ci, fails):
    status, output = outcome(tmp_path, body, ci)
    assert (status in (1, 2)) == fails, output
