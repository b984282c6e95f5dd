"""Waiting by the wall clock: until a byte comes on a line, or until time is up."""

import select
import time

_GONE = select.POLLHUP | select.POLLERR


class Waiter:
    """Advances `clock` with the chip's own microseconds; `lines` are what select.poll() takes."""

    def __init__(self, clock, *lines):
        self._clock = clock
        self._poll = select.poll()
        for line in lines:
            self._poll.register(line, select.POLLIN)
        self._last_us = time.ticks_us()

    def wait(self, us):
        """Until a byte comes, but at most `us`; poll() counts in ms, so the rest below one is slept."""
        if us >= 1000:
            for _, happened in self._poll.poll(us // 1000):
                if happened & _GONE:
                    time.sleep_us(1000)  # its far end is gone, which is told at once each time: do not spin
        elif us > 0 and not self._poll.poll(0):
            time.sleep_us(us)
        now_us = time.ticks_us()
        self._clock.advance(time.ticks_diff(now_us, self._last_us))
        self._last_us = now_us
