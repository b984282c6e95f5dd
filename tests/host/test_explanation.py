"""Each term of a plan's cost: at another price there is another plan, its cost part moves, and the words name it."""

import re
from dataclasses import replace
from decimal import Decimal
from importlib.resources import files

import numpy as np
import pytest

from forerun import config
from forerun.compute.load import Announcement
from forerun.dispatch.dispatcher import Dispatcher, Plan, storage_of
from forerun.dispatch.planning import Known, Outlook, cost_parts, outlook
from forerun.report.explanation import explained
from forerun.report.pictures import plan_svg

MIDNIGHT = 1_774_828_800  # 2026-03-30T00:00Z
PLAIN = {"energy_price_per_kwh": Decimal("0.20"), "demand_charge_per_kw_month": Decimal(0),
         "export_price_per_kwh": Decimal("0.05"), "carbon_price_per_tonne": Decimal(0)}  # fmt: skip


def site_with(tariff: dict | None = None, **sections: dict) -> config.SiteFile:
    """The demo site at one flat price, no demand charge; then the changes of each section."""
    site = config.load(str(files("forerun").joinpath("demo_site.toml")))
    site = replace(site, tariff=replace(site.tariff, **PLAIN | (tariff or {})))
    return replace(site, **{name: replace(getattr(site, name), **change) for name, change in sections.items()})


def told(site: config.SiteFile, load_w: float = 6000.0, pv_peak_w: float = 0.0, soc: float = 0.5,
         jobs: tuple[Announcement, ...] = (), **known: float) -> tuple[Outlook, Plan, str]:  # fmt: skip
    """What is known, the plan, and its sentences, after three days of one load and a clear sky."""
    hour = (np.arange(3 * 288) + 0.5) / 12 % 24
    pv_w = pv_peak_w * np.clip(np.cos((hour - 13.7) / 12 * np.pi), 0, None)  # noon of the site's longitude
    made = outlook(site, Known(MIDNIGHT, np.full(3 * 288, load_w), pv_w, soc, load_w, **known), jobs)
    plan = Dispatcher(storage_of(site)).plan(made.situation)
    assert sum(cost_parts(site, made, plan).values()) == pytest.approx(plan.cost, abs=0.01)
    return made, plan, "\n".join(explained(site, made, plan))


def throughput_kwh(plan: Plan) -> float:
    return float(np.abs(plan.battery_w) @ plan.step_s) / 3.6e6


def hours(**at: str) -> tuple[Decimal, ...]:
    """24 prices of 0.20, but for those of some hours, h7="0.9"."""
    return tuple(Decimal(at.get(f"h{hour}", "0.20")) for hour in range(24))


def test_energy_a_dear_hour_is_met_from_the_battery_and_a_flat_price_leaves_it_idle():
    _, flat, words = told(site_with(), soc=0.25)
    assert throughput_kwh(flat) < 0.1 and "stays idle: a kWh costs from 0.200 to 0.200 EUR" in words
    _, dear, words = told(site_with({"energy_price_per_kwh": hours(h7="0.90", h8="0.90")}))
    inside = (np.cumsum(dear.step_s) > 7 * 3600) & (np.cumsum(dear.step_s) <= 9 * 3600)
    assert dear.battery_w[inside].min() > 5000 and dear.pcc_import_w[inside].max() < 1000
    assert "07:00–09:00: the battery gives" in words and "a kWh costs 0.900 EUR then, beside" in words


def test_negative_price_fills_the_battery_and_leaves_pv_unused():
    prices = hours(h12="-0.10", h13="-0.10")
    site = site_with({"energy_price_per_kwh": prices, "export_price_per_kwh": Decimal("-0.05")},
                     battery={"capacity_wh": 12_000})  # fmt: skip
    made, plan, words = told(site, pv_peak_w=9000.0, soc=0.9)
    paid = np.asarray(made.situation.energy_price_per_kwh) < 0
    assert plan.pcc_import_w[paid].min() > 1000 and plan.curtail_w[paid].sum() > 0
    assert "that is paid for: a kWh costs -0.100 EUR then" in words
    assert "of PV stay unused, because taking from the grid is paid for, -0.100 EUR a kWh" in words


