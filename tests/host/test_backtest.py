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
    files = [str(written(tmp_path / f"{seed}.csv", days=10, seed=seed)) for seed in (1, 2)]
    bare = "import sys; sys.modules['lightgbm'] = sys.modules['statsforecast'] = None; "  # as if not installed
    seldom = "from forerun.forecast import backtest; backtest.EVERY = 200; "  # half the origins show as much
    run = [sys.executable, "-c", bare + seldom + "from forerun.cli import main; main()"]
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
    curve = [asked["curve"][str(share)] for share in backtest.ALARM_LEVELS]
    assert curve[3] == asked["forerun_q90"] and curve[0] == asked["forerun_q50"]
    for key in ("foreseen", "alarms", "false_alarms"):  # a higher level cries earlier and more often
        assert [point[key] for point in curve] == sorted(point[key] for point in curve)
    jobs = result["announced_jobs"]["mean_absolute_error_over_mean_load_24_h"]
    told = jobs["told_2_days_ahead"]
    assert told["every_job_known"] <= told["forerun"] < 1.2 * told["every_job_known"] < told["without_announcements"]
    for case in jobs.values():
        assert max(case["unannounced_alone"], case["every_job_known"]) <= case["both_of_these"] + 0.01
    assert told["unannounced_alone"] == 0 < jobs["told_0_to_24_h_ahead"]["unannounced_alone"]
    times = next(iter(result["files"].values()))["times"]
    assert times["forerun"]["fit_s"] > 0 and times["forerun"]["predict_ms"] > 0 == times["persistence"]["fit_s"]
    assert jobs["told_0_to_24_h_ahead"]["forerun"] < jobs["told_0_to_24_h_ahead"]["without_announcements"]
    assert result["not_installed"] == ["lightgbm", "statsforecast_mstl"]


def test_the_table_fits_a_terminal_of_80_columns_and_no_word_is_cut(capsys, tmp_path):
    scores = {1: {"mase": 12.345, "pinball": 0.1, "coverage": 0.8}}
    scores |= {12: scores[1], 288: scores[1]}
    models = ("forerun", "persistence", "seasonal_naive", "statsforecast_mstl")
    naive = {"foreseen": 1, "missed": 0, "alarms": 2, "false_alarms": 1}
    backtest.show({
        "summary": dict.fromkeys(models, scores), "not_installed": [],
        "files": {"a.csv": {"note": "row 5 is late", "origins": 9,
                            "times": {model: {"fit_s": 12.3, "predict_ms": 1234.5} for model in models}}},
        "surges": {"surges": 1, "forerun_q90": naive, "forerun_q50": naive, "seasonal_naive": naive},
        "announced_jobs": {"mean_absolute_error_over_mean_load_24_h": {"told_0_to_24_h_ahead": {"forerun": 0.2}}},
    })  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.split(" ")[0] in models]
    assert len(rows) == 4 and max(map(len, rows)) <= 80
    assert rows[3].split() == ["statsforecast_mstl", *["12.345"] * 3, *["0.100"] * 3, *["0.800"] * 3]
    assert "statsforecast_mstl: fit 12.30 s, forecast 1234.5 ms of processor time" in lines
    assert "a.csv: 9 origins; row 5 is late" in lines


def test_a_library_that_is_installed_forecasts_beside_ours():
    rng = np.random.default_rng(2)
    load = 10 + 2 * np.sin(np.arange(10 * DAY) / DAY * 2 * np.pi) + 0.2 * rng.normal(size=10 * DAY)
    rule = peers.installed()["lightgbm"]
    rule.fit(load[: 9 * DAY])
    got = rule(load[: 9 * DAY])
    assert got.q50.shape == (DAY,) and np.all(got.q10 <= got.q50) and np.all(got.q50 <= got.q90)
    assert np.abs(got.q50 - load[9 * DAY :]).mean() < 0.5


def test_a_library_is_fitted_to_three_days_and_a_shorter_series_is_refused_before(tmp_path):
    load = written(tmp_path / "week.csv", days=8)
    rule = peers.installed()["lightgbm"]
    rule.fit(np.arange(3 * DAY) % DAY * 1.0)
    assert np.isfinite(rule(np.arange(3 * DAY) % DAY * 1.0).q50).all()
    load.write_text("\n".join(load.read_text().splitlines()[: 7 * DAY]))  # a row less than a week
    with pytest.raises(WrongUsage, match="too short; a backtest needs a week"):
        backtest.backtest([load])


@pytest.mark.filterwarnings("error")
def test_a_load_that_is_never_there_has_scores_that_are_numbers(monkeypatch):
    monkeypatch.setattr(backtest, "LEADS_H", {"told_2_days_ahead": (48, 48)})
    scores = backtest._announced(np.zeros(7 * DAY), np.array([6 * DAY]), lambda share: None)
    json.dumps(scores, allow_nan=False)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert peers.installed() == {} and peers.missing() == ["lightgbm", "statsforecast_mstl"]


def test_the_last_days_are_scored_and_only_they():
    assert list(backtest.origins(30 * DAY)) == list(range(23 * DAY, 29 * DAY, 100))
    assert backtest.origins(14 * DAY)[0] == 10 * DAY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load\n1\nx\n", "row 3 ends with no number"),
        ("", "there is no load in it"),
        ("load\n", "there is no load in it"),
        ("time,load\n0,1\n300\n", "row 3 ends with no number that a load can be"),
        ("load\n1\n1e308\n", "row 3 ends with no number that a load can be"),
        ('load\n"' + 200_000 * "1", "cannot be read as CSV"),
        ("load\n1\n2\n", "a.csv: a series of 0.0 days is too short"),
        ("utc_s,load\n1780000200,1\n1780003800,2\n", "rows are 3600 s apart; a backtest needs means of 5 min"),
        ("time,load\n2026-03-01T00:10Z,1\n2026-03-01T00:15Z,1\n2026-02-01T00:00Z,2\n", "row 4 is of an earlier time"),
        ("when,load\n2026-03-01T00:00Z,1\n2026-03-01T01:00Z,1\n", "rows are 3600 s apart"),
        ("utc_s,load\n1780000800,1\n1780000500,1\n1780000200,1\n", "row 3 is of an earlier time .* the oldest first"),
        ("load\n1\n-0.5\n", "row 3 ends with -0.5; a load is not below 0"),
        ("time;load\n1;2,5\n2;2,7\n", "separated by semicolons"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(WrongUsage, match=said):
        backtest.backtest([tmp_path / "a.csv"])


def test_a_long_gap_is_told_beside_the_scores(tmp_path):
    """The rows after it are of another time of day than they seem; whoever reads the scores decides what they say."""
    (tmp_path / "a.csv").write_text("utc_s,load\n1780000200,1\n1780000500,2\n1780000800,3\n1780030800,4\n")
    (tmp_path / "b.csv").write_text("load\n1\n2\n3\n4\n")
    assert backtest._series(tmp_path / "b.csv")[1] == ""
    values, note = backtest._series(tmp_path / "a.csv")
    assert list(values) == [1, 2, 3, 4] and "row 5 comes 8.3 h after the one before (gaps of more than 2 h: 1)" in note
