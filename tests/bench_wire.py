"""The wire against its goals and its neighbours, as JSON lines: part of `make bench`, or python -m tests.bench_wire,
with the names of functions here to run these alone.

Records over a line of 921600 baud that is kept to its pace; a telemetry frame beside JSON lines, SMP's serial framing
(PyPI smp) and MAVLink 2 (PyPI pymavlink), each where it is installed; clock under jitter; time from plug to stream.
"""

import json
import math
import os
import pty
import random
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "both")]

BAUD = 921_600
BYTES_PER_S = BAUD // 10
RECORDS = 1900
SAMPLE = (86399, 999, 2, 5, 0, 12000, 11980, 11700, 221345, 49987, 731, 30000, 30000, 23680, 8120, 0, 41, 300000, 41234,
          98304)  # fmt: skip


def tell(name: str, **figures) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


class Board:
    """The real interpreter by the wall clock, its link in our hands, nobody on its bus."""

    def __init__(self, folder: Path):
        from forerun.plant.board import BoardProcess

        self.process = BoardProcess(folder / "flash", lockstep=False)
        self.fd = self.process.link_fd

    def __enter__(self):
        self.process.power_on()
        return self

    def __exit__(self, *exc):
        self.process.close()


def goodput() -> None:
    """Bytes of records, as the journal gets them, over the time that they took, as a part of what the line carries."""
    from forerun.store.journal import Journal
    from forerun_board.records import Records
    from forerun_wire import messages as m
    from forerun_wire.host import HostSession

    shares = []
    for seed in range(5):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "flash").mkdir()
            store = Records(str(folder / "flash"))
            chance = random.Random(seed)
            for number in range(RECORDS):
                body = [300, *(chance.randrange(10**6, 10**8) for _ in range(6)), 14_000, 229_000, 731, 0, 57]
                store.add(1, 300 * number, 5, m.INTERVAL, body)
                store.flush()
            with Board(folder) as board, Journal(folder / "journal.forerun") as journal:
                host = HostSession("bench", "bench", os.urandom(8))
                begun = ended = None
                last = size = 0
                start = time.monotonic()
                allowed_from, allowed = start, 0.0
                while last < RECORDS and time.monotonic() - start < 30:
                    now = time.monotonic()
                    allowed = min(allowed + (now - allowed_from) * BYTES_PER_S, 0.004 * BYTES_PER_S)
                    allowed_from = now
                    now_ms = int(now * 1000) & 0x3FFFFFFF
                    if allowed >= 1 and select.select([board.fd], [], [], 0)[0]:
                        data = os.read(board.fd, int(allowed))
                        allowed -= len(data)
                        host.receive(data, len(data), now_ms)
                    fresh = False
                    while (event := host.event()) is not None:
                        if event[0] == "hello":
                            identity, store_id = event[1]["identity"], event[1]["store_id"]
                            host.acknowledge(0)
                        elif event[0] == "record":
                            begun, ended = begun or now, now
                            last = event[1]
                            fresh |= journal.append_record(0, identity, store_id, event[1], [*event[2:6], *event[6]])
                            size += _item_bytes(event)
                    if fresh:
                        journal.commit()
                        host.acknowledge(journal.on_disk(identity, store_id))
                    host.tick(now_ms)
                    data = bytes(host.outgoing(4096))
                    if data:
                        host.sent(os.write(board.fd, data))
                    time.sleep(0.0005)
                took = ended - begun
                assert last >= RECORDS, f"only {last} records came"
                shares.append(size / took / BYTES_PER_S)
    tell("record_goodput", baud=BAUD, of_line=[round(share, 3) for share in shares],
         median=round(statistics.median(shares), 3), kib_per_s=round(statistics.median(shares) * BYTES_PER_S / 1024, 1),
         goal=0.9)  # fmt: skip


def _item_bytes(event: tuple) -> int:
    from forerun_wire.cbor import pack

    return pack(bytearray(200), 0, [*event[1:6], *event[6]])


