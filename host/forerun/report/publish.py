"""From a site's journal to an issued report on disk; and back: verify it, explain a figure of it."""

import hashlib
import json
import os
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path

from forerun import config
from forerun.carbon import accounting, factors, gridmix, intake
from forerun.errors import Trouble, WrongUsage
from forerun.evidence import hashtree, timestamp
from forerun.rank import bundle, ranking
from forerun.report import explain, pages, statement
from forerun.store import entries, export, telemetry
from forerun.store.journal import Entry, Journal, JournalBusy, read
from forerun.store.sitekey import key_path, signing_key

DAY_S = 86_400
FORMATS = ("json", "html", "pdf", "csv", "cbam", "granular")
GRID_TOKEN = "FORERUN_GRID_TOKEN"  # environment: Electricity Maps' token; ENTSO-E has its own in the address
ANSWER_S, MOST_BYTES = 60, 64 << 20
MANY_FORMATS = ("all", *FORMATS)


def publish(site_path: Path, out: Path, since: str, until: str, form: str) -> dict:
    """Write the report of [since, until) below `out` and enter it in the log of issued reports, unless it is there.

    A report whose data no signed root covers yet is a draft: written, not issued. Raises Trouble or WrongUsage.
    """
    if form not in MANY_FORMATS:
        raise WrongUsage(f"--format {form}: it must be one of {', '.join(MANY_FORMATS)}")
    site, path = config.load(site_path), _journal_of(site_path)
    _seal_now(path)
    found = list(read(path))
    start_utc_s, end_utc_s = _period(since, until, found)
    document, data, is_new = _document(site, found, path, start_utc_s, end_utc_s, _commissioning(site_path))
    final = document["report"]["status"] == statement.FINAL
    if final and is_new:
        _issue(document, data, path)
    out.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in FORMATS if form == "all" else ("json", form):
        file = out / pages.FILES[name]
        file.write_bytes(data if name == "json" else pages.RENDER[name](document))
        made[name] = str(file)
    shown = ("scope1_g", "scope2_location_g", "scope2_market_g", "green_on_site", "cfe")
    return {"id": document["report"]["id"], "status": document["report"]["status"], "issued": final,
            "files": made, "gaps": len(document["data_gaps"]),
            **{name: document["results"][name]["value"] for name in shown}}  # fmt: skip


def in_words(result: dict) -> dict[str, str]:
    """What `publish` gave, for a person: {what: words}."""
    again = "; the site signs its data each hour, and a report made while the site is stopped does it too"
    words = {"id": result["id"], "files": ", ".join(result["files"].values()),
             "status": result["status"] + (", entered in the log of issued reports" if result["issued"] else again),
             "gaps in the data": str(result["gaps"])}  # fmt: skip
    for name, title in (("scope1_g", "scope 1"), ("scope2_location_g", "scope 2, location-based"),
                        ("scope2_market_g", "scope 2, market-based")):  # fmt: skip
        words[title] = "not known" if result[name] is None else f"{Decimal(result[name]) / 1000:.3f} kg CO2e"
    for name, title in (("green_on_site", "green, made on site"), ("cfe", "carbon-free, by the hour")):
        words[title] = "not known" if result[name] is None else f"{100 * Decimal(result[name]):.1f} % of the use"
    return words


def verify(report: Path, journal: Path | None, table: Path | None, known: dict):
    """The verdict (forerun_verify.check.Verdict) on a report; the journal beside it, the table of this package.
    known: fields of forerun_verify.check.Known."""
    from forerun_verify.check import Known
    from forerun_verify.check import verify as check

    if journal is None:
        raise WrongUsage("say which journal: forerun verify report.json --journal journal.forerun")
    for path in (report, journal):
        if not path.is_file():
            raise WrongUsage(f"{path}: there is no such file")
    return check(report, journal, table or factors.TABLE, Known(**known))


def explained(figure: str, at: str, report: Path, journal: Path) -> list[str]:
    """Lines that open a figure to formula, factors and code version, then to an interval, then to meter records."""
    for path in (report, journal):
        if not path.is_file():
            raise WrongUsage(f"{path}: there is no such file")
    found = [entry for entry in read(journal) if isinstance(entry, Entry)]
    return explain.lines(figure, _moment(at) if at else None, report.read_bytes(), found)


