"""protocol/README.md is enough: a host written from the page alone, against the vectors and against a board's session.

Nothing of forerun_wire is on the host's side of it.
"""

import hashlib
import hmac
import json
import re
import struct
import sys
import zlib
from itertools import pairwise
from pathlib import Path

from forerun_wire import auth
from forerun_wire import messages as m
from forerun_wire.board import BoardSession

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "both"))
from lane import Shelf  # noqa: E402

PAGE = (ROOT / "protocol" / "README.md").read_text()
CDDL = (ROOT / "protocol" / "forerun.cddl").read_text()
BARE = "".join("".join(line.split(";")[0] for line in CDDL.splitlines()).split())
SCHEMA = hashlib.sha256(BARE.encode()).digest()[:8]
SEED = zlib.crc32(SCHEMA)


def head(major, argument):
    """Deterministic CBOR: the shortest head."""
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(i for i in range(4) if argument < 1 << (8 << i))
    return bytes([major << 5 | 24 + size]) + argument.to_bytes(1 << size, "big")


def encode(value):
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(encode, value))


def decode(data, at=0):
    """(value, index behind it)"""
    major, argument = data[at] >> 5, data[at] & 31
    at += 1
    if argument >= 24:
        size = 1 << argument - 24
        argument, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major < 2:
        return (argument if major == 0 else -1 - argument), at
    if major in (2, 3):
        text = data[at : at + argument]
        return (text if major == 2 else text.decode()), at + argument
    assert major == 4
    items = []
    for _ in range(argument):
        item, at = decode(data, at)
        items.append(item)
    return items, at


def frame(message):
    payload = encode(message)
    data = payload + zlib.crc32(payload, 0 if message[0] in (0, 8, 9) else SEED).to_bytes(4, "little")
    out, block = b"", b""
    for byte in data:
        if byte:
            block += bytes([byte])
        if not byte or len(block) == 254:
            out += bytes([len(block) + 1]) + block
            block = b""
    if data[-1] == 0 or block or not out:
        out += bytes([len(block) + 1]) + block
    return out + b"\0"


def opened(line, seed=SEED):
    """The message of one frame; None for one to be dropped."""
    data, at, line = bytearray(), 0, line[:-1]
    while at < len(line):
        code = line[at]
        if at + code > len(line):
            return None
        data += line[at + 1 : at + code]
        at += code
        if code < 255 and at < len(line):
            data.append(0)
    payload = bytes(data[:-4])
    if len(payload) < 1:
        return None
    kind = payload[2] if payload[0] == 0x98 else payload[1]
    crc = zlib.crc32(payload, 0 if kind in (0, 8, 9) else seed)
    return decode(payload)[0] if crc == int.from_bytes(data[-4:], "little") else None


def page_layout():
    """The fields of telemetry by the page's table: (index, bytes, name, signed), in order."""
    table = PAGE.split("### Telemetry")[1].split("### Operations")[0]
    cells = re.findall(r"\| (\d+) \| (\d) \| (\w+) \| ([^|]*)", table)
    return sorted((int(at), int(size), name, words.startswith("signed")) for at, size, name, words in cells)


def telemetry(packed):
    found = {}
    for at, size, name, signed in page_layout():
        value = int.from_bytes(packed[at : at + size], "big") - int.from_bytes(size * b"\2", "big")
        found[name] = value - (1 << 8 * size) if signed and value >= 1 << 8 * size - 1 else value
    return found


def cases():
    for line in (ROOT / "protocol/vectors.jsonl").read_text().splitlines():
        case = json.loads(line)
        if case["schema"] == SCHEMA.hex():
            yield case, bytes.fromhex(case["hex"])


def plain(value):
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else (
        [plain(item) for item in value] if isinstance(value, list) else value)  # fmt: skip


def test_every_vector_both_ways():
    good = 0
    for case, line in cases():
        if "value" in case:
            assert opened(line) == plain(case["value"]), case["name"]
            assert frame(plain(case["value"])) == line, case["name"]
            good += 1
        elif case["dropped"] in ("bad_crc", "bad_cobs"):
            assert opened(line) is None, case["name"]
    assert good > 50


def test_telemetry_by_the_page_s_table():
    layout = page_layout()
    assert [entry[2] for entry in layout] == list(m.TELEMETRY_FIELDS) and sum(entry[1] for entry in layout) == 62
    assert all(after[0] == before[0] + before[1] for before, after in pairwise(layout))
    found = 0
    for case, _ in cases():
        if "telemetry" in case:
            assert list(telemetry(plain(case["value"][1])).values()) == case["telemetry"], case["name"]
            found += 1
    assert found >= 5


def test_a_host_from_the_page_meets_a_board_orders_and_takes_its_records():
    key = bytes(range(32))
    board = BoardSession("board", "test", b"board-01", store_id=b"store-01", boot_count=3)
    board.keys = auth.board_keys(key)
    board.source = shelf = Shelf()
    for number in (1, 2, 3):
        shelf.put(number)
    nonce, board_nonce = b"from-the", None
    operate = hmac.digest(key, b"operate", "sha256")
    heard, line, disk, freed, now_ms = [], b"", 0, 0, 0

    def tag(who, counter, inner):
        data = board_nonce + nonce + bytes([who]) + struct.pack(">I", counter) + inner
        return hmac.digest(operate, data, "sha256")[:8]

    def say(message, counter=None):
        if counter is not None:
            inner = encode(message)
            message = [10, 1, counter, tag(1, counter, inner), inner]
        data = frame(message)
        board.receive(data, len(data), now_ms)

    def hello(heard_nonce):
        say([0, 1, SCHEMA, 1, nonce, "page", "", 512, 8, bytes(8), 0, heard_nonce, 100, 0, 0])

    say_hello = True
    for now_ms in range(0, 3000, 10):
        board.tick(now_ms)
        while (event := board.event()) is not None:
            if event[0] == "command":
                heard.append(event)
                board.reply(event[1], m.DONE, 7)
            elif event[0] == "record_ack":
                freed = event[1]
        data = bytes(board.outgoing(4096))
        board.sent(len(data))
        *lines, line = (line + data).split(b"\0")
        for part in lines:
            message = opened(part + b"\0") if part else None
            if message is None:
                continue
            if message[0] == 0:
                asked = message[11] == bytes(8)
                assert message[14] == int.from_bytes(hmac.digest(key, b"id", "sha256")[:3], "big")
                fresh, board_nonce = message[4] != board_nonce, message[4]
                if asked:
                    hello(board_nonce)
                if fresh:
                    say([7, 0], counter=0)  # nothing on disk yet
                    say([3, 100, 2, 0, -5000, 10_000], counter=0)
            elif message[0] == 11:
                assert message[1] <= disk
                disk = max(disk, message[-1][0])
                say([7, disk], counter=0)
            elif message[0] == 10:
                _, role, counter, code, inner = message
                assert code == tag(0x80 | role, counter, inner)
                heard.append(decode(inner)[0])
        if say_hello and now_ms >= 50:
            say_hello = False
            hello(bytes(8) if board_nonce is None else board_nonce)
    assert heard[0] == ("command", 100, m.SETPOINT, [0, -5000, 10_000], m.OPERATE)
    assert [4, 100, 0, 7] in heard
    assert disk == 3 and freed == 3
    values = [1, 2, 3, 4, *range(5, 21)]
    assert board.send_telemetry(values)
    message = opened(bytes(board.outgoing(100)))
    assert message[0] == 13 and list(telemetry(message[1]).values()) == values
