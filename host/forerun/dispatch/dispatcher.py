"""Dispatch: what battery and genset do over the next hours, and a sentence for each limit that cannot be kept."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from forerun.dispatch.commitment import Moves, commitment, peak_kw, running_steps, starts
from forerun.dispatch.programme import Programme
from forerun.dispatch.reserve import LEAD_S, reserve_level_wh, surge_targets
from forerun.dispatch.situation import DispatchInputError, Genset, Inputs, Situation, Storage, Surge, checked

__all__ = ["HOLD_BATTERY", "HOLD_PCC", "LEAD_S", "MAX_POINTS", "WITH_SET", "DispatchInputError", "Dispatcher", "Genset",
           "Plan", "Situation", "Storage", "Surge", "board_points",
           "litre_costs", "plan_steps", "ruled_storage", "rules_set", "storage_of"]  # fmt: skip

HOLD_BATTERY, HOLD_PCC = 0, 1
WITH_SET = 2  # added to either: the diesel set runs
MAX_POINTS = 96
_RULES_SET = 128  # bit of the setting `functions`
_IDLE_W = 50.0
_TOLERANCE_KW = 1e-6
_FREE, _SET = "free", "set"  # the programme without and with least power
_LEAST = 4e-4
_MOVES = 5  # so many other hours of the set are tried: half a millisecond each and more


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """battery_w > 0 discharges, pcc_import_w > 0 imports, curtail_w is PV left unused, each (n,) means of a step;
    soc (n,) 0–1 at the end of each step; genset_w > 0 where the plan runs the set; cost in the tariff's currency,
    without penalties and stored value; relaxed: one sentence for each limit that this plan does not keep."""

    step_s: np.ndarray
    battery_w: np.ndarray
    pcc_import_w: np.ndarray
    curtail_w: np.ndarray
    soc: np.ndarray
    genset_w: np.ndarray
    cost: float
    relaxed: tuple[str, ...]

    def __eq__(self, other):
        if not isinstance(other, Plan):
            return NotImplemented
        names = [item.name for item in fields(self)]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None


class Dispatcher:
    """Plans for one site. The model is built when the steps change, and only re-bounded and re-priced otherwise."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._programme = Programme(storage)

    def plan(self, situation: Situation) -> Plan:
        """The cheapest plan that keeps what can be kept. Raises DispatchInputError on inputs that are no numbers."""
        inputs = checked(situation, self.storage)
        targets_wh, notes = surge_targets(self.storage, inputs)
        self._programme.set(inputs, targets_wh)
        self._programme.go_back(_FREE)
        flows, least = self._programme.solve()
        self._programme.keep(_FREE)
        on = np.zeros(len(inputs.step_s), dtype=bool)
        if self.storage.genset is not None and np.isfinite(least):
            flows, on = self._committed(inputs, targets_wh, flows)
        if not np.isfinite(least):
            notes = [*notes, "the solver found no answer, so the battery stays idle; report this plan's inputs"]
        return _result(self.storage, inputs, flows, on, targets_wh, notes)

    def _committed(self, inputs: Inputs, targets_wh: np.ndarray, relaxed: dict) -> tuple[dict, np.ndarray]:
        """Flows with the set on or off in each step, and when it is on: as the search finds it, or only as
        long as it must when that is cheaper; then with its hours moved where the programme's own prices say so."""
        genset = self.storage.genset
        kept = running_steps(genset, inputs)
        if relaxed["genset"].sum() <= 1e-6 and not kept.any():
            return relaxed, kept  # without its least power and start it would be cheaper still, and yet is not wanted
        choices = [commitment(self.storage, inputs, targets_wh, 1000 * peak_kw(relaxed))]
        if starts(choices[0], inputs.genset_run_s) <= 1 and not np.array_equal(choices[0], kept):
            choices.append(kept)
        moves, best, least = Moves(genset, inputs), None, _LEAST * self._programme.turnover
        for number in range(len(choices) + _MOVES):
            first = number < len(choices)
            on = choices[number] if first else moves.next(best[0], least)
            if on is None:
                break
            self._programme.go_back(_SET)
            cost, flows = self._priced(inputs, on, first, best[0] if best else np.inf)
            moves.told(on, cost, self._programme.worth_per_kw())
            better = best is None or cost < best[0]
            if better:
                best = cost, on, flows
                self._programme.keep(_SET)
            if number == len(choices) - 1 or (better and not first):
                moves.around(best[1], best[2]["genset"])
        return best[2], best[1]

    def _priced(self, inputs: Inputs, on: np.ndarray, direct: bool = False,
                below: float = np.inf) -> tuple[float, dict[str, np.ndarray]]:  # fmt: skip
        """Cost with penalties of these hours, and the flows, all zero when they cost `below` or more."""
        genset, hours = self.storage.genset, inputs.step_s / 3600
        turning = genset.cost(hours, np.zeros(len(on)), on, starts(on, inputs.genset_run_s))
        self._programme.commit(on, direct)
        flows, cost = self._programme.solve(below - turning)
        return cost + turning, flows


