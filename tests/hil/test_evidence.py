"""From a board that holds a key to a report: its codes are in the journal, and what it did not write is found."""

import hashlib
from pathlib import Path

import numpy as np

from forerun import config
from forerun.carbon import accounting, factors
from forerun.plant.series import Series
from forerun.report import publish
from forerun.site.witness import Witness
from forerun.store.journal import Journal, read
from forerun.store.sitekey import commitments, keep_record_key, key_path, record_keys, signing_key
from forerun_verify.check import Known, verify
from forerun_wire import auth
from forerun_wire import messages as m

UTC_OFFSET_S = 1_569_715_200  # of the bench
KEY = hashlib.sha256(b"the key of this test's board").digest()


def test_a_board_with_a_key_makes_records_that_a_verifier_believes(rig, tmp_path):
    record_key = auth.derive(KEY, m.READ)
    with rig() as bench:
        path = Path(bench.config.store.path)
        bench.run_until_armed()
        session = bench.host.session
        nonces = session.nonces()
        code, (proof,) = bench.command(m.KEY_SET, KEY)
        assert code == m.DONE and proof == auth.proof(KEY, nonces, b"board")
        assert bench.command(m.KEY_CONFIRM, auth.proof(KEY, nonces, b"host"))[0] == m.DONE
        keep_record_key(path, record_key)
        bench.kill_host()
        bench.start_host()
        ring = auth.board_keys(KEY)
        bench.host.session.keyring = {ring.id: ring}
        bench.host.witness = Witness(bench.journal, None, record_keys(path), commitments(path))
        bench.run_until(lambda: bench.host.session.keyed, 20, 0.25)
        bench.bench.cycle_ms = lambda now_us: 1000
        bench.run(1200)
        bench.journal.commit()
        bodies = bench.records()
        assert not any("doubted" in sentence for _, sentence in bench.said)
    site = path.with_name("site.toml")
    site.write_text(Path(config.__file__).with_name("demo_site.toml").read_text())
    known = Known(record_keys=(record_key.hex(),), commitment=hashlib.sha256(record_key).hexdigest())

    def report() -> list[str]:
        publish.publish(site, tmp_path / "out", "2019-09-29", "2019-09-29T01:00Z", "json")
        return verify(tmp_path / "out/report.json", path, factors.TABLE, known).findings

    signing_key(key_path(path))
    coded = [body for body in bodies if isinstance(body[-1], bytes)]
    assert len([body for body in coded if body[5] == m.INTERVAL]) >= 3
    assert report() == []
    with Journal(path) as journal:  # whoever owns the host adds a record of the board, and seals it
        last = coded[-1]
        utc_us = max(entry.utc_us for entry in read(path) if getattr(entry, "kind", "") == "record")
        journal.append(utc_us, "x", "record", [last[0], last[1] + 1000, *last[2:-1], last[-1]])
    assert any("its code was not made by the board" in finding for finding in report())


def test_the_balance_between_the_boards_meters_and_what_the_load_really_drew(rig, tmp_path):
    """Registers that the board read over Modbus, against the plant's own integral of the load; PV and battery work."""
    pv = Series(0, 60_000_000, [4000 + 3000 * (index % 3) for index in range(40)])
    truth = [(float(UTC_OFFSET_S), 0.0)]
    with rig(load_w=6500.0, pv=pv) as bench:
        path = Path(bench.config.store.path)
        bench.run_until_armed()
        bench.bench.cycle_ms = lambda now_us: 1000
        for _ in range(160):
            bench.run(10)
            totals = bench.site.totals()
            truth.append((bench.now_s + UTC_OFFSET_S, totals.load_wh - totals.unserved_wh))
        bench.journal.commit()
        books = accounting.ledger(accounting.readings_of(read(path)), accounting.factors_of(bench.config),
                              accounting.battery_of(bench.config))  # fmt: skip
        bench.assert_held(over_s=1)  # rounds of a second
    first_s, last_s = books.intervals[0].start_utc_s, books.intervals[-1].end_utc_s
    drawn_wh = np.interp(last_s, *zip(*truth, strict=True)) - np.interp(first_s, *zip(*truth, strict=True))
    counted_wh = sum(interval.load_wh for interval in books.intervals)
    residual = abs(counted_wh - drawn_wh) / drawn_wh
    print(f"residual {residual:.5f} over {last_s - first_s} s, {drawn_wh:.0f} Wh")
    assert last_s - first_s >= 900 and residual <= 0.005
