"""Faults that come together: random sites, two to five faults over half a minute, and what has to hold meanwhile.

    python -m hil.storms 100 200      plays storms 100 to 199; one that breaks a rule says so and with which faults
"""

import contextlib
import io
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench_board import line_options
from forerun.plant.inverter import RUNNING
from forerun.plant.series import Series
from forerun_wire import messages as m
from hil.noise import flips

UNDER_OVER, ENTER, CARE, GENSET, ISLANDING, TRIP = 3, 16, 64, 128, 256, 512
FUNCTIONS = (0, ENTER, TRIP, GENSET | TRIP, GENSET, ISLANDING | TRIP, ISLANDING, UNDER_OVER, CARE | TRIP)
HEAP = "256k"  # all functions on the 64-bit port, whose words are twice as wide as a board's
STORM_S, CALM_S = 30.0, 75.0
LIMIT_W = 10_000
WATCHDOG_S = 10
STALE_S = 3.0
STOP, RESET = 1, 4
# How long something may be wrong before somebody is to blame, in s.
OVER_S = 1.2  # a round, its answer, and a repeated one beside noise
STALE_GRACE_S = STALE_S + 1.5
BMS_GRACE_S = 3.5
STOP_GRACE_S = 0.25
CALMED_S = 5.0  # after which a site that could not be held can be again


@dataclass
class Storm:
    """A site and what comes over it: (at s, name, for s, how much)."""

    seed: int
    functions: int = 0
    load_w: float = 6_000.0
    pv_w: float = 0.0
    soc: float = 0.5
    order_w: int = 0
    export_w: int = 4_000
    baud: int = 115_200
    noise: float = 0.0  # share of the bus's frames with a wrong bit, all along
    faults: list[tuple[float, str, float, float]] = field(default_factory=list)


def draw(seed: int) -> Storm:
    """The storm of this seed."""
    chance = random.Random(seed)
    storm = Storm(seed, chance.choice(FUNCTIONS))
    storm.load_w, storm.pv_w = chance.uniform(2_000, 8_000), chance.choice((0.0, 0.0, 3_000.0))
    storm.soc, storm.order_w = chance.uniform(0.15, 0.9), chance.randrange(-4_000, 6_000)
    storm.noise = chance.choice((0.0, 0.0, 0.01, 0.05))
    storm.export_w = chance.choice((4_000, 4_000, 0))
    storm.baud = chance.choice((115_200, 115_200, 115_200, 57_600, 38_400))
    for _ in range(chance.randrange(2, 8)):
        name = chance.choice(tuple(FAULTS))
        lasts_s = chance.choice((chance.uniform(0.05, 1.0), chance.uniform(1.0, 6.0), chance.uniform(4.0, 20.0)))
        storm.faults.append((round(chance.uniform(0.0, STORM_S - 10), 3), name, round(lasts_s, 3), chance.random()))
    storm.faults.sort()
    return storm


