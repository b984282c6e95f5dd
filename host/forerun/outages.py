"""What outages of the mains do to a site: years drawn from a failure statistic, and what each needs of battery and set.

An outage is carried by the battery first, where there is one (an inverter that can feed an island is assumed), and by
the set when that is at its minimum. Between the two nothing is lost: the servers' own supplies bridge the transfer.
"""

from dataclasses import dataclass

import numpy as np

STEP_S = 300
PER_YEAR = 1.4  # unplanned long outages a year, NVE's figure for Norway
MEAN_H = 1.1
SPREAD = 1.2  # standard deviation of the logarithm: most are short, a few last a day
START_FAILS = 0.01  # of a standby set, per attempt
SECOND_TRY_FAILS = 0.3  # of those that failed, when it is cranked again


@dataclass(frozen=True, slots=True)
class Fate:
    """Per year, (years,) each: hours without supply, hours of the set, its litres, hours of outage."""

    unserved_h: np.ndarray
    diesel_h: np.ndarray
    litres: np.ndarray
    outage_h: np.ndarray

    def availability(self) -> dict[str, float]:
        """Mean share of the time with supply, 0–1, and its 95 % confidence interval by the bootstrap over years."""
        share = 1 - self.unserved_h / 8760
        rng = np.random.default_rng(0)
        means = share[rng.integers(0, len(share), (2000, len(share)))].mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        return {"mean": float(share.mean()), "low": float(low), "high": float(high)}


def fate(load_w: np.ndarray, pv_w: np.ndarray, stored_wh: np.ndarray | None, *, charge_max_w: float, full_wh: float,
         efficiency: float, genset_w: float, litres_h, years: int, seed: int) -> Fate:  # fmt: skip
    """What `years` drawn years do to a year of 5-minute means; the same seed draws the same outages for every case.

    load_w, pv_w: (n,). stored_wh: (n,) Wh above the minimum, None without a battery that can feed an island.
    litres_h(power_w): fuel an hour. genset_w = 0: no set.
    """
    rng, n = np.random.default_rng(seed), len(load_w)
    unserved, diesel, litres, outage = np.zeros((4, years))
    for year in range(years):
        for _ in range(rng.poisson(PER_YEAR)):
            start, fails = int(rng.integers(n)), bool(rng.random() < START_FAILS * SECOND_TRY_FAILS)
            length_h = float(rng.lognormal(np.log(MEAN_H) - SPREAD**2 / 2, SPREAD))
            steps = max(1, round(length_h * 3600 / STEP_S))
            outage[year] += length_h
            energy = 0.0 if stored_wh is None else float(stored_wh[start])
            running = False
            hours = length_h / steps
            for step in range(start, start + steps):
                net_w = float(load_w[step % n] - pv_w[step % n])
                if stored_wh is None:
                    net_w = float(load_w[step % n])  # PV without an island to feed into stays off
                wanted_wh = net_w * hours / efficiency
                if not running and energy >= wanted_wh:
                    energy = min(full_wh, energy - max(wanted_wh, -charge_max_w * hours * efficiency**2))
                    continue
                running = genset_w > 0 and not fails
                served_w = min(max(net_w, 0.0), genset_w) if running else 0.0
                if running:
                    diesel[year] += hours
                    litres[year] += litres_h(served_w) * hours
                if max(net_w, 0.0) > served_w + 1:
                    unserved[year] += hours
    return Fate(unserved, diesel, litres, outage)
