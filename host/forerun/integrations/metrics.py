"""What Prometheus scrapes: the snapshot as gauges and counters in base units (volts, watts, seconds, ratios).

What is not known now is left out, never shown as the last value: a stale site has no forerun_pcc_import_watts.
"""

import contextlib
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, StateSetMetricFamily
from prometheus_client.exposition import generate_latest

from forerun.carbon.intake import REGISTERS
from forerun.errors import Trouble
from forerun.integrations import Serving
from forerun.site.snapshot import Snapshot
from forerun_wire import messages as m

# Of `live`: metric -> (field, what one unit of the field is in the metric's base unit, help).
_LIVE = {
    "forerun_pcc_import_watts": ("pcc_import_w", 1, "Import at the point of connection; below 0 is export."),
    "forerun_battery_watts": ("active_power_w", 1, "Power of the battery's inverter; above 0 it discharges."),
    "forerun_setpoint_watts": ("setpoint_w", 1, "Setpoint of the battery's inverter; above 0 it discharges."),
    "forerun_load_watts": ("load_w", 1, "Load of the site."),
    "forerun_pv_watts": ("pv_w", 1, "Power of the PV array."),
    "forerun_genset_watts": ("genset_w", 1, "Power of the diesel set."),
    "forerun_pcc_voltage_volts": ("pcc_voltage_mv", 1e-3, "Phase voltage at the point of connection."),
    "forerun_frequency_hertz": ("frequency_millihz", 1e-3, "Frequency at the point of connection."),
    "forerun_state_of_charge_ratio": ("soc_permille", 1e-3, "State of charge of the battery."),
    "forerun_charge_max_watts": ("charge_max_w", 1, "What the battery may be charged with now."),
    "forerun_discharge_max_watts": ("discharge_max_w", 1, "What the battery may be discharged with now."),
}
_AHEAD_S = (900, 3600, 4 * 3600)  # leads at which the forecast is exported


class _Collector:
    def __init__(self, snapshot: Callable[[], Snapshot]):
        self._snapshot = snapshot

    def collect(self) -> Iterator:
        seen = self._snapshot()
        yield InfoMetricFamily("forerun_build", "Which site this is, and what runs it.", {
            "site": seen.site, "software": seen.software, "board": seen.link.board,
            "board_software": seen.link.board_software})  # fmt: skip
        yield from _live(seen)
        yield from _health(seen)
        alarms = GaugeMetricFamily("forerun_alarm", "1 for each alarm that stands.", labels=["name", "severity"])
        for name, severity in sorted({(alarm.name, alarm.severity) for alarm in seen.alarms}):
            alarms.add_metric([name, severity], 1)
        yield alarms
        yield from _ahead(seen)
        if seen.totals:
            for name in REGISTERS:
                of = name.removesuffix("_wh")
                yield CounterMetricFamily(f"forerun_{of}_watthours", f"Energy counted as {of} by the board, in all.",
                                          getattr(seen.totals, name))  # fmt: skip
        if seen.carbon:
            for name, value, text in (
                ("load_watthours", seen.carbon.load_wh, "Energy of the load"),
                ("import_watthours", seen.carbon.import_wh, "Energy imported"),
                ("emitted_grams", seen.carbon.emitted_g, "CO2e, location-based,"),
            ):
                yield GaugeMetricFamily(f"forerun_today_{name}", f"{text} since local midnight.", value)


def _live(seen: Snapshot) -> Iterator:
    if seen.live is None:
        return
    yield GaugeMetricFamily("forerun_telemetry_age_seconds", "Age of the last telemetry.", seen.live.age_ms / 1000)
    if not seen.live.fresh:
        return
    for name, (field, unit, text) in _LIVE.items():
        yield GaugeMetricFamily(name, text, getattr(seen.live, field) * unit)
    for name, known, now in (("state", m.STATES, seen.live.state), ("bound_by", m.BOUNDS, seen.live.bound_by)):
        states = StateSetMetricFamily(f"forerun_{name}", f"The board's {name}: 1 for the one that holds.", labels=())
        states.add_metric([], {state: state == now for state in known})
        yield states


