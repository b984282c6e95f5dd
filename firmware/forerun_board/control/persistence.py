"""A condition that must last before it counts, and must be gone as long before it no longer does."""


class Persistence:
    """`active` follows a condition after `on_ms` of it, and after `off_ms` without it.

    Time counts from the first sample that disagrees, so one sample alone never switches, however long the round.
    """

    def __init__(self, on_ms, off_ms):
        self._on_ms = on_ms
        self._off_ms = off_ms
        self._pending_ms = -1
        self.active = False

    def step(self, condition, dt_ms):
        """True when `active` has just changed."""
        if condition == self.active:
            self._pending_ms = -1
            return False
        if self._pending_ms < 0:
            self._pending_ms = 0
            return False
        self._pending_ms += dt_ms
        if self._pending_ms < (self._on_ms if condition else self._off_ms):
            return False
        self.active = condition
        self._pending_ms = -1
        return True
