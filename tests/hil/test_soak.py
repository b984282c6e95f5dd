"""A site for hours in its own time, watched all along: memory stays flat, and no record is lost or there twice.

Ten minutes in the suite; `make soak` plays 24 hours (FORERUN_SOAK_H).
"""

import gc
import json
import os

from forerun.compute.load import Announcement
from forerun.plant.series import Series
from forerun.site.snapshot import Viewer
from forerun.store.backup import check
from forerun_wire import messages as m
from hil.rig import UTC_OFFSET_US

HOURS = float(os.environ.get("FORERUN_SOAK_H", "0.17"))
STEP_S = 300
GROWTH = 2000  # objects; one leaked at each telemetry would be 1200 in five minutes


def test_memory_stays_flat_and_nothing_is_lost(rig):
    sun = Series(0, 3_600_000_000, [max(0.0, 8000.0 - 900.0 * abs(hour % 24 - 12)) for hour in range(25)])
    with rig(load_w=7000.0, pv=sun) as hil:
        viewer, sizes = Viewer(hil.host), []
        hil.run_until_armed()
        steps = round(HOURS * 3600 / STEP_S)
        for step in range(steps):
            if step % 12 == 0:  # a job an hour
                start_s = (hil.bench.now_us + UTC_OFFSET_US) / 1e6 + 120
                hil.host.announce(Announcement(f"job-{step}", 6000.0, start_s, 60), hil.bench.now_us)
            for _ in range(STEP_S // 10):
                hil.run(10)
                json.dumps(viewer.take(hil.bench.now_us).document())
            gc.collect()
            sizes.append(len(gc.get_objects()))
        assert sizes[-1] - sizes[len(sizes) // 3] < GROWTH, sizes
        assert len(hil.host.jobs) <= 1, "jobs that are over are forgotten"
        hil.run(2)
        numbers = [body[1] for body in hil.records()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "each record once, none missing"
        intervals = sum(body[5] == m.INTERVAL for body in hil.records())
        assert intervals >= steps, "one every five minutes"
        verdict = check(hil.journal.path)
        assert verdict.findings == () and verdict.notes == ()
        print(f"soak: {HOURS} h, {len(numbers)} records, {sizes[0]} -> {sizes[-1]} objects")
