"""The canonical report of a period: one JSON document, a function of the journal, the site file and the factor table.

Whole numbers and decimal text alone, times in UTC. Everything that is shown derives from it (forerun.report.pages).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

from forerun import __version__
from forerun.carbon import accounting, cbam, intake, results
from forerun.carbon.factors import HOUR_S, Factor, Table
from forerun.carbon.inventory import METHODS
from forerun.evidence import hashtree

SCHEMA_VERSION = 1
COLUMNS = (
    "start_utc_s", "end_utc_s", *accounting.FLOWS, "load_wh", "load_g", "export_g", "import_g", "genset_g",
    "pv_load_wh", "clean_load_wh", "apart_wh", "stored_wh", "stored_g", "grid_g_per_kwh", "first_record",
    "last_record", "quality", "reasons",
)  # fmt: skip
BOUNDARY = (
    "The site behind its point of connection: scope 1 fuel, scope 2 electricity by location and by market, scope 3 "
    "category 3 of the fuel, and the making of battery, PV, inverter and genset spread over their lives."
)
CODE = "HMAC-SHA256 by the board over store id and record, first 8 bytes"
NANO = Decimal("1e-9")
DRAFT, FINAL = "draft: no signed root covers its data yet", "final"


@dataclass(frozen=True, slots=True)
class Issued:
    """An entry of the log of issued reports."""

    id: str
    start_utc_s: int
    end_utc_s: int
    sha256: str


def statement(
    site, entries: Sequence, table: Table, start_utc_s: int, end_utc_s: int, earlier: Sequence[Issued] = (),
    commissioning: dict | None = None,
) -> dict:  # fmt: skip
    """The document for [start, end) in UTC; `earlier`: what was issued for the same period before, oldest first;
    `commissioning`: digests of the signed commissioning report, which the monitoring plan then names.

    site: forerun.sections.SiteFile; entries: forerun.store.Entry and Damage, all of the journal.
    """
    taken = intake.take(entries, end_utc_s)
    factors, used = _factors(site, table, taken)
    battery, limits_w = accounting.battery_of(site), accounting.limits_of(site)
    books = accounting.ledger(taken.readings, factors, battery, methods=METHODS, limits_w=limits_w)
    intervals = [item for item in books.intervals if start_utc_s <= item.middle_utc_s < end_utc_s]
    journal_hours = books.hours()
    if start_utc_s % HOUR_S or end_utc_s % HOUR_S:
        hours = accounting.hours_of(intervals)
    else:
        hours = tuple(hour for hour in journal_hours if start_utc_s <= hour.hour_utc_s < end_utc_s)
    subject = results.Subject(
        hours=hours, length_s=end_utc_s - start_utc_s, factors=factors,
        submeters={name: results.used(taken.submeters.get(name, ()), start_utc_s, end_utc_s,
                                      taken.exchanges.get(name, ())) for name in intake.SUBMETERS},
        certificates=tuple(taken.certificates), residual=used["residual"], upstream=used["upstream"],
        pv_life_cycle=used["pv_life_cycle"], embodied_kg=_embodied(site, table), journal_hours=journal_hours,
        end_utc_s=end_utc_s,
        embodied_factor={} if site.equipment.battery_embodied_kg else {"battery": "battery-manufacture"},
    )  # fmt: skip
    figures, missing = results.figures(subject)
    stated = _distinct([*factors.grid, factors.pv, factors.fuel, factors.litres, *filter(None, used.values())])
    gaps = _gaps(site, taken, books, intervals, subject, missing, stated, start_utc_s, end_utc_s)
    root = hashtree.covering_root(entries, taken.latest)
    number = len(earlier) + 1
    inputs = _inputs(site, battery, limits_w, used, subject, factors)
    if commissioning:
        inputs["commissioning"] = commissioning
    document = {
        "report": {
            "id": f"{_slug(site.site.name)}/{_day(start_utc_s)}/{_day(end_utc_s)}/{number}",
            "schema_version": SCHEMA_VERSION, "supersedes": earlier[-1].id if earlier else None,
            "period_utc": [_moment(start_utc_s), _moment(end_utc_s)], "tz": site.reporting.timezone,
            "status": DRAFT if root is None else FINAL, "software": f"forerun {__version__}",
        },
        "operator": {"name": site.reporting.operator, "address": site.reporting.address,
                     "registration": site.reporting.registration},
        "installation": {"name": site.site.name, "unlocode": site.reporting.unlocode,
                         "country": site.reporting.country, "lat": str(site.site.latitude),
                         "lon": str(site.site.longitude), "registry_id": site.reporting.registry_id,
                         "supplier": site.reporting.supplier, "diagram": site.reporting.diagram,
                         "power_contract": site.reporting.power_contract, "rounding": site.reporting.rounding},
        "devices": _devices(site, taken),
        "boundary": BOUNDARY,
        "monitoring_plan": {"version": table.version, "rule": accounting.RULE, "inputs": inputs,
                            "sha256": hashlib.sha256(hashtree.canonical(inputs)).hexdigest()},
        "meters": _meters(site, taken),
        "factor_table": {"version": table.version, "sha256": table.sha256},
        "factors": [_factor(item) for item in stated],
        "grid_sources": sorted({factors.grid_at(item.middle_utc_s).source for item in intervals}),
        "intervals": {"columns": list(COLUMNS), "rows": [_row(item, factors) for item in intervals]},
        "storage": _storage(books, taken, intervals),
        "instruments": [{**asdict(item), "g_per_kwh": str(item.g_per_kwh)} for item in taken.certificates],
        "results": {name: {**asdict(item), "value": _text(item.value)} for name, item in figures.items()},
        "claims": _claims(figures, start_utc_s, end_utc_s),
        "cbam_annex_iv": [],
        "data_gaps": gaps,
        "corrections": taken.corrections,
        "uncertainty": _uncertainty(intervals),
        "proofs": {"latest_entry": taken.latest, "signed_root": root, "tree": "RFC 9162, SHA-256",
                   "signature": "Ed25519", "records": {
                       "with_code": taken.tagged, "without_code": len(taken.untagged), "code": CODE,
                       "record_key_sha256": taken.commitments}},
    }  # fmt: skip
    document["cbam_annex_iv"] = cbam.annex_iv(document)
    return document


def _factors(site, table: Table, taken: intake.Intake) -> tuple[accounting.Factors, dict[str, Factor | None]]:
    base = accounting.factors_of(site)
    factors = accounting.Factors(base.grid, base.pv, base.fuel, base.litres, taken.grid)
    return factors, {
        "residual": table.of_scope("scope 2, market-based, residual", site.carbon.grid_region),
        "upstream": table.factors.get("diesel-b7-upstream"),
        "pv_life_cycle": table.factors.get("pv-life-cycle"),
        "battery_manufacture": table.factors.get("battery-manufacture"),
    }


def _embodied(site, table: Table) -> dict[str, tuple[Decimal, int]]:
    equipment = site.equipment
    found = {name: (getattr(equipment, f"{name}_embodied_kg"), getattr(equipment, f"{name}_life_years"))
             for name in results.EQUIPMENT}  # fmt: skip
    if not found["battery"][0] and (typical := table.factors.get("battery-manufacture")):
        found["battery"] = (typical.value * site.battery.capacity_wh / 1000, found["battery"][1])
    return found


def _inputs(site, battery, limits_w, used, subject, factors) -> dict:
    """All that the figures depend on beside journal and table: enough to recompute them."""
    return {
        "battery": {"capacity_wh": battery.capacity_wh, "efficiency_charge": str(battery.efficiency_charge),
                    "efficiency_discharge": str(battery.efficiency_discharge)},
        "interval_s": accounting.INTERVAL_S,
        "limits_w": limits_w,
        "embodied": {name: [str(kg), years] for name, (kg, years) in subject.embodied_kg.items()},
        "embodied_source": site.equipment.embodied_source,
        "factors": {"grid": [item.id for item in factors.grid], "pv": factors.pv.id, "fuel": factors.fuel.id,
                    "litres": factors.litres.id, **{name: item.id if item else None for name, item in used.items()}},
    }  # fmt: skip


def _meters(site, taken: intake.Intake) -> list[dict]:
    bus = site.bus
    places = (("pcc", bus.pcc_meter_unit), ("battery", bus.inverter_unit), ("pv", bus.pv_meter_unit),
              ("genset", bus.genset_meter_unit))  # fmt: skip
    found = [{"meter": name, "unit": unit, "serial": taken.meters.get(name, "not told")} for name, unit in places]
    return found + [{"meter": name, "unit": 0, "serial": taken.meters.get(name, "not told")}
                    for name in intake.SUBMETERS if name in taken.submeters]  # fmt: skip


def _devices(site, taken: intake.Intake) -> list[dict]:
    """PV and battery as granular records name them."""
    equipment = site.equipment
    return [{"device": "pv", "id": taken.meters.get("pv", "not told"), "capacity": f"{equipment.pv_peak_w} W",
             "commissioned": equipment.pv_commissioned},
            {"device": "battery", "id": taken.meters.get("battery", "not told"),
             "capacity": f"{site.battery.capacity_wh} Wh", "commissioned": equipment.battery_commissioned}]  # fmt: skip


def _row(item: accounting.Interval, factors: accounting.Factors) -> list:
    return [item.start_utc_s, item.end_utc_s, *item.flows_wh.values(), item.load_wh,
            *(f"{value:.6f}" for value in (item.load_g, item.export_g, item.import_g, item.genset_g, item.pv_load_wh,
                                           item.clean_load_wh)), item.apart_wh, f"{item.stored_wh:.6f}",
            f"{item.stored_g:.6f}", f"{factors.grid_at(item.middle_utc_s).g_per_kwh:.6f}", *item.records,
            item.quality, "; ".join(item.reasons)]  # fmt: skip


def _storage(books: accounting.Ledger, taken: intake.Intake, intervals: Sequence[accounting.Interval]) -> dict:
    """The books since the first reading, and what FIFO and LIFO would say of this period's load."""
    with localcontext(accounting.EXACT):
        load_g = sum((item.load_g for item in intervals), Decimal(0))
        sensitivity = {method: _text(sum((item.other_load_g[index] for item in intervals), Decimal(0)))
                       for index, method in enumerate(METHODS[1:])}  # fmt: skip
        return {"method": METHODS[0], "since_utc_s": taken.readings[0].utc_s if taken.readings else None,
                "opening_wh": _text(books.opening_wh), "opening_g": _text(books.opening_g),
                "in_g": _text(books.battery_in_g), "out_g": _text(books.battery_out_g),
                "closing_wh": _text(books.closing_wh), "closing_g": _text(books.closing_g),
                "residual_g": _text(books.battery_in_g - books.battery_out_g - books.closing_g),
                "load_g": {METHODS[0]: _text(load_g), **sensitivity}}  # fmt: skip


