"""The surge experiment: announced load steps on a weak feeder, each played twice: with and without the announcement.

The plant and the board's control code are the real ones, joined in one process; the plan is the host's. An inverter
that sleeps needs its wake-up and the enter-service delay before it helps: the reason why five minutes matter.
"""

import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass
from math import acos, tan

import numpy as np

from forerun.compute.load import Announcement, surges
from forerun.dispatch.dispatcher import Dispatcher, Situation, Storage, board_points, plan_steps
from forerun.plant.feeder import pcc_voltage_v
from forerun.plant.inverter import RUNNING, SLEEPING
from forerun.plant.recording import Trace
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_ASLEEP, INVERTER_RUNNING, INVERTER_WAKING, Image

READY_AHEAD_S = 300.0
LONG_NOTICE_S = 600.0
QUIET_US, BUSY_US = 1_000_000, 50_000  # rounds of the board; short around the step
BUSY_S = (-1.0, 15.0)
AFTER_S = 120.0
RECORD_BEFORE_US, RECORD_AFTER_US = 200_000, 2_000_000  # at 1 ms
STEP_US = 600_000  # of that, what the statistics need: the step is met, or not, within a few rounds
RESPONSE_S = 0.15  # five time constants of the inverter: a step that comes sooner after it may run is not met by it
LOW_V = 207.0  # EN 50160: 230 V less a tenth
ENTER_PU = 0.85  # below it an inverter does not count the time towards entering service
EFFICIENCY = 0.96
SLACK_S = 5.0  # the board's rounds and a plan's rounding may take so much off the best possible lead


@dataclass(frozen=True, slots=True)
class Trial:
    """One announced step: what is drawn at random. Enter-service delay as in EN 50549-1 (60 s) or IEEE 1547 (300 s)."""

    notice_s: float
    base_w: float
    job_w: float
    duration_s: float
    soc: float
    wake_s: float
    enter_service_s: float
    cell_c: float = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """lead_s: how long before the step inverter and energy were ready (the charge there, and RESPONSE_S after the
    inverter may run), below 0 after it, −inf never; possible_lead_s: the best that physics allows from the announcement
    on. Lowest voltage in V and highest import in W over the whole play (means of 10 ms or shorter); the same in V and
    A of a phase at 1 ms around the step. dip_s: below 90 %."""

    lead_s: float
    possible_lead_s: float
    min_pcc_v: float
    min_1ms_v: float
    max_1ms_a: float
    peak_import_w: float
    dips: int
    dip_s: float
    itic_violations: int
    genset_starts: int
    soc_at_start: float

    @property
    def ready(self) -> bool:
        """Before the step."""
        return self.lead_s >= 0


@dataclass(frozen=True, slots=True)
class Pair:
    """The same step told of and not told of."""

    trial: Trial
    told: Outcome
    untold: Outcome


def trials(count: int, seed: int) -> list[Trial]:
    """Announced steps above what the feeder carries inside EN 50160, from half a minute to an hour ahead. The battery
    is anywhere between the reserve that a plan keeps and nearly full; inverter and grid code are drawn too."""
    rng = np.random.default_rng(seed)
    return [
        Trial(
            notice_s=float(np.exp(rng.uniform(np.log(30), np.log(3600)))),
            base_w=float(rng.uniform(4000, 8000)),
            job_w=float(rng.uniform(15_000, 20_000)),
            duration_s=float(rng.uniform(900, 3600)),
            soc=float(rng.uniform(0.25, 0.9)),
            wake_s=float(rng.uniform(10, 60)),
            enter_service_s=float(rng.choice([60.0, 300.0])),
        )
        for _ in range(count)
    ]


def pairs(count: int, seed: int, tick: Callable[[float], None] = lambda share: None) -> list[Pair]:
    """`count` trials, each with and without its announcement; tick(share that is done, 0–1)."""
    drawn, made = trials(count, seed), []
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for pair in pool.map(pair_of, drawn, chunksize=4):
            made.append(pair)
            tick(len(made) / count)
    return made


def pair_of(trial: Trial) -> Pair:
    """One trial, both ways."""
    return Pair(trial, play(trial, True, STEP_US)[0], play(trial, False, STEP_US)[0])


