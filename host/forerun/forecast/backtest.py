"""How good a forecast is: rolling origins over a series that is known, every model by the same errors."""

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from forerun.errors import WrongUsage
from forerun.forecast.model import DAY_S, LEVELS, Forecast, LoadModel, forecast_load

STEP_S = 300
DAY = DAY_S // STEP_S
HORIZONS = (1, 12, 288)
EVERY = 100  # steps between two origins
ALARM_EVERY = 6  # steps between two questions whether a surge is coming


def backtest(files: list[Path]) -> dict:
    """Scores of every file and their summary by model: {horizon: {mase, pinball, coverage}}, and times.

    The last seven days of each file are forecast (of less than three weeks the last four), 24 h at a time, from what
    lies before; MASE is over the error of "same time yesterday" before that window. A file is CSV whose last column
    that holds numbers is the load, oldest first, 5 min a row.
    """
    per_file = {str(file): score_series(_series(file)) for file in files}
    models = next(iter(per_file.values()))["models"]
    summary = {model: _summary([scored["models"][model] for scored in per_file.values()]) for model in models}
    return {"files": per_file, "summary": summary}


def origins(n: int) -> np.ndarray:
    """First forecast index of each rolling origin in a series of n steps."""
    return np.arange(n - (7 if n >= 21 * DAY else 4) * DAY, n - max(HORIZONS), EVERY)


def score_series(values: np.ndarray) -> dict:
    """{"origins", "fit_s", "predict_ms", "models": {name: {horizon: scores}}} of one series of 5-minute means."""
    starts, horizon = origins(len(values)), max(HORIZONS)
    first = starts[0] if len(starts) else 0
    if first < 2 * DAY:
        raise WrongUsage(f"a series of {len(values) / DAY:.1f} days is too short; a backtest needs a week")
    scale = float(np.abs(values[DAY:first] - values[: first - DAY]).mean()) or 1.0
    forecasts: dict[str, list[Forecast]] = {"forerun": [], "persistence": [], "seasonal_naive": []}
    fit_s, predict_ms, early = [], [], None
    for start in starts:
        past = values[:start]
        # Origins lie eight hours apart, and a running host fits its model every six.
        began = time.perf_counter()
        model = LoadModel(past, STEP_S, horizon)
        early = early or model
        fit_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        forecasts["forerun"].append(forecast_load(past, STEP_S, horizon, model=model))
        predict_ms.append(1000 * (time.perf_counter() - began))
        forecasts["persistence"].append(_naive(past, lambda at, lead: values[at - 1]))
        forecasts["seasonal_naive"].append(_naive(past, lambda at, lead: values[at + lead - 1 - DAY]))
    actual = np.stack([values[start : start + horizon] for start in starts])
    return {
        "origins": len(starts),
        "fit_s": round(float(np.median(fit_s)), 4),
        "predict_ms": round(float(np.median(predict_ms)), 3),
        "surges": _surges(values, first, early),
        "models": {name: _scores(actual, rows, scale) for name, rows in forecasts.items()},
    }


def _surges(values: np.ndarray, first: int, model: LoadModel) -> dict:
    """Surges that nobody announced, from index `first` on: how many were foreseen, missed, and alarms that were false.

    A surge is a load above the 95th percentile of the past after an hour below it; an alarm, from a step below it, is a
    0.9 quantile above it within the coming hour. `model` was fitted before `first`.
    """
    threshold, hour = float(np.quantile(values[:first], 0.95)), DAY // 24
    above = values > threshold
    starts = [at for at in range(first + hour, len(values)) if above[at] and not above[at - hour : at].any()]
    asked = range(first, len(values) - hour, ALARM_EVERY)
    alarms = [at for at in asked if not above[at - 1] and model.forecast(values[:at], hour).q90.max() > threshold]
    foreseen = sum(any(at <= start < at + hour for at in alarms) for start in starts)
    false = sum(not above[at : at + hour].any() for at in alarms)
    return {"surges": len(starts), "foreseen": foreseen, "missed": len(starts) - foreseen, "alarms": len(alarms),
            "false_alarms": false}  # fmt: skip


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


def _series(file: Path) -> np.ndarray:
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = [row for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError) as problem:
        raise WrongUsage(f"{file}: cannot be read as CSV ({problem})") from problem
    values = [_number(row[-1]) for row in rows[1:]]
    known = np.array(values, dtype=float)
    if len(known) == 0 or not np.isfinite(known).all():
        bad = 2 + int(np.flatnonzero(~np.isfinite(known))[0]) if len(known) else 1
        raise WrongUsage(f"{file}: row {bad} ends with no number; the last column must be the load")
    return known


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def show(result: dict) -> None:
    """The summary as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "model", *(f"{title} {name}" for name in ("5 min", "1 h", "24 h") for title in ("MASE", "pinball", "coverage"))
    )
    for model, scores in result["summary"].items():
        table.add_row(model, *(f"{scores[h][key]:.3f}" for h in HORIZONS for key in ("mase", "pinball", "coverage")))
    Console().print(table)
    for file, scored in result["files"].items():
        Console().print(
            f"{file}: fit {scored['fit_s']} s, predict {scored['predict_ms']} ms, {scored['origins']} origins"
        )
