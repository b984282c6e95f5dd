"""Everything that a viewer of a running site may see at a moment, as one frozen record made from the Service.

Page, REST, metrics, MQTT, Modbus-TCP, `status` and `top` show this and nothing else. It is for looking at: reports
come from the journal. Names carry their unit last; active_power_w > 0 discharges, pcc_import_w > 0 imports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from forerun import __version__
from forerun.carbon import accounting
from forerun.carbon.factors import HOUR_S
from forerun.carbon.intake import REGISTERS, Reading
from forerun.compute.announcements import Step
from forerun.compute.load import Announcement
from forerun.compute.trust import unseen_words
from forerun.dispatch.dispatcher import Plan
from forerun.dispatch.planning import STEP_S, Outlook
from forerun.sections import SiteFile
from forerun.site.alarms import CRITICAL, WARNING, Alarm, remedy_of
from forerun_wire import messages as m

VERSION = 1
STALE_MS = 5_000  # older telemetry says nothing of now
FORECAST_S = 24 * HOUR_S
DISK_LOW_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ComputeLoad:
    """What a compute source said last, at utc_s. It explains the metered load and never stands for it."""

    source: str  # the key of the site file that names it
    name: str
    power_w: int
    utc_s: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the edges know and the Service does not; None or '' where nobody looked."""

    port: str = ""
    port_open: bool = False
    disk_free_bytes: int | None = None
    disk_bytes: int | None = None
    clock_synchronised: bool | None = None
    sealed: bool | None = None
    commission_next: str = ""
    commission_problem: str = ""
    started_utc_s: int | None = None
    compute: tuple[ComputeLoad, ...] = ()
    complaints: tuple[tuple[str, str], ...] = ()  # (part, sentence) of optional parts that do not work


@dataclass(frozen=True, slots=True)
class Live:
    """The last telemetry and how old it is. `fresh` is False when it says nothing of now any more."""

    age_ms: int
    fresh: bool
    state: str
    bound_by: str
    faults: tuple[str, ...]
    setpoint_w: int
    active_power_w: int
    pcc_import_w: int
    pcc_voltage_mv: int
    frequency_millihz: int
    soc_permille: int
    charge_max_w: int
    discharge_max_w: int
    load_w: int
    pv_w: int
    genset_w: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The cumulative registers [Wh] of the last interval record in the journal, and when that ended."""

    utc_s: int
    import_wh: int
    export_wh: int
    charge_wh: int
    discharge_wh: int
    pv_wh: int
    genset_wh: int


@dataclass(frozen=True, slots=True)
class Job:
    """An announced job. readiness: announced, told (to the board), preparing, ready, late, running."""

    job: str
    power_w: int
    start_utc_s: int
    duration_s: int
    confidence: float
    readiness: str
    ready_ahead_s: int | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan in force, one entry a step (step_s long, from step_start_utc_s on); soc at the end of each."""

    step_start_utc_s: tuple[int, ...]
    step_s: tuple[int, ...]
    load_w: tuple[int, ...]
    pv_w: tuple[int, ...]
    battery_w: tuple[int, ...]
    pcc_import_w: tuple[int, ...]
    genset_w: tuple[int, ...]
    curtail_w: tuple[int, ...]
    soc_permille: tuple[int, ...]
    relaxed: tuple[str, ...]
    cost: float
    currency: str


@dataclass(frozen=True, slots=True)
class ForecastView:
    """Interval means of the next 24 h, index = step of step_s from start_utc_s; announced jobs are in the load."""

    start_utc_s: int
    step_s: int
    load_q10_w: tuple[int, ...]
    load_q50_w: tuple[int, ...]
    load_q90_w: tuple[int, ...]
    pv_q10_w: tuple[int, ...]
    pv_q50_w: tuple[int, ...]
    pv_q90_w: tuple[int, ...]
    basis: str


@dataclass(frozen=True, slots=True)
class CarbonHour:
    """One hour: the load by source [Wh], what it emitted and carried [g], location-based."""

    start_utc_s: int
    load_wh: int
    pv_wh: int
    grid_wh: int
    genset_wh: int
    battery_wh: int
    import_wh: int
    export_wh: int
    emitted_g: int
    load_g: int
    quality: str


