"""The surge experiment: what an announcement buys in readiness, volts and set starts, and what it cannot."""

from dataclasses import replace

import pytest

from forerun import surge

TRIAL = surge.Trial(notice_s=900, base_w=6000, job_w=13_000, duration_s=1800, soc=0.5, wake_s=20, enter_service_s=60)


def test_ten_minutes_notice_keep_the_voltage_that_no_notice_loses():
    (told, seen), untold = surge.play(TRIAL, True, trace=True), surge.play(TRIAL, False)
    assert told.lead_s >= surge.READY_AHEAD_S
    assert told.lead_s == pytest.approx(told.possible_lead_s, abs=surge.SLACK_S)
    assert told.min_pcc_v > surge.LOW_V > untold.min_pcc_v and told.dips == 0 and untold.dips >= 1
    assert told.genset_starts == 0 and untold.genset_starts == 1
    assert told.peak_import_w < 12_500 < 18_000 < untold.peak_import_w
    assert len(seen.t_us) == 10_000 and min(seen.pcc_min_v) == pytest.approx(told.min_pcc_v, abs=0.5)


def test_an_empty_battery_is_filled_first_and_a_late_notice_is_met_as_early_as_physics_allows():
    empty = surge.play(replace(TRIAL, soc=0.11, notice_s=3600), True)
    assert surge.READY_AHEAD_S <= empty.lead_s <= empty.possible_lead_s + surge.SLACK_S
    assert empty.soc_at_start > 0.15
    late = surge.play(replace(TRIAL, notice_s=40, enter_service_s=300), True)
    assert late.lead_s == pytest.approx(40 - 20 - 300, abs=surge.SLACK_S) and late.min_pcc_v < surge.LOW_V


def test_at_least_95_of_100_are_ready_five_minutes_ahead():
    result = surge.experiment(160, seed=3)
    told = result["notice_10_min_or_more"]
    assert told["surges"] > 40 and told["ready_300_s_ahead_or_as_early_as_possible"] >= 0.95, result
    assert result["shorter_notice"]["ready_as_early_as_possible"] >= 0.95, result
    assert result["with"]["below_en50160"] == result["with"]["outside_itic"] == result["with"]["genset_starts"] == 0
    assert result["without"]["below_en50160"] > 0.2 * 160 and result["without"]["genset_starts"] > 0.2 * 160
