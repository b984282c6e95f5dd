"""Register banks from published model definitions: encoding, markers, nested and repeated groups, writes."""

import struct

import pytest

from forerun.integrations.sunspec import Bank, ModbusRefusal, Model
from forerun.plant.devices import inverter_bank, units
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig

# Lengths as the SunSpec Alliance publishes them.
LENGTHS = {1: 66, 103: 50, 120: 26, 121: 30, 122: 44, 123: 24, 124: 24, 203: 105, 701: 153, 702: 50, 703: 17, 704: 65,
           711: 22, 712: 20, 713: 7, 715: 7, 802: 62}  # fmt: skip


def walk(bank) -> dict[int, tuple[int, int]]:
    """{model: (address of its ID, length)}"""
    found, address = {}, 40002
    assert bank.read(40000, 2) == b"SunS"
    while True:
        model, length = struct.unpack(">HH", bank.read(address, 2))
        if model == 0xFFFF:
            assert length == 0
            with pytest.raises(ModbusRefusal):
                bank.read(address + 2, 1)
            return found
        found[model] = (address, length)
        address += 2 + length


def test_every_model_has_its_published_length():
    banks = units(Site())
    assert {model: length for model, (_, length) in walk(banks[1]).items()} == {
        model: length for model, length in LENGTHS.items() if model != 203}
    for unit in (2, 3, 4):
        assert {model: length for model, (_, length) in walk(banks[unit]).items()} == {1: 66, 203: 105}


def test_the_caller_chooses_the_models():
    assert list(walk(inverter_bank(Site(), (1, 701, 704)))) == [1, 701, 704]
    with pytest.raises(ValueError, match="model 161 is not emulated"):
        inverter_bank(Site(), (1, 161))


def test_values_scale_factors_and_markers():
    bank = Bank([
        Model(1, {"Mn": "M" * 40, "Md": "ä", "SN": "1"}),
        Model(103, {"W_SF": -1, "V_SF": -2, "WH_SF": 0, "Tmp_SF": 1},
              {"W": lambda: -12.34, "PhVphA": lambda: 700.0, "WH": lambda: 2**32 + 7, "TmpCab": lambda: None}),
    ])
    common, model = 40002, 40070
    assert bank.read(common + 2, 16) == b"M" * 32
    assert bank.read(common + 18, 16) == "ä".encode().ljust(32, b"\0")
    assert bank.read(common + 67, 1) == b"\x80\x00", "a pad register"
    assert bank.read(model + 14, 2) == struct.pack(">hh", -123, -1)  # W, W_SF
    assert bank.read(model + 10, 1) == b"\xff\xfe", "700.00 V is beyond uint16 and saturates below its marker"
    assert bank.read(model + 24, 2) == struct.pack(">I", 7), "an accumulator rolls over"
    assert bank.read(model + 33, 1) == b"\x80\x00", "int16 without value"
    assert bank.read(model + 2, 1) == b"\xff\xff", "uint16 unimplemented"
    assert bank.read(model + 38, 1) == b"\xff\xff", "enum16 unimplemented"
    assert bank.read(model + 40, 2) == b"\xff\xff\xff\xff", "bitfield32 unimplemented"
    assert bank.read(model + 6, 1) == b"\x80\x00", "scale factor unimplemented"


def test_repeated_and_nested_groups():
    """Model 711, frequency droop: 12 registers, then NCtl groups of 10."""
    bank = Bank([Model(711, {"NCtl": 2, "Db_SF": -3, "K_SF": -2, "RspTms_SF": 0, "Ctl[1].DbOf": 0.036,
                             "Ctl[0].KOf": 0.05})])
    assert struct.unpack(">HH", bank.read(40002, 2)) == (711, 12 + 2 * 10)
    assert bank.read(40002 + 14 + 10, 2) == struct.pack(">I", 36)
    assert bank.read(40002 + 14 + 4, 1) == struct.pack(">H", 5)
    bank = Bank([Model(704, {"PFWInj.PF": 0.95, "PFWAbsRvrt.PF": 0.9, "PF_SF": -2})])
    assert bank.read(40002 + 59, 1) == struct.pack(">H", 95)
    assert bank.read(40002 + 65, 1) == struct.pack(">H", 90)


def test_signs_on_the_registers():
    site = Site(SiteConfig(start_soc=0.5))
    banks = units(site)
    at = {model: address for model, (address, _) in walk(banks[1]).items()}
    for setpoint_w in (6_000, -6_000):
        banks[1].write(at[704] + 22, struct.pack(">HHi", 1, 1, setpoint_w))  # WSetEna, WSetMod, WSet
        site.advance(site.now_us + 2_000_000)
        assert struct.unpack(">h", banks[1].read(at[701] + 10, 1)) == (setpoint_w,), "701 W > 0 injects"
        assert struct.unpack(">h", banks[1].read(at[103] + 14, 1)) == (setpoint_w,)
        assert struct.unpack(">h", banks[2].read(40070 + 18, 1)) == (-setpoint_w,), "meter W > 0 imports"
        (dc_w,) = struct.unpack(">h", banks[1].read(at[802] + 47, 1))
        assert dc_w * setpoint_w > 0
    exported, imported = (struct.unpack(">I", banks[2].read(40070 + offset, 2))[0] for offset in (38, 46))
    assert (exported, imported) == (round(site.export_wh), round(site.import_wh))
    assert exported > 0 and imported > 0


def test_battery_registers():
    bank = inverter_bank(Site(SiteConfig(start_soc=0.625, battery_wh=60_000)))
    at = {model: address for model, (address, _) in walk(bank).items()}
    capacity, available, soc, soh, state, wh_sf, pct_sf = struct.unpack(">HHHHHhh", bank.read(at[713] + 2, 7))
    assert (capacity * 10**wh_sf, available * 10**wh_sf) == (60_000, 37_500)
    assert (soc * 10.0**pct_sf, soh * 10.0**pct_sf, state) == (pytest.approx(62.5), 100, 0)
    (volts,) = struct.unpack(">H", bank.read(at[802] + 34, 1))
    charge_a, discharge_a = struct.unpack(">HH", bank.read(at[802] + 45, 2))
    assert volts / 10 * charge_a / 10 == pytest.approx(32_000, rel=0.002)
    assert discharge_a == charge_a


def test_control_heartbeat_and_stored_points_read_back():
    site = Site()
    bank = inverter_bank(site)
    at = {model: address for model, (address, _) in walk(bank).items()}
    site.advance(7_900_000)
    bank.write(at[715] + 5, struct.pack(">I", 70_000))  # ControllerHb
    assert struct.unpack(">II", bank.read(at[715] + 3, 4)) == (7, 70_000)
    bank.write(at[124] + 12, struct.pack(">hh", 2_500, -1_000))  # OutWRte, InWRte in 0.01 %
    assert site.inverter.controls[124]["OutWRte"] == 25.0
    assert struct.unpack(">hh", bank.read(at[124] + 12, 2)) == (2_500, -1_000)
