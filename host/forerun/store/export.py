"""Data of a site for other programs, as CSV or Parquet: the ledger's intervals, the telemetry, or its hourly means."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from forerun.errors import Trouble, WrongUsage
from forerun.store import telemetry
from forerun_wire.names import TELEMETRY_FIELDS

KINDS, FORMATS = ("intervals", "telemetry", "hours"), ("csv", "parquet")
MEANS = ("active_power_w", "pcc_import_w", "load_w", "pv_w", "genset_w", "soc_permille")
Table = tuple[Sequence[str], Iterable[Sequence]]  # names of the columns, rows in batches are made of these


def intervals(document: dict) -> Table:
    """The intervals of a report; numbers that the report holds as decimal text are decimals here."""
    columns = document["intervals"]["columns"]
    words = [columns.index(name) for name in ("quality", "reasons")]

    def rows() -> Iterator[list]:
        for row in document["intervals"]["rows"]:
            yield [Decimal(item) if isinstance(item, str) and index not in words else item
                   for index, item in enumerate(row)]  # fmt: skip

    return columns, rows()


def seconds(folder: Path, start_utc_s: int, end_utc_s: int) -> Table:
    """Telemetry second by second; seconds of which nothing is known have no row."""

    def rows() -> Iterator[list]:
        for start_s, block in telemetry.days(folder, start_utc_s, end_utc_s):
            known = np.flatnonzero(block[:, -1])
            yield from np.column_stack([start_s + known, block[known, :-1]]).tolist()

    return ("utc_s", *TELEMETRY_FIELDS), rows()


def hourly(folder: Path, start_utc_s: int, end_utc_s: int, grid_at, genset_g_per_kwh: Decimal) -> Table:
    """Means of the known seconds of each hour [W, permille], how many were known, and location-based emissions [g] of
    the net import and the genset in them. grid_at(utc_s): g/kWh. To look at: reports come from meter records."""
    places = [TELEMETRY_FIELDS.index(name) for name in MEANS]
    bought, made = MEANS.index("pcc_import_w"), MEANS.index("genset_w")

    def rows() -> Iterator[list]:
        for start_s, sums in telemetry.hours(folder):
            for index, row in enumerate(sums):
                utc_s, known = start_s + 3600 * index, int(row[-1])
                if known and start_utc_s <= utc_s < end_utc_s:
                    parts = [int(row[place]) for place in places]
                    grams = (max(0, parts[bought]) * grid_at(utc_s) + parts[made] * genset_g_per_kwh) / 3_600_000
                    yield [utc_s, known, *(part // known for part in parts), round(grams, 3)]

    return ("utc_s", "known_s", *MEANS, "emissions_g"), rows()


def write(path: Path, table: Table, form: str) -> int:
    """Rows written; Parquet in batches of at most a day of seconds. Raises Trouble, or WrongUsage without pyarrow."""
    names, rows = table
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _parquet(path, names, rows) if form == "parquet" else _csv(path, names, rows)
    except OSError as error:
        raise Trouble(f"{path}: cannot be written ({error.strerror})") from error


def _csv(path: Path, names: Sequence[str], rows: Iterable[Sequence]) -> int:
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["utc", *names] if names[0].endswith("utc_s") else names)
        for row in rows:
            writer.writerow([_moment(row[0]), *row] if names[0].endswith("utc_s") else row)
            count += 1
    return count


def _parquet(path: Path, names: Sequence[str], rows: Iterable[Sequence]) -> int:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise WrongUsage("--format parquet needs pyarrow: `pip install 'forerun[parquet]'`, or take csv") from error
    writer, count = None, 0
    try:
        for batch in _batches(rows, telemetry.DAY_S):
            columns = [arrow.array(column, _type(arrow, column)) for column in zip(*batch, strict=True)]
            part = arrow.table(columns, names=list(names))
            if writer is None:
                writer = parquet.ParquetWriter(path, part.schema, compression="zstd")
            writer.write_table(part)
            count += len(batch)
        if writer is None:
            parquet.write_table(arrow.table({name: [] for name in names}), path)
    finally:
        if writer is not None:
            writer.close()
    return count


def _batches(rows: Iterable[Sequence], size: int) -> Iterator[list]:
    batch: list = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _type(arrow, column: Sequence):
    first = column[0]
    if isinstance(first, Decimal):
        return arrow.decimal128(38, 6)
    return arrow.int64() if isinstance(first, int) else arrow.string()


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
