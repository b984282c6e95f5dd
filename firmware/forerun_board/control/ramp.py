"""How far a setpoint may move in one round, without losing the fractions that short rounds leave."""


class Ramp:
    """`step_w` for each round; the remainder below one watt is carried to the next."""

    def __init__(self):
        self._carry = 0  # thousandths of a watt
        self.step_w = 0

    def step(self, ramp_w_per_s, dt_ms):
        """Set `step_w`, the permitted change in W for `dt_ms` (at most 60000) at `ramp_w_per_s` (at most 1000000)."""
        # Whole and fractional W/ms apart, because their product with the time together would leave 31 bits.
        carried = ramp_w_per_s % 1000 * dt_ms + self._carry
        self.step_w = ramp_w_per_s // 1000 * dt_ms + carried // 1000
        self._carry = carried % 1000
