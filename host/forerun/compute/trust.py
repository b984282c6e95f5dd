"""Whether announced jobs come: at each start the meter is looked at, and a source whose jobs do not come is believed
less until one of them does (docs/announcements.md)."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from forerun.compute.announcements import TOGETHER_S
from forerun.compute.load import Announcement

MISSES = 3  # steps in a row that did not come, from which on a source is doubted
DOUBTED = 0.3  # confidence that is left to its jobs: they widen the reserve, no more
EARLY_S = LATE_S = 300.0  # a step that shows up so early or so late has come
SEEN = 0.25  # of a step's power, as for the forecast: a job that draws less has not come
_BEFORE_S = 60.0  # what the load was before a step is known from so much
UNSEEN, BACK = "unseen", "back"  # in a journal: a source is doubted, and no more
_NAME = "jobs of "
_PREFIXES = {"slurm-": "slurm", "k8s-": "kubernetes"}


def source_of(name: str) -> str:
    """Who announced a job of that name: "slurm", "kubernetes", or "api" for whoever holds a token."""
    return next((source for prefix, source in _PREFIXES.items() if name.startswith(prefix)), "api")


def unseen_words(source: str) -> str:
    """What to tell a person of a source that is doubted."""
    return (f"the last {MISSES} jobs that {source} announced did not come, as the meter has it: nothing is prepared or "
            "stored for its jobs until one comes")  # fmt: skip


@dataclass
class _Look:
    """A step that has begun, in W: the lowest and highest load shortly before it, the lowest since EARLY_S before it,
    and what the load should rise by."""

    start_s: float
    before_w: tuple[float, float]
    least_w: float
    until_s: float
    power_w: float = 0.0
    names: set[str] = field(default_factory=set)


class Trust:
    """How far the sources of announced jobs are believed. Times are UTC seconds, powers W.

    A step counts as missed when, LATE_S after its start or at its end, the load has at no moment risen by SEEN of it
    above what it was since EARLY_S before.
    One that is put off, or taken back before it could show, that may have followed another without a step of the load,
    or that is too small to be told from the load's own changes, counts for nothing. After MISSES missed steps in a row
    a source is doubted; the first step that is seen ends that.
    """

    def __init__(self) -> None:
        self.doubted: dict[str, float] = {}  # source: since when
        self._missed: dict[str, int] = {}
        self._recent: deque[tuple[float, float]] = deque()
        self._looks: list[_Look] = []
        self._ahead: set[str] = set()  # a job that runs when it is announced, or announced anew, does not begin
        self._ends: dict[str, float] = {}  # of those that came: when they are over

    def believed(self, job: Announcement) -> Announcement:
        """The job with the confidence that its source deserves."""
        if job.confidence <= DOUBTED or source_of(job.job) not in self.doubted:
            return job
        return replace(job, confidence=DOUBTED)

    def recall(self, name: str, trouble: str, utc_s: float) -> None:
        """Take what a journal has of a source of load, as `look` gave it; what is of another is passed over."""
        if name.startswith(_NAME):
            source = name.removeprefix(_NAME)
            self.doubted.pop(source, None)
            self._missed[source] = 0
            if trouble == UNSEEN:
                self.doubted[source], self._missed[source] = utc_s, MISSES

    def look(self, now_s: float, load_w: float, jobs: Iterable[Announcement]) -> list[tuple[str, str, str]]:
        """Take the load as it is now, and the jobs ahead or running. (name, trouble, sentence) of each source that is
        doubted from now on, or no more, as a journal has troubles of the sources of load."""
        jobs = {job.job: job for job in jobs}
        if self._recent and not 0 <= now_s - self._recent[-1][0] <= _BEFORE_S:
            self._recent.clear()  # nobody looked for a while, or the clock was set: what began meanwhile is not judged
            self._looks.clear()
        if self._recent:
            begun = [jobs[name] for name in self._ahead & jobs.keys() if jobs[name].start_utc_s <= now_s]
            for job in sorted(begun, key=lambda job: job.start_utc_s):
                self._begin(job)
        self._ahead = {name for name, job in jobs.items() if job.start_utc_s > now_s}
        for name, end_s in list(self._ends.items()):
            if name not in jobs:
                self._ends[name] = min(end_s, now_s)
            if end_s < now_s - _BEFORE_S - LATE_S:
                del self._ends[name]
        changed = [source for look in self._looks[:] for source in self._judge(look, now_s, load_w, jobs)]
        self._recent.append((now_s, load_w))
        while self._recent[0][0] < now_s - EARLY_S:
            self._recent.popleft()
        return [(_NAME + source, UNSEEN, unseen_words(source)) if source in self.doubted else
                (_NAME + source, BACK, f"a job that {source} announced has come: its jobs are believed again")
                for source in changed]  # fmt: skip

    def _begin(self, job: Announcement) -> None:
        look = self._looks[-1] if self._looks else None
        if look is None or job.start_utc_s > look.start_s + TOGETHER_S:
            at_last_s = self._recent[-1][0]
            loads = [load_w for at_s, load_w in self._recent if at_s >= at_last_s - _BEFORE_S]
            least_w = min(load_w for _, load_w in self._recent)
            look = _Look(job.start_utc_s, (min(loads), max(loads)), least_w, job.start_utc_s)
            self._looks.append(look)
        look.power_w += job.power_w
        look.names.add(job.job)
        look.until_s = max(look.until_s, min(job.start_utc_s + LATE_S, job.start_utc_s + job.duration_s))

    def _judge(self, look: _Look, now_s: float, load_w: float, jobs: dict[str, Announcement]) -> list[str]:
        """The sources whose standing this step has changed."""
        sources, tells_w = sorted({source_of(name) for name in look.names}), SEEN * look.power_w
        look.least_w = min(look.least_w, load_w)
        low_w, high_w = look.before_w
        can_tell = tells_w > high_w - low_w
        if load_w - look.least_w >= tells_w:
            self._looks.remove(look)
            self._came(look, jobs)
            if not can_tell:
                return []
            self._missed.update(dict.fromkeys(sources, 0))
            return [source for source in sources if self.doubted.pop(source, None) is not None]
        left = look.names & jobs.keys()
        waits = left <= self._ahead  # what is left of it: a scheduler's estimate moves
        if now_s < look.until_s and not waits:
            return []
        self._looks.remove(look)
        if (waits and (left or now_s < look.start_s + TOGETHER_S)) or not can_tell:
            return []
        followed = any(look.start_s - _BEFORE_S <= end_s <= now_s for end_s in self._ends.values())
        if followed and high_w - look.least_w < tells_w:  # as one ended the load did not fall: this one may have come
            self._came(look, jobs)
            return []
        for source in sources:
            self._missed[source] = self._missed.get(source, 0) + 1
        changed = [source for source in sources if self._missed[source] >= MISSES and source not in self.doubted]
        self.doubted.update(dict.fromkeys(changed, now_s))
        return changed

    def _came(self, look: _Look, jobs: dict[str, Announcement]) -> None:
        for name in look.names & jobs.keys():
            self._ends[name] = jobs[name].start_utc_s + jobs[name].duration_s
