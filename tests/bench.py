"""Speed, as JSON lines: `make bench`. Nothing here is a test; figures depend on the machine and are printed with it."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))


def tell(name: str, **figures) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


def board_lanes() -> None:
    """Decision time and bytes allocated, frame times: the shared script on both interpreters."""
    script = ROOT / "tests" / "bench_both.py"
    path = f"{ROOT / 'protocol'}:{ROOT / 'firmware'}"
    environment = {**os.environ, "MICROPYPATH": path, "PYTHONPATH": path}
    from forerun.plant.board import find_interpreter

    for interpreter, command in (
        ("CPython " + platform.python_version(), [sys.executable, str(script)]),
        ("MicroPython unix", [find_interpreter(), "-X", "heapsize=192k", str(script)]),
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            name, value, unit = line.split()
            tell(name, interpreter=interpreter, value=float(value), unit=unit)


def round_trip() -> None:
    """Command to reply over a pseudo-terminal with the board in real time."""
    from forerun.link.port import SerialLink
    from forerun.plant.site import Site
    from forerun.simulate.emulated import EmulatedSite
    from forerun.site.service import Service
    from forerun.store.journal import Journal
    from forerun_wire import messages as m
    from hil.rig import site_file

    with tempfile.TemporaryDirectory() as folder, EmulatedSite(Site(), with_board=True) as emulated:
        site = site_file(Path(folder))
        with Journal(site.store.path) as journal:
            host = Service(site, journal, nonce=os.urandom(8))
            link = SerialLink(host, emulated.link_path, 115200)
            while not host.planner.plan:
                link.poll(0.1)
            times_ms = []
            for _ in range(300):
                begun = time.perf_counter()
                seq = host.command(m.INFO)
                link._write(host.outgoing())
                while seq not in host.replies:
                    link.poll(0.05)
                times_ms.append(1000 * (time.perf_counter() - begun))
            link.close()
    times_ms.sort()
    tell("command_round_trip", p50_ms=round(statistics.median(times_ms), 2), p99_ms=round(times_ms[296], 2), count=300)


def boot() -> None:
    """Start of the board's process to its first request on the bus, choice of the firmware included."""
    import select

    from forerun.plant.board import BoardProcess

    times_ms = []
    for _ in range(9):
        with tempfile.TemporaryDirectory() as folder:
            board = BoardProcess(Path(folder) / "flash", lockstep=False)
            begun = time.perf_counter()
            board.power_on()
            select.select([board.bus_fd], [], [], 10)
            times_ms.append(1000 * (time.perf_counter() - begun))
            board.close()
    tell("boot_to_first_request", p50_ms=round(statistics.median(times_ms)), limit_ms=1000, count=9)


def rp2040() -> None:
    """Inner loop, power stage and decision on an RP2040, by the cost table of measured operations."""
    from host import test_board_budget as budget

    _, inner_us = budget.inner_us()
    tell("inner_loop_rp2040", us=round(inner_us), limit_us=budget.INNER_BUDGET_US)
    tell("sample_to_power_stage_rp2040", us=round(budget.PERIOD_US + inner_us), limit_us=budget.STAGE_BUDGET_US)
    for mask in (0, budget.ALL_FUNCTIONS):
        figures = {case: round(budget.decisions_us(mask, case)) for case in budget.CASES}
        tell("decision_rp2040", all_functions=mask != 0, us=max(figures.values()), cases_us=figures,
             limit_us=budget.DECISION_BUDGET_US)  # fmt: skip


def load_steps() -> None:
    """Load steps on the emulated site, seen by the Modbus meter and by the analogue channel, in emulated time."""
    subprocess.run([sys.executable, "-m", "tests.bench_board", "200"], cwd=ROOT, check=True)


def demo() -> None:
    """The whole demo, as a user calls it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "forerun", "demo", "--json", "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
    tell("demo", seconds=result["seconds"], sha256=result["sha256"])


def carbon() -> None:
    """A year of records to a report, a year of telemetry to hourly emissions, single-byte changes: in its own process,
    so that its memory is its own."""
    subprocess.run([sys.executable, "-m", "tests.bench_carbon", "--tamper"], cwd=ROOT, check=True)


def wire() -> None:
    """Records, telemetry beside other formats, clock, re-plug."""
    from tests import bench_wire

    bench_wire.main()


def web() -> None:
    """First paint, age of the shown values, memory, 50 pages at once: in its own process, for the same reason."""
    subprocess.run([sys.executable, "-m", "tests.bench_web"], cwd=ROOT, check=True)


def commands() -> None:
    """Wall time of --help, and of one completion, for each command group: the median of five, and the worst of them."""
    program = str(Path(sys.executable).with_name("forerun"))
    groups = ("", "commission", "commission selftest", "serve", "simulate", "export")
    asked: dict = {words: ([*words.split(), "--help"], {}) for words in groups}
    asked["completion"] = ([], {"_FORERUN_COMPLETE": "complete_bash", "COMP_WORDS": "forerun com", "COMP_CWORD": "1"})
    for name, (words, environment) in asked.items():
        taken_ms = []
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run([program, *words], env={**os.environ, **environment}, capture_output=True, check=True)
            taken_ms.append(1000 * (time.perf_counter() - begun))
        tell("command_start", command=name or "forerun", median_ms=round(statistics.median(taken_ms)),
             worst_ms=round(max(taken_ms)), limit_ms=200)  # fmt: skip


def plans() -> None:
    """Plans: speed, memory, a thousand random ones, gap to an exact optimum."""
    subprocess.run([sys.executable, "-m", "tests.bench_plan"], cwd=ROOT, check=True)


if __name__ == "__main__":
    tell("machine", python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count())
    commands()
    board_lanes()
    round_trip()
    boot()
    rp2040()
    load_steps()
    wire()
    demo()
    carbon()
    web()
    plans()
