"""The web side of a running site, as JSON lines: `python -m tests.bench_web`. It needs Debian's Chromium."""

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

LOADS = 7
AGE_S = 20
VIEWERS = 50
ROUND_TRIPS = 300

# In the page: arrivals of live values for so long, as [arrived_ms, host's utc_s, age_ms at the host].
LISTEN = """
const done = arguments[1], seen = [], source = new EventSource("/api/v1/events");
source.addEventListener("live", (event) => {
  const news = JSON.parse(event.data);
  if (news.live) requestAnimationFrame(() => seen.push([Date.now(), news.utc_s, news.live.age_ms]));
});
setTimeout(() => { source.close(); done(seen); }, 1000 * arguments[0]);
"""
# A program of its own that reads so many event streams.
VIEWER = """
import socket, sys, threading
host, port, token, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
def look():
    line = socket.create_connection((host, port))
    line.sendall(f"GET /api/v1/events HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {token}\\r\\n\\r\\n".encode())
    while line.recv(65536): pass
threads = [threading.Thread(target=look, daemon=True) for _ in range(count)]
[thread.start() for thread in threads]
print("looking", flush=True)
[thread.join() for thread in threads]
"""


def tell(name: str, **figures) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


@contextlib.contextmanager
def program(*words: str):
    """A `forerun` command in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "forerun", *words, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def said(process, words: str) -> str:
    """The line that holds these words."""
    for line in process.stdout:
        if words in line:
            return line
    raise SystemExit(f"the program ended without saying {words!r}")


def resident_mb(pid: int) -> tuple[float, float]:
    """(now, at most so far) of a process, as the kernel counts it (VmRSS, VmHWM)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(round(int(lines[name].split()[0]) / 1024, 1) for name in ("VmRSS", "VmHWM"))


def page(site_path: Path) -> None:
    """First paint, age of what is shown, and memory of `forerun serve` with the page open."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    from browser import browser

    with program("token", "add", "bench", "--role", "operate", "--site", str(site_path)) as added:
        token = json.loads(added.stdout.read())
    with program("serve", "--site", str(site_path), "--port", "0") as serve:
        url = json.loads(said(serve, "page and API at"))["said"].rsplit(" ", 1)[1]
        threading.Thread(target=lambda: [None for _ in serve.stdout], daemon=True).start()
        tell("web_memory_before", resident_mb=resident_mb(serve.pid)[0])
        with browser() as driver:
            driver.get(url)
            time.sleep(1)
            driver.find_element(By.ID, "token").send_keys(token["token"], Keys.ENTER)
            time.sleep(5)
            paints, lives = [], []
            for _ in range(LOADS):
                driver.get("about:blank")
                begun = time.perf_counter()
                driver.get(url)
                while driver.execute_script("return document.getElementById('voltage').textContent") in ("", "–"):
                    time.sleep(0.005)
                lives.append(1000 * (time.perf_counter() - begun))
                paints.append(driver.execute_script(
                    "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"))  # fmt: skip
            paints = [paint for paint in paints if paint is not None]
            tell("web_first_paint", median_ms=round(statistics.median(paints), 1), worst_ms=round(max(paints), 1),
                 loads=len(paints), live_value_shown_median_ms=round(statistics.median(lives), 1))  # fmt: skip
            driver.set_script_timeout(AGE_S + 30)
            seen = driver.execute_async_script(LISTEN, AGE_S)
            tell("web_value_age", **ages(seen))
            time.sleep(5)
            now, most = resident_mb(serve.pid)
            tell("web_memory_page_open", resident_mb=now, most_mb=most, limit_mb=250)


def ages(seen: list) -> dict:
    """How old a value is when it is drawn, and just before the next one is: what a viewer sees at worst."""
    moments = [(arrived, 1000 * utc_s - age_ms) for arrived, utc_s, age_ms in seen]
    fresh = [(arrived, moment) for i, (arrived, moment) in enumerate(moments)
             if i == 0 or moment > moments[i - 1][1] + 20]  # fmt: skip
    drawn = [arrived - moment for arrived, moment in fresh]
    before_next = [after - moment for (_, moment), (after, _) in itertools.pairwise(fresh)]
    return {"values": len(fresh), "drawn_median_ms": round(statistics.median(drawn)),
            "at_worst_median_ms": round(statistics.median(before_next)),
            "at_worst_p99_ms": round(sorted(before_next)[int(0.99 * len(before_next))]),
            "at_worst_ms": round(max(before_next)), "limit_ms": 500}  # fmt: skip


def viewers(site_path: Path) -> None:
    """Round trip of a command to the board and back, alone and with 50 event streams open, in this process."""
    from forerun_wire import messages as m
    from site_web import running_site

    asked, times_ms, lock = [], [], threading.Lock()

    def turn(running) -> None:
        service = running.service
        if asked and asked[0][0] in service.replies:
            with lock:
                times_ms.append(1000 * (time.perf_counter() - asked.pop()[1]))
        if not asked and service.session.up and service.planner.plan:
            asked.append((service.command(m.INFO), time.perf_counter()))
            running.link._write(service.outgoing())

    def measured() -> dict:
        with lock:
            times_ms.clear()
        while len(times_ms) < ROUND_TRIPS:
            time.sleep(0.1)
        with lock:
            found = sorted(times_ms)
        return {"median_ms": round(statistics.median(found), 2), "p99_ms": round(found[int(0.99 * len(found))], 2)}

    with running_site(site_path, turn) as site:
        before = measured()
        words = [*map(str, site.server.address), site.tokens["read"], str(VIEWERS)]
        with subprocess.Popen([sys.executable, "-c", VIEWER, *words], stdout=subprocess.PIPE, text=True) as many:
            many.stdout.readline()
            while len(site.server.parts.stream) < VIEWERS:
                time.sleep(0.05)
            begun = os.times()
            wall = time.perf_counter()
            during = measured()
            ended = os.times()
            cpu = (ended.user + ended.system - begun.user - begun.system) / (time.perf_counter() - wall)
            many.terminate()
        after = measured()
    tell("web_viewers", viewers=VIEWERS, round_trip_before=before, round_trip_during=during, round_trip_after=after,
         host_cpu_share_during=round(cpu, 3))  # fmt: skip


def main() -> None:
    from site_web import remember, site_file

    with tempfile.TemporaryDirectory() as folder, program("emulate", "--board") as emulated:
        told = json.loads(emulated.stdout.readline())
        path = site_file(Path(folder), told["board_link"], reports_ms=250)
        remember(path, 9, time.time())
        page(path)
        viewers(path)


if __name__ == "__main__":
    main()
