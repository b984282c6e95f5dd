"""One site-day, played twice: with the controller (MicroPython in the loop the whole time) and without any."""

import dataclasses
import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from forerun import config, report
from forerun.compute import Announcement, google_2019_utilisation, node_power_w
from forerun.errors import Trouble
from forerun.plant.board import BoardProcess
from forerun.plant.devices import slave
from forerun.plant.lockstep import BoardHung, Lockstep
from forerun.plant.pv import day_w, typical_year_w
from forerun.plant.series import Series
from forerun.plant.site import Site, SiteConfig
from forerun.service import FORECAST_STEP_S, History, Service
from forerun.store import Journal

DAY_S = 86400
DAY_START_UTC_S = 1_568_937_600  # 2019-09-20T00:00Z: the day of the weather year that is played
WEATHER_MONTH, WEATHER_DAY = 9, 20
HISTORY_DAYS = 7
TRACE_FIRST_DAY = 10  # of the 28 days of the compute trace: seven of history, then the day that is played
PV_PEAK_W = 20_000.0
IDLE_W, FULL_W = 4_000.0, 11_000.0
JOB = Announcement("training-1", 13_000.0, DAY_START_UTC_S + 19 * 3600, 2700, 0.95)
NOTICE_S = 300
QUIET_MS, WATCH_MS = 2000, 100
SURGE_TRACE_S = (-20, 40)  # recorded at 10 ms around the surge
PICTURE_STEP_S = 300


@dataclass(frozen=True)
class Scene:
    """The inputs of the day, the same for both plays."""

    load: Series
    pv: Series
    history: History


def scene() -> Scene:
    """Real compute trace and real weather as the site sees them. Raises Trouble when the packages are missing."""
    try:
        utilisation = google_2019_utilisation()
        year_w = typical_year_w(PV_PEAK_W)
    except ImportError as problem:
        raise Trouble(f"the demo's data are not installed ({problem.name}): pip install 'forerun[demo]'") from problem
    per_day = DAY_S // FORECAST_STEP_S
    first = TRACE_FIRST_DAY * per_day
    watts = node_power_w(utilisation[first : first + (HISTORY_DAYS + 1) * per_day], IDLE_W, FULL_W)
    past_w, today_w = watts[: HISTORY_DAYS * per_day], watts[HISTORY_DAYS * per_day :]
    # The hours of the weather file are local standard time; the site's day is played with them as UTC.
    hours_w = day_w(year_w, WEATHER_MONTH, WEATHER_DAY - HISTORY_DAYS, HISTORY_DAYS + 2)
    centres = (np.arange(len(hours_w)) + 0.5) * 3600 - HISTORY_DAYS * DAY_S
    steps = (np.arange(HISTORY_DAYS * per_day) + 0.5) * FORECAST_STEP_S - HISTORY_DAYS * DAY_S
    history = History(DAY_START_UTC_S - HISTORY_DAYS * DAY_S, list(past_w), list(np.interp(steps, centres, hours_w)))
    noon_before = HISTORY_DAYS * 24 - 1
    return Scene(
        load=Series(0, FORECAST_STEP_S * 1_000_000, today_w),
        pv=Series(-1_800_000_000, 3_600_000_000, hours_w[noon_before:], linear=True),
        history=history,
    )


def new_site(played: Scene, seed: int) -> tuple[Site, "object"]:
    """The emulated site at midnight, its inverter asleep, and the recording around the surge."""
    site = Site(SiteConfig(start_soc=0.5, starts_asleep=True), loads=[played.load], pv=played.pv, seed=seed)
    start_us = (JOB.start_utc_s - DAY_START_UTC_S) * 1_000_000
    site.add_job(start_us, JOB.duration_s * 1_000_000, JOB.power_w)
    surge = site.record(start_us + SURGE_TRACE_S[0] * 1_000_000, start_us + SURGE_TRACE_S[1] * 1_000_000, 10_000)
    return site, surge


def cycle_ms(now_us: int) -> int:
    """Round period that the board is asked for: its own 50 ms around each step of the job, coarser while nothing moves."""
    t_s = now_us / 1e6
    start_s = JOB.start_utc_s - DAY_START_UTC_S
    for step_s in (start_s, start_s + JOB.duration_s):
        if step_s - 15 <= t_s < step_s + 45:
            return 0
    if start_s - NOTICE_S - 5 <= t_s < start_s + JOB.duration_s + 120:
        return WATCH_MS * 5
    return QUIET_MS


def demo_site(folder: Path) -> config.SiteFile:
    """The demo's site file, its journal below `folder`."""
    with as_file(files("forerun") / "demo_site.toml") as path:
        site = config.load(path)
    return dataclasses.replace(site, store=dataclasses.replace(site.store, path=str(folder / "journal.forerun")))


def play_day(out: Path, seed: int, *, quiet: bool) -> dict:
    """Play the day both ways and write report.html and report.json below `out`; returns the table and the paths."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    played = scene()
    with tempfile.TemporaryDirectory(prefix="forerun-demo-") as folder, _progress(quiet) as tick:
        without, without_surge = new_site(played, seed)
        without.advance(DAY_S * 1_000_000)
        site_file = demo_site(Path(folder))
        with_, with_surge, rounds, spoken = _play_with(played, site_file, Path(folder), seed, tick)
        document = _document(seed, site_file, (without, without_surge), (with_, with_surge), spoken, rounds)
        shutil.copyfile(site_file.store.path, out / "journal.forerun")
    html, canonical = report.demo_html(document), report.canonical_json(document)
    (out / "report.json").write_text(canonical)
    (out / "report.html").write_text(html)
    result = {
        "table": document["table"],
        "report_html": str(out / "report.html"),
        "report_json": str(out / "report.json"),
        "journal": str(out / "journal.forerun"),
        "sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if not quiet:
        report.print_demo(document, result)
    return result


def _play_with(played: Scene, site_file: config.SiteFile, folder: Path, seed: int, tick):
    """The day with board and host: (site, surge recording, rounds of the board, what was said with its time of day)."""
    site, surge = new_site(played, seed)
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
            for until_s in range(60, DAY_S + 60, 60):
                bench.run(until_s * 1_000_000)
                tick(until_s / DAY_S)
        except BoardHung as problem:
            log = (folder / "board.log").read_text(errors="replace").strip().splitlines()
            raise Trouble(f"{problem}{': ' + log[-1] if log else ''}") from problem
        finally:
            board.close()
        site.advance(DAY_S * 1_000_000)
    return site, surge, bench.rounds, spoken
