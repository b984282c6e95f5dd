"""How the emulated site behaves in time: waking, watchdogs, limits, mains failure, faults."""

import math
import struct
from itertools import pairwise

import pytest

from forerun.plant.devices import inverter_bank, units
from forerun.plant.feeder import pcc_voltage_v
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig

S = 1_000_000
OFF, SLEEPING, STARTING, RUNNING, FAULT = 0, 1, 2, 3, 6  # model 701 InvSt


class Bench:
    """A site with its inverter's registers; addresses counted from 40000 with the default models."""

    WSET_ENA, WSET, WSET_RVRT, WSET_RVRT_TMS, WSET_RVRT_REM, OP_CTL = 40403, 40405, 40407, 40412, 40414, 40465
    INV_ST = 40178

    def __init__(self, load_w=5_000.0, **config):
        self.site = Site(SiteConfig(**config), loads=[Series(0, S, [load_w])])
        self.bank = inverter_bank(self.site)

    def run(self, seconds):
        self.site.advance(self.site.now_us + round(seconds * S))

    def set_w(self, power_w):
        self.bank.write(self.WSET_ENA, struct.pack(">HHi", 1, 1, power_w))

    def u16(self, address):
        return struct.unpack(">H", self.bank.read(address, 1))[0]

    def u32(self, address):
        return struct.unpack(">I", self.bank.read(address, 2))[0]

    @property
    def state(self):
        return self.u16(self.INV_ST)

    @property
    def power_w(self):
        return self.site.inverter.power_w


def test_power_follows_within_tenths_of_a_second():
    bench = Bench()
    bench.set_w(10_000)
    trace = bench.site.record(0, S, 10_000)
    bench.run(1)
    assert len(trace.t_us) == 100
    reached = next(t for t, power in zip(trace.t_us, trace.inverter_w, strict=True) if power > 9_500)
    assert 0.10 * S <= reached <= 0.25 * S, "ramp 100 kW/s takes 0.1 s, the lag of 30 ms follows"
    assert all(b >= a for a, b in pairwise(trace.inverter_w))
    assert bench.power_w == pytest.approx(10_000, abs=1)


def test_sleeps_after_ten_idle_minutes_and_needs_80_s_to_help():
    bench = Bench()
    bench.run(599)
    assert bench.state == RUNNING
    bench.run(2)
    assert bench.state == SLEEPING
    bench.bank.write(bench.OP_CTL, b"\x00\x03")  # EXIT_STANDBY
    bench.set_w(5_000)
    bench.run(79.9)
    assert (bench.state, bench.power_w) == (STARTING, 0.0)
    bench.run(0.2)
    assert bench.state == RUNNING
    bench.run(1)
    assert bench.power_w == pytest.approx(5_000, abs=1)
    bench.run(3600)
    assert bench.state == RUNNING, "at work it does not sleep"


def test_sleeps_ten_minutes_after_the_last_work():
    bench = Bench()
    bench.set_w(2_000)
    bench.run(1_000)
    bench.set_w(0)
    bench.run(500)
    bench.set_w(0)  # asking for nothing again is no work
    bench.run(99)
    assert bench.state == RUNNING
    bench.run(2)
    assert bench.state == SLEEPING


def test_exit_standby_keeps_an_idle_inverter_awake():
    bench = Bench()
    for _ in range(5):
        bench.run(500)
        bench.bank.write(bench.OP_CTL, b"\x00\x03")
    assert bench.state == RUNNING
    bench.bank.write(bench.OP_CTL, b"\x00\x02")  # ENTER_STANDBY
    assert bench.state == SLEEPING


def test_whether_a_setpoint_wakes_is_commissioned():
    for wakes, state in ((True, STARTING), (False, SLEEPING)):
        bench = Bench(wake_on_setpoint=wakes, starts_asleep=True)
        bench.set_w(0)
        bench.run(1)
        assert bench.state == SLEEPING
        bench.set_w(1_000)
        bench.run(1)
        assert bench.state == state


def test_a_low_voltage_keeps_it_from_entering_service():
    bench = Bench(load_w=32_000.0, starts_asleep=True, genset_w=0.0)
    assert bench.site.bus_pu < 0.85
    bench.bank.write(bench.OP_CTL, b"\x00\x03")
    bench.run(300)
    assert bench.state == STARTING
    bench.site.set_grid_voltage(250.0)
    bench.run(59)
    assert bench.state == STARTING
    bench.run(2)
    assert bench.state == RUNNING


