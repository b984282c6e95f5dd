"""From a journal to an issued report and back: verified by other code, explained, superseded, tampered with."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import zlib
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cbor2
import pytest
from typer.testing import CliRunner

import site_journal
from forerun.carbon import factors
from forerun.cli import app
from forerun.commission import seal
from forerun.errors import Trouble, WrongUsage
from forerun.evidence import hashtree
from forerun.report import publish
from forerun.site.witness import Witness
from forerun.store import journal
from forerun.store.journal import Journal
from forerun.store.sitekey import key_path, signing_key
from forerun_verify.check import Known, verify

DAY = 96
TRIES = int(os.environ.get("FORERUN_TAMPER_TRIES", "200"))


@pytest.fixture
def site(tmp_path) -> Path:
    path = site_journal.site_file(tmp_path)
    site_journal.write(tmp_path / "journal.forerun", DAY)
    return path


def made(site: Path, until: str = "2024-01-02", form: str = "json") -> dict:
    return publish.publish(site, site.parent / "out", "2024-01-01", until, form)


def verdict(site: Path):
    return verify(site.parent / "out/report.json", site.parent / "journal.forerun", factors.TABLE)


def document(site: Path) -> dict:
    return json.loads((site.parent / "out/report.json").read_bytes())


def test_other_code_comes_to_the_same_figures(site):
    result = made(site)
    found = verdict(site)
    assert found.findings == [] and len(found.checked) == 7
    assert result["issued"] and result["status"] == "final"
    assert Decimal(result["scope1_g"]) > 0 and Decimal(result["scope2_location_g"]) > 0


def test_a_journal_that_was_sealed_while_it_was_empty_is_as_good(tmp_path):
    path, kept = site_journal.site_file(tmp_path), tmp_path / "journal.forerun"
    key = signing_key(key_path(kept))
    with Journal(kept) as empty:
        assert not Witness(empty, key, (), ()).seal(1), "a site does so no more"
        hashtree.seal(empty, key, 1)
    site_journal.write(kept, DAY)
    assert made(path)["issued"] and verdict(path).findings == []


def test_the_verifier_runs_alone_and_imports_nothing_of_the_ledger(site):
    made(site)
    arguments = [str(site.parent / "out/report.json"), "--journal", str(site.parent / "journal.forerun"), "--factors",
                 str(factors.TABLE)]  # fmt: skip
    code = ("import sys, forerun_verify.__main__ as m; status = m.main(sys.argv[1:]); "
            "assert not [name for name in sys.modules if name.split('.')[0] in ('forerun', 'forerun_wire', 'socket')]; "
            "sys.exit(status)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok: ") == 7


def test_a_copy_of_the_journal_on_another_machine_makes_the_same_bytes(site, tmp_path):
    made(site, form="all")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("site.toml", "journal.forerun", "journal.forerun.issued"):
        shutil.copy(site.parent / name, other / name)
    code = "import sys; from forerun.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "--site", str(other / "site.toml"), "--from", "2024-01-01", "--to",
         "2024-01-02", "--format", "all", "--out", str(other / "out")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (site.parent / "out").iterdir())
    assert len(names) == 6 and names == sorted(path.name for path in (other / "out").iterdir())
    for name in names:
        assert (other / "out" / name).read_bytes() == (site.parent / "out" / name).read_bytes(), name


def test_the_same_period_again_is_the_same_report_and_what_changed_supersedes_it(site):
    first = made(site)
    before = (site.parent / "out/report.json").read_bytes()
    assert made(site)["id"] == first["id"] and (site.parent / "out/report.json").read_bytes() == before
    with Journal(site.parent / "journal.forerun") as journal:
        last = 1_704_067_200 + 40 * 900
        journal.append(last * 1_000_000, "host", "correction", {
            "record": 40, "field": "soc_permille", "value": 505, "reason": "BMS recalibrated", "author": "A. Test"})
    second = made(site)
    assert second["id"] == first["id"][:-1] + "2"
    assert document(site)["report"]["supersedes"] == first["id"]
    assert any("replaced by 505 by A. Test: BMS recalibrated" in gap["sentence"] for gap in document(site)["data_gaps"])
    assert verdict(site).findings == []
    (site.parent / "out/report.json").write_bytes(before)
    old = verdict(site)
    assert f"superseded by {second['id']}" in old.notes
    assert any("the report used entries up to" in finding for finding in old.findings)


def test_a_journal_that_goes_on_leaves_its_reports_as_they_are(site):
    first = made(site)
    before = (site.parent / "out/report.json").read_bytes()
    path = site.parent / "journal.forerun"
    with Journal(path) as journal:
        for index in range(97, 140):
            utc_s = site_journal.START + 900 * index
            site_journal.put(journal, utc_s, index, 900 * index, [9000 + index] * 6, 500, 0)
            journal.append(utc_s * 1_000_000, "host", "submeter", ["it_wh", index])
        hashtree.seal(journal, signing_key(key_path(path)), utc_s * 1_000_000)
    assert verdict(site).findings == []
    assert made(site)["id"] == first["id"] and (site.parent / "out/report.json").read_bytes() == before


def test_data_that_no_root_covers_make_a_draft_that_is_not_issued(site):
    (site.parent / "journal.forerun.key").unlink()
    with Journal(site.parent / "journal.forerun") as journal:
        record = {"utc_s": site_journal.START + 97 * 900, "number": 97, "uptime_s": 97 * 900, "registers": [9**6] * 6,
                  "soc": 500, "quality": 0}  # fmt: skip
        site_journal.put(journal, **record)
    result = made(site, "2024-01-03")
    assert result["status"].startswith("draft") and not result["issued"]
    assert any("draft" in finding for finding in verdict(site).findings)
    with pytest.raises(Trouble, match="without the site's key"):
        made(site)


def test_a_change_that_forges_every_checksum_is_found_by_the_tree(site):
    made(site)
    path = site.parent / "journal.forerun"
    entries = list(publish.read(path))
    path.unlink()
    with Journal(path) as forged:
        for entry in entries:
            body = entry.body
            if entry.kind == "record" and body[1] == 50:
                body = [*body[:7], body[7] - 500, *body[8:]]
            forged.append(entry.utc_us, entry.source, entry.kind, body)
    found = verdict(site).findings
    assert any("its root is not that of the entries before it" in finding for finding in found)
    assert any(finding.startswith("results: scope2_location_g") for finding in found)


def test_roots_signed_by_another_key_are_not_the_sites(site, tmp_path):
    made(site)
    path, other = site.parent / "journal.forerun", signing_key(tmp_path / "other.key")
    entries = list(publish.read(path))
    path.unlink()
    with Journal(path) as forged:
        for entry in entries:
            if entry.kind == "root":
                hashtree.seal(forged, other, entry.utc_us)
            else:
                forged.append(entry.utc_us, entry.source, entry.kind, entry.body)
    key = entries[-1].body["key"].hex()
    found = verify(site.parent / "out/report.json", path, factors.TABLE, Known(key)).findings
    assert any("its signature does not fit the site's key" in finding for finding in found)
    assert any("is not signed by the site's key" in finding for finding in verdict(site).findings)


def test_a_report_whose_figure_was_changed_and_digest_signed_again_is_found_by_arithmetic(site):
    made(site)
    content = document(site)
    content["results"]["scope1_g"]["value"] = "1.000000000"
    data = hashtree.canonical(content)
    (site.parent / "out/report.json").write_bytes(data)
    publish._issue(content, data, site.parent / "journal.forerun")
    assert [finding for finding in verdict(site).findings if "scope1_g is 1.0" in finding]


def test_every_single_byte_change_is_found(site):
    """Journal, factor table, report and log of issued reports; FORERUN_TAMPER_TRIES=10000 for the long run."""
    made(site)
    files = {name: site.parent / name for name in ("out/report.json", "journal.forerun", "journal.forerun.issued")}
    table = site.parent / "factors.toml"
    shutil.copy(factors.TABLE, table)
    files["factors.toml"] = table
    whole = {name: path.read_bytes() for name, path in files.items()}
    rng = random.Random(20240101)
    for number in range(TRIES):
        name = rng.choice(sorted(files))
        data = bytearray(whole[name])
        place, change = rng.randrange(len(data)), rng.randrange(1, 256)
        data[place] ^= change
        files[name].write_bytes(data)
        found = verify(files["out/report.json"], files["journal.forerun"], table).findings
        assert found, f"try {number}: byte {place} of {name} xor {change} was not found"
        files[name].write_bytes(whole[name])
    assert verify(files["out/report.json"], files["journal.forerun"], table).findings == []


def rewritten(path: Path, raws: list[bytes]) -> None:
    """A journal of these entries, numbered anew, with every length and checksum right."""
    items = []
    for number, raw in enumerate(raws):
        entry = cbor2.dumps([number, *cbor2.loads(raw)[1:]], canonical=True)
        items.append(journal._MARK + zlib.crc32(entry).to_bytes(4, "big") + journal._bstr_head(len(entry)) + entry)
    path.write_bytes(b"".join(items))


def test_entries_put_in_taken_out_exchanged_or_cut_off_are_found(site):
    """The forger knows the format and mends every length, number and checksum; the key is all that is not at hand."""
    made(site)
    with Journal(site.parent / "journal.forerun") as journal:
        fix = {"record": 9, "field": "soc_permille", "value": 505, "reason": "x", "author": "y"}
        journal.append(site_journal.START * 1_000_000, "host", "correction", fix)
    made(site)
    rng = random.Random(20240102)
    for name, tries in (("journal.forerun", TRIES // 4), ("journal.forerun.issued", 12)):
        path = site.parent / name
        whole = path.read_bytes()
        raws = [entry.raw for entry in publish.read(path)]
        for number in range(tries):
            bad, place = list(raws), rng.randrange(len(raws))
            way = rng.choice(("insert", "delete", "swap", "cut", "change"))
            if way == "insert":
                bad.insert(place, rng.choice(raws))
            elif way == "delete":
                del bad[place]
            elif way == "swap":
                other = rng.choice([index for index in range(len(raws)) if index != place])
                bad[place], bad[other] = bad[other], bad[place]
            elif way == "cut":
                del bad[place:]
            else:
                head, body = cbor2.loads(bad[place])[:4], cbor2.loads(bad[place])[4]
                body = [*body[:-3], body[-3] + 1, *body[-2:]] if isinstance(body, list) else {**body, "more": 1}
                bad[place] = cbor2.dumps([*head, body], canonical=True)
            rewritten(path, bad)
            assert verdict(site).findings, f"try {number} of {name}: {way} at {place} was not found"
        path.write_bytes(whole)
    assert verdict(site).findings == []


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        (("cbam_annex_iv",), "t CO2e/MWh; 0 t", "t CO2e/MWh; 1 t"),
        (("cbam_annex_iv",), '"value":"renewable 0.0', '"value":"renewable 9.0'),
        (("claims",), '["', '["9'),
        (("uncertainty",), '"measured":', '"measured":1'),
        (("cbam_annex_iv",), '"value":"actual (own, metered) ', '"value":"actual (own, metered) 9'),
    ],
)
def test_a_number_in_words_is_checked_though_the_site_itself_issued_it(site, where, old, new):
    """The site's key is at hand: only the recomputation can tell."""
    made(site)
    content = document(site)
    text = hashtree.canonical(content[where[0]]).decode()
    assert old in text
    content[where[0]] = json.loads(text.replace(old, new, 1))
    data = hashtree.canonical(content)
    (site.parent / "out/report.json").write_bytes(data)
    publish._issue(content, data, site.parent / "journal.forerun")
    assert [finding for finding in verdict(site).findings if finding.startswith(where[0])]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_journal_that_was_cut_does_not_carry_its_report(site, keep):
    made(site)
    path = site.parent / "journal.forerun"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert verdict(site).findings


