"""What an interval record says: energy registers at its end, extremes within it, and what had to be substituted."""

from forerun_board.clock import MASK
from forerun_wire.messages import QUALITY_BATTERY

PATIENCE_MS = 5000  # how long the end of an interval waits for meters that do not answer


class Interval:
    """Gathers round by round; closes every interval_s of uptime, once the energy registers have been read."""

    def __init__(self, config, image, clock):
        self._config = config
        self._image = image
        self._clock = clock
        self._started_s = 0
        self._closing_ms = 0  # clock.ms when the interval ended; -1: it goes on. The first record only sets the base
        self._rest = 0  # of the integration, in mWh/3600
        self._charge_mwh = 0
        self._discharge_mwh = 0
        self.body = [0] * 12
        self._clear()

    def _clear(self):
        self._import_max_w = None
        self._voltage_min_mv = None
        self._longest_ms = 0

    def note(self, dt_ms):
        """Take a round's measurements in."""
        image = self._image
        if image.pcc_age_ms == 0:
            if self._import_max_w is None or image.pcc_import_w > self._import_max_w:
                self._import_max_w = image.pcc_import_w
            if self._voltage_min_mv is None or image.pcc_voltage_mv < self._voltage_min_mv:
                self._voltage_min_mv = image.pcc_voltage_mv
        if dt_ms > self._longest_ms:
            self._longest_ms = dt_ms
        if image.inverter_age_ms == 0:
            # W * ms / 3600 = mWh; quotient and rest apart keep the rest from being lost in short rounds.
            total = abs(image.active_power_w) * dt_ms + self._rest
            self._rest = total % 3600
            if image.active_power_w > 0:
                self._discharge_mwh += total // 3600
            else:
                self._charge_mwh += total // 3600

    def due(self, fieldbus):
        """True when the interval is over and `body` is filled; asks the bus for the energy registers in time."""
        if self._closing_ms < 0:
            # On multiples of interval_s of uptime, so that a late end does not shift those that follow.
            interval_s = self._config.interval_s
            if self._clock.s // interval_s == self._started_s // interval_s:
                return False
            self._closing_ms = self._clock.ms
            fieldbus.forget_energy()
        waited_ms = (self._clock.ms - self._closing_ms) & MASK
        quality = fieldbus.energy_missing()
        awaited = quality if fieldbus.inverter.counts_energy else quality & ~QUALITY_BATTERY
        if awaited and waited_ms < max(PATIENCE_MS, 2 * self._image.period_ms):
            return False
        self._fill(fieldbus, quality)
        self._closing_ms = -1
        self._started_s = self._clock.s
        self._clear()
        return True

    def _fill(self, fieldbus, quality):
        inverter = fieldbus.inverter
        body = self.body
        body[0] = self._clock.s - self._started_s
        body[1] = fieldbus.pcc_meter.import_wh
        body[2] = fieldbus.pcc_meter.export_wh
        body[3] = inverter.charge_wh if inverter.counts_energy else self._charge_mwh // 1000
        body[4] = inverter.discharge_wh if inverter.counts_energy else self._discharge_mwh // 1000
        body[5] = fieldbus.pv_meter.import_wh if fieldbus.pv_meter else self._image.pulse_wh
        body[6] = fieldbus.genset_meter.import_wh if fieldbus.genset_meter else 0
        body[7] = self._import_max_w or 0
        body[8] = self._voltage_min_mv or 0
        body[9] = self._image.soc_permille
        body[10] = quality
        body[11] = self._longest_ms
