"""A setpoint that is true for a limited time only."""

HOLD_BATTERY = 0  # value is active_power_w of the inverter
HOLD_PCC = 1  # value is pcc_import_w to hold


class Lease:
    """The host's direct setpoint; `remaining_ms` counts down to the commissioned fallback, never to a last value."""

    def __init__(self):
        self.mode = HOLD_BATTERY
        self.value_w = 0
        self.remaining_ms = 0

    def grant(self, mode, value_w, lease_ms):
        """Hold `value_w` in the sense of `mode` for `lease_ms`, at most 24 h (the caller has checked the range)."""
        self.mode = mode
        self.value_w = value_w
        self.remaining_ms = lease_ms

    def step(self, dt_ms):
        """True when the lease has just ended."""
        if self.remaining_ms == 0:
            return False
        self.remaining_ms = max(0, self.remaining_ms - dt_ms)
        return self.remaining_ms == 0
