"""One site-day, played twice: with the controller (MicroPython in the loop the whole time) and without any."""

import contextlib
import hashlib
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from forerun import config
from forerun.carbon import accounting
from forerun.errors import Trouble
from forerun.plant.board import BoardProcess
from forerun.plant.devices import slave
from forerun.plant.lockstep import BoardHung, Lockstep, last_processor, on_processors
from forerun.plant.site import Site
from forerun.report import rendering
from forerun.simulate.scene import (
    DAY_S,
    DAY_START_UTC_S,
    FULL_W,
    HISTORY_DAYS,
    IDLE_W,
    JOB,
    NOTICE_S,
    PV_PEAK_W,
    TRACE_FIRST_DAY,
    WEATHER_DAY,
    WEATHER_MONTH,
    Scene,
    demo_site,
    new_site,
    scene,
)
from forerun.site.service import Service
from forerun.site.snapshot import Viewer
from forerun.store.journal import Journal, read

QUIET_MS, WATCH_MS = 4000, 500
PICTURE_STEP_S = 300
DIESEL_PER_LITRE = 1.60


def cycle_ms(now_us: int) -> int:
    """Round period asked of the board: 0, its own, around each edge of the job; coarser while nothing moves."""
    t_s = now_us / 1e6
    start_s = JOB.start_utc_s - DAY_START_UTC_S
    for step_s in (start_s, start_s + JOB.duration_s):
        if step_s - 15 <= t_s < step_s + 45:
            return 0
    if start_s - NOTICE_S - 5 <= t_s < start_s + JOB.duration_s + 120:
        return WATCH_MS
    return QUIET_MS


