"""Self-test of the board's contacts: each relay is driven, and something else than the relay bears witness.

The set's running contact answers for the start contact, the PCC meter for the inverter's contactor, the auxiliary
contact for the contactor to the grid. The board drives them only while the battery is held and nothing is tripped.
"""

from collections.abc import Iterator

from forerun.commission.check import Check
from forerun.commission.desk import Desk
from forerun.sections import SiteFile
from forerun_wire import messages as m

MOVES = {
    "genset": "the set starts and stops",
    "trip": "the inverter's contactor opens",
    "tie": "the load is without grid for a moment",
}
NAMES = tuple(MOVES)
# Bits of the board's outputs and inputs, as firmware/forerun_board/control names them.
TRIP, GENSET_START, TIE_OPEN = 1, 2, 32
TIE_IS_OPEN, GENSET_RUNNING = 16, 32
FUNCTION_ISLANDING = 256
DRIVE_S = 600
LOOK_S = 0.1
RELAY_S = 1.0  # a contactor takes a tenth of that
START_S = 60.0  # a set's panel cranks up to three times
STOP_LATE_S = 60.0  # on top of its cool-down

_STUCK = "check the relay's driver, its coil supply and its contact"


class ContactTest:
    """The contacts of one site; those named in `without` are not there. `step_w` is what the battery is held at."""

    def __init__(self, desk: Desk, site: SiteFile, step_w: int, wake_s: float, without: tuple[str, ...] = ()):
        self.desk, self.step_w, self.wake_s = desk, step_w, wake_s
        self.cool_down_s = site.functions.genset_cool_down_s
        self.there = [name for name in wanted(site) if name not in without]
        self._driven = 0

    def checks(self) -> Iterator[Check]:
        """All that can be tested while the inverter is in service; the set cools down while the others are tested."""
        try:
            started = self._start_genset() if "genset" in self.there else None
            if started:
                yield started
            if "trip" in self.there:
                yield self._trip()
            if started and started.passed:
                yield self._stop_genset()
            if "tie" in self.there:  # last: a set whose panel looks behind this contactor starts by itself now
                yield self._tie()
        finally:
            if self.desk.session.up:
                self._drive(0)

    def _drive(self, contacts: int) -> int:
        """Drive these from now on, and no others; the inputs as they were in the last round."""
        self._driven = contacts
        return self.desk.ask(m.MAINTENANCE, DRIVE_S, contacts)[0]

    def _within(self, bit: int, level: bool, limit_s: float) -> float | None:
        """Seconds until an input has this level, None when it has not within the limit."""
        desk, start_us = self.desk, self.desk.now_us()
        while bool(self._drive(self._driven) & bit) != level:
            if desk.now_us() - start_us >= limit_s * 1e6:
                return None
            desk.wait(LOOK_S)
        return (desk.now_us() - start_us) / 1e6

    # ---- the set

    def _start_genset(self) -> Check:
        self.desk.hold(0)
        name, limit = "genset start", f"{START_S:.0f} s"
        # A set that a test before this one started, and that was broken off, may still be cooling down.
        if self._within(GENSET_RUNNING, False, self.cool_down_s + STOP_LATE_S) is None:
            return self._runs_at_rest(name, limit)
        self._drive(GENSET_START)
        seconds = self._within(GENSET_RUNNING, True, START_S)
        if seconds is None:
            self._drive(0)
            return Check(
                name, f"its running contact stayed open for {START_S:.0f} s", limit, False, "genset_no_start",
                "the set does not start, or does not say so: its panel on AUTO, emergency stop released, fuel, starter "
                f"battery; the start relay ({_STUCK}); the wire of its running contact to the board",
            )  # fmt: skip
        self._drive(0)
        return Check(name, f"runs {seconds:.1f} s after the start contact closed", limit, True)

    def _runs_at_rest(self, name: str, limit: str) -> Check:
        """It runs though nobody asked for it: driving the contact tells why."""
        self._drive(GENSET_START)
        stopped = self._within(GENSET_RUNNING, False, self.cool_down_s + STOP_LATE_S) is not None
        self._drive(0)
        measured = "its running contact was closed before the start contact was"
        if stopped:
            return Check(name, measured + ", and opened when that closed", limit, False, "genset_other_contact",
                         "the start relay or the set's running contact is wired to its other contact (NC in place of "
                         "NO): move the wire")  # fmt: skip
        return Check(name, measured, limit, False, "genset_runs",
                     "the set runs by itself: put its panel on AUTO; if it stands still, its running contact is wired "
                     f"wrong or the start relay is stuck ({_STUCK})")  # fmt: skip

    def _stop_genset(self) -> Check:
        limit_s = self.cool_down_s + STOP_LATE_S
        seconds = self._within(GENSET_RUNNING, False, limit_s)
        measured = "stopped by the time it was asked" if seconds == 0 else (
            f"stopped {seconds:.0f} s later" if seconds is not None else "still runs")  # fmt: skip
        return Check(
            "genset stop", measured, f"{limit_s:.0f} s", seconds is not None,
            "" if seconds is not None else "genset_no_stop",
            "" if seconds is not None else f"the start relay does not open ({_STUCK}), or the set's own cool-down is "
            "longer than functions.genset_cool_down_s: make them agree",
        )  # fmt: skip

    # ---- the inverter's contactor

    def _trip(self) -> Check:
        desk, step_w = self.desk, self.step_w
        desk.hold(step_w)
        if not self._gives(True, RELAY_S + 20.0):
            return Check("trip relay", "the battery did not give its step before", f"{RELAY_S:.0f} s", False,
                         "no_witness", "mend what kept the inverter from following, and start again")  # fmt: skip
        self._drive(TRIP)
        start_us = desk.now_us()
        opened = self._gives(False, RELAY_S)
        took_s = (desk.now_us() - start_us) / 1e6
        if not opened:
            self._drive(0)
            return Check(
                "trip relay", f"the inverter still gives power after {RELAY_S:.0f} s", f"{RELAY_S:.0f} s", False,
                "trip_stuck", "an emergency stop would not take the inverter off: the contactor is welded, the relay "
                f"does not close ({_STUCK}), or it is wired to nothing; do not leave the site before this passes",
            )  # fmt: skip
        self._drive(0)
        start_us = desk.now_us()
        closed = self._gives(True, self.wake_s)
        back_s = (desk.now_us() - start_us) / 1e6
        desk.hold(0)
        return Check(
            "trip relay", f"power gone after {took_s:.2f} s, " + (
                f"inverter back {back_s:.0f} s after release" if closed else "and not back after release"),
            f"{RELAY_S:.0f} s, back in {self.wake_s:.0f} s", closed, "" if closed else "trip_stays_open",
            "" if closed else f"the contactor does not close again: {_STUCK}; some contactors want a reset by hand",
        )  # fmt: skip

    def trip_reversed(self) -> Check | None:
        """Whether an inverter that is not in service comes when the trip relay is driven: its other contact is used."""
        if "trip" not in self.there:
            return None
        self.desk.hold(self.step_w)
        try:
            self._drive(TRIP)
            comes = self._gives(True, self.wake_s)
        finally:
            if self.desk.session.up:
                self._drive(0)
                self.desk.hold(0)
        if not comes:
            return None
        return Check("trip relay", "the inverter gives power only while the board trips it", f"{RELAY_S:.0f} s", False,
                     "trip_other_contact", "the trip relay is wired to its other contact (NC in place of NO): move the "
                     "wire")  # fmt: skip

    def _gives(self, power: bool, limit_s: float) -> bool:
        """True as soon as the battery gives its step, or nothing, by telemetry of from now on."""
        desk = self.desk
        desk.telemetry.clear()

        def seen() -> bool:
            if not desk.telemetry:
                return False
            latest = desk.telemetry[-1]
            return (latest["active_power_w"] >= self.step_w / 2) == power

        return desk.until(seen, limit_s)

    # ---- the contactor to the grid

    def _tie(self) -> Check:
        """Open it, and close it as soon as its auxiliary contact has moved: the load is off for a moment."""
        desk, limit = self.desk, f"{RELAY_S:.0f} s"
        desk.hold(0)
        open_at_rest = bool(self._drive(0) & TIE_IS_OPEN)
        self._drive(TIE_OPEN)
        moved_s = self._within(TIE_IS_OPEN, not open_at_rest, RELAY_S)
        self._drive(0)
        back_s = self._within(TIE_IS_OPEN, open_at_rest, RELAY_S)
        if not open_at_rest and moved_s is not None and back_s is not None:
            measured = f"open after {moved_s:.1f} s, closed again after {back_s:.1f} s"
            return Check("grid contactor", measured, limit, True)
        if open_at_rest:
            measured, cause, advice = (
                ("says open at rest, and closed when driven", "tie_other_contact", "its relay or its auxiliary "
                 "contact is wired to the other contact (NC in place of NO): move the wire")
                if moved_s is not None else
                ("says open whatever the board drives", "tie_stuck_open", "the contactor does not close, or the wire "
                 f"of its auxiliary contact is bridged: {_STUCK}")
            )  # fmt: skip
        elif moved_s is None:
            measured, cause = "says closed though it was driven open", "tie_stuck_closed"
            advice = "the site could not leave a bad grid: the contactor is welded, or its auxiliary contact is not " \
                     f"wired; {_STUCK}"  # fmt: skip
        else:
            measured, cause, advice = "did not close again", "tie_stuck_open", _STUCK
        return Check("grid contactor", measured, limit, False, cause, advice)


def wanted(site: SiteFile) -> list[str]:
    """Names of the contacts that a site of these settings has."""
    found = ["trip"]
    if site.bus.genset_meter_unit:
        found.insert(0, "genset")
    if site.functions.functions & FUNCTION_ISLANDING:
        found.append("tie")
    return found
