"""How good a forecast is: rolling origins over a series that is known, every model by the same errors."""

import contextlib
import csv
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forerun.compute.load import Announcement
from forerun.errors import WrongUsage
from forerun.forecast import peers
from forerun.forecast.jobs import JobModel, Told, jobs_w
from forerun.forecast.model import DAY_S, LEVELS, Forecast, LoadModel, forecast_load

STEP_S = 300
DAY = DAY_S // STEP_S
HORIZONS = (1, 12, 288)
EVERY = 100  # steps between two origins
_MOST = 1e15  # a load, in whatever unit
_LONGEST_GAP_S = 2 * 3600  # local times jump by an hour
_FIRST_S = 500_000_000  # numbers below it are no seconds since 1970
_NO_FIT_S = 1e-3  # a fit that took less was one of before
ALARM_EVERY = 6  # steps between two questions whether a surge is coming


def backtest(files: list[Path], tick: Callable[[float], None] = lambda share: None) -> dict:
    """Scores of every file and their summary by model: {horizon: {mase, pinball, coverage}}, and times; what the
    forecast alone saw of surges; what announced jobs are worth. tick(share that is done, 0–1).

    The last seven days of each file are forecast (of less than three weeks the last four), 24 h at a time, from what
    lies before; MASE is over the error of "same time yesterday" before that window. A file is CSV with a header, whose
    last column is the load, oldest first, 5 min a row.
    """
    series, per_file = {str(file): _series(file) for file in files}, {}
    for index, (name, (values, note)) in enumerate(series.items()):
        try:
            scored = score_series(values, lambda share, index=index: tick((index + share) / len(series)))
            per_file[name] = {"note": note} | scored
        except WrongUsage as problem:
            raise WrongUsage(f"{name}: {problem}") from problem
    models = next(iter(per_file.values()))["models"]
    return {
        "files": per_file,
        "summary": {model: _summary([scored["models"][model] for scored in per_file.values()]) for model in models},
        "not_installed": peers.missing(),
        "surges": _surges_in_all([scored["surges"] for scored in per_file.values()]),
        "announced_jobs": {"drawn": JOBS_DRAWN, "mean_absolute_error_over_mean_load_24_h": {
            case: {way: round(float(np.mean([scored["announced_jobs"][case][way] for scored in per_file.values()])), 4)
                   for way in ways} for case, ways in next(iter(per_file.values()))["announced_jobs"].items()}},
    }  # fmt: skip


def origins(n: int) -> np.ndarray:
    """First forecast index of each rolling origin in a series of n steps."""
    return np.arange(n - (7 if n >= 21 * DAY else 4) * DAY, n - max(HORIZONS), EVERY)


