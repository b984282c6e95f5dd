"""A site as it runs: started, watched, looked over; who may use its page."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

app = typer.Typer()
token_app = typer.Typer(help="Who may use the web page and the API.", no_args_is_help=True)


@app.command()
def run(
    site: SitePath = Path("site.toml"),
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a site: track the load, plan ahead, keep the journal. Ends cleanly on Ctrl-C or SIGTERM."""
    from forerun import operate

    operate.run(site, seconds, as_json=as_json)


@app.command(short_help="Run a site with its web page and API.")
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


@app.command(short_help="Start the emulated site, in real time.")
def emulate(
    port: Annotated[str, typer.Option(help="Serve on this serial port; without it, on a new pseudo-terminal.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate of the Modbus line.")] = 115200,
    board: Annotated[bool, typer.Option(help="Also start a board on it: MicroPython, in real time.")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="A board with nothing but MicroPython, to be flashed.")] = False,
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Start the emulated site alone, in real time, and print where it listens."""
    from forerun.simulate import emulated

    emulated.emulate(port, baud, with_board=board, bare=bare, seconds=seconds, as_json=as_json)


@app.command(short_help="Say how a running site does.")
def status(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Say how a running site does: power, plan, alarms with their remedies, link, journal."""
    from forerun import config
    from forerun.site import status as socket

    document = socket.read(config.load(site).store.path)
    if as_json:
        print_json(document)
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
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        looked.show(findings)
    if any(finding.state == looked.WRONG for finding in findings):
        raise typer.Exit(1)


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
        print_json({"name": name, "role": role, "token": token})
    else:
        print(token)
        print(f"{name} may {role} with it; it is shown this once", file=sys.stderr)


@token_app.command("list")
def token_list(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Say who has a token, and with which role."""
    from forerun import console, operate

    people = operate.tokens(site).people()
    if as_json:
        print_json({"tokens": [{"name": one.name, "role": one.role, "made_utc_s": one.made_utc_s} for one in people]})
    else:
        console.show_report({one.name: one.role for one in people} or {"nobody": "has a token yet"})


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
        print_json({"revoked": name})