class Weather:
    """A site under a storm: begins and ends faults, and judges in between."""

    def __init__(self, bench, storm: Storm):
        self.bench, self.site, self.storm = bench, bench.site, storm
        self.chance = random.Random(storm.seed + 1)
        self.active: dict[str, int] = {}
        self.link_cut = self.bus_cut = 0
        self.noise = storm.noise
        # A storm begins on a site that has been well for a while.
        self.since = dict.fromkeys(("reached", "able", "prompt"), bench.now_s - 2 * CALMED_S)
        self.judged: Counter[str] = Counter()  # how often each rule could have been broken
        self.stops = self.cycles = self.boots = 0
        self.overloaded = False
        bench.bench.bus_filter, bench.bench.link_filter = self.on_bus, self.on_link

    def on_bus(self, direction, data, now_us):
        if self.bus_cut:
            return b""
        return flips(self.chance, self.noise)(data)

    def on_link(self, direction, data, now_us):
        return b"" if self.link_cut else flips(self.chance, min(self.noise, 0.02))(data)

    def begin(self, name, much):
        self.active[name] = self.active.get(name, 0) + 1
        FAULTS[name][0](self, much)

    def end(self, name, much):
        self.active[name] -= 1
        if not self.active[name]:
            FAULTS[name][1](self, much)

    # ---- what must hold

    def lasting_s(self, name, true) -> float:
        """How long `true` has held without a break."""
        if not true:
            self.since.pop(name, None)
            return 0.0
        return self.bench.now_s - self.since.setdefault(name, self.bench.now_s)

    def must(self, rule, held, told) -> None:
        """Judge `rule` once; AssertionError with `told` when it is not held."""
        self.judged[rule] += 1
        assert held, f"{rule}: {told}"

    def judge(self):
        bench, site = self.bench, self.site
        inverter, island = site.inverter, site.island
        on = bench.board.process is not None
        meter = bench.slave.responder.units[2]
        blind = not on or self.bus_cut or meter.is_silent() or bool(self.active.get("meter frozen"))
        reached = on and not self.bus_cut and not bench.slave.responder.units[1].is_silent()
        reached_s = self.lasting_s("reached", reached)
        carried = island.live or site.amf.on_load
        power_w = inverter.power_w
        silent_s = self.lasting_s("meter silent", meter.is_silent())
        if silent_s > STALE_GRACE_S and reached_s > STALE_GRACE_S and not carried and not self.noise:
            self.must("no meter", abs(power_w) < 150, f"{power_w:.0f} W without a meter for {silent_s:.1f} s")
        dead_s = self.lasting_s("board out of reach", not reached)
        if dead_s > WATCHDOG_S + 1 and not island.live:
            self.must("no board", abs(power_w) < 150, f"{power_w:.0f} W {dead_s:.1f} s after nobody refreshed it")
        able = inverter.state == RUNNING and site.battery.soc > 0.115 and not self.active.get("bms cut")
        able = able and site.grid_live and not (island.tie_open or site.amf.on_load or inverter.contactor_open)
        sees = not blind and site.pcc_voltage_v > 100 and site.load_w - site.pv_w < LIMIT_W + 25_000
        self._judge_pcc(self.lasting_s("able", able and sees and reached) > CALMED_S)
        control = inverter.controls[704]
        if control["WSetEna"]:
            self.must("watchdog", control["WSetRvrtTms"] > 0, "the inverter commanded without a watchdog")
        stopped_s = self.lasting_s("stopped", bool(bench.bench.inputs & STOP) and on)
        if stopped_s > STOP_GRACE_S + 1.0 * self.booting():
            self.must("stop", inverter.contactor_open, f"not off {stopped_s:.2f} s after the emergency stop")
        cut_s = self.lasting_s("cut", bool(self.active.get("bms cut")))
        if cut_s > BMS_GRACE_S and reached_s > BMS_GRACE_S and not self.noise and control["WSetEna"]:
            battery = site.battery
            most_w, least_w = battery.bms_discharge_cap_w + 50, -battery.bms_charge_cap_w - 50
            told = f"setpoint {control['WSet']:.0f} W, the BMS permits {least_w:.0f} … {most_w:.0f} W"
            self.must("BMS", least_w <= control["WSet"] <= most_w, told)
        self.must("in step", island.asynchronous_closings == 0, "closed out of step")
        if island.live and site.load_w - site.pv_w > min(30_000, site.battery.bms_discharge_cap_w) * 0.9:
            self.overloaded = True
        if not (self.overloaded or self.active.get("bms cut") or self.cycles or self.stops):
            self.must("island", island.blackouts == 0, "an island went dark that nobody had overloaded")

    def _judge_pcc(self, able):
        """Import and export, while inverter and meter are well and have been for a while. Only what the battery has to
        do something for counts as judged."""
        site, storm = self.site, self.storm
        over_s = self.lasting_s("over", site.pcc_import_w > LIMIT_W)
        under_s = self.lasting_s("export", -site.pcc_import_w > storm.export_w + 300)
        allowed_s = OVER_S + 2.0 * bool(self.noise)
        net_w = site.load_w - site.pv_w
        if able and storm.functions & ENTER == 0 and (net_w > LIMIT_W or over_s):
            self.must("import", over_s <= allowed_s, f"{site.pcc_import_w:.0f} W for {over_s:.2f} s above {LIMIT_W} W")
        # Answers so slow that the battery is no longer read leave it at rest; PV is held back by coarse contacts.
        prompt = self.lasting_s("prompt", not self.active.get("slow replies")) > CALMED_S
        if able and prompt and (-net_w + max(0, storm.order_w) > storm.export_w or under_s):
            self.must("export", under_s <= allowed_s, f"{-site.pcc_import_w:.0f} W exported for {under_s:.2f} s")

    def booting(self) -> bool:
        return self.bench.now_s - self.boots < 1.5


def _job(weather, much):
    weather.site.add_job(weather.site.now_us, 12_000_000, 3_000 + 24_000 * much)


def _shed(weather, much):
    weather.site._loads = [Series(0, 10**12, [500.0])]
    weather.site._series_us = weather.site.now_us
    weather.site._due_now()


def _reload(weather, much):
    weather.site._loads = [Series(0, 10**12, [weather.storm.load_w])]
    weather.site._series_us = weather.site.now_us
    weather.site._due_now()


