"""What the commands do with real ports and files: the host's composition root beside `forerun.simulate.demo`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from forerun import __version__, config, sections
from forerun.errors import Trouble, WrongUsage
from forerun.link.port import open_port
from forerun.site.running import Running
from forerun.site.service import Service
from forerun.site.systemd import Systemd
from forerun_wire import messages

POLL_S = 0.25


class Stop:
    """Turns SIGINT and SIGTERM into a flag, so that a run ends with everything on disk, and SIGHUP into another."""

    def __init__(self) -> None:
        self.asked = self.reload = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number, frame) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.asked = True


def run(site_path: Path, seconds: float, *, as_json: bool, web: tuple[str | None, int | None] | None = None) -> None:
    """Run a site until told to stop. With `as_json`, one JSON object a line: what was said, then a closing summary.
    With `web`, also its page and API on that (host, port), None: those of the site file."""
    stop, ends, manager = Stop(), time.monotonic() + seconds, Systemd()
    page = web and (lambda running: _page(running, *web))
    with Running(site_path, say=_speaker(as_json), web=page) as running:
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


def board_info(port: str, baud: int, site_path: Path) -> dict:
    """What the board says of itself: identity, interpreter, uptime, settings check, link counters. Raises Trouble."""
    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    from forerun.commission.desk import open_desk
    from forerun.link.keys import keyring

    with open_desk(port, baud, keyring(site_path)) as desk:
        answer = desk.ask(messages.INFO)
        hello = {name: _plain(value) for name, value in desk.hello.items()}
    return {"port": port, **hello, **messages.fields_named(messages.INFO_FIELDS, answer)}


def show_board_info(info: dict) -> None:
    """A small table of `board_info`."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", show_header=False, box=None)
    for name, value in {**info, "key_id": f"{info['key_id']:06x}" if info["key_id"] else "none"}.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


def record_link(
    file: Path, port: str, baud: int, site_path: Path, seconds: float, *, as_json: bool
) -> dict:
    """Record what passes between the board and a host program on a new pseudo-terminal; frames of either side."""
    from forerun.link import recorder

    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    stop, ends = Stop(), time.monotonic() + seconds

    def tell(path: str) -> None:
        line = json.dumps({"link": path}) if as_json else f"let the host program open {path} in place of {port}"
        print(line, file=sys.stderr, flush=True)

    with open_port(port, baud) as line:
        return recorder.record(file, line, port, baud,
                               lambda: stop.asked or bool(seconds and time.monotonic() >= ends), tell)  # fmt: skip


def flash(port: str, kind: str, *, quiet: bool) -> list[str]:
    """Put both board packages, byte-compiled, the pins of this kind of board and main.py on a board with MicroPython,
    and reset it; returns what was copied. mpremote stops whatever runs on the board. Raises WrongUsage for an unknown
    kind, Trouble with mpremote's own words when it fails."""
    from forerun.bytecode import PACKAGES, library_for
    from forerun.plant.board import ENTRY, board_kinds

    kinds = board_kinds()
    if kind not in kinds:
        raise WrongUsage(f"--board {kind}: it must be one of {', '.join(sorted(kinds))}")
    if not os.path.exists(port):
        raise Trouble(f"there is no port {port}: is the board plugged in? `ls /dev/serial/by-id` lists what is")
    place = tempfile.TemporaryDirectory(prefix="forerun-lib-")
    library = library_for(kind, Path(place.name))
    _mpremote(port, ["fs", "mkdir", ":lib"], quiet)  # it may be there already
    copied = []
    for name in PACKAGES:
        copied += [f"lib/{file.relative_to(library)}" for file in sorted((library / name).rglob("*.mpy"))]
        problem = _mpremote(port, ["fs", "cp", "-r", str(library / name), ":lib/"], quiet)
        if problem:
            raise Trouble(f"mpremote could not copy {name} to {port}: {problem}")
    problem = _mpremote(port, ["fs", "cp", str(kinds[kind]), ":pins.py"], quiet)
    if problem:
        raise Trouble(f"mpremote could not copy the pins of {kind} to {port}: {problem}")
    problem = _mpremote(port, ["exec", f"f = open('main.py', 'w'); f.write({ENTRY!r}); f.close()"], quiet)
    if problem:
        raise Trouble(f"mpremote could not write main.py on {port}: {problem}")
    _mpremote(port, ["reset"], quiet)
    return [*copied, "pins.py", "main.py"]