def test_all_formats_and_what_they_say(site):
    result = made(site, form="all")
    folder = site.parent / "out"
    assert {Path(path).name for path in result["files"].values()} == {
        "report.json", "report.html", "report.pdf", "intervals.csv", "cbam-ready-operator-data.html",
        "granular-records.csv"}  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "Scope 2, market-based" in page and "@page{size:A4" in page and "<svg" in page
    assert not any(link in page for link in ("<script", "<link", "<img"))
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert len((folder / "intervals.csv").read_text().splitlines()) == DAY + 1
    view = (folder / "cbam-ready-operator-data.html").read_text()
    assert "CBAM-ready operator data" in view and "no CBAM duty" in view and "because" in view
    assert "CBAM report" not in view.replace("It is no CBAM report", "")
    records = (folder / "granular-records.csv").read_text().splitlines()
    assert records[0].startswith("id,start_utc") and len(records) > 10


def test_public_words_name_share_method_and_boundary_and_never_green_alone(site):
    made(site, form="html")
    claims = document(site)["claims"]
    assert len(claims) == 3
    for claim in claims:
        assert claim[0].isdigit() and "%" in claim and "site" in claim and "UTC" in claim
    words = (site.parent / "out/report.html").read_text().lower()
    for word in ("climate neutral", "carbon neutral", "green energy", "eco-friendly", "sustainable", "zero emission"):
        assert word not in words


