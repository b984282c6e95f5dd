"""Sources of the compute load: a real Prometheus, an emulated BMC, and everything that may be wrong with either."""

import base64
import contextlib
import gzip
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import zlib
from pathlib import Path

import numpy as np
import pytest

from forerun.compute import sources
from forerun.compute.sources import NodePower, Prometheus, Reading, Redfish, SourceError, Watched

PACKAGES = ("prometheus", "prometheus-node-exporter")


def installed(name: str) -> str:
    """Path of a Debian package's program, installed first when this may be done; skips naming what is missing."""
    found = shutil.which(name)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        if subprocess.run(command, env=environment, check=False, **quiet).returncode:
            subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)
            subprocess.run(command, env=environment, check=False, **quiet)
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {' '.join(PACKAGES)}")
    return found


class Rack:
    """A real Prometheus at `url` that scrapes a real node exporter every second, which can be ended and begun."""

    def __init__(self, folder: Path):
        self._folder, self._node = folder, 0
        (folder / "rack.prom").write_text('rack_power_watts{rack="a"} 4200\nrack_power_watts{rack="b"} 1800.5\n')
        self.up()
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n"
            f"- job_name: node\n  static_configs: [{{targets: ['127.0.0.1:{self._node}']}}]\n"
        )
        self._server, port = self._run(
            "prometheus", 0, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"
        )
        self.url = f"http://127.0.0.1:{port}"

    def _run(self, name: str, port: int, *options: str) -> tuple[subprocess.Popen, int]:
        """(process, port that it listens on): 0 is one of its own choice, which it tells."""
        with open(self._folder / f"{name}.log", "w+") as log:
            command = [installed(name), *options, f"--web.listen-address=127.0.0.1:{port}"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            listens = 'msg="Listening on" address=127.0.0.1:'
            said = until(Path(log.name).read_text, lambda text: listens in text or process.poll() is not None)
        found = re.search(re.escape(listens) + r"(\d+)", said)
        assert found, said
        return process, int(found[1])

    def up(self) -> None:
        self._exporter, self._node = self._run("prometheus-node-exporter", self._node,
                                               f"--collector.textfile.directory={self._folder}")  # fmt: skip

    def down(self) -> None:
        self._exporter.terminate()
        self._exporter.wait(10)

    def end(self) -> None:
        self.down()
        self._server.terminate()
        self._server.wait(10)


def until(act, wanted, limit_s: float = 30.0):
    """What act() gives once wanted(it) holds: two programs that scrape and are scraped have no event to wait for."""
    ends = time.monotonic() + limit_s
    while not wanted(found := act()):
        assert time.monotonic() < ends, f"after {limit_s:.0f} s it is still {found!r}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def rack(tmp_path_factory):
    """A Rack whose Prometheus has scraped its exporter."""
    installed("prometheus"), installed("prometheus-node-exporter")
    rack = Rack(tmp_path_factory.mktemp("prometheus"))
    try:
        watched = Watched(Prometheus(rack.url, "sum(rack_power_watts)"), 30_000, lambda *said: None)
        until(lambda: watched.take(time.time(), 0.0), lambda reading: reading is not None)
        yield rack
    finally:
        rack.end()


def test_a_real_prometheus_says_what_a_real_exporter_measures(rack):
    got = Prometheus(rack.url, "rack_power_watts").read()
    assert got.power_w == pytest.approx(6000.5)
    assert abs(got.utc_s - time.time()) < 30
    busy = Prometheus(rack.url, 'sum(rate(node_cpu_seconds_total{mode!="idle"}[5s])) or vector(0)').read()
    assert busy.power_w >= 0
    with pytest.raises(SourceError, match="knows nothing that matches"):
        Prometheus(rack.url, "no_such_metric").read()
    with pytest.raises(SourceError, match=r"refused the query: .*parse error"):
        Prometheus(rack.url, "sum(").read()


def test_a_real_target_that_goes_down_is_stopped_and_believed_again_when_it_is_back(rack):
    said = []
    watched = Watched(Prometheus(rack.url, "sum(rack_power_watts)"), 30_000, lambda *told: said.append(told))
    take = lambda: watched.take(time.time(), 0.0)  # noqa: E731
    assert until(take, lambda reading: reading is not None).power_w == pytest.approx(6000.5)
    said.clear()  # on a slow machine a scrape may have been missed
    rack.down()
    until(take, lambda reading: reading is None)
    assert take() is None and [trouble for trouble, _ in said] == ["stopped"]
    assert "is the exporter scraped?" in said[0][1]
    rack.up()
    assert until(take, lambda reading: reading is not None).power_w == pytest.approx(6000.5)
    assert [trouble for trouble, _ in said] == ["stopped", "back"]


class Served:
    """A server at `url` whose `answers` are, by path, (status, bytes), or the address of where else to look; `shown` is
    what it was asked for, with the authorisation."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, tuple[int, bytes] | str] = {}
        self.shown: list[tuple[str, str | None]] = []


@pytest.fixture
def raw_answer():
    """raw_answer(bytes): the address of a server that answers one request with them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(answer):
            line, _ = listening.accept()
            with line, contextlib.suppress(OSError):
                line.recv(4096)
                line.sendall(answer)

        def begin(answer: bytes) -> str:
            threading.Thread(target=serve, args=(answer,), daemon=True).start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}/power"

        yield begin


