"""The year: energy balances, the cases differ where they must, outages do what they should."""

import json
from dataclasses import replace
from decimal import Decimal
from importlib.resources import files

import numpy as np
import pytest

from forerun import config
from forerun.errors import WrongUsage
from forerun.report import pictures
from forerun.simulate import cases, year
from forerun.simulate.outages import Drawn, drawn_years, fate


@pytest.fixture(scope="module")
def site():
    return config.load(str(files("forerun").joinpath("demo_site.toml")))


@pytest.fixture(scope="module")
def fortnight():
    """Two weeks stand for the year."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(year, "STEPS", 14 * 288)
        patch.setattr(year, "JOBS_PER_DAY", 0.04)
        yield year.weather_of(20_000.0, 2019, seed=3)


def test_the_same_seed_gives_the_same_year_and_jobs_are_in_the_load(fortnight):
    again = year.weather_of(20_000.0, 2019, seed=3)
    np.testing.assert_array_equal(fortnight.load_w, again.load_w)
    np.testing.assert_array_equal(fortnight.pv_w, again.pv_w)
    assert fortnight.load_w.min() >= year.IDLE_W and fortnight.jobs
    heard_s, job = fortnight.jobs[0]
    assert year.NOTICE_S[0] <= job.start_utc_s - heard_s <= year.NOTICE_S[1]
    first = round(job.start_utc_s - fortnight.start_s) // 300
    assert fortnight.load_w[first] >= year.IDLE_W + job.power_w


def test_energy_balances_and_limits_hold_in_every_case(site, fortnight):
    site = replace(site, limits=replace(site.limits, export_limit_w=100_000))  # so that nothing is curtailed
    for planner in (None, cases.Planner(site, fortnight, 0)):
        played = cases._with_battery(site, fortnight, 0, len(fortnight.load_w), planner)
        assert played.import_w.max() <= site.limits.import_limit_w + 1 or played.over_limit.any()
        assert played.import_w.min() >= -site.limits.export_limit_w - 1
        top = (site.limits.soc_max - site.limits.soc_min) * site.battery.capacity_wh
        assert played.stored_wh.min() >= 0 and played.stored_wh.max() <= top + 1
        net_w = fortnight.load_w + fortnight.heater_w - fortnight.pv_w + cases.INVERTER_OWN_W
        battery_wh = (net_w - played.import_w - played.genset_w).sum() / 12
        start_wh = (0.5 - site.limits.soc_min) * site.battery.capacity_wh
        gone_wh = start_wh - played.stored_wh[-1]
        losses = gone_wh - battery_wh
        moved_wh = 2 * played.discharge_w.sum() / 12 + abs(gone_wh)
        assert 0 < losses < 0.06 * moved_wh, (losses, moved_wh)
    assert planner.replans > 14 * 4


def figures(name: str, site, weather) -> dict:
    played = cases.play(name, site, weather, 0, len(weather.load_w))
    return year._figures(site, weather, played, drawn_years(200, len(weather.load_w), 3))


def day(pv_w: float) -> tuple[cases.Weather, cases.Played]:
    """A day of 1 kW of load that PV of one power covers, half a kW of what it leaves exported, the rest unused."""
    load_w, sun_w, none = np.full(288, 1000.0), np.full(288, pv_w), np.zeros(288)
    weather = cases.Weather(1_546_300_800, load_w, sun_w, none + 20.0, none, ())
    import_w = np.maximum(load_w - sun_w, -500.0)
    played = cases.Played(import_w, import_w - (load_w - sun_w), none, none > 0, none, None, none > 0)
    return weather, played


def test_a_drawn_year_with_more_load_takes_the_pv_that_was_curtailed_before_it_imports(site):
    """3 kW of PV over 1 kW of load: half as much load again still leaves the half kW that may be exported."""
    site = replace(site, limits=replace(site.limits, export_limit_w=500),
                   tariff=replace(site.tariff, export_price_per_kwh=Decimal("0.10")))  # fmt: skip
    weather, played = day(3000.0)
    one, nobody = np.ones(4), ((),) * 4
    drawn = Drawn(np.array([1.0, 1.5, 3.5, 1.0]), np.array([1.0, 1.0, 1.0, 0.4]), one, nobody)
    found = year._figures(site, weather, played, drawn)
    imported, cost = year._grid_by_year(site, weather, played, drawn)
    np.testing.assert_allclose(imported, [0.0, 0.0, 12.0, 0.0], atol=1e-9)
    assert cost[0] == pytest.approx(-1.2) and cost[1] == pytest.approx(-1.2)  # 12 kWh sold
    assert cost[3] == pytest.approx(-0.1 * 24 * 0.2) and cost[2] > 12 * 0.05
    assert found["curtailed_kwh"] == pytest.approx(36.0)


def test_a_drawn_year_like_the_year_itself_costs_what_the_year_costs(site, fortnight):
    """By the step, not by the hour: what is bought and sold within an hour does not cancel."""
    same = Drawn(np.ones(3), np.ones(3), np.ones(3), ((), (), ()))
    for name, price in (("B0", "0"), ("B1", "90")):
        taxed = replace(site, tariff=replace(site.tariff, carbon_price_per_tonne=Decimal(price)))
        played = cases.play(name, taxed, fortnight, 0, len(fortnight.load_w))
        found = year._figures(taxed, fortnight, played, same)
        for drawn in ("mean", "p5", "p95"):
            assert found["drawn_years"]["cost"][drawn] == pytest.approx(found["cost"], abs=0.06)
            assert found["drawn_years"]["import_kwh"][drawn] == pytest.approx(found["import_kwh"], abs=0.06)


def test_the_planner_sees_what_the_mains_give_beside_the_set_of_the_panel(site, fortnight):
    seen = []
    weak = replace(site, limits=replace(site.limits, import_limit_w=5_000))
    planner = cases.Planner(weak, fortnight, 0)
    planner.rule, planner.saw = lambda *asked: (False, 0.0), lambda step, import_w, ruled: seen.append(import_w)
    played = cases._with_battery(weak, fortnight, 0, 288, planner)
    assert played.genset_on.sum() >= cases.PANEL_STEPS
    np.testing.assert_array_equal(seen, played.import_w)


def test_the_planner_spares_the_set_that_greedy_use_of_the_battery_needs(site, fortnight):
    greedy, ours = (figures(name, site, fortnight) for name in ("B1", "ours"))
    assert ours["diesel_h"] <= greedy["diesel_h"]
    assert greedy["replans"] == 0 and ours["replans"] > 0
    for each in (greedy, ours):
        assert each["cost"] == pytest.approx(sum(each["cost_parts"].values()), abs=0.5)
        low, mean, high = (each["availability"][key] for key in ("low", "mean", "high"))
        assert 0.99 < low <= mean <= high <= 1
        for name in ("import_kwh", "diesel_h", "cost", "unserved_h"):
            drawn = each["drawn_years"][name]
            assert drawn["low"] <= drawn["mean"] <= drawn["high"] and drawn["p5"] <= drawn["p95"], name
        cost = each["drawn_years"]["cost"]
        assert cost["p5"] < cost["low"] < cost["high"] < cost["p95"] and cost["p5"] < each["cost"] < cost["p95"]
        assert each["drawn_years"]["import_kwh"]["mean"] == pytest.approx(each["import_kwh"], rel=0.05)


def test_the_year_plans_with_the_peak_that_its_month_has_billed_already(site, fortnight):
    """Else it would pay every day for a peak that costs nothing more."""
    planner = cases.Planner(site, fortnight, 0)
    hours = [4000.0, 9000.0, 6000.0]
    for step in range(36):
        planner.saw(step, hours[step // 12])
    assert planner._peak_w == pytest.approx(9000)
    planner.saw(12 * cases.MONTH_H - 1, 5000.0)
    assert planner._peak_w == 0.0
    asked = []
    planner.points = lambda made: asked.append(made.situation) or [(0, 0, 0.0, 0.5)]
    planner._peak_w = 8000.0
    planner._replan(14 * 144, fortnight.start_s + 14 * 144 * 300, 0.5)
    assert [situation.peak_so_far_w for situation in asked] == [8000.0]
    assert asked[0].demand_share == pytest.approx(24 / (730 - 7 * 24)), "a day of what is left of the month"


def test_stretches_played_at_once_give_the_year_that_one_play_gives(site, fortnight):
    """A board that greets the stretch three days early has forgotten with what it began."""
    steps = len(fortnight.load_w)
    whole = cases.play("B1", site, fortnight, 0, steps)
    halves = cases.joined([cases.play("B1", site, fortnight, *part) for part in ((0, steps // 2), (steps // 2, steps))])
    assert len(halves.import_w) == steps
    np.testing.assert_allclose(halves.import_w.sum(), whole.import_w.sum(), rtol=0.002)
    np.testing.assert_allclose(halves.stored_wh[-1], whole.stored_wh[-1], rtol=0.01, atol=1.0)
    assert cases.stretches("ours", 365 * 288)[-1][1] == 365 * 288 and len(cases.stretches("B0", 365 * 288)) == 1


@pytest.fixture(scope="module")
def sunny(fortnight):
    """Four days under clouds that come and go, which at noon leave a little more than the load takes."""
    hours, rng = np.arange(4 * 288) / 12 % 24, np.random.default_rng(3)
    sky_w = 20_000 * np.clip(np.sin(np.pi * (hours - 6) / 12), 0, None) * rng.uniform(0.1, 0.8, len(hours))
    same = {name: getattr(fortnight, name)[: len(hours)] for name in ("load_w", "cell_c", "heater_w")}
    return replace(fortnight, pv_w=sky_w, jobs=(), **same)


@pytest.mark.parametrize("limit_w", [0, 500])
def test_a_site_off_the_grid_stores_the_sun_that_no_forecast_saw_beside_its_set(site, sunny, limit_w):
    off = replace(site, limits=replace(site.limits, import_limit_w=limit_w))
    greedy, ours = (figures(name, off, sunny) for name in ("B1", "ours"))
    assert greedy["diesel_h"] > 24 and ours["replans"] > 12
    assert ours["cost"] <= 1.001 * greedy["cost"] and ours["genset_kwh"] <= 1.001 * greedy["genset_kwh"]


@pytest.mark.parametrize("limit_w", [0, 2_000])
def test_a_set_that_the_board_rules_is_run_full_by_the_plan_and_then_rests(site, sunny, limit_w):
    """At a third of its power all day and night, as its panel runs it, it burns for its turning as much as for load."""
    ruled = replace(site, limits=replace(site.limits, import_limit_w=limit_w),
                    functions=replace(site.functions, functions=128))  # fmt: skip
    played = cases.play("ours", ruled, sunny, 0, len(sunny.load_w))
    greedy, ours = figures("B1", ruled, sunny), year._figures(ruled, sunny, played, drawn_years(200, 1152, 3))
    ours_eur, greedy_eur = (each["cost"] - each["cost_parts"]["demand"] for each in (ours, greedy))  # days, no months
    assert ours["diesel_h"] < 0.5 * greedy["diesel_h"] and ours_eur < 0.9 * greedy_eur
    assert ours["over_limit_h"] == 0 and played.import_w.max() <= limit_w + 1
    net_w = sunny.load_w + sunny.heater_w - sunny.pv_w + cases.INVERTER_OWN_W
    given_w, rated_w = net_w - played.import_w - played.genset_w, site.genset.rated_w
    assert played.genset_w.max() <= rated_w and np.median(played.genset_w[played.genset_w > 0]) > 0.9 * rated_w
    full = played.genset_w > 0.95 * rated_w
    assert np.all(given_w[full & (net_w < 12_000)] < -3000), "what the load leaves of it is charged"
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], played.genset_on, [0]]))))[::2]
    assert lengths.min() >= site.genset.min_run_s / 300, "an engine that has started runs its least time"


def test_a_weak_grid_makes_the_set_of_the_naive_cases_run(site, fortnight):
    weak = replace(site, limits=replace(site.limits, import_limit_w=9_000))
    panel, lops = (figures(name, weak, fortnight) for name in ("B0", "B2"))
    assert panel["diesel_h"] > 1 and lops["diesel_h"] > 1
    none = replace(weak, genset=replace(weak.genset, rated_w=0))
    without = figures("B0", none, fortnight)
    assert without["diesel_h"] == 0 and without["over_limit_h"] > 0 and without["unserved_min_per_year"] > 1


def test_cells_are_kept_from_freezing_and_cold_ones_charge_less(site, fortnight):
    assert fortnight.cell_c.min() >= year.LEAST_CELL_C and fortnight.heater_w.max() > 0
    sunny = replace(fortnight, pv_w=np.full(len(fortnight.pv_w), 15_000.0), load_w=np.full(len(fortnight.pv_w), 500.0))
    warm, frozen = (cases.play("B1", site, replace(sunny, cell_c=np.full(len(sunny.pv_w), celsius)), 0, 288)
                    for celsius in (20.0, -1.0))  # fmt: skip
    assert warm.stored_wh[-1] > 0.8 * site.battery.capacity_wh
    assert frozen.stored_wh[-1] < 0.5 * site.battery.capacity_wh


def test_outages_are_bridged_by_what_is_stored_then_by_the_set():
    n = 1000
    drawn = drawn_years(300, n, 5)
    common = {"charge_max_w": 10_000, "discharge_max_w": 10_000, "full_wh": 50_000, "efficiency": 1.0,
              "litres_h": lambda power_w: 2.0}  # fmt: skip
    load, dark = np.full(n, 5000.0), np.zeros(n)
    none = fate(drawn, load, dark, None, genset_w=0, **common)
    np.testing.assert_allclose(none.unserved_h, none.outage_h, rtol=1e-9)
    assert 0.9 < none.outage_h.mean() / (1.4 * 1.1) < 1.15
    set_only = fate(drawn, load, dark, None, genset_w=20_000, **common)
    assert set_only.unserved_h.mean() < 0.02 * none.unserved_h.mean()
    np.testing.assert_allclose(set_only.litres, 2.0 * set_only.diesel_h)
    stored = fate(drawn, load, dark, np.full(n, 10_000.0), genset_w=20_000, **common)
    assert 0 < stored.diesel_h.mean() < 0.6 * set_only.diesel_h.mean()
    sunny = fate(drawn, load, np.full(n, 9000.0), np.full(n, 10_000.0), genset_w=20_000, **common)
    assert sunny.diesel_h.sum() == 0
    weak = fate(drawn, load, dark, np.full(n, 10_000.0), genset_w=0, **{**common, "discharge_max_w": 3000})
    np.testing.assert_allclose(weak.unserved_h, weak.outage_h, rtol=1e-9)
    low, mean, high = (none.availability()[key] for key in ("low", "mean", "high"))
    assert low < mean < high < 1


def test_drawn_years_differ_in_load_sun_and_price_and_repeat_with_their_seed():
    drawn, again, other = drawn_years(400, 1000, 1), drawn_years(400, 1000, 1), drawn_years(400, 1000, 2)
    np.testing.assert_array_equal(drawn.price, again.price)
    assert drawn.outages == again.outages != other.outages
    assert drawn.load.std() == pytest.approx(0.08, abs=0.02) and drawn.price.mean() == pytest.approx(1, abs=0.04)
    assert 0.9 < drawn.pv.mean() < 1 and any(fails for item in drawn_years(3000, 9, 1).outages for *_, fails in item)


@pytest.mark.parametrize(
    ("before", "after", "percent"), [(100, 60, -40), (-100, -160, -60), (-50, 50, 200), (0, 5, None)]
)
def test_a_change_in_percent_is_below_0_where_there_is_less(before, after, percent):
    assert year._change(before, after) == percent


def test_a_fortnight_as_a_document_a_table_and_a_picture(site, fortnight, capsys, monkeypatch):
    elsewhere = replace(site.site, latitude=-54.8, longitude=68.3)  # the sun of the year is where it is of all the same
    priced = replace(site, site=elsewhere, pv=replace(site.pv, cost_per_kw=Decimal(900)))
    shares, ready, placed, played = [], [], [], year._played
    monkeypatch.setattr(year, "_played", lambda site, *more: placed.append(site) or played(site, *more))
    result = year.simulate(priced, 2019, 3, 200, shares.append, lambda: ready.append(True))
    assert ready == [True] and shares[-1] == 1.0 and list(result["cases"]) == ["B0", "B1", "B2", "ours"]
    assert result["capital"]["pv"] == 18_000 and result["capital"]["stated"]
    assert (placed[0].site.latitude, placed[0].site.longitude) == (55.317, -25.517)
    year.show(json.loads(json.dumps(result)))
    said = capsys.readouterr().out.replace("\n", " ")
    assert "18000 EUR to buy" in said and "a coastal typical year at 55.3° N, wherever" in said
    assert pictures.year_svg(result).startswith("<svg ")
    assert year.sizes_of("20x60,1.5x3") == [(20.0, 60.0), (1.5, 3.0)]
    for wrong in ("20", "20x", "-1x5", "axb", "5x0", "0x0.0004", "nanx5"):
        with pytest.raises(WrongUsage, match="--sizes"):
            year.sizes_of(wrong)
