"""The verdict on a report: form, signatures, inclusion, factors, and every figure."""

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation, localcontext
from pathlib import Path

from forerun_verify import derived
from forerun_verify import journal as log
from forerun_verify.meters import told
from forerun_verify.recompute import figures, intervals

ROW_TOLERANCE, FIGURE_TOLERANCE = Decimal("2e-6"), Decimal("2e-9")
LEFT_OUT = ("grid_sources", "reasons")  # words beside the numbers


@dataclass(slots=True)
class Verdict:
    """findings: what is wrong; notes: what a reader should know; checked: what held."""

    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def judge(self, holds: str, faults: list[str]) -> None:
        self.findings += faults
        if not faults:
            self.checked.append(holds)


@dataclass(frozen=True, slots=True)
class Known:
    """What the verifier wrote down when the site was commissioned, in hex; '' and () where nothing was. key: the site's
    public key; record_keys: of its boards; commitment: SHA-256 of a record key; tsa_root: file of the timestamp
    authority's root certificate (PEM)."""

    key: str = ""
    record_keys: tuple[str, ...] = ()
    commitment: str = ""
    tsa_root: Path | None = None


def verify(report_path: Path, journal_path: Path, factors_path: Path, known: Known = Known()) -> Verdict:
    """Check a report against the journal it was made from, its log of issued reports and the factor table, offline."""
    verdict = Verdict()
    data = report_path.read_bytes()
    try:
        report = json.loads(data)
        same = log.canonical(report) == data
    except (ValueError, UnicodeError, RecursionError):
        report, same = None, False
    verdict.judge("the report is in canonical form (RFC 8785)", [] if same else ["the report is not in canonical form"])
    entries, faults = log.read(journal_path)
    verdict.judge(f"all {len(entries)} entries of the journal are whole and in order", faults)
    key, faults = _signatures(entries, known.key)
    verdict.judge("every signed root is the root of what stands before it", faults)
    issued_path = journal_path.with_name(journal_path.name + ".issued")
    verdict.judge("the report is entered in the site's log as it stands here, signed",
                  _issued(data, issued_path, key, verdict.notes))  # fmt: skip
    table = factors_path.read_bytes()
    if not same or not isinstance(report, dict):
        return verdict
    try:
        verdict.judge("the factors are those of the table", _factors(report, table))
        verdict.judge("a signed root covers all data of the report", _covered(report, entries))
        with localcontext(Context(prec=60)):
            verdict.judge("every interval and figure follows from the records", _figures(report, entries))
        _codes(report, entries, known, verdict)
        _timestamps(report, entries, known, verdict)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        verdict.findings.append(f"the report or journal does not have the shape it must have: {error!r}")
    return verdict


def _signatures(entries: list, key_hex: str) -> tuple[bytes, list[str]]:
    """(the site's key, what is wrong with the signed roots)."""
    signed = [entry for entry in entries if entry.kind == "root"]
    if not signed:
        return b"", ["the journal holds no signed root"]
    try:
        key = bytes.fromhex(key_hex) if key_hex else bytes(signed[0].body["key"])
        sizes = {entry.body["size"] for entry in signed}
    except (ValueError, KeyError, TypeError):
        return b"", ["the journal's first signed root, or --key, is none"]
    found = log.roots([entry.leaf for entry in entries], sizes)
    faults = []
    for entry in signed:
        size = entry.body.get("size")
        if size != entry.number or found.get(size) != entry.body.get("root"):
            faults.append(f"entry {entry.number}: its root is not that of the entries before it")
        elif not log.signed_by(entry.body, key):
            faults.append(f"entry {entry.number}: its signature does not fit the site's key")
    return key, faults


