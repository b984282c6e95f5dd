"""The year: energy balances, the cases differ where they must, outages do what they should."""

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from forerun import config, year
from forerun.outages import fate


@pytest.fixture(scope="module")
def site():
    return config.load(str(files("forerun").joinpath("demo_site.toml")))


@pytest.fixture
def fortnight(monkeypatch):
    """Two weeks stand for the year."""
    monkeypatch.setattr(year, "STEPS", 14 * 288)
    monkeypatch.setattr(year, "JOBS_PER_DAY", 0.04)
    return year.weather_of(20_000.0, seed=3)


def test_the_same_seed_gives_the_same_year_and_jobs_are_in_the_load(fortnight):
    again = year.weather_of(20_000.0, seed=3)
    np.testing.assert_array_equal(fortnight.load_w, again.load_w)
    np.testing.assert_array_equal(fortnight.pv_w, again.pv_w)
    assert fortnight.load_w.min() >= year.IDLE_W and fortnight.jobs
    heard_s, job = fortnight.jobs[0]
    assert year.NOTICE_S[0] <= job.start_utc_s - heard_s <= year.NOTICE_S[1]
    first = round(job.start_utc_s - year.START_UTC_S) // 300
    assert fortnight.load_w[first] >= year.IDLE_W + job.power_w


def test_energy_balances_and_limits_hold_in_every_case(site, fortnight):
    site = replace(site, limits=replace(site.limits, export_limit_w=100_000))  # so that nothing is curtailed
    for planner in (None, year._Planner(site, fortnight)):
        played = year._with_battery(site, fortnight, planner)
        assert played.import_w.max() <= site.limits.import_limit_w + 1 or played.over_limit_steps
        assert played.import_w.min() >= -site.limits.export_limit_w - 1
        top = (site.limits.soc_max - site.limits.soc_min) * site.battery.capacity_wh
        assert played.stored_wh.min() >= 0 and played.stored_wh.max() <= top + 1
        net_w = fortnight.load_w - fortnight.pv_w + year.INVERTER_OWN_W
        battery_wh = (net_w - played.import_w - played.genset_w).sum() / 12
        start_wh = (0.5 - site.limits.soc_min) * site.battery.capacity_wh
        gone_wh = start_wh - played.stored_wh[-1]
        losses = gone_wh - battery_wh
        moved_wh = 2 * played.discharge_w.sum() / 12 + abs(gone_wh)
        assert 0 < losses < 0.06 * moved_wh, (losses, moved_wh)
    assert planner.replans > 14 * 4


def test_the_planner_spares_the_set_that_greedy_use_of_the_battery_needs(site, fortnight):
    greedy, ours = (year.case(name, site, fortnight, seed=3, monte_carlo=200) for name in ("B1", "ours"))
    assert ours["diesel_h"] <= greedy["diesel_h"]
    assert greedy["replans"] == 0 and ours["replans"] > 0
    for figures in (greedy, ours):
        assert figures["cost"] == pytest.approx(sum(figures["cost_parts"].values()), abs=0.5)
        low, mean, high = (figures["availability"][key] for key in ("low", "mean", "high"))
        assert 0.99 < low <= mean <= high <= 1


def test_a_weak_grid_makes_the_set_of_the_naive_cases_run(site, fortnight):
    weak = replace(site, limits=replace(site.limits, import_limit_w=9_000))
    panel, lops = (year.case(name, weak, fortnight, seed=3, monte_carlo=200) for name in ("B0", "B2"))
    assert panel["diesel_h"] > 1 and lops["diesel_h"] > 1
    none = replace(weak, genset=replace(weak.genset, rated_w=0))
    without = year.case("B0", none, fortnight, seed=3, monte_carlo=200)
    assert without["diesel_h"] == 0 and without["over_limit_h"] > 0 and without["unserved_min_per_year"] > 1


def test_outages_are_bridged_by_what_is_stored_then_by_the_set():
    n = 1000
    common = {"charge_max_w": 10_000, "full_wh": 50_000, "efficiency": 1.0, "litres_h": lambda power_w: 2.0,
              "years": 300, "seed": 5}  # fmt: skip
    load, dark = np.full(n, 5000.0), np.zeros(n)
    none = fate(load, dark, None, genset_w=0, **common)
    np.testing.assert_allclose(none.unserved_h, none.outage_h, rtol=1e-9)
    assert 0.9 < none.outage_h.mean() / (1.4 * 1.1) < 1.15
    set_only = fate(load, dark, None, genset_w=20_000, **common)
    assert set_only.unserved_h.mean() < 0.02 * none.unserved_h.mean()
    np.testing.assert_allclose(set_only.litres, 2.0 * set_only.diesel_h)
    stored = fate(load, dark, np.full(n, 10_000.0), genset_w=20_000, **common)
    assert 0 < stored.diesel_h.mean() < 0.6 * set_only.diesel_h.mean()
    sunny = fate(load, np.full(n, 6000.0), np.full(n, 10_000.0), genset_w=20_000, **common)
    assert sunny.diesel_h.sum() == 0
    low, mean, high = (none.availability()[key] for key in ("low", "mean", "high"))
    assert low < mean < high < 1
