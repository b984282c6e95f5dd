"""A PV inverter that is curtailed through SunSpec model 123: its share of the rated power, with a reversion timer.

When the board falls silent it feeds in freely again: curtailment is a matter of limits that the board watches, and a
site without a board must not lose its sun for ever.
"""

from forerun_board.drivers.sunspec import SunspecDevice

LIMIT_AT = 5  # WMaxLimPct
REVERT_AT = 7
ENABLE_AT = 9
SCALE_AT = 23


class PvSunspec(SunspecDevice):
    """`given_permille`: what it was last told to feed in at most."""

    def __init__(self, bus, unit, refuse):
        super().__init__(bus, unit, refuse)
        self.given_permille = 1000
        self._scale = 0
        self._address = 0

    def attach(self):
        """Generator: find model 123 and its scale factor."""
        found = yield from self.discover()
        if not found:
            return
        if 123 not in self.models:
            self.refused(0)
            return
        self._address = self.models[123][0]
        good = yield from self.get(self._address + SCALE_AT, 1)
        if not good:
            return
        self._scale = self.bus.i16(0)
        if not -2 <= self._scale <= 0:
            self.refused(self._address + SCALE_AT)
            return
        self.given_permille = 1000  # it may have been without power
        self.attached = True
        self.succeeded()

    def limit(self, permille, watchdog_s):
        """Generator: feed in at most `permille` (0 … 1000) of the rated power, for watchdog_s, never 0, from now on."""
        counts = permille * 10**-self._scale // 10
        accepted = yield from self.put(self._address + LIMIT_AT, counts)
        if accepted:
            accepted = yield from self.put(self._address + REVERT_AT, max(1, watchdog_s))
        if accepted:
            accepted = yield from self.put(self._address + ENABLE_AT, 1 if permille < 1000 else 0)
        if accepted:
            self.given_permille = permille
