"""The application: answers to errors, the page's files, and the routes of forerun.web.routes and .commands."""

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match, Route

from forerun import __version__
from forerun.errors import Trouble, WrongUsage
from forerun.web import commands, routes
from forerun.web.asking import Parts
from forerun.web.control import Refused

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/diagram.js": ("diagram.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/controls.js": ("controls.js", "text/javascript; charset=utf-8"),
    "/reports.js": ("reports.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/manifest.webmanifest": ("manifest.webmanifest", "application/manifest+json"),
}
_ERRORS = {
    400: "Not understood",
    401: "No token, or a wrong one; after many wrong ones with Retry-After",
    403: "The role does not reach",
    404: "Not there",
    405: "Not this method",
    408: "The body came too slowly",
    409: "It has the right form but cannot be done as things are, or somebody else is at it",
    410: "Too late",
    413: "Too large",
    422: "It does not have the right form",
    503: "The board, the disk or the run loop cannot now",
}


class Problem(BaseModel):
    """Every answer that is not a success."""

    error: str


def application(parts: Parts) -> FastAPI:
    """The FastAPI application over the parts of one site."""
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
    elif problem.status_code == 400:
        sentence = "the body is not JSON in UTF-8 that can be read (RFC 8259)"
    elif problem.status_code == 405:
        allowed = _allowed(request)
        sentence = f"{request.method} is not for {request.url.path}, but {', '.join(allowed)}"
        return _error(405, sentence, {"Allow": ", ".join(allowed)})
    return _error(problem.status_code, str(sentence), problem.headers)


def _allowed(request: Request) -> list[str]:
    """The methods of a path (RFC 9110, 15.5.6); the framework knows those of one of its routes only."""
    found = set()
    for route in (*request.app.routes, *routes.router.routes, *commands.router.routes):
        if isinstance(route, Route) and route.matches({**request.scope, "method": "?"})[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _not_valid(request: Request, problem: RequestValidationError) -> Response:
    sentence, kind = sentence_of(problem.errors()), request.headers.get("content-type", "")
    if problem.errors()[0]["loc"] == ("body",) and not kind.split(";")[0].strip().endswith("json"):
        sentence = f"the header Content-Type is {kind[:80]!r}; bodies are application/json"
    return _error(422, sentence)


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
    if first["type"] == "string_pattern_mismatch":
        return f"{name}: it holds a character that cannot be shown, such as a line end"
    if first["type"] == "missing":
        return f"{name} is missing"
    words = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name}: {words[:1].lower()}{words[1:]}"
