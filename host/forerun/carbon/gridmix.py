"""The grid by the hour, out of answers of ENTSO-E, Energinet and Electricity Maps; what cannot be true is refused."""

import json
import math
import os
import xml.etree.ElementTree as xml
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import combinations
from pathlib import Path

from forerun.carbon.factors import HOUR_S, Factor, Table
from forerun.errors import Trouble

# ENTSO-E production types (psrType) by factor of the table; a type without a factor stays out, and its share is told.
PSR_TYPES = {
    "B01": "biomass", "B02": "coal", "B04": "gas", "B05": "coal", "B06": "oil", "B09": "geothermal", "B11": "hydro",
    "B12": "hydro", "B14": "nuclear", "B16": "solar", "B18": "wind-offshore", "B19": "wind-onshore",
}  # fmt: skip
CLEAN = ("geothermal", "hydro", "nuclear", "solar", "wind-offshore", "wind-onshore")
RESOLUTION_S = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600}
SOLAR = "B16"
UNKNOWN_MOST = Decimal("0.10")  # of the generation may be of a type without a factor
NIGHT_SOLAR_MOST = Decimal("0.01")  # of the generation, with the sun 6° and more below the horizon
YEARLY_RATIO = 4  # a day may be so many times cleaner or dirtier than the year's average
SWAP_LEAST, SWAP_GAIN = Decimal("0.04"), 4  # shares of the mix; how much nearer to the usual mix the swap must bring it


class Implausible(Trouble):
    """The answer cannot be true: which, and why. It is not used."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the grid; clean_share None = not told; mix: MW by psrType, empty where the answer has none."""

    start_utc_s: int
    g_per_kwh: Decimal
    clean_share: Decimal | None
    mix: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Answer:
    """The hours of one answer, in order, and the words that name its source in a report."""

    hours: tuple[Hour, ...]
    source: str

    def journal_body(self) -> dict:
        """Body of a journal entry of kind `grid` (forerun.carbon.intake.GRID): hours that the answer lacks are None."""
        start_utc_s = self.hours[0].start_utc_s
        count = (self.hours[-1].start_utc_s - start_utc_s) // HOUR_S + 1
        grams: list[str | None] = [None] * count
        shares: list[str | None] = [None] * count
        for hour in self.hours:
            place = (hour.start_utc_s - start_utc_s) // HOUR_S
            grams[place] = f"{hour.g_per_kwh:.6f}"
            shares[place] = None if hour.clean_share is None else f"{hour.clean_share:.6f}"
        return {"start_utc_s": start_utc_s, "g_per_kwh": grams, "clean_share": shares, "source": self.source}


