"""The watchdog is fed only when everything moves."""

from board_bench import Bench
from forerun_board.alive import Alive


def test_each_of_the_three_has_to_move():
    fed = []
    alive = Alive(lambda: fed.append(1))
    alive.round(1)
    assert not fed, "no pass of the link yet"
    alive.link()
    alive.round(2)
    assert len(fed) == 1
    alive.round(3)
    assert len(fed) == 1, "the link stands still"
    alive.link()
    alive.round(3)
    assert len(fed) == 2, "the bus moved in the round before"
    alive.link()
    alive.round(3)
    assert len(fed) == 2, "the bus stands still"
    alive.round(4)
    assert len(fed) == 3


def test_a_board_that_works_is_fed_and_one_whose_link_hangs_is_not():
    bench = Bench()
    bench.run(3_000)
    fed = bench.hal.fed
    assert fed >= 50, fed
    bench.board.cycle.alive.link = lambda: None
    bench.run(6_000)
    assert bench.hal.fed - fed <= 1 and bench.board.cycle.rounds > 110
    bench.end()