def _health(seen: Snapshot) -> Iterator:
    link, store = seen.link, seen.store
    yield GaugeMetricFamily("forerun_link_up", "1 while the board answers.", int(link.connected))
    counts = dict(link.counts)
    frames = CounterMetricFamily("forerun_link_frames", "Frames on the serial line.", labels=["direction"])
    frames.add_metric(["in"], counts.pop("frames_in", 0))
    frames.add_metric(["out"], counts.pop("frames_out", 0))
    yield frames
    faults = CounterMetricFamily("forerun_link_faults", "Frames that went wrong, by reason.", labels=["reason"])
    for reason, count in sorted(counts.items()):
        faults.add_metric([reason], count)
    yield faults
    known = (
        ("forerun_board_uptime_seconds", link.board_uptime_s, 1, "Time since the board started."),
        ("forerun_board_cycle_seconds", link.cycle_us, 1e-6, "Length of the board's last decision cycle."),
        ("forerun_board_heap_free_bytes", link.heap_free_bytes, 1, "Free memory of the board."),
        ("forerun_clock_uncertainty_seconds", link.clock_uncertainty_us, 1e-6, "Bound of the board's time in UTC."),
        ("forerun_start_time_seconds", seen.started_utc_s, 1, "When this host program started, since 1970."),
        ("forerun_journal_size_bytes", store.bytes, 1, "The journal on disk."),
        ("forerun_journal_entries", store.entries, 1, "Entries in the journal."),
        ("forerun_journal_waiting_bytes", store.waiting_bytes, 1, "Entries that wait for the disk."),
        ("forerun_journal_missing_records", store.missing_records, 1, "Records of the board that never came."),
        ("forerun_disk_free_bytes", store.disk_free_bytes, 1, "Free space beside the journal."),
        ("forerun_import_limit_watts", seen.import_limit_w, 1, "Commissioned limit of the import."),
        ("forerun_export_limit_watts", seen.export_limit_w, 1, "Commissioned limit of the export."),
        ("forerun_battery_capacity_watthours", seen.capacity_wh, 1, "Capacity of the battery."),
        ("forerun_commissioning_sealed", seen.commissioning.sealed, 1, "1 when the commissioning is sealed."),
    )  # fmt: skip
    for name, value, unit, text in known:
        if value is not None:
            yield GaugeMetricFamily(name, text, value * unit)


def _ahead(seen: Snapshot) -> Iterator:
    jobs = GaugeMetricFamily("forerun_jobs", "Announced jobs by readiness.", labels=["readiness"])
    for readiness in ("announced", "told", "preparing", "ready", "late", "running"):
        jobs.add_metric([readiness], sum(job.readiness == readiness for job in seen.jobs))
    yield jobs
    power = GaugeMetricFamily("forerun_compute_watts", "Load as a compute source said it last.", labels=["source"])
    age = GaugeMetricFamily("forerun_compute_age_seconds", "Age of what a compute source said.", labels=["source"])
    for one in seen.compute:
        power.add_metric([one.source], one.power_w)
        age.add_metric([one.source], seen.utc_s - one.utc_s)
    yield from (power, age) if seen.compute else ()
    if seen.forecast is None:
        return
    ahead = GaugeMetricFamily("forerun_forecast_watts", "Forecast mean of the step that begins so far ahead.",
                              labels=["of", "quantile", "ahead_seconds"])  # fmt: skip
    for lead_s in _AHEAD_S:
        index = int(seen.utc_s + lead_s - seen.forecast.start_utc_s) // seen.forecast.step_s
        for of in ("load", "pv"):
            for level, quantile in (("q10", "0.1"), ("q50", "0.5"), ("q90", "0.9")):
                values = getattr(seen.forecast, f"{of}_{level}_w")
                if index < len(values):
                    ahead.add_metric([of, quantile, str(lead_s)], values[index])
    yield ahead


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of its own that collects from `snapshot()` at each scrape."""
    made = CollectorRegistry(auto_describe=False)
    made.register(_Collector(snapshot))
    return made


def text(snapshot: Callable[[], Snapshot]) -> bytes:
    """The page that Prometheus reads (text format 0.0.4)."""
    return generate_latest(registry(snapshot))


@contextlib.contextmanager
def serve(host: str, port: int, snapshot: Callable[[], Snapshot]) -> Iterator[Serving]:
    """Serve /metrics while the `with` block lasts, on a port chosen by the system for 0. Raises Trouble."""
    try:
        server, thread = start_http_server(port, host, registry(snapshot))
    except (OSError, UnicodeError) as problem:
        words = getattr(problem, "strerror", None) or "this is no name of a machine"
        raise Trouble(f"metrics.port {port} on {host} cannot be opened ({words})") from problem
    try:
        yield Serving(server.server_port, thread.is_alive)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
