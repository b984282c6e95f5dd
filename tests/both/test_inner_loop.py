"""The inner loop: its law on every interpreter, and its machine code equal to it where there is a native emitter."""

from array import array

from forerun_board.control import fast, inner
from forerun_board.control.config import Config
from forerun_board.drivers import analog
from lane import IS_MICROPYTHON, SMALL_INT_BITS, Chance

try:
    from micropython import heap_lock, heap_unlock
except ImportError:

    def heap_lock():
        pass

    def heap_unlock():
        pass


try:
    from forerun_board.hal.inner_viper import tick as fast_tick
except (ImportError, SyntaxError):  # CPython, and the WebAssembly port
    fast_tick = None

SEED = 1000
# A half cycle of a sine in ten samples, thousandths.
SINE = (0, 309, 588, 809, 951, 1000, 951, 809, 588, 309)
ONE = 256 * 230, 256 * 20  # 230 mV and 20 mA a count


def state(limit_w=10_000, power_max_w=30_000, kp=128, ki=3_276, droop=0, **settings):
    config = Config()
    config.voltage_gain_q8, config.current_gain_q8 = ONE
    config.stage_kp_q8, config.stage_ki_q16, config.stage_droop_q10 = kp, ki, droop
    for name in settings:
        setattr(config, name, settings[name])
    values = analog.commissioned(config)
    values[inner.IMPORT_LIMIT_W] = limit_w
    values[inner.POWER_MAX_W] = power_max_w
    values[inner.LEASE] = 1 << 29
    return values


def counts(number, peak, zero=2048):
    """What an ADC reads at sample `number` of a sine with this peak."""
    sign = 1 if number // 10 % 2 == 0 else -1
    return zero + sign * peak * SINE[number % 10] // 1000


def play(values, steps, u_peak, i_peak, start=0, zero=2048):
    for number in range(start, start + steps):
        inner.tick(values, counts(number, u_peak, zero), counts(number, i_peak, zero))
    return values[inner.IMPORT_BIASED_W] - inner.BIAS_W


def warm(values):
    values[inner.STEPS] = inner.WARM
    return values


def test_import_is_the_power_of_the_half_cycle_with_its_sign():
    # 1000 counts of 230 mV and 500 of 20 mA at their peak: 162.6 V, 7.07 A effective.
    for phases, reverse, expected_w in ((1, 0, 1_150), (3, 0, 3_450), (1, 1, -1_150)):
        values = state(ct_phases=phases, ct_reversed=reverse)
        assert abs(play(values, 40, 1000, 500) - expected_w) <= expected_w // 100 + 20, (phases, reverse)
        assert abs(play(values, 40, 1000, -500) + expected_w) <= abs(expected_w) // 100 + 20
    values = state(ct_phases=1)
    at_once = [play(values, 1, 1000, 500, 100 + number) for number in range(10)]
    assert at_once[0] < 100 and at_once[4] > 400 and abs(at_once[9] - 1_150) <= 30, "half a cycle, and it is all there"


def test_zeros_are_found_while_the_loop_warms_up_and_give_no_power():
    values = state(ct_phases=1)
    for number in range(inner.WARM):
        assert inner.tick(values, counts(number, 1000, 2100), counts(number, 1400, 2010)) == 0
    assert abs((values[inner.VOLTAGE_ZERO_Q16] >> 16) - 2100) < 30
    for _ in range(3):
        play(values, inner.WARM, 1000, 500, 0, 2100)
    assert abs((values[inner.VOLTAGE_ZERO_Q16] >> 16) - 2100) <= 3
    assert abs(play(values, 20, 1000, 500, 0, 2100) - 1_150) <= 40


