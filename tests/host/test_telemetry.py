"""Telemetry at rest: what goes in comes out, sums included, and half a block is refused."""

import numpy as np
import pytest

from forerun import telemetry
from forerun.errors import Trouble


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
