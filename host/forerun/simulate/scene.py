"""The site-day that `forerun demo` plays and `forerun emulate` stands in: real compute, real weather, one job."""

import dataclasses
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from forerun import config
from forerun.compute.load import Announcement, google_2019_utilisation, node_power_w
from forerun.errors import Trouble
from forerun.plant.pv import day_w, typical_year_w
from forerun.plant.recording import Trace
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun.site.history import FORECAST_STEP_S, History

DAY_S = 86400
DAY_START_UTC_S = 1_568_937_600  # 2019-09-20T00:00Z: the day of the weather year that is played
WEATHER_MONTH, WEATHER_DAY = 9, 20
HISTORY_DAYS = 7
TRACE_FIRST_DAY = 10  # of the 28 days of the compute trace: seven of history, then the day that is played
PV_PEAK_W = 20_000.0
IDLE_W, FULL_W = 4_000.0, 11_000.0
JOB = Announcement("training-1", 13_000.0, DAY_START_UTC_S + 19 * 3600, 2700, 0.95)
NOTICE_S = 300
SURGE_TRACE_S = (-20, 40)  # recorded at 10 ms around the surge


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
    sun_w = np.interp(steps, centres, hours_w)
    history = History(DAY_START_UTC_S - HISTORY_DAYS * DAY_S, list(past_w), list(sun_w))
    for at_s, import_w in zip(steps, np.clip(past_w - sun_w, 0, None), strict=True):
        history.bill(int(DAY_START_UTC_S + at_s), float(import_w) * FORECAST_STEP_S / 3600)
    hour_before = HISTORY_DAYS * 24 - 1
    return Scene(
        load=Series(0, FORECAST_STEP_S * 1_000_000, today_w),
        pv=Series(-1_800_000_000, 3_600_000_000, hours_w[hour_before:], linear=True),
        history=history,
    )


def new_site(played: Scene, seed: int, **changes) -> tuple[Site, Trace]:
    """The emulated site at midnight, its inverter asleep, and the recording around the surge; the seed draws the noise
    of the PCC meter. `changes`: other values of SiteConfig."""
    plant = SiteConfig(**{"start_soc": 0.5, "starts_asleep": True, "meter_noise_w": 15.0, **changes})
    site = Site(plant, loads=[played.load], pv=played.pv, seed=seed)
    start_us = (JOB.start_utc_s - DAY_START_UTC_S) * 1_000_000
    site.add_job(start_us, JOB.duration_s * 1_000_000, JOB.power_w)
    surge = site.record(start_us + SURGE_TRACE_S[0] * 1_000_000, start_us + SURGE_TRACE_S[1] * 1_000_000, 10_000)
    return site, surge


def demo_site(folder: Path) -> config.SiteFile:
    """The demo's site file, its journal below `folder`."""
    with as_file(files("forerun") / "demo_site.toml") as path:
        site = config.load(path)
    return dataclasses.replace(site, store=dataclasses.replace(site.store, path=str(folder / "journal.forerun")))
