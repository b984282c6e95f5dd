"""A site for hours in its own time, watched all along: memory stays flat, and no record is lost or there twice.

Ten minutes in the suite, 24 hours in `make soak` (FORERUN_SOAK_H); in rounds of a second, and a minute of the usual.
"""

import collections
import gc
import json
import os
import resource

import numpy.ma  # noqa: F401  # numpy loads it at its first quantile with gaps, 1170 objects at once

from forerun.compute.load import Announcement
from forerun.plant.series import Series
from forerun.site.snapshot import Viewer
from forerun.store.backup import check
from forerun_wire import messages as m
from hil.rig import UTC_OFFSET_US

HOURS = float(os.environ.get("FORERUN_SOAK_H", "0.17"))
STEP_S = 300
LONG_CYCLE_MS = 1000
# Objects: one leaked at each telemetry would be 300 in five minutes. What is kept for good reason is bounded: the
# board's readings for 26 h, twelve an hour, and what the last preparations came to.
GROWTH = 200
GROWTH_AN_HOUR = 60


def test_memory_stays_flat_and_nothing_is_lost(rig):
    sun = Series(0, 3_600_000_000, [max(0.0, 8000.0 - 900.0 * abs(hour % 24 - 12)) for hour in range(25)])
    with rig(load_w=7000.0, pv=sun) as hil:
        viewer, sizes = Viewer(hil.host), []
        hil.run_until_armed()
        hil.coarse(LONG_CYCLE_MS)
        steps = round(HOURS * 3600 / STEP_S)
        for step in range(steps):
            if step % 12 == 0:  # a job an hour
                start_s = (hil.bench.now_us + UTC_OFFSET_US) / 1e6 + 120
                hil.host.announce(Announcement(f"job-{step}", 6000.0, start_s, 60), hil.bench.now_us)
            for _ in range(STEP_S // 10):
                hil.run(10)
                json.dumps(viewer.take(hil.bench.now_us).document())
            gc.collect()
            kinds = collections.Counter(type(thing).__name__ for thing in gc.get_objects())
            sizes.append(kinds.total())
            if step == steps // 3:
                early = kinds
        assert sizes[-1] - sizes[steps // 3] < GROWTH + GROWTH_AN_HOUR * HOURS, (kinds - early).most_common(8)
        assert len(hil.host.jobs) <= 1, "jobs that are over are forgotten"
        hil.coarse(0)
        hil.run(60)
        numbers = [body[1] for body in hil.records()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "each record once, none missing"
        intervals = sum(body[5] == m.INTERVAL for body in hil.records())
        assert intervals >= steps, "one every five minutes"
        verdict = check(hil.journal.path)
        assert verdict.findings == () and verdict.notes == ()
        print(json.dumps({
            "bench": "soak_site", "hours": HOURS, "records": len(numbers), "objects": [sizes[steps // 3], sizes[-1]],
            "more": dict((kinds - early).most_common(5)), "board_heap_free": hil.host.latest["heap_free"],
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }))  # fmt: skip
