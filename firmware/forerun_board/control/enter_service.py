"""After every absence the site comes back late and slowly, so that not all come back at once."""

RATE_SCALE = 60_000


class EnterService:
    """`permille` of the rated power that may be used: 0 until voltage and frequency have been in their range for the
    whole delay, then a ramp up to 1000.

    Ranges and delay: EN 50549-1:2019, 4.10.2 (after a trip: 49.5–50.2 Hz, 85–110 %, 60 s, 10 % a minute) and
    IEEE 1547-2018, table 4 (300 s, ramp 300 s).
    """

    def __init__(self, delay_ms, permille_per_min, nominal_mv=230_000):
        self._delay_ms = delay_ms
        self._permille_per_min = permille_per_min
        self._low_mv = nominal_mv * 85 // 100
        self._high_mv = nominal_mv * 110 // 100
        self._healthy_ms = 0
        self._carry = 0
        self._in_service = True  # a board that restarts does not drop what the inverter, still in service, carries
        self.permille = 1000

    def leave(self):
        """The grid or the inverter was away: the delay begins anew with the next good sample."""
        self._in_service = False
        self._healthy_ms = 0
        self._carry = 0
        self.permille = 0

    def step(self, voltage_mv, frequency_millihz, dt_ms):
        """One sample, `dt_ms` (at most 60000) after the one before."""
        if self._in_service:
            if self.permille < 1000:
                moved = self._permille_per_min * dt_ms + self._carry
                self.permille = min(1000, self.permille + moved // RATE_SCALE)
                self._carry = moved % RATE_SCALE
            return
        if not (self._low_mv <= voltage_mv <= self._high_mv and 49_500 <= frequency_millihz <= 50_200):
            self._healthy_ms = 0
            return
        self._healthy_ms += dt_ms
        if self._healthy_ms >= self._delay_ms:
            self._in_service = True
