"""The board's end of the line: executes commands once and in order, and hands its records over until they are kept."""

from forerun_wire import messages as m
from forerun_wire.cbor import pack_head
from forerun_wire.session import SEQ_MASK, WINDOW_MAX, Session

HOST_LOST_MS = 10000
QUIET_MS = 3000  # a host that was silent for so long may be replaced by another one
RECORDS_MAX = 20  # in one frame
TRIES_A_SECOND = 8  # sealed frames that are looked at after one was not believed
TELL_AGAIN_MS = 60000


class BoardSession(Session):
    """A board's end. `source` has the records: `newest`, the last number that may be sent, and

    fetch(after, last, buffer, at, limit, count) -> (count, last, end): copies records that follow number `after`, up to
    `last` (0 = as many as fit, at most `count`), to buffer[at:], together at most `limit` bytes.
    """

    role = m.ROLE_BOARD

    def __init__(self, *args, source=None, **options):
        super().__init__(*args, **options)
        self.lost_ms = HOST_LOST_MS
        self.source = source
        self._running = []  # (seq, role, counter) of commands without an answer
        self._replies = [None] * WINDOW_MAX  # in bytes, by seq
        self._early = {}  # seq -> (op, arguments, role, counter) of commands that came before one that is missing
        self._acknowledged = None  # number of the last record that the host has; None = it has not said yet
        self._freed = -1  # likewise, from a host that may say so
        self._record_sent = 0  # number of the last record sent,
        self._previous = 0  # and what the next one is said to follow
        self._sealed_only = False
        self._strikes = 0
        self._strike_ms = 0
        self._told_ms = None
        self._untold = 0

    # ---- what the application says

    def reply(self, seq, code, *results):
        """Answer the command `seq`; the answer is repeated if the command comes again. One answer each counts."""
        for i in range(len(self._running)):
            if self._running[i][0] == seq:
                _, role, counter = self._running.pop(i)
                payload = self._payload(m.REPLY, (seq, code) + results, role, counter)
                self._replies[seq % WINDOW_MAX] = payload
                self._put(payload)
                return

    def send_telemetry(self, values):
        """True if the frame will go out; False, and counted, if there is no host or the line is behind."""
        at = self._queue.reserve() if self.up else -1
        if at < 0:
            self.dropped += 1
            return False
        if self.schema == self._own_schema:
            end = m.encode_telemetry(self._queue.buffer, at + 1, values)
        else:
            end = m.encode(self._queue.buffer, at + 1, m.TELEMETRY_ARRAY, values)
        self._queue.commit(end, self._seed)
        return True

    def send_clock(self, count, rx_s, rx_us, tx_s, tx_us):
        """Answer ("heartbeat", count): board time when it came in, and now."""
        return self._send(m.CLOCK, (count, rx_s, rx_us, tx_s, tx_us))

    def restart(self):
        """Begin a new session, with other keys or another identity."""
        self._end()
        self._hello_ms = None

    # ---- frames in

    def _welcome(self, hello, nonce, now_ms):
        """True if a new session with this host may begin; the old one is forgotten then."""
        if hello[m.HELLO_VERSION] != m.VERSION:
            self._object(nonce, m.REFUSED_VERSION, "this board speaks wire version %d" % m.VERSION)
            return False
        present = self.peer[m.HELLO_IDENTITY] if self.up else hello[m.HELLO_IDENTITY]
        if present != hello[m.HELLO_IDENTITY] and m.elapsed_ms(now_ms, self._heard_ms) < QUIET_MS:
            self._send(m.REFUSED, (m.REFUSED_OCCUPIED, present + " is connected to this board: stop it first", nonce))
            return False
        self._end()
        # An older host cannot change: with it the board speaks as it did then. A newer one knows how to speak to us.
        self._speak(hello[m.HELLO_SCHEMA] if hello[m.HELLO_SCHEMA] in m.OLDER_SCHEMAS else self._own_schema)
        return True

    def _met(self, hello):
        self._tell(("host", hello))

    def _on_heartbeat(self, message, now_ms):
        self._tell(("heartbeat", message[1]))

    def _on_sealed(self, message, now_ms):
        if self._strikes >= TRIES_A_SECOND and m.elapsed_ms(now_ms, self._strike_ms) < 1000:
            self.refused += 1  # unread: guessing is slow, and whoever has the key waits a second at most
            return
        before = self.refused
        inner = self._opened(message)
        if self.refused != before:
            self._strike(now_ms)
        elif inner is None:
            return
        elif inner[0] == m.COMMAND:
            self._on_command(inner, now_ms, message[1], message[2])
        elif inner[0] == m.RECORD_ACK:
            self._on_record_ack(inner, now_ms, message[1])

    def _strike(self, now_ms):
        if m.elapsed_ms(now_ms, self._strike_ms) >= 1000:
            self._strikes = 0
            self._strike_ms = now_ms
        self._strikes += 1
        self._untold += 1

    def _on_command(self, message, now_ms, role=-1, counter=-1):
        seq = message[1]
        if role < 0:
            if self._sealed_only:
                self.early += 1  # a host that has a key seals everything: this is somebody else
                return
            role = m.COMMISSION if self.keys is None else m.READ
        ahead = (seq - self._next_seq) & SEQ_MASK
        if ahead < self.window and seq <= SEQ_MASK:
            if counter >= 0:
                if counter != self._counter + ahead:
                    self.refused += 1
                    self._strike(now_ms)  # a good frame of long ago
                    return
                self._sealed_only = True
            if counter >= 0 or seq not in self._early:
                self._early[seq] = (message[2], message[3:], role, counter)
            self._execute()
        elif SEQ_MASK + 1 - ahead > WINDOW_MAX or seq > SEQ_MASK:
            self.early += 1
        elif self._replies[seq % WINDOW_MAX] is not None:
            self._put(self._replies[seq % WINDOW_MAX])
        if self._early and self.schema not in m.BEFORE_BATCHES:
            self._send_held()

    def _execute(self):
        """Hand on what has come without anything missing before it."""
        while self._next_seq in self._early:
            seq = self._next_seq
            op, arguments, role, counter = self._early.pop(seq)
            self._next_seq = (seq + 1) & SEQ_MASK
            self._counter += 1
            self._replies[seq % WINDOW_MAX] = None
            self._replies[(seq - self.window) % WINDOW_MAX] = None  # the host has had that one: memory for others
            self._running.append((seq, 0 if counter < 0 else role, max(0, counter)))
            self._tell(("command", seq, op, arguments, role))

    def _send_held(self):
        later = 0
        for seq in self._early:
            later |= 1 << ((seq - self._next_seq - 1) & SEQ_MASK)
        self._send(m.HELD, (self._next_seq, later))

    def _on_record_ack(self, message, now_ms, role=m.READ):
        number = message[1]
        outbox = self._outbox
        if self._acknowledged is None:
            self._record_sent = self._previous = number
            self._acknowledged = number
        outbox.answered_up_to(number, now_ms)
        for i in range(2, len(message) - 1, 2):
            outbox.held(message[i], message[i + 1], now_ms)
        self._acknowledged = max(self._acknowledged, number)
        if number > self._freed and (self.keys is None or role >= m.OPERATE):
            self._freed = number
            self._tell(("record_ack", number))

    # ---- frames out

    def _beat(self, now_ms):
        if self._untold and (self._told_ms is None or m.elapsed_ms(now_ms, self._told_ms) >= TELL_AGAIN_MS):
            self._told_ms = now_ms
            self._tell(("forged", self._untold))
            self._untold = 0

    def next_deadline_ms(self, now_ms):
        """As of the base."""
        if self.up and self._more_records():
            return 0
        return super().next_deadline_ms(now_ms)

    def _more_records(self):
        return (
            self.source is not None
            and self._acknowledged is not None
            and self.source.newest > self._record_sent
            and self._outbox.room()
            and self._queue.reserve() >= 0
        )

    def _send_waiting(self, now_ms):
        outbox = self._outbox
        while self.up and self._queue.reserve() >= 0:
            due = outbox.next(now_ms)
            if due is not None:
                if not self._send_records(due[1], due[0])[1]:
                    # A full store has dropped them meanwhile: what came behind follows on what came before.
                    previous = outbox.skip(due[0])
                    if previous is not None:
                        self._previous = previous
            elif self._more_records():
                last, size = self._send_records(self._previous, 0)
                if not size:
                    self._record_sent = self.source.newest
                    return
                outbox.add(last, self._previous, size)
                outbox.next(now_ms)
                self._record_sent = self._previous = last
            else:
                return

    def _send_records(self, previous, last):
        """(number of the last record, size) of the frame with the records that follow `previous`; size 0: none."""
        old = self.schema in m.BEFORE_BATCHES
        start = self._queue.reserve() + 1
        buffer = self._queue.buffer
        at = pack_head(buffer, start + 1, 0, m.RECORDS)
        at = pack_head(buffer, at, 0, previous)
        limit = min(self._payload_max - (at - start), len(buffer) - at)
        after = previous if last else self._record_sent
        count, last, end = self.source.fetch(after, last, buffer, at, limit, 1 if old else RECORDS_MAX)
        if not count:
            return 0, 0
        buffer[start] = 0x82 + count
        if old:
            from forerun_wire.older import as_one

            end = as_one(buffer, start, at, end, previous)
        self._queue.commit(end, self._seed)
        return last, end - start

    def _key_id(self):
        return 0 if self.keys is None else self.keys.id

    def _begin(self, hello):
        super()._begin(hello)
        self._outbox.window = max(1, min(WINDOW_MAX, hello[m.HELLO_WINDOW]))  # ours is for commands: they wait here
        self._next_seq = hello[m.HELLO_FIRST_SEQ] & SEQ_MASK

    def _end(self):
        if self.peer is not None:
            self._renew_nonce()  # what was sealed for the session before is of no use in this one
        super()._end()
        self._speak(self._own_schema)
        self._first_seq = 0
        self._running = []
        self._replies = [None] * WINDOW_MAX
        self._early = {}
        self._sealed_only = False
        self._acknowledged = None
        self._freed = -1
        self._record_sent = 0  # number of the last record sent,
        self._previous = 0  # and what the next one is said to follow

    _HANDLERS = {
        m.HEARTBEAT: _on_heartbeat,
        m.COMMAND: _on_command,
        m.RECORD_ACK: _on_record_ack,
        m.SEALED: _on_sealed,
    }
