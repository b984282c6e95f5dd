"""What both ends of the line have in common, sans-IO: bytes and the time go in, events and bytes come out.

Who calls (board.BoardSession or host.HostSession): receive() with what was read, event() until None, tick() at least
when next_deadline_ms() says so, then outgoing() and sent(). Times are milliseconds modulo 2**30, any origin.
"""

import hashlib

from forerun_wire import messages as m
from forerun_wire.cbor import CborError, Reader
from forerun_wire.framing import Deframer, FrameQueue, payload_max
from forerun_wire.outbox import Outbox

HELLO_MS = 500
EVENTS_MAX = 64
WINDOW_MAX = 16
MAX_FRAME_LEAST = 256  # a hello always fits
NAME_BYTES_MAX = 64
NOBODY = bytes(8)
SEQ_MASK = 0xFFFF


class Session:
    """One end. Bad bytes are counted and dropped, never raised.

    Public to read: up, peer (the fields of its hello, or None), schema (in use). To set: lost_ms, keys (of auth.Keys,
    or None).
    """

    role = -1

    def __init__(
        self,
        identity,
        software,
        nonce,
        schema=m.SCHEMA_HASH,
        max_frame=512,
        window=WINDOW_MAX,
        store_id=NOBODY,
        boot_count=0,
        buffer=0,
    ):
        if len(nonce) != 8 or len(schema) != 8 or not 1 <= window <= WINDOW_MAX or max_frame < MAX_FRAME_LEAST:
            raise ValueError("nonce and schema have 8 bytes, window is 1..16, max_frame at least 256")
        if len(identity.encode()) > NAME_BYTES_MAX or len(software.encode()) > NAME_BYTES_MAX:
            raise ValueError("identity and software have at most 64 bytes each")
        self.identity = identity
        self.software = software
        self.nonce = nonce
        self.max_frame = max_frame
        self.window = window
        self.store_id = store_id or NOBODY
        self.boot_count = boot_count
        self.buffer = buffer
        self.lost_ms = 5000
        self.keys = None
        self.up = False
        self.peer = None
        self.bad_cbor = 0
        self.unknown_kind = 0
        self.early = 0
        self.dropped = 0
        self.refused = 0  # sealed frames that were not believed
        self._own_schema = schema
        self._speak(schema)
        self._deframer = Deframer(max_frame)
        self._reader = Reader(b"")
        self._queue = FrameQueue(max_frame)
        self._scratch = bytearray(max_frame)
        self._events = []
        self._now_ms = 0
        self._hello_ms = None  # when the last request went out; None = one is due
        self._heard_ms = 0
        self._stranger = None  # nonce of a peer that was objected to
        self._refusal = None
        self._outbox = Outbox(window, self.role == m.ROLE_BOARD)  # of commands at the host, of records at the board
        self._payload_max = payload_max(max_frame)
        self._first_seq = 0
        self._next_seq = 0  # host: of the next new command; board: of the next one to execute
        self._counter = 0  # of the command `_next_seq` in this session, without end

    # ---- bytes and time

    def receive(self, data, count, now_ms):
        """Take the first `count` bytes of `data` (bytes or bytearray), which came in at `now_ms`."""
        self._now_ms = now_ms
        deframer = self._deframer
        at = 0
        while at < count:
            at = deframer.feed(data, at, count)
            if deframer.size:
                kind = m.peek_kind(deframer.buffer, 1)
                if deframer.check(self._seed if m.seeded(kind) else 0):
                    self._reader.set(deframer.buffer, 1, 1 + deframer.size)
                    self._frame(kind, now_ms)
        self._send_waiting(now_ms)

    def tick(self, now_ms):
        """Do what is due: hello, heartbeat, retransmission, and notice that the peer is gone."""
        self._now_ms = now_ms
        if self.up:
            if m.elapsed_ms(now_ms, self._heard_ms) >= self.lost_ms:
                self._lose()
            else:
                self._beat(now_ms)
        if not self.up and remaining_ms(self._hello_ms, HELLO_MS, now_ms) == 0:
            self._request_hello(now_ms)
        self._send_waiting(now_ms)

    def next_deadline_ms(self, now_ms):
        """Time from now until tick() has something to do, in ms, 0 = now, at most HELLO_MS * 2."""
        if not self.up:
            return remaining_ms(self._hello_ms, HELLO_MS, now_ms)
        soonest = min(2 * HELLO_MS, remaining_ms(self._heard_ms, self.lost_ms, now_ms))
        wait_ms = self._outbox.remaining_ms(now_ms)
        return soonest if wait_ms < 0 else min(soonest, wait_ms)

    def outgoing(self, limit):
        """memoryview of the next bytes to write, at most `limit`, empty if none; valid until the next call."""
        return self._queue.outgoing(limit)

    def sent(self, count):
        """The first `count` bytes of outgoing() were written."""
        self._queue.sent(count)

    def event(self):
        """The next event, a tuple that starts with its name, or None. README.md lists them."""
        return self._events.pop(0) if self._events else None

    # ---- frames in

    def _frame(self, kind, now_ms):
        try:
            message = m.decode(self._reader)
        except CborError:
            self.bad_cbor += 1
            if kind == m.HELLO:
                self._send(m.NOT_UNDERSTOOD, (m.HELLO,))
            return
        kind = message[0]
        if kind == m.HELLO:
            self._on_hello(message[1:], now_ms)
        elif kind == m.REFUSED:
            self._on_refused(message)
        elif kind == m.NOT_UNDERSTOOD:
            self._tell(("not_understood", message[1]))
        elif not self.up:
            self.early += 1
        else:
            self._heard_ms = now_ms
            handler = self._HANDLERS.get(kind)
            if handler is None:
                self.unknown_kind += 1
                self._send(m.NOT_UNDERSTOOD, (kind,))
            elif len(self._events) < EVENTS_MAX:
                handler(self, message, now_ms)
            else:
                self.dropped += 1  # as if the line had lost it: what matters comes again

    def _on_hello(self, hello, now_ms):
        nonce = hello[m.HELLO_NONCE]
        if hello[m.HELLO_ROLE] == self.role:
            self._object(
                nonce, 0, "another " + ("board", "host")[self.role] + " answers on this line, or its own echo"
            )
            return
        is_new = self.peer is None or nonce != self.peer[m.HELLO_NONCE]
        if is_new and not self._welcome(hello, nonce, now_ms):
            return
        while len(hello) <= m.HELLO_KEY_ID:
            hello.append(0)  # fields that its schema does not have
        self.peer = hello
        self._heard_ms = now_ms
        if is_new:
            self._begin(hello)
        if hello[m.HELLO_HEARD] == self.nonce:
            if not self.up:
                self.up = True
                self._met(hello)
        elif hello[m.HELLO_HEARD] == NOBODY:
            self._send_hello(nonce)
        if is_new and not self.up:
            self._request_hello(now_ms)

    def _object(self, nonce, code, sentence):
        if self._stranger != nonce:
            self._stranger = nonce
            self._tell(("mismatch", sentence))
        if code:
            self._send(m.REFUSED, (code, sentence, nonce))

    def _on_refused(self, message):
        if len(message) > 3 and message[3] != self.nonce:
            return  # somebody else is meant
        refusal = (message[1], message[2])
        if refusal != self._refusal:
            self._refusal = refusal
            self._tell(("refused",) + refusal)

    def _opened(self, message):
        """The message inside a sealed one if its tag is right; None, and counted, if not."""
        role, counter, tag, inner = message[1:5]
        if self.keys is not None and self.keys.good(role, 0x80 * self.role, self.nonces(), counter, inner, tag):
            try:
                return m.decode(Reader(inner))
            except CborError:
                self.bad_cbor += 1
                return None
        self.refused += 1
        return None

    # ---- frames out

    def _payload(self, kind, fields, role=0, counter=0):
        """A message in bytes, sealed if there is a role to seal it for."""
        end = m.encode(self._scratch, 0, kind, fields)
        payload = bytes(self._scratch[:end])
        if role:
            tag = self.keys.tag(role, 0x80 * (1 - self.role), self.nonces(), counter, payload)
            end = m.encode(self._scratch, 0, m.SEALED, (role, counter, tag, payload))
            payload = bytes(self._scratch[:end])
        if end > self._payload_max:
            raise ValueError("message of %d bytes, %d fit a frame" % (end, self._payload_max))
        return payload

    def nonces(self):
        """What makes a session another one: the board's nonce, then the host's."""
        theirs = self.peer[m.HELLO_NONCE]
        return theirs + self.nonce if self.role else self.nonce + theirs

    def _put(self, payload):
        at = self._queue.reserve()
        if at < 0:
            self.dropped += 1
            return False
        end = at + 1 + len(payload)
        self._queue.buffer[at + 1 : end] = payload
        self._queue.commit(end, self._seed)
        return True

    def _send(self, kind, fields):
        at = self._queue.reserve()
        if at < 0:
            self.dropped += 1
            return False
        end = m.encode(self._queue.buffer, at + 1, kind, fields)
        self._queue.commit(end, self._seed if m.seeded(kind) else 0)
        return True

    def _request_hello(self, now_ms):
        self._hello_ms = now_ms
        self._send_hello(NOBODY)

    def _send_hello(self, heard):
        self._queue.flush()
        fields = (m.VERSION, self.schema, self.role, self.nonce, self.identity, self.software, self.max_frame)
        fields += (self.window, self.store_id, self.boot_count, heard, self._first_seq, self.buffer, self._key_id())
        self._send(m.HELLO, fields)

    def _key_id(self):
        return 0

    # ---- the session

    def _speak(self, schema):
        self.schema = schema
        self._seed = m.seed_of(schema)

    def _begin(self, hello):
        """Limits and first numbers of the session with this peer."""
        self._stranger = None
        self._outbox.window = max(1, min(self.window, hello[m.HELLO_WINDOW]))
        self._outbox.buffer = hello[m.HELLO_BUFFER]
        self._payload_max = payload_max(min(self.max_frame, hello[m.HELLO_MAX_FRAME]))

    def _end(self):
        """Forget the peer: what it has not answered is reported, numbers start anew."""
        self.up = False
        self.peer = None
        for seq, op in self._outbox.clear():
            if op is not None:
                self._tell(("failed", seq, op))
        self._first_seq = self._next_seq
        self._counter = 0
        self._refusal = None

    def _renew_nonce(self):
        self.nonce = hashlib.sha256(self.nonce).digest()[:8]

    def _lose(self):
        self._tell(("lost",))
        self.up = False
        self._hello_ms = None

    def _tell(self, event):
        if len(self._events) < 2 * EVENTS_MAX:
            self._events.append(event)
        else:
            self.dropped += 1


def remaining_ms(then_ms, period_ms, now_ms):
    """Time until `period_ms` after `then_ms`, in ms, 0 = it is over or `then_ms` is None."""
    return 0 if then_ms is None else max(0, period_ms - m.elapsed_ms(now_ms, then_ms))
