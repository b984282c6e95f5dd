"""Stored energy and what it is kept for: the slices of a battery, energy for announced surges, the outage reserve."""

import math

import numpy as np

from forerun.dispatch.situation import Inputs, Storage

LEAD_S = 300  # energy for a surge is complete this long before the surge


def surge_targets(storage: Storage, inputs: Inputs) -> tuple[np.ndarray, list[str]]:
    """Energy [Wh] that has to be stored at the end of each step, 0 where no surge asks, and what cannot be had.

    A surge needs (load − import limit) · duration / efficiency above soc_min, from LEAD_S before it starts and
    shrinking while it lasts. PV is not counted on: a cloud needs no notice. What the battery can take in between two
    surges is subtracted from what the first of them must hold for the second. Of what cannot be had there is a sentence
    for power and one for energy, of the surge that lacks most.
    """
    ends = np.cumsum(inputs.step_s)
    targets, later_wh, later_start = np.zeros(len(ends)), 0.0, math.inf
    too_strong, too_long = [], []  # (by how much, sentence)
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    for surge in reversed(inputs.surges):
        start, end = max(0.0, surge.start_s), surge.start_s + surge.duration_s
        excess_w = surge.load_w - storage.import_limit_w
        if end <= 0 or start >= ends[-1] or excess_w <= 0:
            continue
        if excess_w > inputs.discharge_max_w:
            too_strong.append((
                excess_w, f"the surge in {start / 60:.0f} min is {excess_w / 1000:.1f} kW above the import limit and "
                f"the battery gives {inputs.discharge_max_w / 1000:.1f} kW"))  # fmt: skip
            excess_w = inputs.discharge_max_w
        if math.isfinite(later_start):
            later_wh = max(0.0, later_wh - _recharge_wh(storage, inputs, ends, end, later_start - LEAD_S))
        drain_w = excess_w / storage.efficiency_discharge
        need_wh = later_wh + drain_w * (end - start) / 3600
        if low + need_wh > high:
            too_long.append((need_wh, f"the surge in {start / 60:.0f} min needs {need_wh / 1000:.1f} kWh and the "
                             f"battery holds {(high - low) / 1000:.1f} kWh"))  # fmt: skip
        in_time = np.flatnonzero(ends <= start - LEAD_S)
        first = in_time[-1] if len(in_time) else 0
        for step in range(first, len(ends)):
            if ends[step] > end:
                break
            left_wh = later_wh + drain_w * (end - max(start, ends[step])) / 3600
            targets[step] = max(targets[step], min(high, low + left_wh))
        later_wh, later_start = need_wh, start
    return targets, [_worst(found) for found in (too_strong, too_long) if found]


def _worst(found: list[tuple[float, str]]) -> str:
    """One sentence for all of a kind: a hundred jobs at once are a hundred surges."""
    sentence = max(found)[1]
    return sentence if len(found) == 1 else f"{sentence}, the most of {len(found)} for which that is so"


def _recharge_wh(storage: Storage, inputs: Inputs, ends: np.ndarray, since: float, until: float) -> float:
    """Energy [Wh] that the import limit and the charger leave for the battery between two times of the plan."""
    overlap_s = np.clip(np.minimum(ends, until) - np.maximum(ends - inputs.step_s, since), 0, None)
    room_w = np.clip(storage.import_limit_w - inputs.load_w, 0, inputs.charge_max_w)
    return float(np.sum(overlap_s * room_w) / 3600 * storage.efficiency_charge)


def tiers(storage: Storage, inputs: Inputs, targets_wh: np.ndarray):
    """(name, lower, upper) in Wh of the slices that stored energy is made of, worth less from slice to slice.

    The first is the floor. It gives way only to a battery that is below it already: from there the plan can idle.
    """
    start = inputs.soc * storage.capacity_wh
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    surge = np.clip(targets_wh, low, high)
    reserve = np.maximum(surge, reserve_level_wh(storage, inputs))
    return (
        ("low", np.full_like(surge, min(low, start)), np.full_like(surge, low)),
        ("surge", np.zeros_like(surge), surge - low),
        ("reserve", np.zeros_like(surge), reserve - surge),
        ("free", np.zeros_like(surge), high - reserve),
        ("high", np.zeros_like(surge), np.full_like(surge, max(0.0, start - high))),
    )


def reserve_level_wh(storage: Storage, inputs: Inputs) -> np.ndarray:
    """(n,) Wh that the plan likes to hold at the end of each step: the site's own reserve, or more for an outage."""
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    return np.minimum(high, np.maximum(storage.soc_reserve * storage.capacity_wh, low + inputs.reserve_wh))


def outage_reserve_wh(load_q90_w: np.ndarray, pv_q10_w: np.ndarray, step_s: float, autonomy_h: float,
                      efficiency_discharge: float) -> np.ndarray:  # fmt: skip
    """(n,) Wh to be stored at the end of each step so that an outage that begins there is bridged for autonomy_h.

    load_q90_w, pv_q10_w: (n,) quantiles on even steps: a high load on little sun. Beyond their end the last hours
    repeat. An outage needs what the load takes above PV; a surplus in between is not counted on.
    """
    ahead = round(autonomy_h * 3600 / step_s)
    if ahead == 0:
        return np.zeros(len(load_q90_w))
    need_wh = np.clip(load_q90_w - pv_q10_w, 0, None) * step_s / 3600 / efficiency_discharge
    day = min(len(need_wh), max(1, round(86_400 / step_s)))
    again = np.concatenate([need_wh, np.resize(need_wh[-day:], ahead)])
    sums = np.concatenate([[0.0], np.cumsum(again)])
    first = np.arange(1, len(need_wh) + 1)
    return sums[first + ahead] - sums[first]
