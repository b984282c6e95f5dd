"""The real control code fed with integers that refuse to leave a board's 31 bits, on inputs Hypothesis looks for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.functions import Functions
from forerun_board.control.image import AGE_MAX_MS, POWER_MAX_W, Image
from forerun_board.control.islanding import Shedding
from forerun_board.control.plan import CAPACITY, DURATION_MAX_S, START_MAX_S
from forerun_wire import messages as m

LOWEST, HIGHEST = -(2**30), 2**30 - 1


class Checked(int):
    """An int whose every result must fit a small integer of a 32-bit MicroPython."""

    __slots__ = ()


def _refuse_beyond(name):
    plain = getattr(int, name)

    def operation(self, *others):
        result = plain(self, *others)
        if result is NotImplemented or isinstance(result, bool):
            return result
        assert LOWEST <= result <= HIGHEST, f"{name[2:-2]} of {int(self)} and {[int(o) for o in others]} is {result}"
        return Checked(result)

    return operation


for _name in ("add", "sub", "mul", "floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
    setattr(Checked, f"__{_name}__", _refuse_beyond(f"__{_name}__"))
    setattr(Checked, f"__r{_name}__", _refuse_beyond(f"__r{_name}__"))
for _name in ("neg", "abs", "pos", "invert"):
    setattr(Checked, f"__{_name}__", _refuse_beyond(f"__{_name}__"))

power_w = st.integers(-POWER_MAX_W, POWER_MAX_W) | st.sampled_from([-POWER_MAX_W, 0, POWER_MAX_W])
order_w = st.integers(-1_000_000, 1_000_000)
tick = st.fixed_dictionaries(
    {
        "dt_ms": st.integers(0, 70_000) | st.sampled_from([20, 50, 65_535]),
        "period_ms": st.integers(20, 65_535),
        "inputs": st.sampled_from([0, 0, 0, 1, 2, 3]) | st.integers(0, 63),
        "now_s": st.integers(0, 2**29),
        "cell_decic": st.integers(-32_768, 32_767),
        "air_decic": st.integers(-32_768, 32_767),
        "humidity_permille": st.integers(-1, 65_535),
        "bus_mv": st.integers(0, 500_000_000),
        "bus_millihz": st.integers(0, 500_000_000),
        "pcc_import_w": power_w,
        "active_power_w": power_w,
        "pv_w": power_w,
        "genset_w": power_w,
        "pcc_voltage_mv": st.integers(0, 500_000_000) | st.integers(100_000, 300_000),
        "frequency_millihz": st.integers(0, 500_000_000) | st.integers(45_000, 55_000),
        "soc_permille": st.integers(0, 1000),
        "charge_max_w": st.integers(0, POWER_MAX_W),
        "discharge_max_w": st.integers(0, POWER_MAX_W),
        "inverter_state": st.sampled_from([0, 1, 2, 2, 2, 3]),
        "fresh": st.booleans(),
    }
)
commissioned = st.fixed_dictionaries({name: st.integers(low, high) for _, name, _, low, high, _ in m.SETTINGS})
lease = st.tuples(st.sampled_from([0, 1]), order_w, st.integers(100, 86_400_000))
segment = st.tuples(st.integers(1, DURATION_MAX_S), st.sampled_from([0, 1]), order_w)
announced = st.tuples(order_w, st.integers(0, 86_400), st.integers(1, 86_400))


def _checked(values):
    return [Checked(value) for value in values]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    commissioned,
    st.none() | lease,
    st.lists(segment, max_size=4),
    st.integers(-START_MAX_S, START_MAX_S),
    st.none() | announced,
    st.lists(tick, min_size=1, max_size=12),
)
def test_no_intermediate_leaves_31_bits(values, leased, segments, elapsed_s, step, ticks):
    config = Config()
    for name, value in values.items():
        setattr(config, name, Checked(value))
    config.volt_watt_end_mv = max(config.volt_watt_end_mv, config.volt_watt_start_mv + 1)
    controller, image = Controller(config), Image()
    if config.functions:
        controller.commission(Functions(config))
    plan = controller.plan
    plan._active, plan._gathered = _checked([0] * (3 * CAPACITY)), _checked([0] * (3 * CAPACITY))
    if leased:
        controller.lease.grant(*_checked(leased))
    if segments:
        for index, (duration_s, mode, value_w) in enumerate(segments):
            plan.gather(1, index, Checked(duration_s), Checked(mode), Checked(value_w))
        plan.commit(1, len(segments), Checked(elapsed_s))
    if step:
        controller.prepare.start(*_checked(step), controller.events)
    for age in ("pcc_age_ms", "inverter_age_ms", "battery_age_ms", "pv_age_ms", "genset_age_ms", "host_age_ms"):
        setattr(image, age, Checked(AGE_MAX_MS))
    for inputs in ticks:
        image.begin(Checked(inputs["dt_ms"]))
        for name, value in inputs.items():
            if name not in ("dt_ms", "fresh"):
                setattr(image, name, Checked(value))
        if inputs["fresh"]:
            for age in ("pcc_age_ms", "inverter_age_ms", "battery_age_ms", "pv_age_ms", "genset_age_ms", "host_age_ms"):
                setattr(image, age, Checked(0))
        controller.step(image)
        assert -1_000_000 <= controller.setpoint_w <= 1_000_000
        if controller.outputs & 1:
            assert controller.setpoint_w == 0
        if controller.command and inputs["inputs"] == 0 and controller.bound_by == m.BOUND_NONE:
            assert controller.window.low_w <= controller.setpoint_w <= controller.window.high_w


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(0, 8),
    st.integers(0, 3600),
    st.lists(st.tuples(power_w, power_w, st.integers(0, 2**29), st.integers(0, 60_000)), min_size=1, max_size=20),
)
def test_no_intermediate_of_load_shedding_leaves_31_bits(groups, margin_s, ticks):
    shed, events = Shedding(Checked(groups), Checked(margin_s)), Controller(Config()).events
    for load_w, available_w, energy_wh, dt_ms in ticks:
        shed.step(Checked(load_w), Checked(available_w), Checked(energy_wh), Checked(dt_ms), events)
        assert 0 <= shed.level <= groups


def test_the_checked_integer_notices():
    assert Checked(1 << 29) + (1 << 28) == 3 << 28
    for operation in (lambda: Checked(1_000_000) * 2048, lambda: 2048 * Checked(1_000_000), lambda: -Checked(LOWEST)):
        try:
            operation()
        except AssertionError:
            continue
        raise AssertionError("an intermediate beyond 31 bits went through")
