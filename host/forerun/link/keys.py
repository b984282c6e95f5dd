"""A site's keys: a file beside the site file, readable by its owner only; what it holds is shown nowhere.

{"version": 1, "boards": {identity: {"key": hex, "pending": hex or absent}}} holds boards' whole keys;
{"key_id": number, "operate": hex} in place of those, as export() writes it, holds the key of one role.
"""

import json
import os
import secrets
from pathlib import Path

from forerun.errors import Trouble
from forerun_wire import auth
from forerun_wire import messages as m

VERSION = 1
ROLES = {"operate": m.OPERATE, "commission": m.COMMISSION}


def path_of(site_path: Path) -> Path:
    """Where the keys of this site are."""
    return Path(site_path).with_suffix(".keys")


def keyring(site_path: Path) -> dict[int, auth.Keys]:
    """{key id: Keys} of all that this host holds for the site's boards; empty without a key file. Raises Trouble."""
    return KeyFile(path_of(site_path)).ring()


class KeyFile:
    """The keys in one file. Raises Trouble for one that others may read, or that is none."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.boards: dict[str, dict] = {}
        try:
            mode = self.path.stat().st_mode
            if mode & 0o077:
                raise Trouble(f"{self.path} may be read by others than its owner: `chmod 600 {self.path}`, and think "
                              "about `forerun commission keys rotate`")  # fmt: skip
            content = json.loads(self.path.read_text())
            if content["version"] != VERSION:
                raise ValueError
            self.boards = {str(name): dict(entry) for name, entry in content["boards"].items()}
            self.ring()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise Trouble(f"{self.path} cannot be read as a key file: bring it back from your backup") from problem

    def ring(self) -> dict[int, auth.Keys]:
        """{key id: Keys}; of a change that was not finished, both the old key and the new one."""
        found = {}
        for entry in self.boards.values():
            for name in ("key", "pending"):
                if name in entry:
                    keys = auth.board_keys(bytes.fromhex(entry[name]))
                    found[keys.id] = keys
            if "key_id" in entry:
                role_keys = {ROLES[name]: bytes.fromhex(entry[name]) for name in ROLES if name in entry}
                found[entry["key_id"]] = auth.Keys(role_keys, entry["key_id"])
        return found

    def record_key(self, identity: str) -> bytes:
        """The key that this board signs its records with. KeyError where the whole key is not here."""
        return auth.derive(bytes.fromhex(self.boards[identity]["key"]), m.READ)

    def save(self) -> None:
        """All of the file or nothing of it, on disk when this returns. Raises Trouble."""
        draft = self.path.with_name(self.path.name + ".new")
        try:
            draft.unlink(missing_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as writer:
                json.dump({"version": VERSION, "boards": self.boards}, writer, indent=1, sort_keys=True)
                writer.flush()
                os.fsync(writer.fileno())
            os.replace(draft, self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as problem:
            raise Trouble(f"{self.path} cannot be written ({problem.strerror}), so no key was changed") from problem

    def settle(self, identity: str, board_key_id: int) -> str:
        """Finish or drop a change that was interrupted, by what the board says; what came of it, or ''."""
        entry = self.boards.get(identity, {})
        if "pending" not in entry:
            return ""
        if auth.key_id(bytes.fromhex(entry["pending"])) == board_key_id:
            entry["key"] = entry.pop("pending")
            said = "the board had taken the new key: it is in force"
        else:
            del entry["pending"]
            said = "the board had not taken the new key: the one before is in force"
            if "key" not in entry:
                del self.boards[identity]
                said = "the board had not taken the key: it has none"
        self.save()
        return said

    def export(self, role: str, path: Path) -> None:
        """A key file with nothing but the keys of one role, for a host that shall do no more. Raises Trouble."""
        if Path(path).exists():
            raise Trouble(f"{path} is there already: choose another name, or move it away")
        other = KeyFile(path)
        for identity, entry in self.boards.items():
            if "key" in entry:
                key = bytes.fromhex(entry["key"])
                other.boards[identity] = {"key_id": auth.key_id(key), role: auth.derive(key, ROLES[role]).hex()}
        if not other.boards:
            raise Trouble(f"{self.path} holds no whole key: `forerun commission keys provision` makes one")
        other.save()


def change(desk, keys: KeyFile) -> int:
    """Give the board on the desk a new key, its first or another one; the id of it, in force on both sides then.

    The board obeys the new key only after it has proved that it has it, and this host has proved likewise; what is
    interrupted is finished or dropped by settle(). Raises Trouble.
    """
    identity, held = desk.hello["identity"], desk.hello["key_id"]
    keys.settle(identity, held)
    ring = keys.ring()
    if held and (held not in ring or not ring[held].has(m.COMMISSION)):
        raise Trouble(f"{identity} holds a key (id {held:06x}) whose commissioning key is not in {keys.path}: use that "
                      "file, or `forerun commission keys recover` on site")  # fmt: skip
    new = secrets.token_bytes(auth.KEY_BYTES)
    keys.boards.setdefault(identity, {})["pending"] = new.hex()
    keys.save()
    nonces = desk.session.nonces()
    sent = auth.wrapped(new, ring[held].of(m.COMMISSION), nonces) if held else new
    proof = desk.ask(m.KEY_SET, sent)
    if not proof or not auth.equal(proof[0], auth.proof(new, nonces, b"board")):
        raise Trouble("what answered does not have the key that was sent: is another program on this line? Nothing "
                      "was changed; start again")  # fmt: skip
    desk.ask(m.KEY_CONFIRM, auth.proof(new, nonces, b"host"))
    keys.boards[identity] = {"key": new.hex()}
    keys.save()
    desk.session.keyring = keys.ring()
    desk.session.restart()
    wanted = auth.key_id(new)
    if not desk.until(lambda: desk.session.up and desk.hello.get("key_id") == wanted, 10.0):
        raise Trouble("the board confirmed its key and was then not heard again: see `forerun commission keys status`")
    return wanted


def status(keys: KeyFile, hello: dict) -> dict:
    """What the board and this file hold, by ids."""
    held, ring = hello["key_id"], keys.ring()
    roles = [name for name, role in ROLES.items() if held in ring and ring[held].has(role)]
    return {"board": hello["identity"], "key_id": held, "roles": roles, "key_file": str(keys.path)}
