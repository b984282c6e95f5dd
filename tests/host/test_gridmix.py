"""The grid by the hour: answers in the shapes that the three services publish, and answers that cannot be true."""

import json
from decimal import Decimal
from itertools import combinations

import pytest

from forerun.carbon import factors, gridmix

TABLE = factors.load()
YEARLY = TABLE.factors["grid-DE-2024"]
START = 1_718_841_600  # 2024-06-20T00:00Z
BERLIN = 52.5, 13.4
# MW by psrType over a summer day in the shape of Germany's: four quarters of day by hour 0, 6, 12, 18.
GERMANY = {
    "B01": [4500] * 4, "B02": [8000, 7500, 6000, 8500], "B04": [5000, 5500, 3500, 8000],
    "B05": [3000, 3200, 2000, 4500], "B11": [1700] * 4, "B12": [150] * 4, "B16": [0, 6000, 34000, 9000],
    "B18": [2500, 2600, 2400, 2700], "B19": [9000, 8000, 7000, 9500], "B17": [900] * 4,
}  # fmt: skip


def document(day: dict[str, list[int]], step: str = "PT60M", whole: bool = True) -> bytes:
    series = []
    steps = {"PT15M": 4, "PT60M": 1}[step]
    for psr, quarters in day.items():
        points = [quarters[hour // 6] if psr != "B16" or 4 <= hour <= 19 else 0 for hour in range(24)]
        rows, last = [], None
        for position in range(24 * steps):
            mw = points[position // steps]
            if whole or mw != last:
                rows.append(f"<Point><position>{position + 1}</position><quantity>{mw}</quantity></Point>")
            last = mw
        series.append(
            f"<TimeSeries><mRID>{psr}</mRID><businessType>A01</businessType>"
            "<inBiddingZone_Domain.mRID codingScheme='A01'>10Y1001A1001A82H</inBiddingZone_Domain.mRID>"
            "<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>A03</curveType>"
            f"<MktPSRType><psrType>{psr}</psrType></MktPSRType><Period><timeInterval>"
            "<start>2024-06-20T00:00Z</start><end>2024-06-21T00:00Z</end></timeInterval>"
            f"<resolution>{step}</resolution>{''.join(rows)}</Period></TimeSeries>"
        )
    space = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
    return f'<GL_MarketDocument xmlns="{space}"><type>A75</type>{"".join(series)}</GL_MarketDocument>'.encode()


def test_generation_by_type_becomes_an_intensity_and_a_carbon_free_share():
    answer = gridmix.entsoe(document(GERMANY), TABLE)
    assert [hour.start_utc_s for hour in answer.hours] == [START + 3600 * hour for hour in range(24)]
    first = answer.hours[0]
    grams = 4500 * 230 + 11000 * 820 + 5000 * 490 + 1850 * 24 + 2500 * 12 + 9000 * 11
    known = 4500 + 11000 + 5000 + 1850 + 2500 + 9000
    assert first.g_per_kwh == Decimal(grams) / known
    assert first.clean_share == Decimal(1850 + 2500 + 9000) / (known + 900)
    assert "10Y1001A1001A82H" in answer.source


def test_quarter_hours_and_left_out_positions_say_the_same():
    hours = gridmix.entsoe(document(GERMANY), TABLE).hours
    assert gridmix.entsoe(document(GERMANY, "PT15M", whole=False), TABLE).hours == hours


def test_consumption_of_pumped_storage_is_no_generation():
    text = document(GERMANY).decode().replace(
        "</GL_MarketDocument>", document({"B10": [9000] * 4}).decode().split(">", 1)[1].split("</type>")[1]
    ).replace("<mRID>B10</mRID>", "<mRID>B10</mRID><outBiddingZone_Domain.mRID>x</outBiddingZone_Domain.mRID>")
    assert gridmix.entsoe(text.encode(), TABLE).hours == gridmix.entsoe(document(GERMANY), TABLE).hours


def test_an_answer_without_data_says_the_services_own_words():
    words = (b"<Acknowledgement_MarketDocument xmlns='urn:x'><Reason><code>999</code><text>No matching data found"
             b"</text></Reason></Acknowledgement_MarketDocument>")  # fmt: skip
    with pytest.raises(gridmix.Implausible, match="No matching data found"):
        gridmix.entsoe(words, TABLE)


def test_too_much_without_a_factor_is_refused():
    with pytest.raises(gridmix.Implausible, match="without a factor"):
        gridmix.entsoe(document({**GERMANY, "B20": [20000] * 4}), TABLE)


def test_the_plain_day_passes_and_every_swap_of_two_unlike_fuels_is_caught():
    answer = gridmix.entsoe(document(GERMANY), TABLE)
    usual = gridmix.total_mix(answer)
    gridmix.check(answer, YEARLY, *BERLIN, usual)
    windier = {**GERMANY, "B19": [mw + 2500 for mw in GERMANY["B19"]], "B04": [mw - 1500 for mw in GERMANY["B04"]]}
    gridmix.check(gridmix.entsoe(document(windier), TABLE), YEARLY, *BERLIN, usual)
    caught = 0
    total = sum(usual.values())
    for one, other in combinations([psr for psr in GERMANY if psr != "B17"], 2):
        moved = abs(sum(GERMANY[one]) - sum(GERMANY[other])) * 6
        if moved < total / 20:
            continue
        text = document(GERMANY).decode().replace(f"<psrType>{one}<", "<psrType>?<")
        text = text.replace(f"<psrType>{other}<", f"<psrType>{one}<").replace("<psrType>?<", f"<psrType>{other}<")
        with pytest.raises(gridmix.Implausible, match="swapped"):
            gridmix.check(gridmix.entsoe(text.encode(), TABLE), YEARLY, *BERLIN, usual)
        caught += 1
    assert caught >= 15


def test_solar_at_night_is_caught_without_any_earlier_answer():
    hours = gridmix.entsoe(document(GERMANY), TABLE).hours
    wrong = [gridmix.Hour(hour.start_utc_s, hour.g_per_kwh, hour.clean_share, {**hour.mix, "B16": Decimal(9000)})
             for hour in hours]  # fmt: skip
    with pytest.raises(gridmix.Implausible, match="solar at night"):
        gridmix.check(gridmix.Answer(tuple(wrong), "x"), YEARLY, *BERLIN, None)


def test_a_mean_far_from_the_years_average_is_refused():
    hour = gridmix.Hour(START, Decimal(30), None, {})
    with pytest.raises(gridmix.Implausible, match=r"30 g/kWh where grid-DE-2024 says 344\.14"):
        gridmix.check(gridmix.Answer((hour,), "x"), YEARLY, *BERLIN, None)


def test_energinets_declaration_by_the_hour():
    rows = [{"HourUTC": f"2024-06-20T{hour:02d}:00:00", "HourDK": "", "PriceArea": area, "FuelAllocationMethod": method,
             "CO2PerkWh": 100.5 + hour, "CO2originPerkWh": 1.0, "SO2PerkWh": 0.1}
            for hour in (1, 0) for area in ("DK1", "DK2") for method in ("125%", "200%")]  # fmt: skip
    body = json.dumps({"total": 8, "dataset": "DeclarationGridEmission", "records": rows}).encode()
    answer = gridmix.energinet(body, "DK1")
    assert [(hour.start_utc_s - START, hour.g_per_kwh) for hour in answer.hours] == [
        (0, Decimal("100.5")), (3600, Decimal("101.5"))]  # fmt: skip
    with pytest.raises(gridmix.Implausible, match="SE3"):
        gridmix.energinet(body, "SE3")


def maps(hours, **more) -> dict:
    return {"zone": "NO-NO3", "history": [
        {"zone": "NO-NO3", "carbonIntensity": 20 + hour, "datetime": f"2024-06-20T{hour:02d}:00:00.000Z",
         "updatedAt": "2024-06-21T09:49:19.074Z", "emissionFactorType": "lifecycle", "isEstimated": hour == 2,
         "estimationMethod": None, **more} for hour in hours]}  # fmt: skip


def test_electricity_maps_history_with_its_carbon_free_share():
    breakdown = {"zone": "NO-NO3", "history": [{"datetime": "2024-06-20T00:00:00.000Z", "fossilFreePercentage": 98}]}
    answer = gridmix.electricity_maps(json.dumps(maps((0, 1, 2, 3))).encode(), json.dumps(breakdown).encode())
    assert [(hour.start_utc_s - START) // 3600 for hour in answer.hours] == [0, 1, 3]
    assert [hour.clean_share for hour in answer.hours] == [Decimal("0.98"), None, None]
    body = answer.journal_body()
    assert body["g_per_kwh"] == ["20.000000", "21.000000", None, "23.000000"]
    assert body["clean_share"] == ["0.980000", None, None, None] and "lifecycle" in body["source"]


def test_direct_and_life_cycle_factors_do_not_mix():
    mixed = maps((0, 1))
    mixed["history"][0]["emissionFactorType"] = "direct"
    with pytest.raises(gridmix.Implausible, match="mixed"):
        gridmix.electricity_maps(json.dumps(mixed).encode())


@pytest.mark.parametrize("bad", [b"", b"[]", b"{", b"<a>", b"<!DOCTYPE a><a/>", b"\xff"])
def test_what_is_no_answer_is_refused_in_a_sentence(bad):
    for read in (lambda: gridmix.entsoe(bad, TABLE), lambda: gridmix.energinet(bad, "DK1"),
                 lambda: gridmix.electricity_maps(bad)):  # fmt: skip
        with pytest.raises(gridmix.Implausible):
            read()


def test_an_answer_is_fetched_once(tmp_path):
    calls = []
    for _ in range(2):
        assert gridmix.cached(tmp_path / "a" / "b.xml", lambda: calls.append(1) or b"x") == b"x"
    assert calls == [1]
