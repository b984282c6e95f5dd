"""The carbon ledger: where each watt-hour of the load came from, and what it emitted, from cumulative registers.

Location-based. Energy is integer Wh, emissions are Decimal grams of CO2e, nothing is rounded before it is shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal, localcontext
from itertools import pairwise

from forerun_wire import messages

INTERVAL_S = 900
HOUR_S = 3600
REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
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
RECORD, RECORD_KIND = "record", 5  # kind of a journal entry, and where its body tells the kind of record
_SUBSTITUTED = ((1, "import and export"), (2, "battery"), (4, "PV"), (8, "genset"))
_EXACT = Context(prec=50)
_SETTLE_SHARE = Decimal("0.02")  # of the capacity: a state of charge this far below the books is lost energy


@dataclass(frozen=True, slots=True)
class Factor:
    """An emission or conversion factor with everything that a verifier asks about it."""

    id: str
    value: Decimal
    unit: str
    scope: str
    region: str
    valid_from: date | None
    valid_until: date | None
    source: str


@dataclass(frozen=True, slots=True)
class Factors:
    """grid: one factor [g/kWh], or 24 by hour of the UTC day; genset = fuel [kg/litre] times litres [litre/kWh]."""

    grid: tuple[Factor, ...]
    pv: Factor
    fuel: Factor
    litres: Factor

    def grid_g_per_kwh(self, utc_s: int) -> Decimal:
        return self.grid[utc_s // HOUR_S % 24 if len(self.grid) == 24 else 0].value

    def genset_g_per_kwh(self) -> Decimal:
        return self.fuel.value * self.litres.value * 1000


@dataclass(frozen=True, slots=True)
class Battery:
    """What the books need to know of the battery; efficiencies from the AC side."""

    capacity_wh: int
    efficiency_charge: Decimal
    efficiency_discharge: Decimal


@dataclass(frozen=True, slots=True)
class Reading:
    """The cumulative registers [Wh] at one moment; quality: bits of what the board had to substitute."""

    utc_s: int
    import_wh: int
    export_wh: int
    charge_wh: int
    discharge_wh: int
    pv_wh: int
    genset_wh: int
    soc_permille: int
    quality: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch whose energy, or its time, nobody knows."""

    start_utc_s: int
    end_utc_s: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Interval:
    """One line of the ledger. flows_wh by name of FLOWS; grams: load_g and export_g are what the energy carried,
    emitted_g what the site caused in this time (import and genset); pv_wh_to_load holds PV that was stored too."""

    start_utc_s: int
    end_utc_s: int
    flows_wh: dict[str, int]
    load_wh: int
    load_g: Decimal
    export_g: Decimal
    emitted_g: Decimal
    pv_load_wh: Decimal
    stored_wh: Decimal
    stored_g: Decimal
    quality: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Intervals added up: load by source [Wh], grams, on-site share 0–1 of the load (PV, at once or stored)."""

    start_utc_s: int
    end_utc_s: int
    load_wh: int
    pv_wh: int
    grid_wh: int
    genset_wh: int
    battery_wh: int
    import_wh: int
    export_wh: int
    load_g: Decimal
    export_g: Decimal
    emitted_g: Decimal
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
        hours: dict[int, list[Interval]] = {}
        for interval in self.intervals:
            hours.setdefault((interval.start_utc_s + interval.end_utc_s) // 2 // HOUR_S, []).append(interval)
        return tuple(_sum(intervals) for _, intervals in sorted(hours.items()))

    def total(self) -> Sum | None:
        """Everything; None when there is no interval."""
        return _sum(self.intervals) if self.intervals else None


def ledger(readings: Iterable[Reading], factors: Factors, battery: Battery, interval_s: int = INTERVAL_S) -> Ledger:
    """The books from the readings, in order of time. What is in the battery at first counts at the grid's factor.

    A register that runs backward makes a named gap: that stretch is left out, never smoothed. A missing reading
    leaves the energy known and its time not: one long interval, estimated.
    """
    with localcontext(_EXACT):
        pieces, gaps = _pieces(list(readings), interval_s)
        soc_permille = pieces[0][0].soc_permille if pieces else 0
        first_utc_s = pieces[0][0].utc_s if pieces else 0
        opening_wh = Decimal(battery.capacity_wh) * soc_permille / 1000
        store = Store(battery.efficiency_charge, battery.efficiency_discharge)
        store.put_stored(opening_wh, factors.grid_g_per_kwh(first_utc_s), Decimal(0))
        opening_g = store.carbon_g
        intervals = tuple(
            _interval(first, last, reasons, factors, battery, store) for first, last, reasons in pieces
        )  # fmt: skip
        return Ledger(intervals, tuple(gaps), opening_wh, opening_g, store.energy_wh, store.carbon_g,
                      store.in_g, store.out_g)  # fmt: skip


def readings_of(entries: Iterable) -> list[Reading]:
    """The interval records among journal entries (forerun.store.Entry), in the order in which they were recorded."""
    readings = []
    for entry in entries:
        if getattr(entry, "kind", None) != RECORD or entry.body[RECORD_KIND] != messages.INTERVAL:
            continue
        fields = dict(zip(messages.INTERVAL_FIELDS, entry.body[RECORD_KIND + 1 :], strict=False))
        registers = {name: fields[name] for name in (*REGISTERS, "soc_permille", "quality")}
        readings.append(Reading(entry.utc_us // 1_000_000, **registers))
    return readings


def factors_of(site) -> Factors:
    """The factors of a site file (forerun.config.SiteFile)."""
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
        fuel=Factor("diesel", carbon.diesel_kg_per_litre, "kg/litre", "scope 1, direct", "", None, None,
                    carbon.diesel_source),
        litres=Factor("diesel-litres", carbon.diesel_litre_per_kwh, "litre/kWh", "scope 1, direct", "", None, None,
                      carbon.diesel_litre_source),
    )  # fmt: skip


def battery_of(site) -> Battery:
    """The battery of a site file (forerun.config.SiteFile)."""
    battery = site.battery
    return Battery(
        battery.capacity_wh, Decimal(str(battery.efficiency_charge)), Decimal(str(battery.efficiency_discharge))
    )


@dataclass(slots=True)
class Store:
    """What a battery holds: energy, its carbon, and how much of it came from PV; weighted average.

    energy_wh is behind the charger; charge and discharge are AC. in_g = out_g + carbon_g always.
    """

    efficiency_charge: Decimal
    efficiency_discharge: Decimal
    energy_wh: Decimal = Decimal(0)
    carbon_g: Decimal = Decimal(0)
    green_wh: Decimal = Decimal(0)
    in_g: Decimal = field(default=Decimal(0))
    out_g: Decimal = field(default=Decimal(0))

    def charge(self, wh: int | Decimal, g_per_kwh: Decimal, green: Decimal) -> None:
        """Take in AC energy of that intensity and green share: the losses stay behind, their carbon comes along."""
        self.energy_wh += self.efficiency_charge * wh
        self.green_wh += self.efficiency_charge * wh * green
        self.carbon_g += wh * g_per_kwh / 1000
        self.in_g += wh * g_per_kwh / 1000

    def put_stored(self, wh: Decimal, g_per_kwh: Decimal, green: Decimal) -> None:
        """Energy that is in the battery already, at the intensity of what it would deliver."""
        carbon_g = wh * self.efficiency_discharge * g_per_kwh / 1000
        self.energy_wh, self.green_wh = self.energy_wh + wh, self.green_wh + wh * green
        self.carbon_g, self.in_g = self.carbon_g + carbon_g, self.in_g + carbon_g

    def discharge(self, wh: int | Decimal) -> tuple[Decimal, Decimal, Decimal]:
        """(grams, green Wh, Wh that the books do not hold) of this AC energy. The books are not overdrawn."""
        taken = wh / self.efficiency_discharge
        missing = max(Decimal(0), taken - self.energy_wh)
        taken -= missing
        if taken == 0:
            return Decimal(0), Decimal(0), missing * self.efficiency_discharge
        share = taken / self.energy_wh
        grams, green = share * self.carbon_g, share * self.green_wh
        self.energy_wh -= taken
        self.green_wh -= green
        self.carbon_g -= grams
        self.out_g += grams
        return grams, green * self.efficiency_discharge, missing * self.efficiency_discharge

    def lose(self, wh: Decimal) -> None:
        """Standby loss: the energy goes, its carbon stays with what is left."""
        if self.energy_wh > 0:
            self.green_wh *= 1 - wh / self.energy_wh
            self.energy_wh -= wh


def _pieces(readings: list[Reading], interval_s: int) -> tuple[list[tuple[Reading, Reading, set[str]]], list[Gap]]:
    """(first reading, last reading, reasons) of each ledger interval, and the gaps between and in them."""
    pieces: list[tuple[Reading, Reading, set[str]]] = []
    gaps: list[Gap] = []
    place = None
    for before, now in pairwise(readings):
        sentence = _broken(before, now)
        if sentence:
            gaps.append(Gap(min(before.utc_s, now.utc_s), max(before.utc_s, now.utc_s), sentence))
            place = None
            continue
        reasons = {f"{name} substituted by the board" for bit, name in _SUBSTITUTED if now.quality & bit}
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


def _broken(before: Reading, now: Reading) -> str:
    """What makes the difference of two readings meaningless, or ''."""
    if now.utc_s <= before.utc_s:
        return f"a reading of {before.utc_s - now.utc_s} s earlier follows: the board's clock was set back"
    for name in REGISTERS:
        then_wh, now_wh = getattr(before, name), getattr(now, name)
        if now_wh < then_wh:
            return f"{name} fell from {then_wh} to {now_wh}: the meter was reset or exchanged"
    return ""


def _interval(
    first: Reading, last: Reading, reasons: set[str], factors: Factors, battery: Battery, store: Store
) -> Interval:
    energy = {name: getattr(last, name) - getattr(first, name) for name in REGISTERS}
    flows, load_wh, apart_wh = _flows(**energy)
    reasons = set(reasons)
    if apart_wh:
        reasons.add(f"the meters disagree by {apart_wh} Wh")
    if energy["genset_wh"]:
        reasons.add("genset fuel from energy, no fuel meter")
    grid, genset = factors.grid_g_per_kwh((first.utc_s + last.utc_s) // 2), factors.genset_g_per_kwh()
    pv = factors.pv.value
    # What is charged in an interval may be what is discharged in it, so charging is booked first.
    store.charge(flows["pv_to_battery"], pv, Decimal(1))
    store.charge(flows["grid_to_battery"], grid, Decimal(0))
    store.charge(flows["genset_to_battery"], genset, Decimal(0))
    grams, green_wh, missing_wh = store.discharge(energy["discharge_wh"])
    if missing_wh > 0:
        # Not in the books: counted at the grid's factor, through the books, so that they stay whole.
        grams += missing_wh * grid / 1000
        store.in_g += missing_wh * grid / 1000
        store.out_g += missing_wh * grid / 1000
    if missing_wh >= 1:
        reasons.add("the battery gave more than the books held: the rest at the grid's factor")
    given_wh = Decimal(energy["discharge_wh"] or 1)
    share = {name: flows[f"battery_to_{name}"] / given_wh for name in ("load", "export", "battery")}
    back_wh = flows["battery_to_battery"]
    if back_wh:
        store.charge(back_wh, share["battery"] * grams * 1000 / back_wh, share["battery"] * green_wh / back_wh)
    _settle(store, battery, last.soc_permille)
    sources = (("pv", pv), ("grid", grid), ("genset", genset))
    carried = {
        sink: share[sink] * grams + sum(flows[f"{name}_to_{sink}"] * g_per_kwh for name, g_per_kwh in sources) / 1000
        for sink in ("load", "export")
    }
    return Interval(
        start_utc_s=first.utc_s,
        end_utc_s=last.utc_s,
        flows_wh=flows,
        load_wh=load_wh,
        load_g=carried["load"],
        export_g=carried["export"],
        emitted_g=(energy["import_wh"] * grid + energy["genset_wh"] * genset + energy["pv_wh"] * pv) / 1000,
        pv_load_wh=flows["pv_to_load"] + share["load"] * green_wh,
        stored_wh=store.energy_wh,
        stored_g=store.carbon_g,
        quality=_quality(reasons),
        reasons=tuple(sorted(reasons)),
    )


def _flows(import_wh: int, export_wh: int, charge_wh: int, discharge_wh: int, pv_wh: int, genset_wh: int):
    """(flows by name, load Wh, Wh by which the meters disagree), by RULE; whole Wh that add up exactly."""
    left = {"pv": pv_wh, "grid": import_wh, "genset": genset_wh, "battery": discharge_wh}
    flows = dict.fromkeys(FLOWS, 0)
    short_wh = 0
    for sink, wanted_wh, sources in (
        ("battery", charge_wh, (("pv", "grid", "genset"), ("battery",))),
        ("export", export_wh, (("pv", "genset", "battery"), ("grid",))),
    ):
        for names in sources:
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


def _sum(intervals: Iterable[Interval]) -> Sum:
    with localcontext(_EXACT):
        return _added(list(intervals))


def _added(intervals: list[Interval]) -> Sum:
    flows = {name: sum(interval.flows_wh[name] for interval in intervals) for name in FLOWS}
    load_wh = sum(interval.load_wh for interval in intervals)
    pv_load_wh = sum((interval.pv_load_wh for interval in intervals), Decimal(0))
    reasons = sorted({reason for interval in intervals for reason in interval.reasons})
    return Sum(
        start_utc_s=intervals[0].start_utc_s,
        end_utc_s=intervals[-1].end_utc_s,
        load_wh=load_wh,
        pv_wh=flows["pv_to_load"],
        grid_wh=flows["grid_to_load"],
        genset_wh=flows["genset_to_load"],
        battery_wh=flows["battery_to_load"],
        import_wh=flows["grid_to_load"] + flows["grid_to_battery"] + flows["grid_to_export"],
        export_wh=sum(flows[name] for name in FLOWS if name.endswith("_to_export")),
        load_g=sum((interval.load_g for interval in intervals), Decimal(0)),
        export_g=sum((interval.export_g for interval in intervals), Decimal(0)),
        emitted_g=sum((interval.emitted_g for interval in intervals), Decimal(0)),
        on_site_share=pv_load_wh / load_wh if load_wh else None,
        quality=max((interval.quality for interval in intervals), key=QUALITIES.index),
        reasons=tuple(reasons),
    )
