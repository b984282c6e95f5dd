"""What the journal's records say of a period, read again from the rules in the report's schema."""

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
FIELDS = ("interval_s", *REGISTERS, "import_max_w", "pcc_voltage_min_mv", "soc_permille", "quality", "stretched_ms")
METERS = {"pcc": REGISTERS[:2], "battery": REGISTERS[2:4], "pv": REGISTERS[4:5], "genset": REGISTERS[5:]}
INTERVAL_RECORD = 1
KINDS = ("record", "submeter", "meter", "certificate", "grid", "record_key")
SUBMETERS = ("it_wh", "cooling_wh", "other_wh", "heat_reuse_wh", "water_ml", "fuel_ml")
SHAPES = {
    "meter": [{"meter": "str", "serial": "str"}],
    "certificate": [{"id": "str", "action": "str", "start_utc_s": "int", "end_utc_s": "int", "wh": "int",
                     "g_per_kwh": "str", "technology": "str", "issuer": "str"}],
    "grid": [{"start_utc_s": "int", "g_per_kwh": "list", "clean_share": "list", "source": "str"}],
    "correction": [{"record": "int", "field": "str", "value": "int", "reason": "str", "author": "str"},
                   {"entry": "int", "reason": "str", "author": "str"}],
    "record_key": [{"sha256": "bytes"}],
    "doubted": [{"store_id": "bytes", "record": "int", "reason": "str"}],
}  # fmt: skip
WRAP = 2**32


@dataclass(slots=True)
class Told:
    """rows: dicts of registers, soc_permille, quality, utc_s, number; the rest as in the journal."""

    rows: list[dict] = field(default_factory=list)
    submeters: dict[str, list] = field(default_factory=dict)
    certificates: list[dict] = field(default_factory=list)
    grid: dict[int, tuple[Decimal, Decimal]] = field(default_factory=dict)
    corrections: list[dict] = field(default_factory=list)
    records: list[tuple[list, bool]] = field(default_factory=list)  # body; whether a record key was told before
    commitments: list[str] = field(default_factory=list)
    serials: dict[str, str] = field(default_factory=dict)
    exchanges: dict[str, list[int]] = field(default_factory=dict)
    latest: int = -1


def told(entries, until_s: int) -> Told:
    """Everything about the time up to `until_s`."""
    result, boards, beyond, beyond_entries = Told(), {}, set(), set()
    corrections = [entry for entry in entries if entry.kind == "correction" and sound("correction", entry.body)]
    withdrawn = {entry.body["entry"] for entry in corrections if "entry" in entry.body}
    for entry in entries:
        body = entry.body
        if entry.kind not in KINDS or not sound(entry.kind, body):
            continue
        about_us = body["start_utc_s"] * 10**6 + 1 if entry.kind in ("certificate", "grid") else entry.utc_us
        if about_us > until_s * 10**6:
            beyond_entries.add(entry.number)
            if entry.kind == "record":
                beyond.add(body[1])
            continue
        if entry.number in withdrawn and entry.kind != "record":
            continue
        result.latest = max(result.latest, entry.number)
        _hear(entry, boards, result)
    for entry in entries:
        if entry.kind == "doubted" and sound("doubted", entry.body) and entry.number not in withdrawn:
            if entry.body["record"] not in beyond:
                result.latest = max(result.latest, entry.number)
            for (_, store), records in boards.items():
                if store == entry.body["store_id"] and entry.body["record"] in records:
                    records[entry.body["record"]] = (0, [b"", *[0] * 5])
    for records in boards.values():
        result.rows += _in_order(records)
    for entry in corrections:
        if entry.body.get("record") not in beyond and entry.body.get("entry") not in beyond_entries:
            result.corrections.append(entry.body)
            result.latest = max(result.latest, entry.number)
            _correct(result.rows, entry.body)
    for name, readings in result.submeters.items():
        first = {}
        for utc_s, value in readings:
            first.setdefault(utc_s, value)
        result.submeters[name] = sorted(first.items())
    _mark_exchanges(result)
    _unwrap(result.rows)
    return result


def sound(kind: str, body) -> bool:
    """Whether this is the body of an entry of that kind; what is not stays out of every figure."""
    if kind == "record":
        if not (isinstance(body, list) and len(body) > 5 and isinstance(body[0], bytes)):
            return False
        numbers = body[1 : 18 if body[5] == INTERVAL_RECORD else 6]
        return len(numbers) in (5, 17) and all(type(number) is int for number in numbers)
    if kind == "submeter":
        pair = isinstance(body, list) and len(body) == 2 and body[0] in SUBMETERS
        return pair and type(body[1]) is int and body[1] >= 0
    if not isinstance(body, dict):
        return False
    shape = {name: type(value).__name__ for name, value in body.items()}
    if shape not in SHAPES[kind]:
        return False
    if kind == "certificate":
        return (body["action"] in ("cancelled", "sold") and body["wh"] >= 0
                and body["end_utc_s"] > body["start_utc_s"] and _number(body["g_per_kwh"]))  # fmt: skip
    if kind == "grid":
        grams, shares = body["g_per_kwh"], body["clean_share"]
        texts = [text for text in grams + shares if text is not None]
        return (len(grams) == len(shares) and body["start_utc_s"] % 3600 == 0 and all(map(_number, texts))
                and all(Decimal(text or 0) <= 1 for text in shares))  # fmt: skip
    return True


