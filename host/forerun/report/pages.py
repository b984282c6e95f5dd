"""What is shown of a report: a page for print, tables, a PDF. All of it derives from the canonical document alone."""

import csv
import html as markup
import io
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal

from forerun.carbon import cbam
from forerun.report import pictures
from forerun.report.rendering import STYLE

FILES = {"json": "report.json", "html": "report.html", "pdf": "report.pdf", "csv": "intervals.csv",
         "cbam": "cbam-ready-operator-data.html", "granular": "granular-records.csv"}  # fmt: skip
NAMES = {
    "scope1_g": "Scope 1: fuel", "scope2_location_g": "Scope 2, location-based",
    "scope2_market_g": "Scope 2, market-based", "scope3_cat3_g": "Scope 3 category 3: upstream of the fuel",
    "embodied_battery_g": "Making the battery, this period's part",
    "embodied_pv_g": "Making the PV, this period's part",
    "embodied_inverter_g": "Making the inverter, this period's part",
    "embodied_genset_g": "Making the genset, this period's part",
    "green_on_site": "Share of the load from own PV", "green_matched": "… with certificates of the same hour",
    "green_grid": "… with the carbon-free part of the grid", "cfe": "24/7 carbon-free energy score",
    "residual": "Energy-balance residual",
}  # fmt: skip
EED = {
    "pue": "PUE, all energy ÷ IT energy", "ref": "REF, renewable share", "cue": "CUE, kg CO2e per kWh of IT energy",
    "erf": "ERF, share of the energy reused as heat", "wue": "WUE, litres of water per kWh of IT energy",
}  # fmt: skip
EED_PAGE = (
    "Indicators of (EU) 2024/1364. Data centres of 500 kW installed IT power and more report them by 15 May; smaller "
    "sites do not have to."
)
GRANULAR = ("id", "start_utc", "end_utc", "wh", "source", "technology", "kind", "device_id", "device_capacity",
            "device_commissioned", "country", "latitude", "longitude", "storage_allocation", "issuer")  # fmt: skip
PICTURE_HOURS, DAY_S = 168, 86_400


def html(document: dict) -> bytes:
    """The page: figures, claims, pictures, gaps, factors; prints on A4 and fetches nothing."""
    head = document["report"]
    title = f"{document['installation']['name']}: energy and carbon"
    about = f"{' to '.join(head['period_utc'])} · {head['id']} · {head['software']} · {head['status']}"
    parts = [
        f"<h1>{_text(title)}</h1><p class=about>{_text(about)}</p>", _list("", document["claims"]),
        _table(("figure", "value", "unit", "how"), [*_figure_rows(document, NAMES), _avoided(document)]),
        f"<p>{_text(document['boundary'])} {_text(document['monitoring_plan']['rule'])}</p>",
        _section("Indicators of (EU) 2024/1364", f"<p>{_text(EED_PAGE)}</p>"
                 + _table(("indicator", "value", "unit", "how"), _figure_rows(document, EED))),
        "".join(f"<figure>{svg}<figcaption>{words}</figcaption></figure>" for svg, words in _pictures(document)),
        _section("Stored energy", _table(("method", "kg CO2e carried by the load"), [
            (name, f"{Decimal(grams) / 1000:.3f}") for name, grams in document["storage"]["load_g"].items()])),
        _section("Data gaps and what is not known", _list("", [_gap(gap) for gap in document["data_gaps"]])),
        _section("Factors", _table(("factor", "value", "scope", "region", "valid", "source"), [
            (item["id"], f"{item['value']} {item['unit']}", item["scope"], item["region"],
             _valid(item), f"{item['source']} ({item['licence']})")
            for item in document["factors"]])),
        _section("Evidence", _list("", _evidence(document))),
    ]  # fmt: skip
    return _page(title, "".join(parts))


