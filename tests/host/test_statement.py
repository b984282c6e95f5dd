"""The canonical report: its schema, and every fault of the data named in its gaps, never smoothed."""

import json
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

import site_journal
from forerun import config
from forerun.carbon import factors
from forerun.carbon.factors import HOUR_S
from forerun.evidence import hashtree
from forerun.report import statement
from forerun.report.publish import issued_path
from forerun.store.journal import read
from forerun_verify.check import _figures
from forerun_verify.journal import read as read_again
from forerun_wire import messages

SCHEMA = json.loads(Path(statement.__file__).with_name("report.schema.json").read_text())
START, STEP_S, DAY = site_journal.START, site_journal.STEP_S, 96
TABLE = factors.load()


def report(folder: Path, change=None, days: int = 1, reporting: str = "") -> dict:
    """The report of a journal that `change` had its hand in; other code must come to the same figures."""
    path = folder / "journal.forerun"
    site_journal.write(path, days * DAY, change)
    site = config.load(site_journal.site_file(folder, reporting))
    document = statement.statement(site, list(read(path)), TABLE, START, START + days * 86_400)
    jsonschema.validate(document, SCHEMA)
    assert json.loads(hashtree.canonical(document)) == document
    assert _figures(document, read_again(path)[0]) == []
    return document


def sentences(document: dict) -> str:
    return "\n".join(gap["sentence"] for gap in document["data_gaps"])


def value(document: dict, name: str) -> Decimal:
    return Decimal(document["results"][name]["value"])