def _number(text) -> bool:
    whole, _, part = text.partition(".") if isinstance(text, str) else ("", "", "")
    parts = (whole, part) if isinstance(text, str) and "." in text else (whole,)
    return all(item.isascii() and item.isdecimal() and 1 <= len(item) <= 12 for item in parts)


def _hear(entry, boards: dict, result: Told) -> None:
    body, utc_s = entry.body, entry.utc_us // 10**6
    if entry.kind == "record":
        records = boards.setdefault((entry.source, bytes(body[0])), {})
        if body[1] not in records:
            records[body[1]] = (utc_s, body)
            result.records.append((body, bool(result.commitments)))
    elif entry.kind == "submeter":
        result.submeters.setdefault(body[0], []).append((utc_s, body[1]))
    elif entry.kind == "certificate":
        if all(other["id"] != body["id"] for other in result.certificates):
            result.certificates.append(body)
    elif entry.kind == "grid":
        for hour, (grams, clean) in enumerate(zip(body["g_per_kwh"], body["clean_share"], strict=True)):
            if grams is not None:
                result.grid[body["start_utc_s"] + 3600 * hour] = (Decimal(grams), Decimal(clean or 0))
    elif entry.kind == "record_key":
        result.commitments.append(body["sha256"].hex())
    elif entry.kind == "meter":
        name, serial = body["meter"], body["serial"]
        if result.serials.get(name) != serial:
            if name in result.serials or boards or name in result.submeters:
                result.exchanges.setdefault(name, []).append(utc_s)
            result.serials[name] = serial


def _in_order(records: dict) -> list[dict]:
    """Readings of one board by record number; `stepped` where UTC and uptime disagree by more than 5 s."""
    rows, last = [], None
    for number in sorted(records):
        utc_s, body = records[number]
        if body[5] != INTERVAL_RECORD:
            continue
        row = {**dict(zip(FIELDS, body[6:], strict=False)), "utc_s": utc_s, "number": number, "exchanged": ()}
        boot, uptime_s = body[2], body[3]
        row["stepped"] = (last is not None and last[0] == boot
                          and abs((utc_s - last[1]) - (uptime_s - last[2])) > 5)  # fmt: skip
        last = boot, utc_s, uptime_s
        rows.append(row)
    return rows


def _mark_exchanges(result: Told) -> None:
    for name, registers in METERS.items():
        for at_s in result.exchanges.get(name, ()):
            for one, two in pairwise(result.rows):
                if one["utc_s"] < at_s <= two["utc_s"]:
                    two["exchanged"] += registers
                    break


def stretches(rows: list[dict], step_s: int, limits_w: dict[str, int]) -> list[tuple[dict, dict, bool, bool]]:
    """(first row, last row, something substituted, time unknown) of each interval; what cannot be is left out."""
    found, slot = [], None
    for one, two in pairwise(rows):
        length_s = two["utc_s"] - one["utc_s"]
        gains = {name: two[name] - one[name] for name in REGISTERS}
        if length_s <= 0 or two["exchanged"] or min(gains.values()) < 0 or any(
            gains[name] * 3600 > limit_w * length_s for name, limit_w in limits_w.items()
        ):  # fmt: skip
            slot = None
            continue
        substituted = bool(two["quality"] & 31)
        if length_s > step_s:
            found.append((one, two, substituted, True))
            slot = None
            continue
        here = (one["utc_s"] + two["utc_s"]) // 2 // step_s
        if here == slot:
            first, _, earlier, unsure = found[-1]
            found[-1] = (first, two, earlier or substituted, unsure or two["stepped"])
        else:
            found.append((one, two, substituted, two["stepped"]))
        slot = here
    return found


def counted(readings: list, start_s: int, end_s: int, exchanges: list) -> Decimal | None:
    """What a submeter counted in the period; None when fewer than two readings tell of it."""
    before = [reading for reading in readings if reading[0] <= start_s][-1:]
    series = before + [reading for reading in readings if start_s < reading[0] <= end_s]
    if len(series) < 2:
        return None
    return Decimal(sum(max(0, two - one) for (then, one), (now, two) in pairwise(series)
                       if not any(then < at <= now for at in exchanges)))  # fmt: skip


def _correct(rows: list[dict], body: dict) -> None:
    for row in rows[::-1]:
        if row["number"] == body.get("record") and body["field"] in (*REGISTERS, "soc_permille"):
            row[body["field"]] = body["value"]
            row["quality"] |= 16
            return


def _unwrap(rows: list[dict]) -> None:
    added, earlier = dict.fromkeys(REGISTERS, 0), None
    for row in rows:
        plain = {name: row[name] for name in REGISTERS}
        for name in REGISTERS if earlier else ():
            if name in row["exchanged"]:
                continue
            if plain[name] < earlier[name] and earlier[name] >= WRAP * 99 // 100 and plain[name] <= WRAP // 100:
                added[name] += WRAP
        row.update({name: plain[name] + added[name] for name in REGISTERS})
        earlier = plain
