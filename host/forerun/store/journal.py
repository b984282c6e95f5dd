"""The journal: every reading, event and decision of a site, on disk before anybody is told that it is safe.

The file is a CBOR sequence (RFC 8742). Each item is `[crc32, bstr entry]`, the CRC always five bytes long (0x1a …);
the entry is the deterministic CBOR array `[sequence_no, utc_us, source, kind, body]`, and behind that, of a board's
record, how surely utc_us is known. Readers skip what a later version puts behind.
"""

import errno
import fcntl
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cbor2

from forerun.errors import Trouble
from forerun.evidence.hashtree import Tree

MAX_ENTRY_BYTES = 1 << 20
MAX_BUFFER_BYTES = 8 << 20
RECORD = "record"
_MARK = b"\x82\x1a"


class JournalError(Trouble):
    """One sentence: what is wrong with which file, and what to do."""


class JournalBusy(JournalError):
    """Another process writes this journal."""


class JournalDamaged(JournalError):
    """Entries in the middle of the file cannot be read; nothing was changed."""


class JournalFull(JournalError):
    """The disk took no more. What is buffered stays buffered; `commit` may be tried again."""


class JournalUnwritable(JournalError):
    """The file cannot be opened or written for another reason than space. `commit` may be tried again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal. utc_us: when it happened, microseconds since 1970; half_us: within so many µs either way
    by this host's clock, -1 when only its arrival is known, None of what the host enters itself and of old records."""

    sequence_no: int
    utc_us: int
    source: str
    kind: str
    body: object
    offset: int
    raw: bytes = field(default=b"", compare=False, repr=False)  # the entry as it was written: a leaf of the hash tree
    half_us: int | None = None

    @property
    def end(self) -> int:
        """Offset of the byte after it in the file."""
        return self.offset + len(_MARK) + 4 + len(_bstr_head(len(self.raw))) + len(self.raw)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no entry: from `offset`, `length` of them; `tail` when no valid entry follows."""

    offset: int
    length: int
    tail: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    """Of an open journal: entries, the buffer's too; bytes on disk; bytes that wait; records that never came."""

    entries: int
    bytes: int
    waiting_bytes: int
    missing_records: int


