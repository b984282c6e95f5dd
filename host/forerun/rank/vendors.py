"""Three emulated solutions of different design, run through the same year: the example bundles of `forerun rank`.

`python -m forerun.rank.vendors FOLDER` makes them again. Energy in steps of 15 min; weather and jobs are the same
for all.
"""

import hashlib
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forerun import config
from forerun.carbon import factors
from forerun.evidence import hashtree
from forerun.rank import bundle
from forerun.report import statement
from forerun.store.journal import Journal, read
from forerun_wire import messages

STORE_ID, LOW_MV = b"emulated", 204_000
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
    embodied_kg: tuple[int, int, int, int]  # battery, PV, inverter, genset
    tells: str  # how much of what a report asks for: of TOLD
    codes: bool  # its board authenticates its records
    signs: bool  # its host signs the journal
    tells_humid: bool = True
    fuel_meter: bool = False


DESIGNS = (
    Design("Nordlys", "predictive hybrid", 80_000, 30_000, 12_000, 10_000, 420, 1.0, 0.92, 0.001,
           (6_680, 7_200, 900, 1_220), "all", True, True, True, True),
    Design("Fosse", "reactive storage", 40_000, 15_000, 8_000, 12_000, 0, 0.93, 0.80, 0.004,
           (3_340, 4_400, 460, 1_300), "part", False, True),
    Design("Kraftverk", "diesel first", 10_000, 10_000, 0, 20_000, 60, 0.97, 0.97, 0.002, (835, 0, 310, 3_855), "none",
           False, False, False),
)  # fmt: skip
TOLD = {
    "all": {"operator": "An emulated operator", "address": "emulated", "registration": "emulated", "country": "DE",
            "unlocode": "DEBER", "registry_id": "emulated", "supplier": "emulated", "diagram": "emulated",
            "power_contract": "emulated"},
    "part": {"operator": "An emulated operator", "country": "DE"},
    "none": {},
}  # fmt: skip


@dataclass(slots=True)
class Step:
    """One step of the year: registers and charge at its start, and what happened in it."""

    registers: list[int]
    soc_permille: int
    surge: bool
    noticed: bool
    import_w: float


def year(design: Design, steps: int = YEAR_STEPS) -> tuple[list[Step], dict[str, float]]:
    """(steps, counts of hours out of service) of a design through the common year; the same every time."""
    weather, own = random.Random(2024), random.Random(design.vendor)
    registers, stored_wh, made = [0] * 6, design.battery_wh / 2, []
    counts = dict.fromkeys(("damp", "damp_out", "out"), 0.0)
    for index in range(steps):
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
        made.append(Step(list(registers), round(1000 * stored_wh / design.battery_wh), surge_now, notices, flows[0]))
        gains = [round(watts * STEP_S / 3600) for watts in flows]
        registers = [old + gain for old, gain in zip(registers, gains, strict=True)]
        stored_wh += gains[2] * 0.95 - gains[3] / 0.95
    made.append(Step(registers, round(1000 * stored_wh / design.battery_wh), False, False, 0.0))
    return made, counts


