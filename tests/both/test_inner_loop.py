"""The inner loop: its law on every interpreter, and its machine code equal to it where there is a native emitter."""

from array import array

from forerun_board.control import inner
from lane import IS_MICROPYTHON, SMALL_INT_BITS, Chance

try:
    from micropython import heap_lock, heap_unlock
except ImportError:

    def heap_lock():
        pass

    def heap_unlock():
        pass


try:
    from forerun_board.hal.inner_viper import step as fast_step
except (ImportError, SyntaxError):  # CPython, and the WebAssembly port
    fast_step = None

SEED = 1000


def state(limit_w=10_000, power_max_w=30_000, kp=128, ki=3_276, droop=0):
    values = array("i", [0] * inner.SIZE)
    values[inner.IMPORT_LIMIT_W] = limit_w
    values[inner.POWER_MAX_W] = power_max_w
    values[inner.KP_Q8] = kp
    values[inner.KI_Q16] = ki
    values[inner.DROOP_Q10] = droop
    values[inner.CURRENT_MAX_MA] = 60_000
    values[inner.VOLTAGE_MAX_MV] = 264_500
    return values


def test_import_comes_back_under_its_limit_and_stays():
    values = state()
    power_w, held = 0, []
    for _ in range(1500):  # ms; the stage follows at once, the load is 25 kW
        power_w = inner.step(values, 25_000 - power_w, 50_000, 0, 230_000)
        held.append(25_000 - power_w)
    assert max(held[200:]) <= 10_020 and abs(held[-1] - 10_000) <= 5, (max(held[200:]), held[-1])


def test_integral_does_not_wind_up_while_the_power_is_at_its_bound():
    values = state(power_max_w=5_000)
    for _ in range(5_000):
        assert inner.step(values, 40_000, 50_000, 0, 230_000) <= 5_000
    steps = 0
    while inner.step(values, 9_000, 50_000, 0, 230_000) > 0:
        steps += 1
    assert steps < 200, "it comes down within milliseconds"


def test_droop_adds_below_and_takes_away_above_the_nominal_frequency():
    low, high = state(kp=256, ki=0, droop=10_240), state(kp=256, ki=0, droop=10_240)
    assert inner.step(low, 12_000, 49_800, 0, 230_000) == 2_000 + 2_000
    assert inner.step(high, 13_000, 50_200, 0, 230_000) == 3_000 - 2_000


def test_trip_is_latched_and_gives_nothing():
    for current_ma, voltage_mv, cause in ((60_001, 230_000, 1), (0, 264_501, 2)):
        values = state()
        assert inner.step(values, 25_000, 50_000, 60_000, 264_500) > 0
        assert inner.step(values, 25_000, 50_000, current_ma, voltage_mv) == 0
        assert inner.step(values, 25_000, 50_000, 0, 230_000) == 0 and values[inner.TRIPPED] == cause
        values[inner.TRIPPED] = 0
        assert inner.step(values, 25_000, 50_000, 0, 230_000) > 0


def test_machine_code_is_equal_to_the_law_and_neither_allocates():
    if IS_MICROPYTHON and SMALL_INT_BITS == 63:
        assert fast_step is not None, "the unix port compiles viper"
    chance = Chance(SEED)
    for case in range(60):
        plain = state(chance.below(50_000), 1 + chance.below(100_000), chance.below(2_561), chance.below(6_554),
                      chance.below(100_001))  # fmt: skip
        fast = array("i", plain)
        for number in range(50):
            import_w = chance.below(2_000_001) - 1_000_000
            if chance.one_in(2):
                import_w = plain[0] + chance.below(2_001) - 1_000
            hz, ma, mv = 40_000 + chance.below(20_000), chance.below(60_010), chance.below(264_600)
            heap_lock()
            try:
                wanted = inner.step(plain, import_w, hz, ma, mv)
                got = fast_step(fast, import_w, hz, ma, mv) if fast_step else wanted
            finally:
                heap_unlock()
            assert got == wanted, "seed %d case %d step %d: %d, not %d" % (SEED, case, number, got, wanted)
            assert not fast_step or fast == plain, "seed %d case %d step %d" % (SEED, case, number)
            assert 0 <= wanted <= plain[inner.POWER_MAX_W]
