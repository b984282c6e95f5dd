"""Announced jobs in a load forecast: taken out of the past, put onto the future, and learnt from.

The load without jobs is what a LoadModel sees; jobs that are known are added as they are known to turn out, and for
those that nobody has announced yet stands what was unannounced at the same lead and time of day before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from forerun.compute.load import Announcement
from forerun.forecast.model import DAY_S, Forecast, LoadModel, can_fit, forecast_load, nearest, quantiles

PARTS = 4  # parts of a job's time for which is learnt what share of the announced power it draws
_DOUBT = 4.0  # how many times the ordinary change of the load from step to step the evidence has to outweigh
_ROUNDS = 6
_SHARE_MOST = 3.0  # an announcement that is wrong by more is not corrected but wrong
_LEAST_JOBS = 5
_LOOK_S, _LOOK_LEAST_S = 1800, 900  # before and after its start the meter is looked at for a job
_UNSEEN = 0.25  # a job that draws less than that of what it ought to has not come, if the load is steady enough to tell
_TELLING = 2.0  # times the change from one look to the next that the load itself seldom exceeds
_UNSEEN_CONFIDENCE = 0.3  # of a job that has not come at its time: it widens the band only
_BESIDE_S = 1800  # jobs of so much earlier or later in the day count as of the same time
_MUCH_MORE = 1.5
_EVERY_S = 900  # what is unannounced is looked up so often


@dataclass(frozen=True, slots=True)
class Told:
    """A job, when it was announced, and when it was taken back, replaced or said to have ended (inf: never).

    known: (until_utc_s, announced_utc_s) of parts of its time, from its start on, of which an earlier announcement of
    the same name had told already; the rest is known since its own.
    """

    announced_utc_s: float
    job: Announcement
    ended_utc_s: float = np.inf
    known: tuple[tuple[float, float], ...] = ()

    @property
    def end_utc_s(self) -> float:
        """When it was over; at or before its start: it never came."""
        return min(self.job.start_utc_s + self.job.duration_s, self.ended_utc_s)


class JobLog:
    """What was announced, oldest first, as a journal tells it. The same name again replaces the job from then on; what
    of its time was known before stays known, however often a scheduler says or corrects it."""

    def __init__(self):
        self.told: list[Told] = []
        self._latest: dict[str, int] = {}

    def announce(self, at_utc_s: float, job: Announcement) -> None:
        """The job is known from at_utc_s on."""
        if job.start_utc_s < at_utc_s:
            left_s = max(0.0, job.start_utc_s + job.duration_s - at_utc_s)
            job = replace(job, start_utc_s=at_utc_s, duration_s=left_s)
        before = self.told[self._latest[job.job]] if job.job in self._latest else None
        if before is not None and job.repeats(before.job, at_utc_s):
            return
        self.cancel(at_utc_s, job.job)
        self._latest[job.job] = len(self.told)
        self.told.append(Told(at_utc_s, job, known=_known_before(before, job, at_utc_s) if before else ()))

    def cancel(self, at_utc_s: float, name: str) -> None:
        """The job of that name will not come, or ends now; a name that nobody announced changes nothing."""
        index = self._latest.pop(name, None)
        if index is not None:
            item = self.told[index]
            needed = sum(until_s < at_utc_s for until_s, _ in item.known) + 1
            self.told[index] = replace(item, ended_utc_s=at_utc_s, known=item.known[:needed])

    def forget(self, before_utc_s: float) -> None:
        """Drop what was over by then."""
        kept = [item for item in self.told if item.end_utc_s > before_utc_s and item.end_utc_s > item.job.start_utc_s]
        self.told, self._latest = kept, {}
        for index, item in enumerate(kept):
            if item.ended_utc_s == np.inf:
                self._latest[item.job.job] = index


def _known_before(before: Told, job: Announcement, at_utc_s: float) -> tuple[tuple[float, float], ...]:
    """Told.known of a job that replaces `before`. What draws over half more than was told of, or was too unlikely to be
    counted on, was not known."""
    if job.power_w > _MUCH_MORE * before.job.power_w or before.job.confidence < min(0.5, job.confidence):
        return ()
    first_s, last_s, found = job.start_utc_s, job.start_utc_s + job.duration_s, []
    for until_s, since_s in ((before.job.start_utc_s, at_utc_s), *before.known,
                             (before.job.start_utc_s + before.job.duration_s, before.announced_utc_s)):  # fmt: skip
        until_s = min(until_s, last_s)
        if until_s > first_s:
            found.append((until_s, since_s))
            first_s = until_s
    return tuple(found)


class JobModel:
    """A load model that knows which jobs were announced: load_w (n,) as for LoadModel, start_utc_s of its first step.

    `share` (PARTS,): what jobs drew of the power that was announced for them, by part of their time; 1 until the load
    says otherwise.
    """

    def __init__(self, load_w: np.ndarray, step_s: int, count: int, start_utc_s: float, told: Iterable[Told]):
        self.step_s, self.count, self._start_utc_s = step_s, count, start_utc_s
        load_w, now_s = np.asarray(load_w, dtype=float), start_utc_s + step_s * len(load_w)
        past = [item for item in told if item.announced_utc_s < now_s and item.job.start_utc_s < now_s]
        self.share = learnt_share(load_w, _parts(past, start_utc_s, step_s, len(load_w)), len(past))
        self._unseen = unseen(load_w, start_utc_s, step_s, past, self.share)
        self._settled = {_name(item) for item in past if item.job.start_utc_s <= now_s - _LOOK_S}
        past = [_doubted(item, now_s) if _name(item) in self._unseen else item for item in past]
        left_w = load_w - _drawn_w(past, self.share, start_utc_s, step_s, len(load_w))
        self._base = LoadModel(np.maximum(0, left_w), step_s, count)
        self._unknown_w = self._unannounced(past, len(load_w))

    def forecast(self, load_w: np.ndarray, count: int, start_utc_s: float, told: Iterable[Told]) -> Forecast:
        """The next `count` steps after load_w (n,), whose first step begins at start_utc_s. Jobs told of after its end
        are not looked at, and a job that is taken back later is still believed."""
        return self.both(load_w, count, start_utc_s, told)[1]

    def both(self, load_w, count: int, start_utc_s: float, told: Iterable[Told]) -> tuple[Forecast, Forecast]:
        """That forecast without the jobs that are announced, and with them."""
        now_s = start_utc_s + self.step_s * len(load_w)
        load_w = np.asarray(load_w, dtype=float)
        told = [known_at(item, now_s) for item in told if item.announced_utc_s <= now_s]
        late = {_name(item) for item in told if item.job.start_utc_s < now_s} - self._settled
        gone = self._unseen & self._settled
        told = [_doubted(item, now_s) if _name(item) in gone else item for item in told]
        drawn_w = _drawn_w(told, self.share, start_utc_s, self.step_s, len(load_w))
        gone = unseen(load_w, start_utc_s, self.step_s, told, self.share, late, drawn_w)
        if gone:
            told = [_doubted(item, now_s) if _name(item) in gone else item for item in told]
            drawn_w = _drawn_w(told, self.share, start_utc_s, self.step_s, len(load_w))
        base = self._base.forecast(np.maximum(0, load_w - drawn_w), count, self._like(now_s, count))
        return base, _onto(base, [item for item in told if item.end_utc_s > now_s], now_s, self.share)

    def _unannounced(self, past: list[Told], n: int) -> np.ndarray | None:
        """(leads, n) W of jobs in each past step that nobody had announced that many steps ahead; None without any."""
        pieces = [piece for item in past for piece in _pieces(item)]
        if not pieces:
            return None
        unknown_w = np.stack([_of_pieces_w(np.array(pieces).T, self.share, self._start_utc_s, self.step_s, n,
                                           self.step_s * (lead - 1.0)) for lead in self._base.leads])  # fmt: skip
        return unknown_w if unknown_w.any() else None

    def _like(self, now_s: float, count: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(leads, (leads, samples) W that was unannounced so long ahead at that time of day on past days); None
        without any."""
        if self._unknown_w is None:
            return None
        n, day = self._unknown_w.shape[1], DAY_S // self.step_s
        now = round((now_s - self._start_utc_s) / self.step_s)
        leads = np.array(sorted({*range(1, count + 1, max(1, _EVERY_S // self.step_s)), count}))
        beside = np.arange(-_BESIDE_S, _BESIDE_S + 1, max(self.step_s, _EVERY_S)) // self.step_s
        there = ((now + leads - 1) % day)[:, None, None] + day * np.arange(n // day)[:, None] + beside
        there = np.clip(there.reshape(len(leads), -1), 0, n - 1)
        return leads, self._unknown_w.take(there + n * nearest(self._base.leads, leads)[:, None])


def forecast_both(load_w: np.ndarray, step_s: int, count: int, now_s: float, told: Iterable[Told],
                  default_w: float = 0.0, model: JobModel | None = None) -> tuple[Forecast, Forecast]:  # fmt: skip
    """The load of the next `count` steps after load_w (n,), which ends at now_s: without announced jobs, and with them.
    Without a model, or where the history has become too short for one (a clock that was wrong by weeks), as
    `forecast_load` does with little history, and jobs as they are announced."""
    start_s, told = now_s - step_s * len(load_w), list(told)
    if model is not None and model.count >= count and can_fit(np.asarray(load_w, dtype=float), step_s):
        return model.both(load_w, count, start_s, told)
    told = [known_at(item, now_s) for item in told if item.announced_utc_s <= now_s]
    share = np.ones(PARTS)
    base_w = np.maximum(0, np.asarray(load_w) - _drawn_w(told, share, start_s, step_s, len(load_w)))
    base = forecast_load(base_w, step_s, count, default_w)
    return base, _onto(base, [item for item in told if item.end_utc_s > now_s], now_s, share)


def _onto(base: Forecast, ahead: list[Told], now_s: float, share: np.ndarray) -> Forecast:
    """The forecast with jobs on top, each where the quantile says that it comes: q50 from confidence 0.5, q90 from 0.1,
    q10 from 0.9."""
    if not ahead:
        return base
    levels, sure, drawn_w = {}, [], np.zeros(len(base.q50))
    for name, least in (("q10", 0.9), ("q50", 0.5), ("q90", 0.1)):
        before, sure = sure, [item for item in ahead if item.job.confidence >= least]
        if len(sure) > len(before):
            drawn_w = _drawn_w(sure, share, now_s, base.step_s, len(base.q50))
        levels[name] = getattr(base, name) + drawn_w
    words = "" if np.allclose(share, 1) else f", drawing {share.mean():.2f} of what was announced"
    return Forecast(base.step_s, **levels, basis=f"{base.basis}; {len(ahead)} announced{words}")


def unseen(load_w: np.ndarray, start_utc_s: float, step_s: float, told: list[Told], share: np.ndarray,
           asked: set[tuple[str, float]] | None = None,
           drawn_w: np.ndarray | None = None) -> set[tuple[str, float]]:  # fmt: skip
    """(name, start) of the jobs, all or those asked for, of which the meter, load_w (n,), saw nothing at their start;
    drawn_w (n,): what all of them would draw, if that is known already.

    A job that follows another is no step of the meter, so all others are taken out first; a second look does without
    those that have not come. Where the load changes too much by itself to tell, a job is believed.
    """
    least, most = int(np.ceil(_LOOK_LEAST_S / step_s)), max(1, int(_LOOK_S / step_s))
    looked, spans = [], []
    for item in told if asked is None else [item for item in told if _name(item) in asked]:
        before = int(np.floor((item.job.start_utc_s - start_utc_s) / step_s))  # steps that end by its start
        after = int(np.ceil((item.job.start_utc_s - start_utc_s) / step_s))
        last = min(int(np.floor((item.end_utc_s - start_utc_s) / step_s)), after + most, len(load_w))
        if before >= least and last - after >= least:
            looked.append(item)
            spans.append((max(0, before - most), before, after, last))
    ought_w = np.array([item.job.power_w for item in looked]) * share.mean()
    missing: set[tuple[str, float]] = set()
    for _ in range(2 if looked else 0):
        if missing or drawn_w is None:
            here = [item for item in told if _name(item) not in missing]
            drawn_w = _drawn_w(here, share, start_utc_s, step_s, len(load_w))
        left_w = load_w - drawn_w
        taken_out = np.array([_name(item) not in missing for item in looked])
        rise_w = _rises(left_w, np.array(spans)) + taken_out * ought_w
        never = rise_w < _UNSEEN * ought_w
        if never.any():
            never &= ought_w > _TELLING * _usual_change(left_w, most)
        found = {_name(looked[index]) for index in np.flatnonzero(never)}
        if found == missing:
            break
        missing = found
    return missing


def _rises(load_w: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(k,) by how much the mean of load_w (n,) rises from one span to another: spans (k, 4), first step and the one
    after the last of each."""
    sums = np.add.reduceat(np.append(load_w, 0.0), spans.ravel())[::2].reshape(-1, 2)
    means = sums / (spans[:, 1::2] - spans[:, ::2])
    return means[:, 1] - means[:, 0]


def _usual_change(load_w: np.ndarray, steps: int) -> float:
    """What the mean of so many steps seldom differs by from that of the steps before them; inf if nobody can tell."""
    means_w = np.convolve(load_w, np.ones(steps) / steps, "valid")
    change_w = np.abs(means_w[steps:] - means_w[:-steps])
    change_w = change_w[np.isfinite(change_w)]
    return float(quantiles(change_w, (0.9,))[0]) if len(change_w) else np.inf


def _name(item: Told) -> tuple[str, float]:
    return item.job.job, item.job.start_utc_s


def _doubted(item: Told, now_utc_s: float) -> Told:
    """A job that nobody saw come: over, it never came; else it may still, and is no part of what was measured."""
    if item.end_utc_s <= now_utc_s:
        return replace(item, ended_utc_s=item.job.start_utc_s)
    left_s = item.job.start_utc_s + item.job.duration_s - now_utc_s
    confidence = min(item.job.confidence, _UNSEEN_CONFIDENCE)
    return replace(item, job=replace(item.job, start_utc_s=now_utc_s, duration_s=left_s, confidence=confidence))


def known_at(item: Told, now_utc_s: float) -> Told:
    """The job as it was known then: that it ends early is only known once it has."""
    return item if item.ended_utc_s <= now_utc_s or item.ended_utc_s == np.inf else replace(item, ended_utc_s=np.inf)


def jobs_w(told: list[Told], start_utc_s: float, step_s: float, count: int) -> np.ndarray:
    """(count,) W step means of the jobs as they were announced, as far as they came."""
    return _parts(told, start_utc_s, step_s, count).sum(axis=1)


def learnt_share(load_w: np.ndarray, parts_w: np.ndarray, jobs: int) -> np.ndarray:
    """(PARTS,) what jobs drew of what was announced, 0 to _SHARE_MOST, from load_w (n,) and what parts_w (n, PARTS) of
    them was announced. Steps from one value to the next are compared: the load beneath does not step with them."""
    step_w, rows = np.diff(load_w), np.diff(parts_w, axis=0)
    usable = np.isfinite(step_w) & (np.abs(rows).sum(axis=1) > 0)
    if jobs < _LEAST_JOBS or not usable.any():
        return np.ones(PARTS)
    usual_w = max(np.nanmedian(np.abs(step_w)), 1e-3 * np.abs(rows).max())
    step_w, rows = step_w[usable] / usual_w, rows[usable] / usual_w
    weight, share = np.ones(len(step_w)), np.ones(PARTS)
    for _ in range(_ROUNDS):
        weighted = rows * weight[:, None]
        share = 1 + np.linalg.solve(
            weighted.T @ rows + _DOUBT**2 * np.eye(PARTS), weighted.T @ (step_w - rows.sum(axis=1))
        )
        wrong = np.abs(step_w - rows @ share)
        weight = 1 / np.maximum(wrong, 1)
    return np.clip(share, 0, _SHARE_MOST)


def _parts(told: list[Told], start_utc_s: float, step_s: float, count: int) -> np.ndarray:
    """(count, PARTS) announced W as step means, by part of each job's announced time, as far as it came."""
    return np.stack([_drawn_w(told, row, start_utc_s, step_s, count) for row in np.eye(PARTS)], axis=1)


def _drawn_w(told: list[Told], share: np.ndarray, start_utc_s: float, step_s: float, count: int) -> np.ndarray:
    """(count,) W as step means that jobs draw when of what was announced they draw share (PARTS,), as far as they
    came."""
    if not told:
        return np.zeros(count)
    whole = np.array([(item.job.start_utc_s, item.job.duration_s, item.job.power_w, item.job.start_utc_s,
                       item.end_utc_s, item.announced_utc_s) for item in told]).T  # fmt: skip
    return _of_pieces_w(whole, share, start_utc_s, step_s, count)


def _pieces(item: Told) -> list[tuple[float, float, float, float, float, float]]:
    """(start, duration, power of the whole job; from, to, known since of the piece) of the job's time, as far as it
    came: in one, or where a part of it was known before in several."""
    job, found = item.job, []
    first_s = job.start_utc_s
    for until_s, since_s in (*item.known, (np.inf, item.announced_utc_s)):
        last_s = min(until_s, item.end_utc_s)
        if last_s > first_s:
            found.append((job.start_utc_s, job.duration_s, job.power_w, first_s, last_s, since_s))
            first_s = last_s
    return found


def _of_pieces_w(pieces: np.ndarray, share: np.ndarray, start_utc_s: float, step_s: float, count: int,
                 unseen_s: float = np.inf) -> np.ndarray:  # fmt: skip
    """(count,) W as step means of pieces (6, k) of jobs. With unseen_s, only what lies before unseen_s after it was
    known: what was not known so long ahead."""
    begin, length, power, first, end, since = pieces
    edges = begin + length * np.arange(PARTS + 1)[:, None] / PARTS  # of the parts; what ends early leaves some empty
    edges = np.clip(edges, first, np.maximum(first, np.minimum(end, since + unseen_s)))
    power = share[:, None] * power
    times, order = np.unique(np.concatenate([edges[:-1], edges[1:]]), return_inverse=True)
    change_w = np.bincount(order.ravel(), np.concatenate([power, -power]).ravel(), len(times))
    drawn_j = np.concatenate([[0.0], np.cumsum(np.cumsum(change_w)[:-1] * np.diff(times))])
    return np.diff(np.interp(start_utc_s + step_s * np.arange(count + 1.0), times, drawn_j)) / step_s
