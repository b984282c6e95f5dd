"""Reports to download: what lies in the folder `reports` beside the journal, and the commissioning report."""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from forerun.errors import Trouble
from forerun.web.control import Refused

TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8", ".pdf": "application/pdf",
         ".csv": "text/csv; charset=utf-8"}  # fmt: skip
MAKE_S = 600.0
MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One file; `name` is what the download is asked for by."""

    name: str
    kind: str
    bytes: int
    changed_utc_s: int


class Reports:
    """The files of one site. A name is only ever compared with this list, never made into a path, so it leads nowhere
    else; links are left out of it."""

    def __init__(self, site_path: Path, journal: Path):
        self._site_path, self._folder = site_path, journal.parent / "reports"
        self._making = False

    def files(self) -> list[ReportFile]:
        """The newest first."""
        found = []
        for name, path in self._paths().items():
            with contextlib.suppress(OSError):  # it may be gone by now
                about = path.stat()
                kind = "commissioning" if path.parent != self._folder and "/" not in name else "energy and emissions"
                found.append(ReportFile(name, kind, about.st_size, int(about.st_mtime)))
        return sorted(found, key=lambda file: (-file.changed_utc_s, file.name))[:MOST_FILES]

    def read(self, name: str) -> tuple[bytes, str] | None:
        """(content, media type); None when there is no such report."""
        path = self._paths().get(name)
        try:
            return (path.read_bytes(), TYPES[path.suffix]) if path else None
        except OSError:
            return None

    async def make(self, first: date, last: date) -> list[ReportFile]:
        """Write the report of these days, both included, UTC, by a process of its own that leaves the link in peace.
        Raises Trouble, and Refused while another one is made."""
        if self._making:
            raise Refused(409, "a report is being made already: wait for it")
        name = f"{first}" if first == last else f"{first}_{last}"
        command = [sys.executable, "-m", "forerun", "report", "--site", str(self._site_path), "--format", "all",
                   "--from", str(first), "--to", str(last + timedelta(days=1)), "--out", str(self._folder / name),
                   "--json"]  # fmt: skip
        self._making = True
        try:
            process = await asyncio.create_subprocess_exec(
                "nice", "-n", "10", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(MAKE_S):
                    said, problem = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode:
                lines = problem.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
                raise Trouble("the report was not made: " + lines[-1].removeprefix("forerun: "))
            json.loads(said)
        except TimeoutError:
            raise Trouble(f"the report was not made within {MAKE_S:.0f} s") from None
        except (OSError, ValueError) as problem:
            raise Trouble(f"the report was not made: {problem}") from problem
        finally:
            self._making = False
        return [file for file in self.files() if file.name.startswith(name + "/")]

    def _paths(self) -> dict[str, Path]:
        found = {}
        for suffix in (".json", ".html", ".pdf"):
            found[f"commissioning{suffix}"] = self._site_path.with_suffix(".commissioning" + suffix)
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.rglob("*")):
                found[path.relative_to(self._folder).as_posix()] = path
        return {name: path for name, path in found.items()
                if path.suffix in TYPES and path.is_file() and not path.is_symlink()}  # fmt: skip
