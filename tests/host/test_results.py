"""Figures of a period: the published vectors to 1e-9, scopes side by side, and nothing counted that is not known."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from opencbam.engine import attribution, emissions, types

from forerun.carbon import accounting, factors, results
from forerun.carbon.intake import Certificate
from forerun.carbon.inventory import METHODS, Store

VECTORS = json.loads(Path(__file__).with_name("carbon_vectors.json").read_text())
CLOSE = Decimal("1e-9")
MIDNIGHT = 1_700_006_400
TABLE = factors.load()


@pytest.mark.parametrize(("method", "name"), list(zip(METHODS, ("weighted_average", "fifo", "lifo"), strict=True)))
def test_stored_energy_by_three_methods(method, name):
    vector = VECTORS["storage"]
    store = Store(Decimal(vector["eta_charge"]), Decimal(vector["eta_discharge"]), method)
    for charge in vector["charge"]:
        store.charge(charge["wh"], Decimal(charge["g_per_kwh"]), Decimal(charge["green"]))
    drawn = store.discharge(vector["discharge_wh"])
    kwh = Decimal(vector["discharge_wh"]) / 1000
    found = {"g_per_kwh": drawn.grams / kwh, "emissions_g": drawn.grams, "green_share": drawn.green_wh / kwh / 1000,
             "left_g": store.carbon_g}  # fmt: skip
    for key, text in vector["expect"][name].items():
        digits = max(0, -Decimal(text).as_tuple().exponent)
        assert round(found[key], digits) == Decimal(text), key
    assert abs(store.in_g - store.out_g - store.carbon_g) < CLOSE and drawn.missing_wh == 0
    # The same in fractions, by hand: what is taken is 36/0.95 of 76 kWh in store.
    taken = Decimal(36000) / Decimal("0.95")
    lots = [(Decimal(38000), Decimal(0)), (Decimal(19000), Decimal(600)), (Decimal(19000), Decimal(14000))]
    if method == METHODS[0]:
        expected = taken / 76000 * 14600
    else:
        expected, rest = Decimal(0), taken
        for wh, grams in lots if method == METHODS[1] else lots[::-1]:
            part = min(wh, rest)
            expected, rest = expected + part / wh * grams, rest - part
    assert abs(drawn.grams - expected) < CLOSE


def test_article_9_mix_and_its_independent_check():
    sources = [(Decimal(item["mwh"]), Decimal(item["t_per_mwh"])) for item in VECTORS["article9"]["sources"]]
    factor, tonnes = results.article9(sources)
    expect = VECTORS["article9"]["expect"]
    assert abs(factor - Decimal(expect["t_per_mwh"])) < CLOSE and abs(tonnes - Decimal(expect["t"])) < CLOSE
    flows = [types.ElectricityFlow(mwh, ef) for mwh, ef in sources]
    assert abs(sum(attribution.electricity_emissions(flow) for flow in flows) - tonnes) < CLOSE


def test_carbon_free_energy_by_the_hour():
    vector = VECTORS["cfe"]
    load, clean = vector["load_mwh"], vector["pv_mwh"]
    shares = [Decimal(share) for share in vector["grid_cfe"]]
    assert abs(results.cfe(load, clean, shares) - Decimal(vector["expect"]["cfe"])) < CLOSE
    assert abs(results.cfe(load, clean, [0] * 4) - Decimal(vector["expect"]["on_site"])) < CLOSE
    assert results.cfe([0], [1], [1]) is None


def hours(count: int = 2, **more) -> tuple[accounting.Sum, ...]:
    zero = dict.fromkeys(accounting.Sum.__slots__, 0)
    base = {**zero, "load_wh": 1000, "grid_wh": 600, "import_wh": 800, "import_g": Decimal(80), "genset_made_wh": 100,
            "genset_g": Decimal(100), "pv_made_wh": 400, "pv_load_wh": Decimal(300), "clean_load_wh": Decimal(300),
            "export_wh": 100, "pv_export_wh": 100, "on_site_share": None, "quality": "measured",
            "reasons": ()}  # fmt: skip
    return tuple(accounting.Sum(**{**base, "start_utc_s": MIDNIGHT + 3600 * index,
                                "hour_utc_s": MIDNIGHT + 3600 * index, **more}) for index in range(count))


def subject(**more) -> results.Subject:
    grid = factors.Factor("grid", Decimal(100), "g/kWh", "test", "NO", None, None, "test")
    base = accounting.Factors((grid,), replace(grid, value=Decimal(0)), replace(grid, id="fuel", value=Decimal("2.5")),
                          replace(grid, value=Decimal("0.4")))  # fmt: skip
    given = {"hours": hours(), "length_s": 7200, "factors": base, "submeters": results.no_submeters(),
             "certificates": (), "residual": None, "upstream": TABLE.factors["diesel-b7-upstream"],
             "pv_life_cycle": None, "embodied_kg": {name: (Decimal(0), 10) for name in results.EQUIPMENT}}  # fmt: skip
    return results.Subject(**{**given, **more})


def value(name: str, given: results.Subject):
    return results.figures(given)[0][name].value


def certificate(**more) -> Certificate:
    base = {"id": "a", "action": "cancelled", "start_utc_s": MIDNIGHT, "end_utc_s": MIDNIGHT + 3600, "wh": 500,
            "g_per_kwh": Decimal(0), "technology": "hydro", "issuer": "test"}  # fmt: skip
    return Certificate(**{**base, **more})


def test_scope_1_from_the_fuel_meter_or_from_the_energy_as_the_independent_equation_says():
    assert value("scope1_g", subject()) == 200  # 200 Wh · 0.4 litre/kWh · 2.5 kg
    metered = {**results.no_submeters(), "fuel_ml": Decimal(90)}
    assert value("scope1_g", subject(submeters=metered)) == 225
    stream = types.CombustionStream(label="diesel", fuel_quantity=Decimal("0.09"), ncv=Decimal(1),
                                    emission_factor=Decimal("2.5"), oxidation_factor=Decimal(1))  # fmt: skip
    assert abs(emissions.combustion_emissions(stream) * 1000 - 225) < CLOSE
    assert value("scope3_cat3_g", subject()) == Decimal("0.08") * Decimal("0.62665") * 1000


def test_location_and_market_side_by_side_and_a_certificate_covers_its_own_hours_alone():
    plain = subject(residual=TABLE.factors["residual-NO"])
    assert value("scope2_location_g", plain) == 160
    assert value("scope2_market_g", plain) == Decimal("1.6") * 402
    covered = replace(plain, certificates=(certificate(),))
    assert value("scope2_location_g", covered) == 160
    assert value("scope2_market_g", covered) == Decimal("1.1") * 402
    later = replace(plain, certificates=(certificate(start_utc_s=MIDNIGHT + 7200, end_utc_s=MIDNIGHT + 10800),))
    assert value("scope2_market_g", later) == Decimal("1.6") * 402
    more_than_used = replace(plain, certificates=(certificate(wh=5000),))
    assert value("scope2_market_g", more_than_used) == Decimal("0.8") * 402


def test_without_a_residual_mix_the_fallback_is_named():
    found, missing = results.figures(subject())
    assert found["scope2_market_g"].value == 160 and found["scope2_market_g"].inputs["factor"].startswith("location")
    assert any("no residual mix" in sentence for sentence in missing)


def test_green_shares_on_site_matched_and_grid():
    given = subject(certificates=(certificate(wh=200),))
    assert value("green_on_site", given) == Decimal("0.3")
    assert value("green_matched", given) == Decimal("0.4")
    assert value("green_grid", given) == Decimal("0.4")
    yearly = subject(certificates=(certificate(wh=200, end_utc_s=MIDNIGHT + 7200),))
    assert value("green_matched", yearly) == Decimal("0.3")  # counts in the market-based figure alone


def test_what_was_sold_is_not_green_for_the_site_and_avoids_nothing():
    sold = certificate(action="sold", wh=200, end_utc_s=MIDNIGHT + 7200)
    assert value("green_on_site", subject(certificates=(sold,))) == Decimal("0.3")  # the export had 200 Wh
    assert value("outside_avoided_g", subject(certificates=(sold,))) == 0
    assert value("outside_avoided_g", subject()) == 20
    more = replace(sold, wh=500)
    assert value("green_on_site", subject(certificates=(more,))) == Decimal("0.15")
    of_one_hour = replace(sold, end_utc_s=MIDNIGHT + 3600)  # it exported 100 Wh, so 100 Wh of its other PV were sold
    assert value("green_on_site", subject(certificates=(of_one_hour,))) == Decimal("0.25")
    assert value("outside_avoided_g", subject(certificates=(of_one_hour,))) == 10


def test_a_certificate_serves_one_period_after_the_other_and_never_twice():
    first, second = hours()
    both = certificate(wh=1000, end_utc_s=MIDNIGHT + 7200)
    given = subject(residual=TABLE.factors["residual-NO"], certificates=(both,), journal_hours=(first, second))
    assert value("scope2_market_g", replace(given, hours=(first,))) == 0  # 800 of the 1000 Wh
    assert value("scope2_market_g", replace(given, hours=(second,))) == Decimal("0.6") * 402
    sold = replace(both, action="sold", wh=250)
    given = replace(given, certificates=(sold,))
    assert value("outside_avoided_g", replace(given, hours=(first,))) == 0
    assert value("green_on_site", replace(given, hours=(first,))) == Decimal("0.25")  # 50 Wh beyond both exports
    assert value("green_on_site", replace(given, hours=(second,))) == Decimal("0.3")


def test_what_is_sold_beyond_the_pv_of_its_time_is_known():
    found = results.match(hours(), [certificate(action="sold", wh=900), certificate(id="b", wh=700)])
    assert found.left_wh == {"a": 500}  # 400 Wh were made in that hour
    assert found.sold_pv_wh == {MIDNIGHT: 800}


def test_avoided_emissions_are_in_no_scope():
    less = results.figures(subject(hours=hours(export_wh=0)))[0]
    more = results.figures(subject())[0]
    for name in ("scope1_g", "scope2_location_g", "scope2_market_g", "scope3_cat3_g"):
        assert less[name] == more[name]


def test_indicators_where_meters_exist_and_null_with_a_sentence_where_not():
    found, missing = results.figures(subject())
    assert found["pue"].value is None and any(sentence.startswith("PUE") for sentence in missing)
    meters = {**results.no_submeters(), "it_wh": Decimal(1600), "cooling_wh": Decimal(300), "other_wh": Decimal(90),
              "heat_reuse_wh": Decimal(240), "water_ml": Decimal(800)}  # fmt: skip
    given = subject(submeters=meters)
    assert value("pue", given) == Decimal(2400) / 1600  # 1600 import + 800 PV + 200 genset − 200 export
    assert value("ref", given) == Decimal(600) / 2400
    assert value("cue", given) == Decimal(360) / 1600
    assert value("erf", given) == Decimal(240) / 2400
    assert value("wue", given) == Decimal("0.5")
    assert value("residual", given) == Decimal(10) / 2000


def test_embodied_carbon_is_spread_over_the_life_and_unknown_stays_unknown():
    kg = {"battery": (Decimal(6640), 15), "pv": (Decimal(0), 30), "inverter": (Decimal(500), 15),
          "genset": (Decimal(0), 20)}  # fmt: skip
    found, missing = results.figures(subject(embodied_kg=kg, length_s=results.YEAR_S))
    assert abs(found["embodied_battery_g"].value - Decimal(6640) * 1000 / 15) < CLOSE
    assert found["embodied_pv_g"].value is None
    assert any("making the genset" in sentence for sentence in missing)


def test_a_cumulative_meter_in_a_period():
    readings = [(0, 10), (100, 20), (200, 35), (300, 5), (400, 9)]
    assert results.used(readings, 100, 200) == 15
    assert results.used(readings, 0, 1000) == 29  # a fall counts nothing
    assert results.used(readings, 100, 150) is None
    assert results.used([], 0, 1000) is None
