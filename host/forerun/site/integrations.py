"""The optional parts of a running site (page, metrics, MQTT, …): none of them can keep the site from running.

One thread starts them, so that a slow name server holds up no loop. What cannot begin, or is no longer `alive`, is told
once, shown as an alarm, and tried again every RETRY_S.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from forerun.errors import Trouble
from forerun.site.alarms import remedy_of

RETRY_S = 30.0
LOOK_S = 5.0  # how soon a part that ended by itself is noticed
END_S = 20.0  # an end of the site waits so long for its parts
Made = Callable[[], AbstractContextManager]


@dataclass
class _Part:
    """A part that is wanted: what it was made from, what it gave when it began (None: it has not), and when to try."""

    key: Hashable
    made: Made
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    given: object | None = None
    failed: tuple[str, str] = ("", "")  # name and sentence of its complaint when it could not begin
    due_s: float = 0.0


class Integrations:
    """Keeps the wanted parts going while the `with` block lasts; `say` is told what fails. Any thread may complain."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._say, self._clock = say, clock
        self._lock = threading.Lock()
        self._complaints: dict[str, str] = {}
        self._wanted: dict[str, tuple[Hashable, Made]] = {}
        self._parts: dict[str, _Part] = {}
        self._news, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="integrations", daemon=True)

    def __enter__(self) -> "Integrations":
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stopped = True
        self.want({})
        self._thread.join(END_S)

    def want(self, parts: dict[str, tuple[Hashable, Made]]) -> None:
        """Have these parts: name -> (key, what makes its context manager). One with the same key as before is left
        alone, one with another key begins anew, one that is not there ends."""
        self._wanted = dict(parts)
        self._news.set()

    def complain(self, name: str, sentence: str) -> None:
        """A part does not work, or '' when it does again. `name`: its own, or part.detail."""
        with self._lock:
            news = sentence and self._complaints.get(name) != sentence
            self._complaints = {key: said for key, said in {**self._complaints, name: sentence}.items() if said}
        if news:
            self._say(f"{sentence}: {remedy_of(name)}")

    @property
    def complaints(self) -> tuple[tuple[str, str], ...]:
        """(name, sentence) of what does not work."""
        return tuple(self._complaints.items())

    def given(self, name: str) -> object | None:
        """What a part gave when it began; None while it does not work."""
        part = self._parts.get(name)
        return part and part.given

    def _run(self) -> None:
        while True:
            self._news.clear()
            wanted = self._wanted
            for name in list(self._parts):
                if name not in wanted or wanted[name][0] != self._parts[name].key:
                    self._end(name, self._parts.pop(name))
            for name, (key, made) in wanted.items():
                self._look(name, self._parts.setdefault(name, _Part(key, made)))
            if self._stopped and not self._parts:
                return
            self._news.wait(LOOK_S)

    def _look(self, name: str, part: _Part) -> None:
        if part.given is not None and not part.given.alive:
            self._end(name, part)
            part.given, part.due_s = None, self._clock() + RETRY_S
            self._fail(part, name, f"{name} ended by itself")
        elif part.given is None and self._clock() >= part.due_s:
            self._begin(name, part)

    def _begin(self, name: str, part: _Part) -> None:
        try:
            part.given = part.cleanup.enter_context(part.made())
        except Exception as problem:  # noqa: BLE001 (whatever is wrong with it, the site runs on)
            part.due_s = self._clock() + RETRY_S
            if isinstance(problem, Trouble):
                self._fail(part, problem.part or name, str(problem))
            else:
                self._fail(part, name, f"{type(problem).__name__}: {problem}")
            return
        self._mended(part)

    def _fail(self, part: _Part, name: str, sentence: str) -> None:
        if name != part.failed[0]:
            self._mended(part)
        part.failed = (name, sentence)
        self.complain(name, sentence)

    def _mended(self, part: _Part) -> None:
        """Take back what was complained of when it could not begin, unless it complains of something else by now."""
        name, sentence = part.failed
        if sentence and self._complaints.get(name) == sentence:
            self.complain(name, "")
        part.failed = ("", "")

    def _end(self, name: str, part: _Part) -> None:
        try:
            part.cleanup.close()
        except Exception as problem:  # noqa: BLE001 (see _begin)
            self._say(f"{name} did not end well: {problem}")
        for complaint, _ in self.complaints:
            if complaint == name or complaint.startswith(name + "."):
                self.complain(complaint, "")