def test_a_figure_opens_to_meter_records_in_three_steps(site):
    made(site)
    lines = publish.explained("scope2_location_g", "", site.parent / "out/report.json", site.parent / "journal.forerun")
    heads = [line for line in lines if line[0] in "123"]
    assert [head[0] for head in heads] == ["1", "2", "3"]
    text = "\n".join(lines)
    for words in ("factor grid: 30.75 g/kWh", "made by forerun 0", "import_wh", "hashes below the signed root"):
        assert words in text
    at = publish.explained("cfe", "2024-01-01T12:00Z", site.parent / "out/report.json", site.parent / "journal.forerun")
    assert any(line.startswith("2. interval 2024-01-01T12:00:00Z") for line in at)
    with pytest.raises(WrongUsage, match="it has "):
        publish.explained("nonsense", "", site.parent / "out/report.json", site.parent / "journal.forerun")


def test_every_figure_and_every_item_of_the_annex_opens(site):
    """In at most three steps, and down to a meter record where a meter is in it."""
    readings = [("submeter", [name, 100]) for name in ("it_wh", "water_ml")]
    with Journal(site.parent / "journal.forerun") as journal:
        for item in readings:
            journal.append(site_journal.START * 1_000_000, "host", *item)
            journal.append((site_journal.START + 86_400) * 1_000_000, "host", item[0], [item[1][0], 900_000])
    made(site)
    content = document(site)
    for figure in (*content["results"], *sorted({item["item"] for item in content["cbam_annex_iv"]})):
        lines = publish.explained(figure, "", site.parent / "out/report.json", site.parent / "journal.forerun")
        steps = [line[0] for line in lines if line[0].isdigit() and line[1:3] == ". "]
        assert steps == sorted(steps) and set(steps) <= {"1", "2", "3"} and "made by forerun" in "\n".join(lines)
        if figure in content["results"] and not figure.startswith("embodied_"):
            assert "3" in steps and sum("below the signed root" in line for line in lines) >= 2, figure
    text = "\n".join(publish.explained("pue", "", site.parent / "out/report.json", site.parent / "journal.forerun"))
    assert "it_wh 900000 at 2024-01-02T00:00:00Z" in text
    lines = publish.explained("scope1_g", "", site.parent / "out/report.json", site.parent / "journal.forerun")
    text = "\n".join(lines)
    assert "factor diesel:" in text and "factor diesel-litres:" in text


