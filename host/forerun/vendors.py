"""Three emulated solutions of different design, run through the same year: the example bundles of `forerun rank`.

`python -m forerun.vendors FOLDER` makes them again. Energy in steps of 15 min; weather and jobs are the same for all.
"""

import hashlib
import math
import random
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forerun import bundle, carbon, factors
from forerun.intake import Reading

START_UTC_S, STEP_S, YEAR_STEPS = 1_704_067_200, 900, 366 * 96
IMPORT_LIMIT_W, BASE_W, SURGE_W, SURGES_A_DAY = 9_000, 5_000, 8_000, 2


@dataclass(frozen=True, slots=True)
class Design:
    """What a vendor builds. lead_s: how long before a surge it is ready, 0 = it reacts; output_at_40c: of nameplate."""

    vendor: str
    name: str
    battery_wh: int
    inverter_w: int
    pv_w: int
    genset_w: int
    lead_s: int
    wakes: float  # share of the surges that it notices in time
    output_at_40c: float
    humid_trips: float  # share of damp hours in which it is out of service
    embodied_kg: int
    evidenced: float
    grade: str
    tells_humid: bool = True


DESIGNS = (
    Design("Nordlys", "predictive hybrid", 80_000, 30_000, 12_000, 10_000, 420, 1.0, 0.92, 0.001, 16_000, 0.9, "A"),
    Design("Fosse", "reactive storage", 40_000, 15_000, 8_000, 12_000, 0, 0.93, 0.80, 0.004, 9_500, 0.6, "B"),
    Design("Kraftverk", "diesel first", 10_000, 10_000, 0, 20_000, 60, 0.97, 0.97, 0.002, 5_000, 0.45, "D", False),
)


def year(design: Design, steps: int = YEAR_STEPS) -> tuple[list[Reading], dict[str, float]]:
    """(meter readings, counts of what happened) of a design through the common year; the same every time."""
    weather, own = random.Random(2024), random.Random(design.vendor)
    registers, stored_wh, readings = [0] * 6, design.battery_wh / 2, []
    counts = dict.fromkeys(("surges", "missed", "dips", "over", "damp", "damp_out", "out"), 0.0)
    for index in range(steps):
        readings.append(Reading(START_UTC_S + STEP_S * index, *registers, round(1000 * stored_wh / design.battery_wh)))
        day, hour = index / 96, index / 4 % 24
        temperature = 12 - 16 * math.cos(2 * math.pi * day / 366) + 6 * math.sin((hour - 9) / 12 * math.pi)
        temperature += weather.gauss(0, 4)
        damp = weather.random() < 0.12
        sun = max(0.0, math.sin((hour - 6) / 12 * math.pi)) * (0.55 - 0.4 * math.cos(2 * math.pi * day / 366))
        cloud, surge_now = weather.uniform(0.3, 1.0), weather.random() < SURGES_A_DAY / 96
        fit = 1.0 if temperature <= 25 else max(0.0, 1 - (1 - design.output_at_40c) * (temperature - 25) / 15)
        out = damp and own.random() < design.humid_trips
        counts["damp"] += damp
        counts["damp_out"] += out
        counts["out"] += out
        notices = own.random() < design.wakes and not out
        flows = _step(design, BASE_W + (SURGE_W if surge_now else 0), design.pv_w * sun * cloud,
                      0.0 if out or (surge_now and not notices) else design.inverter_w * fit, stored_wh)  # fmt: skip
        if surge_now:
            counts["surges"] += 1
            counts["missed"] += not notices
            counts["dips"] += flows[0] > 1.15 * IMPORT_LIMIT_W
        counts["over"] += flows[0] > IMPORT_LIMIT_W
        gains = [round(watts * STEP_S / 3600) for watts in flows]
        registers = [old + gain for old, gain in zip(registers, gains, strict=True)]
        stored_wh += gains[2] * 0.95 - gains[3] / 0.95
    return readings, counts


