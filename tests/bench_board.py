"""The board on the emulated site, as JSON lines: what a load step costs at 115200 baud, in emulated time.

    python -m tests.bench_board [steps] [--seeds N ...] [--baud RATE]
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

SEED = 11
FASTEST = 115_200
LIMIT_W = 10_000
BASE_W = 6_000


def quantile(values: list[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def load_steps(count: int, seed: int, lowest_w: int = 5_000, highest_w: int = 14_000,
               **options) -> dict[str, list[float]]:  # fmt: skip
    """Per step, in ms: until a setpoint that answers it is on the wire, and until the import is below its limit again.

    Steps of lowest_w to highest_w, which the inverter can carry, come at any phase of the board's round; between them
    the site rests.
    """
    from forerun_wire import messages as m
    from hil.rig import Rig

    chance = random.Random(seed)
    found: dict[str, list[float]] = {"setpoint_ms": [], "limit_ms": []}
    with tempfile.TemporaryDirectory() as folder:
        sections = {"limits": {"import_limit_w": LIMIT_W}, **options.pop("sections", {})}
        with Rig(Path(folder), load_w=BASE_W, sections=sections, seed=seed, **options) as bench:
            bench.run_until_armed()
            if options.get("senses"):  # its zeros are found and the meter agrees: from then on the channel counts
                bench.run_until(lambda: any(name == "analog_back" for _, name, _, _ in bench.events()), 30, 0.5)
            writes: list[int] = []
            controls = bench.site.inverter
            written = controls.written

            def note(now_us, model, changes):
                if model == 704 and changes.get("WSet", 0) >= 1000:
                    writes.append(bench.bench.now_us)
                written(now_us, model, changes)

            type(controls).written, kept = lambda self, *words: note(*words), type(controls).written
            written = lambda *words: kept(controls, *words)  # noqa: E731
            try:
                for _ in range(count):
                    bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 60_000)
                    bench.run(2.5 + chance.random())
                    start_us = bench.bench.now_us + 1000 * chance.randrange(1, 50) + chance.randrange(1000)
                    start_us -= start_us % 1000
                    writes.clear()
                    bench.site.add_job(start_us, 1_500_000, chance.randrange(lowest_w, highest_w))
                    trace = bench.site.record(start_us, start_us + 1_400_000, 1000)
                    bench.run(1.6)
                    over = [at for at, watts in zip(trace.t_us, trace.pcc_import_w, strict=True) if watts > LIMIT_W]
                    answered_us = min(writes, default=start_us + 1_600_000)  # not at all counts as too late
                    found["setpoint_ms"].append((answered_us - start_us) / 1000)
                    found["limit_ms"].append((over[-1] - start_us) / 1000 if over else 0.0)
            finally:
                type(controls).written = kept
    return found


def heap_over(hours: int, seed: int, *, host: bool = True) -> list[int]:
    """Free heap in bytes after each of so many emulated hours, in rounds of a second.

    Without `host` there is one in the first hour and then for the last two minutes, to ask and to take the records.
    """
    from hil.rig import Rig

    free = []
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), load_w=BASE_W, seed=seed) as bench:
        bench.run_until_armed()
        bench.coarse(1000)
        for hour in range(hours):
            if not host and hour == 1:
                bench.kill_host()
            bench.run(3600)
            if bench.host is None and hour == hours - 1:
                bench.start_host()
                bench.run(120)
            if bench.host is not None:
                free.append(bench.host.latest["heap_free"])
    return free


def byte_code() -> int:
    """Bytes of all .mpy files that land on a board."""
    from forerun.bytecode import compiled_packages

    return sum(path.stat().st_size for path in Path(compiled_packages().name).rglob("*.mpy"))


def main(count: int, seeds: list[int], baud: int) -> None:
    from hil.rig import ANALOG

    bus = {"bus": {"baud": baud}} if baud != FASTEST else {}
    if bus:
        from forerun_board.fieldbus import round_ms, tenths_per_s

        bus["safety"] = {"cycle_ms": round_ms(baud, tenths_per_s(3, 4, 0))}
    cases = (
        ("modbus", {"sections": bus}, (60, 200)),
        ("analog", {"senses": True, "sections": {"sensors": ANALOG, **bus}}, (25, 200)),
    )
    for seed in seeds:
        for channel, options, limits in cases:
            figures = load_steps(count, seed, baud=baud, **options)
            for name, limit in zip(("setpoint_ms", "limit_ms"), limits, strict=True):
                values = figures[name]
                print(json.dumps({"bench": "load_step_" + name, "channel": channel, "baud": baud,
                                  "p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values),
                                  "limit": limit if baud == FASTEST else None, "count": count, "seed": seed}),
                      flush=True)  # fmt: skip
    if baud != FASTEST or seeds != [SEED]:
        return
    print(json.dumps({"bench": "byte_code", "bytes": byte_code(), "limit": 350 * 1024}), flush=True)
    for host in (True, False):
        free = heap_over(24, SEED, host=host)
        figures = {"bytes": free[-1] - free[0], "limit": 1024, "after_1_h": free[0], "least": min(free), "seed": SEED}
        print(json.dumps({"bench": "heap_after_24_h_less_after_1_h", "host": host, **figures}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int, nargs="?", default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[SEED], help="other ones leave size and heap out")
    parser.add_argument("--baud", type=int, default=FASTEST, help="of the bus; the limits are those at 115200")
    words = parser.parse_args()
    main(words.steps, words.seeds, words.baud)
