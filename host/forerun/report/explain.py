"""A figure of a report opened in three steps: formula, factors and code; an interval; its meter records and their place
in the signed tree."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from forerun.carbon.intake import CERTIFICATE, RECORD, SUBMETER
from forerun.errors import WrongUsage
from forerun.evidence import hashtree
from forerun_wire.names import INTERVAL_FIELDS

# The column of the intervals that a figure sums, or is made of in the first place.
COLUMN = {"scope1_g": "genset_g", "scope2_location_g": "import_g", "scope2_market_g": "import_g",
          "scope3_cat3_g": "genset_g", "green_on_site": "pv_load_wh", "green_matched": "pv_load_wh",
          "green_grid": "clean_load_wh", "cfe": "clean_load_wh", "outside_avoided_g": "pv_to_export",
          "residual": "apart_wh", "cue": "import_g", "embodied_pv_g": "pv_to_load"}  # fmt: skip
ANNEX_COLUMN = {"3": "pv_to_load", "4": "pv_to_load", "9": "load_wh", "12": "load_g", "15(e)": "load_wh",
                "17": "load_wh"}  # fmt: skip
# Submeters that a figure is made of, and figures that stand on the site file and the factor table alone.
METERS = {"pue": ("it_wh",), "cue": ("it_wh",), "wue": ("it_wh", "water_ml"), "erf": ("heat_reuse_wh",),
          "scope1_g": ("fuel_ml",), "scope3_cat3_g": ("fuel_ml",),
          "residual": ("it_wh", "cooling_wh", "other_wh")}  # fmt: skip
UNMETERED = ("embodied_battery_g", "embodied_inverter_g", "embodied_genset_g")


def lines(figure: str, utc_s: int | None, report: bytes, entries: Sequence) -> list[str]:
    """What `forerun explain` prints. figure: a name in results, or an item of Annex IV; utc_s: which interval; None:
    the one with the largest part. Raises WrongUsage."""
    document = json.loads(report)
    items = [item for item in document["cbam_annex_iv"] if item["item"] == figure]
    if items:
        said = [f"1. {item['item']}, {item['title']}: {item['value'] or item['status']} ({item['reason']})"
                for item in items]  # fmt: skip
        column = ANNEX_COLUMN.get(figure)
        said.append(f"   summed over {len(document['intervals']['rows'])} intervals; {_made_by(document)}")
        return said if column is None else said + _interval(column, utc_s, document, entries)
    found = document["results"].get(figure)
    if found is None:
        known = sorted({*document["results"], *ANNEX_COLUMN})
        raise WrongUsage(f"{figure}: is no figure of this report; it has {', '.join(known)}")
    said = _figure(figure, found, document)
    if figure in UNMETERED:
        plan = document["monitoring_plan"]["inputs"]
        return [*said, f"2. no meter is in it: what names no factor is from the site file ({plan['embodied_source']})"]
    said += _interval(COLUMN.get(figure, "load_wh"), utc_s, document, entries)
    return said + _submeters(METERS.get(figure, ()), document, entries) + _certificates(figure, document, entries)


def _figure(figure: str, found: dict, document: dict) -> list[str]:
    said = [f"1. {figure} = {found['value']} {found['unit']} ({found['basis']})", f"   formula: {found['formula']}"]
    said += [f"   {name} = {value}" for name, value in found["inputs"].items()]
    wanted = found["inputs"].get("factor", "").split(", ")
    for factor in document["factors"]:
        if factor["id"] in wanted or ("grid" in wanted and factor["id"].startswith("grid")):
            ends = [factor["valid_from"] or "no stated day", factor["valid_until"] or "no stated day"]
            said.append(f"   factor {factor['id']}: {factor['value']} {factor['unit']}, {factor['scope']}, "
                        f"{factor['gas_basis']} by {factor['gwp_set']}, valid {' to '.join(ends)}; {factor['source']} "
                        f"({factor['licence']})")  # fmt: skip
    if "grid" in wanted:
        said.append(f"   grid by the hour: {'; '.join(document['grid_sources'])}")
    return [*said, f"   {_made_by(document)}"]


def _made_by(document: dict) -> str:
    head = document["report"]
    return f"made by {head['software']}, factor table {document['factor_table']['version']}, report {head['id']}"


def _interval(column: str, utc_s: int | None, document: dict, entries: Sequence) -> list[str]:
    columns, rows = document["intervals"]["columns"], document["intervals"]["rows"]
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    if utc_s is not None:
        named = [row for row in named if row["start_utc_s"] <= utc_s < row["end_utc_s"]]
    if not named:
        return ["2. no interval of this report holds that moment"]
    row = max(named, key=lambda row: Decimal(row[column]))
    flows = ", ".join(f"{name} {row[name]} Wh" for name in columns if "_to_" in name and row[name])
    said = [f"2. interval {_when(row['start_utc_s'])} to {_when(row['end_utc_s'])}: {column} = {row[column]}",
            f"   {flows or 'no energy'}; grid {row['grid_g_per_kwh']} g/kWh; {row['quality']}"
            + (f": {row['reasons']}" if row["reasons"] else "")]  # fmt: skip
    return said + _records(row, document, entries)


def _records(row: dict, document: dict, entries: Sequence) -> list[str]:
    """The first and the last meter record of an interval, each with its proof in the signed tree."""
    said = [f"3. meter records {row['first_record']} to {row['last_record']}; their difference is the energy"]
    wanted = {row["start_utc_s"]: row["first_record"], row["end_utc_s"]: row["last_record"]}
    chosen = []
    for entry in entries:
        if entry.kind == RECORD and wanted.get(entry.utc_us // 1_000_000) == entry.body[1]:
            fields = dict(zip(INTERVAL_FIELDS, entry.body[6:], strict=False))
            values = ", ".join(f"{name} {value}" for name, value in fields.items() if name.endswith("_wh"))
            code = "with the board's code" if hashtree.tag_of(entry.body) else "no code of the board"
            words = f"record {entry.body[1]} of {entry.source}, {_moment(entry)}: {values}; {code}"
            chosen.append((entry, words))
    return said + _proofs(chosen, document, entries)


def _submeters(names: Iterable[str], document: dict, entries: Sequence) -> list[str]:
    """First and last reading of each submeter in the period."""
    start_us, end_us = (int(datetime.fromisoformat(text).timestamp()) * 1_000_000
                        for text in document["report"]["period_utc"])  # fmt: skip
    said = []
    for name in names:
        readings = [entry for entry in entries
                    if entry.kind == SUBMETER and entry.body[0] == name and entry.utc_us <= end_us]  # fmt: skip
        early = [entry for entry in readings if entry.utc_us <= start_us][-1:] or readings[:1]
        pair = [*early, *readings[-1:]] if len(readings) > 1 else readings
        if pair:
            said += [f"   submeter {name}, {len(readings)} readings; the first and the last that count here:"]
            said += _proofs([(entry, f"{name} {entry.body[1]} at {_when(entry.utc_us // 1_000_000)}")
                             for entry in pair], document, entries)  # fmt: skip
    return said


def _certificates(figure: str, document: dict, entries: Sequence) -> list[str]:
    if figure not in ("scope2_market_g", "green_matched", "green_on_site", "green_grid", "cfe", "ref"):
        return []
    known = {item["id"] for item in document["instruments"]}
    chosen = [(entry, f"certificate {entry.body['id']}, {entry.body['action']}, {entry.body['wh']} Wh")
              for entry in entries if entry.kind == CERTIFICATE and entry.body.get("id") in known]  # fmt: skip
    return _proofs(chosen, document, entries)


def _proofs(chosen: Sequence[tuple], document: dict, entries: Sequence) -> list[str]:
    """Each entry with its leaf, and how it hangs in the tree whose root the report names."""
    root = document["proofs"]["signed_root"]
    size = root["size"] if root else len(entries)
    hashes = [hashtree.leaf_hash(entry.raw) for entry in entries[:size]]
    said = []
    for entry, words in chosen:
        place = entry.sequence_no
        said.append(f"   entry {place}: {words}")
        if place < size:
            path = hashtree.inclusion(hashes, place)
            said.append(f"      leaf {hashes[place].hex()}, {len(path)} hashes below the "
                        + (f"signed root {root['root']}" if root else "root, which nobody signed yet"))  # fmt: skip
    return said


def _moment(entry) -> str:
    """When a record was made, and how surely that is known."""
    moment = datetime.fromtimestamp(entry.utc_us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
    if entry.half_us is None:
        return moment
    return f"{moment} by its arrival" if entry.half_us < 0 else f"{moment} ± {entry.half_us / 1000:.1f} ms"


def _when(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
