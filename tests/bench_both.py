"""Speed on whichever interpreter runs it, as lines of `name value unit`."""

import gc
import time

from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_RUNNING, Image
from forerun_wire import messages as m
from forerun_wire.cbor import Reader
from forerun_wire.framing import Deframer, FrameQueue

COUNT = 5000
TELEMETRY = (
    86399, 999, 2, 5, 0, 12000, 11980, 11700, 221345, 49987,
    731, 30000, 30000, 23680, 8120, 0, 41, 300000, 41234, 98304,
)  # fmt: skip

if hasattr(time, "ticks_us"):

    def now_us():
        return time.ticks_us()
else:

    def now_us():
        return time.perf_counter_ns() // 1000


def told(name, begun_us, count):
    print(name, (now_us() - begun_us) / count, "us")


def decision():
    controller = Controller(Config())
    image = Image()
    image.inverter_state = INVERTER_RUNNING
    image.soc_permille, image.charge_max_w, image.discharge_max_w = 500, 30000, 30000
    image.pcc_voltage_mv = 229_000

    def rounds(count):
        for i in range(count):
            image.begin(50)
            image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.host_age_ms = 0
            image.pcc_import_w = 9000 + (i & 4095)
            image.active_power_w = controller.setpoint_w
            controller.step(image)

    rounds(100)
    if hasattr(gc, "mem_alloc"):
        gc.collect()
        before = gc.mem_alloc()
        rounds(1000)
        print("decision_allocation", (gc.mem_alloc() - before) // 1000, "B")
    begun = now_us()
    rounds(COUNT)
    told("decision", begun, COUNT)


def frames():
    seed = m.seed_of(m.SCHEMA_HASH)
    queue = FrameQueue(512)

    def encode():
        at = queue.reserve()
        queue.commit(m.encode_telemetry(queue.buffer, at + 1, TELEMETRY), seed)

    encode()
    line = bytes(queue.outgoing(512))
    print("telemetry_frame", len(line), "B")
    queue.flush()
    begun = now_us()
    for _ in range(COUNT):
        encode()
        queue.sent(len(line))
    told("telemetry_encode", begun, COUNT)
    deframer = Deframer(512)
    reader = Reader(b"")
    begun = now_us()
    for _ in range(COUNT):
        deframer.feed(line, 0, len(line))
        assert deframer.check(seed)
        reader.set(deframer.buffer, 1, 1 + deframer.size)
        m.decode(reader)
    told("telemetry_decode", begun, COUNT)


decision()
frames()
