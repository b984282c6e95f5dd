"""The coefficients that a load regression starts from, fitted to many traces at once: `forecast/load_prior.csv`.

`python -m tests.fit_prior OUT.csv FILE…` reads CSV files (5 min a row; the load is the column `cpu…`, else the last)
and Parquet files (every column is a machine, summed in random groups like the nodes of an edge site), leaves the last
week of each unread, and writes one row a lead: the lead in five minutes, then a coefficient for each column of
`forerun.forecast.members._Past.rows`.
"""

import sys
from pathlib import Path

import numpy as np

from forerun.forecast.backtest import DAY
from forerun.forecast.members import Clock, _Past

GROUPS = ((20, 3), (12, 4), (8, 4), (5, 8))  # machines a group, groups
NEAR = 36  # steps over which the start of the start moves from the last value to the profile
RIDGE, ROUNDS, EVERY = 20.0, 6, 5


def main(out: str, *files: str) -> None:
    series = [load for file in files for load in loads(Path(file))]
    clock = Clock.of(300, DAY)
    rows = np.stack([np.concatenate([[lead], fitted(series, clock, int(lead))]) for lead in clock.leads])
    np.savetxt(out, rows, fmt="%.4g", delimiter=",")


def loads(file: Path) -> list[np.ndarray]:
    """The series of a file without their last week, one of less than three weeks without its last four days."""
    if file.suffix == ".parquet":
        from pyarrow import parquet

        columns = [column.to_numpy() for column in parquet.read_table(file).columns]
        machines = np.nan_to_num(np.stack([column for column in columns if column.dtype.kind == "f"], axis=1))
        rng = np.random.default_rng(1)
        whole = [machines[:, rng.choice(machines.shape[1], size, replace=False)].mean(axis=1)
                 for size, count in GROUPS for _ in range(count)]  # fmt: skip
    else:
        with open(file, encoding="utf-8") as opened:
            names = opened.readline().strip().split(",")
            column = next((index for index, name in enumerate(names) if name.startswith("cpu")), len(names) - 1)
            whole = [np.nan_to_num(np.loadtxt(opened, delimiter=",", usecols=column))]
    return [load[: len(load) - (7 if len(load) >= 21 * DAY else 4) * DAY] for load in whole]


def fitted(series: list[np.ndarray], clock: Clock, lead: int) -> np.ndarray:
    """(28,) coefficients of one lead with the least absolute errors, each in units of its series' daily difference."""
    near, start = np.exp(-lead / NEAR), np.zeros(28)
    start[0], start[7], start[14] = 0.6 * near, 0.4 * near, 0.7 * (1 - near)
    parts = []
    for load in series:
        at, scale = np.arange(2 * DAY, len(load) - lead + 1, EVERY), load.std()
        around = clock.around(lead, len(at))
        at, around = at[at + around <= len(load)], around[at + around <= len(load)]
        rows, base = _Past(load, clock).rows(at, around, scale)
        rest = (load[at + around - 1] - base) / scale - rows @ start
        weight = scale / max(np.abs(load[DAY:] - load[:-DAY]).mean(), 1e-3 * scale)
        parts.append((rows, rest, np.full(len(at), weight)))
    rows, rest, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    found, factor = np.zeros(28), np.ones(len(rest))
    for _ in range(ROUNDS):
        weighted = rows * (weight * factor)[:, None]
        found = np.linalg.solve(weighted.T @ rows + RIDGE * np.eye(28), weighted.T @ rest)
        wrong = np.abs(rest - rows @ found)
        factor = wrong.mean() / np.maximum(wrong, 0.1 * wrong.mean())
    return start + found


if __name__ == "__main__":
    main(*sys.argv[1:])