def load_wh(document: dict) -> int:
    place = document["intervals"]["columns"].index("load_wh")
    return sum(row[place] for row in document["intervals"]["rows"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict:
    return report(tmp_path_factory.mktemp("plain"))


def test_a_whole_day_has_no_gap_in_its_meters(plain):
    assert len(plain["intervals"]["rows"]) == DAY
    for word in ("never came", "came late", "stepped", "fell", "twice", "damaged", "no reading"):
        assert word not in sentences(plain)
    assert plain["report"]["status"] == "final"
    assert abs(Decimal(plain["storage"]["residual_g"])) < Decimal("0.001")
    assert value(plain, "residual") == 0


def test_annex_iv_items_are_filled_not_applicable_because_or_missing(plain):
    items = {(item["item"], item["title"]): item for item in plain["cbam_annex_iv"]}
    numbers = {item["item"] for item in plain["cbam_annex_iv"]}
    assert numbers == {"identity", "3", "4", "9", "10", "11", "12", "15(e)", "16(e)", "17", "26", "32", "33"}
    for item in items.values():
        assert item["reason"] and bool(item["value"]) == (item["status"] == "filled")
    assert items["identity", "UN/LOCODE of the installation"]["status"] == "missing"
    assert items["10", "electricity used for Annex I goods"]["status"] == "not applicable"
    assert "0.03075 t CO2e/MWh" in items["12", "source: grid"]["value"]
    assert items["9", "electricity used in total"]["value"] == f"{Decimal(load_wh(plain)) / 1_000_000:.3f} MWh"


def test_a_site_that_says_who_it_is_has_nothing_missing_in_its_identity(tmp_path):
    told = 'operator = "A"\naddress = "B"\ncountry = "NO"\nunlocode = "NOTRD"\nregistry_id = "C"\nregistration = "D"'
    told += '\nsupplier = "E"\ndiagram = "F"\npower_contract = "G"'
    document = report(tmp_path, reporting=told)
    assert len([item for item in document["cbam_annex_iv"] if item["item"] == "identity"]) == 6
    missing = [item["item"] for item in document["cbam_annex_iv"] if item["status"] == "missing"]
    assert missing == ["26", "32", "33"]


def test_a_meter_reset(tmp_path, plain):
    def reset(index, record):
        if index >= 40:
            record["registers"][0] -= 4000 if record["registers"][0] > 4000 else 0
        return [record]

    document = report(tmp_path, reset)
    assert "import_wh fell from" in sentences(document)
    assert len(document["intervals"]["rows"]) == DAY - 1 and load_wh(document) < load_wh(plain)


def test_a_register_that_rolls_over_goes_on_counting(tmp_path, plain):
    def near_the_end(index, record):
        record["registers"][0] = (record["registers"][0] + (1 << 32) - 3000) % (1 << 32)
        return [record]

    document = report(tmp_path, near_the_end)
    assert "import_wh rolled over" in sentences(document)
    assert value(document, "scope2_location_g") == value(plain, "scope2_location_g")


def test_a_swapped_meter_with_its_new_serial(tmp_path):
    def swap(index, record):
        if index >= 30:
            record["registers"][4] = max(0, record["registers"][4] - 1500)
        told = [("meter", {"meter": "pv", "serial": "SN-2"})] if index == 30 else []
        return [*told, record]

    document = report(tmp_path, swap)
    assert "the pv meter was exchanged: serial SN-2" in sentences(document)
    assert "the pv meter was exchanged in between: what passed there is not known" in sentences(document)
    assert len(document["intervals"]["rows"]) == DAY - 1
    assert {"meter": "pv", "unit": 3, "serial": "SN-2"} in document["meters"]


def test_power_that_cannot_be(tmp_path):
    def jump(index, record):
        record["registers"][0] += 500_000 if index >= 50 else 0
        return [record]

    document = report(tmp_path, jump)
    assert "W cannot be, the limit is 45000 W" in sentences(document)
    assert value(document, "scope2_location_g") < 5000


def test_duplicate_late_and_missing_records(tmp_path, plain):
    held = []

    def disorder(index, record):
        if index == 20:
            held.append(record)
            return []
        if index == 23:
            return [record, held.pop()]
        if index == 60:
            return []
        return [record, record] if index == 70 else [record]

    document = report(tmp_path, disorder)
    text = sentences(document)
    assert "record 20 came late, after 23: put in its place" in text
    assert "record 70 is there twice" in text
    assert "records 60 to 60 never came" in text and "no reading for 1800 s" in text
    assert load_wh(document) == load_wh(plain)


def test_records_that_the_board_dropped_are_named_with_its_cause(tmp_path):
    def full(index, record):
        if 30 <= index < 34:
            return []
        if index == 40:  # as the board tells it, in a record of its own
            told = [site_journal.STORE, 1000, 1, record["uptime_s"], 0, messages.GAP, 0, 30, 33]
            return [record, ("record", told)]
        return [record]

    document = report(tmp_path, full)
    assert "records 30 to 33 never came: the board says oldest_dropped" in sentences(document)


def test_a_clock_that_is_stepped(tmp_path):
    def back(index, record):
        record["utc_s"] -= 3600 if index >= 48 else 0
        return [record]

    text = sentences(report(tmp_path, back))
    assert "the clock was stepped by -3600 s" in text and "the board's clock was set back" in text


def test_a_clock_stepped_by_less_than_an_interval_leaves_no_interval_measured(tmp_path, plain):
    def forth_and_back(index, record):
        record["utc_s"] += 60 if 40 <= index < 48 else 0
        return [record]

    document = report(tmp_path, forth_and_back)
    assert "stepped by +60 s" in sentences(document) and "stepped by -60 s" in sentences(document)
    columns = document["intervals"]["columns"]
    reasons = [dict(zip(columns, row, strict=True))["reasons"] for row in document["intervals"]["rows"]]
    assert sum("the clock was stepped" in reason for reason in reasons) == 2
    assert load_wh(document) == load_wh(plain)


def test_a_used_meter_that_counts_on_from_anywhere_is_no_energy(tmp_path, plain):
    """The new meter's register is higher than the old one's, by less than any limit would notice."""

    def swap(index, record):
        record["registers"][4] += 700 if index >= 50 else 0
        return [*([("meter", {"meter": "pv", "serial": "used"})] if index == 50 else []), record]

    document = report(tmp_path, swap)
    assert load_wh(document) < load_wh(plain)
    assert "the pv meter was exchanged in between" in sentences(document)


def test_a_serial_told_before_any_record_is_no_exchange(tmp_path):
    def told(index, record):
        return [("meter", {"meter": "pv", "serial": "first"}), record] if index in (0, 30) else [record]

    document = report(tmp_path, told)
    assert "exchanged" not in sentences(document) and len(document["intervals"]["rows"]) == DAY


def test_submeters_that_are_reset_late_double_exchanged_or_silent_are_named(tmp_path):
    late = []

    def told(index, record):
        reading = ("submeter", ["it_wh", 1000 * index if index < 30 else 1000 * (index - 30)])
        cooling = [("submeter", ["cooling_wh", 100 * index])] if 20 <= index < 60 else []
        if index == 10:
            late.append(record["utc_s"])
            return [record]
        if index == 50:
            return [("meter", {"meter": "it_wh", "serial": "B"}), ("submeter", ["it_wh", 90_000]), record]
        if index > 50:
            reading = ("submeter", ["it_wh", 90_000 + 1000 * (index - 50)])
        return [reading, *([reading] if index == 70 else []), *cooling, record]

    document = report(tmp_path, told)
    text = sentences(document)
    assert "it_wh fell from 29000 to 0: the meter was reset" in text
    assert "it_wh came twice, the same reading" in text
    assert "the it_wh meter was exchanged: serial B" in text
    assert "cooling_wh is known from or to 2024-01-01T05:00:00Z, the period begins at" in text
    assert "cooling_wh is known from or to 2024-01-01T14:45:00Z, the period ends at" in text
    # 29 steps, 19 after the reset (30→49), 46 after the exchange: neither the fall nor the jump to 90 000 counts.
    assert document["results"]["pue"]["inputs"]["below"] == str(1000 * (29 + 19 + 46))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("certificate", {"id": "x"}),
        ("certificate", {"id": "x", "action": "kept", "start_utc_s": START, "end_utc_s": START + 1, "wh": 1,
                         "g_per_kwh": "0", "technology": "", "issuer": ""}),
        ("certificate", {"id": "x", "action": "sold", "start_utc_s": START, "end_utc_s": START, "wh": 1,
                         "g_per_kwh": "0", "technology": "", "issuer": ""}),
        ("certificate", {"id": "x", "action": "sold", "start_utc_s": START, "end_utc_s": START + 9, "wh": -1,
                         "g_per_kwh": "0", "technology": "", "issuer": ""}),
        ("certificate", {"id": "x", "action": "sold", "start_utc_s": START, "end_utc_s": START + 9, "wh": 1,
                         "g_per_kwh": "NaN", "technology": "", "issuer": ""}),
        ("grid", {"start_utc_s": START, "g_per_kwh": ["1"], "clean_share": [], "source": "x"}),
        ("grid", {"start_utc_s": START, "g_per_kwh": ["-1"], "clean_share": [None], "source": "x"}),
        ("grid", {"start_utc_s": START + 900, "g_per_kwh": ["1"], "clean_share": [None], "source": "x"}),
        ("grid", {"start_utc_s": START, "g_per_kwh": ["1"], "clean_share": ["1.1"], "source": "x"}),
        ("submeter", ["it_wh", -5]),
        ("submeter", ["tea_l", 5]),
        ("submeter", {}),
        ("meter", {"meter": 3, "serial": "x"}),
        ("correction", {"record": "7"}),
        ("record", ["x", 1]),
        ("record", [b"12345678", 500, 1, 2, 3, 1, 900, "a"]),
    ],
)  # fmt: skip
def test_an_entry_that_is_none_of_its_kind_stays_out_and_is_named(tmp_path, plain, kind, body):
    document = report(tmp_path, lambda index, record: [(kind, body), record] if index == 5 else [record])
    assert f"is no {kind}" in sentences(document)
    assert document["results"] == plain["results"]


