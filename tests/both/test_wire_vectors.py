"""Golden frames, made by other code (protocol/make_vectors.py): encode == bytes, bytes == decode, bad ones dropped."""

from forerun_wire import messages
from forerun_wire.cbor import Reader
from forerun_wire.framing import Deframer, FrameQueue
from forerun_wire.host import counts_of, telemetry_values
from lane import session, vectors

HOST_NONCE = b"hosthost"


def seed_for(case, kind):
    return messages.seed_of(case["schema"]) if messages.seeded(kind) else 0


def board_with_host(schema):
    """A board's session that is up, and the seed of its frames."""
    board = session(messages.ROLE_BOARD, "board", "test", b"boardbrd", schema=schema)
    hello = (1, schema, messages.ROLE_HOST, HOST_NONCE, "host", "test", 512, 8, bytes(8), 0, board.nonce, 0)
    queue = FrameQueue(512)
    queue.commit(messages.encode(queue.buffer, queue.reserve() + 1, messages.HELLO, hello), 0)
    line = bytes(queue.outgoing(512))
    board.receive(line, len(line), 0)
    assert board.event()[0] == "host"
    return board


def test_encode_is_the_golden_bytes():
    for case in vectors():
        if "value" in case:
            kind = case["value"][0]
            queue = FrameQueue(2048)
            end = messages.encode(queue.buffer, queue.reserve() + 1, kind, case["value"][1:])
            queue.commit(end, seed_for(case, kind))
            assert bytes(queue.outgoing(4096)) == case["line"], case["name"]


def test_telemetry_of_the_board_makes_the_same_bytes_and_the_host_reads_them_back():
    found = 0
    for case in vectors():
        if "telemetry" in case:
            values = case["telemetry"]
            assert telemetry_values(case["value"][1]) == values, case["name"]
            if "later version" not in case["name"]:
                queue = FrameQueue(512)
                end = messages.encode_telemetry(queue.buffer, queue.reserve() + 1, values)
                queue.commit(end, seed_for(case, messages.TELEMETRY))
                assert bytes(queue.outgoing(512)) == case["line"], case["name"]
            found += 1
    assert found >= 5


def test_decode_is_the_golden_value():
    kinds = set()
    for case in vectors():
        if "value" in case:
            deframer = Deframer(2048)
            assert deframer.feed(case["line"], 0, len(case["line"])) == len(case["line"]), case["name"]
            kind = messages.peek_kind(deframer.buffer, 1)
            assert deframer.check(seed_for(case, kind)), case["name"]
            value = messages.decode(Reader(deframer.buffer, 1, 1 + deframer.size))
            assert value == case["value"], case["name"]
            kinds.add(value[0])
    assert kinds == set(range(len(messages.KINDS)))


def test_bad_frames_are_counted_and_the_next_one_is_read():
    names = set()
    for case in vectors():
        if "dropped" in case:
            board = board_with_host(case["schema"])
            before = counts_of(board)
            board.receive(case["line"], len(case["line"]), 1)
            assert board.event() is None, case["name"]
            after = counts_of(board)
            for counter in ("bad_crc", "bad_cobs", "bad_cbor", "oversize", "unknown_kind"):
                expected = before[counter] + (counter == case["dropped"])
                assert after[counter] == expected, (case["name"], counter, after)
            names.add(case["dropped"])
            queue = FrameQueue(512)
            end = messages.encode(queue.buffer, queue.reserve() + 1, messages.HEARTBEAT, (9,))
            queue.commit(end, messages.seed_of(case["schema"]))
            line = bytes(queue.outgoing(512))
            board.receive(line, len(line), 2)
            assert board.event() == ("heartbeat", 9), case["name"]
    assert len(names) == 5