def test_demand_charge_lowers_the_highest_import():
    job = (Announcement("train", 4000, MIDNIGHT + 6 * 3600, 7200),)
    free, charged = (told(site_with({"demand_charge_per_kw_month": price}), jobs=job)
                     for price in (Decimal(0), Decimal(6)))  # fmt: skip
    assert charged[1].pcc_import_w.max() < free[1].pcc_import_w.max() - 1500
    assert "keeps the highest import, which is billed by the month" in charged[2] and "demand charge" in charged[2]
    assert "demand charge" not in free[2]


def test_carbon_price_makes_the_battery_shift_to_clean_hours():
    grams = tuple(Decimal(500 if 6 <= hour < 12 else 20) for hour in range(24))
    free, taxed = (told(site_with({"carbon_price_per_tonne": price}, carbon={"grid_g_per_kwh": grams}), soc=0.25)
                   for price in (Decimal(0), Decimal(400)))  # fmt: skip
    ends = np.cumsum(taxed[1].step_s)
    dirty = (ends > 6 * 3600) & (ends <= 12 * 3600)
    assert throughput_kwh(free[1]) < 0.1
    assert taxed[1].battery_w[dirty] @ taxed[1].step_s[dirty] / 3.6e6 > 20
    assert "carbon price" in taxed[2] and "carbon price" not in free[2]


def test_degradation_stops_a_shift_that_it_makes_dearer():
    prices = {"energy_price_per_kwh": hours(h7="0.30", h8="0.30")}
    cheap, dear = (told(site_with(prices, battery={"wear_cost_per_kwh": wear}), soc=0.25)
                   for wear in (Decimal("0.02"), Decimal("0.15")))  # fmt: skip
    assert throughput_kwh(cheap[1]) > 5 > 0.1 > throughput_kwh(dear[1])
    assert "battery wear" in cheap[2] and "0.150 EUR of wear" in dear[2]


SET = {"genset": {"rated_w": 20_000, "min_load": 0.3, "min_run_s": 900}}


def test_fuel_decides_between_the_set_and_a_dear_grid():
    prices = {"energy_price_per_kwh": hours(h7="1.50", h8="1.50", h9="1.50", h10="1.50")}
    cheap, dear = (told(site_with(prices, genset=SET["genset"] | {"fuel_price_per_litre": fuel}), 9000.0, soc=0.25)
                   for fuel in (Decimal("1.2"), Decimal("9.0")))  # fmt: skip
    assert (cheap[1].genset_w > 0).any() and not (dear[1].genset_w > 0).any()
    assert "a kWh of it costs" in cheap[2] and "beside 1.500 from the grid" in cheap[2] and "set's fuel" in cheap[2]
    assert "set" not in dear[2]


def test_start_cost_keeps_the_set_off_for_a_short_need():
    prices = {"energy_price_per_kwh": hours(h7="1.50")}
    free, costly = (told(site_with(prices, genset=SET["genset"] | {"start_cost": start},
                                   battery={"capacity_wh": 2000}), 9000.0)
                    for start in (Decimal(1), Decimal(100)))  # fmt: skip
    assert (free[1].genset_w > 0).any() and not (costly[1].genset_w > 0).any()
    assert "and a start 1.00" in free[2] and "set's starts" in free[2] and "starts" not in costly[2]


def test_curtailment_follows_the_export_limit_and_is_told():
    open_, shut = (told(site_with(limits={"export_limit_w": limit}), 1000.0, 20_000.0, soc=0.9)
                   for limit in (30_000, 1000))  # fmt: skip
    assert open_[1].curtail_w.max() < 1 and shut[1].curtail_w.max() > 5000
    assert "of PV stay unused, because it is more than load and battery take, and 1.0 kW may leave" in shut[2]
    assert "unused" not in open_[2]
    made, plan, _ = shut
    picture = plan_svg({"step_start_utc_s": (made.start_s + np.cumsum(plan.step_s) - plan.step_s).tolist(),
                        "step_s": plan.step_s.tolist(), "load_w": made.situation.load_w, "pv_w": made.situation.pv_w,
                        "battery_w": plan.battery_w, "genset_w": plan.genset_w, "pcc_import_w": plan.pcc_import_w,
                        "curtail_w": plan.curtail_w, "soc_permille": 1000 * plan.soc}, 12_000)  # fmt: skip
    assert all(words in picture for words in ("PV unused", "into the battery", "import limit"))


