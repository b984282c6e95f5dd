"""What holds for every journal, however broken: nothing raises, books balance, other code agrees, faults are named."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import site_journal
from forerun import config
from forerun.carbon import factors
from forerun.evidence import hashtree
from forerun.report import statement
from forerun_verify.check import _figures
from forerun_verify.journal import Entry as Read
from forerun_wire import messages

START, STEP_S, STORE = site_journal.START, 900, site_journal.STORE
SITE = config.load(config.EXAMPLE)
TABLE = factors.load()
SCHEMA = json.loads(Path(statement.__file__).with_name("report.schema.json").read_text())
ROLL = 1 << 32
SOON = settings(max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Line:
    """An entry of a journal as both sides read it."""

    sequence_no: int
    utc_us: int
    source: str
    kind: str
    body: object
    raw: bytes = b""


@dataclass
class Story:
    """Records in their order of arrival, what else is in the journal, and the words that its gaps must hold."""

    records: list[dict]
    more: list[tuple[int, str, object]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def lines(self) -> list[Line]:
        made = []
        for record in self.records:
            fields = [1, record["uptime_s"], 0, messages.INTERVAL, STEP_S, *record["registers"], 9000, 229_000,
                      record["soc"], record["quality"], 0]  # fmt: skip
            made.append((record["utc_s"], "board", "record", [STORE, record["number"], *fields]))
        made += [(utc_s, "host", kind, body) for utc_s, kind, body in self.more]
        return [Line(number, utc_s * 1_000_000, source, kind, body)
                for number, (utc_s, source, kind, body) in enumerate(made)]  # fmt: skip


@st.composite
def plain(draw, least: int = 6, most: int = 24) -> Story:
    registers, soc, records = [draw(st.integers(0, 10_000)) for _ in range(6)], draw(st.integers(0, 1000)), []
    for index in range(draw(st.integers(least, most))):
        utc_s = START + STEP_S * index
        records.append({"utc_s": utc_s, "number": index, "uptime_s": utc_s - START + 77, "registers": list(registers),
                        "soc": soc, "quality": draw(st.sampled_from([0, 0, 0, 1, 2, 4, 8]))})  # fmt: skip
        charge, discharge = draw(st.sampled_from([(0, 0), (400, 0), (0, 300), (50, 60)]))
        pv, genset, load = draw(st.integers(0, 3000)), draw(st.sampled_from([0, 0, 500])), draw(st.integers(0, 3000))
        net = load + charge - discharge - pv - genset
        gains = (max(0, net), max(0, -net), charge, discharge, pv, genset)
        registers = [old + gain for old, gain in zip(registers, gains, strict=True)]
        soc = max(0, min(1000, soc + (charge - discharge) // 80))
    return Story(records)


@st.composite
def broken(draw) -> Story:
    """A plain story with some of the faults that the field knows, each with the words that have to name it."""
    story = draw(plain(least=10))
    records = story.records
    for fault in draw(st.lists(st.sampled_from(sorted(FAULTS)), max_size=4, unique=True)):
        place = draw(st.integers(2, len(records) - 3))
        FAULTS[fault](story, place)
    return story


def _reset(story, place):
    for record in story.records[place:]:
        record["registers"][4] -= story.records[place]["registers"][4] if record is not story.records[place] else 0
    if story.records[place - 1]["registers"][4] > 0:
        story.records[place]["registers"][4] = 0
        story.words.append("pv_wh fell from")


def _roll(story, place):
    shift = ROLL - 1 - story.records[place - 1]["registers"][0]
    for record in story.records:
        record["registers"][0] += shift
    if story.records[-1]["registers"][0] >= ROLL:
        story.words.append("import_wh rolled over")
    for record in story.records:
        record["registers"][0] %= ROLL


def _jump(story, place):
    for record in story.records[place:]:
        record["registers"][0] += 800_000
    story.words.append("cannot be, the limit is")


def _twice(story, place):
    story.records.insert(place, dict(story.records[place]))
    story.words.append("is there twice")


def _late(story, place):
    story.records.append(story.records.pop(place))
    story.words.append("came late")


def _missing(story, place):
    del story.records[place]
    story.words.append("never came")


def _step(story, place):
    for record in story.records:
        record["utc_s"] += 7 if record["number"] >= place else 0
    story.words.append("the clock was stepped by")


def _swap(story, place):
    story.more.append((START, "meter", {"meter": "genset", "serial": "A"}))
    story.more.append((story.records[place]["utc_s"], "meter", {"meter": "genset", "serial": "B"}))
    story.words.append("genset meter was exchanged")


def _certificates(story, place):
    end_s = START + 3600 * min(place, 6)
    body = {"id": "c", "action": "cancelled", "start_utc_s": START, "end_utc_s": end_s, "wh": 1500, "g_per_kwh": "12.5",
            "technology": "hydro", "issuer": "x"}  # fmt: skip
    story.more += [(START, "certificate", body), (START, "certificate", dict(body)),
                   (START, "certificate", {**body, "id": "d", "action": "sold", "wh": 10**9})]  # fmt: skip
    story.words += ["certificate c is used twice", "certificate d over", "the PV of its time made"]


def _correction(story, place):
    record = story.records[place]
    body = {"record": record["number"], "field": "soc_permille", "value": 500, "reason": "why", "author": "who"}
    story.more.append((START, "correction", body))
    story.words.append("by who: why")


def _submeter(story, place):
    for index, value in enumerate((0, 900, 400, 700)):
        story.more.append((START + 900 * index, "submeter", ["it_wh", value]))
    story.words.append("it_wh fell from 900 to 400")


def _grid(story, place):
    story.more.append((START, "grid", {"start_utc_s": START, "g_per_kwh": ["20", None, "7.5"],
                                       "clean_share": ["1", None, "0.25"], "source": "x"}))  # fmt: skip


def _nonsense(story, place):
    story.more.append((START, "certificate", {"id": 5}))
    story.words.append("is no certificate")


FAULTS = {name[1:]: action for name, action in list(globals().items()) if name in (
    "_reset", "_roll", "_jump", "_twice", "_late", "_missing", "_step", "_swap", "_certificates", "_correction",
    "_submeter", "_grid", "_nonsense")}  # fmt: skip


def told(story: Story, hours: tuple[int, int] = (0, 7)) -> dict:
    start_s, end_s = (START + 3600 * hour for hour in hours)
    return statement.statement(SITE, story.lines(), TABLE, start_s, end_s)


def sentences(document: dict) -> str:
    return "\n".join(gap["sentence"] for gap in document["data_gaps"])


def value(document: dict, name: str) -> Decimal:
    return Decimal(document["results"][name]["value"])


@SOON
@given(broken())
def test_whatever_a_journal_holds_the_books_balance_and_other_code_agrees(story):
    document = told(story)
    jsonschema.validate(document, SCHEMA)
    assert json.loads(hashtree.canonical(document)) == document
    entries = [Read(line.sequence_no, line.utc_us, line.source, line.kind, line.body, b"") for line in story.lines()]
    assert _figures(document, entries) == []
    assert abs(Decimal(document["storage"]["residual_g"])) <= Decimal("0.001")
    columns, rows = document["intervals"]["columns"], document["intervals"]["rows"]
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    for row in named:
        flows = {name: row[name] for name in columns if "_to_" in name}
        assert min(flows.values()) >= 0 and row["quality"] in ("measured", "estimated", "substituted")
        assert sum(wh for name, wh in flows.items() if name.endswith("_to_load")) == row["load_wh"]
        assert (row["quality"] == "measured") == (row["reasons"] == "")
        assert Decimal(row["load_g"]) >= 0 and Decimal(row["pv_load_wh"]) <= row["load_wh"] + Decimal("0.001")
    for one, two in pairwise(named):
        assert one["end_utc_s"] <= two["start_utc_s"]
    for name in ("scope1_g", "scope2_location_g", "scope2_market_g", "scope3_cat3_g"):
        assert value(document, name) >= 0
    for name in ("green_on_site", "green_matched", "green_grid", "cfe"):
        share = document["results"][name]["value"]
        assert share is None or Decimal("-1e-9") <= Decimal(share) <= Decimal("1.000000001"), (name, share)


@SOON
@given(broken())
def test_every_fault_is_named_and_none_is_smoothed_away(story):
    text = sentences(told(story))
    for word in story.words:
        assert word in text, (word, text)


@SOON
@given(plain(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_figure(story, random):
    before = told(story)
    random.shuffle(story.records)
    assert told(story)["results"] == before["results"]


@SOON
@given(plain(least=16), st.integers(1, 3), st.booleans())
def test_the_parts_of_a_period_add_up_to_it_and_no_certificate_counts_twice(story, hour, sold):
    body = {"id": "c", "action": "sold" if sold else "cancelled", "start_utc_s": START, "end_utc_s": START + 7 * 3600,
            "wh": 2500, "g_per_kwh": "0", "technology": "x", "issuer": "x"}  # fmt: skip
    story.more.append((START, "certificate", body))
    whole, parts = told(story), (told(story, (0, hour)), told(story, (hour, 7)))
    for name in ("scope1_g", "scope2_location_g", "scope2_market_g", "scope3_cat3_g"):
        assert abs(sum(value(part, name) for part in parts) - value(whole, name)) <= Decimal("1e-6"), name
    rows = [len(part["intervals"]["rows"]) for part in (whole, *parts)]
    assert rows[0] == rows[1] + rows[2]


@SOON
@given(plain(), st.data())
def test_more_certificates_never_raise_the_market_based_figure_and_selling_never_raises_a_green_share(story, data):
    def one(name: str, action: str):
        first = data.draw(st.integers(0, 5))
        return (START, "certificate", {
            "id": name, "action": action, "start_utc_s": START + 3600 * first, "end_utc_s": START + 3600 * (first + 1),
            "wh": data.draw(st.integers(0, 4000)), "g_per_kwh": "0", "technology": "x", "issuer": "x"})  # fmt: skip

    before = told(story)
    story.more.append(one("a", "cancelled"))
    covered = told(story)
    assert value(covered, "scope2_market_g") <= value(before, "scope2_market_g")
    assert value(covered, "scope2_location_g") == value(before, "scope2_location_g")
    story.more.append(one("b", "sold"))
    sold = told(story)
    for name in ("green_on_site", "green_matched", "cfe"):
        if covered["results"][name]["value"] is not None:
            assert value(sold, name) <= value(covered, name) + Decimal("1e-9")
    assert value(sold, "scope2_market_g") == value(covered, "scope2_market_g")
