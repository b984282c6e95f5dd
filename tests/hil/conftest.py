"""Hardware-in-the-loop tests need the interpreter; without it they are skipped, and on CI that is a failure."""

import pytest

from forerun.plant.board import InterpreterMissing, find_interpreter
from hil.rig import Rig


@pytest.fixture(scope="session")
def _interpreter():
    try:
        return find_interpreter()
    except InterpreterMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def rig(tmp_path, _interpreter):
    """Makes a Rig in this test's folder: `with rig(load_w=8000) as bench:`."""
    return lambda **options: Rig(tmp_path, **options)
