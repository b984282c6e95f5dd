"""Messages kept until the peer has answered them: a window, and each is sent again alone, by a time that adapts."""

from forerun_wire.messages import elapsed_ms

RTO_FIRST_MS = 250
RTO_MIN_MS = 25
RTO_MAX_MS = 1000
BACKOFF_MAX = 5

_NUMBER = 0
_CONTENT = 1  # None = answered
_SIZE = 2
_TAG = 3
_SENT_MS = 4
_ORDER = 5  # of its last sending; 0 = it has to be sent
_TRIES = 6
_HELD = 7  # the peer has it, though not yet what came before


class Outbox:
    """The first `window` entries are in flight, as far as `buffer` bytes go; the rest waits.

    Time comes in with each call, modulo 2**30 ms. A serial line keeps the order: what was sent before something that
    arrived, and is missing, was lost, and goes again at once. What nobody reports goes again when its time is over.
    """

    def __init__(self, window, keeps):
        self.window = window
        self._keeps = keeps  # what the peer holds it never asks for again: true of records, but a reply may get lost
        self.buffer = 0  # bytes that the peer takes unacknowledged, 0 = any number
        self.retransmissions = 0
        self.rounds = 0  # times that the oldest was sent again since anything was last answered
        self._smooth_ms = -1  # round trip time, smoothed as in RFC 6298; -1 = not yet measured
        self._variation_ms = 0
        self._backoff = 0
        self._order = 0
        self._entries = []

    def __len__(self):
        """Entries that are not yet answered, and those answered behind one that is not."""
        return len(self._entries)

    def add(self, number, content, size, tag=None):
        """`content` will be sent until `number` is answered; numbers rise from one to the next."""
        self._entries.append([number, content, size, tag, 0, 0, 0, False])

    def clear(self):
        """(number, tag) of each entry that was not answered, which it forgets."""
        left = []
        for entry in self._entries:
            if entry[_CONTENT] is not None:
                left.append((entry[_NUMBER], entry[_TAG]))
        self._entries = []
        self._backoff = 0
        self.rounds = 0
        return left

    def answered(self, number, now_ms):
        """(was it in flight, its tag) of the entry that the peer has answered now."""
        for entry in self._entries:
            if entry[_NUMBER] == number and entry[_CONTENT] is not None and entry[_TRIES]:
                self._measure(entry, now_ms)
                entry[_CONTENT] = None
                self._trim()
                return True, entry[_TAG]
        return False, None

    def answered_up_to(self, number, now_ms):
        """The peer has answered everything sent up to `number`."""
        for entry in self._entries:
            if entry[_NUMBER] <= number and entry[_TRIES]:
                self._measure(entry, now_ms)
                entry[_CONTENT] = None
        self._trim()

    def held(self, first, last, now_ms):
        """What is numbered from `first` to `last` has arrived, though it is not answered; so much before it is lost."""
        newest = 0
        for entry in self._entries:
            if first <= entry[_NUMBER] <= last and entry[_TRIES]:
                if not entry[_HELD]:
                    self._measure(entry, now_ms)
                    entry[_HELD] = True
                newest = max(newest, entry[_ORDER])
        for entry in self._entries:
            if not entry[_HELD] and 0 < entry[_ORDER] < newest and entry[_CONTENT] is not None:
                entry[_ORDER] = 0

    def skip(self, number):
        """Forget the entry, which cannot be sent any more, and send what followed it with its content in place of its
        own; that content, if nothing followed, else None."""
        for i in range(len(self._entries)):
            if self._entries[i][_NUMBER] == number:
                content = self._entries.pop(i)[_CONTENT]
                if i == len(self._entries):
                    return content
                entry = self._entries[i]
                if entry[_CONTENT] is not None:
                    entry[_CONTENT] = content
                    entry[_ORDER] = 0
                    entry[_HELD] = False
                return None
        return None

    def room(self):
        """True if one more entry could go out now."""
        return len(self._entries) < self.window and (not self.buffer or self._under_way() < self.buffer)

    def rto_ms(self):
        """How long after it was sent a message is sent again, in ms."""
        base = RTO_FIRST_MS
        if self._smooth_ms >= 0:
            base = self._smooth_ms + 4 * self._variation_ms
        return min(RTO_MAX_MS, max(RTO_MIN_MS, base) << self._backoff)

    def remaining_ms(self, now_ms):
        """Time until next() has something to send, in ms, 0 = now, -1 = never."""
        if self._due() is not None:
            return 0
        oldest = self._oldest()
        return -1 if oldest is None else max(0, self.rto_ms() - elapsed_ms(now_ms, oldest[_SENT_MS]))

    def next(self, now_ms):
        """(number, content) to send now, counted as sent; None if there is none."""
        entry = self._due()
        if entry is None:
            entry = self._oldest()
            if entry is None or elapsed_ms(now_ms, entry[_SENT_MS]) < self.rto_ms():
                return None
            self._backoff = min(self._backoff + 1, BACKOFF_MAX)
            self.rounds += 1
            entry[_HELD] = False
        self._order += 1
        entry[_ORDER] = self._order
        entry[_SENT_MS] = now_ms
        entry[_TRIES] += 1
        if entry[_TRIES] > 1:
            self.retransmissions += 1
        return entry[_NUMBER], entry[_CONTENT]

    def _due(self):
        """The first entry in the window that has to go out, if there is one and the peer has room for it."""
        under_way = 0
        for i in range(min(self.window, len(self._entries))):
            entry = self._entries[i]
            if entry[_CONTENT] is None:
                continue
            under_way += entry[_SIZE]
            if self.buffer and under_way > self.buffer and i:
                return None
            if entry[_ORDER] == 0:
                return entry
        return None

    def _oldest(self):
        """The first entry whose fate is not known."""
        for entry in self._entries:
            if entry[_ORDER] and not (entry[_HELD] and self._keeps) and entry[_CONTENT] is not None:
                return entry
        return None

    def _under_way(self):
        under_way = 0
        for entry in self._entries:
            if entry[_CONTENT] is not None:
                under_way += entry[_SIZE]
        return under_way

    def _trim(self):
        while self._entries and self._entries[0][_CONTENT] is None:
            self._entries.pop(0)

    def _measure(self, entry, now_ms):
        self.rounds = 0
        if entry[_TRIES] != 1 or entry[_HELD]:
            return  # nobody knows which of the copies was answered (Karn)
        took_ms = min(elapsed_ms(now_ms, entry[_SENT_MS]), 4 * RTO_MAX_MS)
        self._backoff = 0
        if self._smooth_ms < 0:
            self._smooth_ms = took_ms
            self._variation_ms = took_ms // 2
        else:
            self._variation_ms += (abs(took_ms - self._smooth_ms) - self._variation_ms) // 4
            self._smooth_ms += (took_ms - self._smooth_ms) // 8
