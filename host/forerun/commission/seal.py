"""The commissioning report: what was found, measured and set, signed, so that later evidence can refer to it."""

import hashlib
import html
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from forerun import __version__
from forerun.commission.steps import Steps, digest, moment
from forerun.config import board_settings
from forerun.errors import Trouble
from forerun.report.rendering import canonical_json
from forerun.sections import SiteFile
from forerun_wire import messages as m

VERSION = 1
ALGORITHM = "Ed25519"
_NAMES = {key: (name, unit) for key, name, unit, *_ in m.SETTINGS}


def load_key(path: Path) -> Ed25519PrivateKey:
    """The signing key in the PEM file `path`, made there, for its owner's eyes only, when there is none yet."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except (OSError, ValueError, TypeError) as problem:
        raise Trouble(f"{path} is not a private key that can be read: name another with --key") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise Trouble(f"{path} holds a key of another kind than {ALGORITHM}: name another with --key")
    return key


def settings_hash(settings: dict[int, int]) -> str:
    """SHA-256 over the canonical JSON of {setting's name: value}, hex."""
    return hashlib.sha256(canonical_json(_named(settings)).encode()).hexdigest()


def _named(settings: dict[int, int]) -> dict[str, int]:
    return {_NAMES[key][0]: value for key, value in sorted(settings.items())}


def undone(steps: Steps) -> str:
    """Which step has to be done before a seal, and how; '' when none."""
    if (step := steps.next()) in ("", "seal"):
        return ""
    how = "has not passed" if step in steps.done else "has not been done"
    return f"the step {step} {how}: run `forerun commission {step}` first"


def objection(site: SiteFile, steps: Steps, settings: dict[int, int], identity: str) -> str:
    """Why this site cannot be sealed now, '' when it can."""
    if problem := undone(steps):
        return problem
    tested = steps.done["selftest"]
    if tested["board"] != identity:
        return f"the self-test was done with board {tested['board']}, but {identity} is connected: test this one"
    if tested["site_file_sha256"] != digest(steps.site_path):
        return f"{steps.site_path} was changed after the self-test: run `forerun commission selftest` again"
    wanted = board_settings(site)
    wrong = [_NAMES[key][0] for key in wanted if settings.get(key) != wanted[key]]
    if wrong:
        return f"the board's {', '.join(wrong)} differ from the site file: run `forerun commission selftest` again"
    return ""


def report(site: SiteFile, steps: Steps, settings: dict[int, int], board: dict, by: str, utc_s: float) -> dict:
    """The report, not yet signed."""
    return {
        "kind": "forerun commissioning report",
        "version": VERSION,
        "software": f"forerun {__version__}",
        "utc": moment(utc_s),
        "commissioned_by": by,
        "site": {"name": site.site.name, "latitude": site.site.latitude, "longitude": site.site.longitude},
        "site_file_sha256": digest(steps.site_path),
        "board": board,
        "settings": _named(settings),
        "settings_sha256": settings_hash(settings),
        "steps": {name: step for name, step in steps.done.items() if name != "seal"},
    }


def sign(content: dict, key: Ed25519PrivateKey) -> dict:
    """{"report", "report_sha256", "signature"}; signed are the bytes of the report's canonical JSON."""
    data = canonical_json(content).encode()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signature = {"algorithm": ALGORITHM, "public_key": public.hex(), "value": key.sign(data).hex()}
    return {"report": content, "report_sha256": hashlib.sha256(data).hexdigest(), "signature": signature}


def verify(document: dict, public_key: str = "") -> str:
    """Why a signed report must not be believed, '' when all is well. `public_key` (hex): whose it has to be."""
    try:
        data = canonical_json(document["report"]).encode()
        signature = document["signature"]
        if signature["algorithm"] != ALGORITHM or (public_key and signature["public_key"] != public_key):
            return "it is signed with another key"
        if hashlib.sha256(data).hexdigest() != document["report_sha256"]:
            return "its content was changed after it was sealed"
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["public_key"])).verify(
            bytes.fromhex(signature["value"]), data
        )
    except InvalidSignature:
        return "its signature is wrong"
    except (KeyError, TypeError, ValueError):
        return "it is not a commissioning report"
    return ""


