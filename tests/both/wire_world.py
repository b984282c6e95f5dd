"""A board, a host and a bad line between them, in injected time: the stage of the session's tests."""

from forerun_wire import messages
from forerun_wire.host import counts_of
from forerun_wire.messages import ROLE_BOARD, ROLE_HOST
from lane import Chance, Shelf, session

STEP_MS = 5
WRAP = 1 << 30
TELEMETRY = list(range(20))


class Line:
    """One direction: frames are lost, doubled or spoiled, one in so many each (0 = never)."""

    def __init__(self, chance, lose=0, double=0, spoil=0):
        self.chance = chance
        self.lose = lose
        self.double = double
        self.spoil = spoil
        self.cut = False
        self.drop = 0  # so many of the next frames are lost
        self._part = b""

    def carry(self, data):
        """What arrives of `data`."""
        frames = (self._part + data).split(b"\x00")
        self._part = frames.pop()
        out = b""
        for frame in frames:
            frame = frame + b"\x00"
            if self.drop:
                self.drop -= 1
                continue
            if self.cut or (self.lose and self.chance.one_in(self.lose)):
                continue
            if self.spoil and self.chance.one_in(self.spoil):
                spot = self.chance.below(len(frame))
                frame = frame[:spot] + bytes([self.chance.below(256)]) + frame[spot + 1 :]
            out += frame
            if self.double and self.chance.one_in(self.double):
                out += frame
        return out


class Board:
    """A board's application: executes commands, keeps records until they are acknowledged."""

    def __init__(self, nonce=b"board-01", **options):
        options.setdefault("window", 8)
        self.session = session(ROLE_BOARD, "board", "test", nonce, store_id=b"store-01", **options)
        self.session.source = self.shelf = Shelf()
        self.executed = []
        self.events = []
        self.answers = True

    @property
    def stored(self):
        """Numbers of records not yet acknowledged."""
        return sorted(self.shelf.records)

    def store(self, numbers):
        for number in numbers:
            self.shelf.put(number, body=(5, number, 0))

    def counts(self):
        return counts_of(self.session)

    def run(self, now_ms):
        event = self.session.event()
        while event is not None:
            self.events.append(event[0])
            if event[0] == "command":
                self.executed.append((event[2], event[3]))
                if self.answers:
                    self.session.reply(event[1], messages.DONE, len(self.executed))
            elif event[0] == "record_ack":
                self.shelf.keep([number for number in self.stored if number > event[1]])
            elif event[0] == "heartbeat":
                self.session.send_clock(event[1], now_ms // 1000, 0, now_ms // 1000, 500)
            event = self.session.event()


class Host:
    """A host's application: a disk of records that outlives it, and what became of its commands."""

    def __init__(self, nonce=b"host-001", disk=None, **options):
        self.session = session(ROLE_HOST, "host", "test", nonce, **options)
        self.disk = [] if disk is None else disk
        self.events = []
        self.replies = {}
        self.failed = []
        self.saves = True

    def run(self, now_ms):
        session = self.session
        event = session.event()
        while event is not None:
            self.events.append(event)
            if event[0] == "hello":
                session.acknowledge(self.disk[-1] if self.disk else 0)
            elif event[0] == "record":
                if self.saves:
                    self.disk.append(event[1])
                    session.acknowledge(event[1])
            elif event[0] == "reply":
                assert event[1] not in self.replies, event
                self.replies[event[1]] = event[2:]
            elif event[0] == "failed":
                self.failed.append(event[1:])
            event = session.event()

    def names(self):
        return [event[0] for event in self.events]


class World:
    """A host, a board, the line between them, and the time, which starts just before it wraps."""

    def __init__(self, seed=1, host=None, board=None, start_ms=WRAP - 3000, **faults):
        self.seed = seed
        self.now_ms = start_ms
        self.host = host or Host()
        self.board = board or Board()
        chance = Chance(seed)
        self.down = Line(chance, **faults)
        self.up = Line(chance, **faults)

    def step(self):
        now_ms = self.now_ms
        for side in (self.host, self.board):
            side.session.tick(now_ms)
            side.run(now_ms)
        self._carry(self.host.session, self.board.session, self.down)
        self._carry(self.board.session, self.host.session, self.up)
        for side in (self.host, self.board):
            side.run(now_ms)
        self.now_ms = (now_ms + STEP_MS) % WRAP

    def run(self, duration_ms):
        for _ in range(duration_ms // STEP_MS):
            self.step()

    def until(self, condition, limit_ms=60000):
        """Time until `condition()` held, in ms; fails at the limit."""
        for steps in range(limit_ms // STEP_MS):
            if condition():
                return steps * STEP_MS
            self.step()
        raise AssertionError("never", self.seed, self.host.session.counts(), self.board.counts())

    def connect(self, limit_ms=2000):
        self.until(lambda: self.host.session.up and self.board.session.up, limit_ms)
        return self

    def replied(self, seq, limit_ms=2000):
        """Wait for the reply to `seq`."""
        return self.until(lambda: seq in self.host.replies, limit_ms)

    def acknowledged(self, limit_ms=60000):
        """Wait until the board is rid of all records."""
        return self.until(lambda: not self.board.stored, limit_ms)

    def _carry(self, sender, receiver, line):
        data = bytes(sender.outgoing(58))  # 5 ms at 115200 baud
        sender.sent(len(data))
        data = line.carry(data)
        if data:
            receiver.receive(data, len(data), self.now_ms)
