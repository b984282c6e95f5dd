"""What noise does to the bytes on a line; the generator that draws is the caller's, so that one seed repeats a run."""

import random
from collections.abc import Callable


def one_bit(data: bytes, chance: random.Random) -> bytes:
    """`data` with one bit turned over."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def flips(chance: random.Random, share: float) -> Callable[[bytes], bytes]:
    """Noise that turns one bit over in this share of the frames."""
    return lambda data: one_bit(data, chance) if share and chance.random() < share else data


def bit_errors(chance: random.Random, share: float) -> Callable[[bytes], bytes]:
    """Noise that turns a bit over in this share of the bytes: long frames suffer more."""
    return lambda data: bytes(byte ^ (1 << chance.randrange(8) if chance.random() < share else 0) for byte in data)
