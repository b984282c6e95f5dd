"""Sessions over a line that loses, doubles and spoils frames, in injected time: what each side may rely on."""

from forerun_wire import messages
from forerun_wire.framing import FrameQueue
from forerun_wire.host import COMMANDS_MAX, counts_of
from forerun_wire.messages import ROLE_BOARD, ROLE_HOST, elapsed_ms
from lane import Chance, Shelf, session

STEP_MS = 5
WRAP = 1 << 30
OTHER_SCHEMA = b"\xcd\x34schema"
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


def test_they_meet_at_once_and_say_who_they_are():
    world = World()
    assert world.until(lambda: world.host.session.up and world.board.session.up) <= 60
    world.step()
    name, hello = world.host.events[0]
    assert name == "hello" and hello["store_id"] == b"store-01" and hello["identity"] == "board"
    assert world.board.events[0] == "host"


def test_they_meet_whoever_is_late_and_whatever_first_frames_are_lost():
    for seed in range(1, 13):
        world = World(seed, lose=2)
        (world.down if seed % 2 else world.up).cut = True
        world.run(1700)
        world.down.cut = world.up.cut = False
        world.connect(20000)


def test_quiet_line_once_both_are_up():
    world = World().connect()
    world.until(lambda: world.host.session.heartbeat_count == 240, 65000)  # in the first minute they are more frequent
    world.run(500)
    frames = world.board.counts()["frames_out"], world.host.session.counts()["frames_out"]
    world.run(10000)
    # One heartbeat, one clock, one repeated acknowledgement a second.
    assert world.board.counts()["frames_out"] - frames[0] == 10
    assert world.host.session.counts()["frames_out"] - frames[1] == 20
    assert world.board.events.count("record_ack") == 1
    assert "lost" not in world.host.names() and "lost" not in world.board.events


def test_commands_over_a_bad_line_execute_once_and_in_order():
    for seed in (3, 4, 5, 6):
        world = World(seed, lose=8, double=6, spoil=9)
        world.connect(20000)
        seqs = []
        for i in range(40):
            seqs.append(world.host.session.command(messages.SETPOINT, 0, i, 1000))
            world.run(STEP_MS * (i % 4))
        for seq in seqs:
            world.replied(seq, 60000)
        assert [args[1] for _, args in world.board.executed] == list(range(40)), seed
        for i in range(40):
            assert world.host.replies[seqs[i]] == (messages.SETPOINT, messages.DONE, [i + 1]), (seed, i)
        assert world.host.session.counts()["retransmissions"] > 0, seed
        assert not world.host.failed, seed


def test_records_over_a_bad_line_none_lost_none_twice_in_order():
    for seed in (11, 12, 13, 14):
        world = World(seed, lose=8, double=6, spoil=9)
        world.board.store([number for number in range(1, 260) if number % 10])  # a store that dropped some
        expected = list(world.board.stored)
        world.acknowledged(240000)
        assert world.host.disk == expected, seed
        assert world.board.counts()["retransmissions"] > 0, seed


def test_records_wait_for_the_host_to_say_what_it_has():
    world = World()
    world.host.disk.append(41)
    world.board.store((41,))
    world.until(lambda: "record_ack" in world.board.events)
    frames = world.board.counts()["frames_out"]
    world.run(50)
    assert world.board.counts()["frames_out"] == frames  # the host has it
    world.board.store((41, 42, 43))
    world.acknowledged()
    assert world.host.disk == [41, 42, 43]


def test_a_record_is_acknowledged_only_when_the_application_says_so():
    world = World().connect()
    world.host.saves = False
    world.board.store((1, 2, 3))
    world.run(5000)
    delivered = [event[1] for event in world.host.events if event[0] == "record"]
    assert delivered == [1, 2, 3]  # once each
    assert world.board.counts()["retransmissions"] == 0  # the host said that it came, though it is not on disk
    assert world.board.stored == [1, 2, 3]
    world.host.session.acknowledge(2)
    world.run(100)
    assert world.board.stored == [3]


def test_records_that_were_delivered_but_not_saved_come_again_in_a_new_session():
    world = World().connect()
    world.host.saves = False
    world.board.store(range(1, 40))
    world.run(2000)
    world.host.saves = True
    world.host.session.restart()
    world.acknowledged()
    assert world.host.disk == list(range(1, 40))


def test_window_of_records_is_never_exceeded():
    world = World(host=Host(window=4)).connect()
    world.host.saves = False
    world.board.store(range(1, 220))
    world.run(3000)
    delivered = [event[1] for event in world.host.events if event[0] == "record"]
    assert delivered == list(range(1, len(delivered) + 1)) and len(delivered) <= 4 * 20
    assert len(world.board.session._outbox) == 4


