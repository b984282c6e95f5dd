"""What bounds a setpoint, stage by stage, as tables of ticks."""

from control_scene import Scene
from forerun_board.control.export_hold import ExportHold
from forerun_board.control.functions import Functions
from forerun_board.control.window import Window
from forerun_wire import messages as m


def test_import_limit_feeds_the_load_forward_and_names_itself():
    scene = Scene(import_limit_w=15_000, import_margin_w=300)
    scene.play(
        "dt pcc_import_w active_power_w -> setpoint_w bound_by",
        [
            (50, 5_000, 0, "->", 0, m.BOUND_NONE),
            (50, 14_700, 0, "->", 0, m.BOUND_NONE),
            (50, 22_000, 0, "->", 9_125, m.BOUND_IMPORT_LIMIT),  # 22000 - (15000 - 300) in one round, and a quarter
            (50, 14_700, 7_300, "->", 7_300, m.BOUND_IMPORT_LIMIT),
            (50, 14_800, 7_300, "->", 7_425, m.BOUND_IMPORT_LIMIT),
            (50, 14_700, 7_300, "->", 7_302, m.BOUND_IMPORT_LIMIT),  # 100 W too much for 50 ms, with 2 s of integral
            (50, 10_000, 7_300, "->", 2_602, m.BOUND_IMPORT_LIMIT),
            (50, 5_000, 2_000, "->", 0, m.BOUND_NONE),
        ],
    )


def test_an_inverter_is_hurried_for_as_long_as_it_takes_to_answer():
    scene = Scene(import_limit_w=10_000, import_margin_w=0, export_limit_w=50_000)
    names = "dt pcc_import_w active_power_w -> setpoint_w"
    scene.play(
        names,
        [
            (50, 18_000, 0, "->", 10_000),  # 8 kW and a quarter of the way
            (20, 14_000, 2_000, "->", 10_000),  # 6 kW seem enough; the meter is newer than the inverter's 2 kW
            (50, 10_000, 8_000, "->", 8_010),  # there: nothing more, but for the trim
            (50, 10_400, 8_000, "->", 8_512),
            (150, 10_400, 8_000, "->", 8_525),
            (100, 10_400, 8_000, "->", 8_450),  # 300 ms above: it has answered, the rest is the trim's
        ],
    )
    controller = scene.tick(1000, pcc_import_w=18_000, active_power_w=0)
    assert 8_000 <= controller.setpoint_w <= 8_100, "in long rounds there is nothing to hurry"
    scene = Scene(import_limit_w=1_000, import_margin_w=0, export_limit_w=0)
    scene.play(names, [(50, 18_000, 0, "->", 18_000)])  # a quarter more would export


def test_on_a_slow_line_an_order_under_way_counts_as_arrived_and_an_older_reading_takes_nothing_back():
    """Rounds of 353 ms, 9600 baud: a look at the meter brings an order forward, the round after it reads the inverter
    on its way and the meter 70 ms later."""
    scene = Scene(import_limit_w=10_000, import_margin_w=0)
    scene.image.period_ms = 353
    scene.tick(353, pcc_import_w=6_000, active_power_w=0)
    scene.silent = ("inverter_age_ms",)  # as in a look at the meter alone
    given_w = scene.tick(130, pcc_import_w=14_000).setpoint_w
    assert given_w == 5_000, "what is needed, and a quarter more of the way"
    assert scene.tick(60, pcc_import_w=11_500).setpoint_w == given_w, "it was read before the order"
    scene.silent = ()
    needed_w = scene.tick(80, pcc_import_w=9_300, active_power_w=3_700).setpoint_w
    assert abs(needed_w - 4_300) < 60, "and a trim of some watts"
    assert abs(scene.tick(353, pcc_import_w=9_700, active_power_w=4_300).setpoint_w - 4_000) < 60, "at rest as measured"
    scene = Scene(import_limit_w=10_000, import_margin_w=0)
    scene.tick(50, pcc_import_w=6_000, active_power_w=0)
    scene.silent = ("inverter_age_ms",)
    scene.tick(30, pcc_import_w=14_000)
    scene.silent = ()
    together_w = scene.tick(20, pcc_import_w=9_300, active_power_w=3_700).setpoint_w
    assert abs(together_w - 3_000) < 60, "in short rounds they are read together"


