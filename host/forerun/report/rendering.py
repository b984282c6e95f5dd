"""The report of a site: one canonical document (JSON), and the page that shows it (HTML, nothing fetched from outside).

Everything is a function of arrays and records: the same input gives the same bytes.
"""

import html as markup
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np

from forerun import __version__
from forerun.carbon import accounting
from forerun.report import pictures
from forerun.report.pictures import clock

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: the same quantity without and with the controller, shown with `digits` decimals."""

    id: str
    name: str
    unit: str
    without: float
    with_controller: float
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Power:
    """The day in interval means [W], each (n,), index = interval start `start_utc_s + i * step_s`; NaN = unknown.
    pcc_import_w > 0 imports, battery_w > 0 discharges, soc (n,) 0–1."""

    start_utc_s: int
    step_s: int
    load_w: np.ndarray
    pcc_import_w: np.ndarray
    pv_w: np.ndarray
    genset_w: np.ndarray
    battery_w: np.ndarray
    soc: np.ndarray


@dataclass(frozen=True, slots=True)
class Surge:
    """What happened at the PCC around a load step: at_s (n,) seconds from the step, RMS volts (n,) of both plays."""

    name: str
    start_utc_s: int
    duration_s: int
    at_s: np.ndarray
    without_v: np.ndarray
    with_v: np.ndarray


def demo_document(
    site,
    books: accounting.Ledger,
    power: Power,
    surge: Surge,
    rows: Sequence[Row],
    *,
    headline: str,
    seed: int,
    notes: Sequence[str] = (),
    said: Sequence[tuple[int, str]] = (),
) -> dict:
    """The document of a day played with and without the controller. said: (utc_s, sentence) of what was told."""
    document = _document(site, books, f"One day at {site.site.name}, with and without Forerun", headline)
    document["seed"] = seed
    document["table"] = {row.id: {key: value for key, value in asdict(row).items() if key != "id"} for row in rows}
    document["power"] = _power(power)
    document["surge"] = {"name": surge.name, "start_utc_s": int(surge.start_utc_s), "duration_s": int(surge.duration_s),
                         "at_s": _numbers(surge.at_s, 3), "without_v": _numbers(surge.without_v, 2),
                         "with_v": _numbers(surge.with_v, 2)}  # fmt: skip
    document["notes"] = list(notes)
    document["said"] = [{"utc_s": int(utc_s), "sentence": sentence} for utc_s, sentence in said]
    return document


def canonical_json(document: dict) -> str:
    """The document as one line of JSON: keys sorted, no spaces, a line feed at the end."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def html(document: dict) -> str:
    """The page of a document: tables and pictures in one file that needs no network, fit for paper."""
    parts = [f"<h1>{_text(document['title'])}</h1>", f"<p class=lead>{_text(document['headline'])}</p>"]
    parts.append(_about(document))
    if "table" in document:
        parts.append(_comparison(document["table"]))
    if "surge" in document:
        parts.append(_picture("Voltage at the PCC around the load step", _voltage_caption(document["surge"]),
                              pictures.surge_svg(document["surge"])))  # fmt: skip
    if "power" in document:
        parts.append(_picture("Power by source", "Above zero: where the power came from. Below zero: where it went "
                              "besides the load (black line).", pictures.power_svg(document)))  # fmt: skip
        parts.append(_picture("State of charge", "Shaded: outside the allowed range.", pictures.soc_svg(document)))
    parts.append(_carbon_section(document["carbon"]))
    said = [f"{clock(item['utc_s'])} {item['sentence']}" for item in document["said"]]
    parts.append(_list("What was said", said))
    parts.append(_list("Notes", document["notes"]))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
        f'content="width=device-width">\n<title>{_text(document["title"])}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{''.join(parts)}\n</body>\n</html>\n"
    )


# ---- the document


