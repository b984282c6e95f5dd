"""How fast plans are in CPU time, how near to the best, what they need: `python -m tests.bench_plan`, JSON lines."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))


def tell(name: str, **figures) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


def speed() -> None:
    """Re-plans after a small change, as a running site makes them, on 48 h in 100 steps."""
    from forerun.dispatch.dispatcher import Dispatcher
    from plan_cases import weak_grid_case

    for name, with_set in (("plan_with_set", True), ("plan_replan", False)):
        again_ms, later_ms = [], []
        for seed in range(60):
            storage, asked = weak_grid_case(seed)
            dispatcher = Dispatcher(storage if with_set else replace(storage, genset=None))
            soc = dispatcher.plan(asked).soc[0]
            again_ms.append(timed_ms(dispatcher, replace(asked, soc=asked.soc + 1e-4)))
            again_ms.append(timed_ms(dispatcher, replace(asked, soc=asked.soc + 2e-4)))
            later_ms.append(timed_ms(dispatcher, replace(five_minutes_later(asked, seed), soc=soc)))
        for what, times_ms in (("", again_ms), ("_5_min_later", later_ms)):
            tell(name + what, median_ms=round(statistics.median(times_ms), 1), most_ms=round(max(times_ms), 1),
                 p95_ms=round(float(np.quantile(times_ms, 0.95)), 1), count=len(times_ms))  # fmt: skip


def timed_ms(dispatcher, asked) -> float:
    began = time.process_time()
    dispatcher.plan(asked)
    return 1000 * (time.process_time() - began)


def five_minutes_later(asked, seed: int):
    """The same hours seen from the next step on, each load forecast anew."""
    middles = np.cumsum(asked.step_s) - asked.step_s / 2
    load_w = np.interp(middles + 300, middles, asked.load_w)
    load_w *= 1 + 0.01 * np.random.default_rng(seed).normal(size=len(load_w))
    return replace(asked, load_w=load_w, energy_price_per_kwh=np.interp(middles + 300, middles,
                                                                        asked.energy_price_per_kwh))  # fmt: skip


def gap(count: int, limit_s: float) -> None:
    """How much dearer than the best answer that an exact solver finds in `limit_s`; and than what it proves that no
    answer is below, which is further off where it ran out of time."""
    import plan_oracle
    from forerun.dispatch.dispatcher import Dispatcher
    from plan_cases import weak_grid_case

    over, at_most = [], []
    for seed in range(count):
        storage, asked = weak_grid_case(seed)
        plan = Dispatcher(storage).plan(asked)
        best, mine = plan_oracle.optimum(storage, asked, limit_s), plan_oracle.objective(storage, asked, plan)
        over.append(float(100 * (mine - best.objective) / max(1.0, plan.cost)))
        at_most.append(float(100 * (mine - best.bound) / max(1.0, plan.cost)))
    tell("plan_gap_percent", median=round(statistics.median(over), 3), most=round(max(over), 3),
         above_half_a_percent=sum(each > 0.5 for each in over), median_above_bound=round(statistics.median(at_most), 3),
         most_above_bound=round(max(at_most), 3), count=count, solver_limit_s=limit_s)  # fmt: skip


def random_instances(count: int) -> None:
    """Plans for random sites: how many had no answer, how many break a law of physics (tests/plan_cases.py)."""
    from forerun.dispatch.dispatcher import Dispatcher
    from plan_cases import check_physics, random_case

    without, broken = 0, 0
    for seed in range(count):
        storage, asked = random_case(seed)
        plan = Dispatcher(storage).plan(asked)
        without += any("solver" in sentence for sentence in plan.relaxed)
        try:
            check_physics(storage, asked, plan)
        except AssertionError:
            broken += 1
    tell("plan_random", count=count, without_answer=without, against_physics=broken)


MEMORY = """
import resource
import numpy as np
from forerun.dispatch.dispatcher import Dispatcher, Genset, Situation, Storage, plan_steps
steps = plan_steps(48)
genset = Genset(20000, 0.3, 1800, 5.0, 2.0, 0.5)
dispatcher = Dispatcher(Storage(60000, .95, .95, 30000, 30000, .1, .95, .2, 9700, 0, .05, 0, genset))
for soc in np.linspace(.2, .8, 50):
    dispatcher.plan(Situation(steps, np.linspace(4000, 16000, len(steps)), np.zeros(len(steps)), 1.0, float(soc)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    tell("plan_memory", peak_mb=round(int(done.stdout) / 1024, 1), plans=50)


if __name__ == "__main__":
    speed()
    memory()
    random_instances(1000)
    gap(10, 20.0)