@dataclass(frozen=True, slots=True)
class CarbonToday:
    """The hours of the local day so far, and its totals. What was stored before midnight counts as the grid's: the
    report, which knows better, is what counts."""

    day: str
    timezone: str
    hours: tuple[CarbonHour, ...]
    load_wh: int
    import_wh: int
    emitted_g: int
    load_g: int
    on_site_permille: int | None


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """The serial line and the board at its other end; None and '' before it was heard."""

    port: str
    port_open: bool
    connected: bool
    heard_age_ms: int | None
    board: str
    board_software: str
    boot_count: int | None
    board_uptime_s: int | None
    cycle_us: int | None
    heap_free_bytes: int | None
    clock_uncertainty_us: int | None
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The journal: what is on disk, what waits for it, and why it takes nothing ('' when it does)."""

    path: str
    entries: int
    bytes: int
    waiting_bytes: int
    problem: str
    missing_records: int
    disk_free_bytes: int | None
    disk_bytes: int | None


@dataclass(frozen=True, slots=True)
class Commissioning:
    """sealed: None when nobody looked; next: the step to be done."""

    sealed: bool | None
    next: str
    problem: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """See the module. `live` is None before the first telemetry, `plan` and `forecast` before the first plan, `totals`
    and `carbon` before the first intervals. battery_limit_w: the larger one of its commissioned power limits."""

    version: int
    utc_s: float
    site: str
    software: str
    started_utc_s: int | None
    import_limit_w: int
    export_limit_w: int
    battery_limit_w: int
    capacity_wh: int
    live: Live | None
    totals: Totals | None
    alarms: tuple[Alarm, ...]
    plan: PlanView | None
    forecast: ForecastView | None
    jobs: tuple[Job, ...]
    compute: tuple[ComputeLoad, ...]
    carbon: CarbonToday | None
    link: LinkHealth
    store: StoreHealth
    commissioning: Commissioning

    def sentence(self) -> str:
        """The site in one line."""
        now = self.live
        if now is None or not now.fresh:
            return "the board is silent" if now else "waiting for the board"
        bound = "" if now.bound_by == "none" else f" bound by {now.bound_by.replace('_', ' ')}"
        kw = {name: getattr(now, name) / 1000 for name in ("pcc_import_w", "active_power_w", "load_w", "pv_w")}
        return (
            f"{now.state}{bound}   import {kw['pcc_import_w']:.2f} kW   battery {kw['active_power_w']:+.2f} kW   "
            f"SoC {now.soc_permille / 10:.1f} %   load {kw['load_w']:.2f} kW   PV {kw['pv_w']:.2f} kW   "
            f"{now.pcc_voltage_mv / 1000:.1f} V"
        )

    def document(self) -> dict:
        """The same as JSON-ready values."""
        return _plain(self)


def _plain(value):
    """As dataclasses.asdict, without copying each number of the long arrays."""
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__slots__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value] if value and is_dataclass(value[0]) else list(value)
    return dict(value) if isinstance(value, dict) else value


class Viewer:
    """Takes snapshots of one Service; what only changes with a plan or an interval is worked out once for each."""

    def __init__(self, service):
        self.service = service
        self._planned: tuple = (None, None, None)
        self._carbon: tuple = (None, None)

    def take(self, now_us: int, around: Surroundings | None = None) -> Snapshot:
        """The snapshot at the Service's own time `now_us`, with what its edges know."""
        service, site, around = self.service, self.service.site, around or Surroundings()
        utc_s = (now_us + service.utc_offset_us) / 1e6
        made = service.planner.made
        if made is not self._planned[0]:
            views = (plan_view(site, made, service.planner.plan), forecast_view(made)) if made else (None, None)
            self._planned = (made, *views)
        day = datetime.fromtimestamp(utc_s, ZoneInfo(site.reporting.timezone)).date()
        key = (service.lookback.readings[-1] if service.lookback.readings else None, day, site.carbon)
        if key != self._carbon[0]:
            self._carbon = (key, carbon_today(site, service.lookback.readings, utc_s))
        live = _live(service, now_us)
        link, store = _link(service, live, around), _store(service, around)
        return Snapshot(
            version=VERSION,
            utc_s=round(utc_s, 3),
            site=site.site.name,
            software=f"forerun {__version__}",
            started_utc_s=around.started_utc_s,
            import_limit_w=site.limits.import_limit_w,
            export_limit_w=site.limits.export_limit_w,
            battery_limit_w=max(site.limits.charge_max_w, site.limits.discharge_max_w),
            capacity_wh=site.battery.capacity_wh,
            live=live,
            totals=_totals(service.lookback.readings),
            alarms=_alarms(service, live, link, store, int(utc_s), around),
            plan=self._planned[1],
            forecast=self._planned[2],
            jobs=_jobs(service, utc_s),
            compute=around.compute,
            carbon=self._carbon[1],
            link=link,
            store=store,
            commissioning=Commissioning(around.sealed, around.commission_next, around.commission_problem),
        )


