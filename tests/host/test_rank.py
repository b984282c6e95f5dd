"""Ranking of bundles: known orders, missing data, changed bundles, and what cannot be told apart."""

import hashlib
import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

import site_journal
from forerun import config
from forerun.carbon import factors
from forerun.cli import app
from forerun.errors import Trouble, WrongUsage
from forerun.evidence import hashtree
from forerun.rank import bundle, ranking, vendors
from forerun.report import statement
from forerun.store.journal import Journal, read
from forerun_verify.check import _figures
from forerun_verify.journal import read as read_again
from forerun_wire import messages

EXAMPLES = sorted((Path(__file__).parents[2] / "examples/rank").glob("*.json"))
KPIS = {"readiness_lead_s": 300, "missed_surge_share": "0.1", "dips_per_month": 15, "import_violations_per_month": 15,
        "whole_life_g_per_kwh": 400, "output_at_40c_share": "0.75", "availability_share": "0.975",
        "availability_humid_share": "0.975", "evidenced_field_share": "0.5"}  # fmt: skip


def one(name: str, grade: str = "A", **more) -> bundle.Bundle:
    kpis = {key: None if value is None else Decimal(value) for key, value in {**KPIS, **more}.items()}
    return bundle.Bundle(name, "x", ("", ""), kpis, grade, "")


def test_half_of_every_scale_is_half_by_both_methods():
    found = ranking.rank([one("a"), one("b", readiness_lead_s=600)])
    worse = found.places[1]
    assert worse.vendor == "a" and worse.weighted_sum == pytest.approx(0.5) and worse.topsis == pytest.approx(0.5)
    assert found.places[0].scores["coordination"] == pytest.approx(0.625)
    assert sum(found.weights.values()) == pytest.approx(1)


def test_topsis_is_the_textbooks():
    scores = np.array([[0.2, 0.9, 0.4, 0.7], [0.6, 0.3, 0.8, 0.1]])
    share = np.array([0.4, 0.3, 0.2, 0.1])
    best, worst = (np.sqrt((((scores - ideal) * share) ** 2).sum(axis=1)) for ideal in (1, 0))
    assert ranking._topsis(scores, share) == pytest.approx(worst / (best + worst))


def test_a_third_bundle_changes_nothing_between_two():
    pair = ranking.rank([one("a"), one("b", dips_per_month=3)])
    three = ranking.rank([one("a"), one("b", dips_per_month=3), one("c", whole_life_g_per_kwh=0)])
    totals = {place.vendor: place.weighted_sum for place in three.places}
    assert all(totals[place.vendor] == place.weighted_sum for place in pair.places)


def test_the_grade_of_the_evidence_caps_the_data_criterion():
    found = ranking.rank([one("a", "E", evidenced_field_share=1), one("b", "A", evidenced_field_share=1)])
    assert {place.vendor: place.scores["data"] for place in found.places} == {"a": 0.2, "b": 1.0}


def test_missing_data_score_nothing_lower_the_confidence_and_are_named():
    found = ranking.rank([one("a"), one("b", whole_life_g_per_kwh=None)])
    hidden = next(place for place in found.places if place.vendor == "b")
    assert hidden.scores["carbon"] is None and hidden.missing == ("whole_life_g_per_kwh",)
    assert hidden.confidence == pytest.approx(0.7) and found.places[0].confidence == pytest.approx(1)
    assert any("not guessed" in note for note in found.notes)
    assert found.ties == (("a x", "b x"),)  # what it hides could turn the order


def test_near_equals_cannot_be_told_apart_and_far_ones_can():
    near = ranking.rank([one("a"), one("b", dips_per_month=14)])
    assert near.ties and near.places[0].firmness < 0.95
    far = ranking.rank([one("a", whole_life_g_per_kwh=700), one("b", whole_life_g_per_kwh=50)])
    assert far.ties == () and far.places[0].vendor == "b" and far.places[0].firmness > 0.99


def test_wrong_weights_and_a_single_bundle_are_refused():
    with pytest.raises(WrongUsage, match="at least two"):
        ranking.rank([one("a")])
    with pytest.raises(WrongUsage, match="at least two"):
        ranking.rank([one("a"), one("a")])
    with pytest.raises(WrongUsage, match="weights"):
        ranking.rank([one("a"), one("b")], {"carbon": 1.0})


def test_the_examples_are_three_and_their_order_is_firm():
    found = ranking.rank([bundle.load(path) for path in EXAMPLES])
    assert found.places[0].vendor == "Nordlys" and found.places[0].firmness > 0.99
    assert len(found.places) == 3
    assert next(place for place in found.places if place.vendor == "Kraftverk").missing == ("availability_humid_share",)


