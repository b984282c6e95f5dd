"""What a site is described by beside its settings: an inverter's register map, and curves by their points.

In memory only where there is such a description, or while one comes in.
"""

import json
import struct

from forerun_board.drivers.inverter_map import objection
from forerun_board.twoslot import TwoSlot


def read_map(store):
    """The description in inverter.json, checked. OSError, or ValueError with a sentence."""
    with open(store + "/inverter.json") as file:
        description = json.load(file)
    sentence = objection(description)
    if sentence:
        raise ValueError(sentence)
    return description


def map_objection(store):
    """A sentence why the inverter that inverter.json describes cannot be driven, or None."""
    try:
        read_map(store)
    except (OSError, ValueError) as error:
        return "inverter_kind = 1: inverter.json is missing or wrong: %s" % error
    return None


def read_curves(store):
    """{number: points} of the curves that were given."""
    curves = {}
    packed = TwoSlot(store + "/curves").read() or b""
    at = 0
    while at < len(packed):
        number, count = packed[at], packed[at + 1]
        curves[number] = struct.unpack_from("<%di" % count, packed, at + 2)
        at += 2 + 4 * count
    return curves


def keep_curve(store, curve, points):
    """Keep a checked curve; no points: back to what the settings say."""
    curves = read_curves(store)
    curves[curve] = points
    packed = b""
    for number in curves:
        packed += struct.pack("<BB", number, len(curves[number]))
        for value in curves[number]:
            packed += struct.pack("<i", value)
    TwoSlot(store + "/curves").write(packed)