def cbam_html(document: dict) -> bytes:
    """The electricity items of Annex IV, and what CBAM does and does not ask of a site."""
    rows = [(item["item"], item["title"], item["status"], item["value"] or f"because {item['reason']}",
             item["reason"] if item["value"] else "") for item in document["cbam_annex_iv"]]  # fmt: skip
    title = f"{document['installation']['name']}: CBAM-ready operator data"
    parts = [f"<h1>{_text(title)}</h1><p class=about>{_text(' to '.join(document['report']['period_utc']))}</p>"]
    parts += [f"<p>{_text(sentence)}</p>" for sentence in cbam.PAGE]
    parts.append(_table(("item", "", "status", "value", "evidence"), rows))
    return _page(title, "".join(parts))


def intervals_csv(document: dict) -> bytes:
    """The intervals, one a line, as in the document."""
    return _csv(document["intervals"]["columns"], document["intervals"]["rows"])


def granular_csv(document: dict) -> bytes:
    """EnergyTag-style records by the hour, whole Wh rounded down, of the PV whose certificate was not sold:
    `production` used or exported at once, `charge` taken by the battery, `discharge` what came back to the load.

    A discharge stands in place of its charge: production + discharge is what may be counted, production + charge what
    the PV made. They are the site's own statement; a registry issues certificates."""
    place, devices = document["installation"], {item["device"]: item for item in document["devices"]}
    method, rows = document["storage"]["method"], []
    for hour in _hours(document):
        start_s = hour["start_utc_s"]
        sold = any(item["action"] == "sold" and item["start_utc_s"] < start_s + 3600 and item["end_utc_s"] > start_s
                   for item in document["instruments"])  # fmt: skip
        for kind, wh, device in (("production", hour["pv_made_wh"] - hour["pv_charge_wh"], "pv"),
                                 ("charge", hour["pv_charge_wh"], "pv"),
                                 ("discharge", hour["pv_stored_wh"], "battery")):  # fmt: skip
            if int(wh) and not (sold and device == "pv"):
                about = devices[device]
                rows.append((
                    f"{document['report']['id']}/{start_s}/{kind}", _moment(start_s), _moment(start_s + 3600), int(wh),
                    "solar", "PV" if device == "pv" else "battery", kind, about["id"], about["capacity"],
                    about["commissioned"], place["country"], place["lat"], place["lon"],
                    method if device == "battery" else "", "self-declared, no registry"))  # fmt: skip
    return _csv(GRANULAR, rows)


def pdf(document: dict) -> bytes:
    """The page as A4, with its pictures' numbers as tables; the same document gives the same bytes."""
    from reportlab.lib.units import mm

    from forerun.report.paper import Paper

    report = document["report"]
    title = f"{document['installation']['name']}: energy and carbon"
    paper = Paper(title)
    heading, text, table = paper.heading, paper.text, paper.table
    heading(title, 16)
    text(f"{' to '.join(report['period_utc'])}; {report['id']}; {report['software']}; {report['status']}")
    for claim in document["claims"]:
        text(claim)
    table(("figure", "value", "unit", "how"), [*_figure_rows(document, NAMES), _avoided(document)], (40, 18, 12, 60))
    heading("Indicators of (EU) 2024/1364", 11)
    text(EED_PAGE)
    table(("indicator", "value", "unit", "how"), _figure_rows(document, EED), (40, 18, 12, 60))
    text(f"{document['boundary']} {document['monitoring_plan']['rule']}")
    _pdf_chart(paper.story, text, _hours(document)[-PICTURE_HOURS:], 180 * mm)
    heading("Data gaps and what is not known", 11)
    for gap in document["data_gaps"]:
        text(_gap(gap))
    heading("CBAM-ready operator data", 11)
    for sentence in cbam.PAGE:
        text(sentence)
    table(("item", "", "status", "value or reason"), [
        (item["item"], item["title"], item["status"], item["value"] or f"because {item['reason']}")
        for item in document["cbam_annex_iv"]], (12, 40, 20, 58))  # fmt: skip
    heading("Factors", 11)
    table(("factor", "value", "valid", "source"), [
        (item["id"], f"{item['value']} {item['unit']}", _valid(item),
         f"{item['source']} ({item['licence']})") for item in document["factors"]], (28, 26, 26, 50))  # fmt: skip
    heading("Evidence", 11)
    for sentence in _evidence(document):
        text(sentence)
    return paper.bytes()


