"""A given power over time: equally spaced values, held (loads) or joined by straight lines (PV)."""

import math

NEVER = 1 << 62  # a microsecond no clock here reaches: "no event is due"


class Series:
    """Watts over time. Before its first value a series has the first value, after its last the last."""

    __slots__ = ("_last", "_linear", "_values", "start_us", "step_us")

    def __init__(self, start_us: int, step_us: int, values, *, linear: bool = False):
        """`values`: (n,) watts, value i at start_us + i·step_us; held until the next, or linear between them.

        Raises ValueError for no values, a step below 1 ms, or a gap (NaN): filling a gap is the caller's decision.
        """
        if step_us < 1000:
            raise ValueError(f"series step is {step_us} us; 1000 us or more is needed")
        floats = [float(value) for value in values]
        if not floats:
            raise ValueError("series has no values")
        for index, value in enumerate(floats):
            if not math.isfinite(value):
                raise ValueError(f"series value {index} is {value}; fill the gap before giving it to the site")
        self.start_us = int(start_us)
        self.step_us = int(step_us)
        self._values = floats
        self._last = len(floats) - 1
        self._linear = linear

    def at(self, now_us: int) -> tuple[float, float, int]:
        """(watts at now_us, slope in W/us from there, next time in us at which either changes)."""
        index, into_us = divmod(now_us - self.start_us, self.step_us)
        if index < 0:
            return self._values[0], 0.0, self.start_us
        if index >= self._last:
            return self._values[self._last], 0.0, NEVER
        value = self._values[index]
        next_us = now_us - into_us + self.step_us
        if not self._linear:
            return value, 0.0, next_us
        slope = (self._values[index + 1] - value) / self.step_us
        return value + slope * into_us, slope, next_us
