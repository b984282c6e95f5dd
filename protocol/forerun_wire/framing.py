"""Frames on the line: COBS( payload || CRC-32 little-endian ) 0x00, built and opened in place.

COBS replaces each zero by the distance to the next one, so it needs no second buffer: the payload sits one byte into
its frame, and only a run of 254 bytes without a zero moves what follows by one byte.
"""

import binascii
import struct

ZERO = b"\x00"
CRC_BYTES = 4
# crc32(data || crc32(data)) for any data and any seed. It fits 31 bits, so checking a good frame makes no long integer.
RESIDUE = 0x2144DF1C
SHORT_BYTES = 24  # frames up to here, heartbeats and setpoints among them, are taken in without making an object
VIEWS = 7  # lengths whose view is kept: telemetry, heartbeats, replies; prime, since lengths differ by twos and fours


def payload_max(max_frame):
    """Bytes of payload that always fit a frame of `max_frame` bytes on the line, delimiter included."""
    inside = max_frame - 2
    return inside - inside // 255 - CRC_BYTES


def seal(buffer, start, end, seed, view=None):
    """Index after the frame whose payload is `buffer[start + 1:end]`, sealed in place: CRC, COBS, delimiter.

    `seed` is where the CRC starts from; `view` may be a memoryview of that same payload. The buffer needs
    6 + payload // 254 spare bytes behind `end`.
    """
    crc = binascii.crc32(memoryview(buffer)[start + 1 : end] if view is None else view, seed)
    struct.pack_into("<I", buffer, end, crc)
    end = cobs_encode(buffer, start, end + CRC_BYTES)
    buffer[end] = 0
    return end + 1


def cobs_encode(buffer, start, end):
    """Index after the code of `buffer[start + 1:end]`, which replaces it in place from `start` on."""
    while True:
        following = buffer.find(ZERO, start + 1, end)
        if following < 0:
            following = end
        while following - start > 254:
            buffer[start] = 255
            if start + 255 == end:
                return end  # 254 bytes that end the frame need no further code byte
            start += 255
            buffer[start + 1 : end + 1] = bytes(buffer[start:end])
            end += 1
            following += 1
        buffer[start] = following - start
        if following == end:
            return end
        start = following


def cobs_decode(buffer, end):
    """Index after the data that the code `buffer[0:end]` stands for; they replace it in place from index 1 on.

    -1 if this is not COBS. `end` >= 1, and no zero in the code.
    """
    start = 0
    code = buffer[0]
    while True:
        following = start + code
        if following == end:
            return end
        if following > end:
            return -1
        next_code = buffer[following]
        if code == 255:
            buffer[following : end - 1] = bytes(buffer[following + 1 : end])
            end -= 1
            following -= 1
        else:
            buffer[following] = 0
        start = following
        code = next_code


class Views:
    """memoryviews of `buffer[1:1 + size]`; the latest few are kept, so that a steady flow of frames makes no garbage.
    Few, because a board that met a new length now and then would run out of memory in months."""

    def __init__(self, buffer):
        self._whole = memoryview(buffer)
        self._kept = [self._whole[:0]] * VIEWS

    def of(self, size):
        view = self._kept[size % VIEWS]
        if len(view) != size:
            view = self._kept[size % VIEWS] = self._whole[1 : 1 + size]
        return view


class Deframer:
    """Finds frames in a stream of bytes. Never raises on bad ones: it counts them and waits for the next delimiter."""

    def __init__(self, max_frame):
        self.max_frame = max_frame
        self.buffer = bytearray(max_frame)
        self.size = 0  # of the payload in buffer[1:1 + size], 0 = no frame ready
        self.frames = 0
        self.bad_crc = 0
        self.bad_cobs = 0
        self.oversize = 0
        self._views = Views(self.buffer)
        self._used = 0
        self._skipping = False

    def feed(self, data, at, end):
        """Index up to which `data[at:end]` was taken: behind a delimiter, or `end`. A frame is ready if `size` > 0.

        `data` is bytes or bytearray. The frame is gone with the next call.
        """
        self.size = 0
        stop = data.find(ZERO, at, end)
        upto = end if stop < 0 else stop
        self._take(data, at, upto)
        if stop < 0:
            return end
        if self._skipping:
            self.oversize += 1
            self._skipping = False
        elif self._used:
            self._open()
        self._used = 0
        return stop + 1

    def check(self, seed):
        """True if the ready frame is whole; counts it if not."""
        if binascii.crc32(self._views.of(self.size + CRC_BYTES), seed) == RESIDUE:
            self.frames += 1
            return True
        self.bad_crc += 1
        return False

    def _take(self, data, at, upto):
        count = upto - at
        used = self._used
        if self._skipping or not count:
            return
        if used + count >= self.max_frame:
            self._skipping = True
        elif count <= SHORT_BYTES:
            for i in range(count):
                self.buffer[used + i] = data[at + i]
        elif count == len(data):
            self.buffer[used : used + count] = data
        else:
            self.buffer[used : used + count] = memoryview(data)[at:upto]
        self._used = used + count

    def _open(self):
        end = cobs_decode(self.buffer, self._used)
        if end <= 1 + CRC_BYTES:
            self.bad_cobs += 1
        else:
            self.size = end - 1 - CRC_BYTES


class FrameQueue:
    """Frames on their way out, built where they wait. Holds about three of the longest."""

    def __init__(self, max_frame):
        self.max_frame = max_frame
        self.buffer = bytearray(3 * max_frame + 16)
        self.head = 0  # first byte not yet written
        self.tail = 0
        self.frames = 0
        self._whole = memoryview(self.buffer)
        self._views = Views(self.buffer)

    def reserve(self):
        """Index where a frame may start (its payload goes one further), or -1 while the line is behind."""
        if self.tail + self.max_frame > 3 * self.max_frame:
            if self.tail - self.head > 2 * self.max_frame:
                return -1
            waiting = bytes(self._whole[self.head : self.tail])
            self.buffer[: len(waiting)] = waiting
            self.head = 0
            self.tail = len(waiting)
        return self.tail

    def commit(self, end, seed):
        """Seal the payload that was put behind the reserved index, up to `end`."""
        start = self.tail
        self.tail = seal(self.buffer, start, end, seed, self._views.of(end - 1) if start == 0 else None)
        self.frames += 1

    def flush(self):
        """End whatever half a frame the line may still hold from before."""
        if self.head == self.tail:
            self.buffer[self.tail] = 0
            self.tail += 1

    def outgoing(self, limit):
        """memoryview of the next bytes to write, at most `limit`; valid until the next call."""
        return self._whole[self.head : min(self.tail, self.head + limit)]

    def sent(self, count):
        """`count` bytes of outgoing() were written."""
        self.head += count
        if self.head >= self.tail:
            self.head = 0
            self.tail = 0
