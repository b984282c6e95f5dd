"""Compute sources of a running site: what they say reaches the plan and the journal, and whatever is wrong is named."""

import contextlib
import gzip
import http.server
import json
import os
import random
import socketserver
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from forerun import config
from forerun.compute import feeds
from forerun.compute.feeds import Feeds
from forerun.compute.sources import LIST_STALE_S, Reading, SourceError, document
from forerun.errors import Trouble
from forerun.site.service import Service
from forerun.store.journal import Journal, read
from site_web import running_site, site_file

DATA = Path(__file__).parent / "data"
NOW = 1_774_890_000.0


class Bench:
    """Feeds of a site with these [compute] and [pv] keys, asked one round at a time; a service that answers at once."""

    def __init__(self, folder, pv=None, **keys):
        path = folder / "site.toml"
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        of_pv = "".join(f"{key} = {json.dumps(value)}\n" for key, value in (pv or {}).items())
        path.write_text(config.EXAMPLE.read_text() + f"\n[compute]\n{lines}" + (f"\n[pv]\n{of_pv}" if of_pv else ""))
        site = config.load(path)
        self.journal, self.complaints, self.now_s, self.metered_w = Journal(site.store.path), {}, NOW, 5000.0
        self.service = Service(site, self.journal, nonce=b"n" * 8, utc_offset_us=int(NOW * 1e6))
        self.feeds = Feeds(site, self.ask, lambda: self.metered_w, self.complain, lambda: self.now_s)

    def ask(self, action):
        done = Future()
        done.set_result(action(self.service, 0))
        return done

    def complain(self, name, sentence):
        self.complaints[name] = sentence

    def starts(self):
        return {name: job.start_utc_s - NOW for name, job in self.service.jobs.items()}

    def noted(self):
        """What the journal has of sources: (source, trouble), in order."""
        self.journal.commit()
        return [tuple(entry.body[:2]) for entry in read(self.journal.path) if entry.kind == "source"]


def list_file(folder, document, now_s=NOW, name="squeue.json"):
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    os.utime(path, (now_s, now_s))
    return path


def slurm(*jobs):
    wrapped = [{"job_id": number, "job_state": ["PENDING"], "start_time": NOW + start, "time_limit": 60,
                "comment": f"power-w={watts}"} for number, start, watts in jobs]  # fmt: skip
    return {"jobs": wrapped}


def test_jobs_of_a_scheduler_are_announced_moved_and_taken_back(tmp_path):
    list_file(tmp_path, slurm((1, 900, 4000), (2, 1800, 3000)))
    bench = Bench(tmp_path, slurm="squeue.json")
    bench.feeds.once()
    assert bench.starts() == {"slurm-1": 900, "slurm-2": 1800}
    list_file(tmp_path, slurm((1, 910, 4000), (2, 3600, 3000)))  # ten seconds are no news
    bench.feeds.once()
    assert bench.starts() == {"slurm-1": 900, "slurm-2": 3600}
    list_file(tmp_path, slurm((1, 900, 4000)))
    bench.feeds.once()
    assert set(bench.service.jobs) == {"slurm-1"}
    entries = [entry.body[:2] for entry in read(bench.journal.path) if entry.kind == "job"]
    assert [list(entry) for entry in entries] == [["slurm-1", 4000], ["slurm-2", 3000], ["slurm-2", 3000],
                                                  ["slurm-2", 0]]  # fmt: skip


