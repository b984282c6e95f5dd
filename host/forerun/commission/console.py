"""What the commissioning commands share: the person at the terminal, options, and how a result is shown."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from forerun.console import tell
from forerun.errors import WrongUsage

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and ask nothing.")]
SitePath = Annotated[Path, typer.Option("--site", help="The site file; what was done is kept beside it.")]


MOST = 1_000_000_000  # W or mV: what is beyond is a slip of the hand


def plain(text: str) -> str:
    """The text without blanks around it. ValueError when nothing is left, or what cannot be printed."""
    if not text.strip() or not text.isprintable():
        raise ValueError("it must be text that can be printed")
    return text.strip()


def number(low: float = -MOST, high: float = MOST) -> Callable[[str], float]:
    """What makes a number from `low` to `high` of a text; ValueError for others."""

    def means(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"it must be a number from {low} to {high}")
        return value

    return means


class Person:
    """Whoever sits at the terminal; nobody when the output is JSON or the input no terminal."""

    def __init__(self, as_json: bool):
        self.there = sys.stdin.isatty() and not as_json
        self.questions = 0

    def ask(self, given: str, flag: str, question: str, default: str = "", means: Callable[[str], Any] = plain) -> Any:
        """What `means` makes of `given` if that is something; else of the answer, or of the default when nobody is
        there. `means` raises ValueError with what it must be, and a person is asked again. Raises WrongUsage."""
        if self.there and not given:
            self.questions += 1
            while True:
                answer = typer.prompt(question, default=default or None)
                try:
                    return means(answer)
                except ValueError as problem:
                    tell(str(problem))
        text = given or default
        if not text:
            raise WrongUsage(f"{flag} is needed when nobody can be asked: {question}")
        try:
            return means(text)
        except ValueError as problem:
            raise WrongUsage(f"{flag} {text}: {problem}") from None

    def agrees(self, given: bool, flag: str, about: str, question: str) -> None:
        """Returns when the answer is yes; `about`: the sentence that it is asked after. Raises WrongUsage."""
        if not given:
            if not self.there:
                raise WrongUsage(f"{flag} is needed when nobody can be asked: {about} {question}")
            self.questions += 1
            tell(about)
            if not typer.confirm(question):
                raise WrongUsage("nothing was done")


class progress:
    """A line that says what is being tried, at a terminal; nothing elsewhere."""

    def __init__(self, as_json: bool):
        from rich.console import Console

        self._status = None if as_json or not sys.stderr.isatty() else Console(stderr=True).status("")

    def __enter__(self) -> Callable[[str], None]:
        if self._status is None:
            return lambda sentence: None
        self._status.start()
        return self._status.update

    def __exit__(self, *exc) -> None:
        if self._status is not None:
            self._status.stop()


def table(*head: str, rows) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    made = Table(*head)
    for row in rows:
        made.add_row(*row)
    Console().print(made)


def show(result: dict, as_json: bool, sentence: str) -> None:
    """The result as JSON, or the sentence for a person."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False, sort_keys=True))
    elif sentence:
        tell(sentence)


def end(passed: bool) -> None:
    """Exit status 1 unless passed."""
    if not passed:
        raise typer.Exit(1)
