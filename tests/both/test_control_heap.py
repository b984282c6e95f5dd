"""A decision allocates nothing: on MicroPython it runs with the heap locked, whatever happens in it."""

from control_scene import Scene
from forerun_board.control.functions import Functions
from forerun_board.control.islanding import Shedding
from forerun_wire import messages as m
from lane import Chance

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython: the results are compared, the heap is not

    def heap_lock():
        pass

    def heap_unlock():
        return 0


SEED = 20260711
ROUNDS = 600


def _largest(scene):
    """Settings and orders at the far end of their ranges, where a product could leave 31 bits."""
    scene.set(
        import_limit_w=1_000_000, export_limit_w=1_000_000, ramp_w_per_s=1_000_000, charge_max_w=1_000_000,
        discharge_max_w=1_000_000, stale_ms=60_000, host_lost_ms=600_000, import_margin_w=10_000, fallback=1,
        pv_meter_unit=3, genset_meter_unit=4, export_margin_w=10_000, surge_reserve_permille=1000,
    )  # fmt: skip
    plan = scene.controller.plan
    for index in range(120):
        plan.gather(1, index, 604_800 if index else 1, index % 2, 1_000_000 if index % 3 else -1_000_000)
    plan.commit(1, 120, -604_800)


def _scatter(chance, image):
    """A measurement of anything a driver can deliver."""
    image.pcc_import_w = chance.below(20_000_001) - 10_000_000
    image.active_power_w = chance.below(20_000_001) - 10_000_000
    image.pcc_voltage_mv = chance.below(500_000_000)
    image.soc_permille = chance.below(1001)
    image.charge_max_w = chance.below(10_000_001)
    image.discharge_max_w = chance.below(10_000_001)
    image.inverter_state = chance.below(4)
    image.inputs = chance.below(64) if chance.one_in(10) else 0
    image.frequency_millihz = 45_000 + chance.below(10_000)
    image.cell_decic = chance.below(1_000) - 300
    image.air_decic = chance.below(1_000) - 300
    image.humidity_permille = chance.below(1_002) - 1
    image.bus_mv = chance.below(300_000)
    image.bus_millihz = chance.below(60_000)
    image.pv_w = chance.below(20_000_001) - 10_000_000
    image.genset_w = chance.below(20_000_001) - 10_000_000


def _play_locked(scene, dt_of):
    chance = Chance(SEED)
    controller, image = scene.controller, scene.image
    image.pv_age_ms = image.genset_age_ms = 0
    orders = 0
    for number in range(ROUNDS):
        _scatter(chance, image)
        dt_ms = dt_of(chance)
        fresh = not chance.one_in(8)
        if number % 50 == 10:
            controller.lease.grant(number % 2, 1_000_000 - number, 1 + chance.below(86_400_000))
        if number % 50 == 30:
            controller.lease.remaining_ms = 0
            controller.prepare.start(1_000_000, chance.below(86_401), 1 + chance.below(86_400), controller.events)
        heap_lock()
        try:
            image.begin(dt_ms)
            if fresh:
                image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.host_age_ms = 0
            controller.step(image)
            while controller.events.pop():
                orders += controller.events.code
        finally:
            heap_unlock()
        assert -1_000_000 <= controller.setpoint_w <= 1_000_000, "seed %d round %d" % (SEED, number)
    return orders


def test_a_decision_allocates_nothing_at_the_usual_rate():
    scene = Scene()
    scene.controller.lease.grant(m.HOLD_PCC, 0, 60_000)
    assert _play_locked(scene, lambda chance: 20 + chance.below(80)) > 0


def test_a_decision_allocates_nothing_at_the_ends_of_all_ranges():
    scene = Scene()
    _largest(scene)
    assert _play_locked(scene, lambda chance: chance.below(70_000)) > 0


def test_commissioned_functions_allocate_nothing_either():
    for largest, mask in ((0, 2047), (1, 2047), (0, 511), (1, 511)):
        scene = Scene()
        if largest:
            _largest(scene)
            for _, name, _, _, high, _ in m.SETTINGS[20:]:
                setattr(scene.config, name, high)
        scene.set(functions=mask, genset_tries=2, genset_exercise_h=1, genset_start_soc_permille=400)
        scene.controller.commission(Functions(scene.config))
        span = 70_000 if largest else 100
        assert _play_locked(scene, lambda chance, span=span: chance.below(span)) > 0


def test_shedding_allocates_nothing():
    shed = Shedding(3, 600)
    events = Scene().controller.events
    chance = Chance(SEED)
    levels = set()
    for _ in range(ROUNDS):
        load_w, available_w = chance.below(10_000_000), chance.below(10_000_000)
        energy_wh, dt_ms = chance.below(1_000_000), chance.below(60_000)
        heap_lock()
        try:
            shed.step(load_w, available_w, energy_wh, dt_ms, events)
            events.pop()
        finally:
            heap_unlock()
        levels.add(shed.level)
    assert len(levels) > 1


def test_the_lock_would_notice():
    try:
        import micropython
    except ImportError:
        return
    scene = Scene()
    micropython.heap_lock()
    try:
        scene.codes()  # makes a list
        noticed = False
    except MemoryError:
        noticed = True
    finally:
        micropython.heap_unlock()
    assert noticed