def _cloud(weather, watts):
    site = weather.site
    site._pv = Series(0, 10**12, [watts])
    site._series_us = site.now_us
    site._due_now()


def _silence(unit, on):
    def act(weather, much):
        bank = weather.bench.slave.responder.units[unit]
        if on:
            bank._heard = bank.is_silent
            bank.is_silent = lambda: True
        else:
            bank.is_silent = bank._heard
    return act


def _cycle_off(weather, much):
    weather.cycles += 1
    weather.bench.bench.power_off()


def _cycle_on(weather, much):
    weather.boots = weather.bench.now_s
    weather.bench.bench.power_on()


def _frequency(weather, much):
    """1 Hz/s up or down, to 1 Hz off or as far as there is time."""
    sign = 1 if much > 0.5 else -1
    site = weather.site

    def ramp(hz):
        if weather.active["frequency"]:
            site.set_grid_frequency(hz)

    for tenth in range(1, 11):
        site.at(site.now_us + tenth * 100_000, lambda hz=50.0 + sign * tenth / 10: ramp(hz))


def _stop(weather, much):
    weather.stops += 1
    weather.bench.bench.inputs |= STOP


def _press(weather, much):
    weather.bench.bench.inputs &= ~STOP


def _rescale(exponent):
    """Measured power in tens of watts, and back."""
    return lambda weather, much: weather.bench.slave.responder.units[1].rescale(701, "W_SF", exponent)


def _set(name, value):
    return lambda weather, much: setattr(weather, name, value)


# name: (how it begins, how it ends)
FAULTS = {
    "load step": (_job, lambda w, much: None),
    "load drops": (_shed, _reload),
    "cloud": (lambda w, much: _cloud(w, 0.0), lambda w, much: _cloud(w, w.storm.pv_w)),
    "sun": (lambda w, much: _cloud(w, 5_000 + 7_000 * much), lambda w, much: _cloud(w, w.storm.pv_w)),
    "grid lost": (lambda w, much: w.site.lose_grid(), lambda w, much: w.site.return_grid()),
    "brown-out": (lambda w, much: w.site.set_grid_voltage(184.0), lambda w, much: w.site.set_grid_voltage(230.0)),
    "frequency": (_frequency, lambda w, much: w.site.set_grid_frequency(50.0)),
    "meter silent": (_silence(2, True), _silence(2, False)),
    "meter frozen": (lambda w, much: w.bench.slave.responder.units[2].freeze(True),
                     lambda w, much: w.bench.slave.responder.units[2].freeze(False)),
    "inverter silent": (_silence(1, True), _silence(1, False)),
    "inverter restarts": (lambda w, much: w.site.restart_inverter(), lambda w, much: None),
    "bms cut": (lambda w, much: w.site.cut_bms_limits(4_000 * much, max(0.0, 6_000 * much - 2_000)),
                lambda w, much: w.site.cut_bms_limits(32_000, 32_000)),
    "bus cut": (_set("bus_cut", 1), _set("bus_cut", 0)),
    "link cut": (_set("link_cut", 1), _set("link_cut", 0)),
    "crc burst": (_set("noise", 0.6), lambda w, much: setattr(w, "noise", w.storm.noise)),
    "slow replies": (lambda w, much: setattr(w.bench.slave, "_turnaround_us", 20_000 + int(20_000 * much)),
                     lambda w, much: setattr(w.bench.slave, "_turnaround_us", 2_000)),
    "host killed": (lambda w, much: w.bench.kill_host(), lambda w, much: w.bench.start_host()),
    "power cycle": (_cycle_off, _cycle_on),
    "emergency stop": (_stop, _press),
    "other scale factors": (_rescale(1), _rescale(0)),
    "starts fail": (lambda w, much: setattr(w.site.genset, "failing_starts", 1 + int(2 * much)), lambda w, much: None),
}  # fmt: skip


