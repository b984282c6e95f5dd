"""Cuts the power at every single write of an update: micropython tests/power_cut_update.py

Before, the board runs what came with the update before. Whenever the supply fails, what then starts is one of the two,
whole; never the new one once it had its trial and was not confirmed; and the update can be gone through with.
"""

import hashlib
import sys

HERE = __file__.rpartition("/")[0] or "."
for _place in ("/../firmware", "/../protocol", ""):
    sys.path.insert(0, HERE + _place)

from forerun_board.slots import FOLDERS, Slots
from forerun_board.twoslot import make_directory
from forerun_board.update import Slot
from forerun_wire.cbor import pack
from power_cut import cut_everywhere

STORE = "/flash/records"
OLD, NEW = 1, 2
PIECE = 300
FILES = {
    OLD: (("forerun_board/start.mpy", b"old start" * 80), ("forerun_wire/cbor.mpy", b"old wire" * 120)),
    NEW: (("forerun_board/start.mpy", b"new start" * 90), ("forerun_wire/cbor.mpy", b"new wire" * 130),
          ("forerun_board/control/x.mpy", b"new" * 100)),
}  # fmt: skip


class Promised:
    """What the host was told, and how far the board came."""

    def __init__(self):
        self.started = False
        self.confirmed = False


def fill(slot):
    """All of the update that belongs into this slot."""
    buffer = bytearray(1024)
    entries = [[path, len(data), hashlib.sha256(data).digest()] for path, data in FILES[slot]]
    end = pack(buffer, 0, entries)
    manifest = bytes(buffer[:end])
    parts = [manifest] + [data for _, data in FILES[slot]]
    image = b"".join(parts)
    filled = Slot(STORE, slot, len(image), end, hashlib.sha256(manifest).digest())
    start = 0
    for part in parts:
        for at in range(start, start + len(part), PIECE):
            piece = image[at : min(at + PIECE, start + len(part))]
            if at >= filled.offset:
                sentence = filled.chunk(at, piece)
                if sentence:
                    raise ValueError(sentence)
        start += len(part)
    if not filled.complete:
        raise ValueError("it is not complete")


def prepare():
    make_directory(STORE)
    fill(OLD)
    slots = Slots(STORE)
    slots.confirmed = OLD
    slots.keep()


def story(promised):
    """An update that goes well."""
    fill(NEW)
    slots = Slots(STORE)
    slots.trial, slots.starts_left = slots.free(), 1
    slots.keep()
    if Slots(STORE).choose() != NEW:
        raise ValueError("the trial does not start")
    promised.started = True
    slots = Slots(STORE)
    slots.confirmed, slots.trial = NEW, 0
    slots.keep()
    promised.confirmed = True


def objection(promised):
    """What is wrong with what starts after the cut, or None."""
    slot = Slots(STORE).choose()
    if slot not in FILES:
        return f"slot {slot} starts"
    if promised.confirmed and slot != NEW:
        return "what was confirmed does not start"
    for path, data in FILES[slot]:
        with open(STORE + FOLDERS[slot] + "/" + path, "rb") as file:
            if file.read() != data:
                return f"{path} of slot {slot} is not whole"
    slots = Slots(STORE)
    if slot == NEW and slots.confirmed != NEW:
        if promised.started:
            return "a trial is started twice"
        if Slots(STORE).choose() != OLD:
            return "a trial that was not confirmed does not end"
        slots = Slots(STORE)
    if slots.confirmed == OLD:
        story(promised)
        if Slots(STORE).choose() != NEW:
            return "the update cannot be gone through with"
    return None


if __name__ == "__main__":
    sys.exit(1 if cut_everywhere(prepare, Promised, story, objection) else 0)