@pytest.fixture
def served():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found.shown.append((self.path, self.headers["Authorization"]))
            answer = found.answers.get(self.path.split("?")[0], (404, b"nothing here"))
            status, body = (302, b"") if isinstance(answer, str) else answer
            self.send_response(status)
            if isinstance(answer, str):
                self.send_header("Location", answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Served(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


POWER = {
    "@odata.type": "#Power.v1_7_1.Power", "@odata.id": "/redfish/v1/Chassis/1/Power", "Id": "Power", "Name": "Power",
    "PowerControl": [{"@odata.id": "/redfish/v1/Chassis/1/Power#/PowerControl/0", "MemberId": "0",
                      "PowerConsumedWatts": 344, "PowerCapacityWatts": 1600,
                      "PowerMetrics": {"IntervalInMin": 1, "AverageConsumedWatts": 319}}],
}  # fmt: skip
METRICS = {
    "@odata.type": "#EnvironmentMetrics.v1_3_0.EnvironmentMetrics", "Id": "EnvironmentMetrics",
    "Name": "Environment", "PowerWatts": {"DataSourceUri": "/redfish/v1/Chassis/1/Sensors/Power", "Reading": 412.5},
}  # fmt: skip


SENSOR = {"@odata.type": "#Sensor.v1_9_0.Sensor", "Id": "total_power", "Name": "Total power", "ReadingType": "Power",
          "ReadingUnits": "W", "Reading": 388.25, "Status": {"State": "Enabled"}}  # fmt: skip


def test_a_bmc_says_its_power_in_any_of_its_resources(served):
    for path, document, watts in (("/power", POWER, 344), ("/metrics", METRICS, 412.5), ("/sensor", SENSOR, 388.25)):
        served.answers[path] = 200, json.dumps(document).encode()
        assert Redfish(served.url + path, clock=lambda: 1000.0).read() == Reading(1000.0, watts)


@pytest.mark.parametrize(
    ("controls", "watts"),
    [
        # A server, and two of its parts: by their PhysicalContext, or by their names.
        ([("Server Power Control", "Chassis", 450), ("CPU Sub-system Power", "CPU", 180),
          ("Memory Sub-system Power", "Memory", 60)], 450),
        ([("Server Power Control", None, 450), ("CPU Sub-system Power", None, 180)], 450),
        ([("System Power Control", None, 450), ("GPU 1", "GPU", None)], 450),
        ([("Node 1", None, 300), ("Node 2", None, 250), ("Node 3 is off", None, None)], 550),
        ([("PSU 1", "PowerSupply", 200), ("PSU 2", "PowerSupply", 210)], 410),
        ([("Server Power Control", "Chassis", None), ("CPU Sub-system Power", "CPU", 180)], None),
    ],
)  # fmt: skip
def test_parts_of_a_server_are_not_counted_beside_it(served, controls, watts):
    listed = [{"Name": name, **({"PhysicalContext": context} if context else {}), "PowerConsumedWatts": power_w}
              for name, context, power_w in controls]  # fmt: skip
    served.answers["/power"] = 200, json.dumps({"PowerControl": listed}).encode()
    source = Redfish(served.url + "/power", clock=lambda: 7.0)
    if watts is None:
        with pytest.raises(SourceError, match="reports no power"):
            source.read()
    else:
        assert source.read().power_w == watts


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b""), "status 401; is its authorisation right"),
        ((401, b'{"error": {"code": "Base.1.8.GeneralError", "message": "See @Message.ExtendedInfo"}}'), "status 401"),
        ((503, b"<html>starting</html>"), "answered with status 503; is it starting or overloaded"),
        ((404, b""), "status 404; is the path right"),
        ((500, b"<html>"), "status 500; what does its own log say"),
        ((200, b'{"PowerControl": [{"PowerConsumedWatts": true}]}'), "its power is True, which is no number"),
        ((200, b"[" * 200_000), "not JSON"),
        ((200, b"\xff\xfe{}"), "not JSON"),
        ((200, b"<html>"), "not JSON; is it the address of its API"),
        ((200, b"[]"), "answered with no JSON object; name a Power or EnvironmentMetrics"),
        ((200, b'{"@odata.type": "#Chassis.v1_25_0.Chassis"}'), "there is no power in #Chassis.v1_25_0.Chassis; name"),
        ((200, b'{"PowerWatts": null}'), "reports no power"),
        ((200, b'{"Reading": null, "ReadingUnits": "W"}'), "reports no power"),
        ((200, b'{"Reading": 0, "ReadingUnits": "W", "Status": {"State": "Absent"}}'), "reports no power"),
        ((200, b'{"Reading": 40, "ReadingUnits": "Cel"}'), "or a Sensor in W"),
        ((200, b'{"PowerControl": [{"PowerConsumedWatts": null}]}'), "reports no power"),
        ((200, b'{"PowerControl": [{"PowerConsumedWatts": "NaN"}]}'), "no reading"),
        ((200, b" " * (1 << 21)), "more than"),
    ],
)
def test_a_bmc_that_answers_nonsense_is_named_in_one_sentence(served, answer, said):
    served.answers["/power"] = answer
    with pytest.raises(SourceError, match=said):
        Redfish(served.url + "/power", clock=time.time).read()


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b"not http at all\r\n\r\n"], "does not answer .*BadStatusLine"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"], "does not answer|not JSON"),
        ([b"HTTP/1.1 200 OK\r\n\r\n{"] + [b" "] * 40, "took more than 0 s to answer"),
        ([b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 40, "took more than 0 s to answer"),
        ([b"HTTP/1.1 503 Busy\r\nContent-Length: 999\r\n\r\n{"], "answered with status 503"),
        ([b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], "status 401; is its authorisation"),
        ([b"HTTP/1.1 503 Busy\r\n\r\n{"] + [b" "] * 40, "answered with status 503"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_off_or_trickles_is_named_and_holds_nobody_up(monkeypatch, pieces, said):
    monkeypatch.setattr(sources, "_WHOLE_ANSWER_S", 0.2)
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            line, _ = listening.accept()
            with line, contextlib.suppress(OSError):
                line.recv(4096)
                for piece in pieces:
                    line.sendall(piece)
                    gone.wait(0.05 if len(pieces) > 1 else 0)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        with pytest.raises(SourceError, match=said):
            Redfish(f"http://127.0.0.1:{listening.getsockname()[1]}/power", clock=time.time).read()
        gone.set()
        serving.join(timeout=5)


def coded(body: bytes, coding: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (coded(gzip.compress(json.dumps(POWER).encode()), "gzip"), None),
        (coded(zlib.compress(json.dumps(POWER).encode()), "deflate"), None),
        (coded(json.dumps(POWER).encode(), "gzip"), "what is no gzip"),
        (coded(gzip.compress(bytes(1 << 24)), "gzip"), "more than"),
        (coded(b"?", "br"), "in the coding br; let it answer plainly"),
    ],
)
def test_an_answer_that_was_compressed_unasked_is_read_up_to_the_same_length(raw_answer, answer, said):
    source = Redfish(raw_answer(answer), clock=lambda: 1.0)
    if said is None:
        assert source.read().power_w == 344
    else:
        with pytest.raises(SourceError, match=said):
            source.read()


@pytest.mark.parametrize(("kind", "result", "said"), [
    ("matrix", [{"metric": {}, "values": [[1, "7"]]}], "with a matrix; ask for one value now"),
    ("string", [1, "7"], "with a string; ask for one value now"),
    ("vector", [{"metric": {}, "histogram": [1, {"count": "1", "sum": "7"}]}], "with a histogram; ask for a gauge"),
    ("vector", [{"metric": {"__name__": "node_rapl_package_joules_total"}, "value": [1, "20000"]}],
     r"joules_total, by its name a counter; ask for how fast it rises, rate\(node_rapl"),
    ("vector", [{"metric": {"__name__": "w_bucket", "le": "1"}, "value": [1, "5"]}], "histogram; ask for a gauge"),
    ("vector", [{"metric": {"__name__": "w", "node": "b"}, "value": [1, "NaN"]}], 'value of w{node="b"} is .NaN.; the'),
    ("vector", [], "knows nothing that matches"),
    ("vector", [{"metric": {}, "value": [1, "7"]}, {"metric": {}, "value": [2, "NaN"]}], "value is 'NaN'"),
])  # fmt: skip
def test_a_query_that_answers_no_value_is_told_how_to_mend_it(served, kind, result, said):
    served.answers["/api/v1/query"] = 200, json.dumps(
        {"status": "success", "data": {"resultType": kind, "result": result}}).encode()  # fmt: skip
    with pytest.raises(SourceError, match=said):
        Prometheus(served.url, "power").read()


def test_a_redirect_is_followed_and_the_authorisation_shown_to_no_other_server(served):
    url = served.url
    served.answers = {"/near": "/far", "/far": url.replace("127.0.0.1", "localhost") + "/power", "/round": "/round",
                      "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1:9/power",
                      "/power": (200, json.dumps(POWER).encode())}  # fmt: skip
    assert Redfish(f"{url}/near", lambda: 1.0, "Basic c2VjcmV0").read().power_w == 344
    assert served.shown == [("/near", "Basic c2VjcmV0"), ("/far", "Basic c2VjcmV0"), ("/power", None)]
    for path, said in (("/round", "status 302"), ("/ftp", "no HTTP"), ("/file", "status 302")):
        with pytest.raises(SourceError, match=said):
            Redfish(url + path, lambda: 1.0).read()


def test_a_password_in_an_address_is_shown_to_its_server_and_in_no_message(served):
    url = served.url.replace("//", "//me:a%40b@")
    served.answers = {"/power": (200, json.dumps(POWER).encode()), "/list": (200, b"[]"),
                      "/api/v1/query": (503, b"")}  # fmt: skip
    assert Redfish(f"{url}/power", lambda: 1.0).read().power_w == 344
    Redfish(f"{url}/power", lambda: 1.0, "Bearer x").read()
    for ask in (Prometheus(url, "power").read, lambda: sources.document("slurm", f"{url}/list", 0.0)):
        with pytest.raises(SourceError) as refused:
            ask()
        assert "me" not in str(refused.value).split(served.url)[1] and "a%40b" not in str(refused.value)
    basic = "Basic " + base64.b64encode(b"me:a@b").decode()
    assert [shown for _, shown in served.shown] == [basic, "Bearer x", basic, basic]


def test_a_certificate_that_nobody_trusts_is_told_how_to_trust(monkeypatch):
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"

    def refuse(*_, **__):
        raise urllib.error.URLError(refused)

    monkeypatch.setattr(sources._OPENER, "open", refuse)
    with pytest.raises(SourceError, match=r"does not trust \(self-signed certificate\); name a file .* SSL_CERT_FILE"):
        Redfish("https://bmc/redfish/v1/Chassis/1/Power", clock=time.time).read()


def test_a_source_that_is_not_there_or_no_address_is_an_error_of_the_source():
    with socket.socket() as taken:  # nobody else can listen there
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SourceError, match="does not answer"):
            Prometheus(f"http://127.0.0.1:{taken.getsockname()[1]}", "up").read()
    with pytest.raises(SourceError, match="must begin with http"):
        Redfish("file:///etc/passwd", clock=time.time).read()
    with pytest.raises(SourceError, match="Invalid IPv6 URL"):
        Redfish("http://[bmc", clock=time.time).read()


