"""Losing the grid and getting it back, with a battery that can be the grid; each test states what was held."""

from forerun_wire import messages as m

ISLANDING = 256
PLANT = {"genset_w": 0.0, "ups_hold_up_s": 0.6}


def names(bench):
    return [name for _, name, _, _ in bench.events()]


def test_grid_loss_and_return_with_an_island_between(rig):
    functions = {"functions": ISLANDING, "grid_wait_s": 20}
    with rig(load_w=8_000, plant=PLANT, sections={"functions": functions}) as bench:
        print("seed", bench.site.seed)
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
        seen = [name for name in names(bench) if name.startswith(("island", "grid"))]
        assert seen == ["grid_lost", "island_formed", "grid_back", "island_left"], seen


def test_an_island_sheds_by_priority_before_its_battery_is_empty(rig):
    plant = {**PLANT, "battery_wh": 6_000.0, "start_soc": 0.35, "load_groups": (0.3, 0.3, 0.2)}
    functions = {"functions": ISLANDING, "shed_groups": 3, "shed_margin_s": 60, "battery_wh": 6_000}
    sections = {"functions": functions, "limits": {"soc_min": 0.2}, "battery": {"capacity_wh": 6_000}}
    with rig(load_w=10_000, plant=plant, sections=sections) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run_until(lambda: bench.site.island.live, 2)
        loads = []
        for _ in range(22):
            bench.run(20)
            loads.append(round(bench.site.load_w))
        assert bench.site.island.blackouts == 0 and bench.site.inverter.power_w > 0
        steps = list(dict.fromkeys(loads))
        assert steps[:3] == [10_000, 7_000, 4_000] and loads == sorted(loads, reverse=True), loads
        assert bench.site.battery.soc >= 0.15 and bench.site.shed_wh > 0
        assert names(bench).count("load_shed") == len(steps) - 1


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
        assert names(bench).count("load_shed") == 1


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
        assert bench.site.island.live and "island_dark" not in names(bench)
