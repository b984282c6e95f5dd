"""Slow integral correction of a power held at the PCC, for what the feed-forward does not know."""

INTEGRAL_MS = 2000
ERROR_MAX_W = 1000  # a load step must not wind the integral up before the inverter could answer
TRIM_MAX_W = 5000
FADE_W_PER_S = 250


class Trim:
    """`trim_w` to add to the inverter's power; moves only while its limit binds, and fades otherwise."""

    def __init__(self):
        self._trim_mw = 0
        self.trim_w = 0

    def step(self, error_w, binding, dt_ms):
        """Integrate `error_w` (> 0: more discharge is needed) while `binding`; else let the trim fade."""
        if not binding and self._trim_mw == 0:
            return
        # What a round sees is the answer to the trim of the round before: a quarter of it is critically damped.
        dt_ms = min(dt_ms, INTEGRAL_MS // 4)
        if binding:
            error_w = max(-ERROR_MAX_W, min(ERROR_MAX_W, error_w))
            moved_mw = self._trim_mw + error_w * dt_ms * 1000 // INTEGRAL_MS
            self._trim_mw = max(-1000 * TRIM_MAX_W, min(1000 * TRIM_MAX_W, moved_mw))
        elif self._trim_mw > 0:
            self._trim_mw = max(0, self._trim_mw - FADE_W_PER_S * dt_ms)
        elif self._trim_mw < 0:
            self._trim_mw = min(0, self._trim_mw + FADE_W_PER_S * dt_ms)
        self.trim_w = self._trim_mw // 1000
