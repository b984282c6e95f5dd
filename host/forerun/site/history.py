"""What a site's meters have shown: the load and PV that forecasts are made from, out of the board's intervals."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import numpy as np

FORECAST_STEP_S = 300
HISTORY_DAYS = 28
_NAN = float("nan")
_REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")


@dataclass
class History:
    """Interval means that forecasts are made from: (n,) each, index = interval start `start_s + i * FORECAST_STEP_S`,
    UTC. NaN where nothing is known."""

    start_s: int | None = None
    load_w: list[float] = field(default_factory=list)
    pv_w: list[float] = field(default_factory=list)
    _peak_w: float = 0.0  # the highest import of an hour in _month, as it is billed
    _month: tuple[int, int] | None = None
    _hour: tuple[int, float] = (-1, 0.0)  # number of the running hour, and Wh imported in it
    _last: tuple[int, list[int]] | None = None  # end of the last interval, and its cumulative registers

    def put(self, start_s: int, load_w: float, pv_w: float) -> None:
        """Set the step that holds `start_s`; steps in between that nobody measured stay NaN."""
        if self.start_s is None:
            self.start_s = start_s // FORECAST_STEP_S * FORECAST_STEP_S
        index = (start_s - self.start_s) // FORECAST_STEP_S
        longest = HISTORY_DAYS * 86400 // FORECAST_STEP_S
        if index < -longest or index >= len(self.load_w) + longest:  # a clock was wrong by weeks: begin anew
            self.start_s, self.load_w, self.pv_w = start_s, [], []
            index = 0
        if index < 0:
            return
        while len(self.load_w) <= index:
            self.load_w.append(_NAN)
            self.pv_w.append(_NAN)
        self.load_w[index], self.pv_w[index] = load_w, pv_w
        surplus = len(self.load_w) - longest
        if surplus > 0:
            del self.load_w[:surplus], self.pv_w[:surplus]
            self.start_s += surplus * FORECAST_STEP_S

    def learn(self, end_s: int, interval: dict, zone: tzinfo = UTC) -> None:
        """Load, PV and import of an interval that ended at `end_s` (UTC), from the difference of its cumulative
        registers; months are those of the `zone`."""
        registers = [interval[name] for name in _REGISTERS]
        length_s = interval["interval_s"]
        before, self._last = self._last, (end_s, registers)
        if before is None or not 0.5 * length_s <= end_s - before[0] <= 1.5 * length_s:
            return
        grown = [now - then for now, then in zip(registers, before[1], strict=True)]
        if min(grown) < 0:
            return
        imported, exported, charged, discharged, pv, genset = grown
        to_w = 3600 / (end_s - before[0])
        load_w = (imported - exported - charged + discharged + pv + genset) * to_w
        middle_s = (end_s + before[0]) // 2
        self.put(middle_s // FORECAST_STEP_S * FORECAST_STEP_S, max(0.0, load_w), pv * to_w)
        self.bill(middle_s, imported, zone)

    def bill(self, at_s: int, import_wh: float, zone: tzinfo = UTC) -> None:
        """So much was imported around `at_s` (UTC), all of it in one hour."""
        month, (hour, so_far_wh) = _month_of(at_s, zone), self._hour
        if month != self._month:
            self._month, self._peak_w = month, 0.0
        self._hour = at_s // 3600, import_wh + (so_far_wh if at_s // 3600 == hour else 0.0)
        self._peak_w = max(self._peak_w, self._hour[1])

    def peak_import_w(self, now_s: int, zone: tzinfo = UTC) -> float:
        """The highest mean import of an hour so far in the month of `now_s` (UTC) in the `zone`: what is billed in any
        case. A moment's import is more, and billed by nobody."""
        return self._peak_w if _month_of(now_s, zone) == self._month else 0.0

    def until(self, now_s: int) -> tuple[np.ndarray, np.ndarray]:
        """(load_w, pv_w) up to the last whole step before `now_s`, NaN where a step is missing."""
        count = 0 if self.start_s is None else max(0, (now_s - self.start_s) // FORECAST_STEP_S)
        pad = [_NAN] * max(0, count - len(self.load_w))
        return np.array((self.load_w + pad)[:count]), np.array((self.pv_w + pad)[:count])


def _month_of(at_s: int, zone: tzinfo) -> tuple[int, int]:
    local = datetime.fromtimestamp(at_s, zone)
    return local.year, local.month


def month_left_s(now_s: int, zone: tzinfo = UTC) -> float:
    """Seconds until the next month of the `zone` begins."""
    local = datetime.fromtimestamp(now_s, zone)
    after = datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=zone)
    return after.timestamp() - now_s
