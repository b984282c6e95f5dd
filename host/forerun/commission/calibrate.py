"""Gain and offset of a measurement against a reference instrument, with the uncertainty of both."""

import math
import statistics
from dataclasses import asdict, dataclass

import numpy as np

from forerun.commission.desk import Desk

QUANTITIES = {
    "pcc_import_w": "W", "active_power_w": "W", "pcc_voltage_mv": "mV", "pv_w": "W", "genset_w": "W",
}  # fmt: skip
READ_S = 10.0
HOLD_S = 300  # for a person to read the reference
SETTLE_S = 3.0
SPREAD_MIN = 0.2  # of the largest reading: closer together, readings say nothing of an offset
GAIN_MAX = 0.02  # how far a gain may be from 1 before the instrument needs attention
COVERAGE = 2.0  # k of the expanded uncertainties: about 95 %


@dataclass(frozen=True, slots=True)
class Reading:
    """One comparison: the board's mean, the reference, and the standard uncertainty of their difference."""

    board: float
    reference: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Fit:
    """reference = gain * board + offset; uncertainties expanded, k = 2. offset_uncertainty None: offset taken as 0."""

    gain: float
    gain_uncertainty: float
    offset: float
    offset_uncertainty: float | None
    residual_max: float
    readings: int

    @property
    def passed(self) -> bool:
        return abs(self.gain - 1) - self.gain_uncertainty <= GAIN_MAX

    def as_dict(self) -> dict:
        return {**asdict(self), "passed": self.passed}


def capture(desk: Desk, quantity: str, held_w: int, reference: float, accuracy: float) -> Reading:
    """The board's mean over READ_S beside a reference reading, with the battery held at `held_w`; `accuracy` is the
    reference's half-width, same unit."""
    desk.hold(held_w)
    desk.wait(SETTLE_S)
    values = [report[quantity] for report in desk.reports(READ_S)]
    scatter = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    # Type A of the board's mean, type B (rectangular) of the reference: GUM, JCGM 100:2008, 4.2 and 4.3.7.
    return Reading(statistics.fmean(values), reference, math.hypot(scatter, accuracy / math.sqrt(3)))


def fit(readings: list[Reading]) -> Fit:
    """Weighted least squares; gain alone when the readings lie too close together. ValueError without a reading other
    than 0."""
    x, y, u = (np.array([getattr(one, name) for one in readings]) for name in ("board", "reference", "uncertainty"))
    if not readings or not np.any(x):
        raise ValueError("no reading other than 0")
    u = np.maximum(u, 1e-9 * np.max(np.abs(y)) + 1e-12)
    with_offset = np.ptp(x) >= SPREAD_MIN * np.max(np.abs(x))
    columns = np.stack([x, np.ones_like(x)] if with_offset else [x], axis=1)
    covariance = np.linalg.inv(columns.T @ (columns / u[:, None] ** 2))
    solution = covariance @ columns.T @ (y / u**2)
    residuals = y - columns @ solution
    freedom = len(x) - columns.shape[1]
    if freedom > 0:  # readings that scatter more than their uncertainties say so themselves
        covariance = covariance * max(1.0, float(np.sum((residuals / u) ** 2)) / freedom)
    bounds = COVERAGE * np.sqrt(np.diag(covariance))
    return Fit(
        float(solution[0]), float(bounds[0]), float(solution[1]) if with_offset else 0.0,
        float(bounds[1]) if with_offset else None, float(np.max(np.abs(residuals))), len(readings),
    )  # fmt: skip