def test_the_commands_end_with_the_status_that_their_verdict_asks_for(site):
    runner, folder = CliRunner(), site.parent
    done = runner.invoke(app, ["report", "--site", str(site), "--from", "2024-01-01", "--to", "2024-01-02", "--out",
                               str(folder / "out"), "--json"])  # fmt: skip
    assert done.exit_code == 0 and json.loads(done.stdout)["issued"]
    check = ["verify", str(folder / "out/report.json"), "--journal", str(folder / "journal.forerun"), "--json"]
    assert runner.invoke(app, check).exit_code == 0
    (folder / "out/report.json").write_bytes((folder / "out/report.json").read_bytes() + b" ")
    done = runner.invoke(app, check)
    assert done.exit_code == 1 and "canonical" in json.loads(done.stdout)["findings"][0]


@pytest.mark.parametrize(
    ("since", "until", "form", "said"),
    [("2024-13-01", "", "json", "is no date"), ("2024-01-02", "2024-01-01", "json", "must be before"),
     ("", "", "xls", "must be one of")],
)  # fmt: skip
def test_wrong_usage_is_one_sentence(site, since, until, form, said):
    with pytest.raises(WrongUsage, match=said):
        publish.publish(site, site.parent / "out", since, until, form)


def test_a_grid_answer_goes_through_the_journal_into_the_report_and_a_wrong_one_does_not(site):
    hours = [{"zone": "NO", "carbonIntensity": 25, "datetime": f"2024-01-01T{hour:02d}:00:00Z", "isEstimated": False,
              "emissionFactorType": "lifecycle"} for hour in range(24)]  # fmt: skip
    answer = site.parent / "answer.json"
    answer.write_text(json.dumps({"zone": "NO", "history": hours}))
    shares = site.parent / "breakdown.json"
    shares.write_text(json.dumps({"zone": "NO", "history": [
        {"datetime": hour["datetime"], "fossilFreePercentage": 97} for hour in hours]}))  # fmt: skip
    arguments = ["grid", str(answer), "--provider", "electricity-maps", "--site", str(site), "--json", "--breakdown",
                 str(shares)]  # fmt: skip
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0 and json.loads(told.stdout)["hours"] == 24
    made(site)
    assert document(site)["grid_sources"] == ["Electricity Maps, NO, lifecycle, average"]
    assert Decimal(document(site)["results"]["cfe"]["value"]) > Decimal("0.9")
    assert verdict(site).findings == []
    size = (site.parent / "journal.forerun").stat().st_size
    answer.write_text(answer.read_text().replace("25", "2500"))
    with pytest.raises(Trouble, match="2500 g/kWh where grid-NO-2024 says"):
        publish.take_grid(site, str(answer), "electricity-maps", "")
    assert (site.parent / "journal.forerun").stat().st_size == size
    with pytest.raises(WrongUsage, match="must be one of"):
        publish.take_grid(site, str(answer), "oracle", "")


