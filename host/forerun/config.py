"""The site file: one TOML file that says everything about a site that does not change by itself."""

import dataclasses
import difflib
import math
import tomllib
import zoneinfo
from datetime import date
from decimal import Decimal
from pathlib import Path

from forerun.errors import WrongUsage
from forerun.sections import NONE, SiteFile
from forerun_wire.messages import FALLBACKS, SETTINGS

EXAMPLE = Path(__file__).with_name("example_site.toml")
SETTINGS_AT_ONCE = 20  # asked of a board: one that tests its contacts has no room for a list of them all


class ConfigError(WrongUsage):
    """One sentence: file, key, value, allowed range. The command line exits with status 2 on it."""


def load(path: Path | str) -> SiteFile:
    """The checked site file; relative paths in it start at its folder. Raises ConfigError with one sentence."""
    path = Path(path)
    try:
        text = path.read_bytes().decode().removeprefix("\ufeff")  # some editors begin a file with it
        table = tomllib.loads(text, parse_float=Decimal)
    except FileNotFoundError as error:
        words = f"{path}: no such file; `forerun commission scan` proposes one, or start from {EXAMPLE}"
        raise ConfigError(words) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder; name the site.toml in it") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    site = _site(str(path), table)
    _check_together(str(path), site)
    store = dataclasses.replace(site.store, path=str(path.parent / site.store.path))
    named = {key: getattr(site.mqtt, key) for key in ("password_file", "ca_file")}
    placed = {key: name if name == NONE else str(path.parent / name) for key, name in named.items()}
    files = {key: getattr(site.compute, key) for key in
             ("redfish_authorisation_file", "replay", "slurm", "kubernetes")}  # fmt: skip
    files["weather"] = site.pv.weather
    beside = {key: name if name == NONE or "://" in name else str(path.parent / name) for key, name in files.items()}
    pv = dataclasses.replace(site.pv, weather=beside.pop("weather"))
    return dataclasses.replace(site, store=store, mqtt=dataclasses.replace(site.mqtt, **placed), pv=pv,
                               compute=dataclasses.replace(site.compute, **beside))  # fmt: skip


def board_settings(site: SiteFile) -> dict[int, int]:
    """Setting key -> value for every setting of the board (forerun_wire.messages.SETTINGS), in the board's units.

    Settings that the site file does not name get the table's default, so that one file determines one board.
    """
    limits, safety = site.limits, site.safety
    values = {
        "cycle_ms": safety.cycle_ms,
        "bus_baud": site.bus.baud,
        "inverter_unit": site.bus.inverter_unit,
        "pcc_meter_unit": site.bus.pcc_meter_unit,
        "pv_meter_unit": site.bus.pv_meter_unit,
        "genset_meter_unit": site.bus.genset_meter_unit,
        "pv_inverter_unit": site.bus.pv_inverter_unit,
        "inverter_kind": site.bus.inverter_kind,
        "import_limit_w": limits.import_limit_w,
        "export_limit_w": limits.export_limit_w,
        "ramp_w_per_s": limits.ramp_w_per_s,
        "charge_max_w": limits.charge_max_w,
        "discharge_max_w": limits.discharge_max_w,
        "soc_min_permille": round(limits.soc_min * 1000),
        "soc_max_permille": round(limits.soc_max * 1000),
        "stale_ms": round(safety.stale_s * 1000),
        "host_lost_ms": round(safety.host_lost_s * 1000),
        "fallback": FALLBACKS.index(safety.fallback),
        "inverter_watchdog_s": safety.inverter_watchdog_s,
        "import_margin_w": limits.import_margin_w,
        "telemetry_ms": site.link.telemetry_ms,
        **dataclasses.asdict(site.functions),
        **dataclasses.asdict(site.sensors),
    }
    return {key: values.get(name, default) for key, name, _, _, _, default in SETTINGS}