def _issued(data: bytes, path: Path, key: bytes, notes: list[str]) -> list[str]:
    if not path.exists():
        return [f"{path.name}: the log of issued reports is missing"]
    entries, faults = log.read(path)
    digest, mine = hashlib.sha256(data).hexdigest(), None
    before = log.roots([entry.leaf for entry in entries], set(range(1, len(entries) + 1)))
    for entry in entries:
        if entry.kind != "report" or not log.signed_by(entry.body, key):
            faults.append(f"{path.name}: entry {entry.number} is not signed by the site's key")
        elif (entry.body.get("size"), entry.body.get("root")) != (entry.number, before[entry.number]):
            faults.append(f"{path.name}: entry {entry.number} does not follow from what stands before it")
        elif entry.body["sha256"] == digest:
            mine = entry.body
        elif mine is not None and entry.body["supersedes"] == mine["id"]:
            notes.append(f"superseded by {entry.body['id']}")
    if mine is None:
        faults.append("the report was not issued in this form: its digest is not in the log")
    return faults


def _factors(report: dict, table: bytes) -> list[str]:
    if hashlib.sha256(table).hexdigest() != report["factor_table"]["sha256"]:
        return ["the factor table is another one than the report names"]
    known = {row["id"]: row for row in tomllib.loads(table.decode())["factor"]}
    faults = []
    for factor in report["factors"]:
        row = known.get(factor["id"])
        if row is None and factor["licence"] == "as stated by the site file":
            continue
        if row is None or any(str(row[name]) != factor[name] for name in row):
            faults.append(f"factor {factor['id']} is not as in the table")
    return faults


def _covered(report: dict, entries: list) -> list[str]:
    proofs = report["proofs"]
    root = proofs["signed_root"]
    if root is None:
        return ["the report is a draft: no signed root covers its data"]
    entry = entries[root["entry"]] if root["entry"] < len(entries) else None
    if entry is None or entry.kind != "root":
        return ["the signed root that the report names is not in the journal"]
    body = {name: value.hex() if isinstance(value, bytes) else value for name, value in entry.body.items()}
    if {**body, "entry": entry.number} != root or root["size"] <= proofs["latest_entry"]:
        return ["the signed root that the report names is not the journal's, or does not cover the report"]
    return []


