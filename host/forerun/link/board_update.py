"""Another firmware for a running board, over its link: made or read from a release, checked, sent, tried, confirmed.

A release is one CBOR file, signed by whoever made it with Ed25519 (RFC 8032); a board that cannot afford that check
gets the manifest signed with its own commission key (HMAC-SHA256), after this host has checked the release.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from forerun.errors import Trouble
from forerun_wire import auth
from forerun_wire import messages as m

FORMAT = "forerun-update-1"
HOLD_S = 1800
RESTART_S = 60.0  # until a board has to be back
PROVE_S = 60.0  # until it has to drive its bus again
HASH_BYTES = 8
ON_TRIAL = 3
_FIELDS = ("format", "version", "board", "manifest", "files", "key", "signature")


@dataclass(frozen=True)
class Image:
    """A firmware for one kind of board: `files` in the order of the manifest, {path: content}."""

    version: str
    board: str
    files: dict[str, bytes]

    @cached_property
    def manifest(self) -> bytes:
        """CBOR array of [path, size, SHA-256]."""
        return cbor2.dumps([[path, len(data), hashlib.sha256(data).digest()] for path, data in self.files.items()])

    @property
    def digest(self) -> bytes:
        """SHA-256 of the manifest: what is signed."""
        return hashlib.sha256(self.manifest).digest()

    @cached_property
    def data(self) -> bytes:
        """What is sent: the manifest, then the files."""
        return self.manifest + b"".join(self.files.values())

    def chunks(self, offset: int, most: int):
        """(offset, data) from `offset` on; none reaches beyond the part that it begins in."""
        end = 0
        for part in (self.manifest, *self.files.values()):
            start, end = end, end + len(part)
            for at in range(max(start, offset), end, most):
                yield at, self.data[at : min(at + most, end)]


def image_of(library: Path, version: str, board: str) -> Image:
    """The firmware in a folder of byte code (forerun.bytecode)."""
    paths = sorted(path for path in library.rglob("*.mpy"))
    return Image(version, board, {str(path.relative_to(library)): path.read_bytes() for path in paths})


def write_release(image: Image, key: Ed25519PrivateKey) -> bytes:
    """The release as a file."""
    content = {"format": FORMAT, "version": image.version, "board": image.board, "manifest": image.manifest,
               "files": b"".join(image.files.values()), "key": key.public_key().public_bytes_raw()}  # fmt: skip
    return cbor2.dumps({**content, "signature": key.sign(_signed(content))}, canonical=True)


def read_release(data: bytes, trusted: bytes) -> Image:
    """The image in a release that the holder of `trusted` (public key, 32 bytes) signed. Raises Trouble."""
    try:
        content = cbor2.loads(data)
        fields = [content[name] for name in _FIELDS]
        if content["format"] != FORMAT:
            raise ValueError(f"it is of format {content['format']}, this host reads {FORMAT}")
        entries = cbor2.loads(content["manifest"])
    except (ValueError, KeyError, TypeError, EOFError, cbor2.CBORDecodeError) as problem:
        raise Trouble(f"this is no release of the board's firmware: {problem}") from problem
    if bytes(content["key"]) != trusted:
        raise Trouble(f"the release is signed with the key {bytes(fields[5]).hex()}, which is not the trusted one")
    try:
        Ed25519PublicKey.from_public_bytes(trusted).verify(content["signature"], _signed(content))
    except InvalidSignature as wrong:
        raise Trouble("the release was changed after it was signed: fetch it again; nothing was sent") from wrong
    files, at = {}, 0
    for path, size, digest in entries:
        files[path] = content["files"][at : at + size]
        at += size
        if hashlib.sha256(files[path]).digest() != digest:
            raise Trouble(f"{path} in the release is not what was signed: fetch it again; nothing was sent")
    return Image(content["version"], content["board"], files)


def _signed(content: dict) -> bytes:
    head = f"{content['format']} {content['version']} {content['board']} ".encode()
    return head + hashlib.sha256(content["manifest"]).digest()


def send(desk, image: Image, say: Callable[[str], None]) -> str:
    """Bring `image` onto the board of `desk`, restart it, and confirm it once it drives its bus: what it then calls
    itself. On any Trouble the board goes on with, or back to, what it ran before.
    """
    keys = desk.session.keys
    if keys is None or not keys.has(m.COMMISSION):
        raise Trouble("an update is signed with the board's commission key, which this host does not have")
    board = desk.ask(m.INFO)[0]
    if board != image.board:
        raise Trouble(f"this firmware is for {image.board}, the board is {board}: nothing was sent")
    before = desk.hello["software"]
    signature = auth.hmac(keys.of(m.COMMISSION), b"update", image.digest, image.version.encode())
    desk.ask(m.MAINTENANCE, HOLD_S)
    size = len(image.data)
    offset, most = desk.ask(m.UPDATE_BEGIN, size, image.digest, image.version, len(image.manifest), signature)
    if offset:
        say(f"{offset} of {size} bytes are there already")
    told = -1
    for at, data in image.chunks(offset, most):
        desk.ask(m.UPDATE_CHUNK, at, data, hashlib.sha256(data).digest()[:HASH_BYTES])
        if 20 * (at + len(data)) // size > told:
            told = 20 * (at + len(data)) // size
            say(f"sent {at + len(data)} of {size} bytes")
    nonce = desk.hello["nonce"]
    desk.ask(m.UPDATE_COMMIT)
    say("the board restarts into the new firmware")
    if not desk.until(lambda: desk.session.up and desk.hello["nonce"] != nonce, RESTART_S):
        raise Trouble(f"the board did not come back within {RESTART_S:.0f} s: it goes back to {before} by itself")
    return _prove(desk, before)


def _prove(desk, before: str) -> str:
    if desk.ask(m.UPDATE_STATUS)[0] != ON_TRIAL:
        raise Trouble(f"the new firmware does not start: the board went back to {before}")
    sentence = ""
    for _ in range(round(PROVE_S)):
        try:
            desk.ask(m.UPDATE_COMMIT)
            return desk.hello["software"]
        except Trouble as problem:
            sentence = str(problem)
        desk.wait(1.0)
    raise Trouble(f"the new firmware was not confirmed ({sentence}): the board goes back to {before} by itself")