def example(design: Design, steps: int = YEAR_STEPS) -> bytes:
    """The signed bundle of a design. The key is made from its name: these are examples and prove nothing."""
    readings, counts = year(design, steps)
    table = factors.load().factors
    rates = carbon.Factors((table["grid-DE-2024"],), _none(table), table["diesel-b7"], _litres(table))
    battery = carbon.Battery(design.battery_wh, Decimal("0.95"), Decimal("0.95"))
    total = carbon.ledger(readings, rates, battery).total()
    length_s = steps * STEP_S
    embodied_g = Decimal(design.embodied_kg) * 1000 * length_s / (15 * 31_556_952)
    months = Decimal(length_s) / bundle.MONTH_S
    share = {name: Decimal(counts[name]) for name in counts}
    where = "emulated year: "
    kpis = {
        "missed_surge_share": (share["missed"] / max(1, share["surges"]), where + "surges"),
        "readiness_lead_s": (Decimal(design.lead_s), where + "surges"),
        "dips_per_month": (share["dips"] / months, where + "meter at the point of connection"),
        "import_violations_per_month": (share["over"] / months, where + "meter at the point of connection"),
        "whole_life_g_per_kwh": ((total.emitted_g + embodied_g) * 1000 / total.load_wh, where + "ledger, embodied"),
        "output_at_40c_share": (Decimal(str(design.output_at_40c)), "data sheet"),
        "availability_share": (1 - share["out"] / steps, where + "service hours"),
        "evidenced_field_share": (Decimal(str(design.evidenced)), "fields with evidence of those required"),
    }
    if design.tells_humid:
        kpis["availability_humid_share"] = 1 - share["damp_out"] / max(1, share["damp"]), where + "damp hours"
    product = {"name": design.name, "battery_wh": design.battery_wh, "inverter_w": design.inverter_w,
               "pv_w": design.pv_w, "genset_w": design.genset_w, "embodied_kg": design.embodied_kg}  # fmt: skip
    period = [datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
              for utc_s in (START_UTC_S, START_UTC_S + length_s)]  # fmt: skip
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(design.vendor.encode()).digest())
    return bundle.made(design.vendor, product, period, kpis, design.grade, key)


def _step(design: Design, load_w: float, pv_w: float, able_w: float, stored_wh: float) -> tuple[float, ...]:
    """(import, export, charge, discharge, pv, genset) in watts of one step."""
    net = load_w - pv_w
    charge = discharge = genset = 0.0
    if net < 0:
        charge = min(-net, able_w, (design.battery_wh * 0.95 - stored_wh) / 0.95 * 4)
    else:
        keep_wh = 0.25 * design.battery_wh if load_w <= BASE_W else 0.1 * design.battery_wh
        wanted = net - IMPORT_LIMIT_W * 0.9 if load_w > BASE_W else net * (design.pv_w > 0)
        discharge = max(0.0, min(wanted, able_w, (stored_wh - keep_wh) * 0.95 * 4))
        if net - discharge > IMPORT_LIMIT_W and able_w:
            genset = min(design.genset_w, net - discharge - IMPORT_LIMIT_W * 0.8)
        elif stored_wh < 0.3 * design.battery_wh and load_w <= BASE_W:
            charge = min(able_w, 1500.0)
    if net > 0 and design.pv_w == 0 and load_w <= BASE_W:
        genset = max(genset, 0.3 * load_w)
    left = net + charge - discharge - genset
    return max(0.0, left), max(0.0, -left), max(0.0, charge), discharge, pv_w, genset


def _none(table: dict) -> factors.Factor:
    pv = table["pv-life-cycle"]
    return factors.Factor("pv", Decimal(0), "g/kWh", "scope 1, direct", "", None, None, "no fuel", licence=pv.licence)


def _litres(table: dict) -> factors.Factor:
    return factors.Factor("diesel-litres", Decimal("0.34"), "litre/kWh", "scope 1, direct", "", None, None,
                          "typical 20 kW set at half load, 3.4 L/h", licence=table["diesel-b7"].licence)  # fmt: skip


if __name__ == "__main__":
    for made in DESIGNS:
        (Path(sys.argv[1]) / f"{made.vendor.lower()}.json").write_bytes(example(made))
