"""What a viewer sees of a running site: values, their age, alarms that come and go, readiness, carbon by the hour."""

import json

from forerun.compute.load import Announcement
from forerun.site.snapshot import Surroundings, Viewer
from forerun_wire import messages as m
from hil.rig import UTC_OFFSET_US


def take(hil, **around):
    return Viewer(hil.host).take(hil.bench.now_us, Surroundings(**around))


def test_a_site_with_an_announced_job(rig):
    with rig(plant={"starts_asleep": True}) as hil:
        before = take(hil)
        assert before.live is None and before.plan is None and before.carbon is None
        assert [alarm.name for alarm in before.alarms] == ["board_silent"]
        hil.run_until_armed()
        start_s = (hil.bench.now_us + UTC_OFFSET_US) / 1e6 + 400
        hil.host.announce(Announcement("train-7", 9000, start_s, 120), hil.bench.now_us)
        assert take(hil).jobs[0].readiness == "told"
        hil.coarse(500)
        hil.run_until(lambda: take(hil).jobs[0].readiness == "ready", 120, 1)
        hil.coarse(0)
        hil.run(1)
        seen = take(hil)
        job = seen.jobs[0]
        assert 200 < job.ready_ahead_s <= 400
        assert seen.live.fresh and seen.live.age_ms <= 1100
        for name in ("pcc_import_w", "load_w", "soc_permille", "pcc_voltage_mv"):
            assert getattr(seen.live, name) == hil.host.latest[name]
        assert seen.live.state in m.STATES and seen.live.bound_by in m.BOUNDS
        assert not [alarm for alarm in seen.alarms if alarm.severity == "critical"]
        assert seen.link.connected and seen.link.board == "emulated-board" and seen.link.clock_uncertainty_us < 20_000
        count = len(seen.forecast.load_q50_w)
        assert count == 288 == len(seen.forecast.pv_q90_w)
        assert all(low <= mid <= high for low, mid, high in zip(
            seen.forecast.load_q10_w, seen.forecast.load_q50_w, seen.forecast.load_q90_w, strict=True))  # fmt: skip
        assert max(seen.forecast.load_q50_w) - min(seen.forecast.load_q50_w) > 3000, "the job is in the forecast"
        assert len(seen.plan.step_start_utc_s) == len(seen.plan.battery_w) == len(seen.plan.soc_permille)
        assert json.loads(json.dumps(seen.document()))["live"]["pcc_import_w"] == seen.live.pcc_import_w
        hil.coarse(2000)
        hil.run_until(lambda: take(hil).jobs[0].readiness == "running", 500, 6)
        hil.run_until(lambda: not take(hil).jobs, 300, 10)


def test_alarms_come_and_go_and_survive_the_host(rig):
    with rig() as hil:
        hil.run_until_armed()
        hil.run_until(lambda: not take(hil).alarms, 10)
        meter = hil.slave.responder.units.pop(2)
        hil.run_until(lambda: "meter_stale" in [alarm.name for alarm in take(hil).alarms], 30)
        hil.run(1)
        (alarm,) = take(hil).alarms
        assert alarm.name == "meter_stale" and alarm.severity == "critical" and alarm.since_utc_s > 1_569_715_200
        assert "0 W" in alarm.cause and "RS-485" in alarm.remedy
        hil.kill_host()
        hil.run(1)
        hil.start_host()
        assert {alarm.name for alarm in take(hil).alarms} == {"meter_stale", "board_silent"}, "the journal tells it"
        hil.slave.responder.units[2] = meter
        hil.run_until(lambda: not take(hil).alarms, 60)


def test_hours_of_today_are_those_of_the_ledger(rig):
    with rig(load_w=6000.0, sections={"reporting": {"timezone": "Europe/Oslo"}}) as hil:
        hil.run_until_armed()
        hil.coarse(4000)
        hil.run(1300 - hil.now_s)
        seen = take(hil).carbon
        (hour,) = seen.hours
        assert seen.day == "2019-09-29" and seen.timezone == "Europe/Oslo"
        assert hour.load_wh == seen.load_wh and abs(hour.load_wh - 6000 * 1200 / 3600) < 120
        assert hour.emitted_g > 0 and hour.quality in ("measured", "estimated")
        assert hour.start_utc_s == UTC_OFFSET_US // 1_000_000


def test_old_telemetry_is_not_shown_as_now(rig):
    with rig() as hil:
        hil.run_until_armed()
        hil.run(2)
        now_us = hil.bench.now_us
        stale = Viewer(hil.host).take(now_us + 60_000_000)
        assert not stale.live.fresh and stale.live.age_ms >= 59_000
        assert "board_silent" in [alarm.name for alarm in stale.alarms]
        low = take(hil, disk_free_bytes=1 << 20, clock_synchronised=False, complaints=(("mqtt", "no broker"),))
        assert [alarm.name for alarm in low.alarms] == ["disk_low", "clock_unsynchronised", "integration_failed"]
