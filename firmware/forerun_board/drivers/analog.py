"""PCC voltage and current by ADC: what a calibration found, turned into what the inner loop counts with."""

from array import array

from forerun_board.control import inner

SUM_MAX = (1 << 30) - 1
# Of a gain: W per 32 counts² are 32 * mV * mA / (256 * 256 * 1e6 * samples of the half cycle), for each phase.
_PART = 32
_WHOLE = 65_536 * 1_000_000 * inner.WINDOW


def commissioned(config):
    """The inner loop's state for these settings, ready for the first sample. Gains are mV and mA per count in 1/256."""
    state = array("i", [0] * inner.SIZE)
    inner.start(state)
    part = _PART * config.ct_phases * config.voltage_gain_q8 * config.current_gain_q8
    whole = _WHOLE
    shift = 0
    while part < 256 * whole and shift < 30:
        part <<= 1
        shift += 1
    state[inner.GAIN] = min(511, (part + whole // 2) // whole)
    state[inner.GAIN_SHIFT] = shift
    state[inner.REVERSED] = config.ct_reversed
    state[inner.KP_Q8] = config.stage_kp_q8
    state[inner.KI_Q16] = config.stage_ki_q16
    state[inner.DROOP_Q10] = config.stage_droop_q10
    state[inner.CURRENT_MAX] = _squares(config.trip_current_ma, config.current_gain_q8)
    state[inner.VOLTAGE_MAX] = _squares(config.trip_voltage_mv, config.voltage_gain_q8)
    return state


def _squares(most, gain_q8):
    """What the squares of a half cycle sum up to at the effective value `most`; the most there is for 0, none."""
    counts_q4 = most * 4096 // gain_q8
    return min(SUM_MAX, inner.WINDOW * counts_q4 * counts_q4 >> 8) if most else SUM_MAX


def effective(squares, gain_q8):
    """Effective value of the half cycle, in the gain's unit, from the sum of its squares (0 … 2**30 - 1)."""
    return (root(squares // inner.WINDOW << 5) * gain_q8 >> 8) * 181 >> 10  # the root of 32 is 1024 / 181


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
