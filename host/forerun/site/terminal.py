"""A running site on a terminal: `forerun status` prints this once, `forerun top` keeps it up to date.

Made from the snapshot's document alone (forerun.site.snapshot.Snapshot.document), as the status socket gives it.
"""

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from forerun.errors import Trouble

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR_COLUMNS, _CHART_COLUMNS = 16, 36  # with their labels they fit 80 columns
_SEVERITY = {"critical": "bold red", "warning": "yellow"}
_STATES = {
    "planned": "follows the plan", "leased": "holds a setpoint", "fallback": "on its own: fallback",
    "prepare": "prepares for a load step", "faulted": "fault", "grid_lost": "the grid is gone",
}  # fmt: skip
_BRIEF = 3  # alarms on a screen that has no room for their remedies
_IDLE_W = 50  # less is shown as nothing
_READINESS = {"ready": "green", "late": "bold red", "preparing": "yellow", "running": "cyan"}


def show(document: dict) -> None:
    """Print the site once."""
    Console().print(view(document))


def watch(read: Callable[[], dict], refresh_s: float) -> None:
    """Keep the site on the screen until q or Ctrl-C; without a terminal, print it once. Raises Trouble at the start
    when there is no site; later it says so on the screen and waits for it to come back."""
    document, read_s = read(), time.monotonic()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        show(document)
        return
    rows = Console().height
    with _keys() as pressed, Live(view(document, rows), screen=True, auto_refresh=False) as live:
        while not pressed(refresh_s):
            try:
                document, problem, read_s = read(), "", time.monotonic()
            except Trouble as trouble:
                problem = str(trouble)
                document, read_s = aged(document, time.monotonic() - read_s), time.monotonic()
            shown = view(document, live.console.height)
            shown = Group(Text(problem, style="bold red"), shown) if problem else shown
            live.update(shown, refresh=True)


