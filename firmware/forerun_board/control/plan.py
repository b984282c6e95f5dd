"""The plan the host leaves with the board, so that a dead host costs optimality and not safety."""

from array import array

CAPACITY = 120  # segments: a quarter of an hour each for 30 h, or coarser for 48 h
DURATION_MAX_S = 604_800
START_MAX_S = 604_800  # how far ahead or behind a plan may start


class Plan:
    """Segments (duration_s, mode, value_w), walked by elapsed time; a new plan is gathered aside, then swapped in."""

    def __init__(self):
        self._active = array("i", [0] * (3 * CAPACITY))
        self._gathered = array("i", [0] * (3 * CAPACITY))
        self._gathered_id = -1
        self.plan_id = 0
        self.count = 0
        self.step_index = -1  # −1: no segment is being played
        self._remaining_ms = 0  # of the segment, or until the first one when step_index is −1
        self.mode = 0
        self.value_w = 0

    def gather(self, plan_id, index, duration_s, mode, value_w):
        """Put segment `index` of `plan_id` aside; another plan_id begins anew. The caller has checked the ranges."""
        if plan_id != self._gathered_id:
            self._gathered_id = plan_id
            for at in range(3 * CAPACITY):
                self._gathered[at] = 0
        self._gathered[3 * index] = duration_s
        self._gathered[3 * index + 1] = mode
        self._gathered[3 * index + 2] = value_w

    def complete(self, plan_id, count):
        """True when all of the first `count` segments of `plan_id` have been gathered."""
        if plan_id != self._gathered_id:
            return False
        return all(self._gathered[3 * index] > 0 for index in range(count))

    def duration_s(self, count):
        """How long the first `count` segments that were gathered last."""
        return sum(self._gathered[3 * index] for index in range(count))

    def commit(self, plan_id, count, elapsed_s):
        """Play the gathered plan, which began `elapsed_s` ago (negative: it begins later; ±START_MAX_S)."""
        self._active, self._gathered = self._gathered, self._active
        self._gathered_id = -1
        self.plan_id = plan_id
        self.count = count
        self.step_index = -1
        self._remaining_ms = 0
        if elapsed_s < 0:
            self._remaining_ms = -1000 * elapsed_s
            return
        index = 0
        while index < count and elapsed_s >= self._active[3 * index]:
            elapsed_s -= self._active[3 * index]
            index += 1
        self._enter(index)
        self._remaining_ms -= 1000 * elapsed_s

    def clear(self):
        """Forget the plan."""
        self.count = 0
        self.step_index = -1
        self._remaining_ms = 0

    def step(self, dt_ms):
        """True when the plan has just ended. While `step_index` >= 0, `mode` and `value_w` are to be followed."""
        if self.count == 0:
            return False
        self._remaining_ms -= dt_ms
        while self._remaining_ms <= 0 and self.step_index < self.count:
            late_ms = self._remaining_ms
            self._enter(self.step_index + 1)
            self._remaining_ms += late_ms
        if self.step_index < self.count:
            return False
        self.clear()
        return True

    def _enter(self, index):
        self.step_index = index
        self._remaining_ms = 0
        if index < self.count:
            self._remaining_ms = 1000 * self._active[3 * index]
            self.mode = self._active[3 * index + 1]
            self.value_w = self._active[3 * index + 2]
