"""What a site held all along, judged at every step of its physics: voltage, charge, ramp, import and the diesel set."""

from collections import deque

from forerun.plant.genset import RUNNING
from forerun.plant.inverter import RUNNING as IN_SERVICE
from forerun.plant.quality import Quality

MEAN_US = 600_000_000  # EN 50160:2010, 4.2.2: means of ten minutes
MEANS_INSIDE = 0.95
SECOND_US = 1_000_000
SAMPLE_US = 50_000
ANSWER_US = 1_500_000  # what an import or export above its limit asked for has been given by then
SWELL_PU, SWELL_END_PU = 1.10, 1.08
FILL_US = 15_000_000  # what the battery may take until it loads a set that is loaded too little
ROUND_US = 100_000  # what a board needs to know that the engine it no longer wants has begun to turn just now
TRIP, START = 1, 2
GENSET = 128


class Watch(Quality):
    """Stands in for a site's `quality`, which is told of every step, and keeps the worst of each quantity.

    Powers in W, voltages in V, times in s. `steepest_w_per_s`: fastest growth of the inverter's power over a second,
    away from zero, that nothing above the ramp in the board's order asked for.
    """

    def __init__(self, site, config):
        super().__init__()
        self._site, self._config = site, config
        self.highest_pcc_v = 0.0
        self.swells = 0
        self.means_v: list[float] = []  # of each ten minutes with a grid, EN 50160
        self.lowest_soc = self.highest_soc = site.battery.soc
        self.steepest_w_per_s = 0.0
        self.longest_over_s = 0.0  # import above its limit in one go
        self.most_import_w = self.most_export_w = 0.0
        self.light_s = 0.0  # the set carries the site with less than its least load, in one go, the longest
        self.runs: list[tuple[float, float]] = []  # (from turning to the open contact in s, when it opened)
        self.failed_in_a_row = 0  # cranks that came to nothing, at most
        self._swollen = False
        self._sum_v_us = self._mean_us = 0.0
        self._mean_end_us = site.now_us + MEAN_US
        self._powers: deque[tuple[int, float]] = deque()
        self._excused_us = 0
        self._over_us = self._light_us = 0
        self._contact = False
        self._turning_us = -1
        self._failed = 0
        self._was_live = True

    def observe(self, start_us: int, end_us: int, worst_pcc_pu: float, pcc_pu: float, bus_pu: float) -> None:
        """One step, as Quality has it; the site's other state is that at its end."""
        super().observe(start_us, end_us, worst_pcc_pu, pcc_pu, bus_pu)
        nominal_v = self._site.config.nominal_v
        self._observe_voltage(end_us, end_us - start_us, pcc_pu * nominal_v, pcc_pu)
        soc = self._site.battery.soc
        self.lowest_soc, self.highest_soc = min(self.lowest_soc, soc), max(self.highest_soc, soc)
        self._observe_import(end_us, end_us - start_us)
        self._observe_ramp(end_us)
        self._observe_set(end_us, end_us - start_us)

    def _observe_voltage(self, end_us: int, dt_us: int, pcc_v: float, pcc_pu: float) -> None:
        if pcc_v > self.highest_pcc_v:
            self.highest_pcc_v = pcc_v
        if pcc_pu > SWELL_PU and not self._swollen:
            self.swells += 1
        self._swollen = pcc_pu > (SWELL_END_PU if self._swollen else SWELL_PU)
        if pcc_pu > 0.05:  # an interruption is no supply voltage
            self._sum_v_us += pcc_v * dt_us
            self._mean_us += dt_us
        if end_us >= self._mean_end_us:
            self._close_mean()
            self._mean_end_us += MEAN_US

    def _close_mean(self) -> None:
        if self._mean_us:
            self.means_v.append(self._sum_v_us / self._mean_us)
        self._sum_v_us = self._mean_us = 0.0

    def _observe_import(self, end_us: int, dt_us: int) -> None:
        import_w = self._site.pcc_import_w
        self.most_import_w = max(self.most_import_w, import_w)
        self.most_export_w = max(self.most_export_w, -import_w)
        over = import_w > self._config.limits.import_limit_w
        self._over_us = self._over_us + dt_us if over else 0
        self.longest_over_s = max(self.longest_over_s, self._over_us / 1e6)

    def _observe_ramp(self, end_us: int) -> None:
        site, limits = self._site, self._config.limits
        pressed = (site.pcc_import_w > limits.import_limit_w - limits.import_margin_w
                   or -site.pcc_import_w > limits.export_limit_w)  # fmt: skip
        if pressed or site.island.live or site.amf.on_load:
            self._excused_us = end_us + ANSWER_US
        powers = self._powers
        power_w = site.inverter.power_w
        if powers and end_us - powers[-1][0] < SAMPLE_US:
            return
        powers.append((end_us, power_w))
        while len(powers) > 1 and end_us - powers[1][0] >= SECOND_US:
            powers.popleft()
        then_us, then_w = powers[0]
        if end_us < self._excused_us or end_us == then_us:
            return
        grown_w = max(0.0, power_w - max(0.0, then_w)) + max(0.0, min(0.0, then_w) - power_w)
        self.steepest_w_per_s = max(self.steepest_w_per_s, grown_w * SECOND_US / max(SECOND_US, end_us - then_us))

    def _observe_set(self, end_us: int, dt_us: int) -> None:
        site = self._site
        least_w = self._config.functions.genset_min_load_w if self._config.functions.functions & GENSET else 0
        light = site.amf.on_load and site.genset.power_w < least_w and site.inverter.state == IN_SERVICE
        self._light_us = self._light_us + dt_us if light else 0
        self.light_s = max(self.light_s, self._light_us / 1e6)
        contact = site.amf.remote_start
        if contact and site.genset.state == RUNNING and self._turning_us < 0:
            self._turning_us = end_us
            self._failed = 0
        if self._contact and not contact:
            if self._turning_us >= 0 and end_us - self._turning_us > ROUND_US:
                self.runs.append(((end_us - self._turning_us) / 1e6, end_us / 1e6))
            elif self._turning_us < 0:
                self._failed += 1
                self.failed_in_a_row = max(self.failed_in_a_row, self._failed)
            self._turning_us = -1
        self._contact = contact

    def seen(self) -> str:
        """The worst of everything, in a line."""
        lowest_v = self.min_pcc_pu * self._site.config.nominal_v
        return (f"{lowest_v:.1f} to {self.highest_pcc_v:.1f} V, dips {self.dip_count}, swells {self.swells}, "
                f"interruptions {self.interruption_count}, ITIC {self.itic_violations}, "
                f"SoC {self.lowest_soc:.3f} to {self.highest_soc:.3f}, import {self.most_import_w:.0f} W, "
                f"above the limit {self.longest_over_s:.3f} s, ramp {self.steepest_w_per_s:.0f} W/s, "
                f"set light {self.light_s:.1f} s, runs {[round(run_s) for run_s, _ in self.runs]}")  # fmt: skip

    def assert_held(self, *, dips=0, interruptions=0, itic=0, swells=0, soc=None, over_s=0.0, ramp=True,
                    cut_runs=0) -> None:  # fmt: skip
        """AssertionError for what was not held since the start, with the figure.

        EN 50160:2010: 4.2.2 ten-minute means within ±10 %, 95 % of them, and all within +10/−15 %; dips, swells and
        interruptions counted apart. ITIC 2000 at the servers. `soc`: (lowest, highest), else as commissioned;
        `over_s`: the import above its limit at most so long in one go; `cut_runs`: so many runs of the set may have
        been cut short, by a trip or a board without power.
        """
        limits = self._config.limits
        seen = self.seen()
        print(seen)
        counted = (self.dip_count, self.swells, self.interruption_count, self.itic_violations)
        assert counted == (dips, swells, interruptions, itic), f"(dips, swells, interruptions, ITIC): {seen}"
        means = self.means_v or ([self._sum_v_us / self._mean_us] if self._mean_us else [])
        inside = sum(207.0 <= mean_v <= 253.0 for mean_v in means)
        assert inside >= MEANS_INSIDE * len(means), f"EN 50160, 230 V ± 10 %: {means}"
        assert all(195.5 <= mean_v <= 253.0 for mean_v in means), f"EN 50160, +10/−15 %: {means}"
        assert self.longest_over_s <= over_s + 0.01, f"import limit of {limits.import_limit_w} W: {seen}"
        if ramp:
            assert self.steepest_w_per_s <= 1.1 * limits.ramp_w_per_s + 100, f"{limits.ramp_w_per_s} W/s: {seen}"
        self.assert_rules(soc=soc, cut_runs=cut_runs)

    def assert_rules(self, *, soc=None, cut_runs=0) -> None:
        """Of these only the window of the charge and the set's rules: what holds whatever else is broken."""
        limits, functions = self._config.limits, self._config.functions
        seen = self.seen()
        low, high = soc or (limits.soc_min, limits.soc_max)
        assert low - 0.002 <= self.lowest_soc and self.highest_soc <= high + 0.002, f"state of charge: {seen}"
        if functions.functions & GENSET:
            assert self.light_s <= FILL_US / 1e6, f"least load {functions.genset_min_load_w} W: {seen}"
            short = [run_s for run_s, _ in self.runs if run_s < functions.genset_min_run_s]
            assert len(short) <= cut_runs, f"least run {functions.genset_min_run_s} s: {seen}"
            assert self.failed_in_a_row <= functions.genset_tries, f"{self.failed_in_a_row} starts failed in a row"
