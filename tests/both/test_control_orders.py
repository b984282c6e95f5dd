"""What the board wants to do: lease before plan before fallback, and the announced step."""

from control_scene import Scene
from forerun_board.control.plan import CAPACITY
from forerun_wire import messages as m


def _plan(scene, points, elapsed_s=0, plan_id=7):
    plan = scene.controller.plan
    for index in range(len(points)):
        plan.gather(plan_id, index, points[index][0], points[index][1], points[index][2])
    assert plan.complete(plan_id, len(points))
    plan.commit(plan_id, len(points), elapsed_s)


def test_a_lease_ends_in_the_fallback_and_never_in_the_last_value():
    scene = Scene()
    scene.tick()
    scene.events()
    scene.controller.lease.grant(m.HOLD_BATTERY, 4_000, 120)
    rows = [
        (50, "->", 4_000, m.LEASED),
        (50, "->", 4_000, m.LEASED),
        (50, "->", 0, m.IDLE),
        (50, "->", 0, m.IDLE),
    ]
    scene.play("dt -> setpoint_w state", rows)
    assert scene.events() == [(m.LEASE_ENDED, 4_000, m.HOLD_BATTERY)]


def test_hold_pcc_follows_the_load():
    scene = Scene()
    scene.controller.lease.grant(m.HOLD_PCC, 2_000, 60_000)
    rows = [
        (50, 9_000, 0, "->", 7_000),
        (50, 2_000, 7_000, "->", 7_000),
        (50, -1_000, 7_000, "->", 4_000),
    ]
    scene.play("dt pcc_import_w active_power_w -> setpoint_w", rows)


def test_self_consumption_is_a_commissioned_fallback():
    scene = Scene(fallback=1)
    scene.play(
        "dt pcc_import_w active_power_w -> setpoint_w state",
        [(50, 3_000, 0, "->", 3_000, m.FALLBACK), (50, -6_000, 3_000, "->", -3_000, m.FALLBACK)],
    )


def test_a_lease_goes_before_the_plan_and_the_plan_goes_on_underneath():
    scene = Scene()
    _plan(scene, [(1, m.HOLD_BATTERY, 1_000), (1, m.HOLD_BATTERY, 2_000), (1, m.HOLD_BATTERY, 3_000)])
    scene.controller.lease.grant(m.HOLD_BATTERY, 9_000, 1_500)
    seen = []
    for _ in range(40):
        controller = scene.tick(100)
        if not seen or seen[-1] != (controller.setpoint_w, controller.state, controller.plan.step_index):
            seen.append((controller.setpoint_w, controller.state, controller.plan.step_index))
    assert seen == [
        (9_000, m.LEASED, 0),
        (9_000, m.LEASED, 1),
        (2_000, m.PLANNED, 1),
        (3_000, m.PLANNED, 2),
        (0, m.IDLE, -1),
    ], seen
    assert scene.codes() == [m.INVERTER_AWAKE, m.LEASE_ENDED, m.PLAN_ENDED]


def test_a_plan_that_began_earlier_or_begins_later_finds_its_place():
    points = [(10, m.HOLD_BATTERY, 1_000), (10, m.HOLD_BATTERY, 2_000)]
    for elapsed_s, steps in ((0, (0, 1, 1)), (9, (1, -1, -1)), (4, (0, 1, -1)), (-9, (-1, 0, 0)), (25, (-1, -1, -1))):
        scene = Scene()
        _plan(scene, points, elapsed_s)
        seen = []
        for _ in range(3):
            scene.tick(900)
            seen.append(scene.tick(4_600).plan.step_index)
        assert tuple(seen) == steps, (elapsed_s, seen)


def test_a_long_round_may_pass_several_segments():
    scene = Scene()
    _plan(scene, [(2, 0, index) for index in range(CAPACITY)])
    scene.tick(50)
    controller = scene.tick(60_000)
    assert controller.plan.step_index == 30 and controller.setpoint_w == 30
    for _ in range(3):
        scene.tick(60_000)
    assert scene.tick(60_000).plan.step_index == -1


def test_a_plan_with_a_gap_is_not_complete_and_another_id_begins_anew():
    scene = Scene()
    plan = scene.controller.plan
    plan.gather(1, 0, 60, 0, 5)
    plan.gather(1, 2, 60, 0, 5)
    assert not plan.complete(1, 3)
    plan.gather(1, 1, 60, 0, 5)
    assert plan.complete(1, 3) and not plan.complete(2, 3)
    plan.gather(2, 0, 60, 0, 5)
    assert plan.complete(2, 1) and not plan.complete(2, 2)


def test_a_plan_being_sent_does_not_disturb_the_one_being_played():
    scene = Scene()
    _plan(scene, [(100, m.HOLD_BATTERY, 1_000)])
    assert scene.tick().setpoint_w == 1_000
    scene.controller.plan.gather(8, 0, 100, m.HOLD_BATTERY, 2_000)
    assert scene.tick().setpoint_w == 1_000
    scene.controller.plan.commit(8, 1, 0)
    assert scene.tick().setpoint_w == 2_000
    scene.controller.plan.clear()
    assert scene.tick().setpoint_w == 0


