"""When a measurement is too old to act on, said once when it goes and once when it comes back."""


class Freshness:
    """`stale` for one source. A source never heard has its limit as grace before its absence is an event."""

    def __init__(self, lost_code, back_code):
        self._lost_code = lost_code
        self._back_code = back_code
        self._silent_ms = 0
        self._reported = False
        self.stale = True
        self.seen = False

    def step(self, age_ms, limit_ms, dt_ms, events):
        """Judge a measurement `age_ms` old against `limit_ms`; raises the lost and the back event on `events`."""
        self.stale = age_ms > limit_ms
        if not self.stale:
            self.seen = True
            self._silent_ms = 0
            if self._reported:
                self._reported = False
                events.push(self._back_code, age_ms, limit_ms)
            return
        if self._reported:
            return
        self._silent_ms += dt_ms
        if self.seen or self._silent_ms > limit_ms:
            self._reported = True
            events.push(self._lost_code, age_ms, limit_ms)
