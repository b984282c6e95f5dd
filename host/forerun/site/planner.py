"""The plan of a running site: what it is made from, what it may count on, and the points that the board is given."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np

from forerun.compute.load import Announcement
from forerun.compute.trust import Trust
from forerun.compute.weather import Sky
from forerun.dispatch.dispatcher import Dispatcher, Plan, board_points, ruled_storage, rules_set, storage_of
from forerun.dispatch.planning import Known, Outlook, outlook
from forerun.dispatch.reserve import LEAD_S
from forerun.dispatch.situation import temperature_shares
from forerun.forecast.jobs import JobLog, JobModel
from forerun.forecast.model import can_fit
from forerun.sections import SiteFile
from forerun.site.history import FORECAST_STEP_S, History, month_left_s
from forerun_wire import messages

REFIT_S = 6 * 3600  # the load model is fitted anew so often
MISSED_PERMILLE = 100
CRANK_S = 20  # of the board's own table: how long an engine is cranked at most
UNKNOWN_C = 20.0  # the plan takes so much for cells that nobody measures; the board and the BMS guard them all the same
_EXERCISE = 5  # reason with which a board's diesel set runs to stay fit, for no load
_SHARE = 0.1  # of the battery's power: a temperature that takes or gives so much makes another plan


class Planner:
    """The plan in force (`plan`, from `start_s` on) and what it was made from (`made`); None before the first.

    Times are UTC seconds. The diesel set is planned with where the board was commissioned to rule one, under the
    board's own limits, and not while it is locked out: the board's events (`note`) say so.
    """

    def __init__(self, site: SiteFile, history: History | None = None):
        self.history = copy.deepcopy(history) if history else History()  # it grows here
        self.job_log = JobLog()  # what the forecast takes out of the past
        self.trust = Trust()
        self.sky = Sky()
        self.plan: Plan | None = None
        self.made: Outlook | None = None
        self.start_s = 0
        self.cell_c: float | None = None
        self.set_since_s: int | None = None  # the set turns since then
        self.locked_out = False
        self.configure(site)

    def configure(self, site: SiteFile) -> None:
        """Plan for this site file from now on."""
        self.site, self._zone = site, ZoneInfo(site.reporting.timezone)
        self._model: JobModel | None = None
        self._refit_at_s = 0
        self._dispatchers: dict[bool, Dispatcher] = {}

    def clock_stepped(self) -> None:
        """What was dated before is dated otherwise now: the load model is fitted anew."""
        self._refit_at_s = 0

    @property
    def counts_on_set(self) -> bool:
        """Whether a plan may run the diesel set now."""
        return rules_set(self.site) and not self.locked_out

    def learn(self, utc_s: int, kind: int, body: list) -> bool:
        """Take a record of the board; True when it asks for a new plan."""
        if kind == messages.INTERVAL:
            self.history.learn(utc_s, messages.fields_named(messages.INTERVAL_FIELDS, body), self._zone)
        elif kind == messages.BOOT:
            self.note(utc_s, None)
        elif kind == messages.EVENT:
            return self.note(utc_s, *body[:2])
        return False

    def note(self, utc_s: int, code: int | None, value: int = 0) -> bool:
        """Take an event of the board with its value, None for its boot; True when a plan may count on the set that
        could not, or can no longer."""
        before = self.counts_on_set
        if code == messages.GENSET_STARTED:
            # A plan carries on with a set that runs; an exercise run is not there to be carried on with.
            self.set_since_s, self.locked_out = None if value == _EXERCISE else utc_s, False
        elif code in (messages.GENSET_STOPPED, None):
            self.set_since_s, self.locked_out = None, False
        elif code in (messages.GENSET_START_FAILED, messages.GENSET_LOCKED_OUT):
            self.set_since_s, self.locked_out = None, code == messages.GENSET_LOCKED_OUT
        return self.counts_on_set != before

    def feel(self, cell_c: float | None) -> bool:
        """Take the temperature of the battery's cells, None where it is unknown; True when that asks for a new plan."""
        before, now = (temperature_shares(UNKNOWN_C if cell is None else cell) for cell in (self.cell_c, cell_c))
        self.cell_c = cell_c
        return any(abs(one - other) > _SHARE for one, other in zip(before, now, strict=True))

    def outlook(self, now_s: int, soc: float, load_now_w: float, jobs: Iterable[Announcement]) -> Outlook:
        """What is known now, on plan steps from the running one on."""
        start_s = now_s // FORECAST_STEP_S * FORECAST_STEP_S
        load_w, pv_w = self.history.until(start_s)
        first_s = start_s - FORECAST_STEP_S * len(load_w)
        self.job_log.forget(first_s)  # each time: a scheduler may correct a job every minute
        if start_s >= self._refit_at_s and can_fit(load_w, FORECAST_STEP_S):
            count = self.site.plan.horizon_h * 3600 // FORECAST_STEP_S
            self._model = JobModel(load_w, FORECAST_STEP_S, count, first_s, self.job_log.told)
            self._refit_at_s = start_s + REFIT_S
        known = Known(
            start_s, load_w, pv_w, soc, load_now_w, self.history.peak_import_w(now_s, self._zone),
            genset_run_s=0.0 if self.set_since_s is None else max(1.0, float(now_s - self.set_since_s)),
            battery_temperature_c=UNKNOWN_C if self.cell_c is None else self.cell_c,
            month_left_s=month_left_s(now_s, self._zone),
        )  # fmt: skip
        # The running step began a moment ago; what was announced since then is known all the same.
        told = [replace(item, announced_utc_s=min(item.announced_utc_s, start_s)) for item in self.job_log.told]
        believed = self.trust.believed  # what has begun is judged by the meter alone
        told = [item if item.job.start_utc_s <= now_s else replace(item, job=believed(item.job)) for item in told]
        jobs = [job for job in jobs if believed(job) is job]  # no energy is stored for the others
        return outlook(self.site, known, jobs, self._model, told, self.sky)

    def make(self, now_s: int, soc: float, load_now_w: float, jobs: Iterable[Announcement]) -> None:
        """Put a new plan in force. Raises DispatchInputError or ForecastError, and then the one before stays."""
        made = self.outlook(now_s, soc, load_now_w, jobs)
        with_set = self.counts_on_set
        if with_set not in self._dispatchers:
            self._dispatchers[with_set] = Dispatcher(ruled_storage(self.site, with_set))
        plan = self._dispatchers[with_set].plan(made.situation)
        self.plan, self.made, self.start_s = plan, made, made.start_s

    def missed(self, now_s: int, soc_permille: int) -> int | None:
        """Permille of charge that the plan in force has for now, when the battery is far from it; else None."""
        if self.plan is None:
            return None
        ends_s = self.start_s + np.cumsum(self.plan.step_s)
        step = int(np.searchsorted(ends_s, now_s, side="right")) - 1
        if not 0 <= step < len(ends_s):
            return None
        planned = round(1000 * self.plan.soc[step])
        return planned if abs(planned - soc_permille) >= MISSED_PERMILLE else None

    def points(self, after_s: int = 0) -> list[tuple[int, int, int]]:
        """(duration_s, mode, value_w) of the plan in force for the board, without its first `after_s` seconds."""
        # Warm before the lead that everything else has too: an engine that fails at first has its other tries left.
        lead_s = LEAD_S + CRANK_S + self.site.functions.genset_warm_up_s
        points = board_points(self.plan, lead_s, storage_of(self.site).import_limit_w)
        while after_s and points and points[0][0] <= after_s:
            after_s -= points[0][0]
            points = points[1:]
        if after_s and points:
            points = [(points[0][0] - after_s, *points[0][1:]), *points[1:]]
        return points
