"""What a report says a second time, in words: shares by quality, claims, and the numbers of Annex IV."""

import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

SOURCES = {"own PV": "pv", "own genset": "genset", "grid": "grid", "battery": "battery"}
ROUNDING = {"half up": ROUND_HALF_UP, "half even": ROUND_HALF_EVEN}
CLAIMS = ("green_on_site", "green_matched", "cfe")
ZERO = Decimal(0)


def faults(report: dict, rows: list[dict], results: dict) -> list[str]:
    """rows and results: as recomputed from the records."""
    found = []
    by_quality = {name: sum(row["load_wh"] for row in rows if row["quality"] == name)
                  for name in ("measured", "estimated", "substituted")}  # fmt: skip
    if report["uncertainty"]["load_wh_by_quality"] != by_quality:
        found.append(f"uncertainty: the load by quality should be {by_quality}")
    claimed = [f"{100 * results[name]:.1f} %" for name in CLAIMS if results[name] is not None]
    if [" ".join(claim.split(" ")[:2]) for claim in report["claims"]] != claimed:
        found.append(f"claims: they should begin with {', '.join(claimed)}")
    stated = {(item["item"], item["title"]): item for item in report["cbam_annex_iv"]}
    for key, numbers in _annex(report, rows).items():
        item = stated.get(key, {"value": "", "status": ""})
        told = [Decimal(text) for text in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", item["value"])]
        if (told if item["status"] == "filled" else None) != numbers:
            should = "not applicable or missing" if numbers is None else ", ".join(map(str, numbers))
            found.append(f"cbam_annex_iv: {key[0]}, {key[1]}: is {item['value'] or item['status']}, should be {should}")
    return found


def _annex(report: dict, rows: list[dict]) -> dict[tuple[str, str], list[Decimal] | None]:
    """Numbers of each item that has some, in the order in which it names them; None: it must not be filled."""

    def total(name: str) -> Decimal:
        return sum((row[name] for row in rows), ZERO)

    def mwh(wh: Decimal) -> Decimal:
        return (wh / 1_000_000).quantize(Decimal("0.001"))

    load_wh, load_g = total("load_wh"), total("load_g")
    made = {"pv": total("pv_made"), "genset": total("genset_made")}
    bought, sold = total("import_made"), total("exported")
    charged = sum((total(f"{name}_to_battery") for name in SOURCES.values()), ZERO)
    discharged = sum((total(f"battery_to_{sink}") for sink in ("load", "battery", "export")), ZERO)
    wh = {words: total(f"{name}_to_load") for words, name in SOURCES.items()}
    grams = {
        "own PV": ZERO,
        "own genset": total("genset_g") * wh["own genset"] / (made["genset"] or 1),
        "grid": sum((row["grid_to_load"] * row["grid_g_per_kwh"] / 1000 for row in rows), ZERO),
    }
    grams["battery"] = load_g - grams["grid"] - grams["own genset"]
    five, rounding = Decimal("0.00001"), ROUNDING[report["installation"]["rounding"]]
    found: dict = {
        ("3", "sources of electricity and their quantities"): [mwh(made["pv"]), mwh(made["genset"]), mwh(bought)],
        ("4", "fossil or renewable"): [mwh(made["pv"]), mwh(made["genset"])],
        ("4", "exported"): [mwh(sold)],
        ("9", "electricity used in total"): [mwh(load_wh)],
        ("17", "balance"): [mwh(bought), mwh(made["pv"] + made["genset"]), mwh(load_wh), mwh(sold),
                            mwh(charged - discharged)],
        ("16(e)", "data gaps"): [Decimal(len(report["data_gaps"]))],
        ("12", "resulting emission factor"): [(load_g / load_wh).quantize(five, ROUND_HALF_UP)] if load_wh else None,
    }  # fmt: skip
    for name in SOURCES:
        found["12", f"source: {name}"] = [
            mwh(wh[name]), (grams[name] / wh[name]).quantize(five, ROUND_HALF_UP),
            (grams[name] / 1_000_000).quantize(Decimal(1), rounding),
        ] if wh[name] else None  # fmt: skip
    if load_wh:
        percent = {name: 100 * part / sum(wh.values()) for name, part in wh.items()}
        parts = (percent["own PV"] + percent["own genset"], percent["grid"], percent["battery"])
        found["15(e)", "share of actual and default values"] = [part.quantize(Decimal("0.1")) for part in parts]
    return found