def entsoe(document: bytes, table: Table) -> Answer:
    """The hours of an ENTSO-E answer A75 (actual generation per type); life-cycle factors by fuel from the table.

    Raises Implausible when it holds no data, an unknown resolution, or too much of types without a factor.
    """
    root = _xml(document)
    space = root.tag[: root.tag.index("}") + 1] if "}" in root.tag else ""
    if root.tag != f"{space}GL_MarketDocument":
        reason = root.findtext(f".//{space}text", default=root.tag)
        raise Implausible(f"ENTSO-E answered without data: {' '.join(reason.split())}")
    zone = root.findtext(f".//{space}inBiddingZone_Domain.mRID", default="unknown zone")
    mw: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for series in root.iter(f"{space}TimeSeries"):
        if series.find(f"{space}outBiddingZone_Domain.mRID") is not None:
            continue  # what pumped storage and power stations consume
        kind = series.findtext(f"{space}MktPSRType/{space}psrType", default="")
        for period in series.iter(f"{space}Period"):
            for utc_s, length_s, value in _points(period, space):
                mw[utc_s // HOUR_S * HOUR_S][kind] += value * length_s / HOUR_S
    hours = tuple(_mixed(utc_s, dict(mix), table) for utc_s, mix in sorted(mw.items()))
    if not hours:
        raise Implausible("ENTSO-E answered without any generation")
    return Answer(hours, f"ENTSO-E Transparency A75, {zone}, IPCC life-cycle factors (table {table.version})")


def energinet(document: bytes, area: str) -> Answer:
    """The hours of an Energinet answer DeclarationGridEmission for a price area, fuel allocation 125 %."""
    records = _json(document).get("records", [])
    hours = [Hour(_utc_s(item["HourUTC"]), _number(item["CO2PerkWh"]), None, {}) for item in records
             if item.get("PriceArea") == area and item.get("FuelAllocationMethod") == "125%"
             and item.get("CO2PerkWh") is not None]  # fmt: skip
    if not hours:
        raise Implausible(f"Energinet answered without an hour for {area} at 125 % fuel allocation")
    hours.sort(key=lambda hour: hour.start_utc_s)
    return Answer(tuple(hours), f"Energinet DeclarationGridEmission, {area}, 125 %, CO2 direct")


def electricity_maps(document: bytes, breakdown: bytes | None = None) -> Answer:
    """The hours of an Electricity Maps carbon-intensity history; carbon-free shares from its power-breakdown history.

    Estimated hours stay out: an estimate of theirs is no better than the yearly factor, and less traceable."""
    content = _json(document)
    shares = {}
    for item in _json(breakdown).get("history", []) if breakdown else []:
        if item.get("fossilFreePercentage") is not None:
            shares[_utc_s(item["datetime"])] = _number(item["fossilFreePercentage"]) / 100
    kinds, hours = set(), []
    for item in content.get("history", []):
        if item.get("carbonIntensity") is None or item.get("isEstimated"):
            continue
        kinds.add(item.get("emissionFactorType", "unknown"))
        start_s = _utc_s(item["datetime"])
        hours.append(Hour(start_s, _number(item["carbonIntensity"]), shares.get(start_s), {}))
    if not hours:
        raise Implausible("Electricity Maps answered without a measured hour")
    if len(kinds) > 1:
        raise Implausible(f"Electricity Maps answered with {' and '.join(sorted(kinds))} factors mixed")
    hours.sort(key=lambda hour: hour.start_utc_s)
    return Answer(tuple(hours), f"Electricity Maps, {content.get('zone')}, {kinds.pop()}, average")


def check(
    answer: Answer, yearly: Factor, latitude: float, longitude: float, usual: Mapping[str, Decimal] | None
) -> None:
    """Raises Implausible, with the reason. usual: MW by psrType in earlier answers of this zone, None for the first."""
    for hour in answer.hours:
        total = sum(hour.mix.values())
        if hour.g_per_kwh < 0 or any(mw < 0 for mw in hour.mix.values()):
            raise Implausible(f"{answer.source}: a negative value at {_moment(hour.start_utc_s)}")
        if total and _sun_height(hour.start_utc_s + HOUR_S // 2, latitude, longitude) < -math.radians(6):
            share = hour.mix.get(SOLAR, Decimal(0)) / total
            if share > NIGHT_SOLAR_MOST:
                when = _moment(hour.start_utc_s)
                raise Implausible(f"{answer.source}: {float(share):.0%} solar at night, {when}: are two fuels swapped?")
    mean = sum(hour.g_per_kwh for hour in answer.hours) / len(answer.hours)
    if not yearly.value / YEARLY_RATIO <= mean <= yearly.value * YEARLY_RATIO:
        said = f"mean {mean:.0f} g/kWh where {yearly.id} says {yearly.value}"
        raise Implausible(f"{answer.source}: {said}: are two fuels swapped?")
    if usual:
        swapped = _swap(_shares(total_mix(answer)), _shares(usual))
        if swapped:
            raise Implausible(f"{answer.source}: {swapped[0]} and {swapped[1]} look swapped against earlier answers")


def total_mix(answer: Answer) -> dict[str, Decimal]:
    """MW by psrType summed over the hours; what `check` takes as `usual`."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    for hour in answer.hours:
        for fuel, mw in hour.mix.items():
            total[fuel] += mw
    return dict(total)


def cached(path: Path, get: Callable[[], bytes]) -> bytes:
    """The answer from the file, or from `get` and then kept in the file, whole or not at all."""
    if path.exists():
        return path.read_bytes()
    data = get()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)
    return data


def _mixed(utc_s: int, mix: dict[str, Decimal], table: Table) -> Hour:
    known = {kind: mw for kind, mw in mix.items() if kind in PSR_TYPES}
    total = sum(known.values(), Decimal(0))
    unknown = sum(mix.values()) - total
    if total <= 0 or unknown > UNKNOWN_MOST * (total + unknown):
        raise Implausible(
            f"at {_moment(utc_s)} {unknown:.0f} of {total + unknown:.0f} MW are of types without a factor"
        )
    grams = sum(mw * table.factors[f"mix-{PSR_TYPES[kind]}"].value for kind, mw in known.items())
    clean = sum((mw for kind, mw in known.items() if PSR_TYPES[kind] in CLEAN), Decimal(0))
    return Hour(utc_s, grams / total, clean / (total + unknown), mix)


def _points(period, space: str):
    """(utc_s, length_s, MW); a position that is left out repeats the one before (curve type A03)."""
    name = period.findtext(f"{space}resolution", default="")
    if name not in RESOLUTION_S:
        raise Implausible(f"ENTSO-E answered in steps of {name or 'no stated length'}")
    step_s = RESOLUTION_S[name]
    start_s = _utc_s(period.findtext(f"{space}timeInterval/{space}start", default=""))
    end_s = _utc_s(period.findtext(f"{space}timeInterval/{space}end", default=""))
    known = {int(point.findtext(f"{space}position")): _number(point.findtext(f"{space}quantity"))
             for point in period.iter(f"{space}Point")}  # fmt: skip
    value = None
    for position in range(1, (end_s - start_s) // step_s + 1):
        value = known.get(position, value)
        if value is not None:
            yield start_s + (position - 1) * step_s, step_s, value


def _swap(mix: dict[str, Decimal], usual: dict[str, Decimal]) -> tuple[str, str] | None:
    """Two fuels whose exchange would bring the mix several times nearer to the usual one."""
    fuels = sorted(set(mix) | set(usual))
    now = _distance(mix, usual, fuels)
    for one, other in combinations(fuels, 2):
        back = {**mix, one: mix.get(other, Decimal(0)), other: mix.get(one, Decimal(0))}
        apart = abs(mix.get(one, Decimal(0)) - mix.get(other, Decimal(0)))
        if apart >= SWAP_LEAST and _distance(back, usual, fuels) * SWAP_GAIN < now:
            return one, other
    return None


def _distance(mix: Mapping, usual: Mapping, fuels: Sequence[str]) -> Decimal:
    return sum((abs(mix.get(fuel, Decimal(0)) - usual.get(fuel, Decimal(0))) for fuel in fuels), Decimal(0))


def _shares(mix: Mapping[str, Decimal]) -> dict[str, Decimal]:
    total = sum(mix.values()) or Decimal(1)
    return {fuel: mw / total for fuel, mw in mix.items()}


def _sun_height(utc_s: int, latitude: float, longitude: float) -> float:
    """Radians above the horizon, to about a degree (declination by the day, no equation of time)."""
    moment = datetime.fromtimestamp(utc_s, UTC)
    declination = -0.4093 * math.cos(2 * math.pi * (moment.timetuple().tm_yday + 10) / 365)
    angle = 2 * math.pi * (utc_s % 86_400 / 86_400 - 0.5) + math.radians(longitude)
    place = math.radians(latitude)
    return math.asin(
        math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(angle)
    )


def _xml(document: bytes):
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise Implausible("the answer declares entities: it is not an ENTSO-E document")
    try:
        return xml.fromstring(document)
    except xml.ParseError as error:
        raise Implausible(f"the answer is not XML: {error}") from error


def _json(document: bytes) -> dict:
    try:
        content = json.loads(document, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise Implausible(f"the answer is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Implausible("the answer is JSON of another shape")
    return content


def _number(text) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation as error:
        raise Implausible(f"{text!r} is no number") from error


def _utc_s(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Implausible(f"{text!r} is no time") from error
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d %H:%M")
