"""Where a board begins: chooses which firmware runs, brings its parts into memory, and runs them.

main() is always that of /lib, which no update touches; begin() is that of the firmware chosen.
"""

import gc
import sys

from forerun_board.hal.restart import restart, store

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
    """Run for ever. What came over the link and cannot be loaded, or fails, never stands in the way of what was."""
    from forerun_board.slots import FOLDERS, Slots

    slots = Slots(store())
    slot = slots.choose()
    _forget()
    if slot == 0:
        slots = FOLDERS = Slots = None
        begin()()
        return
    sys.path.insert(0, store() + FOLDERS[slot])
    run = None
    try:
        from forerun_board.start import begin as chosen

        run = chosen()
        run()
    except Exception as error:  # noqa: BLE001  whatever it is: on a board nobody would start it again
        sys.print_exception(error, sys.stderr)  # type: ignore  # MicroPython's
        if run is None:
            slots.give_up(slot)
        restart()


def _forget():
    """Nothing of what was imported to choose stays."""
    for name in list(sys.modules):
        if name.startswith("forerun_"):
            del sys.modules[name]
    gc.collect()


def begin():
    """All parts in memory; returns what runs them for ever."""
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
    return lambda: run(Board)