def _site(file: str, table: dict) -> SiteFile:
    sections = {section.name: section.type for section in dataclasses.fields(SiteFile)}
    _refuse_unknown(file, "", table, sections)
    made = {}
    for name, section in sections.items():
        values = table.get(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: {name} = {_shown(values)} is a value; it must be a section [{name}]")
        keys = {key.name: key for key in dataclasses.fields(section)}
        _refuse_unknown(file, f"{name}.", values, keys)
        made[name] = section(**{k: v for k in keys if (v := _value(file, f"{name}.{k}", keys[k], values)) is not None})
    return SiteFile(**made)


def _refuse_unknown(file: str, prefix: str, table: dict, known) -> None:
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            what = "key" if prefix else "section"
            raise ConfigError(f"{file}: {prefix}{name} is not a known {what}; the nearest one is {prefix}{near}")


def _value(file: str, name: str, key: dataclasses.Field, values: dict):
    if key.name not in values:
        if key.default is dataclasses.MISSING:
            raise ConfigError(f"{file}: {name} is missing; it must be {_allowed(key)}")
        return None
    value, meta = values[key.name], key.metadata
    if meta["hourly"] and isinstance(value, list):
        if len(value) != 24:
            raise ConfigError(f"{file}: {name} has {len(value)} values; it must be {_allowed(key)}")
        converted = tuple(_converted(item, meta) for item in value)
        for item, shown in zip(converted, value, strict=True):
            if item is None:
                raise ConfigError(f"{file}: {name} holds {_shown(shown)}; it must be {_allowed(key)}")
        return converted
    converted = _converted(value, meta)
    if converted is None:
        raise ConfigError(f"{file}: {name} = {_shown(value)}; it must be {_allowed(key)}")
    return converted


def _converted(value, meta):
    """The value in the key's type, or None when it is of another type or out of range."""
    kind = meta["kind"]
    if isinstance(value, bool) or (kind in (str, date) and type(value) is not kind):
        return None
    if kind is str:
        return value if value.strip() and (meta["one_of"] is None or value in meta["one_of"]) else None
    if kind is date:
        return value
    if not isinstance(value, int | Decimal) or not math.isfinite(value) or (kind is int and value != int(value)):
        return None
    if meta["one_of"] is not None:
        return int(value) if value in meta["one_of"] else None
    return kind(value) if meta["low"] <= value <= meta["high"] else None


def _allowed(key: dataclasses.Field) -> str:
    meta = key.metadata
    if meta["one_of"] is not None:
        return "one of " + ", ".join(str(item) for item in meta["one_of"])
    if meta["kind"] is str:
        return "text in quotes"
    if meta["kind"] is date:
        return "a date like 2024-01-31, without quotes"
    number = "a whole number" if meta["kind"] is int else "a number"
    allowed = f"{number} from {meta['low']} to {meta['high']}"
    return f"{allowed}, or a list of 24 such, one per hour of the UTC day" if meta["hourly"] else allowed


def _shown(value) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _check_together(file: str, site: SiteFile) -> None:
    """Ranges that depend on another key."""
    limits, battery, bus, carbon = site.limits, site.battery, site.bus, site.carbon
    if limits.soc_min >= limits.soc_max:
        raise ConfigError(
            f"{file}: limits.soc_min = {limits.soc_min}; it must be below limits.soc_max = {limits.soc_max}"
        )
    if not limits.soc_min <= battery.soc_reserve <= limits.soc_max:
        raise ConfigError(
            f"{file}: battery.soc_reserve = {battery.soc_reserve}; it must be from limits.soc_min to limits.soc_max, "
            f"{limits.soc_min} to {limits.soc_max}"
        )
    if limits.import_margin_w >= limits.import_limit_w > 0:
        raise ConfigError(
            f"{file}: limits.import_margin_w = {limits.import_margin_w}; it must be below limits.import_limit_w = "
            f"{limits.import_limit_w}"
        )
    if site.reporting.timezone not in zoneinfo.available_timezones():
        raise ConfigError(
            f'{file}: reporting.timezone = "{site.reporting.timezone}"; it must be a name of the IANA time zone '
            'database, like "Europe/Oslo"'
        )
    if carbon.grid_valid_from > carbon.grid_valid_until:
        raise ConfigError(
            f"{file}: carbon.grid_valid_until = {carbon.grid_valid_until}; it must not be before "
            f"carbon.grid_valid_from = {carbon.grid_valid_from}"
        )
    units = {}
    for key in ("inverter_unit", "pcc_meter_unit", "pv_meter_unit", "genset_meter_unit"):
        unit = getattr(bus, key)
        if unit and unit in units:
            raise ConfigError(f"{file}: bus.{key} = {unit}; it must differ from bus.{units[unit]}")
        units[unit] = key