def test_trim_closes_what_the_inverter_does_not_deliver_and_stops_at_its_bound():
    scene = Scene(import_limit_w=15_000, import_margin_w=0)
    power_w = 0
    for _ in range(400):  # an inverter that gives 97 % of what it is asked for
        controller = scene.tick(50, pcc_import_w=25_000 - power_w, active_power_w=power_w)
        power_w = controller.setpoint_w * 97 // 100
    assert abs(scene.image.pcc_import_w - 15_000) <= 10, scene.image.pcc_import_w
    for _ in range(4000):  # one that does nothing at all cannot wind the trim up without end
        controller = scene.tick(50, pcc_import_w=16_000, active_power_w=0)
    assert controller.setpoint_w == 1_000 + 5_000
    for _ in range(500):
        controller = scene.tick(50, pcc_import_w=10_000, active_power_w=0)
    assert controller.setpoint_w == 0, "and it fades once the limit no longer binds"


def test_long_rounds_settle_without_swinging():
    for dt_ms in (1000, 5000):
        scene = Scene(import_limit_w=15_000, import_margin_w=0)
        power_w, seen = 0, []
        for _ in range(14):  # an inverter that gives 95 % of what it is asked for
            power_w = scene.tick(dt_ms, pcc_import_w=21_000 - power_w, active_power_w=power_w).setpoint_w * 95 // 100
            seen.append(21_000 - power_w)
        assert abs(seen[-1] - 15_000) < 15, seen
        assert seen == sorted(seen, reverse=True), "it comes down to the limit and stays"


def test_export_limit_charges_when_it_must():
    scene = Scene(export_limit_w=4_000)
    scene.play(
        "dt pcc_import_w active_power_w -> setpoint_w bound_by",
        [
            (50, -3_000, 0, "->", 0, m.BOUND_NONE),
            (50, -9_000, 0, "->", -5_000, m.BOUND_EXPORT_LIMIT),
            (50, -4_000, -5_000, "->", -5_000, m.BOUND_EXPORT_LIMIT),
        ],
    )


def test_higher_stages_win_and_keep_their_name():
    scene = Scene(import_limit_w=10_000, import_margin_w=0)
    rows = [
        (50, 30_000, 30_000, 500, 0, "->", 25_000, m.BOUND_IMPORT_LIMIT),
        (50, 30_000, 12_000, 500, 0, "->", 12_000, m.BOUND_BATTERY),
        (50, 30_000, 12_000, 100, 0, "->", 0, m.BOUND_SOC),
        (50, 30_000, 12_000, 105, 0, "->", 0, m.BOUND_SOC),  # hysteresis of 10 permille
        (50, 30_000, 12_000, 110, 0, "->", 12_000, m.BOUND_BATTERY),
        (50, 30_000, 12_000, 110, 1, "->", 0, m.BOUND_TRIP),
        (50, 30_000, 12_000, 110, 2, "->", 0, m.BOUND_TRIP),
        (50, 30_000, 12_000, 110, 0, "->", 0, m.BOUND_TRIP),
        (50, 30_000, 12_000, 110, 4, "->", 0, m.BOUND_TRIP),
        (50, 30_000, 12_000, 110, 0, "->", 12_000, m.BOUND_BATTERY),
    ]
    scene.play("dt pcc_import_w discharge_max_w soc_permille inputs -> setpoint_w bound_by", rows)


def test_settings_bound_the_battery_as_well_as_its_bms():
    scene = Scene(charge_max_w=8_000, discharge_max_w=9_000)
    scene.controller.lease.grant(m.HOLD_BATTERY, 20_000, 60_000)
    assert scene.tick().setpoint_w == 9_000
    scene.controller.lease.grant(m.HOLD_BATTERY, -20_000, 60_000)
    assert scene.tick(50, charge_max_w=7_000).setpoint_w == -7_000
    assert scene.tick(50, charge_max_w=20_000).setpoint_w == -8_000
    assert scene.controller.bound_by == m.BOUND_BATTERY