def score_series(values: np.ndarray, tick: Callable[[float], None] = lambda share: None) -> dict:
    """{"origins", "times": {name: {"fit_s", "predict_ms"}} (medians of processor time; 0 s: nothing is fitted, or with
    every forecast), "models": {name: {horizon: scores}}, …} of one series of 5-minute means."""
    starts, horizon = origins(len(values)), max(HORIZONS)
    first = starts[0] if len(starts) else 0
    if first < 3 * DAY:
        raise WrongUsage(f"a series of {len(values) / DAY:.1f} days is too short; a backtest needs a week")
    scale = float(np.abs(values[DAY:first] - values[: first - DAY]).mean()) or 1.0
    rules = {"persistence": lambda past: _naive(past, lambda at, lead: past[at - 1]),
             "seasonal_naive": lambda past: _naive(past, lambda at, lead: past[at + lead - 1 - DAY]),
             **peers.installed()}  # fmt: skip
    forecasts: dict[str, list[Forecast]] = {"forerun": [], **{name: [] for name in rules}}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in forecasts}
    early = None
    for done, start in enumerate(starts):
        past = values[:start]
        # Origins lie eight hours apart, and a running host fits its model every six.
        model = _timed(times["forerun"][0], LoadModel, past, STEP_S, horizon)
        early = early or model
        forecasts["forerun"].append(_timed(times["forerun"][1], forecast_load, past, STEP_S, horizon, 0.0, model))
        for name, rule in rules.items():
            if hasattr(rule, "fit"):
                _timed(times[name][0], rule.fit, past)
            forecasts[name].append(_timed(times[name][1], rule, past))
        tick(0.7 * (done + 1) / len(starts))
    actual = np.stack([values[start : start + horizon] for start in starts])
    announced = _announced(values, starts[:: max(1, DAY // EVERY)], lambda share: tick(0.7 + 0.2 * share))
    return {
        "origins": len(starts),
        "times": {name: {"fit_s": round(float(np.median([s for s in fit if s > _NO_FIT_S] or [0.0])), 4),
                         "predict_ms": round(1000 * float(np.median(predict)), 3)}
                  for name, (fit, predict) in times.items()},
        "surges": _surges(values, first, early),
        "announced_jobs": announced,
        "models": {name: _scores(actual, rows, scale) for name, rows in forecasts.items()},
    }


SURGE = ("a surge: the load rises above the 0.95 quantile of all before the scored days, after an hour below it; an "
         "alarm: asked every 30 min while below, the forecast is above that within the coming hour; foreseen: "
         "an alarm in the hour before; false: no load above it in the hour after; curve: the same by how far from the "
         "median to the .9 quantile the forecast is taken")  # fmt: skip
ALARM_LEVELS = (0, 0.5, 0.8, 1, 1.2)  # shares of the way from the median to the .9 quantile


def _surges(values: np.ndarray, first: int, model: LoadModel) -> dict:
    """SURGE, from index `first` on, by rule: how many were foreseen, missed, and alarms that were false. The rules are
    the 0.9 quantile and the median of `model`, fitted before `first`, and the same hour of yesterday."""
    threshold, hour = float(np.quantile(values[:first], 0.95)), DAY // 24
    above = values > threshold
    starts = [at for at in range(first + hour, len(values)) if above[at] and not above[at - hour : at].any()]
    asked = [at for at in range(first, len(values) - hour, ALARM_EVERY) if not above[at - 1]]
    made = {at: model.forecast(values[:at], hour) for at in asked}

    def scored(rule: Callable[[int], bool]) -> dict:
        alarms = [at for at in asked if rule(at)]
        foreseen = sum(any(at <= start < at + hour for at in alarms) for start in starts)
        false = sum(not above[at : at + hour].any() for at in alarms)
        return {"foreseen": foreseen, "missed": len(starts) - foreseen, "alarms": len(alarms), "false_alarms": false}

    def reaches(share: float) -> Callable[[int], bool]:
        return lambda at: (made[at].q50 + share * (made[at].q90 - made[at].q50)).max() > threshold

    return {"asked": len(asked), "surges": len(starts), "forerun_q90": scored(reaches(1)),
            "forerun_q50": scored(reaches(0)),
            "seasonal_naive": scored(lambda at: above[at - DAY : at - DAY + hour].any()),
            "curve": {share: scored(reaches(share)) for share in ALARM_LEVELS}}  # fmt: skip


def _surges_in_all(rows: list[dict]) -> dict:
    total = {"definition": SURGE, **{key: sum(row[key] for row in rows) for key in ("asked", "surges")}}

    def summed(scores: list[dict]) -> dict:
        return {key: sum(one[key] for one in scores) for key in scores[0]}

    for rule in ("forerun_q90", "forerun_q50", "seasonal_naive"):
        total[rule] = summed([row[rule] for row in rows])
    total["curve"] = {share: summed([row["curve"][share] for row in rows]) for share in ALARM_LEVELS}
    return total


JOBS_A_DAY, JOBS_SEED = 4, 1
JOB_OF_MEAN, JOB_H = (0.3, 1.0), (0.5, 4.0)
LEADS_H = {"told_2_days_ahead": (48, 48), "told_6_to_48_h_ahead": (6, 48), "told_0_to_24_h_ahead": (0, 24)}
JOBS_DRAWN = {"a_day": JOBS_A_DAY, "power_over_mean_load": JOB_OF_MEAN, "hours": JOB_H, "leads_h": LEADS_H,
              "seed": JOBS_SEED}  # fmt: skip


def _announced(values: np.ndarray, starts: np.ndarray, tick: Callable) -> dict:
    """Mean absolute error over 24 h by mean load, {case of LEADS_H: {way: share}}, with jobs laid over the series and
    announced at their start less a random lead. Ways: what a site forecasts, and would without announcements; the
    series beneath alone, as if every job were known; the jobs alone that nobody had announced yet, as if the series and
    all others were known; and these two together: the announced jobs exactly, and nothing for the others. Jobs come at
    random and seldom, so none is the median of what comes unannounced: no forecast is better there than by luck."""
    n, horizon, rng = len(values), max(HORIZONS), np.random.default_rng(JOBS_SEED)
    count = JOBS_A_DAY * n // DAY
    power = values.mean() * rng.uniform(*JOB_OF_MEAN, count)
    start_s, hours = STEP_S * n * rng.random(count), np.exp(rng.uniform(*np.log(JOB_H), count))
    jobs = [Announcement(f"job-{index}", float(power[index]), float(start_s[index]), float(3600 * hours[index]))
            for index in range(count)]  # fmt: skip
    real = values + jobs_w([Told(0.0, job) for job in jobs], 0.0, STEP_S, n)
    blind = {at: LoadModel(real[:at], STEP_S, horizon).forecast(real[:at], horizon).q50 for at in starts}
    beneath = {at: LoadModel(values[:at], STEP_S, horizon).forecast(values[:at], horizon).q50 for at in starts}
    result = {}
    for done, (case, lead_h) in enumerate(LEADS_H.items()):
        told = [Told(job.start_utc_s - 3600 * lead, job)
                for job, lead in zip(jobs, rng.uniform(*lead_h, count), strict=True)]  # fmt: skip
        wrong = {way: [] for way in ("forerun", "without_announcements", "every_job_known", "unannounced_alone",
                                     "both_of_these")}  # fmt: skip
        for at in starts:
            actual = real[at : at + horizon]
            ours = JobModel(real[:at], STEP_S, horizon, 0.0, told).forecast(real[:at], horizon, 0.0, told).q50
            wrong["forerun"].append(np.abs(actual - ours).mean())
            wrong["without_announcements"].append(np.abs(actual - blind[at]).mean())
            rest = values[at : at + horizon] - beneath[at]
            later = [item for item in told if item.announced_utc_s > STEP_S * at]
            unknown = jobs_w(later, float(STEP_S * at), STEP_S, horizon)
            wrong["every_job_known"].append(np.abs(rest).mean())
            wrong["unannounced_alone"].append(unknown.mean())
            wrong["both_of_these"].append(np.abs(rest + unknown).mean())
        mean = real[starts[0] :].mean() or 1.0
        result[case] = {way: round(float(np.mean(error) / mean), 4) for way, error in wrong.items()}
        tick((done + 1) / len(LEADS_H))
    return result


def _timed(seconds: list[float], act: Callable, *arguments):
    """What `act` returns; its processor time is put to `seconds`."""
    began = time.process_time()
    result = act(*arguments)
    seconds.append(time.process_time() - began)
    return result


def _naive(past: np.ndarray, rule: Callable) -> Forecast:
    """The rule's forecast, with the quantiles of its errors over the last week at a few leads."""
    n, leads = len(past), np.arange(1, max(HORIZONS) + 1)
    middle = np.array([rule(n, lead) for lead in leads])
    at = np.arange(max(DAY + 1, n - 8 * DAY), n - max(HORIZONS), 3)
    marks = np.unique(np.geomspace(1, max(HORIZONS), 12).astype(int))
    wrong = np.array([np.quantile([past[t + lead - 1] - rule(t, lead) for t in at], LEVELS) for lead in marks])
    low, _, high = (np.interp(leads, marks, column) for column in wrong.T)
    return Forecast(STEP_S, middle + low, middle, middle + high, "naive")


def _scores(actual: np.ndarray, forecasts: list[Forecast], scale: float) -> dict:
    made = np.stack([np.stack([item.q10, item.q50, item.q90], axis=1) for item in forecasts])
    levels, scores = np.array(LEVELS), {}
    for horizon in HORIZONS:
        error = actual[:, :horizon, None] - made[:, :horizon]
        pinball = np.maximum(levels * error, (levels - 1) * error).mean() / scale
        inside = (error[..., 0] >= 0) & (error[..., 2] <= 0)
        scores[horizon] = {"mase": float(np.abs(error[..., 1]).mean() / scale), "pinball": float(pinball),
                           "coverage": float(inside.mean())}  # fmt: skip
    return scores


def _summary(rows: list[dict]) -> dict:
    """Geometric mean of MASE and pinball, mean of coverage, by horizon."""
    return {
        horizon: {
            **{
                key: math.exp(np.mean([math.log(max(row[horizon][key], 1e-9)) for row in rows]))
                for key in ("mase", "pinball")
            },
            "coverage": float(np.mean([row[horizon]["coverage"] for row in rows])),
        }
        for horizon in HORIZONS
    }  # fmt: skip


def _series(file: Path) -> tuple[np.ndarray, str]:
    """The load of a file, and what a reader of its scores has to know about its times."""
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = [row for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise WrongUsage(f"{file}: cannot be read as CSV ({problem})") from problem
    if len(rows) < 2:
        raise WrongUsage(f"{file}: there is no load in it; it must have a header and a row for every 5 min")
    if any(";" in cell for row in rows[:2] for cell in row):
        raise WrongUsage(f"{file}: its columns are separated by semicolons; write commas, and points in decimals")
    columns = len(rows[0])
    values = [_number(row[-1]) if len(row) == columns else math.nan for row in rows[1:]]
    known = np.array(values, dtype=float)
    load = np.abs(known) < _MOST  # NaN is not
    if not load.all():
        raise WrongUsage(f"{file}: row {2 + int(load.argmin())} ends with no number that a load can be; the last "
                         "column must be the load")  # fmt: skip
    if known.min() < 0:
        at = int((known < 0).argmax())
        raise WrongUsage(f"{file}: row {2 + at} ends with {known[at]:g}; a load is not below 0")
    named = any(word in rows[0][0].lower() for word in ("time", "utc", "date", "epoch"))
    timed = columns > 1 and (named or math.isnan(_number(rows[1][0])))
    return known, _checked_times(file, [row[0] for row in rows[1:]]) if timed else ""


def _checked_times(file: Path, cells: list[str]) -> str:
    """What there is to say of gaps. Local times step back an hour once a year, rows of an hour may be missing, and
    times in another form are no matter."""
    times = np.array([_time_s(cell) for cell in cells])
    if len(times) < 2 or not (times > _FIRST_S).all():
        return ""
    steps = np.diff(times)
    if (back := steps < -3600).any() or float(np.median(steps)) <= 0:
        number = 3 + int(back.argmax() if back.any() else (steps <= 0).argmax())
        raise WrongUsage(f"{file}: row {number} is of an earlier time than the one before; sort the rows, "
                         "the oldest first")  # fmt: skip
    if (step_s := float(np.median(steps))) != STEP_S:
        raise WrongUsage(f"{file}: its rows are {step_s:g} s apart; a backtest needs means of 5 min")
    gaps = np.flatnonzero(steps > _LONGEST_GAP_S)
    if not len(gaps):
        return ""
    return (f"row {3 + int(gaps[0])} comes {steps[gaps[0]] / 3600:.1f} h after the one before (gaps of more than "
            f"2 h: {len(gaps)}); scored as if there were none, which moves the times of day")


def _time_s(text: str) -> float:
    number = _number(text)
    if math.isnan(number):
        with contextlib.suppress(OverflowError, ValueError):
            at = datetime.fromisoformat(text.strip())
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def show(result: dict) -> None:
    """The summary as a table."""
    from rich.console import Console
    from rich.table import Table

    titles = {"mase": "MASE", "pinball": "pinball", "coverage": "coverage"}
    table = Table("5 min / 1 h / 24 h", *titles.values(), box=None, pad_edge=False)
    for model, scores in result["summary"].items():
        table.add_row(model, *(" ".join(f"{scores[h][key]:.3f}" for h in HORIZONS) for key in titles))
    Console(width=80).print(table)
    for model in result["summary"]:
        spent = [scored["times"][model] for scored in result["files"].values()]
        fit_s, predict_ms = (np.median([row[key] for row in spent]) for key in ("fit_s", "predict_ms"))
        print(f"{model}: fit {fit_s:.2f} s, forecast {predict_ms:.1f} ms of processor time")
    for file, scored in result["files"].items():
        print(f"{file}: {scored['origins']} origins{'; ' * bool(scored['note'])}{scored['note']}")
    surges = result["surges"]
    for rule in ("forerun_q90", "forerun_q50", "seasonal_naive"):
        told = surges[rule]
        Console().print(f"surges without announcement, {rule}: {told['foreseen']} of {surges['surges']} foreseen, "
                        f"{told['false_alarms']} of {told['alarms']} alarms false")  # fmt: skip
    for case, ways in result["announced_jobs"]["mean_absolute_error_over_mean_load_24_h"].items():
        words = ", ".join(f"{way.replace('_', ' ')} {share:.3f}" for way, share in ways.items())
        Console().print(f"jobs {case.replace('_', ' ')}, error over mean load at 24 h: {words}")
    if result["not_installed"]:
        Console().print(f"not installed, so not compared: {', '.join(result['not_installed'])}; "
                        "pip install 'forerun[peers]'", markup=False)  # fmt: skip
