"""A copy of everything that makes a site what it is, taken while it runs; putting it back; and looking a journal over.

A backup is one gzipped tar file: manifest.json (name, bytes and SHA-256 of each file), the site file, the record of its
commissioning, the journal up to its last whole entry, reports issued from it, and the keys. Whoever holds it can sign
for the site, so it is readable by its owner alone.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from forerun import __version__, config
from forerun.errors import Trouble, WrongUsage
from forerun.evidence.hashtree import ROOT, Tree, canonical, plain
from forerun.store.journal import RECORD, Damage, read

VERSION = 1
MANIFEST = "manifest.json"
# What lies beside the journal and beside the site file, by the end of its name; the journal itself has none.
_BESIDE_JOURNAL = (".key", ".issued", ".tokens")
_BESIDE_SITE = (".commission.json", ".commissioning.json", ".commissioning.html", ".commissioning.pdf", ".key.pem",
                ".keys.json")  # fmt: skip
_MAX_BYTES = 64 << 30
_CHUNK = 1 << 20


def backup(site_path: Path, out: Path) -> dict:
    """What went into the new file `out`: {"backup", "files", "entries", "bytes"}. Raises Trouble."""
    site_path = Path(site_path)
    site = config.load(site_path)
    journal = Path(site.store.path)
    if out.exists():
        raise Trouble(f"{out} is there already: name another with --out")
    entries, size = _whole(journal)
    parts = [("site.toml", site_path, site_path.stat().st_size)]
    parts += [(f"site{end}", path, path.stat().st_size) for end in _BESIDE_SITE
              if (path := site_path.with_suffix(end)).exists()]  # fmt: skip
    parts.append(("journal", journal, size))
    parts += [(f"journal{end}", path, path.stat().st_size) for end in _BESIDE_JOURNAL
              if (path := journal.with_name(journal.name + end)).exists()]  # fmt: skip
    draft = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            _write(file, site.site.name, parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, out)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise Trouble(f"{out} cannot be written ({problem.strerror}): free the disk, or name another file") from problem
    files = [name for name, _, _ in parts]
    return {"backup": str(out), "files": files, "entries": entries, "bytes": out.stat().st_size}


def _whole(journal: Path) -> tuple[int, int]:
    """(entries, bytes) of the journal up to its last whole entry: what is being written is left out."""
    if not journal.exists():
        raise Trouble(f"{journal}: there is no journal yet; `forerun run` makes one")
    count, end = 0, 0
    for found in read(journal):
        if not isinstance(found, Damage):
            count, end = count + 1, found.end
    return count, end


def _write(file, name: str, parts: list[tuple[str, Path, int]]) -> None:
    manifest = {"version": VERSION, "software": f"forerun {__version__}", "site": name, "files": [
        {"name": part, "bytes": size, "sha256": _sha256(path, size)} for part, path, size in parts]}  # fmt: skip
    text = json.dumps(manifest, indent=1).encode()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(_entry(MANIFEST, len(text)), io.BytesIO(text))
        for part, path, size in parts:
            with open(path, "rb") as source:
                archive.addfile(_entry(part, size), source)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode = size, 0o600
    return made


def _sha256(path: Path, size: int) -> str:
    summed = hashlib.sha256()
    with open(path, "rb") as file:
        while size > 0:
            piece = file.read(min(_CHUNK, size))
            if not piece:
                raise Trouble(f"{path} became shorter while it was copied: try again")
            summed.update(piece)
            size -= len(piece)
    return summed.hexdigest()


def restore(source: Path, folder: Path) -> dict:
    """Put a backup into `folder`: {"site", "journal", "files"}. Everything is checked first; a file that is there
    already is never replaced. The journal lies where the site file says. Raises Trouble or WrongUsage."""
    try:
        with tarfile.open(source, "r:gz") as archive, tempfile.TemporaryDirectory(dir=_made(folder)) as draft:
            names = _unpacked(archive, Path(draft), source)
            site_path = folder / "site.toml"
            journal = Path(config.load(Path(draft) / "site.toml").store.path)
            journal = folder / journal.relative_to(draft) if journal.is_relative_to(draft) else journal
            places = {name: _place(name, site_path, journal) for name in names}
            for place in places.values():
                if place.exists():
                    raise Trouble(f"{place} is there already, so nothing was restored: move it, or name another folder")
            journal.parent.mkdir(parents=True, exist_ok=True)
            for name, place in places.items():
                _move(Path(draft) / name, place)
    except FileNotFoundError as problem:
        raise WrongUsage(f"{source}: no such file") from problem
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as problem:
        raise Trouble(f"{source} is no whole backup ({problem}); nothing was restored") from problem
    except OSError as problem:
        raise Trouble(f"{folder}: the backup cannot be put there ({problem.strerror})") from problem
    entries = sum(not isinstance(found, Damage) for found in read(journal))
    return {"site": str(site_path), "journal": str(journal), "files": sorted(names), "entries": entries}


def _place(name: str, site_path: Path, journal: Path) -> Path:
    if name.startswith("site"):
        return site_path.with_suffix(name.removeprefix("site"))
    return journal.with_name(journal.name + name.removeprefix("journal"))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _unpacked(archive: tarfile.TarFile, draft: Path, source: Path) -> list[str]:
    """Names of the files, each unpacked into `draft` and equal to what the manifest says."""
    known = {"site.toml", "journal", *map("site{}".format, _BESIDE_SITE), *map("journal{}".format, _BESIDE_JOURNAL)}
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > _CHUNK:
        raise ValueError("it has no manifest")
    manifest = json.load(archive.extractfile(first))
    if manifest["version"] != VERSION:
        raise Trouble(f"{source} is a backup of version {manifest['version']}; this program knows {VERSION}")
    wanted = {item["name"]: item for item in manifest["files"]}
    if not {"site.toml", "journal"} <= wanted.keys() <= known or sum(i["bytes"] for i in wanted.values()) > _MAX_BYTES:
        raise ValueError("its manifest names what no backup holds")
    while (member := archive.next()) is not None:
        item = wanted.get(member.name)
        if item is None or not member.isfile() or member.size != item["bytes"]:
            raise ValueError(f"{member.name[:80]} is not what its manifest says")
        with open(os.open(draft / member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            content = archive.extractfile(member)
            while piece := content.read(_CHUNK):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    for name, item in wanted.items():
        if not (draft / name).exists() or _sha256(draft / name, item["bytes"]) != item["sha256"]:
            raise ValueError(f"{name} is damaged")
    return list(wanted)


def _move(draft: Path, place: Path) -> None:
    """To where it belongs, on another file system too; a link never replaces what came there in between."""
    try:
        os.link(draft, place)
    except FileExistsError:
        raise
    except OSError:
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(draft.read_bytes())
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look through a journal found: findings are wrong, notes are worth knowing."""

    entries: int
    records: int
    seals: int
    first_utc_s: int | None
    last_utc_s: int | None
    findings: tuple[str, ...]
    notes: tuple[str, ...]