def test_a_full_battery_is_not_charged():
    scene = Scene(soc_max_permille=900)
    scene.controller.lease.grant(m.HOLD_BATTERY, -5_000, 60_000)
    rows = [
        (50, 899, "->", -5_000, m.BOUND_NONE),
        (50, 900, "->", 0, m.BOUND_SOC),
        (50, 891, "->", 0, m.BOUND_SOC),
        (50, 890, "->", -5_000, m.BOUND_NONE),
    ]
    scene.play("dt soc_permille -> setpoint_w bound_by", rows)


def test_ramp_holds_back_what_is_wanted_but_not_what_a_limit_demands():
    scene = Scene(ramp_w_per_s=2_000, import_limit_w=15_000, import_margin_w=0)
    scene.controller.lease.grant(m.HOLD_BATTERY, 1_000, 60_000)
    rows = [
        (50, 5_000, 0, "->", 100, m.BOUND_RAMP),
        (50, 5_000, 100, "->", 200, m.BOUND_RAMP),
        (250, 5_000, 200, "->", 700, m.BOUND_RAMP),
        (250, 5_000, 700, "->", 1_000, m.BOUND_NONE),
        (50, 26_000, 1_000, "->", 14_750, m.BOUND_IMPORT_LIMIT),
        (50, 5_000, 12_000, "->", 14_650, m.BOUND_RAMP),
    ]
    scene.play("dt pcc_import_w active_power_w -> setpoint_w bound_by", rows)


def test_a_slow_ramp_in_short_rounds_loses_no_fraction():
    scene = Scene(ramp_w_per_s=10)
    scene.controller.lease.grant(m.HOLD_BATTERY, 1_000, 600_000)
    for _ in range(500):  # 10 s of 20 ms, 0.2 W each
        controller = scene.tick(20)
    assert controller.setpoint_w == 100


def test_an_inverter_that_nobody_commands_yet_is_taken_over_where_it_is():
    scene = Scene(ramp_w_per_s=2_000)
    scene.controller.lease.grant(0, 8_000, 600_000)
    scene.image.commanded = False
    assert scene.tick(50, pcc_import_w=1_000, active_power_w=6_000).setpoint_w == 6_100
    scene.image.commanded = True
    assert scene.tick(50, pcc_import_w=1_000, active_power_w=6_000).setpoint_w == 6_200


def test_an_inverter_that_does_not_run_starts_its_ramp_at_nothing():
    scene = Scene(ramp_w_per_s=2_000)
    scene.controller.lease.grant(m.HOLD_BATTERY, 5_000, 60_000)
    for _ in range(5):
        controller = scene.tick(50, inverter_state=0)
        assert (controller.setpoint_w, controller.bound_by, controller.wake) == (100, m.BOUND_INVERTER, True)
    controller = scene.tick(50, inverter_state=2)
    assert (controller.setpoint_w, controller.bound_by, controller.wake) == (200, m.BOUND_RAMP, False)
    assert scene.codes() == [m.INVERTER_AWAKE]


def test_grid_lost_after_two_samples_and_back_after_three_seconds():
    scene = Scene()
    scene.controller.lease.grant(m.HOLD_BATTERY, 5_000, 600_000)
    rows = [
        (50, 230_000, "->", 5_000, m.BOUND_NONE, m.LEASED),
        (50, 100_000, "->", 5_000, m.BOUND_NONE, m.LEASED),
        (100, 0, "->", 0, m.BOUND_GRID_LOST, m.GRID_DOWN),
        (50, 190_000, "->", 0, m.BOUND_GRID_LOST, m.GRID_DOWN),
        (1000, 230_000, "->", 0, m.BOUND_GRID_LOST, m.GRID_DOWN),
        (2950, 230_000, "->", 0, m.BOUND_GRID_LOST, m.GRID_DOWN),
        (50, 230_000, "->", 5_000, m.BOUND_NONE, m.LEASED),
    ]
    scene.play("dt pcc_voltage_mv -> setpoint_w bound_by state", rows)
    assert scene.codes() == [m.INVERTER_AWAKE, m.GRID_LOST, m.GRID_BACK]


