"""From journal entries to what the ledger counts: readings in order, corrected; and every fault on the way, named."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from forerun.carbon.factors import HOUR_S, GridHour
from forerun.evidence.hashtree import tag_of
from forerun_wire import messages
from forerun_wire.names import GAP_CAUSES

REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
SUBMETERS = ("it_wh", "cooling_wh", "other_wh", "heat_reuse_wh", "water_ml", "fuel_ml")
RECORD, RECORD_KIND = "record", 5  # kind of a journal entry, and where its body tells the kind of record
SUBMETER, METER, CORRECTION, CERTIFICATE, GRID = "submeter", "meter", "correction", "certificate", "grid"
CLOCK, RECORD_KEY, DOUBTED = "clock", "record_key", "doubted"  # what the host says of the board's authentication codes
ROLL_OVER = 1 << 32  # SunSpec acc32, and what the board carries
CLOCK_STEP_S = 5  # UTC and the board's uptime may differ by that much from one reading to the next
REPLACED, STEPPED = 16, 32  # quality bits: a correction replaced a value; the clock was stepped. Four are the board's.
METERS = {"pcc": ("import_wh", "export_wh"), "battery": ("charge_wh", "discharge_wh"), "pv": ("pv_wh",),
          "genset": ("genset_wh",)}  # fmt: skip
ACTIONS = ("cancelled", "sold")
_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,12})?")
_BODIES = {
    METER: {"meter": str, "serial": str},
    CERTIFICATE: {"id": str, "action": str, "start_utc_s": int, "end_utc_s": int, "wh": int, "g_per_kwh": str,
                  "technology": str, "issuer": str},
    GRID: {"start_utc_s": int, "g_per_kwh": list, "clean_share": list, "source": str},
    CORRECTION: {"record": int, "field": str, "value": int, "reason": str, "author": str},
    RECORD_KEY: {"sha256": bytes},
    DOUBTED: {"store_id": bytes, "record": int, "reason": str},
}  # fmt: skip
_VOID = {"entry": int, "reason": str, "author": str}  # the other form of a correction: that entry does not count


@dataclass(frozen=True, slots=True)
class Reading:
    """The cumulative registers [Wh] at one moment; quality: bits of what was substituted; place: record number;
    exchanged: meters that are new since the reading before."""

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
    exchanged: tuple[str, ...] = ()


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
    """What a journal says: readings in order of record number, submeter readings [(utc_s, value)] by name in order of
    time, certificates, the grid by hour, corrections as they were written, and gaps."""

    readings: list[Reading] = field(default_factory=list)
    submeters: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    certificates: list[Certificate] = field(default_factory=list)
    grid: dict[int, GridHour] = field(default_factory=dict)
    corrections: list[dict] = field(default_factory=list)
    meters: dict[str, str] = field(default_factory=dict)  # serial by name, where one was told
    exchanges: dict[str, list[int]] = field(default_factory=dict)  # when a meter of that name was replaced, utc_s
    gaps: list[Gap] = field(default_factory=list)
    commitments: list[str] = field(default_factory=list)  # SHA-256 of the record keys, hex
    tagged: int = 0  # records that carry the board's authentication code
    untagged: list[tuple[int, bool]] = field(default_factory=list)  # utc_s of the others; whether a key was told before
    notes: list[str] = field(default_factory=list)  # what is wrong or was changed, without a time
    latest: int = -1  # sequence number of the last entry that matters here


@dataclass(slots=True)
class _Record:
    number: int
    boot: int
    uptime_s: int
    kind: int
    reading: Reading | None
    values: list
    late_after: int | None = None


def readings_of(entries: Iterable) -> list[Reading]:
    """The interval records among journal entries (forerun.store.journal.Entry), in the order of their numbers."""
    return take(entries).readings


def take(entries: Iterable, until_utc_s: int | None = None) -> Intake:
    """Everything that journal entries (Entry and Damage of forerun.store.journal) say up to that moment: readings at it
    count, certificates and grid hours that begin at it do not. What was written later, about this time, counts. What
    cannot be what it says it is stays out, with a gap that says so."""
    result = Intake()
    stores: dict[tuple[str, bytes], dict[int, _Record]] = {}
    until_us = None if until_utc_s is None else until_utc_s * 1_000_000
    entries = list(entries)
    corrections = [entry for entry in entries
                   if getattr(entry, "kind", "") == CORRECTION and not fault_of(CORRECTION, entry.body)]  # fmt: skip
    void = {entry.body["entry"] for entry in corrections if "entry" in entry.body}
    doubts = {(bytes(entry.body["store_id"]), entry.body["record"]): entry for entry in entries
              if getattr(entry, "kind", "") == DOUBTED and not fault_of(DOUBTED, entry.body)
              and entry.sequence_no not in void}  # fmt: skip
    later: set[int] = set()  # records after that moment
    later_entries: set[int] = set()
    utc_s = 0
    result.gaps += _damages(entries)
    for entry in entries:
        if hasattr(entry, "tail"):
            continue
        kind, body = entry.kind, entry.body
        if kind == CLOCK and isinstance(body, list) and body[2:3] == [-1]:
            sentence = f"the clock of the board's boot {body[0]} was never compared: its records go by their arrival"
            result.gaps.append(Gap(entry.utc_us // 1_000_000, entry.utc_us // 1_000_000, sentence))
        if kind not in _TAKERS:
            continue
        fault = fault_of(kind, body)
        if fault:
            result.gaps.append(Gap(utc_s, utc_s, f"entry {entry.sequence_no} is no {kind}: {fault}; it was left out"))
            continue
        about_us = body["start_utc_s"] * 1_000_000 + 1 if kind in (CERTIFICATE, GRID) else entry.utc_us
        if until_us is not None and kind not in _TALK and about_us > until_us:
            later.update(body[1:2] if kind == RECORD else ())
            later_entries.add(entry.sequence_no)
            continue
        if entry.sequence_no in void and kind != RECORD:
            continue
        utc_s = entry.utc_us // 1_000_000
        if kind not in _TALK:
            _TAKERS[kind](entry, result, stores)
            if kind == RECORD and (doubt := doubts.get((bytes(body[0]), body[1]))):
                _leave_out(entry, doubt.body["reason"], result, stores)
            result.latest = max(result.latest, entry.sequence_no)
    for records in stores.values():
        _order(records, result)
    for entry in corrections:
        if entry.body.get("record") not in later and entry.body.get("entry") not in later_entries:
            result.corrections.append(dict(entry.body))
            result.latest = max(result.latest, entry.sequence_no)
    for (_, number), entry in doubts.items():
        if number not in later:
            result.latest = max(result.latest, entry.sequence_no)
    _name_untagged(result)
    _tidy_submeters(result)
    result.readings = _unrolled(_exchanged(_corrected(result, entries), result), result.gaps)
    return result


def _damages(entries: list) -> Iterable[Gap]:
    """Each Damage with the times of the records before and behind it."""
    times = [entry.utc_us // 1_000_000 if getattr(entry, "kind", "") == RECORD else None for entry in entries]
    for place, entry in enumerate(entries):
        if hasattr(entry, "tail"):
            before = next((utc_s for utc_s in times[:place][::-1] if utc_s is not None), None)
            behind = next((utc_s for utc_s in times[place:] if utc_s is not None), before)
            begin = behind if before is None else before
            sentence = f"the journal is damaged at byte {entry.offset}: {entry.sentence}"
            yield Gap(begin or 0, behind or 0, sentence)


def fault_of(kind: str, body: object) -> str:
    """What makes this no body of an entry of that kind, or ''."""
    if kind == RECORD:
        head = isinstance(body, list) and len(body) > RECORD_KIND and isinstance(body[0], bytes)
        numbers = body[1 : RECORD_KIND + 1] if head else []
        if head and body[RECORD_KIND] == messages.INTERVAL:
            numbers = body[1 : RECORD_KIND + 1 + len(messages.INTERVAL_FIELDS)]
        return "" if head and all(type(item) is int for item in numbers) and len(numbers) in _LENGTHS else "its shape"
    if kind == SUBMETER:
        known = isinstance(body, list) and len(body) == 2 and body[0] in SUBMETERS and type(body[1]) is int
        return "" if known and body[1] >= 0 else f"it must be one of {', '.join(SUBMETERS)}, and a number from 0 on"
    shapes = (_BODIES[kind], _VOID) if kind == CORRECTION else (_BODIES[kind],)
    if not isinstance(body, dict) or not any(_fits(body, shape) for shape in shapes):
        return f"it must have {', '.join(shapes[0])}"
    if kind == CERTIFICATE:
        sound = body["action"] in ACTIONS and body["wh"] >= 0 and body["end_utc_s"] > body["start_utc_s"]
        return "" if sound and _DECIMAL.fullmatch(body["g_per_kwh"]) else "an impossible action, time or number"
    if kind == GRID:
        texts = [item for item in (*body["g_per_kwh"], *body["clean_share"]) if item is not None]
        sound = len(body["g_per_kwh"]) == len(body["clean_share"]) and body["start_utc_s"] % HOUR_S == 0
        sound = sound and all(isinstance(item, str) and _DECIMAL.fullmatch(item) for item in texts)
        return "" if sound and all(Decimal(item or 0) <= 1 for item in body["clean_share"]) else "an impossible hour"
    return ""


def _fits(body: dict, shape: dict) -> bool:
    return body.keys() == shape.keys() and all(type(body[name]) is kind for name, kind in shape.items())


def _take_record(entry, result: Intake, stores: dict) -> None:
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
    if tag_of(entry.body) is not None:
        result.tagged += 1
    else:
        result.untagged.append((utc_s, bool(result.commitments)))
    record = _Record(number, boot, uptime_s, kind, reading, values)
    if records and (last := next(reversed(records))) > number:
        record.late_after = last
    records[number] = record


def _order(records: dict[int, _Record], result: Intake) -> None:
    """Records of one store by number; what is late, missing or out of time is named."""
    in_order = sorted(records.values(), key=lambda record: record.number)
    dropped = [record.values[:3] for record in in_order
               if record.kind == messages.GAP and all(type(value) is int for value in record.values[:3])]  # fmt: skip
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
            causes = {cause for cause, first, last in dropped if first < record.number and last > before.number}
            if causes:
                names = dict(enumerate(GAP_CAUSES))
                sentence += f": the board says {', '.join(names.get(cause, str(cause)) for cause in sorted(causes))}"
            result.gaps.append(Gap(since_s, utc_s, sentence))
        before = record
        if record.reading is None:
            continue
        if last is not None and last.boot == record.boot:
            step_s = record.reading.utc_s - last.reading.utc_s - (record.uptime_s - last.uptime_s)
            if abs(step_s) > CLOCK_STEP_S:
                sentence = f"the clock was stepped by {step_s:+d} s against the board's uptime"
                result.gaps.append(Gap(last.reading.utc_s, record.reading.utc_s, sentence))
                record.reading = replace(record.reading, quality=record.reading.quality | STEPPED)
        last = record
        result.readings.append(record.reading)


def _take_submeter(entry, result: Intake, stores: dict) -> None:
    name, value = entry.body
    result.submeters.setdefault(name, []).append((entry.utc_us // 1_000_000, value))


def _take_meter(entry, result: Intake, stores: dict) -> None:
    """The first serial that is told before any record is what was installed; another one later is an exchange."""
    name, serial, utc_s = entry.body["meter"], entry.body["serial"], entry.utc_us // 1_000_000
    known = result.meters.get(name)
    if known == serial:
        return
    result.meters[name] = serial
    if known is not None or stores or name in result.submeters:
        result.exchanges.setdefault(name, []).append(utc_s)
        result.gaps.append(Gap(utc_s, utc_s, f"the {name} meter was exchanged: serial {serial} from here on"))


def _take_certificate(entry, result: Intake, stores: dict) -> None:
    body = entry.body
    certificate = Certificate(**{**body, "g_per_kwh": Decimal(body["g_per_kwh"])})
    for other in result.certificates:
        if other.id == certificate.id:
            sentence = f"certificate {other.id} is used twice ({other.action}, {certificate.action}): counted once"
            result.gaps.append(Gap(certificate.start_utc_s, certificate.end_utc_s, sentence))
            return
    result.certificates.append(certificate)


def _take_grid(entry, result: Intake, stores: dict) -> None:
    """body: start_utc_s, g_per_kwh and clean_share by hour (texts), source."""
    body, grid = entry.body, result.grid
    for index, (g_per_kwh, clean) in enumerate(zip(body["g_per_kwh"], body["clean_share"], strict=True)):
        if g_per_kwh is not None:
            hour_s = body["start_utc_s"] + index * HOUR_S
            grid[hour_s] = GridHour(Decimal(g_per_kwh), Decimal(clean or 0), body["source"])


def _take_record_key(entry, result: Intake, stores: dict) -> None:
    result.commitments.append(entry.body["sha256"].hex())


def _leave_out(entry, reason: str, result: Intake, stores: dict) -> None:
    """A doubted record keeps its number and loses its reading."""
    utc_s, number = entry.utc_us // 1_000_000, entry.body[1]
    stores[(entry.source, bytes(entry.body[0]))][number].reading = None
    result.gaps.append(Gap(utc_s, utc_s, f"record {number} was left out: {reason}"))


_TAKERS = {RECORD: _take_record, SUBMETER: _take_submeter, METER: _take_meter, CERTIFICATE: _take_certificate,
           GRID: _take_grid, CORRECTION: None, RECORD_KEY: _take_record_key, DOUBTED: None}  # fmt: skip
_TALK = (CORRECTION, DOUBTED)  # about other entries, whenever it is said
_LENGTHS = (RECORD_KIND, RECORD_KIND + len(messages.INTERVAL_FIELDS))


def _name_untagged(result: Intake) -> None:
    """Records without the board's code, where it holds a key; and a board that holds none."""
    bare = [utc_s for utc_s, known in result.untagged if known]
    if bare:
        sentence = f"{len(bare)} records carry no authentication code, though the board's key was known by then"
        result.gaps.append(Gap(min(bare), max(bare), sentence))
    if result.untagged and not bare:
        result.notes.append(f"{len(result.untagged)} records carry no authentication code of the board: that they are "
                            "the board's stands on the host that wrote them down")  # fmt: skip


