"""Speed and size of the carbon part, as JSON lines: `python -m tests.bench_carbon [--days N]`.

A site-year of one-second telemetry to hourly emissions, against plain DuckDB over float32 zstd Parquet of the same
rows in the same run; a site-year of 15-minute records to a report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tests import site_journal

START_S = 1_704_067_200
IMPORT, GENSET = 7, 15
NAMES = ("uptime_s", "uptime_ms", "state", "bound_by", "faults", "setpoint_w", "active_power_w", "pcc_import_w",
         "pcc_voltage_mv", "frequency_millihz", "soc_permille", "charge_max_w", "discharge_max_w", "load_w", "pv_w",
         "genset_w", "plan_step", "lease_ms", "cycle_us", "heap_free")  # fmt: skip


def day_of(number: int) -> np.ndarray:
    """(86 400, 20) of one day in the shape of the board's telemetry; the same for the same number."""
    rng, n = np.random.default_rng(number), 86_400
    second = np.arange(n)
    hour = second / 3600
    pv = np.clip(9000 * np.sin((hour - 6) / 12 * np.pi) * (0.6 - 0.4 * np.cos(number / 58)), 0, None)
    pv = (pv * np.repeat(rng.uniform(0.5, 1, n // 60), 60)).round()
    load = (5000 + 1500 * np.repeat(rng.integers(0, 3, n // 300), 300) + rng.normal(0, 6, n)).round()
    setpoint = np.repeat(rng.integers(-8, 9, n // 900), 900) * 500
    active = setpoint + rng.normal(0, 3, n).round()
    genset = np.where((hour > 18) & (hour < 18.5), 8000 + rng.normal(0, 5, n).round(), 0)
    bought = load - active - pv - genset
    zero = np.zeros(n)
    columns = (second, zero, zero + 3, setpoint == 0, zero, setpoint, active, bought,
               229_000 - bought // 4 + rng.normal(0, 30, n).round(), 50_000 + rng.normal(0, 3, n).round(),
               500 + 300 * np.sin(hour / 4), zero + 30_000, zero + 30_000, load, pv, genset, second // 900,
               60_000 - 1000 * (second % 10), 4200 + rng.integers(0, 40, n), 90_000 - 16 * (second % 300))  # fmt: skip
    return np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)


def write(folder: Path, days: int) -> None:
    import duckdb
    import pandas

    from forerun.store import telemetry

    base = duckdb.connect()
    for number in range(days):
        rows = day_of(number)
        telemetry.append(folder / "year.frt", START_S + 86_400 * number, rows)
        frame = pandas.DataFrame(rows.astype(np.float32), columns=NAMES)
        frame.insert(0, "utc_s", START_S + 86_400 * number + np.arange(86_400))
        base.register("frame", frame)
        base.execute(f"COPY frame TO '{folder}/day-{number:03d}.parquet' (FORMAT parquet, COMPRESSION zstd)")
        base.unregister("frame")


PEAK = """
def peak_mib():  # of this process; rusage would count what its parent held before
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
"""
OURS = PEAK + """
import sys, time
from pathlib import Path
import numpy as np
from forerun.store import telemetry
path, days, way = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
grid = 20.0 + np.arange(24 * days) % 24
began = time.perf_counter()
grams = telemetry.emissions_g(getattr(telemetry, way)(path, (7, 15)), grid, 874.0)
print(time.perf_counter() - began, peak_mib(), grams.sum())
"""
THEIRS = PEAK + """
import sys, time
import duckdb
base = duckdb.connect()
began = time.perf_counter()
rows = base.execute(f'''SELECT hour, greatest(import_ws, 0) / 3.6e6 * (20 + hour % 24) + genset_ws / 3.6e6 * 874.0
 FROM (SELECT (utc_s - {sys.argv[3]}) // 3600 AS hour, sum(pcc_import_w::DOUBLE) AS import_ws,
 sum(genset_w::DOUBLE) AS genset_ws FROM '{sys.argv[1]}/day-*.parquet' GROUP BY hour) ORDER BY hour''').fetchall()
print(time.perf_counter() - began, peak_mib(), sum(row[1] for row in rows))
"""


def measured(code: str, *arguments: str) -> tuple[float, float, float]:
    """Best of three: seconds, MiB of memory at most, grams in total."""
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        runs.append(tuple(map(float, done.stdout.split())))
    return min(runs)


def telemetry_year(days: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="forerun-bench-") as name:
        folder = Path(name)
        write(folder, days)
        rows_s, rows_mib, grams = measured(OURS, str(folder / "year.frt"), str(days), "column_hours")
        roll_s, roll_mib, rolled = measured(OURS, str(folder / "year.frt"), str(days), "rolled_up")
        duck_s, duck_mib, theirs = measured(THEIRS, str(folder), str(days), str(START_S))
        parquet = sum(path.stat().st_size for path in folder.glob("*.parquet"))
        assert abs(grams - theirs) < 1e-6 * abs(theirs) and abs(grams - rolled) < 1e-9 * abs(grams), (grams, theirs)
        return {"bench": "telemetry_year", "rows": days * 86_400, "seconds": round(rows_s, 3),
                "mib": round(rows_mib), "rollup_ms": round(1000 * roll_s, 1), "rollup_mib": round(roll_mib),
                "at_rest_mb": round((folder / "year.frt").stat().st_size / 1e6, 1), "duckdb_seconds": round(duck_s, 3),
                "duckdb_mib": round(duck_mib), "parquet_mb": round(parquet / 1e6, 1)}  # fmt: skip


def report_year() -> dict:
    """A site-year of 15-minute records, from the journal on disk to the canonical bytes."""
    from forerun import config
    from forerun.carbon import factors
    from forerun.evidence import hashtree
    from forerun.report import statement
    from forerun.store.journal import read
    from forerun_verify.check import _figures
    from forerun_verify.journal import read as read_again

    with tempfile.TemporaryDirectory(prefix="forerun-bench-") as name:
        path = Path(name) / "journal.forerun"
        site_journal.write(path, 366 * 96)
        site = config.load(config.EXAMPLE)
        began = time.perf_counter()
        document = statement.statement(site, list(read(path)), factors.load(), START_S, START_S + 366 * 86_400)
        data = hashtree.canonical(document)
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        assert _figures(document, read_again(path)[0]) == []
        return {"bench": "report_year", "intervals": len(document["intervals"]["rows"]), "seconds": round(seconds, 2),
                "verify_seconds": round(time.perf_counter() - began, 2), "json_mb": round(len(data) / 1e6, 1),
                "residual": document["results"]["residual"]["value"]}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=365)
    given = parser.parse_args()
    print(json.dumps(report_year()), flush=True)
    print(json.dumps(telemetry_year(given.days)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
