"""Telemetry at rest: what goes in comes out, sums included, and half a block is refused."""

import json
from decimal import Decimal

import numpy as np
import pytest
from typer.testing import CliRunner

import site_journal
from forerun.cli import app
from forerun.errors import Trouble, WrongUsage
from forerun.store import telemetry
from forerun_wire.names import TELEMETRY_FIELDS


def rows(seed: int, hours: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = hours * 3600
    return np.stack([np.full(n, 7), np.arange(n), rng.integers(-9000, 9000, n), rng.integers(-100, 100, n).cumsum(),
                     rng.integers(-(1 << 40), 1 << 40, n), rng.integers(0, 200, n)], axis=1)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_sums_from_rows_and_from_the_roll_up_are_those_of_what_was_written(tmp_path, seed):
    path, days = tmp_path / "year", [rows(seed), rows(seed + 10, 3)]
    for index, day in enumerate(days):
        telemetry.append(path, 7200 * index, day)
    wanted = [day.reshape(-1, 3600, day.shape[1]).sum(axis=1) for day in days]
    for read in (telemetry.column_hours, telemetry.rolled_up):
        found = list(read(path, range(6)))
        assert [start for start, _ in found] == [0, 7200]
        for (_, sums), expected in zip(found, wanted, strict=True):
            assert (sums == expected).all()
        assert (next(iter(read(path, (3, 1))))[1] == wanted[0][:, [3, 1]]).all()


def test_emissions_by_the_hour(tmp_path):
    power = np.tile([[2000, 500]], (7200, 1))
    telemetry.append(tmp_path / "year", 0, power)
    grams = telemetry.emissions_g(telemetry.rolled_up(tmp_path / "year", (0, 1)), np.array([100.0, 50.0]), 800.0)
    assert grams == pytest.approx([2 * 100 + 0.5 * 800, 2 * 50 + 0.5 * 800])


def test_half_a_block_and_foreign_bytes_are_refused(tmp_path):
    path = tmp_path / "year"
    telemetry.append(path, 0, rows(1))
    data = path.read_bytes()
    for bad in (data[:-1], data[:10], b"x" * 100):
        path.write_bytes(bad)
        with pytest.raises(Trouble):
            list(telemetry.rolled_up(path, (0,)))
    with pytest.raises(ValueError, match="whole hours"):
        telemetry.append(path, 0, rows(1)[:-1])


def second(utc_s: int, width: int = 3) -> list[int]:
    return [utc_s % 977, -(utc_s % 13), utc_s % 5][:width]


def test_a_recorder_keeps_seconds_over_hours_days_years_and_restarts(tmp_path):
    """Two days around New Year with a silence, a restart within an hour, and one without a clean end."""
    folder, start = tmp_path / "t", 1_704_067_200 - 7200
    wanted = [start + second for second in range(7000)] + [start + 7200 + n for n in range(1000)]
    recorder = telemetry.Recorder(folder, 3)
    for utc_s in wanted[:5000]:
        recorder.put(utc_s, second(utc_s))
    recorder.flush()
    recorder = telemetry.Recorder(folder, 3)
    for utc_s in wanted[5000:]:
        recorder.put(utc_s, second(utc_s))
    recorder.put(wanted[-1], second(wanted[-1]))
    assert {path.name for path in folder.iterdir()} == {"2023.frt", "2024-01-01.hours"}
    # Without a flush the last minutes are lost, and nothing else.
    found = rows_of(folder)
    assert 0 < len(wanted) - len(found) < telemetry.FLUSH_S
    recorder.flush()
    assert rows_of(folder) == {utc_s: second(utc_s) for utc_s in wanted}
    sums = {start_s + 3600 * index: row for start_s, block in telemetry.hours(folder)
            for index, row in enumerate(block)}  # fmt: skip
    first = [utc_s for utc_s in wanted if utc_s < start + 3600]
    assert sums[start].tolist() == [*np.sum([second(utc_s) for utc_s in first], axis=0), 3600]
    assert sums[start + 3600][-1] == 3400 and sums[start + 7200][-1] == 1000
    part = dict(rows_of(folder, start + 10, start + 20))
    assert list(part) == list(range(start + 10, start + 20))


def rows_of(folder, start_s: int = 0, end_s: int = 1 << 40) -> dict[int, list[int]]:
    return {start + int(index): rows[index, :-1].tolist() for start, rows in telemetry.days(folder, start_s, end_s)
            for index in np.flatnonzero(rows[:, -1])}  # fmt: skip


@pytest.mark.parametrize("keep", [0, 1, 30, 200, 5000])
def test_a_crash_while_a_day_is_folded_or_an_hour_is_written_loses_no_other(tmp_path, keep):
    folder, start = tmp_path / "t", 1_704_067_200
    recorder = telemetry.Recorder(folder, 3)
    for utc_s in range(start, start + 4000):
        recorder.put(utc_s, second(utc_s))
    recorder.flush()
    hours = folder / "2024-01-01.hours"
    kept = hours.read_bytes()
    telemetry.Recorder(folder, 3).put(start + 86_400, second(0))
    year = folder / "2024.frt"
    assert not hours.exists()
    whole = year.read_bytes()
    hours.write_bytes(kept + kept[:keep])  # the crash came before the hours were removed, and tore their end
    year.write_bytes(whole[:-1] if keep % 2 else whole)
    telemetry.Recorder(folder, 3).put(start + 86_401, second(0))
    assert year.read_bytes() == whole and not hours.exists()


def test_export_as_csv_and_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    site, journal = site_journal.site_file(tmp_path), tmp_path / "journal.forerun"
    site_journal.write(journal, 96)
    recorder = telemetry.Recorder(telemetry.folder_of(journal), len(TELEMETRY_FIELDS))
    values = dict.fromkeys(TELEMETRY_FIELDS, 0) | {"pcc_import_w": 2000, "genset_w": 1000, "load_w": 3000}
    for utc_s in range(site_journal.START, site_journal.START + 5400):
        recorder.put(utc_s, list(values.values()))
    recorder.flush()

    def run(*arguments: str):
        return CliRunner().invoke(app, ["export", *arguments, "--site", str(site), "--json"])

    for what, count in (("intervals", 96), ("telemetry", 5400), ("hours", 2)):
        for form in ("csv", "parquet"):
            out = tmp_path / f"{what}.{form}"
            done = run(what, "--format", form, "--out", str(out))
            assert done.exit_code == 0, done.exception
            assert json.loads(done.stdout)["rows"] == count
        lines = (tmp_path / f"{what}.csv").read_text().splitlines()
        table = parquet.read_table(tmp_path / f"{what}.parquet")
        assert len(lines) == count + 1 and table.num_rows == count
        assert lines[0].split(",")[1:] == table.column_names and lines[1].startswith("2024-01-01T00:00:00Z,1704067200")
    first = parquet.read_table(tmp_path / "hours.parquet").to_pylist()[0]
    assert first["known_s"] == 3600 and first["pcc_import_w"] == 2000
    # 2 kWh at 30.75 g and 1 kWh of diesel at 2570.82 g/litre · 0.34 litre/kWh
    assert first["emissions_g"] == Decimal("935.579")
    assert "decimal" in str(parquet.read_table(tmp_path / "intervals.parquet").schema.field("load_g").type)
    done = run("telemetry", "--from", "2024-01-01T00:00:10Z", "--to", "2024-01-01T00:00:20Z", "--out", str(out))
    assert json.loads(done.stdout)["rows"] == 10
    assert isinstance(run("tea").exception, WrongUsage)
