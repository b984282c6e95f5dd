"""The backtest: what it scores, from files, on the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from forerun.errors import WrongUsage
from forerun.forecast import backtest, peers

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
    bare = "import sys; sys.modules['lightgbm'] = sys.modules['statsforecast'] = None; "  # as if not installed
    run = [sys.executable, "-c", bare + "from forerun.cli import main; main()"]
    command = [*run, "forecast", "backtest", *files, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    ours, naive = result["summary"]["forerun"], result["summary"]["seasonal_naive"]
    assert set(ours) == {"1", "12", "288"} and list(result["files"]) == files
    assert ours["288"]["mase"] < 0.9 * naive["288"]["mase"]
    assert 0.6 < ours["288"]["coverage"] < 0.95
    asked = result["surges"]
    for rule in ("forerun_q90", "forerun_q50", "seasonal_naive"):
        assert asked[rule]["foreseen"] + asked[rule]["missed"] == asked["surges"] > 0
        assert asked[rule]["false_alarms"] <= asked[rule]["alarms"] <= asked["asked"]
    assert asked["forerun_q90"]["foreseen"] > asked["forerun_q90"]["missed"]  # the load of these files repeats
    assert "0.95 quantile" in asked["definition"]
    jobs = result["announced_jobs"]["mean_absolute_error_over_mean_load_24_h"]
    told = jobs["told_2_days_ahead"]
    assert told["every_job_known"] <= told["forerun"] < 1.2 * told["every_job_known"] < told["without_announcements"]
    assert jobs["told_0_to_24_h_ahead"]["forerun"] < jobs["told_0_to_24_h_ahead"]["without_announcements"]
    assert result["not_installed"] == ["lightgbm", "statsforecast_mstl"]


def test_a_library_that_is_installed_forecasts_beside_ours():
    rng = np.random.default_rng(2)
    load = 10 + 2 * np.sin(np.arange(10 * DAY) / DAY * 2 * np.pi) + 0.2 * rng.normal(size=10 * DAY)
    got = peers.installed()["lightgbm"](load[: 9 * DAY])
    assert got.q50.shape == (DAY,) and np.all(got.q10 <= got.q50) and np.all(got.q50 <= got.q90)
    assert np.abs(got.q50 - load[9 * DAY :]).mean() < 0.5


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert peers.installed() == {} and peers.missing() == ["lightgbm", "statsforecast_mstl"]


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
