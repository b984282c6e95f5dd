"""What keeps the battery well, by the board's own sensors: heat, cold, dew, and slowly towards full and empty."""

import itertools

import pytest

from forerun_wire import messages as m

CARE = 64
HEATER, FAN = 4, 8
FREE = {"import_limit_w": 60_000, "export_limit_w": 60_000}
SECTIONS = {"functions": {"functions": CARE}, "sensors": {"sensors": 3}, "limits": FREE}


def settled_w(bench, wanted_w):
    """The inverter's power a while after `wanted_w` was ordered: sensors are asked every ten seconds."""
    bench.command(m.SETPOINT, m.HOLD_BATTERY, wanted_w, 120_000)
    bench.run(25)
    return bench.site.inverter.power_w


def test_power_goes_down_towards_both_ends_of_the_temperature(rig):
    """Limits of LFP cells: charge 0…55 °C, discharge −20…60 °C; 300 permille of 30 kW at 50 °C, 400 at −10 °C."""
    with rig(sections=SECTIONS, senses=True, plant={"feeder_r_ohm": 0.1, "genset_w": 0.0}) as bench:
        bench.run_until_armed()
        bench.coarse(250)
        for cell_c, wanted_w, low_w, high_w in (
            (20.0, -20_000, -20_050, -19_950), (50.0, -20_000, -9_100, -8_900), (56.0, -20_000, -1, 1),
            (52.5, 20_000, 14_900, 15_100), (61.0, 20_000, -1, 1), (-10.0, 20_000, 11_900, 12_100),
            (-10.0, -20_000, -1, 1), (-21.0, 20_000, -1, 1), (-26.0, 20_000, -1, 1), (20.0, 20_000, 19_950, 20_050),
        ):  # fmt: skip
            bench.bench.senses.cell_c = cell_c
            power_w = settled_w(bench, wanted_w)
            assert low_w <= power_w <= high_w, f"{power_w:.0f} W of {wanted_w} W at {cell_c} °C"
            if abs(power_w) < abs(wanted_w) - 100:
                assert bench.host.latest["bound_by"] == m.BOUND_TEMPERATURE
        bench.assert_rules()


def test_heater_and_fan_have_their_hysteresis_and_dew_is_kept_off_the_cells(rig):
    with rig(sections=SECTIONS, senses=True) as bench:
        bench.run_until_armed()
        bench.coarse(250)
        senses = bench.bench.senses

        def contacts(cell_c, air_c=20.0, humidity=0.3):
            senses.cell_c, senses.air_c, senses.humidity = cell_c, air_c, humidity
            bench.run(25)
            return bench.bench.outputs & (HEATER | FAN)

        seen = [contacts(cell_c) for cell_c in (20, 36, 33, 29, 20, 4, 8, 11)]
        assert seen == [0, FAN, FAN, 0, 0, HEATER, HEATER, 0], "35/30 °C and 5/10 °C are commissioned"
        assert contacts(10.5, air_c=25.0, humidity=0.9) == HEATER, "90 % at 25 °C is dew at 10.5 °C"
        assert contacts(36, air_c=45.0, humidity=0.75) == HEATER, "what is blown in would condense: no fan"
        assert contacts(36, air_c=36.0, humidity=0.5) == FAN


@pytest.mark.parametrize(("soc", "wanted_w"), [(0.93, -28_000), (0.075, 28_000)])
def test_the_last_of_the_charge_goes_in_and_out_slowly(rig, soc, wanted_w):
    """Constant current up to 90 %, then the taper; towards empty from 10 %. The window of the charge is never left."""
    limits = {**FREE, "soc_min": 0.02, "soc_max": 0.98}
    plant = {"start_soc": soc, "battery_wh": 4_000.0, "battery_w": 60_000.0}
    sections = {**SECTIONS, "limits": limits, "battery": {"capacity_wh": 4_000, "soc_reserve": 0.02}}
    with rig(sections=sections, plant=plant, senses=True) as bench:
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, wanted_w, 600_000)
        powers = []
        bench.coarse(250)
        for _ in range(12):
            bench.run(10)
            powers.append(abs(bench.site.inverter.power_w))
        print([round(power_w) for power_w in powers], round(bench.site.battery.soc, 4))
        assert powers[0] < 0.9 * abs(wanted_w) and powers[3] < powers[0] and powers[-1] < 0.25 * powers[0]
        assert all(after <= before + 300 for before, after in itertools.pairwise(powers))
        bench.assert_rules(soc=(0.02, 0.98))
