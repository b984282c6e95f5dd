"""Dispatch: cases that a person can check by hand, words and refusals, and the points that the board is given."""

from dataclasses import replace

import numpy as np
import pytest

from forerun import config
from forerun.dispatch.dispatcher import (
    HOLD_BATTERY,
    HOLD_PCC,
    MAX_POINTS,
    Dispatcher,
    DispatchInputError,
    Plan,
    Situation,
    Surge,
    board_points,
    plan_steps,
    storage_of,
)
from forerun.dispatch.reserve import outage_reserve_wh
from plan_cases import DIESEL, PLAIN, situation, solvable_case


def test_what_was_never_asked_before_is_planned_as_by_a_new_dispatcher():
    """PV, a surge, export, a full battery and negative prices come one after the other, and go again."""
    storage = replace(PLAIN, soc_max=0.9)
    plain = situation([2000, 6000, 1000, 500], price=np.array([1.0, 2.0, 0.5, 1.5]))
    cases = [
        plain,
        replace(plain, pv_w=np.array([0, 3000.0, 9000, 0])),
        replace(plain, surges=(Surge(7200, 3600, 14_000),)),
        replace(plain, soc=0.97),
        replace(plain, energy_price_per_kwh=np.array([-1.0, 2.0, -0.5, 1.5]), load_w=np.array([2000.0, 12_000, 0, 0])),
        plain,
    ]
    dispatcher = Dispatcher(storage)
    for asked in cases:
        again, anew = dispatcher.plan(asked), Dispatcher(storage).plan(asked)
        np.testing.assert_allclose(again.battery_w, anew.battery_w, atol=1e-3)
        assert again.cost == pytest.approx(anew.cost) and again.relaxed == anew.relaxed


def test_buys_in_the_cheap_hour_and_uses_it_in_the_dear_one():
    plan = Dispatcher(PLAIN).plan(
        situation([2000, 2000], price=np.array([0.1, 1.0]), soc=0.0, stored_value_per_kwh=0.0)
    )
    np.testing.assert_allclose(plan.battery_w, [-2000, 2000], atol=1e-3)
    np.testing.assert_allclose(plan.pcc_import_w, [4000, 0], atol=1e-3)
    np.testing.assert_allclose(plan.soc, [0.2, 0.0], atol=1e-6)
    assert plan.cost == pytest.approx(0.4)
    assert plan.relaxed == ()


def test_stays_idle_when_wear_and_loss_eat_the_spread():
    worn = replace(PLAIN, efficiency_charge=0.9, efficiency_discharge=0.9, wear_cost_per_kwh=0.05)
    price = np.array([0.80, 1.0])  # a kWh stored costs 0.80 / 0.9 > 0.87 and earns 0.9 * 0.95 < 0.87
    plan = Dispatcher(worn).plan(situation([2000, 2000], price=price, stored_value_per_kwh=0.87))
    np.testing.assert_allclose(plan.battery_w, [0, 0], atol=1e-6)


def test_losses_are_counted_once_each_way():
    lossy = replace(PLAIN, efficiency_charge=0.9, efficiency_discharge=0.8)
    plan = Dispatcher(lossy).plan(situation([0, 5000], price=np.array([0.1, 1.0]), soc=0.0, stored_value_per_kwh=0.0))
    assert plan.battery_w[0] == pytest.approx(-5000)
    assert plan.soc[0] == pytest.approx(0.45)
    assert plan.battery_w[1] == pytest.approx(3600)


def test_import_limit_is_kept_by_the_battery_and_a_peak_costs_its_demand_charge():
    plan = Dispatcher(PLAIN).plan(situation([12_000, 2000, 2000]))
    assert plan.pcc_import_w.max() <= 10_000 + 1e-3
    assert plan.relaxed == ()
    charged = replace(PLAIN, demand_charge_per_kw=50.0)
    flat = Dispatcher(charged).plan(situation([6000, 0, 0], soc=0.0))
    assert flat.cost == pytest.approx(6 + 6 * 50)  # the battery is empty: the peak cannot be avoided
    spread = Dispatcher(charged).plan(situation([0, 0, 6000], soc=0.0, stored_value_per_kwh=0.0))
    np.testing.assert_allclose(spread.pcc_import_w, [2000, 2000, 2000], atol=1e-3)
    billed = Dispatcher(charged).plan(situation([6000, 0, 0], soc=0.0, peak_so_far_w=6000.0))
    assert billed.cost == pytest.approx(6)


