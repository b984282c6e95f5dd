"""The backtest: what it scores, from files, on the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from forerun.errors import WrongUsage
from forerun.forecast import backtest

DAY = 288


def written(path, days=14, seed=1):
    rng = np.random.default_rng(seed)
    n = days * DAY
    load = (
        10
        + 2 * np.sin(np.arange(n) / DAY * 2 * np.pi)
        + np.convolve(rng.normal(size=n + 29), np.ones(30) / 30, "valid")
    )
    path.write_text("time,load\n" + "".join(f"{index},{value:.4f}\n" for index, value in enumerate(load)))
    return path


def test_scores_of_two_files_on_the_command_line(tmp_path):
    files = [str(written(tmp_path / f"{seed}.csv", seed=seed)) for seed in (1, 2)]
    command = [sys.executable, "-c", "from forerun.cli import main; main()", "forecast", "backtest", *files, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    ours, naive = result["summary"]["forerun"], result["summary"]["seasonal_naive"]
    assert set(ours) == {"1", "12", "288"} and list(result["files"]) == files
    assert ours["288"]["mase"] < 0.9 * naive["288"]["mase"]
    assert 0.6 < ours["288"]["coverage"] < 0.95
    unannounced = result["files"][files[0]]["surges"]
    assert unannounced["foreseen"] + unannounced["missed"] == unannounced["surges"] > 0
    assert unannounced["foreseen"] >= unannounced["missed"]  # the load of these files has a shape that repeats


def test_the_last_days_are_scored_and_only_they():
    assert list(backtest.origins(30 * DAY)) == list(range(23 * DAY, 29 * DAY, 100))
    assert backtest.origins(14 * DAY)[0] == 10 * DAY


@pytest.mark.parametrize(
    ("text", "said"),
    [("load\n1\nx\n", "row 3 ends with no number"), ("", "row 1 ends"), ("load\n1\n2\n", "too short")],
)
def test_a_file_that_cannot_be_scored_is_refused(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(WrongUsage, match=said):
        backtest.backtest([tmp_path / "a.csv"])