def aged(document: dict, seconds: float) -> dict:
    """The site as it was so long ago: nothing in it is fresh any more."""
    if document["live"] is None:
        return document
    return {**document, "live": {**document["live"], "fresh": False,
                                 "age_ms": document["live"]["age_ms"] + round(1000 * seconds)}}  # fmt: skip


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A function that waits so long and is True when q was pressed meanwhile."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)

    def pressed(seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while select.select([sys.stdin], [], [], max(0.0, ends - time.monotonic()))[0]:
            if sys.stdin.read(1) in ("q", "Q", ""):
                return True
        return False

    try:
        tty.setcbreak(sys.stdin)
        yield pressed
    except KeyboardInterrupt:
        return
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def view(document: dict, rows: int | None = None) -> RenderableType:
    """All of the site, from the most urgent down. On a screen of so few `rows` that alarms would leave no room for
    power and plan, each of them takes one line."""
    parts: list[RenderableType] = [_title(document)]
    if alarms := document["alarms"]:
        brief = rows is not None and rows < 30 + 4 * len(alarms)
        table = _alarms_in_brief(alarms) if brief else _alarms(alarms)
        parts.append(Panel(table, title="alarms", border_style=_SEVERITY[alarms[0]["severity"]]))
    live = document["live"]
    old = live is not None and not live["fresh"]
    parts.append(Panel(_flows(document), title=f"last known power, {_span(live['age_ms'] / 1000)} old" if old else
                       "power now", border_style="red" if old else "none"))  # fmt: skip
    if document["plan"] and document["forecast"]:
        parts.append(Panel(_ahead(document), title="next 24 h"))
    if document["jobs"]:
        parts.append(Panel(_jobs(document), title="announced jobs"))
    if document["carbon"]:
        parts.append(Panel(_today(document["carbon"]), title=f"today ({document['carbon']['timezone']})"))
    parts.append(_health(document))
    return Group(*parts)


def _title(document: dict) -> Text:
    live = document["live"]
    title = Text.assemble((document["site"], "bold"), "   ")
    if live is None:
        title.append("waiting for the board", "yellow")
    elif not live["fresh"]:
        title.append(f"the board has been silent for {_span(live['age_ms'] / 1000)}", "bold red")
    else:
        bound = "" if live["bound_by"] == "none" else f", bound by {_words(live['bound_by'])}"
        state = _STATES.get(live["state"], _words(live["state"]))
        title.append(f"{state}{bound}", "bold red" if live["state"] == "faulted" else "bold green")
        title.append(f"   values {live['age_ms'] / 1000:.1f} s old", "dim")
    moment = datetime.fromtimestamp(document["utc_s"], UTC).strftime("%H:%M:%S UTC")
    title.append(f"   {moment}", "dim")
    return title


def _alarms(alarms: Sequence[dict]) -> Table:
    table = Table.grid(padding=(0, 1))
    for alarm in alarms:
        since = alarm["since_utc_s"]
        when = datetime.fromtimestamp(since, UTC).strftime("%H:%M") if since else ""
        words = Text(alarm["cause"])
        if alarm["remedy"]:
            words.append(f"\n→ {alarm['remedy']}", "dim")
        table.add_row(Text(_words(alarm["name"]), _SEVERITY[alarm["severity"]]), Text(when, "dim"), words)
    return table


def _alarms_in_brief(alarms: Sequence[dict]) -> Table:
    table = Table.grid()
    table.add_column(no_wrap=True, overflow="ellipsis")
    for alarm in alarms[:_BRIEF]:
        table.add_row(Text.assemble((_words(alarm["name"]), _SEVERITY[alarm["severity"]]), f"  {alarm['cause']}"))
    more = f"and {len(alarms) - _BRIEF} more; " if len(alarms) > _BRIEF else ""
    table.add_row(Text(f"{more}remedies: forerun status", "dim"))
    return table


def _flows(document: dict) -> Table:
    live = document["live"]
    table = Table.grid(padding=(0, 2))
    if live is None:
        table.add_row(Text("nothing was heard yet", "dim"))
        return table
    most_w = max(document["import_limit_w"], document["battery_limit_w"], live["load_w"], 1)
    battery_w, pcc_w = live["active_power_w"], live["pcc_import_w"]
    volts, hertz = live["pcc_voltage_mv"] / 1000, live["frequency_millihz"] / 1000
    grid = f"{volts:.1f}\N{NO-BREAK SPACE}V   {hertz:.2f}\N{NO-BREAK SPACE}Hz"
    limit = "exports" if pcc_w <= -_IDLE_W else f"limit {document['import_limit_w'] / 1000:.1f} kW"
    battery = "idle" if abs(battery_w) < _IDLE_W else "discharges" if battery_w > 0 else "charges"
    rows = (
        ("PV", live["pv_w"], "yellow", ""),
        ("grid", pcc_w, "blue", f"{limit}   {grid}"),
        ("battery", battery_w, "green", f"{battery}   SoC {live['soc_permille'] / 10:.1f} %"),
        ("genset", live["genset_w"], "red", ""),
        ("load", live["load_w"], "magenta", ""),
    )  # fmt: skip
    for name, power_w, colour, note in rows:
        bar = Text("█" * round(abs(power_w) / most_w * _BAR_COLUMNS), colour if live["fresh"] else "dim")
        bar.pad_right(_BAR_COLUMNS - len(bar))
        table.add_row(name, Text(f"{power_w / 1000:+7.2f} kW", justify="right"), bar, Text(note, "dim"))
    for one in document["compute"]:
        said = f"{one['name']}, {document['utc_s'] - one['utc_s']:.0f} s ago"
        table.add_row(Text("compute", "dim"), Text(f"{one['power_w'] / 1000:+7.2f} kW", "dim"), "", Text(said, "dim"))
    return table


def _ahead(document: dict) -> Table:
    forecast, plan = document["forecast"], document["plan"]
    per = max(1, len(forecast["load_q50_w"]) // _CHART_COLUMNS)
    now_s, step_s = forecast["start_utc_s"], forecast["step_s"]
    table = Table.grid(padding=(0, 2))
    for name, key, colour in (("load", "load_q50_w", "magenta"), ("PV", "pv_q50_w", "yellow")):
        values = _means(forecast[key], per)
        table.add_row(f"{name} forecast", _chart(spark(values, 0, max(*values, 1)), colour),
                      Text(f"to {max(forecast[key.replace('50', '90')]) / 1000:.1f} kW (90 %)", "dim"))  # fmt: skip
    columns_s = [now_s + step_s * per * column for column in range(_CHART_COLUMNS)]
    imports = _at(plan["step_start_utc_s"], plan["pcc_import_w"], columns_s)
    soc = _at(plan["step_start_utc_s"], plan["soc_permille"], columns_s)
    genset = _at(plan["step_start_utc_s"], plan["genset_w"], columns_s)
    limit_w = max(document["import_limit_w"], 1)
    table.add_row("import plan", _chart(spark(imports, 0, limit_w), "blue"), Text(f"of {limit_w / 1000:.1f} kW", "dim"))
    table.add_row("state of charge", _chart(spark(soc, 0, 1000), "green"),
                  Text(f"{min(soc) / 10:.0f} to {max(soc) / 10:.0f} %", "dim"))  # fmt: skip
    if any(genset):
        table.add_row("genset plan", _chart(spark(genset, 0, max(genset)), "red"), "")
    hours = "".join(datetime.fromtimestamp(at, UTC).strftime("%H").ljust(6) for at in columns_s[::6])
    table.add_row(Text("UTC", "dim"), _chart(hours, "dim"), Text(f"costs {plan['cost']:.2f} {plan['currency']}", "dim"))
    for sentence in plan["relaxed"]:
        table.add_row(Text("not kept", "yellow"), Text(sentence), "")
    return table


def _jobs(document: dict) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in document["jobs"]:
        ahead_s = job["start_utc_s"] - document["utc_s"]
        when = f"in {_span(ahead_s)}" if ahead_s > 0 else f"since {_span(-ahead_s)}"
        ready = f", {_span(job['ready_ahead_s'])} ahead" if job["ready_ahead_s"] else ""
        table.add_row(job["job"], f"{job['power_w'] / 1000:.1f} kW", when, f"for {_span(job['duration_s'])}",
                      Text(job["readiness"] + ready, _READINESS.get(job["readiness"], "")))  # fmt: skip
    return table


def _today(carbon: dict) -> Table:
    table = Table.grid(padding=(0, 2))
    hours = carbon["hours"]
    grams = [max(0, hour["load_g"]) for hour in hours]
    table.add_row("load's emissions", _chart(spark(grams, 0, max(*grams, 1)), "cyan"),
                  f"{carbon['load_g'] / 1000:.2f} kgCO2e, location-based")  # fmt: skip
    share = carbon["on_site_permille"]
    imported = f"imported {carbon['import_wh'] / 1000:.2f} kWh" + (f", {share / 10:.0f} % on site" if share else "")
    table.add_row("load", f"{carbon['load_wh'] / 1000:.2f} kWh", imported)
    return table


def _health(document: dict) -> Table:
    link, store, sealed = document["link"], document["store"], document["commissioning"]
    wrong = sum(count for name, count in link["counts"].items() if name not in ("frames_in", "frames_out"))
    table = Table.grid(padding=(0, 2))
    board = f"{link['board'] or '?'} on {link['port']}"
    if link["connected"]:
        heap_kib = (link["heap_free_bytes"] or 0) / 1024
        board += f", cycle {(link['cycle_us'] or 0) / 1000:.0f} ms, {heap_kib:.0f} KiB free, {wrong} bad frames"
    else:
        board += ", not connected"
    table.add_row(Text("board", "dim"), board)
    free = "" if store["disk_free_bytes"] is None else f", {store['disk_free_bytes'] / 2**30:.1f} GiB free"
    state = store["problem"] or f"{store['entries']} entries, {store['bytes'] / 2**20:.1f} MiB{free}"
    table.add_row(Text("journal", "dim"), Text(state, "red" if store["problem"] else ""))
    if sealed["sealed"] is not None:
        done = "sealed" if sealed["sealed"] else f"not sealed; next: forerun commission {sealed['next']}"
        table.add_row(Text("commissioning", "dim"), done)
    return table


def _chart(columns: str, colour: str) -> Text:
    """One line whatever room there is; what does not fit on a narrow terminal is the far end of the time."""
    return Text(columns, colour, no_wrap=True, overflow="crop")


def spark(values: Sequence[float], low: float, high: float) -> str:
    """One character a value, from ' ' at `low` to '█' at `high`."""
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(0, min(steps, round((value - low) / (high - low) * steps)))] for value in values)


def _means(values: Sequence[float], per: int) -> list[float]:
    return [sum(values[at : at + per]) / len(values[at : at + per]) for at in range(0, len(values), per)]


def _at(starts: Sequence[int], values: Sequence[float], moments: Sequence[int]) -> list[float]:
    """The value of the step that holds each moment; the first or last one beyond them."""
    found, index = [], 0
    for moment in moments:
        while index + 1 < len(starts) and starts[index + 1] <= moment:
            index += 1
        found.append(values[index])
    return found


def _span(seconds: float) -> str:
    """45 s, 25 min, 8.3 h"""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _words(name: str) -> str:
    return name.replace("_", " ")