def test_pv_above_the_export_limit_is_stored_first_and_curtailed_last():
    plan = Dispatcher(replace(PLAIN, export_limit_w=1000)).plan(situation([0, 0], [4000, 20_000], soc=0.5))
    assert plan.pcc_import_w.min() >= -1000 - 1e-3
    assert plan.soc[-1] == pytest.approx(1.0)
    assert plan.curtail_w.sum() == pytest.approx(24_000 - 2000 - 5000, abs=1e-3)
    assert plan.relaxed == ()


def test_energy_for_an_announced_surge_is_there_300_s_before_it():
    steps = np.full(48, 300.0)
    lossy = replace(PLAIN, efficiency_charge=0.9, efficiency_discharge=0.9, import_limit_w=5000)
    load_w = np.full(48, 2000.0)
    load_w[24:28] = 9000.0
    surge = Surge(start_s=24 * 300.0, duration_s=1200.0, load_w=9000.0)
    flat = Situation(steps, load_w, np.zeros(48), 1.0, soc=0.0)
    plan = Dispatcher(lossy).plan(replace(flat, surges=(surge,)))
    need = 4000 * 1200 / 3600 / 0.9 / 10_000
    ends = np.cumsum(steps)
    assert plan.soc[ends <= 24 * 300 - 300][-1] >= need - 1e-6
    assert plan.relaxed == ()
    assert plan.pcc_import_w.max() <= 5000 + 1e-3
    without = Dispatcher(lossy).plan(replace(flat, load_w=np.full(48, 2000.0)))
    assert without.soc[ends <= 24 * 300 - 300][-1] < need


def test_a_surge_inside_a_coarse_step_still_gets_its_energy():
    """The mean of the step is below the import limit; only the surge itself tells that energy is needed."""
    steps = np.full(4, 3600.0)
    surge = Surge(start_s=7500.0, duration_s=600.0, load_w=13_000.0)
    plan = Dispatcher(PLAIN).plan(Situation(steps, np.full(4, 4000.0), np.zeros(4), 1.0, 0.0, surges=(surge,)))
    assert plan.soc[1] >= 3000 * 600 / 3600 / 10_000 - 1e-6


def test_two_surges_share_what_can_be_recharged_between_them():
    steps, load_w, price = np.full(24, 300.0), np.full(24, 9000.0), np.where(np.arange(24) < 5, 5.0, 1.0)
    need_wh = 4000 * 600 / 3600

    def soc_before_the_first(second_start_s: float) -> float:
        surges = (Surge(1800.0, 600.0, 14_000.0), Surge(second_start_s, 600.0, 14_000.0))
        asked = Situation(steps, load_w, np.zeros(24), price, 0.15, surges=surges, stored_value_per_kwh=0.0)
        return Dispatcher(PLAIN).plan(asked).soc[4] * PLAIN.capacity_wh

    # From the end of the first to the lead of the second there is no time to charge: both are stored before.
    assert soc_before_the_first(2700.0) == pytest.approx(2 * need_wh, abs=1)
    assert soc_before_the_first(5700.0) == pytest.approx(need_wh, abs=1)


def test_what_cannot_be_kept_is_said_with_its_size():
    plan = Dispatcher(PLAIN).plan(situation([18_000, 1000], soc=0.0))
    assert plan.relaxed == (
        "import is above the planned limit of 10000 W by up to 8000 W, for 60 min in all, first in 0 min",
    )
    # 900 W of load leave 100 W of import to charge with: what the limit forbids is not planned.
    small = replace(PLAIN, import_limit_w=1000)
    surge = Surge(start_s=3600.0, duration_s=3600.0, load_w=9000.0)
    sentences = " | ".join(Dispatcher(small).plan(situation([900, 9000], soc=0.0, surges=(surge,))).relaxed)
    assert "surge in 60 min is 8.0 kW above the import limit and the battery gives 5.0 kW" in sentences
    many = tuple(replace(surge, start_s=3600.0 + 60 * index, duration_s=60.0) for index in range(100))
    told = Dispatcher(small).plan(situation([900] * 12, soc=0.0, surges=many)).relaxed
    assert [sentence for sentence in told if "the most of 100 for which" in sentence] and len(told) < 6, told
    assert "short of what the announced surge needs, 5000 Wh by up to 4900 Wh" in sentences
    assert "import is above the planned limit of 1000 W by up to 7900 W, for 60 min in all" in sentences
    below = Dispatcher(replace(PLAIN, soc_min=0.2, soc_reserve=0.2)).plan(situation([0, 0], soc=0.05))
    assert below.relaxed == ()  # one hour is enough to be back above the minimum
    stuck = Dispatcher(replace(PLAIN, soc_min=0.2, soc_reserve=0.2, charge_max_w=0)).plan(situation([0, 0], soc=0.05))
    assert "below the minimum of 2000 Wh by up to 1500 Wh, for 120 min" in stuck.relaxed[0]