def test_a_limit_that_cannot_be_held_is_said_once_and_so_is_its_end():
    scene = Scene(import_limit_w=15_000, discharge_max_w=1_000)
    scene.tick()
    scene.events()
    for import_w, seconds in ((20_000, 4), (14_000, 4), (20_000, 1), (14_000, 1)):
        for _ in range(seconds * 20):
            scene.tick(50, pcc_import_w=import_w)
    assert scene.events() == [(m.IMPORT_LIMIT_EXCEEDED, 20_000, 15_000), (m.IMPORT_LIMIT_HELD, 14_000, 15_000)]
    scene.tick(5000, pcc_import_w=20_000)  # a single long round is not yet a second of excess
    scene.tick(50, pcc_import_w=10_000)
    assert scene.codes() == []


def test_emergency_stop_and_door_trip_until_they_are_reset():
    scene = Scene(genset_meter_unit=4)
    scene.controller.lease.grant(m.HOLD_BATTERY, 5_000, 600_000)
    rows = [
        (50, 0, "->", 5_000, 0, m.LEASED),
        (50, 1, "->", 0, 1, m.FAULTED),
        (50, 0, "->", 0, 1, m.FAULTED),
        (50, 4, "->", 0, 1, m.FAULTED),
        (50, 0, "->", 5_000, 0, m.LEASED),
        (50, 2, "->", 0, 1, m.FAULTED),
        (50, 0, "->", 0, 1, m.FAULTED),
        (50, 4, "->", 0, 1, m.FAULTED),
        (50, 0, "->", 5_000, 0, m.LEASED),
    ]
    scene.play("dt inputs -> setpoint_w outputs state", rows)


def test_window_narrows_only_and_collapses_on_the_nearest_edge():
    window = Window()
    window.open()
    window.narrow(-10, 10, 2)
    window.narrow(-100, 100, 3)
    assert (window.low_w, window.high_w, window.low_by, window.high_by) == (-10, 10, 2, 2)
    window.narrow(20, 30, 5)
    assert (window.low_w, window.high_w) == (10, 10)
    assert window.clamp(0) == 10 and window.bound_by == 2
    assert window.clamp(10) == 10 and window.bound_by == 2, "pinned, even where it was wanted"
    window.narrow(-50, -20, 7)
    assert (window.low_w, window.high_w) == (10, 10)
    window.open()
    assert window.clamp(12_345) == 12_345 and window.bound_by == 0


def test_pv_goes_down_when_the_battery_leaves_an_export_and_comes_back_slowly():
    hold = ExportHold()
    ticks = (  # import, PV, ms; what PV may feed then
        (-3_000, 6_000, 900, 1000),  # for a second the battery may take it
        (-3_000, 6_000, 100, 450),  # 6000 - 3000 - 300 W of 6000
        (-50, 2_700, 5_000, 450),  # what regulation leaves
        (300, 2_700, 60_000, 450),
        (700, 2_700, 60_000, 450),  # nothing is given back for a minute
        (700, 2_700, 10_000, 470),
        (700, 2_700, 300, 470),
        (700, 2_700, 300, 471),
        (-1_000, 900, 1_000, 371),  # PV is not measured: a tenth at a time
        (-1_000, 900, 1_000, 271),
    )
    for import_w, pv_w, dt_ms, permille in ticks:
        hold.step(import_w, 0, pv_w, dt_ms)
        assert hold.permille == permille, (import_w, pv_w, dt_ms, hold.permille)
    for _ in range(400):
        hold.step(-900_000, 0, 0, 1_000)
    assert hold.permille == 0
    hold.release()
    assert hold.permille == 1000


def test_pv_is_held_back_by_contacts_whatever_is_commissioned_but_not_where_there_is_no_grid():
    for functions in (False, True):
        scene = Scene(export_limit_w=0)
        if functions:
            scene.controller.commission(Functions(scene.config))
        for _ in range(21):
            scene.tick(pcc_import_w=-2_000, pv_w=5_000, charge_max_w=0)
        assert scene.controller.pv_permille == 540
        assert scene.controller.outputs >> 16 == 5
        for _ in range(3):
            scene.tick(pcc_import_w=0, pv_w=0, pcc_voltage_mv=0)
        assert scene.controller.grid_down and scene.controller.pv_permille == 1000
        assert scene.controller.outputs >> 16 == 0
