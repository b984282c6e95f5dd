"""PV production from a measured-weather year: the coastal typical year that pvlib ships.

The file is `703165TY.csv` (TMY3, 55.3° N on a Pacific coast): irradiance, air temperature and wind by the hour in
local standard time. Each value is the mean of the hour that *ends* at its time stamp (NREL/TP-581-43156, table 1-1).
"""

from functools import cache
from pathlib import Path

import numpy as np

YEAR = 2019  # the typical year is laid on a year without a leap day
STEP_S = 3600
# Latitude and longitude at which its hours are right when they are played as UTC: those of UTC-9, 135° further east.
PLAYED_AT = (55.317, -25.517)
PERFORMANCE = 0.86  # wiring, soiling, mismatch and inverter: PVWatts v5 defaults (NREL/TP-6A20-62641, 14 % losses)


def typical_year_w(peak_w: float, tilt_deg: float = 40.0, azimuth_deg: float = 180.0) -> np.ndarray:
    """AC power of a fixed array, W ≥ 0: (8760,) hourly means, index = hour start, local standard time of the file.

    `peak_w` is the array's rating at 1000 W/m² and 25 °C. Cell temperature by Faiman (IEC 61853-2), power by PVWatts.
    """
    import pvlib

    weather, place = _typical_year()
    middle = weather.index - np.timedelta64(STEP_S // 2, "s")
    sun = pvlib.solarposition.get_solarposition(middle, place["latitude"], place["longitude"], place["altitude"])
    weather, sun = weather.set_axis(middle), sun.set_axis(middle)
    plane = pvlib.irradiance.get_total_irradiance(
        tilt_deg,
        azimuth_deg,
        sun["apparent_zenith"],
        sun["azimuth"],
        weather["dni"],
        weather["ghi"],
        weather["dhi"],
    )["poa_global"].fillna(0.0)
    cell_c = pvlib.temperature.faiman(plane, weather["temp_air"], weather["wind_speed"])
    power_w = pvlib.pvsystem.pvwatts_dc(plane, cell_c, peak_w, gamma_pdc=-0.0035) * PERFORMANCE
    return np.clip(power_w.to_numpy(dtype=float), 0.0, peak_w)


def typical_year_c() -> np.ndarray:
    """Air temperature in °C, (8760,) hourly means, index = hour start, local standard time of the file."""
    return _typical_year()[0]["temp_air"].to_numpy(dtype=float)


@cache
def _typical_year():
    import pvlib  # a second of import: only where weather is played

    path = Path(pvlib.__file__).parent / "data" / "703165TY.csv"
    return pvlib.iotools.read_tmy3(path, coerce_year=YEAR, map_variables=True)


def day_w(year_w: np.ndarray, month: int, day: int, days: int = 1) -> np.ndarray:
    """(24·days,) hourly means of the days from `month`-`day`, W; wraps at the end of the year."""
    first = int((np.datetime64(f"{YEAR}-{month:02d}-{day:02d}") - np.datetime64(f"{YEAR}-01-01")).astype(int)) * 24
    return np.take(year_w, range(first, first + 24 * days), mode="wrap")