def plan_view(site: SiteFile, made: Outlook, plan: Plan) -> PlanView:
    """The plan in the units and types of a view."""
    starts = made.start_s + np.concatenate([[0], np.cumsum(plan.step_s)[:-1]])
    return PlanView(
        step_start_utc_s=_whole(starts), step_s=_whole(plan.step_s),
        load_w=_whole(made.situation.load_w), pv_w=_whole(made.situation.pv_w),
        battery_w=_whole(plan.battery_w), pcc_import_w=_whole(plan.pcc_import_w), genset_w=_whole(plan.genset_w),
        curtail_w=_whole(plan.curtail_w), soc_permille=_whole(1000 * plan.soc), relaxed=tuple(plan.relaxed),
        cost=round(plan.cost, 4), currency=site.tariff.currency,
    )  # fmt: skip


def forecast_view(made: Outlook) -> ForecastView:
    """Load and PV of the next 24 h, or of as much as the plan looked at."""
    count = FORECAST_S // STEP_S
    quantiles = {f"{name}_{level}_w": _whole(getattr(forecast, level)[:count])
                 for name, forecast in (("load", made.load), ("pv", made.pv))
                 for level in ("q10", "q50", "q90")}  # fmt: skip
    return ForecastView(start_utc_s=made.start_s, step_s=STEP_S, **quantiles, basis=made.basis)


