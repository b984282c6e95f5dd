"""One end of the line, sans-IO: bytes and the time go in, events and bytes come out.

The same class plays both roles. Who calls: receive() with what was read, event() until None, tick() at least when
next_deadline_ms() says so, then outgoing() and sent(). Times are milliseconds modulo 2**30, any origin.
"""

import hashlib

from forerun_wire import messages
from forerun_wire.cbor import CborError, Reader
from forerun_wire.framing import Deframer, FrameQueue, payload_max
from forerun_wire.messages import ROLE_BOARD, ROLE_HOST, elapsed_ms
from forerun_wire.outbox import Outbox

HELLO_MS = 500
HEARTBEAT_MS = 1000
BOARD_LOST_MS = 5000  # host: nothing came for so long
HOST_LOST_MS = 10000  # board: likewise, until its settings say otherwise
ROUNDS_MAX = 10  # retransmissions without any answer before the board counts as lost
EVENTS_MAX = 64
COMMANDS_MAX = 64
WINDOW_MAX = 16
MAX_FRAME_LEAST = 256  # a hello always fits
NAME_BYTES_MAX = 64
_NOBODY = bytes(8)
_SEQ_MASK = 0xFFFF
_COUNT_MASK = 0x3FFFFFFF


class Session:
    """A board's or a host's end. Bad bytes are counted and dropped, never raised.

    Public to read: up, peer (hello fields by name, or None), heartbeat_count, counts(). To set: lost_ms.
    """

    def __init__(
        self,
        role,
        identity,
        software,
        nonce,
        schema=messages.SCHEMA_HASH,
        max_frame=512,
        window=8,
        store_id=_NOBODY,
        boot_count=0,
    ):
        if len(nonce) != 8 or len(schema) != 8 or not 1 <= window <= WINDOW_MAX or max_frame < MAX_FRAME_LEAST:
            raise ValueError("nonce and schema have 8 bytes, window is 1..16, max_frame at least 256")
        if len(identity.encode()) > NAME_BYTES_MAX or len(software.encode()) > NAME_BYTES_MAX:
            raise ValueError("identity and software have at most 64 bytes each")
        self.role = role
        self.identity = identity
        self.software = software
        self.nonce = nonce
        self.schema = schema
        self.max_frame = max_frame
        self.window = window
        self.store_id = store_id or _NOBODY
        self.boot_count = boot_count
        self.lost_ms = BOARD_LOST_MS if role == ROLE_HOST else HOST_LOST_MS
        self.up = False
        self.peer = None
        self.heartbeat_count = 0
        self.bad_cbor = 0
        self.unknown_kind = 0
        self.early = 0
        self.dropped = 0
        self._deframer = Deframer(max_frame)
        self._reader = Reader(b"")
        self._queue = FrameQueue(max_frame)
        self._scratch = bytearray(max_frame)
        self._seed = messages.seed_of(schema)
        self._events = []
        self._now_ms = 0
        self._hello_ms = None  # when the last request went out; None = one is due
        self._heard_ms = 0
        self._heartbeat_ms = None
        self._stranger = None  # nonce of a peer that was objected to
        self._commands = Outbox(window, COMMANDS_MAX)
        self._records = Outbox(window, window)
        self._payload_max = payload_max(max_frame)
        self._next_seq = 0  # host: of the next new command; board: of the next one to execute
        self._end(0)

    # ---- bytes and time

    def receive(self, data, count, now_ms):
        """Take the first `count` bytes of `data` (bytes or bytearray), which came in at `now_ms`."""
        self._now_ms = now_ms
        deframer = self._deframer
        at = 0
        while at < count:
            at = deframer.feed(data, at, count)
            if deframer.size:
                kind = messages.peek_kind(deframer.buffer, 1)
                if deframer.check(self._seed if messages.seeded(kind) else 0):
                    self._frame(now_ms)
        self._send_waiting(now_ms)

    def tick(self, now_ms):
        """Do what is due: hello, heartbeat, retransmission, and notice that the peer is gone."""
        self._now_ms = now_ms
        if self.up:
            if elapsed_ms(now_ms, self._heard_ms) >= self.lost_ms or self._commands.rounds > ROUNDS_MAX:
                self._lose(now_ms)
            elif self.role == ROLE_HOST and _remaining(self._heartbeat_ms, HEARTBEAT_MS, now_ms) == 0:
                self._send_heartbeat(now_ms)
        if not self.up and _remaining(self._hello_ms, HELLO_MS, now_ms) == 0:
            self._request_hello(now_ms)
        self._send_waiting(now_ms)

    def next_deadline_ms(self, now_ms):
        """Time from now until tick() has something to do, in ms, 0 = now, at most HELLO_MS * 2."""
        soonest = 2 * HELLO_MS
        if self.up:
            soonest = min(soonest, _remaining(self._heard_ms, self.lost_ms, now_ms))
            if self.role == ROLE_HOST:
                soonest = min(soonest, _remaining(self._heartbeat_ms, HEARTBEAT_MS, now_ms))
            for outbox in (self._commands, self._records):
                wait_ms = outbox.remaining_ms(now_ms)
                if wait_ms >= 0:
                    soonest = min(soonest, wait_ms)
        else:
            soonest = min(soonest, _remaining(self._hello_ms, HELLO_MS, now_ms))
        return soonest

    def outgoing(self, limit):
        """memoryview of the next bytes to write, at most `limit`, empty if none; valid until the next call."""
        return self._queue.outgoing(limit)

    def sent(self, count):
        """The first `count` bytes of outgoing() were written."""
        self._queue.sent(count)

    def event(self):
        """The next event, a tuple that starts with its name, or None. README.md lists them."""
        return self._events.pop(0) if self._events else None

    def counts(self):
        """{name: number} of frames sent, received, and dropped for each reason, since the start."""
        return {
            "frames_in": self._deframer.frames,
            "frames_out": self._queue.frames,
            "bad_crc": self._deframer.bad_crc,
            "bad_cobs": self._deframer.bad_cobs,
            "oversize": self._deframer.oversize,
            "bad_cbor": self.bad_cbor,
            "unknown_kind": self.unknown_kind,
            "early": self.early,
            "dropped": self.dropped,
            "retransmissions": self._commands.retransmissions + self._records.retransmissions,
        }

    # ---- host

    def command(self, op, *args):
        """seq of the command, which is sent as the window allows; None while there is no board.

        One event ("reply", seq, ...) or ("failed", seq, op) will follow. ValueError if it is too long for the board, or
        if 64 wait already.
        """
        if not self.up:
            return None
        seq = self._next_seq
        if not self._commands.add(seq, self._payload(messages.COMMAND, (seq, op) + args), op):
            raise ValueError("64 commands wait for their reply already")
        self._next_seq = (seq + 1) & _SEQ_MASK
        return seq

    def acknowledge(self, number):
        """All records up to `number` are on disk; says so to the board. Without effect while there is none.

        To be called after each ("hello", ...) event with the last number that the disk has of this store_id, 0 = none:
        the board sends no record before it knows where to go on.
        """
        if not self.up:
            return
        if self._delivered is None:
            self._delivered = number
        self._acknowledged = number
        self._send(messages.RECORD_ACK, (number,))

    # ---- board

    def reply(self, seq, code, *results):
        """Answer the command `seq`; the answer is repeated if the command comes again. One answer each counts."""
        if seq in self._running:
            payload = self._payload(messages.REPLY, (seq, code) + results)
            self._running.remove(seq)
            self._replies[seq % WINDOW_MAX] = payload
            self._put(payload)

    def send_telemetry(self, values):
        """True if the frame will go out; False, and counted, if there is no host or the line is behind."""
        at = self._queue.reserve() if self.up else -1
        if at < 0:
            self.dropped += 1
            return False
        end = messages.encode_telemetry(self._queue.buffer, at + 1, values)
        self._queue.commit(end, self._seed)
        return True

    def send_clock(self, count, rx_s, rx_us, tx_s, tx_us):
        """Answer ("heartbeat", count): board time when it came in, and now."""
        return self._send(messages.CLOCK, (count, rx_s, rx_us, tx_s, tx_us))

    def records_free(self):
        """How many more records send_record() takes now: 0 until the host said which it has."""
        if not self.up or self._acknowledged is None:
            return 0
        return self._records.window - len(self._records)

    def send_record(self, number, boot_count, uptime_s, uptime_ms, record_kind, body):
        """True if the record is on its way until acknowledged; False if the window is full or there is no host.

        After ("record_ack", n) of a new host go on with the first one above n. Numbers only ever rise: one that was
        taken in this session already is not sent twice.
        """
        if number <= self._record_sent and self.up:
            return True
        if self.records_free() <= 0:
            return False
        fields = (number, self._record_sent, boot_count, uptime_s, uptime_ms, record_kind) + tuple(body)
        self._records.add(number, self._payload(messages.RECORD, fields))
        self._record_sent = number
        self._send_waiting(self._now_ms)
        return True

    # ---- frames in

    def _frame(self, now_ms):
        self._reader.set(self._deframer.buffer, 1, 1 + self._deframer.size)
        try:
            message = messages.decode(self._reader)
        except CborError:
            self.bad_cbor += 1
            if messages.peek_kind(self._deframer.buffer, 1) == messages.HELLO:
                self._send(messages.NOT_UNDERSTOOD, (messages.HELLO,))
            return
        kind = message[0]
        if kind == messages.HELLO:
            self._on_hello(message, now_ms)
        elif kind == messages.REFUSED:
            self._on_refused(message, now_ms)
        elif kind == messages.NOT_UNDERSTOOD:
            self._tell(("not_understood", message[1]))
        elif not self.up:
            self.early += 1
        else:
            self._heard_ms = now_ms
            self._in_session(kind, message, now_ms)

    def _in_session(self, kind, message, now_ms):
        handler = (_HOST_HANDLERS if self.role == ROLE_HOST else _BOARD_HANDLERS).get(kind)
        if handler is None:
            self.unknown_kind += 1
            self._send(messages.NOT_UNDERSTOOD, (kind,))
        elif len(self._events) < EVENTS_MAX:
            handler(self, message, now_ms)
        else:
            self.dropped += 1  # as if the line had lost it: what matters comes again

    def _on_hello(self, message, now_ms):
        hello = messages.fields_named(messages.HELLO_FIELDS, message[1:])
        if hello["role"] == self.role:
            self._object(hello, 0, "another " + ("board", "host")[self.role] + " answers on this line, or its own echo")
            return
        is_new = self.peer is None or hello["nonce"] != self.peer["nonce"]
        if is_new:
            self._end(now_ms)
        if hello["version"] != messages.VERSION:
            sentence = self._compare("wire version", hello["version"], messages.VERSION)
            self._object(hello, messages.REFUSED_VERSION, sentence)
            return
        # Only the host objects to a schema: it is the one that learns to speak older ones.
        if self.role == ROLE_HOST and hello["schema"] != self.schema:
            sentence = self._compare("schema", hello["schema"].hex()[:8], self.schema.hex()[:8])
            self._object(hello, messages.REFUSED_SCHEMA, sentence)
            return
        self.peer = hello
        self._heard_ms = now_ms
        if is_new:
            self._begin(hello)
        if hello["heard"] == self.nonce:
            if not self.up:
                self.up = True
                self._heartbeat_ms = None
                self._tell(("hello" if self.role == ROLE_HOST else "host", hello))
        elif hello["heard"] == _NOBODY:
            self._send_hello(hello["nonce"])
        if is_new and not self.up:
            self._request_hello(now_ms)

    def _compare(self, what, theirs, ours):
        board, host = (theirs, ours) if self.role == ROLE_HOST else (ours, theirs)
        return f"board speaks {what} {board}, this host {host}: update the board with `forerun board flash`"

    def _object(self, hello, code, sentence):
        if self._stranger != hello["nonce"]:
            self._stranger = hello["nonce"]
            self._tell(("mismatch", sentence))
        if code:
            self._send(messages.REFUSED, (code, sentence))

    def _on_refused(self, message, now_ms):
        refusal = (message[1], message[2])
        if refusal != self._refusal:
            self._refusal = refusal
            self._tell(("refused",) + refusal)

    def _on_clock(self, message, now_ms):
        if message[1] == self.heartbeat_count:
            self._tell(("clock",) + tuple(message[1:6]) + (self._heartbeat_ms, now_ms))

    def _on_reply(self, message, now_ms):
        found, op = self._commands.answered(message[1], now_ms)
        if found:
            self._tell(("reply", message[1], op, message[2], message[3:]))

    def _on_telemetry(self, message, now_ms):
        self._tell(("telemetry", message[1 : 1 + len(messages.TELEMETRY_FIELDS)]))

    def _on_record(self, message, now_ms):
        number = message[1]
        delivered = self._delivered
        if delivered is not None and message[2] <= delivered < number:
            self._delivered = number
            self._tell(("record", number) + tuple(message[3:7]) + (message[7:],))
        elif delivered is not None and number <= delivered:
            self._repeat_ack = True  # the board may not have seen the last one
        else:
            self.early += 1

    def _on_heartbeat(self, message, now_ms):
        self._tell(("heartbeat", message[1]))

    def _on_command(self, message, now_ms):
        seq = message[1]
        behind = (self._next_seq - seq) & _SEQ_MASK
        if behind == 0:
            self._next_seq = (seq + 1) & _SEQ_MASK
            self._replies[seq % WINDOW_MAX] = None
            self._running.append(seq)
            self._tell(("command", seq, message[2], message[3:]))
        elif behind > WINDOW_MAX:
            self.early += 1  # one before it was lost; the host goes back to that
        elif self._replies[seq % WINDOW_MAX] is not None:
            self._put(self._replies[seq % WINDOW_MAX])

    def _on_record_ack(self, message, now_ms):
        number = message[1]
        self._records.answered_up_to(number, now_ms)
        if self._acknowledged is None:
            self._record_sent = number
        elif number <= self._acknowledged:
            return
        self._acknowledged = number
        self._tell(("record_ack", number))

    # ---- frames out

    def _payload(self, kind, fields):
        end = messages.encode(self._scratch, 0, kind, fields)
        if end > self._payload_max:
            raise ValueError(f"message of {end} bytes, {self._payload_max} fit a frame")
        return bytes(self._scratch[:end])

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
        end = messages.encode(self._queue.buffer, at + 1, kind, fields)
        self._queue.commit(end, self._seed if messages.seeded(kind) else 0)
        return True

    def _send_waiting(self, now_ms):
        if self._repeat_ack and self._acknowledged is not None:
            self._send(messages.RECORD_ACK, (self._acknowledged,))
        self._repeat_ack = False
        if not self.up:
            return
        for outbox in (self._commands, self._records):
            while self._queue.reserve() >= 0:
                payload = outbox.next(now_ms)
                if payload is None:
                    break
                self._put(payload)

    def _send_heartbeat(self, now_ms):
        self.heartbeat_count = (self.heartbeat_count + 1) & _COUNT_MASK
        self._heartbeat_ms = now_ms
        self._send(messages.HEARTBEAT, (self.heartbeat_count,))
        if self._acknowledged is not None:
            self._repeat_ack = True

    def _request_hello(self, now_ms):
        self._hello_ms = now_ms
        self._send_hello(_NOBODY)

    def _send_hello(self, heard):
        self._queue.flush()
        fields = (messages.VERSION, self.schema, self.role, self.nonce, self.identity, self.software, self.max_frame)
        fields += (self.window, self.store_id, self.boot_count, heard, self._first_seq)
        self._send(messages.HELLO, fields)

    # ---- the session

    def _begin(self, hello):
        """Limits and first numbers of the session with this peer."""
        self._stranger = None
        window = max(1, min(self.window, hello["window"]))
        self._commands.window = window
        self._records.window = window
        self._records.length_max = window
        self._payload_max = payload_max(min(self.max_frame, hello["max_frame"]))
        if self.role == ROLE_BOARD:
            self._next_seq = hello["first_seq"] & _SEQ_MASK

    def _end(self, now_ms):
        """Forget the peer: what it has not answered is reported, numbers start anew."""
        self.up = False
        self.peer = None
        for seq, op in self._commands.clear():
            self._tell(("failed", seq, op))
        self._records.clear()
        self._first_seq = self._next_seq
        self._replies = [None] * WINDOW_MAX
        self._running = []
        self._refusal = None
        self._acknowledged = None
        self._delivered = None
        self._record_sent = 0
        self._repeat_ack = False

    def _lose(self, now_ms):
        self._tell(("lost",))
        if self.role == ROLE_HOST:
            # Nobody knows which commands were executed: only a new session says where both stand.
            self._end(now_ms)
            self.nonce = hashlib.sha256(self.nonce).digest()[:8]
        self.up = False
        self._hello_ms = None

    def _tell(self, event):
        if len(self._events) < 2 * EVENTS_MAX:
            self._events.append(event)
        else:
            self.dropped += 1


def _remaining(then_ms, period_ms, now_ms):
    """Time until `period_ms` after `then_ms`, in ms, 0 = it is over or `then_ms` is None."""
    return 0 if then_ms is None else max(0, period_ms - elapsed_ms(now_ms, then_ms))


_HOST_HANDLERS = {
    messages.CLOCK: Session._on_clock,
    messages.REPLY: Session._on_reply,
    messages.TELEMETRY: Session._on_telemetry,
    messages.RECORD: Session._on_record,
}
_BOARD_HANDLERS = {
    messages.HEARTBEAT: Session._on_heartbeat,
    messages.COMMAND: Session._on_command,
    messages.RECORD_ACK: Session._on_record_ack,
}