def play_day(out: Path, seed: int, *, quiet: bool) -> dict:
    """Play the day both ways, write report.html, report.json and the journal below `out`; returns table and paths."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="forerun-demo-") as folder, _progress(quiet) as tick:
        played, site_file = scene(), demo_site(Path(folder))
        without = new_site(played, seed)
        without[0].advance(DAY_S * 1_000_000)
        with on_processors(last_processor):
            *with_, rounds, spoken = play_with(played, site_file, Path(folder), seed, tick)
        entries = list(read(site_file.store.path))
        shutil.copyfile(site_file.store.path, out / "journal.forerun")
    document = _document(seed, site_file, without, with_, entries, spoken, rounds)
    canonical = rendering.canonical_json(document)
    (out / "report.json").write_text(canonical)
    (out / "report.html").write_text(rendering.html(document))
    result = {
        "table": document["table"],
        "report_html": str(out / "report.html"),
        "report_json": str(out / "report.json"),
        "journal": str(out / "journal.forerun"),
        "sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if not quiet:
        _show(document, result)
    return result


def play_realtime(out: Path, seed: int, seconds: int, *, quiet: bool) -> dict:
    """Play `seconds` around the job's start by the wall clock: emulator, board and host each on their real serial
    lines. The inverter is awake already, since five minutes of notice do not fit. Returns the table; writes it too."""
    from forerun.console import live_line
    from forerun.link.port import SerialLink
    from forerun.simulate.emulated import EmulatedSite

    out.mkdir(parents=True, exist_ok=True)
    start_us = (JOB.start_utc_s - DAY_START_UTC_S) * 1_000_000 - seconds * 500_000
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="forerun-demo-")))
        played, site_file = scene(), demo_site(folder)
        plain, _ = new_site(played, seed)
        site, _ = new_site(played, seed, starts_asleep=False, sleep_after_s=1e6, start_soc=0.6)
        for play in (plain, site):
            play.advance(start_us)
        before = [play.totals() for play in (plain, site)]
        emulated = cleanup.enter_context(EmulatedSite(site, with_board=True))
        journal = cleanup.enter_context(Journal(site_file.store.path))
        begun = time.monotonic()
        host = Service(
            site_file, journal, nonce=hashlib.sha256(f"host {seed}".encode()).digest()[:8], history=played.history,
            say=lambda sentence: None,
        )  # fmt: skip
        link = SerialLink(host, emulated.link_path, site_file.link.baud)
        link.utc_us = lambda: DAY_START_UTC_S * 1_000_000 + start_us + round((time.monotonic() - begun) * 1e6)
        cleanup.callback(link.close)
        announced = False
        viewer = Viewer(host)
        with live_line(lambda: viewer.take(host.latest_us or 0).sentence(), as_json=quiet):
            while time.monotonic() - begun < seconds:
                link.poll(0.1)
                if host.latest and not announced:
                    announced = True
                    host.announce(JOB, time.monotonic_ns() // 1000)
        link.close()
    plain.advance(site.now_us)
    table = {}
    for name, play, then in zip(("without", "with_controller"), (plain, site), before, strict=True):
        totals = play.totals()
        table[name] = {
            "import_kwh": round((totals.import_wh - then.import_wh) / 1000, 3),
            "lowest_v": round(totals.min_pcc_v, 1),
            "peak_import_kw": round(totals.peak_import_w / 1000, 1),
            "diesel_starts": totals.genset_starts - then.genset_starts,
            "dips": totals.dip_count - then.dip_count,
        }
    result = {"seconds": seconds, "seed": seed, "table": table, "link": host.session.counts()}
    (out / "realtime.json").write_text(rendering.canonical_json(result))
    if not quiet:
        _show_realtime(result, out / "realtime.json")
    return result


def _show_realtime(result: dict, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "without", "with Forerun", title=f"{result['seconds']} s around the load step, in real time")
    for name in result["table"]["without"]:
        table.add_row(name.replace("_", " "), *(str(result["table"][play][name]) for play in result["table"]))
    console = Console()
    console.print(table)
    console.print(f"written: {path}", soft_wrap=True)


def _document(seed: int, site_file: config.SiteFile, without, with_, entries: list, spoken, rounds: int) -> dict:
    """The report of both plays: the table from the plant's own meters, the carbon by the hour from the journal."""
    (plain, plain_surge), (site, surge) = without, with_
    before, after = plain.totals(), site.totals()
    rows = _rows(site_file, plain, site)
    books = accounting.ledger(
        accounting.readings_of(entries), accounting.factors_of(site_file), accounting.battery_of(site_file)
    )
    total = books.total()
    booked_kwh = 0.0 if total is None else total.load_wh / 1000
    zero_us = (JOB.start_utc_s - DAY_START_UTC_S) * 1_000_000
    headline = (
        f"A job of {JOB.power_w / 1000:.0f} kW, announced {NOTICE_S // 60} min ahead, meets a battery that is ready: "
        f"lowest voltage {after.min_pcc_v:.1f} V instead of {before.min_pcc_v:.1f} V, "
        f"diesel {after.genset_hours:.1f} h instead of {before.genset_hours:.1f} h."
    )
    notes = [
        f"Compute load: Google 2019 trace, day {TRACE_FIRST_DAY + HISTORY_DAYS}, the {HISTORY_DAYS} days before it as "
        f"history; {IDLE_W / 1000:g} kW idle, {FULL_W / 1000:g} kW at full utilisation.",
        f"Weather: TMY3 703165 (55.3° N, Pacific coast), {WEATHER_DAY}.{WEATHER_MONTH:02d}., {PV_PEAK_W / 1000:g} kWp; "
        "its hours of local standard time are played as UTC.",
        "Without: the same site, PV and job; the inverter sleeps; the set's automatic mains failure panel starts it "
        f"after {plain.config.amf_delay_s:.0f} s below {100 * plain.config.amf_low_pu:.0f} % of nominal voltage.",
        "Cost and emissions count what left the battery over the day as bought from the grid at the day's mean; "
        f"diesel at {DIESEL_PER_LITRE} {site_file.tariff.currency}/L; wear and demand charge are not in the cost.",
        f"The board met the ruling clock {rounds} times. Its rounds: every {QUIET_MS / 1000:g} s while nothing moves, "
        f"{WATCH_MS} ms from the announcement on, its own {site_file.safety.cycle_ms} ms around both edges of the job.",
        f"The ledger, made from the board's records alone, books {booked_kwh:.1f} kWh of load; the plant counted "
        f"{after.load_wh / 1000:.1f} kWh. The first minutes, before the first interval record, are not in the ledger.",
    ]
    return rendering.demo_document(
        site_file,
        books,
        _power(site),
        rendering.Surge(
            JOB.job,
            int(JOB.start_utc_s),
            JOB.duration_s,
            (np.array(surge.t_us) - zero_us) / 1e6,
            np.array(plain_surge.pcc_min_v),
            np.array(surge.pcc_min_v),
        ),
        rows,
        headline=headline,
        seed=seed,
        notes=notes,
        said=[(DAY_START_UTC_S + int(at_s), sentence) for at_s, sentence in spoken],
    )


def _rows(site_file: config.SiteFile, plain: Site, site: Site) -> list[rendering.Row]:
    columns = [(play.totals(), _bought(site_file, play)) for play in (plain, site)]

    def row(name: str, words: str, unit: str, value, digits: int = 1) -> rendering.Row:
        return rendering.Row(name, words, unit, *(value(totals, bought) for totals, bought in columns), digits)

    currency = site_file.tariff.currency
    return [
        row("import_kwh", "Import", "kWh", lambda t, b: t.import_wh / 1000),
        row("export_kwh", "Export", "kWh", lambda t, b: t.export_wh / 1000),
        row("peak_import_kw", "Peak import (10 ms)", "kW", lambda t, b: t.peak_import_w / 1000),
        row("diesel_h", "Diesel set running", "h", lambda t, b: t.genset_hours, 2),
        row("diesel_l", "Diesel burnt", "L", lambda t, b: t.genset_litres),
        row("cost", "Energy and fuel, battery made good", currency, lambda t, b: b[0], 2),
        row("co2e_kg", "Emissions, battery made good", "kgCO2e", lambda t, b: b[1], 2),
        row("lowest_v", "Lowest voltage at the PCC (10 ms)", "V", lambda t, b: t.min_pcc_v),
        row("dips", "Voltage dips (EN 50160, below 90 %)", "", lambda t, b: t.dip_count, 0),
        row("soc_end", "State of charge at midnight", "%", lambda t, b: 100 * t.soc),
    ]


