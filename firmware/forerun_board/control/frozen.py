"""A meter that answers but no longer measures: its values stand still while what it measures moves."""

MOVED_W = 500  # by this the inverter has moved since the meter's values last did


class Frozen:
    """`active` when the PCC meter's values have all stood still for `limit_ms` though the inverter moved by more than
    MOVED_W, or, with `longest_ms` > 0, for so long at all: on a real grid the last digits never rest."""

    def __init__(self, limit_ms):
        self._limit_ms = limit_ms
        self._power_w = 0
        self._voltage_mv = 0
        self._frequency_millihz = 0
        self._inverter_w = 0
        self._still_ms = 0
        self._unheard = True  # the inverter was not measured: how far it went meanwhile proves nothing
        self.moved_w = 0
        self.active = False

    def step(self, image, dt_ms, longest_ms):
        """True when `active` has just changed; to be called with fresh readings only."""
        if image.inverter_age_ms > 0:
            self._unheard = True
        if (
            image.pcc_import_w != self._power_w
            or image.pcc_voltage_mv != self._voltage_mv
            or image.frequency_millihz != self._frequency_millihz
        ):
            self._power_w = image.pcc_import_w
            self._voltage_mv = image.pcc_voltage_mv
            self._frequency_millihz = image.frequency_millihz
            self._inverter_w = image.active_power_w
            self._still_ms = 0
            self.moved_w = 0
            changed = self.active
            self.active = False
            return changed
        if self._unheard and image.inverter_age_ms == 0:
            self._unheard = False
            self._inverter_w = image.active_power_w
        self.moved_w = max(self.moved_w, abs(image.active_power_w - self._inverter_w))
        if self.moved_w <= MOVED_W and longest_ms == 0:
            return False
        self._still_ms = min(self._still_ms + dt_ms, 1 << 29)
        over = self.moved_w > MOVED_W and self._still_ms >= self._limit_ms
        if not self.active and (over or 0 < longest_ms <= self._still_ms):
            self.active = True
            return True
        return False