class Journal:
    """The one writer of a journal file: `append` buffers, `commit` makes durable, and only then may be acknowledged.

    Opening cuts a torn tail (kept beside the file as `<journal>.torn-<offset>`), tells of it in `torn` and `message`,
    and raises JournalDamaged, JournalBusy or JournalUnwritable. `system` is the os module, or what stands in for it.
    `tree` is the hash tree over all entries, those in the buffer too.
    """

    def __init__(self, path: Path | str, system=os):
        self.path = Path(path)
        self.torn: Damage | None = None
        self.message = ""
        self._system = system
        self._streams: dict[tuple[str, bytes], _Stream] = {}
        self._buffer = bytearray()
        self._next_sequence_no = 0
        self.tree = Tree()
        self._file = self._open()
        try:
            self._lock()
            self._scan()
        except BaseException:
            os.close(self._file)
            raise

    def append(self, utc_us: int, source: str, kind: str, body: object, half_us: int | None = None) -> int:
        """Sequence number of the buffered entry. It is not durable before `commit` returns. Raises JournalFull
        when more than MAX_BUFFER_BYTES wait for a disk that takes nothing."""
        surely = [] if half_us is None else [half_us]
        entry = cbor2.dumps([self._next_sequence_no, utc_us, source, kind, body, *surely], canonical=True)
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"a {kind} entry of {len(entry)} bytes is longer than the journal's {MAX_ENTRY_BYTES}")
        item = _MARK + zlib.crc32(entry).to_bytes(4, "big") + _bstr_head(len(entry)) + entry
        if len(self._buffer) + len(item) > MAX_BUFFER_BYTES:
            raise JournalFull(
                f"{self.path}: {len(self._buffer)} bytes already wait for the disk, so this entry is not taken; "
                "free space or make the file writable, then commit again"
            )
        self._buffer += item
        self.tree.append(entry)
        self._next_sequence_no += 1
        return self._next_sequence_no - 1

    def append_record(
        self, utc_us: int, identity: str, store_id: bytes, number: int, body: list, half_us: int | None = None
    ) -> bool:
        """True when the board's record is new and now buffered; False when the journal already has it.

        `body` is the rest of the wire record: [boot_count, uptime_s, uptime_ms, record_kind, *fields].
        """
        stream = self._streams.setdefault((identity, bytes(store_id)), _Stream())
        if stream.has(number):
            return False
        self.append(utc_us, identity, RECORD, [bytes(store_id), number, *body], half_us)
        stream.add(number)
        return True

    def commit(self) -> int:
        """Number of bytes made durable (written, then fdatasync). Raises JournalFull or JournalUnwritable: then
        nothing of the buffer may be acknowledged, and the next commit writes all of it again."""
        if not self._buffer:
            return 0
        try:
            self._write(self._buffer, self._end)
            # After a failed sync the kernel may call lost pages clean, so a retry has to write them again first.
            self._system.fdatasync(self._file)
        except OSError as error:
            self._undo()
            raise self._failed(error) from error
        written = len(self._buffer)
        self._end += written
        self._buffer.clear()
        for stream in self._streams.values():
            stream.on_disk = stream.highest
        return written

    def on_disk(self, identity: str, store_id: bytes) -> int | None:
        """Highest record number that is durable, which is what may be acknowledged to the board; None when none is."""
        stream = self._streams.get((identity, bytes(store_id)))
        return None if stream is None else stream.on_disk

    def gaps(self) -> dict[tuple[str, bytes], list[tuple[int, int]]]:
        """Record numbers that never came, as (first, last) per (identity, store_id); empty when nothing is missing."""
        return {key: list(stream.missing) for key, stream in self._streams.items() if stream.missing}

    def health(self) -> Health:
        """How the journal does, without touching the disk."""
        missing = sum(last - first + 1 for spans in self.gaps().values() for first, last in spans)
        return Health(self._next_sequence_no, self._end, len(self._buffer), missing)

    def close(self) -> None:
        """Commits, then releases file and lock even if the commit raises."""
        try:
            self.commit()
        finally:
            os.close(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _sync_directory(self.path.parent)
        except OSError as error:
            raise JournalUnwritable(
                f"{self.path}: cannot be opened for writing ({error.strerror}); check store.path and its permissions"
            ) from error
        return file

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalBusy(
                f"{self.path}: another forerun process is writing this journal; stop it or choose another store.path"
            ) from error

    def _scan(self) -> None:
        self._end = 0
        for found in read(self.path):
            if isinstance(found, Damage):
                self._cut_or_refuse(found)
                continue
            self._next_sequence_no = found.sequence_no + 1
            self.tree.append(found.raw)
            if found.kind == RECORD:
                store_id, number = found.body[:2]
                self._streams.setdefault((found.source, store_id), _Stream()).add(number)
        self._end = os.fstat(self._file).st_size
        for stream in self._streams.values():
            stream.on_disk = stream.highest

    def _cut_or_refuse(self, damage: Damage) -> None:
        if not damage.tail:
            raise JournalDamaged(
                f"{self.path}: {damage.sentence} at byte {damage.offset}, and valid entries follow; nothing was cut: "
                "move the file aside (it stays readable, the damage skipped) and start with a new one"
            )
        torn = os.pread(self._file, damage.length, damage.offset)
        if damage.offset == 0 and not _MARK.startswith(torn[:2]) and any(torn):
            raise JournalDamaged(f"{self.path}: this file is not a journal; nothing was cut: correct store.path")
        side = _keep(torn, f"{self.path}.torn-{damage.offset}")
        try:
            self._system.ftruncate(self._file, damage.offset)
            self._system.fdatasync(self._file)
        except OSError as error:
            raise self._failed(error) from error
        self.torn = damage
        self.message = f"{self.path}: {damage.sentence} at byte {damage.offset}; {len(torn)} bytes moved to {side}"

    def _write(self, data: bytes | bytearray, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = self._system.pwrite(self._file, view, offset)
            view, offset = view[count:], offset + count

    def _undo(self) -> None:
        try:
            self._system.ftruncate(self._file, self._end)
        except OSError:
            # The half-written tail stays; the next commit overwrites it and a re-open would cut it.
            return

    def _failed(self, error: OSError) -> JournalError:
        waiting = f"{len(self._buffer)} bytes wait, nothing of them is acknowledged"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return JournalFull(f"{self.path}: the disk is full; {waiting}; free space, then commit again")
        return JournalUnwritable(f"{self.path}: cannot be written ({error.strerror}); {waiting}; check disk and mount")


def read(path: Path | str) -> Iterator[Entry | Damage]:
    """Every entry in order, with a Damage where bytes had to be skipped. Needs no lock: a writer may be at work."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
            yield from _items(data, size)


def _items(data, size: int) -> Iterator[Entry | Damage]:
    at, expected = 0, 0
    while at < size:
        entry, end = _item_at(data, at, size)
        if entry is None:
            end = _next_item(data, at, size, expected)
            tail = end == size
            what = "the last entry is incomplete" if tail else "an entry is unreadable"
            yield Damage(at, end - at, tail, what)
            expected = None
        else:
            if expected is not None and entry.sequence_no != expected:
                yield Damage(at, 0, False, f"entry {expected} is missing (entry {entry.sequence_no} follows)")
            yield entry
            expected = entry.sequence_no + 1
        at = end


def _next_item(data, at: int, size: int, expected: int | None) -> int:
    """Offset of the next valid item after a damaged one, or `size`."""
    while (at := data.find(_MARK, at + 1)) >= 0:
        entry, _ = _item_at(data, at, size)
        if entry is not None and (expected is None or entry.sequence_no >= expected):
            return at
    return size


def _item_at(data, at: int, size: int) -> tuple[Entry | None, int]:
    head = data[at : at + 11]
    if head[:2] != _MARK or len(head) < 7:
        return None, at
    length, head_length = _bstr_length(head[6:])
    start = at + 6 + head_length
    end = start + length
    if length > MAX_ENTRY_BYTES or end > size:
        return None, at
    raw = data[start:end]
    if zlib.crc32(raw) != int.from_bytes(head[2:6], "big"):
        return None, at
    try:
        sequence_no, utc_us, source, kind, body, *more = cbor2.loads(raw)
    except (cbor2.CBORDecodeError, TypeError, ValueError):
        return None, at
    return Entry(sequence_no, utc_us, source, kind, body, at, raw, more[0] if more else None), end


def _bstr_head(length: int) -> bytes:
    if length < 24:
        return bytes([0x40 + length])
    for code, width in ((0x58, 1), (0x59, 2), (0x5A, 4)):
        if length < 1 << (8 * width):
            return bytes([code]) + length.to_bytes(width, "big")
    raise ValueError(f"{length} bytes do not fit in one entry")


def _bstr_length(head: bytes) -> tuple[int, int]:
    """(length of the byte string, length of its head); an impossible length when the head is none."""
    first = head[0]
    if 0x40 <= first < 0x58:
        return first - 0x40, 1
    width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(first, 0)
    if width == 0 or len(head) < 1 + width:
        return MAX_ENTRY_BYTES + 1, 0
    length = int.from_bytes(head[1 : 1 + width], "big")
    if _bstr_head(length) != head[: 1 + width]:
        return MAX_ENTRY_BYTES + 1, 0
    return length, 1 + width


class _Stream:
    """Record numbers of one board store that the journal has: everything up to `highest` except `missing`."""

    def __init__(self):
        self.highest: int | None = None
        self.on_disk: int | None = None
        self.first = 0
        self.missing: list[tuple[int, int]] = []

    def has(self, number: int) -> bool:
        if self.highest is None or number > self.highest or number < self.first:
            return False
        return not any(low <= number <= high for low, high in self.missing)

    def add(self, number: int) -> None:
        if self.highest is None:
            self.first = self.highest = number
        elif number > self.highest:
            if number > self.highest + 1:
                self.missing.append((self.highest + 1, number - 1))
            self.highest = number
        elif number < self.first:
            if number + 1 < self.first:
                self.missing.insert(0, (number + 1, self.first - 1))
            self.first = number
        else:
            self._fill(number)

    def _fill(self, number: int) -> None:
        for index, (low, high) in enumerate(self.missing):
            if low <= number <= high:
                rest = [(low, number - 1), (number + 1, high)]
                self.missing[index : index + 1] = [span for span in rest if span[0] <= span[1]]
                return


def _keep(torn: bytes, name: str) -> str:
    """Name of the side file that now durably holds the cut bytes; never overwrites another one."""
    side, count = Path(name), 1
    while side.exists() and side.read_bytes() != torn:
        count += 1
        side = Path(f"{name}-{count}")
    try:
        with open(side, "wb") as file:
            file.write(torn)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(side.parent)
    except OSError as error:
        raise JournalUnwritable(
            f"{side}: the torn tail cannot be kept ({error.strerror}), so nothing was cut; make room or check the mount"
        ) from error
    return side.name


def _sync_directory(path: Path) -> None:
    """A new name is durable only when its directory is."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