def _bought(site_file: config.SiteFile, site: Site) -> tuple[float, float]:
    """(cost in the tariff's currency, kgCO2e) of the day; energy that left the battery counts as bought at the mean."""
    totals, tariff = site.totals(), site_file.tariff
    prices = np.array([float(price) for price in tariff.energy_price_per_kwh])
    hours = (np.array(site.minutes.t_us) - 1) // 3_600_000_000
    kwh = np.array(site.minutes.pcc_import_w) / 60_000
    cost = np.sum(np.clip(kwh, 0, None) * prices[hours]) - np.sum(np.clip(-kwh, 0, None)) * float(
        tariff.export_price_per_kwh
    )
    gone_kwh = (site.config.start_soc - totals.soc) * site.config.battery_wh / 1000
    gone_kwh /= float(site_file.battery.efficiency_charge)
    cost += gone_kwh * prices.mean() + totals.genset_litres * DIESEL_PER_LITRE
    grid_kg = float(site_file.carbon.grid_g_per_kwh) / 1000 * (totals.import_wh / 1000 + gone_kwh)
    return float(cost), grid_kg + totals.genset_litres * float(site_file.carbon.diesel_kg_per_litre)


def _power(site: Site) -> rendering.Power:
    """The day in five-minute means from the plant's log of minutes."""
    minutes, fold = site.minutes, PICTURE_STEP_S // 60

    def mean(values) -> np.ndarray:
        return np.array(values).reshape(-1, fold).mean(axis=1)

    return rendering.Power(
        DAY_START_UTC_S,
        PICTURE_STEP_S,
        load_w=mean(minutes.load_w),
        pcc_import_w=mean(minutes.pcc_import_w),
        pv_w=mean(minutes.pv_w),
        genset_w=mean(minutes.genset_w),
        battery_w=mean(minutes.inverter_w),
        soc=mean(minutes.soc),
    )


@contextlib.contextmanager
def _progress(quiet: bool):
    """A progress bar on standard error; yields tick(share of the day that is done, 0–1)."""
    if quiet:
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("site-day {task.fields[clock]}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("day", total=1.0, clock="00:00")

        def tick(share: float) -> None:
            minute = round(share * DAY_S / 60)
            bar.update(task, completed=share, clock=f"{minute // 60:02d}:{minute % 60:02d}")

        yield tick


def _show(document: dict, result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("", "without", "with Forerun", "", title=document["title"])
    for column in table.columns[1:3]:
        column.justify = "right"
    for row in document["table"].values():
        values = [f"{row[name]:.{row['digits']}f}" for name in ("without", "with_controller")]
        table.add_row(row["name"], *values, row["unit"])
    console.print(table)
    console.print(document["headline"])
    console.print(document["notes"][4], style="dim")
    for name in ("report_html", "report_json", "journal"):
        console.print(f"{name.replace('_', ' ')}: {result[name]}", soft_wrap=True)
    console.print(f"seed {document['seed']}, sha256 {result['sha256'][:16]}…, {result['seconds']} s")


def play_with(played: Scene, site_file: config.SiteFile, folder: Path, seed: int, tick, *, start_s=0, end_s=DAY_S):
    """From `start_s` to `end_s` of the day with board and host, both new at `start_s`: (site, surge recording, barriers
    met by the board, what was said with its time of day)."""
    site, surge = new_site(played, seed)
    site.advance(start_s * 1_000_000)
    board = BoardProcess(folder / "flash", lockstep=True, nonce_seed=seed, log=folder / "board.log")
    spoken: list[tuple[float, str]] = []
    with Journal(site_file.store.path) as journal:
        host = Service(
            site_file,
            journal,
            nonce=hashlib.sha256(f"host {seed}".encode()).digest()[:8],
            utc_offset_us=DAY_START_UTC_S * 1_000_000,
            history=played.history,
            say=lambda sentence: spoken.append((bench.now_us / 1e6, sentence)),
        )
        bench = Lockstep(site, slave(site), board, host, cycle_ms=cycle_ms)
        notice_us = (JOB.start_utc_s - DAY_START_UTC_S - NOTICE_S) * 1_000_000
        bench.at(notice_us, lambda: host.announce(JOB, bench.now_us))
        try:
            bench.power_on()
            for until_s in range(start_s + 60, end_s + 60, 60):
                bench.run(until_s * 1_000_000)
                tick((until_s - start_s) / (end_s - start_s))
        except BoardHung as problem:
            log = (folder / "board.log").read_text(errors="replace").strip().splitlines()
            raise Trouble(f"{problem}{': ' + log[-1] if log else ''}") from problem
        finally:
            board.close()
        site.advance(end_s * 1_000_000)
    return site, surge, bench.rounds, spoken
