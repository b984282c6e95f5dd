"""Third-party Modbus and SunSpec clients, untouched, on the emulated site's pseudo-terminal in real time."""

import contextlib
import os
import pty
import select
import struct
import threading
import time
import tty

import pytest
from pymodbus.client import ModbusSerialClient
from pymodbus.framer import FramerRTU
from sunspec2.modbus.client import SunSpecModbusClientDeviceRTU

from forerun.plant.devices import units
from forerun.plant.realtime import request_length, serve
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig

BAUD = 115_200
TIMEOUT_S = 5.0  # a busy machine is no failure


@contextlib.contextmanager
def emulated(site: Site):
    """The site served in a thread: yields (path, counts of the line)."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    ended = threading.Event()
    found = {}
    banks = units(site)
    thread = threading.Thread(target=lambda: found.update(line=serve(site, banks, ours, BAUD, ended.is_set)))
    thread.start()
    try:
        yield os.ttyname(theirs), banks
    finally:
        ended.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


def working_site() -> Site:
    site = Site(SiteConfig(start_soc=0.4), loads=[Series(0, 1_000_000, [11_000.0])],
                pv=Series(0, 3_600_000_000, [2_500.0, 2_500.0], linear=True))
    changes = {"WSetEna": 1, "WSet": 3_000}
    site.inverter.controls[704].update(changes)
    site.inverter.written(0, 704, changes)
    site.advance(3_600_000_000)
    return site


def scanned(stack: contextlib.ExitStack, path: str, unit: int) -> SunSpecModbusClientDeviceRTU:
    """A device without a model error; the client caches ports by name, so it is closed with the stack."""
    device = SunSpecModbusClientDeviceRTU(unit, path, baudrate=BAUD, timeout=TIMEOUT_S)
    stack.callback(device.close)
    device.scan()
    errors = {number: model.error_info for number, models in device.models.items() if isinstance(number, int)
              for model in models if model.error_info}
    assert errors == {}
    return device


def test_pysunspec2_scans_and_reads_every_unit():
    site = working_site()
    with emulated(site) as (path, _), contextlib.ExitStack() as stack:
        inverter = scanned(stack, path, 1)
        numbers = {number for number in inverter.models if isinstance(number, int)}
        assert numbers == {1, 103, 120, 121, 122, 123, 124, 701, 702, 703, 704, 711, 712, 713, 715, 802}
        for number in sorted(numbers):
            inverter.models[number][0].read()

        def point(number, name):
            return inverter.models[number][0].points[name].cvalue

        assert inverter.models[1][0].Mn.value == "Forerun"
        assert point(701, "W") == point(103, "W") == 3_000
        assert point(701, "InvSt") == 3
        assert point(701, "Hz") == point(103, "Hz") == 50
        assert point(701, "LNV") == pytest.approx(site.pcc_voltage_v, abs=0.06)
        assert point(701, "TotWhInj") == pytest.approx(3_000, abs=3)
        assert point(713, "SoC") == point(802, "SoC") == pytest.approx(100 * site.battery.soc, abs=0.1)
        assert point(713, "WHRtg") == 60_000
        assert point(702, "WMaxRtg") == 30_000
        assert point(124, "ChaState") == pytest.approx(100 * site.battery.soc, abs=0.1)
        assert (point(704, "WSetEna"), point(704, "WSet")) == (1, 3_000)
        assert point(802, "V") == pytest.approx(site.battery.voltage_v, abs=0.1)
        assert point(701, "TmpOt") is None, "what it cannot do it says is not implemented"
        for unit, watts, imported in ((2, 5_500, 5_500), (3, 2_500, 2_500), (4, 0, 0)):
            meter = scanned(stack, path, unit).models[203][0]
            assert meter.W.cvalue == watts
            assert (meter.TotWhImp.cvalue or 0) == pytest.approx(imported, abs=60)
            assert meter.PhV.cvalue == pytest.approx(site.pcc_voltage_v, abs=0.06)


def test_pysunspec2_writes_a_setpoint_and_the_watchdog_reverts_it():
    site = working_site()
    with emulated(site) as (path, _), contextlib.ExitStack() as stack:
        inverter = scanned(stack, path, 1)
        control = inverter.models[704][0]
        control.WSetEna.value, control.WSetMod.value, control.WSet.value = 1, 1, -7_000
        control.WSetRvrt.value, control.WSetEnaRvrt.value, control.WSetRvrtTms.value = 1_000, 1, 1
        control.write()
        seen = set()
        deadline = time.monotonic() + 20
        while 1_000 not in seen and time.monotonic() < deadline:
            measured = inverter.models[701][0]
            measured.W.read()
            seen.add(measured.W.value)
        assert {-7_000, 1_000} <= seen, "first the setpoint, a second later the reversion"
        control.read()
        assert (control.WSet.cvalue, control.WSetRvrtRem.cvalue) == (1_000, 0)


def test_pymodbus_reads_writes_and_is_refused():
    site = working_site()
    with emulated(site) as (path, _):
        client = ModbusSerialClient(path, baudrate=BAUD, timeout=TIMEOUT_S, retries=0)
        assert client.connect()
        answer = client.read_holding_registers(40000, count=4, device_id=1)
        assert struct.pack(">4H", *answer.registers) == b"SunS\x00\x01\x00\x42"
        answer = client.write_registers(40405, [0xFFFF, 0xF060], device_id=1)  # WSet of 704: -4000
        assert not answer.isError()
        assert client.read_holding_registers(40405, count=2, device_id=1).registers == [0xFFFF, 0xF060]
        assert site.inverter.controls[704]["WSet"] == -4_000
        assert client.write_register(40403, 0, device_id=1).registers == [0]
        assert client.write_register(40405, 1, device_id=1).exception_code == 3, "half of a 32-bit point"
        assert client.read_holding_registers(39990, count=2, device_id=1).exception_code == 2
        assert client.read_input_registers(40000, count=2, device_id=1).exception_code == 1
        client.close()


def silent(fd: int) -> bool:
    """Whether nothing arrives for a time in which any answer would have come."""
    return not select.select([fd], [], [], 0.2)[0]


def heard(fd: int, count: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """The next `count` bytes, or what came of them."""
    data = b""
    while len(data) < count and select.select([fd], [], [], timeout_s)[0]:
        data += os.read(fd, count - len(data))
    return data


def test_bad_frames_meet_silence_and_the_next_good_one_an_answer():
    good = bytes.fromhex("02 03 9c 40 00 02")
    good += struct.pack(">H", FramerRTU.compute_CRC(good))
    foreign = b"\x09" + good[1:6]
    foreign += struct.pack(">H", FramerRTU.compute_CRC(foreign))
    unknown = bytes.fromhex("02 2b 0e 01 00")
    unknown += struct.pack(">H", FramerRTU.compute_CRC(unknown))
    answer = bytes.fromhex("02 03 04") + b"SunS"
    with emulated(Site()) as (path, banks):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        for bad in (good[:-1] + b"\x00", foreign, good + good, good[:5]):
            os.write(fd, bad)
            assert silent(fd), bad.hex(" ")
            os.write(fd, good)
            assert heard(fd, 9)[:-2] == answer
        os.write(fd, good[:4])
        time.sleep(0.1)  # the split is the thing tested: five times the tolerance
        os.write(fd, good[4:])
        assert silent(fd), "a frame in two parts is none"
        os.write(fd, good)
        assert heard(fd, 9)[:-2] == answer
        for _ in range(5):  # the scheduler may put a real gap between the two writes, hardly five times
            os.write(fd, good[:4])
            os.write(fd, good[4:])
            whole = heard(fd, 9, 0.5)
            if whole:
                break
        assert whole[:-2] == answer, "two writes without a gap are one frame"
        os.write(fd, unknown)
        assert heard(fd, 5)[:3] == b"\x02\xab\x01", "its length is unknown: the silence after it ends it"
        banks[2].is_silent = lambda: True
        os.write(fd, good)
        assert silent(fd)
        os.close(fd)


def test_request_length():
    assert request_length(b"\x01") == 0
    assert request_length(bytes.fromhex("01 03")) == 8
    assert request_length(bytes.fromhex("01 10 9d d5 00 02")) == 0
    assert request_length(bytes.fromhex("01 10 9d d5 00 02 04")) == 13
    assert request_length(bytes.fromhex("01 2b")) is None
