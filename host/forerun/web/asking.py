"""Who is asking, and what a route works with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from forerun.web.access import Person, Sessions, Tokens, WrongTokens, same
from forerun.web.control import Controls
from forerun.web.reports import Reports
from forerun.web.stream import Stream

COOKIE = "forerun-session"
CSRF = "X-CSRF-Token"
_SAFE = ("GET", "HEAD", "OPTIONS")


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
    """Who holds the token. Raises HTTPException 401, with Retry-After after too many wrong ones from an address."""
    parts: Parts = request.app.state.parts
    found = parts.tokens.holder(token)
    if found is None:
        wait_s = parts.wrong.wait_s(request.client.host if request.client else "")
        if wait_s > 0:
            raise HTTPException(401, f"too many wrong tokens: wait {wait_s:.0f} s",
                                {"Retry-After": f"{wait_s:.0f}", "WWW-Authenticate": "Bearer"})  # fmt: skip
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
