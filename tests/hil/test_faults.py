"""What happens when something is lost or lies; each test names the behaviour that must follow."""

import random

from forerun.integrations.sunspec import ModbusRefusal
from forerun.plant.series import Series
from forerun_wire import messages as m
from hil.noise import one_bit


def _seen(bench, name):
    return [event for event in bench.events() if event[1] == name]


def test_a_silent_meter_stops_the_battery_and_its_return_starts_it_again(rig):
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 5000, 120_000)
        bench.run(3)
        meter = bench.slave.responder.units[2]
        meter.is_silent = lambda: True
        bench.run(8)
        assert abs(bench.site.inverter.power_w) < 50, "neither the last value nor the maximum"
        assert bench.host.latest["bound_by"] == m.BOUND_METER_STALE
        assert len(_seen(bench, "meter_stale")) == 1
        assert any("meter at the PCC does not answer" in sentence for _, sentence in bench.said)
        meter.is_silent = lambda: False
        bench.run(8)
        assert abs(bench.site.inverter.power_w - 5000) < 50
        assert len(_seen(bench, "meter_back")) == 1


def test_a_dead_board_leaves_the_inverter_to_its_own_watchdog(rig):
    with rig(sections={"safety": {"inverter_watchdog_s": 10}}) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 6000, 120_000)
        bench.run(30)
        assert abs(bench.site.inverter.power_w - 6000) < 50, "refreshed in time, it holds for longer than the watchdog"
        bench.bench.power_off()
        bench.run(11)
        assert abs(bench.site.inverter.power_w) < 50


def test_a_board_that_was_powered_off_comes_back_with_its_records(rig):
    with rig() as bench:
        bench.run_until_armed()
        numbers = [body[1] for body in bench.records()]
        bench.bench.power_off()
        bench.run(12)
        bench.bench.power_on()
        bench.run_until(lambda: len([b for b in bench.records() if b[5] == m.BOOT]) == 2, 30, 0.5)
        bench.run_until_armed()
        after = [body[1] for body in bench.records()]
        assert after[: len(numbers)] == numbers
        assert after == sorted(set(after)), "numbers go on, none twice"
        boots = [body[2] for body in bench.records() if body[5] == m.BOOT]
        assert boots[1] == boots[0] + 1


def test_without_a_host_the_plan_goes_on_and_then_the_fallback(rig):
    with rig(load_w=4000, pv_w=9000, sections={"safety": {"host_lost_s": 5, "fallback": "self_consumption"}}) as bench:
        bench.run_until_armed()
        assert bench.command(m.PLAN_POINTS, 900, 0, 60, m.HOLD_BATTERY, -1000)[0] == m.DONE
        uptime_s = bench.host.latest["uptime_s"]
        assert bench.command(m.PLAN_COMMIT, 900, 1, uptime_s)[0] == m.DONE
        bench.run(3)
        bench.kill_host()
        bench.run(20)
        assert abs(bench.site.inverter.power_w + 1000) < 60, "the plan is carried without a host"
        bench.run(60)
        assert abs(bench.site.pcc_import_w) < 250, "then self-consumption: PV goes into the battery, not the grid"
        bench.start_host()
        bench.run(10)
        names = bench.names()
        assert "host_lost" in names and "plan_ended" in names and "host_back" in names
        bench.assert_held()


def test_grid_loss_stops_the_battery_and_the_return_is_noticed(rig):
    with rig(plant={"enter_service_s": 20.0, "wake_s": 2.0}) as bench:
        bench.run_until_armed()
        bench.site.lose_grid()
        bench.run(5)
        assert bench.host.latest["state"] in (m.GRID_DOWN, m.FAULTED)
        assert bench.host.latest["setpoint_w"] == 0
        bench.site.return_grid()
        bench.run(60)
        names = bench.names()
        assert "grid_lost" in names and "grid_back" in names
        bench.assert_held(interruptions=1, itic=1)


