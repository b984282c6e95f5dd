"""A year of one-second telemetry at rest: whole numbers in columns, a block a day, its hourly sums in the block's head.

Derived data, for looking back at a site; no report is made from it. Block: magic, lengths, hourly sums (int64), then
each column as the smaller of values or differences, in planes of bytes, each deflated where that saves much.

Beside a journal: a file a year, `<year>.frt`, and the running day's `<date>.hours`, where a later block of an hour
replaces an earlier one. The column behind the last is 1 in a second that is known, and in one that is not all are 0.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forerun.errors import Trouble

MAGIC = b"FRT1"
HOUR_S, DAY_S = 3600, 86_400
FLUSH_S = 600  # so much of the newest telemetry a crash may take
WORTH = 0.5
_HEAD = struct.Struct("<4sIqHH")  # magic, bytes of the block, start_utc_s, columns, hours
_COLUMN = struct.Struct("<qqIBB")  # least value or difference, first value, bytes, bytes a value, whether differences


def folder_of(journal: Path) -> Path:
    """Where the telemetry of a journal's site lies."""
    return Path(journal).with_name(Path(journal).name + ".telemetry")


class Recorder:
    """Keeps telemetry as it comes, the last of each second; one writer a folder. `width` columns beside `known`."""

    def __init__(self, folder: Path, width: int):
        self.folder, self.width = Path(folder), width
        self._start_s: int | None = None
        self._flush_at_s = 0

    def put(self, utc_s: int, values: Sequence[int]) -> None:
        """Take the values of one second. Raises OSError when the disk takes nothing; the next flush tries again."""
        start_s = utc_s // HOUR_S * HOUR_S
        if start_s != self._start_s:
            self.flush()
            self._begin(start_s)
        self._rows[utc_s - start_s, : self.width] = values
        self._rows[utc_s - start_s, self.width] = 1
        if utc_s >= self._flush_at_s:
            self._flush_at_s = utc_s + FLUSH_S
            self.flush()

    def flush(self) -> None:
        """What is known of the running hour, on disk."""
        if self._start_s is not None and self._rows[:, self.width].any():
            append(self._hours_path(self._start_s), self._start_s, self._rows, sync=True)

    def _begin(self, start_s: int) -> None:
        if self._start_s is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.folder.glob("*.hours")):
                _cut_torn(path)
        self._start_s, self._flush_at_s = start_s, start_s + FLUSH_S
        self._rows = np.zeros((HOUR_S, self.width + 1), dtype=np.int64)
        today = self._hours_path(start_s)
        for path in sorted(self.folder.glob("*.hours")):
            if path.name < today.name:
                _fold(path)
        for found_s, rows in _last_hours(today):
            if found_s == start_s:  # the site was restarted within the hour
                self._rows[:] = rows

    def _hours_path(self, utc_s: int) -> Path:
        return self.folder / f"{datetime.fromtimestamp(utc_s, UTC):%Y-%m-%d}.hours"


def days(folder: Path, start_utc_s: int, end_utc_s: int) -> Iterator[tuple[int, np.ndarray]]:
    """(start_utc_s, rows (seconds, columns)) of what a folder holds of [start, end), block by block by time."""
    for path in sorted(Path(folder).glob("*.frt")):
        with open(path, "rb") as file:
            for start_s, width, hours, body_at, end in _blocks(file, path):
                if start_s < end_utc_s and start_s + hours * HOUR_S > start_utc_s:
                    yield _within(start_s, _rows(file, body_at, width, hours), start_utc_s, end_utc_s)
                file.seek(end)
    for path in sorted(Path(folder).glob("*.hours")):
        for start_s, rows in _last_hours(path):
            if start_s < end_utc_s and start_s + HOUR_S > start_utc_s:
                yield _within(start_s, rows, start_utc_s, end_utc_s)


