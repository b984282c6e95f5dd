"""From what is known to a plan on the command line, in words and as a picture."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from importlib.resources import files

import numpy as np
import pytest

from forerun import config
from forerun.compute.load import Announcement
from forerun.dispatch.dispatcher import Dispatcher, storage_of
from forerun.dispatch.planning import Known, document, folded, outlook, stored_value_per_kwh
from forerun.report.explanation import explained
from forerun.site.service import Service
from forerun.store.journal import Journal, read
from forerun_wire import messages

START = 1_774_890_000
DAYS = 3


@pytest.fixture(scope="module")
def site():
    return config.load(str(files("forerun").joinpath("demo_site.toml")))


def known(**change) -> Known:
    hour = np.arange(DAYS * 288) / 12
    load_w = 6000 + 1500 * np.sin(hour / 24 * 2 * np.pi)
    return replace(Known(START, load_w, np.zeros(len(load_w)), soc=0.5, load_now_w=6000.0), **change)


def test_an_outlook_lays_jobs_prices_carbon_and_reserve_on_the_steps_of_a_plan(site):
    job = Announcement("train", 8000, START + 3600, 1800)
    plain, told = outlook(site, known(), []), outlook(site, known(), [job])
    steps = plain.situation.step_s
    starts = np.cumsum(steps) - steps
    inside = (starts >= 3600) & (starts < 5400)
    np.testing.assert_allclose(told.situation.load_w - plain.situation.load_w, 8000 * inside)
    assert told.situation.surges[0].start_s == 3600 and "1 announced" in told.basis
    taxed = replace(site, tariff=replace(site.tariff, carbon_price_per_tonne=Decimal(100)))
    more = outlook(taxed, known(), []).situation.energy_price_per_kwh - plain.situation.energy_price_per_kwh
    np.testing.assert_allclose(more, 100 * 0.07916 / 1000)
    careful = replace(site, battery=replace(site.battery, autonomy_h=2.0))
    reserve_wh = outlook(careful, known(), []).situation.reserve_wh
    assert 2 * 4500 < reserve_wh.min() < reserve_wh.max() < 2 * 9500 / 0.96
    assert outlook(site, known(), []).situation.reserve_wh.max() == 0
    assert list(folded(np.arange(36.0), np.array([300.0, 300, 600, 9600]))) == [0, 1, 2.5, 19.5]


def test_a_kwh_left_where_pv_is_over_is_worth_what_selling_it_brings_and_nothing_where_none_may_leave(site):
    steps, price = np.full(4, 3600.0), np.full(4, 0.3)
    load_w, pv_w = np.full(4, 1000.0), np.array([0.0, 0.0, 3000.0, 3000.0])

    def worth(export_price: str, export_limit_w: int) -> float:
        sold = replace(site, tariff=replace(site.tariff, export_price_per_kwh=Decimal(export_price)),
                       limits=replace(site.limits, export_limit_w=export_limit_w))  # fmt: skip
        return stored_value_per_kwh(sold, steps, load_w, pv_w, price) / site.battery.efficiency_discharge

    assert worth("0.10", 5000) == pytest.approx(0.5 * 0.3 + 0.5 * 0.10 - 0.02)
    assert worth("0.10", 0) == worth("0.0", 5000) == worth("-0.40", 5000) == pytest.approx(0.5 * 0.3 - 0.02)


def test_a_plan_is_told_in_words_that_name_its_reasons(site):
    job = Announcement("train", 16_000, START + 7200, 2700)
    made = outlook(site, known(soc=0.12), [job])
    text = "\n".join(explained(site, made, Dispatcher(replace(storage_of(site), genset=None)).plan(made.situation)))
    assert "the battery takes" in text and "an announced load needs it" in text
    assert "the battery gives" in text and "the grid gives 11.7 kW" in text
    assert "an announced load of" in text and "EUR over 24 h" in text
    flat = replace(site, tariff=replace(site.tariff, energy_price_per_kwh=Decimal("0.2")))
    made = outlook(flat, known(), [])
    lopped = "\n".join(explained(flat, made, Dispatcher(storage_of(flat)).plan(made.situation)))
    assert "keeps the highest import, which is billed by the month" in lopped
    idle = replace(flat, tariff=replace(flat.tariff, demand_charge_per_kw_month=Decimal(0)))
    made = outlook(idle, known(), [])
    assert "stays idle" in "\n".join(explained(idle, made, Dispatcher(storage_of(idle)).plan(made.situation)))
    weak = replace(site, limits=replace(site.limits, import_limit_w=3000))
    made = outlook(weak, known(soc=0.15), [])
    assert "the diesel set runs" in "\n".join(explained(weak, made, Dispatcher(storage_of(weak)).plan(made.situation)))


def test_a_document_holds_one_entry_a_step_and_is_json(site):
    made = outlook(site, known(), [])
    told = json.loads(json.dumps(document(site, made, Dispatcher(storage_of(site)).plan(made.situation))))
    count = len(told["step_s"])
    assert all(len(told[name]) == count for name in ("load_w", "battery_w", "soc_permille", "step_start_utc_s"))
    assert told["start_utc_s"] == START and told["step_start_utc_s"][1] == START + 300


def test_a_cancelled_job_is_forgotten_and_stays_so_after_a_restart(site, tmp_path):
    job, other = Announcement("train", 16_000, START + 7200, 2700), Announcement("render", 9000, START + 7200, 2700)
    with Journal(tmp_path / "journal") as journal:
        service = Service(site, journal, nonce=b"12345678")
        service.announce(job, 0)
        service.announce(other, 0)
        made = service.planner.outlook(START, 0.5, 6000.0, service.jobs.values())
        assert made.situation.surges[0].load_w == pytest.approx(31_000)
        service.cancel(job, 0)
        made = service.planner.outlook(START, 0.5, 6000.0, service.jobs.values())
        assert made.situation.surges[0].load_w == pytest.approx(15_000)
    with Journal(tmp_path / "journal") as journal:
        again = Service(site, journal, nonce=b"12345678")
        again = again.planner.outlook(START, 0.5, 6000.0, again.jobs.values())
        assert again.situation.surges[0].load_w == pytest.approx(15_000) and "1 announced" in again.basis


def entries(path, kind: str) -> list[list]:
    return [entry.body for entry in read(path) if getattr(entry, "kind", "") == kind]


def test_prices_that_are_no_numbers_leave_the_plan_before_in_force_and_are_told(site, tmp_path):
    said, broken = [], replace(site, tariff=replace(site.tariff, energy_price_per_kwh=Decimal("NaN")))
    with Journal(tmp_path / "journal") as journal:
        service = Service(broken, journal, nonce=b"12345678", say=said.append, utc_offset_us=START * 1_000_000)
        service.latest = {"soc_permille": 500, "load_w": 6000}
        service.planner.plan = before = Dispatcher(storage_of(site)).plan(outlook(site, known(), []).situation)
        service.planner.start_s = START
        service._replan(0)
        assert service.planner.plan is before and service._replan_at_s > START  # and it is tried again
        assert "the one before stays in force: energy_price_per_kwh holds nan" in said[-1]
        why = "energy_price_per_kwh holds nan at step 0; every step needs a number"
        assert entries(tmp_path / "journal", "plan_refused") == [[why]]


def test_a_plan_that_physics_did_not_follow_is_told_once_it_is_far_off(site, tmp_path):
    said = []
    with Journal(tmp_path / "journal") as journal:
        service = Service(site, journal, nonce=b"12345678", say=said.append, utc_offset_us=START * 1_000_000)
        service.latest = {"soc_permille": 900, "load_w": 6000}
        service._tell_if_missed(600_000_000)
        service.planner.plan = Dispatcher(storage_of(site)).plan(outlook(site, known(), []).situation)
        service.planner.start_s = START
        planned = round(1000 * service.planner.plan.soc[1])
        service.latest = {"soc_permille": planned - 50, "load_w": 6000}
        service._tell_if_missed(600_000_000)
        assert said == []
        service.latest["soc_permille"] = planned - 200
        service._tell_if_missed(600_000_000)
        service._commit()
        assert "where the plan had" in said[0] and len(said) == 1
        assert entries(tmp_path / "journal", "plan_missed") == [[0, planned, planned - 200]]


def test_clock_changes_move_no_price(site):
    """Prices go by the hour of the UTC day: the night of a missing or a doubled local hour has 24 of them in order."""
    for midnight_s in (1_774_742_400, 1_792_886_400):  # 2026-03-29 and 2026-10-25, when Europe changes its clocks
        made = outlook(site, known(start_s=midnight_s), [])
        starts_s = np.cumsum(made.situation.step_s) - made.situation.step_s
        wanted = [float(site.tariff.energy_price_per_kwh[int(at) // 3600 % 24]) for at in starts_s]
        np.testing.assert_allclose(made.situation.energy_price_per_kwh, wanted)


@pytest.fixture
def journalled(tmp_path, site):
    """A site file whose journal holds ten hours of the board's intervals up to now."""
    text = files("forerun").joinpath("demo_site.toml").read_text()
    (tmp_path / "site.toml").write_text(text)
    now_s = int(time.time()) // 300 * 300
    with Journal(tmp_path / "journal.forerun") as journal:
        for number in range(120):
            values = {"interval_s": 300, "import_wh": 500 * (number + 1), "import_max_w": 7000,
                      "pcc_voltage_min_mv": 228_000, "soc_permille": 600}  # fmt: skip
            body = [values.get(name, 0) for name in messages.INTERVAL_FIELDS]
            fields = [1, 300 * (number + 1), 0, messages.INTERVAL, *body]
            journal.append_record((now_s - 300 * (119 - number)) * 1_000_000, "board", b"12345678", number + 1, fields)
        journal.commit()
    return tmp_path / "site.toml"


def forerun(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from forerun.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_plans_from_the_journal_and_explains(journalled, tmp_path):
    planned = forerun("plan", "--site", str(journalled), "--json")
    told = json.loads(planned.stdout)
    assert told["load_w"][0] == pytest.approx(6000, abs=60) and "persistence" in told["basis"]
    assert told["soc_permille"][0] == pytest.approx(600, abs=60)
    table = forerun("plan", "--site", str(journalled))
    assert table.returncode == 0 and "SoC" in table.stdout
    picture = tmp_path / "out" / "plan.svg"
    words = forerun("plan", "explain", "--site", str(journalled), "--out", str(picture))
    assert "It stands on load: persistence" in words.stdout and "EUR over 24 h" in words.stdout
    assert picture.read_text().startswith("<svg ")


def test_without_a_journal_there_is_no_plan_but_a_sentence(tmp_path):
    (tmp_path / "site.toml").write_text(files("forerun").joinpath("demo_site.toml").read_text())
    refused = forerun("plan", "--site", str(tmp_path / "site.toml"))
    assert refused.returncode == 1 and "there is no journal yet" in refused.stderr and "Traceback" not in refused.stderr
