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
LOAD_SPREAD, SUN_SPREAD, PRICE_SPREAD = 0.08, 0.07, 0.25  # from year to year, of the mean; assumed
SHADED = (0.0, 0.1)  # PV lost in a year to new shade, snow and soiling, from … to; assumed


@dataclass(frozen=True, slots=True)
class Drawn:
    """Years as they may come, the same for every case: (years,) factors on load, PV and energy price; outages as
    (first step, hours, whether the set fails) for each year."""

    load: np.ndarray
    pv: np.ndarray
    price: np.ndarray
    outages: tuple[tuple[tuple[int, float, bool], ...], ...]

    @property
    def words(self) -> str:
        """What is drawn, for who reads the result."""
        return (f"outages ({PER_YEAR} a year, mean {MEAN_H} h, lognormal), set start failures ({START_FAILS:.0%}, and "
                f"{SECOND_TRY_FAILS:.0%} of those on the second try), load ±{LOAD_SPREAD:.0%}, sun ±{SUN_SPREAD:.0%} "
                f"less {SHADED[0]:.0%}–{SHADED[1]:.0%} of shade, price level ±{PRICE_SPREAD:.0%}")  # fmt: skip


def drawn_years(years: int, steps: int, seed: int) -> Drawn:
    """`years` years for a site whose own year has `steps` steps."""
    rng = np.random.default_rng(seed)
    outages = []
    for _ in range(years):
        found = []
        for _ in range(rng.poisson(PER_YEAR)):
            fails = bool(rng.random() < START_FAILS * SECOND_TRY_FAILS)
            length_h = float(rng.lognormal(np.log(MEAN_H) - SPREAD**2 / 2, SPREAD))
            found.append((int(rng.integers(steps)), length_h, fails))
        outages.append(tuple(found))
    load = np.clip(rng.normal(1, LOAD_SPREAD, years), 0.5, 1.5)
    pv = np.clip(rng.normal(1, SUN_SPREAD, years), 0.5, 1.5) * (1 - rng.uniform(*SHADED, years))
    price = rng.lognormal(-(PRICE_SPREAD**2) / 2, PRICE_SPREAD, years)
    return Drawn(load, pv, price, tuple(outages))


@dataclass(frozen=True, slots=True)
class Fate:
    """Per year, (years,) each: hours without supply, hours of the set, its litres, hours of outage."""

    unserved_h: np.ndarray
    diesel_h: np.ndarray
    litres: np.ndarray
    outage_h: np.ndarray

    def availability(self) -> dict[str, float]:
        """Share of the time with supply, 0–1, as `interval` says it."""
        return interval(1 - self.unserved_h / 8760)


def interval(by_year: np.ndarray) -> dict[str, float]:
    """Mean over drawn years (years,), and its 95 % confidence interval by the bootstrap over them."""
    rng = np.random.default_rng(0)
    means = by_year[rng.integers(0, len(by_year), (2000, len(by_year)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(by_year.mean()), "low": float(low), "high": float(high)}


def fate(drawn: Drawn, load_w: np.ndarray, pv_w: np.ndarray, stored_wh: np.ndarray | None, *, charge_max_w: float,
         discharge_max_w: float, full_wh: float, efficiency: float, genset_w: float, litres_h) -> Fate:  # fmt: skip
    """What drawn years do to a year of 5-minute means.

    load_w, pv_w: (n,). stored_wh: (n,) Wh above the minimum, None without a battery that can feed an island.
    litres_h(power_w): fuel an hour. genset_w = 0: no set.
    """
    n = len(load_w)
    unserved, diesel, litres, outage = np.zeros((4, len(drawn.load)))
    for year, outages in enumerate(drawn.outages):
        for start, length_h, fails in outages:
            steps = max(1, round(length_h * 3600 / STEP_S))
            outage[year] += length_h
            energy = 0.0 if stored_wh is None else float(stored_wh[start])
            running = False
            hours = length_h / steps
            for step in range(start, start + steps):
                net_w = float(drawn.load[year] * load_w[step % n])
                if stored_wh is not None:  # PV without an island to feed into stays off
                    net_w -= float(drawn.pv[year] * pv_w[step % n])
                wanted_wh = net_w * hours / efficiency
                if not running and energy >= wanted_wh and net_w <= discharge_max_w:
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