def test_an_entry_that_was_withdrawn_does_not_count_and_is_named(tmp_path, plain):
    """The first entry of the journal is that certificate."""
    void = ("correction", {"entry": 0, "reason": "of another site", "author": "A. Test"})

    def told(index, record):
        first = [certificate("c1", "cancelled", 1000)] if index == 0 else []
        return [*first, record, *([void] if index == 9 else [])]

    document = report(tmp_path, told)
    assert "entry 0 withdrawn by A. Test: of another site; the certificate does not count" in sentences(document)
    assert document["results"] == plain["results"] and document["corrections"] == [void[1]]


def test_a_board_that_substituted_and_a_correction(tmp_path):
    def change(index, record):
        record["quality"] = 4 if index == 10 else 0
        fix = {"record": 12, "field": "import_wh", "value": record["registers"][0], "reason": "read by hand",
               "author": "A. Test"}  # fmt: skip
        return [record, ("correction", fix)] if index == 12 else [record]

    document = report(tmp_path, change)
    quality = document["intervals"]["columns"].index("quality")
    assert [row[quality] for row in document["intervals"]["rows"]].count("substituted") == 2
    assert "by A. Test: read by hand" in sentences(document)
    assert document["uncertainty"]["load_wh_by_quality"]["substituted"] > 0


def test_days_of_23_and_25_hours(tmp_path):
    spring = 1_711_843_200  # 2024-03-31T00:00Z
    site = config.load(site_journal.site_file(tmp_path, reporting='timezone = "Europe/Oslo"'))
    document = statement.statement(site, [], TABLE, spring, spring + 86_400)
    assert "2024-03-31 has 23 hours in Europe/Oslo" in sentences(document)
    autumn = 1_729_987_200  # 2024-10-27T00:00Z
    assert "2024-10-27 has 25 hours" in sentences(statement.statement(site, [], TABLE, autumn, autumn + 86_400))


def test_a_factor_outside_its_validity_and_hours_without_grid_data(tmp_path, plain):
    assert "factor residual-NO is valid from 2020-01-01 to 2020-12-31: used outside of it" in sentences(plain)
    assert "factor grid stands in" in sentences(plain) and "factor grid is valid" not in sentences(plain)


def grid(index, record):
    told = ("grid", {"start_utc_s": START, "g_per_kwh": [str(20 + hour) for hour in range(24)],
                     "clean_share": ["0.9"] * 24, "source": "Energinet, test"})  # fmt: skip
    return [told, record] if index == 0 else [record]


