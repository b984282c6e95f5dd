"""Who may do what over HTTP: tokens with roles in a file, sessions of the page, and a limit on guessing."""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from forerun.errors import Trouble, WrongUsage

ROLES = ("read", "operate", "commission")  # each may do what those before it may
SESSION_S = 12 * 3600
MOST_SESSIONS = 1000
WRONG_TOKENS, WRONG_WINDOW_S = 10, 60.0
MOST_ADDRESSES = 4096
VERSION = 1


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever holds a token; `sha256` is the token's, in hex."""

    name: str
    role: str
    sha256: str
    made_utc_s: int

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Session:
    """A page that was logged in; `csrf` has to come back in a header with whatever changes something."""

    person: Person
    csrf: str
    ends_s: float


def tokens_path(journal: Path | str) -> Path:
    """Where the tokens of the site with that journal are."""
    return Path(f"{journal}.tokens")


class Tokens:
    """The token file. It holds hashes only: a token has 256 random bits, so no guessing of it is worth a slow hash.

    A change on disk counts from the next look on, so a revoked token ends at once. Raises Trouble.
    """

    def __init__(self, path: Path):
        self.path = path
        self._seen: tuple | None = None
        self._people: dict[str, Person] = {}

    def people(self) -> list[Person]:
        """Holders of a token, by name."""
        self._look()
        return sorted(self._people.values(), key=lambda person: person.name)

    def holder(self, token: str) -> Person | None:
        """Whose token this is."""
        self._look()
        return self._people.get(_digest(token))

    def holds(self, person: Person) -> bool:
        """Whether the person's token is still in the file, with the same role."""
        self._look()
        return self._people.get(person.sha256) == person

    def make(self, name: str, role: str, utc_s: float) -> str:
        """A new token: the only time that it is seen. Raises WrongUsage for a name in use or an unknown role."""
        if role not in ROLES:
            raise WrongUsage(f"--role {role}: it must be one of {', '.join(ROLES)}")
        if not 0 < len(name) <= 64 or not name.isprintable() or name != name.strip():
            raise WrongUsage(f"{name!r}: a name has 1 to 64 characters that can be printed")
        people = self.people()
        if any(person.name == name for person in people):
            raise WrongUsage(f"{name} has a token already: `forerun token revoke {name}` takes it away")
        token = secrets.token_urlsafe(32)
        self._write([*people, Person(name, role, _digest(token), int(utc_s))])
        return token

    def revoke(self, name: str) -> None:
        """Take a token away. Raises WrongUsage when nobody of that name has one."""
        people = self.people()
        left = [person for person in people if person.name != name]
        if len(left) == len(people):
            raise WrongUsage(f"{name} has no token; `forerun token list` says who has")
        self._write(left)

    def _look(self) -> None:
        try:
            found = os.stat(self.path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return
            content = json.loads(self.path.read_bytes())
            if content["version"] != VERSION:
                raise ValueError("another version wrote it")
            people = [Person(**person) for person in content["tokens"]]
            if any(person.role not in ROLES for person in people):
                raise ValueError("a role in it is unknown")
            self._people, self._seen = {person.sha256: person for person in people}, seen
        except FileNotFoundError:
            self._people, self._seen = {}, None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            self._people, self._seen = {}, None  # nobody may anything until it is mended
            raise Trouble(f"{self.path} cannot be read ({problem}): give it back to the user that runs the site, or "
                          "delete it and make new tokens") from problem

    def _write(self, people: list[Person]) -> None:
        draft = self.path.with_name(self.path.name + ".new")
        text = json.dumps({"version": VERSION, "tokens": [asdict(person) for person in people]}, indent=1)
        try:
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        except OSError as problem:
            raise Trouble(f"{self.path} cannot be written ({problem.strerror}): nothing was changed") from problem


class Sessions:
    """Sessions of pages by their cookie; kept in memory, so a restart logs everybody out."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.monotonic):
        self._tokens, self._clock = tokens, clock
        self._open: dict[str, Session] = {}

    def begin(self, person: Person) -> tuple[str, Session]:
        """(cookie, session); the oldest one ends when there are too many."""
        now = self._clock()
        self._open = {key: session for key, session in self._open.items() if session.ends_s > now}
        while len(self._open) >= MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        cookie = secrets.token_urlsafe(32)
        self._open[_digest(cookie)] = Session(person, secrets.token_urlsafe(32), now + SESSION_S)
        return cookie, self._open[_digest(cookie)]

    def of(self, cookie: str) -> Session | None:
        """The session, unless it is over or its token was revoked."""
        session = self._open.get(_digest(cookie))
        if session is None or session.ends_s <= self._clock() or not self._tokens.holds(session.person):
            self.end(cookie)
            return None
        return session

    def end(self, cookie: str) -> None:
        """Log out."""
        self._open.pop(_digest(cookie), None)


class WrongTokens:
    """Counts wrong tokens by address. Who showed too many is told to wait; a right token is never held up, so that a
    badly set up client cannot lock an operator out, and 256 bits are not guessed anyway."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._at: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> float:
        """Note one more wrong token: 0 while it may go on, else for how long it is to wait."""
        now = self._clock()
        times = self._at.pop(address, deque(maxlen=WRONG_TOKENS + 1))
        self._at[address] = times  # the latest last
        while len(self._at) > MOST_ADDRESSES:
            del self._at[next(iter(self._at))]
        while times and times[0] <= now - WRONG_WINDOW_S:
            times.popleft()
        times.append(now)
        return times[0] + WRONG_WINDOW_S - now if len(times) > WRONG_TOKENS else 0.0


def same(one: str, other: str) -> bool:
    """Equality that takes as long whatever differs."""
    return hmac.compare_digest(one.encode(), other.encode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
