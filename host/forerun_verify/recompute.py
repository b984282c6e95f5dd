"""The figures once more, from the journal's rows and the factors that the report names. Decimal, 60 digits."""

from decimal import Decimal

from forerun_verify.meters import REGISTERS, Told, counted, stretches

YEAR_S = 31_556_952
SOURCES, SINKS = ("pv", "grid", "genset", "battery"), ("load", "battery", "export")
ZERO = Decimal(0)


class Inventory:
    """Stored energy in lots [Wh, grams, PV Wh, carbon-free Wh]; one lot when averaged."""

    def __init__(self, into: Decimal, out: Decimal, averaged: bool, newest_first: bool):
        self.into, self.out, self.averaged, self.newest_first = into, out, averaged, newest_first
        self.lots: list[list[Decimal]] = []
        self.in_g = self.out_g = ZERO

    def add(self, wh: Decimal, grams: Decimal, green: Decimal, clean: Decimal) -> None:
        lot = [wh, grams, wh * green, wh * clean]
        self.in_g += grams
        if self.averaged and self.lots:
            self.lots[0] = [old + new for old, new in zip(self.lots[0], lot, strict=True)]
        else:
            self.lots.append(lot)

    def take(self, ac_wh) -> list[Decimal]:
        """[AC Wh that was not there, grams, PV AC Wh, carbon-free AC Wh]"""
        wanted, got = Decimal(ac_wh) / self.out, [ZERO] * 4
        if self.total(0) == 0:
            return [Decimal(ac_wh), ZERO, ZERO, ZERO]
        while wanted > 0 and self.lots:
            lot = self.lots.pop() if self.newest_first else self.lots.pop(0)
            part = min(Decimal(1), wanted / lot[0]) if lot[0] else Decimal(1)
            given = [value * part for value in lot] if part < 1 else lot
            if part < 1:
                rest = [value - gone for value, gone in zip(lot, given, strict=True)]
                self.lots.insert(len(self.lots) if self.newest_first else 0, rest)
            wanted -= given[0]
            got = [sum(pair) for pair in zip(got, given, strict=True)]
            if part < 1:
                wanted = ZERO
        self.out_g += got[1]
        return [wanted * self.out, got[1], got[2] * self.out, got[3] * self.out]

    def total(self, index: int) -> Decimal:
        return sum((lot[index] for lot in self.lots), ZERO)

    def shrink_to(self, wh: Decimal) -> None:
        part = wh / self.total(0)
        self.lots = [[energy * part, grams, green * part, clean * part] for energy, grams, green, clean in self.lots]


