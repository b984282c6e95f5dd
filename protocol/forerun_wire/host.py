"""The host's end of the line: sends commands until they are answered, and takes records in order, each once."""

import struct

from forerun_wire import messages as m
from forerun_wire.names import HELLO_FIELDS, TELEMETRY_FIELDS, fields_named
from forerun_wire.session import EVENTS_MAX, SEQ_MASK, WINDOW_MAX, Session, remaining_ms

HEARTBEAT_MS = 1000
FIRST_HEARTBEAT_MS = 250  # in the first minute of a session, in which the clocks are compared for the first time
FIRST_HEARTBEATS = 240
ROUNDS_MAX = 10  # retransmissions without any answer before the board counts as lost
COMMANDS_MAX = 64
HELD_MAX = 64  # frames of records that came before one that is missing
RANGES_MAX = 6  # of records that came, told in an acknowledgement
BUFFER_BYTES = 32768
NUMBER_MAX = 0xFFFFFFFF  # of a record
_COUNT_MASK = 0x3FFFFFFF


class HostSession(Session):
    """A host's end. Public to read besides the base's: heartbeat_count, counts(). To set: keyring, {key id: Keys}."""

    role = m.ROLE_HOST

    def __init__(self, *args, **options):
        options.setdefault("buffer", BUFFER_BYTES)
        super().__init__(*args, **options)
        self.heartbeat_count = 0
        self.keyring = {}
        self._heartbeat_ms = None
        self._heartbeats = 0  # in this session
        self._objections = 0
        self._sealed = {}  # seq -> (role, counter) of sealed commands: their replies have to be sealed likewise
        self._acknowledged = None  # number of the last record on disk; None = not yet said in this session
        self._delivered = None  # number of the last record told to the application
        self._held = {}  # number before the first one -> records that came too early
        self._owes_ack = False

    @property
    def keyed(self):
        """True if what is sent to this board is sealed."""
        return self.keys is not None

    @property
    def waiting(self):
        """Commands that wait for their reply."""
        return len(self._outbox)

    def command(self, op, *args):
        """seq of the command, which is sent as the window allows; None while there is no board.

        One event ("reply", seq, ...) or ("failed", seq, op) will follow. ValueError if it is too long for the board, or
        if 64 wait already.
        """
        if not self.up:
            return None
        if len(self._outbox) >= COMMANDS_MAX:
            raise ValueError("64 commands wait for their reply already")
        seq = self._next_seq
        role = self._role_for(m.OP_ROLES[op] if op < len(m.OP_ROLES) else m.COMMISSION)
        payload = self._payload(m.COMMAND, (seq, op) + args, role, self._counter)
        if role:
            self._sealed[seq] = (role, self._counter)
        self._outbox.add(seq, payload, len(payload), op)
        self._next_seq = (seq + 1) & SEQ_MASK
        self._counter += 1
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
        self._send_ack()

    def restart(self):
        """Begin a new session: what was not acknowledged comes again, commands under way are reported."""
        self._end()
        self._renew_nonce()
        self._hello_ms = None

    def counts(self):
        """{name: number} of frames sent, received, and dropped for each reason, since the start."""
        return counts_of(self)

    # ---- frames in

    def _welcome(self, hello, nonce, now_ms):
        self._end()
        if hello[m.HELLO_VERSION] != m.VERSION:
            self._object(nonce, m.REFUSED_VERSION, _compare("wire version", hello[m.HELLO_VERSION], m.VERSION))
            return False
        schema = hello[m.HELLO_SCHEMA]
        if schema != self._own_schema and schema not in m.OLDER_SCHEMAS:
            # A newer board learns from our hello what we speak, and may say another one now: it is told twice then.
            self._objections += 1
            if self._objections > 1:
                self._object(nonce, 0, _compare("schema", schema.hex()[:8], self._own_schema.hex()[:8]))
            self._send(m.REFUSED, (m.REFUSED_SCHEMA, "another schema is spoken here", nonce))
            return False
        self._objections = 0
        self._speak(schema)
        return True

    def _met(self, hello):
        self._heartbeat_ms = None
        self._heartbeats = 0
        self._tell(("hello", fields_named(HELLO_FIELDS, hello)))

    def _on_clock(self, message, now_ms):
        if message[1] == self.heartbeat_count:
            self._tell(("clock",) + tuple(message[1:6]) + (self._heartbeat_ms, now_ms))

    def _on_sealed(self, message, now_ms):
        inner = self._opened(message)
        if inner is None or inner[0] != m.REPLY:
            return
        if self._sealed.get(inner[1]) == (message[1], message[2]):
            del self._sealed[inner[1]]
            self._on_reply(inner, now_ms)

    def _on_reply(self, message, now_ms):
        seq = message[1]
        if seq in self._sealed:
            self.refused += 1  # whoever answers a sealed command in the open is not the board
            return
        found, op = self._outbox.answered(seq, now_ms)
        if found:
            self._tell(("reply", seq, op, message[2], message[3:]))

    def _on_held(self, message, now_ms):
        expected, later = message[1], message[2]
        for i in range(WINDOW_MAX):
            if later >> i & 1:
                seq = (expected + 1 + i) & SEQ_MASK
                self._outbox.held(seq, seq, now_ms)

    def _on_telemetry(self, message, now_ms):
        if len(message[1]) < m.TELEMETRY_BYTES:
            self.bad_cbor += 1
        else:
            self._tell(("telemetry", telemetry_values(message[1])))

    def _on_telemetry_array(self, message, now_ms):
        self._tell(("telemetry", message[1 : 1 + len(TELEMETRY_FIELDS)]))

    def _on_record(self, message, now_ms):
        """One record, as boards of schemas 1 and 2 send it."""
        if message[2] < message[1] <= NUMBER_MAX:
            self._take(message[2], [message[1:2] + message[3:]])

    def _on_records(self, message, now_ms):
        number = message[1]
        for record in message[2:]:
            number = record[0] if _is_record(record, number) else NUMBER_MAX + 1
        if number > NUMBER_MAX or len(message) < 3:
            self.bad_cbor += 1
        else:
            self._take(message[1], message[2:])

    def _take(self, previous, records):
        if self._delivered is None:
            self.early += 1
            return
        if records[-1][0] > self._delivered and (len(self._held) < HELD_MAX or previous <= self._delivered):
            self._held[previous] = records
            self._deliver()
        self._owes_ack = True  # of what came twice too: the board may not have seen the last acknowledgement

    def _deliver(self):
        """Tell the application what has come without anything missing before it, as far as it listens."""
        while self._held and len(self._events) < EVENTS_MAX:
            previous = min(self._held)
            if previous > self._delivered:
                return
            for record in self._held.pop(previous):
                if record[0] > self._delivered:
                    self._delivered = record[0]
                    self._tell(("record",) + tuple(record[:5]) + (record[5:],))

    # ---- frames out

    def _role_for(self, needed):
        """The role to seal a command for: what it needs, else what there is; the board has the last word."""
        if self.keys is None:
            return 0
        for role in (max(needed, m.OPERATE), m.COMMISSION, m.OPERATE):
            if self.keys.has(role):
                return role
        return 0

    def _send_ack(self):
        self._owes_ack = False
        fields = [self._acknowledged]
        if self._delivered > self._acknowledged:
            fields += [self._acknowledged + 1, self._delivered]
        for previous in sorted(self._held)[: RANGES_MAX - 1]:
            fields += [self._held[previous][0][0], self._held[previous][-1][0]]
        if self.keys is None:
            self._send(m.RECORD_ACK, fields)
        else:
            self._put(self._payload(m.RECORD_ACK, fields, self._role_for(m.OPERATE)))

    def _send_waiting(self, now_ms):
        if not self.up:
            return
        while self._queue.reserve() >= 0:
            due = self._outbox.next(now_ms)
            if due is None:
                return
            self._put(due[1])

    def _beat(self, now_ms):
        if self._outbox.rounds > ROUNDS_MAX:
            self._lose()
            return
        self._deliver()
        if remaining_ms(self._heartbeat_ms, self._period_ms(), now_ms) == 0:
            self._heartbeats += 1
            self.heartbeat_count = (self.heartbeat_count + 1) & _COUNT_MASK
            self._heartbeat_ms = now_ms
            self._send(m.HEARTBEAT, (self.heartbeat_count,))
            self._owes_ack = True
        if self._owes_ack and self._acknowledged is not None:
            self._send_ack()

    def next_deadline_ms(self, now_ms):
        """As of the base."""
        soonest = super().next_deadline_ms(now_ms)
        if not self.up:
            return soonest
        if self._owes_ack and self._acknowledged is not None:
            return 0
        return min(soonest, remaining_ms(self._heartbeat_ms, self._period_ms(), now_ms))

    def _period_ms(self):
        return FIRST_HEARTBEAT_MS if self._heartbeats < FIRST_HEARTBEATS else HEARTBEAT_MS

    # ---- the session

    def _begin(self, hello):
        super()._begin(hello)
        self.keys = self.keyring.get(hello[m.HELLO_KEY_ID])

    def _end(self):
        super()._end()
        self._sealed = {}
        self._acknowledged = None
        self._delivered = None
        self._held = {}
        self._owes_ack = False

    def _lose(self):
        super()._lose()
        # Nobody knows which commands were executed: only a new session says where both stand.
        self._end()
        self._renew_nonce()

    _HANDLERS = {
        m.CLOCK: _on_clock,
        m.REPLY: _on_reply,
        m.TELEMETRY_ARRAY: _on_telemetry_array,
        m.RECORD: _on_record,
        m.SEALED: _on_sealed,
        m.RECORDS: _on_records,
        m.HELD: _on_held,
        m.TELEMETRY: _on_telemetry,
    }