def test_effective_values_and_their_limits():
    values = warm(state(ct_phases=1, trip_current_ma=7_300, trip_voltage_mv=170_000))
    play(values, 40, 1000, 500)
    assert abs(fast.effective(values[inner.VOLTAGE_SQUARES], ONE[0]) - 162_600) < 1_700
    assert abs(fast.effective(values[inner.CURRENT_SQUARES], ONE[1]) - 7_071) < 80
    assert values[inner.TRIPPED] == 0
    play(values, 10, 1000, 530)
    assert values[inner.TRIPPED] == 1, "7.5 A, within half a cycle"
    play(values, 20, 1000, 500)
    values[inner.TRIPPED] = 0
    play(values, 10, 1070, 500)
    assert values[inner.TRIPPED] == 2
    assert inner.tick(values, 2048, 2048) == 0, "it stays open"


def test_whole_roots():
    for square in (0, 1, 2, 3, 4, 15, 16, 17, 99, 100, 101, 65_535, 65_536, (1 << 30) - 1):
        found = fast.root(square)
        assert found * found <= square < (found + 1) * (found + 1), square


def test_import_comes_back_under_its_limit_and_stays():
    values = state()
    power_w, held = 0, []
    for _ in range(1500):  # ms; the stage follows at once, the load is 25 kW
        power_w = inner.step(values, 25_000 - power_w)
        held.append(25_000 - power_w)
    assert max(held[200:]) <= 10_020 and abs(held[-1] - 10_000) <= 5, (max(held[200:]), held[-1])


def test_integral_does_not_wind_up_while_the_power_is_at_its_bound():
    values = state(power_max_w=5_000)
    for _ in range(5_000):
        assert inner.step(values, 40_000) <= 5_000
    steps = 0
    while inner.step(values, 9_000) > 0:
        steps += 1
    assert steps < 200, "it comes down within milliseconds"


def test_droop_adds_below_and_takes_away_above_the_nominal_frequency():
    for import_w, millihz, expected_w in ((12_000, 49_800, 2_000 + 2_000), (13_000, 50_200, 3_000 - 2_000)):
        values = state(kp=256, ki=0, droop=10_240)
        values[inner.FREQUENCY_MILLIHZ] = millihz
        assert inner.step(values, import_w) == expected_w


def test_without_an_order_it_gives_nothing():
    values = state()
    values[inner.LEASE] = 2
    assert inner.step(values, 25_000) > 0 and inner.step(values, 25_000) > 0
    assert inner.step(values, 25_000) == 0 and values[inner.INTEGRAL_Q8] == 0
    values[inner.LEASE] = 1
    assert inner.step(values, 25_000) > 0


def test_machine_code_is_equal_to_the_law_and_neither_allocates():
    if IS_MICROPYTHON and SMALL_INT_BITS == 63:
        assert fast_tick is not None, "the unix port compiles viper"
    chance = Chance(SEED)
    for case in range(60):
        plain = state(chance.below(50_000), 1 + chance.below(100_000), chance.below(2_561), chance.below(6_554),
                      chance.below(100_001), ct_phases=1 + chance.below(3), ct_reversed=chance.below(2),
                      voltage_gain_q8=1 + chance.below(100_000), current_gain_q8=1 + chance.below(10_000))  # fmt: skip
        if chance.one_in(4):
            plain[inner.CURRENT_MAX] = chance.below(1 << 26)
        plain[inner.FREQUENCY_MILLIHZ] = 40_000 + chance.below(20_000)
        plain[inner.STEPS] = inner.WARM - chance.below(40)
        plain[inner.LEASE] = chance.below(200)
        quick = array("i", plain)
        for number in range(100):
            u, i = chance.below(4_096), chance.below(4_096)
            if chance.one_in(2):
                u, i = counts(number, 1_900), counts(number, 1_000)
            heap_lock()
            try:
                wanted = inner.tick(plain, u, i)
                got = fast_tick(quick, u, i) if fast_tick else wanted
            finally:
                heap_unlock()
            assert got == wanted, "seed %d case %d step %d: %d, not %d" % (SEED, case, number, got, wanted)
            assert not fast_tick or quick == plain, "seed %d case %d step %d" % (SEED, case, number)
            assert 0 <= wanted <= plain[inner.POWER_MAX_W]
