"""The figures of a period, from the ledger's hours: scopes, shares and indicators. Each has a unit, a method, a basis.

Emissions in grams CO2e, energy in Wh, shares 0–1; Decimal, unrounded. None: not known, and a sentence says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from forerun.carbon.accounting import EXACT, Factors, Sum
from forerun.carbon.factors import HOUR_S, Factor
from forerun.carbon.intake import SUBMETERS, Certificate

YEAR_S = 31_556_952  # mean Gregorian year
CANCELLED, SOLD = "cancelled", "sold"
EQUIPMENT = ("battery", "pv", "inverter", "genset")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the report with what it was made of."""

    value: Decimal | None
    unit: str
    formula: str
    inputs: dict[str, str]
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a period's figures are made from. hours: of the period; journal_hours: all up to its end, () = the same;
    submeters: what each used in the period, None when there is no meter."""

    hours: tuple[Sum, ...]
    length_s: int
    factors: Factors
    submeters: dict[str, Decimal | None]
    certificates: tuple[Certificate, ...]
    residual: Factor | None
    upstream: Factor | None
    pv_life_cycle: Factor | None
    embodied_kg: dict[str, tuple[Decimal, int]]  # of EQUIPMENT: (kg, life in years); 0 kg = not known
    journal_hours: tuple[Sum, ...] = ()
    end_utc_s: int | None = None  # of the period; None = the end of the last hour
    embodied_factor: Mapping[str, str] = field(default_factory=dict)  # id of the factor, where kg is from the table


@dataclass(slots=True)
class Matching:
    """Certificates put to hours, each by start of the hour [utc_s]: Wh and grams of the import that they cover, of it
    what is matched by the hour (at most the grid's energy to the load), and what of export and PV was sold.
    left_wh: by certificate id, what found no energy of its time, which is over."""

    covered_wh: dict[int, int] = field(default_factory=dict)
    covered_g: dict[int, Decimal] = field(default_factory=dict)
    hourly_wh: dict[int, int] = field(default_factory=dict)
    sold_export_wh: dict[int, int] = field(default_factory=dict)
    sold_pv_wh: dict[int, int] = field(default_factory=dict)
    left_wh: dict[str, int] = field(default_factory=dict)

    def within(self, name: str, hours: Iterable[Sum]):
        """Sum of one of the parts over these hours."""
        part = getattr(self, name)
        return sum((part.get(hour.hour_utc_s, 0) for hour in hours), 0)


def article9(sources: Sequence[tuple[Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    """(t/MWh, t) of a mix of sources (MWh, t/MWh): (EU) 2025/2547 article 9, EF = Σ(EFᵢ·MWhᵢ) / ΣMWhᵢ."""
    tonnes = sum((mwh * factor for mwh, factor in sources), ZERO)
    return tonnes / sum(mwh for mwh, _ in sources), tonnes


def cfe(load: Sequence, clean: Sequence, grid_cfe: Sequence) -> Decimal | None:
    """24/7 carbon-free energy score 0–1: Σ[min(L, C) + CFE_grid·(L − min(L, C))] / ΣL over the hours."""
    total = sum(load)
    if not total:
        return None
    parts = (min(wh, own) + share * (wh - min(wh, own)) for wh, own, share in zip(load, clean, grid_cfe, strict=True))
    return Decimal(sum(parts)) / total


def used(
    readings: Iterable[tuple[int, int]], start_utc_s: int, end_utc_s: int, exchanged_utc_s: Sequence[int] = ()
) -> Decimal | None:
    """What a cumulative register counted in the period; a fall, and a step over an exchange of the meter, count
    nothing. None without two readings."""
    before: tuple[int, int] | None = None
    total, count = 0, 0
    for utc_s, value in readings:
        if utc_s <= start_utc_s:
            before, count = (utc_s, value), 1
            continue
        if utc_s > end_utc_s:
            break
        if before is not None and value >= before[1] and not any(before[0] < at <= utc_s for at in exchanged_utc_s):
            total += value - before[1]
        before, count = (utc_s, value), count + 1
    return Decimal(total) if count > 1 else None


def match(hours: Sequence[Sum], certificates: Iterable[Certificate], end_utc_s: int | None = None) -> Matching:
    """Certificates over all hours that the journal holds up to `end_utc_s`, so that none is used in two periods.

    A cancelled one covers the import of its own interval, in order of time, until it is used up; only one of at most an
    hour counts as matched by the hour. A sold one takes from the PV that was exported in its interval first, then from
    the rest of the PV of it; sold beyond that when its time is over, it counts against its first hour all the same."""
    result, by_hour = Matching(), {hour.hour_utc_s: hour for hour in hours}
    import_wh = {at: hour.import_wh for at, hour in by_hour.items()}
    exported_wh = {at: hour.pv_export_wh for at, hour in by_hour.items()}
    kept_wh = {at: hour.pv_made_wh - hour.pv_export_wh for at, hour in by_hour.items()}
    end_utc_s = max(by_hour, default=0) + HOUR_S if end_utc_s is None else end_utc_s
    for item in certificates:
        first_s = item.start_utc_s // HOUR_S * HOUR_S
        span = [at for at in range(first_s, item.end_utc_s, HOUR_S) if at in by_hour]
        if item.action == CANCELLED:
            taken, left_wh = _take(item.wh, import_wh, span)
            _add(result.covered_wh, taken)
            _add(result.covered_g, {at: wh * item.g_per_kwh / 1000 for at, wh in taken.items()})
            if item.end_utc_s - item.start_utc_s <= HOUR_S:
                room_wh = {at: by_hour[at].grid_wh - result.hourly_wh.get(at, 0) for at in taken}
                _add(result.hourly_wh, {at: min(wh, room_wh[at]) for at, wh in taken.items()})
        else:
            taken, left_wh = _take(item.wh, exported_wh, span)
            _add(result.sold_export_wh, taken)
            taken, left_wh = _take(left_wh, kept_wh, span)
            _add(result.sold_pv_wh, taken)
            is_over = left_wh and span and item.end_utc_s <= end_utc_s
            _add(result.sold_pv_wh, {span[0]: left_wh} if is_over else {})
        if left_wh and item.end_utc_s <= end_utc_s:
            result.left_wh[item.id] = left_wh
    return result


def _take(wanted_wh: int, free_wh: dict[int, int], span: Sequence[int]) -> tuple[dict[int, int], int]:
    """(Wh taken by hour, Wh that found nothing); what is taken is no longer free."""
    taken = {}
    for at in span:
        wh = min(wanted_wh, free_wh[at])
        if wh:
            taken[at] = wh
            wanted_wh -= wh
            free_wh[at] -= wh
    return taken, wanted_wh


def _add(sums: dict, more: Mapping) -> None:
    for at, value in more.items():
        sums[at] = sums.get(at, 0) + value


@dataclass(frozen=True, slots=True)
class _Cover:
    """What certificates do in the period alone."""

    covered_wh: int
    covered_g: Decimal
    sold_export_wh: int
    sold_pv_wh: int
    hourly_wh: Mapping[int, int]


def figures(subject: Subject) -> tuple[dict[str, Figure], list[str]]:
    """(figures by name, sentences of what is missing). Avoided emissions are among them under `outside_avoided`, and
    in no scope and no sum."""
    with localcontext(EXACT):
        missing: list[str] = []
        matched = match(subject.journal_hours or subject.hours, subject.certificates, subject.end_utc_s)
        sums = {name: matched.within(name, subject.hours) for name in
                ("covered_wh", "covered_g", "sold_export_wh", "sold_pv_wh")}  # fmt: skip
        matching = _Cover(**sums, hourly_wh=matched.hourly_wh)
        found = {**_scopes(subject, matching, missing), **_embodied(subject, missing), **_shares(subject, matching),
                 **_indicators(subject, matching, missing)}  # fmt: skip
        export_g = sum(((Decimal(hour.export_wh) * subject.factors.grid_at(hour.hour_utc_s).g_per_kwh / 1000)
                        for hour in subject.hours), ZERO)  # fmt: skip
        unsold = 1 - Decimal(matching.sold_export_wh) / (_total(subject, "export_wh") or 1)
        found["outside_avoided_g"] = Figure(
            export_g * unsold, "g", "Σ export_wh · grid_g_per_kwh / 1000 · share whose certificate was not sold",
            {}, "outside every inventory: what the grid might have emitted instead")  # fmt: skip
        return found, missing


def _total(subject: Subject, name: str):
    return sum((getattr(hour, name) for hour in subject.hours), 0)


def _scopes(subject: Subject, matching: _Cover, missing: list[str]) -> dict[str, Figure]:
    factors, fuel_ml = subject.factors, subject.submeters["fuel_ml"]
    litres = Decimal(_total(subject, "genset_made_wh")) * factors.litres.value / 1000
    basis = f"genset energy times {factors.litres.id}"
    if fuel_ml is not None:
        litres, basis = fuel_ml / 1000, "fuel meter"
    import_wh = Decimal(_total(subject, "import_wh"))
    location_g = Decimal(_total(subject, "import_g"))
    rest_wh = import_wh - matching.covered_wh
    if subject.residual is not None:
        rest_g, rest = rest_wh * subject.residual.value / 1000, subject.residual.id
    else:
        rest_g, rest = rest_wh * location_g / (import_wh or 1), "location-based factor"
        missing.append("no residual mix for this region: the uncovered import takes the location-based factor in the "
                       "market-based figure too")  # fmt: skip
    upstream_g = None
    if subject.upstream is not None:
        upstream_g = litres * subject.upstream.value * 1000
    else:
        missing.append("no well-to-tank factor for the fuel: scope 3 category 3 is not known")
    missing.append("scope 3 category 3 holds the fuel's upstream alone: no factor for losses in transmission and "
                   "distribution; the grid's own upstream is in a life-cycle grid factor already")  # fmt: skip
    return {
        "scope1_g": Figure(litres * factors.fuel.value * 1000, "g", "fuel litres · kg/litre · 1000",
                           {"litres": f"{litres:.6f}", "factor": f"{factors.fuel.id}, {factors.litres.id}"
                            if fuel_ml is None else factors.fuel.id}, basis),
        "scope2_location_g": Figure(location_g, "g", "Σ import_wh · grid_g_per_kwh / 1000 by interval",
                                    {"import_wh": str(import_wh), "factor": "grid"}, "location-based"),
        "scope2_market_g": Figure(matching.covered_g + rest_g, "g",
                                  "covered_g + (import_wh − covered_wh) · rest / 1000",
                                  {"covered_wh": str(matching.covered_wh), "factor": rest}, "market-based"),
        "scope3_cat3_g": Figure(upstream_g, "g", "fuel litres · kg/litre well to tank · 1000",
                                {"litres": f"{litres:.6f}", "factor": subject.upstream.id if subject.upstream else ""},
                                "fuel upstream alone"),
    }  # fmt: skip


def _embodied(subject: Subject, missing: list[str]) -> dict[str, Figure]:
    found = {}
    for name in EQUIPMENT:
        kg, years = subject.embodied_kg[name]
        value, life_cycle = kg * 1000 * subject.length_s / (years * YEAR_S) if kg else None, subject.pv_life_cycle
        if value is None and name == "pv" and life_cycle is not None:
            made_wh = Decimal(_total(subject, "pv_made_wh"))
            found["embodied_pv_g"] = Figure(made_wh * life_cycle.value / 1000, "g", "pv_made_wh · g_per_kwh / 1000",
                                            {"factor": life_cycle.id}, "per kWh generated, typical")  # fmt: skip
            continue
        if value is None:
            missing.append(f"what making the {name} emitted is not known: it is in no figure")
        inputs = {"kg": str(kg), "years": str(years)}
        if name in subject.embodied_factor:
            inputs["factor"] = subject.embodied_factor[name]
        found[f"embodied_{name}_g"] = Figure(value, "g", "kg · 1000 · period / life", inputs, "straight line over life")
    return found


def _shares(subject: Subject, matching: _Cover) -> dict[str, Figure]:
    hours, load_wh = subject.hours, Decimal(_total(subject, "load_wh"))
    on_site = max(ZERO, Decimal(_total(subject, "pv_load_wh")) - matching.sold_pv_wh)
    matched = on_site + sum(matching.hourly_wh.get(hour.hour_utc_s, 0) for hour in hours)
    grid, clean, shares = ZERO, [], []
    unsold = on_site / (Decimal(_total(subject, "pv_load_wh")) or 1)
    for hour in hours:
        share = subject.factors.grid_at(hour.hour_utc_s).clean_share
        covered = matching.hourly_wh.get(hour.hour_utc_s, 0)
        grid += hour.clean_load_wh - hour.pv_load_wh + covered * (1 - share)
        clean.append(hour.pv_load_wh * unsold + covered)
        shares.append(share)
    score = cfe([hour.load_wh for hour in hours], clean, shares)
    inputs = {"load_wh": str(load_wh), "sold_pv_wh": str(matching.sold_pv_wh)}

    def share_of(wh: Decimal, words: str) -> Figure:
        return Figure(wh / load_wh if load_wh else None, "1", words, inputs, "share of the load")

    return {
        "green_on_site": share_of(on_site, "PV to the load, at once or stored, less what was sold / load"),
        "green_matched": share_of(matched, "on site + certificates of the same hour / load"),
        "green_grid": share_of(on_site + grid, "on site + certificates of the same hour + carbon-free share of the "
                               "rest of the grid / load"),
        "cfe": Figure(score, "1", "Σ[min(L, C) + CFE_grid·(L − min(L, C))] / ΣL by hour", inputs, "24/7 score"),
    }  # fmt: skip


def _indicators(subject: Subject, matching: _Cover, missing: list[str]) -> dict[str, Figure]:
    meters = subject.submeters
    made_wh = _total(subject, "pv_made_wh") + _total(subject, "genset_made_wh")
    all_wh = Decimal(_total(subject, "import_wh") + made_wh - _total(subject, "export_wh"))
    renewable_wh = Decimal(_total(subject, "pv_made_wh") - _total(subject, "export_wh") - matching.sold_pv_wh)
    renewable_wh = max(ZERO, renewable_wh) + matching.covered_wh
    it_wh = meters["it_wh"]
    grams = Decimal(_total(subject, "import_g") + _total(subject, "genset_g"))
    wanted = {
        "pue": ("E_DC / E_IT", all_wh, it_wh, "1"),
        "ref": ("E_RES / E_DC", renewable_wh, all_wh, "1"),
        "cue": ("kg CO2e / E_IT", grams, it_wh, "kg/kWh"),
        "erf": ("E_REUSE / E_DC", meters["heat_reuse_wh"], all_wh, "1"),
        "wue": ("litre / E_IT", meters["water_ml"], it_wh, "litre/kWh"),
    }
    found = {}
    for name, (formula, above, below, unit) in wanted.items():
        value = above / below if above is not None and below else None
        if value is None:
            missing.append(f"{name.upper()} is not known: {formula} needs a meter that is not there")
        inputs = {"above": str(above), "below": str(below)}
        found[name] = Figure(value, unit, formula, inputs, "(EU) 2024/1364, ISO/IEC 30134; E_DC = import + PV + genset "
                             "− export")  # fmt: skip
    named = [meters[name] for name in ("it_wh", "cooling_wh", "other_wh")]
    load_wh = Decimal(_total(subject, "load_wh"))
    apart_wh = Decimal(_total(subject, "apart_wh"))
    if None not in named:
        apart_wh += abs(load_wh - sum(named))
    else:
        missing.append("the balance compares the site's own meters alone: IT, cooling and other are not all metered")
    formula = "(|load − IT − cooling − other| + Wh by which the meters disagree) / load"
    value = apart_wh / load_wh if load_wh else None
    found["residual"] = Figure(value, "1", formula, {"apart_wh": str(apart_wh)}, "energy balance")
    return found


def no_submeters() -> dict[str, Decimal | None]:
    """A site without any of SUBMETERS."""
    return dict.fromkeys(SUBMETERS)
