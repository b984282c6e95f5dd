"""REST routes that change something: controls in two steps, and announced jobs (docs/announcements.md)."""

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from forerun.compute.announcements import most_w, taken
from forerun.compute.load import Announcement, AnnouncementError
from forerun.errors import Trouble
from forerun.site.service import Service
from forerun.web import control
from forerun.web.access import Person
from forerun.web.asking import Operator, Parts, Reader, parts_of

router = APIRouter()
ANSWER_S = 5.0
REPLY_LOOK_S = 0.02


async def in_loop(parts: Parts, action: Callable[[Service, int], object]):
    """What `action` returns, done by the thread that runs the site. Raises what it raises, Trouble when it is busy."""
    work = parts.running.ask(action)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.wrap_future(work)
    except (TimeoutError, CancelledError):
        if work.cancelled() or work.cancel():
            raise Trouble(f"the site did not take it within {ANSWER_S:.0f} s, so nothing was done: try again") from None
    return await asyncio.wrap_future(work)  # it is at it: a plan may take that long, and nobody is told that it is not


# ---- controls


class Wish(BaseModel):
    """`seen`: number of the last change that the sender knows of; one made since by somebody else is a refusal."""

    model_config = ConfigDict(extra="forbid", strict=True)
    change: control.Change
    seen: Annotated[int, Field(ge=0), control.WHOLE] | None = None


class ControlState(BaseModel):
    waiting: list[control.Request]
    last: control.LastChange | None


def control_state(parts: Parts) -> ControlState:
    return ControlState(waiting=parts.controls.waiting(), last=parts.controls.last)


async def noted(parts: Parts, request: Request, asked: control.Request, person: Person, event: str) -> bool:
    """Whether the journal has it: every step of a control is remembered, with who and from where."""
    address = request.client.host if request.client else ""
    words = control.summary(parts.controls.change_of(asked))
    body = [event, asked.id, person.name, person.role, address, words, asked.outcome]
    return await in_loop(parts, lambda service, now_us: service.note_control(body, now_us))


@router.get("/api/v1/controls", tags=["controls"])
async def controls(request: Request, person: Reader) -> ControlState:
    """Requests that wait for their confirmation, and the last change that was made."""
    return control_state(parts_of(request))


@router.post("/api/v1/controls", tags=["controls"], status_code=202)
async def ask(request: Request, person: Operator, wish: Wish) -> control.Request:
    """Ask for a change. Nothing happens before it is confirmed, within 30 s; `will` says what would."""
    parts, change = parts_of(request), wish.change
    now = parts.running.snapshot
    if change.action == "announce":
        change = _sound_job(parts, change)
    limits = parts.running.site.limits
    if problem := control.objection(change, now, limits.discharge_max_w, limits.charge_max_w):
        raise HTTPException(409, problem)
    if change.action == "cancel" and not await in_loop(parts, lambda service, now_us: change.job in service.jobs):
        raise HTTPException(404, f"there is no job {change.job!r} ahead or running")
    asked = parts.controls.ask(person, change, control.consequences(change, now), wish.seen)
    await noted(parts, request, asked, person, "asked")
    return asked


@router.post("/api/v1/controls/{key}/confirm", tags=["controls"])
async def confirm(request: Request, person: Operator, key: Annotated[str, Path(max_length=40)]) -> control.Request:
    """Do what was asked for. Confirming again does nothing again and gives the same answer."""
    parts = parts_of(request)
    asked, change = parts.controls.confirm(person, key)
    if change is None:
        return asked
    problem = "it was interrupted"
    try:
        recorded = await noted(parts, request, asked, person, "confirmed")
        if not recorded and change.action not in ("clear", "maintenance"):
            raise Trouble("the journal cannot take it, so it was not done: see the alarm of the disk")
        await perform(parts, change)
        problem = ""
    except (Trouble, AnnouncementError) as trouble:
        problem = str(trouble)
    finally:
        asked = parts.controls.finish(key, problem)
    await noted(parts, request, asked, person, asked.state)
    if problem:
        raise HTTPException(503, problem)
    return asked


@router.delete("/api/v1/controls/{key}", tags=["controls"])
async def withdraw(request: Request, person: Operator, key: Annotated[str, Path(max_length=40)]) -> control.Request:
    """Take a request back before it is confirmed."""
    parts = parts_of(request)
    asked = parts.controls.withdraw(person, key)
    await noted(parts, request, asked, person, asked.state)
    return asked


