"""The status socket: how other programs of this machine read a running site. A Unix-domain socket beside the journal,
for its owner alone; whoever connects gets the latest snapshot as one line of JSON, and the socket is closed."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from forerun.errors import Trouble

PATIENCE_S = 5.0
MAX_BYTES = 4 << 20


def socket_path(journal: Path | str) -> Path:
    """Where a site with that journal is read."""
    return Path(f"{journal}.sock")


def read(journal: Path | str) -> dict:
    """The latest snapshot of the running site with that journal. Raises Trouble when none runs, or not for us."""
    path = socket_path(journal)
    try:
        with socket.socket(socket.AF_UNIX) as line, _short(path) as name:
            line.settimeout(PATIENCE_S)
            line.connect(name)
            data = b""
            while piece := line.recv(1 << 16):
                data += piece
                if len(data) > MAX_BYTES:
                    raise ValueError
        return json.loads(data)
    except (FileNotFoundError, ConnectionRefusedError) as problem:
        raise Trouble(f"no site runs with the journal {journal}: start it with `forerun run`") from problem
    except PermissionError as problem:
        raise Trouble(f"{path}: only the user that runs the site (and root) may look at it") from problem
    except (OSError, ValueError) as problem:
        raise Trouble(f"{path}: the running site gave no snapshot ({problem}): `forerun doctor`") from problem


class StatusSocket:
    """Gives `document()` to everyone who connects, from a thread of its own, while the `with` block lasts."""

    def __init__(self, journal: Path | str, document: Callable[[], dict]):
        self._path, self._document = socket_path(journal), document
        self._thread = threading.Thread(target=self._serve, name="status socket", daemon=True)

    def __enter__(self) -> "StatusSocket":
        self._line = socket.socket(socket.AF_UNIX)
        try:
            # Whoever holds the journal's lock may replace what an earlier run left behind.
            self._path.unlink(missing_ok=True)
            os.fchmod(self._line.fileno(), 0o600)  # Linux: what bind makes has this mode from the first moment
            with _short(self._path) as name:
                self._line.bind(name)
            self._path.chmod(0o600)
            self._line.listen(16)
        except OSError as problem:
            self._line.close()
            raise Trouble(f"{self._path}: the status socket cannot be made ({problem.strerror})") from problem
        self._thread.start()
        return self

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def __exit__(self, *exc) -> None:
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._line.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._line.accept()
            except OSError:
                return
            # A reader that goes away or does not read is its own affair.
            with peer, contextlib.suppress(OSError):
                peer.settimeout(PATIENCE_S)
                peer.sendall(json.dumps(self._document()).encode() + b"\n")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into the 108 bytes of a socket's address, however deep the folder lies."""
    if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
