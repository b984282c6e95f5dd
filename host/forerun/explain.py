"""A figure of a report opened in three steps: formula, factors and code; an interval; its meter records and their place
in the signed tree."""

import json
from collections.abc import Sequence
from decimal import Decimal

from forerun import evidence
from forerun.errors import WrongUsage
from forerun.intake import RECORD
from forerun_wire import messages

# The column of the intervals that a figure sums, or is made of in the first place.
COLUMN = {"scope1_g": "genset_g", "scope2_location_g": "import_g", "scope2_market_g": "import_g",
          "scope3_cat3_g": "genset_g", "green_on_site": "pv_load_wh", "green_matched": "pv_load_wh",
          "green_grid": "clean_load_wh", "cfe": "clean_load_wh", "outside_avoided_g": "pv_to_export",
          "residual": "apart_wh", "cue": "import_g"}  # fmt: skip


def lines(figure: str, utc_s: int | None, report: bytes, entries: Sequence) -> list[str]:
    """What `forerun explain` prints. utc_s: which interval; None: the one with the largest part. Raises WrongUsage."""
    document = json.loads(report)
    found = document["results"].get(figure)
    if found is None:
        raise WrongUsage(f"{figure}: is no figure of this report; it has {', '.join(sorted(document['results']))}")
    return [*_figure(figure, found, document), *_interval(figure, utc_s, document, entries)]


def _figure(figure: str, found: dict, document: dict) -> list[str]:
    said = [f"1. {figure} = {found['value']} {found['unit']} ({found['basis']})", f"   formula: {found['formula']}"]
    said += [f"   {name} = {value}" for name, value in found["inputs"].items()]
    wanted = found["inputs"].get("factor", "")
    for factor in document["factors"]:
        if factor["id"] == wanted or (wanted == "grid" and factor["id"].startswith("grid")):
            said.append(f"   factor {factor['id']}: {factor['value']} {factor['unit']}, {factor['scope']}, "
                        f"{factor['region']}, {factor['valid_from']} to {factor['valid_until']}; {factor['source']} "
                        f"({factor['licence']})")  # fmt: skip
    said.append(f"   made by {document['report']['software']}, factor table {document['factor_table']['version']}, "
                f"report {document['report']['id']}")  # fmt: skip
    return said


def _interval(figure: str, utc_s: int | None, document: dict, entries: Sequence) -> list[str]:
    columns, rows = document["intervals"]["columns"], document["intervals"]["rows"]
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    column = COLUMN.get(figure, "load_wh")
    if utc_s is not None:
        named = [row for row in named if row["start_utc_s"] <= utc_s < row["end_utc_s"]]
    if not named:
        return ["2. no interval of this report holds that moment"]
    row = max(named, key=lambda row: Decimal(row[column]))
    flows = ", ".join(f"{name} {row[name]} Wh" for name in columns if "_to_" in name and row[name])
    said = [f"2. interval {row['start_utc_s']} to {row['end_utc_s']} (UTC seconds): {column} = {row[column]}",
            f"   {flows or 'no energy'}; grid {row['grid_g_per_kwh']} g/kWh; {row['quality']}"
            + (f": {row['reasons']}" if row["reasons"] else "")]  # fmt: skip
    return said + _records(row, entries)


def _records(row: dict, entries: Sequence) -> list[str]:
    """The first and the last meter record of an interval, each with its proof in the tree of everything."""
    said = [f"3. meter records {row['first_record']} to {row['last_record']}; their difference is the energy"]
    hashes = [evidence.leaf_hash(entry.raw) for entry in entries]
    wanted = {row["start_utc_s"]: row["first_record"], row["end_utc_s"]: row["last_record"]}
    for index, entry in enumerate(entries):
        if entry.kind == RECORD and wanted.get(entry.utc_us // 1_000_000) == entry.body[1]:
            fields = dict(zip(messages.INTERVAL_FIELDS, entry.body[6:], strict=False))
            values = ", ".join(f"{name} {value}" for name, value in fields.items() if name.endswith("_wh"))
            path = evidence.inclusion(hashes, index)
            said.append(f"   record {entry.body[1]} of {entry.source}, entry {entry.sequence_no}: {values}")
            said.append(f"   leaf {hashes[index].hex()}, {len(path)} hashes to the root of {len(hashes)} entries")
    return said
