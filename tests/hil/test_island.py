"""Losing the grid and getting it back, with a battery that can be the grid; each test states what was held."""

import pytest

from forerun_wire import messages as m

ISLANDING, TRIP = 256, 512
PLANT = {"genset_w": 0.0, "ups_hold_up_s": 0.6}


def test_grid_loss_and_return_with_an_island_between(rig):
    functions = {"functions": ISLANDING, "grid_wait_s": 20}
    with rig(load_w=8_000, plant=PLANT, sections={"functions": functions}) as bench:
        bench.run_until_armed()
        bench.run(2)
        bench.site.lose_grid()
        start_s = bench.now_s
        bench.run_until(lambda: bench.site.island.live, 1)
        assert bench.now_s - start_s <= 0.4, "seen after 100 ms, contactor and inverter included"
        bench.run(30)
        assert bench.site.totals().unserved_wh == 0.0, "the servers' own supplies bridged it"
        assert 0.98 <= bench.site.bus_pu <= 1.02 and 49.0 <= bench.site.frequency_hz <= 51.0, "EN 50160, island: ±2 %"
        bench.site.return_grid()
        bench.run(10)
        assert bench.site.island.live, "a grid is believed after the commissioned wait"
        bench.run_until(lambda: not bench.site.island.tie_open, 20)
        bench.run(5)
        assert bench.site.island.asynchronous_closings == 0 and bench.site.island.blackouts == 0
        assert bench.site.totals().unserved_wh == 0.0
        seen = [name for name in bench.names() if name.startswith(("island", "grid"))]
        assert seen == ["grid_lost", "island_formed", "grid_back", "island_left"], seen
        bench.assert_held(interruptions=1, itic=1)


