"""A meter with a pulse output (S0, EN 62053-31): energy by counting, power by the time between two pulses."""

MASK = 0x3FFF_FFFF
SHORTEST_MS = 30  # EN 62053-31: a pulse lasts 30 ms at least; what comes sooner is a bouncing contact
IDLE_MS = 600_000


class PulseMeter:
    """`pulse(now_ms)` for each edge; then `energy_wh` since boot, and `power_w(now_ms)`. Counts one direction only."""

    def __init__(self, pulses_per_kwh):
        if not 10 <= pulses_per_kwh <= 10_000:
            raise ValueError("pulses_per_kwh = %d is outside 10 to 10000" % pulses_per_kwh)
        self._per_kwh = pulses_per_kwh
        self._joules = 3_600_000 // pulses_per_kwh
        self._rest = 0
        self._last_ms = -1
        self._interval_ms = 0
        self.energy_wh = 0
        self.bounces = 0

    def pulse(self, now_ms):
        """An edge came in at `now_ms` (modulo 2**30)."""
        if self._last_ms >= 0:
            interval_ms = (now_ms - self._last_ms) & MASK
            if interval_ms < SHORTEST_MS:
                self.bounces = min(self.bounces + 1, MASK)
                return
            self._interval_ms = interval_ms
        self._last_ms = now_ms
        self._rest += 1000
        self.energy_wh = (self.energy_wh + self._rest // self._per_kwh) & MASK
        self._rest %= self._per_kwh

    def power_w(self, now_ms):
        """Power in W >= 0: that of the last interval, less once the next pulse is overdue, 0 after ten minutes."""
        if self._interval_ms == 0:
            return 0
        since_ms = (now_ms - self._last_ms) & MASK
        if since_ms >= IDLE_MS:
            self._interval_ms = 0
            return 0
        return self._joules * 1000 // max(self._interval_ms, since_ms)
