"""Who wrote a record and when it was there: the board's codes, and the timestamps of an outside authority."""

import hashlib
import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cbor2
import pytest

import site_journal
from forerun import config
from forerun.carbon import factors
from forerun.errors import Trouble
from forerun.evidence import hashtree
from forerun.report import publish
from forerun.site.service import Service
from forerun.store import sitekey
from forerun.store.journal import Entry, Journal, read
from forerun_verify.check import Known, verify
from forerun_wire import auth, cbor, messages

KEY = hashlib.sha256(b"a board's record key").digest()
OTHER = hashlib.sha256(b"another").digest()


def coded(body: list, key: bytes = KEY) -> list:
    """The record with a code as the wire's page words it: HMAC-SHA256 (RFC 2104) by hand, first 8 bytes."""
    said = bytes(body[0]) + cbor2.dumps(body[1:], canonical=True)
    pads = [bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C)]
    inner = hashlib.sha256(pads[0] + said).digest()
    return [*body, hashlib.sha256(pads[1] + inner).digest()[:8]]


def written(folder: Path, key_of=lambda number: KEY, committed: bool = True, more=()) -> Path:
    """A day's journal whose records carry codes; key_of(number) -> key, None = no code."""
    plain = folder / "plain.forerun"
    site_journal.write(plain, 96)
    path, key = folder / "journal.forerun", sitekey.signing_key(sitekey.key_path(folder / "journal.forerun"))
    with Journal(path) as journal:
        if committed:
            journal.append(site_journal.START * 1_000_000, "host", "record_key", {"sha256": hashtree.commitment(KEY)})
        for entry in read(plain):
            if entry.kind == "record":
                with_key = key_of(entry.body[1])
                body = coded(entry.body, with_key) if with_key else entry.body
                journal.append(entry.utc_us, entry.source, "record", body)
        for item in more:
            journal.append(entry.utc_us, "host", *item)
        hashtree.seal(journal, key, entry.utc_us)
    return path


def made(folder: Path) -> dict:
    site = site_journal.site_file(folder)
    return publish.publish(site, folder / "out", "2024-01-01", "2024-01-02", "json")


def checked(folder: Path, **known):
    return verify(folder / "out/report.json", folder / "journal.forerun", factors.TABLE, Known(**known))


def report(folder: Path) -> dict:
    return json.loads((folder / "out/report.json").read_bytes())


def test_codes_made_by_the_board_hold_and_the_report_counts_them(tmp_path):
    written(tmp_path)
    made(tmp_path)
    stated = report(tmp_path)["proofs"]["records"]
    assert (stated["with_code"], stated["without_code"]) == (97, 0)
    assert stated["record_key_sha256"] == [hashlib.sha256(KEY).hexdigest()]
    found = checked(tmp_path, record_keys=(KEY.hex(),), commitment=hashlib.sha256(KEY).hexdigest())
    assert found.findings == []
    assert "the codes of 97 of 97 records were made by the board" in found.checked
    blind = checked(tmp_path)
    assert blind.findings == [] and any("without --record-key it is not checked" in note for note in blind.notes)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"record_keys": (OTHER.hex(),)}, "never bound itself to that record key"),
        ({"commitment": hashlib.sha256(OTHER).hexdigest()}, "never bound itself to that record key"),
        ({"record_keys": ("zz",)}, "is no hexadecimal number"),
    ],
)
def test_a_key_that_the_site_never_bound_itself_to(tmp_path, known, said):
    written(tmp_path)
    made(tmp_path)
    assert any(said in finding for finding in checked(tmp_path, **known).findings)


def test_the_host_can_sign_all_it_likes_and_forges_no_record(tmp_path):
    """The site's own signing key is at hand, the record key is not: everything is sealed anew around one record."""

    def forger(number):
        return OTHER if number == 40 else None if number == 41 else KEY

    written(tmp_path, forger)
    made(tmp_path)
    assert checked(tmp_path).findings == []
    found = checked(tmp_path, record_keys=(KEY.hex(),)).findings
    assert found == ["record 40: its code was not made by the board",
                     "record 41: carries no code, though the board had a key"]  # fmt: skip
    gaps = [gap["sentence"] for gap in report(tmp_path)["data_gaps"]]
    assert "1 records carry no authentication code, though the board's key was known by then" in gaps