def write_journal(design: Design, steps: Sequence[Step], path: Path) -> None:
    """The year as the site's host would have written it: jobs, records, events, a fuel meter where there is one, and a
    signed root a day where the vendor signs."""
    key, coder, number = _key(design), hashlib.sha256(b"record" + design.vendor.encode()).digest(), 0
    with Journal(path) as journal:

        def record(utc_s: int, kind: int, *fields: int) -> None:
            nonlocal number
            body = [STORE_ID, number, 1, utc_s - START_UTC_S, 0, kind, *fields]
            journal.append(utc_s * 1_000_000, "board", "record", hashtree.coded(body, coder) if design.codes else body)
            number += 1

        if design.codes:
            journal.append(START_UTC_S * 1_000_000, "host", "record_key", {"sha256": hashtree.commitment(coder)})
        before = Step([0] * 6, 0, False, False, 0.0)
        for index, step in enumerate(steps):
            utc_s = START_UTC_S + STEP_S * index
            dip = before.surge and before.import_w > 1.15 * IMPORT_LIMIT_W
            if step.surge:
                job = [f"job-{index}", SURGE_W, utc_s, STEP_S, "1"]
                journal.append((utc_s - 1800) * 1_000_000, "host", "job", job)
            if step.surge and step.noticed:
                record(utc_s - design.lead_s, messages.EVENT, messages.PREPARE_READY, 0, 0)
            if design.fuel_meter:  # as the genset's energy at its mean consumption, in whole millilitres
                journal.append(utc_s * 1_000_000, "host", "submeter", ["fuel_ml", step.registers[5] * 34 // 100])
            record(utc_s, messages.INTERVAL, STEP_S, *step.registers, round(before.import_w),
                   LOW_MV if dip else 229_000, step.soc_permille, 0, 0)  # fmt: skip
            if before.import_w > IMPORT_LIMIT_W:
                record(utc_s, messages.EVENT, messages.IMPORT_LIMIT_EXCEEDED, round(before.import_w), IMPORT_LIMIT_W)
            if design.signs and (index % 96 == 0 or index == len(steps) - 1):
                hashtree.seal(journal, key, utc_s * 1_000_000)
            before = step


def site_of(design: Design, journal: Path) -> config.SiteFile:
    """The site file that a vendor's installation would have."""
    site = config.load(config.EXAMPLE)
    battery, pv, inverter, genset = (Decimal(kg) for kg in design.embodied_kg)
    grid = factors.load().factors["grid-DE-2024"]
    return replace(
        site,
        site=replace(site.site, name=design.vendor),
        battery=replace(site.battery, capacity_wh=design.battery_wh),
        limits=replace(site.limits, import_limit_w=IMPORT_LIMIT_W, charge_max_w=design.inverter_w,
                       discharge_max_w=design.inverter_w),
        carbon=replace(site.carbon, grid_g_per_kwh=grid.value, grid_source=grid.source, grid_region="DE"),
        equipment=replace(site.equipment, pv_peak_w=design.pv_w, genset_power_w=design.genset_w,
                          battery_embodied_kg=battery, pv_embodied_kg=pv, inverter_embodied_kg=inverter,
                          genset_embodied_kg=genset, embodied_source="emulated product declaration"),
        reporting=replace(site.reporting, **TOLD[design.tells]),
        store=replace(site.store, path=str(journal)),
    )  # fmt: skip


def example(design: Design, folder: Path, steps: int = YEAR_STEPS) -> bytes:
    """The signed bundle of a design, from the journal and the report of its year, which are left in `folder`. The keys
    are made from its name: these are examples and prove nothing."""
    made, counts = year(design, steps)
    path = folder / f"{design.vendor.lower()}.forerun"
    write_journal(design, made, path)
    entries = list(read(path))
    document = statement.statement(site_of(design, path), entries, factors.load(), START_UTC_S,
                                   START_UTC_S + steps * STEP_S)  # fmt: skip
    path.with_suffix(".report.json").write_bytes(hashtree.canonical(document))
    where = "emulated year: "
    climate = {
        "output_at_40c_share": (Decimal(str(design.output_at_40c)), "data sheet"),
        "availability_share": (1 - Decimal(counts["out"]) / steps, where + "service hours"),
    }
    if design.tells_humid:
        share = 1 - Decimal(counts["damp_out"]) / max(1, Decimal(counts["damp"]))
        climate["availability_humid_share"] = share, where + "damp hours"
    product = {"name": design.name, "battery_wh": design.battery_wh, "inverter_w": design.inverter_w,
               "pv_w": design.pv_w, "genset_w": design.genset_w, "embodied_kg": sum(design.embodied_kg)}  # fmt: skip
    return bundle.of_report(document, entries, design.vendor, product, _key(design), climate)


def _key(design: Design) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(design.vendor.encode()).digest())


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


def main(folder: Path) -> None:
    """Make the bundles of all designs in `folder`."""
    for design in DESIGNS:
        with tempfile.TemporaryDirectory(prefix="forerun-vendor-") as work:
            (folder / f"{design.vendor.lower()}.json").write_bytes(example(design, Path(work)))
        print(f"{folder / design.vendor.lower()}.json: {design.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
