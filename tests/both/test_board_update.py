"""Update over the link: a slot filled chunk by chunk, interrupted anywhere, and the choice of what runs."""

import hashlib
import os

from bus_bench import scratch
from forerun_board.slots import Slots
from forerun_board.update import Slot
from forerun_wire.cbor import pack

FILES = (
    ("forerun_wire/__init__.mpy", b"w" * 30),
    ("forerun_board/control/inner.mpy", bytes([i * 7 & 255 for i in range(900)])),
    ("forerun_board/start.mpy", b"start" * 60),
)
PIECE = 128


def sum_of(data):
    return hashlib.sha256(data).digest()


def image_of(files):
    """(image, size of the manifest, its SHA-256, ends of manifest and files)."""
    buffer = bytearray(4096)
    end = pack(buffer, 0, [[path, len(data), sum_of(data)] for path, data in files])
    manifest = bytes(buffer[:end])
    ends = [end]
    for _, data in files:
        ends.append(ends[-1] + len(data))
    return manifest + b"".join([data for _, data in files]), end, sum_of(manifest), ends


def chunks_of(image, ends, start=0):
    """(offset, data) of each chunk: none reaches beyond the file that it begins in."""
    at = start
    for end in ends:
        while at < end:
            yield at, image[at : min(end, at + PIECE)]
            at = min(end, at + PIECE)


def begin(store, files=FILES, slot=1):
    image, manifest_size, digest, ends = image_of(files)
    return Slot(store, slot, len(image), manifest_size, digest), image, ends


def content(path):
    with open(path, "rb") as file:
        return file.read()


def remove_all(folder):
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            remove_all(path)
        else:
            os.remove(path)
    os.rmdir(folder)


def refused(slot, data):
    try:
        slot.chunk(0, data)
    except ValueError as error:
        return str(error)
    raise AssertionError("it was taken")


def test_a_slot_is_filled_in_order_and_says_what_it_wants():
    store = scratch()
    slot, image, ends = begin(store)
    assert slot.offset == 0 and not slot.complete
    assert "begins at 0" in slot.chunk(5, b"x")
    assert "1 to" in slot.chunk(0, image[: ends[0] + 1]), "it may not reach into the first file"
    for offset, data in chunks_of(image, ends):
        assert not slot.complete and slot.chunk(offset, data) is None
        assert slot.offset == offset + len(data)
    assert slot.complete
    for path, data in FILES:
        assert content(store + "/a/" + path) == data
    assert "part" not in os.listdir(store + "/a")
    remove_all(store)


def test_interrupted_at_any_chunk_it_goes_on_with_the_file_under_way():
    store = scratch()
    slot, image, ends = begin(store)
    pieces = list(chunks_of(image, ends))
    for stop in range(len(pieces)):
        slot, _, _ = begin(store)
        sent = 0
        resumed = list(chunks_of(image, ends, slot.offset))
        assert slot.offset == 0 or slot.offset in ends
        for offset, data in resumed:
            if offset >= pieces[stop][0]:
                break
            sent += 1
            assert slot.chunk(offset, data) is None
        again, _, _ = begin(store)
        assert again.offset == max([0] + [end for end in ends if end <= slot.offset]), stop
        assert sent <= 9
    slot, _, _ = begin(store)
    for offset, data in chunks_of(image, ends, slot.offset):
        assert slot.chunk(offset, data) is None
    assert slot.complete and begin(store)[0].complete
    other, _, _ = begin(store, FILES[:2])
    assert other.offset == 0 and os.listdir(store + "/a") == [], "another image begins from nothing"
    remove_all(store)


def test_what_is_not_what_was_signed_is_not_kept():
    store = scratch()
    slot, image, ends = begin(store)
    wrong = bytes([image[0] ^ 1]) + image[1 : ends[0]]
    assert "manifest came with another sum" in slot.chunk(0, wrong)
    assert slot.offset == 0 and os.listdir(store + "/a") == []
    assert slot.chunk(0, image[: ends[0]]) is None
    assert "forerun_wire/__init__.mpy came with another sum" in slot.chunk(ends[0], b"v" * 30)
    assert slot.offset == ends[0] and slot.chunk(ends[0], b"w" * 30) is None
    remove_all(store)
    for files in ((("forerun_board/../main.py", b"x"),), (("main.py", b"x"),), (("forerun_board/x", b""),)):
        store = scratch()
        slot, image, ends = begin(store, files)
        assert "the manifest names" in refused(slot, image[: ends[0]])
        remove_all(store)


def test_a_trial_is_started_once_and_confirmed_or_over():
    store = scratch()
    slots = Slots(store)
    assert (slots.choose(), slots.free()) == (0, 1)
    slots.trial, slots.starts_left = 1, 1
    slots.keep()
    assert Slots(store).choose() == 1
    running = Slots(store)
    assert (running.trial, running.starts_left) == (1, 0)
    assert Slots(store).choose() == 0, "nobody confirmed it"
    fell = Slots(store)
    assert (fell.trial, fell.fallen, fell.choose()) == (0, 1, 0)
    fell.trial, fell.starts_left, fell.fallen = 1, 1, 0
    fell.keep()
    slots = Slots(store)
    slots.choose()
    slots.confirmed, slots.trial = 1, 0
    slots.keep()
    assert [Slots(store).choose() for _ in range(3)] == [1, 1, 1] and Slots(store).free() == 2
    slots = Slots(store)
    slots.trial, slots.starts_left = 2, 1
    slots.keep()
    assert Slots(store).choose() == 2 and Slots(store).choose() == 1
    Slots(store).give_up(1)
    assert Slots(store).choose() == 0, "what cannot be loaded gives way to /lib"
    remove_all(store)