async def perform(parts: Parts, change: control.Change) -> None:
    """Do it. Raises Trouble with the board's own sentence when it refuses."""
    order = control.board_order(change, parts.running.snapshot)
    if order is None:
        if change.action == "announce":
            await announce_job(parts, Announcement(change.job, change.power_w, change.start_utc_s, change.duration_s,
                                                   change.confidence))  # fmt: skip
        elif not await cancel_job(parts, change.job):
            raise Trouble(f"there is no job {change.job!r} ahead or running any more")
        return
    number = await in_loop(parts, lambda service, now_us: service.command(*order))
    ends = asyncio.get_running_loop().time() + ANSWER_S
    while (reply := await in_loop(parts, lambda service, now_us: service.replies.get(number))) is None:
        if asyncio.get_running_loop().time() > ends:
            raise Trouble(f"the board did not answer within {ANSWER_S:.0f} s: look whether it was done")
        await asyncio.sleep(REPLY_LOOK_S)
    code, results = reply
    if code:
        raise Trouble(f"the board refused: {results[0] if results else code}")


def _sound_job(parts: Parts, change: control.Announce) -> control.Announce:
    try:
        taken(Announcement(change.job, change.power_w, change.start_utc_s, change.duration_s, change.confidence),
              parts.clock(), most_w(parts.running.site))  # fmt: skip
    except AnnouncementError as problem:
        raise HTTPException(409, str(problem)) from problem
    return change


# ---- jobs, as schedulers announce them


class JobIn(BaseModel):
    """A job that will come."""

    model_config = ConfigDict(extra="forbid", strict=True)
    job: control.Name
    power_w: Annotated[float, Field(ge=0, allow_inf_nan=False, description="W, on top of what the site draws already")]
    start_utc_s: Annotated[float, Field(ge=0, allow_inf_nan=False, description="s since 1970-01-01T00:00Z")]
    duration_s: Annotated[float, Field(gt=0, allow_inf_nan=False, description="s")]
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="how likely it comes")] = 1.0


class JobsOut(BaseModel):
    jobs: list[JobIn]


class Cancelled(BaseModel):
    cancelled: str


@router.get("/v1/jobs", tags=["announcements"])
async def announced(request: Request, person: Reader) -> JobsOut:
    """Jobs ahead or running, by start."""
    parts = parts_of(request)
    now_s = parts.clock()
    found = await in_loop(parts, lambda service, now_us: list(service.jobs.values()))
    ahead = [job for job in found if job.start_utc_s + job.duration_s > now_s]
    ahead.sort(key=lambda job: (job.start_utc_s, job.job))
    # As they are: a name that was taken once, or comes from a list, is no fault of who asks.
    return JobsOut.model_construct(jobs=[JobIn.model_construct(**asdict(job)) for job in ahead])


@router.post("/v1/jobs", tags=["announcements"], status_code=201)
async def announce(request: Request, person: Operator, job: JobIn) -> JobIn:
    """Announce a job; the answer is the job as it is planned for. The same name again replaces the job."""
    parts = parts_of(request)
    try:
        return JobIn(**asdict(await announce_job(parts, Announcement(**job.model_dump()))))
    except AnnouncementError as problem:
        raise HTTPException(409, str(problem)) from problem


@router.delete("/v1/jobs/{job:path}", tags=["announcements"])
async def cancel(request: Request, person: Operator, job: Annotated[str, Path(max_length=128)]) -> Cancelled:
    """Take a job back; one that runs ends now."""
    if not await cancel_job(parts_of(request), job):
        raise HTTPException(404, f"there is no job {job!r} ahead or running")
    return Cancelled(cancelled=job)


async def announce_job(parts: Parts, job: Announcement) -> Announcement:
    """The job as it is planned for. Raises AnnouncementError."""
    now_s = parts.clock()

    def announce(service: Service, now_us: int) -> Announcement:
        ahead = [name for name, other in service.jobs.items() if other.start_utc_s + other.duration_s > now_s]
        known = taken(job, now_s, most_w(parts.running.site), ahead)
        service.announce(known, now_us)
        return known

    known = await in_loop(parts, announce)
    parts.running.say(f"job {job.job}: announced")
    return known


async def cancel_job(parts: Parts, name: str) -> bool:
    """False when there is no such job ahead or running."""
    now_s = parts.clock()

    def end(service: Service, now_us: int) -> bool:
        job = service.jobs.get(name)
        if job is None or job.start_utc_s + job.duration_s <= now_s:
            return False
        service.cancel(job, now_us)
        return True

    done = await in_loop(parts, end)
    if done:
        parts.running.say(f"job {name}: cancelled")
    return done