RENDER: dict[str, Callable[[dict], bytes]] = {
    "html": html, "pdf": pdf, "csv": intervals_csv, "cbam": cbam_html, "granular": granular_csv,
}  # fmt: skip


def _hours(document: dict) -> list[dict]:
    """Sums by hour of what the pictures show."""
    columns, hours = document["intervals"]["columns"], {}
    for row in document["intervals"]["rows"]:
        item = dict(zip(columns, row, strict=True))
        place = (item["start_utc_s"] + item["end_utc_s"]) // 2 // 3600
        hour = hours.setdefault(place, {"start_utc_s": place * 3600, "load_g": Decimal(0), **dict.fromkeys(
            ("load_wh", "pv_wh", "grid_wh", "genset_wh", "battery_wh", "pv_made_wh", "pv_charge_wh", "pv_stored_wh"),
            0)})  # fmt: skip
        for name in ("pv", "grid", "genset", "battery"):
            hour[f"{name}_wh"] += item[f"{name}_to_load"]
        hour["load_wh"] += item["load_wh"]
        hour["load_g"] += Decimal(item["load_g"])
        hour["pv_made_wh"] += item["pv_to_load"] + item["pv_to_battery"] + item["pv_to_export"]
        hour["pv_charge_wh"] += item["pv_to_battery"]
        hour["pv_stored_wh"] += Decimal(item["pv_load_wh"]) - item["pv_to_load"]
    return [{**hour, "load_g": str(hour["load_g"])} for _, hour in sorted(hours.items())]


def _pictures(document: dict) -> list[tuple[str, str]]:
    """(SVG, caption): the last day by source, the last week by hour; none without an interval."""
    if not document["intervals"]["rows"]:
        return []
    day = {"power": _power(document)}
    return [
        (pictures.power_svg(day), "The last day. Above zero: where the power came from. Below zero: where it went "
         "besides the load (black line)."),
        (pictures.carbon_svg(_hours(document)[-PICTURE_HOURS:]), "Load of each hour by source, and the emissions that "
         "its energy carried."),
    ]  # fmt: skip


