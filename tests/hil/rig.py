"""The bench of the hardware-in-the-loop tests: emulated site, real MicroPython board and host in lockstep."""

import contextlib
import dataclasses
import os
from pathlib import Path

from forerun import config
from forerun.plant import devices
from forerun.plant.board import HEAP_BYTES, BoardProcess
from forerun.plant.lockstep import Lockstep, on_processors
from forerun.plant.recording import Totals
from forerun.plant.senses import CURRENT_MA, VOLTAGE_MV, Senses
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun.site.service import Service
from forerun.store.journal import Journal, read
from forerun_wire import messages as m
from hil.held import Watch

UTC_OFFSET_US = 1_569_715_200 * 1_000_000  # 2019-09-29: a plan bears the whole charge of this month for a higher peak
# Settings for the analogue channels that forerun.plant.senses plays.
WIDE = "224k"  # of the 64-bit port: trips, channels and sensor are commissioned without a restart
ANALOG = {"voltage_gain_q8": round(256 * VOLTAGE_MV), "current_gain_q8": round(256 * CURRENT_MA)}
WATCHDOG_US = 8_300_000  # what an RP2040 is given by forerun_board.hal.rp2
EXAMPLE = Path(config.__file__).with_name("demo_site.toml")


def site_file(folder: Path, **sections) -> config.SiteFile:
    """The demo's site with other values: site_file(path, limits={"import_limit_w": 8000})."""
    site = config.load(EXAMPLE)
    sections.setdefault("store", {})["path"] = str(folder / "journal.forerun")
    for name, values in sections.items():
        site = dataclasses.replace(site, **{name: dataclasses.replace(getattr(site, name), **values)})
    return site


def own_processor(every: set[int]) -> set[int]:
    """Where this process and its board run: they take turns, and hand over sooner on one processor than on two. Of
    `every` one where there are as many test workers, so that none is left idle or has two of them; else all."""
    worker, count = os.environ.get("PYTEST_XDIST_WORKER", ""), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")
    return {sorted(every)[int(worker[2:])]} if int(count) == len(every) else every