def test_what_the_schedulers_really_print_is_taken(tmp_path):
    for name in ("squeue.json", "kubernetes_jobs.json"):
        list_file(tmp_path, (DATA / name).read_text(), name=name)
    bench = Bench(tmp_path, slurm="squeue.json", kubernetes="kubernetes_jobs.json")
    bench.feeds.once()
    assert {"slurm-4711", "k8s-edge-nightly-train"} <= set(bench.service.jobs)
    assert not any(bench.complaints.values())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: list_file(folder, "{"), "is not JSON"),
        (lambda folder: list_file(folder, "[]"), "not one JSON object"),
        (lambda folder: list_file(folder, {"jobs": 5}), "not the output of squeue"),
        (lambda folder: list_file(folder, {"hello": 1}), "not the output of squeue"),
        (lambda folder: (folder / "squeue.json").unlink(), "cannot be read"),
        (lambda folder: list_file(folder, slurm(), NOW - LIST_STALE_S - 1), "is it still written"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_leaves_the_jobs_as_they_were(tmp_path, spoil, said):
    list_file(tmp_path, slurm((1, 900, 4000)))
    bench = Bench(tmp_path, slurm="squeue.json")
    bench.feeds.once()
    spoil(tmp_path)
    bench.feeds.once()
    bench.feeds.once()
    assert set(bench.service.jobs) == {"slurm-1"} and said in bench.complaints["compute.slurm"]
    list_file(tmp_path, slurm())
    bench.feeds.once()
    assert bench.service.jobs == {} and bench.complaints["compute.slurm"] == ""
    assert bench.noted() == [("slurm", "stopped"), ("slurm", "back")]


def test_a_list_of_a_thousand_jobs_is_read_wherever_it_is_and_what_is_no_file_is_waited_for_by_nobody(tmp_path, raw):
    long = slurm(*((number, 900, 4000) for number in range(1000)))
    long["jobs"] = [job | {"script": 4000 * "#"} for job in long["jobs"]]
    at, answers = raw
    answers["now"] = http_answer(json.dumps(long).encode())
    for where in (at, str(list_file(tmp_path, long))):
        assert len(document("slurm", where, NOW)["jobs"]) == 1000
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "endless", "wb") as endless:
        endless.truncate(1 << 25)
    for name in ("pipe", "endless", "."):
        with pytest.raises(SourceError, match="is no file of at most"):
            document("slurm", str(tmp_path / name), NOW)


def test_an_absurd_job_of_a_scheduler_is_refused_by_name_and_the_others_are_taken(tmp_path):
    document = slurm((1, 900, 4_000_000), (2, 900, 3000), (3, -7200, 3000))
    document["jobs"][2]["job_state"] = ["RUNNING"]
    list_file(tmp_path, document)
    bench = Bench(tmp_path, slurm="squeue.json")
    bench.feeds.once()
    assert set(bench.service.jobs) == {"slurm-2"}
    refused = bench.complaints["compute.slurm, refused"]
    assert "'slurm-1': 4000000 W is more than" in refused and "'slurm-3': it was over" in refused


def test_a_job_that_cannot_be_read_does_not_take_the_others_with_it(tmp_path):
    document = slurm((1, 900, 4000), (2, 900, 3000))
    document["jobs"][0]["comment"] = "power-w=lots"
    document["jobs"] += [{"job_state": ["RUNNING"], "start_time": 5, "time_limit": 5}, 17]
    list_file(tmp_path, document)
    bench = Bench(tmp_path, slurm="squeue.json")
    bench.feeds.once()
    assert set(bench.service.jobs) == {"slurm-2"}
    refused = bench.complaints["compute.slurm, refused"]
    assert "slurm-1 is not as its scheduler publishes jobs" in refused and "'lots'" in refused
    assert "entry 3 of the list is no job" in refused and "entry 4 of the list is no job" in refused


def test_a_job_that_becomes_unreadable_is_refused_once_and_stays_as_it_was_announced(tmp_path):
    bench, said = Bench(tmp_path, slurm="squeue.json"), []
    note = bench.complain
    bench.feeds._complain = lambda name, words: (said.append((name, words)), note(name, words))
    document = slurm((1, 900, 4000), (2, 900, 3000))
    list_file(tmp_path, document)
    bench.feeds.once()
    document["jobs"][0]["comment"] = "power-w=lots"
    document["jobs"].append(slurm((3, -7200, 3000))["jobs"][0] | {"job_state": ["RUNNING"]})
    for later_s in (0, 30, 60):
        bench.now_s = NOW + later_s
        list_file(tmp_path, document, bench.now_s)
        bench.feeds.once()
    assert bench.starts() == {"slurm-1": 900, "slurm-2": 900}
    (told,) = [words for name, words in said if name == "compute.slurm, refused"]
    assert "slurm-1 is not as its" in told and "'slurm-3': it was over 3600 s ago" in told
    assert bench.noted() == [("slurm", "refused")]
    list_file(tmp_path, slurm((1, 900, 4000), (2, 900, 3000)), bench.now_s)
    bench.feeds.once()
    assert bench.complaints["compute.slurm, refused"] == ""
    announced = [entry.body[0] for entry in read(bench.journal.path) if entry.kind == "job"]
    assert announced == ["slurm-1", "slurm-2"], "nothing was announced anew that had not changed"


def test_while_an_entry_has_no_name_no_job_is_taken_back(tmp_path):
    """It may be any of those that are missing; they end by themselves."""
    list_file(tmp_path, slurm((1, 900, 4000), (2, 900, 3000)))
    bench = Bench(tmp_path, slurm="squeue.json")
    bench.feeds.once()
    for odd in ({"job_id": {"set": True}}, {"job_id": "\ud800"}, {"job_id": "x" * 1000}, None):
        list_file(tmp_path, {"jobs": [*slurm((2, 900, 3000))["jobs"], odd]})
        bench.feeds.once()
        assert set(bench.service.jobs) == {"slurm-1", "slurm-2"}
    list_file(tmp_path, slurm((2, 900, 3000)))
    bench.feeds.once()
    assert set(bench.service.jobs) == {"slurm-2"}


