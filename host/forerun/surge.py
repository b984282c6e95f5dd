"""The surge experiment: many announced load steps on a weak feeder, each played with and without the announcement.

The plant and the board's control code are the real ones, joined in one process; the plan is the host's. An inverter
that sleeps needs its wake-up and the enter-service delay before it helps: the reason why five minutes matter.
"""

import concurrent.futures
from dataclasses import dataclass

import numpy as np

from forerun.compute import Announcement, surges
from forerun.dispatch import Dispatcher, Situation, Storage, board_points, plan_steps
from forerun.plant.inverter import RUNNING, SLEEPING
from forerun.plant.series import Series
from forerun.plant.site import Site, SiteConfig, Trace
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_ASLEEP, INVERTER_RUNNING, INVERTER_WAKING, Image

READY_AHEAD_S = 300.0
LONG_NOTICE_S = 600.0
QUIET_US, BUSY_US = 1_000_000, 50_000  # rounds of the board; short around the step
BUSY_S = (-1.0, 15.0)
AFTER_S = 120.0
LOW_V = 207.0  # EN 50160: 230 V less a tenth
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """lead_s: how long before the step inverter and energy were ready, below 0 after it, −inf never; possible_lead_s:
    the best that physics allows from the announcement on; lowest voltage in V, highest import in W, at 1 to 10 ms."""

    lead_s: float
    possible_lead_s: float
    min_pcc_v: float
    peak_import_w: float
    dips: int
    itic_violations: int
    genset_starts: int
    soc_at_start: float


def trials(count: int, seed: int) -> list[Trial]:
    """Announced steps that storage can carry: notice from half a minute to an hour."""
    rng = np.random.default_rng(seed)
    return [
        Trial(
            notice_s=float(np.exp(rng.uniform(np.log(30), np.log(3600)))),
            base_w=float(rng.uniform(4000, 8000)),
            job_w=float(rng.uniform(9000, 14_000)),
            duration_s=float(rng.uniform(900, 3600)),
            soc=float(rng.uniform(0.12, 0.9)),
            wake_s=float(rng.uniform(10, 60)),
            enter_service_s=float(rng.choice([60.0, 300.0])),
        )
        for _ in range(count)
    ]


def experiment(count: int, seed: int) -> dict:
    """Statistics of `count` trials with and without their announcement, as a JSON-ready document."""
    drawn = trials(count, seed)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        told = list(pool.map(play, drawn, [True] * count))
        untold = list(pool.map(play, drawn, [False] * count))
    long_notice = [item for trial, item in zip(drawn, told, strict=True) if trial.notice_s >= LONG_NOTICE_S]
    short = [item for trial, item in zip(drawn, told, strict=True) if trial.notice_s < LONG_NOTICE_S]
    in_time = [item.lead_s >= min(READY_AHEAD_S, item.possible_lead_s - SLACK_S) for item in long_notice]
    return {
        "trials": count,
        "seed": seed,
        "notice_10_min_or_more": {
            "surges": len(long_notice),
            "ready_300_s_ahead": _share([item.lead_s >= READY_AHEAD_S for item in long_notice]),
            "ready_300_s_ahead_or_as_early_as_possible": _share(in_time),
            "could_not_be_300_s_ahead": sum(item.possible_lead_s < READY_AHEAD_S for item in long_notice),
        },
        "shorter_notice": {
            "surges": len(short),
            "ready_as_early_as_possible": _share([item.lead_s >= item.possible_lead_s - SLACK_S for item in short]),
        },
        "with": _voltages([item for item in told if item.lead_s >= 0]),
        "without": _voltages(untold),
    }


def exhibit(seed: int) -> dict:
    """One trial of ten minutes' notice at 1 ms, with and without, as `forerun.pictures.surge_svg` draws it."""
    drawn = trials(200, seed)
    trial = max((item for item in drawn if item.notice_s >= LONG_NOTICE_S), key=lambda item: item.base_w + item.job_w)
    (_, told), (_, untold) = play(trial, True, trace=True), play(trial, False, trace=True)
    at_s = (np.array(told.t_us) - round(trial.notice_s * 1e6)) / 1e6
    return {"at_s": at_s.tolist(), "with_v": list(told.pcc_min_v), "without_v": list(untold.pcc_min_v),
            "with_a": [_phase_a(*row) for row in zip(told.pcc_import_w, told.pcc_v, strict=True)],
            "without_a": [_phase_a(*row) for row in zip(untold.pcc_import_w, untold.pcc_v, strict=True)]}  # fmt: skip


def _phase_a(import_w: float, volts: float) -> float:
    return import_w / 3 / volts if volts else 0.0


def _share(true: list[bool]) -> float | None:
    return round(sum(true) / len(true), 4) if true else None


def _voltages(items: list[Outcome]) -> dict:
    """Over surges that were ready in time, or over all without the announcement."""
    return {
        "surges": len(items),
        "lowest_v": round(min(item.min_pcc_v for item in items), 1),
        "below_en50160": sum(item.min_pcc_v < LOW_V for item in items),
        "outside_itic": sum(item.itic_violations > 0 for item in items),
        "peak_import_kw": round(max(item.peak_import_w for item in items) / 1000, 2),
        "genset_starts": sum(item.genset_starts for item in items),
    }


def play(trial: Trial, told: bool, trace: bool = False) -> Outcome | tuple[Outcome, Trace]:
    """One trial, from its announcement to AFTER_S after the step; with `trace`, also 1 ms around the step."""
    site, settings = _site(trial)
    late_s = trial.wake_s + trial.enter_service_s - trial.notice_s  # an inverter told too late comes after the step
    start_us, end_us = round(trial.notice_s * 1e6), round((trial.notice_s + max(AFTER_S, late_s + 30)) * 1e6)
    site.add_job(start_us, end_us, trial.job_w)
    recorded = site.record(max(0, start_us - 1_000_000), start_us + 9_000_000, 1000) if trace else None
    controller, image = Controller(settings), Image()
    need_wh = _need_wh(trial, settings)
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
        lead_s=(start_us - ready_us) / 1e6 if ready_us is not None else -np.inf,
        possible_lead_s=_possible_lead_s(trial, settings, need_wh),
        min_pcc_v=totals.min_pcc_v,
        peak_import_w=totals.peak_import_w,
        dips=totals.dip_count,
        itic_violations=totals.itic_violations,
        genset_starts=totals.genset_starts,
        soc_at_start=soc,
    )
    return (outcome, recorded) if trace else outcome


def _site(trial: Trial) -> tuple[Site, Config]:
    plant = SiteConfig(start_soc=trial.soc, starts_asleep=True, wake_s=trial.wake_s,
                       enter_service_s=trial.enter_service_s)  # fmt: skip
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
    awake_s = trial.notice_s - trial.wake_s - trial.enter_service_s
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
    asked = Situation(steps, load_w, np.zeros(len(steps)), 0.2, trial.soc, surges=found)
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