def test_the_reserve_is_kept_from_prices_but_given_to_the_import_limit():
    kept = replace(PLAIN, soc_reserve=0.3)
    price = np.array([1.0, 1.0, 1.4])
    plan = Dispatcher(kept).plan(situation([1000, 1000, 1000], price=price, soc=0.3, stored_value_per_kwh=0.0))
    assert plan.soc.min() >= 0.3 - 1e-6
    spent = Dispatcher(kept).plan(situation([12_000, 1000], soc=0.3))
    assert spent.soc[0] == pytest.approx(0.1)
    assert "below the reserve of 3000 Wh by up to 2000 Wh" in spent.relaxed[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_w": np.array([1.0, np.nan])}, "load_w holds nan at step 1"),
        ({"load_w": np.zeros(3)}, "load_w has the shape (3,); 2 steps need (2,)"),
        ({"pv_w": np.array([-5.0, 0.0])}, "pv_w holds -5.0 W"),
        ({"soc": 1.2}, "soc is 1.2"),
        ({"soc": float("nan")}, "soc is nan"),
        ({"step_s": np.array([300.0, 0.0])}, "step_s must be"),
        ({"energy_price_per_kwh": float("inf")}, "energy_price_per_kwh holds inf"),
        ({"peak_so_far_w": -1.0}, "peak_so_far_w is -1.0"),
        ({"stored_value_per_kwh": float("nan")}, "stored_value_per_kwh is nan"),
        ({"surges": (Surge(float("nan"), 1.0, 1.0),)}, "finite numbers"),
    ],
)
def test_inputs_that_are_no_numbers_are_refused_in_one_sentence(change, words):
    with pytest.raises(DispatchInputError) as refused:
        Dispatcher(PLAIN).plan(replace(situation([1.0, 1.0]), **change))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_questions_get_the_same_answers():
    def run():
        dispatcher = Dispatcher(PLAIN)
        return [dispatcher.plan(replace(solvable_case(seed, True)[1])) for seed in range(5)]

    first, second = run(), run()
    assert first == second
    assert first[0] != first[1]


def test_a_solver_that_gives_up_leaves_an_idle_plan_that_says_so():
    dispatcher = Dispatcher(PLAIN)
    dispatcher.plan(situation([3000, 3000]))
    dispatcher._programme._solver.highs.setOptionValue("simplex_iteration_limit", 0)
    plan = dispatcher.plan(situation([3000, 3000], price=np.array([0.1, 1.0])))
    np.testing.assert_array_equal(plan.battery_w, [0, 0])
    np.testing.assert_array_equal(plan.pcc_import_w, [3000, 3000])
    assert "solver found no answer" in plan.relaxed[0]


def plan_of(step_s, battery_w, pcc_import_w) -> Plan:
    n = len(step_s)
    return Plan(np.array(step_s), np.array(battery_w), np.array(pcc_import_w), *np.zeros((3, n)), 0.0, ())


def test_board_points_hold_the_import_while_the_battery_works_and_merge_neighbours():
    plan = plan_of([300.0] * 5, [0, 20, 4000, 5000, -3000], [5000, 5200, 2000.4, 2000.1, 8000])
    assert board_points(plan) == [(600, HOLD_BATTERY, 0), (600, HOLD_PCC, 2000), (300, HOLD_PCC, 8000)]


def test_board_points_never_exceed_what_the_board_keeps():
    n = 200
    plan = plan_of([300.0] * n, np.full(n, 3000.0), np.arange(n) * 10.0)
    points = board_points(plan)
    assert len(points) == MAX_POINTS
    assert sum(point[0] for point in points) == 300 * n
    assert points[:10] == [(300, HOLD_PCC, 10 * step) for step in range(10)]