def document(found: list[Pair], seed: int) -> dict:
    """Statistics of pairs as a JSON-ready document, and the pairs themselves. A step that was ready in time is beside
    the same step without its announcement; what came too late to help stands apart."""
    long_notice = [pair for pair in found if pair.trial.notice_s >= LONG_NOTICE_S]
    short = [pair for pair in found if pair.trial.notice_s < LONG_NOTICE_S]
    return {
        "trials": len(found),
        "seed": seed,
        "drawn": {"base_kw": [4, 8], "job_kw": [15, 20], "duration_min": [15, 60], "notice_min": [0.5, 60],
                  "soc": [0.25, 0.9], "wake_s": [10, 60], "enter_service_s": [60, 300]},
        "notice_10_min_or_more": {
            "surges": len(long_notice),
            "ready_300_s_ahead": _share([pair.told.lead_s >= READY_AHEAD_S for pair in long_notice]),
            "could_not_be_300_s_ahead": sum(pair.told.possible_lead_s < READY_AHEAD_S for pair in long_notice),
            "ready_300_s_ahead_or_as_early_as_possible": _share([
                pair.told.lead_s >= min(READY_AHEAD_S, pair.told.possible_lead_s - SLACK_S) for pair in long_notice]),
            **_behind(long_notice),
        },
        "shorter_notice": {
            "surges": len(short),
            "ready_as_early_as_possible": _share([_in_time(pair.told) for pair in short]),
            "could_not_be_ready_before_the_step": sum(pair.told.possible_lead_s < 0 for pair in short),
            **_behind(short),
        },
        "volts": {
            "notice_10_min_or_more": _both(long_notice),
            "shorter_notice_ready_before_the_step": _both([pair for pair in short if pair.told.ready]),
            "shorter_notice_too_late": _both([pair for pair in short if not pair.told.ready]),
        },
        "pairs": [_row(pair) for pair in found],
    }  # fmt: skip


def exhibit(found: list[Pair]) -> dict:
    """The pair of ten minutes' notice or more that hurts most without, at 1 ms, as `report.pictures` draws it."""
    trial = min((pair for pair in found if pair.trial.notice_s >= LONG_NOTICE_S),
                key=lambda pair: pair.untold.min_pcc_v).trial  # fmt: skip
    (_, told), (_, untold) = play(trial, True), play(trial, False)
    at_s = (np.array(told.t_us) - round(trial.notice_s * 1e6)) / 1e6
    return {"at_s": at_s.tolist(), "with_v": list(told.pcc_min_v), "without_v": list(untold.pcc_min_v),
            "with_a": _phase_a(told).tolist(), "without_a": _phase_a(untold).tolist(),
            "notice_s": trial.notice_s, "job_w": trial.job_w}  # fmt: skip


def _phase_a(trace: Trace) -> np.ndarray:
    """(n,) A of one of three equal phases, at the power factor of the load's active part."""
    volts = np.array(trace.pcc_v)
    return np.divide(np.array(trace.pcc_import_w), 3 * volts, out=np.zeros(len(volts)), where=volts > 0)


def _in_time(told: Outcome) -> bool:
    return told.lead_s >= told.possible_lead_s - SLACK_S


def _share(true: list[bool]) -> float | None:
    return round(sum(true) / len(true), 4) if true else None


def _behind(found: list[Pair]) -> dict:
    """By how much the lead is behind the best that physics allows, s."""
    late_s = [pair.told.possible_lead_s - pair.told.lead_s for pair in found if np.isfinite(pair.told.lead_s)]
    if not late_s:
        return {}
    return {"behind_the_possible_lead_s": {"median": round(float(np.median(late_s)), 1),
                                           "most": round(max(late_s), 1)},
            "never_ready": len(found) - len(late_s)}  # fmt: skip


def _both(found: list[Pair]) -> dict:
    return {"surges": len(found), "with": _volts([pair.told for pair in found]),
            "without": _volts([pair.untold for pair in found])} if found else {"surges": 0}  # fmt: skip


def _volts(items: list[Outcome]) -> dict:
    return {
        "below_en50160": sum(min(item.min_pcc_v, item.min_1ms_v) < LOW_V for item in items),
        "outside_itic": sum(item.itic_violations > 0 for item in items),
        "lowest_v": round(min(min(item.min_pcc_v, item.min_1ms_v) for item in items), 1),
        "median_lowest_v": round(float(np.median([item.min_1ms_v for item in items])), 1),
        "median_highest_phase_a": round(float(np.median([item.max_1ms_a for item in items])), 1),
        "highest_import_kw": round(max(item.peak_import_w for item in items) / 1000, 2),
        "dip_s": round(sum(item.dip_s for item in items), 1),
        "genset_starts": sum(item.genset_starts for item in items),
        "mean_soc_at_start": round(float(np.mean([item.soc_at_start for item in items])), 3),
    }