def test_a_surge_is_told_with_the_lead_that_the_plan_has():
    """No promise: what this plan stores, and since when."""
    train = Announcement("train", 16_000, MIDNIGHT + 7200, 2700)
    made, plan, words = told(site_with(), soc=0.12, jobs=(train,))
    lead_s = 60 * int(re.search(r"the (8.0) kWh that it needs above what the grid gives are stored (\d+) min before",
                                words).group(2))  # fmt: skip
    ends, need_soc = np.cumsum(plan.step_s), 0.1 + 10_300 * 0.75 / 0.96 / 60_000
    there = int(np.flatnonzero(ends == 7200 - lead_s)[0])
    assert 300 <= lead_s < 7200 and plan.soc[there] >= need_soc - 1e-3 > plan.soc[there - 1]
    assert made.situation.surges[0].load_w == pytest.approx(22_000)
    assert "kWh that it needs above what the grid gives are in the battery already" in told(
        site_with(), soc=0.9, jobs=(train,))[2]  # fmt: skip
    late = replace(train, start_utc_s=MIDNIGHT + 300)
    assert "are not all stored by 00:05, only" in told(site_with(), soc=0.12, jobs=(late,))[2]
    small = replace(train, power_w=2000.0)
    words = told(site_with(), soc=0.12, jobs=(small,))[2]
    assert "At 02:00 an announced load of 8.0 kW in all comes for 45 min; the grid carries it." in words
    assert "min before" not in words
    many = tuple(replace(small, job=str(index), start_utc_s=MIDNIGHT + 7200 + 60 * index) for index in range(100))
    words = told(site_with(), soc=0.9, jobs=many)[2]
    assert words.count("an announced load of") == 12
    assert re.search(r"Announced loads change 1\d\d times more after that; the highest is \d+\.\d kW in all", words)
    runs = told(site_with(), soc=0.5, jobs=(replace(train, start_utc_s=MIDNIGHT - 600),))[2]
    assert "Until 00:35 an announced load of 22.0 kW in all runs; the" in runs and "At 00:00" not in runs


def test_what_is_too_unlikely_is_ignored_and_what_needs_nothing_is_no_reason():
    train = Announcement("train", 16_000, MIDNIGHT + 7200, 2700, confidence=0.1)
    assert len(told(site_with(), soc=0.12, jobs=(train,))[0].situation.surges) == 1
    none = told(site_with(), soc=0.12)
    made, plan, words = told(site_with(), soc=0.12, jobs=(replace(train, confidence=0.09),))
    assert made.situation.surges == () and "announced load" not in words
    np.testing.assert_allclose(plan.battery_w, none[1].battery_w)
    cheap = site_with({"energy_price_per_kwh": hours(h1="0.01", h7="0.90")})
    for job in (replace(train, power_w=2000.0), replace(train, start_utc_s=MIDNIGHT + 10 * 86_400)):
        words = told(cheap, jobs=(job,))[2]
        assert "the battery takes" in words and "because an announced load needs it" not in words
    week = replace(train, power_w=2000.0, duration_s=7 * 86_400.0)
    assert "comes for 168 h; the grid carries it" in told(site_with(), jobs=(week,))[2]


def test_carbon_of_the_sets_fuel_has_a_part_and_a_word_of_its_own():
    taxed = {"energy_price_per_kwh": Decimal("1.5"), "carbon_price_per_tonne": Decimal(200)}
    made, plan, words = told(site := site_with(taxed, **SET), 9000.0, soc=0.25)
    parts = cost_parts(site, made, plan)
    per_litre = float(site.genset.fuel_price_per_litre), float(site.carbon.diesel_kg_per_litre) * 0.2
    assert parts["set's fuel"] / parts["set's carbon price"] == pytest.approx(per_litre[0] / per_litre[1])
    assert "set's carbon price" in words and "EUR with its carbon and a start" in words
    assert "carbon" not in told(site_with({"energy_price_per_kwh": Decimal("1.5")}, **SET), 9000.0, soc=0.25)[2]


def test_reserve_is_filled_first_and_named_with_its_hours():
    none, careful = (told(site_with(battery={"autonomy_h": autonomy, "soc_reserve": 0.1}, genset={"rated_w": 0}),
                          soc=0.2) for autonomy in (0.0, 4.0))  # fmt: skip
    assert none[1].soc.max() < 0.25 and careful[1].soc[30] > 0.45
    assert "because the reserve for an outage of 4 h, " in careful[2] and "%, has to be filled" in careful[2]
    assert "reserve" not in none[2]


