"""Running a site with real ports and files: the host's composition root beside `forerun.simulate.demo`."""

import contextlib
import json
import time
from pathlib import Path

from forerun import config
from forerun.console import Stop, live_line, speaker
from forerun.errors import Trouble
from forerun.site.running import Running
from forerun.site.service import Service
from forerun.site.systemd import Systemd

POLL_S = 0.25


def run(site_path: Path, seconds: float, *, as_json: bool, web: tuple[str | None, int | None] | None = None) -> None:
    """Run a site until told to stop. With `as_json`, one JSON object a line: what was said, then a closing summary.
    With `web`, also its page and API on that (host, port), None: those of the site file."""
    stop, ends, manager = Stop(), time.monotonic() + seconds, Systemd()
    page = web and (lambda running: _page(running, *web))
    with Running(site_path, say=speaker(as_json), web=page) as running:
        service = running.service
        with live_line(lambda: running.snapshot.sentence(), as_json):  # noqa: PLW0108 (another snapshot each time)
            manager.ready()
            while not stop.asked and not (seconds and time.monotonic() >= ends):
                running.poll(POLL_S)
                manager.alive(running.snapshot.sentence())
                if stop.reload:
                    stop.reload = False
                    manager.reloading()
                    running.reload()
                    manager.ready()
            manager.stopping()
        running.say(f"stopped; all that was measured is in {running.site.store.path}")
        summary = {
            "site": running.site.site.name,
            "journal": running.site.store.path,
            "board": service.board["identity"] if service.board else None,
            "latest": service.latest,
            "link": service.session.counts(),
        }
    if as_json:
        print(json.dumps(summary, sort_keys=True), flush=True)


@contextlib.contextmanager
def _page(running: Running, host: str | None, port: int | None):
    """The web application of a running site while the `with` block lasts, at the site file's address for None."""
    from forerun.web.server import LOCAL, WebServer

    host, port = host or running.site.web.host, running.site.web.port if port is None else port
    with WebServer(running, host, port) as server:
        running.say(f"page and API at {server.url}")
        if not server.parts.tokens.people():
            running.say(f"nobody has a token yet: `forerun token add NAME --role operate --site {running.site_path}`")
        if host not in LOCAL:
            running.say(f"{server.url} is reached from other machines without encryption: put a TLS proxy before it")
        yield server


def tokens(site_path: Path):
    """The token file of a site (forerun.web.access.Tokens)."""
    from forerun.web.access import Tokens, tokens_path

    return Tokens(tokens_path(config.load(site_path).store.path))


def make_plan(site_path: Path, picture: Path | None = None) -> tuple[dict, list[str]]:
    """(the plan of now as a document, the same in sentences) from the site file and its journal; `picture`: an SVG."""
    from forerun.dispatch import planning
    from forerun.report import pictures
    from forerun.report.explanation import explained

    site = config.load(site_path)
    if not Path(site.store.path).exists():
        raise Trouble(f"{site.store.path}: there is no journal yet; `forerun run --site {site_path}` makes one")
    service = Service(site, _JournalReader(site.store.path), nonce=b"no board")
    if service.lookback.last_soc is None:
        raise Trouble(f"{site.store.path}: no interval of the board is in it yet, so the state of charge is unknown")
    planner = service.planner
    load_w = planner.history.load_w
    planner.make(int(time.time()), service.lookback.last_soc, load_w[-1] if load_w else 0.0, service.jobs.values())
    made, plan = planner.made, planner.plan
    document = planning.document(site, made, plan)
    if picture:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(pictures.plan_svg(document, site.limits.import_limit_w))
    return document, explained(site, made, plan)


def show_plan(document: dict) -> None:
    """The plan by the hour as a table, and what was relaxed."""
    from rich.console import Console
    from rich.table import Table

    from forerun.report.pictures import clock

    console, names = Console(), ("load_w", "pv_w", "battery_w", "genset_w", "pcc_import_w")
    table = Table("UTC", *(f"{name.removesuffix('_w').replace('_', ' ')} kW" for name in names), "SoC %")
    for index, start in enumerate(document["step_start_utc_s"]):
        if start % 3600 == 0 or index == 0:
            values = [f"{document[name][index] / 1000:.1f}" for name in names]
            table.add_row(clock(start), *values, f"{document['soc_permille'][index] / 10:.0f}")
    console.print(table)
    for sentence in (*document["relaxed"], document["basis"]):
        console.print(sentence)


class _JournalReader:
    """What a Service needs of a journal that another process writes: its path."""

    def __init__(self, path: str):
        self.path = path
