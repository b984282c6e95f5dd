"""What makes a journal one that can be believed later: keys bound to it, doubted records, an hourly seal."""

from collections.abc import Iterator, Sequence

from forerun.evidence.hashtree import commitment, is_authentic, seal, tag_of
from forerun.store.journal import Journal

HOUR_US = 3_600_000_000


class Witness:
    """Of one journal: `key`, the site's Ed25519 private key, seals it; `record_keys` are those that authenticate the
    board's records, `commitments` the SHA-256 of others, which this host does not hold."""

    def __init__(self, journal: Journal, key, record_keys: Sequence[bytes], commitments: Sequence[bytes]):
        self._journal, self._key, self._sealed_hour = journal, key, -1
        self._record_keys = tuple(record_keys)
        self._known = set(map(commitment, record_keys))
        self._to_bind = [*commitments, *map(commitment, record_keys)]
        self._bound: set[bytes] = set()

    def recall(self, digest: bytes) -> None:
        """The journal holds this commitment already."""
        self._bound.add(digest)

    def unbound(self) -> Iterator[bytes]:
        """Commitments to record keys that the journal does not hold yet; each counts as entered from now on."""
        for digest in self._to_bind:
            if digest not in self._bound:
                self._bound.add(digest)
                yield digest

    def doubt(self, body: list) -> str:
        """Why a record [store id, number, fields...] cannot be believed, or "". Where a key is not on this host the
        verifier will tell."""
        if tag_of(body) is None or is_authentic(body, self._record_keys):
            return ""
        if self._known != set(self._to_bind) or not self._record_keys:
            return ""
        return "its authentication code fits none of the record keys that this host has"

    def seal(self, utc_us: int) -> bool:
        """Sign the root of everything in the journal, once an hour, unless it is empty; True when that is to be
        committed. Raises JournalError."""
        hour = utc_us // HOUR_US
        if self._key is None or hour == self._sealed_hour or not self._journal.tree.size:
            return False
        seal(self._journal, self._key, utc_us)
        self._sealed_hour = hour
        return True
