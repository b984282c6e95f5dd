"""RP2040 and RP2350."""

from forerun_board.hal.chip import Chip

WATCHDOG_MS = 8300  # the chip can count to 8388; the longest round is 5000


def run(make_board):
    """Run make_board(hal) for ever; should it ever end, the watchdog starts everything anew."""
    make_board(Chip(WATCHDOG_MS)).run()
