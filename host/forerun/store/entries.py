"""What people enter into a journal: corrections, certificates, submeter readings, exchanged meters. A journal that a
running site writes is reached through the box beside it, which the site empties every few seconds."""

import csv
import json
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from forerun.carbon import intake
from forerun.errors import Trouble, WrongUsage
from forerun.evidence.timestamp import TIMESTAMP
from forerun.store.journal import Entry, Journal, JournalBusy, JournalError, read

Item = tuple[int, str, object]  # utc_us, kind, body
FIELDS = (*intake.REGISTERS, "soc_permille")
# The columns of a table tell what it holds; each row becomes the body of one entry.
TABLES: dict[tuple[str, ...], tuple[str, Callable[[dict], tuple[str, object]]]] = {
    ("name", "time_utc", "value"): (
        intake.SUBMETER, lambda row: (row["time_utc"], [row["name"], int(row["value"])])),
    ("meter", "time_utc", "serial"): (
        intake.METER, lambda row: (row["time_utc"], {"meter": row["meter"], "serial": row["serial"]})),
    ("id", "action", "start_utc", "end_utc", "wh", "g_per_kwh", "technology", "issuer"): (
        intake.CERTIFICATE, lambda row: ("", {
            **{name: row[name] for name in ("id", "action", "g_per_kwh", "technology", "issuer")},
            "start_utc_s": moment(row["start_utc"]), "end_utc_s": moment(row["end_utc"]), "wh": int(row["wh"])})),
}  # fmt: skip


def of_table(path: Path, now_us: int) -> list[Item]:
    """The entries of a CSV table: all of them or, with a sentence that names the line, none (WrongUsage)."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            reader.fieldnames = list(columns)
            if columns not in TABLES:
                known = "; or ".join(",".join(names) for names in TABLES)
                raise WrongUsage(f"{path}: the first line must be one of: {known}")
            kind, made = TABLES[columns]
            found = []
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise WrongUsage(f"{where}: {len(columns)} values are wanted")
                try:
                    when, body = made({name: text.strip() for name, text in row.items()})
                    utc_us = moment(when) * 1_000_000 if when else now_us
                except ValueError as error:
                    raise WrongUsage(f"{where}: {error}") from error
                fault = intake.fault_of(kind, body) or _unknown_meter(kind, body)
                if fault:
                    raise WrongUsage(f"{where}: this is no {kind}: {fault}")
                found.append((utc_us, kind, body))
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongUsage(f"{path}: cannot be read: {error}") from error


def correction(
    entries: Sequence, *, record: int | None, field: str, value: int | None, entry: int | None, reason: str, author: str
) -> dict:
    """Body of a correction: of one field of a record, or that an entry does not count. Raises WrongUsage when there is
    no such record or entry, or when it does not say why and who."""
    if not reason.strip() or not author.strip():
        raise WrongUsage("a correction says why and who: --reason and --author")
    words = {"reason": reason.strip(), "author": author.strip()}
    there = {item.sequence_no: item for item in entries if isinstance(item, Entry)}
    if entry is not None and record is None and value is None and not field:
        kind = there[entry].kind if entry in there else "entry that is not there"
        if kind not in (intake.SUBMETER, intake.METER, intake.CERTIFICATE, intake.GRID, intake.DOUBTED):
            raise WrongUsage(f"--entry {entry} is a {kind}: only what the host or a person entered can be withdrawn")
        return {"entry": entry, **words}
    if entry is not None or record is None or value is None:
        raise WrongUsage("say --record, --field and --value, or --entry alone")
    if field not in FIELDS or value < 0:
        raise WrongUsage(f"--field must be one of {', '.join(FIELDS)}, and --value a number from 0 on")
    boards = {(item.source, bytes(item.body[0])) for item in there.values()
              if item.kind == intake.RECORD and item.body[1] == record
              and item.body[intake.RECORD_KIND] == intake.messages.INTERVAL}  # fmt: skip
    if len(boards) != 1:
        raise WrongUsage(f"--record {record}: {len(boards) or 'no'} interval records of that number are in the journal")
    return {"record": record, "field": field, "value": value, **words}


def put(path: Path, items: Sequence[Item]) -> str:
    """Makes the items durable; says where they are now: in the journal, or in the box of the site that writes it."""
    try:
        journal = Journal(path)
    except JournalBusy:
        return _drop(box_of(path), items)
    with journal:
        for utc_us, kind, body in items:
            journal.append(utc_us, "host", kind, body)
    return f"in the journal {path}"


def take_box(journal: Journal) -> list[str]:
    """Puts what lies in the box into the journal, on disk, and says so; what is no entry is set aside, and said."""
    box, said = box_of(journal.path), []
    waiting = sorted(box.glob("*.json")) if box.is_dir() else []
    try:
        for path in waiting:
            said.append(_take(path, journal))
    except JournalError as problem:
        said.append(str(problem))  # the file stays for the next time
    return said


def _take(path: Path, journal: Journal) -> str:
    try:
        items = [(int(utc_us), str(kind), body) for utc_us, kind, body in json.loads(path.read_bytes())]
        faults = [fault for _, kind, body in items if (fault := _fault(kind, body))]
    except (OSError, ValueError, TypeError) as error:
        items, faults = [], [str(error)]
    if faults:
        os.replace(path, path.with_suffix(".refused"))
        return f"{path.name} is no entry for the journal: {faults[0]}; it was set aside"
    journal.commit()  # then whatever an earlier try put in can be seen
    known = [(item.utc_us, item.kind, item.body) for item in read(journal.path)
             if isinstance(item, Entry) and item.kind in _KINDS]  # fmt: skip
    for item in items:
        if item not in known:
            journal.append(item[0], "host", item[1], item[2])
    journal.commit()
    path.unlink()
    return f"{len(items)} entered by hand: {', '.join(sorted({kind for _, kind, _ in items}))}"


def box_of(journal: Path) -> Path:
    return Path(journal).with_name(Path(journal).name + ".box")


def moment(text: str) -> int:
    """Seconds since 1970 of an ISO 8601 time; UTC where it names no zone. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; write 2024-01-31T12:00Z") from error
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())


_KINDS = (intake.SUBMETER, intake.METER, intake.CERTIFICATE, intake.GRID, intake.CORRECTION, TIMESTAMP)


def _fault(kind: str, body: object) -> str:
    if kind == TIMESTAMP:
        return "" if isinstance(body, dict) and body.keys() == {"entry", "token", "tsa"} else "its shape"
    return intake.fault_of(kind, body) if kind in _KINDS else f"{kind} is not entered by hand"


def _unknown_meter(kind: str, body) -> str:
    names = (*intake.METERS, *intake.SUBMETERS)
    return f"meter must be one of {', '.join(names)}" if kind == intake.METER and body["meter"] not in names else ""


def _drop(box: Path, items: Sequence[Item]) -> str:
    name = f"{items[0][0] if items else 0:020d}-{secrets.token_hex(4)}"
    try:
        box.mkdir(mode=0o700, exist_ok=True)
        with open(box / f"{name}.part", "w", encoding="utf-8") as file:
            json.dump([list(item) for item in items], file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(box / f"{name}.part", box / f"{name}.json")
    except OSError as error:
        raise Trouble(f"{box}: the running site's box cannot be written: {error.strerror}") from error
    return f"in the box of the running site, {box}: it takes it within seconds"
