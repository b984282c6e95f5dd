"""The command line: parses, hands over to the composition root, prints. Exit status 0 done, 1 failed, 2 wrong usage."""

import errno
import os
import sys

import typer

from forerun.cli import accounts, board, plan, simulate, site, store
from forerun.commission.cli import app as commission_app

app = typer.Typer(
    help="Site controller for edge-computing nodes: storage moves before the compute load does.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing frames around the help would cost half of the time that it may take
)
app.add_typer(simulate.app)
app.add_typer(site.app)
app.add_typer(accounts.app)
app.add_typer(board.board_app, name="board")
app.add_typer(plan.plan_app, name="plan")
app.add_typer(plan.forecast_app, name="forecast")
app.add_typer(commission_app, name="commission")
app.add_typer(board.link_app, name="link")
app.add_typer(site.token_app, name="token")
app.add_typer(store.store_app, name="store")


BROKEN_OFF = 130  # as click ends after Ctrl-C
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def main() -> None:
    """Entry point; whatever goes wrong ends as one sentence on standard error, never as a traceback, but for who asks
    for it with `python -X dev -m forerun`."""
    from forerun.console import tell
    from forerun.errors import Trouble, WrongUsage

    # numpy's algebra is of small matrices here: its threads would wait for each other, at full speed on each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± or – is no reason to stop
    try:
        app()
    except WrongUsage as problem:
        tell(f"forerun: {problem}", file=sys.stderr)
        sys.exit(2)
    except Trouble as problem:
        tell(f"forerun: {problem}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == BROKEN_OFF:
            tell("forerun: broken off; what was not finished counts as not done", file=sys.stderr)
        raise
    except Exception as problem:
        if sys.flags.dev_mode:
            raise
        tell(f"forerun: {_unforeseen(problem)}", file=sys.stderr)
        sys.exit(1)


def _unforeseen(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.filename is not None:
        return f"{problem.filename}: {problem.strerror}: mend that, and start again"
    if isinstance(problem, OSError) and problem.errno in _DISK:  # of a write, which names no file
        return f"what was to be written could not be: {problem.strerror}: mend that, and start again"
    place = problem.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "nowhere"
    return (f"{type(problem).__name__}: {problem} ({where}); this is a fault of the program, please report it with "
            "what `python -X dev -m forerun …` prints")  # fmt: skip
