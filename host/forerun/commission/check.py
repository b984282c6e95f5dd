"""One finding of a self-test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `cause` is a name a program can act on, empty when passed; `advice` is for a person."""

    name: str
    measured: str
    limit: str
    passed: bool
    cause: str = ""
    advice: str = ""


def in_range(name: str, value: float, unit: str, low: float, high: float, advice: str, cause: str = "") -> Check:
    """A check that passes when the value lies in its range; the unit decides the digits."""
    passed = low <= value <= high
    limit = f"{low:g} to {high:g} {unit}" if high < 1e9 else f"at least {low:g} {unit}"
    digits = 0 if unit == "W" else 2
    cause = cause or "implausible_" + name.lower().replace(" ", "_").replace("'s", "")
    return Check(name, f"{value:.{digits}f} {unit}", limit, passed, "" if passed else cause, "" if passed else advice)
