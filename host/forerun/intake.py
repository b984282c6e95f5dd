"""From journal entries to what the ledger counts: readings in order, corrected; and every fault on the way, named."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from forerun.factors import HOUR_S, GridHour
from forerun_wire import messages

REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
SUBMETERS = ("it_wh", "cooling_wh", "other_wh", "heat_reuse_wh", "water_ml", "fuel_ml")
RECORD, RECORD_KIND = "record", 5  # kind of a journal entry, and where its body tells the kind of record
SUBMETER, METER, CORRECTION, CERTIFICATE, GRID = "submeter", "meter", "correction", "certificate", "grid"
ROLL_OVER = 1 << 32  # SunSpec acc32, and what the board carries
CLOCK_STEP_S = 5  # UTC and the board's uptime may differ by that much from one reading to the next
REPLACED = 16  # quality bit: a correction replaced a value; the lower four are the board's


@dataclass(frozen=True, slots=True)
class Reading:
    """The cumulative registers [Wh] at one moment; quality: bits of what was substituted; place: record number."""

    utc_s: int
    import_wh: int
    export_wh: int
    charge_wh: int
    discharge_wh: int
    pv_wh: int
    genset_wh: int
    soc_permille: int
    quality: int = 0
    place: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch whose energy, or its time, nobody knows; or a datum that cannot be what it says."""

    start_utc_s: int
    end_utc_s: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """An attribute certificate [Wh] of energy made in its interval: cancelled for this site, or sold to others."""

    id: str
    action: str
    start_utc_s: int
    end_utc_s: int
    wh: int
    g_per_kwh: Decimal
    technology: str
    issuer: str


@dataclass(slots=True)
class Intake:
    """What a journal says: readings in order of record number, submeter readings [(utc_s, value)] by name,
    certificates, the grid by hour, corrections as they were written, and gaps."""

    readings: list[Reading] = field(default_factory=list)
    submeters: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    certificates: list[Certificate] = field(default_factory=list)
    grid: dict[int, GridHour] = field(default_factory=dict)
    corrections: list[dict] = field(default_factory=list)
    meters: dict[str, str] = field(default_factory=dict)  # serial by name, where one was told
    gaps: list[Gap] = field(default_factory=list)
    latest: int = -1  # sequence number of the last entry that matters here


@dataclass(slots=True)
class _Record:
    number: int
    boot: int
    uptime_s: int
    kind: int
    reading: Reading | None
    late_after: int | None = None


def readings_of(entries: Iterable) -> list[Reading]:
    """The interval records among journal entries (forerun.store.Entry), in the order of their numbers."""
    return take(entries).readings


def take(entries: Iterable, until_utc_s: int | None = None) -> Intake:
    """Everything that journal entries (forerun.store.Entry and Damage) say up to that moment: readings at it count,
    certificates and grid hours that begin at it do not. What was written later, about this time, counts."""
    result = Intake()
    stores: dict[tuple[str, bytes], dict[int, _Record]] = {}
    until_us = None if until_utc_s is None else until_utc_s * 1_000_000
    later: set[int] = set()  # records after that moment
    corrections: list[tuple[int, dict]] = []
    utc_s = 0
    for entry in entries:
        if hasattr(entry, "tail"):
            result.gaps.append(Gap(utc_s, utc_s, f"the journal is damaged at byte {entry.offset}: {entry.sentence}"))
            continue
        kind, body = entry.kind, entry.body
        if kind == CORRECTION:
            corrections.append((entry.sequence_no, dict(body)))
            continue
        about_us = body["start_utc_s"] * 1_000_000 + 1 if kind in (CERTIFICATE, GRID) else entry.utc_us
        if until_us is not None and about_us > until_us:
            later.update(body[1:2] if kind == RECORD else ())
            continue
        utc_s = entry.utc_us // 1_000_000
        if kind == RECORD:
            _take_record(entry, stores, result)
        elif kind == SUBMETER:
            result.submeters.setdefault(body[0], []).append((utc_s, body[1]))
        elif kind == METER:
            sentence = f"the {body['meter']} meter was exchanged: serial {body['serial']} from here on"
            result.gaps.append(Gap(utc_s, utc_s, sentence))
            result.meters[body["meter"]] = body["serial"]
        elif kind == CERTIFICATE:
            _take_certificate(body, result)
        elif kind == GRID:
            _take_grid(body, result.grid)
        else:
            continue
        result.latest = max(result.latest, entry.sequence_no)
    for records in stores.values():
        _order(records, result)
    for sequence_no, body in corrections:
        if body["record"] not in later:
            result.corrections.append(body)
            result.latest = max(result.latest, sequence_no)
    result.readings = _unrolled(_corrected(result), result.gaps)
    return result


