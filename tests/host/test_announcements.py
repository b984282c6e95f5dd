"""Announcements over HTTP and from schedulers: what is taken and what is refused (docs/announcements.md)."""

import asyncio
import http.client
import json
import re
import socket
import time
import urllib.parse
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from forerun.compute.announcements import MOST_JOBS, Preparing, taken
from forerun.compute.load import Announcement, AnnouncementError
from forerun.compute.schedulers import jobs_of_kubernetes, jobs_of_slurm
from forerun.errors import Trouble
from forerun.store.journal import read
from forerun.web import commands
from site_web import Client, running_site, site_file

DATA = Path(__file__).parent / "data"
NOW = 1_774_890_000.0
JOB = {"job": "train", "power_w": 6000.0, "start_utc_s": 0.0, "duration_s": 3600.0, "confidence": 0.9}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with running_site(site_file(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.fixture
def ask(site):
    """ask(method, path, document) -> (status, document); no job is left behind."""

    def ask(method: str, path: str, document=None):
        return site.operate.ask(method, path, document)[:2]

    yield ask
    for job in ask("GET", "/v1/jobs")[1]["jobs"]:
        ask("DELETE", f"/v1/jobs/{job['job']}")


def job(**change) -> dict:
    return {**JOB, "start_utc_s": round(time.time()) + 600.0, **change}


def test_a_job_is_announced_listed_replaced_and_cancelled(ask, site):
    wanted = job()
    assert ask("POST", "/v1/jobs", wanted) == (201, wanted)
    assert ask("POST", "/v1/jobs", {**wanted, "power_w": 7000})[0] == 201
    assert [job["power_w"] for job in ask("GET", "/v1/jobs")[1]["jobs"]] == [7000]
    assert site.running.service.jobs["train"].power_w == 7000
    assert ask("DELETE", "/v1/jobs/train") == (200, {"cancelled": "train"})
    assert ask("DELETE", "/v1/jobs/train")[0] == 404 and ask("GET", "/v1/jobs")[1] == {"jobs": []}
    assert site.running.service.jobs == {}
    kept = [entry.body for entry in read(site.running.journal.path) if entry.kind == "job"]
    assert [(body[0], body[1]) for body in kept[-3:]] == [("train", 6000.0), ("train", 7000.0), ("train", 0.0)]


def test_what_is_said_again_is_one_job_and_one_entry(ask, site):
    """A scheduler may say each minute what it knows: a journal does not grow by that."""
    ahead, runs = job(), job(job="runs", start_utc_s=round(time.time()) - 60.0)
    kept = lambda: [entry.body for entry in read(site.running.journal.path) if entry.kind == "job"]  # noqa: E731
    before = len(kept())
    for _ in range(3):
        assert ask("POST", "/v1/jobs", ahead) == (201, ahead) and ask("POST", "/v1/jobs", runs)[0] == 201
    assert ask("POST", "/v1/jobs", {**ahead, "confidence": 0.5})[0] == 201
    assert [(body[0], body[4]) for body in kept()[before:]] == [("train", "0.9"), ("runs", "0.9"), ("train", "0.5")]


CANNOT = ("it was over", "more than 14 days ahead", "more than 366 days", "more than the site's")  # as things are


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start_utc_s": NOW - 7200}, "it was over"),
        ({"start_utc_s": NOW * 1000}, "more than 14 days ahead"),
        ({"power_w": 1e6}, "more than the site's"),
        ({"duration_s": 1e9}, "more than 366 days"),
        ({"duration_s": 0}, "duration_s: it should be greater than 0"),
        ({"power_w": -1}, "power_w: it should be greater than or equal to 0"),
        ({"power_w": "6 kW"}, "power_w: it should be a valid number"),
        ({"power_w": float("nan")}, "power_w: it should be"),
        ({"confidence": 2}, "confidence: it should be less than or equal to 1"),
        ({"duration_s": None}, "duration_s: it should be a valid number"),
        ({"watts": 5}, "'watts' is not a field"),
        ({"job": ""}, "job: string should have at least 1 character"),
        ({"job": "a\nb"}, "job: it holds a character that cannot be shown"),
        ({"job": "\x1b[2J"}, "job: it holds a character that cannot be shown"),
        ({"job": "\u202ebackwards"}, "job: it holds a character that cannot be shown"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(ask, change, said):
    status, answer = ask("POST", "/v1/jobs", job(**change))
    assert status == (409 if said in CANNOT else 422) and said in answer["error"] and "\n" not in answer["error"]
    assert ask("GET", "/v1/jobs")[1] == {"jobs": []}


def test_a_job_that_has_begun_is_shortened_and_one_that_is_over_is_refused():
    begun = Announcement("train", 6000, NOW - 600, 3600)
    assert taken(begun, NOW, 10_000) == Announcement("train", 6000, NOW, 3000)
    with pytest.raises(AnnouncementError, match="over 0 s ago"):
        taken(begun, NOW + 3000, 10_000)


def played(changes: dict[int, list[Announcement]], until_s: int) -> list[tuple]:
    """What a board is told, each with the second: the jobs are those of the latest change, by second."""
    preparing, jobs, told = Preparing(), [], []
    for second in range(until_s):
        jobs = changes.get(second, jobs)
        if (order := preparing.due(jobs, NOW + second)) is not None:
            told.append((second, *order))
    return told


def ahead(name: str, power_w: float, start_s: float, duration_s: float = 1800, confidence: float = 1.0) -> Announcement:
    return Announcement(name, power_w, NOW + start_s, duration_s, confidence)


FIRST, SECOND = ahead("a", 5000, 600), ahead("b", 8000, 3000)
LONG, AFTER_IT = ahead("a", 5000, 600, 9000), (660, 8000, 2340, 1800)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        # The next one, in whatever order they were announced; the one after it when the first had its time.
        ({0: [FIRST, SECOND]}, [(0, 5000, 600, 1800), (660, 8000, 2340, 1800)]),
        ({0: [SECOND], 9: [SECOND, FIRST]}, [(0, 8000, 3000, 1800), (9, 5000, 591, 1800), (660, 8000, 2340, 1800)]),
        ({0: [FIRST, ahead("b", 8000, 700)]}, [(0, 5000, 600, 1800), (625, 8000, 75, 1800)]),
        # Those that start together are one step, as long as the last of them.
        ({0: [FIRST, ahead("b", 8000, 640, 3600), ahead("c", 900, 600)]}, [(0, 13_900, 600, 3640)]),
        ({0: [ahead(str(i), 100, 5) for i in range(500)]}, [(0, 50_000, 5, 1800)]),
        # Taken back before it comes, while it runs, or one of two.
        ({0: [FIRST], 9: []}, [(0, 5000, 600, 1800), (9, 0, 0, 1)]),
        ({0: [FIRST], 900: []}, [(0, 5000, 600, 1800), (900, 0, 0, 1)]),
        ({0: [FIRST, ahead("b", 8000, 600)], 9: [FIRST]}, [(0, 13_000, 600, 1800), (9, 5000, 591, 1800)]),
        # Corrected before it comes; while it runs it is no new step, and over when it is.
        ({0: [FIRST], 9: [ahead("a", 7000, 900)]}, [(0, 5000, 600, 1800), (9, 7000, 891, 1800)]),
        ({0: [FIRST], 900: [ahead("a", 5000, 900, 900)]}, [(0, 5000, 600, 1800), (1800, 0, 0, 1)]),
        # The same while the step after it is told of or has just come, or after the board began anew.
        ({0: [LONG, SECOND], 900: [ahead("a", 5000, 900, 4000), SECOND]}, [(0, 5000, 600, 9000), AFTER_IT]),
        ({0: [LONG, SECOND], 3010: [ahead("a", 5000, 3010, 4000), SECOND]}, [(0, 5000, 600, 9000), AFTER_IT]),
        ({0: [ahead("a", 5000, -600), SECOND], 9: [ahead("a", 5000, 9), SECOND]}, [(0, 8000, 3000, 1800)]),
        # One that did not start and was put off, while the board waits for it and long after.
        ({0: [FIRST], 620: [ahead("a", 5000, 900)]}, [(0, 5000, 600, 1800), (620, 5000, 280, 1800)]),
        ({0: [FIRST], 1500: [ahead("a", 5000, 3900)]}, [(0, 5000, 600, 1800), (1500, 5000, 2400, 1800)]),
        # Not before the last hour, never for what is unlikely or nothing, and what takes days is told of as a day.
        ({0: [ahead("a", 5000, 3700)]}, [(100, 5000, 3600, 1800)]),
        ({0: [ahead("a", 5000, 600, confidence=0.4), ahead("b", 0, 600)]}, []),
        ({0: [ahead("a", 5000, 600, 9 * 86_400)]}, [(0, 5000, 600, 86_400)]),
        ({0: [ahead("a", 5000, 0.4, 0.2)]}, [(0, 5000, 0, 1)]),
        # One that runs when the board is heard for the first time is told of, after what is still to start.
        ({0: [ahead("a", 5000, -600)]}, [(0, 5000, 0, 1200)]),
        ({0: [ahead("a", 5000, -600), SECOND]}, [(0, 8000, 3000, 1800)]),
    ],
)
def test_a_board_is_told_of_the_next_step_and_of_one_at_a_time(changes, told):
    assert played(changes, 4000) == told


@pytest.mark.parametrize(
    ("at_s", "by_s", "told"),
    [
        # Before the step: it comes by so much sooner or later than the board was told.
        (100, 300, [(400, 5000, 200, 1800)]),
        (100, -300, [(-200, 5000, 800, 1800)]),
        # A step that had begun by the wrong clock, and comes only now by the right one.
        (700, -600, [(100, 5000, 500, 1800)]),
        # One that has begun all the same is not told of again.
        (700, 600, []),
    ],
)
def test_a_board_is_told_anew_when_the_clock_of_its_host_was_set(at_s, by_s, told):
    preparing, found = Preparing(), []
    before = [order for second in range(at_s) if (order := preparing.due([FIRST], NOW + second))]
    assert before == [(5000, 600, 1800)]
    preparing.clock_stepped(by_s)
    for second in range(at_s + by_s, 2000):
        if (order := preparing.due([FIRST], NOW + second)) is not None:
            found.append((second, *order))
    assert found == told


def test_jobs_are_taken_up_to_a_number_that_every_plan_can_look_at():
    names = {f"job {number}" for number in range(MOST_JOBS)}
    with pytest.raises(AnnouncementError, match="1000 jobs are announced already"):
        taken(FIRST, NOW, 10_000, names)
    assert taken(FIRST, NOW, 10_000, names - {"job 1"} | {"a"}) == FIRST, "a correction is no further job"


def test_nothing_was_done_is_said_of_nothing_that_is_being_done(monkeypatch):
    """The time is up at once: what waits is dropped, what the loop has begun is waited for."""
    monkeypatch.setattr(commands, "ANSWER_S", 0)

    def ask(work: Future) -> object:
        async def asked():
            asyncio.get_running_loop().call_later(0.01, lambda: work.cancelled() or work.set_result("announced"))
            return await commands.in_loop(SimpleNamespace(running=SimpleNamespace(ask=lambda action: work)), None)

        return asyncio.run(asked())

    begun, waiting = Future(), Future()
    begun.set_running_or_notify_cancel()
    assert ask(begun) == "announced"
    with pytest.raises(Trouble, match="nothing was done"):
        ask(waiting)
    assert waiting.cancelled()


def test_a_job_cancelled_late_ends(ask):
    begun = job(start_utc_s=time.time() - 600)
    assert 2990 < ask("POST", "/v1/jobs", begun)[1]["duration_s"] <= 3000
    assert ask("DELETE", "/v1/jobs/train")[0] == 200
    assert ask("GET", "/v1/jobs")[1] == {"jobs": []}


def test_a_name_may_hold_what_an_address_may_not(ask):
    name = "a b/../c?é"
    assert ask("POST", "/v1/jobs", job(job=name))[0] == 201
    assert ask("DELETE", "/v1/jobs/a%20b%2F..%2Fc%3F%C3%A9") == (200, {"cancelled": name})


def test_a_name_that_was_taken_before_it_was_refused_is_listed(ask, site):
    odd = Announcement("a\nb", 10.0, time.time() + 600, 60.0)
    jobs = site.running.service.jobs
    jobs[odd.job] = odd
    try:
        assert [found["job"] for found in ask("GET", "/v1/jobs")[1]["jobs"]] == ["a\nb"]
    finally:
        del jobs[odd.job]


def test_what_is_no_request_gets_a_sentence_too(ask, site):
    assert "not JSON" in ask("POST", "/v1/jobs", b"{")[1]["error"]
    for body in (b'{"job": "\xe9"}', b"[" * 30_000, b'{"job": "a", "power_w": ' + 5000 * b"9" + b"}"):
        status, answer = ask("POST", "/v1/jobs", body)
        assert status == 400 and "not JSON in UTF-8" in answer["error"]
    for kind in ("text/plain", "application/x-www-form-urlencoded; charset=utf-8", ""):
        status, answer, _ = site.operate.ask("POST", "/v1/jobs", job(), Content_Type=kind)
        assert status == 422 and "bodies are application/json" in answer["error"], kind
    assert "valid dictionary" in ask("POST", "/v1/jobs", b"[]")[1]["error"]
    assert ask("GET", "/nothing")[0] == 404 and ask("POST", "/nothing", JOB)[0] == 404
    assert ask("POST", "/v1/jobs", b" " * 70_000)[0] == 413


@pytest.mark.parametrize("sent", [
    b"GET /v1/jobs HTTP/1.1\r\n\r\n",  # no Host
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
    b"GET /v1/jobs/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # as https begins
])  # fmt: skip
def test_what_is_no_http_is_refused_in_the_form_of_every_other_refusal(site, sent):
    address = urllib.parse.urlsplit(site.server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as line:
        line.sendall(sent)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        assert answer.status == 400 and answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "no HTTP/1.1 request that is understood" in json.loads(answer.read())["error"]


def test_a_scheduler_needs_a_token_that_may_operate(site):
    assert site.read.ask("POST", "/v1/jobs", job())[0] == 403
    assert site.read.ask("GET", "/v1/jobs")[0] == 200
    assert Client(site.server.url).ask("GET", "/v1/jobs")[0] == 401


def test_the_api_describes_itself_as_it_is(site):
    status, described, _ = Client(site.server.url).ask("GET", "/openapi.json")
    assert status == 200 and described["openapi"].startswith("3.1")
    fields = described["components"]["schemas"]["JobIn"]["properties"]
    assert set(fields) == set(Announcement.__dataclass_fields__)
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "announcements.md").read_text()
    assert all(f"`{field}`" in page for field in fields)
    assert json.loads((docs / "openapi.json").read_text()) == described, "python -m tests.openapi writes it anew"


def test_the_exchange_on_the_page_is_what_happens(ask):
    page = (Path(__file__).parents[2] / "docs" / "announcements.md").read_text()
    texts = page.split("```text\n")[1].split("```")[0].replace("1774900000", str(round(time.time()) + 900))
    parts = [part for part in re.split(r"^(?=POST|GET|DELETE|HTTP/)", texts, flags=re.M) if part]
    assert len(parts) == 10
    for request, answer in zip(parts[::2], parts[1::2], strict=True):
        body, said = (part.partition("\n\n")[2].strip() for part in (request, answer))
        method, path, _ = request.split(" ", 2)
        status, document = ask(method, path, json.loads(body) if body else None)
        assert (status, document) == (int(answer.split(" ", 2)[1]), json.loads(said))


def test_every_status_on_the_page_is_one_that_the_interface_describes():
    docs = Path(__file__).parents[2] / "docs"
    paths = json.loads((docs / "openapi.json").read_text())["paths"]
    described = {status for path in ("/v1/jobs", "/v1/jobs/{job}") for way in paths[path].values() for status in
                 way["responses"]}  # fmt: skip
    page = (docs / "announcements.md").read_text().split("## Adapters")[0]
    named = {status for row in re.findall(r"^\| ([\d, ]+) \|", page, flags=re.M) for status in row.split(", ")}
    assert named | {"200", "201", "410"} == described  # 410 is of controls that were confirmed too late


def test_slurms_queue_becomes_announcements():
    jobs, odd = jobs_of_slurm(json.loads((DATA / "squeue.json").read_text()), NOW)
    assert odd == {}
    assert jobs == [
        Announcement("slurm-4711", 32 * 8 + 4 * 350, 1774900000, 90 * 60, 0.6),
        Announcement("slurm-4712", 900, 1774890000, 600 * 60, 1.0),
    ]
    older = {"jobs": [{"job_id": 1, "job_state": "RUNNING", "start_time": 100, "time_limit": 5, "cpus": 2}]}
    assert jobs_of_slurm(older, NOW) == ([Announcement("slurm-1", 16, 100, 300, 1.0)], {})
    with pytest.raises(AnnouncementError, match="not the output of squeue"):
        jobs_of_slurm({"items": []}, NOW)


def test_kubernetes_jobs_become_announcements():
    jobs, odd = jobs_of_kubernetes(json.loads((DATA / "kubernetes_jobs.json").read_text()), NOW)
    assert odd == {}
    at = lambda text: datetime.fromisoformat(text).timestamp()  # noqa: E731
    assert jobs == [
        Announcement("k8s-edge-nightly-train", 2600, at("2026-03-30T20:00:00Z"), 3600, 0.8),
        Announcement("k8s-edge-encode", 2 * (2.5 * 8 + 350), at("2026-03-30T18:00:05Z"), 1800, 0.9),
    ]
    with pytest.raises(AnnouncementError, match="not a JobList"):
        jobs_of_kubernetes({"kind": "PodList"}, NOW)


def number(value, known=True, infinite=False):
    """As Slurm's data parsers write numbers."""
    return {"set": known, "infinite": infinite, "number": value}


def test_slurm_documents_as_they_were_recorded():
    """Fields and types as in outputs of squeue --json of 23.02.6 (v0.0.39) and 23.11 (v0.0.40) in public repositories;
    values are ours. In one and the same document some numbers are wrapped and some are plain."""
    mixed = {"job_id": 81, "job_state": "RUNNING", "start_time": 1701983394, "end_time": 1702343394, "comment": "",
             "time_limit": number(6000), "cpus": number(16), "node_count": number(1), "array_task_id": number(0, False),
             "tres_per_node": "gres:gpu:8",
             "tres_req_str": "cpu=8,mem=120000M,node=1,billing=80,gres/gpu=8"}  # fmt: skip
    typed = {**mixed, "job_id": 82, "job_state": ["RUNNING"], "start_time": number(1000), "end_time": number(4600),
             "cpus": number(8), "tres_req_str": "cpu=8,mem=128G,node=1,gres/gpu:h100=2,gres/gpu:a100=1"}  # fmt: skip
    both = {**typed, "job_id": 83, "tres_req_str": "cpu=8,gres/gpu=2,gres/gpu:h100=2"}
    no_limit = [{**typed, "job_id": 84, "time_limit": limit} for limit in (
        number(0, False, True), number(0, False), 4294967295, 4294967294, None)]  # fmt: skip
    ending = {**typed, "job_id": 85, "job_state": ["RUNNING", "COMPLETING"]}
    waiting = {**typed, "job_id": 86, "job_state": ["PENDING"], "start_time": number(0), "end_time": number(0)}
    noted = {**typed, "job_id": 87, "comment": {"administrator": "", "job": "power-w=700", "system": ""}}
    extended = {**typed, "job_id": 88, "end_time": number(1000 + 500_000)}
    document = {"jobs": [mixed, typed, both, *no_limit, ending, waiting, noted, extended], "warnings": [], "errors": []}
    found = {job.job: (job.power_w, job.start_utc_s, job.duration_s) for job in jobs_of_slurm(document, NOW)[0]}
    assert found == {
        "slurm-81": (16 * 8 + 8 * 350, 1701983394, 360_000),
        "slurm-82": (8 * 8 + 3 * 350, 1000, 3600),
        "slurm-83": (8 * 8 + 2 * 350, 1000, 3600),
        "slurm-87": (700, 1000, 3600),
        "slurm-88": (8 * 8 + 3 * 350, 1000, 500_000),
    }


SLURM_JOB = {"job_id": 7, "job_state": ["PENDING"], "start_time": {"set": True, "infinite": False, "number": 1000},
             "time_limit": {"set": True, "infinite": False, "number": 60}, "node_count": {"set": True, "number": 3},
             "tasks": {"set": True, "number": 4}, "cpus": {"set": True, "number": 0}}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "gpus", "now_s"),
    [
        ({"tres_req_str": "cpu=8,gres/gpu=2,gres/gpu:a100=2"}, 2, 0),
        ({"tres_req_str": "cpu=8,gres/gpu:a100=4,gres/gpu:v100=1"}, 5, 0),
        ({"tres_req_str": "cpu=8", "tres_per_node": "gres/gpu:2"}, 6, 0),  # GPUs are not accounted for there
        ({"tres_req_str": "cpu=8", "tres_per_node": "gres:gpu:a100:2"}, 6, 0),
        ({"tres_req_str": "", "tres_per_task": "gres/gpu=1"}, 4, 0),
        ({"tres_per_job": "gres/gpu:a100=5,gres/shard=7", "tres_per_node": None}, 5, 0),
        ({"tres_per_job": "gres/gpu"}, 1, 0),
        ({"job_state": ["RUNNING"], "tres_req_str": "gres/gpu=1", "tres_alloc_str": "cpu=64,gres/gpu=8"}, 8, 0),
        ({"tres_per_node": "gres/gpu:a100:2(IDX:0-1)"}, 6, 0),
        ({"hold": True}, None, 0),
        ({"state_reason": "JobHeldUser"}, None, 0),
        ({"state_reason": "DependencyNeverSatisfied"}, None, 0),
        # Expected to start long ago, and pending still: nobody knows when it will; one that runs began then.
        ({"tres_req_str": "gres/gpu=1"}, 1, 300),
        ({"tres_req_str": "gres/gpu=1"}, None, 301),
        ({"tres_req_str": "gres/gpu=1", "job_state": ["RUNNING"]}, 1, 5000),
    ],
)
def test_slurm_says_in_several_ways_how_many_gpus_and_that_a_job_is_held(change, gpus, now_s):
    jobs, odd = jobs_of_slurm({"jobs": [SLURM_JOB | change], "errors": []}, 1000 + now_s)
    assert [job.power_w for job in jobs] == ([] if gpus is None else [350 * gpus]) and not odd