def storage_of(site) -> Storage:
    """Battery, connection and, when the site file (forerun.sections.SiteFile) rates one, the diesel set, its fuel's
    carbon priced in. The import margin is taken off the import limit."""
    limits, battery = site.limits, site.battery
    return Storage(
        capacity_wh=battery.capacity_wh,
        efficiency_charge=battery.efficiency_charge,
        efficiency_discharge=battery.efficiency_discharge,
        charge_max_w=limits.charge_max_w,
        discharge_max_w=limits.discharge_max_w,
        soc_min=limits.soc_min,
        soc_max=limits.soc_max,
        soc_reserve=battery.soc_reserve,
        import_limit_w=max(0, limits.import_limit_w - limits.import_margin_w),
        export_limit_w=limits.export_limit_w,
        wear_cost_per_kwh=float(battery.wear_cost_per_kwh),
        demand_charge_per_kw=float(site.tariff.demand_charge_per_kw_month),
        genset=_genset_of(site),
    )


def ruled_storage(site, with_set: bool) -> Storage:
    """storage_of the site with the set as its board would rule it, within what the board holds it to as well, or
    without one: a plan counts on no set that only stands in for a lost grid."""
    storage = storage_of(site)
    if not with_set:
        return replace(storage, genset=None)
    genset, rules = storage.genset, site.functions
    least = max(genset.min_load, min(1.0, rules.genset_min_load_w / genset.rated_w))
    genset = replace(genset, min_load=least, min_run_s=max(genset.min_run_s, rules.genset_min_run_s))
    return replace(storage, genset=genset)


def rules_set(site) -> bool:
    """Whether the site's board starts and stops a set on the plan's order."""
    return bool(site.genset.rated_w and site.functions.functions & _RULES_SET)


def _genset_of(site) -> Genset | None:
    if not site.genset.rated_w:
        return None
    genset, per_litre = site.genset, sum(litre_costs(site))
    return Genset(
        rated_w=genset.rated_w,
        min_load=genset.min_load,
        min_run_s=genset.min_run_s,
        start_cost=float(genset.start_cost),
        idle_cost_per_h=per_litre * float(genset.idle_litre_per_h),
        cost_per_kwh=per_litre * float(genset.litre_per_kwh),
    )


def litre_costs(site) -> tuple[float, float]:
    """What a litre of diesel costs to buy, and what its carbon costs, in the tariff's currency."""
    carbon = float(site.carbon.diesel_kg_per_litre * site.tariff.carbon_price_per_tonne) / 1000
    return float(site.genset.fuel_price_per_litre), carbon


def plan_steps(horizon_h: int) -> np.ndarray:
    """(n,) lengths of a plan's steps in s: 5 min for two hours, 15 min for ten, then hours; fine where it matters."""
    fine = np.concatenate([np.full(24, 300.0), np.full(40, 900.0), np.full(36, 3600.0)])
    return fine[: np.searchsorted(np.cumsum(fine), horizon_h * 3600) + 1]


def board_points(plan: Plan, set_lead_s: float = 0.0, import_limit_w: float = math.inf) -> list[tuple[int, int, int]]:
    """(duration_s, mode, value_w) for the board, at most MAX_POINTS: hold the planned import while the battery works,
    so that it takes up what the load does otherwise, and hold the battery at 0 W where the plan leaves it idle. Making
    headroom just before an announced step is the part of the board (its prepare state): no re-plan can lose it.

    Where the plan's import reaches `import_limit_w`, what it aims at, that limit is held: a battery that is idle there
    is empty, and what the sun gives beyond its forecast would be exported beside a set that runs for want of charge.

    WITH_SET marks where the diesel set runs, from set_lead_s before the plan gives it load: it has to start and warm.
    """
    points: list[tuple[int, int, int]] = []
    works = (np.abs(plan.battery_w) >= _IDLE_W) | (plan.genset_w > 0) | (plan.pcc_import_w >= import_limit_w)
    works, import_w = works.tolist(), np.round(np.minimum(plan.pcc_import_w, import_limit_w)).astype(int).tolist()
    for duration_s, step, with_set in _pieces(plan, set_lead_s):
        mode, value_w = (HOLD_PCC, import_w[step]) if works[step] else (HOLD_BATTERY, 0)
        mode += WITH_SET * with_set
        if points and points[-1][1:] == (mode, value_w):
            points[-1] = (points[-1][0] + duration_s, mode, value_w)
        else:
            points.append((duration_s, mode, value_w))
    while len(points) > MAX_POINTS:
        # The far end is the least certain, and is planned again long before it comes.
        (first_s, first, first_w), (second_s, second, second_w) = points[-2:]
        mean_w = round((first_s * first_w + second_s * second_w) / (first_s + second_s))
        both_hold = first & second & HOLD_PCC
        points[-2:] = [(first_s + second_s, both_hold + ((first | second) & WITH_SET), mean_w if both_hold else 0)]
    return points


