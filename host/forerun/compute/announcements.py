"""The compute–energy interface: what is taken of a job that a scheduler announces (docs/announcements.md), and which
load step a board is told to prepare for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from forerun.compute.load import Announcement, AnnouncementError
from forerun.sections import SiteFile

LONGEST_AHEAD_S = 14 * 86_400
LONGEST_S = 366 * 86_400
MOST_JOBS = 1000  # ahead or running at once; every plan looks at each of them

PREPARE_AHEAD_S = 3600  # a step is prepared for when so much time is left
PREPARED_FROM = 0.5  # confidence; what is less likely is not planned for either
TOGETHER_S = 60.0  # a board waits so long for a step that is late: what starts within it is one step
_LONGEST_STEP_S = 86_400  # a board takes no longer one, and none of more power
_MOST_STEP_W = 1_000_000


def taken(job: Announcement, now_s: float, most_w: float, others: Collection[str] = ()) -> Announcement:
    """The job as it is planned for: one whose start has passed is shortened to what is left. `others`: names of the
    jobs that are announced already. Raises AnnouncementError for a job that is over, starts more than two weeks ahead,
    lasts for more than a year, draws more than the site can, or is one too many."""
    end_s = job.start_utc_s + job.duration_s
    if end_s <= now_s:
        raise AnnouncementError(f"announced job {job.job!r}: it was over {now_s - end_s:.0f} s ago")
    if job.start_utc_s > now_s + LONGEST_AHEAD_S:
        raise AnnouncementError(f"announced job {job.job!r}: it starts more than 14 days ahead; is start_utc_s in s?")
    if job.duration_s > LONGEST_S:
        raise AnnouncementError(f"announced job {job.job!r}: it lasts more than 366 days; is duration_s in s?")
    if job.power_w > most_w:
        raise AnnouncementError(
            f"announced job {job.job!r}: {job.power_w:.8g} W is more than the site's {most_w:.0f} W"
        )
    if len(others) >= MOST_JOBS and job.job not in others:
        raise AnnouncementError(f"announced job {job.job!r}: {len(others)} jobs are announced already, which is all "
                                "that is taken; announce those that start next, or several as one")  # fmt: skip
    if job.start_utc_s < now_s:
        return Announcement(job.job, job.power_w, now_s, end_s - now_s, job.confidence)
    return job


def most_w(site: SiteFile) -> float:
    """No job draws more than grid, battery and set could give together."""
    return float(site.limits.import_limit_w + site.limits.discharge_max_w + site.genset.rated_w)


@dataclass(frozen=True, slots=True)
class Step:
    """power_w more from start_utc_s on for duration_s, when the jobs `names` start, the last one at last_utc_s."""

    names: frozenset[str]
    power_w: int
    start_utc_s: float
    last_utc_s: float
    duration_s: float


class Preparing:
    """Which step the board was told to prepare for (`step`). It prepares for one at a time, so that is the next one:
    jobs that start within TOGETHER_S of each other count as one, and a step that has begun makes room for the one
    after it once it has had its time to show."""

    def __init__(self) -> None:
        self.step: Step | None = None
        self._begun_s: float | None = None  # the board was told of what began until then; None: of nothing yet
        self._running: frozenset[str] = frozenset()  # at the last look: announced anew, they begin no second time

    def step_of(self, name: str) -> Step | None:
        """The step that the board was told of with this job in it."""
        return self.step if self.step and name in self.step.names else None

    def forget(self) -> None:
        """The board knows of none: it is another, or began anew."""
        self.step, self._begun_s, self._running = None, None, frozenset()

    def clock_stepped(self, by_s: float) -> None:
        """The host's clock was set: the board counts on, so that what it was told of comes so much later by it."""
        if self.step is not None:
            self.step = replace(self.step, start_utc_s=self.step.start_utc_s + by_s,
                                last_utc_s=self.step.last_utc_s + by_s)  # fmt: skip
        if self._begun_s is not None:
            self._begun_s += by_s

    def due(self, jobs: Iterable[Announcement], now_s: float) -> tuple[int, int, int] | None:
        """(power_w, start_in_s, duration_s) that the board has to be told now; None when it knows. 0 W: what it was
        told of does not come."""
        jobs = [job for job in jobs if job.confidence >= PREPARED_FROM and job.power_w >= 1
                and job.start_utc_s - PREPARE_AHEAD_S <= now_s < job.start_utc_s + job.duration_s]  # fmt: skip
        wanted = self._wanted(jobs, now_s)
        self._running = frozenset(job.job for job in jobs if job.start_utc_s <= now_s)
        before, self.step = self.step, wanted
        if wanted == before:
            return None
        if wanted is None:
            return (0, 0, 1) if now_s < before.start_utc_s + before.duration_s else None
        end_s = wanted.start_utc_s + wanted.duration_s
        return (wanted.power_w, max(0, round(wanted.start_utc_s - now_s)),
                max(1, round(min(_LONGEST_STEP_S, end_s - max(now_s, wanted.start_utc_s)))))  # fmt: skip

    def _wanted(self, jobs: list[Announcement], now_s: float) -> Step | None:
        told = self.step
        # One that runs and is announced anew starts now by its announcement, but steps no more.
        steps = [job for job in jobs if job.start_utc_s > now_s or job.job not in self._running]
        if told and told.start_utc_s <= now_s:
            # A job of this step that is still to start did not come with it: it was put off, or the clock was wrong.
            others = [job for job in steps if job.job not in told.names or job.start_utc_s > now_s]
            came = any(job.job in told.names and job.start_utc_s <= now_s for job in jobs)
            next_s = min((job.start_utc_s for job in others if job.start_utc_s > told.last_utc_s), default=None)
            waits_s = TOGETHER_S if next_s is None else min(TOGETHER_S, (next_s - told.last_utc_s) / 4)
            self._begun_s = told.last_utc_s
            if came and (next_s is None or now_s < told.last_utc_s + waits_s):
                return told
        since_s = now_s - TOGETHER_S if self._begun_s is None else self._begun_s
        found = _first([job for job in steps if job.start_utc_s > since_s])
        # After a new connection jobs may run that the board was never told of: they come after what is still to start.
        return found or (_first(jobs) if told is None and self._begun_s is None else None)


def _first(jobs: list[Announcement]) -> Step | None:
    """The earliest step of these jobs."""
    if not jobs:
        return None
    start_s = min(job.start_utc_s for job in jobs)
    jobs = [job for job in jobs if job.start_utc_s <= start_s + TOGETHER_S]
    return Step(frozenset(job.job for job in jobs), min(_MOST_STEP_W, round(sum(job.power_w for job in jobs))), start_s,
                max(job.start_utc_s for job in jobs),
                max(job.start_utc_s + job.duration_s for job in jobs) - start_s)  # fmt: skip
