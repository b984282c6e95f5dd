"""A plan told in words: each stretch in which the battery or the set works or PV stays unused, and why."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from forerun.dispatch.dispatcher import Plan, rules_set, storage_of
from forerun.dispatch.planning import Outlook, cost_parts
from forerun.dispatch.reserve import reserve_level_wh, surge_targets
from forerun.dispatch.situation import Storage, Surge, checked, temperature_shares
from forerun.report.pictures import clock, date
from forerun.sections import SiteFile

_WORTH_SAYING_W = 50.0
_WORTH_SAYING_WH = 10.0
_WORTH_SAYING_KWH = 0.05  # less is read as 0.0
_DAY_S = 86_400
_LONG_MIN = 600
_GIVES, _TAKES = "gives", "takes"


_SURGES_TOLD = 12  # one by one; nobody reads a thousand


def explained(site: SiteFile, made: Outlook, plan: Plan) -> list[str]:
    """The plan in sentences, in order of time; then what is relaxed, and what it costs by component."""
    told = _Told(site, made, plan)
    sentences = [f"It stands on {made.basis}. Times are UTC.", *told.cells(), *told.battery_and_set(),
                 *told.unused_pv()]  # fmt: skip
    surges = made.situation.surges
    sentences += [told.surge(surge) for surge in surges[:_SURGES_TOLD]]
    if len(surges) > _SURGES_TOLD:
        highest_w = max(surge.load_w for surge in surges[_SURGES_TOLD:])
        sentences.append(f"Announced loads change {len(surges) - _SURGES_TOLD} times more after that; the highest is "
                         f"{highest_w / 1000:.1f} kW in all.")  # fmt: skip
    sentences += [f"Not kept: {sentence}." for sentence in plan.relaxed]
    if site.genset.rated_w and not rules_set(site) and plan.pcc_import_w.max() > told.storage.import_limit_w + 1:
        sentences.append("What is above the import limit is left to the set's own panel, its kWh are counted at the "
                         "grid's price: this plan has no order for the set (functions 128 gives it one).")  # fmt: skip
    parts = [f"{value:.2f} {name}" for name, value in cost_parts(site, made, plan).items() if abs(value) >= 0.005]
    sentences.append(f"It costs {plan.cost:.2f} {site.tariff.currency} over {plan.step_s.sum() / 3600:.0f} h"
                     f"{': ' + ', '.join(parts) if len(parts) > 1 else ''}.")  # fmt: skip
    return sentences


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Steps first … last − 1 in which one thing is done: gives, takes, set, or nothing."""

    kind: str
    first: int
    last: int

    @property
    def part(self) -> slice:
        return slice(self.first, self.last)