def remove_keys(port: str, *, quiet: bool) -> list[str]:
    """Remove the key files on a board whose MicroPython prompt is at `port`; which there were. Raises Trouble."""
    if not os.path.exists(port):
        raise Trouble(f"there is no port {port}: is the board plugged in? `ls /dev/serial/by-id` lists what is")
    # "resume": the board stands at its prompt already, and a reset of it would only ask for the contact once more.
    problem = _mpremote(port, ["resume", "fs", "ls", ":/records"], quiet=True)
    if problem:
        raise Trouble(f"the board at {port} shows no records folder ({problem}): is its maintenance contact closed?")
    names = [f"keys.{slot}" for slot in (0, 1)]
    return [name for name in names if not _mpremote(port, ["resume", "fs", "rm", f":/records/{name}"], quiet=True)]


def make_release(out: Path, board: str, version: str, key_file: Path) -> dict:
    """Write this host's firmware for one kind of board as a signed release that calls itself `version`; the key of its
    maker is made when there is none yet. Raises Trouble."""
    from forerun.bytecode import compile_to, library_for
    from forerun.link import board_update
    from forerun.plant.board import board_kinds
    from forerun.store.sitekey import signing_key

    kinds = sorted([*board_kinds(), "unix"])
    if board not in kinds:
        raise WrongUsage(f"--board {board}: it must be one of {', '.join(kinds)}")
    key = signing_key(key_file)
    with tempfile.TemporaryDirectory(prefix="forerun-release-") as place:
        library = library_for(board, Path(place))
        compile_to(library, {"forerun_board/__init__.py": f"__version__ = {version!r}\n"})
        image = board_update.image_of(library, version, board)
    try:
        out.write_bytes(board_update.write_release(image, key))
    except OSError as problem:
        raise Trouble(f"{out} cannot be written: {problem.strerror}") from problem
    return {"release": str(out), "board": board, "version": version, "files": len(image.files),
            "bytes": len(image.data), "sha256": image.digest.hex(), "key_file": str(key_file),
            "trust": key.public_key().public_bytes_raw().hex()}  # fmt: skip


def update_board(release: Path | None, trust: str, port: str, baud: int, site_path: Path, say) -> dict:
    """Bring a release, or without one this host's own firmware, onto a running board over its link. Raises Trouble."""
    from forerun.bytecode import library_for
    from forerun.commission.desk import open_desk
    from forerun.link import board_update
    from forerun.link.keys import keyring

    image = None
    if release is not None:
        try:
            trusted = bytes.fromhex(trust)
            image = board_update.read_release(release.read_bytes(), trusted)
        except ValueError as problem:
            raise WrongUsage("--trust: the maker's public key, 64 hexadecimal digits") from problem
        except OSError as problem:
            raise Trouble(f"{release} cannot be read: {problem.strerror}") from problem
    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    with open_desk(port, baud, keyring(site_path)) as desk, tempfile.TemporaryDirectory() as place:
        before = desk.hello["software"]
        if image is None:
            board = desk.ask(messages.INFO)[0]
            image = board_update.image_of(library_for(board, Path(place)), __version__, board)
        return {"port": port, "before": before, "now": board_update.send(desk, image, say), "bytes": len(image.data)}


def _mpremote(port: str, step: list[str], quiet: bool) -> str:
    """'' when the step went well, else the last line that mpremote printed."""
    command = [sys.executable, "-m", "mpremote", "connect", port, *step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not quiet and done.stdout:
        print(done.stdout, end="")
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"status {done.returncode}")