def test_a_list_that_is_not_whole_takes_no_job_back():
    with pytest.raises(AnnouncementError, match=r"not whole.*slurmctld is silent"):
        jobs_of_slurm({"jobs": [], "errors": [{"description": "slurmctld is silent", "error_number": 1}]}, NOW)
    with pytest.raises(AnnouncementError, match="first page"):
        jobs_of_kubernetes({"kind": "JobList", "metadata": {"continue": "abc"}, "items": []}, NOW)


def kubernetes_job(pod: dict | None = None, notes: dict | None = None, status: dict | None = None, **metadata) -> dict:
    container = {"name": "c", "resources": {"limits": {"cpu": "8"}, "requests": {"cpu": "1500m", "memory": "2Gi"}}}
    return {"metadata": {"name": "j", "namespace": "d", "annotations": notes, **metadata}, "status": status,
            "spec": {"activeDeadlineSeconds": 60, "template": {"spec": {"containers": [container], **(pod or {})}}}}


def asks(**requests) -> dict:
    return {"name": "c", "resources": {"requests": requests}}


@pytest.mark.parametrize(
    ("pod", "watts"),
    [
        (None, 12),
        ({"containers": [asks(cpu=quantity) for quantity in ("500m", "0.5", 1, "2", "1e0", "0.002k", "500000u")]}, 60),
        ({"containers": [asks(**{"nvidia.com/gpu": "2", "cpu": "0"}), asks(**{"amd.com/gpu": 1})]}, 1050),
        ({"initContainers": [asks(cpu="90"), {**asks(cpu="2"), "restartPolicy": "Always"}]}, 28),  # one stays beside
        ({"resources": {"requests": {"cpu": "4"}}}, 32),
    ],
)
def test_kubernetes_quantities_are_those_of_all_that_runs_at_once(pod, watts):
    assert [job.power_w for job in jobs_of_kubernetes({"kind": "JobList", "items": [kubernetes_job(pod)]}, NOW)[0]] == [
        pytest.approx(watts)]  # fmt: skip


