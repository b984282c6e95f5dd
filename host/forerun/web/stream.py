"""What pages are told while they are open: server-sent events, made once and given to all of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, is_dataclass

from forerun.site.snapshot import Snapshot

LOOK_S = 0.02  # how old a snapshot gets before it is passed on
PARTS_S = 0.5  # what changes seldom is looked at so often
CHECK_S = 5.0  # a session that ended is cut off after so long at the latest
MOST_VIEWERS = 200
PARTS = ("alarms", "jobs", "compute", "plan", "forecast", "carbon", "commissioning", "link", "store")


def _ref(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def _event_schema(name: str, about: str, required: list[str], **properties: dict) -> dict:
    data = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {
        "type": "object",
        "description": about,
        "required": ["event", "data"],
        "properties": {
            "event": {"const": name},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
            "retry": {"type": "integer", "description": "ms after which to connect again"},
        },
    }


def _or_null(name: str) -> dict:
    return {"anyOf": [_ref(name), {"type": "null"}]}


# One event (HTML, section 9.2) as OpenAPI describes it; the schemas that it refers to are the application's.
EVENT_SCHEMA = {"oneOf": [
    _event_schema("live", "With each snapshot, also while the board is silent.", ["utc_s", "connected", "live"],
                  utc_s={"type": "number"}, connected={"type": "boolean"}, live=_or_null("Live")),
    _event_schema("parts", "Parts of the snapshot that changed; all of them in the first event, and `site`.", [],
                  alarms={"type": "array", "items": _ref("Alarm")}, jobs={"type": "array", "items": _ref("Job")},
                  compute={"type": "array", "items": _ref("ComputeLoad")},
                  plan=_or_null("PlanView"), forecast=_or_null("ForecastView"), carbon=_or_null("CarbonToday"),
                  commissioning=_ref("Commissioning"), link=_ref("LinkHealth"), store=_ref("StoreHealth"),
                  controls=_ref("ControlState"), site={"type": "object"}),
]}  # fmt: skip


class Stream:
    """Events for every open page: `live` with each snapshot, `parts` with those parts of it that changed.

    A page that reads too slowly misses what was overtaken; nothing is queued for it. `extra()` adds a part of its own.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], extra: Callable[[], dict], timezone: str):
        self._snapshot, self._extra, self._timezone = snapshot, extra, timezone
        self._viewers: set[_Viewer] = set()
        self._seen: Snapshot | None = None
        self._parts: dict[str, object] = {}
        self._task: asyncio.Task | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._viewers)

    async def events(self, may_look: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Chunks of an event stream, until the page goes, `may_look()` is False, or `close` is called."""
        viewer = _Viewer()
        self._viewers.add(viewer)
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            first = self._snapshot()
            everything = {name: _plain(part) for name, part in self._look(first).items()}
            everything = {"site": {**_site(first), "timezone": self._timezone}, **everything}
            yield b"retry: 1000\n\n" + _event("parts", everything) + _event("live", _live(first))
            while not self._closed and may_look():
                try:
                    async with asyncio.timeout(CHECK_S):
                        await viewer.news.wait()
                except TimeoutError:
                    yield b":\n\n"
                    continue
                yield viewer.take()
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for viewer in self._viewers:
            viewer.news.set()

    async def _watch(self) -> None:
        """Look for news while anybody does."""
        try:
            turns = 0
            while self._viewers and not self._closed:
                snapshot = self._snapshot()
                if snapshot is not self._seen:
                    self._seen = snapshot
                    self._tell("live", _event("live", _live(snapshot)))
                if turns % round(PARTS_S / LOOK_S) == 0:
                    self._tell_parts(snapshot)
                turns += 1
                await asyncio.sleep(LOOK_S)
        finally:
            self._task = None

    def _tell_parts(self, snapshot: Snapshot) -> None:
        now = self._look(snapshot)
        changed = {name: part for name, part in now.items()
                   if part is not self._parts.get(name) and part != self._parts.get(name)}  # fmt: skip
        self._parts = now
        if changed:
            data = {name: _plain(part) for name, part in changed.items()}
            for viewer in self._viewers:
                viewer.add_parts(data)

    def _look(self, snapshot: Snapshot) -> dict[str, object]:
        return {name: getattr(snapshot, name) for name in PARTS} | self._extra()

    def _tell(self, name: str, event: bytes) -> None:
        for viewer in self._viewers:
            viewer.put(name, event)


class _Viewer:
    """What one page has not been told yet: the latest of each."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._waiting: dict[str, bytes] = {}
        self._parts: dict[str, object] = {}

    def put(self, name: str, event: bytes) -> None:
        self._waiting[name] = event
        self.news.set()

    def add_parts(self, parts: dict) -> None:
        self._parts.update(parts)
        self.news.set()

    def take(self) -> bytes:
        self.news.clear()
        told = b"".join(self._waiting.values())
        if self._parts:
            told += _event("parts", self._parts)
        self._waiting.clear()
        self._parts = {}
        return told


def _live(snapshot: Snapshot) -> dict:
    return {"utc_s": snapshot.utc_s, "connected": snapshot.link.connected, "live": _plain(snapshot.live)}


def _site(snapshot: Snapshot) -> dict:
    return {name: getattr(snapshot, name)
            for name in ("site", "software", "import_limit_w", "export_limit_w", "capacity_wh")}  # fmt: skip


def _plain(part):
    if isinstance(part, tuple):
        return [_plain(item) for item in part]
    return asdict(part) if is_dataclass(part) else part


def _event(name: str, data: dict) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
