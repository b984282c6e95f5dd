"""What has been done of a commissioning: a JSON file beside the site file, so that it can go on tomorrow."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from forerun.errors import Trouble

STEPS = ("flash", "scan", "keys", "selftest", "calibrate", "seal")
REQUIRED = ("scan", "selftest")  # before a seal; a board may come flashed, and a meter calibrated
VERSION = 1


class Steps:
    """The steps of one site by name: {"utc", "passed", …what it found}. Raises Trouble for a file it cannot read, and
    with `writes` for a folder that takes none, before a step is done for nothing."""

    def __init__(self, site_path: Path, *, writes: bool = False):
        self.site_path = Path(site_path)
        folder = self.site_path.absolute().parent
        if writes and not os.access(folder, os.W_OK | os.X_OK):
            why = "this user may not write there, or its disk is read-only"
            if not os.path.lexists(folder):
                why = "there is no such folder"
            raise Trouble(f"what is done is kept in {folder}, but {why}: name a site file elsewhere with --site")
        self.path = self.site_path.with_suffix(".commission.json")
        self.done: dict[str, dict] = {}
        try:
            content = json.loads(self.path.read_text())
            if content["version"] != VERSION:
                raise ValueError
            self.done = done = dict(content["steps"])
            if not all(isinstance(step["utc"], str) and isinstance(step["passed"], bool) for step in done.values()):
                raise ValueError
        except FileNotFoundError:
            pass
        except OSError as problem:
            raise Trouble(f"{self.path} cannot be read ({problem.strerror}): whose is it?") from problem
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise Trouble(
                f"{self.path} cannot be read as the steps done so far: move it away and begin again"
            ) from problem

    def record(self, step: str, passed: bool, utc_s: float, **found) -> dict:
        """Keep the result of a step, in place of an earlier one; a step done again takes the seal away, but
        for a change of the board's key, which changes nothing that was sealed."""
        if step not in ("seal", "keys"):
            self.done.pop("seal", None)
        self.done[step] = {"utc": moment(utc_s), "passed": passed, **found}
        text = json.dumps({"version": VERSION, "steps": self.done}, indent=1, sort_keys=True) + "\n"
        write_whole(self.path, text)
        return self.done[step]

    def next(self) -> str:
        """Name of the first step that is still to be done, '' when sealed."""
        return next((step for step in STEPS if self._is_open(step)), "")

    def _is_open(self, step: str) -> bool:
        """True for a step that is required and not done, and for one that was done and failed."""
        done = self.done.get(step)
        return not done["passed"] if done else step in (*REQUIRED, "seal")


def write_whole(path: Path, content: str | bytes) -> None:
    """All of the file or nothing of it. Raises Trouble."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(draft, path)
    except OSError as problem:
        words = f"{path} cannot be written ({problem.strerror}): free the disk, or take another folder"
        raise Trouble(words) from problem


def moment(utc_s: float) -> str:
    """2026-05-01T12:00:00Z"""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