def test_an_island_sheds_by_priority_before_its_battery_is_empty(rig):
    plant = {**PLANT, "battery_wh": 6_000.0, "start_soc": 0.35, "load_groups": (0.3, 0.3, 0.2)}
    functions = {"functions": ISLANDING, "shed_groups": 3, "shed_margin_s": 60, "battery_wh": 6_000}
    sections = {"functions": functions, "limits": {"soc_min": 0.2}, "battery": {"capacity_wh": 6_000}}
    with rig(load_w=10_000, plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        bench.coarse(250)
        loads = []
        for _ in range(22):
            bench.run(20)
            loads.append(round(bench.site.load_w))
        assert bench.site.island.blackouts == 0 and bench.site.inverter.power_w > 0
        steps = list(dict.fromkeys(loads))
        assert steps[:3] == [10_000, 7_000, 4_000] and loads == sorted(loads, reverse=True), loads
        assert bench.site.battery.soc >= 0.15 and bench.site.shed_wh > 0
        assert bench.names().count("load_shed") == len(steps) - 1
        bench.assert_held(interruptions=1, itic=1, soc=(0.15, 0.95))


def test_an_overload_in_the_island_is_shed_at_once(rig):
    plant = {**PLANT, "load_groups": (0.5, 0.3), "inverter_va": 30_000.0}
    functions = {"functions": ISLANDING, "shed_groups": 2, "battery_wh": 60_000}
    sections = {"functions": functions, "limits": {"discharge_max_w": 12_000}}
    with rig(load_w=8_000, plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        bench.run(3)
        bench.site.add_job(bench.bench.now_us, 60_000_000, 9_000)
        bench.run(2)
        assert bench.site.inverter.power_w <= 12_000 and bench.site.island.blackouts == 0
        assert bench.names().count("load_shed") == 1
        bench.assert_held(interruptions=1, itic=1)


def test_a_silent_meter_neither_makes_nor_ends_an_island(rig):
    with rig(load_w=6_000, plant=PLANT, sections={"functions": {"functions": ISLANDING}}) as bench:
        bench.run_until_armed()
        meter = bench.slave.responder.units[2]
        meter.is_silent = lambda: True
        bench.run(6)
        assert not bench.site.island.tie_open and bench.host.latest["bound_by"] == m.BOUND_METER_STALE
        meter.is_silent = lambda: False
        bench.run(5)
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        meter.is_silent = lambda: True
        bench.run(8)
        assert bench.site.island.live and "island_dark" not in bench.names()
        bench.assert_held(interruptions=1, itic=1)


def test_a_site_that_went_dark_starts_black_without_its_loads_and_takes_them_back_one_by_one(rig):
    plant = {**PLANT, "load_groups": (0.4, 0.3, 0.2), "ups_hold_up_s": 3600.0}
    functions = {"functions": ISLANDING, "shed_groups": 3, "shed_margin_s": 60, "battery_wh": 60_000, "grid_wait_s": 20}
    with rig(load_w=8_000, plant=plant, sections={"functions": functions}) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        bench.run(2)
        bench.site.add_job(bench.bench.now_us, 20_000_000, 50_000)  # more than the inverter can hold for a moment
        bench.run(1)
        assert bench.site.island.blackouts == 1 and not bench.site.island.live
        bench.run_until(lambda: "island_dark" in bench.names(), 5, 0.1)
        dark_s = bench.now_s
        assert bench.bench.outputs >> 8 & 7 == 7, "every group of loads is off before the bus lives again"
        assert bench.bench.outputs & 32, "and the contactor to the grid stays open"
        bench.run_until(lambda: bench.site.island.live, 60, 0.1)
        assert 29 <= bench.now_s - dark_s <= 45, "all loads and inverters have half a minute to come to rest"
        assert bench.site.load_w < 0.11 * 8_000, "into an empty bus"
        assert 0.98 <= bench.site.bus_pu <= 1.02 and 49.0 <= bench.site.frequency_hz <= 51.0
        bench.run(5)
        bench.coarse(1000)
        loads = []
        for _ in range(26):
            bench.run(50)
            loads.append(round(bench.site.load_w))
        assert list(dict.fromkeys(loads)) == [800, 2_400, 4_800, 8_000], loads
        bench.coarse(0)
        assert bench.site.island.blackouts == 1 and bench.site.island.live
        bench.site.return_grid()
        bench.run_until(lambda: not bench.site.island.tie_open, 40)
        bench.run(5)
        assert bench.site.island.asynchronous_closings == 0
        seen = [name for name in bench.names() if name.startswith(("island", "load"))]
        assert seen == ["island_formed", "island_dark", "island_formed", *["load_restored"] * 3, "island_left"], seen
        assert bench.site.totals().soc >= 0.10
        bench.assert_held(interruptions=1, itic=2)


@pytest.mark.parametrize("out_of_step", [{"volts": 272.0}, {"hertz": 51.8}, {"volts": 200.0, "hertz": 50.4}])
def test_a_grid_that_comes_back_out_of_range_neither_trips_the_island_nor_is_joined(rig, out_of_step):
    """Conditions of IEEE 1547-2018, table 5; the trip judges what the inverter feeds, which is the island."""
    functions = {"functions": ISLANDING | TRIP, "grid_wait_s": 5}
    with rig(load_w=8_000, plant=PLANT, sections={"functions": functions}) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        bench.run(3)
        bench.site.source_v = out_of_step.get("volts", 230.0)
        bench.site.set_grid_frequency(out_of_step.get("hertz", 50.0))
        bench.site.return_grid()
        bench.site.add_job(bench.bench.now_us, 8_000_000, 3_000)
        bench.run(20)
        assert bench.site.island.live and bench.site.island.tie_open, bench.names()[-4:]
        assert not [name for name in bench.names() if name.startswith(("tripped", "support_", "meter_frozen"))]
        assert bench.site.totals().unserved_wh == 0.0
        bench.site.source_v = 230.0
        bench.site.set_grid_frequency(50.0)
        bench.run_until(lambda: not bench.site.island.tie_open, 15, 0.1)
        bench.run(2)
        assert bench.site.island.asynchronous_closings == 0 and bench.site.island.blackouts == 0
        bench.assert_rules()
