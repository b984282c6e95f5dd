"""A site run by the wall clock: journal, service, serial line and whoever watches; the composition root of a real site.

One thread calls `poll`; every other thread reads `snapshot`, or hands over work with `ask`.
"""

import contextlib
import ctypes
import os
import queue
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from forerun import config, sections
from forerun.errors import Trouble
from forerun.link.keys import keyring
from forerun.link.port import SerialLink
from forerun.site.integrations import Integrations
from forerun.site.service import Service
from forerun.site.snapshot import ComputeLoad, Snapshot, Surroundings, Viewer
from forerun.site.status import StatusSocket
from forerun.store import entries
from forerun.store.journal import Journal
from forerun.store.sitekey import commitments, key_path, record_keys, signing_key
from forerun.store.telemetry import Recorder, folder_of
from forerun_wire.names import TELEMETRY_FIELDS

SHOW_S = 0.25  # a snapshot is never older than this while the loop turns
LOOK_AROUND_S = 5.0
_TIMESYNC = Path("/run/systemd/timesync/synchronized")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass
class _Work:
    """Something to be done between two turns of the loop, and who waits for its result."""

    action: Callable[[Service, int], object]
    result: Future = field(default_factory=Future)


class Running:
    """A running site; use as a context manager. Raises Trouble or WrongUsage when it cannot begin.

    `web(running)`: the context manager of its page, which needs more than others of its parts do."""

    def __init__(self, site_path: Path, *, say: Callable[[str], None] = lambda sentence: None,
                 web: Callable[["Running"], contextlib.AbstractContextManager] | None = None):  # fmt: skip
        self.site_path, self.say, self._web = Path(site_path), say, web
        self.site = config.load(site_path)
        self._work: queue.Queue[_Work] = queue.Queue()
        self._around, self._look_at, self._show_at, self._shown_us = Surroundings(), 0.0, 0.0, None
        self._started_utc_s = int(time.time())
        self.integrations = Integrations(say)

    def __enter__(self) -> "Running":
        with contextlib.ExitStack() as cleanup:
            site = self.site
            self.journal = cleanup.enter_context(Journal(site.store.path))
            if self.journal.message:
                self.say(self.journal.message)
            key = signing_key(key_path(Path(site.store.path)))
            self.service = Service(site, self.journal, nonce=secrets.token_bytes(8), key=key, say=self.say,
                                   record_keys=record_keys(self.journal.path),
                                   commitments=commitments(self.journal.path),
                                   keyring=keyring(self.site_path))  # fmt: skip
            self.link = SerialLink(self.service, site.link.port, site.link.baud, say=self.say)
            cleanup.callback(self.link.close)
            self._recorder = Recorder(folder_of(self.journal.path), len(TELEMETRY_FIELDS))
            cleanup.callback(self._keep, self._recorder.flush)
            self._viewer = Viewer(self.service)
            self._show()
            cleanup.enter_context(self.integrations)
            self.integrations.want(self._wanted())
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *exc) -> None:
        self._cleanup.close()
        while not self._work.empty():
            self._work.get_nowait().result.cancel()

    @property
    def snapshot(self) -> Snapshot:
        """The latest one; whole and frozen, so any thread may read it."""
        return self._snapshot

    def _document(self) -> dict:
        return self._snapshot.document()

    def ask(self, action: Callable[[Service, int], object]) -> Future:
        """Have `action(service, now_us)` called by the loop's thread; its result or exception comes in the Future."""
        work = _Work(action)
        self._work.put(work)
        return work.result

    def poll(self, limit_s: float = SHOW_S) -> None:
        """One turn: what came from the board, what is due, what others asked for; takes at most about `limit_s`."""
        self.link.poll(limit_s)
        while not self._work.empty():
            work = self._work.get_nowait()
            if not work.result.set_running_or_notify_cancel():
                continue
            try:
                work.result.set_result(work.action(self.service, time.monotonic_ns() // 1000))
            except Exception as problem:  # noqa: BLE001 (it belongs to who asked)
                work.result.set_exception(problem)
            self._show_at = 0.0  # who asked may look at once
        if time.monotonic() >= self._show_at or self.service.latest_us != self._shown_us:
            self._show()

    def reload(self) -> bool:
        """Read the site file again and go on with it; False, and everything stays as it was, when it is wrong, or asks
        for another journal or another name, which only a restart can give. Call it from the loop's thread."""
        try:
            site = config.load(self.site_path)
            for name, old, new in (("store.path", self.site.store.path, site.store.path),
                                   ("site.name", self.site.site.name, site.site.name)):  # fmt: skip
                if old != new:
                    raise Trouble(f"{self.site_path}: {name} cannot be changed while the site runs; restart it")
        except Trouble as problem:
            self.say(f"{problem}; the site runs on as it was")
            return False
        old, self.site = self.site, site
        self.service.reconfigure(site, time.monotonic_ns() // 1000)
        if site.link != old.link:
            self.link.close()
            self.link.port_name, self.link.baud = site.link.port, site.link.baud
        self._look_at = 0.0
        self._show()  # some parts begin with what is seen
        self.integrations.want(self._wanted())
        self.say(f"{self.site_path} was read again")
        return True

    def _wanted(self) -> dict:
        """The parts that the site file asks for, each with what it depends on (forerun.site.integrations)."""
        site, complain = self.site, self.integrations.complain
        wanted: dict = {"status": ((), lambda: StatusSocket(site.store.path, self._document))}
        if self._web:
            wanted["web"] = ((site.web, site.reporting.timezone), lambda: self._web(self))
        if site.metrics.port:
            from forerun.integrations import metrics

            wanted["metrics"] = (site.metrics, lambda: metrics.serve(site.metrics.host, site.metrics.port, self._seen))
        if any(getattr(site.compute, key) != sections.NONE for key in sections.SOURCES):
            from forerun.compute import feeds

            wanted["compute"] = ((site.compute, site.pv.weather, site.site, feeds.most_w(site)),
                                 lambda: feeds.Feeds(site, self.ask, self._metered_w, complain))  # fmt: skip
        if site.mqtt.host != sections.NONE:
            from forerun.integrations import mqtt

            wanted["mqtt"] = ((site.mqtt, site.site.name), lambda: mqtt.Publisher(site, self._seen, complain))
        if site.modbus_tcp.port:
            from forerun.integrations import modbus_tcp

            # Scale factors hang on the limits.
            wanted["modbus_tcp"] = ((site.modbus_tcp, site.limits, site.battery),
                                    lambda: modbus_tcp.serve(site.modbus_tcp, self._seen))  # fmt: skip
        return wanted

    def _seen(self) -> Snapshot:
        return self._snapshot

    def _metered_w(self) -> float | None:
        live = self._snapshot.live
        return float(live.load_w) if live and live.fresh else None

    def _show(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AROUND_S
            self._around = self._look_around()
        is_new = self.service.latest_us != self._shown_us
        self._show_at, self._shown_us = now + SHOW_S, self.service.latest_us
        now_us = time.monotonic_ns() // 1000
        self.service.utc_offset_us = self.link.utc_us() - now_us
        if is_new and self.service.latest:
            utc_s = (now_us + self.service.utc_offset_us) // 1_000_000
            values = [self.service.latest[name] for name in TELEMETRY_FIELDS]
            self._keep(lambda: self._recorder.put(utc_s, values))
        self._snapshot = self._viewer.take(now_us, self._around)

    def _keep(self, action: Callable[[], None]) -> None:
        """Telemetry at rest is for looking back: a disk that takes none of it stops nothing, and is told once."""
        try:
            action()
        except (OSError, Trouble) as problem:
            self.integrations.complain("telemetry", f"telemetry is not kept ({problem})")
            return
        if self.integrations.complaints:
            self.integrations.complain("telemetry", "")

    def _compute(self) -> tuple[ComputeLoad, ...]:
        feeds = self.integrations.given("compute")
        return tuple(ComputeLoad(source, name, round(reading.power_w), round(reading.utc_s))
                     for source, name, reading in (feeds.readings() if feeds else ()))  # fmt: skip

    def _look_around(self) -> Surroundings:
        try:
            for sentence in entries.take_box(self.journal):
                self.say(sentence)
            self.integrations.complain("box", "")
        except OSError as problem:
            self.integrations.complain("box", f"what waits in {entries.box_of(self.journal.path)} cannot be taken "
                                       f"({problem.strerror})")  # fmt: skip
        free, size = _disk(self.journal.path)
        sealed, following, problem = commissioned(self.site_path)
        return Surroundings(
            port=self.link.port_name,
            port_open=self.link.port is not None,
            disk_free_bytes=free,
            disk_bytes=size,
            clock_synchronised=clock_synchronised(),
            sealed=sealed,
            commission_next=following,
            commission_problem=problem,
            started_utc_s=self._started_utc_s,
            compute=self._compute(),
            complaints=self.integrations.complaints,
        )


def commissioned(site_path: Path) -> tuple[bool | None, str, str]:
    """(sealed, the next step, what is wrong with the record) of the commissioning beside the site file."""
    from forerun.commission.steps import Steps

    try:
        steps = Steps(site_path)
    except Trouble as problem:
        return None, "", str(problem)
    following = steps.next()
    return following == "", following, ""


def clock_synchronised() -> bool | None:
    """Whether the kernel counts its clock as synchronised (adjtimex(2)); None where it does not say."""
    try:
        # 208 bytes are a struct timex with room; modes = 0 only reads.
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    except (OSError, AttributeError):
        return None
    if state >= 0:
        return state != _TIME_ERROR
    return True if _TIMESYNC.exists() else None  # a service that may not set the clock may not ask the kernel either


def _disk(path: Path) -> tuple[int | None, int | None]:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