def _tidy_submeters(result: Intake) -> None:
    """Readings of each submeter in order of time; what came late, twice, or fell is named."""
    for name, readings in result.submeters.items():
        latest = None
        for utc_s, _ in readings:
            if latest is not None and utc_s < latest:
                result.gaps.append(Gap(utc_s, latest, f"{name} of {latest - utc_s} s earlier came late: in its place"))
            latest = utc_s if latest is None else max(latest, utc_s)
        tidy: list[tuple[int, int]] = []
        for utc_s, value in sorted(readings, key=lambda item: item[0]):
            if tidy and tidy[-1][0] == utc_s:
                said = "the same reading" if tidy[-1][1] == value else f"{tidy[-1][1]} and {value} at one moment"
                result.gaps.append(Gap(utc_s, utc_s, f"{name} came twice, {said}: the first counts"))
                continue
            if tidy and value < tidy[-1][1]:
                said = f"{name} fell from {tidy[-1][1]} to {value}: the meter was reset; what passed there is not known"
                result.gaps.append(Gap(tidy[-1][0], utc_s, said))
            tidy.append((utc_s, value))
        result.submeters[name] = tidy


def _corrected(result: Intake, entries: list) -> list[Reading]:
    """Readings with corrections put in: {record, field, value, reason, author}; {entry, …} took an entry out."""
    by_place = {reading.place: index for index, reading in enumerate(result.readings)}
    readings = list(result.readings)
    kinds = {entry.sequence_no: entry.kind for entry in entries if not hasattr(entry, "tail")}
    for item in result.corrections:
        if "entry" in item:
            kind = kinds.get(item["entry"], "entry that is not there")
            said = "a record cannot be taken out: nothing changed" if kind == RECORD else f"the {kind} does not count"
            sentence = f"entry {item['entry']} withdrawn by {item['author']}: {item['reason']}; {said}"
            result.notes.append(sentence)
            continue
        index = by_place.get(item["record"])
        if index is None or item["field"] not in (*REGISTERS, "soc_permille"):
            sentence = f"a correction names record {item['record']}, {item['field']}: there is none"
            result.notes.append(sentence)
            continue
        old = readings[index]
        readings[index] = replace(old, **{item["field"]: item["value"], "quality": old.quality | REPLACED})
        sentence = (f"record {item['record']}, {item['field']}: {getattr(old, item['field'])} replaced by "
                    f"{item['value']} by {item['author']}: {item['reason']}")  # fmt: skip
        result.gaps.append(Gap(old.utc_s, old.utc_s, sentence))
    return readings


