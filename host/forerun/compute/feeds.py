"""The compute sources of a running site, as its [compute] section names them, asked by one thread of their own.

Power and utilisation explain the meter and never replace it; jobs of a scheduler are announced and taken back.
"""

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from io import StringIO
from itertools import islice
from pathlib import Path

from forerun.compute.announcements import most_w, taken
from forerun.compute.load import Announcement, AnnouncementError, trace_of_csv, trace_of_parquet
from forerun.compute.schedulers import UNNAMED, jobs_of_kubernetes, jobs_of_slurm
from forerun.compute.sources import (
    UNFORESEEN,
    NodePower,
    Prometheus,
    Reading,
    Redfish,
    Replay,
    SourceError,
    Watched,
    apart,
    asked,
    brief,
    document,
    off,
)
from forerun.compute.weather import clearness_of
from forerun.errors import WrongUsage
from forerun.sections import NONE, SiteFile
from forerun.site.service import Service

SLURM, KUBERNETES = "slurm-", "k8s-"  # how the names of their jobs begin
WEATHER_EVERY_S, WEATHER_AGAIN_S = 3600.0, 300.0  # services ask not to be asked more often than they renew
WEATHER_STALE_S = 12 * 3600.0
_NAMED_AT_ONCE = 3  # refused jobs that one sentence names; the rest are counted
_MOVED_S = 60.0  # a scheduler's expected start wanders; less than this is not announced anew


