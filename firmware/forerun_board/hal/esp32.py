"""ESP32 and its relatives."""

from forerun_board.hal.chip import Chip

WATCHDOG_MS = 15_000


class Esp32(Chip):
    """Its timers are soft: a collection of garbage may hold a step of the inner loop up."""

    timer_id = 0
    hard_timer = False


def run(make_board):
    """Run make_board(hal) for ever; should it ever end, the watchdog starts everything anew."""
    make_board(Esp32(WATCHDOG_MS)).run()
