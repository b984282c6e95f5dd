"""Update over the link: takes another firmware into the free slot, file by file, and puts it on trial.

In memory only while the board is in its maintenance state or a new firmware is on trial. The manifest, which comes
first, is a CBOR array of [path, size, SHA-256] of each file; its own SHA-256 is signed with the board's commission
key (HMAC-SHA256: an Ed25519 check takes a board seconds and 30 kB; the host checks the release's Ed25519 signature).
A file gets its name once it lies on flash with the right sum, so what has its name need not come again.
"""

import hashlib
import os

from forerun_board.control import controller as ctl
from forerun_board.control import events as ev
from forerun_board.slots import FOLDERS, Slots
from forerun_board.twoslot import make_directory
from forerun_wire import messages as m
from forerun_wire.cbor import CborError, Reader

CHUNK_MAX = 192  # memory is in small pieces by the time that an update comes
BLOCK = 96
ENTRY_MAX = 160
MANIFEST_MAX = 16_384
IMAGE_MAX = 1 << 20
HOLD_MAX_S = 3_600
RESTART_MS = 500  # so long the reply may take to go out
HASH_BYTES = 8  # of a chunk
TESTED_MAX = 63  # all contacts but those that shed loads and hold PV back

# States, as UPDATE_STATUS gives them.
NONE = 0
RECEIVING = 1
COMPLETE = 2
ON_TRIAL = 3


class Slot:
    """One slot of `store` being filled. `offset`: bytes of the image that are there; `complete` when all are."""

    def __init__(self, store, slot, size, manifest_size, digest):
        self.folder = store + FOLDERS[slot]
        self.size = size
        self.offset = 0
        self._digest = digest
        self._manifest_size = manifest_size
        self._at = 0  # of the next entry in the manifest
        self._left = self._file_size = manifest_size  # bytes until the file under way is whole
        self._path = ""  # of the file under way; "": the manifest
        self._start = 0  # where it begins in the image
        self._expected = digest
        self._begin()

    @property
    def complete(self):
        """True when every file is there."""
        return self.offset == self.size

    def _begin(self):
        """Go on where an interruption left off; whatever belongs to another image goes."""
        make_directory(self.folder)
        if _sum(self.folder + "/manifest") != self._digest:
            _empty(self.folder)
            return
        self._manifest_done()
        while not self.complete and self._is_there():
            self._file_done()
        _remove(self.folder + "/part")

    def chunk(self, offset, data):
        """None if it was taken, else a sentence. It may not reach beyond the file under way."""
        if offset != self.offset:
            return "the next chunk begins at %d, not at %d" % (self.offset, offset)
        if not 0 < len(data) <= self._left:
            return "a chunk here has 1 to %d bytes, not %d" % (min(CHUNK_MAX, self._left), len(data))
        with open(self.folder + "/part", "ab") as file:
            file.write(data)
            file.flush()
        self._left -= len(data)
        self.offset += len(data)
        if self._left:
            return None
        return self._settle()

    def _settle(self):
        """The file under way is whole: it gets its name if it is what the manifest says."""
        name = self._path or "manifest"
        part = self.folder + "/part"
        if _sum(part) != self._expected:
            _remove(part)
            self._left = self._file_size
            self.offset = self._start
            return name + " came with another sum than was signed: send it again"
        for at in range(len(name)):
            if name[at] == "/":
                make_directory(self.folder + "/" + name[:at])
        os.rename(part, self.folder + "/" + name)
        if self._path:
            self._file_done()
        else:
            self._manifest_done()
        return None

    def _manifest_done(self):
        self.offset = self._manifest_size
        with open(self.folder + "/manifest", "rb") as file:
            head = file.read(3)
        self._at = 3 if head[0] == 0x99 else 2 if head[0] == 0x98 else 1  # the head of a CBOR array
        self._next_entry()

    def _file_done(self):
        self.offset = self._start + self._file_size
        if not self.complete:
            self._next_entry()

    def _next_entry(self):
        """Read what the next file is. ValueError from a manifest that is none, signed or not."""
        with open(self.folder + "/manifest", "rb") as file:
            file.seek(self._at)
            text = file.read(ENTRY_MAX)
        try:
            reader = Reader(text)
            reader.array()
            path, size, digest = reader.value(), reader.value(), reader.value()
        except CborError as error:
            raise ValueError("the manifest is not CBOR") from error
        if not (isinstance(path, str) and isinstance(size, int) and isinstance(digest, bytes)):
            raise ValueError("an entry of the manifest is path, size and SHA-256")
        if not path.startswith("forerun_") or ".." in path or not 0 < size <= self.size - self.offset:
            raise ValueError("the manifest names %s with %d bytes" % (path, size))
        self._at += reader.at
        self._path = path
        self._start = self.offset
        self._file_size = self._left = size
        self._expected = digest

    def _is_there(self):
        try:
            return os.stat(self.folder + "/" + self._path)[6] == self._file_size
        except OSError:
            return False


