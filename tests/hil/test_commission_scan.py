"""What a scan of the Modbus line finds, and what it calls what is wrong there."""

import dataclasses
import random

import pytest

from forerun import config, sections
from forerun.commission.scan import compare, meters_by_role, scan
from forerun.plant import devices
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from hil.commissioning import SlaveLine
from hil.noise import bit_errors, flips


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


@pytest.mark.parametrize("baud", sections.BAUD_RATES)
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


NOISES = [(flips, 0.05), (flips, 0.15), (flips, 0.3), (bit_errors, 0.001), (bit_errors, 0.01), (bit_errors, 0.03)]
SEEDS = range(20)


def quick(noisy):
    """A scan of what matters here: the rate is known, and half of the unit ids."""
    return scan(noisy, rates=(115_200,), units=range(1, 33))


@pytest.mark.parametrize(("kind", "share"), NOISES)
def test_noise_is_noise_and_nothing_else(kind, share):
    for seed in SEEDS:
        found = quick(line(noise=kind(random.Random(seed), share)))
        assert set(causes(found)) <= {"noisy_line"}, f"seed {seed}"
        assert found.baud == 115_200 and (share < 0.002 or causes(found)), f"seed {seed}"


@pytest.mark.parametrize(("kind", "share"), [(flips, 0.0), *NOISES])
def test_a_shared_address_is_named_however_noisy_the_line(kind, share):
    for seed in SEEDS:
        shared = line(noise=kind(random.Random(seed), share))
        responder = shared.slave.responder
        responder.share(1 + seed % 4, responder.units.pop(1 + (seed + 1 + seed // 4 % 3) % 4))
        named = [device.unit for device in quick(shared).devices if device.shared]
        assert named == [1 + seed % 4], f"seed {seed}"


def test_a_shared_address_on_a_noisy_line_gives_both_names():
    shared = line(noise=flips(random.Random(4), 0.05))
    responder = shared.slave.responder
    responder.share(2, responder.units.pop(3))
    assert causes(scan(shared)) == ["shared_unit", "noisy_line"]


def test_a_port_that_is_no_modbus_line_is_not_called_noisy():
    chatty = line()
    chatty.exchange = lambda request, expected, limit_s: b">>> " + request
    found = scan(chatty, units=range(1, 5))
    assert causes(found) == ["nothing_readable"] and "is this the Modbus line" in found.problems[0][1]


def test_two_devices_that_answer_by_turns_are_two_as_well():
    turns = line()
    units = turns.slave.responder.units
    both, draw = (units[2], units.pop(3)), random.Random(1)
    exchange = turns.exchange

    def now_one_now_the_other(*request):
        units[2] = draw.choice(both)
        return exchange(*request)

    turns.exchange = now_one_now_the_other
    assert causes(scan(turns)) == ["shared_unit"]


@pytest.mark.parametrize("seed", range(5))
def test_one_device_on_a_bad_stub_is_not_taken_for_two(seed):
    stub = line()
    bad, exchange = flips(random.Random(seed), 0.6), stub.exchange

    def through_the_stub(request, expected, limit_s):
        stub.noise = bad if request[0] == 2 else lambda frame: frame
        return exchange(request, expected, limit_s)

    stub.exchange = through_the_stub
    assert set(causes(quick(stub))) <= {"noisy_line"}, f"seed {seed}"


def test_an_empty_line_says_what_was_tried():
    empty = line()
    empty.slave.responder.units.clear()
    found = scan(empty, units=range(1, 20))
    assert causes(found) == ["nothing_found"]
    assert "swap A and B" in found.problems[0][1] and "units 1 to 19" in found.problems[0][1]
    assert set(empty.rates) == set(sections.BAUD_RATES)


def test_a_missing_inverter_and_a_missing_meter_are_named():
    for gone, name in (((1,), "no_inverter"), ((2, 3, 4), "no_meter")):
        short = line()
        for unit in gone:
            del short.slave.responder.units[unit]
        assert causes(scan(short)) == [name]