def test_a_job_that_was_refused_is_taken_when_it_has_become_possible(tmp_path):
    start_s = NOW + 15 * 86_400
    bench = Bench(tmp_path, slurm="squeue.json")
    for now_s, known in ((NOW, False), (NOW + 30, False), (NOW + 2 * 86_400, True)):
        bench.now_s = now_s
        list_file(tmp_path, slurm((1, start_s - NOW, 4000)), now_s)
        bench.feeds.once()
        assert ("slurm-1" in bench.service.jobs) == known
    assert bench.noted() == [("slurm", "refused")] and bench.complaints["compute.slurm, refused"] == ""


def test_who_was_stopped_says_and_does_nothing_more(tmp_path):
    """An answer that comes after a reload is of the sources before: others are in charge of the jobs by then."""
    bench = Bench(tmp_path, slurm=str(tmp_path / "gone.json"))
    bench.feeds._stopped.set()
    bench.feeds.once()
    assert bench.complaints == {} and bench.noted() == []


def test_a_replayed_trace_is_a_source_and_a_trace_with_a_doubled_hour_is_refused(tmp_path):
    rows = [f"{300 * index},{5000 + 100 * index},by\u2028hand" for index in range(4)]  # no line end in CSV
    (tmp_path / "rack.csv").write_text("\n".join(["utc_s,power_w,note", *rows]))
    bench = Bench(tmp_path, replay="rack.csv")
    for index in (0, 1, 3, 4):  # over and over
        bench.now_s = 1200.0 * 100 + 300 * index
        bench.feeds.once()
        assert bench.feeds.latest["replay"] == Reading(bench.now_s, 5000 + 100 * (index % 4))
    (tmp_path / "rack.csv").write_text("\n".join(["utc_s,power_w,note", *rows, *rows[1:]]))
    bench.journal.close()
    with pytest.raises(Trouble, match="row 6 comes -600 s after"):
        Bench(tmp_path, replay="rack.csv")


class Played:
    """A source that says one thing after the other."""

    name = "played"

    def __init__(self, *values):
        self.values = list(values)

    def read(self):
        value = self.values.pop(0)
        if isinstance(value, Exception):
            raise value
        return Reading(NOW, value)


def test_the_nodes_are_learnt_from_meter_and_utilisation_and_a_bad_one_teaches_nothing(tmp_path):
    bench = Bench(tmp_path, utilisation_query="use", idle_w=1000.0, full_w=2000.0)
    uses = [0.1, 0.5, 0.9] * 60
    bench.feeds._use = Played(*uses)
    for use in uses:
        bench.metered_w = 2000 + 6000 * use
        bench.feeds.once()
    assert bench.feeds.nodes.full_w == pytest.approx(8000, rel=0.05)
    bench.feeds._use = Played(55.0, SourceError("silence"), AttributeError("odd"), 0.5)
    for _ in range(3):
        bench.feeds.once()
        assert "utilisation" not in bench.feeds.latest
    bench.metered_w = None  # without the meter the nodes' power is known from their utilisation
    bench.feeds.once()
    assert bench.feeds.latest["utilisation"].power_w == pytest.approx(5000, rel=0.05)
    assert bench.noted() == [("utilisation_query", name) for name in ("unit", "stopped", "back")]


def test_the_site_file_starts_them_beside_the_board(tmp_path):
    path = site_file(tmp_path)
    soon = {"jobs": [{"job_id": 7, "job_state": ["PENDING"], "start_time": time.time() + 1200, "time_limit": 30,
                      "comment": "power-w=2500"}]}  # fmt: skip
    list_file(path.parent, soon, time.time())
    path.write_text(path.read_text() + '\n[compute]\nslurm = "squeue.json"\nredfish_url = "http://127.0.0.1:9/power"\n'
                    'replay = "load.csv"\nevery_s = 1\n')  # fmt: skip
    start_s = int(time.time()) - 600
    rows = [f"{start_s + 300 * index},{5000 + index}" for index in range(20)]
    (tmp_path / "load.csv").write_text("\n".join(["utc_s,power_w", *rows]))
    with running_site(path) as site:
        ends = time.monotonic() + 20
        while "slurm-7" not in site.running.service.jobs or "compute.redfish_url" not in dict(
            site.running.integrations.complaints):  # fmt: skip
            assert time.monotonic() < ends
            time.sleep(0.02)
        while not (seen := site.running.snapshot).compute:
            assert time.monotonic() < ends
            time.sleep(0.02)
        (load,) = seen.compute
        assert (load.source, load.name) == ("replay", "replay") and 5000 <= load.power_w <= 5019
        assert abs(seen.utc_s - load.utc_s) < 60
        assert site.read.ask("GET", "/api/v1/snapshot")[1]["compute"][0]["power_w"] == load.power_w


