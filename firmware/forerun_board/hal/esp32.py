"""ESP32 and its relatives."""

from forerun_board.hal.chip import Chip

WATCHDOG_MS = 15_000


def run(make_board):
    """Run make_board(hal) for ever; should it ever end, the watchdog starts everything anew."""
    make_board(Chip(WATCHDOG_MS)).run()
