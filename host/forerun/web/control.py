"""Controls in two steps: what is asked for is described first, and done only when its asker confirms it in time."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from forerun.site.snapshot import Snapshot
from forerun.web.access import Person
from forerun_wire import messages as m

CONFIRM_S = 30.0
KEPT = 200  # requests that are remembered, the latest
_SHORTEST_LEASE_MS = 100
_MODES = {"hold_battery": m.HOLD_BATTERY, "hold_pcc": m.HOLD_PCC}

# No control characters, none that turn the direction of writing: names are shown to people, and stand in addresses.
_SHOWN = r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=_SHOWN, description="The sender's name for the job.")]
# To JSON 600.0 is the integer 600.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
Watts = Annotated[int, Field(ge=-1_000_000, le=1_000_000), WHOLE]
MAINTENANCE_MAX_S = 3600  # what the board takes


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Setpoint(_Change):
    """Have the board hold a power until the lease ends: of the battery (> 0 discharges), or the import at the PCC."""

    action: Literal["setpoint"]
    mode: Literal["hold_battery", "hold_pcc"]
    value_w: Watts
    lease_s: Annotated[int, Field(ge=1, le=86_400), WHOLE]


class Clear(_Change):
    """End a lease now, so that the plan takes over."""

    action: Literal["clear"]


class Announce(_Change):
    """Announce a job, as a scheduler does."""

    action: Literal["announce"]
    job: Name
    power_w: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
    start_utc_s: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
    duration_s: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0


class Cancel(_Change):
    """Take an announced job back, or end one that runs."""

    action: Literal["cancel"]
    job: Name


class Maintenance(_Change):
    """Hold the battery at 0 W for so long whatever the plan says; 0 s: go on as planned."""

    action: Literal["maintenance"]
    hold_s: Annotated[int, Field(ge=0, le=MAINTENANCE_MAX_S), WHOLE]


Change = Annotated[Setpoint | Clear | Announce | Cancel | Maintenance, Field(discriminator="action")]
ROLE = {"setpoint": "operate", "clear": "operate", "announce": "operate", "cancel": "operate",
        "maintenance": "commission"}  # fmt: skip

NAMES = {"setpoint": "a setpoint", "clear": "the end of the lease", "announce": "the announcement of a job",
         "cancel": "the end of a job", "maintenance": "maintenance"}  # fmt: skip

# What becomes of a request: (state, event) -> state.
TRANSITIONS = {
    ("asked", "confirm"): "confirmed",
    ("asked", "withdraw"): "withdrawn",
    ("asked", "time_out"): "expired",
    ("confirmed", "succeed"): "done",
    ("confirmed", "fail"): "failed",
}


class Refused(Exception):
    """(HTTP status, sentence)"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a change, and what became of it; `will` says what confirming it does."""

    id: str
    action: str
    asked_by: str
    asked_utc_s: float
    confirm_until_utc_s: float
    will: tuple[str, ...]
    state: str
    outcome: str


@dataclass(frozen=True, slots=True)
class LastChange:
    """The latest control that was done here; `number` counts them since the start."""

    number: int
    by: str
    utc_s: float
    what: str