def hours(folder: Path) -> Iterator[tuple[int, np.ndarray]]:
    """(start_utc_s, sums (hours, columns)) of all that a folder holds, from the heads of the blocks."""
    for path in sorted(Path(folder).glob("*.frt")):
        with open(path, "rb") as file:
            for start_s, width, count, _, end in _blocks(file, path):
                yield start_s, np.frombuffer(file.read(8 * count * width), dtype="<i8").reshape(count, width)
                file.seek(end)
    for path in sorted(Path(folder).glob("*.hours")):
        for start_s, rows in _last_hours(path):
            yield start_s, rows.sum(axis=0, keepdims=True)


def append(path: Path, start_utc_s: int, rows: np.ndarray, *, sync: bool = False) -> int:
    """Bytes appended for whole hours of rows (seconds, columns), whole numbers, one a second from `start_utc_s` on;
    with `sync` they are on disk."""
    count, width = rows.shape
    if count == 0 or count % HOUR_S:
        raise ValueError(f"{count} rows are not whole hours")
    sums = rows.astype(np.int64).reshape(-1, HOUR_S, width).sum(axis=1)
    parts = [_packed(np.ascontiguousarray(rows[:, index], dtype=np.int64)) for index in range(width)]
    body = sums.astype("<i8").tobytes() + b"".join(head for head, _ in parts) + b"".join(data for _, data in parts)
    block = _HEAD.pack(MAGIC, _HEAD.size + len(body), start_utc_s, width, len(sums)) + body
    with open(path, "ab") as file:
        file.write(block)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return len(block)


