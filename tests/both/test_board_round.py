"""The round on a whole board: schedule, setpoint and watchdog, records and settings, against a played site."""

from board_bench import AT_701, AT_704, INVERTER, PCC, PV, Bench
from forerun_board.clock import Clock
from forerun_board.control.config import Config
from forerun_board.control.image import Image
from forerun_board.interval import Interval
from forerun_wire import messages as m


def _watch_reversion(bench):
    """Collects (ms, values) of writes to the inverter's reversion time; of all writes they would fill the heap."""
    bank = bench.units[INVERTER]
    plain = bank.answer
    seen = []

    def answer(frame):
        if frame[1] == 16 and (frame[2] << 8 | frame[3]) == AT_704 + 31:
            seen.append((bench._now_us // 1000, bytes(frame[7:])))
        return plain(frame)

    bank.answer = answer
    return seen


def test_from_boot_to_a_setpoint_the_host_ordered():
    bench = Bench()
    bench.run(1500)
    assert m.INVERTER_AWAKE in bench.codes() and m.WATCHDOG_UNCONFIRMED not in bench.codes()
    assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 3_000, 60_000) == (m.DONE, [])
    bench.run(3500)
    registers = bench.units[INVERTER].registers
    assert [registers[AT_704 + offset] for offset in (22, 23, 24, 25, 30, 32)] == [1, 1, 0, 3_000, 1, 30]
    assert bench.value("state") == m.LEASED and bench.value("setpoint_w") == 3_000
    assert bench.value("pcc_import_w") == 4_000 and bench.value("pv_w") == 1_000 and bench.value("load_w") == 5_000
    acted = [record[5] for record in bench.records if record[4] == m.ACTED]
    assert acted == [[m.SETPOINT, m.HOLD_BATTERY, 3_000, 0]]
    bench.end()


def test_rounds_start_at_fixed_periods_and_fit_the_line():
    bench = Bench()
    bench.run(3000)
    rounds, overruns = bench.board.cycle.rounds, bench.board.cycle.overruns
    bench.run(6000)
    assert bench.board.cycle.rounds - rounds == 60, "3 s of 50 ms"
    assert bench.board.cycle.overruns == overruns
    bench.hal.stretched_ms = 1000
    bench.run(6100)
    rounds = bench.board.cycle.rounds
    bench.run(16100)
    assert bench.board.cycle.rounds - rounds == 10
    assert bench.board.cycle.rounds - 20 <= bench.hal.fed <= bench.board.cycle.rounds
    bench.end()


def test_a_device_that_answers_slowly_costs_rounds_which_are_counted():
    bench = Bench()
    bench.run(3000)
    assert bench.board.cycle.overruns == 0
    bench.answer_us = 60_000
    bench.run(5000)
    assert bench.board.cycle.overruns > 10
    assert bench.value("faults") & ~128 == 0, "slow is not silent"
    bench.end()


def test_the_reversion_timer_is_refreshed_within_half_its_time_even_in_stretched_rounds():
    for stretched_ms, until_ms, least in ((0, 10_000, 5), (5000, 22_000, 9)):
        bench = Bench(host=False)
        bench.board.change_settings([16, 4])
        bench.run(2000)
        bench.hal.stretched_ms = stretched_ms
        writes = _watch_reversion(bench)
        bench.run(until_ms)
        times = [at for at, values in writes if values == b"\x00\x00\x00\x04"]
        gaps = [times[i + 1] - times[i] for i in range(len(times) - 1)]
        assert len(times) >= least and max(gaps) <= 2000, (stretched_ms, gaps)
        assert not [1 for _, values in writes if values[:4] == bytes(4)], "never 0: never ends"
        bench.end()
        bench = writes = None  # two boards at once are more than a board's memory


def test_an_inverter_that_was_away_is_armed_again():
    bench = Bench()
    bench.run(1500)
    bench.command(m.SETPOINT, m.HOLD_BATTERY, 3_000, 600_000)
    bank = bench.units.pop(INVERTER)
    bench.run(5000)
    assert m.INVERTER_LOST in bench.codes() and bench.value("state") == m.FAULTED
    for offset in (22, 23, 24, 25, 30, 32):
        bank.registers[AT_704 + offset] = 0  # it lost its settings
    bench.units[INVERTER] = bank
    bench.run(7000)
    assert [bank.registers[AT_704 + offset] for offset in (22, 23, 25, 30, 32)] == [1, 1, 3_000, 1, 30]
    assert bench.codes().count(m.INVERTER_LOST) == bench.codes().count(m.INVERTER_BACK) == 1
    bench.end()


def test_an_inverter_that_restarted_unnoticed_is_found_out():
    bench = Bench(host=False)
    bench.run(3000)
    bank = bench.units[INVERTER]
    assert bank.registers[AT_704 + 22] == 1
    bank.registers[AT_704 + 22] = 0
    bench.run(5000)
    assert bank.registers[AT_704 + 22] == 1
    bench.end()


def test_a_missing_sub_meter_does_not_hold_up_the_rest():
    bench = Bench()
    bench.units.pop(PV)
    bench.run(6000)
    assert bench.value("faults") == 32 and bench.value("state") == m.FALLBACK
    bases = [record[5] for record in bench.records if record[4] == m.INTERVAL]
    assert bases[0][10] == 4, "PV energy is marked as substituted"
    bench.end()


def test_a_settings_change_is_all_or_nothing_and_a_cycle_too_short_for_the_line_is_refused():
    bench = Bench()
    bench.run(1500)
    for pairs in ((6, 9_000, 8, 1), (6, 9_000, 99, 1), (0, 47), (1, 9600), (11, 960), (6, -1)):
        code, results = bench.command(m.SETTINGS_SET, *pairs)
        assert code == m.OUT_OF_RANGE and isinstance(results[0], str), pairs
        assert bench.command(m.SETTINGS_GET, 6, 0, 1, 11) == (m.DONE, [15_000, 50, 115_200, 100])
    assert bench.command(m.SETTINGS_SET, 6, 9_000, 1, 9600, 0, 300) == (m.DONE, [])
    bench.run(bench.now_ms + 3000)
    assert bench.hal.bus_baud == 9600 and bench.value("state") == m.FALLBACK
    assert m.SETTINGS_CHANGED in bench.codes()
    store, bench = bench.store, None  # two boards are more than a board's memory
    again = Bench(store=store)
    again.run(2000)
    assert again.command(m.SETTINGS_GET, 6, 0, 1) == (m.DONE, [9_000, 300, 9600])
    assert again.command(m.INFO)[1][5] == 2, "the second boot"
    again.end()


def test_a_stored_cycle_that_the_line_cannot_hold_is_lengthened_with_an_event():
    bench = Bench()
    bench.board.settings.set([1, 9600])  # as an older firmware may have allowed
    again = Bench(store=bench.store)
    again.run(3000)
    assert again.board.config.cycle_ms == 291
    events = [record[5] for record in again.records if record[4] == m.EVENT]
    assert [m.SETTINGS_CHANGED, 0, 291] in events
    again.end()


def test_commands_that_make_no_sense_are_refused_with_a_sentence():
    bench = Bench()
    bench.run(1500)
    for op, args, code in (
        (99, (), m.UNKNOWN_OP),
        (m.SETPOINT, (0, 1), m.MALFORMED),
        (m.SETPOINT, (0, "x", 1000), m.MALFORMED),
        (m.SETPOINT, (0, 1000, 0), m.OUT_OF_RANGE),
        (m.PLAN_POINTS, (1, 0, 60, 0), m.MALFORMED),
        (m.PLAN_POINTS, (1, 119, 60, 0, 1, 60, 0, 1), m.OUT_OF_RANGE),
        (m.PLAN_POINTS, (1, 0, 0, 0, 1), m.OUT_OF_RANGE),
        (m.PLAN_COMMIT, (5, 1, 0), m.WRONG_STATE),
        (m.PREPARE, (1000, -1, 60), m.OUT_OF_RANGE),
        (m.SETTINGS_GET, (77,), m.OUT_OF_RANGE),
        (m.SETTINGS_SET, (6,), m.MALFORMED),
        (m.SETTINGS_SET, (11, 900, 12, 910), m.OUT_OF_RANGE),  # a window that its own hysteresis closes
        (m.SETTINGS_SET, (34, 960), m.OUT_OF_RANGE),  # a reserve that no charge reaches
        (m.SETTINGS_SET, (72, 200, 73, 240), m.OUT_OF_RANGE),  # heater against fan
        (m.SETTINGS_SET, (38, 1_800, 39, 600), m.OUT_OF_RANGE),  # least run above the longest
        (m.SETTINGS_SET, (6, 9_000, 11, 990), m.OUT_OF_RANGE),  # all or nothing
    ):
        got, results = bench.command(op, *args)
        assert got == code and isinstance(results[0], str) and results[0], (op, args, got)
    assert bench.command(m.SETTINGS_GET, 6, 11, 12, 34, 72, 73, 38, 39) == (
        m.DONE, [15_000, 100, 950, 0, 50, 350, 1_800, 86_400]
    )  # fmt: skip
    bench.end()


def test_a_plan_that_is_over_is_refused_and_the_one_in_force_goes_on():
    bench = Bench()
    bench.run(3_000)
    assert bench.command(m.PLAN_POINTS, 1, 0, 600, 0, 2_000)[0] == m.DONE
    assert bench.command(m.PLAN_COMMIT, 1, 1, bench.hal.clock.s)[0] == m.DONE
    bench.run(4_500)
    assert bench.value("state") == m.PLANNED and bench.value("setpoint_w") == 2_000
    assert bench.command(m.PLAN_POINTS, 2, 0, 60, 0, 3_000, 60, 0, 3_000)[0] == m.DONE
    code, results = bench.command(m.PLAN_COMMIT, 2, 2, bench.hal.clock.s - 120)
    assert code == m.OUT_OF_RANGE and "ended 0 s ago" in results[0], results
    assert bench.command(m.PLAN_COMMIT, 2, 3, bench.hal.clock.s)[0] == m.WRONG_STATE, "one is missing"
    bench.run(bench.now_ms + 1_500)
    assert bench.value("setpoint_w") == 2_000 and m.COMMAND_REFUSED in bench.codes()
    assert m.PLAN_ENDED not in bench.codes()
    assert bench.command(m.PLAN_COMMIT, 2, 2, bench.hal.clock.s - 118)[0] == m.DONE, "two seconds of it are left"
    bench.run(bench.now_ms + 3_000)
    assert m.PLAN_ENDED in bench.codes() and bench.value("setpoint_w") != 3_000
    bench.end()


def test_an_interval_says_what_the_meters_counted():
    bench = Bench()
    bench.board.config.interval_s = 20
    bench.hal.stretched_ms = 500
    bench.run(10_000)
    bench.units[PCC].registers[40070 + 18] = 14_500
    bench.run(11_000)
    bench.units[PCC].registers[40070 + 18] = 3_000
    bench.units[PCC].registers[40070 + 47] = 580
    bench.units[INVERTER].registers[AT_701 + 22] = 1_150
    bench.run(23_000)
    intervals = [record[5] for record in bench.records if record[4] == m.INTERVAL]
    assert len(intervals) == 2, intervals
    #   interval_s import_wh export_wh charge discharge pv genset import_max V_min soc quality stretched
    assert intervals[0][1:7] == [500, 0, 2_200, 1_100, 600, 700]
    assert intervals[1][1:7] == [580, 0, 2_200, 1_150, 600, 700]
    assert intervals[1][7:12] == [14_500, 230_000, 500, 0, 500]
    assert 19 <= intervals[0][0] + intervals[1][0] <= 22
    bench.end()


def test_emergency_stop_opens_the_contactor():
    bench = Bench()
    bench.run(1500)
    bench.hal.contacts = 1
    bench.run(3000)
    assert bench.hal.outputs == 1 and bench.value("bound_by") == m.BOUND_TRIP
    bench.end()


def test_without_energy_registers_the_battery_is_integrated_and_marked():
    class Meter:
        import_wh = export_wh = 0

    class NoRegisters:
        counts_energy = False
        pcc_meter = pv_meter = genset_meter = Meter
        energy_missing = staticmethod(lambda: m.QUALITY_BATTERY)
        forget_energy = staticmethod(lambda: None)

    NoRegisters.inverter = NoRegisters
    clock, image = Clock(), Image()
    interval = Interval(Config(), image, clock)
    for round_ms, rounds, power_w in ((50, 20 * 3600, 1_000), (50, 20 * 60, -7), (5000, 720, -3_600)):
        image.active_power_w = power_w
        image.inverter_age_ms = 0
        for _ in range(rounds):
            interval.note(round_ms)
    assert interval.due(NoRegisters)
    assert interval.body[3:5] == [3_600, 1_000], "60 min of 3.6 kW into it, 60 min of 1 kW out of it, and 0.1 Wh"
    assert interval.body[10] == m.QUALITY_BATTERY
