"""The carbon ledger: where each watt-hour of the load came from, and what it emitted, from cumulative registers.

Location-based. Energy is integer Wh, emissions are Decimal grams of CO2e, nothing is rounded before it is shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from itertools import pairwise

from forerun.carbon.factors import HOUR_S, Factor, GridHour
from forerun.carbon.intake import METERS, RECORD, RECORD_KIND, REGISTERS, REPLACED, STEPPED, Gap, Reading, readings_of
from forerun.carbon.inventory import AVERAGE, NOTHING, Drawn, Store

__all__ = ["RECORD", "RECORD_KIND", "Battery", "Factor", "Factors", "Gap", "Interval", "Ledger", "Reading", "Sum",
           "battery_of", "factors_of", "ledger", "limits_of", "readings_of"]  # fmt: skip
INTERVAL_S = 900
FLOWS = (
    "pv_to_load", "grid_to_load", "genset_to_load", "battery_to_load", "pv_to_battery", "grid_to_battery",
    "genset_to_battery", "battery_to_battery", "pv_to_export", "genset_to_export", "battery_to_export",
    "grid_to_export",
)  # fmt: skip
MEASURED, ESTIMATED, SUBSTITUTED = QUALITIES = ("measured", "estimated", "substituted")
RULE = (
    "Per interval: PV, grid and genset charge the battery in proportion to what each gave; PV, genset and battery feed "
    "the export in proportion to what each has left; the load takes the rest. Stored energy keeps the average carbon "
    "and PV share of what is in the battery (weighted average)."
)
_SUBSTITUTED = ((1, "import and export substituted by the board"), (2, "battery substituted by the board"),
                (4, "PV substituted by the board"), (8, "genset substituted by the board"),
                (REPLACED, "a value substituted by a correction"),
                (STEPPED, "the clock was stepped: its length is not sure"))  # fmt: skip
EXACT = Context(prec=50)
_SETTLE_SHARE = Decimal("0.02")  # of the capacity: a state of charge this far below the books is lost energy


@dataclass(frozen=True, slots=True)
class Factors:
    """grid: one factor [g/kWh], or 24 by hour of the UTC day, for hours that `hourly` (by start of the hour) does not
    hold; genset = fuel [kg/litre] times litres [litre/kWh]."""

    grid: tuple[Factor, ...]
    pv: Factor
    fuel: Factor
    litres: Factor
    hourly: Mapping[int, GridHour] = field(default_factory=dict)

    def grid_factor(self, utc_s: int) -> Factor:
        """The factor that stands in where no hour of the grid is known."""
        return self.grid[utc_s // HOUR_S % 24 if len(self.grid) == 24 else 0]

    def grid_at(self, utc_s: int) -> GridHour:
        """The grid at that time; a yearly factor says nothing of the carbon-free share, so it counts as 0."""
        found = self.hourly.get(utc_s // HOUR_S * HOUR_S)
        if found is None:
            factor = self.grid_factor(utc_s)
            return GridHour(factor.value, Decimal(0), factor.id)
        return found

    def genset_g_per_kwh(self) -> Decimal:
        return self.fuel.value * self.litres.value * 1000


@dataclass(frozen=True, slots=True)
class Battery:
    """What the books need to know of the battery; efficiencies from the AC side."""

    capacity_wh: int
    efficiency_charge: Decimal
    efficiency_discharge: Decimal


@dataclass(frozen=True, slots=True)
class Interval:
    """One line of the ledger. flows_wh by name of FLOWS; grams: load_g and export_g are what the energy carried,
    emitted_g what the site caused in this time: import_g by its import, genset_g by its genset; pv_load_wh and
    clean_load_wh (PV and the grid's carbon-free share) hold what was stored in between too; apart_wh: by how much the
    meters disagree."""

    start_utc_s: int
    end_utc_s: int
    flows_wh: dict[str, int]
    load_wh: int
    load_g: Decimal
    other_load_g: tuple[Decimal, ...]
    export_g: Decimal
    emitted_g: Decimal
    import_g: Decimal
    genset_g: Decimal
    pv_load_wh: Decimal
    clean_load_wh: Decimal
    apart_wh: int
    stored_wh: Decimal
    stored_g: Decimal
    quality: str
    reasons: tuple[str, ...]
    records: tuple[int, int]

    @property
    def middle_utc_s(self) -> int:
        """Decides to which hour and period the interval belongs."""
        return (self.start_utc_s + self.end_utc_s) // 2


@dataclass(frozen=True, slots=True)
class Sum:
    """Intervals added up: load by source [Wh], grams, on-site share 0–1 of the load (PV, at once or stored).
    hour_utc_s: start of the UTC hour in which the first interval has its middle."""

    start_utc_s: int
    end_utc_s: int
    hour_utc_s: int
    load_wh: int
    pv_wh: int
    grid_wh: int
    genset_wh: int
    battery_wh: int
    import_wh: int
    export_wh: int
    charge_wh: int
    discharge_wh: int
    pv_made_wh: int
    pv_export_wh: int
    genset_made_wh: int
    load_g: Decimal
    export_g: Decimal
    emitted_g: Decimal
    import_g: Decimal
    genset_g: Decimal
    pv_load_wh: Decimal
    clean_load_wh: Decimal
    apart_wh: int
    on_site_share: Decimal | None
    quality: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All intervals in order, the gaps, and the books of the battery: carbon_in_g = load and export through the battery
    + what is left, to the milligram."""

    intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    opening_wh: Decimal
    opening_g: Decimal
    closing_wh: Decimal
    closing_g: Decimal
    battery_in_g: Decimal
    battery_out_g: Decimal

    def hours(self) -> tuple[Sum, ...]:
        """One Sum per UTC hour in which an interval has its middle."""
        return hours_of(self.intervals)

    def total(self) -> Sum | None:
        """Everything; None when there is no interval."""
        return summed(self.intervals) if self.intervals else None


def ledger(
    readings: Iterable[Reading],
    factors: Factors,
    battery: Battery,
    interval_s: int = INTERVAL_S,
    methods: Sequence[str] = (AVERAGE,),
    limits_w: Mapping[str, int] | None = None,
) -> Ledger:
    """The books from the readings, in order of time. What is in the battery at first counts at the grid's factor.

    A register that runs backward, or faster than its limit (mean power by register name), makes a named gap: that
    stretch is left out, never smoothed. A missing reading leaves the energy known and its time not: one long interval,
    estimated. methods: of the inventory (forerun.carbon.inventory.METHODS); the first makes the books, the others
    only say what the load would have carried by them (other_load_g).
    """
    with localcontext(EXACT):
        pieces, gaps = _pieces(list(readings), interval_s, limits_w or {})
        soc_permille = pieces[0][0].soc_permille if pieces else 0
        first_utc_s = pieces[0][0].utc_s if pieces else 0
        opening_wh = Decimal(battery.capacity_wh) * soc_permille / 1000
        stores = [Store(battery.efficiency_charge, battery.efficiency_discharge, method) for method in methods]
        for store in stores:
            store.put_stored(opening_wh, factors.grid_at(first_utc_s).g_per_kwh, Decimal(0))
        store = stores[0]
        opening_g = store.carbon_g
        intervals = tuple(
            _interval(first, last, reasons, factors, battery, stores) for first, last, reasons in pieces
        )  # fmt: skip
        return Ledger(intervals, tuple(gaps), opening_wh, opening_g, store.energy_wh, store.carbon_g,
                      store.in_g, store.out_g)  # fmt: skip


def factors_of(site) -> Factors:
    """The factors of a site file (forerun.sections.SiteFile)."""
    carbon = site.carbon
    values = carbon.grid_g_per_kwh if isinstance(carbon.grid_g_per_kwh, tuple) else (carbon.grid_g_per_kwh,)
    names = [f"grid-{hour:02d}" for hour in range(24)] if len(values) == 24 else ["grid"]
    valid = carbon.grid_valid_from, carbon.grid_valid_until
    grid = tuple(
        Factor(name, value, "g/kWh", "scope 2, location-based", carbon.grid_region, *valid, carbon.grid_source)
        for name, value in zip(names, values, strict=True)
    )
    return Factors(
        grid=grid,
        pv=Factor("pv", Decimal(0), "g/kWh", "scope 1, direct", "", None, None, "no fuel; manufacture is not counted"),
        fuel=Factor("diesel", carbon.diesel_kg_per_litre, "kg/litre", "scope 1, direct", "", carbon.diesel_valid_from,
                    carbon.diesel_valid_until, carbon.diesel_source),
        litres=Factor("diesel-litres", carbon.diesel_litre_per_kwh, "litre/kWh", "scope 1, direct", "", None, None,
                      carbon.diesel_litre_source),
    )  # fmt: skip


def battery_of(site) -> Battery:
    """The battery of a site file (forerun.sections.SiteFile)."""
    battery = site.battery
    return Battery(
        battery.capacity_wh, Decimal(str(battery.efficiency_charge)), Decimal(str(battery.efficiency_discharge))
    )


def limits_of(site) -> dict[str, int]:
    """Mean power [W] by register that this site's meters cannot show: three times its limit, or its nameplate and a
    half; a register without either has no limit."""
    limits, equipment = site.limits, site.equipment
    found = {"import_wh": 3 * limits.import_limit_w, "export_wh": 3 * limits.export_limit_w,
             "charge_wh": 3 * limits.charge_max_w, "discharge_wh": 3 * limits.discharge_max_w,
             "pv_wh": equipment.pv_peak_w * 3 // 2, "genset_wh": equipment.genset_power_w * 3 // 2}  # fmt: skip
    return {name: limit_w for name, limit_w in found.items() if limit_w}


def _pieces(
    readings: list[Reading], interval_s: int, limits_w: Mapping[str, int]
) -> tuple[list[tuple[Reading, Reading, set[str]]], list[Gap]]:
    """(first reading, last reading, reasons) of each ledger interval, and the gaps between and in them."""
    pieces: list[tuple[Reading, Reading, set[str]]] = []
    gaps: list[Gap] = []
    place = None
    for before, now in pairwise(readings):
        sentence = _broken(before, now, limits_w)
        if sentence:
            gaps.append(Gap(min(before.utc_s, now.utc_s), max(before.utc_s, now.utc_s), sentence))
            place = None
            continue
        reasons = {sentence for bit, sentence in _SUBSTITUTED if now.quality & bit} if now.quality else set()
        if now.utc_s - before.utc_s > interval_s:
            sentence = f"no reading for {now.utc_s - before.utc_s} s: the energy is known, its time is not"
            gaps.append(Gap(before.utc_s, now.utc_s, sentence))
            pieces.append((before, now, reasons | {sentence}))
            place = None
            continue
        here = (before.utc_s + now.utc_s) // 2 // interval_s
        if here == place:
            first, _, earlier = pieces[-1]
            pieces[-1] = (first, now, earlier | reasons)
        else:
            pieces.append((before, now, reasons))
        place = here
    return pieces, gaps


def _broken(before: Reading, now: Reading, limits_w: Mapping[str, int]) -> str:
    """What makes the difference of two readings meaningless, or ''."""
    length_s = now.utc_s - before.utc_s
    if length_s == 0 and all(getattr(before, name) == getattr(now, name) for name in REGISTERS):
        return "the same reading came twice: the second one was left out"
    if length_s <= 0:
        return f"a reading of {-length_s} s earlier follows: the board's clock was set back"
    said = []
    if now.exchanged:
        said.append(f"the {' and '.join(now.exchanged)} meter was exchanged in between: what passed there is not known")
    fresh = {name for meter in now.exchanged for name in METERS[meter]}
    for name in REGISTERS:
        then_wh, now_wh = getattr(before, name), getattr(now, name)
        if name in fresh:
            continue
        if now_wh < then_wh:
            said.append(f"{name} fell from {then_wh} to {now_wh}: the meter was reset or exchanged")
        elif name in limits_w and (now_wh - then_wh) * HOUR_S > limits_w[name] * length_s:
            power_w = (now_wh - then_wh) * HOUR_S // length_s
            limit = f"{power_w} W cannot be, the limit is {limits_w[name]} W"
            said.append(f"{name} rose by {now_wh - then_wh} in {length_s} s: {limit}")
    return "; ".join(said)


def _interval(
    first: Reading, last: Reading, reasons: set[str], factors: Factors, battery: Battery, stores: list[Store]
) -> Interval:
    energy = {name: getattr(last, name) - getattr(first, name) for name in REGISTERS}
    flows, load_wh, apart_wh = _flows(**energy)
    reasons = set(reasons)
    if apart_wh:
        reasons.add(f"the meters disagree by {apart_wh} Wh")
    if energy["genset_wh"]:
        reasons.add("genset fuel from energy, no fuel meter")
    here, genset_g_per_kwh = factors.grid_at((first.utc_s + last.utc_s) // 2), factors.genset_g_per_kwh()
    rates = {"pv": factors.pv.value, "grid": here.g_per_kwh, "genset": genset_g_per_kwh}
    drawn, *others = (_through(store, flows, rates, here.clean_share) for store in stores)
    for store in stores:
        _settle(store, battery, last.soc_permille)
    if drawn.missing_wh >= 1:
        reasons.add("the battery gave more than the books held: the rest at the grid's factor")
    given_wh = energy["discharge_wh"] or 1
    to_load, to_export = (Decimal(flows[f"battery_to_{sink}"]) / given_wh for sink in ("load", "export"))
    load_g, export_g = _direct_g(flows, rates, "load"), _direct_g(flows, rates, "export")
    import_g, genset_g = energy["import_wh"] * rates["grid"] / 1000, energy["genset_wh"] * genset_g_per_kwh / 1000
    return Interval(
        start_utc_s=first.utc_s,
        end_utc_s=last.utc_s,
        flows_wh=flows,
        load_wh=load_wh,
        load_g=load_g + to_load * drawn.grams,
        other_load_g=tuple(load_g + to_load * other.grams for other in others),
        export_g=export_g + to_export * drawn.grams,
        emitted_g=import_g + genset_g + energy["pv_wh"] * rates["pv"] / 1000,
        import_g=import_g,
        genset_g=genset_g,
        pv_load_wh=flows["pv_to_load"] + to_load * drawn.green_wh,
        clean_load_wh=flows["pv_to_load"] + flows["grid_to_load"] * here.clean_share + to_load * drawn.clean_wh,
        apart_wh=apart_wh,
        stored_wh=stores[0].energy_wh,
        stored_g=stores[0].carbon_g,
        quality=_quality(reasons),
        reasons=tuple(sorted(reasons)),
        records=(first.place, last.place),
    )


def _direct_g(flows: dict[str, int], rates: dict[str, Decimal], sink: str) -> Decimal:
    """Grams of what reached the sink without passing the battery."""
    grams = Decimal(0)
    for name, rate in rates.items():
        if wh := flows[f"{name}_to_{sink}"]:
            grams += wh * rate
    return grams / 1000


def _through(store: Store, flows: dict[str, int], rates: dict[str, Decimal], clean_share: Decimal) -> Drawn:
    """Book an interval's charge and discharge: what the discharge carried, with what the books lacked at the grid's
    rate. What is charged in an interval may be what is discharged in it, so charging is booked first."""
    store.charge(flows["pv_to_battery"], rates["pv"], Decimal(1))
    store.charge(flows["grid_to_battery"], rates["grid"], Decimal(0), clean_share)
    store.charge(flows["genset_to_battery"], rates["genset"], Decimal(0))
    back_wh = flows["battery_to_battery"]
    discharge_wh = flows["battery_to_load"] + flows["battery_to_export"] + back_wh
    if not discharge_wh:
        return NOTHING
    drawn = store.discharge(discharge_wh)
    if drawn.missing_wh > 0:
        # Through the books, so that they stay whole.
        extra_g = drawn.missing_wh * rates["grid"] / 1000
        store.in_g += extra_g
        store.out_g += extra_g
        drawn = drawn._replace(grams=drawn.grams + extra_g)
    if back_wh:
        each = Decimal(1) / discharge_wh
        store.charge(back_wh, each * drawn.grams * 1000, each * drawn.green_wh, each * drawn.clean_wh)
    return drawn


def _flows(import_wh: int, export_wh: int, charge_wh: int, discharge_wh: int, pv_wh: int, genset_wh: int):
    """(flows by name, load Wh, Wh by which the meters disagree), by RULE; whole Wh that add up exactly."""
    left = {"pv": pv_wh, "grid": import_wh, "genset": genset_wh, "battery": discharge_wh}
    flows = dict.fromkeys(FLOWS, 0)
    short_wh = 0
    for sink, wanted_wh, sources in (
        ("battery", charge_wh, (("pv", "grid", "genset"), ("battery",))),
        ("export", export_wh, (("pv", "genset", "battery"), ("grid",))),
    ):
        for names in sources if wanted_wh else ():
            given = _split(min(wanted_wh, sum(left[name] for name in names)), {name: left[name] for name in names})
            for name, wh in given.items():
                flows[f"{name}_to_{sink}"] += wh
                left[name] -= wh
                wanted_wh -= wh
        short_wh += wanted_wh
    for name, wh in left.items():
        flows[f"{name}_to_load"] += wh
    return flows, sum(left.values()), short_wh


def _split(whole_wh: int, weights: dict[str, int]) -> dict[str, int]:
    """whole_wh over the names in proportion to their weights, in whole Wh (largest remainder, then first name)."""
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0)
    parts = {name: whole_wh * weight // total for name, weight in weights.items()}
    by_rest = sorted(weights, key=lambda name: -(whole_wh * weights[name] % total))
    for name in by_rest[: whole_wh - sum(parts.values())]:
        parts[name] += 1
    return parts


def _settle(store: Store, battery: Battery, soc_permille: int) -> None:
    """Books above the measured state of charge by more than its error: the difference was lost."""
    measured_wh = Decimal(battery.capacity_wh) * soc_permille / 1000
    lost_wh = store.energy_wh - measured_wh
    if lost_wh > _SETTLE_SHARE * battery.capacity_wh:
        store.lose(lost_wh)


def _quality(reasons: Iterable[str]) -> str:
    if any("substituted" in reason for reason in reasons):
        return SUBSTITUTED
    return ESTIMATED if reasons else MEASURED


def hours_of(intervals: Iterable[Interval]) -> tuple[Sum, ...]:
    """One Sum per UTC hour in which an interval has its middle, in order."""
    hours: dict[int, list[Interval]] = {}
    for interval in intervals:
        hours.setdefault(interval.middle_utc_s // HOUR_S, []).append(interval)
    return tuple(summed(items) for _, items in sorted(hours.items()))


def summed(intervals: Iterable[Interval]) -> Sum:
    """Intervals added up, exactly; at least one."""
    with localcontext(EXACT):
        return _added(list(intervals))


def _added(intervals: list[Interval]) -> Sum:
    flows = {name: sum(interval.flows_wh[name] for interval in intervals) for name in FLOWS}
    load_wh = sum(interval.load_wh for interval in intervals)
    grams = {name: sum((getattr(interval, name) for interval in intervals), Decimal(0)) for name in
             ("load_g", "export_g", "emitted_g", "import_g", "genset_g", "pv_load_wh", "clean_load_wh")}  # fmt: skip
    given = {name: sum(wh for flow, wh in flows.items() if flow.startswith(f"{name}_to_")) for name in
             ("grid", "battery", "pv", "genset")}  # fmt: skip
    taken = {name: sum(wh for flow, wh in flows.items() if flow.endswith(f"_to_{name}")) for name in
             ("battery", "export")}  # fmt: skip
    return Sum(
        start_utc_s=intervals[0].start_utc_s,
        end_utc_s=intervals[-1].end_utc_s,
        hour_utc_s=intervals[0].middle_utc_s // HOUR_S * HOUR_S,
        load_wh=load_wh,
        pv_wh=flows["pv_to_load"],
        grid_wh=flows["grid_to_load"],
        genset_wh=flows["genset_to_load"],
        battery_wh=flows["battery_to_load"],
        import_wh=given["grid"],
        export_wh=taken["export"],
        charge_wh=taken["battery"],
        discharge_wh=given["battery"],
        pv_made_wh=given["pv"],
        pv_export_wh=flows["pv_to_export"],
        genset_made_wh=given["genset"],
        **grams,
        apart_wh=sum(interval.apart_wh for interval in intervals),
        on_site_share=grams["pv_load_wh"] / load_wh if load_wh else None,
        quality=max((interval.quality for interval in intervals), key=QUALITIES.index),
        reasons=tuple(sorted({reason for interval in intervals for reason in interval.reasons})),
    )
