"""The board's clock against the host's: how near the mapping comes, and what upsets it not."""

import json
import math
import random

import pytest

from forerun.link.clock import DRIFT_PPM, BoardClock


class Crystal:
    """A board whose clock runs fast by so many ppm, behind a line with a fixed delay and jitter in each direction."""

    def __init__(self, seed: int, ppm: float, jitter_us: float, start_us: int = 5_000_000):
        self.chance, self.ppm, self.jitter_us, self.start_us = random.Random(seed), ppm, jitter_us, start_us

    def board_us(self, host_us: float) -> int:
        return self.start_us + round(host_us * (1 + self.ppm / 1e6))

    def beat(self, clock: BoardClock, host_us: float) -> bool:
        there, back = (200 + self.chance.uniform(0, self.jitter_us) for _ in range(2))
        rx_us = self.board_us(host_us + there)
        tx_us = self.board_us(host_us + there + 300)
        return clock.observe(round(host_us), rx_us, tx_us, round(host_us + there + 300 + back))


def rms_us(crystal: Crystal, clock: BoardClock, host_times: list[float]) -> float:
    errors = [clock.host_us(crystal.board_us(at))[0] - at for at in host_times]
    return math.sqrt(sum(error * error for error in errors) / len(errors))


@pytest.mark.parametrize("ppm", [-80, 0, 37])
def test_within_a_minute_and_a_millisecond_of_jitter(ppm):
    worst = 0.0
    for seed in range(8):
        crystal, clock = Crystal(seed, ppm, 1000), BoardClock()
        for quarter in range(241):  # as often as a host asks in its first minute
            crystal.beat(clock, quarter * 0.25e6)
        worst = max(worst, rms_us(crystal, clock, [60e6 + 1e5 * i for i in range(10)]))
    print(json.dumps({"bench": "clock_played", "ppm": ppm, "worst_rms_us": round(worst, 1)}))
    assert worst <= 50


def test_what_it_says_of_itself_is_true():
    for seed in range(20):
        crystal, clock = Crystal(seed, 60, 3000), BoardClock()
        crystal.beat(clock, 0)
        for second in (1, 2, 5, 60, 400):
            for at in (-30e6, second * 1e6, second * 1e6 + 500e6):
                host_us, half_us = clock.host_us(crystal.board_us(at))
                assert abs(host_us - at) <= half_us, (seed, second, at)
            crystal.beat(clock, second * 1e6)
    assert clock.host_us(crystal.board_us(400e6))[1] < 3000


def test_there_and_back_is_the_same_moment():
    crystal, clock = Crystal(3, 50, 500), BoardClock()
    for second in range(100):
        crystal.beat(clock, second * 1e6)
    for host_us in (0, 99_000_000, 3_600_000_000):
        assert abs(clock.host_us(clock.board_us(host_us))[0] - host_us) <= 1


def test_a_board_that_has_run_for_years_is_mapped_as_well():
    uptime_us = 49_710 * 86_400 * 1_000_000  # over the wrap of 32-bit milliseconds and of 2**30 of them, many times
    crystal, clock = Crystal(4, 20, 1000, uptime_us), BoardClock()
    for quarter in range(241):
        crystal.beat(clock, quarter * 0.25e6)
    assert rms_us(crystal, clock, [60e6]) <= 50


def test_times_that_cannot_be_are_not_kept():
    clock = BoardClock()
    assert not clock.observe(1000, 500, 400, 2000), "it answered before it was asked"
    assert not clock.observe(1000, 500, 900, 1100), "the round trip is shorter than the stay"
    assert not clock.known
    with pytest.raises(LookupError):
        clock.host_us(5)


def test_one_exchange_is_enough_to_begin_with():
    crystal, clock = Crystal(5, DRIFT_PPM, 0), BoardClock()
    assert crystal.beat(clock, 0) and clock.known
    host_us, half_us = clock.host_us(crystal.board_us(1e6))
    assert abs(host_us - 1_000_000) <= half_us <= 200 + 2 * DRIFT_PPM + 5
