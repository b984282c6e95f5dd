"""The self-test of a site through its board: measured value, limit, passed or not, and what to do.

The battery is held by a lease the whole time, and by the board's own charge and discharge limits at no more than a
small step, so that not even a reversed current transformer can set anything off. The site's settings come back only
when all checks have passed; until then the board is left holding the battery at 0 W.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict

from forerun.commission.check import Check, in_range
from forerun.commission.contacts import ContactTest
from forerun.commission.desk import Desk
from forerun.commission.transformers import ct_fault
from forerun.config import board_settings
from forerun.sections import BAUD_RATES, SiteFile
from forerun_wire import messages as m

_KEY = {name: key for key, name, *_ in m.SETTINGS}
_GARBLED, _LOST = ("bad_crc", "bad_cobs", "bad_cbor", "oversize"), ("retransmissions",)  # of the link's counts
_BIT = {name: 1 << bit for bit, name in enumerate(m.FAULTS)}

TELEMETRY_MS = 100
STEP_SHARE = 0.1  # of what the battery may do
STEP_W = (500, 3000)
QUIET_LIMIT_W = 1_000_000  # import and export limit while the battery cannot do more than the step
ATTACH_S = 20.0
WAKE_S = 400.0  # IEEE 1547-2018 has the inverter wait 300 s before it enters service
PLATEAU_S = 2.0
SETTLE_MS = 2000  # on top of the ramp
LINK_EXCHANGES = 100
LINK_ERRORS_MAX = 1
LINK_MEDIAN_MS = 50.0
SLOW_CYCLE_MS = 1000  # long enough for a round at any line rate
LINE_REQUESTS = 200
LINE_S = 40.0  # what so many take at 9600 baud
REPEATED_MAX = 0.02  # share of Modbus requests that had to be repeated
PCC_V = (195.5, 253.0)  # 230 V ± 15 %
GRID_HZ = ((47.5, 51.5), (57.5, 61.5))
LOAD_NOISE_W = 500  # a load below minus this is a sign, not noise
CT_SLOPE = 0.15  # how far from −1 the meter's answer to the inverter may be
CLOCK_PPM = 200.0
CLOCK_S = 20.0
UTC_FIRST_S = 1_735_689_600  # 2025: a host clock before that was never set
WATCHDOG_LATE_S = 2.0


def step_w(site: SiteFile) -> int:
    """Power in W by which the self-test moves the battery, either way."""
    share = STEP_SHARE * min(site.limits.charge_max_w, site.limits.discharge_max_w)
    return round(min(max(share, STEP_W[0]), STEP_W[1]))


def as_dicts(checks: list[Check]) -> list[dict]:
    return [asdict(check) for check in checks]


def selftest(
    desk: Desk,
    site: SiteFile,
    utc_s: float,
    taken_units: tuple[int, ...] = (),
    say: Callable[[Check], None] = lambda check: None,
    without: tuple[str, ...] = (),
) -> list[Check]:
    """All checks, those that cannot be done for want of another one left out. Raises Trouble when the link is lost.

    `utc_s`: what this host believes the time to be; `taken_units`: ids that a scan found in use; `without`: contacts
    that this site does not have.
    """
    tester = _Tester(desk, site, taken_units, without)
    checks: list[Check] = []
    released = False
    try:
        tester.hold_still()
        for check in tester.checks(utc_s):
            checks.append(check)
            say(check)
        if all(check.passed for check in checks):
            desk.hold(0)
            desk.set(board_settings(site))
            released = True
    finally:
        desk.hold(None)
        if not released and desk.session.up:
            desk.set(tester.still(0))
    return checks


class _Tester:
    def __init__(self, desk: Desk, site: SiteFile, taken_units: tuple[int, ...], without: tuple[str, ...]):
        self.desk, self.site, self.without = desk, site, without
        self.step_w = step_w(site)
        self.settings = board_settings(site)
        bus = site.bus
        own = {bus.inverter_unit, bus.pcc_meter_unit, bus.pv_meter_unit, bus.genset_meter_unit, *taken_units}
        self.spare_unit = max(set(range(1, 248)) - own)
        self.plateau_s = max(PLATEAU_S, site.safety.cycle_ms * 0.02)
        self.slope = 0.0

    def still(self, power_w: int) -> dict[int, int]:
        """The site's settings, but with a battery that can do no more than `power_w`."""
        return {
            **self.settings,
            _KEY["charge_max_w"]: power_w,
            _KEY["discharge_max_w"]: power_w,
            _KEY["fallback"]: m.FALLBACKS.index("idle"),
        }

    def hold_still(self) -> None:
        self.desk.hold(0)
        limits = {_KEY["import_limit_w"]: QUIET_LIMIT_W, _KEY["export_limit_w"]: QUIET_LIMIT_W}
        # Both limits ask for action by the sign of the meter, which is what has yet to be proved.
        self.desk.set({**self.still(self.step_w), **limits, _KEY["telemetry_ms"]: TELEMETRY_MS})

    def checks(self, utc_s: float) -> Iterator[Check]:
        yield self.link()
        devices = self.devices()
        yield devices
        if devices.passed:
            yield self.line()
            yield from self.plausible()
            awake = self.awake()
            yield awake
            contacts = ContactTest(self.desk, self.site, self.step_w, WAKE_S, self.without)
            if awake.passed:
                yield from self.steps()
                yield self.watchdog()
                yield from contacts.checks()
            elif reversed_trip := contacts.trip_reversed():
                yield reversed_trip
        yield self.clock(utc_s)

    # ---- each check

    def link(self) -> Check:
        desk = self.desk
        for _ in range(2):  # a host that had something else to do asks late, not wrongly: it may try once more
            before, trips_ms = desk.session.counts(), []
            for _ in range(LINK_EXCHANGES):
                start_us = desk.now_us()
                desk.ask(m.INFO)
                trips_ms.append((desk.now_us() - start_us) / 1000)
            now, median_ms = desk.session.counts(), statistics.median(trips_ms)
            garbled, lost = (sum(now[name] - before[name] for name in names) for names in (_GARBLED, _LOST))
            errors = garbled + lost
            passed = errors <= LINK_ERRORS_MAX and median_ms <= LINK_MEDIAN_MS
            if passed or garbled:
                break
        return Check(
            "link to the board",
            f"{errors} errors in {LINK_EXCHANGES} exchanges, median round trip {median_ms:.1f} ms",
            f"{LINK_ERRORS_MAX} error, {LINK_MEDIAN_MS:.0f} ms",
            passed,
            "" if passed else "noisy_link" if errors > LINK_ERRORS_MAX else "slow_link",
            "" if passed else "use a shorter or shielded cable between host and board, away from power cables; check "
            "that nothing else uses this port, and that this host is not too busy to answer",
        )  # fmt: skip

    def devices(self) -> Check:
        """Whether everybody named in the site file answers the board."""
        bus, desk = self.site.bus, self.desk
        wanted = {"inverter": bus.inverter_unit, "pcc_meter": bus.pcc_meter_unit, "pv_meter": bus.pv_meter_unit,
                  "genset_meter": bus.genset_meter_unit}  # fmt: skip
        wanted = {name: unit for name, unit in wanted.items() if unit}
        on_bus = sum(_BIT[name] for name in wanted)
        mask = on_bus | _BIT["battery"] | _BIT["trip"] | _BIT["door"]
        desk.wait(1 + self.site.safety.stale_s)  # what is remembered from before must have become stale
        desk.until(lambda: desk.telemetry and not desk.telemetry[-1]["faults"] & mask, ATTACH_S)
        faults = desk.telemetry[-1]["faults"] if desk.telemetry else mask
        silent = [name for name in wanted if faults & _BIT[name]]
        contacts = [name.replace("_", " ") for name in ("trip", "door") if faults & _BIT[name]]
        shown = [f"{name.replace('_', ' ')} (unit {wanted[name]})" for name in silent]
        if len(silent) == len(wanted):
            baud = self._other_rate(on_bus)
            cause = "wrong_line_rate" if baud else "bus_silent"
            advice = (
                f"the devices talk at {baud} baud, not at {bus.baud}: set bus.baud = {baud} in the site file"
                if baud else "no device answers the board at any line rate: swap A and B, check the devices' power"
            )  # fmt: skip
        elif silent:
            cause, advice = "wrong_unit", (
                f"{', '.join(shown)} does not answer while others do: wrong unit id, or two devices at this one, or "
                "without power; `forerun commission scan` lists who is where"
            )  # fmt: skip
            if silent == ["pcc_meter"]:
                advice += "; if it does answer there, it repeats one old value, which counts as silence: restart it"
        elif contacts:
            advice = f"open: {', '.join(contacts)}; close it, or mend its wire, press the reset button, and start again"
            cause = "contact_open"
        elif faults & _BIT["battery"]:
            cause, advice = "battery_silent", "the inverter tells nothing of its battery: check the BMS cable"
        else:
            cause = advice = ""
        measured = f"no answer, or nothing new, from {', '.join(shown)}" if silent else cause.replace("_", " ")
        return Check("devices on the bus", measured or "all answer", "all answer", not cause, cause, advice)

    def _other_rate(self, mask: int) -> int:
        """The line rate at which any device answers, 0 for none; the board has its own rate back afterwards."""
        desk, baud, found = self.desk, self.site.bus.baud, 0
        for rate in (rate for rate in reversed(BAUD_RATES) if rate != baud):
            desk.set({_KEY["bus_baud"]: rate, _KEY["cycle_ms"]: SLOW_CYCLE_MS})
            desk.telemetry.clear()
            if desk.until(lambda: desk.telemetry and desk.telemetry[-1]["faults"] & mask != mask, ATTACH_S / 2):
                found = rate
                break
        desk.set({_KEY["cycle_ms"]: SLOW_CYCLE_MS})
        desk.set({_KEY["bus_baud"]: baud})
        desk.set({_KEY["cycle_ms"]: self.site.safety.cycle_ms})
        return found

    def line(self) -> Check:
        """The board counts its requests on the Modbus line, and those that it had to repeat, at any line rate."""
        desk, limit = self.desk, f"{REPEATED_MAX:.0%}"
        counts = desk.ask(m.MAINTENANCE, 1, 0)[1:]
        if len(counts) < 2:
            return Check("Modbus line", "not counted by this board", limit, False, "old_firmware",
                         "its firmware is too old for that: `forerun board update`, then start again")  # fmt: skip
        start_us, asked, repeated = desk.now_us(), 0, 0
        while asked < LINE_REQUESTS and desk.now_us() - start_us < LINE_S * 1e6:
            desk.wait(1.0)
            now = desk.ask(m.MAINTENANCE, 1, 0)[1:]
            asked, repeated = now[0] - counts[0], now[1] - counts[1]
        passed = repeated <= REPEATED_MAX * asked and asked > 0
        return Check(
            "Modbus line", f"{repeated} of {asked} requests had to be repeated", limit, passed,
            "" if passed else "noisy_line",
            "" if passed else "the line is noisy: check its 120 Ω terminators, common ground, and distance to motor "
            "and inverter cables; two masters on one line look the same",
        )  # fmt: skip

    def plausible(self) -> Iterator[Check]:
        reports = self.desk.reports(2.0)
        mean = {name: statistics.fmean(report[name] for report in reports) for name in reports[0]}
        volts, hertz = mean["pcc_voltage_mv"] / 1000, mean["frequency_millihz"] / 1000
        yield in_range("PCC voltage", volts, "V", *PCC_V, "measure the phase voltages at the meter by hand: a "
                        "phase missing, a wrong transformer ratio, or a feeder that really is so far off")  # fmt: skip
        low, high = GRID_HZ[0] if hertz < 55 else GRID_HZ[1]
        yield in_range("frequency", hertz, "Hz", low, high, "the meter's voltage inputs are not on the mains")
        yield in_range("state of charge", mean["soc_permille"] / 10, "%", 1, 100, "the inverter does not get the "
                        "battery's state of charge: check the BMS cable, and the battery type set in it")  # fmt: skip
        room_w = max(mean["charge_max_w"], mean["discharge_max_w"])
        yield in_range("battery's power limits", room_w, "W", self.step_w, 1e9, "the BMS permits next to no power: "
                        "is the battery's breaker closed, is it warm enough?")  # fmt: skip
        yield in_range("PV power", mean["pv_w"], "W", -100, 1e9, "the PV meter's CT is backwards: turn it "
                        "round", "swapped_pv_ct")  # fmt: skip
        yield in_range("genset power", mean["genset_w"], "W", -100, 1e9, "the genset meter's CT is backwards: turn it "
                        "round", "swapped_genset_ct")  # fmt: skip

    def awake(self) -> Check:
        """A leased setpoint wakes it; then it counts its own time to enter service."""
        desk, start_us = self.desk, self.desk.now_us()
        desk.telemetry.clear()
        desk.hold(self.step_w)
        reached = desk.until(lambda: desk.telemetry and desk.telemetry[-1]["active_power_w"] >= self.step_w / 2, WAKE_S)
        seconds = (desk.now_us() - start_us) / 1e6
        bound = m.BOUNDS[desk.telemetry[-1]["bound_by"]] if desk.telemetry else "nothing"
        desk.hold(0)
        desk.wait(self.plateau_s)
        return Check(
            "inverter in service", f"{seconds:.1f} s" if reached else f"not within {WAKE_S:.0f} s, bound by {bound}",
            f"{WAKE_S:.0f} s", reached, "" if reached else "inverter_asleep",
            "" if reached else "the inverter does not follow the setpoint: allow remote control and discharging in its "
            "own settings, check its alarms and the state of charge",
        )  # fmt: skip

    def steps(self) -> Iterator[Check]:
        """Step response of the inverter, and the answer of the PCC meter to each step."""
        desk, power_w = self.desk, self.step_w
        start = desk.reports(self.plateau_s)
        desk.telemetry.clear()
        desk.hold(power_w)
        desk.wait(self.plateau_s)
        rising = list(desk.telemetry)
        yield self.response(start[-1], rising)
        plateaus = [_plateau(start), _plateau(rising)]
        for level_w in (-power_w, power_w, -power_w, 0):
            desk.hold(level_w)
            plateaus.append(_plateau(desk.reports(self.plateau_s)))
        yield self.orientation(plateaus)

    def response(self, before: dict, rising: list[dict]) -> Check:
        power_w = self.step_w
        near_w, steady_w = max(0.1 * power_w, 50), max(0.05 * power_w, 100)
        limit_ms = SETTLE_MS + 1000 * power_w // self.site.limits.ramp_w_per_s
        arrived = [_ms(report) - _ms(before) for report in rising if abs(report["active_power_w"] - power_w) <= near_w]
        error_w = _plateau(rising)[0] - power_w
        passed = bool(arrived) and arrived[0] <= limit_ms and abs(error_w) <= steady_w
        return Check(
            "step response", f"{arrived[0] if arrived else '–'} ms to +{power_w} W, then {error_w:+.0f} W off",
            f"{limit_ms} ms, ±{steady_w:.0f} W", passed, "" if passed else "slow_inverter",
            "" if passed else "the inverter follows late or not far enough: look for a ramp or an export limit in "
            "its own settings, and compare its rating with limits.discharge_max_w",
        )  # fmt: skip

    def orientation(self, plateaus: list[tuple[float, float]]) -> Check:
        """By how much the PCC meter's reading changes for each watt of the inverter; −1 when all is well.

        The median over five steps, so that a load that switches once does no harm. Other values tell which current
        transformers are wrong, because the inverter's step is three-phase, balanced and at unity power factor.
        """
        pairs = itertools.pairwise(plateaus)
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if abs(b[0] - a[0]) >= self.step_w / 2]
        if len(slopes) < 3:
            return Check("CT orientation", f"{len(slopes)} usable steps", "3", False, "no_steps",
                         "the battery did not move both ways: bring its state of charge between its limits and start "
                         "again")  # fmt: skip
        self.slope = statistics.median(slopes)
        spread = statistics.median(abs(slope - self.slope) for slope in slopes)
        passed = abs(self.slope + 1) <= CT_SLOPE
        cause, advice = ("", "") if passed else ct_fault(self.slope, spread, [pcc_w for _, pcc_w in plateaus])
        return Check("CT orientation", f"{self.slope:+.2f} ± {spread:.2f} W at the PCC for each W of the inverter",
                     f"−1 ± {CT_SLOPE}", passed, cause, advice)  # fmt: skip

    def watchdog(self) -> Check:
        """Cut the inverter off and see at the PCC meter when it reverts to 0 W by itself.

        The board is told another unit id for the inverter, so that no frame reaches it: neither refresh nor setpoint
        nor question. The meter stays on the line and is the witness.
        """
        desk, limit_s = self.desk, self.site.safety.inverter_watchdog_s + WATCHDOG_LATE_S
        limit = f"{limit_s:.0f} s"
        if abs(self.slope) < 0.25:
            return Check("inverter watchdog", "not seen", limit, False, "no_witness",
                         "the PCC meter does not see the inverter, so nothing bears witness: mend it")  # fmt: skip
        desk.hold(0)
        rest_w = _plateau(desk.reports(self.plateau_s))[1]
        desk.hold(self.step_w)
        full_w = _plateau(desk.reports(self.plateau_s))[1]
        unconfirmed = desk.telemetry[-1]["faults"] & _BIT["watchdog"]
        half_w = (rest_w + full_w) / 2

        def reverted() -> bool:
            latest = list(desk.telemetry)[-5:]
            pcc_w = statistics.fmean(report["pcc_import_w"] for report in latest) if latest else full_w
            return abs(pcc_w - full_w) > abs(half_w - full_w)

        def at_rest() -> bool:
            latest = desk.telemetry[-1]
            return not latest["faults"] & _BIT["inverter"] and abs(latest["active_power_w"]) < self.step_w / 10

        try:
            desk.set({_KEY["inverter_unit"]: self.spare_unit})
            cut_us = desk.now_us()
            desk.telemetry.clear()
            acted = desk.until(reverted, limit_s)
            seconds = (desk.now_us() - cut_us) / 1e6
        finally:
            desk.hold(0)
            desk.set({_KEY["inverter_unit"]: self.site.bus.inverter_unit})
        back = desk.until(at_rest, ATTACH_S)
        passed = acted and back and not unconfirmed
        measured = f"back at 0 W {seconds:.1f} s after the cut" if acted else f"still at {self.step_w} W"
        return Check(
            "inverter watchdog", measured + (", not confirmed in its registers" if unconfirmed else ""), limit, passed,
            "" if passed else "watchdog_ignored",
            "" if passed else "the inverter would go on alone after a fault of the board: enable its reversion timer "
            "(communication-loss behaviour 0 W) or update its software; do not leave the site before this passes",
        )  # fmt: skip

    def clock(self, utc_s: float) -> Check:
        """How fast the board's clock runs against the host's, and whether the host knows the year."""
        desk = self.desk
        desk.wait(max(0.0, CLOCK_S - _span_s(desk)))
        exchanges, ppm, bound_ppm = desk.exchanges, 0.0, float("inf")
        if len(exchanges) >= 4:
            first = min(exchanges[: len(exchanges) // 2], key=lambda exchange: exchange[2])
            last = min(exchanges[len(exchanges) // 2 :], key=lambda exchange: exchange[2])
            apart_us = last[0] - first[0]
            ppm = -1e6 * (last[1] - first[1]) / apart_us
            bound_ppm = 1e6 * (first[2] + last[2]) / 2 / apart_us
        dated = utc_s >= UTC_FIRST_S
        passed = dated and bound_ppm < float("inf") and abs(ppm) - bound_ppm <= CLOCK_PPM
        advice = (
            "this host's clock was never set: connect it to a time server and start again" if not dated
            else "the board's crystal is out of its limits, so its times will drift: replace the board"
        )  # fmt: skip
        return Check("clock", f"{ppm:+.0f} ± {bound_ppm:.0f} ppm against the host", f"±{CLOCK_PPM:.0f} ppm", passed,
                     "" if passed else "clock", "" if passed else advice)  # fmt: skip


def _plateau(reports: list[dict]) -> tuple[float, float]:
    """Means of (active_power_w, pcc_import_w) over the second half."""
    half = reports[len(reports) // 2 :]
    return (
        statistics.fmean(report["active_power_w"] for report in half),
        statistics.fmean(report["pcc_import_w"] for report in half),
    )


def _ms(report: dict) -> int:
    return 1000 * report["uptime_s"] + report["uptime_ms"]


def _span_s(desk: Desk) -> float:
    return (desk.exchanges[-1][0] - desk.exchanges[0][0]) / 1e6 if desk.exchanges else 0.0