def _gaps(
    site, taken, books, intervals, subject, missing, stated: Sequence[Factor], start_utc_s: int, end_utc_s: int
) -> list[dict]:
    found = [gap for gap in (*taken.gaps, *books.gaps) if gap.end_utc_s >= start_utc_s and gap.start_utc_s <= end_utc_s]
    found += _edges(intervals, start_utc_s, end_utc_s)
    found += _validity(intervals, subject)
    found += _clock_changes(site.reporting.timezone, start_utc_s, end_utc_s)
    found += _certificates(taken, subject, start_utc_s, end_utc_s)
    found += _submeter_edges(taken, start_utc_s, end_utc_s)
    missing = [*taken.notes, *missing]
    if any(subject.factors.grid_at(item.middle_utc_s).clean_share == 0 for item in intervals):
        missing = [*missing, "the carbon-free share of the grid is not known for every hour: there it counts as 0"]
    if any(item.gas_basis == "CO2e" and item.gwp_set != "AR6" for item in stated):
        missing = [*missing, "CO2e is weighed by the GWP set of each factor (AR5, as CBAM asks); by AR6, as ESRS asks, "
                   "it is not known: the factors do not tell their gases"]  # fmt: skip
    gaps = sorted({(gap.start_utc_s, gap.end_utc_s, gap.sentence) for gap in found})
    timed = [{"start_utc_s": start, "end_utc_s": end, "sentence": sentence} for start, end, sentence in gaps]
    return timed + [{"start_utc_s": None, "end_utc_s": None, "sentence": sentence} for sentence in missing]