class Feeds:
    """Sources of one site; use as a context manager. `ask(action)` has action(service, now_us) called by the loop that
    owns the service; `metered_w()` is the site's own load now, None while the meter says nothing; `complain(name,
    sentence)` gets what is wrong with a source, '' when it is right again. Raises Trouble for a trace that is none.

    `latest`: the last Reading that is believed, by source. `nodes`: the power model learnt from meter and utilisation.
    """

    def __init__(self, site: SiteFile, ask: Callable[[Callable[[Service, int], object]], Future],
                 metered_w: Callable[[], float | None], complain: Callable[[str, str], None],
                 clock: Callable[[], float] = time.time):  # fmt: skip
        compute = site.compute
        self.latest: dict[str, Reading] = {}
        self.nodes = NodePower(compute.idle_w, compute.full_w)
        self._site, self._ask, self._metered_w, self._complain, self._clock = site, ask, metered_w, complain, clock
        self._power: dict[str, Watched] = {}
        self._most_w = most_w(site)
        for name, source in _power_sources(compute, clock).items():
            # Said by the key of the site file that names the source: that is where to mend it.
            self._power[name] = Watched(source, self._most_w, lambda trouble, words, name=name: self._said(
                name, trouble, words))  # fmt: skip
        self._use = None if compute.utilisation_query == NONE else Prometheus(
            compute.prometheus_url, compute.utilisation_query)  # fmt: skip
        self._schedulers = [(name, where, prefix, read) for name, where, prefix, read in (
            ("slurm", compute.slurm, SLURM, jobs_of_slurm),
            ("kubernetes", compute.kubernetes, KUBERNETES, jobs_of_kubernetes)) if where != NONE]  # fmt: skip
        self._weather_due_s = 0.0
        self._trouble: dict[str, str] = {}
        self._announced: dict[str, dict[str, Announcement]] = {}  # as they were listed then
        self._odd: dict[str, dict[str, str]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compute sources", daemon=True)

    def readings(self) -> list[tuple[str, str, Reading]]:
        """(key in the site file, what to call it, the last Reading that is believed) of each source."""
        nodes = f"nodes by utilisation ({self.nodes.idle_w / 1000:.1f} kW idle, {self.nodes.full_w / 1000:.1f} full)"
        names = {"power_query": "Prometheus", "redfish_url": "Redfish", "utilisation": nodes}
        return [(key, names.get(key, key), reading) for key, reading in sorted(self.latest.copy().items())]

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> "Feeds":
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stopped.set()
        self._thread.join(timeout=1.0)  # an answer that is still awaited is waited for no longer

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.once()
            self._stopped.wait(self._site.compute.every_s)

    def once(self) -> None:
        """Ask every source once."""
        metered_w, now_s = self._metered_w(), self._clock()
        for name, watched in self._power.items():
            reading = watched.take(now_s, metered_w or 0.0)
            if reading is None:
                self.latest.pop(name, None)
            else:
                self.latest[name] = reading
        if self._use is not None:
            self._learn(metered_w, now_s)
        for name, where, prefix, read in self._schedulers:
            self._take_jobs(name, where, prefix, read)
        if self._site.pv.weather != NONE and now_s >= self._weather_due_s:
            self._weather_due_s = now_s + (WEATHER_EVERY_S if self._take_weather(now_s) else WEATHER_AGAIN_S)

    def _take_weather(self, now_s: float) -> bool:
        """True when a weather forecast came that can be; without one, PV is forecast from its own past."""
        where, place = self._site.pv.weather, (self._site.site.latitude, self._site.site.longitude)
        found, trouble = {}, "stopped"
        try:
            answer = document("weather", where, now_s, WEATHER_STALE_S)
            trouble = "absurd"
            found = clearness_of("weather", answer, place, now_s)
            trouble = ""
        except SourceError as problem:
            self._tell("weather", trouble, str(problem))
        except UNFORESEEN as problem:
            words = f"weather: {apart(where)[0]} is not what its service publishes ({problem!r})"
            self._tell("weather", trouble, words)
        if not trouble:
            self._tell("weather", "", "")
        self._ask(lambda service, now_us: service.planner.sky.take(found, now_s) if found
                  else service.planner.sky.drop_ahead(now_s))  # fmt: skip
        return bool(found)

    def _learn(self, metered_w: float | None, now_s: float) -> None:
        """Meter against utilisation; what the nodes should draw is known from utilisation alone thereafter."""
        try:
            use = asked(self._use)
        except SourceError as problem:
            self.latest.pop("utilisation", None)
            self._tell("utilisation_query", "stopped", str(problem))
            return
        if abs(now_s - use.utc_s) > Watched.STALE_S:
            self.latest.pop("utilisation", None)
            self._tell("utilisation_query", "stopped", f"{self._use.name}: {off(use, now_s)}")
            return
        if not 0 <= use.power_w <= 1:
            self.latest.pop("utilisation", None)
            self._tell("utilisation_query", "unit", f"{self._use.name}: a utilisation of {use.power_w:g}; it must be "
                       "from 0 to 1, so divide percent by 100")  # fmt: skip
            return
        self._tell("utilisation_query", "", "")
        if metered_w is not None:
            self.nodes.learn(use.power_w, metered_w)
        self.latest["utilisation"] = Reading(use.utc_s, self.nodes.power_w(use.power_w))

    def _take_jobs(self, name: str, where: str, prefix: str, read: Callable) -> None:
        """Announce what is new, announce anew what moved, take back what is gone. A list that cannot be read, or is
        of ten minutes ago, changes nothing: the jobs stay as they were announced. So does a job that is listed and
        cannot be read; and while an entry has not even a name, it may be any of those that are missing."""
        now_s = self._clock()
        try:
            found, odd = read(document(name, where, now_s), now_s)
        except (SourceError, AnnouncementError) as problem:
            self._tell(name, "stopped", str(problem))
            return
        except UNFORESEEN as problem:
            self._tell(name, "stopped", f"{name}: {apart(where)[0]} is not what its scheduler publishes ({problem!r})")
            return
        self._tell(name, "", "")
        jobs = {job.job: job for job in sorted(found, key=lambda job: job.start_utc_s)}  # the next ones matter most
        odd = {key: words for key, words in odd.items() if key not in jobs}
        before, fresh = self._announced.get(name, {}), []
        unsure = any(key.startswith(UNNAMED) for key in odd)
        # What was refused may be possible by now: it is asked again each time, and told of once.
        announced = {key: job for key, job in before.items() if key in odd or key in jobs or unsure}
        for key, job in jobs.items():
            if key not in before or _moved(before[key], job):
                try:
                    fresh.append(taken(job, now_s, self._most_w, announced))
                    announced[key] = job
                except AnnouncementError as problem:
                    odd[key] = brief(str(problem))
        self._announced[name] = announced
        self._refuse(name, odd)

        def put(service: Service, now_us: int) -> None:
            if self._stopped.is_set():  # others may be in charge of these jobs by now
                return
            gone = [job for key, job in service.jobs.items()
                    if key.startswith(prefix) and not unsure and key not in jobs and key not in odd]  # fmt: skip
            service.change_jobs(fresh, gone, now_us)

        self._ask(put)

    def _refuse(self, name: str, odd: dict[str, str]) -> None:
        """Told when a job is refused that was not before, with the words of that time: "over 35 s ago" is no news half
        a minute later."""
        before = self._odd.get(name, {})
        self._odd[name] = odd = {key: before.get(key, words) for key, words in odd.items()}
        if odd.keys() == before.keys() or self._stopped.is_set():
            return
        self._complain(f"compute.{name}, refused", _some(odd.values()))
        news = [words for key, words in odd.items() if key not in before]
        if news:
            self._ask(lambda service, now_us: service.note_source(name, "refused", _some(news), now_us))

    def _tell(self, name: str, trouble: str, words: str) -> None:
        if self._trouble.get(name, "") != trouble:
            self._trouble[name] = trouble
            self._said(name, trouble or "back", words)

    def _said(self, name: str, trouble: str, words: str) -> None:
        """Trouble that begins or ends: in the journal, and told."""
        if self._stopped.is_set():
            return
        over, words = trouble == "back", brief(words)
        self._complain(f"compute.{name}", "" if over else f"compute.{name}: {words}")
        self._ask(lambda service, now_us: service.note_source(name, trouble, words, now_us))


def _power_sources(compute, clock: Callable[[], float]) -> dict:
    found = {}
    if compute.power_query != NONE:
        found["power_query"] = Prometheus(compute.prometheus_url, compute.power_query)
    if compute.redfish_url != NONE:
        secret = None
        if compute.redfish_authorisation_file != NONE:
            try:
                secret = Path(compute.redfish_authorisation_file).read_text().strip()
            except OSError as problem:
                raise WrongUsage(f"compute.redfish_authorisation_file: {problem}") from problem
        found["redfish_url"] = Redfish(compute.redfish_url, clock, secret)
    if compute.replay != NONE:
        path = Path(compute.replay)
        try:
            trace = trace_of_parquet(path) if path.suffix == ".parquet" else trace_of_csv(
                str(path), StringIO(path.read_text(encoding="utf-8")))  # fmt: skip
        except UnicodeDecodeError as problem:
            raise WrongUsage(f"compute.replay: {path} is not UTF-8 text ({problem})") from problem
        except (OSError, ValueError) as problem:
            raise WrongUsage(f"compute.replay: {problem}") from problem
        found["replay"] = Replay(path.name, trace, clock)
    return found


def _some(sentences: Collection[str]) -> str:
    more = len(sentences) - _NAMED_AT_ONCE
    return "; ".join([*islice(sentences, _NAMED_AT_ONCE), *([f"and {more} more"] if more > 0 else [])])


def _moved(before, job) -> bool:
    return (abs(job.start_utc_s - before.start_utc_s) > _MOVED_S or job.power_w != before.power_w
            or job.duration_s != before.duration_s or job.confidence != before.confidence)  # fmt: skip