class _Told:
    def __init__(self, site: SiteFile, made: Outlook, plan: Plan):
        self.site, self.made, self.plan = site, made, plan
        self.storage: Storage = storage_of(site)
        self.inputs = checked(made.situation, self.storage)
        self.ends_s, self.hours = np.cumsum(plan.step_s), plan.step_s / 3600
        self.price, self.currency = self.inputs.energy_price_per_kwh, site.tariff.currency
        self.net_w = self.inputs.load_w - self.inputs.pv_w
        self.reserve = reserve_level_wh(self.storage, self.inputs) / self.storage.capacity_wh
        self.asked_wh, _ = surge_targets(self.storage, self.inputs)
        kinds = np.select([plan.genset_w > 0, plan.battery_w > _WORTH_SAYING_W, plan.battery_w < -_WORTH_SAYING_W],
                          ["set", _GIVES, _TAKES], "")  # fmt: skip
        edges = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(kinds)]
        self.stretches = [_Stretch(str(kinds[first]), first, last) for first, last in pairwise(edges)]

    def time(self, after_s: float, day: bool = True) -> str:
        """Time of day, with its `day` where the plan has been at that time already."""
        at_s = round(self.made.start_s + after_s)
        return f"{date(at_s)} {clock(at_s)}" if day and after_s >= _DAY_S else clock(at_s)

    def _when(self, first: int, last: int) -> str:
        start_s, end_s = self.ends_s[first] - self.plan.step_s[first], self.ends_s[last - 1]
        days = [date(round(self.made.start_s + at_s)) for at_s in (start_s, end_s)]
        return f"{self.time(start_s)}–{self.time(end_s, start_s < _DAY_S or days[0] != days[1])}"

    def cells(self) -> list[str]:
        """What the battery's temperature leaves of its power, where that is not all."""
        celsius = self.made.situation.battery_temperature_c
        charge, discharge = temperature_shares(celsius)
        if min(charge, discharge) >= 1:
            return []
        return [f"The battery's cells are at {celsius:.0f} °C, where they may take {100 * charge:.0f} % and give "
                f"{100 * discharge:.0f} % of their power."]  # fmt: skip

    def battery_and_set(self) -> list[str]:
        sentences = []
        for each in self.stretches:
            hours, when = self.hours[each.part], self._when(each.first, each.last)
            if each.kind == "set":
                kwh = float(self.plan.genset_w[each.part] @ hours) / 1000
                sentences.append(f"{when}: the diesel set runs and gives {kwh:.1f} kWh, because {self._why_set(each)}.")
            elif each.kind:
                kwh = float(np.abs(self.plan.battery_w[each.part]) @ hours) / 1000
                if kwh < _WORTH_SAYING_KWH:
                    continue
                why = self._why_gives(each) if each.kind == _GIVES else self._why_takes(each)
                sentences.append(f"{when}: the battery {each.kind} {kwh:.1f} kWh, to "
                                 f"{100 * self.plan.soc[each.last - 1]:.0f} %, because {why}.")  # fmt: skip
        return sentences or [self._idle()]

    def surge(self, surge: Surge) -> str:
        """What an announced load asks of the battery, and when this plan has stored it."""
        load = f"an announced load of {surge.load_w / 1000:.1f} kW in all"
        minutes = surge.duration_s / 60
        length = f"{minutes:.0f} min" if minutes < _LONG_MIN else f"{minutes / 60:.0f} h"
        comes = f"At {self.time(surge.start_s)} {load} comes for {length}"
        if surge.start_s <= 0:
            comes = f"Until {self.time(surge.start_s + surge.duration_s)} {load} runs"
        alone, _ = surge_targets(self.storage, replace(self.inputs, surges=(surge,)))
        if not alone.any():
            if surge.load_w <= self.storage.import_limit_w:
                return f"{comes}; the grid carries it."
            beyond = surge.start_s >= self.ends_s[-1]
            return f"{comes}, beyond the plan's end." if beyond else f"{comes}, over within the first step."
        # The energy for it alone, above the minimum that stays; what other loads need before it is not in it.
        low_wh = self.storage.soc_min * self.storage.capacity_wh
        need_wh = float(alone.max())
        asks = f"{comes}; the {(need_wh - low_wh) / 1000:.1f} kWh that it needs above what the grid gives"
        before = self.ends_s <= max(surge.start_s, 0) + 1
        stored_wh = np.concatenate([[self.inputs.soc], self.plan.soc[before]]) * self.storage.capacity_wh
        ends_s = np.concatenate([[0.0], self.ends_s[before]])
        short = np.flatnonzero(stored_wh < need_wh - _WORTH_SAYING_WH)
        if len(short) == 0:
            return f"{asks} are in the battery already."
        if short[-1] == len(stored_wh) - 1:
            there_kwh = max(0.0, stored_wh[-1] - low_wh) / 1000
            return f"{asks} are not all stored by {self.time(ends_s[-1])}, only {there_kwh:.1f} kWh are."
        lead_s = surge.start_s - ends_s[short[-1] + 1]
        return f"{asks} are stored {lead_s / 60:.0f} min before."

    def unused_pv(self) -> list[str]:
        kind = np.where(self.plan.curtail_w > _WORTH_SAYING_W, 1 + (self.price < 0), 0)
        edges = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]
        sentences = []
        for first, last in pairwise(edges):
            if kind[first] == 0:
                continue
            kwh = float(self.plan.curtail_w[first:last] @ self.hours[first:last]) / 1000
            if kwh < _WORTH_SAYING_KWH:
                continue
            if kind[first] == 2:
                why = f"taking from the grid is paid for, {self._mean(self.price, first, last)} a kWh"
            elif self.inputs.export_price_per_kwh[first:last].mean() < 0:
                why = f"exporting costs {self._mean(-self.inputs.export_price_per_kwh, first, last)} a kWh"
            else:
                leave = f"{self.storage.export_limit_w / 1000:.1f} kW may leave"
                why = f"it is more than load and battery take, and {leave}"
            sentences.append(f"{self._when(first, last)}: {kwh:.1f} kWh of PV stay unused, because {why}.")
        return sentences

    def _mean(self, price: np.ndarray, first: int, last: int) -> str:
        return f"{np.average(price[first:last], weights=self.hours[first:last]):.3f} {self.currency}"

    def _idle(self) -> str:
        if max(self.inputs.charge_max_w, self.inputs.discharge_max_w) <= 0:
            return "The battery stays idle: it may neither take nor give."
        through = 1 - self.storage.efficiency_charge * self.storage.efficiency_discharge
        return (f"The battery stays idle: a kWh costs from {self.price.min():.3f} to {self.price.max():.3f} "
                f"{self.currency}, which is not worth {100 * through:.0f} % of losses and "
                f"{self.storage.wear_cost_per_kwh:.3f} {self.currency} of wear.")  # fmt: skip

    def _beside(self, each: _Stretch) -> str:
        average = np.average(self.price, weights=self.hours)
        return f"a kWh costs {self._mean(self.price, each.first, each.last)} then, beside {average:.3f} on average"

    def _cheaper(self, each: _Stretch) -> bool:
        mean = np.average(self.price[each.part], weights=self.hours[each.part])
        return bool(mean < np.average(self.price, weights=self.hours))

    def _limit(self, each: _Stretch) -> str | None:
        reached_w, limit_w = self.net_w[each.part].max(), self.storage.import_limit_w
        if reached_w <= limit_w + 1:
            return None
        gives = f"the grid gives {limit_w / 1000:.1f} kW" if limit_w else "nothing may be imported"
        return f"the load reaches {reached_w / 1000:.1f} kW and {gives}"

    def _lops(self, each: _Stretch) -> str | None:
        peak_w = float(self.plan.pcc_import_w.max())
        if not self.storage.demand_charge_per_kw or self.plan.pcc_import_w[each.part].max() < peak_w - 1:
            return None
        return f"it keeps the highest import, which is billed by the month, at {peak_w / 1000:.1f} kW"

    def _why_gives(self, each: _Stretch) -> str:
        """The first reason that holds, in the order of the plan's own priorities."""
        if why := self._limit(each) or self._lops(each):
            return why
        later = next((other for other in self.stretches if other.first >= each.last and other.kind == _TAKES), None)
        if later and self._cheaper(each) and (self._pv_over(later) or self.price[later.part].mean() < 0):
            return f"it makes room for what it takes from {self.time(self.ends_s[later.first - 1])} on"
        before = self.plan.soc[each.first - 1] if each.first else self.inputs.soc
        if before > self.storage.soc_max + 0.001:
            return f"more is stored than the maximum of {100 * self.storage.soc_max:.0f} %"
        return self._sold(each) or self._beside(each)

    def _sold(self, each: _Stretch) -> str | None:
        """What selling brings, where most of what the battery gives is sold and PV alone would not have been."""
        sold_w = np.clip(-self.plan.pcc_import_w[each.part], 0, None) - np.clip(-self.net_w[each.part], 0, None)
        hours, given_w = self.hours[each.part], self.plan.battery_w[each.part]
        if sold_w @ hours <= 0.5 * float(given_w @ hours):
            return None
        return f"a kWh sold brings {self._mean(self.inputs.export_price_per_kwh, each.first, each.last)} then"

    def _pv_over(self, each: _Stretch) -> bool:
        """Whether most of what is taken is PV that the load leaves."""
        over, taken = (float(watts[each.part] @ self.hours[each.part]) for watts in (
            np.clip(-self.net_w, 0, None), np.clip(-self.plan.battery_w, 0, None)))  # fmt: skip
        return over > 0.5 * taken

    def _why_takes(self, each: _Stretch) -> str:
        if self.price[each.part].mean() < 0:
            return f"that is paid for: a kWh costs {self._mean(self.price, each.first, each.last)} then"
        if self._pv_over(each):
            return "PV gives more than the load takes"
        before = self.plan.soc[each.first - 1] if each.first else self.inputs.soc
        if self.asked_wh[each.first :].max() > before * self.storage.capacity_wh + _WORTH_SAYING_WH:
            return "an announced load needs it"
        short = before < self.reserve[each.part].max() - 0.01
        if short and self.plan.soc[each.last - 1] < self.reserve[each.part].max() + 0.02:
            return f"{self._reserve(each)} has to be filled"
        if self._cheaper(each):
            return self._beside(each)
        later = next((other for other in self.stretches if other.first >= each.last and other.kind == _GIVES), None)
        if later is None:
            return f"{self._reserve(each)} has to be filled" if short else self._beside(each)
        begins = self.time(self.ends_s[later.first] - self.plan.step_s[later.first])
        return f"it is needed from {begins} on: {self._why_gives(later)}"

    def _reserve(self, each: _Stretch) -> str:
        share, hours = self.reserve[each.part].max(), self.site.battery.autonomy_h
        if share <= self.storage.soc_reserve + 1e-6:
            return f"the reserve of {100 * share:.0f} %"
        return f"the reserve for an outage of {hours:g} h, {100 * share:.0f} %,"

    def _why_set(self, each: _Stretch) -> str:
        if why := self._limit(each):
            return f"{why}, and the battery is not enough"
        before = self.plan.soc[each.first - 1] if each.first else self.inputs.soc
        if before < self.reserve[each.part].max() - 0.01:
            return f"{self._reserve(each)} is short and the grid alone takes longer to fill it"
        genset, hours = self.storage.genset, self.hours[each.part]
        kwh = float(self.plan.genset_w[each.part] @ hours) / 1000
        fuel = genset.cost(hours, self.plan.genset_w[each.part], np.ones(len(hours)), 0) / max(kwh, 1e-9)
        dear = np.average(self.price[each.part], weights=hours)
        if fuel < dear:
            carbon = " with its carbon" if self.site.tariff.carbon_price_per_tonne else ""
            own = f"a kWh of it costs {fuel:.3f} {self.currency}{carbon} and a start {genset.start_cost:.2f}"
            return f"{own}, beside {dear:.3f} from the grid"
        return self._lops(each) or "it runs for its least time, or fills the battery for what comes"
