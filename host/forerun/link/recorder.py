"""Sessions on the line in a file: recorded between board and host, shown frame by frame, replayed into either side.

The file is a CBOR sequence (RFC 8742): first ["forerun link", 1, utc_us, port, baud], then [us since then, from, bytes]
with from 0 = board, 1 = host, one entry a frame as it was on the line. Keys on their way are written as zeros.
"""

import os
import pty
import select
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cbor2

from forerun.errors import Trouble
from forerun_wire import messages as m
from forerun_wire.board import BoardSession
from forerun_wire.cbor import CborError, Reader
from forerun_wire.framing import Deframer, FrameQueue
from forerun_wire.host import HostSession, counts_of, telemetry_values

MAGIC = "forerun link"
VERSION = 1
BOARD, HOST = m.ROLE_BOARD, m.ROLE_HOST
PART_MAX = 4096  # bytes without a delimiter that are written as they are
_SEEDS = {schema: m.seed_of(schema) for schema in (*m.OLDER_SCHEMAS, m.SCHEMA_HASH)}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a recording: when its last byte came, from which side, the bytes with their delimiter."""

    at_us: int
    side: int
    line: bytes


class Recording:
    """Writes a recording; note() takes bytes as they come, from either side."""

    def __init__(self, path: Path, utc_us: int, port: str, baud: int):
        try:
            self._file = open(path, "xb")  # noqa: SIM115 – until close()
        except FileExistsError:
            raise Trouble(f"{path} is there already: choose another name, or move it away") from None
        except OSError as problem:
            raise Trouble(f"{path} cannot be written: {problem.strerror}") from problem
        self._parts = {BOARD: b"", HOST: b""}
        self.frames = {BOARD: 0, HOST: 0}
        cbor2.dump([MAGIC, VERSION, utc_us, port, baud], self._file)

    def note(self, at_us: int, side: int, data: bytes) -> None:
        """These bytes passed, `at_us` after the beginning."""
        part = self._parts[side] + data
        while b"\x00" in part or len(part) > PART_MAX:
            end = part.find(b"\x00") + 1 or PART_MAX
            self.frames[side] += 1
            cbor2.dump([at_us, side, _without_key(part[:end]) if side == HOST else part[:end]], self._file)
            part = part[end:]
        self._parts[side] = part

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Frame]:
    """The frames of a recording; a torn last entry is left out. Raises Trouble for what is no recording."""
    try:
        with open(path, "rb") as file:
            head = cbor2.load(file)
            if not isinstance(head, list) or head[:2] != [MAGIC, VERSION]:
                raise Trouble(f"{path} is no recording of this version: `forerun link record` makes one")
            while True:
                at_us, side, line = cbor2.load(file)
                yield Frame(at_us, side, line)
    except EOFError:
        return
    except cbor2.CBORDecodeError as problem:
        if "premature end" in str(problem):
            return
        raise Trouble(f"{path} is no recording, or is damaged: `forerun link record` makes one") from problem
    except (OSError, ValueError, TypeError) as problem:
        raise Trouble(f"{path} cannot be read as a recording: {problem}") from problem


def opened(line: bytes) -> list | None:
    """[kind, *fields] of a frame, of whichever schema is known here; None for one that is broken."""
    deframer = Deframer(len(line) + 8)
    deframer.feed(line, 0, len(line))
    if not deframer.size:
        return None
    seeds = _SEEDS.values() if m.seeded(m.peek_kind(deframer.buffer, 1)) else (0,)
    if not any(deframer.check(seed) for seed in seeds):
        return None
    try:
        return m.decode(Reader(deframer.buffer, 1, 1 + deframer.size))
    except CborError:
        return None


def _without_key(line: bytes) -> bytes:
    """The frame, with zeros in place of a key that it sets."""
    message = opened(line)
    if message is None or message[0] != m.COMMAND or message[2] != m.KEY_SET:
        return line
    fields = [*message[1:3], bytes(32)]
    queue = FrameQueue(512)
    queue.commit(m.encode(queue.buffer, queue.reserve() + 1, m.COMMAND, fields), m.seed_of(m.SCHEMA_HASH))
    return bytes(queue.outgoing(512))


def shown(frame: Frame) -> dict:
    """A frame in words: time, side, kind, and its fields by name."""
    message = opened(frame.line)
    told = {"at_s": frame.at_us / 1e6, "from": m.ROLES[frame.side], "bytes": len(frame.line)}
    if frame.line == b"\x00":
        return {**told, "kind": "delimiter"}
    if message is None:
        return {**told, "kind": "broken", "hex": frame.line.hex()}
    return {**told, **_named(message)}


def _named(message: list) -> dict:
    kind = message[0]
    if kind >= len(m.KINDS):
        return {"kind": f"kind {kind}", "fields": _plain(message[1:])}
    names = m.FIELDS[kind]
    told = {"kind": m.KINDS[kind], **dict(zip(names, map(_plain, message[1:]), strict=False))}
    rest = message[1 + len(names) :]
    if kind == m.HELLO and "key_id" in told:
        told["key_id"] = f"{told['key_id']:06x}"  # as everywhere else
    elif kind == m.COMMAND:
        told |= {"op": dict(m.OPS).get(message[2], message[2]), "arguments": _plain(rest)}
        if message[2] == m.KEY_SET:
            told["arguments"] = ["(a key)"]
    elif kind == m.REPLY:
        told |= {"code": m.CODES[message[2]] if message[2] < len(m.CODES) else message[2], "results": _plain(rest)}
    elif kind == m.TELEMETRY and len(message[1]) >= m.TELEMETRY_BYTES:
        told = {"kind": "telemetry", **m.fields_named(m.TELEMETRY_FIELDS, telemetry_values(message[1]))}
    elif kind == m.RECORDS:
        told["records"] = [_record(record) for record in rest]
    elif kind == m.RECORD:
        told["body"] = _plain(rest)
    elif kind == m.RECORD_ACK and rest:
        told["came_too"] = _plain(rest)
    elif kind == m.SEALED:
        try:
            told["inner"] = _named(m.decode(Reader(message[4])))
        except CborError:
            told["inner"] = message[4].hex()
    return told


def _record(record: list) -> dict:
    names = (*m.RECORD_FIELDS, *m.RECORD_BODIES.get(record[4], ()), "tag")
    told = dict(zip(names, map(_plain, record), strict=False))
    told["record_kind"] = dict(m.RECORD_KINDS).get(record[4], record[4])
    if record[4] == m.EVENT and len(record) > 5:
        told["code"] = dict(m.EVENTS).get(record[5], record[5])
    return told


def _plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def sentence(told: dict) -> str:
    """One line of `forerun link show`."""
    rest = {name: value for name, value in told.items() if name not in ("at_s", "from", "kind", "bytes")}
    arrow = "->" if told["from"] == "host" else "<-"
    words = " ".join(f"{name}={value}" for name, value in rest.items())
    return f"{told['at_s']:12.6f} {arrow} {told['kind']:<12} {told['bytes']:4} B  {words}"


def replay(path: Path, side: str, tell: Callable[[str], None] = lambda line: None) -> dict:
    """What a session of this side ("host" or "board") makes of what the other one said in the recording.

    It has the nonce and the name of the one that was recorded, so that it takes part in the same session. tell() gets
    each event; the result counts them.
    """
    role = m.ROLES.index(side)
    frames = list(read(path))
    hellos = [message for frame in frames if frame.side == role and (message := opened(frame.line)) and
              message[0] == m.HELLO]  # fmt: skip
    if not hellos:
        raise Trouble(f"{path} has no hello of a {side}, so nobody knows who is to be played: record from the start")
    session = None
    events: dict[str, int] = {}
    counts: dict[str, int] = {}  # of all sessions together
    for frame in frames:
        now_ms = frame.at_us // 1000 & 0x3FFFFFFF
        if frame.side == role:
            message = opened(frame.line)
            if message and message[0] == m.HELLO and (session is None or session.nonce != message[1 + m.HELLO_NONCE]):
                counts = _sum(counts, session)
                kind = HostSession if role == HOST else BoardSession
                session = kind(message[1 + m.HELLO_IDENTITY], "replay", message[1 + m.HELLO_NONCE], max_frame=2048)
            elif message and message[0] == m.RECORD_ACK and role == HOST and session is not None:
                session.acknowledge(message[1])
            elif message and message[0] == m.HEARTBEAT and role == HOST and session is not None:
                session.heartbeat_count = message[1]
        elif session is not None:
            session.receive(frame.line, len(frame.line), now_ms)
        if session is None:
            continue
        session.sent(len(session.outgoing(1 << 20)))
        while (event := session.event()) is not None:
            events[event[0]] = events.get(event[0], 0) + 1
            tell(f"{frame.at_us / 1e6:12.6f} {event[0]} {_plain(list(event[1:]))}")
    return {"events": events, "counts": _sum(counts, session)}


def _sum(counts: dict[str, int], session) -> dict[str, int]:
    """The counts, and those of a session, if there is one."""
    found = counts_of(session) if session else {}
    return {name: counts.get(name, 0) + found.get(name, 0) for name in {**counts, **found}}


def record(
    path: Path, port, port_name: str, baud: int, stopped: Callable[[], bool], tell: Callable[[str], None]
) -> dict:
    """Carry bytes between an open serial port and a new pseudo-terminal, until stopped(); both ways are recorded.

    tell() gets the path that the host program is to open in place of the port. Result: frames of either side.
    """
    ours, theirs = pty.openpty()
    recording = None
    try:
        tty.setraw(ours)
        tty.setraw(theirs)
        recording = Recording(path, time.time_ns() // 1000, port_name, baud)
        begun = time.monotonic_ns()
        tell(os.ttyname(theirs))
        ends = {port.fileno(): (BOARD, ours), ours: (HOST, port.fileno())}
        while not stopped():
            for fd in select.select(list(ends), [], [], 0.2)[0]:
                side, other = ends[fd]
                data = os.read(fd, 4096)
                if not data:
                    raise Trouble(f"{port_name} reports an end of file: is the board still plugged in?")
                recording.note((time.monotonic_ns() - begun) // 1000, side, data)
                if select.select([], [other], [], 0.1)[1]:  # like a cable: what nobody reads is lost
                    os.write(other, data)
        return {m.ROLES[side]: count for side, count in recording.frames.items()}
    except OSError as problem:
        raise Trouble(f"{port_name} was lost ({problem.strerror}); what came before is in {path}") from problem
    finally:
        if recording is not None:
            recording.close()
        os.close(ours)
        os.close(theirs)