def test_the_boards_own_code_makes_the_same_code():
    """The wire's page, this file's hand-made HMAC, the host's and the board's code: four times the same eight bytes."""
    board_key = hashlib.sha256(b"whole key of a board").digest()
    record_key = auth.derive(board_key, messages.READ)
    pads = [bytes(byte ^ pad for byte in board_key.ljust(64, b"\0")) for pad in (0x36, 0x5C)]
    assert record_key == hashlib.sha256(pads[1] + hashlib.sha256(pads[0] + b"record").digest()).digest()
    record = [7, 1, 900, 0, messages.INTERVAL, 900, *[70_000] * 11]
    room = bytearray(256)
    tag = auth.record_tag(auth.blocks(record_key), site_journal.STORE, bytes(room[: cbor.pack(room, 0, record)]))
    body = [site_journal.STORE, *record]
    assert [*body, bytes(tag)] == coded(body, record_key) == hashtree.coded(body, record_key)


def test_a_record_moved_to_another_number_or_store_does_not_hold(tmp_path):
    body = coded([site_journal.STORE, 7, 1, 900, 0, messages.INTERVAL, *[5] * 12])
    assert hashtree.is_authentic(body, [OTHER, KEY])
    assert not hashtree.is_authentic(body[:-1], [KEY]) and not hashtree.is_authentic(body, [])
    for place in range(1, len(body) - 1):
        assert not hashtree.is_authentic([*body[:place], body[place] + 1, *body[place + 1 :]], [KEY])
    assert not hashtree.is_authentic([b"87654321", *body[1:]], [KEY])


def test_a_doubted_record_is_left_out_until_the_doubt_is_withdrawn(tmp_path):
    doubt = ("doubted", {"store_id": site_journal.STORE, "record": 40, "reason": "its code does not fit"})
    path = written(tmp_path, more=[doubt])
    made(tmp_path)
    document = report(tmp_path)
    assert checked(tmp_path, record_keys=(KEY.hex(),)).findings == []
    gaps = [gap["sentence"] for gap in document["data_gaps"]]
    assert "record 40 was left out: its code does not fit" in gaps and not any("never came" in gap for gap in gaps)
    assert len(document["intervals"]["rows"]) == 95
    number = next(entry.sequence_no for entry in read(path) if entry.kind == "doubted")
    publish.correct(tmp_path / "site.toml", None, "", None, number, "the host's key was old", "A. Test")
    made(tmp_path)
    assert len(report(tmp_path)["intervals"]["rows"]) == 96 and checked(tmp_path).findings == []


def test_a_running_site_binds_itself_to_its_record_key_and_doubts_what_does_not_fit(tmp_path):
    path, said = tmp_path / "journal.forerun", []
    for commitments in ([], [], [hashlib.sha256(OTHER).digest()]):  # later runs find the commitment in the journal
        with Journal(path) as journal:
            host = Service(config.load(config.EXAMPLE), journal, nonce=b"h" * 8, record_keys=[KEY], say=said.append,
                           commitments=commitments)  # fmt: skip
            host.board = {"identity": "board", "store_id": site_journal.STORE, "boot_count": 1}
            host._bind(0)
            for number, key in ((7, KEY), (8, OTHER), *(((9, OTHER),) if commitments else ())):
                body = coded([site_journal.STORE, number, 1, 900, 0, messages.INTERVAL, 900, *[5] * 11], key)
                host._on_record(("record", *body[1:6], body[6:]), 1_000_000, [])
    kinds = [(entry.kind, entry.body) for entry in read(path) if entry.kind != "clock"]
    # What is of a key that was taken off this host, it cannot doubt.
    assert [kind for kind, _ in kinds] == ["record_key", "record", "record", "doubted", "record_key", "record"]
    assert [kinds[place][1]["sha256"] for place in (0, 4)] == [hashlib.sha256(key).digest() for key in (KEY, OTHER)]
    assert kinds[3][1]["record"] == 8 and len(said) == 1 and "record 8 is doubted" in said[0]
    assert hashtree.is_authentic(kinds[1][1], [KEY]) and not hashtree.is_authentic(kinds[2][1], [KEY])


