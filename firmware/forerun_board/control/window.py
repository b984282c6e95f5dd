"""The window of permitted power that the stages of the decision narrow one after the other."""

WIDEST_W = 1_000_000

# Names of what bounds a setpoint, as on the wire.
BOUND_NONE = 0
BOUND_TRIP = 1
BOUND_BATTERY = 2
BOUND_SOC = 3
BOUND_GRID_LOST = 4
BOUND_IMPORT_LIMIT = 5
BOUND_EXPORT_LIMIT = 6
BOUND_RAMP = 7
BOUND_INVERTER = 8
BOUND_METER_STALE = 9


class Window:
    """[low_w, high_w] of active_power_w and the name of the stage that set each edge.

    The first stage has the highest priority: a later one may only narrow what is left, and when it asks for something
    outside, the window collapses onto the edge nearest to it, which keeps the name of the stage that set that edge.
    """

    def __init__(self):
        self.low_w = -WIDEST_W
        self.high_w = WIDEST_W
        self.low_by = BOUND_NONE
        self.high_by = BOUND_NONE
        self.bound_by = BOUND_NONE

    def open(self):
        """Permit everything again."""
        self.low_w = -WIDEST_W
        self.high_w = WIDEST_W
        self.low_by = BOUND_NONE
        self.high_by = BOUND_NONE
        self.bound_by = BOUND_NONE

    def narrow(self, low_w, high_w, by):
        """Take away what lies outside [low_w, high_w], in the name of `by`."""
        if low_w > self.low_w:
            if low_w > self.high_w:
                self.low_w = self.high_w
                self.low_by = self.high_by
            else:
                self.low_w = low_w
                self.low_by = by
        if high_w < self.high_w:
            if high_w < self.low_w:
                self.high_w = self.low_w
                self.high_by = self.low_by
            else:
                self.high_w = high_w
                self.high_by = by

    def clamp(self, wanted_w):
        """The permitted power nearest to `wanted_w`, in W; `bound_by` then names what kept it there.

        A window without any width is named too, though just that may be wanted: it is what denies a later stage.
        """
        if wanted_w < self.low_w or self.low_w == self.high_w:
            self.bound_by = self.low_by
            return self.low_w
        if wanted_w > self.high_w:
            self.bound_by = self.high_by
            return self.high_w
        self.bound_by = BOUND_NONE
        return wanted_w
