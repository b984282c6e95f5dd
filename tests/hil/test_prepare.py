"""A load step that was announced: prepare, ready or late, carry, recover, each with its deadline, on the real board."""

from forerun.plant.series import Series
from forerun_wire import messages as m

LIMIT_W = 10_000


def told(bench):
    """(name, value, limit) of what the preparations came to, in order."""
    return [event[1:] for event in bench.events() if event[1].startswith("prepare")]


def announce(bench, watts, start_in_s, lasts_s):
    assert bench.command(m.PREPARE, watts, start_in_s, lasts_s)[0] == m.DONE


def test_the_reserve_is_charged_pv_released_and_the_step_carried_without_the_ramp(rig):
    """The set-up: charge below the reserve, PV curtailed by command, a slow ramp, an inverter that sleeps."""
    plant = {"start_soc": 0.335, "battery_wh": 3_000.0, "starts_asleep": True, "wake_s": 5.0, "enter_service_s": 10.0,
             "pv_inverter": True, "pv_rated_w": 2_000.0}  # fmt: skip
    functions = {"surge_reserve_permille": 350, "pv_limit_permille": 500}
    sections = {"functions": functions, "battery": {"capacity_wh": 3_000}, "bus": {"pv_inverter_unit": 5},
                "limits": {"import_limit_w": LIMIT_W, "ramp_w_per_s": 1_000}}  # fmt: skip
    pv = Series(0, 10**12, [2_000.0])
    with rig(load_w=4_000, pv=pv, plant=plant, sections=sections) as bench:
        bench.run_until(lambda: bench.host.session.up, 5)
        bench.run(25)
        assert bench.site.pv_w <= 1_000
        begun_s = bench.now_s
        announce(bench, 12_000, 360, 30)
        bench.run_until(lambda: len(told(bench)) == 2, 120, 1)
        started, ready = told(bench)
        assert started == ("prepare_started", 12_000, 360)
        assert ready[:2] == ("prepare_ready", 12_000) and ready[2] >= 300, "and how long before the step"
        at_s = {name: event_s for event_s, name, _, _ in bench.events()}
        assert abs(360 - ready[2] - (at_s["prepare_ready"] - at_s["prepare_started"])) <= 2, "its time"
        assert bench.site.battery.soc >= 0.349 and bench.site.inverter.state == 3
        bench.run(10)
        assert bench.site.pv_w > 1_900, "PV is not curtailed while it may be needed"
        bench.coarse(500)
        bench.run(begun_s + 335 - bench.now_s)
        bench.coarse(0)
        at_us = round((begun_s + 360) * 1e6)
        bench.site.add_job(at_us, 30_000_000, 12_000)
        trace = bench.site.record(at_us - 1_000_000, at_us + 5_000_000, 10_000)
        bench.run(begun_s + 366 - bench.now_s)
        over_ms = sum(10 for watts in trace.pcc_import_w if watts > LIMIT_W)
        assert over_ms <= 10, "the headroom was there before the step"
        bench.run(35)
        assert told(bench)[2][0] == "prepare_ended" and bench.host.latest["state"] != m.PREPARING
        bench.run_until(lambda: bench.site.battery.soc >= 0.349, 120, 2)  # recovered
        bench.assert_held(ramp=False, over_s=0.02)


def test_what_cannot_be_ready_in_time_is_told_late_and_goes_on(rig):
    """The charge cannot reach its reserve five minutes before the step, because the BMS lets nothing in."""
    functions = {"surge_reserve_permille": 600}
    with rig(load_w=4_000, sections={"functions": functions, "limits": {"import_limit_w": LIMIT_W}}) as bench:
        bench.run_until_armed()
        bench.site.cut_bms_limits(0, 30_000)
        bench.run(2)
        announce(bench, 8_000, 330, 20)
        bench.coarse(250)
        bench.run(28)
        assert [event[0] for event in told(bench)] == ["prepare_started"]
        bench.run(5)
        assert told(bench)[1][0] == "prepare_late" and 298 <= told(bench)[1][2] <= 301
        bench.kill_host()
        bench.run(280)
        bench.coarse(0)
        at_us = bench.bench.now_us + 17_000_000
        bench.site.add_job(at_us, 20_000_000, 8_000)
        bench.run(30)
        assert bench.site.pcc_import_w <= LIMIT_W, "carried all the same, without a host"
        bench.run(30)
        bench.start_host()
        bench.run_until(lambda: told(bench)[-1][0] == "prepare_ended", 20, 1)
        bench.assert_held(over_s=0.2)
