"""The carbon ledger: the published vectors exactly, books that balance to the milligram, gaps that are named."""

from dataclasses import replace
from datetime import date
from decimal import Decimal, localcontext

import numpy as np
import pytest

from forerun import config
from forerun.carbon.accounting import (
    FLOWS,
    Battery,
    Factor,
    Factors,
    Reading,
    battery_of,
    factors_of,
    ledger,
    readings_of,
)
from forerun.carbon.intake import REGISTERS
from forerun.carbon.inventory import Store
from forerun.store.journal import Journal, read

MIDNIGHT = 1_700_006_400
BATTERY = Battery(10_000, Decimal("0.9"), Decimal("0.9"))


def factor(name: str, value: str) -> Factor:
    return Factor(name, Decimal(value), "g/kWh", "test", "", date(2024, 1, 1), date(2024, 12, 31), "test")


FACTORS = Factors((factor("grid", "100"),), factor("pv", "0"), factor("fuel", "2.5"), factor("litres", "0.4"))
BY_HOUR = tuple(factor(f"grid-{hour:02d}", str(10 * hour)) for hour in range(24))
HOURLY = Factors(BY_HOUR, FACTORS.pv, FACTORS.fuel, FACTORS.litres)
SOURCES = {"grid": "import_wh", "pv": "pv_wh", "genset": "genset_wh", "battery": "discharge_wh"}


def meter(*rows, soc_permille=0, step_s=300, start_s=MIDNIGHT) -> list[Reading]:
    """Readings from rows of energy in one step: (import, export, charge, discharge, pv, genset) Wh."""
    registers, readings = np.array([1000] * 6), [Reading(start_s, *[1000] * 6, soc_permille)]
    for number, row in enumerate(rows, start=1):
        registers = registers + np.array(row)
        readings.append(Reading(start_s + number * step_s, *(int(wh) for wh in registers), soc_permille))
    return readings


def test_the_weighted_average_vector_is_met_exactly():
    """40 kWh PV (0 g), 20 kWh grid (30 g, 90 % green), 20 kWh diesel (700 g) in; 36 kWh AC out; 0.95 each way."""
    store = Store(Decimal("0.95"), Decimal("0.95"))
    for wh, g_per_kwh, green in ((40_000, "0", "1"), (20_000, "30", "0.9"), (20_000, "700", "0")):
        store.charge(wh, Decimal(g_per_kwh), Decimal(green))
    assert (store.energy_wh, store.carbon_g, store.green_wh) == (76_000, 14_600, 55_100)
    grams, green_wh, _, missing_wh = store.discharge(36_000)
    close = Decimal("1e-9")
    assert abs(grams / 36 - Decimal("202.21606648199446")) < close
    assert abs(grams - Decimal("7279.778393351801")) < close
    assert abs(green_wh / 36_000 - Decimal("0.725")) < close
    assert abs(store.carbon_g - Decimal("7320.221606648199")) < close
    assert abs(store.energy_wh - Decimal("38105.263157894737")) < close
    assert missing_wh == 0
    assert abs(store.in_g - store.out_g - store.carbon_g) < close
    # As printed, to the digits that are printed.
    assert round(grams / 36, 7) == Decimal("202.2160665") and round(grams, 5) == Decimal("7279.77839")


def test_standby_loss_keeps_the_carbon_and_drops_green_with_the_energy():
    store = Store(Decimal(1), Decimal(1))
    store.charge(1000, Decimal(50), Decimal("0.5"))
    store.lose(Decimal(250))
    assert (store.energy_wh, store.green_wh, store.carbon_g) == (750, 375, 50)
    assert store.discharge(750)[0] == 50


def test_pv_load_export_and_charge_are_told_apart():
    """PV 600: load 200, charge 300, export 100."""
    only = ledger(meter((0, 100, 300, 0, 600, 0)), FACTORS, BATTERY).intervals[0]
    assert {name: wh for name, wh in only.flows_wh.items() if wh} == {
        "pv_to_load": 200, "pv_to_battery": 300, "pv_to_export": 100}  # fmt: skip
    assert (only.load_wh, only.load_g, only.emitted_g, only.quality) == (200, 0, 0, "measured")


def test_sources_charge_in_proportion_and_whole_watt_hours_add_up():
    only = ledger(meter((700, 0, 101, 0, 200, 100)), FACTORS, BATTERY).intervals[0]
    charged = {name: only.flows_wh[f"{name}_to_battery"] for name in ("pv", "grid", "genset")}
    assert charged == {"pv": 20, "grid": 71, "genset": 10}  # 20.2, 70.7, 10.1
    assert only.load_wh == 899
    grams = Decimal(700 - 71) * 100 / 1000 + Decimal(100 - 10) * 1000 / 1000
    assert only.load_g == grams
    assert only.emitted_g == 70 + 100
    assert only.quality == "estimated" and only.reasons == ("genset fuel from energy, no fuel meter",)