@pytest.mark.parametrize(("celsius", "limits", "words", "idle"), [
    (-30.0, {}, "cells are at -30 °C, where they may take 0 % and give 0 % of their power.", True),
    (3.0, {}, "cells are at 3 °C, where they may take 30 % and give 100 % of their power.", False),
    (20.0, {"charge_max_w": 0, "discharge_max_w": 0}, "", True),
])  # fmt: skip
def test_a_battery_that_may_not_work_is_not_called_not_worth_it(celsius, limits, words, idle):
    site = site_with({"energy_price_per_kwh": hours(h7="0.90")}, limits=limits)
    said = told(site, battery_temperature_c=celsius)[2]
    assert words in said and ("cells" in said) == bool(words)
    assert ("The battery stays idle: it may neither take nor give." in said) == idle and "not worth" not in said


def test_what_rounds_to_nothing_is_not_told():
    """A step that the month's highest import cuts by a few watt-hours."""
    prices = hours(h7="0.90")
    site = site_with({"energy_price_per_kwh": prices, "demand_charge_per_kw_month": Decimal(5)})
    made, plan, _ = told(site)
    tiny = replace(plan, battery_w=np.where(np.arange(len(plan.battery_w)) % 3 == 0, 60.0, 0.0),
                   curtail_w=np.where(np.arange(len(plan.curtail_w)) % 3 == 0, 60.0, 0.0))  # fmt: skip
    said = "\n".join(explained(site, made, tiny))
    assert " 0.0 kWh" not in said and "the battery gives 0.1 kWh" in said


def test_a_stretch_that_ends_a_day_later_or_more_says_on_which_day():
    free = {"idle_litre_per_h": Decimal(0), "litre_per_kwh": Decimal(0)}
    site = site_with(genset=free, plan={"horizon_h": 48}, limits={"import_limit_w": 0})
    assert "00:00–2026-04-01 00:00: the diesel set runs" in told(site)[2]
    dear = site_with({"energy_price_per_kwh": hours(h7="0.90", h8="0.90")}, plan={"horizon_h": 48})
    words = told(dear)[2]
    assert "\n07:00–09:00: the battery gives" in words and "\n2026-03-31 07:00–09:00: the battery gives" in words


@pytest.mark.parametrize(("export", "soc", "why"), [
    ("0.50", 0.9, "a kWh sold brings 0.500 EUR then"),
    ("0.05", 1.0, "more is stored than the maximum of 95 %"),
])  # fmt: skip
def test_why_the_battery_gives_where_the_price_of_import_is_no_reason(export, soc, why):
    _, plan, words = told(site_with({"export_price_per_kwh": Decimal(export)}), soc=soc)
    assert plan.battery_w[0] > 5000 and f"because {why}" in words.split("the battery gives")[1].split("\n")[0]


@pytest.mark.parametrize(("start_s", "duration_s", "words"), [
    (-60, 90, "Until 00:00 an announced load of 15.0 kW in all runs, over within the first step."),
    (120, 60, "At 00:02 an announced load of 15.0 kW in all comes for 1 min, over within the first step."),
    (30 * 3600, 60, "At 2026-03-31 06:00 an announced load of 15.0 kW in all comes for 1 min, beyond the plan's end."),
])  # fmt: skip
def test_a_load_that_no_step_of_the_plan_can_store_for_is_told_as_what_it_is(start_s, duration_s, words):
    job = Announcement("train", 9000, MIDNIGHT + start_s, duration_s)
    assert words in told(site_with(), jobs=(job,))[2].split("\n")


def test_where_nothing_may_be_imported_the_words_say_who_carries_the_load():
    """Who has a set that the plan may not start is told so, and is not told of a grid that gives 0 kW."""
    _, plan, words = told(site_with(limits={"import_limit_w": 0}, genset={"rated_w": 0}), soc=0.9)
    assert "the load reaches 6.0 kW and nothing may be imported" in words and "panel" not in words
    panel = site_with(limits={"import_limit_w": 0})
    made = replace(told(panel)[0], situation=replace(told(panel)[0].situation, soc=0.9))
    assert "left to the set's own panel" in "\n".join(explained(panel, made, plan))
    ruled = replace(panel, functions=replace(panel.functions, functions=128))
    assert "panel" not in "\n".join(explained(ruled, made, Dispatcher(storage_of(ruled)).plan(made.situation)))
