"""The command line: parses, hands over to the composition root, prints. Exit status 0 done, 1 failed, 2 wrong usage."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from forerun.commission.cli import app as commission_app

app = typer.Typer(
    help="Site controller for edge-computing nodes: storage moves before the compute load does.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing frames around the help would cost half of the time that it may take
)
board_app = typer.Typer(help="Look at a board, or put the firmware on it.", no_args_is_help=True)
app.add_typer(board_app, name="board")
plan_app = typer.Typer(help="What the battery and the set are to do over the next hours.", invoke_without_command=True)
app.add_typer(plan_app, name="plan")
forecast_app = typer.Typer(help="How good the forecasts are.", no_args_is_help=True)
app.add_typer(forecast_app, name="forecast")
app.add_typer(commission_app, name="commission")
link_app = typer.Typer(help="What crosses the serial line: record, show, replay.", no_args_is_help=True)
app.add_typer(link_app, name="link")
token_app = typer.Typer(help="Who may use the web page and the API.", no_args_is_help=True)
app.add_typer(token_app, name="token")

store_app = typer.Typer(help="Copy a site's journal and keys, put them back, look them over.", no_args_is_help=True)
app.add_typer(store_app, name="store")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
SitePath = Annotated[Path, typer.Option("--site", help="The site file.", show_default=True)]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same report, byte for byte.")] = 1,
    realtime: Annotated[
        int, typer.Option(min=0, max=3600, help="Play so many seconds around the surge by the wall clock instead.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Play one site-day, with and without the controller, MicroPython in the loop."""
    from forerun.simulate import demo as player

    if realtime:
        result = player.play_realtime(out, seed, realtime, quiet=as_json)
    else:
        result = player.play_day(out, seed, quiet=as_json)
    if as_json:
        _print_json(result)