def carbon_today(site: SiteFile, readings: Sequence[Reading], utc_s: float) -> CarbonToday | None:
    """The ledger of the local day that holds `utc_s`, by hour; None without an interval in it."""
    zone = ZoneInfo(site.reporting.timezone)
    midnight = datetime.fromtimestamp(utc_s, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    since_s = midnight.timestamp()
    today = [reading for reading in readings if since_s <= reading.utc_s <= utc_s]
    if len(today) < 2:
        return None
    books = accounting.ledger(
        today, accounting.factors_of(site), accounting.battery_of(site), limits_w=accounting.limits_of(site)
    )
    total = books.total()
    if total is None:
        return None
    hours = tuple(
        CarbonHour(hour.start_utc_s // HOUR_S * HOUR_S, hour.load_wh, hour.pv_wh, hour.grid_wh, hour.genset_wh,
                   hour.battery_wh, hour.import_wh, hour.export_wh, round(hour.emitted_g), round(hour.load_g),
                   hour.quality)
        for hour in books.hours()
    )  # fmt: skip
    share = None if total.on_site_share is None else round(1000 * total.on_site_share)
    return CarbonToday(str(midnight.date()), site.reporting.timezone, hours, total.load_wh, total.import_wh,
                       round(total.emitted_g), round(total.load_g), share)  # fmt: skip


_SAME_NAME = tuple(
    field.name for field in fields(Live) if field.name not in ("age_ms", "fresh", "state", "bound_by", "faults")
)


def _live(service, now_us: int) -> Live | None:
    now = service.latest
    if not now or service.latest_us is None:
        return None
    age_ms = max(0, now_us - service.latest_us) // 1000
    faults = tuple(name for bit, name in enumerate(m.FAULTS) if now["faults"] >> bit & 1)
    state = _named(m.STATES, now["state"])
    if now["state"] == m.LEASED and now["setpoint_w"] == 0 and service.lookback.maintenance_until_s * 1_000_000 > (
        now_us + service.utc_offset_us
    ):
        state = "maintenance"
    return Live(
        age_ms, age_ms <= STALE_MS, state, _named(m.BOUNDS, now["bound_by"]), faults,
        *(now[name] for name in _SAME_NAME),
    )  # fmt: skip


def _totals(readings: Sequence[Reading]) -> Totals | None:
    if not readings:
        return None
    last = readings[-1]
    return Totals(last.utc_s, *(getattr(last, name) for name in REGISTERS))


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _jobs(service, utc_s: float) -> tuple[Job, ...]:
    ahead = sorted(service.jobs.values(), key=lambda job: job.start_utc_s)
    return tuple(
        Job(job.job, round(job.power_w), round(job.start_utc_s), round(job.duration_s), job.confidence,
            *readiness(job, utc_s, service.preparing.step_of(job.job), service.lookback.preparations))
        for job in ahead if job.start_utc_s + job.duration_s > utc_s
    )  # fmt: skip


def readiness(
    job: Announcement, utc_s: float, told: Step | None, preparations: Iterable[tuple[int, int, int, int]]
) -> tuple[str, int | None]:
    """(readiness, seconds by which the battery was ready ahead, None when it was not).

    told: the step that the board was told of with this job in it. preparations: (utc_s, code, power_w, seconds ahead
    of the step) of the board's events, the latest last. They carry no name, so they are matched by power, and by the
    time at which they expect the step (to a minute).
    """
    state, ahead_s = ("told", None) if told else ("announced", None)
    step = told or job
    for event_s, code, power_w, left_s in preparations:
        if power_w != round(step.power_w) or abs(event_s + left_s - step.start_utc_s) > 60:
            continue
        if code == m.PREPARE_STARTED:
            state, ahead_s = "preparing", None
        elif code == m.PREPARE_READY:
            state, ahead_s = "ready", left_s
        elif code == m.PREPARE_LATE:
            state, ahead_s = "late", None
    return ("running" if utc_s >= job.start_utc_s else state), ahead_s


def _link(service, live: Live | None, around: Surroundings) -> LinkHealth:
    board, latest = service.board or {}, service.latest
    return LinkHealth(
        port=around.port or service.site.link.port,
        port_open=around.port_open,
        connected=bool(service.session.up),
        heard_age_ms=live.age_ms if live else None,
        board=board.get("identity", ""),
        board_software=board.get("software", ""),
        boot_count=board.get("boot_count"),
        board_uptime_s=latest.get("uptime_s"),
        cycle_us=latest.get("cycle_us"),
        heap_free_bytes=latest.get("heap_free"),
        clock_uncertainty_us=service.clock_uncertainty_us,
        counts=service.session.counts(),
    )


def _store(service, around: Surroundings) -> StoreHealth:
    health = service.journal.health()
    return StoreHealth(
        path=str(service.journal.path),
        entries=health.entries,
        bytes=health.bytes,
        waiting_bytes=health.waiting_bytes,
        problem=service.store_problem,
        missing_records=health.missing_records,
        disk_free_bytes=around.disk_free_bytes,
        disk_bytes=around.disk_bytes,
    )


def _alarms(
    service, live: Live | None, link: LinkHealth, store: StoreHealth, utc_s: int, around: Surroundings
) -> tuple[Alarm, ...]:
    """The board's alarms and this host's own, critical ones first."""
    found = list(service.lookback.alarms.standing(utc_s, service.latest["faults"] if live and live.fresh else None))
    if service.refusal.standing:
        found.append(Alarm("board_refused", CRITICAL, *service.refusal.standing))
    elif not link.connected or (live is not None and not live.fresh):
        cause = "the board is silent; it carries its plan on and keeps its records"
        found.append(Alarm("board_silent", CRITICAL, cause, f"check its power, the cable and link.port ({link.port}): "
                           "`forerun doctor`"))  # fmt: skip
    if store.problem:
        remedy = "free space or mend the disk: the board keeps its records till then, and nothing is lost"
        found.append(Alarm("journal_blocked", CRITICAL, store.problem, remedy))
    elif store.disk_free_bytes is not None and store.disk_free_bytes < DISK_LOW_BYTES:
        cause = f"the disk of the journal has {store.disk_free_bytes >> 20} MiB left"
        found.append(Alarm("disk_low", WARNING, cause, "free space before the journal can take no more"))
    if store.missing_records:
        cause = f"{store.missing_records} records of the board never came"
        found.append(Alarm("records_missing", WARNING, cause, "the report names the gap; `forerun doctor` says where"))
    if around.clock_synchronised is False:
        found.append(Alarm("clock_unsynchronised", WARNING, "this host's clock is not synchronised: hours of the "
                           "report may be wrong", "`timedatectl set-ntp true`, or start chrony"))  # fmt: skip
    for sentence in service.planner.plan.relaxed if service.planner.plan else ():
        found.append(Alarm("plan_relaxed", WARNING, f"the plan does not keep: {sentence}", "`forerun plan explain`"))
    for source, since_s in service.planner.trust.doubted.items():
        found.append(Alarm("jobs_unseen", WARNING, unseen_words(source), "look whether its queue is an old one, or its "
                           "jobs are held; take back what will not run", int(since_s)))  # fmt: skip
    for part, sentence in around.complaints:
        found.append(Alarm("integration_failed", WARNING, f"{sentence}; the site runs on without it", remedy_of(part)))
    return tuple(sorted(found, key=lambda alarm: alarm.severity))


def _whole(values) -> tuple[int, ...]:
    return tuple(round(value) for value in values.tolist())