@pytest.mark.parametrize("by_setpoint", [False, True])
def test_reversion_timer(by_setpoint):
    """Model 704: only a write of the timer restarts it, unless the site says that a setpoint does too."""
    bench = Bench(setpoint_restarts_watchdog=by_setpoint)
    bench.bank.write(bench.WSET_RVRT, struct.pack(">i", -1_000))
    bench.bank.write(40411, b"\x00\x01")  # WSetEnaRvrt
    bench.bank.write(bench.WSET_RVRT_TMS, struct.pack(">I", 30))
    bench.set_w(4_000)
    bench.run(10)
    assert bench.u32(bench.WSET_RVRT_REM) == 20
    bench.bank.write(bench.WSET, struct.pack(">i", 5_000))
    assert bench.u32(bench.WSET_RVRT_REM) == (30 if by_setpoint else 20)
    bench.bank.write(bench.WSET_RVRT_TMS, struct.pack(">I", 30))
    bench.run(29.9)
    assert bench.u32(bench.WSET_RVRT_REM) == 1
    assert bench.power_w == pytest.approx(5_000, abs=1)
    bench.run(1.1)
    assert bench.u32(bench.WSET_RVRT_REM) == 0
    assert bench.power_w == pytest.approx(-1_000, abs=1)
    assert struct.unpack(">i", bench.bank.read(bench.WSET, 2)) == (-1_000,)
    assert bench.site.inverter.reversions == 1
    bench.run(100)
    assert bench.site.inverter.reversions == 1


def test_reversion_to_disabled_and_time_zero_is_never():
    bench = Bench()
    bench.set_w(4_000)
    bench.run(3600)
    assert bench.power_w == pytest.approx(4_000, abs=1), "no timer: it holds for ever, as real ones do"
    bench.bank.write(bench.WSET_RVRT_TMS, struct.pack(">I", 2))
    bench.run(3)
    assert (bench.u16(bench.WSET_ENA), bench.power_w) == (0, pytest.approx(0, abs=1))
    bench.bank.write(bench.WSET_ENA, b"\x00\x01")
    assert bench.u32(bench.WSET_RVRT_REM) == 2, "enabling starts the timer that is still set"


def test_an_inverter_that_ignores_its_watchdog():
    bench = Bench()
    bench.site.inverter.ignores_watchdog = True
    bench.bank.write(bench.WSET_RVRT_TMS, struct.pack(">I", 30))
    bench.set_w(4_000)
    assert bench.u32(bench.WSET_RVRT_TMS) == 0, "what it does not do it does not claim"
    bench.run(60)
    assert bench.power_w == pytest.approx(4_000, abs=1)


def test_models_123_and_124_alone_control_it_and_revert():
    """Storage limits force charging when the window lies below zero: InWRte 100 %, OutWRte −20 %."""
    bench = Bench()
    model_124, model_123 = 40148, 40122
    bench.bank.write(model_124 + 15, struct.pack(">H", 20))  # InOutWRte_RvrtTms
    bench.bank.write(model_124 + 12, struct.pack(">hh", -2_000, 10_000))
    bench.bank.write(model_124 + 5, b"\x00\x03")
    bench.run(2)
    assert bench.power_w == pytest.approx(-6_000, abs=1)
    bench.run(18)
    assert bench.u16(model_124 + 5) == 0
    bench.run(1)
    assert bench.power_w == pytest.approx(0, abs=1)
    bench.set_w(20_000)
    bench.bank.write(model_123 + 5, struct.pack(">H", 250))  # WMaxLimPct 25.0 %
    bench.bank.write(model_123 + 9, b"\x00\x01")
    bench.run(2)
    assert bench.power_w == pytest.approx(7_500, abs=1)
    bench.bank.write(model_123 + 4, b"\x00\x00")  # Conn
    assert (bench.state, bench.power_w) == (OFF, 0.0)


def test_current_limit_binds_at_low_voltage():
    bench = Bench(load_w=5_000.0)
    bench.set_w(30_000)
    bench.site.set_grid_voltage(150.0)
    bench.run(1)
    volts = bench.site.bus_pu * 230.0
    assert volts < 200
    assert bench.power_w == pytest.approx(30_000 * 1.1 * volts / 230.0, rel=0.01)


def test_battery_stops_charge_and_discharge():
    bench = Bench(start_soc=0.97, battery_temperature_c=10.0)
    bench.set_w(-20_000)
    bench.run(2)
    assert bench.power_w == pytest.approx(-32_000 * 0.3 / 0.97, rel=0.02)
    bench.run(3600)
    assert 0.985 < bench.site.battery.soc <= 1.0
    bench.site.set_battery_temperature(-1.0)
    bench.run(1)
    assert bench.power_w == pytest.approx(0, abs=1)
    bench.site.set_battery_temperature(10.0)
    bench.site.cut_bms_limits(0.0, 3_000.0)
    bench.set_w(20_000)
    bench.run(1)
    assert bench.power_w == pytest.approx(3_000 * 0.97, abs=1)
    bench.site.cut_bms_limits(32_000.0, 32_000.0)
    bench.run(4 * 3600)
    assert bench.power_w == pytest.approx(0, abs=100)
    assert bench.site.battery.soc == pytest.approx(0.02, abs=0.01)


