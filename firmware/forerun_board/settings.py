"""The commissioned settings: kept in two slots, checked against the wire's table, copied into the control's Config."""

import binascii
import struct

from forerun_board.fieldbus import round_ms
from forerun_wire.messages import SETTINGS

CYCLE_MS = 0
BUS_KEYS = (1, 2, 3, 4, 5, 16)  # a change of these means beginning anew on the bus


class Settings:
    """Values by key. `lengthened_from` is the cycle_ms that was stored but too short for the line, or 0."""

    def __init__(self, slots, config):
        self._slots = slots
        self._config = config
        self.lengthened_from = 0
        self._load()

    def get(self, key):
        """Value of setting `key`, or None if there is no such key."""
        return getattr(self._config, SETTINGS[key][1]) if 0 <= key < len(SETTINGS) else None

    def objection(self, pairs):
        """A sentence why the settings [key, value, ...] cannot be taken, or None."""
        changed = {}
        for i in range(0, len(pairs), 2):
            key, value = pairs[i], pairs[i + 1]
            if self.get(key) is None:
                return "there is no setting with key %d" % key
            _, name, unit, low, high, _ = SETTINGS[key]
            if not low <= value <= high:
                return "%s = %d %s is outside %d to %d" % (name, value, unit, low, high)
            changed[name] = value
        least_ms = round_ms(changed.get("bus_baud", self._config.bus_baud))
        cycle_ms = changed.get("cycle_ms", self._config.cycle_ms)
        if cycle_ms < least_ms:
            return "cycle_ms = %d is shorter than the %d ms that a round takes at this bus_baud" % (cycle_ms, least_ms)
        low = changed.get("soc_min_permille", self._config.soc_min_permille)
        high = changed.get("soc_max_permille", self._config.soc_max_permille)
        if low >= high:
            return "soc_min_permille = %d is not below soc_max_permille = %d" % (low, high)
        return None

    def set(self, pairs):
        """Take and keep the settings [key, value, ...]; objection() has had none. True if the bus must begin anew."""
        rebuild = False
        for i in range(0, len(pairs), 2):
            if pairs[i] in BUS_KEYS and self.get(pairs[i]) != pairs[i + 1]:
                rebuild = True
            setattr(self._config, SETTINGS[pairs[i]][1], pairs[i + 1])
        self._slots.write(self._packed())
        return rebuild

    def crc(self):
        """CRC-32 of all values in order of their keys: equal on two boards that are set alike."""
        return binascii.crc32(self._packed())

    def _packed(self):
        return struct.pack("<%di" % len(SETTINGS), *[self.get(key) for key in range(len(SETTINGS))])

    def _load(self):
        kept = self._slots.read()
        if kept is not None:
            # Settings that an older firmware did not know keep their default; so do values that no longer fit.
            for key in range(min(len(kept) // 4, len(SETTINGS))):
                value = struct.unpack("<i", kept[4 * key : 4 * key + 4])[0]
                if SETTINGS[key][3] <= value <= SETTINGS[key][4]:
                    setattr(self._config, SETTINGS[key][1], value)
        least_ms = round_ms(self._config.bus_baud)
        if self._config.cycle_ms < least_ms:
            self.lengthened_from = self._config.cycle_ms
            self._config.cycle_ms = least_ms
