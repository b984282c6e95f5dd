"""`forerun doctor`: looks for the usual mistakes in order, from the file to the data, and says how to mend each.

Nothing is changed. A site that runs keeps its port and its journal: what can only be seen from inside comes from its
status socket.
"""

import os
import shutil
import stat
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from forerun import config
from forerun.errors import Trouble
from forerun.site import alarms, status

OK, NOTE, WRONG = "ok", "note", "wrong"
DISK_LOW_BYTES = 256 << 20
KEPT_INTERVALS = 2 * 288  # the CTs are judged by the last two days
REPL_PATIENCE_S = 1.5
HELLO_PATIENCE_S = 4.0
TELEMETRY_PATIENCE_S = 3.0
OTHER_BAUDS = (115_200, 921_600, 460_800, 57_600, 9_600)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do about it ('' when nothing)."""

    check: str
    state: str
    found: str
    remedy: str = ""


def examine(site_path: Path) -> list[Finding]:
    """Everything in order; a check that cannot be made because an earlier one failed is left out."""
    try:
        site = config.load(site_path)
    except Trouble as problem:
        return [Finding("site file", WRONG, str(problem), "correct it; host/forerun/example_site.toml shows every key")]
    findings = [Finding("site file", OK, f"{site_path} is well formed"), *site_findings(site)]
    try:
        running = status.read(site.store.path)
    except Trouble:
        running = None
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        _clock, lambda: _disk(site), lambda: _keys(site_path, site), lambda: _journal(site),
        lambda: _commissioning(site_path), lambda: _board(site_path, site, running),
    )  # fmt: skip
    for step in steps:
        findings += step()
    return findings


def site_findings(site: config.SiteFile) -> Iterator[Finding]:
    """What is allowed in a site file and yet is mostly a mistake."""
    longitude, zone = site.site.longitude, site.reporting.timezone
    now = datetime.now(UTC).replace(month=1, day=15)
    offset_h = now.astimezone(ZoneInfo(zone)).utcoffset().total_seconds() / 3600
    apart_h = abs((offset_h - longitude / 15 + 12) % 24 - 12)
    if apart_h > 3:
        found = f"reporting.timezone {zone} is {apart_h:.0f} h away from the sun at longitude {longitude:g}"
        yield Finding("time zone", WRONG, found, "correct site.longitude (east is positive) or reporting.timezone")
    else:
        yield Finding("time zone", OK, f"{zone} fits the longitude")
    if site.site.latitude == 0 and longitude == 0:
        yield Finding("place", WRONG, "latitude and longitude are both 0", "set them: PV is forecast from them")
    slowest_s = 0.15 if site.bus.baud < 38_400 else 0.05
    if site.safety.cycle_ms / 1000 < slowest_s:
        yield Finding("cycle", NOTE, f"safety.cycle_ms {site.safety.cycle_ms} at {site.bus.baud} baud: the bus cannot "
                      "keep that pace", "raise bus.baud on all devices, or safety.cycle_ms")  # fmt: skip
    if site.safety.inverter_watchdog_s > 60:
        yield Finding("watchdog", NOTE, f"the inverter goes on for {site.safety.inverter_watchdog_s} s after a fault",
                      "lower safety.inverter_watchdog_s to 60 or less")  # fmt: skip
    if site.limits.charge_max_w > 2 * site.battery.capacity_wh:
        yield Finding("battery", NOTE, f"{site.limits.charge_max_w} W would fill {site.battery.capacity_wh} Wh in less "
                      "than half an hour", "check battery.capacity_wh: it is in Wh, not kWh")  # fmt: skip


def _clock() -> Iterator[Finding]:
    from forerun.site.running import clock_synchronised

    if time.time() < 1_700_000_000:
        yield Finding("clock", WRONG, "this host's clock was never set", "set it, and let a time server keep it")
        return
    synchronised = clock_synchronised()
    if synchronised is False:
        yield Finding("clock", WRONG, "this host's clock is not synchronised", "`timedatectl set-ntp true`, or chrony")
    else:
        yield Finding("clock", OK, "synchronised" if synchronised else "set; this system does not say by whom")


def _disk(site: config.SiteFile) -> Iterator[Finding]:
    folder = Path(site.store.path).parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError as problem:
        yield Finding("disk", WRONG, f"{folder} cannot be looked at ({problem.strerror})", "correct store.path")
        return
    left = f"{usage.free / 2**30:.2f} GiB of {usage.total / 2**30:.1f} GiB are free at {folder}"
    if usage.free < DISK_LOW_BYTES:
        yield Finding("disk", WRONG, left, "free space: a full disk acknowledges nothing, and the board's store fills")
    elif not os.access(folder, os.W_OK):
        yield Finding("disk", WRONG, f"{folder} is not writable for this user", "run as the site's user")
    else:
        yield Finding("disk", OK, left)


def _keys(site_path: Path, site: config.SiteFile) -> Iterator[Finding]:
    journal = Path(site.store.path)
    names = (".key", ".tokens", ".sock")
    secret = [path for path in (*(journal.with_name(journal.name + end) for end in names),
                                site_path.with_suffix(".key.pem"), site_path.with_suffix(".keys.json"))
              if path.exists()]  # fmt: skip
    open_ones = [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in open_ones:
        yield Finding("keys", WRONG, f"{path} can be read by others", f"chmod 600 {path}; then rotate what it holds")
    if secret and not open_ones:
        yield Finding("keys", OK, f"{len(secret)} secret files are their owner's alone")


def _journal(site: config.SiteFile) -> Iterator[Finding]:
    from forerun.store import backup
    from forerun.store.journal import read

    path = Path(site.store.path)
    if not path.exists():
        yield Finding("journal", NOTE, "there is none yet", "`forerun run` makes it")
        return
    try:
        verdict = backup.check(path)
    except OSError as problem:
        yield Finding("journal", WRONG, f"{path} cannot be read ({problem.strerror})", "run as the site's user")
        return
    for sentence in verdict.findings:
        yield Finding("journal", WRONG, sentence, "keep the file, and compare it with a backup")
    for sentence in verdict.notes:
        yield Finding("journal", NOTE, sentence)
    if not verdict.findings:
        yield Finding("journal", OK, f"{verdict.entries} entries, {verdict.seals} seals hold")
    entries = list(read(path))
    yield from meter_findings(entries)


def meter_findings(entries: list) -> Iterator[Finding]:
    """What the interval records say of the CTs: a meter that is backwards makes a load that cannot be."""
    from forerun.carbon.intake import readings_of

    readings = readings_of(entry for entry in entries if hasattr(entry, "kind"))[-KEPT_INTERVALS:]
    pairs = [(before, now) for before, now in pairwise(readings)
             if 0 < now.utc_s - before.utc_s < 4000 and not now.quality & 15]  # fmt: skip
    if len(pairs) < 12:
        return
    wh = {name: [getattr(now, name) - getattr(before, name) for before, now in pairs]
          for name in ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")}  # fmt: skip
    net = [i - e for i, e in zip(wh["import_wh"], wh["export_wh"], strict=True)]
    battery = [d - c for d, c in zip(wh["discharge_wh"], wh["charge_wh"], strict=True)]
    load = [n + b + p + g for n, b, p, g in zip(net, battery, wh["pv_wh"], wh["genset_wh"], strict=True)]
    negative = sum(value < -5 for value in load) / len(load)
    moved = [abs(value) for value in battery]
    follows = 0.0
    if max(moved) > 50 and statistics.pstdev(net) > 1 and statistics.pstdev(battery) > 1:
        follows = statistics.correlation(net, battery)
    backwards = "the CTs at the PCC are probably backwards: `forerun commission selftest` measures it"
    if negative > 0.1:
        found = f"the load would be below 0 in {negative:.0%} of the last intervals"
        yield Finding("PCC meter", WRONG, found, backwards)
    elif follows > 0.9:
        yield Finding("PCC meter", WRONG, "import rises when the battery discharges", backwards)
    elif len(set(net)) == 1 and max(moved) > 50:
        yield Finding("PCC meter", WRONG, "it shows the same energy in every interval while the battery moves",
                      "the meter is frozen or not at the PCC: check its wiring and unit id")  # fmt: skip
    else:
        yield Finding("PCC meter", OK, f"plausible over the last {len(pairs)} intervals")
    substituted = sum(bool(reading.quality & 15) for reading in readings) / len(readings)
    if substituted > 0.05:
        yield Finding("meters", WRONG, f"{substituted:.0%} of the last intervals hold substituted values",
                      "a meter is silent now and then: check terminators, ground and unit ids")  # fmt: skip


def _commissioning(site_path: Path) -> Iterator[Finding]:
    from forerun.site.running import commissioned

    sealed, following, problem = commissioned(site_path)
    if problem:
        yield Finding("commissioning", WRONG, problem)
    elif sealed:
        yield Finding("commissioning", OK, "sealed")
    else:
        yield Finding("commissioning", NOTE, "not sealed", f"next: `forerun commission {following}`")


def _board(site_path: Path, site: config.SiteFile, running: dict | None) -> Iterator[Finding]:
    if running:
        yield Finding("service", OK, f"runs since {_ago(running['utc_s'] - (running['started_utc_s'] or 0))}")
        if running["link"]["connected"]:
            yield Finding("board", OK, f"{running['link']['board']} answers")
        yield from _alarms(alarms.Alarm(**alarm) for alarm in running["alarms"])
        return
    yield Finding("service", NOTE, "the site does not run", "`systemctl start forerun`, or `forerun run`")
    from forerun.link.port import PortError, open_port

    port = site.link.port
    try:
        open_port(port, site.link.baud).close()
    except PortError as problem:
        yield Finding("port", WRONG, str(problem), f"correct link.port{_other_ports(port)}")
        return
    yield Finding("port", OK, f"{port} can be opened")
    yield from probe(site_path, port, site.link.baud)


def _other_ports(port: str) -> str:
    folder = Path("/dev/serial/by-id")
    others = sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []
    return f"; these are here: {', '.join(others)}" if others and port not in others else ""


def probe(site_path: Path, port: str, baud: int) -> list[Finding]:
    """Who answers at the port, and what it says of its devices: a board of this schema, one of another, a MicroPython
    prompt, one at another rate, or nobody."""
    from forerun.link.port import PortError

    answer = _hello(site_path, port, baud)
    if answer is not None:
        return answer
    try:
        prompt = _at_prompt(port, baud)
    except PortError as problem:
        return [Finding("board", WRONG, str(problem), "leave the port to this program and try again")]
    if prompt:
        return [Finding("board", WRONG, "the board waits at the MicroPython prompt: its main.py does not run",
                        "`forerun commission flash` puts the firmware on it; or press its reset button")]  # fmt: skip
    for other in OTHER_BAUDS:
        if other != baud and _hello(site_path, port, other) is not None:
            found = f"the board answers at {other} baud, not at {baud}"
            return [Finding("board", WRONG, found, f"set link.baud = {other}")]
    return [Finding("board", WRONG, f"nothing answers on {port} at any usual rate",
                    "is it powered, is this its port, do TX and RX cross?")]  # fmt: skip


def _hello(site_path: Path, port: str, baud: int) -> list[Finding] | None:
    import secrets

    from forerun.commission.desk import Desk
    from forerun.link.port import SerialLink

    desk = Desk(secrets.token_bytes(8))
    link = SerialLink(desk, port, baud)
    desk.drive(link.poll, lambda: time.monotonic_ns() // 1000)
    try:
        desk.until(lambda: desk.hello or desk.refusal, HELLO_PATIENCE_S)
        if hello := desk.hello:  # it is gone from there when the port is
            desk.until(lambda: desk.telemetry, TELEMETRY_PATIENCE_S)
            return list(_told(site_path, hello, desk.telemetry[-1]["faults"] if desk.telemetry else 0))
        if desk.refusal:
            remedy = "put this version's firmware on it: `forerun commission flash`"
            return [Finding("board", WRONG, desk.refusal, remedy)]
        if desk.occupied:
            return [Finding("board", WRONG, desk.occupied, alarms.OCCUPIED)]
    finally:
        link.close()
    return None


def _told(site_path: Path, hello: dict, faults: int) -> Iterator[Finding]:
    """What a board says of itself, its key and its devices."""
    from forerun.link import keys

    yield Finding("board", OK, f"{hello['identity']} answers ({hello['software']})")
    if hello["key_id"] and not keys.status(keys.KeyFile(keys.path_of(site_path)), hello)["roles"]:
        found = f"the board wants key {hello['key_id']:06x}, which {keys.path_of(site_path)} does not hold"
        yield Finding("board's key", WRONG, found, "bring the key file from where the board got its key, or set a new "
                      "one on site: `forerun commission keys recover`")  # fmt: skip
    yield from _alarms(alarms.Raised().standing(0, faults))


def _alarms(standing) -> Iterator[Finding]:
    """forerun.site.alarms.Alarm, each as a finding."""
    for alarm in standing:
        state = WRONG if alarm.severity == alarms.CRITICAL else NOTE
        yield Finding(alarm.name.replace("_", " "), state, alarm.cause, alarm.remedy)


def _at_prompt(port: str, baud: int) -> bool:
    """Whether a friendly MicroPython prompt answers to an empty line. Only asked when no board spoke the protocol."""
    from forerun.link.port import open_port

    with open_port(port, baud) as line:
        line.write(b"\r\n")
        heard, ends = b"", time.monotonic() + REPL_PATIENCE_S
        while time.monotonic() < ends and b">>> " not in heard:
            heard += line.read(256)
            time.sleep(0.02)
    return b">>> " in heard


def _ago(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def show(findings: list[Finding]) -> None:
    """The findings as a table, what is wrong in red."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {OK: "green", NOTE: "yellow", WRONG: "bold red"}
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        words = Text(finding.found)
        if finding.remedy and finding.state != OK:
            words.append(f"\n→ {finding.remedy}", "dim")
        table.add_row(Text(finding.state, colours[finding.state]), finding.check, words)
    Console().print(table)