def beside() -> None:
    """One sample of 20 fields: bytes on the line, µs to encode and to decode on CPython, for each of the formats."""
    from forerun_wire import messages as m
    from forerun_wire.cbor import Reader
    from forerun_wire.framing import Deframer, FrameQueue
    from forerun_wire.host import telemetry_values

    seed, queue, deframer, reader = m.seed_of(m.SCHEMA_HASH), FrameQueue(512), Deframer(512), Reader(b"")

    def encode() -> bytes:
        queue.commit(m.encode_telemetry(queue.buffer, queue.reserve() + 1, SAMPLE), seed)
        line = bytes(queue.outgoing(512))
        queue.sent(len(line))
        return line

    def decode(line: bytes):
        deframer.feed(line, 0, len(line))
        assert deframer.check(seed)
        reader.set(deframer.buffer, 1, 1 + deframer.size)
        return telemetry_values(m.decode(reader)[1])

    named = dict(zip(m.TELEMETRY_FIELDS, SAMPLE, strict=True))
    _timed("forerun", encode, decode, list(SAMPLE))
    _timed("json_lines", lambda: json.dumps(named, separators=(",", ":")).encode() + b"\n", json.loads, named)
    try:
        import cbor2
        from smp import header, packet
    except ImportError as missing:
        tell("telemetry_beside", format="smp", skipped=str(missing))
    else:
        def smp() -> bytes:
            data = cbor2.dumps(named)
            head = header.Header(op=header.OP.WRITE, version=header.Version.V2, flags=header.Flag(0), length=len(data),
                                 group_id=64, sequence=1, command_id=1)  # fmt: skip
            return b"".join(packet.encode(bytes(head) + data))

        def smp_back(line: bytes):
            decoder = packet.decode()
            next(decoder)
            try:
                for part in line.split(b"\n")[:-1]:
                    decoder.send(part + b"\n")
            except StopIteration as done:
                return cbor2.loads(done.value[header.Header.SIZE :])
            return None

        _timed("smp_serial", smp, smp_back, named)
    try:
        from pymavlink.dialects.v20 import common
    except ImportError as missing:
        tell("telemetry_beside", format="mavlink2", skipped=str(missing))
    else:
        link = common.MAVLink(None, 1, 1)
        values = [float(value) for value in SAMPLE] + 38 * [0.0]

        def mavlink() -> bytes:
            return link.debug_float_array_encode(86_399_999_000, b"site", 1, values).pack(link)

        back = common.MAVLink(None, 1, 1)
        _timed("mavlink2_debug_float_array", mavlink, lambda line: back.parse_buffer(line)[0].data[:20],
               [float(value) for value in SAMPLE])  # fmt: skip


def _timed(name: str, encode, decode, expected) -> None:
    line = encode()
    got = decode(line)
    assert list(got) == list(expected) if not isinstance(expected, dict) else got == expected, (name, got)
    figures = []
    for call in (encode, lambda: decode(line)):
        rounds = []
        for _ in range(7):
            begun = time.perf_counter()
            for _ in range(1000):
                call()
            rounds.append((time.perf_counter() - begun) * 1000)
        figures.append(round(statistics.median(rounds), 1))
    tell("telemetry_beside", format=name, bytes=len(line), encode_us=figures[0], decode_us=figures[1])


def bytecodes() -> None:
    """Executed bytecodes of one encode on CPython, against those of json.dumps in Python, on it too."""
    from forerun_wire import messages as m

    buffer = bytearray(128)
    named = dict(zip(m.TELEMETRY_FIELDS, SAMPLE, strict=True))
    plain = json.encoder.JSONEncoder(separators=(",", ":"))
    kept, json.encoder.c_make_encoder = json.encoder.c_make_encoder, None
    try:
        ours = _count(lambda: m.encode_telemetry(buffer, 0, SAMPLE))
        theirs = _count(lambda: "".join(plain.iterencode(named)))
    finally:
        json.encoder.c_make_encoder = kept
    tell("encode_bytecodes", forerun=ours, json_in_python=theirs, share=round(ours / theirs, 3), goal=0.333)


def _count(call) -> int:
    counted = [0]

    def trace(frame, event, _):
        frame.f_trace_opcodes = True
        counted[0] += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return counted[0]


ON_MICROPYTHON = """
import json, sys, time
sys.path.insert(0, {protocol!r})
from forerun_wire.framing import FrameQueue
from forerun_wire.messages import TELEMETRY, encode_telemetry, seed_of
values = {sample!r}
named = dict(zip({names!r}, values))
buffer, queue, seed = bytearray(128), FrameQueue(512), seed_of(b"schema..")
def frame():
    queue.commit(encode_telemetry(queue.buffer, queue.reserve() + 1, values), seed)
    queue.sent(queue.tail - queue.head)
calls = (("nothing", lambda: None), ("encode", lambda: encode_telemetry(buffer, 0, values)), ("frame", frame),
         ("json", lambda: json.dumps(named)))
which, count = sys.argv[1], int(sys.argv[2])
for name, call in calls:
    if which in (name, "all"):
        best = 1 << 30
        for _ in range(9 if which == "all" else 1):
            begun = time.ticks_us()
            for _ in range(count):
                call()
            best = min(best, time.ticks_diff(time.ticks_us(), begun))
        print(name, best / count)
"""


def on_micropython() -> None:
    """Encode, the whole frame (with CRC and COBS), and json.dumps, which is in C there, on the unix port.

    In µs, best of nine; where valgrind is, also in instructions of the processor, which other work on the machine does
    not change: a byte code of Python and a line of C are counted alike.
    """
    from forerun.plant.board import find_interpreter
    from forerun_wire.names import TELEMETRY_FIELDS

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "encode.py"
        script.write_text(ON_MICROPYTHON.format(protocol=str(ROOT / "protocol"), sample=SAMPLE, names=TELEMETRY_FIELDS))
        command = [find_interpreter(), str(script)]
        done = subprocess.run([*command, "all", "500"], capture_output=True, text=True, check=True)
        took = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
        tell("encode_micropython_us", **{name: round(value, 2) for name, value in took.items()},
             share=round(took["encode"] / took["json"], 3), goal=0.333)  # fmt: skip
        if not shutil.which("valgrind"):
            tell("encode_micropython_instructions", skipped="valgrind is not installed")
            return
        counts = {name: _instructions(command, name) for name in ("nothing", "encode", "frame", "json")}
        cost = {name: counts[name] - counts["nothing"] for name in ("encode", "frame", "json")}
        tell("encode_micropython_instructions", **cost, share=round(cost["encode"] / cost["json"], 3), goal=0.333)