def test_no_more_bytes_are_under_way_than_the_peer_has_room_for():
    world = World(host=Host(buffer=700)).connect()
    world.host.saves = False
    world.board.store(range(1, 220))
    world.run(3000)
    sizes = [entry[2] for entry in world.board.session._outbox._entries]
    assert sum(sizes[:-1]) < 700 <= sum(sizes) and max(sizes) <= 504, sizes
    world = World(board=Board(buffer=300)).connect()
    world.board.answers = False
    for i in range(8):
        world.host.session.command(messages.PLAN_POINTS, 1, i, *([900, 1, 15000] * 10))
    world.run(300)
    assert len(world.board.executed) == 3  # of 91 bytes each


def test_lost_frames_alone_are_sent_again_and_at_once():
    world = World().connect()
    world.run(1100)
    world.host.saves = False
    world.board.store(range(1, 200))
    world.until(lambda: len(world.host.names()) > 40)
    world.up.drop = 1
    world.run(400)
    counts = world.board.counts()
    assert counts["retransmissions"] == 1, counts
    world.board.session.source = None
    world = World().connect()
    world.run(100)
    world.down.drop = 1
    seqs = [world.host.session.command(messages.SETPOINT, 0, i, 9) for i in range(5)]
    took_ms = max(world.replied(seq, 1000) for seq in seqs)
    assert took_ms < 250 and world.host.session.counts()["retransmissions"] == 1
    assert [args[1] for _, args in world.board.executed] == list(range(5))


def test_a_store_that_drops_what_is_under_way_does_not_hold_the_rest_back():
    world = World().connect()
    world.up.cut = True
    world.board.store(range(1, 100))
    world.run(300)
    world.board.shelf.keep(range(50, 100))
    world.up.cut = False
    world.acknowledged()
    assert world.host.disk == list(range(50, 100))


def test_retransmission_gives_up_and_says_so():
    world = World().connect()
    world.board.answers = False
    seq = world.host.session.command(messages.INFO)
    world.run(2000)
    assert world.host.failed == [] and world.board.executed == [(messages.INFO, [])]
    world.until(lambda: world.host.failed, 15000)
    assert world.host.failed == [(seq, messages.INFO)]
    assert "lost" in world.host.names()
    # A new session follows, in which commands work.
    world.board.answers = True
    world.connect()
    seq = world.host.session.command(messages.INFO)
    world.replied(seq, 1000)
    assert len(world.board.executed) == 2


def test_silent_board_is_lost_and_found():
    world = World().connect()
    seq = world.host.session.command(messages.SETPOINT, 0, 1, 2)
    world.up.cut = world.down.cut = True
    took_ms = world.until(lambda: "lost" in world.host.names())
    assert 4900 <= took_ms <= 5200, took_ms
    assert world.host.failed == [(seq, messages.SETPOINT)]
    assert world.host.session.command(messages.INFO) is None
    took_ms = world.until(lambda: "lost" in world.board.events)
    assert 4900 <= took_ms <= 5200, took_ms  # 10 s in all
    assert not world.board.session.send_telemetry(TELEMETRY)
    world.up.cut = world.down.cut = False
    world.connect()
    world.run(100)
    assert world.host.names().count("hello") == 2 and world.board.events.count("host") == 2
    seq = world.host.session.command(messages.PLAN_CLEAR)
    world.replied(seq, 1000)
    assert world.board.executed == [(messages.PLAN_CLEAR, [])]


def test_one_way_break_ends_in_a_new_session_too():
    for way in ("up", "down"):
        world = World().connect()
        getattr(world, way).cut = True
        world.run(30000)
        getattr(world, way).cut = False
        world.connect()
        seq = world.host.session.command(messages.INFO)
        world.replied(seq)


def test_restarted_board_is_a_new_session_and_its_commands_are_reported():
    world = World().connect()
    world.board.answers = False
    seqs = [world.host.session.command(messages.SETPOINT, 0, i, 9) for i in range(3)]
    world.run(100)
    world.board = Board(b"board-02")
    took_ms = world.until(lambda: world.host.names().count("hello") == 2, 1000)
    assert took_ms <= 100, took_ms  # at its first hello, not at the next repetition
    assert world.host.failed == [(seq, messages.SETPOINT) for seq in seqs]
    assert "lost" not in world.host.names()
    seq = world.host.session.command(messages.INFO)
    assert seq not in seqs
    world.replied(seq, 1000)
    assert world.board.executed == [(messages.INFO, [])]


