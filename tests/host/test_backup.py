"""Backup, restore and check of a site: whole while it runs, never over something else, and what is wrong is found."""

import io
import json
import os
import stat
import tarfile

import pytest

from forerun.errors import Trouble, WrongUsage
from forerun.store import backup
from forerun.store.journal import Journal, JournalBusy, read
from forerun.store.sitekey import key_path, signing_key
from site_journal import site_file, write


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    write(folder / "journal.forerun", 40)
    (folder / "site.commission.json").write_text("{}")
    return site_file(folder)


def test_what_is_backed_up_while_it_runs_can_go_on_elsewhere(site, tmp_path):
    journal = site.with_name("journal.forerun")
    with Journal(journal) as running:
        running.append(1_790_000_000_000_000, "host", "link", ["up"])
        running.commit()
        with open(journal, "ab") as torn:
            torn.write(b"\x82\x1a\x00\x01\x02")  # the next entry, half written
        made = backup.backup(site, tmp_path / "copies" / "site.tar.gz")
        with pytest.raises(JournalBusy):
            Journal(journal)
    assert stat.S_IMODE(os.stat(made["backup"]).st_mode) == 0o600
    assert set(made["files"]) == {"site.toml", "site.commission.json", "journal", "journal.key"}
    back = backup.restore(tmp_path / "copies" / "site.tar.gz", tmp_path / "new")
    restored = tmp_path / "new" / "journal.forerun"
    assert back["entries"] == made["entries"] and back["journal"] == str(restored)
    assert [entry.raw for entry in read(restored)] == [e.raw for e in read(journal) if hasattr(e, "raw")]
    assert backup.check(restored).findings == () and (tmp_path / "new" / "site.commission.json").exists()
    with Journal(restored) as again:
        assert again.torn is None
        assert again.append(1_790_000_001_000_000, "host", "link", ["up"]) == made["entries"]
    same = signing_key(key_path(journal)).private_bytes_raw() == signing_key(key_path(restored)).private_bytes_raw()
    assert same and stat.S_IMODE(os.stat(key_path(restored)).st_mode) == 0o600


def test_nothing_is_ever_replaced(site, tmp_path):
    backup.backup(site, tmp_path / "a.tar.gz")
    with pytest.raises(Trouble, match=r"a\.tar\.gz is there already"):
        backup.backup(site, tmp_path / "a.tar.gz")
    before = site.with_name("journal.forerun").read_bytes()
    with pytest.raises(Trouble, match="is there already, so nothing was restored"):
        backup.restore(tmp_path / "a.tar.gz", site.parent)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "journal.forerun").write_bytes(b"")
    with pytest.raises(Trouble, match=r"journal\.forerun is there already"):
        backup.restore(tmp_path / "a.tar.gz", tmp_path / "half")
    assert os.listdir(tmp_path / "half") == ["journal.forerun"]
    assert site.with_name("journal.forerun").read_bytes() == before


def _archive(path, *members, manifest=None):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in [("manifest.json", json.dumps(manifest).encode()), *members]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_a_damaged_or_hostile_file_restores_nothing(site, tmp_path):
    backup.backup(site, tmp_path / "good.tar.gz")
    good = (tmp_path / "good.tar.gz").read_bytes()
    (tmp_path / "short.tar.gz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.tar.gz").write_bytes(b"not a backup")
    files = [{"name": name, "bytes": 1, "sha256": "0" * 64} for name in ("site.toml", "journal")]
    _archive(tmp_path / "sum.tar.gz", ("site.toml", b"x"), ("journal", b"y"), manifest={"version": 1, "files": files})
    outside = [*files, {"name": "../../evil", "bytes": 1, "sha256": "0" * 64}]
    _archive(tmp_path / "out.tar.gz", ("../../evil", b"x"), manifest={"version": 1, "files": outside})
    _archive(tmp_path / "sneaky.tar.gz", ("../../evil", b"x"), manifest={"version": 1, "files": files})
    _archive(tmp_path / "odd.tar.gz", manifest=["no"])
    for name in ("short", "text", "sum", "out", "sneaky", "odd"):
        with pytest.raises(Trouble, match="nothing was restored"):
            backup.restore(tmp_path / f"{name}.tar.gz", tmp_path / "to")
        assert os.listdir(tmp_path / "to") == [], name
    _archive(tmp_path / "later.tar.gz", manifest={"version": 9, "files": files})
    with pytest.raises(Trouble, match="version 9"):
        backup.restore(tmp_path / "later.tar.gz", tmp_path / "to")
    with pytest.raises(WrongUsage, match="no such file"):
        backup.restore(tmp_path / "nowhere", tmp_path / "to")
    assert not (tmp_path.parent / "evil").exists()


def test_check_finds_damage_loss_and_a_changed_entry(site, tmp_path):
    journal = site.with_name("journal.forerun")
    sound = backup.check(journal)
    assert sound.findings == () and sound.notes == () and sound.seals == 11 and sound.records == 41
    data = bytearray(journal.read_bytes())
    entry = next(entry for entry in read(journal) if entry.kind == "record" and entry.sequence_no > 10)
    broken = tmp_path / "broken"
    broken.write_bytes(data[: entry.offset + 20] + bytes([data[entry.offset + 20] ^ 1]) + data[entry.offset + 21 :])
    assert "unreadable at byte" in backup.check(broken).findings[0]
    without = tmp_path / "without"
    without.write_bytes(data[: entry.offset] + data[entry.end :])
    found = backup.check(without)
    assert any("is missing" in finding for finding in found.findings)
    assert found.notes == ("1 records of board board never came",)
    torn = tmp_path / "torn"
    torn.write_bytes(data + b"\x82\x1a\x01")
    assert backup.check(torn).findings == () and "cuts it off" in backup.check(torn).notes[0]
    forged = tmp_path / "forged"
    _forge(journal, forged)
    assert "they were changed" in backup.check(forged).findings[0]


def _forge(source, target):
    """The journal again, entry by entry, with one meter value another: every CRC fits, the seals do not."""
    with Journal(target) as journal:
        for entry in read(source):
            body = entry.body
            if entry.kind == "record" and entry.sequence_no == 12:
                body = [*body[:7], body[7] + 1, *body[8:]]
            journal.append(entry.utc_us, entry.source, entry.kind, body)