def test_the_site_file_becomes_a_storage_with_the_margin_taken_off():
    site = config.load(config.EXAMPLE)
    storage = storage_of(site)
    assert storage.import_limit_w == site.limits.import_limit_w - site.limits.import_margin_w
    assert storage.wear_cost_per_kwh == pytest.approx(float(site.battery.wear_cost_per_kwh))


def test_a_set_that_has_just_started_runs_on_and_a_dear_one_stays_off():
    flat = situation([2000] * 6, soc=0.9)
    fine = replace(flat, step_s=np.full(6, 600.0))
    storage = replace(PLAIN, genset=DIESEL)
    assert not Dispatcher(storage).plan(fine).genset_w.any()
    started = Dispatcher(storage).plan(replace(fine, genset_run_s=600.0))
    assert list(started.genset_w > 0) == [True, True, False, False, False, False]
    dear_grid = replace(fine, energy_price_per_kwh=30.0, stored_value_per_kwh=0.0, load_w=np.full(6, 9000.0), soc=0.0)
    running = Dispatcher(storage).plan(dear_grid)
    np.testing.assert_allclose(running.genset_w, 9000, atol=1)
    assert running.cost == pytest.approx(5 + 1 * (2.0 + 9 * 0.5), abs=0.01)


def test_what_the_set_gives_is_the_loads_where_that_is_over_the_import_limit():
    """No board charges there, so no plan may count on it, although the job after it lacks the energy."""
    storage = replace(PLAIN, import_limit_w=5000, soc_reserve=0.5, genset=DIESEL)
    load_w = [40_000, 40_000, 40_000, 20_000, 3000, 40_000]
    plan = Dispatcher(storage).plan(situation(load_w, soc=0.0, surges=(Surge(5 * 3600, 3600, 40_000),)))
    assert plan.genset_w[:4].tolist() == [20_000] * 4
    assert plan.battery_w[:3].tolist() == [0, 0, 0] and plan.pcc_import_w[:3].tolist() == [20_000] * 3
    assert plan.battery_w[3] == pytest.approx(-5000) and plan.pcc_import_w[3] == pytest.approx(5000)


def test_a_set_without_a_least_power_is_planned_with_like_one_with_next_to_none():
    """Two hours of more load than the grid gives: the set runs for them, at what is missing."""
    load_w = [2000.0] * 4 + [9000.0] * 2 + [2000.0] * 4
    asked = situation(load_w, price=0.2, soc=0.2, stored_value_per_kwh=0.1)
    storage = replace(PLAIN, import_limit_w=4000, soc_min=0.2, soc_reserve=0.2, charge_max_w=500)
    none, some = (Dispatcher(replace(storage, genset=replace(DIESEL, min_load=share))).plan(asked)
                  for share in (0.0, 0.01))  # fmt: skip
    assert np.flatnonzero(none.genset_w).tolist() == [4, 5] and none.relaxed == ()
    np.testing.assert_allclose(none.genset_w, some.genset_w, atol=2.0)
    assert none.cost == pytest.approx(some.cost, rel=1e-3)
    near = situation([2000, 2000], price=np.array([0.10, 0.12]), soc=0.0, stored_value_per_kwh=0.0)
    shifts = Dispatcher(replace(PLAIN, genset=replace(DIESEL, min_load=0.0))).plan(near)
    np.testing.assert_allclose(shifts.battery_w, [-2000, 2000], atol=2.0)  # a kWh at hardly any power sets no scale


def test_cold_cells_take_no_charge_and_a_reserve_for_an_outage_is_bought_ahead():
    cold = Dispatcher(PLAIN).plan(situation([0, 0], [4000, 4000], soc=0.2, battery_temperature_c=-5.0))
    assert np.all(cold.battery_w >= -1e-6)
    reserve = outage_reserve_wh(np.full(4, 3000.0), np.array([0.0, 0, 5000, 0]), 3600, 2.0, 1.0)
    np.testing.assert_allclose(reserve, [3000, 3000, 6000, 6000])
    kept = Dispatcher(PLAIN).plan(situation([1000] * 4, price=1.0, soc=0.1, reserve_wh=reserve))
    assert np.all(kept.soc[1:] * PLAIN.capacity_wh >= reserve[1:] - 1e-3)


def test_steps_of_a_plan_are_fine_where_it_is_near():
    steps = plan_steps(48)
    assert steps.sum() == 48 * 3600 and len(steps) == 100
    assert plan_steps(24).sum() == 24 * 3600 and plan_steps(1).sum() == 3600