def test_restarted_host_goes_on_from_its_disk():
    world = World().connect()
    world.board.store(list(range(1, 40)))
    world.until(lambda: len(world.host.disk) > 10)
    seq = world.host.session.command(messages.INFO)
    world.replied(seq)
    world.host = Host(b"host-002", disk=world.host.disk)
    world.acknowledged()
    assert world.host.disk == list(range(1, 40))
    # Its first command has the number that the old host's first one had, and is no duplicate of that.
    seq = world.host.session.command(messages.PLAN_CLEAR)
    world.replied(seq, 1000)
    assert world.board.executed == [(messages.INFO, []), (messages.PLAN_CLEAR, [])]


def test_sequence_numbers_wrap():
    world = World(7, lose=6).connect()
    for side in (world.host.session, world.board.session):
        side._next_seq = 65530
    seqs = []
    for i in range(20):
        seqs.append(world.host.session.command(messages.SETPOINT, 0, i, 1))
    world.until(lambda: len(world.host.replies) == 20)
    assert seqs == [(65530 + i) & 0xFFFF for i in range(20)]
    assert [args[1] for _, args in world.board.executed] == list(range(20))


def test_window_full_the_rest_waits_its_turn():
    world = World(host=Host(window=3)).connect()
    world.board.answers = False
    for i in range(COMMANDS_MAX):
        world.host.session.command(messages.SETPOINT, 0, i, 1)
    try:
        world.host.session.command(messages.INFO)
        raise AssertionError("one too many")
    except ValueError:
        pass
    world.run(300)
    assert len(world.board.executed) == 3
    world.board.session.reply(0, messages.DONE)
    world.run(100)
    assert len(world.board.executed) == 4


def test_a_reply_counts_once_and_only_for_a_running_command():
    world = World().connect()
    seq = world.host.session.command(messages.INFO)
    world.replied(seq)
    frames = world.board.counts()["frames_out"]
    world.board.session.reply(seq, messages.BUSY, "again")
    world.board.session.reply(999, messages.DONE)
    assert world.board.counts()["frames_out"] == frames


def test_too_long_for_the_board_is_said_before_it_is_sent():
    world = World(board=Board(max_frame=256)).connect()
    try:
        world.host.session.command(messages.PLAN_POINTS, 1, 0, *([900, 1, 15000] * 60))
        raise AssertionError("too long")
    except ValueError as error:
        assert "bytes" in str(error)
    seq = world.host.session.command(messages.INFO)
    world.replied(seq, 1000)


def test_telemetry_is_dropped_not_queued_when_the_line_is_behind():
    world = World().connect()
    world.run(50)
    sent = sum(world.board.session.send_telemetry(TELEMETRY) for _ in range(100))
    assert 10 < sent < 60
    world.run(1000)
    assert world.host.names().count("telemetry") == sent
    assert world.host.events[-1][0] in ("telemetry", "clock")
    values = [event[1] for event in world.host.events if event[0] == "telemetry"]
    assert values[0] == TELEMETRY


def test_clock_answers_carry_the_times_of_their_heartbeat():
    world = World().connect()
    world.run(3000)
    clocks = [event for event in world.host.events if event[0] == "clock"]
    assert [event[1] for event in clocks] == list(range(1, 13))
    for _, _, rx_s, _, _, tx_us, sent_ms, received_ms in clocks:
        assert tx_us == 500 and rx_s >= 0
        assert 0 <= elapsed_ms(received_ms, sent_ms) <= 50


def test_late_clock_answer_is_not_taken_for_the_latest():
    world = World().connect()
    world.run(2500)
    world.board.session.send_clock(world.host.session.heartbeat_count - 1, 7, 0, 7, 0)
    world.run(100)
    assert not [event for event in world.host.events if event[0] == "clock" and event[2] == 7]


def test_first_hello_is_read_behind_half_a_frame():
    host = Host().session
    board = Board().session
    host.receive(b"\x30half a frame of the board before it was reset", 40, 0)
    board.tick(0)
    line = bytes(board.outgoing(500))
    host.receive(line, len(line), 1)
    assert host.peer is not None and host.peer[messages.HELLO_NONCE] == b"board-01"


def test_hellos_without_end_fill_no_memory():
    queue = FrameQueue(512)
    board = Board().session
    for i in range(400):
        nonce = b"host" + bytes([65, 65, i >> 8, i & 0xFF])
        hello = (1, board.schema, ROLE_HOST, nonce, "host", "t", 512, 8, bytes(8), 0, board.nonce, 0)
        queue.commit(messages.encode(queue.buffer, queue.reserve() + 1, messages.HELLO, hello), 0)
        line = bytes(queue.outgoing(512))
        queue.sent(len(line))
        board.receive(line, len(line), i)
        board.sent(len(board.outgoing(4096)))
    assert len(board._events) <= 128
    assert not board.up  # whoever does not read what the board answers is not heard