def _edges(intervals, start_utc_s: int, end_utc_s: int) -> list[accounting.Gap]:
    """What of the period no interval holds, at its ends: a journal that begins late, or was cut."""
    if not intervals:
        return [accounting.Gap(start_utc_s, end_utc_s, "the journal holds no interval in this period")]
    found, first_s, last_s = [], intervals[0].start_utc_s, intervals[-1].end_utc_s
    if first_s - start_utc_s > accounting.INTERVAL_S:
        found.append(accounting.Gap(start_utc_s, first_s, f"no reading in the first {first_s - start_utc_s} s"))
    if end_utc_s - last_s > accounting.INTERVAL_S:
        found.append(accounting.Gap(last_s, end_utc_s, f"no reading in the last {end_utc_s - last_s} s"))
    return found


def _certificates(taken, subject, start_utc_s: int, end_utc_s: int) -> list[accounting.Gap]:
    """What was sold, and certificates of this period for which there was not enough energy."""
    left_wh, found = results.match(subject.journal_hours, taken.certificates, end_utc_s).left_wh, []
    for item in taken.certificates:
        if item.end_utc_s <= start_utc_s or item.start_utc_s >= end_utc_s:
            continue
        said = []
        if item.action == results.SOLD:
            said.append(f"certificate {item.id} over {item.wh} Wh was sold: that energy is not green for this site")
        if item.id in left_wh:
            what = "the PV of its time made" if item.action == results.SOLD else "the import of its time left it"
            used_wh = item.wh - left_wh[item.id]
            said.append(f"certificate {item.id} is over {item.wh} Wh, {what} {used_wh} Wh")
        found += [accounting.Gap(item.start_utc_s, item.end_utc_s, sentence) for sentence in said]
    return found