def test_a_kubernetes_job_counts_from_when_it_began_and_not_once_it_is_deleted():
    late = kubernetes_job(notes={"forerun.energy/start": "2026-03-30T18:00:00Z"},
                          status={"startTime": "2026-03-30T18:20:00Z"})  # fmt: skip
    early = kubernetes_job(notes={"forerun.energy/start": "2026-03-30T18:00:00Z"},
                           status={"startTime": "2026-03-30T17:50:00Z"})  # fmt: skip
    gone = kubernetes_job(deletionTimestamp="2026-03-30T18:00:00Z")
    for item, minutes in ((late, [20]), (early, [0]), (gone, [])):
        found = jobs_of_kubernetes({"kind": "JobList", "items": [item]}, NOW)[0]
        at_s = datetime.fromisoformat("2026-03-30T18:00:00Z").timestamp()
        assert [(job.start_utc_s - at_s) / 60 for job in found] == minutes


def test_kubernetes_jobs_that_failed_or_end_are_over():
    """Status as the API server writes it since 1.31: a failed job has conditions and no completionTime."""

    def item(name, *conditions, kind="Job", **status):
        status = {"startTime": "2026-03-30T18:00:05Z", "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
                  "conditions": [{"type": kind, "status": truth} for kind, truth in conditions], **status}  # fmt: skip
        container = {"name": "main", "resources": {"limits": {"amd.com/gpu": "2", "cpu": "500m"}}}
        pod = {"activeDeadlineSeconds": 600, "containers": [container, {"name": "beside", "resources": {}}]}
        return {"kind": kind, "metadata": {"name": name, "namespace": "edge", "annotations": None},
                "spec": {"template": {"spec": pod}}, "status": status}  # fmt: skip

    document = {"kind": "List", "items": [
        item("failed", ("FailureTarget", "True"), ("Failed", "True"), failed=1),
        item("ending", ("SuccessCriteriaMet", "True")),
        item("done", ("Complete", "True"), completionTime="2026-03-30T18:05:00Z"),
        item("resumed", ("Suspended", "False")),
        item("a-cron-job", kind="CronJob")]}  # fmt: skip
    assert [(job.job, job.power_w, job.duration_s) for job in jobs_of_kubernetes(document, NOW)[0]] == [
        ("k8s-edge-resumed", 4 + 700, 600)]  # fmt: skip


