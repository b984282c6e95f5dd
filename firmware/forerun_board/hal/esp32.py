"""ESP32 and its relatives."""

from forerun_board.hal.chip import Chip

WATCHDOG_MS = 15_000


def open_board():
    """This board, as pins.py describes it."""
    return Chip(WATCHDOG_MS)
