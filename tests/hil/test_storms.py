"""Faults that come together: some that belong together, and some drawn at random; `make soak` plays hundreds."""

import pytest

from hil import storms
from hil.storms import GENSET, ISLANDING, TRIP, Storm

# name: (storm, rules of which the site must have been in a position to break each)
TOGETHER = {
    "meter freezes while the grid is away": (Storm(1, GENSET | TRIP, order_w=2_000, faults=[
        (2.0, "grid lost", 14.0, 0.5), (1.0, "meter frozen", 8.0, 0.5), (17.0, "load step", 1.0, 0.3)]), ("island",)),
    "inverter restarts while the set warms up, which is powered off and on later": (Storm(2, GENSET, faults=[
        (1.0, "grid lost", 22.0, 0.5), (6.5, "inverter restarts", 1.0, 0.5), (12.0, "power cycle", 2.0, 0.5)]), ()),
    "board without power while the island stands": (Storm(3, ISLANDING | TRIP, faults=[
        (1.0, "grid lost", 20.0, 0.5), (6.0, "power cycle", 1.5, 0.5), (16.0, "load step", 1.0, 0.2)]), ("island",)),
    "board without power while a trip is latched, host killed": (Storm(4, TRIP, order_w=3_000, faults=[
        (2.0, "emergency stop", 3.0, 0.5), (6.0, "power cycle", 2.0, 0.5), (7.0, "host killed", 9.0, 0.5)]), ("stop",)),
    "surge, slow answers, and the BMS cuts everything": (Storm(5, 0, faults=[
        (8.0, "load step", 1.0, 0.6), (12.0, "bms cut", 6.0, 0.0), (20.0, "slow replies", 6.0, 0.5)]),
        ("import", "BMS")),
    "brown-out of 200 ms, cloud, cable": (Storm(6, TRIP, pv_w=3_000.0, faults=[
        (2.0, "brown-out", 0.2, 0.5), (2.1, "cloud", 8.0, 0.5), (4.0, "bus cut", 12.0, 0.5)]), ("no board",)),
    "surge, then the meter is silent": (Storm(7, 0, order_w=3_000, faults=[
        (1.0, "load step", 1.0, 0.6), (16.0, "meter silent", 8.0, 0.5)]), ("import", "no meter")),
    "surge beside noise": (Storm(8, 0, noise=0.05, faults=[
        (1.0, "load step", 1.0, 0.6), (4.0, "crc burst", 0.5, 0.5)]), ("import",)),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_faults_that_belong_together(tmp_path, _interpreter, name):
    storm, rules = TOGETHER[name]
    print(storm)
    judged = storms.play(tmp_path, storm)
    assert all(judged[rule] > 0 for rule in ("watchdog", "in step", *rules)), judged


@pytest.mark.parametrize(("seed", "rules"), [(189, ("import", "BMS", "no board")), (2058, ("import", "BMS", "stop"))])
def test_a_site_holds_its_rules_under_faults_that_come_together_and_comes_back(tmp_path, _interpreter, seed, rules):
    storm = storms.draw(seed)
    print("seed", seed, storm)
    judged = storms.play(tmp_path, storm)
    assert all(judged[rule] > 0 for rule in rules), f"seed {seed}: {judged}"


def test_the_command_tells_a_broken_rule_and_ends_with_1(_interpreter, monkeypatch, capsys):
    def broken(folder, storm):
        raise AssertionError(f"import: 12000 W in storm {storm.seed}")

    monkeypatch.setattr(storms, "play", broken)
    assert storms.main(3, 5) == 1
    told = capsys.readouterr()
    assert "import: 12000 W in storm 4" in told.err and "seed=4" in told.err and "2 broken" in told.out
    monkeypatch.setattr(storms, "play", lambda folder, storm: storms.Counter(island=2))
    assert storms.main(3, 5) == 0 and "{'island': 4}" in capsys.readouterr().out
