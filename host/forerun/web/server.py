"""The HTTP server of a running site: uvicorn in a thread of its own, so that the loop of the link is left alone."""

import logging
import socket
import threading
import time

import uvicorn

from forerun.errors import Trouble
from forerun.web.access import Sessions, Tokens, WrongTokens, tokens_path
from forerun.web.app import application
from forerun.web.asking import Parts
from forerun.web.control import Controls
from forerun.web.guard import Guard, Line
from forerun.web.reports import Reports
from forerun.web.stream import Stream

LOCAL = ("127.0.0.1", "::1", "localhost")


def parts_of(running, clock=time.time) -> Parts:
    """Everything that the routes work with, for one running site (forerun.site.running.Running)."""
    journal = running.site.store.path
    tokens = Tokens(tokens_path(journal))
    controls = Controls(clock)

    def extra() -> dict:
        from forerun.web.commands import control_state

        parts.controls.waiting()
        return {"controls": control_state(parts).model_dump(mode="json")}

    parts = Parts(running=running, tokens=tokens, sessions=Sessions(tokens), wrong=WrongTokens(), controls=controls,
                  reports=Reports(running.site_path, running.journal.path),
                  stream=Stream(lambda: running.snapshot, extra, running.site.reporting.timezone),
                  clock=clock)  # fmt: skip
    return parts


class WebServer:
    """Serves one running site while the `with` block lasts; `address` says where. Raises Trouble for a port in use."""

    def __init__(self, running, host: str, port: int):
        self.parts = parts_of(running)
        try:
            self.parts.tokens.people()  # a token file that cannot be read is said now
        except Trouble as problem:
            words = f"{self.parts.tokens.path} cannot be read ({problem.__cause__})"
            raise Trouble(words, part="web.tokens") from problem
        self._line = _listen(host, port)  # from here on clients may connect, and are served once it has begun
        self.address = self._line.getsockname()[:2]
        # Nothing of uvicorn's own on standard error: what happens is said by the site.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            Guard(application(self.parts)), http=Line, log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=2, timeout_keep_alive=15, server_header=False,
            h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._line],), name="web", daemon=True)

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def __enter__(self) -> "WebServer":
        self._thread.start()
        return self

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def __exit__(self, *exc) -> None:
        self.parts.stream.close()
        self._server.should_exit = True
        self._thread.join()
        self._line.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = socket.socket(family)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind((host, port))
        line.listen(128)
    except (OSError, UnicodeError) as problem:
        line.close()
        words = getattr(problem, "strerror", None) or "this is no name of a machine"
        raise Trouble(f"the page at http://{host}:{port} cannot be served ({words})") from problem
    return line