def check(journal: Path) -> Verdict:
    """Read all of a journal, a running one too: damage, records that never came, and every hourly seal against the
    entries below it. Raises Trouble when there is none."""
    if not journal.exists():
        raise Trouble(f"{journal}: there is no journal yet; `forerun run` makes one")
    tree, findings, notes = Tree(), [], []
    entries = records = seals = 0
    first_us = last_us = None
    damaged = False
    numbers: dict[tuple[str, bytes], set[int]] = {}
    for found in read(journal):
        if isinstance(found, Damage):
            where = f"{found.sentence} at byte {found.offset}, {found.length} bytes"
            (notes if found.tail else findings).append(where + (": the next run cuts it off" if found.tail else ""))
            damaged = damaged or not found.tail
            continue
        entries += 1
        first_us, last_us = first_us or found.utc_us, found.utc_us
        if found.kind == RECORD:
            records += 1
            numbers.setdefault((found.source, bytes(found.body[0])), set()).add(found.body[1])
        elif found.kind == ROOT and not damaged:  # below lost entries no root can be computed
            seals += 1
            if problem := _seal_problem(found.body, tree):
                findings.append(f"the seal in entry {found.sequence_no} {problem}")
        tree.append(found.raw)
    for (identity, _), held in numbers.items():
        if lost := max(held) - min(held) + 1 - len(held):
            notes.append(f"{lost} records of board {identity} never came")
    seconds = [None if us is None else us // 1_000_000 for us in (first_us, last_us)]
    return Verdict(entries, records, seals, *seconds, tuple(findings), tuple(notes))


def _seal_problem(body: dict, tree: Tree) -> str:
    if body["size"] != tree.size or body["root"] != tree.root():
        return "does not belong to the entries below it: they were changed"
    signed = {name: value for name, value in body.items() if name != "signature"}
    try:
        Ed25519PublicKey.from_public_bytes(body["key"]).verify(body["signature"], canonical(plain(signed)))
    except (InvalidSignature, ValueError):
        return "has a wrong signature"
    return ""