class Played:
    """A source that says what it was given, one after the other."""

    name = "played"

    def __init__(self, *readings):
        self.readings = list(readings)

    def read(self) -> Reading:
        reading = self.readings.pop(0)
        if reading is None:
            raise SourceError("played: silence")
        return reading


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (None, "stopped"),
        (Reading(700.0, 5000.0), "stopped"),
        (Reading(1001.0, -5.0), "negative"),
        (Reading(1001.0, 90_000.0), "jumped"),
        (Reading(1001.0, 5.0), "unit"),
        (Reading(1001.0, 5e6), "unit"),
    ],
)
def test_each_way_of_being_wrong_has_a_name_begins_once_and_ends(bad, name):
    said = []
    source = Played(Reading(1000.0, 5000.0), bad, bad, Reading(1003.0, 5100.0))
    watched = Watched(source, most_w=30_000, say=lambda trouble, words: said.append((trouble, words)))
    taken = [watched.take(1000.0 + index, metered_w=5000.0) for index in range(4)]
    assert [item is None for item in taken] == [False, True, True, False]
    assert [trouble for trouble, _ in said] == [name, "back"] and said[0][1].startswith("played")


def test_a_source_that_repeats_itself_for_an_hour_is_doubted():
    said = []
    moving = {70: 5001.0, 71: 5000.0}
    watched = Watched(
        Played(*(Reading(60.0 * i, moving.get(i, 5000.0)) for i in range(74))), 30_000, lambda *told: said.append(told)
    )
    taken = [watched.take(60.0 * index, 5000.0) for index in range(74)]
    assert [index for index, reading in enumerate(taken) if reading is None] == list(range(59, 70))
    assert [trouble for trouble, _ in said] == ["repeats", "back"] and "5000 W 60 times in a row" in said[0][1]


