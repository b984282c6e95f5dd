"""What a command has to do with the person at the terminal: how far it is, what it found, that it was told to stop."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable


def tell(words: str, indent: int = 0, file=None) -> None:
    """Print on standard output, or `file`; at a terminal the lines are folded at their words."""
    file = file or sys.stdout
    if file is not None and file.isatty():  # a program started without one has None
        import shutil
        import textwrap

        width = max(20, shutil.get_terminal_size().columns)
        folds = {"subsequent_indent": " " * indent, "break_long_words": False, "break_on_hyphens": False}
        words = "\n".join(textwrap.fill(line, width, **folds) for line in words.splitlines())
    print(words, file=file, flush=True)


class Stop:
    """Turns SIGINT and SIGTERM into a flag, so that a run ends with everything on disk, and SIGHUP into another."""

    def __init__(self) -> None:
        self.asked = self.reload = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number, frame) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.asked = True


@contextlib.contextmanager
def progress(quiet: bool, words: str):
    """A progress bar on standard error, none when `quiet`; yields tick(share that is done, 0–1)."""
    if quiet:
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn(words), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(words, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def show_report(result: dict) -> None:
    """What was reported as a table, in a person's words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", show_header=False, box=None)
    for name, value in result.items():
        table.add_row(name.removesuffix("_utc_s").replace("_", " "), Text(_in_words(name, value)))
    Console().print(table)


def _in_words(name: str, value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ((), [], {}, ""):
        return "none"
    if name.endswith("_utc_s"):
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_in_words(key, one)}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def live_line(sentence: Callable[[], str], as_json: bool):
    """A live line of the site in one sentence, on a terminal; nothing elsewhere."""
    if as_json or not sys.stdout.isatty():
        return contextlib.nullcontext()
    from rich.live import Live
    from rich.text import Text

    class Line:
        def __rich__(self) -> Text:
            return Text(sentence())

    return Live(Line(), refresh_per_second=4)


def speaker(as_json: bool) -> Callable[[str], None]:
    if as_json:
        return lambda sentence: print(json.dumps({"said": sentence}), flush=True)
    if not sys.stderr.isatty():  # the journal of systemd has a clock of its own, and lines of any length
        return lambda sentence: print(sentence, file=sys.stderr, flush=True)
    from rich.console import Console

    console = Console(stderr=True, log_path=False)
    return lambda sentence: console.log(sentence, markup=False)
