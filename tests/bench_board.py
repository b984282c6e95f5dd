"""The board on the emulated site, as JSON lines: what a load step costs at 115200 baud, in emulated time.

    python -m tests.bench_board [steps] [seed]
"""

import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

SEED = 11
LIMIT_W = 10_000
BASE_W = 6_000


def quantile(values: list[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def load_steps(count: int, seed: int, lowest_w: int = 5_000, highest_w: int = 14_000, noise: float = 0.0,
               **options) -> dict[str, list[float]]:  # fmt: skip
    """Per step, in ms: until a setpoint that answers it is on the wire, and until the import is below its limit again.

    Steps of lowest_w to highest_w, which the inverter can carry, come at any phase of the board's round; between them
    the site rests. `noise`: share of the bus's frames that come with a wrong bit.
    """
    from forerun_wire import messages as m
    from hil.noise import flips
    from hil.rig import Rig

    chance = random.Random(seed)

    found: dict[str, list[float]] = {"setpoint_ms": [], "limit_ms": []}
    with tempfile.TemporaryDirectory() as folder:
        sections = {"limits": {"import_limit_w": LIMIT_W}, **options.pop("sections", {})}
        with Rig(Path(folder), load_w=BASE_W, sections=sections, seed=seed, **options) as bench:
            bench.run_until_armed()
            if options.get("senses"):  # its zeros are found and the meter agrees: from then on the channel counts
                bench.run_until(lambda: any(name == "analog_back" for _, name, _, _ in bench.events()), 30, 0.5)
            if noise:
                noisy = flips(chance, noise)
                bench.bench.bus_filter = lambda direction, data, now_us: noisy(data)
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
                    found["setpoint_ms"].append((min(writes) - start_us) / 1000)
                    found["limit_ms"].append((over[-1] - start_us) / 1000 if over else 0.0)
                bench.assert_rules()
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
        bench.assert_rules()
    return free


def line_options(baud: int) -> dict:
    """Options of a Rig with the shortest round that this line permits a site with all its meters."""
    from forerun_board.fieldbus import round_ms, tenths_per_s

    cycle_ms = max(50, round_ms(baud, tenths_per_s(1, 1, 127)))
    return {"baud": baud, "sections": {"bus": {"baud": baud}, "safety": {"cycle_ms": cycle_ms, "stale_s": 5.0}}}


def byte_code() -> int:
    """Bytes of all .mpy files that land on a board."""
    from forerun.bytecode import compiled_packages

    return sum(path.stat().st_size for path in Path(compiled_packages().name).rglob("*.mpy"))


def main(count: int, seed: int) -> None:
    from hil.rig import ANALOG

    analog = {"senses": True, "sections": {"sensors": ANALOG}}
    for channel, options, limits in (("modbus", {}, (60, 200)), ("analog", analog, (25, 200))):
        figures = load_steps(count, seed, **options)
        for name, limit in zip(("setpoint_ms", "limit_ms"), limits, strict=True):
            values = figures[name]
            print(json.dumps({"bench": "load_step_" + name, "channel": channel, "p50": quantile(values, 0.5),
                              "p99": quantile(values, 0.99), "max": max(values), "limit": limit, "count": count,
                              "seed": seed}), flush=True)  # fmt: skip
    for baud, noise in ((57_600, 0.0), (38_400, 0.0), (19_200, 0.0), (9_600, 0.0), (115_200, 0.01), (115_200, 0.05)):
        values = load_steps(max(1, count // 4), seed, noise=noise, **line_options(baud))["limit_ms"]
        print(json.dumps({"bench": "load_step_limit_ms_of_a_line", "baud": baud, "noise": noise,
                          "p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values),
                          "count": len(values), "seed": seed}), flush=True)  # fmt: skip
    print(json.dumps({"bench": "byte_code", "bytes": byte_code(), "limit": 350 * 1024}), flush=True)
    for host in (True, False):
        free = heap_over(24, seed, host=host)
        figures = {"bytes": free[-1] - free[0], "limit": 1024, "after_1_h": free[0], "least": min(free), "seed": seed}
        print(json.dumps({"bench": "heap_after_24_h_less_after_1_h", "host": host, **figures}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, int(sys.argv[2]) if len(sys.argv) > 2 else SEED)
