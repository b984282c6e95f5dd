"""The board's state machines, drawn from the very tables that it runs; docs/state-machines.md is this page."""

from forerun_board.control import genset_control, interlock, islanding, prepare, trip
from forerun_board.control.table import mermaid

_PREPARE = """An announced load step: the inverter is woken, the reserve charged, PV released, headroom made, each with
a deadline; `ready` is told with the notice that is left."""
_GENSET = "The start contact of the diesel set, and when it is given load."
_ISLANDING = "Leaving a grid that failed, living without it, and going back to it."
_INTERLOCK = """Emergency stop, door or insulation: the inverter is off the bus at once, whatever is
commissioned, and stays so, through restarts, until somebody on site resets it with all contacts closed again."""
_TRIP = "A measurement outside its limits for its time takes the inverter off the bus at once, and clears itself."

MACHINES = (
    ("prepare", prepare.ROWS, _PREPARE),
    ("genset", genset_control.ROWS, _GENSET),
    ("islanding", islanding.ROWS, _ISLANDING),
    ("interlock", interlock.ROWS, _INTERLOCK),
    ("trip", trip.ROWS, _TRIP),
)

_HEAD = """# State machines of the board

Printed by `forerun board diagrams` from the tables in `firmware/forerun_board/control/`. An arrow says
`event [guard] / action`: the rows of a state are asked from top to bottom, once a round, and the first that holds is
taken.
"""


def mermaid_by_name() -> dict[str, str]:
    """{name: Mermaid source} of every state machine."""
    return {name: mermaid(rows) for name, rows, _ in MACHINES}


def page() -> str:
    """All of them as one page of Markdown."""
    parts = [_HEAD]
    for name, rows, words in MACHINES:
        parts.append(f"\n## {name}\n\n{words}\n\n```mermaid\n{mermaid(rows)}```\n")
    return "".join(parts)