def test_standby_drains_and_sleep_drains_less():
    awake, asleep = Bench(sleep_after_s=1e6), Bench(starts_asleep=True)
    for bench in (awake, asleep):
        bench.run(10 * 3600)
    assert 30_000 - awake.site.battery.energy_wh == pytest.approx(600, rel=0.01)
    assert 30_000 - asleep.site.battery.energy_wh == pytest.approx(150, rel=0.01)


def test_restart_is_silent_forgets_and_comes_back():
    bench = Bench()
    bench.set_w(4_000)
    bench.run(5)
    bench.site.restart_inverter()
    assert bench.bank.is_silent() and bench.power_w == 0.0
    bench.run(20.1)
    assert not bench.bank.is_silent()
    assert (bench.state, bench.u16(bench.WSET_ENA)) == (STARTING, 0)
    bench.run(60)
    assert bench.state == RUNNING


def test_trip_contact_takes_it_off_at_once():
    bench = Bench()
    bench.set_w(4_000)
    bench.run(5)
    bench.site.set_trip(True)
    assert (bench.state, bench.power_w) == (OFF, 0.0)
    bench.run(100)
    assert bench.power_w == 0.0
    bench.site.set_trip(False)
    bench.run(81)
    assert bench.power_w == pytest.approx(4_000, abs=1)


def test_a_job_steps_the_load_for_its_duration():
    bench = Bench(load_w=5_000.0)
    bench.site.add_job(10 * S, 5 * S, 7_000.0)
    assert [_load_at(bench, t) for t in (9.999, 10.0, 14.999, 15.0)] == [5_000, 12_000, 12_000, 5_000]
    with pytest.raises(ValueError, match="before the site's clock"):
        bench.site.add_job(10 * S, 5 * S, 7_000.0)


def _load_at(bench, seconds):
    bench.site.advance(round(seconds * S))
    return bench.site.load_w


def test_recording_shows_the_surge_at_10_ms():
    bench = Bench(load_w=5_000.0)
    bench.site.add_job(10 * S, 100 * S, 15_000.0)
    trace = bench.site.record(9 * S, 11 * S, 10_000)
    bench.run(60)
    assert list(trace.t_us) == list(range(9 * S + 10_000, 11 * S + 1, 10_000))
    step = trace.t_us.index(10 * S)
    assert trace.pcc_v[step] > 224 and trace.pcc_v[step + 1] < 212
    assert bench.site.totals().min_pcc_v == pytest.approx(trace.pcc_v[step + 1], abs=0.01)


def test_amf_takes_the_site_after_10_s_of_low_voltage_and_gives_it_back():
    bench = Bench(load_w=28_000.0)
    site = bench.site
    site.add_job(100 * S, 300 * S, -20_000.0)  # the load falls to 8 kW for a while: the mains would be healthy
    assert site.bus_pu < 0.9
    bench.run(9.99)
    assert site.genset.starts == 0
    bench.run(0.02)
    assert site.genset.starts == 1
    bench.run(11.9)
    assert not site.amf.on_load
    bench.run(0.2)
    assert site.amf.on_load
    assert site.pcc_import_w == 0.0 and site.genset_w == pytest.approx(28_000)
    assert site.pcc_voltage_v == pytest.approx(230.0)
    bench.run(1900 - 22.1)
    assert site.amf.on_load, "on the mains 28 kW would be too much again"
    site.add_job(site.now_us, 7200 * S, -20_000.0)
    bench.run(29)
    assert site.amf.on_load
    bench.run(2)
    assert not site.amf.on_load and site.pcc_import_w == pytest.approx(8_000)
    bench.run(178)
    assert site.genset.hz > 0, "cooling down"
    bench.run(5)
    assert site.genset.hz == 0
    total = site.totals()
    assert total.genset_hours == pytest.approx((1931 - 22 + 180 + 10) / 3600, abs=0.01)
    assert (total.dip_count, total.unserved_wh) == (1, 0.0)
    assert total.dip_s == pytest.approx(22.0, abs=0.05)


