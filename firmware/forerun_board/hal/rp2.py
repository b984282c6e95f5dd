"""RP2040 and RP2350."""

from forerun_board.hal.chip import Chip

WATCHDOG_MS = 8300  # the chip can count to 8388; the longest round is 5000


def open_board():
    """This board, as pins.py describes it."""
    return Chip(WATCHDOG_MS)
