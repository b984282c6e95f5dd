"""The commissioned settings: kept in two slots, checked against the wire's table, copied into the control's Config."""

import binascii
import struct
from array import array

from forerun_board.fieldbus import round_ms, tenths_per_s
from forerun_wire.messages import SETTINGS_TEXT, setting

CYCLE_MS = 0
FIRST_FUNCTION = 20  # settings with this key or a higher one concern functions that are commissioned apart
# Pairs of keys, and by how much the first has to stay below the second at least: charge window (twice its hysteresis),
# volt-watt, charge and run time of the set, heater and fan (a hysteresis), reserve and window, edges of the trips.
_ORDERED = bytes((11, 12, 20, 26, 27, 1, 42, 43, 1, 38, 39, 1, 72, 73, 50, 34, 12, 0, 68, 67, 1, 70, 69, 1))
BAUD, PV_METER, GENSET_METER, FUNCTIONS = 1, 4, 5, 20
BUS_KEYS = (1, 2, 3, 4, 5, 16, 20, 60, 61)  # a change of these means beginning anew on the bus
_PAIR = "<Hi"  # key, value
_SIZE = 6


def _line_ends():
    ends = array("H")
    at = SETTINGS_TEXT.find("\n")
    while at >= 0:
        ends.append(at)
        at = SETTINGS_TEXT.find("\n", at + 1)
    ends.append(len(SETTINGS_TEXT))
    return ends


_ENDS = _line_ends()
COUNT = len(_ENDS)  # keys go from 0 to COUNT - 1


def row(key):
    """(key, name, unit, lowest, highest, default) of setting `key` (0 … COUNT - 1)."""
    return setting(SETTINGS_TEXT[_ENDS[key - 1] + 1 if key else 0 : _ENDS[key]])


class Settings:
    """Values by key. `lengthened_from` is the cycle_ms that was stored but too short for the line, or 0."""

    def __init__(self, slots, config):
        self._slots = slots
        self._config = config
        self.lengthened_from = 0
        self._load()

    def get(self, key):
        """Value of setting `key`, or None if there is no such key."""
        return getattr(self._config, row(key)[1]) if 0 <= key < COUNT else None

    def objection(self, pairs):
        """A sentence why the settings [key, value, ...] cannot be taken, or None."""
        changed = {}
        for i in range(0, len(pairs), 2):
            key, value = pairs[i], pairs[i + 1]
            if not 0 <= key < COUNT:
                return "there is no setting with key %d" % key
            _, name, unit, low, high, _ = row(key)
            if not low <= value <= high:
                return "%s = %d %s is outside %d to %d" % (name, value, unit, low, high)
            changed[key] = value
        least_ms = self._least_ms(changed)
        cycle_ms = self._value(changed, CYCLE_MS)
        if cycle_ms < least_ms:
            return "cycle_ms = %d is shorter than the %d ms that these devices take" % (cycle_ms, least_ms)
        at = self._unordered(changed)
        if at < 0:
            return None
        below, above = _ORDERED[at], _ORDERED[at + 1]
        low, high = self._value(changed, below), self._value(changed, above)
        return "%s = %d is not %d below %s = %d" % (row(below)[1], low, _ORDERED[at + 2], row(above)[1], high)

    def _unordered(self, changed):
        """Where in _ORDERED the first pair stands that these settings, {key: value}, break; -1: nowhere."""
        for at in range(0, len(_ORDERED), 3):
            if self._value(changed, _ORDERED[at + 1]) - self._value(changed, _ORDERED[at]) < _ORDERED[at + 2]:
                return at
        return -1

    def _value(self, changed, key):
        return changed[key] if key in changed else getattr(self._config, row(key)[1])

    def _least_ms(self, changed):
        """What cycle_ms must be at least with these settings, {key: value}, beside those in force."""
        tenths = tenths_per_s(
            self._value(changed, PV_METER), self._value(changed, GENSET_METER), self._value(changed, FUNCTIONS)
        )
        return round_ms(self._value(changed, BAUD), tenths)

    def set(self, pairs):
        """Take and keep the settings [key, value, ...]; objection() has had none. True if the bus must begin anew."""
        rebuild = False
        for i in range(0, len(pairs), 2):
            name = row(pairs[i])[1]
            if pairs[i] in BUS_KEYS and getattr(self._config, name) != pairs[i + 1]:
                rebuild = True
            setattr(self._config, name, pairs[i + 1])
        self._slots.write(self._packed())
        return rebuild

    def crc(self):
        """CRC-32 of all values in order of their keys: equal on two boards that are set alike."""
        return binascii.crc32(self._packed())

    def _packed(self):
        packed = bytearray(_SIZE * COUNT)
        for key in range(COUNT):
            struct.pack_into(_PAIR, packed, _SIZE * key, key, self.get(key))
        return packed

    def _load(self):
        kept = self._slots.read()
        if kept is not None:
            # Settings that an older firmware did not know keep their default; so do values that no longer fit.
            for at in range(0, len(kept) - _SIZE + 1, _SIZE):
                key, value = struct.unpack_from(_PAIR, kept, at)
                if key < COUNT:
                    _, name, _, low, high, _ = row(key)
                    if low <= value <= high:
                        setattr(self._config, name, value)
        at = self._unordered({})
        while at >= 0:
            for key in _ORDERED[at : at + 2]:
                setattr(self._config, row(key)[1], row(key)[5])
            at = self._unordered({})
        least_ms = self._least_ms({})
        if self._config.cycle_ms < least_ms:
            self.lengthened_from = self._config.cycle_ms
            self._config.cycle_ms = least_ms
