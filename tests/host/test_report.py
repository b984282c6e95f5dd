"""The report: the same input gives the same bytes, nothing is fetched, every number on the page is in the document."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from forerun import config
from forerun.carbon import accounting
from forerun.report import pictures, rendering

START = 1_568_937_600
SITE = config.load(config.EXAMPLE)


def books() -> accounting.Ledger:
    readings = [accounting.Reading(START + 900 * step, 1000 * step, 0, 100 * step, 50 * step, 400 * step, 0, 500)
                for step in range(97)]  # fmt: skip
    return accounting.ledger(readings, accounting.factors_of(SITE), accounting.battery_of(SITE))


def document() -> dict:
    n = 288
    day = np.arange(n) / n
    load_w = 7000 + 500 * np.sin(20 * day)
    battery_w, pv_w = 2000 * np.sin(7 * day), np.clip(9000 * np.sin(6 * day - 2), 0, None)
    import_w, soc = load_w - battery_w - pv_w, 0.5 + 0.3 * day
    power = rendering.Power(START, 300, load_w, import_w, pv_w, np.zeros(n), battery_w, soc)
    at_s = np.arange(-2000, 4000) / 100
    without_v, with_v = np.where(at_s < 0, 226.0, 202.04), 226 - 3.0 * (at_s > 0)
    surge = rendering.Surge("job <1>", START + 68_400, 2700, at_s, without_v, with_v)
    rows = (
        rendering.Row("import_kwh", "Grid import", "kWh", 160.25, 131.4),
        rendering.Row("diesel_h", "Genset", "h", 0, 0.0),
    )
    said = [(START + 60, "board: host_back")]
    return rendering.demo_document(
        SITE, books(), power, surge, rows, headline="A & B", seed=7, notes=["one <note>"], said=said
    )


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.S)


def test_the_same_input_gives_the_same_bytes_also_in_another_process(tmp_path):
    here = rendering.canonical_json(document()), rendering.html(document())
    assert here == (rendering.canonical_json(document()), rendering.html(document()))
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_report as t; print(t.rendering.html(t.document()))"
    args = [sys.executable, "-c", code, str(Path(__file__).parent)]
    there = subprocess.run(args, capture_output=True, check=True, env={
        "PYTHONHASHSEED": "99", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert there.stdout.decode() == here[1] + "\n"


def test_the_document_is_canonical_json():
    text = rendering.canonical_json(document())
    assert text.endswith("}\n") and text.count("\n") == 1
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    value = json.loads(text)
    assert value["table"]["import_kwh"]["without"] == 160.25
    assert value["seed"] == 7 and value["schema_version"] == 1
    assert len(value["power"]["load_w"]) == 288 and len(value["carbon"]["hours"]) == 24
    assert value["period_utc"] == ["2019-09-20 00:00", "2019-09-21 00:00"]


def test_carbon_in_the_document_is_what_the_ledger_says():
    value, total = document(), books().total()
    assert value["totals"]["load_wh"] == total.load_wh == 96 * 1350
    hours = value["carbon"]["hours"]
    assert sum(Decimal(hour["load_g"]) for hour in hours) == pytest.approx(total.load_g, abs=Decimal("0.001"))
    storage = value["carbon"]["storage"]
    assert abs(Decimal(storage["in_g"]) - Decimal(storage["out_g"]) - Decimal(storage["closing_g"])) < Decimal("0.001")
    sources = {item["id"]: item["source"] for item in value["carbon"]["factors"]}
    assert "DESNZ 2025" in sources["diesel"] and "Ember" in sources["grid"]


def test_the_page_needs_no_network_and_escapes_what_it_was_given():
    page = rendering.html(document())
    links = set(re.findall(r"(?:https?:)?//[\w.]+", page))
    assert links <= {"http://www.w3.org"}  # names of XML vocabularies, which nobody fetches
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", page)
    assert "A &amp; B" in page and "one &lt;note&gt;" in page and "job &lt;1&gt; starts at 19:00 UTC" in page
    assert "<note>" not in page and "job <1>" not in page
    assert "00:01 board: host_back" in page


def test_every_picture_is_well_formed_and_names_do_not_clash():
    found = svgs(rendering.html(document()))
    assert len(found) == 4
    names = []
    for svg in found:
        root = xml.fromstring(svg)
        assert root.get("role") == "img" and root.get("aria-label")
        names += [node.get("id") for node in root.iter() if node.get("id")]
    assert len(names) == len(set(names))


def test_the_table_shows_both_ways_and_the_difference():
    page = rendering.html(document())
    assert re.search(r"Grid import</th><td>160.2</td><td class=with>131.4</td><td>−28.[89]</td>", page)
    assert re.search(r"Genset</th><td>0.0</td><td class=with>0.0</td><td>0</td>", page)
    assert "Lowest: 202.0 V without, 223.0 V with" in page
    assert f"{pictures.BAND[0]:.0f} V" in page and pytest.approx((207, 253)) == pictures.BAND


def test_what_is_not_known_is_null_in_the_document_and_empty_in_the_picture():
    holed = np.full(96, np.nan)
    known = np.where(np.arange(96) < 50, 5000.0, np.nan)
    power = rendering.Power(START, 900, known, known, 0 * known, 0 * known, 0 * known, holed)
    base = document()
    base["power"] = rendering._power(power)
    assert base["power"]["load_w"][49:51] == [5000, None] and base["power"]["soc_permille"][0] is None
    json.loads(rendering.canonical_json(base))
    for svg in svgs(rendering.html(base)):
        xml.fromstring(svg)
        assert "nan" not in svg.lower()


def test_a_site_with_hourly_factors_lists_all_of_them():
    site = replace(SITE, carbon=replace(SITE.carbon, grid_g_per_kwh=tuple(Decimal(hour) for hour in range(24))))
    assert len(rendering._carbon(books(), accounting.factors_of(site))["factors"]) == 27
