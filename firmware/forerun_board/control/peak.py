"""Peak shaving by the billing window: what the tariff counts is the mean of a window, so a window has a budget."""

WH_MAX = 2_000_000
LEAST_REMAINING_S = 30  # the last seconds of a window may not be promised everything that is left of it


class Peak:
    """`allowed_w`: the import that, held to the end of the window, makes its mean just `limit_w`.

    A window with little import at its start may take more later on, never more than `most_w`; one that is spent is
    held at what is left, down to 0.
    """

    def __init__(self, limit_w, window_s, most_w):
        self._limit_w = limit_w
        self._window_s = window_s
        self._most_w = most_w
        self._elapsed_ms = 0
        self._used_wh = 0
        self._carry_mwh = 0
        self._carry = 0  # 1/3600 of a mWh
        self.allowed_w = min(limit_w, most_w)

    def align(self, elapsed_s):
        """The window now running began `elapsed_s` ago by the meter operator's clock; what it used until now is
        taken to be its fair share."""
        self._elapsed_ms = 1000 * (elapsed_s % self._window_s)
        self._used_wh = _share_wh(self._limit_w, elapsed_s % self._window_s)
        self._carry_mwh = 0
        self._judge()

    def step(self, import_w, dt_ms):
        """`import_w` (below 0: export, which gives nothing back) for `dt_ms`, at most 60000."""
        import_w = max(0, import_w)
        # Whole and fractional watts per 3600 apart: their product with the time together would leave 31 bits.
        fine = import_w % 3600 * dt_ms + self._carry
        mwh = import_w // 3600 * dt_ms + fine // 3600 + self._carry_mwh
        self._carry = fine % 3600
        self._carry_mwh = mwh % 1000
        self._used_wh = min(WH_MAX, self._used_wh + mwh // 1000)
        self._elapsed_ms += dt_ms
        if self._elapsed_ms >= 1000 * self._window_s:
            self._elapsed_ms %= 1000 * self._window_s
            self._used_wh = 0
            self._carry_mwh = 0
        self._judge()

    def _judge(self):
        remaining_s = max(LEAST_REMAINING_S, self._window_s - self._elapsed_ms // 1000)
        left_wh = max(0, _share_wh(self._limit_w, self._window_s) - self._used_wh)
        allowed_w = left_wh // remaining_s * 3600 + left_wh % remaining_s * 3600 // remaining_s
        self.allowed_w = min(self._most_w, allowed_w)


def _share_wh(power_w, seconds):
    """Energy of `power_w` in `seconds` (at most 3600), in Wh."""
    return power_w // 3600 * seconds + power_w % 3600 * seconds // 3600
