"""The host dies at any instant, its last write torn at any byte: no acknowledged record is lost, none counted twice."""

import random

from forerun_wire import messages as m


def test_records_across_kills_of_the_host(rig):
    seed = 7
    chance = random.Random(seed)
    sections = {"safety": {"host_lost_s": 2}}
    with rig(sections=sections) as bench:
        bench.run_until_armed()
        bench.bench.cycle_ms = lambda now_us: 3000
        acknowledged = 0
        for kill in range(12):
            bench.run(chance.uniform(30, 600))
            durable = bench.journal.on_disk(bench.host.board["identity"], bench.host.board["store_id"]) or 0
            acknowledged = max(acknowledged, durable)
            bench.kill_host()
            torn = chance.randrange(1, 40)
            with open(bench.config.store.path, "ab") as file:
                file.write(b"\x82\x1a" + chance.randbytes(torn))  # what a write cut short leaves
            if chance.random() < 0.5:
                bench.run(chance.uniform(1, 400))
            bench.start_host()
            assert bench.journal.torn is not None, f"seed {seed}, kill {kill}: the torn tail went unnoticed"
            numbers = [body[1] for body in bench.records()]
            assert set(range(1, acknowledged + 1)) <= set(numbers), f"seed {seed}, kill {kill}: a record was lost"
            assert len(numbers) == len(set(numbers)), f"seed {seed}, kill {kill}: a record was counted twice"
        bench.run(20)
        numbers = [body[1] for body in bench.records()]
        assert numbers == list(range(1, len(numbers) + 1)), f"seed {seed}: gaps in {numbers}"
        assert len([body for body in bench.records() if body[5] == m.INTERVAL]) >= 10
