"""N talks to N - 2: old hosts with this board and old boards with this host, by the golden frames of each schema."""

import binascii

from forerun_wire import messages
from forerun_wire.cbor import Reader
from forerun_wire.framing import Deframer
from lane import Shelf, session, vectors
from wire_world import Board, Host, World

BOARD_NONCE = binascii.unhexlify("0011223344556677")
ORDINARY = [1234567, 123, 3, 5, 0, 15000, 14980, -12000, 230123, 49987, 783]
ORDINARY += [30000, 30000, 21000, 8123, 0, 17, 14400, 8123, 98123]
HOST_NONCE = binascii.unhexlify("fffefdfcfbfaf9f8")


def lines(schema):
    """{name: bytes on the line} of the good frames of a schema; names may end with the schema."""
    found = {}
    for case in vectors():
        if case["schema"] == schema and "value" in case:
            found[case["name"].split(", schema ")[0]] = case["line"]
    return found


def opened(data, schema):
    """The messages in `data`, which is of this schema."""
    deframer = Deframer(2048)
    found = []
    at = 0
    while at < len(data):
        at = deframer.feed(data, at, len(data))
        if deframer.size:
            kind = messages.peek_kind(deframer.buffer, 1)
            assert deframer.check(messages.seed_of(schema) if messages.seeded(kind) else 0), kind
            found.append(messages.decode(Reader(deframer.buffer, 1, 1 + deframer.size)))
    return found


def taken(side):
    events = []
    event = side.event()
    while event is not None:
        events.append(event)
        event = side.event()
    return events


def said(side):
    data = bytes(side.outgoing(1 << 14))
    side.sent(len(data))
    return data


def test_an_old_board_is_understood_by_this_host():
    assert len(messages.OLDER_SCHEMAS) >= 2
    for schema in messages.OLDER_SCHEMAS:
        golden = lines(schema)
        host = session(messages.ROLE_HOST, "host", "test", HOST_NONCE)
        batches = schema not in messages.BEFORE_BATCHES
        hello = golden["hello of a board with a key, answering" if batches else "hello of a board, answering"]
        host.receive(hello, len(hello), 0)
        events = taken(host)
        assert host.up and [event[0] for event in events] == ["hello"], (schema, events)
        assert events[0][1]["key_id"] == (0xABCDEF if batches else 0) and events[0][1]["identity"] == "unix-board"
        host.acknowledge(0)
        seq = host.command(messages.SETPOINT, 0, -30000, 10000)
        host.tick(1)
        told = opened(said(host), schema)
        assert [3, seq, 2, 0, -30000, 10000] in told and [7, 0] in told and told[-1][0] != messages.SEALED
        first = "records, one of each other kind" if batches else "record boot"
        later = "records after a gap" if batches else "record interval"
        for name in ("telemetry of an ordinary second", first):
            host.receive(golden[name], len(golden[name]), 2)
        events = taken(host)
        assert [event[0] for event in events[:2]] == ["telemetry", "record"]
        assert events[0][1] == ORDINARY
        assert events[1][1:] == (1, 1, 0, 0, messages.BOOT, [1, 0])
        assert [event[1] for event in events[2:]] == ([31, 32, 33] if batches else [])
        host.receive(golden[later], len(golden[later]), 3)  # follows on others, which were lost
        assert taken(host) == []


def test_an_old_host_is_understood_by_this_board():
    for schema in messages.OLDER_SCHEMAS:
        golden = lines(schema)
        board = session(messages.ROLE_BOARD, "board", "test", BOARD_NONCE)
        board.source = shelf = Shelf()
        hello = golden["hello of a host, µ in its name"]
        board.receive(hello, len(hello), 0)
        assert board.up and board.schema == schema
        assert [event[0] for event in taken(board)] == ["host"]
        said(board)
        line = golden["command setpoint, hold import"]  # seq 65535, which that hello begins with
        board.receive(line, len(line), 1)
        assert taken(board) == [("command", 65535, messages.SETPOINT, [1, 14700, 60000], messages.COMMISSION)]
        board.reply(65535, messages.DONE)
        board.send_telemetry(list(range(20)))
        assert [message[0] for message in opened(said(board), schema)] == [messages.REPLY, messages.TELEMETRY_ARRAY]
        for number in (1, 2, 300, 70000):
            shelf.put(number, 41, 5, 6, messages.EVENT, (9, -1, 2))
        line = golden["record_ack of nothing"]
        board.receive(line, len(line), 2)
        numbers = ((1, 0), (2, 1), (300, 2), (70000, 300))
        if schema in messages.BEFORE_BATCHES:
            expected = [[6, number, previous, 41, 5, 6, messages.EVENT, 9, -1, 2] for number, previous in numbers]
        else:
            expected = [[11, 0] + [[number, 41, 5, 6, messages.EVENT, 9, -1, 2] for number, _ in numbers]]
        assert opened(said(board), schema) == expected
        line = golden["heartbeat"]
        board.receive(line, len(line), 3)
        assert ("heartbeat", 7) in taken(board)


def test_they_find_to_each_other_whoever_speaks_first():
    for schema in messages.OLDER_SCHEMAS:
        for first in (0, 1):
            world = World(host=Host(schema=schema))
            (world.down if first else world.up).cut = True
            world.run(700)
            world.down.cut = world.up.cut = False
            world.connect()
            assert world.board.session.schema == schema
            world.board.store(range(1, 30))
            world.acknowledged()
            assert world.host.disk == list(range(1, 30))
            world.replied(world.host.session.command(messages.INFO))
            world.host = Host(b"host-new")  # the host is updated: from then on both speak the newest
            world.connect()
            assert world.board.session.schema == messages.SCHEMA_HASH


def test_an_old_host_has_no_way_around_a_key():
    from forerun_wire import auth

    board = Board()
    board.session.keys = auth.board_keys(bytes(range(32)))
    world = World(host=Host(schema=messages.OLDER_SCHEMAS[0]), board=board).connect()
    world.board.store(range(1, 5))
    seen = []
    tell = board.session._tell
    board.session._tell = lambda event: (seen.append(event), tell(event))
    world.replied(world.host.session.command(messages.SETPOINT, 0, 1, 1000))
    assert [event[4] for event in seen if event[0] == "command"] == [messages.READ]
    assert world.board.stored == [1, 2, 3, 4]
