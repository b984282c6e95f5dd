"""A bundle: what a site-energy solution shows of itself, signed, so that solutions can be compared (forerun.rank)."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from forerun.carbon.intake import RECORD, RECORD_KIND
from forerun.errors import Trouble
from forerun.evidence import hashtree
from forerun_wire import messages

SCHEMA = "forerun bundle 1"
GRADES = "ABCDE"
CRITERIA = {
    "coordination": ("readiness_lead_s", "missed_surge_share", "dips_per_month", "import_violations_per_month"),
    "carbon": ("whole_life_g_per_kwh",),
    "climate": ("output_at_40c_share", "availability_share", "availability_humid_share"),
    "data": ("evidenced_field_share",),
}
DIP_MV = 207_000  # EN 50160: 230 V − 10 %
MONTH_S = 2_629_746


@dataclass(frozen=True, slots=True)
class Bundle:
    """kpis: value by name, None where nothing is known; grade: A (signed, metered) to E (stated)."""

    vendor: str
    product: str
    period_utc: tuple[str, str]
    kpis: dict[str, Decimal | None]
    grade: str
    key: str


def load(path: Path) -> Bundle:
    """The checked bundle. Raises Trouble with one sentence: shape, signature, an impossible value."""
    try:
        content = json.loads(path.read_bytes())
        body = {name: value for name, value in content.items() if name != "signature"}
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(content["key"])).verify(
            bytes.fromhex(content["signature"]), hashtree.canonical(body)
        )
    except OSError as error:
        raise Trouble(f"{path}: cannot be read ({error.strerror})") from error
    except InvalidSignature as error:
        raise Trouble(f"{path}: was changed after it was signed") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Trouble(f"{path}: is no bundle: {error}") from error
    if content.get("schema") != SCHEMA or content.get("grade") not in list(GRADES):
        raise Trouble(f"{path}: must be of schema '{SCHEMA}' with a grade from A to E")
    kpis = {}
    for name in (name for names in CRITERIA.values() for name in names):
        given = content.get("kpis", {}).get(name)
        try:
            kpis[name] = None if given is None else Decimal(given["value"])
        except (InvalidOperation, KeyError, TypeError) as error:
            raise Trouble(f"{path}: {name} is no number") from error
        value = kpis[name]
        if value is not None and (not value.is_finite() or (name.endswith("_share") and not 0 <= value <= 1)):
            raise Trouble(f"{path}: {name} = {value} cannot be")
    return Bundle(content["vendor"], content["product"], tuple(content["period_utc"]), kpis, content["grade"],
                  content["key"])  # fmt: skip


def made(
    vendor: str, product: dict, period_utc: Sequence[str], kpis: dict[str, tuple[Decimal, str]], grade: str,
    key: Ed25519PrivateKey, proofs: dict | None = None,
) -> bytes:  # fmt: skip
    """A signed bundle. kpis: (value, where it comes from) by name; what is not known is left out, never guessed.
    proofs: what binds it to a report and a journal that can be shown."""
    body = {"schema": SCHEMA, "evidence": proofs or {}, "vendor": vendor, "product": product["name"],
            "product_data": product, "period_utc": list(period_utc), "grade": grade,
            "kpis": {name: {"value": f"{value:.6f}", "evidence": where} for name, (value, where) in kpis.items()}}
    return hashtree.canonical(hashtree.plain(hashtree.signed(body, key)))  # fmt: skip


def of_report(
    document: dict, entries: Iterable, vendor: str, product: dict, key: Ed25519PrivateKey,
    climate: dict[str, tuple[Decimal, str]] | None = None,
) -> bytes:  # fmt: skip
    """The bundle of a site: KPIs from its canonical report and its journal. How it stands heat and damp is not in the
    journal: without `climate`, KPIs with where they come from, that is left out."""
    columns = document["intervals"]["columns"]
    rows = document["intervals"]["rows"]
    start_s, end_s = (rows[0][0], rows[-1][1]) if rows else (0, 0)
    kpis = coordination(entries, start_s, end_s)
    load_kwh = Decimal(sum(row[columns.index("load_wh")] for row in rows)) / 1000
    parts = ("scope1_g", "scope2_location_g", "scope3_cat3_g", "embodied_battery_g", "embodied_pv_g",
             "embodied_inverter_g", "embodied_genset_g")  # fmt: skip
    used = {name for name in ("pv", "genset") if any(
        row[index] for index, column in enumerate(columns) if column.startswith(f"{name}_to_") for row in rows)}
    # What a site has none of was not made for it; what it has and tells nothing of leaves the whole unknown.
    parts = [name for name in parts if name not in ("embodied_pv_g", "embodied_genset_g") or name[9:-2] in used]
    values = [document["results"][name]["value"] for name in parts]
    if load_kwh and None not in values:
        kpis["whole_life_g_per_kwh"] = sum(map(Decimal, values)) / load_kwh, "report: " + " + ".join(parts)
    items = document["cbam_annex_iv"]
    told = sum(item["status"] != "missing" for item in items)
    kpis["evidenced_field_share"] = Decimal(told) / len(items), "report: cbam_annex_iv"
    root = document["proofs"]["signed_root"]
    proofs = {"report_sha256": hashlib.sha256(hashtree.canonical(document)).hexdigest(),
              "signed_root": root["root"] if root else None, "site_key": root["key"] if root else None}  # fmt: skip
    return made(vendor, product, document["report"]["period_utc"], {**kpis, **(climate or {})}, grade_of(document), key,
                proofs)  # fmt: skip


def coordination(entries: Iterable, start_s: int, end_s: int) -> dict[str, tuple[Decimal, str]]:
    """Readiness before announced jobs, and what the meter at the point of connection saw."""
    jobs, ready, dips, over = [], [], 0, 0
    for entry in entries:
        utc_s = getattr(entry, "utc_us", 0) // 1_000_000
        if getattr(entry, "kind", None) == "job" and start_s <= entry.body[2] < end_s:
            jobs.append(entry.body[2])
        elif getattr(entry, "kind", None) == RECORD and start_s <= utc_s <= end_s:
            kind, fields = entry.body[RECORD_KIND], entry.body[RECORD_KIND + 1 :]
            if kind == messages.EVENT and fields[0] == messages.PREPARE_READY:
                ready.append(utc_s)
            over += kind == messages.EVENT and fields[0] == messages.IMPORT_LIMIT_EXCEEDED
            if kind == messages.INTERVAL:
                dips += fields[messages.INTERVAL_FIELDS.index("pcc_voltage_min_mv")] < DIP_MV
    months = Decimal(max(1, end_s - start_s)) / MONTH_S
    found = {"dips_per_month": (dips / months, "journal: lowest voltage of each interval"),
             "import_violations_per_month": (over / months, "journal: events import_limit_exceeded")}  # fmt: skip
    if jobs:
        leads = [min((job - moment for moment in ready if job - 7200 <= moment <= job), default=None) for job in jobs]
        missed = sum(lead is None for lead in leads)
        found["missed_surge_share"] = Decimal(missed) / len(jobs), "journal: jobs without an event prepare_ready"
        if missed < len(jobs):
            shortest = min(lead for lead in leads if lead is not None)
            found["readiness_lead_s"] = Decimal(shortest), "journal: shortest time from prepare_ready to the job"
    return found


def grade_of(document: dict) -> str:
    """A: sealed, 99 % of the load measured, every record with its board's code; B: sealed, 90 % measured; C: sealed;
    D: a draft with records; E: none."""
    by_quality = document["uncertainty"]["load_wh_by_quality"]
    total = sum(by_quality.values())
    if not total:
        return "E"
    if document["proofs"]["signed_root"] is None:
        return "D"
    share = by_quality["measured"] / total
    coded = document["proofs"]["records"]["without_code"] == 0
    return "A" if share >= 0.99 and coded else "B" if share >= 0.9 else "C"
