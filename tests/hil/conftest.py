"""Hardware-in-the-loop tests need the interpreter; without it they are skipped, and on CI that is a failure."""

import random

import pytest

from forerun.commission import contacts
from forerun.commission import selftest as commission_selftest
from forerun.plant.board import InterpreterMissing, find_interpreter
from forerun.plant.site import Site
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


@pytest.fixture
def brisk(monkeypatch):
    """A self-test measures lines and clocks for as short a time as it can: for tests of its other parts."""
    for name, value in (("LINE_S", 1.0), ("CLOCK_S", 5.0), ("LINK_EXCHANGES", 20), ("WAKE_S", 25.0)):
        monkeypatch.setattr(commission_selftest, name, value)
    monkeypatch.setattr(contacts, "START_S", 15.0)
    monkeypatch.setattr(contacts, "STOP_LATE_S", 25.0)


class _Told(random.Random):
    """A generator that says its seed; one that was given none gets one that can be given again."""

    def __init__(self, seed=None):
        seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        print("random seed", seed)
        super().__init__(seed)


@pytest.fixture(autouse=True)
def _seeds_are_told(monkeypatch):
    """Whatever a test draws from says its seed: pytest shows it beside a failure. Programs that a test starts draw
    from nothing but nonces: their emulated site is made with seed 0, and says so here."""
    make_site = Site.__init__

    def make(site, *args, **options):
        make_site(site, *args, **options)
        print("site seed", site.seed)

    monkeypatch.setattr(Site, "__init__", make)
    monkeypatch.setattr(random, "Random", _Told)
    random.seed(0)
    print("global seed 0; programs' emulated site: seed 0")
