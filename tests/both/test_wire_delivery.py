"""What is sent over a line that loses, doubles and spoils frames: commands once and in order, records all and once."""

from forerun_wire import messages
from forerun_wire.host import COMMANDS_MAX, counts_of
from forerun_wire.messages import elapsed_ms
from wire_world import STEP_MS, TELEMETRY, Board, Host, World


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


def test_unknown_kind_is_answered():
    world = World().connect()
    world.host.run(0)
    world.host.session._send(30, (1,))
    world.run(50)
    assert ("not_understood", 30) in world.host.events
    assert world.board.counts()["unknown_kind"] == 1


def test_fields_of_a_later_version_are_skipped_and_missing_ones_are_told():
    world = World().connect()
    packed = bytearray(66)
    messages.encode_telemetry(packed, 0, TELEMETRY)
    packed = bytes(packed[4:])
    for sent in (packed + b"\x07\x08", packed[:-1]):
        world.board.session._send(messages.TELEMETRY, (sent,))
        world.run(50)
    assert [event for event in world.host.events if event[0] == "telemetry"] == [("telemetry", TELEMETRY)]
    assert counts_of(world.host.session)["bad_cbor"] == 1


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