def _row(pair: Pair) -> dict:
    trial, told, untold = pair.trial, pair.told, pair.untold
    return {"notice_s": round(trial.notice_s, 1), "load_w": round(trial.base_w + trial.job_w),
            "lead_s": round(told.lead_s, 1) if np.isfinite(told.lead_s) else None,
            "possible_lead_s": round(told.possible_lead_s, 1), "with_v": round(told.min_1ms_v, 2),
            "without_v": round(untold.min_1ms_v, 2), "with_a": round(told.max_1ms_a, 1),
            "without_a": round(untold.max_1ms_a, 1), "soc": round(told.soc_at_start, 4),
            "with_genset_starts": told.genset_starts, "without_genset_starts": untold.genset_starts}  # fmt: skip


def play(trial: Trial, told: bool, record_us: int = RECORD_AFTER_US) -> tuple[Outcome, Trace]:
    """One trial, from its announcement to AFTER_S after the step, and its recording at 1 ms from RECORD_BEFORE_US
    before the step to record_us after it."""
    site, settings = _site(trial)
    need_wh = _need_wh(trial, settings)
    possible_lead_s = _possible_lead_s(trial, settings, need_wh)
    late_s = -possible_lead_s if told else 0.0  # an inverter told too late comes after the step
    start_us, end_us = round(trial.notice_s * 1e6), round((trial.notice_s + max(AFTER_S, late_s + 30)) * 1e6)
    site.add_job(start_us, end_us, trial.job_w)
    recorded = site.record(max(0, start_us - RECORD_BEFORE_US), start_us + record_us, 1000)
    controller, image = Controller(settings), Image()
    if told:
        _tell(controller, trial, settings, site.config.battery_wh)
    ready_us, kept_us = None, 0
    while site.now_us < end_us:
        near = BUSY_S[0] * 1e6 <= site.now_us - start_us < BUSY_S[1] * 1e6
        step_us = BUSY_US if near else QUIET_US
        _round(site, controller, image, step_us // 1000)
        if controller.prepare.active and site.now_us - kept_us >= 60_000_000:
            _write(site, 715, OpCtl=3)  # an idle inverter falls asleep again: it is told to stay
            kept_us = site.now_us
        enough = site.battery.energy_wh >= need_wh or site.now_us > start_us  # from the step on the need shrinks too
        if ready_us is None and site.inverter.state == RUNNING and enough:
            ready_us = site.now_us
        if site.now_us == start_us:
            soc = site.battery.soc
        until_us = site.now_us + step_us
        site.advance(min(until_us, start_us) if site.now_us < start_us < until_us else until_us)
    totals = site.totals()
    outcome = Outcome(
        lead_s=(start_us - ready_us) / 1e6 - RESPONSE_S if ready_us is not None else -np.inf,
        possible_lead_s=possible_lead_s,
        min_pcc_v=totals.min_pcc_v,
        min_1ms_v=min(recorded.pcc_min_v),
        max_1ms_a=float(_phase_a(recorded).max()),
        peak_import_w=totals.peak_import_w,
        dips=totals.dip_count,
        dip_s=totals.dip_s,
        itic_violations=totals.itic_violations,
        genset_starts=totals.genset_starts,
        soc_at_start=soc,
    )
    return outcome, recorded


def _site(trial: Trial) -> tuple[Site, Config]:
    plant = SiteConfig(start_soc=trial.soc, starts_asleep=True, wake_s=trial.wake_s,
                       enter_service_s=trial.enter_service_s, battery_temperature_c=trial.cell_c)  # fmt: skip
    settings = Config()
    settings.import_limit_w, settings.fallback = 12_000, 0
    settings.pv_meter_unit = settings.genset_meter_unit = 0
    return Site(plant, loads=[Series(0, 3_600_000_000, [trial.base_w])], seed=1), settings


def _need_wh(trial: Trial, settings: Config) -> float:
    """Stored energy that the whole job needs above the import limit, on top of the least state of charge."""
    excess_w = max(0.0, trial.base_w + trial.job_w - (settings.import_limit_w - settings.import_margin_w))
    low_wh = settings.soc_min_permille / 1000 * 60_000
    return low_wh + excess_w * trial.duration_s / 3600 / EFFICIENCY


def _possible_lead_s(trial: Trial, settings: Config, need_wh: float) -> float:
    """Lead when the inverter wakes at once and then charges with all that the import limit leaves."""
    room_w = settings.import_limit_w - settings.import_margin_w - trial.base_w
    missing_wh = max(0.0, need_wh - trial.soc * 60_000)
    charge_s = missing_wh / (room_w * 0.97) * 3600
    if missing_wh and trial.cell_c < 0:  # frozen cells take no charge
        charge_s = np.inf
    awake_s = trial.notice_s - trial.wake_s - trial.enter_service_s
    plant = SiteConfig()
    reactive_var = (trial.base_w + trial.job_w) * tan(acos(plant.load_power_factor))
    volts = pcc_voltage_v(plant.source_v, plant.feeder_r_ohm, plant.feeder_x_ohm, trial.base_w + trial.job_w,
                          reactive_var)  # fmt: skip
    if awake_s < 0 and volts < ENTER_PU * plant.nominal_v:
        # The step's own dip ends the wait for service, which begins again when the set has taken over.
        on_set_s = plant.amf_delay_s + plant.genset_start_s
        awake_s = -(max(on_set_s, trial.wake_s - trial.notice_s) + trial.enter_service_s)
    awake_s -= RESPONSE_S
    # What is not stored when the step comes is not stored any more; the inverter then still helps with what there is.
    return awake_s - charge_s if awake_s >= charge_s else min(0.0, awake_s)


def _tell(controller: Controller, trial: Trial, settings: Config, capacity_wh: float) -> None:
    """What the host does on an announcement: plan, and have the board prepare."""
    storage = Storage(capacity_wh, EFFICIENCY, EFFICIENCY, 30_000, 30_000, settings.soc_min_permille / 1000, 0.95, 0.25,
                      settings.import_limit_w - settings.import_margin_w, settings.export_limit_w, 0.02)  # fmt: skip
    steps = plan_steps(24)
    job = Announcement("job", trial.job_w, trial.notice_s, trial.duration_s)
    ends = np.cumsum(steps)
    share = np.clip(
        np.minimum(ends, trial.notice_s + trial.duration_s) - np.maximum(ends - steps, trial.notice_s), 0, None
    )
    load_w = trial.base_w + trial.job_w * share / steps
    found = surges([job], np.full(288, trial.base_w), 0.0, 300)
    asked = Situation(steps, load_w, np.zeros(len(steps)), 0.2, trial.soc, surges=found,
                      battery_temperature_c=trial.cell_c)  # fmt: skip
    points = board_points(Dispatcher(storage).plan(asked))
    for index, (duration_s, mode, value_w) in enumerate(points):
        controller.plan.gather(1, index, duration_s, mode, value_w)
    controller.plan.commit(1, len(points), 0)
    controller.prepare.start(round(trial.job_w), round(trial.notice_s), round(trial.duration_s), controller.events)


def _round(site: Site, controller: Controller, image: Image, dt_ms: int) -> None:
    """One round of the board: measure, decide, command."""
    inverter, battery = site.inverter, site.battery
    image.period_ms = dt_ms
    image.begin(dt_ms)
    image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.host_age_ms = 0
    image.pcc_import_w, image.active_power_w = round(site.pcc_import_w), round(inverter.power_w)
    image.pcc_voltage_mv, image.frequency_millihz = round(1000 * site.pcc_voltage_v), 50_000
    states = {RUNNING: INVERTER_RUNNING, SLEEPING: INVERTER_ASLEEP}
    image.inverter_state = states.get(inverter.state, INVERTER_WAKING)
    image.soc_permille = int(1000 * battery.soc)
    image.charge_max_w, image.discharge_max_w = int(battery.charge_max_w), int(battery.discharge_max_w)
    controller.step(image)
    while controller.events.pop():
        pass
    if controller.wake and inverter.state == SLEEPING:
        _write(site, 715, OpCtl=3)
    if controller.command and inverter.state == RUNNING:
        _write(site, 704, WSetEna=1, WSet=controller.setpoint_w)


def _write(site: Site, model: int, **changes: float) -> None:
    site.inverter.controls[model].update(changes)
    site.inverter.written(site.now_us, model, changes)