@app.command()
def run(
    site: SitePath = Path("site.toml"),
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a site: track the load, plan ahead, keep the journal. Ends cleanly on Ctrl-C or SIGTERM."""
    from forerun import operate

    operate.run(site, seconds, as_json=as_json)


@app.command()
def serve(
    site: SitePath = Path("site.toml"),
    host: Annotated[str | None, typer.Option(help="Address to serve on; without it, web.host of the site.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; without it, web.port of the site; 0: a free one.")
    ] = None,
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a site with its web page, REST API and announcement of jobs. `forerun token` lets people in."""
    from forerun import operate

    operate.run(site, seconds, as_json=as_json, web=(host, port))


@token_app.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="Who will use it; the journal says who did what.")],
    role: Annotated[str, typer.Option(help="read, operate or commission; each may do what those before it may.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept."""
    import time

    from forerun import operate

    token = operate.tokens(site).make(name, role, time.time())
    if as_json:
        _print_json({"name": name, "role": role, "token": token})
    else:
        print(token)
        print(f"{name} may {role} with it; it is shown this once", file=sys.stderr)


@token_app.command("list")
def token_list(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Say who has a token, and with which role."""
    from forerun import operate

    people = operate.tokens(site).people()
    if as_json:
        _print_json({"tokens": [{"name": one.name, "role": one.role, "made_utc_s": one.made_utc_s} for one in people]})
    else:
        operate.show_report({one.name: one.role for one in people} or {"nobody": "has a token yet"})


@token_app.command("revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(help="Whose token.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Take a token away; its open pages are logged out within seconds."""
    from forerun import operate

    operate.tokens(site).revoke(name)
    if as_json:
        _print_json({"revoked": name})


@app.command()
def status(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Say how a running site does: power, plan, alarms with their remedies, link, journal."""
    from forerun import config
    from forerun.site import status as socket

    document = socket.read(config.load(site).store.path)
    if as_json:
        _print_json(document)
    else:
        from forerun.site import terminal

        terminal.show(document)


@app.command()
def top(
    site: SitePath = Path("site.toml"),
    refresh: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between two pictures.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Watch a running site until q is pressed. With --json, one snapshot a line."""
    from forerun import config
    from forerun.site import status as socket
    from forerun.site import terminal

    journal = config.load(site).store.path
    if as_json:
        import time

        while True:
            print(json.dumps(socket.read(journal), sort_keys=True), flush=True)
            time.sleep(refresh)
    terminal.watch(lambda: socket.read(journal), refresh)


@app.command()
def doctor(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Look for the usual mistakes and say how to mend each. Exit status 1: something is wrong."""
    from dataclasses import asdict

    from forerun.site import doctor as looked

    findings = looked.examine(site)
    if as_json:
        _print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        looked.show(findings)
    if any(finding.state == looked.WRONG for finding in findings):
        raise typer.Exit(1)


@app.command()
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
    from forerun import operate
    from forerun.report import publish

    result = publish.publish(site, out, since, until, form)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
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
    from forerun.report import publish

    known = {"key": key, "record_keys": tuple(record_key or ()), "commitment": commitment, "tsa_root": tsa_root}
    verdict = publish.verify(report, journal, factors, known)
    if as_json:
        _print_json({"findings": verdict.findings, "notes": verdict.notes, "checked": verdict.checked})
    else:
        for mark, lines in (("ok", verdict.checked), ("note", verdict.notes), ("WRONG", verdict.findings)):
            for line in lines:
                print(f"{mark}: {line}")
    if verdict.findings:
        raise typer.Exit(1)


@app.command()
def explain(
    figure: Annotated[str, typer.Argument(help="Name of a figure in results, like scope2_location_g.")],
    report: Annotated[Path, typer.Option(help="The report.json.")] = Path("out/report/report.json"),
    journal: Annotated[Path, typer.Option(help="The journal it was made from.")] = Path("journal.forerun"),
    at: Annotated[str, typer.Option(help="A moment, UTC; without it, the interval with the largest part.")] = "",
) -> None:
    """Open a figure: its formula and factors, an interval of it, the meter records below."""
    from forerun.report import publish

    print("\n".join(publish.explained(figure, at, report, journal)))


@app.command()
def rank(
    bundles: Annotated[list[Path], typer.Argument(help="Two bundles or more; examples/rank holds three.")],
    weights: Annotated[str, typer.Option(help="Like coordination=0.4,carbon=0.3,climate=0.1,data=0.2.")] = "",
    as_json: Json = False,
) -> None:
    """Compare site-energy solutions by their bundles, and say how firm each place is."""
    from forerun.report import publish

    ranking = publish.ranked(bundles, weights)
    if as_json:
        _print_json(ranking)
    else:
        publish.show_ranking(ranking)


@app.command("bundle")
def export_bundle(
    vendor: Annotated[str, typer.Option(help="Who offers the solution.")],
    product: Annotated[str, typer.Option(help="What it is called.")],
    report: Annotated[Path, typer.Option(help="The report.json.")] = Path("out/report/report.json"),
    journal: Annotated[Path, typer.Option(help="The journal it was made from.")] = Path("journal.forerun"),
    out: Annotated[Path, typer.Option(help="The bundle to write.")] = Path("bundle.json"),
    as_json: Json = False,
) -> None:
    """Export what a site achieved as a signed bundle, for `forerun rank`."""
    from forerun import operate
    from forerun.report import publish

    result = publish.export_bundle(report, journal, vendor, product, out)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
def grid(
    answer: Annotated[str, typer.Argument(help="The service's answer: a file, or an address, asked once and kept.")],
    provider: Annotated[str, typer.Option(help="entsoe, energinet or electricity-maps.")],
    area: Annotated[str, typer.Option(help="Price area; Energinet alone needs it.")] = "DK1",
    breakdown: Annotated[str, typer.Option(help="Electricity Maps' power breakdown, for the carbon-free share.")] = "",
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Check an hourly grid answer and put it into the journal of a site."""
    from forerun import operate
    from forerun.report import publish

    result = publish.take_grid(site, answer, provider, area, breakdown)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
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
    from forerun import operate
    from forerun.report import publish

    result = publish.correct(site, record, field, value, entry, reason, author)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
def enter(
    tables: Annotated[list[Path], typer.Argument(help="CSV: certificates, submeter readings, or exchanged meters.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Enter tables into the journal: name,time_utc,value of submeters; meter,time_utc,serial; or certificates."""
    from forerun import operate
    from forerun.report import publish

    result = publish.enter(site, tables)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


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
    from forerun import operate
    from forerun.report import publish

    result = publish.export_data(site, what, since, until, form, out)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
def timestamp(
    url: Annotated[str, typer.Argument(help="Address of the timestamp authority (RFC 3161 over HTTP).")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Have a timestamp authority stamp the latest signed root: then not even the site can date it back."""
    from forerun import operate
    from forerun.report import publish

    result = publish.stamp(site, url)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@app.command()
def simulate(
    site: SitePath = Path("site.toml"),
    year: Annotated[int, typer.Option(min=1970, max=2100, help="The calendar year that weather and load are laid on.")]
    = 2019,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same year.")] = 1,
    years: Annotated[int, typer.Option(min=200, max=100_000, help="Drawn years, for outages and what else varies.")]
    = 400,
    sizes: Annotated[str, typer.Option(help="Other sizes to play, kWp x kWh, like 20x60,120x250.")] = "",
    out: Annotated[Path, typer.Option(help="File for the picture.")] = Path("out/year.svg"),
    as_json: Json = False,
) -> None:
    """Play a year of a site four ways: two without a battery, the board alone, and board with planner."""
    from forerun import operate

    result = operate.play_year(site, year, seed, years, sizes, out, quiet=as_json)
    if as_json:
        _print_json(result)


@app.command()
def surge(
    count: Annotated[int, typer.Option(min=50, max=100_000, help="So many announced load steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same steps.")] = 1,
    out: Annotated[Path, typer.Option(help="File for the picture of one of them, at 1 ms.")] = Path("out/surge.svg"),
    as_json: Json = False,
) -> None:
    """Play announced load steps on a weak feeder, with and without the announcement: readiness, volts, set starts."""
    from forerun import operate

    result = operate.play_surges(count, seed, out, quiet=as_json)
    if as_json:
        _print_json(result)


@app.command()
def emulate(
    port: Annotated[str, typer.Option(help="Serve on this serial port; without it, on a new pseudo-terminal.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate of the Modbus line.")] = 115200,
    board: Annotated[bool, typer.Option(help="Also start a board on it: MicroPython, in real time.")] = False,
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Start the emulated site alone, in real time, and print where it listens."""
    from forerun import operate

    operate.emulate(port, baud, with_board=board, seconds=seconds, as_json=as_json)


@board_app.command("info")
def board_info(
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 921600,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Ask a board who it is and how it does."""
    from forerun import operate

    info = operate.board_info(port, baud, site)
    if as_json:
        _print_json(info)
    else:
        operate.show_board_info(info)


@board_app.command("diagrams")
def board_diagrams(as_json: Json = False) -> None:
    """Print the board's state machines as Mermaid diagrams, from the tables that it runs."""
    from forerun import diagrams

    if as_json:
        _print_json(diagrams.mermaid_by_name())
    else:
        print(diagrams.page(), end="")


@board_app.command("release")
def board_release(
    out: Annotated[Path, typer.Argument(help="The release to write.")],
    board: Annotated[str, typer.Option(help="For which boards: a folder of firmware/boards, or unix.")],
    key: Annotated[Path, typer.Option(help="Private key of the release's maker; made when there is none.")],
    version: Annotated[str, typer.Option(help="What the firmware calls itself; without it, this host's version.")] = "",
    as_json: Json = False,
) -> None:
    """Make a signed release of this host's firmware, for `forerun board update` anywhere."""
    from forerun import __version__, operate

    done = operate.make_release(out, board, version or __version__, key)
    if as_json:
        _print_json(done)
    else:
        print(f"{out}: forerun {done['version']} for {board}, {done['bytes']} bytes in {done['files']} files; "
              f"sites take it with --trust {done['trust']}")  # fmt: skip


@board_app.command("update")
def board_update(
    release: Annotated[Path | None, typer.Argument(help="A signed release; without it, this host's firmware.")] = None,
    trust: Annotated[str, typer.Option(help="Public key of the release's maker, 64 hexadecimal digits.")] = "",
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 921600,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Bring another firmware onto a running board: on trial, and back to the old one if it does not prove itself."""
    from forerun import operate

    done = operate.update_board(release, trust, port, baud, site, (lambda said: None) if as_json else print)
    if as_json:
        _print_json(done)
    else:
        print(f"the board runs {done['now']} (before: {done['before']})")


@board_app.command("flash")
def board_flash(
    port: Annotated[str, typer.Option(help="Serial port of the board's MicroPython prompt.")],
    kind: Annotated[str, typer.Option("--board", help="Which board: a folder of firmware/boards.")],
    as_json: Json = False,
) -> None:
    """Put the firmware on a board that runs MicroPython. It stops the control loop: first make the site independent."""
    from forerun import operate

    files = operate.flash(port, kind, quiet=as_json)
    if as_json:
        _print_json({"port": port, "files": files})


@plan_app.callback()
def plan(context: typer.Context, site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Make the plan of now from the site file and its journal, without a board."""
    from forerun import operate

    if context.invoked_subcommand:
        return
    document, _ = operate.make_plan(site)
    if as_json:
        _print_json(document)
    else:
        operate.show_plan(document)


@plan_app.command("explain")
def plan_explain(
    site: SitePath = Path("site.toml"),
    out: Annotated[Path, typer.Option(help="File for the picture.")] = Path("out/plan.svg"),
    as_json: Json = False,
) -> None:
    """Say in words what the plan does and why, and draw it."""
    from forerun import operate

    document, sentences = operate.make_plan(site, out)
    if as_json:
        _print_json({"plan": document, "sentences": sentences, "picture": str(out)})
    else:
        print("\n".join(sentences))
        print(f"picture: {out}")


@forecast_app.command("backtest")
def forecast_backtest(
    files: Annotated[list[Path], typer.Argument(help="CSV files: 5-minute means, oldest first, in the last column.")],
    as_json: Json = False,
) -> None:
    """Score the load forecast over the last week of each file, against persistence, yesterday and installed libraries;
    count the surges that it saw coming, and what announced jobs are worth."""
    from forerun.forecast import backtest
    from forerun.operate import progress

    with progress(as_json, f"{len(files)} series") as tick:
        result = backtest.backtest(files, tick)
    if as_json:
        _print_json(result)
    else:
        backtest.show(result)


@store_app.command("backup")
def store_backup(
    out: Annotated[Path, typer.Option(help="The file to make, like site.tar.gz. It holds the keys: keep it safe.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Copy site file, journal, reports and keys into one file. The site may run meanwhile."""
    from forerun import operate
    from forerun.store import backup

    result = backup.backup(site, out)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@store_app.command("restore")
def store_restore(
    source: Annotated[Path, typer.Argument(help="A file that `forerun store backup` made.")],
    folder: Annotated[Path, typer.Option("--to", help="Folder for site.toml; nothing in it is replaced.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Put a backup back, after checking all of it."""
    from forerun import operate
    from forerun.store import backup

    result = backup.restore(source, folder)
    if as_json:
        _print_json(result)
    else:
        operate.show_report(result)


@store_app.command("check")
def store_check(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Read all of the journal: damage, missing records, every hourly seal. Exit status 1: something is wrong."""
    from dataclasses import asdict

    from forerun import config, operate
    from forerun.store import backup

    verdict = backup.check(Path(config.load(site).store.path))
    if as_json:
        _print_json(asdict(verdict))
    else:
        operate.show_report(asdict(verdict))
    if verdict.findings:
        raise typer.Exit(1)


Recording = Annotated[Path, typer.Argument(help="The recording.")]


@link_app.command("record")
def link_record(
    file: Recording,
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 115200,
    site: SitePath = Path("site.toml"),
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Stand between a board and whatever program talks to it, and write all that passes to FILE."""
    from forerun import operate

    result = operate.record_link(file, port, baud, site, seconds, as_json=as_json)
    if as_json:
        _print_json(result)
    else:
        print(f"{result['host']} frames of the host and {result['board']} of the board are in {file}")


@link_app.command("show")
def link_show(file: Recording, as_json: Json = False) -> None:
    """Print a recording frame by frame; with --json one object a line."""
    from forerun.link import recorder

    for frame in recorder.read(file):
        told = recorder.shown(frame)
        if as_json:
            _print_json(told)
        else:
            print(recorder.sentence(told))


@link_app.command("replay")
def link_replay(
    file: Recording,
    into: Annotated[str, typer.Option(help="host or board: the side that hears the recording.")] = "host",
    as_json: Json = False,
) -> None:
    """Give a recording to a session of either side, and print what it makes of it."""
    from forerun.errors import WrongUsage
    from forerun.link import recorder

    if into not in ("host", "board"):
        raise WrongUsage(f"--into {into}: it must be host or board")
    result = recorder.replay(file, into, (lambda line: None) if as_json else print)
    if as_json:
        _print_json(result)
    else:
        print(json.dumps(result, indent=1))


def _print_json(result: dict) -> None:
    print(json.dumps(result, ensure_ascii=False, sort_keys=True))


def main() -> None:
    """Entry point; every known trouble ends as one sentence on standard error, never as a traceback."""
    from forerun.errors import Trouble, WrongUsage

    try:
        app()
    except WrongUsage as problem:
        print(f"forerun: {problem}", file=sys.stderr)
        sys.exit(2)
    except Trouble as problem:
        print(f"forerun: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)
