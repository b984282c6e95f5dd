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