class Controls:
    """All requests of one site, and who holds which subject. Called from one thread; `clock` is UTC in s.

    While a request for a subject (the battery, or a job of one name) waits for its confirmation, another person's is
    refused, with who and since when; so is one made on a page that had not seen the latest change of the subject.
    """

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._requests: dict[str, Request] = {}
        self._changes: dict[str, Change] = {}
        self._changed: dict[str, LastChange] = {}  # by subject
        self.last: LastChange | None = None

    def ask(self, person: Person, change: Change, will: tuple[str, ...], seen: int | None) -> Request:
        """The request, waiting for its confirmation. `seen`: number of the last change that the person knows of;
        None: not said. Raises Refused."""
        if not person.may(ROLE[change.action]):
            raise Refused(403, f"{NAMES[change.action]} takes the role {ROLE[change.action]}; {person.name} has "
                               f"{person.role}")  # fmt: skip
        subject, now = subject_of(change), self._clock()
        changed = self._changed.get(subject)
        if changed and seen is not None and seen < changed.number and changed.by != person.name:
            raise Refused(409, f"{changed.by} changed this at {at(changed.utc_s)} ({changed.what}): look at it, then "
                               "ask again")  # fmt: skip
        for other in self.waiting():
            if subject_of(self._changes[other.id]) != subject:
                continue
            if other.asked_by != person.name:
                raise Refused(409, f"{other.asked_by} asked for {NAMES[other.action]} at {at(other.asked_utc_s)} and "
                                   f"may confirm it until {at(other.confirm_until_utc_s)}: wait till then")  # fmt: skip
            self._become(other.id, "withdraw", "replaced by a newer request")
        key = secrets.token_urlsafe(12)
        request = Request(key, change.action, person.name, now, now + CONFIRM_S, will, "asked", "")
        self._requests[request.id], self._changes[request.id] = request, change
        while len(self._requests) > KEPT:
            oldest = next(iter(self._requests))
            del self._requests[oldest], self._changes[oldest]
        return request

    def confirm(self, person: Person, key: str) -> tuple[Request, Change | None]:
        """(request, what is to be done now); a confirmation that comes again does nothing again: then it is None.
        Raises Refused."""
        request = self._of(person, key)
        if request.state != "asked":
            if request.state in ("withdrawn", "expired"):
                raise Refused(410, f"this request is {request.state}, and nothing was done: ask again")
            return request, None
        return self._become(key, "confirm", ""), self._changes[key]

    def withdraw(self, person: Person, key: str) -> Request:
        """Take a request back. Raises Refused."""
        request = self._of(person, key)
        if request.state != "asked":
            raise Refused(410, f"this request is {request.state} already")
        return self._become(key, "withdraw", "withdrawn by who asked")

    def finish(self, key: str, problem: str) -> Request:
        """Say how a confirmed one ended; '' without a problem."""
        request = self._become(key, "fail" if problem else "succeed", problem or "done")
        if not problem:
            number = (self.last.number if self.last else 0) + 1
            self.last = LastChange(number, request.asked_by, self._clock(), summary(self._changes[key]))
            self._changed[subject_of(self._changes[key])] = self.last
        return request

    def waiting(self) -> list[Request]:
        """Requests that may still be confirmed."""
        now = self._clock()
        for request in [r for r in self._requests.values() if r.state == "asked" and r.confirm_until_utc_s <= now]:
            self._become(request.id, "time_out", f"not confirmed within {CONFIRM_S:.0f} s")
        return [request for request in self._requests.values() if request.state == "asked"]

    def change_of(self, request: Request) -> Change:
        return self._changes[request.id]

    def _of(self, person: Person, key: str) -> Request:
        self.waiting()
        request = self._requests.get(key)
        if request is None:
            raise Refused(404, "there is no such request")
        if request.asked_by != person.name:
            raise Refused(403, f"{request.asked_by} asked for this, so nobody else confirms or withdraws it")
        return request

    def _become(self, key: str, event: str, outcome: str) -> Request:
        request = self._requests[key]
        self._requests[key] = replace(request, state=TRANSITIONS[request.state, event], outcome=outcome)
        return self._requests[key]


def subject_of(change: Change) -> str:
    """What two people may not change at once."""
    return f"job {change.job}" if change.action in ("announce", "cancel") else "battery"


def board_order(change: Change, now: Snapshot) -> tuple[int, ...] | None:
    """(operation, arguments) for the board; None for what the host does itself."""
    if change.action == "setpoint":
        return m.SETPOINT, _MODES[change.mode], change.value_w, 1000 * change.lease_s
    if change.action == "clear":
        # What is held now goes on for a moment, then the lease is over.
        return m.SETPOINT, m.HOLD_BATTERY, now.live.setpoint_w if now.live else 0, _SHORTEST_LEASE_MS
    if change.action == "maintenance":
        return m.MAINTENANCE, change.hold_s
    return None


def objection(change: Change, now: Snapshot, discharge_max_w: int, charge_max_w: int) -> str:
    """Why a change cannot be meant, '' when it can."""
    if change.action == "setpoint":
        low, high, what = -charge_max_w, discharge_max_w, "the battery's"
        if change.mode == "hold_pcc":
            low, high, what = -now.export_limit_w, now.import_limit_w, "the connection's"
        if not low <= change.value_w <= high:
            return f"value_w is {change.value_w}; {what} limits are {low} to {high} W"
    return ""


