"""Faults that come together: some that belong together, and some drawn at random; `make soak` plays hundreds."""

import pytest

from hil import storms
from hil.storms import GENSET, ISLANDING, TRIP, Storm

TOGETHER = {
    "meter freezes while the grid is away": Storm(1, GENSET | TRIP, order_w=2_000, faults=[
        (2.0, "grid lost", 14.0, 0.5), (1.0, "meter frozen", 8.0, 0.5), (17.0, "load step", 1.0, 0.3)]),
    "inverter restarts while the set warms up, which is powered off and on later": Storm(2, GENSET, faults=[
        (1.0, "grid lost", 22.0, 0.5), (6.5, "inverter restarts", 1.0, 0.5), (12.0, "power cycle", 2.0, 0.5)]),
    "board without power while the island stands": Storm(3, ISLANDING | TRIP, faults=[
        (1.0, "grid lost", 20.0, 0.5), (6.0, "power cycle", 1.5, 0.5), (16.0, "load step", 1.0, 0.2)]),
    "board without power while a trip is latched, host killed": Storm(4, TRIP, order_w=3_000, faults=[
        (2.0, "emergency stop", 3.0, 0.5), (6.0, "power cycle", 2.0, 0.5), (7.0, "host killed", 9.0, 0.5)]),
    "surge, noise, slow answers, and the BMS cuts everything": Storm(5, 0, noise=0.05, faults=[
        (2.0, "load step", 1.0, 0.6), (5.0, "bms cut", 6.0, 0.0), (3.0, "slow replies", 15.0, 0.5)]),
    "brown-out of 200 ms, cloud, cable": Storm(6, TRIP, pv_w=3_000.0, faults=[
        (2.0, "brown-out", 0.2, 0.5), (2.1, "cloud", 8.0, 0.5), (4.0, "bus cut", 12.0, 0.5)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_faults_that_belong_together(tmp_path, _interpreter, name):
    print(TOGETHER[name])
    storms.play(tmp_path, TOGETHER[name])


@pytest.mark.parametrize("seed", (11, 29))
def test_a_site_holds_its_rules_under_faults_that_come_together_and_comes_back(tmp_path, _interpreter, seed):
    storm = storms.draw(seed)
    print(storm)
    storms.play(tmp_path, storm)