def test_an_example_is_what_its_design_makes(tmp_path):
    """Ten days of the year; with FORERUN_SOAK the whole one, byte for byte as it is shipped."""
    whole = bool(os.environ.get("FORERUN_SOAK"))
    for design in vendors.DESIGNS:
        data = vendors.example(design, tmp_path, vendors.YEAR_STEPS if whole else 960)
        shipped = (EXAMPLES[0].parent / f"{design.vendor.lower()}.json").read_bytes()
        assert data == shipped or not whole, f"{design.vendor}: make it again with `make examples`"
        mine, theirs = json.loads(data), json.loads(shipped)
        for name in ("product_data", "key", "grade"):
            assert mine[name] == theirs[name]
        assert mine["kpis"].keys() == theirs["kpis"].keys()
        report = json.loads((tmp_path / f"{design.vendor.lower()}.report.json").read_bytes())
        assert mine["evidence"]["report_sha256"] == hashlib.sha256(hashtree.canonical(report)).hexdigest()
        path = tmp_path / f"{design.vendor.lower()}.forerun"
        assert _figures(report, read_again(path)[0]) == []  # other code comes to the same figures
    again = tmp_path / "again"
    again.mkdir()
    if not whole:
        assert vendors.example(vendors.DESIGNS[2], again, 960) == data


def test_the_less_is_shown_the_less_firm_a_place_is():
    best = {"whole_life_g_per_kwh": 330}
    firm = [ranking.rank([one("a", grade), one("b", grade, **best)]).places[0].firmness for grade in "AE"]
    assert firm[0] > firm[1] + 0.05


def test_a_changed_bundle_is_refused(tmp_path):
    data, path = EXAMPLES[0].read_bytes(), tmp_path / "b.json"
    place = data.index(b'"value":"') + 9
    for bad, said in ((data[:place] + b"9" + data[place + 1 :], "changed after it was signed"), (b"{}", "no bundle"),
                      (b"[]", "no bundle"), (b"", "no bundle")):  # fmt: skip
        path.write_bytes(bad)
        with pytest.raises(Trouble, match=said):
            bundle.load(path)
    with pytest.raises(Trouble, match="cannot be read"):
        bundle.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("name", "value"), [("availability_share", "1.5"), ("dips_per_month", "NaN"), ("dips_per_month", "x")]
)
def test_a_value_that_cannot_be_is_refused_though_signed(tmp_path, name, value):
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"x").digest())
    body = {"schema": bundle.SCHEMA, "vendor": "v", "product": "p", "period_utc": ["a", "b"], "grade": "A",
            "kpis": {name: {"value": value, "evidence": "x"}}}  # fmt: skip
    path = tmp_path / "b.json"
    path.write_bytes(hashtree.canonical(hashtree.plain(hashtree.signed(body, key))))
    with pytest.raises(Trouble, match=name):
        bundle.load(path)


def test_a_sites_own_bundle_comes_from_its_report_and_journal(tmp_path):
    path = tmp_path / "journal.forerun"
    site_journal.write(path, 96)
    start = site_journal.START
    with Journal(path) as journal:
        for number, (job, ready) in enumerate(((36_000, 35_500), (50_000, None), (60_000, 59_000)), start=200):
            journal.append((start + job - 1800) * 1_000_000, "host", "job", [f"j{number}", 8000, start + job, 600, "1"])
            if ready:
                fields = [1, ready, 0, messages.EVENT, messages.PREPARE_READY, 0, 0]
                journal.append((start + ready) * 1_000_000, "board", "record", [site_journal.STORE, number, *fields])
    entries = list(read(path))
    site = config.load(site_journal.site_file(tmp_path))
    document = statement.statement(site, entries, factors.load(), start, start + 86_400)
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"x").digest())
    (tmp_path / "own.json").write_bytes(bundle.of_report(document, entries, "us", {"name": "own"}, key))
    found = bundle.load(tmp_path / "own.json")
    assert found.kpis["readiness_lead_s"] == 500
    assert found.kpis["missed_surge_share"] == Decimal("0.333333")
    assert found.kpis["output_at_40c_share"] is None and found.kpis["whole_life_g_per_kwh"] is None
    assert found.grade in bundle.GRADES
    silent = replace(found, vendor="other", kpis=dict.fromkeys(found.kpis))
    assert ranking.rank([found, silent]).places[0].vendor == "us"


def test_the_command_prints_the_ranking():
    done = CliRunner().invoke(app, ["rank", *map(str, EXAMPLES), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["places"][0]["vendor"] == "Nordlys"
    weights = "carbon=1,coordination=0,climate=0,data=0"
    done = CliRunner().invoke(app, ["rank", *map(str, EXAMPLES), "--weights", weights])
    assert done.exit_code == 0 and "Nordlys" in done.stdout
