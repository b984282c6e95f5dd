"""The plan of a running site: what it may count on, and what of it the board is given."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forerun import config
from forerun.compute.load import Announcement
from forerun.dispatch import dispatcher as d
from forerun.dispatch.planning import quiet_steps
from forerun.site.history import month_left_s
from forerun.site.planner import Planner
from forerun_board.control import image as im
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.functions import Functions
from forerun_board.control.image import INVERTER_RUNNING, Image
from forerun_wire import messages as m

NOW = 1_568_937_600  # 2019-09-20 00:00 UTC
SITE = config.load(Path(config.__file__).with_name("demo_site.toml"))
RULES = {"functions": 128, "genset_warm_up_s": 40}


def site(limit_w=3000, **functions):
    """The demo's site on a connection that does not carry its load, with a set that the board rules."""
    return replace(SITE, limits=replace(SITE.limits, import_limit_w=limit_w),
                   functions=replace(SITE.functions, **{**RULES, **functions}))  # fmt: skip


def planned(planner, soc=0.15, now_s=NOW):
    planner.make(now_s, soc, 8000.0, [])
    return planner.plan


def plan_of(step_s, genset_w, battery_w=0.0):
    n = len(step_s)
    return d.Plan(np.array(step_s, float), np.full(n, battery_w), np.full(n, 1000.0), np.zeros(n), np.full(n, 0.5),
                  np.array(genset_w, float), 0.0, ())  # fmt: skip


def test_the_set_starts_a_lead_before_the_plan_gives_it_load():
    plan = plan_of([300, 300, 900, 900, 3600], [0, 0, 0, 9000, 0])
    assert d.board_points(plan, 360) == [(1140, 0, 0), (360, 2, 0), (900, 3, 1000), (3600, 0, 0)]
    assert d.board_points(plan, 0) == [(1500, 0, 0), (900, 3, 1000), (3600, 0, 0)]
    long = d.board_points(plan, 7200)
    assert long == [(1500, 2, 0), (900, 3, 1000), (3600, 0, 0)], "a lead longer than what is left begins now"
    apart = plan_of([300, 300, 300], [9000, 0, 9000])
    assert d.board_points(apart, 200) == [(300, 3, 1000), (100, 0, 0), (200, 2, 0), (300, 3, 1000)]


def test_a_job_that_is_corrected_all_the_time_is_one_job():
    planner = Planner(SITE)
    jobs = [Announcement("train", 5000.0, NOW + 9000.0 + index, 600.0) for index in range(500)]
    for index, job in enumerate(jobs):
        planner.job_log.announce(NOW - 500 + index, job)
    planner.make(NOW, 0.5, 5000.0, jobs[-1:])
    assert [item.job for item in planner.job_log.told] == jobs[-1:]
    assert len(planner.made.situation.surges) == 1


def test_a_plan_with_many_starts_keeps_its_length_and_the_set():
    plan = plan_of([300] * 300, [9000, 0, 0] * 100)
    points = d.board_points(plan, 60)
    assert len(points) == d.MAX_POINTS and sum(point[0] for point in points) == 90_000 and points[-1][1] & d.WITH_SET


def test_the_set_is_planned_with_only_where_the_board_rules_one_and_while_it_starts():
    assert not planned(Planner(site(functions=0))).genset_w.any()
    planner = Planner(site())
    assert planned(planner).genset_w.any()
    modes = {mode for _, mode, _ in planner.points()}
    assert modes & {2, 3}
    assert not planner.note(NOW, m.GENSET_START_FAILED), "it has more tries"
    assert planner.note(NOW, m.GENSET_LOCKED_OUT)
    assert not planned(planner).genset_w.any() and not {mode for _, mode, _ in planner.points()} & {2, 3}
    assert planner.note(NOW, m.GENSET_STOPPED), "the lock-out was taken back"
    assert planned(planner).genset_w.any()


def test_a_set_that_runs_is_kept_for_the_least_time_of_board_and_plan():
    planner = Planner(site(limit_w=30_000, genset_min_run_s=3600))
    assert not planned(planner, soc=0.6).genset_w.any()
    planner.note(NOW - 600, m.GENSET_STARTED)
    plan = planned(planner, soc=0.6)
    assert list(plan.genset_w > 0) == [start < 3000 for start in np.cumsum(plan.step_s) - plan.step_s]
    planner.note(NOW, None)
    assert not planned(planner, soc=0.6).genset_w.any(), "a board that booted has let it stop"