def intervals(report: dict, told: Told, factors: dict[str, dict]) -> tuple[list[dict], dict]:
    """(all intervals since the journal's first reading, the books of the battery)."""
    inputs = report["monitoring_plan"]["inputs"]
    named, battery = inputs["factors"], inputs["battery"]
    into, out = Decimal(battery["efficiency_charge"]), Decimal(battery["efficiency_discharge"])
    capacity = Decimal(battery["capacity_wh"])
    pieces = stretches(told.rows, inputs["interval_s"], inputs["limits_w"])
    rates = {"pv": Decimal(factors[named["pv"]]["value"]),
             "genset": Decimal(factors[named["fuel"]]["value"]) * Decimal(factors[named["litres"]]["value"]) * 1000}
    stores = [Inventory(into, out, True, False), Inventory(into, out, False, False), Inventory(into, out, False, True)]
    opening = ZERO, ZERO
    if pieces:
        opening_wh = capacity * pieces[0][0]["soc_permille"] / 1000
        grid, _ = grid_at(pieces[0][0]["utc_s"], told, named, factors)
        opening = opening_wh, opening_wh * out * grid / 1000
        for store in stores if opening_wh else ():
            store.add(*opening, ZERO, ZERO)
    found = []
    for first, last, substituted, unknown_time in pieces:
        rates["grid"], clean = grid_at((first["utc_s"] + last["utc_s"]) // 2, told, named, factors)
        row = _interval(first, last, rates, clean, stores)
        measured_wh = capacity * last["soc_permille"] / 1000
        for store in stores:
            if store.total(0) - measured_wh > capacity / 50:
                store.shrink_to(measured_wh)
        row |= {"stored_wh": stores[0].total(0), "stored_g": stores[0].total(1), "clean_share": clean}
        estimated = row["apart_wh"] or row["genset_made"] or unknown_time or row.pop("overdrawn")
        row["quality"] = "substituted" if substituted else "estimated" if estimated else "measured"
        found.append(row)
    main = stores[0]
    return found, {"opening_wh": opening[0], "opening_g": opening[1], "in_g": main.in_g, "out_g": main.out_g,
                   "closing_wh": main.total(0), "closing_g": main.total(1)}  # fmt: skip


def grid_at(utc_s: int, told: Told, named: dict, factors: dict) -> tuple[Decimal, Decimal]:
    """(g/kWh, carbon-free share) of the grid: the journal's hour, else the named yearly factor and share 0."""
    hour = utc_s // 3600
    if hour * 3600 in told.grid:
        return told.grid[hour * 3600]
    return Decimal(factors[named["grid"][hour % len(named["grid"])]]["value"]), ZERO


def figures(
    report: dict, all_rows: list[dict], told: Told, factors: dict, start_s: int, end_s: int
) -> dict:  # fmt: skip
    """Every result of the report by name, unrounded; None where a meter or a factor is missing."""
    inputs = report["monitoring_plan"]["inputs"]
    factor = {name: Decimal(factors[key]["value"]) for name, key in inputs["factors"].items() if isinstance(key, str)}
    hours = _hours([row for row in all_rows if start_s <= (row["start_utc_s"] + row["end_utc_s"]) // 2 < end_s])
    for number, hour in hours.items():
        hour["grid_g"], hour["clean_share"] = grid_at(number * 3600, told, inputs["factors"], factors)
    total = {name: sum((hour[name] for hour in hours.values()), ZERO) for name in (
        "load_wh", "import_made", "pv_made", "genset_made", "exported", "import_g", "genset_g", "pv_load_wh",
        "apart_wh")}  # fmt: skip
    meter = {name: counted(told.submeters.get(name, []), start_s, end_s, told.exchanges.get(name, [])) for name in (
        "it_wh", "cooling_wh", "other_wh", "heat_reuse_wh", "water_ml", "fuel_ml")}  # fmt: skip
    used = _matched(told.certificates, _hours(all_rows), end_s)
    covered_wh, covered_g, sold_export_wh, sold_pv_wh = (
        sum((used[name].get(number, 0) for number in hours), ZERO) for name in ("wh", "grams", "export", "pv"))
    matched = {number: used["hourly"].get(number, 0) for number in hours}
    litres = meter["fuel_ml"] / 1000 if meter["fuel_ml"] is not None else total["genset_made"] * factor["litres"] / 1000
    rest_wh = total["import_made"] - covered_wh
    rest_rate = factor.get("residual", total["import_g"] * 1000 / (total["import_made"] or 1))
    found = {
        "scope1_g": litres * factor["fuel"] * 1000,
        "scope2_location_g": total["import_g"],
        "scope2_market_g": covered_g + rest_wh * rest_rate / 1000,
        "scope3_cat3_g": litres * factor["upstream"] * 1000 if "upstream" in factor else None,
    }
    for name, (kg, years) in inputs["embodied"].items():
        found[f"embodied_{name}_g"] = Decimal(kg) * 1000 * (end_s - start_s) / (years * YEAR_S) if Decimal(kg) else None
    if found["embodied_pv_g"] is None and "pv_life_cycle" in factor:
        found["embodied_pv_g"] = total["pv_made"] * factor["pv_life_cycle"] / 1000
    found |= _shares(hours, total, matched, sold_pv_wh)
    all_wh = total["import_made"] + total["pv_made"] + total["genset_made"] - total["exported"]
    own_wh = max(ZERO, total["pv_made"] - total["exported"] - sold_pv_wh)
    apart_wh, parts = total["apart_wh"], [meter[name] for name in ("it_wh", "cooling_wh", "other_wh")]
    if None not in parts:
        apart_wh += abs(total["load_wh"] - sum(parts))
    export_g = sum((hour["exported"] * hour["grid_g"] / 1000 for hour in hours.values()), ZERO)
    return found | {
        "pue": _ratio(all_wh, meter["it_wh"]), "ref": _ratio(own_wh + covered_wh, all_wh),
        "cue": _ratio(total["import_g"] + total["genset_g"], meter["it_wh"]),
        "erf": _ratio(meter["heat_reuse_wh"], all_wh), "wue": _ratio(meter["water_ml"], meter["it_wh"]),
        "residual": _ratio(apart_wh, total["load_wh"]),
        "outside_avoided_g": export_g * (1 - sold_export_wh / (total["exported"] or 1)),
    }  # fmt: skip


def _hours(rows: list[dict]) -> dict[int, dict]:
    """Sums of the rows by hour since 1970 of their middles."""
    hours: dict[int, dict] = {}
    for row in rows:
        hour = hours.setdefault((row["start_utc_s"] + row["end_utc_s"]) // 2 // 3600, {})
        for name, value in row.items():
            if name not in ("quality", "start_utc_s", "end_utc_s"):
                hour[name] = hour.get(name, 0) + value
    return hours


def _interval(first: dict, last: dict, rates: dict, clean: Decimal, stores: list[Inventory]) -> dict:
    gain = {name: last[name] - first[name] for name in REGISTERS}
    flows, apart_wh = _flows(gain)
    given_wh = gain["discharge_wh"]
    drawn = [_through(store, flows, rates, clean, given_wh) for store in stores]
    part = {sink: Decimal(flows["battery", sink]) / (given_wh or 1) for sink in ("load", "export")}
    direct = {sink: sum(flows[name, sink] * rates[name] for name in SOURCES[:3]) / 1000 for sink in ("load", "export")}
    missing_wh, grams, green, clean_wh = drawn[0]
    row = {f"{source}_to_{sink}": wh for (source, sink), wh in flows.items()}
    return row | {
        "start_utc_s": first["utc_s"], "end_utc_s": last["utc_s"],
        "load_wh": sum(flows[source, "load"] for source in SOURCES), "apart_wh": apart_wh,
        "load_g": direct["load"] + part["load"] * grams, "export_g": direct["export"] + part["export"] * grams,
        "fifo_g": direct["load"] + part["load"] * drawn[1][1], "lifo_g": direct["load"] + part["load"] * drawn[2][1],
        "import_g": gain["import_wh"] * rates["grid"] / 1000, "genset_g": gain["genset_wh"] * rates["genset"] / 1000,
        "pv_load_wh": flows["pv", "load"] + part["load"] * green,
        "clean_load_wh": flows["pv", "load"] + flows["grid", "load"] * clean + part["load"] * clean_wh,
        "grid_g_per_kwh": rates["grid"], "import_made": gain["import_wh"], "pv_made": gain["pv_wh"],
        "genset_made": gain["genset_wh"], "exported": sum(flows[source, "export"] for source in SOURCES),
        "overdrawn": missing_wh >= 1, "first_record": first["number"], "last_record": last["number"],
    }  # fmt: skip


def _flows(gain: dict) -> tuple[dict, int]:
    """Charge from PV, grid and genset, export from PV, genset and battery, both in proportion; the load the rest."""
    left = dict(zip(SOURCES, (gain["pv_wh"], gain["import_wh"], gain["genset_wh"], gain["discharge_wh"]), strict=True))
    flows = {(source, sink): 0 for source in SOURCES for sink in SINKS}
    apart_wh = 0
    for sink, wanted, groups in (
        ("battery", gain["charge_wh"], (SOURCES[:3], ("battery",))),
        ("export", gain["export_wh"], (("pv", "genset", "battery"), ("grid",))),
    ):
        for group in groups:
            there = sum(left[name] for name in group)
            amount = min(wanted, there)
            shares = {name: divmod(amount * left[name], there) for name in group} if there else {}
            spare = amount - sum(whole for whole, _ in shares.values())
            lucky = sorted(shares, key=lambda name, shares=shares: -shares[name][1])[:spare]
            for name, (whole, _) in shares.items():
                wh = whole + (name in lucky)
                flows[name, sink] += wh
                left[name] -= wh
            wanted -= amount
        apart_wh += wanted
    for name, wh in left.items():
        flows[name, "load"] = wh
    return flows, apart_wh


def _through(store: Inventory, flows: dict, rates: dict, clean: Decimal, given_wh: int) -> list[Decimal]:
    for name, green, free in (("pv", Decimal(1), Decimal(1)), ("grid", ZERO, clean), ("genset", ZERO, ZERO)):
        wh = flows[name, "battery"]
        if wh:
            store.add(store.into * wh, wh * rates[name] / 1000, green, free)
    if not given_wh:
        return [ZERO] * 4
    missing_wh, grams, green_wh, clean_wh = store.take(given_wh)
    extra_g = missing_wh * rates["grid"] / 1000
    store.in_g, store.out_g, grams = store.in_g + extra_g, store.out_g + extra_g, grams + extra_g
    back_wh = flows["battery", "battery"]
    if back_wh:
        store.add(store.into * back_wh, back_wh * grams / given_wh, green_wh / given_wh, clean_wh / given_wh)
    return [missing_wh, grams, green_wh, clean_wh]


def _matched(certificates: list[dict], hours: dict, end_s: int) -> dict[str, dict[int, Decimal]]:
    """By hour: import covered [wh, grams], of it matched by the hour, and PV sold from the export and from the rest."""
    bought = {hour: row["import_made"] for hour, row in hours.items()}
    export = {hour: row["pv_to_export"] for hour, row in hours.items()}
    kept = {hour: row["pv_made"] - row["pv_to_export"] for hour, row in hours.items()}
    done: dict[str, dict] = {name: {} for name in ("wh", "grams", "hourly", "export", "pv")}

    def give(name: str, hour: int, amount) -> None:
        done[name][hour] = done[name].get(hour, 0) + amount

    for item in certificates:
        left = item["wh"]
        span = [hour for hour in range(item["start_utc_s"] // 3600, -(-item["end_utc_s"] // 3600)) if hour in hours]
        pools = [("wh", bought)] if item["action"] == "cancelled" else [("export", export), ("pv", kept)]
        for name, pool in pools:
            for hour in span:
                part = min(left, pool[hour])
                left, pool[hour] = left - part, pool[hour] - part
                give(name, hour, part)
                if name == "wh":
                    give("grams", hour, part * Decimal(item["g_per_kwh"]) / 1000)
                    if item["end_utc_s"] - item["start_utc_s"] <= 3600:
                        room = hours[hour]["grid_to_load"] - done["hourly"].get(hour, 0)
                        give("hourly", hour, min(part, room))
        if item["action"] == "sold" and span and item["end_utc_s"] <= end_s:
            give("pv", span[0], left)
    return done


def _shares(hours: dict, total: dict, matched: dict, sold_pv_wh: Decimal) -> dict:
    load_wh, pv_wh = total["load_wh"], total["pv_load_wh"]
    if not load_wh:
        return dict.fromkeys(("green_on_site", "green_matched", "green_grid", "cfe"))
    on_site = max(ZERO, pv_wh - sold_pv_wh)
    grid = score = ZERO
    for number, hour in hours.items():
        cover = matched.get(number, 0)
        grid += hour["clean_load_wh"] - hour["pv_load_wh"] + cover * (1 - hour["clean_share"])
        own = min(Decimal(hour["load_wh"]), hour["pv_load_wh"] * on_site / (pv_wh or 1) + cover)
        score += own + hour["clean_share"] * (hour["load_wh"] - own)
    return {"green_on_site": on_site / load_wh, "green_matched": (on_site + sum(matched.values())) / load_wh,
            "green_grid": (on_site + grid) / load_wh, "cfe": score / load_wh}  # fmt: skip


def _ratio(above, below) -> Decimal | None:
    return above / below if above is not None and below else None