def ranked(paths: list[Path], weights: str) -> dict:
    """The ranking of bundles as plain data. weights: `name=number,…`, '' for those of forerun.rank."""
    given = dict(ranking.WEIGHTS)
    if weights:
        try:
            given = {name.strip(): float(number) for name, number in (item.split("=") for item in weights.split(","))}
        except ValueError as error:
            raise WrongUsage(f"--weights {weights}: write {','.join(f'{name}=0.25' for name in given)}") from error
    return asdict(ranking.rank([bundle.load(path) for path in paths], given))


def show_ranking(ranking: dict) -> None:
    """The places as a table, then what a reader must know."""
    from rich.console import Console
    from rich.table import Table

    console, columns = Console(), [f"{name} {100 * weight:.0f} %" for name, weight in ranking["weights"].items()]
    table = Table("", "solution", *columns, "weighted sum", "TOPSIS", "confidence", "holds its place", box=None)
    for position, place in enumerate(ranking["places"], start=1):
        scores = ["not known" if score is None else f"{score:.2f}" for score in place["scores"].values()]
        table.add_row(str(position), f"{place['vendor']}, {place['product']}", *scores, f"{place['weighted_sum']:.3f}",
                      f"{place['topsis']:.3f}", f"{100 * place['confidence']:.0f} %",
                      f"in {100 * place['firmness']:.0f} % of tries")  # fmt: skip
    console.print(table)
    for one, other in ranking["ties"]:
        console.print(f"{one} and {other} cannot be told apart")
    for note in ranking["notes"]:
        console.print(note)


def export_bundle(report: Path, journal: Path, vendor: str, product: str, out: Path) -> dict:
    """Write the signed bundle of a site from its issued report and its journal; returns where, and its KPIs."""
    for path in (report, journal, key_path(journal)):
        if not path.is_file():
            raise WrongUsage(f"{path}: there is no such file")
    found = [entry for entry in read(journal) if isinstance(entry, Entry)]
    key = signing_key(key_path(journal))
    out.write_bytes(bundle.of_report(json.loads(report.read_bytes()), found, vendor, {"name": product}, key))
    kpis = {name: None if value is None else str(value) for name, value in bundle.load(out).kpis.items()}
    return {"bundle": str(out), **kpis}


def take_grid(site_path: Path, answer: str, provider: str, area: str, breakdown: str = "") -> dict:
    """Check a grid answer, a file or an address that is asked once, and put its hours into the site's journal. Raises
    Trouble when it cannot be true: then nothing is written, and the yearly factor goes on standing in."""
    site, table = config.load(site_path), factors.load()
    kept = Path(site.store.path).with_name("grid-answers")
    data, shares = _answer(answer, kept), _answer(breakdown, kept) if breakdown else None
    read_answer = {"entsoe": lambda: gridmix.entsoe(data, table), "energinet": lambda: gridmix.energinet(data, area),
                   "electricity-maps": lambda: gridmix.electricity_maps(data, shares)}  # fmt: skip
    if provider not in read_answer:
        raise WrongUsage(f"--provider {provider}: it must be one of {', '.join(read_answer)}")
    found = read_answer[provider]()
    yearly = table.of_scope("scope 2, location-based", site.carbon.grid_region) or accounting.factors_of(site).grid[0]
    path = Path(site.store.path)
    usual_path = path.with_name(f"{path.name}.mix-{provider}.json")
    usual = json.loads(usual_path.read_text()) if usual_path.exists() else {}
    gridmix.check(found, yearly, site.site.latitude, site.site.longitude,
                  {fuel: Decimal(mw) for fuel, mw in usual.items()} or None)  # fmt: skip
    where = entries.put(path, [(found.hours[0].start_utc_s * 1_000_000, intake.GRID, found.journal_body())])
    mix = gridmix.total_mix(found)
    usual_path.write_text(json.dumps({fuel: str(mw + Decimal(usual.get(fuel, 0))) for fuel, mw in mix.items()}))
    return {"hours": len(found.hours), "source": found.source, "where": where}


