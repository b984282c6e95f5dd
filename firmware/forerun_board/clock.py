"""Board time since boot, in the forms that the rest needs; nothing here reads a timer."""

MASK = 0x3FFF_FFFF


class Clock:
    """`s` and `us` (0 … 999999) never wrap; `ms` and `ticks_us` count modulo 2**30, for differences."""

    def __init__(self):
        self.s = 0
        self.us = 0
        self.ms = 0
        self.ticks_us = 0
        self._ms_rest_us = 0

    def advance(self, delta_us):
        """`delta_us` (0 … 2**29) have passed."""
        self.ticks_us = (self.ticks_us + delta_us) & MASK
        seconds = delta_us // 1_000_000
        us = self.us + delta_us - seconds * 1_000_000
        if us >= 1_000_000:
            us -= 1_000_000
            seconds += 1
        self.s += seconds
        self.us = us
        rest_us = self._ms_rest_us + delta_us
        self.ms = (self.ms + rest_us // 1000) & MASK
        self._ms_rest_us = rest_us % 1000
