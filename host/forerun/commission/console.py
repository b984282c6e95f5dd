"""What the commissioning commands share: the person at the terminal, options, and how a result is shown."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from forerun.errors import WrongUsage

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and ask nothing.")]
SitePath = Annotated[Path, typer.Option("--site", help="The site file; what was done is kept beside it.")]


class Person:
    """Whoever sits at the terminal; nobody when the output is JSON or the input no terminal."""

    def __init__(self, as_json: bool):
        self.there = sys.stdin.isatty() and not as_json
        self.questions = 0

    def ask(self, given: str, flag: str, question: str, default: str = "") -> str:
        """`given` if it is something; else the answer, or the default when nobody is there. Raises WrongUsage."""
        if given:
            return given
        if self.there:
            self.questions += 1
            return typer.prompt(question, default=default or None)
        if not default:
            raise WrongUsage(f"{flag} is needed when nobody can be asked: {question}")
        return default

    def ask_number(self, given: str, flag: str, question: str, default: str = "") -> float:
        text = self.ask(given, flag, question, default)
        try:
            return float(text)
        except ValueError:
            raise WrongUsage(f"{flag} {text}: it must be a number") from None

    def agrees(self, given: bool, flag: str, question: str) -> None:
        """Returns when the answer is yes. Raises WrongUsage."""
        if not given:
            if not self.there:
                raise WrongUsage(f"{flag} is needed when nobody can be asked: {question}")
            self.questions += 1
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
        print(sentence)


def end(passed: bool) -> None:
    """Exit status 1 unless passed."""
    if not passed:
        raise typer.Exit(1)
