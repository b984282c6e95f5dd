"""A running site with its web server, for the tests of both: the real run loop in a thread of its own."""

import contextlib
import json
import math
import threading
import time
import urllib.error
import urllib.request
from importlib.resources import files
from pathlib import Path

from forerun import config
from forerun.site.running import Running
from forerun.store.journal import Journal
from forerun.web.reports import MAKE_S
from forerun.web.server import WebServer
from forerun_wire import messages

ANSWER_S = MAKE_S + 60  # a report is made by a process that gives way to all others: under load it takes its time
SETPOINT = {"action": "setpoint", "mode": "hold_battery", "value_w": 2000, "lease_s": 600}
JOB = {"action": "announce", "job": "train", "power_w": 4000.0, "duration_s": 600.0}


def site_file(folder: Path, port: str = "/dev/no-such-board", reports_ms: int = 200) -> Path:
    """A site file in `folder`: the demo's site with this port to the board, which reports so often."""
    text = files("forerun").joinpath("demo_site.toml").read_text()
    text = text.replace('port = "/dev/ttyACM0"', f'port = "{port}"')
    text = text.replace("telemetry_ms = 1000 ", f"telemetry_ms = {reports_ms} ")
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
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return answer.status, _read(answer), answer.headers
        except urllib.error.HTTPError as refused:
            return refused.code, _read(refused), refused.headers


def _read(answer):
    data = answer.read()
    if answer.headers.get("Content-Type", "").startswith("application/json"):
        return json.loads(data) if data else None
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


def remember(site_path: Path, days: float, until_s: float) -> None:
    """Fill the journal with the intervals of an earlier board: a load that follows the day, PV that follows the sun,
    a battery that takes what is left of it and gives it back in the evening."""
    journal = Path(config.load(site_path).store.path)
    end_s = int(until_s) // 300 * 300
    registers = dict.fromkeys(("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh"), 0.0)
    stored_wh = 20_000.0
    with Journal(journal) as kept:
        for number in range(1, round(days * 288) + 1):
            utc_s = end_s - 300 * (round(days * 288) - number)
            hour = utc_s % 86_400 / 3600
            load_w = 6200 + 1800 * math.sin((hour - 9) * math.pi / 12) + 500 * math.sin(number * 0.7)
            pv_w = max(0.0, 11_000 * math.sin((hour - 6) * math.pi / 12)) if 6 < hour < 18 else 0.0
            battery_w = load_w - pv_w - 2500 if 17 <= hour < 23 else min(0.0, load_w - pv_w)
            battery_w = max(min(battery_w, (stored_wh - 6000) * 12), (stored_wh - 57_000) * 12)
            stored_wh -= battery_w / 12
            import_w = load_w - pv_w - battery_w
            for name, watts in (("import_wh", import_w), ("export_wh", -import_w), ("charge_wh", -battery_w),
                                ("discharge_wh", battery_w), ("pv_wh", pv_w)):  # fmt: skip
                registers[name] += max(0.0, watts) / 12
            values = {name: int(value) for name, value in registers.items()}
            values |= {"interval_s": 300, "import_max_w": int(max(0, import_w)) + 300, "pcc_voltage_min_mv": 228_000,
                       "soc_permille": round(stored_wh / 60)}  # fmt: skip
            body = [values.get(name, 0) for name in messages.INTERVAL_FIELDS]
            kept.append_record(utc_s * 1_000_000, "earlier-board", b"earlier!", number,
                               [1, 300 * number, 0, messages.INTERVAL, *body])  # fmt: skip
        kept.commit()


class Page:
    """A browser's side of a session: cookie and CSRF token as the page sends them."""

    def __init__(self, site, token: str):
        self.client = Client(site.server.url)
        status, self.who, headers = self.client.ask("POST", "/api/v1/session", {"token": token})
        assert status == 200
        self.cookie = headers["Set-Cookie"]
        self.client.headers["Cookie"] = self.cookie.split(";")[0]

    def ask(self, method: str, path: str, body=None, **headers):
        return self.client.ask(method, path, body, **{"X_CSRF_Token": self.who["csrf"], **headers})


def job(name: str = "train") -> dict:
    return {**JOB, "job": name, "start_utc_s": time.time() + 900}


def until(condition, limit_s: float = 20) -> None:
    """Until it holds, at most so long."""
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