def site_of(storm: Storm) -> dict:
    """Options of a Rig."""
    functions = {"functions": storm.functions, "genset_warm_up_s": 3, "genset_min_run_s": 15, "genset_cool_down_s": 5,
                 "genset_min_load_w": 2_000, "grid_wait_s": 5, "enter_delay_s": 5, "enter_ramp_permille_per_min": 6_000,
                 "battery_wh": 60_000}  # fmt: skip
    islanding = storm.functions & ISLANDING
    plant = {"start_soc": storm.soc, "enter_service_s": 5.0, "wake_s": 1.0, "amf_min_run_s": 20.0, "amf_return_s": 3.0,
             "genset_start_s": 4.0, "genset_cool_s": 5.0, "genset_w": 0.0 if islanding else 40_000.0,
             "ups_hold_up_s": 0.6, "feeder_r_ohm": 0.3}  # fmt: skip
    line = line_options(storm.baud)["sections"]
    sections = {"functions": functions, "bus": {"baud": storm.baud},
                "limits": {"import_limit_w": LIMIT_W, "export_limit_w": storm.export_w},
                "safety": {"inverter_watchdog_s": WATCHDOG_S, "host_lost_s": 5.0,
                           "cycle_ms": line["safety"]["cycle_ms"] if storm.baud < 115_200 else 50},
                "sensors": {"sensors": 1 if storm.functions & CARE else 0}}  # fmt: skip
    return {"load_w": storm.load_w, "pv_w": storm.pv_w or 0.001, "plant": plant, "sections": sections,
            "seed": storm.seed, "baud": storm.baud, "heap": HEAP, "senses": bool(storm.functions & CARE)}  # fmt: skip


def timeline(storm: Storm) -> list[tuple[float, int, str, float]]:
    """(s, 1 begins or 0 ends, name, how much); faults of one kind that overlap begin once and end once."""
    moments = []
    for at_s, name, lasts_s, much in storm.faults:
        moments += [(at_s, 1, name, much), (min(at_s + lasts_s, STORM_S), 0, name, much)]
    return sorted(moments)


def play(folder: Path, storm: Storm) -> Counter[str]:
    """{rule: how often it was judged}; AssertionError when one does not hold."""
    from hil.rig import Rig

    with Rig(folder, **site_of(storm)) as bench:
        bench.run_until_armed()
        weather = Weather(bench, storm)
        bench.command(m.SETPOINT, m.HOLD_BATTERY, storm.order_w, 600_000)
        start_s, moments = bench.now_s, timeline(storm)
        active: dict[str, int] = {}
        while moments or bench.now_s < start_s + STORM_S:
            next_s = moments[0][0] + start_s if moments else start_s + STORM_S
            bench.run(max(1e-5, min(0.1, next_s - bench.now_s)))
            while moments and bench.now_s >= moments[0][0] + start_s - 1e-6:
                _, begins, name, much = moments.pop(0)
                before = active.get(name, 0)
                active[name] = before + (1 if begins else -1)
                if (before, active[name]) == (0, 1):
                    weather.begin(name, much)
                elif (before, active[name]) == (1, 0):
                    weather.end(name, much)
            weather.judge()
        recover(bench, weather)
        print("judged", dict(weather.judged))
        return weather.judged


def recover(bench, weather) -> None:
    """All faults are over: the site has to come back by itself, but for what a person must reset."""
    if weather.stops:
        bench.run(1)
        bench.bench.inputs |= RESET
        bench.run(1)
        bench.bench.inputs &= ~RESET
    weather.noise = 0.0
    end_s, site = bench.now_s + CALM_S, bench.site
    while bench.now_s < end_s:
        bench.run(0.25)
        weather.judge()
        well = bench.host.session.up and site.grid_live and site.inverter.state == RUNNING
        well = well and not (site.island.tie_open or site.amf.on_load or site.amf.remote_start)
        if weather.lasting_s("well", well and bench.host.latest.get("state", m.FAULTED) != m.FAULTED) > 2 * CALMED_S:
            break  # nothing is going to change any more
    assert bench.host.session.up, "host and board do not find each other"
    assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 1_500, 60_000)[0] == m.DONE
    bench.run(8)
    weather.judge()
    wanted_w = min(1_500, site.load_w - site.pv_w + weather.storm.export_w)
    told = f"{site.inverter.power_w:.0f} W of {wanted_w:.0f} W in the end; {bench.host.latest}"
    assert abs(site.inverter.power_w - wanted_w) < 150, told
    assert site.grid_live and not site.island.tie_open and not site.amf.on_load
    numbers = [body[1] for body in bench.records()]
    assert numbers == sorted(set(numbers)), "records twice or out of order"
    bench.assert_rules(cut_runs=weather.cycles + weather.stops)


def main(first: int, last: int) -> int:
    """Storms first to last - 1, each told if it breaks a rule; 1 if one did, else 0."""
    broken, judged = 0, Counter()
    for seed in range(first, last):
        storm = draw(seed)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            try:
                judged += play(Path(folder), storm)
            except Exception as problem:  # noqa: BLE001 (told, with what brought it about)
                broken += 1
                print(f"{type(problem).__name__}: {str(problem)[:300]}\n  {storm}", file=sys.stderr, flush=True)
    print(f"storms {first} to {last - 1}: {broken} broken; judged {dict(judged)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