class Rig:
    """A running site. Powers in W; times in seconds since the start. Use as a context manager.

    A site that runs with its host, and whose test calls neither assert_held() nor assert_rules(), has assert_held()
    called at its end with `allowed`: what the test itself breaks.
    """

    def __init__(self, folder: Path, *, load_w=6000.0, loads=None, pv_w=0.0, pv=None, plant=None, sections=None,
                 host=True, allowed=None, seed=1, heap=HEAP_BYTES, senses=False, baud=115_200,
                 models=devices.INVERTER_MODELS, utc_s=UTC_OFFSET_US // 1_000_000):
        self.folder, self.utc_s = folder, utc_s
        self.config = site_file(folder, **(sections or {}))
        loads = loads or [Series(0, 1_000_000_000, [load_w])]
        pv = pv or (Series(0, 1_000_000_000, [pv_w]) if pv_w else None)
        self.site = Site(SiteConfig(**(plant or {})), loads=loads, pv=pv, seed=seed)
        self.site.quality = self.held = Watch(self.site, self.config)
        self.slave = devices.slave(self.site, baud, models=models)
        self.board = BoardProcess(folder / "flash", lockstep=True, nonce_seed=seed, log=folder / "board.log",
                                  heap=heap)
        self._processors = contextlib.ExitStack()
        self.bench = Lockstep(self.site, self.slave, self.board, None)
        self.bench.senses = Senses(self.site) if senses else None
        self.bench.watchdog_us = WATCHDOG_US
        self.allowed = allowed or {}
        self._is_judged = not host  # without one it is being commissioned, or looked at
        self.bites = 0  # of the watchdog, that a test brings about
        self.said: list[tuple[float, str]] = []
        self.journal: Journal | None = None
        self.host: Service | None = None
        self.host_starts = 0
        self.board_log = folder / "board.log"
        if host:
            self.start_host()

    def __enter__(self) -> "Rig":
        self._processors.enter_context(on_processors(own_processor))
        self.bench.power_on()
        return self

    def __exit__(self, kind, *exc) -> None:
        self._processors.close()
        self.board.close()
        if self.journal is not None:
            self.journal.close()
        log = self.board_log.read_text(errors="replace") if self.board_log.exists() else ""
        assert log == "", f"the board printed: {log}"
        bites = self.bench.bites
        if kind is None:
            assert len(bites) == self.bites, f"the watchdog bit at {bites} µs"
            if not self._is_judged:
                self.assert_held(**self.allowed)

    @property
    def now_s(self) -> float:
        return self.bench.now_us / 1e6

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.bench.run(self.bench.now_us + round(seconds * 1e6))
        self.site.advance(self.bench.now_us)

    def run_until(self, condition, limit_s: float, step_s: float = 0.01) -> float:
        """Seconds until `condition()` holds; fails the test after `limit_s`."""
        start = self.now_s
        while not condition():
            assert self.now_s - start < limit_s, (
                f"not within {limit_s} s at {self.now_s} s; latest {self.host and self.host.latest}; "
                f"{self.names()[-12:]}"
            )
            self.run(step_s)
        return self.now_s - start

    def run_until_armed(self) -> None:
        """Until the inverter is in service and the board commands it."""
        self.run_until(lambda: self.host.latest.get("state") in (m.IDLE, m.PLANNED, m.LEASED, m.FALLBACK)
                       and self.host.planner.plan is not None, 120, 0.25)  # fmt: skip

    def start_host(self) -> None:
        """A host process begins: the journal is opened, cut where torn, and read."""
        self.host_starts += 1
        self.journal = Journal(self.config.store.path)
        self.host = Service(
            self.config,
            self.journal,
            nonce=bytes([self.host_starts]) * 8,
            utc_offset_us=1_000_000 * self.utc_s,
            say=lambda sentence: self.said.append((self.now_s, sentence)),
        )
        # An hour of this load is billed already, and the month is nearly over: no plan is about its peak.
        self.host.planner.history.bill(self.utc_s, self.site.load_w)
        self.bench.host = self.host

    def kill_host(self) -> None:
        """kill -9: what was not committed is gone; nothing is said to anybody."""
        self.bench.host = self.host = None
        self.journal._buffer.clear()
        self.journal.close()
        self.journal = None

    def command(self, op: int, *args: int) -> tuple[int, list]:
        """(code, results) of a command, sent now."""
        seq = self.host.command(op, *args)
        self.run_until(lambda: seq in self.host.replies, 5)
        return self.host.replies[seq]

    def coarse(self, cycle_ms: int) -> None:
        """Rounds of `cycle_ms` from here on: for hours in which nothing has to be quick; 0 = as commissioned."""
        self.bench.cycle_ms = lambda now_us: cycle_ms

    def assert_held(self, **allowed) -> Totals:
        """What was held at every instant since the start: Watch.assert_held says what, and what may be allowed."""
        self._is_judged = True
        self.held.assert_held(**allowed)
        return self.site.totals()

    def assert_rules(self, **allowed) -> None:
        """Of these only the window of the charge and the rules of the set (Watch.assert_rules): a test breaks voltage,
        import and ramp itself."""
        self._is_judged = True
        self.held.assert_rules(**allowed)

    def records(self) -> list[list]:
        """Bodies of all board records in the journal, in order: [store_id, number, boot, s, ms, kind, *fields]."""
        return [entry.body for entry in read(self.config.store.path) if getattr(entry, "kind", "") == "record"]

    def names(self) -> list[str]:
        """What the event records are called, in order."""
        return [name for _, name, _, _ in self.events()]

    def events(self) -> list[tuple[float, str, int, int]]:
        """(board uptime in s, name, value, limit) of each event record."""
        names = dict(m.EVENTS)
        return [(body[3] + body[4] / 1000, names[body[6]], body[7], body[8])
                for body in self.records() if body[5] == m.EVENT]  # fmt: skip
