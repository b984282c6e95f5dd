"""Cuts the power at every single write to flash, on MicroPython's own littlefs: micropython tests/power_cut.py

A RAM disk plays the flash. The same story is told again and again, each time the supply fails one write or erase
later, half of that write done; then the board boots from what is there. Prints `N cuts, M failures`.
"""

import os
import sys

import vfs

HERE = __file__.rpartition("/")[0] or "."
for _place in ("/../firmware", "/../protocol"):
    sys.path.insert(0, HERE + _place)

from forerun_board.control.config import Config
from forerun_board.records import Records
from forerun_board.settings import Settings
from forerun_board.twoslot import TwoSlot, make_directory
from forerun_wire.cbor import Reader

BLOCK = 4096
BLOCKS = 64
IMPORT_LIMIT, EXPORT_LIMIT = 6, 7
EIO = 5
FAILURES_MAX = 5  # more say no more


class Disk:
    """Flash of a board: programs into erased blocks, erases whole ones; `left` operations until the supply fails."""

    def __init__(self, data=None):
        self.data = data or bytearray(b"\xff" * (BLOCK * BLOCKS))
        self.left = -1
        self.dead = False  # what the collector still closes on it then comes to nothing, in silence

    def _use(self):
        if self.left == 0:
            return True
        self.left -= 1
        return False

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        if self.dead:  # the heap is locked while the collector works
            for i in range(len(buffer)):
                buffer[i] = self.data[at + i]
            return
        buffer[:] = self.data[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        if self.dead:
            return
        if self._use():
            half = len(buffer) // 2
            self.data[at : at + half] = buffer[:half]
            raise OSError(EIO)
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return BLOCK
        if op == 6 and not self.dead:
            if self._use():
                raise OSError(EIO)
            self.data[arg * BLOCK : (arg + 1) * BLOCK] = b"\xff" * BLOCK
        return 0


class Promised:
    """What the board has said is safe: the settings it confirmed, and the numbers of the records it sent."""

    def __init__(self):
        self.limits = (15_000, 10_000)
        self.attempted = self.limits
        self.flushed = 0
        self.acknowledged = 0


def story(promised):
    """A morning of a board: settings, records, acknowledgements. OSError when the supply fails."""
    make_directory("/flash/records")
    config = Config()
    settings = Settings(TwoSlot("/flash/records/settings"), config)
    records = Records("/flash/records")
    for hour in range(5):
        promised.attempted = (20_000 + hour, 11_000 + hour)
        settings.set([IMPORT_LIMIT, 20_000 + hour, EXPORT_LIMIT, 11_000 + hour])
        promised.limits = promised.attempted
        for number in range(30):
            records.add(1, 60 * hour, number, 2, [9, number, hour])
            if number % 10 == 9:
                records.flush()
                promised.flushed = records.next_number - 1
        if hour % 2:
            records.acknowledge(promised.flushed - 20)
            promised.acknowledged = promised.flushed - 20


def objection(promised):
    """What is wrong with what a board finds after the cut, or None."""
    make_directory("/flash/records")
    config = Config()
    settings = Settings(TwoSlot("/flash/records/settings"), config)
    found = (config.import_limit_w, config.export_limit_w)
    if found != promised.limits and found != promised.attempted:
        return f"settings are {found}; {promised.limits} was confirmed"
    records = Records("/flash/records")
    if records.next_number <= promised.flushed:
        return f"number {records.next_number} would be given twice"
    buffer = bytearray(64)
    for expected in range(promised.acknowledged + 1, promised.flushed + 1):
        count, number, end = records.fetch(expected - 1, 0, buffer, 0, 64, 1)
        if count != 1 or number != expected:
            return f"record {expected} is gone, there is {number}"
        record = Reader(buffer, 0, end).value()
        if record[:5] != [expected, 1, 60 * ((expected - 1) // 30), (expected - 1) % 30, 2]:
            return f"record {expected} says {record}"
    settings.set([IMPORT_LIMIT, 1_000])
    number = records.next_number
    records.add(2, 0, 0, 4, [0, 0])
    records.flush()
    again = Config()
    Settings(TwoSlot("/flash/records/settings"), again)
    if again.import_limit_w != 1_000 or Records("/flash/records").next_number != number + 1:
        return "nothing can be kept any more"
    return None


def cut_everywhere(prepare, promised_class, story, objection):
    """Number of cuts after which something that had been promised was not there. `prepare()` runs uncut before."""
    blank = Disk()
    vfs.VfsLfs2.mkfs(blank)
    vfs.mount(vfs.VfsLfs2(blank), "/flash")
    prepare()
    vfs.umount("/flash")
    image = bytes(blank.data)
    cuts = failures = 0
    while True:
        disk = Disk(bytearray(image))
        vfs.mount(vfs.VfsLfs2(disk), "/flash")
        disk.left = cuts
        promised = promised_class()
        over = False
        try:
            story(promised)
            over = True
        except OSError:
            pass
        disk.dead = True
        vfs.umount("/flash")
        vfs.mount(vfs.VfsLfs2(Disk(bytearray(disk.data))), "/flash")
        try:
            sentence = objection(promised)
        except OSError as error:
            sentence = f"it does not boot: {error}"
        vfs.umount("/flash")
        if sentence:
            failures += 1
            print("cut at write", cuts, ":", sentence)
        if over or failures == FAILURES_MAX:
            break
        cuts += 1
    print(cuts, "cuts,", failures, "failures")
    return failures if cuts > 50 else 1


if __name__ == "__main__":
    os.stat(HERE)
    sys.exit(1 if cut_everywhere(lambda: None, Promised, story, objection) else 0)
