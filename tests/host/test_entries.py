"""What people enter into a journal: tables all or none, corrections that say why and who, a running site's box."""

import json

import pytest
from typer.testing import CliRunner

import site_journal
from forerun import config
from forerun.carbon import intake
from forerun.cli import app
from forerun.errors import WrongUsage
from forerun.store import entries
from forerun.store.journal import Journal, JournalFull, read

NOW_US = 1_704_100_000_000_000
CERTIFICATES = """id,action,start_utc,end_utc,wh,g_per_kwh,technology,issuer
c1,cancelled,2024-01-01T00:00Z,2024-01-01T01:00Z,900,0,hydro,registry
c2,sold,2024-01-01T12:00+01:00,2024-01-01T13:00+01:00,500,0,solar,registry
"""


@pytest.fixture
def site(tmp_path):
    path = site_journal.site_file(tmp_path)
    site_journal.write(tmp_path / "journal.forerun", 12)
    return path


def table(folder, text: str):
    path = folder / "table.csv"
    path.write_text(text)
    return path


def bodies(site, kind: str) -> list:
    path = config.load(site).store.path
    return [entry.body for entry in read(path) if entry.kind == kind]


def run(site, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--site", str(site), "--json"])


def test_tables_become_entries(site, tmp_path):
    done = run(site, "enter", str(table(tmp_path, CERTIFICATES)))
    assert done.exit_code == 0 and json.loads(done.stdout)["certificate"] == 2
    first, second = bodies(site, "certificate")
    assert first["wh"] == 900 and first["end_utc_s"] - first["start_utc_s"] == 3600
    assert second["start_utc_s"] == site_journal.START + 11 * 3600
    readings = table(tmp_path, "name,time_utc,value\nit_wh,2024-01-01T00:00Z,5\nit_wh,2024-01-01T03:00Z,9000\n")
    assert json.loads(run(site, "enter", str(readings)).stdout)["submeter"] == 2
    meters = table(tmp_path, "meter,time_utc,serial\npv,2024-01-01T02:00Z,SN-7\n")
    assert run(site, "enter", str(meters)).exit_code == 0
    assert bodies(site, "meter") == [{"meter": "pv", "serial": "SN-7"}]
    taken = intake.take(read(config.load(site).store.path))
    assert taken.submeters["it_wh"] == [(site_journal.START, 5), (site_journal.START + 10_800, 9000)]
    assert len(taken.certificates) == 2 and "pv" in taken.exchanges


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "the first line must be one of"),
        ("", "the first line must be one of"),
        (CERTIFICATES.replace("sold", "lent"), "line 3: this is no certificate"),
        (CERTIFICATES.replace("500", "five"), "line 3"),
        (CERTIFICATES.replace(",registry\nc2", "\nc2"), "line 2: 8 values are wanted"),
        (CERTIFICATES.replace("2024-01-01T00:00Z", "yesterday"), "'yesterday' is no time"),
        ("meter,time_utc,serial\nwind,2024-01-01,x\n", "meter must be one of"),
        ("name,time_utc,value\nit_wh,2024-01-01,-1\n", "this is no submeter"),
    ],
)
def test_a_table_with_a_fault_enters_nothing_and_the_line_is_named(site, tmp_path, text, said):
    size = (tmp_path / "journal.forerun").stat().st_size
    with pytest.raises(WrongUsage, match=said.replace("(", r"\(")):
        entries.of_table(table(tmp_path, text), NOW_US)
    done = run(site, "enter", str(table(tmp_path, text)))
    assert isinstance(done.exception, WrongUsage) and (tmp_path / "journal.forerun").stat().st_size == size


def test_a_correction_says_why_and_who_and_names_what_is_there(site):
    why = ("--reason", "read by hand", "--author", "A. Test")
    fix = ("correct", "--record", "7", "--field", "import_wh", "--value", "1234", *why)
    assert run(site, *fix).exit_code == 0
    assert bodies(site, "correction") == [{"record": 7, "field": "import_wh", "value": 1234, "reason": "read by hand",
                                           "author": "A. Test"}]  # fmt: skip
    for wrong in (("correct", "--record", "99", "--field", "import_wh", "--value", "1", *why),
                  ("correct", "--record", "7", "--field", "colour", "--value", "1", *why),
                  ("correct", "--record", "7", *why), ("correct", "--entry", "0", *why), ("correct", *why),
                  (*fix[:-1], " ")):  # fmt: skip
        assert isinstance(run(site, *wrong).exception, WrongUsage), wrong


def test_an_entry_made_by_hand_can_be_withdrawn(site, tmp_path):
    run(site, "enter", str(table(tmp_path, CERTIFICATES)))
    number = next(entry.sequence_no for entry in read(tmp_path / "journal.forerun") if entry.kind == "certificate")
    done = run(site, "correct", "--entry", str(number), "--reason", "another site's", "--author", "A. Test")
    assert done.exit_code == 0
    taken = intake.take(read(tmp_path / "journal.forerun"))
    assert [item.id for item in taken.certificates] == ["c2"]


def test_the_box_of_a_running_site(site, tmp_path):
    path = tmp_path / "journal.forerun"
    with Journal(path) as journal:
        done = run(site, "enter", str(table(tmp_path, CERTIFICATES)))
        assert "in the box of the running site" in json.loads(done.stdout)["where"]
        (box,) = entries.box_of(path).glob("*.json")
        kept = box.read_bytes()
        assert entries.take_box(journal) == ["2 entered by hand: certificate"]
        assert not list(entries.box_of(path).iterdir()) and entries.take_box(journal) == []
        box.write_bytes(kept)  # as after a crash between commit and removal
        entries.take_box(journal)
        box.with_name("x.json").write_text('[[1, "record", []]]')
        box.with_name("y.json").write_text("[")
        assert all("was set aside" in sentence for sentence in entries.take_box(journal))
    assert len(bodies(site, "certificate")) == 2
    assert sorted(item.suffix for item in entries.box_of(path).iterdir()) == [".refused", ".refused"]


def test_a_full_disk_leaves_the_box_and_nothing_comes_twice(site, tmp_path):
    path = tmp_path / "journal.forerun"
    with Journal(path) as journal:
        run(site, "enter", str(table(tmp_path, CERTIFICATES)))
        commit, calls = journal.commit, []

        def full() -> int:
            calls.append(1)
            if len(calls) == 2:
                raise JournalFull("the disk is full")
            return commit()

        journal.commit = full
        assert entries.take_box(journal) == ["the disk is full"]
        assert entries.take_box(journal) == ["2 entered by hand: certificate"]
        journal.commit = commit
    assert len(bodies(site, "certificate")) == 2
