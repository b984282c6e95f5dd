"""Emission factors: each with everything that a verifier asks about it. The table is data in this package."""

import hashlib
import tomllib
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from forerun.errors import Trouble

TABLE = Path(__file__).with_name("factors.toml")
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Factor:
    """value in unit. gas_basis: CO2 or CO2e; gwp_set: the weighing of the gases; validity in whole UTC days, both
    included, None when it has no end."""

    id: str
    value: Decimal
    unit: str
    scope: str
    region: str
    valid_from: date | None
    valid_until: date | None
    source: str
    gas_basis: str = "CO2e"
    gwp_set: str = "AR5"
    licence: str = "as stated by the site file"

    def valid_at(self, utc_s: int) -> bool:
        day = datetime.fromtimestamp(utc_s, UTC).date()
        return (self.valid_from or day) <= day <= (self.valid_until or day)


@dataclass(frozen=True, slots=True)
class GridHour:
    """The grid in one hour: intensity, the carbon-free share of it (0–1), and where both come from."""

    g_per_kwh: Decimal
    clean_share: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Table:
    """The factor table: version, SHA-256 of its bytes, factors by id."""

    version: str
    sha256: str
    factors: dict[str, Factor]

    def of_scope(self, scope: str, region: str) -> Factor | None:
        """The latest factor of a scope that begins with these words in this region, or None."""
        found = [item for item in self.factors.values() if item.scope.startswith(scope) and item.region == region]
        return max(found, key=lambda item: item.valid_from, default=None)


def load(path: Path = TABLE) -> Table:
    """The checked table. Raises Trouble naming the factor that lacks a field, an id that comes twice, or an IEA one."""
    data = path.read_bytes()
    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Trouble(f"{path}: not a factor table: {error}") from error
    names = {item.name for item in fields(Factor)}
    found: dict[str, Factor] = {}
    for row in content.get("factor", ()):
        name = row.get("id", "?")
        missing = sorted(key for key in names if not str(row.get(key, "")).strip())
        if missing or set(row) - names:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {sorted(set(row) - names)[0]}"
            raise Trouble(f"{path}: factor {name} {wrong}")
        if name in found:
            raise Trouble(f"{path}: factor {name} is there twice")
        found[name] = Factor(**{**row, "value": Decimal(row["value"])})
    return Table(str(content.get("version", "")), hashlib.sha256(data).hexdigest(), found)