def test_stored_energy_carries_what_it_was_charged_with():
    readings = [
        Reading(MIDNIGHT, 0, 0, 0, 0, 0, 0, 0),
        Reading(MIDNIGHT + 300, 1000, 0, 1000, 0, 0, 0, 90),
        Reading(MIDNIGHT + 1200, 1000, 0, 1000, 405, 0, 0, 45),
    ]
    for step in (300, 3600):  # in two intervals of the ledger, or charge and discharge in one
        books = ledger(readings, FACTORS, BATTERY, interval_s=step)
        assert books.intervals[-1].load_wh == 405
        assert sum(interval.load_g for interval in books.intervals) == 50
        assert (books.closing_g, books.closing_wh) == (50, 450)


def test_books_above_the_measured_charge_lost_the_energy_and_not_its_carbon():
    empty = meter((1000, 0, 1000, 0, 0, 0), soc_permille=0)
    books = ledger(empty, FACTORS, BATTERY)
    assert (books.closing_wh, books.closing_g) == (0, 100)


def test_what_was_in_the_battery_before_counts_at_the_grids_factor():
    readings = [
        Reading(MIDNIGHT, 0, 0, 0, 0, 0, 0, 500),
        Reading(MIDNIGHT + 300, 0, 0, 0, 900, 0, 0, 400),
    ]
    books = ledger(readings, FACTORS, BATTERY)
    assert books.opening_wh == 5000 and books.opening_g == 450
    assert books.intervals[0].load_g == 90
    assert books.total().on_site_share == 0


def test_more_out_of_the_battery_than_the_books_hold_is_counted_and_said():
    books = ledger(meter((0, 0, 0, 1000, 0, 0)), FACTORS, BATTERY)
    assert float(books.intervals[0].load_g) == pytest.approx(100)
    assert books.intervals[0].reasons == ("the battery gave more than the books held: the rest at the grid's factor",)
    assert books.battery_in_g == books.battery_out_g == books.intervals[0].load_g


def random_day(seed: int) -> list[Reading]:
    rng = np.random.default_rng(seed)
    registers, stored_wh, readings = np.zeros(6, dtype=int), 5000.0, []
    for step in range(289):
        readings.append(Reading(MIDNIGHT + 300 * step, *(int(wh) for wh in registers), round(stored_wh / 10)))
        load_wh, pv_wh, genset_wh = rng.integers(0, 900), rng.integers(0, 900), rng.integers(0, 2) * 300
        wish_wh = int(rng.integers(-700, 700))
        discharge_wh = min(max(0, wish_wh), int(stored_wh * 0.9))
        charge_wh = min(max(0, -wish_wh), int((10_000 - stored_wh) / 0.9))
        stored_wh += charge_wh * 0.9 - discharge_wh / 0.9
        net_wh = int(load_wh) + charge_wh - discharge_wh - int(pv_wh) - int(genset_wh)
        registers += np.array([max(0, net_wh), max(0, -net_wh), charge_wh, discharge_wh, pv_wh, genset_wh], dtype=int)
    return readings


@pytest.mark.parametrize("seed", range(20))
def test_energy_adds_up_exactly_and_carbon_to_the_milligram(seed):
    readings = random_day(seed)
    books = ledger(readings, HOURLY, BATTERY)
    first, last, total = readings[0], readings[-1], books.total()
    energy = {name: getattr(last, name) - getattr(first, name) for name in REGISTERS}
    flows = {name: sum(interval.flows_wh[name] for interval in books.intervals) for name in FLOWS}
    for name, register in SOURCES.items():
        assert sum(wh for flow, wh in flows.items() if flow.startswith(f"{name}_to_")) == energy[register]
    for name, register in (("battery", "charge_wh"), ("export", "export_wh")):
        assert sum(wh for flow, wh in flows.items() if flow.endswith(f"_to_{name}")) == energy[register]
    assert total.load_wh == (energy["import_wh"] - energy["export_wh"] + energy["pv_wh"] + energy["genset_wh"]
                             + energy["discharge_wh"] - energy["charge_wh"])  # fmt: skip
    assert all(wh >= 0 for interval in books.intervals for wh in interval.flows_wh.values())
    milligram = Decimal("0.001")
    assert abs(books.battery_in_g - books.battery_out_g - books.closing_g) < milligram
    # All that was emitted, and what was stored at first, is in load, export or still in the battery.
    substituted_g = sum(
        (interval.load_g + interval.export_g - interval.emitted_g for interval in books.intervals), Decimal(0)
    ) + books.closing_g - books.opening_g  # fmt: skip
    if not any("books held" in reason for interval in books.intervals for reason in interval.reasons):
        assert abs(substituted_g) < milligram
    assert sum(hour.load_wh for hour in books.hours()) == total.load_wh
    assert abs(sum(hour.load_g for hour in books.hours()) - total.load_g) < milligram
    assert len(books.hours()) == 24 and len(books.intervals) == 96
    assert 0 <= total.on_site_share <= 1