def test_record_keys_are_the_owners_alone(tmp_path):
    journal = tmp_path / "journal.forerun"
    assert sitekey.record_keys(journal) == []
    for key in (KEY, OTHER, KEY):
        sitekey.keep_record_key(journal, key)
    path = sitekey.record_keys_path(journal)
    assert sitekey.record_keys(journal) == [KEY, OTHER] and path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(Trouble, match="chmod 600"):
        sitekey.record_keys(journal)
    path.chmod(0o600)
    path.write_text(f"{KEY.hex()}\nsha256:{hashlib.sha256(OTHER).hexdigest()}\n")
    assert sitekey.record_keys(journal) == [KEY]
    assert sitekey.commitments(journal) == [hashlib.sha256(key).digest() for key in (KEY, OTHER)]
    path.write_text("abcd")
    with pytest.raises(Trouble, match="64 hexadecimal digits"):
        sitekey.record_keys(journal)


# ---- timestamps


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """(address, root certificate, another root) of a timestamp authority on the loopback, played by OpenSSL."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tsa")
    (folder / "tsa.conf").write_text(
        "[tsa]\ndefault_tsa=one\n[one]\nserial=serial\nsigner_digest=sha256\ndefault_policy=1.2.3.4\n"
        "digests=sha256\naccuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\n"
        "[ext]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n"
    )
    (folder / "serial").write_text("01\n")

    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True).stdout

    for name in ("root", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}", "-days", "3650")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
    openssl("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-out",
            "tsa.pem", "-days", "3650", "-extfile", "tsa.conf", "-extensions", "ext")  # fmt: skip

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            body = openssl("ts", "-reply", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-config",
                           "tsa.conf")  # fmt: skip
            body = body if self.path == "/" else b"no"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder / "root.pem", folder / "stranger.pem"
        server.shutdown()
        thread.join()


def test_a_timestamp_of_a_root_is_kept_and_checked_offline(tmp_path, authority, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url, root, stranger = authority
    path = written(tmp_path)
    made(tmp_path)
    before = (tmp_path / "out/report.json").read_bytes()
    site = tmp_path / "site.toml"
    told = publish.stamp(site, url)
    assert next(entry for entry in read(path) if entry.sequence_no == told["entry"]).kind == "root"
    found = checked(tmp_path, tsa_root=root)
    assert found.findings == []
    wanted = "1 timestamps of the authority cover the report, the first on 20"
    assert any(line.startswith(wanted) for line in found.checked)
    assert any("without --tsa-root they are not checked" in note for note in checked(tmp_path).notes)
    assert any("does not hold" in finding for finding in checked(tmp_path, tsa_root=stranger).findings)
    made(tmp_path)
    assert (tmp_path / "out/report.json").read_bytes() == before
    with Journal(path) as journal:  # a token of that root, said to be of another one
        stamp = next(entry.body for entry in read(path) if entry.kind == "timestamp")
        hashtree.seal(journal, sitekey.signing_key(sitekey.key_path(path)), 1)
        later = [entry.sequence_no for entry in _entries(journal) if entry.kind == "root"][-1]
        journal.append(1, "host", "timestamp", {**stamp, "entry": later})
    assert any(f"the timestamp of entry {later} does not hold" in finding
               for finding in checked(tmp_path, tsa_root=root).findings)  # fmt: skip


def _entries(journal: Journal) -> list[Entry]:
    journal.commit()
    return [entry for entry in read(journal.path) if isinstance(entry, Entry)]


def test_an_authority_that_is_away_or_answers_nonsense_changes_nothing(tmp_path, authority, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    path = written(tmp_path)
    site = site_journal.site_file(tmp_path)
    size = path.stat().st_size
    for url in (authority[0] + "nonsense", "http://127.0.0.1:9/"):
        with pytest.raises(Trouble, match="ask again later"):
            publish.stamp(site, url)
    assert path.stat().st_size == size
