"""What the supply did to the servers: lowest voltage, EN 50160 dips, the ITIC envelope."""

from forerun.plant.series import NEVER

DIP_PU = 0.90  # EN 50160: a dip is below 90 % of the reference voltage for at least 10 ms
DIP_END_PU = 0.92  # 2 % hysteresis, so that one sag with ripple counts once
INTERRUPTION_PU = 0.05
DIP_MIN_US = 10_000

# ITIC (2000): outside this voltage for longer than this, information equipment may stop.
_ITIC_LOW = ((0.70, 20_000), (0.80, 500_000), (0.90, 10_000_000))
_ITIC_HIGH = ((1.20, 3_000), (1.10, 500_000))


class Quality:
    """Counts while observe() is told every step's voltage; voltages in per unit of nominal."""

    __slots__ = (
        "_counted",
        "_dip_since_us",
        "_high_since_us",
        "_low_since_us",
        "_outside",
        "_quiet",
        "dip_count",
        "dip_us",
        "interruption_count",
        "itic_violations",
        "min_pcc_pu",
    )

    def __init__(self):
        self.min_pcc_pu = 9.0
        self.dip_count = 0
        self.interruption_count = 0
        self.dip_us = 0  # total time below 90 %
        self.itic_violations = 0
        self._dip_since_us = NEVER
        self._counted = 0  # 0 not yet, 1 as dip, 2 as interruption
        self._low_since_us = [NEVER, NEVER, NEVER]
        self._high_since_us = [NEVER, NEVER]
        self._outside = False  # this excursion from the ITIC envelope is counted
        self._quiet = True

    def observe(self, start_us: int, end_us: int, worst_pcc_pu: float, pcc_pu: float, bus_pu: float) -> None:
        """One step from start_us to end_us with this voltage; worst_pcc_pu is its lowest 10 ms."""
        if worst_pcc_pu < self.min_pcc_pu:
            self.min_pcc_pu = worst_pcc_pu
        if self._quiet and pcc_pu >= DIP_END_PU and 0.92 <= bus_pu <= 1.10:
            return
        self._observe_dip(start_us, end_us, pcc_pu)
        self._observe_itic(start_us, end_us, bus_pu)
        self._quiet = pcc_pu >= DIP_END_PU and 0.92 <= bus_pu <= 1.10

    def _observe_dip(self, start_us: int, end_us: int, pcc_pu: float) -> None:
        if pcc_pu >= DIP_END_PU:
            self._dip_since_us = NEVER
            self._counted = 0
            return
        if pcc_pu < DIP_PU:
            self.dip_us += end_us - start_us
            if self._dip_since_us == NEVER:
                self._dip_since_us = start_us
            if end_us - self._dip_since_us >= DIP_MIN_US and self._counted == 0:
                self._counted = 1
                self.dip_count += 1
            if pcc_pu < INTERRUPTION_PU and self._counted == 1:
                self._counted = 2
                self.dip_count -= 1
                self.interruption_count += 1

    def _observe_itic(self, start_us: int, end_us: int, bus_pu: float) -> None:
        outside = False
        for index, (level, limit_us) in enumerate(_ITIC_LOW):
            if bus_pu >= level:
                self._low_since_us[index] = NEVER
                continue
            if self._low_since_us[index] == NEVER:
                self._low_since_us[index] = start_us
            outside = outside or end_us - self._low_since_us[index] > limit_us
        for index, (level, limit_us) in enumerate(_ITIC_HIGH):
            if bus_pu <= level:
                self._high_since_us[index] = NEVER
                continue
            if self._high_since_us[index] == NEVER:
                self._high_since_us[index] = start_us
            outside = outside or end_us - self._high_since_us[index] > limit_us
        if outside and not self._outside:
            self.itic_violations += 1
        self._outside = outside
