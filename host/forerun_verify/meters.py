"""What the journal's records say of a period, read again from the rules in the report's schema."""

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

REGISTERS = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
FIELDS = ("interval_s", *REGISTERS, "import_max_w", "pcc_voltage_min_mv", "soc_permille", "quality", "stretched_ms")
INTERVAL_RECORD = 1
WRAP = 2**32


@dataclass(slots=True)
class Told:
    """rows: dicts of registers, soc_permille, quality, utc_s, number; the rest as in the journal."""

    rows: list[dict] = field(default_factory=list)
    submeters: dict[str, list] = field(default_factory=dict)
    certificates: list[dict] = field(default_factory=list)
    grid: dict[int, tuple[Decimal, Decimal]] = field(default_factory=dict)
    corrections: list[dict] = field(default_factory=list)
    latest: int = -1


def told(entries, until_s: int) -> Told:
    """Everything about the time up to `until_s`."""
    result, boards, beyond, corrections = Told(), {}, set(), []
    for entry in entries:
        body = entry.body
        if entry.kind == "correction":
            corrections.append((entry.number, body))
            continue
        if entry.kind not in ("record", "submeter", "meter", "certificate", "grid"):
            continue
        about_us = body["start_utc_s"] * 10**6 + 1 if entry.kind in ("certificate", "grid") else entry.utc_us
        if about_us > until_s * 10**6:
            if entry.kind == "record":
                beyond.add(body[1])
            continue
        result.latest = max(result.latest, entry.number)
        if entry.kind == "record":
            boards.setdefault((entry.source, bytes(body[0])), {}).setdefault(body[1], (entry.utc_us // 10**6, body))
        elif entry.kind == "submeter":
            result.submeters.setdefault(body[0], []).append((entry.utc_us // 10**6, body[1]))
        elif entry.kind == "certificate" and all(other["id"] != body["id"] for other in result.certificates):
            result.certificates.append(body)
        elif entry.kind == "grid":
            for hour, (grams, clean) in enumerate(zip(body["g_per_kwh"], body["clean_share"], strict=True)):
                if grams is not None:
                    result.grid[body["start_utc_s"] + 3600 * hour] = (Decimal(grams), Decimal(clean or 0))
    for records in boards.values():
        for number in sorted(records):
            utc_s, body = records[number]
            if body[5] == INTERVAL_RECORD:
                result.rows.append({**dict(zip(FIELDS, body[6:], strict=False)), "utc_s": utc_s, "number": number})
    for number, body in corrections:
        if body["record"] not in beyond:
            result.corrections.append(body)
            result.latest = max(result.latest, number)
            _correct(result.rows, body)
    _unwrap(result.rows)
    return result


def stretches(rows: list[dict], step_s: int, limits_w: dict[str, int]) -> list[tuple[dict, dict, bool, bool]]:
    """(first row, last row, something substituted, time unknown) of each interval; what cannot be is left out."""
    found, slot = [], None
    for one, two in pairwise(rows):
        length_s = two["utc_s"] - one["utc_s"]
        gains = {name: two[name] - one[name] for name in REGISTERS}
        if length_s <= 0 or min(gains.values()) < 0 or any(
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
            first, _, earlier, _ = found[-1]
            found[-1] = (first, two, earlier or substituted, False)
        else:
            found.append((one, two, substituted, False))
        slot = here
    return found


def counted(readings: list, start_s: int, end_s: int) -> Decimal | None:
    """What a submeter counted in the period; None when fewer than two readings tell of it."""
    before = [value for utc_s, value in readings if utc_s <= start_s][-1:]
    series = before + [value for utc_s, value in readings if start_s < utc_s <= end_s]
    if len(series) < 2:
        return None
    return Decimal(sum(max(0, two - one) for one, two in pairwise(series)))


def _correct(rows: list[dict], body: dict) -> None:
    for row in rows[::-1]:
        if row["number"] == body["record"] and body["field"] in (*REGISTERS, "soc_permille"):
            row[body["field"]] = body["value"]
            row["quality"] |= 16
            return


def _unwrap(rows: list[dict]) -> None:
    added, earlier = dict.fromkeys(REGISTERS, 0), None
    for row in rows:
        plain = {name: row[name] for name in REGISTERS}
        for name in REGISTERS if earlier else ():
            if plain[name] < earlier[name] and earlier[name] >= WRAP * 99 // 100 and plain[name] <= WRAP // 100:
                added[name] += WRAP
        row.update({name: plain[name] + added[name] for name in REGISTERS})
        earlier = plain
