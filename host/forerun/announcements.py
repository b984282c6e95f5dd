"""The compute–energy interface: an HTTP API by which a scheduler says what load will come (docs/announcements.md)."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import unquote

from forerun.compute import Announcement, AnnouncementError

LONGEST_AHEAD_S = 14 * 86_400
_LARGEST_BODY = 65_536
_NUMBERS = ("power_w", "start_utc_s", "duration_s")


class Board:
    """Jobs that were announced, by name; the same name again replaces. Thread-safe; `changed` is told of every change.

    Refused, each with a sentence: a job that is over, one that starts more than two weeks ahead, one that draws more
    than the site can. One whose start has passed is shortened to what is left; overlapping ones add up; a cancellation
    that comes after the start still ends the job, from now on.
    """

    def __init__(self, most_w: float, changed: Callable[[Announcement, str], None] = lambda job, what: None):
        self._most_w, self._changed = most_w, changed
        self._jobs: dict[str, Announcement] = {}
        self._lock = threading.Lock()

    def announce(self, job: Announcement, now_s: float) -> Announcement:
        """The job as it is now planned for. Raises AnnouncementError."""
        end_s = job.start_utc_s + job.duration_s
        if end_s <= now_s:
            raise AnnouncementError(f"announced job {job.job!r}: it was over {now_s - end_s:.0f} s ago")
        if job.start_utc_s > now_s + LONGEST_AHEAD_S:
            raise AnnouncementError(
                f"announced job {job.job!r}: it starts more than 14 days ahead; is start_utc_s in s?"
            )
        if job.power_w > self._most_w:
            raise AnnouncementError(
                f"announced job {job.job!r}: {job.power_w:.0f} W is more than the site's {self._most_w:.0f} W"
            )
        if job.start_utc_s < now_s:
            job = Announcement(job.job, job.power_w, now_s, end_s - now_s, job.confidence)
        with self._lock:
            self._jobs[job.job] = job
        self._changed(job, "announced")
        return job

    def cancel(self, name: str, now_s: float) -> bool:
        """False when there is no such job, or it is over already."""
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is None or job.start_utc_s + job.duration_s <= now_s:
            return False
        self._changed(job, "cancelled late" if job.start_utc_s <= now_s else "cancelled")
        return True

    def jobs(self, now_s: float) -> list[Announcement]:
        """Jobs that are not over, by start."""
        with self._lock:
            self._jobs = {name: job for name, job in self._jobs.items() if job.start_utc_s + job.duration_s > now_s}
            return sorted(self._jobs.values(), key=lambda job: (job.start_utc_s, job.job))


def job_of(body: bytes) -> Announcement:
    """The job in a JSON object as the API takes it. Raises AnnouncementError with a sentence for the sender."""
    try:
        given = json.loads(body)
    except ValueError as problem:
        raise AnnouncementError(f"the body is not JSON ({problem})") from problem
    if not isinstance(given, dict):
        raise AnnouncementError("the body must be one JSON object")
    unknown = set(given) - {"job", "confidence", *_NUMBERS}
    if unknown:
        raise AnnouncementError(f"{sorted(unknown)[0]!r} is not a field of an announcement")
    name = given.get("job")
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        raise AnnouncementError("job must be a name of 1 to 128 characters")
    numbers = {key: given.get(key, 1.0 if key == "confidence" else None) for key in (*_NUMBERS, "confidence")}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AnnouncementError(f"announced job {name!r}: {key} is {value!r}; it must be a number")
    return Announcement(name, **{key: float(value) for key, value in numbers.items()})


def serve(board: Board, clock: Callable[[], float], host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A running server: `server_address` says where, `shutdown()` and `server_close()` end it. `clock`: UTC in s."""
    server = ThreadingHTTPServer(
        (host, port), type("Handler", (_Handler,), {"board": board, "clock": staticmethod(clock)})
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="announcements", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    """GET /v1/jobs, POST /v1/jobs, DELETE /v1/jobs/<name>, GET /openapi.json."""

    board: Board
    clock: Callable[[], float]
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/openapi.json":
            self._answer(200, json.loads(files("forerun").joinpath("announcements_openapi.json").read_text()))
        elif self.path == "/v1/jobs":
            self._answer(200, {"jobs": [asdict(job) for job in self.board.jobs(self.clock())]})
        else:
            self._answer(404, {"error": "there is only /v1/jobs and /openapi.json"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/v1/jobs":
            self._answer(404, {"error": "announce to /v1/jobs"})
        elif not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._answer(413, {"error": f"send a Content-Length of at most {_LARGEST_BODY}"})
        else:
            try:
                job = self.board.announce(job_of(self.rfile.read(int(length))), self.clock())
            except AnnouncementError as problem:
                self._answer(422, {"error": str(problem)})
            else:
                self._answer(201, asdict(job))

    def do_DELETE(self) -> None:
        name = unquote(self.path.removeprefix("/v1/jobs/"))
        if self.path.startswith("/v1/jobs/") and self.board.cancel(name, self.clock()):
            self._answer(200, {"cancelled": name})
        else:
            self._answer(404, {"error": f"there is no job {name!r} ahead or running"})

    def _answer(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        """Nothing: the journal has every announcement."""
