"""The diesel set and the AMF panel (automatic mains failure) that starts it and moves the site to it and back."""

from math import exp

from forerun.plant.series import NEVER

STANDBY, CRANKING, RUNNING, COOLING = 0, 1, 2, 3
STATES = ("standby", "cranking", "running", "cooling")

# Fuel of a 20 kW set in litres an hour at 0, 25, 50, 75, 100 % load; the no-load value continues the line.
_FUEL_LPH = (1.2, 2.3, 3.4, 4.9, 6.1)
_FUEL_RATED_W = 20_000.0


class Genset:
    """The engine alone: start, run, cool down; fuel, hours and frequency. Times in us."""

    __slots__ = ("_cool_us", "_start_us", "droop", "failing_starts", "hz", "litres", "next_us", "overload_us",
                 "power_w", "rated_w", "run_us", "starts", "state", "wh")

    def __init__(self, rated_w: float, start_us: int, cool_us: int, droop: float = 0.04):
        self.rated_w = rated_w
        self.droop = droop
        self._start_us = start_us
        self._cool_us = cool_us
        self.state = STANDBY
        self.next_us = NEVER
        self.power_w = 0.0
        self.hz = 0.0
        self.litres = 0.0
        self.wh = 0.0
        self.run_us = 0
        self.overload_us = 0
        self.starts = 0
        self.failing_starts = 0  # fault: so many cranks come to nothing

    def start(self, now_us: int) -> None:
        """Crank, or go on running if it is still cooling down."""
        if self.state == STANDBY:
            self.state = CRANKING
            self.next_us = now_us + self._start_us
            self.starts += 1
        elif self.state == COOLING:
            self.state = RUNNING
            self.next_us = NEVER

    def cool_down(self, now_us: int) -> None:
        """Run on without load, then stop."""
        if self.state == RUNNING:
            self.state = COOLING
            self.next_us = now_us + self._cool_us
        elif self.state == CRANKING:
            self._stop()

    def on_time(self, now_us: int) -> None:
        if now_us < self.next_us:
            return
        if self.state == CRANKING and self.failing_starts > 0:
            self.failing_starts -= 1
            self._stop()
        elif self.state == CRANKING:
            self.state = RUNNING
            self.next_us = NEVER
            self.hz = 50.0 * (1.0 + 0.5 * self.droop)
        elif self.state == COOLING:
            self._stop()

    def _stop(self) -> None:
        self.state = STANDBY
        self.next_us = NEVER
        self.hz = 0.0
        self.power_w = 0.0

    def step(self, power_w: float, dt_us: int) -> None:
        """Deliver power_w for dt_us; burns fuel whenever it turns."""
        self.power_w = power_w
        if self.state < RUNNING:
            return
        load = power_w / self.rated_w
        hours = dt_us / 3.6e9
        self.wh += power_w * hours
        self.run_us += dt_us
        self.litres += fuel_lph(load) * self.rated_w / _FUEL_RATED_W * hours
        if load > 1.0:
            self.overload_us += dt_us
        settled_hz = 50.0 * (1.0 + self.droop * (0.5 - load))
        self.hz = settled_hz + (self.hz - settled_hz) * exp(-dt_us / 500_000.0)  # governor lag 0.5 s


def fuel_lph(load: float) -> float:
    """Litres an hour of a 20 kW set at `load` (1 = rated), on the line through the table, extended above 1."""
    load = max(load, 0.0)
    index = min(int(load * 4.0), 3)
    low = _FUEL_LPH[index]
    return low + (_FUEL_LPH[index + 1] - low) * (load * 4.0 - index)


class Amf:
    """The panel: when the set starts, takes the site, and gives it back.

    Both transfers are closed (no break) when mains and set are both live; after a loss of the mains the bus is dead
    until the set takes it.
    """

    __slots__ = ("_delay_us", "_healthy_since_us", "_loaded_since_us", "_low_since_us", "_min_run_us", "_return_us",
                 "demand", "genset", "low_pu", "on_load", "remote_start", "return_pu")

    def __init__(self, genset: Genset, low_pu: float, return_pu: float, delay_us: int, min_run_us: int, return_us: int):
        self.genset = genset
        self.low_pu = low_pu
        self.return_pu = return_pu
        self._delay_us = delay_us
        self._min_run_us = min_run_us
        self._return_us = return_us
        self._low_since_us = NEVER
        self._healthy_since_us = NEVER
        self._loaded_since_us = NEVER
        self.demand = False  # the mains failed and the set must carry the site
        self.on_load = False
        self.remote_start = False

    @property
    def busy(self) -> bool:
        """Whether the panel or the set is in the middle of anything."""
        return self.demand or self.genset.state != STANDBY

    @property
    def ready(self) -> bool:
        """Whether the set turns and waits for the transfer."""
        return self.demand and not self.on_load and self.genset.state == RUNNING

    def next_us(self) -> int:
        """When a delay of the panel ends."""
        if not self.demand and self._low_since_us != NEVER:
            return self._low_since_us + self._delay_us
        if self.on_load and self._healthy_since_us != NEVER:
            return max(self._loaded_since_us + self._min_run_us, self._healthy_since_us + self._return_us)
        return NEVER

    def observe(self, start_us: int, now_us: int, mains_pu: float) -> None:
        """mains_pu: voltage that the mains have, or would have if they carried the whole site; 0 = lost."""
        if self.on_load:
            self._observe_loaded(start_us, now_us, mains_pu)
            return
        if mains_pu >= self.low_pu:
            self._low_since_us = NEVER
            return
        if self._low_since_us == NEVER:
            self._low_since_us = start_us
        if not self.demand and (mains_pu == 0.0 or now_us - self._low_since_us >= self._delay_us):
            self.demand = True
            self.genset.start(now_us)

    def on_time(self, now_us: int) -> None:
        """Move the site to the set as soon as it is ready; if the mains came back before that, call it off."""
        if not self.ready:
            return
        if self._low_since_us == NEVER:
            self.demand = False
            if not self.remote_start:
                self.genset.cool_down(now_us)
            return
        self.on_load = True
        self._loaded_since_us = now_us
        self._healthy_since_us = NEVER

    def _observe_loaded(self, start_us: int, now_us: int, mains_pu: float) -> None:
        if mains_pu < self.return_pu:
            self._healthy_since_us = NEVER
            return
        if self._healthy_since_us == NEVER:
            self._healthy_since_us = start_us
        if (now_us - self._loaded_since_us >= self._min_run_us
                and now_us - self._healthy_since_us >= self._return_us):
            self.on_load = self.demand = False
            self._low_since_us = NEVER
            if not self.remote_start:
                self.genset.cool_down(now_us)

    def set_remote_start(self, on: bool, now_us: int) -> None:
        """The start contact: on warms the set and keeps it turning without load; off lets it cool down and stop."""
        if on and not self.remote_start:
            self.genset.start(now_us)
        elif self.remote_start and not on and not self.demand:
            self.genset.cool_down(now_us)
        self.remote_start = on