class Update:
    """The maintenance state of `board`, and the trial of its firmware. `step()` once a round."""

    def __init__(self, board):
        self._board = board
        self._until_s = 0
        self._slot = None
        self._version = ""
        self._restart_at_s = -1
        self.slots = Slots(board.hal.store)
        self.idle = False  # nothing is going on: the board may forget this object

    def step(self):
        """Restart when it is time to; notice that maintenance is over."""
        now_s = self._board.clock.s
        due = self._restart_at_s
        if 0 <= due <= now_s:
            self._board.hal.restart()
        if self._board.controller.faults & (ctl.FAULT_TRIP | ctl.FAULT_DOOR) or not self._in_hand():
            self._board.cycle.tested = 0
        self.idle = due < 0 and not (self._held() or self._board.cycle.tested)

    def _in_hand(self):
        """True while somebody holds the battery at a power, and what he asked for is not over."""
        lease = self._board.controller.lease
        return lease.remaining_ms > 0 and lease.mode == m.HOLD_BATTERY and self._board.clock.s < self._until_s

    def _held(self):
        """True in the maintenance state: somebody asked for it, and nobody has given another order since."""
        return self._in_hand() and self._board.controller.lease.value_w == 0

    def execute(self, op, args):
        """(code, results) of one of the operations of maintenance and update."""
        if op == m.MAINTENANCE:
            return self._maintain(args)
        if op == m.UPDATE_STATUS:
            return m.DONE, self._status()
        if op == m.UPDATE_COMMIT and self.slots.trial and self.slots.starts_left == 0:
            return self._confirm()
        if not self._held():
            return m.WRONG_STATE, ["an update needs the maintenance state: the battery held at 0 W"]
        if self.slots.trial:
            return m.WRONG_STATE, ["another firmware waits for its trial or for being confirmed"]
        if op == m.UPDATE_BEGIN:
            return self._begin(args)
        slot = self._slot
        if slot is None:
            return m.WRONG_STATE, ["no update has been begun"]
        return self._chunk(slot, args) if op == m.UPDATE_CHUNK else self._commit(slot)

    def _maintain(self, args):
        if len(args) < 1 or not isinstance(args[0], int) or not 0 <= args[0] <= HOLD_MAX_S:
            return m.OUT_OF_RANGE, ["maintenance takes hold_s, 0 to %d" % HOLD_MAX_S]
        if len(args) > 1:
            return self._drive(args)
        lease = self._board.controller.lease
        if args[0]:
            lease.grant(m.HOLD_BATTERY, 0, 1000 * args[0])
        elif self._held():
            lease.remaining_ms = 0
        self._until_s = self._board.clock.s + args[0]
        self._slot = None
        self._board.note_acted(m.MAINTENANCE, m.HOLD_BATTERY, args[0], 0)
        return m.DONE, []

    def _drive(self, args):
        """Contacts to drive for hold_s as long as somebody holds the battery; answered by what the inputs say, and by
        how many requests the bus has had since it was set up, and how many of them twice."""
        if not isinstance(args[1], int) or not 0 <= args[1] <= TESTED_MAX:
            return m.OUT_OF_RANGE, ["contacts go up to %d" % TESTED_MAX]
        self._until_s = self._board.clock.s + args[0]
        if not self._in_hand():
            return m.WRONG_STATE, ["contacts are driven only while the battery is held: lease a setpoint first"]
        cycle = self._board.cycle
        if cycle.tested != args[1]:
            cycle.tested = args[1]
            self._board.note_acted(m.MAINTENANCE, m.HOLD_BATTERY, args[1], 1)
        bus = cycle.fieldbus.bus
        return m.DONE, [self._board.image.inputs, bus.transactions, bus.retried]

    def _status(self):
        if self.slots.trial:
            state = ON_TRIAL
        elif self._slot is None:
            state = NONE
        else:
            state = COMPLETE if self._slot.complete else RECEIVING
        return [state, self._slot.offset if self._slot else 0, self._version]

    def _begin(self, args):
        kinds = (int, bytes, str, int, bytes)
        if len(args) < 5 or not all(isinstance(args[i], kinds[i]) for i in range(5)):
            return m.MALFORMED, ["update_begin takes size, sha256, version, manifest_size and signature"]
        size, digest, version, manifest_size, signature = args[:5]
        if not 0 < manifest_size <= min(size, MANIFEST_MAX) or size > IMAGE_MAX:
            return m.OUT_OF_RANGE, ["an image has up to %d bytes, a manifest %d" % (IMAGE_MAX, MANIFEST_MAX)]
        keys = self._board.session.keys
        if keys is None:
            return m.NOT_ALLOWED, ["this board has no key to check an update with: set one first, or use its USB port"]
        from forerun_wire import auth

        signed = auth.hmac(keys.of(m.COMMISSION), b"update", digest, version.encode())
        if not auth.equal(signed, signature):
            return m.NOT_ALLOWED, ["the manifest is not signed with the commission key of this board"]
        self._version = version
        try:
            self._slot = Slot(self._board.hal.store, self.slots.free(), size, manifest_size, digest)
        except ValueError as error:
            return m.MALFORMED, [str(error)]
        return m.DONE, [self._slot.offset, CHUNK_MAX]

    def _chunk(self, slot, args):
        if len(args) < 3 or not isinstance(args[1], bytes) or not isinstance(args[2], bytes):
            return m.MALFORMED, ["update_chunk takes offset, data and the first bytes of the data's SHA-256"]
        if hashlib.sha256(args[1]).digest()[:HASH_BYTES] != args[2]:
            return m.MALFORMED, ["the chunk at %d has another sum than was said" % args[0]]
        try:
            sentence = slot.chunk(args[0], args[1])
        except ValueError as error:
            self._slot = None
            return m.MALFORMED, [str(error)]
        if sentence:
            return m.WRONG_STATE, [sentence]
        return m.DONE, [slot.offset]

    def _commit(self, slot):
        if not slot.complete:
            return m.WRONG_STATE, ["%d of %d bytes have come" % (slot.offset, slot.size)]
        if self._board.controller.setpoint_w != 0:
            return m.WRONG_STATE, ["the battery is needed at %d W now: wait until it rests" %
                                   self._board.controller.setpoint_w]  # fmt: skip
        self.slots.trial = self.slots.free()
        self.slots.starts_left = 1
        self.slots.fallen = 0
        self.slots.keep()
        self._restart_at_s = self._board.clock.s + 1
        return m.DONE, []

    def _confirm(self):
        if not self._board.cycle.alive.fed:
            return m.WRONG_STATE, ["the new firmware has not yet driven link and bus once: wait"]
        self.slots.confirmed = self.slots.trial
        self.slots.trial = 0
        self.slots.keep()
        self._board.on_trial = False
        self._board.controller.events.push(ev.UPDATE_CONFIRMED, self.slots.confirmed, 0)
        return m.DONE, []


def _sum(path):
    """SHA-256 of a file, or None if there is none."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            block = memoryview(bytearray(BLOCK))  # one for all of it, and small: memory may be in many pieces
            count = file.readinto(block)
            while count:
                total.update(block[:count])
                count = file.readinto(block)
    except OSError:
        return None
    return total.digest()


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass  # it was not there


def _empty(folder):
    """Take away all that lies in it: the manifest first, so that no half of it is ever taken for a whole."""
    _remove(folder + "/manifest")
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            _empty(path)
            os.rmdir(path)
        else:
            os.remove(path)