def test_the_plan_carries_a_dead_host():
    scene = Scene(host_lost_ms=1_000)
    _plan(scene, [(60, m.HOLD_BATTERY, 1_500)])
    scene.tick()
    scene.events()
    scene.silent = ("host_age_ms",)
    for _ in range(60):
        controller = scene.tick(500)
    assert (controller.setpoint_w, controller.state) == (1_500, m.PLANNED)
    assert scene.codes() == [m.HOST_LOST]
    for _ in range(70):
        controller = scene.tick(500)
    assert (controller.setpoint_w, controller.state) == (0, m.FALLBACK)
    scene.silent = ()
    assert scene.tick().state == m.IDLE
    assert scene.codes() == [m.PLAN_ENDED, m.HOST_BACK]


def test_an_announced_step_keeps_the_inverter_awake_until_it_is_over():
    scene = Scene()
    scene.tick(50, inverter_state=0)
    controller = scene.controller
    controller.prepare.start(12_000, 10, 5, controller.events)
    assert scene.events() == [(m.PREPARE_STARTED, 12_000, 10)]
    assert scene.tick(1000, inverter_state=0).wake
    assert scene.tick(1000, inverter_state=1).wake
    assert controller.state == m.PREPARING and not controller.prepare.ready
    assert scene.tick(1000, inverter_state=2).wake, "it must not fall asleep again before the step"
    assert scene.events() == [(m.INVERTER_AWAKE, 0, 0), (m.PREPARE_READY, 12_000, 8)]
    for _ in range(11):
        assert scene.tick(1000).prepare.active
    assert not scene.tick(1000).prepare.active
    assert scene.events() == [(m.PREPARE_ENDED, 12_000, 0)]
    assert not controller.wake


def test_nobody_is_woken_while_the_site_is_stopped_or_dark():
    for inputs, voltage_mv in ((1, 230_000), (2, 230_000), (0, 0)):
        scene = Scene()
        scene.controller.prepare.start(12_000, 10, 500, scene.controller.events)
        for _ in range(5):
            scene.tick(100, inverter_state=0, inputs=inputs, pcc_voltage_mv=voltage_mv)
        assert not scene.controller.wake


def test_headroom_is_there_before_the_step_and_gone_once_it_is_seen():
    scene = Scene(import_limit_w=15_000, import_margin_w=0, export_limit_w=2_000)
    controller = scene.controller
    controller.prepare.start(12_000, 30, 60, controller.events)
    power_w = 0
    imports = []
    for tick in range(45):  # seconds; the load of 6 kW becomes 18 kW at 35 s, five late
        load_w = 6_000 if tick < 35 else 18_000
        imports.append(load_w - power_w)
        power_w = scene.tick(1000, pcc_import_w=load_w - power_w, active_power_w=power_w).setpoint_w
    # From 10 s before, one for the ramp, and the round on: 15 - 12 kW of import; with the step that is 15 kW.
    assert imports == [6_000] * 20 + [3_000] * 15 + [15_000] * 10, imports


def test_headroom_for_a_job_that_never_comes_is_given_up():
    scene = Scene(import_limit_w=15_000, import_margin_w=0)
    controller = scene.controller
    controller.prepare.start(12_000, 5, 3_600, controller.events)
    held = 0
    for _ in range(120):
        held += scene.tick(1000, pcc_import_w=6_000, active_power_w=0).prepare.headroom_w > 0
    assert 60 <= held <= 70 and controller.prepare.active


def test_a_step_that_is_taken_back_is_waited_for_no_longer():
    for start_in_s in (3_000, 5):
        scene = Scene(import_limit_w=15_000, import_margin_w=0)
        prepare = scene.controller.prepare
        prepare.start(12_000, start_in_s, 3_600, scene.controller.events)
        scene.tick(1000, pcc_import_w=6_000)
        scene.events()
        prepare.start(0, 0, 1, scene.controller.events)
        assert not scene.tick(1000, pcc_import_w=6_000).prepare.active and prepare.headroom_w == 0
        assert scene.events() == [(m.PREPARE_ENDED, 12_000, 0)] and not scene.controller.wake
        prepare.start(0, 0, 1, scene.controller.events)  # once more changes nothing
        assert not scene.tick(1000).prepare.active and scene.events() == []


def test_headroom_never_asks_for_more_export_than_is_allowed():
    scene = Scene(import_limit_w=15_000, import_margin_w=0, export_limit_w=2_000)
    scene.controller.prepare.start(30_000, 1, 60, scene.controller.events)
    controller = scene.tick(1000, pcc_import_w=6_000, active_power_w=0)
    assert controller.setpoint_w == 8_000, "2 kW of export at most, however large the step"