def _document(site, books: accounting.Ledger, title: str, headline: str) -> dict:
    total = books.total()
    return {
        "schema_version": SCHEMA_VERSION,
        "software": f"forerun {__version__}",
        "title": title,
        "headline": headline,
        "site": {"name": site.site.name, "latitude": site.site.latitude, "longitude": site.site.longitude,
                 "import_limit_w": site.limits.import_limit_w, "battery_wh": site.battery.capacity_wh,
                 "soc_min": site.limits.soc_min, "soc_max": site.limits.soc_max},
        "period_utc": [] if total is None else [_moment(total.start_utc_s), _moment(total.end_utc_s)],
        "totals": {} if total is None else _sum(total),
        "carbon": _carbon(books, accounting.factors_of(site)),
        "notes": [],
        "said": [],
    }  # fmt: skip


def _carbon(books: accounting.Ledger, factors: accounting.Factors) -> dict:
    used = {item.id: item for item in (*factors.grid, factors.pv, factors.fuel, factors.litres)}
    return {
        "boundary": "scope 1 fuel and scope 2 electricity, location-based; manufacture and upstream are not counted",
        "rule": accounting.RULE,
        "factors": [{key: _plain(value) for key, value in asdict(item).items()} for item in used.values()],
        "hours": [_sum(hour) for hour in books.hours()],
        "storage": {"method": "weighted average", "opening_wh": _plain(books.opening_wh),
                    "opening_g": _plain(books.opening_g), "closing_wh": _plain(books.closing_wh),
                    "closing_g": _plain(books.closing_g), "in_g": _plain(books.battery_in_g),
                    "out_g": _plain(books.battery_out_g)},
        "gaps": [asdict(gap) for gap in books.gaps],
    }  # fmt: skip


def _sum(total: accounting.Sum) -> dict:
    return {key: list(value) if isinstance(value, tuple) else _plain(value) for key, value in asdict(total).items()}


def _plain(value):
    """JSON for a value of the ledger: exact decimals as text with six places, dates as ISO text."""
    if isinstance(value, Decimal):
        return f"{value:.6f}"
    return value.isoformat() if isinstance(value, date) else value


def _power(power: Power) -> dict:
    series = {name: _numbers(getattr(power, name), 0) for name in
              ("load_w", "pcc_import_w", "pv_w", "genset_w", "battery_w")}  # fmt: skip
    times = {"start_utc_s": int(power.start_utc_s), "step_s": int(power.step_s)}
    return {**times, **series, "soc_permille": _numbers(1000 * np.asarray(power.soc, dtype=float), 0)}


def _numbers(values, digits: int) -> list:
    """Rounded numbers, None for what is not known; whole numbers as such."""
    rounded = (round(float(value), digits) if math.isfinite(value) else None for value in np.asarray(values, float))
    return [int(value) if digits == 0 and value is not None else value for value in rounded]


# ---- the page


def _about(document: dict) -> str:
    period = " to ".join(document["period_utc"])
    site = document["site"]
    facts = [f"{period} UTC" if period else "", f"import limit {site['import_limit_w'] / 1000:g} kW",
             f"battery {site['battery_wh'] / 1000:g} kWh", document["software"],
             f"seed {document['seed']}" if "seed" in document else ""]  # fmt: skip
    return f"<p class=about>{_text(' · '.join(fact for fact in facts if fact))}</p>"


def _comparison(table: dict) -> str:
    lines = []
    for row in table.values():
        without, with_, digits = row["without"], row["with_controller"], row["digits"]
        change = f"{with_ - without:+.{digits}f}".replace("-", "−")
        if float(f"{with_ - without:.{digits}f}") == 0:
            change = "0"
        lines.append(f"<tr><th scope=row>{_text(row['name'])}</th><td>{without:.{digits}f}</td>"
                     f"<td class=with>{with_:.{digits}f}</td><td>{change}</td>"
                     f"<td class=unit>{_text(row['unit'])}</td></tr>")  # fmt: skip
    return ("<section><table><thead><tr><th></th><th>without</th><th>with Forerun</th><th>difference</th><th></th></tr>"
            f"</thead><tbody>{''.join(lines)}</tbody></table></section>")  # fmt: skip


def _voltage_caption(surge: dict) -> str:
    lowest = {name: min(surge[f"{name}_v"]) for name in ("without", "with")}
    return (
        f"{surge['name']} starts at {clock(surge['start_utc_s'])} UTC. Lowest: {lowest['without']:.1f} V without, "
        f"{lowest['with']:.1f} V with the controller. Shaded: outside EN 50160, 230 V ± 10 %."
    )