@pytest.mark.parametrize(("at_s", "words"), [(879.0, "121 s old"), (1_000_000.0, "of 999000 s ahead")])
def test_a_reading_of_another_time_is_named_by_how_far_it_is_off(at_s, words):
    said = []
    watched = Watched(Played(Reading(at_s, 5000.0)), 30_000, lambda *told: said.append(told))
    assert watched.take(1000.0, 5000.0) is None and said[0][0] == "stopped" and words in said[0][1]


def test_the_power_of_the_nodes_is_learnt_from_the_meter():
    rng = np.random.default_rng(3)
    model = NodePower(idle_w=3000, full_w=9000)
    for use in rng.uniform(0.1, 0.9, 400):
        model.learn(use, 4000 + 8000 * use + rng.normal() * 60)
    assert model.idle_w == pytest.approx(4000, rel=0.03) and model.full_w == pytest.approx(12_000, rel=0.03)
    for _ in range(20_000):  # a load that does not move teaches nothing about the slope, and does no harm
        model.learn(0.5, 8000 + rng.normal() * 60)
    model.learn(float("nan"), 1.0)
    model.learn(0.5, float("inf"))
    assert model.power_w(0.5) == pytest.approx(8000, rel=0.02) and model.full_w == pytest.approx(12_000, rel=0.1)


@pytest.mark.parametrize("uses", (lambda rng: np.full(100_000, 1.0), lambda rng: rng.uniform(0.49, 0.51, 100_000),
                                  lambda rng: np.where(np.arange(100_000) % 1000, 0.2, 1.0)))  # fmt: skip
def test_a_load_that_hardly_moves_for_weeks_leaves_the_nodes_as_they_are_known(uses):
    rng = np.random.default_rng(1)
    model, furthest_w = NodePower(idle_w=3000, full_w=9000), 0.0
    for use, noise in zip(uses(rng).tolist(), rng.normal(0, 300, 100_000).tolist(), strict=True):
        model.learn(use, 3000 + 6000 * use + noise)
        furthest_w = max(furthest_w, abs(model.power_w(use) - (3000 + 6000 * use)))
    assert furthest_w < 500 and model.idle_w == pytest.approx(3000, abs=500)
    assert model.full_w == pytest.approx(9000, abs=700)
