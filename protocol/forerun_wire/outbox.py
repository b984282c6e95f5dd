"""Messages kept until the peer has answered them: a window, a retransmission time that adapts, go-back on loss."""

from forerun_wire.messages import elapsed_ms

RTO_FIRST_MS = 250
RTO_MIN_MS = 25
RTO_MAX_MS = 1000

_NUMBER = 0
_PAYLOAD = 1  # None = answered
_SENT_MS = 2  # None = to be sent
_TRIES = 3
_TAG = 4


class Outbox:
    """The first `window` entries are in flight; the rest waits. Time comes in with each call, modulo 2**30 ms."""

    def __init__(self, window, length_max):
        self.window = window
        self.length_max = length_max
        self.retransmissions = 0
        self.rounds = 0  # times that all in flight was sent again since anything was last answered
        self._smooth_ms = -1  # round trip time, smoothed as in RFC 6298; -1 = not yet measured
        self._variation_ms = 0
        self._backoff = 0
        self._entries = []

    def __len__(self):
        """Entries that are not yet answered, and those answered behind one that is not."""
        return len(self._entries)

    def add(self, number, payload, tag=None):
        """False if the outbox is full; else the payload will be sent until `number` is answered."""
        if len(self._entries) >= self.length_max:
            return False
        self._entries.append([number, payload, None, 0, tag])
        return True

    def clear(self):
        """(number, tag) of each entry that was not answered, which it forgets."""
        left = [(entry[_NUMBER], entry[_TAG]) for entry in self._entries if entry[_PAYLOAD] is not None]
        self._entries = []
        self._backoff = 0
        self.rounds = 0
        return left

    def answered(self, number, now_ms):
        """(True, tag) if `number` was in flight, which it no longer is; (False, None) if not."""
        for i in range(min(self.window, len(self._entries))):
            entry = self._entries[i]
            if entry[_NUMBER] == number and entry[_PAYLOAD] is not None and entry[_TRIES]:
                self._measure(entry, now_ms)
                self.rounds = 0
                entry[_PAYLOAD] = None
                while self._entries and self._entries[0][_PAYLOAD] is None:
                    self._entries.pop(0)
                return True, entry[_TAG]
        return False, None

    def answered_up_to(self, number, now_ms):
        """Forget all entries in flight whose number is not above `number`."""
        while self._entries and self._entries[0][_NUMBER] <= number:
            self._measure(self._entries.pop(0), now_ms)
            self.rounds = 0

    def rto_ms(self):
        """Time after which an unanswered message is sent again, in ms."""
        base = RTO_FIRST_MS
        if self._smooth_ms >= 0:
            base = self._smooth_ms + 4 * self._variation_ms
        return min(RTO_MAX_MS, max(RTO_MIN_MS, base) << self._backoff)

    def remaining_ms(self, now_ms):
        """Time until next() has something to send, in ms, 0 = now, -1 = never."""
        oldest = -1
        for i in range(min(self.window, len(self._entries))):
            entry = self._entries[i]
            if entry[_PAYLOAD] is not None:
                if entry[_SENT_MS] is None:
                    return 0
                oldest = max(oldest, elapsed_ms(now_ms, entry[_SENT_MS]))
        return -1 if oldest < 0 else max(0, self.rto_ms() - oldest)

    def next(self, now_ms):
        """The payload to send now, counted as sent; None if there is none."""
        if self.remaining_ms(now_ms) != 0:
            return None
        again = None
        for i in range(min(self.window, len(self._entries))):
            entry = self._entries[i]
            if entry[_PAYLOAD] is not None:
                if entry[_SENT_MS] is None:
                    entry[_SENT_MS] = now_ms
                    entry[_TRIES] += 1
                    return entry[_PAYLOAD]
                again = i
        return None if again is None else self._go_back(now_ms)

    def _go_back(self, now_ms):
        # What came behind a lost message was dropped by the peer, so all in flight goes again.
        self._backoff = min(self._backoff + 1, 5)
        self.rounds += 1
        for i in range(min(self.window, len(self._entries))):
            entry = self._entries[i]
            if entry[_PAYLOAD] is not None and entry[_TRIES]:
                entry[_SENT_MS] = None
                self.retransmissions += 1
        return self.next(now_ms)

    def _measure(self, entry, now_ms):
        if entry[_TRIES] != 1 or entry[_SENT_MS] is None:
            return  # nobody knows which of the copies was answered (Karn)
        took_ms = min(elapsed_ms(now_ms, entry[_SENT_MS]), 4 * RTO_MAX_MS)
        self._backoff = 0
        if self._smooth_ms < 0:
            self._smooth_ms = took_ms
            self._variation_ms = took_ms // 2
        else:
            self._variation_ms += (abs(took_ms - self._smooth_ms) - self._variation_ms) // 4
            self._smooth_ms += (took_ms - self._smooth_ms) // 8
