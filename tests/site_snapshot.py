"""A snapshot of a site at work, for tests of what is shown of it: `example(pcc_import_w=9000)` changes its live values,
`example(snapshot={"alarms": ()})` the record itself."""

import dataclasses

from forerun.site.alarms import CRITICAL, Alarm
from forerun.site.snapshot import (
    CarbonHour,
    CarbonToday,
    Commissioning,
    ComputeLoad,
    ForecastView,
    Job,
    LinkHealth,
    Live,
    PlanView,
    Snapshot,
    StoreHealth,
    Totals,
)

NOW_S = 1_790_000_000
METER_ALARM = Alarm("meter_stale", CRITICAL, "the meter at the PCC does not answer", "check its power", NOW_S - 60)
_LIVE = Live(
    age_ms=120, fresh=True, state="planned", bound_by="import_limit", faults=(), setpoint_w=4100, active_power_w=4000,
    pcc_import_w=6500, pcc_voltage_mv=228_400, frequency_millihz=49_980, soc_permille=613, charge_max_w=25_000,
    discharge_max_w=25_000, load_w=12_300, pv_w=1_800, genset_w=0, lease_ms=0,
)  # fmt: skip
_START_S = NOW_S // 300 * 300
_SNAPSHOT = Snapshot(
    version=1, utc_s=float(NOW_S), site="Node 7", software="forerun test", started_utc_s=NOW_S - 3600,
    import_limit_w=15_000, export_limit_w=10_000, battery_limit_w=30_000, capacity_wh=80_000, live=_LIVE,
    totals=Totals(NOW_S - 20, 1_234_567, 8_910, 400_000, 380_000, 222_000, 1_500), alarms=(),
    plan=PlanView(
        (_START_S, _START_S + 300), (300, 300), (12_000, 12_500), (1_800, 1_900), (4_000, -1_000), (6_200, 11_600),
        (0, 0), (0, 0), (600, 603), (), 1.25, "NOK",
    ),
    forecast=ForecastView(
        _START_S, 300, *(tuple(w + i for i in range(288)) for w in (11_000, 12_000, 13_000, 1_000, 1_500, 2_000)),
        "same time of 7 past days",
    ),
    compute=(ComputeLoad("redfish_url", "Redfish", 5_900, NOW_S - 3),),
    jobs=(Job("train-7", 9_000, NOW_S + 900, 1_200, 1.0, "ready", 700),),
    carbon=CarbonToday(
        "2026-09-21", "Europe/Oslo",
        (CarbonHour(_START_S // 3600 * 3600, 5_000, 900, 3_000, 0, 1_100, 3_500, 0, 107, 130, "measured"),),
        5_000, 3_500, 107, 130, 180,
    ),
    link=LinkHealth(
        "/dev/ttyACM0", True, True, 120, "node7-board", "forerun_board test", 3, 7_200, 24_000, 61_000, 90,
        {"frames_in": 900, "frames_out": 300, "bad_crc": 2, "retransmissions": 1},
    ),
    store=StoreHealth("journal.forerun", 4_000, 300_000, 0, "", 0, 50 << 30, 100 << 30),
    commissioning=Commissioning(True, "", ""),
)  # fmt: skip


def example(snapshot: dict | None = None, **live) -> Snapshot:
    """The snapshot with other live values, and with other fields of its own."""
    seen = dataclasses.replace(_SNAPSHOT, live=dataclasses.replace(_LIVE, **live))
    return dataclasses.replace(seen, **(snapshot or {}))