# ---- the page

_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.3rem .6rem;vertical-align:top;
border-bottom:1px solid #8886}.bad{color:#c22;font-weight:600}.good{color:#283}code{overflow-wrap:anywhere}
"""


def page(document: dict) -> str:
    """The signed report as one HTML file that needs no network."""
    title, sections = _content(document)
    parts = [f"<h1>{_text(title)}</h1>"]
    for heading, sentence, head, rows, _ in sections:
        parts.append(f"<h2>{_text(heading)}</h2>" if heading else "")
        parts.append(f"<p>{_text(sentence)}</p>" if sentence else "")
        parts.append(_table(head, rows) if rows else "")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{_text(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>{''.join(parts)}</body></html>\n"
    )


def pdf(document: dict) -> bytes:
    """The signed report as A4; the same report gives the same bytes."""
    from forerun.report.paper import Paper

    title, sections = _content(document)
    paper = Paper(title)
    paper.heading(title, 16)
    for heading, sentence, head, rows, widths in sections:
        if heading:
            paper.heading(heading, 11)
        if sentence:
            paper.text(sentence)
        if rows:
            paper.table(head, rows, widths)
    return paper.bytes()


def _content(document: dict) -> tuple[str, list[tuple]]:
    """(title, sections) of a signed report; a section is heading, sentence, head of the table, its rows, its widths."""
    content = document["report"]
    site, board, steps = content["site"], content["board"], content["steps"]
    tested, scanned = steps["selftest"], steps["scan"]
    about = [
        ("Site", f"{site['name']}, {site['latitude']}°, {site['longitude']}°"),
        ("Commissioned", f"{content['utc']} by {content['commissioned_by']}"),
        ("Board", f"{board['identity']}, {board['software']}, {board['interpreter']}"),
        ("Monitoring plan (SHA-256 of the report)", document["report_sha256"]),
        ("Settings, SHA-256", content["settings_sha256"]),
        ("Signed with", f"{document['signature']['algorithm']} {document['signature']['public_key']}"),
    ]
    lacking = tested.get("without", [])
    checks = [(c["name"], c["measured"], c["limit"], "passed" if c["passed"] else "FAILED: " + c["advice"])
              for c in tested["checks"]]  # fmt: skip
    devices = [(*(d[name] for name in ("unit", "kind", "maker", "model", "serial")), ", ".join(map(str, d["models"])))
               for d in scanned["devices"]]  # fmt: skip
    fits = [(name, f"{f['gain']:.5f} ± {f['gain_uncertainty']:.5f}",
             "0, assumed" if f["offset_uncertainty"] is None else f"{f['offset']:.2f} ± {f['offset_uncertainty']:.2f}",
             f["readings"]) for name, f in sorted(steps.get("calibrate", {}).get("fits", {}).items())]  # fmt: skip
    return f"Commissioning of {site['name']}", [
        ("", "", ("", ""), about, (40, 90)),
        ("Self-test", f"Not there, by the commissioner's word: {', '.join(lacking)}." if lacking else "",
         ("check", "measured", "limit", "result"), checks, (30, 50, 25, 25)),
        (f"Devices at {scanned['baud']} baud", "", ("unit", "kind", "maker", "model", "serial", "SunSpec models"),
         devices, (8, 16, 20, 26, 26, 34)),
        ("Calibration", "reference = gain × reading + offset; expanded uncertainties, k = 2" if fits else
         "None: the meters' own classes hold.", ("quantity", "gain", "offset", "readings"), fits, (40, 35, 35, 20)),
        ("Settings on the board", "", ("setting", "value"), sorted(content["settings"].items()), (60, 70)),
    ]  # fmt: skip


def _table(head: tuple, rows: list[tuple]) -> str:
    def row(cells, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{_class(cell)}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    top = row(head, "th") if any(head) else ""
    return f"<table>{top}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _class(cell) -> str:
    if cell == "passed":
        return " class=good"
    return " class=bad" if str(cell).startswith("FAILED") else ""


def _text(value) -> str:
    return html.escape(str(value))
