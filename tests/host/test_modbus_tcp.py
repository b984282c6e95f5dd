"""The site as SunSpec models over Modbus TCP: pysunspec2, untouched, scans and reads it; nothing can be written."""

import socket
from contextlib import closing

import pytest
from pymodbus.client import ModbusTcpClient
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from forerun.errors import Trouble
from forerun.integrations import modbus_tcp
from forerun.sections import ModbusTcpSection
from site_snapshot import example

UNIT = 17


@pytest.fixture
def served():
    """(port, a list whose first element is what is served)"""
    seen = [example()]
    with modbus_tcp.serve(ModbusTcpSection("127.0.0.1", 0, UNIT), lambda: seen[0]) as serving:
        yield serving.port, seen


def scanned(port, unit=UNIT):
    device = SunSpecModbusClientDeviceTCP(slave_id=unit, ipaddr="127.0.0.1", ipport=port, timeout=5)
    device.scan()
    return device


def test_pysunspec2_scans_and_reads_the_site(served):
    port, seen = served
    with closing(scanned(port)) as device:
        assert [model for model in device.models if isinstance(model, int)] == [1, 203, 701, 713, 802]
        assert device.common[0].Mn.value == "Forerun" and device.common[0].SN.value == "Node 7"
        meter, inverter = device.models[203][0], device.models[701][0]
        assert meter.W.cvalue == 6500 and meter.PhVphA.cvalue == pytest.approx(228.4)
        assert meter.Hz.cvalue == pytest.approx(49.98)
        assert meter.TotWhImp.cvalue == 1_234_567 and meter.TotWhExp.cvalue == 8_910
        assert meter.PF.value is None, "what the site does not know is not implemented"
        assert inverter.W.cvalue == 4000 and inverter.TotWhInj.cvalue == 380_000 and inverter.InvSt.value == 3
        assert device.models[713][0].SoC.cvalue == pytest.approx(61.3)
        assert device.models[713][0].WHRtg.cvalue == 80_000
        storage = device.models[802][0]
        assert storage.SoC.cvalue == pytest.approx(61.3) and storage.WDisChaRteMax.cvalue == 25_000
        assert storage.WHRtg.cvalue == 80_000 and storage.State.value == 3
        seen[0] = example(pcc_import_w=-7_250, active_power_w=-3_000, faults=("battery",))
        for number in (203, 701, 802):
            device.models[number][0].read()
        assert meter.W.cvalue == -7250 and inverter.W.cvalue == -3000 and storage.State.value == 99


def test_stale_values_read_as_not_implemented(served):
    port, seen = served
    seen[0] = example(fresh=False, age_ms=60_000)
    with closing(scanned(port)) as device:
        assert device.models[203][0].W.value is None and device.models[713][0].SoC.value is None
        assert device.models[203][0].TotWhImp.cvalue == 1_234_567, "what is in the journal stays known"


def test_registers_lie_where_the_specification_puts_them(served):
    port, _ = served
    with ModbusTcpClient("127.0.0.1", port=port) as client:
        assert client.read_holding_registers(40_000, count=2, device_id=UNIT).registers == [0x5375, 0x6E53]
        assert client.read_holding_registers(40_002, count=2, device_id=UNIT).registers == [1, 66]
        meter = 40_002 + 68
        assert client.read_holding_registers(meter, count=2, device_id=UNIT).registers == [203, 105]
        # W is at offset 18 of model 203 (its 19th register), W_SF at 22: 6500 W with the factor 10 for this site.
        assert client.read_holding_registers(meter + 18, count=5, device_id=UNIT).registers[::4] == [650, 1]
        assert client.read_input_registers(meter, count=1, device_id=UNIT).registers == [203]


def test_nothing_can_be_written_and_wrong_addresses_are_refused(served):
    port, _ = served
    with ModbusTcpClient("127.0.0.1", port=port) as client:
        before = client.read_holding_registers(40_000, count=100, device_id=UNIT).registers
        for answer in (
            client.write_register(40_088, 1, device_id=UNIT),
            client.write_registers(40_088, [1, 2], device_id=UNIT),
            client.write_coil(40_000, True, device_id=UNIT),
            client.read_coils(40_000, count=8, device_id=UNIT),
            client.read_holding_registers(0, count=1, device_id=UNIT),
            client.read_holding_registers(50_000, count=1, device_id=UNIT),
        ):
            assert answer.isError()
        assert client.read_holding_registers(40_000, count=100, device_id=UNIT).registers == before


def test_large_sites_fit():
    big = {"import_limit_w": 900_000, "battery_limit_w": 1_000_000, "capacity_wh": 9_000_000}
    seen = example(snapshot=big, pcc_import_w=850_000)
    with (
        modbus_tcp.serve(ModbusTcpSection("127.0.0.1", 0, 1), lambda: seen) as serving,
        closing(scanned(serving.port, 1)) as device,
    ):
        assert device.models[203][0].W.cvalue == 850_000
        assert device.models[802][0].WHRtg.cvalue == 9_000_000


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        section = ModbusTcpSection("127.0.0.1", port, 1)
        with pytest.raises(Trouble, match=f"modbus_tcp.port {port}"), modbus_tcp.serve(section, example):
            pass