def test_another_schema_is_said_in_a_sentence_and_nothing_wedges():
    world = World(host=Host(schema=OTHER_SCHEMA), board=Board())
    world.run(3000)
    assert world.host.names() == ["mismatch"]
    sentence = world.host.events[0][1]
    ours, theirs = OTHER_SCHEMA.hex()[:8], messages.SCHEMA_HASH.hex()[:8]
    assert sentence == (
        f"board speaks schema {theirs}, this host {ours}: update the board with `forerun board flash`"
    ), sentence
    assert world.board.events == ["refused"]
    assert not world.host.session.up and not world.board.session.up
    world.board = Board(b"board-02", schema=OTHER_SCHEMA)
    world.connect()
    seq = world.host.session.command(messages.INFO)
    world.replied(seq, 1000)


def test_another_wire_version_is_said_in_a_sentence():
    world = World()
    host = world.host.session
    queue = FrameQueue(512)
    hello = (2, host.schema, ROLE_BOARD, b"board-09", "board", "later", 512, 8, bytes(8), 0, host.nonce, 0, "more")
    queue.commit(messages.encode(queue.buffer, queue.reserve() + 1, messages.HELLO, hello), 0)
    line = bytes(queue.outgoing(512))
    host.receive(line, len(line), 0)
    assert host.event() == (
        "mismatch",
        "board speaks wire version 2, this host 1: update the board with `forerun board flash`",
    )
    assert host.event() is None and not host.up


def test_own_echo_is_said_and_not_taken_for_a_board():
    host = Host()
    for step in range(600):
        host.session.tick(step * 5)
        data = bytes(host.session.outgoing(500))
        host.session.sent(len(data))
        if data:
            host.session.receive(data, len(data), step * 5)
        host.run(step * 5)
    assert host.names() == ["mismatch"]
    assert "echo" in host.events[0][1]


def test_second_host_takes_over_with_a_new_session():
    world = World().connect()
    world.host.session.command(messages.INFO)
    world.run(100)
    world.host = Host(b"host-two")
    world.connect()
    seq = world.host.session.command(messages.PLAN_CLEAR)
    world.replied(seq, 1000)
    assert world.board.events.count("host") == 2
    assert world.board.executed == [(messages.INFO, []), (messages.PLAN_CLEAR, [])]


def test_unknown_kind_is_answered():
    world = World().connect()
    world.host.run(0)
    world.host.session._send(30, (1,))
    world.run(50)
    assert ("not_understood", 30) in world.host.events
    assert world.board.counts()["unknown_kind"] == 1


def test_fields_of_a_later_version_are_skipped():
    world = World().connect()
    later = list(TELEMETRY)
    later.extend((77, 78))
    world.board.session.send_telemetry(later)
    world.run(50)
    assert ("telemetry", TELEMETRY) in world.host.events


def test_events_that_nobody_takes_are_bounded_and_records_survive_it():
    world = World().connect()
    world.run(50)
    numbers = list(range(1, 120))
    host = world.host
    host.run(world.now_ms)
    world.host.run = lambda now_ms: None
    for _ in range(100):
        world.board.session.send_telemetry(TELEMETRY)
        world.run(30)
    assert len(host.session._events) <= 130
    assert host.session.counts()["dropped"] > 0
    world.board.store(numbers)
    world.run(1000)
    world.host = Resumed(host)
    world.acknowledged()
    assert host.disk == numbers


class Resumed:
    """The host's application, awake again."""

    def __init__(self, host):
        self.session = host.session
        self.run = lambda now_ms: Host.run(host, now_ms)


def test_deadline_is_when_something_happens():
    world = World().connect()
    world.run(1000)
    for side in (world.host.session, world.board.session):
        wait_ms = side.next_deadline_ms(world.now_ms)
        assert 0 < wait_ms <= 1000
    host = world.host.session
    frames = host.counts()["frames_out"]
    wait_ms = host.next_deadline_ms(world.now_ms)
    host.tick((world.now_ms + wait_ms - 1) % WRAP)
    assert host.counts()["frames_out"] == frames
    host.tick((world.now_ms + wait_ms) % WRAP)
    assert host.counts()["frames_out"] > frames
    host.command(messages.INFO)
    assert host.next_deadline_ms((world.now_ms + wait_ms) % WRAP) == 0


def test_elapsed_time_over_the_wrap():
    assert elapsed_ms(5, WRAP - 5) == 10
    assert elapsed_ms(WRAP - 1, 0) == WRAP - 1
    assert elapsed_ms(7, 7) == 0


def test_parameters_that_cannot_work_are_refused():
    for options in ({"nonce": b"short"}, {"max_frame": 64}, {"window": 17}, {"window": 0}, {"identity": "x" * 65}):
        values = {"identity": "i", "software": "s", "nonce": b"8 bytes!"}
        values.update(options)
        try:
            session(ROLE_HOST, **values)
            raise AssertionError(options)
        except ValueError:
            pass
