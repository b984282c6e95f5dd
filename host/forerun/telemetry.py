"""A year of one-second telemetry at rest: whole numbers in columns, a block a day, its hourly sums in the block's head.

Derived data, for looking back at a site; no report is made from it. Block: magic, lengths, hourly sums (int64), then
each column as the smaller of values or differences, in planes of bytes, each deflated where that saves much.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from forerun.errors import Trouble

MAGIC = b"FRT1"
HOUR_S = 3600
WORTH = 0.5
_HEAD = struct.Struct("<4sIqHH")  # magic, bytes of the block, start_utc_s, columns, hours
_COLUMN = struct.Struct("<qqIBB")  # least value or difference, first value, bytes, bytes a value, whether differences


def append(path: Path, start_utc_s: int, rows: np.ndarray) -> int:
    """Bytes appended for whole hours of rows (seconds, columns), whole numbers, one a second from `start_utc_s` on."""
    count, width = rows.shape
    if count == 0 or count % HOUR_S:
        raise ValueError(f"{count} rows are not whole hours")
    sums = rows.astype(np.int64).reshape(-1, HOUR_S, width).sum(axis=1)
    parts = [_packed(np.ascontiguousarray(rows[:, index], dtype=np.int64)) for index in range(width)]
    body = sums.astype("<i8").tobytes() + b"".join(head for head, _ in parts) + b"".join(data for _, data in parts)
    block = _HEAD.pack(MAGIC, _HEAD.size + len(body), start_utc_s, width, len(sums)) + body
    with open(path, "ab") as file:
        file.write(block)
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