def correct(
    site_path: Path, record: int | None, field: str, value: int | None, entry: int | None, reason: str, author: str
) -> dict:
    """Enters a correction: of a record's field, or that an entry made by hand does not count. Returns it, and where."""
    path = _journal_of(site_path)
    body = entries.correction(list(read(path)), record=record, field=field, value=value, entry=entry, reason=reason,
                              author=author)  # fmt: skip
    return {**body, "where": entries.put(path, [(time.time_ns() // 1000, intake.CORRECTION, body)])}


def enter(site_path: Path, tables: Iterable[Path]) -> dict:
    """Enters the rows of CSV tables, all or none; returns how many of each kind, and where they are."""
    path = Path(config.load(site_path).store.path)
    items = [item for table in tables for item in entries.of_table(table, time.time_ns() // 1000)]
    kinds = [kind for _, kind, _ in items]
    return {**{kind: kinds.count(kind) for kind in sorted(set(kinds))}, "where": entries.put(path, items)}


def export_data(site_path: Path, what: str, since: str, until: str, form: str, out: Path | None) -> dict:
    """Writes intervals, telemetry or hours of [since, until) as CSV or Parquet; returns how many rows, and where."""
    if what not in export.KINDS or form not in export.FORMATS:
        raise WrongUsage(f"say one of {', '.join(export.KINDS)}, and --format {' or '.join(export.FORMATS)}")
    site, path = config.load(site_path), _journal_of(site_path)
    if what == "intervals":
        found = list(read(path))
        table = export.intervals(_document(site, found, path, *_period(since, until, found))[0])
    else:
        folder = telemetry.folder_of(path)
        if not folder.is_dir():
            raise Trouble(f"{folder}: there is no telemetry yet; a running site keeps it")
        span = _moment(since) if since else 0, _moment(until) if until else time.time_ns() // 10**9
        if what == "telemetry":
            table = export.seconds(folder, *span)
        else:
            books = replace(accounting.factors_of(site), hourly=intake.take(read(path)).grid)
            table = export.hourly(folder, *span, lambda utc_s: books.grid_at(utc_s).g_per_kwh, books.genset_g_per_kwh())
    file = out or Path(f"{what}.{form}")
    return {"rows": export.write(file, table, form), "file": str(file)}


def stamp(site_path: Path, url: str) -> dict:
    """Has a timestamp authority stamp the latest signed root, and keeps its token in the journal."""
    path = _journal_of(site_path)
    _seal_now(path)
    body = timestamp.stamped(read(path), url)
    return {"entry": body["entry"], "tsa": url,
            "where": entries.put(path, [(time.time_ns() // 1000, timestamp.TIMESTAMP, body)])}  # fmt: skip


def _journal_of(site_path: Path) -> Path:
    path = Path(config.load(site_path).store.path)
    if not path.exists():
        raise Trouble(f"{path}: there is no journal yet; `forerun run --site {site_path}` makes one")
    return path


def _answer(where: str, cache: Path) -> bytes:
    """The bytes of a file, or of an address: kept under the digest of the address, which may hold a token."""
    try:
        if not where.startswith(("https://", "http://")):
            return Path(where).read_bytes()
        token = os.environ.get(GRID_TOKEN, "")
        asked = urllib.request.Request(where, headers={"auth-token": token} if token else {})

        def ask() -> bytes:
            with urllib.request.urlopen(asked, timeout=ANSWER_S) as answer:
                return answer.read(MOST_BYTES)

        return gridmix.cached(cache / hashlib.sha256(where.encode()).hexdigest(), ask)
    except OSError as error:
        raise Trouble(f"the grid answer cannot be read: {error}; the yearly factor goes on standing in") from error


def issued_path(journal: Path) -> Path:
    return journal.with_name(journal.name + ".issued")


def _commissioning(site_path: Path) -> dict | None:
    """Digests of the sealed commissioning report beside the site file; None without one that its signature proves."""
    from forerun.commission.seal import verify as objection

    try:
        sealed = json.loads(site_path.with_suffix(".commissioning.json").read_text())
    except (OSError, ValueError):
        return None
    if objection(sealed):
        return None
    return {"report_sha256": sealed["report_sha256"], "settings_sha256": sealed["report"]["settings_sha256"],
            "public_key": sealed["signature"]["public_key"]}  # fmt: skip


def _document(
    site, found: list, path: Path, start_utc_s: int, end_utc_s: int, commissioning: dict | None = None
) -> tuple[dict, bytes, bool]:
    """(document, its bytes, whether it is new): the one that was issued for the period if nothing changed since, else
    one that supersedes it."""
    table = factors.load()
    earlier = [item for item in _issued(issued_path(path))
               if (item.start_utc_s, item.end_utc_s) == (start_utc_s, end_utc_s)]  # fmt: skip
    if earlier:
        last = statement.statement(site, found, table, start_utc_s, end_utc_s, earlier[:-1], commissioning)
        data = hashtree.canonical(last)
        if hashlib.sha256(data).hexdigest() == earlier[-1].sha256:
            return last, data, False
    document = statement.statement(site, found, table, start_utc_s, end_utc_s, earlier, commissioning)
    return document, hashtree.canonical(document), True


def _issued(path: Path) -> list[statement.Issued]:
    if not path.exists():
        return []
    names = ("id", "start_utc_s", "end_utc_s", "sha256")
    return [statement.Issued(*(entry.body[name] for name in names)) for entry in read(path)
            if isinstance(entry, Entry) and entry.kind == hashtree.REPORT]  # fmt: skip


def _issue(document: dict, data: bytes, path: Path) -> None:
    start_utc_s, end_utc_s = (_moment(text) for text in document["report"]["period_utc"])
    body = {"id": document["report"]["id"], "supersedes": document["report"]["supersedes"],
            "start_utc_s": start_utc_s, "end_utc_s": end_utc_s,
            "sha256": hashlib.sha256(data).hexdigest()}  # fmt: skip
    if not key_path(path).exists():
        raise Trouble(f"{key_path(path)}: without the site's key the report cannot be issued; a copy can be verified, "
                      "or rebuilt where the key or the log of issued reports is")  # fmt: skip
    with Journal(issued_path(path)) as log:
        body |= {"size": log.tree.size, "root": log.tree.root()}  # each entry signs all before it
        log.append(time.time_ns() // 1000, "host", hashtree.REPORT, hashtree.signed(body, signing_key(
            key_path(path))))  # fmt: skip


def _seal_now(path: Path) -> None:
    """A signed root over all that is there, where the key is here and nobody else is writing."""
    if not key_path(path).exists():
        return
    try:
        journal = Journal(path)
    except JournalBusy:
        return
    with journal:
        last = next((entry for entry in reversed(list(read(path))) if isinstance(entry, Entry)), None)
        if last is not None and last.kind != hashtree.ROOT:
            hashtree.seal(journal, signing_key(key_path(path)), last.utc_us)


def _period(since: str, until: str, found: Iterable) -> tuple[int, int]:
    moments = [entry.utc_us // 1_000_000 for entry in found
               if isinstance(entry, Entry) and entry.kind == intake.RECORD]  # fmt: skip
    if not moments and not (since and until):
        raise Trouble("the journal holds no meter record yet: there is nothing to report")
    start = _moment(since) if since else min(moments) // DAY_S * DAY_S
    end = _moment(until) if until else -(-max(moments) // accounting.INTERVAL_S) * accounting.INTERVAL_S
    if start >= end:
        raise WrongUsage(f"--from {since or start} must be before --to {until or end}")
    if start % factors.HOUR_S or (until and end % factors.HOUR_S):
        raise WrongUsage("a period begins and ends at a whole hour of UTC: certificates are matched by the hour")
    return start, end


def _moment(text: str) -> int:
    try:
        return entries.moment(text)
    except ValueError as error:
        raise WrongUsage(f"{text}: is no date; write 2024-01-31, or 2024-01-31T12:00Z") from error