def test_noise_on_both_lines_is_counted_and_survived(rig):
    seed = 20
    noise = random.Random(seed)

    def flip(direction, data, now_us):
        if noise.random() < 0.03:
            return one_bit(data, noise)
        if noise.random() < 0.01:
            return data[: noise.randrange(len(data))]
        return data

    with rig() as bench:
        bench.run_until_armed()
        bench.bench.link_filter = bench.bench.bus_filter = flip
        bench.run(60)
        bench.bench.link_filter = bench.bench.bus_filter = None
        assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 2500, 60_000)[0] == m.DONE, f"seed {seed}"
        bench.run(5)
        assert abs(bench.site.inverter.power_w - 2500) < 50, f"seed {seed}"
        counts = bench.host.session.counts()
        assert counts["bad_crc"] + counts["bad_cobs"] > 0, f"seed {seed}: the noise reached nobody"
        numbers = [body[1] for body in bench.records()]
        assert numbers == sorted(set(numbers)), f"seed {seed}"


def test_a_cable_pulled_and_put_back_needs_nobody(rig):
    with rig(sections={"safety": {"host_lost_s": 3}}) as bench:
        bench.run_until_armed()
        bench.bench.link_filter = lambda direction, data, now_us: b""
        bench.run(15)
        assert any("silent" in sentence for _, sentence in bench.said)
        bench.bench.link_filter = None
        assert bench.run_until(lambda: bench.host.session.up, 5) <= 2.0
        bench.run(5)
        names = bench.names()
        assert names.count("host_lost") == 1 and names.count("host_back") == 1
        bench.assert_held()


class Echo:
    """A line that gives everything back to the board that sent it: a wiring fault, or a second board."""

    def __init__(self):
        self.waiting = b""

    def receive(self, data, now_us):
        self.waiting += data

    def step(self, now_us):
        pass

    def outgoing(self):
        data, self.waiting = self.waiting, b""
        return data

    def next_deadline_us(self, now_us):
        return now_us + 1_000_000


def test_a_board_that_hears_itself_goes_on(rig):
    with rig(host=False) as bench:
        bench.bench.host = Echo()
        bench.run(5)
        assert bench.board.process.poll() is None


def test_a_battery_that_is_not_heard_of_is_neither_charged_nor_discharged(rig):
    """Its model answers no more; the inverter itself still does. 0 W, at the latest as long after as commissioned."""
    with rig() as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, -4000, 120_000)
        bench.run(3)
        bank = bench.slave.responder.units[1]
        first = min(point.address for point in bank._points if point.model.model_id == 802)
        honest = bank.read

        def read(address, count):
            if first <= address < first + 64:
                raise ModbusRefusal(4, "the battery's own bus is silent")
            return honest(address, count)

        bank.read = read
        bench.run(4.5)
        assert abs(bench.site.inverter.power_w) < 50, "neither the last value nor the maximum"
        assert bench.host.latest["bound_by"] == m.BOUND_BATTERY and bench.host.latest["state"] == m.FAULTED
        bank.read = honest
        bench.run(4)
        assert abs(bench.site.inverter.power_w + 4000) < 50
        assert len(_seen(bench, "battery_stale")) == 1 and len(_seen(bench, "battery_back")) == 1
        bench.assert_held()


def test_devices_that_answer_slowly_are_all_still_heard(rig):
    """Two readings of 20 ms turnaround each take more than the whole round of 50 ms: battery, sub-meters and flash have
    their turn all the same, and the import limit is held, only half a second later."""
    loads = [Series(0, 1_000_000, [4000.0] * 60 + [15_000.0] * 60)]
    with rig(loads=loads, pv_w=2000.0) as hil:
        hil.slave._turnaround_us = 20_000
        hil.run_until_armed()
        hil.run(10)
        assert hil.host.latest["faults"] == 0 and hil.host.latest["soc_permille"] > 0
        hil.run(60 - hil.now_s + 3)
        assert hil.site.pcc_import_w <= 12_000
        assert "inverter_awake" in hil.names(), "flash is written too"
        hil.assert_held(over_s=0.5)