_PACKED = ">" + m.TELEMETRY_FORMAT[5:]  # without the head
_ADDED = [{"B": 2, "H": 0x202, "I": 0x2020202}[letter.upper()] for letter in _PACKED[1:]]


def telemetry_values(packed):
    """The 20 integers of `packed`, in the order of TELEMETRY_FIELDS; what a later version put behind is skipped."""
    return [value - added for value, added in zip(struct.unpack_from(_PACKED, packed), _ADDED)]


def _is_record(record, after):
    """True if this can be a record, and its number is above `after`."""
    if not isinstance(record, list) or len(record) < 5:
        return False
    return all(type(field) is int for field in record[:5]) and record[0] > after


def counts_of(session):
    """{name: number} of frames that a session, of whichever side, sent, received, and dropped for each reason."""
    deframer = session._deframer
    return {
        "frames_in": deframer.frames,
        "frames_out": session._queue.frames,
        "bad_crc": deframer.bad_crc,
        "bad_cobs": deframer.bad_cobs,
        "oversize": deframer.oversize,
        "bad_cbor": session.bad_cbor,
        "unknown_kind": session.unknown_kind,
        "early": session.early,
        "dropped": session.dropped,
        "refused": session.refused,
        "retransmissions": session._outbox.retransmissions,
    }


def _compare(what, theirs, ours):
    return f"board speaks {what} {theirs}, this host {ours}: update the board with `forerun commission flash`"