def _instructions(command: list[str], name: str) -> int:
    """Instructions of one call: of 1100 calls without those of 100."""
    totals = []
    for count in ("100", "1100"):
        valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command, name, count]
        told = subprocess.run(valgrind, capture_output=True, text=True, check=True).stderr
        totals.append(int(re.search(r"Collected : (\d+)", told)[1]))
    return (totals[1] - totals[0]) // 1000


def clock() -> None:
    """Error of the mapped board time after a minute with up to 1 ms of jitter injected in each direction.

    The truth to compare with is the same line without jitter, asked as fast as it answers for 10 s: the
    fastest of thousands of exchanges, which leave it the half width that is printed.
    """
    from forerun.link.clock import BoardClock
    from forerun_wire.host import HostSession

    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name, Board(Path(name)) as board:
        host, mapped, fast = HostSession("bench", "bench", os.urandom(8)), BoardClock(), []
        begun = time.monotonic()
        beats, sent_us = 0, 0
        while (now := time.monotonic()) - begun < 70:
            jitter_s = 0.001 if now - begun < 60 else 0.0
            now_us = time.monotonic_ns() // 1000
            host.tick(now_us // 1000 & 0x3FFFFFFF)
            if host.heartbeat_count != beats:
                beats, sent_us = host.heartbeat_count, time.monotonic_ns() // 1000
                _spin(chance.uniform(0, jitter_s))
            data = bytes(host.outgoing(4096))
            if data:
                host.sent(os.write(board.fd, data))
            if select.select([board.fd], [], [], 0.002)[0]:
                data = os.read(board.fd, 4096)
                _spin(chance.uniform(0, jitter_s))
                now_us = time.monotonic_ns() // 1000
                host.receive(data, len(data), now_us // 1000 & 0x3FFFFFFF)
            while (event := host.event()) is not None:
                if event[0] == "hello":
                    host.acknowledge(1 << 20)
                elif event[0] == "clock":
                    rx_us, tx_us = event[2] * 1_000_000 + event[3], event[4] * 1_000_000 + event[5]
                    if jitter_s:
                        mapped.observe(sent_us, rx_us, tx_us, now_us)
                    else:
                        fast.append((sent_us, rx_us, tx_us, now_us))
                        host._heartbeat_ms = None  # the next one at once
    plain = BoardClock()
    for part in range(200):  # of each twentieth of a second the fastest
        some = fast[part * len(fast) // 200 : (part + 1) * len(fast) // 200]
        plain.observe(*min(some, key=lambda times: times[3] - times[0] - times[2] + times[1]))
    moments = [fast[0][1] + 1_000_000 * second for second in range(10)]
    differences = [mapped.host_us(at)[0] - plain.host_us(at)[0] for at in moments]
    rms = math.sqrt(sum(difference**2 for difference in differences) / len(differences))
    tell("clock_jitter_1_ms", rms_us=round(rms, 1), told_us=mapped.host_us(moments[0])[1],
         reference_us=plain.host_us(moments[0])[1], of_exchanges=len(fast), goal_us=50)  # fmt: skip


def _spin(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass


def replug() -> None:
    """From the moment that the port is there again to the first telemetry, with the host's real port handling."""
    from forerun.commission.desk import Desk
    from forerun.link.port import SerialLink

    times = []
    with tempfile.TemporaryDirectory() as name, Board(Path(name)) as board:
        path = Path(name) / "port"
        desk = Desk(os.urandom(8))
        link = None
        for _ in range(21):
            ours, theirs = pty.openpty()
            tty.setraw(ours)
            tty.setraw(theirs)
            path.symlink_to(os.ttyname(theirs))
            begun = time.monotonic()
            desk.telemetry.clear()
            link = link or SerialLink(desk, str(path), 115200)
            while not desk.telemetry and time.monotonic() - begun < 10:
                link.poll(0.01)
                for source, sink in ((ours, board.fd), (board.fd, ours)):
                    if select.select([source], [], [], 0)[0]:
                        os.write(sink, os.read(source, 4096))
            times.append(time.monotonic() - begun)
            path.unlink()  # as a port that is pulled: its number may be another program's at once
            os.close(ours)
            os.close(theirs)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                link.poll(0.01)
        link.close()
    tell("replug_to_stream", seconds=[round(value, 2) for value in times[1:]], worst=round(max(times[1:]), 2), goal=2.0)


def main() -> None:
    parts = (beside, bytecodes, on_micropython, goodput, replug, clock)
    for part in parts:
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()


if __name__ == "__main__":
    main()