def column_hours(path: Path, columns: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(start_utc_s, sums (hours, columns)) of each block, from every row of these columns."""
    with open(path, "rb") as file:
        for start_s, width, hours, body_at, end in _blocks(file, path):
            heads_at = body_at + 8 * hours * width
            file.seek(heads_at)
            heads = [_COLUMN.unpack(file.read(_COLUMN.size)) for _ in range(width)]
            data_at = heads_at + _COLUMN.size * width
            starts = np.cumsum([0, *(head[2] for head in heads)])
            sums = np.empty((hours, len(columns)), dtype=np.int64)
            for place, index in enumerate(columns):
                file.seek(data_at + int(starts[index]))
                values = _unpacked(heads[index], file.read(heads[index][2]), hours * HOUR_S)
                sums[:, place] = values.reshape(hours, HOUR_S).sum(axis=1, dtype=np.int64)
            yield start_s, sums
            file.seek(end)


def rolled_up(path: Path, columns: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The same from the sums in the heads of the blocks, without touching a row."""
    with open(path, "rb") as file:
        for start_s, width, hours, _, end in _blocks(file, path):
            sums = np.frombuffer(file.read(8 * hours * width), dtype="<i8").reshape(hours, width)
            yield start_s, sums[:, list(columns)]
            file.seek(end)


def emissions_g(blocks: Iterator[tuple[int, np.ndarray]], grid_g_per_kwh: np.ndarray, genset_g_per_kwh: float):
    """(hours,) grams of hourly sums [W·s] of (import, genset): grid by hour, (hours,) in the blocks' order."""
    sums = np.concatenate([sums for _, sums in blocks]) / 3_600_000
    return np.clip(sums[:, 0], 0, None) * grid_g_per_kwh + sums[:, 1] * genset_g_per_kwh


def _within(start_s: int, rows: np.ndarray, first_s: int, end_s: int) -> tuple[int, np.ndarray]:
    low, high = max(0, first_s - start_s), min(len(rows), end_s - start_s)
    return start_s + low, rows[low:high]


def _rows(file, body_at: int, width: int, hours: int) -> np.ndarray:
    """(seconds, columns) of a whole block."""
    file.seek(body_at + 8 * hours * width)
    heads = [_COLUMN.unpack(file.read(_COLUMN.size)) for _ in range(width)]
    rows = np.empty((hours * HOUR_S, width), dtype=np.int64)
    for index, head in enumerate(heads):
        rows[:, index] = _unpacked(head, file.read(head[2]), hours * HOUR_S)
    return rows


def _last_hours(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """(start_utc_s, rows) of each hour of a day's file, the latest block of each, in order of time."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        places = {}
        for start_s, width, count, body_at, end in _blocks(file, path):
            places[start_s] = body_at, width, count
            file.seek(end)
        for start_s, (body_at, width, count) in sorted(places.items()):
            yield start_s, _rows(file, body_at, width, count)


def _fold(path: Path) -> None:
    """A day that is over becomes one block of its year's file; a crash in between leaves it to the next time."""
    found = list(_last_hours(path))
    if found:
        day_s = found[0][0] // DAY_S * DAY_S
        year = path.with_name(f"{path.name[:4]}.frt")
        _cut_torn(year)
        if day_s not in _starts(year):
            rows = np.zeros((DAY_S, found[0][1].shape[1]), dtype=np.int64)
            for start_s, part in found:
                rows[start_s - day_s : start_s - day_s + HOUR_S] = part
            append(year, day_s, rows, sync=True)
    path.unlink()


def _cut_torn(path: Path) -> None:
    """Cut what a crash left half written at the end."""
    if not path.exists():
        return
    whole = 0
    with open(path, "r+b") as file:
        try:
            for *_, end in _blocks(file, path):
                whole = end
                file.seek(end)
        except Trouble:
            file.truncate(whole)


def _starts(path: Path) -> set[int]:
    found = set()
    if path.exists():
        with open(path, "rb") as file:
            for start_s, *_, end in _blocks(file, path):
                found.add(start_s)
                file.seek(end)
    return found


def _blocks(file, path: Path) -> Iterator[tuple[int, int, int, int, int]]:
    size = os.fstat(file.fileno()).st_size
    while (at := file.tell()) < size:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:4] != MAGIC:
            raise Trouble(f"{path}: byte {at} begins no block of telemetry")
        _, length, start_s, width, hours = _HEAD.unpack(head)
        if at + length > size:
            raise Trouble(f"{path}: the block at byte {at} is incomplete")
        yield start_s, width, hours, at + _HEAD.size, at + length


def _packed(values: np.ndarray) -> tuple[bytes, bytes]:
    best = None
    for differences in (False, True):
        series = np.diff(values, prepend=values[:1]) if differences else values
        least = int(series.min())
        spread = int(series.max()) - least
        if spread == 0:
            data, width = b"", 0
        else:
            width = 1 if spread < 1 << 8 else 2 if spread < 1 << 16 else 4 if spread < 1 << 32 else 8
            unsigned = (series - least).astype(f"<u{width}")
            planes = np.ascontiguousarray(unsigned.view(np.uint8).reshape(-1, width).T)
            data = b"".join(len(part).to_bytes(4, "little") + part for part in map(_deflated, planes))
        if best is None or len(data) < len(best[1]):
            best = _COLUMN.pack(least, int(values[0]), len(data), width, differences), data
    return best


def _deflated(plane: np.ndarray) -> bytes:
    """The plane, deflated if that saves enough to be worth the time of inflating it."""
    raw = plane.tobytes()
    small = zlib.compress(raw, 4)
    return small if len(small) < WORTH * len(raw) else raw


def _inflated(data: bytes, count: int) -> Iterator[np.ndarray]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        part = data[at + 4 : at + 4 + length]
        yield np.frombuffer(part if length == count else zlib.decompress(part), dtype=np.uint8)
        at += 4 + length


def _unpacked(head: tuple, data: bytes, count: int) -> np.ndarray:
    least, first, _, width, differences = head
    if width == 0:
        series = np.zeros(count, dtype=np.int64)
    else:
        planes = _inflated(data, count)
        series = next(planes).astype(np.int32 if width < 4 else np.int64)
        for place, plane in enumerate(planes, start=1):
            series += plane.astype(series.dtype) << (8 * place)
    if least:
        series += least
    if differences:
        series[0] = first
        np.cumsum(series, out=series)
    return series