def test_the_grid_by_the_hour_from_the_journal(tmp_path, plain):
    document = report(tmp_path, grid)
    assert "stands in" not in sentences(document) and document["grid_sources"] == ["Energinet, test"]
    place = [document["intervals"]["columns"].index(name) for name in ("start_utc_s", "grid_g_per_kwh")]
    for row in document["intervals"]["rows"]:
        assert Decimal(row[place[1]]) == 20 + (row[place[0]] - START) // HOUR_S
    assert value(document, "green_grid") > value(plain, "green_grid")
    assert value(document, "cfe") > Decimal("0.9") - Decimal("0.05")


def certificate(name: str, action: str, wh: int, span_h: int = 1) -> tuple:
    end = START + span_h * HOUR_S
    return ("certificate", {"id": name, "action": action, "start_utc_s": START, "end_utc_s": end, "wh": wh,
                            "g_per_kwh": "0", "technology": "hydro", "issuer": "test"})  # fmt: skip


def test_a_certificate_used_twice_and_one_that_was_sold(tmp_path, plain):
    def told(index, record):
        more = [certificate("c1", "cancelled", 1000), certificate("c1", "cancelled", 1000),
                certificate("c2", "sold", 300_000, 24)]  # fmt: skip
        return [*more, record] if index == 0 else [record]

    document = report(tmp_path, told)
    text = sentences(document)
    assert "certificate c1 is used twice" in text and "certificate c2 over 300000 Wh was sold" in text
    assert "certificate c2 is over 300000 Wh, the PV of its time made" in text
    assert value(document, "green_on_site") == 0 < value(plain, "green_on_site")
    assert value(document, "outside_avoided_g") == 0
    assert value(plain, "scope2_market_g") - value(document, "scope2_market_g") == 402


def test_indicators_from_submeters(tmp_path):
    def told(index, record):
        rates = {"it_wh": 1200, "cooling_wh": 300, "other_wh": 30, "water_ml": 500, "fuel_ml": 15}
        return [*(("submeter", [name, each * index]) for name, each in rates.items()), record]

    document = report(tmp_path, told)
    assert value(document, "wue") == Decimal("0.416666667")
    assert value(document, "pue") > 1 and value(document, "residual") < Decimal("0.03")
    assert document["results"]["scope1_g"]["basis"] == "fuel meter"
    assert value(document, "scope1_g") == 15 * 96 * Decimal("2.57082")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8])
def test_a_journal_cut_anywhere_says_what_is_not_there(tmp_path, keep):
    path = tmp_path / "journal.forerun"
    site_journal.write(path, DAY)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    site = config.load(site_journal.site_file(tmp_path))
    document = statement.statement(site, list(read(path)), TABLE, START, START + 86_400)
    assert "no reading in the last" in sentences(document)
    middle = int(len(data) * keep)
    path.write_bytes(data[:middle] + data[middle + 2000 :])
    document = statement.statement(site, list(read(path)), TABLE, START, START + 86_400)
    assert "the journal is damaged at byte" in sentences(document) and "never came" in sentences(document)


def test_a_journal_cut_or_holed_at_any_byte_is_read_and_what_lacks_is_named(tmp_path):
    path = tmp_path / "journal.forerun"
    site_journal.write(path, 24)
    whole, site = path.read_bytes(), config.load(site_journal.site_file(tmp_path))

    def told(data: bytes) -> tuple[int, str]:
        path.write_bytes(data)
        document = statement.statement(site, list(read(path)), TABLE, START, START + 6 * HOUR_S)
        words = [gap["sentence"] for gap in document["data_gaps"] if gap["start_utc_s"] is not None]
        return load_wh(document), "\n".join(words)

    load, _ = told(whole)
    for place in range(0, len(whole), 61):
        cut_wh, text = told(whole[:place])
        named = any(words in text for words in ("no reading", "damaged", "no interval"))
        assert named or cut_wh == load, place
        holed_wh, text = told(whole[:place] + whole[place + 150 :])
        assert "damaged at byte" in text or "no reading in the last" in text or holed_wh == load, place


def test_a_part_of_a_journal_is_a_period_of_its_own(tmp_path):
    whole = report(tmp_path, days=3)
    entries = list(read(tmp_path / "journal.forerun"))
    site = config.load(tmp_path / "site.toml")
    parts = [statement.statement(site, entries, TABLE, START + day * 86_400, START + (day + 1) * 86_400)
             for day in range(3)]  # fmt: skip
    assert sum(load_wh(part) for part in parts) == load_wh(whole)
    assert abs(sum(value(part, "scope1_g") for part in parts) - value(whole, "scope1_g")) < Decimal("1e-8")
    assert not issued_path(tmp_path / "journal.forerun").exists()


def test_the_schema_refuses_a_number_that_is_no_text(plain):
    broken = json.loads(json.dumps(plain))
    broken["results"]["scope1_g"]["value"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)