def test_the_panels_delay_starts_when_the_voltage_falls_not_when_somebody_looks():
    """The last 100 W of a charge ramp take the voltage below 90 %; the clock is only asked a minute later."""
    bench = Bench(load_w=15_000.0)
    import_w = 15_000.0
    while pcc_voltage_v(230.0, 0.75, 0.30, import_w, 15_000.0 * math.tan(math.acos(0.99))) > 207.0:
        import_w += 10.0
    bench.set_w(-round(import_w - 15_000 + 100))
    bench.run(60)
    assert bench.site.totals().dip_s == pytest.approx(22.0, abs=0.3)


def test_amf_minimum_run():
    bench = Bench(load_w=8_000.0)
    bench.site.add_job(0, 60 * S, 20_000.0)
    bench.run(60)
    assert bench.site.amf.on_load
    bench.run(22 + 1800 - 60 - 1)
    assert bench.site.amf.on_load, "healthy for long, but 30 min are not over"
    bench.run(2)
    assert not bench.site.amf.on_load


def test_a_short_sag_does_not_start_the_set():
    bench = Bench(load_w=8_000.0)
    for start in range(0, 100, 20):
        bench.site.add_job(start * S, 9 * S, 20_000.0)
    bench.run(200)
    assert bench.site.genset.starts == 0
    assert bench.site.totals().dip_count == 5


def test_grid_loss_unserved_until_the_set_carries_the_load():
    bench = Bench(load_w=9_000.0, ups_hold_up_s=2.0)
    bench.set_w(3_000)
    bench.run(10)
    bench.site.lose_grid()
    assert (bench.site.pcc_voltage_v, bench.power_w, bench.state) == (0.0, 0.0, FAULT)
    assert bench.u32(40180) & 1 << 4, "Alrm GRID_DISCONNECT"
    bench.run(20)
    assert bench.site.genset_w == pytest.approx(9_500), "load and UPS recharge"
    bench.run(40)
    total = bench.site.totals()
    assert total.ups_wh == pytest.approx(9_000 * 2 / 3600, rel=1e-6)
    assert total.unserved_wh == pytest.approx(9_000 * 10 / 3600, rel=1e-3), "12 s to start, less the hold-up"
    assert total.ups_recharge_wh == pytest.approx(total.ups_wh)
    assert total.interruption_count == 1 and total.itic_violations == 1
    bench.run(20)
    assert bench.state == RUNNING, "60 s after the set took over"
    bench.site.return_grid()
    bench.run(1800)
    assert bench.site.pcc_import_w == pytest.approx(6_000, abs=1)
    assert bench.state == RUNNING


def test_grid_back_before_the_set_is_ready():
    bench = Bench(load_w=9_000.0)
    bench.site.lose_grid()
    bench.run(5)
    bench.site.return_grid()
    bench.run(30)
    assert not bench.site.amf.on_load and bench.site.pcc_import_w == pytest.approx(9_000)
    bench.run(300)
    assert bench.site.genset.hz == 0
    assert bench.site.genset_w == 0.0


def test_pv_does_not_push_into_the_set():
    pv = Series(0, 3600 * S, [20_000.0, 20_000.0], linear=True)
    site = Site(loads=[Series(0, S, [6_000.0])], pv=pv)
    site.lose_grid()
    site.advance(20 * S)
    assert (site.pv_w, site.genset_w) == (0.0, 6_000.0)
    site.advance(100 * S)
    assert (site.pv_w, site.genset_w) == (6_000.0, 0.0)
    assert site.totals().pv_curtailed_wh > 0


def test_start_contact_warms_the_set_without_load():
    bench = Bench(load_w=8_000.0)
    bench.site.set_genset_start(True)
    bench.run(20)
    assert bench.site.genset.hz == pytest.approx(51.0, abs=0.1) and not bench.site.amf.on_load
    bench.site.add_job(bench.site.now_us, 60 * S, 20_000.0)
    bench.run(10.1)
    assert bench.site.amf.on_load, "no start to wait for"
    bench = Bench(load_w=8_000.0)
    bench.site.set_genset_start(True)
    bench.run(20)
    bench.site.set_genset_start(False)
    bench.run(200)
    assert bench.site.genset.hz == 0 and bench.site.totals().genset_litres > 0


def test_events_at_one_instant_keep_their_order():
    site, seen = Site(), []
    for name in "abc":
        site.at(5 * S, lambda name=name: seen.append((site.now_us, name)))
    site.advance(4 * S)
    assert not seen
    site.advance(5 * S)
    assert seen == [(5 * S, "a"), (5 * S, "b"), (5 * S, "c")]


def test_meter_noise_has_a_seed():
    def readings(seed):
        site = Site(SiteConfig(meter_noise_w=50.0), loads=[Series(0, S, [9_000.0])], seed=seed)
        return [struct.unpack(">h", units(site)[2].read(40088, 1))[0] for _ in range(3)]

    assert readings(1) == readings(1) != readings(2)