def _submeter_edges(taken, start_utc_s: int, end_utc_s: int) -> list[accounting.Gap]:
    """Submeters whose readings do not reach the ends of the period: their figures are over another time."""
    found = []
    for name, readings in taken.submeters.items():
        times = [utc_s for utc_s, _ in readings if utc_s <= end_utc_s]
        if not times:
            continue
        first_s = max((utc_s for utc_s in times if utc_s <= start_utc_s), default=times[0])
        for edge_s, at_s, words in ((start_utc_s, first_s, "begins"), (end_utc_s, times[-1], "ends")):
            if abs(edge_s - at_s) > HOUR_S:
                sentence = f"{name} is known from or to {_moment(at_s)}, the period {words} at {_moment(edge_s)}"
                found.append(accounting.Gap(min(edge_s, at_s), max(edge_s, at_s), sentence))
    return found


def _validity(intervals, subject) -> list[accounting.Gap]:
    """Factors that were used outside their validity."""
    if not intervals:
        return []
    first_s, last_s = intervals[0].start_utc_s, intervals[-1].end_utc_s - 1
    found = []
    stand_in = [item for item in intervals if item.middle_utc_s // HOUR_S * HOUR_S not in subject.factors.hourly]
    grid = {subject.factors.grid_factor(item.middle_utc_s).id: subject.factors.grid_factor(item.middle_utc_s)
            for item in stand_in}  # fmt: skip
    if stand_in:
        said = f"no hourly grid data for {len(stand_in)} of {len(intervals)} intervals: "
        found.append(accounting.Gap(first_s, last_s, said + f"factor {', '.join(sorted(grid))} stands in"))
    others = (subject.factors.fuel, subject.factors.litres, subject.residual, subject.upstream, subject.pv_life_cycle)
    for factor in (*grid.values(), *(item for item in others if item)):
        if not (factor.valid_at(first_s) and factor.valid_at(last_s)):
            valid = f"valid from {factor.valid_from} to {factor.valid_until}"
            sentence = f"factor {factor.id} is {valid}: used outside of it"
            found.append(accounting.Gap(first_s, last_s, sentence))
    return found


def _clock_changes(timezone: str, start_utc_s: int, end_utc_s: int) -> list[accounting.Gap]:
    """Days of 23 or 25 hours: nothing is lost, but a day's sum is over another length."""
    zone, found = ZoneInfo(timezone), []
    day = datetime.fromtimestamp(start_utc_s, zone).date()
    while (begins := _midnight_s(day, zone)) < end_utc_s:
        day += timedelta(days=1)
        hours = (_midnight_s(day, zone) - begins) // HOUR_S
        if hours != 24:
            words = f"{day - timedelta(days=1)} has {hours} hours in {timezone}; intervals are in UTC and none is lost"
            found.append(accounting.Gap(begins, begins + hours * HOUR_S, words))
    return found


def _midnight_s(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _claims(figures: dict, start_utc_s: int, end_utc_s: int) -> list[str]:
    """What may be said in public: share, method and boundary in one sentence, no adjective."""
    period = f"from {_day(start_utc_s)} to {_day(end_utc_s)} (UTC)"
    said = {
        "green_on_site": "of the site's electricity use {period} came from its own PV, at once or through its battery "
                         "(weighted-average inventory, metered at the site).",
        "green_matched": "of the site's electricity use {period} came from its own PV or was covered by certificates "
                         "of the same hour.",
        "cfe": "is the site's 24/7 carbon-free energy score {period}, matched by the hour at its point of connection.",
    }  # fmt: skip
    return [f"{100 * figures[name].value:.1f} % {words.format(period=period)}" for name, words in said.items()
            if figures[name].value is not None]  # fmt: skip


def _uncertainty(intervals) -> dict:
    by_quality = {name: sum(item.load_wh for item in intervals if item.quality == name)
                  for name in accounting.QUALITIES}  # fmt: skip
    return {"load_wh_by_quality": by_quality,
            "words": "No interval is given where nothing is known of a meter's class. Substituted and estimated "
                     "energy is told apart here and by interval."}  # fmt: skip


def _factor(item: Factor) -> dict:
    return {key: value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, Decimal) else value
            for key, value in asdict(item).items()}  # fmt: skip


def _distinct(items: Iterable[Factor]) -> list[Factor]:
    return list({item.id: item for item in items}.values())


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.quantize(NANO) + 0:.9f}"


def _slug(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d")