def test_the_hour_of_consumption_sets_the_grids_factor():
    books = ledger(meter(*[(100, 0, 0, 0, 0, 0)] * 24), HOURLY, BATTERY)
    assert [hour.load_g for hour in books.hours()] == [0, 12]
    assert [(hour.load_wh, hour.grid_wh) for hour in books.hours()] == [(1200, 1200), (1200, 1200)]


def test_a_meter_that_was_reset_makes_a_named_gap_and_nothing_is_invented():
    readings = meter(*[(100, 0, 0, 0, 0, 0)] * 12)
    for index in range(6, 13):
        readings[index] = Reading(readings[index].utc_s, 100 * (index - 6), *[1000] * 5, 0)
    books = ledger(readings, FACTORS, BATTERY)
    assert [(gap.start_utc_s - MIDNIGHT, gap.end_utc_s - MIDNIGHT, gap.sentence) for gap in books.gaps] == [
        (1500, 1800, "import_wh fell from 1500 to 0: the meter was reset or exchanged")]  # fmt: skip
    assert books.total().load_wh == 1100


def test_missing_readings_leave_the_energy_and_say_that_its_time_is_unknown():
    readings = meter(*[(100, 0, 0, 0, 0, 0)] * 24)
    books = ledger(readings[:4] + readings[16:], FACTORS, BATTERY)
    assert books.total().load_wh == 2400
    long = next(interval for interval in books.intervals if interval.end_utc_s - interval.start_utc_s > 900)
    assert long.load_wh == 1300 and long.quality == "estimated"
    assert "no reading for 3900 s" in books.gaps[0].sentence


def test_a_clock_set_back_is_a_gap():
    readings = meter(*[(100, 0, 0, 0, 0, 0)] * 3)
    readings.insert(3, readings[1])
    assert "set back" in ledger(readings, FACTORS, BATTERY).gaps[0].sentence


def test_what_the_board_substituted_and_meters_that_disagree_lower_the_quality():
    start, end = meter((100, 0, 0, 0, 50, 0))
    bad = replace(end, quality=5)
    only = ledger([start, bad], FACTORS, BATTERY).intervals[0]
    assert only.quality == "substituted"
    assert only.reasons == ("PV substituted by the board", "import and export substituted by the board")
    apart = ledger(meter((0, 60, 0, 0, 50, 0)), FACTORS, BATTERY).intervals[0]
    assert (apart.load_wh, apart.quality, apart.reasons) == (0, "estimated", ("the meters disagree by 10 Wh",))


def test_no_readings_no_ledger():
    for readings in ([], meter()):
        books = ledger(readings, FACTORS, BATTERY)
        assert books.intervals == () and books.total() is None and books.hours() == ()


def test_the_same_readings_give_the_same_ledger_whatever_the_decimal_context():
    expected = ledger(random_day(1), HOURLY, BATTERY)
    with localcontext() as context:
        context.prec = 6
        assert ledger(random_day(1), HOURLY, BATTERY) == expected
        assert expected.total() == ledger(random_day(1), HOURLY, BATTERY).total()


def test_factors_and_battery_come_from_the_site_file_with_their_sources():
    site = config.load(config.EXAMPLE)
    factors = factors_of(site)
    assert [(item.id, item.value, item.region, item.valid_from) for item in factors.grid] == [
        ("grid", Decimal("30.75"), "NO", date(2024, 1, 1))]  # fmt: skip
    assert all(item.source and item.unit and item.scope for item in (*factors.grid, factors.pv, factors.fuel))
    assert factors.genset_g_per_kwh() == Decimal("2.57082") * Decimal("0.34") * 1000
    assert battery_of(site) == Battery(80_000, Decimal("0.95"), Decimal("0.95"))


def test_readings_come_out_of_the_journal_in_order(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append(1, "host", "plan", [1])
        for number, kind in enumerate((1, 2, 1), start=1):
            body = [300, 10 * number, 1, 2, 3, 4, 5, 9000, 230_000, 640, 2, 0] if kind == 1 else [9, 1, 2]
            journal.append_record(number * 1_000_000, "board", b"12345678", number, [1, 7, 0, kind, *body])
    assert readings_of(read(path)) == [
        Reading(1, 10, 1, 2, 3, 4, 5, 640, 2, 1), Reading(3, 30, 1, 2, 3, 4, 5, 640, 2, 3)]  # fmt: skip
