"""The emulated site's physics against arithmetic done another way."""

import math
from cmath import exp as cexp
from random import Random

import numpy as np
import pytest

from forerun.plant.battery import Battery
from forerun.plant.feeder import pcc_voltage_v
from forerun.plant.genset import fuel_lph
from forerun.plant.inverter import Inverter
from forerun.plant.quality import Quality
from forerun.plant.series import NEVER, Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("seed", range(20))
def test_voltage_satisfies_the_circuit(seed):
    """Phasors: the source is the PCC voltage plus the drop of the current that the three-phase power draws there."""
    random = Random(seed)
    r, x = random.uniform(0.05, 0.8), random.uniform(0.02, 0.5)
    p, q = random.uniform(-20_000, 25_000), random.uniform(-3_000, 5_000)
    v = pcc_voltage_v(230.0, r, x, p, q)
    current = ((p + 1j * q) / 3.0 / v).conjugate()
    assert abs(v + (r + 1j * x) * current) == pytest.approx(230.0, rel=1e-9), f"seed {seed}"
    assert v > 0.5 * 230.0, "of two solutions the high one is the stable one"


def test_voltage_equals_an_iteration_from_the_source_side():
    """Same circuit with the source as reference, iterated: V = E - Z·(S/V)*."""
    volts = 230.0 + 0j
    for _ in range(200):
        volts = 230.0 * cexp(0j) - (0.75 + 0.30j) * ((20_000 + 2_000j) / 3.0 / volts).conjugate()
    assert pcc_voltage_v(230.0, 0.75, 0.30, 20_000, 2_000) == pytest.approx(abs(volts), abs=1e-9)


def test_the_worked_example_of_a_20_kw_step_costs_about_11_volts():
    assert 230.0 - pcc_voltage_v(230.0, 0.4, 0.0, 20_000, 0.0) == pytest.approx(12.3, abs=0.2)


def test_beyond_the_feeders_limit_the_voltage_is_that_of_the_nose():
    limit_w = 3 * 230.0**2 / (2 * (0.75 + math.hypot(0.75, 0.30)))
    at_limit = pcc_voltage_v(230.0, 0.75, 0.30, limit_w * 0.99999, 0.0)
    beyond = pcc_voltage_v(230.0, 0.75, 0.30, limit_w * 1.2, 0.0)
    assert 0.0 < beyond < at_limit < 0.65 * 230.0
    assert pcc_voltage_v(0.0, 0.75, 0.30, 10_000, 0.0) == 0.0


@pytest.mark.parametrize("ramp", [100_000.0, 20_000.0])
def test_inverter_step_equals_a_fine_integration(ramp):
    config = SiteConfig(inverter_ramp_w_per_s=ramp)
    inverter = Inverter(config, Battery(60_000, 0.5, 32_000, 160, 0.1, 20.0))
    rate = round(100 * ramp / 30_000) * 30_000 / 100  # what register WRmp can say, in whole %/s
    inverter.target_w = 18_000.0
    power = reference = energy = 0.0
    n = 200_000
    for _ in range(n):
        reference = min(18_000.0, reference + min(rate, ramp) * 0.4 / n)
        power += (reference - power) * (1 - math.exp(-0.4 / n / 0.03))
        energy += power * 0.4 / n
    mean = (inverter.step(150_000) * 0.15 + inverter.step(250_000) * 0.25) / 0.4
    assert inverter.power_w == pytest.approx(power, rel=1e-3)
    assert mean == pytest.approx(energy / 0.4, rel=1e-3)


def test_battery_books_every_watt_hour():
    battery = Battery(60_000, 0.5, 32_000, 160, 0.1, 20.0)
    for dc_w in (30_000, -30_000, 10_000):
        before = battery.energy_wh
        burnt = battery.ohmic_wh
        for _ in range(600):
            battery.step(dc_w, 1 / 3600)
        assert before - battery.energy_wh == pytest.approx(dc_w / 6 + battery.ohmic_wh - burnt, abs=1e-6)
        assert battery.ohmic_wh - burnt == pytest.approx((dc_w / 528) ** 2 * 0.1 / 6, rel=0.05)
        assert (battery.voltage_v < battery.open_circuit_v()) == (dc_w > 0)


def test_battery_limits():
    def limits(soc, celsius=20.0):
        battery = Battery(60_000, soc, 32_000, 160, 0.1, celsius)
        return battery.charge_max_w, battery.discharge_max_w

    assert limits(0.5) == (32_000, 32_000)
    assert limits(0.95) == (pytest.approx(16_000), 32_000)
    assert limits(1.0) == (0.0, 32_000)
    assert limits(0.02) == (32_000, 0.0)
    assert limits(0.5, -0.5) == (0.0, 32_000)


def test_fuel_table():
    assert [fuel_lph(load) for load in (0.25, 0.5, 0.75, 1.0)] == pytest.approx([2.3, 3.4, 4.9, 6.1])


def test_series_hold_and_interpolate():
    held = Series(0, 1_000_000, [1.0, 3.0, 2.0])
    assert held.at(999_999) == (1.0, 0.0, 1_000_000)
    assert held.at(1_000_000) == (3.0, 0.0, 2_000_000)
    assert held.at(9_000_000) == (2.0, 0.0, NEVER)
    line = Series(1_000_000, 1_000_000, np.array([1.0, 3.0]), linear=True)
    assert line.at(0) == (1.0, 0.0, 1_000_000)
    value, slope, next_us = line.at(1_250_000)
    assert (value, slope * 1e6, next_us) == (1.5, pytest.approx(2.0), 2_000_000)
    with pytest.raises(ValueError, match="value 1 is nan"):
        Series(0, 1_000_000, [1.0, math.nan])


