"""A timestamp authority's word (RFC 3161) that a signed root was there at a time: asked for, kept in the journal."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterable

from forerun.errors import Trouble
from forerun.evidence.hashtree import ROOT, leaf_hash

TIMESTAMP = "timestamp"
ANSWER_S, MOST_BYTES = 30, 1 << 20


def stamped(entries: Iterable, url: str) -> dict:
    """Body of a journal entry: {entry, token, tsa} for the latest signed root among the entries. What is stamped is the
    root entry's leaf hash in the tree, 32 bytes. Raises Trouble when there is no root, or no token that fits it."""
    root = None
    for entry in entries:
        root = entry if getattr(entry, "kind", None) == ROOT else root
    if root is None:
        raise Trouble("the journal holds no signed root yet: there is nothing to stamp; run the site, or make a report")
    message = leaf_hash(root.raw)
    token = _asked(url, message)
    return {"entry": root.sequence_no, "token": token.hex(), "tsa": url}


def _asked(url: str, message: bytes) -> bytes:
    from rfc3161_client import HashAlgorithm, PKIStatus, TimestampRequestBuilder, decode_timestamp_response

    request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).cert_request(
        cert_request=True).build()  # fmt: skip
    asked = urllib.request.Request(url, request.as_bytes(), {"Content-Type": "application/timestamp-query"})
    try:
        with urllib.request.urlopen(asked, timeout=ANSWER_S) as answer:
            data = answer.read(MOST_BYTES)
        found = decode_timestamp_response(data)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise Trouble(f"{url}: no timestamp came: {error}; the roots stay signed, ask again later") from error
    fits = PKIStatus(found.status) == PKIStatus.GRANTED
    fits = fits and found.tst_info.message_imprint.message == hashlib.sha256(message).digest()
    if not fits or found.tst_info.nonce != request.nonce:
        raise Trouble(f"{url}: the answer is no timestamp of what was asked")
    return data
