"""Forecasts by well-kept libraries, to stand beside ours in a backtest: those of the extra `peers`, when installed.

Each is a function from the past (n,) of 5-minute means to a Forecast of the next 24 h.
"""

import importlib.util
from collections.abc import Callable

import numpy as np

from forerun.forecast.model import DAY_S, LEVELS, Forecast

STEP_S = 300
DAY = DAY_S // STEP_S
_MARKS = np.array([1, 3, 6, 12, 24, 48, 96, 144, 216, 288])  # leads that a tree model is fitted at
_LAGS = np.array([1, 2, 3, 6, 12, 24, 72, 144, 288])
_ROWS = 2500
_KEEP = 3  # origins that a tree model is kept for: a day


def installed() -> dict[str, Callable[[np.ndarray], Forecast]]:
    """The models whose library is here, by name."""
    return {name: make() for name, (module, make) in _MODELS.items() if importlib.util.find_spec(module)}


def missing() -> list[str]:
    """The names of the others."""
    return [name for name, (module, _) in _MODELS.items() if not importlib.util.find_spec(module)]


class LightGbm:
    """Gradient-boosted trees for each of three quantiles at each of ten leads, fitted anew once a day."""

    def __init__(self):
        self._age, self._models = 0, {}

    def fit(self, past: np.ndarray) -> None:
        """Before each forecast; most of the time the last fit is young enough."""
        if self._age % _KEEP == 0:
            self._models = {int(lead): self._fitted(past, int(lead)) for lead in _MARKS}
        self._age += 1

    def __call__(self, past: np.ndarray) -> Forecast:
        now = np.array([len(past)])
        seen = np.array([[model.predict(_rows(past, now, lead), num_threads=1)[0] for model in models]
                         for lead, models in self._models.items()])  # fmt: skip
        low, middle, high = np.sort([np.interp(np.arange(1, DAY + 1), _MARKS, level) for level in seen.T], axis=0)
        return Forecast(STEP_S, low, middle, high, "LightGBM, direct quantiles")

    def _fitted(self, past: np.ndarray, lead: int) -> list:
        import lightgbm

        at = np.arange(8 * DAY if len(past) > 12 * DAY else min(2 * DAY, (len(past) - lead) // 2), len(past) - lead + 1)
        at = at[:: max(1, len(at) // _ROWS)]
        rows = lightgbm.Dataset(_rows(past, at, lead), past[at + lead - 1], free_raw_data=False,
                                params={"num_threads": 1, "verbose": -1})
        return [lightgbm.train({"objective": "quantile", "alpha": level, "learning_rate": 0.08, "num_leaves": 15,
                                "min_data_in_leaf": 30, "num_threads": 1, "verbose": -1}, rows, 80)
                for level in LEVELS]  # fmt: skip


def _rows(past: np.ndarray, at: np.ndarray, lead: int) -> np.ndarray:
    """(m, p) last values and means, the target's time of day on earlier days, and its place in the day."""
    sums = np.concatenate([[0.0], np.cumsum(past)])
    target = at + lead - 1
    days = [target - DAY * day for day in (1, 2, 7)]
    columns = [*(past[np.maximum(at - lag, 0)] for lag in _LAGS),
               *((sums[at] - sums[np.maximum(at - width, 0)]) / np.minimum(at, width) for width in (12, 36, 288)),
               *(past[np.clip(day, 0, at - 1)] for day in days), target % DAY]  # fmt: skip
    return np.stack(columns, axis=1)


class Mstl:
    """Trend and daily season apart (MSTL), the rest by exponential smoothing, with its own intervals."""

    def __call__(self, past: np.ndarray) -> Forecast:
        from statsforecast.models import MSTL, AutoETS

        model = MSTL(season_length=DAY, trend_forecaster=AutoETS(model="ZZN"))
        got = model.forecast(y=past[-14 * DAY :].astype(float), h=DAY, level=[80])
        return Forecast(STEP_S, got["lo-80"], got["mean"], got["hi-80"], "statsforecast MSTL with AutoETS")


_MODELS = {"lightgbm": ("lightgbm", LightGbm), "statsforecast_mstl": ("statsforecast", Mstl)}