def _pieces(plan: Plan, set_lead_s: float) -> Iterator[tuple[int, int, bool]]:
    """(duration_s, step, whether the set is to run): the plan's steps, cut where the set has to start."""
    ends, on = np.cumsum(plan.step_s), plan.genset_w > 0
    begins = (ends - plan.step_s)[on].tolist()
    for step, (end, duration, runs) in enumerate(zip(*(row.tolist() for row in (ends, plan.step_s, on)), strict=True)):
        ahead = next((begin for begin in begins if begin >= end), math.inf)
        with_s = round(duration if runs else min(max(0.0, end - ahead + set_lead_s), duration))
        if without_s := round(duration) - with_s:
            yield without_s, step, False
        if with_s:
            yield with_s, step, True


def _result(storage: Storage, inputs: Inputs, flows: dict, on: np.ndarray, targets_wh, notes: list[str]) -> Plan:
    """The plan from the flows. The change of stored energy rules; battery power and import follow from it, so that
    what is left of charging while discharging after the last round disappears."""
    hours, start_wh = inputs.step_s / 3600, inputs.soc * storage.capacity_wh
    stored_w = 1000 * (
        flows["charge"] * storage.efficiency_charge - flows["discharge"] / storage.efficiency_discharge
    )  # fmt: skip
    battery_w = np.where(
        stored_w > 0, -stored_w / storage.efficiency_charge, -stored_w * storage.efficiency_discharge
    )  # fmt: skip
    battery_w[np.abs(battery_w) < 1000 * _TOLERANCE_KW] = 0.0
    curtail_w = np.clip(1000 * flows["curtail"], 0, inputs.pv_w)
    genset_w = 1000 * flows["genset"] * on
    pcc_import_w = inputs.load_w - inputs.pv_w + curtail_w - inputs.genset_w - genset_w - battery_w
    # Energy no longer burnt in the battery must not leave over the export limit: PV gives way first.
    too_much_w = np.clip(-pcc_import_w - storage.export_limit_w, 0, inputs.pv_w - curtail_w)
    curtail_w, pcc_import_w = curtail_w + too_much_w, pcc_import_w + too_much_w
    energy_wh = start_wh + np.cumsum(stored_w * hours)
    soc = np.clip(energy_wh / storage.capacity_wh, 0, 1)
    imported, exported = np.clip(pcc_import_w, 0, None), np.clip(-pcc_import_w, 0, None)
    above_peak_w = max(0.0, imported.max() - inputs.peak_so_far_w)
    cost = (
        np.sum(hours * (imported * inputs.energy_price_per_kwh - exported * inputs.export_price_per_kwh))
        + np.sum(hours * np.clip(battery_w, 0, None)) * storage.wear_cost_per_kwh
        + above_peak_w * storage.demand_charge_per_kw
    ) / 1000
    if storage.genset is not None:
        cost += storage.genset.cost(hours, genset_w, on, starts(on, inputs.genset_run_s))
    relaxed = (*notes, *_relaxed(storage, inputs, pcc_import_w, energy_wh, targets_wh))
    return Plan(inputs.step_s, battery_w, pcc_import_w, curtail_w, soc, genset_w, float(cost), relaxed)


def _relaxed(storage: Storage, inputs: Inputs, pcc_import_w, energy_wh, targets_wh) -> list[str]:
    """One sentence for each limit that the plan leaves, with the most by which it does and for how long."""
    over_w, out_w = pcc_import_w - storage.import_limit_w, -pcc_import_w - storage.export_limit_w
    low, high = storage.soc_min * storage.capacity_wh, storage.soc_max * storage.capacity_wh
    reserve = reserve_level_wh(storage, inputs)
    checks = (
        ("W", "import is above the planned limit of {:.0f} W", storage.import_limit_w, over_w),
        ("W", "export is above the limit of {:.0f} W", storage.export_limit_w, out_w),
        ("Wh", "stored energy is below the minimum of {:.0f} Wh", low, low - energy_wh),
        ("Wh", "stored energy is above the maximum of {:.0f} Wh", high, energy_wh - high),
        ("Wh", "stored energy is short of what the announced surge needs, {:.0f} Wh", targets_wh.max(),
         np.where(targets_wh > low, targets_wh - energy_wh, 0)),
        ("Wh", "stored energy is below the reserve of {:.0f} Wh", reserve.max(),
         np.where((reserve > low) & (targets_wh == 0), reserve - np.maximum(energy_wh, low), 0)),
    )  # fmt: skip
    starts = np.cumsum(inputs.step_s) - inputs.step_s
    sentences = []
    for unit, sentence, limit, beyond in checks:
        steps = np.flatnonzero(beyond > 0.5)
        if len(steps):
            minutes, first = inputs.step_s[steps].sum() / 60, starts[steps[0]] / 60
            sentences.append(
                f"{sentence.format(limit)} by up to {beyond.max():.0f} {unit}, for {minutes:.0f} min in all, first in "
                f"{first:.0f} min"
            )
    return sentences