def test_a_sites_bundle_is_made_from_its_report(site):
    made(site)
    arguments = ["bundle", "--vendor", "us", "--product", "own", "--report", str(site.parent / "out/report.json"),
                 "--journal", str(site.parent / "journal.forerun"), "--out", str(site.parent / "b.json"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and json.loads(done.stdout)["dips_per_month"] == "0.000000"


def test_a_service_is_asked_once_and_its_silence_is_a_sentence(site, monkeypatch):
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["auth-token"])
            hour = {"carbonIntensity": 25, "datetime": "2024-01-01T00:00:00Z", "emissionFactorType": "lifecycle"}
            body = json.dumps({"zone": "NO", "history": [hour]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv(publish.GRID_TOKEN, "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = f"http://127.0.0.1:{server.server_port}/history?zone=NO"
        for _ in range(2):
            assert publish.take_grid(site, where, "electricity-maps", "")["hours"] == 1
        server.shutdown()
        thread.join()
    assert asked == ["secret"]
    with pytest.raises(Trouble, match="yearly factor goes on standing in"):
        publish.take_grid(site, where + "&x", "electricity-maps", "")
    with pytest.raises(Trouble, match="cannot be read"):
        publish.take_grid(site, str(site.parent / "absent"), "entsoe", "")


def test_the_grid_of_the_next_day_changes_nothing_of_this_one(site):
    first = made(site)
    with Journal(site.parent / "journal.forerun") as journal:
        hours = {"start_utc_s": site_journal.START + 86_400, "g_per_kwh": ["20"], "clean_share": ["1"], "source": "x"}
        journal.append(0, "host", "grid", hours)
    assert made(site)["id"] == first["id"] and verdict(site).findings == []


def test_the_report_refers_to_the_commissioning_as_its_monitoring_plan(site):
    made(site)
    before = document(site)
    assert "commissioning" not in before["monitoring_plan"]["inputs"]
    key = seal.load_key(site.with_suffix(".key.pem"))
    sealed = seal.sign({"kind": "forerun commissioning report", "settings_sha256": "ab" * 32}, key)
    file = site.with_suffix(".commissioning.json")
    file.write_text(json.dumps(sealed))
    made(site, form="all")
    after = document(site)["monitoring_plan"]
    assert after["inputs"]["commissioning"] == {
        "report_sha256": sealed["report_sha256"], "settings_sha256": "ab" * 32,
        "public_key": sealed["signature"]["public_key"],
    }  # fmt: skip
    assert after["sha256"] != before["monitoring_plan"]["sha256"]
    assert verdict(site).findings == [] and document(site)["report"]["supersedes"] == before["report"]["id"]
    assert sealed["report_sha256"] in (site.parent / "out" / "report.html").read_text()
    file.write_text(json.dumps({**sealed, "report_sha256": "00" * 32}))
    made(site)
    assert "commissioning" not in document(site)["monitoring_plan"]["inputs"], "a seal that does not hold is none"
