"""The long forms of the tests that a seed makes longer: `make soak`. Prints a JSON line each, and ends at a failure.

Two processes; names of parts run these alone: python -m tests.soak fuzz. FORERUN_SOAK_SCALE scales all counts: with
0.01 it is a look at a hundredth.
"""

import gc
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "both")]

SCALE = float(os.environ.get("FORERUN_SOAK_SCALE", "1"))
FUZZ_FRAMES = int(10_000_000 * SCALE)
FORGERIES = int(1_000_000 * SCALE)
KILLS = int(1000 * SCALE)
STORMS = int(400 * SCALE)
PART = 100_000
OTHER = {"kills": "records", "forgeries": "refused", "fuzz": "good_frames", "storms": "faults"}


def fuzz(seed: int) -> tuple[int, int, int]:
    """(frames, good ones among them, peak memory in KiB) of one part; any wrong decode raises."""
    from test_wire_fuzz import fuzz

    counts = fuzz(seed, seed % 2, PART)
    gc.collect()
    return PART, counts["frames_in"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forge(seed: int) -> tuple[int, int]:
    """(attempts, of them not believed) of one part; one that is believed raises."""
    from forerun_wire.host import counts_of
    from test_wire_auth import forge

    count = min(PART, FORGERIES)
    return count, counts_of(forge(seed, count).board.session)["refused"]


def kills(seed: int) -> tuple[int, int]:
    """(kills, records that came over) of one part; one that was lost or doubled raises."""
    from host.test_record_kills import kills

    folder = Path(tempfile.mkdtemp())
    try:
        count = min(100, KILLS)
        return count, kills(folder, seed, count)
    finally:
        shutil.rmtree(folder)


def storms(seed: int) -> tuple[int, int]:
    """(sites, faults that came over them) of one part; a rule that is broken raises."""
    from hil import storms

    sites, faults = min(10, STORMS), 0
    for number in range(sites):
        storm = storms.draw(10 * seed + number)
        folder = Path(tempfile.mkdtemp())
        try:
            storms.play(folder, storm)
        except Exception as problem:
            raise AssertionError(f"{storm}: {problem}") from problem
        finally:
            shutil.rmtree(folder)
        faults += len(storm.faults)
    return sites, faults


def main() -> None:
    with ProcessPoolExecutor(2) as pool:
        for name, part, parts in (
            ("fuzz", fuzz, max(1, FUZZ_FRAMES // PART)),
            ("forgeries", forge, max(1, FORGERIES // PART)),
            ("kills", kills, max(1, KILLS // 100)),
            ("storms", storms, max(1, STORMS // 10)),
        ):
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            begun, done, other, peaks = time.monotonic(), 0, 0, []
            for result in pool.map(part, range(1000, 1000 + parts)):
                done += result[0]
                other += result[1]
                peaks += result[2:]
            told = {"soak": name, "count": done, "seeds": [1000, 999 + parts],
                    OTHER[name]: other,
                    "failures": 0, "seconds": round(time.monotonic() - begun, 1)}  # fmt: skip
            if peaks:
                told |= {"memory_first_kib": peaks[0], "memory_last_kib": peaks[-1]}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