def _power(document: dict) -> dict:
    """The last 24 h in mean watts on the intervals' own steps; an interval longer than a step stays unknown."""
    columns, rows = document["intervals"]["columns"], document["intervals"]["rows"]
    step_s = document["monitoring_plan"]["inputs"]["interval_s"]
    start_s = rows[-1][1] - DAY_S
    power = {"start_utc_s": start_s, "step_s": step_s}
    names = ("load_w", "pcc_import_w", "pv_w", "genset_w", "battery_w")
    power |= {name: [None] * (DAY_S // step_s) for name in names}
    for row in rows[-2 * DAY_S // step_s :]:
        item = dict(zip(columns, row, strict=True))
        length_s = item["end_utc_s"] - item["start_utc_s"]
        place = ((item["start_utc_s"] + item["end_utc_s"]) // 2 - start_s) // step_s
        if place < 0 or length_s > 1.5 * step_s:
            continue

        def watts(part: str, item=item, length_s=length_s) -> int:
            return sum(item[name] for name in columns if part in name) * 3600 // length_s

        values = (watts("_to_load"), watts("grid_to_") - watts("_to_export"), watts("pv_to_"), watts("genset_to_"),
                  watts("battery_to_") - watts("_to_battery"))  # fmt: skip
        for name, value in zip(names, values, strict=True):
            power[name][place] = value
    return power


def _pdf_chart(story: list, text: Callable[[str], None], hours: list[dict], width: float) -> None:
    """Load by source as bars, drawn as vectors: nothing is rasterised."""
    from reportlab.graphics.shapes import Drawing, Line, Rect
    from reportlab.lib.colors import HexColor

    if not hours:
        return
    height = width * 0.22
    most, step = max(hour["load_wh"] for hour in hours) or 1, width / len(hours)
    chart = Drawing(width, height)
    for index, hour in enumerate(hours):
        level = 0.0
        for name, colour in (("pv_wh", "#f0b428"), ("battery_wh", "#4682b4"), ("grid_wh", "#969696"),
                             ("genset_wh", "#aa463c")):  # fmt: skip
            part = height * float(hour[name]) / float(most)
            if part:
                chart.add(Rect(index * step, level, step * 0.95, part, fillColor=HexColor(colour), strokeColor=None))
            level += part
    chart.add(Line(0, 0, width, 0))
    story.append(chart)
    text(f"Load of the last {len(hours)} hours by source, at most {most / 1000:.2f} kWh an hour: PV (yellow), battery "
         "(blue), grid (grey), genset (red).")  # fmt: skip


def _figure_rows(document: dict, names: dict[str, str]) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, words in names.items():
        figure = document["results"][name]
        value, unit = figure["value"], figure["unit"]
        if value is None:
            shown, unit = "not known", ""
        elif unit == "g":
            shown, unit = f"{Decimal(value) / 1000:.2f}", "kg CO2e"
        elif name in ("green_on_site", "green_matched", "green_grid", "cfe", "residual", "ref", "erf"):
            shown, unit = f"{100 * Decimal(value):.1f}", "%"
        else:
            shown, unit = f"{Decimal(value):.3f}", "" if unit == "1" else unit
        rows.append((words, shown, unit, f"{figure['formula']}; {figure['basis']}"))
    return rows


def _avoided(document: dict) -> tuple[str, str, str, str]:
    avoided = document["results"]["outside_avoided_g"]
    kg = f"{Decimal(avoided['value']) / 1000:.2f}"
    return "Outside every inventory: avoided by export", kg, "kg CO2e", avoided["basis"]


def _evidence(document: dict) -> list[str]:
    root = document["proofs"]["signed_root"]
    plan, table = document["monitoring_plan"]["sha256"], document["factor_table"]["sha256"]
    sealed = document["monitoring_plan"]["inputs"].get("commissioning")
    digests = f"Monitoring plan {plan}; factor table {table}." + (
        f" Commissioning report {sealed['report_sha256']}." if sealed else "")  # fmt: skip
    if root is None:
        return ["No signed root covers the data of this draft yet.", digests]
    records = document["proofs"]["records"]
    return [f"Root of the first {root['size']} journal entries: {root['root']}",
            f"Signed by the site's key {root['key']}",
            f"Meter records with their board's authentication code: {records['with_code']}, without: "
            f"{records['without_code']}", digests, "Check: forerun verify report.json --journal …"]  # fmt: skip


def _valid(factor: dict) -> str:
    return f"{factor['valid_from']} to {factor['valid_until']}" if factor["valid_from"] else "no end stated"


def _gap(gap: dict) -> str:
    if gap["start_utc_s"] is None:
        return gap["sentence"]
    return f"{_moment(gap['start_utc_s'])} to {_moment(gap['end_utc_s'])}: {gap['sentence']}"


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _csv(head: Iterable, rows: Iterable[Iterable]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode()


def _page(title: str, body: str) -> bytes:
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
            f'content="width=device-width">\n<title>{_text(title)}</title>\n<style>{STYLE}@page{{size:A4;margin:18mm}}'
            f"</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n").encode()  # fmt: skip


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th class=text>{_text(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td class=text>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table class=small><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _list(title: str, sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return (f"<h3>{_text(title)}</h3>" if title else "") + (f"<ul>{items}</ul>" if items else "")


def _text(value) -> str:
    return markup.escape(str(value))


