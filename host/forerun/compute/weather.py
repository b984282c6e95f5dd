"""A public weather forecast as how clear the sky will be: what a PV forecast may lean on, and never needs.

Two published shapes are read, from a file or an address: Open-Meteo's forecast API (https://open-meteo.com/en/docs,
hourly shortwave_radiation or cloud_cover) and MET Norway's Locationforecast 2.0
(https://api.met.no/weatherapi/locationforecast/2.0/documentation, cloud_area_fraction).
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from forerun.compute.sources import SourceError, brief
from forerun.forecast.sun import clear_ghi_w_per_m2

HOUR_S = 3600
REACH_S = 6 * HOUR_S  # a forecast that does not reach so far ahead is an old one
KEPT_S = 15 * 86_400
_FARTHEST_S = 20 * 86_400  # no service forecasts for longer; what says so is not kept until then
_CLEAREST = 1.4
_MOST_W_PER_M2 = 1500.0
_DARK_W_PER_M2 = 30.0  # a clear sky below it says nothing of clouds


class Sky:
    """Clearness, 0 (overcast) to 1 (clear) and a little more, by hour: as it was last forecast before each hour."""

    def __init__(self):
        self._hours: dict[int, float] = {}

    def take(self, clearness: dict[int, float], now_s: float) -> None:
        """A new forecast, {start of an hour UTC: clearness}. Hours that have begun keep what was forecast for them."""
        self._hours |= {hour: value for hour, value in clearness.items() if hour > now_s or hour not in self._hours}
        self._hours = {hour: value for hour, value in self._hours.items() if hour > now_s - KEPT_S}

    def drop_ahead(self, now_s: float) -> None:
        """Forget what is still to come: the forecast is not to be believed any more."""
        self._hours = {hour: value for hour, value in self._hours.items() if hour <= now_s}

    def steps(self, start_utc_s: float, step_s: float, count: int) -> np.ndarray:
        """(count,) clearness of steps from start_utc_s on, NaN where none was forecast."""
        hours = ((start_utc_s + step_s * (np.arange(count) + 0.5)) // HOUR_S * HOUR_S).astype(int)
        return np.array([self._hours.get(int(hour), np.nan) for hour in hours], dtype=float)


def clearness_of(name: str, document: dict, place: tuple[float, float], now_s: float) -> dict[int, float]:
    """{start of an hour UTC: clearness} of a weather service's answer, from now_s on. Raises SourceError for another
    document, for values that cannot be, and for a forecast that ends within six hours."""
    if "hourly" in document:
        found = _open_meteo(name, document, place)
    elif "timeseries" in (document.get("properties") or {}):
        found = _met_norway(name, document)
    else:
        raise SourceError(f"{name}: neither Open-Meteo's `hourly` nor MET Norway's `properties.timeseries` is in it")
    ahead = {hour: value for hour, value in found if now_s - HOUR_S <= hour <= now_s + _FARTHEST_S}
    if not ahead or max(ahead) < now_s + REACH_S:
        raise SourceError(f"{name}: the forecast ends before the next six hours do; is it still fetched?")
    return ahead


def _open_meteo(name: str, document: dict, place: tuple[float, float]) -> Iterator[tuple[int, float]]:
    hourly = document["hourly"]
    offset_s = float(document.get("utc_offset_seconds") or 0)
    times = [_utc_s(name, text, offset_s) for text in hourly["time"]]
    if "shortwave_radiation" in hourly:
        for end_s, value in zip(times, hourly["shortwave_radiation"], strict=True):
            if value is None:
                continue
            start_s, irradiance = end_s - HOUR_S, _between(name, "shortwave_radiation", value, _MOST_W_PER_M2)
            inside = start_s + np.arange(150, HOUR_S, 300.0)
            clear = float(clear_ghi_w_per_m2(inside, *place).mean())  # the mean of the hour that ends then
            if clear > _DARK_W_PER_M2:
                yield start_s, min(irradiance / clear, _CLEAREST)
    elif "cloud_cover" in hourly:
        for start_s, value in zip(times, hourly["cloud_cover"], strict=True):
            if value is not None:
                yield start_s, _under(_between(name, "cloud_cover", value, 100) / 100)
    else:
        raise SourceError(f"{name}: ask for hourly=shortwave_radiation or hourly=cloud_cover; it has neither")


def _met_norway(name: str, document: dict) -> Iterator[tuple[int, float]]:
    for entry in document["properties"]["timeseries"]:
        value = entry["data"]["instant"]["details"].get("cloud_area_fraction")
        if value is not None:
            yield _utc_s(name, entry["time"], 0), _under(_between(name, "cloud_area_fraction", value, 100) / 100)


def _under(cover: float) -> float:
    """Clearness under clouds of that cover 0–1: Kasten and Czeplak, Solar Energy 24 (1980), equation 4."""
    return 1 - 0.75 * cover**3.4


def _between(name: str, what: str, value, most: float) -> float:
    number = float(value)
    if not 0 <= number <= most:
        raise SourceError(
            f"{name}: {what} is {brief(str(value), 80)}; it must be from 0 to {most:g}, so its unit is another or it "
            "is broken"
        )
    return number


def _utc_s(name: str, text, offset_s: float) -> int:
    """The start of an hour. Open-Meteo writes local time without offset, or seconds with timeformat=unixtime."""
    if isinstance(text, (int, float)):
        at_s = float(text)
    else:
        at = datetime.fromisoformat(text)
        at_s = at.timestamp() if at.tzinfo else at.replace(tzinfo=UTC).timestamp() - offset_s
    if at_s % HOUR_S:
        raise SourceError(f"{name}: {text} is no whole hour of UTC; ask for UTC, without a time zone of half hours")
    return int(at_s)