def test_quality_counts_dips_of_10_ms_and_judges_by_itic():
    quality = Quality()

    def play(*spans):
        now = 0
        for milliseconds, pu in spans:
            quality.observe(now, now + milliseconds * 1000, pu, pu, pu)
            now += milliseconds * 1000

    play((1000, 1.0), (9, 0.89), (100, 1.0))
    assert (quality.dip_count, quality.itic_violations) == (0, 0)
    play((1000, 1.0), (6, 0.89), (6, 0.88), (5, 0.91), (20, 0.89), (100, 1.0))
    assert quality.dip_count == 1, "0.91 is inside the hysteresis: still the same dip"
    play((100, 1.0), (400, 0.71), (100, 1.0))
    assert (quality.dip_count, quality.itic_violations) == (2, 0), "70 % for 0.4 s is tolerated"
    play((100, 1.0), (600, 0.75), (100, 1.0))
    assert (quality.dip_count, quality.itic_violations) == (3, 1), "below 80 % for more than 0.5 s is not"
    play((100, 1.0), (9_000, 0.85), (2_000, 0.85), (100, 1.0))
    assert (quality.dip_count, quality.itic_violations) == (4, 2), "85 % for 11 s is not"
    play((100, 1.0), (400, 0.0), (100, 1.0))
    assert (quality.dip_count, quality.interruption_count, quality.itic_violations) == (4, 1, 3)
    assert quality.min_pcc_pu == 0.0


def busy_day(seed: int, call_us: int, hours: int = 24) -> Site:
    """A day with everything in it: trace, PV, surge, setpoints, a grid loss, the set."""
    random = Random(seed)
    loads = [Series(0, 300_000_000, [6_000 + 5_000 * random.random() for _ in range(hours * 12)])]
    pv = Series(0, 900_000_000, np.maximum(0, 9_000 * np.sin(np.linspace(-1.5, 4.7, hours * 4 + 1))), linear=True)
    site = Site(loads=loads, pv=pv, seed=seed)
    site.add_job(10 * HOUR_US, HOUR_US // 2, 16_000.0)
    site.at(15 * HOUR_US + 123_457, site.lose_grid)
    site.at(15 * HOUR_US + 400_000_000, site.return_grid)

    def setpoint(power_w):
        changes = {"WSetEna": 1, "WSet": power_w}
        site.inverter.controls[704].update(changes)
        site.inverter.written(site.now_us, 704, changes)

    for quarter in range(hours * 4):
        power_w = random.choice((-9_000, -3_000, 0, 4_000, 8_000))
        site.at(quarter * HOUR_US // 4 + 7_000_000, lambda power_w=power_w: setpoint(power_w))
    for now in range(call_us, hours * HOUR_US + 1, call_us):
        site.advance(now)
    return site


@pytest.mark.parametrize("seed", [1, 2])
def test_energy_balances_over_a_day(seed):
    site = busy_day(seed, 2_000_000)
    total = site.totals()
    assert total.genset_wh > 1_000 and total.discharge_wh > 1_000 and total.charge_wh > 1_000 and total.pv_wh > 1_000
    assert total.unserved_wh > 1, "12 s without supply until the set carries the load"
    assert total.ups_wh > 0
    sources = total.import_wh + total.discharge_wh + total.pv_wh + total.genset_wh + total.ups_wh
    sinks = total.export_wh + total.charge_wh + total.load_wh - total.unserved_wh + total.ups_recharge_wh
    assert sources == pytest.approx(sinks, rel=1e-4), f"seed {seed}"
    assert total.ups_recharge_wh == pytest.approx(total.ups_wh, rel=1e-6)
    drawn_wh = 0.5 * 60_000 - site.battery.energy_wh
    assert drawn_wh == pytest.approx(total.discharge_wh - total.charge_wh + total.battery_losses_wh, abs=1.0)
    assert sum(site.minutes.load_w) / 60 == pytest.approx(total.load_wh, rel=1e-9)
    assert sum(site.minutes.pv_w) / 60 == pytest.approx(total.pv_wh, rel=1e-9)
    assert max(site.minutes.pcc_import_w) == total.peak_import_1min_w < total.peak_import_w


def test_same_inputs_same_totals_to_the_last_bit():
    first, second = busy_day(3, 2_000_000), busy_day(3, 2_000_000)
    assert first.totals() == second.totals()
    assert first.minutes.pcc_v == second.minutes.pcc_v


def test_totals_do_not_depend_on_how_often_the_clock_is_asked():
    seldom, often = busy_day(4, 600_000_000).totals(), busy_day(4, 500_000).totals()
    for name in ("import_wh", "export_wh", "discharge_wh", "charge_wh", "pv_wh", "genset_wh", "min_pcc_v"):
        assert getattr(seldom, name) == pytest.approx(getattr(often, name), rel=2e-4), name
    assert seldom.dip_count == often.dip_count
    assert seldom.genset_starts == often.genset_starts
