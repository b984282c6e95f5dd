"""Where a board begins: brings the parts into memory in an order that leaves it in one piece, then runs them."""

import gc
import sys

# Where there are only sources they are compiled here, and what the compiler leaves behind lies between the modules.
# The largest first, and a collection after each, keeps the free memory in few large blocks.
PARTS = (
    "forerun_wire.board",
    "forerun_board.drivers.inverter_sunspec",
    "forerun_board.control.controller",
    "forerun_board.fieldbus",
    "forerun_board.commands",
    "forerun_board.records",
    "forerun_board.cycle",
    "forerun_board.settings",
    "forerun_board.board",
)


def main():
    """Run for ever."""
    for part in PARTS:
        __import__(part)
        gc.collect()
    from forerun_board.board import Board

    if sys.platform == "rp2":
        from forerun_board.hal.rp2 import run
    elif sys.platform == "esp32":
        from forerun_board.hal.esp32 import run
    else:
        from forerun_board.hal.unix import run
    gc.collect()
    run(Board)
