"""PV that the battery cannot take is held back, so that the export limit holds with a full or a cold battery too."""

WAIT_MS = 1000  # by then the battery has taken what it can, and PV has followed
HOLD_MS = 60_000  # nothing is given back for so long after it had to be taken away
DEADBAND_W = 100  # what the battery's own regulation leaves
MARGIN_W = 300
STEP_PERMILLE = 100  # where nobody measures PV
BACK_PERMILLE_PER_S = 2
PV_MAX_W = 1_000_000


class ExportHold:
    """`permille` of its rating that PV may feed as far as the export is concerned."""

    def __init__(self):
        self.permille = 1000
        self._over_ms = 0
        self._calm_ms = 0

    def step(self, import_w, limit_w, pv_w, dt_ms):
        """`limit_w` >= 0 is the export that is permitted, `pv_w` what PV gives, 0 if that is not known."""
        over_w = -import_w - limit_w
        self._over_ms = self._over_ms + dt_ms if over_w > DEADBAND_W else 0
        if self._over_ms >= WAIT_MS:
            self._over_ms = 0
            self._calm_ms = 0
            pv_w = min(pv_w, PV_MAX_W)
            if pv_w > over_w:
                self.permille = self.permille * max(0, pv_w - over_w - MARGIN_W) // pv_w
            else:
                self.permille = max(0, self.permille - STEP_PERMILLE)
        elif self.permille < 1000 and over_w < -2 * MARGIN_W:
            self._calm_ms += dt_ms
            if self._calm_ms >= HOLD_MS:
                back = (self._calm_ms - HOLD_MS) * BACK_PERMILLE_PER_S // 1000
                if back:
                    self._calm_ms = HOLD_MS
                    self.permille = min(1000, self.permille + back)

    def release(self):
        """There is no grid to export to."""
        self.permille = 1000
        self._over_ms = 0