def emulate(port: str, baud: int, *, with_board: bool, seconds: float, as_json: bool) -> None:
    """The demo's site at this hour of the day in real time, on `port` or a new pseudo-terminal, until told to stop."""
    from forerun.simulate import scene

    if baud not in sections.BAUD_RATES:
        raise WrongUsage(f"--baud {baud}: it must be one of {', '.join(map(str, sections.BAUD_RATES))}")
    stop, ends = Stop(), time.monotonic() + seconds
    site, _ = scene.new_site(scene.scene(), seed=1)
    site.advance(int(time.time() % scene.DAY_S) * 1_000_000)
    with EmulatedSite(site, port=port, baud=baud, with_board=with_board) as emulated:
        told = {"modbus": emulated.path, "baud": baud, "units": emulated.units, "board_link": emulated.link_path}
        _tell_emulated(told, as_json)
        while emulated.running and not stop.asked and not (seconds and time.monotonic() >= ends):
            time.sleep(0.05)
    if emulated.problem:
        raise emulated.problem


class EmulatedSite:
    """A site that answers in real time while the `with` block lasts; `path` is its Modbus line, `link_path` what a host
    opens to reach the board that was started with it (None without one)."""

    def __init__(self, site, *, port: str = "", baud: int = 115200, with_board: bool = False):
        self._site, self._port, self._baud, self._with_board = site, port, baud, with_board
        self.path = port
        self.link_path: str | None = None
        self.units: list[int] = []
        self.problem: Trouble | None = None
        self._stopped = threading.Event()
        self._cleanup = contextlib.ExitStack()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> "EmulatedSite":
        from forerun.plant.board import BoardProcess, NullModem, open_line
        from forerun.plant.devices import units
        from forerun.plant.realtime import Wires

        with contextlib.ExitStack() as cleanup:

            def line() -> tuple[int, str]:
                ours, theirs, path = open_line()
                cleanup.callback(os.close, theirs)
                cleanup.callback(os.close, ours)
                return ours, path

            if self._port:
                fd = cleanup.enter_context(open_port(self._port, self._baud)).fileno()
            else:
                fd, self.path = line()
            banks = units(self._site)
            self.units = sorted(banks)
            wires = None
            if self._with_board:
                store = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="forerun-board-store-"))
                board = BoardProcess(Path(store), lockstep=False, bus_path=self.path, contacts=True)
                cleanup.callback(board.close)
                host_fd, self.link_path = line()
                cleanup.callback(NullModem(board.link_fd, host_fd).close)
                board.power_on()
                wires = Wires(self._site, board)
            self._thread = threading.Thread(target=self._serve, args=(banks, fd, wires), name="emulated site")
            self._thread.start()
            cleanup.callback(self._thread.join)
            cleanup.callback(self._stopped.set)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *exc) -> None:
        self._cleanup.close()

    def _serve(self, banks, fd: int, wires) -> None:
        from forerun.plant.realtime import serve

        try:
            serve(self._site, banks, fd, self._baud, self._stopped.is_set, paced=not self._port,
                  wires=wires)  # fmt: skip
        except Trouble as problem:
            self.problem = problem


def _tell_emulated(told: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, sort_keys=True), flush=True)
        return
    print(f"emulated site: Modbus RTU on {told['modbus']}, {told['baud']} baud 8N1, units {told['units']}", flush=True)
    print("  1 inverter with battery, 2 meter at the PCC, 3 PV meter, 4 genset meter; SunSpec at 40000", flush=True)
    if told["board_link"]:
        print(f"board: its link is {told['board_link']}: put that in site.toml as link.port", flush=True)