def _figures(report: dict, entries: list) -> list[str]:
    start_s, end_s = (_moment(text) for text in report["report"]["period_utc"])
    heard = told(entries, end_s)
    factors = {item["id"]: item for item in report["factors"]}
    plan = report["monitoring_plan"]
    faults = []
    if hashlib.sha256(log.canonical(plan["inputs"])).hexdigest() != plan["sha256"]:
        faults.append("monitoring_plan: its digest is another")
    if heard.latest != report["proofs"]["latest_entry"]:
        stated = report["proofs"]["latest_entry"]
        faults.append(f"the report used entries up to {stated}, the journal has {heard.latest}")
    if heard.corrections != report["corrections"]:
        faults.append("corrections: not those of the journal")
    if heard.certificates != report["instruments"]:
        faults.append("instruments: not those of the journal")
    all_rows, books = intervals(report, heard, factors)
    rows = [row for row in all_rows if start_s <= (row["start_utc_s"] + row["end_utc_s"]) // 2 < end_s]
    faults += _rows(report, rows)
    storage = report["storage"]
    loads = {"weighted average": "load_g", "FIFO": "fifo_g", "LIFO": "lifo_g"}
    books |= {"residual_g": books["in_g"] - books["out_g"] - books["closing_g"]}
    stored = {**{name: storage[name] for name in books}, **storage["load_g"]}
    expected = {**books, **{name: sum((row[key] for row in rows), Decimal(0)) for name, key in loads.items()}}
    faults += [f"storage: {name} is {stored.get(name)}, it should be {value:.9f}" for name, value in expected.items()
               if not _near(stored.get(name), value, FIGURE_TOLERANCE)]  # fmt: skip
    results = figures(report, all_rows, heard, factors, start_s, end_s)
    faults += derived.faults(report, rows, results)
    for name, value in results.items():
        told_value = report["results"].get(name, {"value": "absent"})["value"]
        if not _near(told_value, value, FIGURE_TOLERANCE):
            should = "null" if value is None else f"{value:.9f}"
            faults.append(f"results: {name} is {told_value}, it should be {should}")
    return faults


def _codes(report: dict, entries: list, known: Known, verdict: Verdict) -> None:
    """The boards' authentication codes: counted as the report says, and made with the keys that were given."""
    heard = told(entries, _moment(report["report"]["period_utc"][1]))
    codes = [log.code_of(body) is not None for body, _ in heard.records]
    stated = report["proofs"]["records"]
    faults = []
    if (stated["with_code"], stated["without_code"]) != (sum(codes), len(codes) - sum(codes)):
        faults.append(f"proofs: {sum(codes)} of {len(codes)} records carry a code, the report says otherwise")
    if stated["record_key_sha256"] != heard.commitments:
        faults.append("proofs: the record keys are not those that the journal tells")
    if known.commitment and known.commitment.lower() not in heard.commitments:
        faults.append("the site never bound itself to that record key")
    try:
        keys = [bytes.fromhex(text) for text in known.record_keys]
    except ValueError:
        keys, faults = [], [*faults, "--record-key is no hexadecimal number"]
    faults += ["the site never bound itself to that record key" for key in keys
               if hashlib.sha256(key).hexdigest() not in heard.commitments]  # fmt: skip
    if not keys:
        verdict.notes.append(f"{sum(codes)} of {len(codes)} records carry their board's authentication code; without "
                             "--record-key it is not checked")  # fmt: skip
        verdict.findings += faults
        return
    wrong = [body[1] for body, _ in heard.records if log.code_of(body) and not log.coded_by(body, keys)]
    bare = [body[1] for body, after in heard.records if after and not log.code_of(body)]
    faults += [f"record {number}: its code was not made by the board" for number in wrong[:20]]
    faults += [f"record {number}: carries no code, though the board had a key" for number in bare[:20]]
    verdict.judge(f"the codes of {sum(codes)} of {len(codes)} records were made by the board", faults)


def _timestamps(report: dict, entries: list, known: Known, verdict: Verdict) -> None:
    """Timestamps (RFC 3161) of roots that cover the report's data: that the data was there by then."""
    latest = report["proofs"]["latest_entry"]
    stamps = [entry.body for entry in entries if entry.kind == "timestamp"
              and entries[entry.body["entry"]].kind == "root" and entries[entry.body["entry"]].body["size"] > latest]
    if known.tsa_root is None or not stamps:
        verdict.notes.append(f"{len(stamps)} timestamps of an outside authority cover the report"
                             + ("; without --tsa-root they are not checked" if stamps else ""))  # fmt: skip
        return
    from cryptography.x509 import load_pem_x509_certificates
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    verifier, times, faults = VerifierBuilder(), [], []
    for certificate in load_pem_x509_certificates(known.tsa_root.read_bytes()):
        verifier = verifier.add_root_certificate(certificate)
    for stamp in stamps:
        try:
            token = decode_timestamp_response(bytes.fromhex(stamp["token"]))
            verifier.build().verify_message(token, entries[stamp["entry"]].leaf)
            times.append(token.tst_info.gen_time)
        except (VerificationError, ValueError) as error:
            faults.append(f"the timestamp of entry {stamp['entry']} does not hold: {error}")
    when = f", the first on {min(times).isoformat()}" if times else ""
    verdict.judge(f"{len(times)} timestamps of the authority cover the report{when}", faults)


def _moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _rows(report: dict, rows: list[dict]) -> list[str]:
    columns, given = report["intervals"]["columns"], report["intervals"]["rows"]
    if len(given) != len(rows):
        return [f"intervals: the report has {len(given)}, the records make {len(rows)}"]
    checked = [(index, name) for index, name in enumerate(columns) if name not in LEFT_OUT]
    faults = []
    for stated, row in zip(given, rows, strict=True):
        for index, name in checked:
            value, found = row[name], stated[index]
            right = found == value if not isinstance(value, Decimal) else _near(found, value, ROW_TOLERANCE)
            if not right and len(faults) < 20:
                faults.append(f"intervals: at {row['start_utc_s']} {name} is {found}, it should be {value}")
    return faults


def _near(text: str | None, value: Decimal | None, tolerance: Decimal) -> bool:
    if text is None or value is None:
        return text is None and value is None
    try:
        return abs(Decimal(text) - value) <= tolerance
    except InvalidOperation:
        return False
