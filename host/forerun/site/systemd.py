"""What a service tells systemd (sd_notify(3)): ready, reloading, stopping, alive. Outside of it, nothing."""

import contextlib
import os
import socket
import time


class Systemd:
    """The service manager's socket, as `environ` names it, or nobody at all."""

    def __init__(self, environ=os.environ):
        name = environ.get("NOTIFY_SOCKET", "")
        self._name = "\0" + name[1:] if name.startswith("@") else name
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(environ.get("WATCHDOG_USEC", "0")) / 2e6 if ours else 0.0
        self._due = 0.0

    def ready(self) -> None:
        """The site runs."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The site file is read again; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        """The loop turns; told at twice the pace that the watchdog asks for, with one line about the site."""
        if self._name and self._every_s and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def _tell(self, words: str) -> None:
        if not self._name:
            return
        # A manager that went away, or does not listen, must not hold the site up.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.sendto(words.encode(), self._name)