def _take_record(entry, stores: dict, result: Intake) -> None:
    store_id, number, boot, uptime_s, _, kind, *values = entry.body
    records = stores.setdefault((entry.source, bytes(store_id)), {})
    reading, utc_s = None, entry.utc_us // 1_000_000
    if kind == messages.INTERVAL:
        named = dict(zip(messages.INTERVAL_FIELDS, values, strict=False))
        registers = (named[name] for name in (*REGISTERS, "soc_permille", "quality"))
        reading = Reading(utc_s, *registers, place=number)
    if number in records:
        result.gaps.append(Gap(utc_s, utc_s, f"record {number} is there twice: the second one was left out"))
        return
    record = _Record(number, boot, uptime_s, kind, reading)
    if records and (last := next(reversed(records))) > number:
        record.late_after = last
    records[number] = record


def _order(records: dict[int, _Record], result: Intake) -> None:
    """Records of one store by number; what is late, missing or out of time is named."""
    in_order = sorted(records.values(), key=lambda record: record.number)
    before: _Record | None = None
    last: _Record | None = None  # with a reading
    for record in in_order:
        utc_s = record.reading.utc_s if record.reading else last.reading.utc_s if last else 0
        if record.late_after is not None:
            sentence = f"record {record.number} came late, after {record.late_after}: put in its place"
            result.gaps.append(Gap(utc_s, utc_s, sentence))
        if before is not None and record.number > before.number + 1:
            since_s = last.reading.utc_s if last else utc_s
            sentence = f"records {before.number + 1} to {record.number - 1} never came"
            result.gaps.append(Gap(since_s, utc_s, sentence))
        before = record
        if record.reading is None:
            continue
        if last is not None and last.boot == record.boot:
            step_s = record.reading.utc_s - last.reading.utc_s - (record.uptime_s - last.uptime_s)
            if abs(step_s) > CLOCK_STEP_S:
                sentence = f"the clock was stepped by {step_s:+d} s against the board's uptime"
                result.gaps.append(Gap(last.reading.utc_s, record.reading.utc_s, sentence))
        last = record
        result.readings.append(record.reading)


def _take_certificate(body: dict, result: Intake) -> None:
    certificate = Certificate(**{**body, "g_per_kwh": Decimal(body["g_per_kwh"])})
    for other in result.certificates:
        if other.id == certificate.id:
            sentence = f"certificate {other.id} is used twice ({other.action}, {certificate.action}): counted once"
            result.gaps.append(Gap(certificate.start_utc_s, certificate.end_utc_s, sentence))
            return
    result.certificates.append(certificate)


def _take_grid(body: dict, grid: dict[int, GridHour]) -> None:
    """body: start_utc_s, g_per_kwh and clean_share by hour (texts), source."""
    for index, (g_per_kwh, clean) in enumerate(zip(body["g_per_kwh"], body["clean_share"], strict=True)):
        if g_per_kwh is not None:
            hour_s = body["start_utc_s"] + index * HOUR_S
            grid[hour_s] = GridHour(Decimal(g_per_kwh), Decimal(clean or 0), body["source"])


def _corrected(result: Intake) -> list[Reading]:
    """Readings with corrections put in: {record, field, value, reason, author}."""
    by_place = {reading.place: index for index, reading in enumerate(result.readings)}
    readings = list(result.readings)
    for item in result.corrections:
        index = by_place.get(item["record"])
        if index is None or item["field"] not in (*REGISTERS, "soc_permille"):
            result.gaps.append(Gap(0, 0, f"a correction names record {item['record']}, {item['field']}: there is none"))
            continue
        old = readings[index]
        readings[index] = replace(old, **{item["field"]: item["value"], "quality": old.quality | REPLACED})
        sentence = (f"record {item['record']}, {item['field']}: {getattr(old, item['field'])} replaced by "
                    f"{item['value']} by {item['author']}: {item['reason']}")  # fmt: skip
        result.gaps.append(Gap(old.utc_s, old.utc_s, sentence))
    return readings


def _unrolled(readings: list[Reading], gaps: list[Gap]) -> list[Reading]:
    """Registers that ran over their end go on counting; a fall from elsewhere stays for the ledger to refuse."""
    offsets = dict.fromkeys(REGISTERS, 0)
    result = readings[:1]
    for before, now in pairwise(readings):
        for name in REGISTERS:
            then_wh, now_wh = getattr(before, name), getattr(now, name)
            if now_wh < then_wh and then_wh >= ROLL_OVER * 99 // 100 and now_wh <= ROLL_OVER // 100:
                offsets[name] += ROLL_OVER
                sentence = f"{name} rolled over from {then_wh} to {now_wh}: it goes on counting"
                gaps.append(Gap(before.utc_s, now.utc_s, sentence))
        if any(offsets.values()):
            now = replace(now, **{name: getattr(now, name) + offsets[name] for name in REGISTERS})
        result.append(now)
    return result