def test_kubernetes_counts_the_pods_that_still_run_and_refuses_a_start_without_an_offset():
    """Fields of batch/v1 JobSpec and JobStatus as in the Kubernetes API reference; values are ours."""

    def item(name, status=None, notes=None, **spec):
        container = {"name": "main", "resources": {"requests": {"cpu": "2"}}}
        return {"kind": "Job", "metadata": {"name": name, "namespace": "edge", "annotations": notes or {}},
                "spec": {"activeDeadlineSeconds": 600, "template": {"spec": {"containers": [container]}}, **spec},
                "status": status or {}}  # fmt: skip

    document = {"kind": "JobList", "items": [
        item("indexed", {"succeeded": 8, "completedIndexes": "0-7"}, completions=10, parallelism=4,
             completionMode="Indexed"),
        item("stopped", parallelism=0), item("plain", parallelism=None),
        item("suspended", suspend=True),
        *(item(f"resumed-{name}", suspend=True, notes={
            "forerun.energy/start": datetime.fromtimestamp(at_s, UTC).isoformat()})
          for name, at_s in (("soon", NOW + 60), ("late", NOW - 200), ("never", NOW - 301))),
        item("local", notes={"forerun.energy/start": "2026-03-30T20:00:00"}),
        item("odd", notes={"forerun.energy/power-w": "2.6 kW"}),
    ]}  # fmt: skip
    jobs, odd = jobs_of_kubernetes(document, NOW)
    assert {job.job: job.power_w for job in jobs} == {
        "k8s-edge-indexed": 2 * 16, "k8s-edge-stopped": 0, "k8s-edge-plain": 16, "k8s-edge-resumed-soon": 16,
        "k8s-edge-resumed-late": 16}  # fmt: skip
    assert list(odd) == ["k8s-edge-local", "k8s-edge-odd"]
    assert "write RFC 3339" in odd["k8s-edge-local"] and "'2.6 kW'" in odd["k8s-edge-odd"]
