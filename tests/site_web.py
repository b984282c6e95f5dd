"""A running site with its web server, for the tests of both: the real run loop in a thread of its own."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from importlib.resources import files
from pathlib import Path

from forerun.running import Running
from forerun.web.server import WebServer


def site_file(folder: Path, port: str = "/dev/no-such-board", baud: int = 115200) -> Path:
    """A site file in `folder`: the demo's site with this port to the board, reporting five times a second."""
    text = files("forerun").joinpath("demo_site.toml").read_text()
    text = text.replace('port = "/dev/ttyACM0"', f'port = "{port}"').replace("baud = 115200", f"baud = {baud}")
    text = text.replace("telemetry_ms = 1000 ", "telemetry_ms = 200 ")
    path = folder / "site.toml"
    path.write_text(text)
    return path


class Client:
    """Asks a server as one person: ask(method, path, document) -> (status, document, headers)."""

    def __init__(self, url: str, token: str = "", **headers: str):
        self.url, self.headers = url, headers
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, document=None, **headers: str):
        body = document if isinstance(document, bytes) or document is None else json.dumps(document).encode()
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, body, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _read(answer), answer.headers
        except urllib.error.HTTPError as refused:
            return refused.code, _read(refused), refused.headers


def _read(answer):
    data = answer.read()
    if answer.headers.get("Content-Type", "").startswith("application/json"):
        return json.loads(data)
    return data


class Site:
    """`running`, `server`, and a client for each role: read, operate, commission; `said` is what the site said."""

    def __init__(self, running: Running, server: WebServer, said: list[str]):
        self.running, self.server, self.said = running, server, said
        self.tokens = {}
        for role in ("read", "operate", "commission"):
            self.tokens[role] = server.parts.tokens.make(f"{role}er", role, 0)
        self.read, self.operate, self.commission = (Client(server.url, token) for token in self.tokens.values())

    def person(self, name: str, role: str = "operate") -> Client:
        """One more person."""
        return Client(self.server.url, self.server.parts.tokens.make(name, role, 0))


@contextlib.contextmanager
def running_site(site_path: Path, turn=lambda running: None):
    """A Site whose loop turns while the `with` block lasts; `turn(running)` is called at each turn."""
    said: list[str] = []
    stopped = threading.Event()
    with Running(site_path, say=said.append) as running, WebServer(running, "127.0.0.1", 0) as server:

        def loop() -> None:
            while not stopped.is_set():
                running.poll(0.02)
                turn(running)

        thread = threading.Thread(target=loop, name="site")
        thread.start()
        try:
            yield Site(running, server, said)
        finally:
            stopped.set()
            thread.join()