def test_quiet_hours_are_left_out_of_the_plan_in_the_time_of_the_site():
    night = site(quiet_start_min=22 * 60, quiet_end_min=6 * 60)
    for zone in ("UTC", "Europe/Oslo", "Asia/Kathmandu"):
        there = replace(night, reporting=replace(night.reporting, timezone=zone))
        planner = Planner(there)
        plan = planned(planner, now_s=NOW + 12 * 3600)
        quiet = quiet_steps(there, planner.start_s, plan.step_s)
        assert quiet.any() and not plan.genset_w[quiet].any() and plan.genset_w[~quiet].any(), zone


@pytest.mark.parametrize("utc, hours", [("2019-03-30T12:00", 11), ("2019-10-26T12:00", 13), ("2019-06-01T12:00", 12)])
def test_a_night_with_a_change_of_clocks_is_as_long_as_it_is(utc, hours):
    there = replace(site(quiet_start_min=18 * 60, quiet_end_min=6 * 60),
                    reporting=replace(SITE.reporting, timezone="Europe/Oslo"))  # fmt: skip
    start_s = round(datetime.fromisoformat(utc + "+00:00").timestamp())
    assert quiet_steps(there, start_s, np.full(288, 300.0)).sum() == 12 * hours


def test_cold_cells_are_not_charged_by_the_plan_and_unknown_ones_count_as_warm():
    planner = Planner(site(limit_w=30_000))
    assert planned(planner, soc=0.12).battery_w.min() < -1000
    assert planner.feel(-3.0) and not planner.feel(-3.5)
    assert planned(planner, soc=0.12).battery_w.min() > -1
    assert planner.feel(None)
    assert planned(planner, soc=0.12).battery_w.min() < -1000


def board_beside_a_set(there, load_w, soc, cell_c=20.0):
    """(charge_w, genset_w) that a board of these settings comes to while the set alone carries the load."""
    numbers, board = config.board_settings(there), Config()
    for key, name, *_ in m.SETTINGS:
        setattr(board, name, numbers[key])
    controller, image = Controller(board), Image()
    functions = Functions(board)
    controller.commission(functions)
    image.inverter_state, image.soc_permille, image.cell_decic = INVERTER_RUNNING, round(1000 * soc), round(10 * cell_c)
    image.charge_max_w = image.discharge_max_w = 1_000_000
    image.pcc_voltage_mv, image.frequency_millihz = 0, 0
    for second in range(300):
        image.begin(1000)
        for age in ("pcc", "inverter", "battery", "host", "pv", "genset", "temperature"):
            setattr(image, f"{age}_age_ms", 0)
        image.active_power_w = controller.setpoint_w
        image.inputs = im.INPUT_GENSET_RUNNING if second > 20 else 0
        image.genset_w = load_w - image.active_power_w if functions.genset.loadable else 0
        controller.step(image)
        while controller.events.pop():
            pass
    assert functions.genset.state == "running"
    return -controller.setpoint_w, image.genset_w


