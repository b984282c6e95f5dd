"""What a site's journal says: reports, their proofs, what people enter, data for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

app = typer.Typer()


@app.command(short_help="Energy and emissions of a site in a period, signed.")
def report(
    site: SitePath = Path("site.toml"),
    since: Annotated[str, typer.Option("--from", help="First moment, UTC, like 2024-01-31; else the first day.")] = "",
    until: Annotated[str, typer.Option("--to", help="End, not included; without it, the last reading.")] = "",
    form: Annotated[str, typer.Option("--format", help="html, pdf, csv, cbam, granular, json or all.")] = "html",
    out: Annotated[Path, typer.Option(help="Folder for the files; report.json is always among them.")] = Path(
        "out/report"
    ),
    as_json: Json = False,
) -> None:
    """Energy and emissions of a site in a period, from its journal, signed."""
    from forerun import console
    from forerun.report import publish

    result = publish.publish(site, out, since, until, form)
    if as_json:
        print_json(result)
    else:
        console.show_report(publish.in_words(result))


@app.command(short_help="Recompute a report from the raw records, offline.")
def verify(
    report: Annotated[Path, typer.Argument(help="The report.json.")],
    journal: Annotated[Path | None, typer.Option(help="The journal it was made from.")] = None,
    factors: Annotated[Path | None, typer.Option(help="The factor table; without it, this version's.")] = None,
    key: Annotated[str, typer.Option(help="The site's public key in hex; without it, the journal's first one.")] = "",
    record_key: Annotated[list[str] | None, typer.Option(help="A board's record key in hex: checks its codes.")] = None,
    commitment: Annotated[str, typer.Option(help="SHA-256 of the record key in hex, as noted on site.")] = "",
    tsa_root: Annotated[Path | None, typer.Option(help="The timestamp authority's root certificate, PEM.")] = None,
    as_json: Json = False,
) -> None:
    """Recompute a report from the raw records, offline, and check its signatures. Exit status 1: something is wrong."""
    from forerun import console
    from forerun.report import publish

    known = {"key": key, "record_keys": tuple(record_key or ()), "commitment": commitment, "tsa_root": tsa_root}
    verdict = publish.verify(report, journal, factors, known)
    if as_json:
        print_json({"findings": verdict.findings, "notes": verdict.notes, "checked": verdict.checked})
    else:
        for mark, lines in (("ok", verdict.checked), ("note", verdict.notes), ("WRONG", verdict.findings)):
            for line in lines:
                console.tell(f"{mark}: {line}", 2)
    if verdict.findings:
        raise typer.Exit(1)


@app.command(short_help="Open a figure of a report down to meter records.")
def explain(
    figure: Annotated[str, typer.Argument(help="Name of a figure in results, like scope2_location_g.")],
    report: Annotated[Path, typer.Option(help="The report.json.")] = Path("out/report/report.json"),
    journal: Annotated[Path, typer.Option(help="The journal it was made from.")] = Path("journal.forerun"),
    at: Annotated[str, typer.Option(help="A moment, UTC; without it, the interval with the largest part.")] = "",
    as_json: Json = False,
) -> None:
    """Open a figure: its formula and factors, an interval of it, the meter records below."""
    from forerun.report import publish

    lines = publish.explained(figure, at, report, journal)
    if as_json:
        print_json({"figure": figure, "lines": lines})
    else:
        print("\n".join(lines))


@app.command(short_help="Compare site-energy solutions by their bundles.")
def rank(
    bundles: Annotated[list[Path], typer.Argument(help="Two bundles or more; examples/rank holds three.")],
    weights: Annotated[str, typer.Option(help="Like coordination=0.4,carbon=0.3,climate=0.1,data=0.2.")] = "",
    as_json: Json = False,
) -> None:
    """Compare site-energy solutions by their bundles, and say how firm each place is."""
    from forerun.report import publish

    ranking = publish.ranked(bundles, weights)
    if as_json:
        print_json(ranking)
    else:
        publish.show_ranking(ranking)


@app.command("bundle", short_help="Export what a site achieved, as a signed bundle.")
def export_bundle(
    vendor: Annotated[str, typer.Option(help="Who offers the solution.")],
    product: Annotated[str, typer.Option(help="What it is called.")],
    report: Annotated[Path, typer.Option(help="The report.json.")] = Path("out/report/report.json"),
    journal: Annotated[Path, typer.Option(help="The journal it was made from.")] = Path("journal.forerun"),
    out: Annotated[Path, typer.Option(help="The bundle to write.")] = Path("bundle.json"),
    as_json: Json = False,
) -> None:
    """Export what a site achieved as a signed bundle, for `forerun rank`."""
    from forerun import console
    from forerun.report import publish

    result = publish.export_bundle(report, journal, vendor, product, out)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@app.command(short_help="Put an hourly grid answer into the journal.")
def grid(
    answer: Annotated[str, typer.Argument(help="The service's answer: a file, or an address, asked once and kept.")],
    provider: Annotated[str, typer.Option(help="entsoe, energinet or electricity-maps.")],
    area: Annotated[str, typer.Option(help="Price area; Energinet alone needs it.")] = "DK1",
    breakdown: Annotated[str, typer.Option(help="Electricity Maps' power breakdown, for the carbon-free share.")] = "",
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Check an hourly grid answer and put it into the journal of a site."""
    from forerun import console
    from forerun.report import publish

    result = publish.take_grid(site, answer, provider, area, breakdown)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@app.command(short_help="Correct a meter record by a new entry.")
def correct(
    reason: Annotated[str, typer.Option(help="Why; it stands in every report from here on.")],
    author: Annotated[str, typer.Option(help="Who says so.")],
    record: Annotated[int | None, typer.Option(help="Number of the meter record, as `forerun explain` tells.")] = None,
    field: Annotated[str, typer.Option(help="What of it: import_wh, pv_wh, soc_permille, …")] = "",
    value: Annotated[int | None, typer.Option(help="What it must be.")] = None,
    entry: Annotated[int | None, typer.Option(help="Instead: the entry made by hand that does not count.")] = None,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Correct a meter record by a new entry in the journal; nothing is edited, reports are superseded."""
    from forerun import console
    from forerun.report import publish

    result = publish.correct(site, record, field, value, entry, reason, author)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@app.command(short_help="Enter tables of values into the journal.")
def enter(
    tables: Annotated[list[Path], typer.Argument(help="CSV: certificates, submeter readings, or exchanged meters.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Enter tables into the journal: name,time_utc,value of submeters; meter,time_utc,serial; or certificates."""
    from forerun import console
    from forerun.report import publish

    result = publish.enter(site, tables)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@app.command("export")
def export_data(
    what: Annotated[str, typer.Argument(help="intervals of the ledger, telemetry by the second, or hours of it.")],
    since: Annotated[str, typer.Option("--from", help="First moment, UTC; without it, all.")] = "",
    until: Annotated[str, typer.Option("--to", help="End, not included; without it, the last.")] = "",
    form: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="The file; without it, named after what it holds.")] = None,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Write a site's data for other programs, as CSV or Parquet."""
    from forerun import console
    from forerun.report import publish

    result = publish.export_data(site, what, since, until, form, out)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@app.command(short_help="Have an authority stamp the latest signed root.")
def timestamp(
    url: Annotated[str, typer.Argument(help="Address of the timestamp authority (RFC 3161 over HTTP).")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Have a timestamp authority stamp the latest signed root: then not even the site can date it back."""
    from forerun import console
    from forerun.report import publish

    result = publish.stamp(site, url)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)
