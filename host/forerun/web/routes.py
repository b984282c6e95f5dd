"""REST routes that look: state, session, reports."""

import asyncio
import re
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from forerun.site.alarms import Alarm
from forerun.site.snapshot import (
    CarbonToday,
    Commissioning,
    ForecastView,
    Job,
    LinkHealth,
    Live,
    PlanView,
    Snapshot,
    StoreHealth,
)
from forerun.web.asking import COOKIE, Operator, Reader, parts_of, refuse_foreign, token_holder
from forerun.web.reports import TYPES, ReportFile
from forerun.web.stream import EVENT_SCHEMA, MOST_VIEWERS

router = APIRouter()

# ---- state


@router.get("/api/v1/snapshot", tags=["state"])
async def snapshot(request: Request, person: Reader) -> Snapshot:
    """Everything that may be seen now."""
    return parts_of(request).running.snapshot


@router.get("/api/v1/live", tags=["state"])
async def live(request: Request, person: Reader) -> Live | None:
    """The last telemetry; null before the first."""
    return parts_of(request).running.snapshot.live


@router.get("/api/v1/alarms", tags=["state"])
async def alarms(request: Request, person: Reader) -> tuple[Alarm, ...]:
    """What is wrong now, critical alarms first, each with cause and remedy."""
    return parts_of(request).running.snapshot.alarms


@router.get("/api/v1/plan", tags=["state"])
async def plan(request: Request, person: Reader) -> PlanView | None:
    """The plan in force; null before the first."""
    return parts_of(request).running.snapshot.plan


@router.get("/api/v1/forecast", tags=["state"])
async def forecast(request: Request, person: Reader) -> ForecastView | None:
    """Load and PV of the next 24 h as quantiles; null before the first plan."""
    return parts_of(request).running.snapshot.forecast


@router.get("/api/v1/jobs", tags=["state"])
async def jobs(request: Request, person: Reader) -> tuple[Job, ...]:
    """Announced jobs and how ready the site is for each."""
    return parts_of(request).running.snapshot.jobs


@router.get("/api/v1/carbon", tags=["state"])
async def carbon(request: Request, person: Reader) -> CarbonToday | None:
    """Energy and emissions of the local day so far, by hour; null before the first interval."""
    return parts_of(request).running.snapshot.carbon


class Health(BaseModel):
    link: LinkHealth
    store: StoreHealth
    commissioning: Commissioning


@router.get("/api/v1/health", tags=["state"])
async def health(request: Request, person: Reader) -> Health:
    """Link, journal and commissioning."""
    now = parts_of(request).running.snapshot
    return Health(link=now.link, store=now.store, commissioning=now.commissioning)


_STREAM = {"description": "Events without an end: a comment after 5 s without; it ends with session or token.",
           "content": {"text/event-stream": {"schema": EVENT_SCHEMA}}}  # fmt: skip


@router.get("/api/v1/events", tags=["state"], response_class=StreamingResponse,
            responses={200: _STREAM})  # fmt: skip
async def events(request: Request, person: Reader) -> StreamingResponse:
    """Server-sent events: `live` with each snapshot, `parts` with the parts of the snapshot that changed. Who reads
    too slowly is not told what was overtaken."""
    parts = parts_of(request)
    if len(parts.stream) >= MOST_VIEWERS:
        raise HTTPException(503, f"{MOST_VIEWERS} pages are open already: close one")
    cookie = request.cookies.get(COOKIE)
    by_token = "authorization" in request.headers

    def may_look() -> bool:
        return parts.tokens.holds(person) and (by_token or parts.sessions.of(cookie) is not None)

    return StreamingResponse(parts.stream.events(may_look), media_type="text/event-stream")


# ---- session


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    token: Annotated[str, Field(min_length=1, max_length=200)]


class Who(BaseModel):
    """Who is logged in; `csrf` goes into the header X-CSRF-Token of whatever changes something."""

    name: str
    role: str
    csrf: str
    site: str


@router.post("/api/v1/session", tags=["session"])
async def log_in(request: Request, response: Response, login: Login) -> Who:
    """Begin a session with a token, for a page: answers with a cookie."""
    refuse_foreign(request)
    parts = parts_of(request)
    person = token_holder(request, login.token)
    cookie, session = parts.sessions.begin(person)
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return Who(name=person.name, role=person.role, csrf=session.csrf, site=parts.running.snapshot.site)


@router.get("/api/v1/session", tags=["session"])
async def who(request: Request, person: Reader) -> Who:
    """Who I am; csrf is empty for a token, which needs none."""
    parts = parts_of(request)
    cookie = request.cookies.get(COOKIE)
    session = parts.sessions.of(cookie) if cookie and "authorization" not in request.headers else None
    return Who(name=person.name, role=person.role, csrf=session.csrf if session else "",
               site=parts.running.snapshot.site)  # fmt: skip


@router.delete("/api/v1/session", tags=["session"], status_code=204)
async def log_out(request: Request, response: Response, person: Reader) -> None:
    """End the session."""
    parts_of(request).sessions.end(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


# ---- reports


class ReportsOut(BaseModel):
    reports: list[ReportFile]


_FIRST_DAY = date(2000, 1, 1)


class Days(BaseModel):
    """First and last day of a report, both included, UTC; 367 days at most, none of them ahead or before 2000."""

    model_config = ConfigDict(extra="forbid")
    first: date
    last: date


@router.get("/api/v1/reports", tags=["reports"])
async def reports(request: Request, person: Reader) -> ReportsOut:
    """Reports to download, the newest first."""
    return ReportsOut(reports=await asyncio.to_thread(parts_of(request).reports.files))


@router.post("/api/v1/reports", tags=["reports"], status_code=201)
async def make_report(request: Request, person: Operator, days: Days) -> ReportsOut:
    """Make the report of some days, in all forms; it takes a while."""
    if not days.first <= days.last or (days.last - days.first).days > 366:
        raise HTTPException(409, "first must not be after last, and a report has 367 days at most")
    today = datetime.fromtimestamp(parts_of(request).clock(), UTC).date()
    if days.first < _FIRST_DAY or days.last > today:
        raise HTTPException(409, f"a report is of days from {_FIRST_DAY} to today, {today} UTC")
    return ReportsOut(reports=await parts_of(request).reports.make(days.first, days.last))


@router.get("/api/v1/reports/{name:path}", tags=["reports"], response_class=Response,
            responses={200: {"content": {kind: {} for kind in sorted(TYPES.values())}}})  # fmt: skip
async def report(request: Request, person: Reader, name: Annotated[str, Path(max_length=300)]) -> Response:
    """Download one, by its name in the list."""
    found = await asyncio.to_thread(parts_of(request).reports.read, name)
    if found is None:
        raise HTTPException(404, "there is no report of that name; /api/v1/reports lists them")
    content, kind = found
    plain = re.sub(r"[^A-Za-z0-9._-]", "", name.rsplit("/", 1)[-1])
    return Response(content, media_type=kind, headers={
        "content-disposition": f'attachment; filename="{plain}"',
        "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    })  # fmt: skip