@pytest.mark.parametrize(("least_w", "share", "load_w", "charge_max_w", "soc", "cell_c"), [
    (6_000, 0.1, 2_000, 30_000, 0.5, 20.0),  # the board's own least load is the higher one
    (6_000, 0.3, 5_500, 30_000, 0.5, 20.0),
    (9_000, 0.1, 1_000, 3_000, 0.5, 20.0),  # the battery cannot take all that is missing
    (6_000, 0.3, 2_000, 30_000, 0.95, 20.0),  # full
    (6_000, 0.3, 2_000, 30_000, 0.5, -5.0),  # freezing
    (6_000, 0.3, 11_000, 30_000, 0.5, 20.0),  # load enough
])  # fmt: skip
def test_board_and_plan_agree_on_the_least_load_of_a_set_and_on_what_the_battery_takes_of_it(
    least_w, share, load_w, charge_max_w, soc, cell_c
):
    there = site(functions=128 | 64, genset_min_load_w=least_w, genset_min_run_s=7200, genset_warm_up_s=10)
    there = replace(there, genset=replace(there.genset, min_load=share),
                    limits=replace(there.limits, charge_max_w=charge_max_w, export_limit_w=0))  # fmt: skip
    board_w, given_w = board_beside_a_set(there, load_w, soc, cell_c)
    storage = replace(d.ruled_storage(there, True), import_limit_w=0.0)
    step_s = np.full(12, 300.0)
    plan = d.Dispatcher(storage).plan(d.Situation(step_s, np.full(12, float(load_w)), np.zeros(12), 0.2, soc=soc,
                                                  genset_run_s=60.0, battery_temperature_c=cell_c))  # fmt: skip
    planned_w = -plan.battery_w[0]
    assert plan.genset_w[0] > 0, "it has to run on"
    missing_w = max(0, least_w - load_w)
    possible_w = min(missing_w, charge_max_w) if soc < 0.95 and cell_c > 0 else 0
    # The board asks for a sixteenth of the least load more, because loads move.
    assert possible_w - 50 <= board_w <= min(possible_w + least_w / 16 + 50, charge_max_w), board_w
    assert planned_w <= charge_max_w + 1 and (planned_w >= possible_w - 50 or not missing_w), planned_w
    assert plan.genset_w[0] >= min(least_w, load_w + possible_w) - 50, "a plan may rest the set on it, never below"
    if possible_w == missing_w:
        assert given_w >= least_w - 50 and plan.genset_w[0] >= least_w - 50
    if possible_w == 0:
        assert board_w == 0 and planned_w <= 1


def test_a_plan_earns_of_a_higher_peak_what_its_day_is_of_the_rest_of_the_month():
    """A kW more in the cheap half of the day saves some 2 EUR: enough for a day's share of the 20 EUR that
    it costs the month, far too little for all of them."""
    prices = tuple(Decimal("0.20") if hour < 12 else Decimal("0.40") for hour in range(24))
    tariff = replace(SITE.tariff, energy_price_per_kwh=prices, demand_charge_per_kw_month=Decimal(20))
    highest_w = {}
    for day in (1, 30):
        planner = Planner(replace(SITE, tariff=tariff, limits=replace(SITE.limits, import_limit_w=30_000)))
        highest_w[day] = planned(planner, 0.5, NOW - 19 * 86_400 + (day - 1) * 86_400).pcc_import_w.max()
    assert highest_w[1] > 10_000 and highest_w[30] < 8000, highest_w
    at_s = int(datetime(2024, 2, 28, 23, tzinfo=UTC).timestamp())
    assert month_left_s(at_s) == 25 * 3600 and month_left_s(at_s, ZoneInfo("Europe/Oslo")) == 24 * 3600
    assert month_left_s(int(datetime(2025, 12, 31, 22, tzinfo=UTC).timestamp())) == 2 * 3600


OSLO_FEBRUARY = 1_769_900_400  # 2026-01-31T23:00Z: February has begun there, but not in UTC


def test_the_peak_that_is_billed_already_is_the_highest_hour_of_the_sites_own_month():
    """An inrush of milliseconds is in no bill, and January's peak not in February's."""
    planner = Planner(replace(site(), reporting=replace(site().reporting, timezone="Europe/Oslo")))
    start_s, import_wh, found = OSLO_FEBRUARY - 3 * 3600, 0, []

    def peak_w(now_s: int) -> float:
        return planner.outlook(now_s, 0.5, 6000.0, []).situation.peak_so_far_w

    for step in range(5 * 12 + 1):
        import_wh += (300, 800, 500, 200, 250)[(step - 1) // 12] if step else 0
        values = {"interval_s": 300, "import_wh": import_wh, "import_max_w": 29_000, "soc_permille": 500}
        planner.learn(start_s + 300 * step, m.INTERVAL, [values.get(name, 0) for name in m.INTERVAL_FIELDS])
        if step and step % 12 == 0:
            found.append(peak_w(start_s + 300 * step - 1))
    assert found == [3600, 9600, 9600, 2400, 3000]
    assert peak_w(start_s + 40 * 86_400) == 0
