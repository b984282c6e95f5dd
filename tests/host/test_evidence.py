"""Hash tree, canonical JSON, signatures: published vectors, and other people's implementations."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from forerun.errors import Trouble
from forerun.evidence import hashtree
from forerun.store.journal import Journal, read
from forerun.store.sitekey import signing_key

VECTOR = json.loads(Path(__file__).with_name("carbon_vectors.json").read_text())["rfc6962"]


def tree(leaves) -> hashtree.Tree:
    found = hashtree.Tree()
    for leaf in leaves:
        found.append(leaf)
    return found


def test_the_root_of_the_published_leaves():
    leaves = [bytes.fromhex(leaf) for leaf in VECTOR["leaves_hex"]]
    assert tree(leaves).root().hex() == VECTOR["root"]
    assert tree([]).root() == hashlib.sha256(b"").digest()
    assert tree(leaves[:1]).root().hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def proves(path, leaf: bytes, index: int, size: int) -> bytes:
    """Root by RFC 9162 §2.1.3.2, as the standard words it."""
    place, last, node = index, size - 1, hashtree.leaf_hash(leaf)
    for other in path:
        if place & 1 or place == last:
            node = hashlib.sha256(b"\x01" + other + node).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + other).digest()
        place, last = place >> 1, last >> 1
    assert last == 0
    return node


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33])
def test_every_leaf_has_a_path_to_the_root(size):
    leaves = [bytes([index]) * index for index in range(size)]
    hashes = [hashtree.leaf_hash(leaf) for leaf in leaves]
    root = tree(leaves).root()
    for index, leaf in enumerate(leaves):
        assert proves(hashtree.inclusion(hashes, index), leaf, index, size) == root


def test_canonical_json_is_what_another_implementation_makes():
    rng = random.Random(1)
    letters = "aé€😀\"\\\n\x07 z"

    def value(depth: int):
        kind = rng.randrange(6 if depth else 4)
        if kind == 0:
            return rng.choice([None, True, False])
        if kind == 1:
            return rng.randrange(-(1 << 53) + 1, 1 << 53)
        if kind in (2, 3):
            return "".join(rng.choice(letters) for _ in range(rng.randrange(6)))
        if kind == 4:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {rng.choice("abcXYZ_09") * rng.randrange(1, 4): value(depth - 1) for _ in range(rng.randrange(5))}

    for _ in range(500):
        item = value(4)
        assert hashtree.canonical(item) == rfc8785.dumps(item)


@pytest.mark.parametrize("bad", [1.5, {"a": [0.1]}, 1 << 53, {1: 2}, {"é": 1}, b"x"])
def test_what_has_no_single_form_is_refused(bad):
    with pytest.raises(ValueError):
        hashtree.canonical(bad)


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path):
    path = tmp_path / "site.key"
    first, again = signing_key(path), signing_key(path)
    assert first.public_key() == again.public_key()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("nonsense")
    with pytest.raises(Trouble, match="signing key cannot be read"):
        signing_key(path)


def test_a_journal_seals_what_it_holds_and_goes_on_after_reopening(tmp_path):
    key, path = signing_key(tmp_path / "key"), tmp_path / "journal"
    with Journal(path) as journal:
        journal.append(1, "host", "plan", [1])
        hashtree.seal(journal, key, 3_600_000_000)
    with Journal(path) as journal:
        journal.append(2, "host", "plan", [2])
        hashtree.seal(journal, key, 7_200_000_000)
    entries = list(read(path))
    for sealed in (entries[1], entries[3]):
        body = dict(sealed.body)
        assert body["root"] == tree(entry.raw for entry in entries[: body["size"]]).root()
        signature = body.pop("signature")
        Ed25519PublicKey.from_public_bytes(body["key"]).verify(signature, hashtree.canonical(hashtree.plain(body)))
        body["size"] += 1
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(body["key"]).verify(signature, hashtree.canonical(hashtree.plain(body)))
    assert hashtree.covering_root(entries, 0)["entry"] == 1
    assert hashtree.covering_root(entries, 1)["entry"] == 3
    assert hashtree.covering_root(entries, 3) is None
