"""What inner loop and decision hand each other: a newer import one way, what the stage may give the other way."""

from forerun_board.control import controller as ctl
from forerun_board.control import events as ev
from forerun_board.control import image as im
from forerun_board.control import inner
from forerun_board.control.interlock import TRIP_CLEARED, TRIPPED
from forerun_board.control.trip import BACK_MS, OVER_CURRENT, OVER_VOLTAGE

APART_W = 500  # by so much, and a sixteenth, may meter and analogue channels differ
FOLLOW_W = 200  # a rise seen while the half cycle was only partly of the new load goes on by at least so much
DISTRUST_MS = 1000  # a meter follows a step within a round or two: who is apart for longer has it wrong
LEASE_ROUNDS = 4


class Fast:
    """`state` is the inner loop's. A channel that shows more import than the meter is believed, because it is newer,
    but no longer than DISTRUST_MS; one that shows less never is: a CT that fell off its cable shows nothing.
    """

    def __init__(self, state, config):
        self.state = state
        self.trusted = False
        self._config = config
        self._differs_ms = DISTRUST_MS
        self._agrees_ms = 0
        self._used_w = 0
        self._rising = False  # the last decision was made of a rise, perhaps of only a part of it
        self._tripped = 0
        self._tripped_s = 0
        self._calm_ms = 0

    @property
    def import_w(self):
        """Import of the last half cycle, in W."""
        return self.state[inner.IMPORT_BIASED_W] - inner.BIAS_W

    def pressing(self, controller):
        """Whether the import rose so far above what is held, since the last decision, that it should not wait."""
        if not self.trusted:
            return False
        import_w = self.import_w
        rose_w = import_w - self._used_w
        least_w = FOLLOW_W if self._rising else APART_W + (abs(import_w) >> 4)
        return rose_w > least_w and controller.import_pressing(import_w)

    def measure(self, image, events):
        """Before a decision: put the import into the image if it rose, and say when meter and channels do not agree."""
        import_w = self.import_w
        rose_w = import_w - image.pcc_import_w
        apart = abs(rose_w) > APART_W + (abs(import_w) >> 4)
        if image.pcc_age_ms == 0 and self.state[inner.STEPS] == inner.WARM:
            self._judge(apart, image.dt_ms, import_w, image.pcc_import_w, events)
        self._rising = self.trusted and rose_w > 0 and (apart or (self._rising and rose_w > FOLLOW_W))
        if self._rising:
            image.pcc_import_w = import_w
        self._used_w = max(import_w, image.pcc_import_w)
        tripped = self.state[inner.TRIPPED]
        if tripped:
            image.inputs |= im.INPUT_FAST_TRIP
        self._watch_trip(tripped, image, events)

    def _judge(self, apart, dt_ms, import_w, meter_w, events):
        if apart:
            self._agrees_ms = 0
            self._differs_ms = min(self._differs_ms + dt_ms, DISTRUST_MS)
        else:
            self._differs_ms = 0
            self._agrees_ms = min(self._agrees_ms + dt_ms, DISTRUST_MS)
        if self.trusted and self._differs_ms == DISTRUST_MS:
            self.trusted = False
            events.push(ev.ANALOG_LOST, import_w, meter_w)
        elif not self.trusted and self._agrees_ms == DISTRUST_MS:
            self.trusted = True
            events.push(ev.ANALOG_BACK, import_w, meter_w)

    def _watch_trip(self, tripped, image, events):
        state = self.state
        config = self._config
        if tripped != self._tripped:
            self._tripped = tripped
            self._tripped_s = image.now_s
            if tripped == 1:
                current_ma = effective(state[inner.CURRENT_SQUARES], config.current_gain_q8)
                events.push(TRIPPED + OVER_CURRENT, current_ma, config.trip_current_ma)
            elif tripped:
                voltage_mv = effective(state[inner.VOLTAGE_SQUARES], config.voltage_gain_q8)
                events.push(TRIPPED + OVER_VOLTAGE, voltage_mv, config.trip_voltage_mv)
        calm = state[inner.CURRENT_SQUARES] <= state[inner.CURRENT_MAX]
        calm = calm and state[inner.VOLTAGE_SQUARES] <= state[inner.VOLTAGE_MAX]
        self._calm_ms = min(self._calm_ms + image.dt_ms, BACK_MS) if calm and tripped else 0
        if self._calm_ms == BACK_MS:
            cause = OVER_CURRENT if tripped == 1 else OVER_VOLTAGE
            events.push(TRIP_CLEARED, cause, image.now_s - self._tripped_s)
            self._tripped = state[inner.TRIPPED] = 0
            self._calm_ms = 0

    def order(self, controller, image):
        """After a decision: what the stage may do until the next one."""
        state = self.state
        config = self._config
        unfit = ctl.FAULT_TRIP | ctl.FAULT_DOOR | ctl.FAULT_BATTERY | ctl.FAULT_PCC_METER
        most_w = 0
        if not controller.faults & unfit and not controller.grid_down and image.soc_permille > config.soc_min_permille:
            most_w = min(config.discharge_max_w, image.discharge_max_w)
            if controller.functions is not None:
                most_w = controller.functions.most_w(most_w)
            most_w -= max(0, controller.setpoint_w)
        state[inner.IMPORT_LIMIT_W] = max(0, controller.held_import_w)
        state[inner.POWER_MAX_W] = max(0, min(config.stage_max_w, most_w))
        if controller.meter.stale:
            state[inner.FREQUENCY_MILLIHZ] = inner.NOMINAL_MILLIHZ
        else:
            state[inner.FREQUENCY_MILLIHZ] = max(0, image.frequency_millihz)
        state[inner.LEASE] = LEASE_ROUNDS * image.period_ms


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
