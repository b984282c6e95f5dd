"""Sessions: how the two ends meet, lose and find each other again, and whom they refuse."""

from forerun_wire import messages
from forerun_wire.framing import FrameQueue
from forerun_wire.messages import ROLE_BOARD, ROLE_HOST, elapsed_ms
from lane import session
from wire_world import TELEMETRY, WRAP, Board, Host, World

OTHER_SCHEMA = b"\xcd\x34schema"


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
