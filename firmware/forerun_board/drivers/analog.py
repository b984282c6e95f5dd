"""Voltage and current by ADC: RMS values and signed power of one window of samples, with calibration."""

SAMPLES_MAX = 400  # 20 ms at 20 kHz
RAW_MAX = 4095  # 12 bits
POWER_MAX_W = 1_000_000


class AnalogMeter:
    """`sample(voltage_raw, current_raw)` for whole cycles of the mains, then `finish()`: `voltage_mv`, `current_ma`,
    `power_w` (> 0 in the direction of the CT's arrow; `reversed_ct` turns it) or False, with the values before kept.

    Gains are mV and mA per count in 1/256: what a calibration with a known load found. Offsets find themselves.
    """

    def __init__(self, voltage_gain_q8, current_gain_q8, reversed_ct=False):
        for gain in (voltage_gain_q8, current_gain_q8):
            if not 1 <= gain <= 262_144:
                raise ValueError("a gain of %d/256 is outside 1 to 262144" % gain)
        self._voltage_gain = voltage_gain_q8
        self._current_gain = current_gain_q8
        self._sign = -1 if reversed_ct else 1
        self.voltage_mv = 0
        self.current_ma = 0
        self.power_w = 0
        self.clipped = False  # the last window touched an end of the ADC's range: not to be believed
        self._clear()
        self._voltage_offset = self._current_offset = (RAW_MAX + 1) // 2

    def _clear(self):
        self._count = 0
        self._voltage_sum = self._current_sum = 0
        self._voltage_squares = self._current_squares = self._products = 0
        self._clip = False

    def sample(self, voltage_raw, current_raw):
        """One pair of readings, 0 to 4095; more than SAMPLES_MAX of them are left out."""
        if self._count >= SAMPLES_MAX:
            return
        self._clip = self._clip or not (0 < voltage_raw < RAW_MAX and 0 < current_raw < RAW_MAX)
        u = voltage_raw - self._voltage_offset
        i = current_raw - self._current_offset
        self._count += 1
        self._voltage_sum += u
        self._current_sum += i
        # A sixteenth: 400 squares of 4095 leave 31 bits.
        self._voltage_squares += u * u >> 4
        self._current_squares += i * i >> 4
        self._products += u * i >> 4

    def finish(self):
        """True if the window was whole and unclipped and the values are new."""
        count = self._count
        self.clipped = self._clip
        if count < 20:
            self._clear()
            return False
        u_mean = self._voltage_sum // count
        i_mean = self._current_sum // count
        u_square = max(0, 16 * (self._voltage_squares // count) - u_mean * u_mean)
        i_square = max(0, 16 * (self._current_squares // count) - i_mean * i_mean)
        product = 16 * (self._products // count) - u_mean * i_mean
        self._clear()
        # The offset follows slowly, so that half a cycle too much does not pull it away.
        self._voltage_offset += u_mean // 4
        self._current_offset += i_mean // 4
        if self.clipped:
            return False
        # Roots of 256 times the squares: four more bits than the counts have.
        u_q4 = root(u_square << 6) << 1
        i_q4 = root(i_square << 6) << 1
        self.voltage_mv = _times(u_q4, self._voltage_gain)
        self.current_ma = _times(i_q4, self._current_gain)
        apparent = u_q4 * i_q4 >> 8
        factor_permille = 0 if apparent == 0 else max(-1000, min(1000, product * 100 // max(1, apparent // 10)))
        apparent_w = min(POWER_MAX_W, self.voltage_mv // 100 * (self.current_ma // 10) // 1000)
        self.power_w = self._sign * (apparent_w * factor_permille // 1000)
        return True


def _times(value_q4, gain_q8):
    """value * gain, both fixed point, held inside 2**29, without leaving 31 bits."""
    whole = gain_q8 >> 8
    return min(1 << 29, (value_q4 * whole >> 4) + (value_q4 * (gain_q8 & 255) >> 12))


def root(square):
    """The whole square root of `square` (0 … 2**30 - 1)."""
    result = 0
    bit = 1 << 28
    while bit > square:
        bit >>= 2
    while bit:
        if square >= result + bit:
            square -= result + bit
            result = (result >> 1) + bit
        else:
            result >>= 1
        bit >>= 2
    return result
