"""The contactor between grid and site, and the bus behind it while the inverter forms it."""

OPEN_US = 30_000  # what the contactor takes either way
FORM_US = 20_000  # from the open contactor to a bus with voltage
FREQUENCY_DROOP_HZ = 0.5  # at rated power, EN 50549-1 leaves a forming unit its droop
VOLTAGE_DROOP_PU = 0.02
IN_STEP_HZ = 0.3
IN_STEP_PU = 0.1


class Island:
    """`tie_open`: its auxiliary contact. `live`: the inverter holds the bus, at `bus_pu` and `hz`."""

    __slots__ = ("asynchronous_closings", "blackouts", "bus_pu", "forming", "hz", "live", "synchronise", "tie_open",
                 "wanted_open")

    def __init__(self):
        self.tie_open = self.wanted_open = False
        self.forming = self.synchronise = self.live = False
        self.bus_pu = self.hz = 0.0
        self.asynchronous_closings = 0  # the contactor met a grid that was out of step with a live bus
        self.blackouts = 0  # the bus was live and more was asked of the inverter than it has

    def hold(self, power_w: float, rated_w: float, grid_pu: float, grid_hz: float) -> None:
        """Set bus_pu and hz of a live bus that gives power_w: its droop, or the grid's own when asked to follow."""
        if self.synchronise and grid_pu > 0.0:
            self.bus_pu, self.hz = grid_pu, grid_hz
        else:
            share = power_w / rated_w
            self.bus_pu = 1.0 - VOLTAGE_DROOP_PU * share
            self.hz = 50.0 - FREQUENCY_DROOP_HZ * share

    def meet(self, grid_pu: float, grid_hz: float) -> None:
        """The contactor closes onto a grid with this voltage and frequency."""
        apart = abs(grid_pu - self.bus_pu) > IN_STEP_PU or abs(grid_hz - self.hz) > IN_STEP_HZ
        if self.live and grid_pu > 0.0 and apart:
            self.asynchronous_closings += 1
        self.tie_open = False
        self.live = False