def weather(now_s, cover):
    """60 hours of MET Norway's Locationforecast 2.0 with that cloud cover in percent."""
    times = (datetime.fromtimestamp(now_s // 3600 * 3600 + 3600 * index, UTC).isoformat() for index in range(60))
    details = {"cloud_area_fraction": cover, "air_temperature": 12.1}
    return {"type": "Feature", "properties": {"timeseries": [
        {"time": time, "data": {"instant": {"details": details}}} for time in times]}}  # fmt: skip


def test_the_feed_asks_a_service_once_an_hour_and_says_what_is_wrong(tmp_path):
    answer, asked = {"body": weather(NOW, 10)}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["User-Agent"])
            body = json.dumps(answer["body"]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        bench = Bench(
            tmp_path, pv={"weather": f"http://127.0.0.1:{server.server_address[1]}/compact?lat=63.4&lon=10.4"}
        )
        ahead = lambda: bench.service.planner.sky.steps(bench.now_s + 3600, 3600, 24)  # noqa: E731
        bench.feeds.once()
        bench.feeds.once()
        assert len(asked) == 1 and asked[0].startswith("forerun/") and np.isfinite(ahead()).all()
        bench.now_s += feeds.WEATHER_EVERY_S
        answer["body"] = weather(bench.now_s, 5000)
        bench.feeds.once()
        assert bench.noted() == [("weather", "absurd")] and np.isnan(ahead()).all()
        bench.now_s += feeds.WEATHER_AGAIN_S
        answer["body"] = weather(bench.now_s, 10)
        bench.feeds.once()
        assert bench.noted()[1:] == [("weather", "back")] and np.isfinite(ahead()).all()
    finally:
        server.shutdown()
        server.server_close()
    bench.now_s += feeds.WEATHER_EVERY_S
    bench.feeds.once()
    assert bench.noted()[2:] == [("weather", "stopped")] and np.isnan(ahead()).all()


def test_a_weather_file_that_nobody_rewrites_is_stale(tmp_path):
    (tmp_path / "sky.json").write_text(json.dumps(weather(NOW, 10)))
    bench = Bench(tmp_path, pv={"weather": "sky.json"})
    bench.now_s = (tmp_path / "sky.json").stat().st_mtime + feeds.WEATHER_STALE_S + 1
    bench.feeds.once()
    assert bench.noted() == [("weather", "stopped")] and "is it still written?" in next(iter(bench.complaints.values()))


@pytest.fixture
def raw():
    """(address, answers): a server that writes the bytes of answers["now"] to whoever asks, and hangs up."""
    answers = {"now": b""}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):  # who has read enough hangs up first
                self.wfile.write(answers["now"])

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
        server.shutdown()


def http_answer(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def good(now_s: float) -> dict[str, dict]:
    """A right answer of every kind of source, by its key in the site file."""
    value = {"resultType": "vector", "result": [{"metric": {}, "value": [now_s, "0.5"]}]}
    pod = {"spec": {"activeDeadlineSeconds": 600, "template": {"spec": {"containers": [{"resources": {"requests": {
        "cpu": "250m", "nvidia.com/gpu": "1"}}}]}}, "parallelism": 2, "completions": 3}}  # fmt: skip
    notes = {"forerun.energy/start": datetime.fromtimestamp(now_s + 900, UTC).isoformat()}
    job = {"kind": "Job", "metadata": {"name": "a", "namespace": "edge", "annotations": notes}, "status": {}, **pod}
    watts = {"resultType": "vector", "result": [{"metric": {}, "value": [now_s, "5000"]}]}
    return {
        "power_query": {"status": "success", "data": watts},
        "utilisation_query": {"status": "success", "data": value},
        "redfish_url": {"PowerControl": [{"PowerConsumedWatts": 5000}]},
        "slurm": slurm((1, 900, 4000)),
        "kubernetes": {"kind": "JobList", "items": [job]},
        "weather": weather(now_s, 10),
    }


def only(kind: str, url: str) -> dict:
    """Keys of a site file whose only source is of that kind, at url."""
    compute = {
        "power_query": {"prometheus_url": url, "power_query": "watts"},
        "utilisation_query": {"prometheus_url": url, "utilisation_query": "use"},
        "weather": {},
    }.get(kind, {kind: url})
    return {**compute, "pv": {"weather": url} if kind == "weather" else None}


KINDS = tuple(good(NOW))
ODD = (None, True, -1, -1e9, 0, 1e18, 1e308, 10**400, float("nan"), float("inf"), "", "NaN", "1e999", "9" * 5000,
       "\ud800\n", "x" * 100_000, [], {}, [[]], {"": {}}, [None], "0001-01-01T00:00:00+14:00")  # fmt: skip


def places(document, path=()):
    """Where in a document something stands."""
    yield path
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield from places(document[key], (*path, key))


def spoilt(rng: random.Random, document: dict) -> bytes:
    """An answer with something wrong: a value of another kind, one that is missing, a body that was cut or recoded."""
    document = json.loads(json.dumps(document))
    *path, key = rng.choice([place for place in places(document) if place])
    within = document
    for step in path:
        within = within[step]
    if rng.random() < 0.2:
        del within[key]
    else:
        within[key] = rng.choice(ODD)
    body = json.dumps(document).encode()
    way = rng.randrange(8)
    if way == 0:
        return http_answer(body)[: rng.randrange(len(body))]
    if way == 1:
        return http_answer(body.decode().encode(rng.choice(["utf-16", "utf-32", "cp037"])))
    if way == 2:
        return http_answer(bytes(rng.randrange(256) for _ in range(rng.randrange(300))))
    return http_answer(body, rng.choice(["200 OK"] * 5 + ["201 Created", "500 Oops", "299 Odd"]))


def believed(bench) -> list:
    """What the site goes by now, all of it finite and of now."""
    for reading in bench.feeds.latest.values():
        assert 0 <= reading.power_w <= bench.feeds._most_w and abs(reading.utc_s - bench.now_s) <= 120
    for job in bench.service.jobs.values():
        end_s = job.start_utc_s + job.duration_s
        assert 0 <= job.power_w <= bench.feeds._most_w and job.start_utc_s <= bench.now_s + 15 * 86_400
        assert end_s < bench.now_s + 400 * 86_400 and job.job.isprintable()
    sky = bench.service.planner.sky.steps(bench.now_s + 3600, 3600, 24)
    assert all(len(words) < 1500 and words.isprintable() for words in bench.complaints.values())
    return [*bench.feeds.latest, *bench.service.jobs, *sky[np.isfinite(sky)]]


BROKEN = {
    "empty": b"", "no HTTP": b"\x00\xff" * 50, "no body": http_answer(b""), "HTML": http_answer(b"<html>hello</html>"),
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", "number": http_answer(b"17"),
    "refusal, cut": b"HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n{",
    "refusal, odd chunks": b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "packed": http_answer(gzip.compress(b"{}"), head="Content-Encoding: gzip\r\n"),
    "huge": http_answer(b" " * (1 << 20) + b"{}"), "deep": http_answer(b'{"data":' * 900 + b"1" + b"}" * 900),
    "elsewhere": http_answer(b"", "302 Found", "Location: ftp://127.0.0.1:9/x\r\n"),
    "nowhere": http_answer(b"", "301 Moved"), "no length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "status": b"HTTP/1.1 99999999999999999999 OK\r\n\r\n{}", "list": http_answer(b"[[]]"), "null": http_answer(b"null"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_server_sends_the_sources_go_on_and_old_values_do_not_pass_for_new(tmp_path, raw, kind):
    """What `once` would raise ended the thread that asks all sources."""
    url, answers = raw
    right = http_answer(json.dumps(good(NOW)[kind]).encode())
    bench = Bench(tmp_path, **only(kind, url))
    bench.now_s = NOW

    def ask(answer: bytes) -> list:
        answers["now"] = answer
        bench.feeds._weather_due_s = 0.0
        bench.feeds.once()
        return believed(bench)

    listed = {"slurm": ["slurm-1"], "kubernetes": ["k8s-edge-a"]}.get(kind, [])
    for name, answer in BROKEN.items():
        assert ask(right), "the last value that was believed"
        assert ask(answer) == listed, name
        assert bench.complaints[f"compute.{kind}"], name
        assert bench.noted()[-1] in ((kind, "stopped"), ("weather", "absurd")), name
        assert ask(right) and bench.noted()[-1] == (kind, "back")
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(60):
        ask(spoilt(rng, good(NOW)[kind]))
    assert ask(right) and not bench.complaints[f"compute.{kind}"]
