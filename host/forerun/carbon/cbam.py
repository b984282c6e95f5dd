"""CBAM-ready operator data: the electricity items of Annex IV of (EU) 2025/2547, filled, not applicable, or missing."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

FILLED, NOT_APPLICABLE, MISSING = "filled", "not applicable", "missing"
ROUNDING = {"half up": ROUND_HALF_UP, "half even": ROUND_HALF_EVEN}
PAGE = (
    "This is CBAM-ready operator data. It is no CBAM report, and the site has no CBAM duty by using electricity.",
    "CBAM, Regulation (EU) 2023/956, prices what was emitted for imported Annex I goods and for imported electricity "
    "(CN 2716). A node that uses electricity inside the Union declares nothing under it.",
    "These data are asked for in two cases: the site is outside the Union and its electricity goes into Annex I goods; "
    "or someone who imports such goods needs them from this operator.",
    "Of the site's hardware, mounting and structures (CN 7308, 7318, 7326, 7610, 7616) are Annex I goods; batteries "
    "(8507), PV (8541) and gensets (8502) are not.",
    "Energy that left a battery is in a bucket of its own: whether it may count as an actual value is doubtful where "
    "it was stored for longer than the period of at most one hour that the evidence rules name.",
    "Not asked of such a site: a declaration, certificates, or verification under CBAM. What other law asks of it, the "
    "indicators of (EU) 2024/1364 from 500 kW of installed IT power on, is in the report.",
    "Totals are rounded to whole tonnes and factors to five decimals; the law names no method, so the site file does "
    "(reporting.rounding). An item that is marked missing is for the operator to fill in.",
)
_NOT_STATED = "not stated"


def annex_iv(document: dict) -> list[dict]:
    """One entry an item: number, title, status, value (text), reason or evidence. From the canonical report alone."""
    operator, installation = document["operator"], document["installation"]
    sums = _sums(document)
    mwh = {name: wh / 1_000_000 for name, wh in sums["wh"].items()}
    made_mwh, total_mwh = mwh["pv_made"] + mwh["genset_made"], mwh["load"]
    factor = sums["load_g"] / sums["wh"]["load"] if sums["wh"]["load"] else None  # g/Wh is t/MWh
    return [
        _told("identity", "operator", operator["name"]),
        _told("identity", "operator's address", operator["address"]),
        _told("identity", "operator's registration", operator["registration"]),
        _told("identity", "UN/LOCODE of the installation", installation["unlocode"]),
        _filled("identity", "coordinates", f"{installation['lat']}, {installation['lon']}", "site file"),
        _told("identity", "installation id in the CBAM registry", installation["registry_id"]),
        _filled("3", "sources of electricity and their quantities", "; ".join(
            f"{name} {_mwh(mwh[key])}" for name, key in (("own PV", "pv_made"), ("own genset", "genset_made"),
                                                         ("grid", "import"))), "meter records"),
        _told("3", "supplier of the grid's electricity", installation["supplier"]),
        _told("3", "country of the grid's electricity", installation["country"]),
        _item("4", "co-generation or separate production", NOT_APPLICABLE, "",
              "PV and genset make electricity alone, no useful heat: all production is separate"),
        _filled("4", "fossil or renewable", f"renewable {_mwh(mwh['pv_made'])}; fossil {_mwh(mwh['genset_made'])}",
                "meter records"),
        _filled("4", "exported", _mwh(mwh["export"]), "meter at the point of connection"),
        _filled("9", "electricity used in total", _mwh(total_mwh), "meter records"),
        _item("10", "electricity used for Annex I goods", NOT_APPLICABLE, "", "the site makes no Annex I goods"),
        _item("11", "installations supplied", NOT_APPLICABLE, "",
              "the site supplies no installation; its export goes to the grid"),
        *(_source(name, sums["source_wh"][name], sums["source_g"][name], installation) for name in sums["source_wh"]),
        _filled("12", "resulting emission factor", f"{_five(factor)} t CO2e/MWh", "article 9: Σ(EF·MWh)/ΣMWh")
        if factor is not None else _item("12", "resulting emission factor", MISSING, "", "no electricity was used"),
        _filled("15(e)", "share of actual and default values", _shares(sums), "meter records; battery apart"),
        *_evidence(document, installation),
        _filled("16(e)", "data gaps", f"{len(document['data_gaps'])} named in data_gaps", "this report"),
        _filled("17", "balance", f"imported {_mwh(mwh['import'])}; produced {_mwh(made_mwh)}; consumed "
                f"{_mwh(total_mwh)}; exported {_mwh(mwh['export'])}; battery net {_mwh(mwh['battery_net'])}",
                "meter records"),
        *(_item(number, "as the Official Journal words it", MISSING, "",
                "this system does not hold its wording: the operator fills it in") for number in ("26", "32", "33")),
    ]  # fmt: skip


def _evidence(document: dict, installation: dict) -> list[dict]:
    """Item 15(e), point D.4.3: what there must be before own electricity counts as an actual value."""
    longest_s = document["monitoring_plan"]["inputs"]["interval_s"]
    meters = f"own meters at production and use, intervals of {longest_s} s, at most an hour"
    return [
        _filled("15(e)", "D.4.3: meters in the same period of at most an hour", meters, "meter records"),
        _told("15(e)", "D.4.3: single-line diagram of the direct link", installation["diagram"]),
        _told("15(e)", "D.4.3: contract or PPA", installation["power_contract"]),
    ]


def tonnes(grams: Decimal, rounding: str = "half up") -> Decimal:
    """Whole tonnes."""
    return (grams / 1_000_000).quantize(Decimal(1), ROUNDING[rounding])


def _sums(document: dict) -> dict:
    columns = {name: index for index, name in enumerate(document["intervals"]["columns"])}
    rows = document["intervals"]["rows"]

    def total(*names: str) -> Decimal:
        return sum((Decimal(row[columns[name]]) for name in names for row in rows), Decimal(0))

    def of(source: str) -> tuple[str, ...]:
        return tuple(name for name in columns if name.startswith(f"{source}_to_"))

    to_export = tuple(name for name in columns if name.endswith("_to_export"))
    to_battery = tuple(name for name in columns if name.endswith("_to_battery"))
    grid_g = sum((row[columns["grid_to_load"]] * Decimal(row[columns["grid_g_per_kwh"]]) / 1000 for row in rows),
                 Decimal(0))  # fmt: skip
    genset_wh, load_g = total("genset_to_load"), total("load_g")
    genset_g = total("genset_g") * genset_wh / (total(*of("genset")) or 1)
    source_wh = {"own PV": total("pv_to_load"), "grid": total("grid_to_load"), "own genset": genset_wh,
                 "battery": total("battery_to_load")}  # fmt: skip
    source_g = {"own PV": Decimal(0), "grid": grid_g, "own genset": genset_g, "battery": load_g - grid_g - genset_g}
    wh = {"pv_made": total(*of("pv")), "genset_made": total(*of("genset")), "import": total(*of("grid")),
          "export": total(*to_export), "load": total("load_wh"),
          "battery_net": total(*to_battery) - total(*of("battery"))}  # fmt: skip
    return {"wh": wh, "load_g": load_g, "source_wh": source_wh, "source_g": source_g}


def _source(name: str, wh: Decimal, grams: Decimal, installation: dict) -> dict:
    if not wh:
        return _item("12", f"source: {name}", NOT_APPLICABLE, "", "it gave nothing in this period")
    country = installation["country"]
    kind = {"grid": f"default; grid, {country}", "battery": "neither: own storage, provenance by inventory"}.get(
        name, f"actual; auto-produced, {country}")  # fmt: skip
    whole = tonnes(grams, installation["rounding"])
    value = f"{_mwh(wh / 1_000_000)}; {_five(grams / wh)} t CO2e/MWh; {whole} t; {kind}"
    return _filled("12", f"source: {name}", value, "meter records; factors of this report")


def _shares(sums: dict) -> str:
    total = sum(sums["source_wh"].values())
    if not total:
        return "nothing was used"
    percent = {name: 100 * wh / total for name, wh in sums["source_wh"].items()}
    own, grid, battery = percent["own PV"] + percent["own genset"], percent["grid"], percent["battery"]
    return f"actual (own, metered) {own:.1f} %; default (grid) {grid:.1f} %; battery {battery:.1f} %"


def _told(number: str, title: str, value: str) -> dict:
    if value == _NOT_STATED:
        return _item(number, title, MISSING, "", "not in the site file")
    return _filled(number, title, value, "site file")


def _filled(number: str, title: str, value: str, where: str) -> dict:
    return _item(number, title, FILLED, value, where)


def _item(number: str, title: str, status: str, value: str, reason: str) -> dict:
    return {"item": number, "title": title, "status": status, "value": value, "reason": reason}


def _mwh(mwh: Decimal) -> str:
    return f"{mwh:.3f} MWh"


def _five(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.00001"), ROUND_HALF_UP)
