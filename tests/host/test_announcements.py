"""Announcements over HTTP and from schedulers: what is taken and what is refused (docs/announcements.md)."""

import json
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from forerun.announcements import Board, serve
from forerun.compute import Announcement, AnnouncementError
from forerun.schedulers import jobs_of_kubernetes, jobs_of_slurm

DATA = Path(__file__).parent / "data"
NOW = 1_774_890_000.0
JOB = {"job": "train", "power_w": 6000, "start_utc_s": NOW + 600, "duration_s": 3600, "confidence": 0.9}


@pytest.fixture
def api():
    """(ask, board, clock): ask(method, path, document) -> (status, document)."""
    changes, clock = [], [NOW]
    board = Board(most_w=30_000, changed=lambda job, what: changes.append((job.job, what)))
    server = serve(board, lambda: clock[0])
    url = f"http://127.0.0.1:{server.server_address[1]}"

    def ask(method: str, path: str, document=None):
        body = document if isinstance(document, bytes) or document is None else json.dumps(document).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url + path, body, method=method), timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    yield ask, changes, clock
    server.shutdown()
    server.server_close()


def test_a_job_is_announced_listed_replaced_and_cancelled(api):
    ask, changes, _ = api
    assert ask("POST", "/v1/jobs", JOB) == (201, {**JOB, "power_w": 6000.0, "duration_s": 3600.0})
    assert ask("POST", "/v1/jobs", {**JOB, "power_w": 7000})[0] == 201
    assert [job["power_w"] for job in ask("GET", "/v1/jobs")[1]["jobs"]] == [7000]
    assert ask("DELETE", "/v1/jobs/train") == (200, {"cancelled": "train"})
    assert ask("DELETE", "/v1/jobs/train")[0] == 404 and ask("GET", "/v1/jobs")[1] == {"jobs": []}
    assert changes == [("train", "announced"), ("train", "announced"), ("train", "cancelled")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start_utc_s": NOW - 7200}, "was over 3600 s ago"),
        ({"start_utc_s": (NOW + 600) * 1000}, "more than 14 days ahead"),
        ({"power_w": 1e6}, "more than the site's 30000 W"),
        ({"power_w": -1}, "power_w is -1"),
        ({"power_w": "6 kW"}, "it must be a number"),
        ({"power_w": float("nan")}, "power_w is nan"),
        ({"confidence": 2}, "must be from 0 to 1"),
        ({"duration_s": None}, "duration_s is None"),
        ({"watts": 5}, "'watts' is not a field"),
        ({"job": ""}, "job must be a name"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(api, change, said):
    ask, changes, _ = api
    status, answer = ask("POST", "/v1/jobs", {**JOB, **change})
    assert status == 422 and said in answer["error"] and "\n" not in answer["error"]
    assert changes == []


def test_a_job_that_has_begun_is_shortened_and_one_cancelled_late_ends(api):
    ask, changes, clock = api
    assert ask("POST", "/v1/jobs", {**JOB, "start_utc_s": NOW - 600})[1]["duration_s"] == 3000
    clock[0] += 60
    assert ask("DELETE", "/v1/jobs/train")[0] == 200
    assert changes[-1] == ("train", "cancelled late")
    assert ask("POST", "/v1/jobs", JOB)[0] == 201
    clock[0] = NOW + 600 + 3600
    assert ask("GET", "/v1/jobs")[1] == {"jobs": []} and ask("DELETE", "/v1/jobs/train")[0] == 404


def test_what_is_no_request_gets_a_sentence_too(api):
    ask, _, _ = api
    assert "not JSON" in ask("POST", "/v1/jobs", b"{")[1]["error"]
    assert "one JSON object" in ask("POST", "/v1/jobs", b"[]")[1]["error"]
    assert ask("GET", "/nothing")[0] == 404 and ask("POST", "/nothing", JOB)[0] == 404
    assert ask("POST", "/v1/jobs", b" " * 70_000)[0] == 413


def test_the_api_describes_itself_as_it_is(api):
    ask, _, _ = api
    status, described = ask("GET", "/openapi.json")
    assert status == 200 and described["openapi"].startswith("3.1")
    fields = described["components"]["schemas"]["Job"]["properties"]
    assert set(fields) == set(Announcement.__dataclass_fields__)
    assert {(path, method) for path, ways in described["paths"].items() for method in ways} == {
        ("/v1/jobs", "get"), ("/v1/jobs", "post"), ("/v1/jobs/{job}", "delete")}  # fmt: skip
    page = (Path(__file__).parents[2] / "docs" / "announcements.md").read_text()
    assert all(f"`{field}`" in page for field in fields)


def test_slurms_queue_becomes_announcements():
    jobs = jobs_of_slurm(json.loads((DATA / "squeue.json").read_text()))
    assert jobs == [
        Announcement("slurm-4711", 32 * 8 + 4 * 350, 1774900000, 90 * 60, 0.6),
        Announcement("slurm-4712", 900, 1774890000, 600 * 60, 1.0),
    ]
    older = {"jobs": [{"job_id": 1, "job_state": "RUNNING", "start_time": 100, "time_limit": 5, "cpus": 2}]}
    assert jobs_of_slurm(older) == [Announcement("slurm-1", 16, 100, 300, 1.0)]
    with pytest.raises(AnnouncementError, match="not the output of squeue"):
        jobs_of_slurm({"items": []})


def test_kubernetes_jobs_become_announcements():
    jobs = jobs_of_kubernetes(json.loads((DATA / "kubernetes_jobs.json").read_text()), NOW)
    at = lambda text: datetime.fromisoformat(text).timestamp()  # noqa: E731
    assert jobs == [
        Announcement("k8s-edge-nightly-train", 2600, at("2026-03-30T20:00:00Z"), 3600, 0.8),
        Announcement("k8s-edge-encode", 2 * (2.5 * 8 + 350), at("2026-03-30T18:00:05Z"), 1800, 0.9),
    ]
    with pytest.raises(AnnouncementError, match="not a JobList"):
        jobs_of_kubernetes({"kind": "PodList"}, NOW)