def show_report(result: dict) -> None:
    """What was reported as a table, and where the report is."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", show_header=False, box=None)
    for name, value in result.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


def make_plan(site_path: Path, picture: Path | None = None) -> tuple[dict, list[str]]:
    """(the plan of now as a document, the same in sentences) from the site file and its journal; `picture`: an SVG."""
    from forerun.dispatch import planning
    from forerun.report import pictures

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
    return document, planning.explained(site, made, plan)


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


def play_year(site_path: Path, year: int, seed: int, drawn: int, sizes: str, picture: Path, *, quiet: bool) -> dict:
    """A year of a site as a JSON-ready document (forerun.simulate.year.simulate), its picture written to `picture`;
    with `sizes`, one such document for each under "sizes", and no picture."""
    from forerun.report import pictures
    from forerun.simulate import year as player

    site = config.load(site_path)
    wanted = player.sizes_of(sizes) if sizes else []
    with progress(quiet, f"{year}, four ways") as tick:
        if wanted:
            results = player.sweep(site, wanted, year, seed, drawn, tick)
        else:
            results = [player.simulate(site, year, seed, drawn, tick)]
    if wanted:
        if not quiet:
            player.show_sweep(results)
        return {"site": site.site.name, "year": year, "seed": seed, "sizes": results}
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(pictures.year_svg(results[0]))
    if not quiet:
        player.show(results[0])
        print(f"picture: {picture}")
    return results[0] | {"picture": str(picture)}


def play_surges(count: int, seed: int, picture: Path, *, quiet: bool) -> dict:
    """The surge experiment as a JSON-ready document; its picture is written to `picture`. Shows progress and a table
    unless `quiet`."""
    from forerun.report import pictures
    from forerun.simulate import surge

    began = time.monotonic()
    with progress(quiet, f"{count} surges, both ways") as tick:
        found = surge.pairs(count, seed, tick)
    result = surge.document(found, seed) | {"picture": str(picture), "seconds": round(time.monotonic() - began, 1)}
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(pictures.surges_svg(surge.exhibit(found), result["pairs"]))
    if not quiet:
        _show_surges(result)
    return result


_NOTICES = {
    "notice_10_min_or_more": "10 min or more",
    "shorter_notice_ready_before_the_step": "less, ready in time",
    "shorter_notice_too_late": "less, too late",
}


def _show_surges(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("notice", "surges", "", "below EN 50160", "outside ITIC", "lowest V", "phase A",
                  "set starts", title="announced load steps, the same steps with and without")  # fmt: skip
    for notice, told in result["volts"].items():
        for way in ("with", "without") if told["surges"] else ():
            each = told[way]
            words = _NOTICES[notice]
            table.add_row(*((words, str(told["surges"])) if way == "with" else ("", "")), way,
                          str(each["below_en50160"]), str(each["outside_itic"]), f"{each['lowest_v']:.1f}",
                          f"{each['median_highest_phase_a']:.1f}", str(each["genset_starts"]))  # fmt: skip
    console, early, short = Console(), result["notice_10_min_or_more"], result["shorter_notice"]
    console.print(table)
    if early["surges"]:
        console.print(
            f"Of {early['surges']} with 10 min of notice or more, {early['ready_300_s_ahead']:.1%} were ready 300 s "
            f"ahead; {early['could_not_be_300_s_ahead']} of them could not be: waking up, entering service and "
            "charging take longer than their notice."
        )
    if short["surges"]:
        share = short["ready_as_early_as_possible"]
        console.print(
            f"Of {short['surges']} with less, {share:.1%} were ready as early as physics allows, and "
            f"{short['could_not_be_ready_before_the_step']} could not be ready before the step."
        )
    console.print(f"picture: {result['picture']}; {result['seconds']} s", soft_wrap=True)


@contextlib.contextmanager
def progress(quiet: bool, words: str):
    """A progress bar on standard error, none when `quiet`; yields tick(share that is done, 0–1)."""
    if quiet:
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn(words), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(words, total=1.0)
        yield lambda share: bar.update(task, completed=share)


class _JournalReader:
    """What a Service needs of a journal that another process writes: its path."""

    def __init__(self, path: str):
        self.path = path


def _speaker(as_json: bool) -> Callable[[str], None]:
    if as_json:
        return lambda sentence: print(json.dumps({"said": sentence}), flush=True)
    if not sys.stderr.isatty():  # the journal of systemd has a clock of its own, and lines of any length
        return lambda sentence: print(sentence, file=sys.stderr, flush=True)
    from rich.console import Console

    console = Console(stderr=True)
    return lambda sentence: console.log(sentence, markup=False)


def live_line(sentence: Callable[[], str], as_json: bool):
    """A live line of the site in one sentence, on a terminal; nothing elsewhere."""
    if as_json or not sys.stdout.isatty():
        return contextlib.nullcontext()
    from rich.live import Live
    from rich.text import Text

    class Line:
        def __rich__(self) -> Text:
            return Text(sentence())

    return Live(Line(), refresh_per_second=4)


def _plain(value):
    return value.hex() if isinstance(value, bytes) else value