def summary(change: Change) -> str:
    """A change in a few words."""
    if change.action == "setpoint":
        what = battery(change.value_w) if change.mode == "hold_battery" else f"import held at {kw(change.value_w)}"
        return f"{what} for {span(change.lease_s)}"
    if change.action == "announce":
        return f"job {change.job} of {kw(change.power_w)} announced for {at(change.start_utc_s)}"
    if change.action == "cancel":
        return f"job {change.job} cancelled"
    if change.action == "maintenance":
        return f"battery held at 0 W for {span(change.hold_s)}" if change.hold_s else "maintenance ended"
    return "lease ended"


def consequences(change: Change, now: Snapshot) -> tuple[str, ...]:
    """What confirming a change does, in sentences for the person who confirms it."""
    live = now.live if now.live and now.live.fresh else None
    said = [_first_consequence(change, now)]
    if change.action == "setpoint" and live:
        said += _of_setpoint(change, now)
    if change.action == "maintenance" and change.hold_s and live:
        import_w = live.pcc_import_w + live.active_power_w
        said.append(f"The import at the PCC becomes about {kw(import_w)}; it is {kw(live.pcc_import_w)} now.")
        if import_w > now.import_limit_w:
            said.append(f"That is above the import limit of {kw(now.import_limit_w)}.")
    if change.action == "clear" and live and not live.lease_ms:
        said.append("No lease is running now, so this changes nothing.")
    if change.action not in ("announce", "cancel") and not now.link.connected:
        said.append("The board is silent now: unless it answers, nothing is sent.")
    return tuple(said)


def _first_consequence(change: Change, now: Snapshot) -> str:
    if change.action == "setpoint":
        return f"For {span(change.lease_s)} from your confirmation: {summary(change).rsplit(' for ', 1)[0]}."
    if change.action == "clear":
        return "The lease ends now, and the board goes on with the plan."
    if change.action == "announce":
        return (f"The plan expects {kw(change.power_w)} more load from {at(change.start_utc_s)} for "
                f"{span(change.duration_s)}, and the battery is made ready for it.")  # fmt: skip
    if change.action == "cancel":
        return f"The plan goes on without the job {change.job}."
    if change.hold_s:
        return f"The board holds the battery at 0 W for {span(change.hold_s)}, whatever plan and lease say."
    return "Maintenance ends, and the board goes on with the plan."


def _of_setpoint(change: Setpoint, now: Snapshot) -> list[str]:
    live = now.live
    load_w = live.pcc_import_w + live.active_power_w  # what is left for grid and battery together
    battery_w = change.value_w if change.mode == "hold_battery" else load_w - change.value_w
    import_w = load_w - battery_w
    soc = live.soc_permille / 10
    after = min(100.0, max(0.0, soc - battery_w * change.lease_s / 36 / max(1, now.capacity_wh)))
    said = [
        f"Now: {battery(live.active_power_w)}, import at the PCC {kw(live.pcc_import_w)}.",
        f"Then about: {battery(battery_w)}, import {kw(import_w)}; the battery goes from {soc:.0f} % to {after:.0f} %.",
    ]
    if import_w > now.import_limit_w or -import_w > now.export_limit_w:
        said.append(f"The board will do less than that: import stays below {kw(now.import_limit_w)} and export below "
                    f"{kw(now.export_limit_w)}.")  # fmt: skip
    return [*said, "The board keeps all its limits; when the lease ends the plan takes over."]


def battery(power_w: float) -> str:
    """battery discharges at 5.0 kW"""
    if abs(power_w) < 50:
        return "battery idle"
    return f"battery {'discharges' if power_w > 0 else 'charges'} at {kw(abs(power_w))}"


def kw(power_w: float) -> str:
    return f"{power_w / 1000:.1f} kW".replace("-", "−")


def span(seconds: float) -> str:
    """90 s, 15 min, 2 h 30 min"""
    seconds = round(seconds)
    if seconds < 120 or (seconds < 600 and seconds % 60):
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours))


def at(utc_s: float) -> str:
    """2026-05-01 14:03:12 UTC"""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