def _carbon_section(ledger: dict) -> str:
    hours = ledger["hours"]
    parts = ["<h2>Carbon</h2>", f"<p>{_text(ledger['boundary'].capitalize())}. {_text(ledger['rule'])}</p>"]
    if hours:
        parts.append(f"<figure>{pictures.carbon_svg(hours[-24:])}<figcaption>Load of each hour by source, and the "
                     "emissions that its energy carried.</figcaption></figure>")  # fmt: skip
        lines = []
        for hour in hours[-24:]:
            kwh = [f"{hour[name] / 1000:.2f}" for name in ("load_wh", "pv_wh", "battery_wh", "grid_wh", "genset_wh")]
            share = "" if hour["on_site_share"] is None else f"{100 * float(hour['on_site_share']):.0f} %"
            cells = [*kwh, f"{float(hour['load_g']) / 1000:.3f}", share, hour["quality"]]
            lines.append(f"<tr><th scope=row>{clock(hour['start_utc_s'])}</th>"
                         f"{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")  # fmt: skip
        names = ("from", "load kWh", "PV", "battery", "grid", "genset", "kg CO2e", "on-site share", "quality")
        head = "".join(f"<th>{name}</th>" for name in names)
        parts.append(f"<table class=small><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>")
    reasons = sorted({reason for hour in hours for reason in hour["reasons"]})
    parts.append(_list("Why not all is measured", reasons))
    gaps = [f"{clock(gap['start_utc_s'])} to {clock(gap['end_utc_s'])}: {gap['sentence']}" for gap in ledger["gaps"]]
    parts.append(_list("Data gaps", gaps))
    parts.append(_factor_table(ledger["factors"]))
    return f"<section>{''.join(parts)}</section>"


def _factor_table(factors: list[dict]) -> str:
    lines = []
    for item in factors:
        valid = f"{item['valid_from']} to {item['valid_until']}" if item["valid_from"] else ""
        value = f"{Decimal(item['value']).normalize():f} {item['unit']}"
        cells = (value, item["scope"], item["region"], valid, item["source"])
        lines.append(f"<tr><th scope=row>{_text(item['id'])}</th>"
                     f"{''.join(f'<td class=text>{_text(cell)}</td>' for cell in cells)}</tr>")  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in ("factor", "value", "scope", "region", "valid", "source"))
    return f"<table class=small><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _list(title: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<h3>{title}</h3><ul>{items}</ul>"


def _picture(title: str, caption: str, svg: str) -> str:
    return f"<section><h2>{_text(title)}</h2><figure>{svg}<figcaption>{_text(caption)}</figcaption></figure></section>"


def _text(value) -> str:
    return markup.escape(str(value))


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d %H:%M")


def _kwh(wh: int) -> str:
    return f"{wh / 1000:.1f} kWh"


def _share(share: Decimal | None) -> str:
    return "none" if share is None else f"{100 * float(share):.0f} %"


STYLE = """
body{font:15px/1.5 system-ui,"Segoe UI","Liberation Sans",Arial,sans-serif;color:#1b1f23;background:#fff;
max-width:60rem;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.6rem;margin:0 0 .4rem}h2{font-size:1.15rem;margin:2rem 0 .3rem}h3{font-size:1rem;margin:1.2rem 0 .2rem}
.lead{font-size:1.1rem;margin:0}.about{color:#586069;margin:.2rem 0 1.2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;border-bottom:1px solid #dfe3e6;text-align:right;vertical-align:top}
th[scope=row],th.text,td.unit,td.text{text-align:left;font-weight:normal}thead th{color:#586069;font-weight:600}
td.with{font-weight:600;color:#0b5c8e}table.small{font-size:.85rem;margin-top:1rem}
table.small th,table.small td{padding:.15rem .5rem}
figure{margin:0}figure svg{width:100%;height:auto;display:block}figcaption{color:#586069;font-size:.9rem}
ul{margin:.2rem 0;padding-left:1.2rem}
@media print{body{margin:0;max-width:none;font-size:11pt}section,figure{break-inside:avoid}}
"""
