"""The application: who is asking, answers to errors, the page's files, and the routes of forerun.web.routes."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from forerun import __version__
from forerun.errors import Trouble, WrongUsage
from forerun.web.access import Person, Sessions, Tokens, WrongTokens, same
from forerun.web.control import Controls, Refused
from forerun.web.reports import Reports
from forerun.web.stream import Stream

COOKIE = "forerun-session"
CSRF = "X-CSRF-Token"
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/diagram.js": ("diagram.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/controls.js": ("controls.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/manifest.webmanifest": ("manifest.webmanifest", "application/manifest+json"),
}
_ERRORS = {
    400: "Not understood",
    401: "No token, or a wrong one",
    403: "The role does not reach",
    404: "Not there",
    405: "Not this method",
    408: "The body came too slowly",
    409: "Somebody else is at it",
    410: "Too late",
    413: "Too large",
    422: "A value cannot be taken",
    429: "Too many wrong tokens: wait",
    503: "The board, the disk or the run loop cannot now",
}
_SAFE = ("GET", "HEAD", "OPTIONS")


class Problem(BaseModel):
    """Every answer that is not a success."""

    error: str


@dataclass
class Parts:
    """What the routes work with; `app.state.parts`."""

    running: object
    tokens: Tokens
    sessions: Sessions
    wrong: WrongTokens
    controls: Controls
    reports: Reports
    stream: Stream
    clock: Callable[[], float]


def application(parts: Parts) -> FastAPI:
    """The FastAPI application over the parts of one site."""
    from forerun.web import commands, routes

    errors = {status: {"model": Problem, "description": words} for status, words in _ERRORS.items()}
    app = FastAPI(
        title="Forerun", version=__version__, docs_url=None, redoc_url=None, responses=errors,
        description="State, controls, reports of one site, and the announcement of jobs. Tokens: `forerun token add`.",
    )  # fmt: skip
    app.state.parts = parts
    app.include_router(routes.router)
    app.include_router(commands.router)
    for path, (name, kind) in _PAGE.items():
        _add_file(app, path, name, kind)
    app.exception_handler(StarletteHTTPException)(_told)
    app.exception_handler(RequestValidationError)(_not_valid)
    app.exception_handler(Refused)(lambda request, refused: _error(*refused.args))
    app.exception_handler(WrongUsage)(lambda request, problem: _error(422, str(problem)))
    app.exception_handler(Trouble)(lambda request, problem: _error(503, str(problem)))

    async def unexpected(request: Request, problem: Exception) -> Response:
        where = problem.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "nowhere"
        parts.running.say(f"{request.method} {request.url.path} failed: {type(problem).__name__}: {problem} ({place})")
        return _error(500, "this is a fault of the program, and it was logged; the site runs on")

    app.exception_handler(Exception)(unexpected)
    return app


def _add_file(app: FastAPI, path: str, name: str, kind: str) -> None:
    content = files("forerun.web").joinpath("static", name).read_bytes()

    async def give() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    app.add_api_route(path, give, include_in_schema=False)


def _error(status: int, sentence: str, headers: dict | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


async def _told(request: Request, problem: StarletteHTTPException) -> Response:
    sentence = problem.detail
    if problem.status_code == 404 and sentence == "Not Found":
        sentence = f"there is nothing at {request.url.path}; /openapi.json says what there is"
    elif problem.status_code == 405:
        sentence = f"{request.method} is not for {request.url.path}"
    return _error(problem.status_code, str(sentence), problem.headers)


async def _not_valid(request: Request, problem: RequestValidationError) -> Response:
    return _error(422, sentence_of(problem.errors()))


def sentence_of(errors) -> str:
    """The first of pydantic's errors as a sentence: where, and what is allowed."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON ({first.get('ctx', {}).get('error', 'it ends early')})"
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    # A tagged union puts the tag into the place.
    name = ".".join(place) or "the body"
    if first["type"] == "extra_forbidden":
        return f"{name!r} is not a field here"
    if first["type"] == "missing":
        return f"{name} is missing"
    words = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name}: {words[:1].lower()}{words[1:]}"


_bearer = HTTPBearer(auto_error=False, description="A token of `forerun token add`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description=f"The page's; changes also take {CSRF}.")


def needs(role: str) -> Callable:
    """A dependency: the person that asks, who holds at least this role."""

    async def person(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        cookie: Annotated[str | None, Security(_cookie)],
    ) -> Person:
        parts: Parts = request.app.state.parts
        if "authorization" in request.headers:
            found = token_holder(request, bearer.credentials if bearer else "")
        else:
            session = parts.sessions.of(cookie) if cookie else None
            if session is None:
                raise HTTPException(401, "log in first, or send a token", {"WWW-Authenticate": "Bearer"})
            if request.method not in _SAFE:
                refuse_foreign(request)
                if not same(request.headers.get(CSRF, ""), session.csrf):
                    raise HTTPException(403, f"the header {CSRF} is missing or not this session's: reload the page")
            found = session.person
        if not found.may(role):
            raise HTTPException(403, f"this takes the role {role}; {found.name} has {found.role}")
        return found

    return Depends(person)


def token_holder(request: Request, token: str) -> Person:
    """Who holds the token. Raises HTTPException 401, and 429 after too many wrong ones from an address."""
    parts: Parts = request.app.state.parts
    found = parts.tokens.holder(token)
    if found is None:
        wait_s = parts.wrong.wait_s(request.client.host if request.client else "")
        if wait_s > 0:
            raise HTTPException(429, f"too many wrong tokens: wait {wait_s:.0f} s", {"Retry-After": f"{wait_s:.0f}"})
        raise HTTPException(401, "this token is not known here: `forerun token add` makes one",
                            {"WWW-Authenticate": "Bearer"})  # fmt: skip
    return found


def refuse_foreign(request: Request) -> None:
    """Raises HTTPException 403 for a request that a page of another origin made."""
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, f"a page of {origin} may not do this")


Reader = Annotated[Person, needs("read")]
Operator = Annotated[Person, needs("operate")]


def parts_of(request: Request) -> Parts:
    return request.app.state.parts