def _exchanged(readings: list[Reading], result: Intake) -> list[Reading]:
    """The first reading after a meter was exchanged says so: its difference to the one before means nothing."""
    marked = list(readings)
    for name in METERS:
        for utc_s in result.exchanges.get(name, ()):
            for index, (before, now) in enumerate(pairwise(marked), start=1):
                if before.utc_s < utc_s <= now.utc_s:
                    marked[index] = replace(now, exchanged=(*now.exchanged, name))
                    break
    return marked


def _unrolled(readings: list[Reading], gaps: list[Gap]) -> list[Reading]:
    """Registers that ran over their end go on counting; a fall from elsewhere stays for the ledger to refuse."""
    offsets = dict.fromkeys(REGISTERS, 0)
    result = readings[:1]
    for before, now in pairwise(readings):
        fresh = {name for meter in now.exchanged for name in METERS[meter]}
        for name in REGISTERS:
            then_wh, now_wh = getattr(before, name), getattr(now, name)
            if name in fresh:
                continue
            if now_wh < then_wh and then_wh >= ROLL_OVER * 99 // 100 and now_wh <= ROLL_OVER // 100:
                offsets[name] += ROLL_OVER
                sentence = f"{name} rolled over from {then_wh} to {now_wh}: it goes on counting"
                gaps.append(Gap(before.utc_s, now.utc_s, sentence))
        if any(offsets.values()):
            now = replace(now, **{name: getattr(now, name) + offsets[name] for name in REGISTERS})
        result.append(now)
    return result
