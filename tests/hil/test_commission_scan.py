"""What a scan of the Modbus line finds, and what it calls what is wrong there."""

import dataclasses
import random

import pytest

from forerun import config
from forerun.commission.scan import compare, meters_by_role, scan
from forerun.plant import devices
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from hil.commissioning import SlaveLine, flips


def line(*, baud=115_200, noise=lambda frame: frame):
    site = Site(SiteConfig(), loads=[Series(0, 1_000_000_000, [6000.0])])
    return SlaveLine(site, devices.slave(site, baud=baud), noise)


def causes(found):
    return [cause for cause, _ in found.problems]


def site_file(**bus):
    site = config.load(config.EXAMPLE.with_name("demo_site.toml"))
    return dataclasses.replace(site, bus=dataclasses.replace(site.bus, **bus))


def test_a_healthy_line_is_listed_with_models_and_ratings():
    found = scan(line())
    assert causes(found) == []
    assert (found.baud, [(device.unit, device.kind) for device in found.devices]) == (
        115_200, [(1, "inverter"), (2, "meter"), (3, "meter"), (4, "meter")])  # fmt: skip
    inverter = found.devices[0]
    assert inverter.models == list(devices.INVERTER_MODELS)
    assert (inverter.maker, inverter.model) == ("Forerun", "EMULATED-PCS")
    assert (inverter.power_max_w, inverter.capacity_wh) == (30_000, 60_000)
    assert meters_by_role(found) == {"pcc_meter_unit": 2, "pv_meter_unit": 3, "genset_meter_unit": 4}
    assert compare(found, site_file()) == []


@pytest.mark.parametrize("baud", config.BAUD_RATES)
def test_each_line_rate_is_found_and_a_wrong_one_named(baud):
    found = scan(line(baud=baud))
    assert (found.baud, causes(found), len(found.devices)) == (baud, [], 4)
    named = compare(found, site_file(baud=9600 if baud != 9600 else 19_200))
    assert [cause for cause, _ in named] == ["wrong_line_rate"]
    assert f"set it to {baud}" in named[0][1]


def test_a_device_far_from_the_usual_units_is_found():
    far = line()
    units = far.slave.responder.units
    far.slave.responder.units = {200 + unit: bank for unit, bank in units.items()}
    found = scan(far)
    assert [device.unit for device in found.devices] == [201, 202, 203, 204]


def test_a_wrong_unit_is_named_with_the_right_one():
    moved = line()
    units = moved.slave.responder.units
    units[9] = units.pop(1)
    named = compare(scan(moved), site_file())
    assert [cause for cause, _ in named] == ["wrong_unit"]
    assert "inverter_unit in the site file is 1, where nobody answers" in named[0][1] and "from 9" in named[0][1]


@pytest.mark.parametrize(("unit", "other"), [(1, 2), (2, 3), (3, 4), (4, 1)])
def test_two_devices_on_one_address(unit, other):
    shared = line()
    responder = shared.slave.responder
    responder.share(unit, responder.units.pop(other))
    found = scan(shared)
    assert causes(found) == ["shared_unit"]
    assert found.problems[0][1].startswith(f"unit {unit}: two devices")


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_noise_and_nothing_else(share, seed):
    found = scan(line(noise=flips(random.Random(seed), share)))
    assert causes(found) == ["noisy_line"], f"seed {seed}"
    assert found.baud == 115_200


def test_a_shared_address_on_a_noisy_line_gives_both_names():
    shared = line(noise=flips(random.Random(4), 0.05))
    responder = shared.slave.responder
    responder.share(2, responder.units.pop(3))
    assert causes(scan(shared)) == ["shared_unit", "noisy_line"]


def test_an_empty_line_says_what_was_tried():
    empty = line()
    empty.slave.responder.units.clear()
    found = scan(empty, units=range(1, 20))
    assert causes(found) == ["nothing_found"]
    assert "swap A and B" in found.problems[0][1] and "units 1 to 19" in found.problems[0][1]
    assert set(empty.rates) == set(config.BAUD_RATES)


def test_a_missing_inverter_and_a_missing_meter_are_named():
    for gone, name in (((1,), "no_inverter"), ((2, 3, 4), "no_meter")):
        short = line()
        for unit in gone:
            del short.slave.responder.units[unit]
        assert causes(scan(short)) == [name]
