"""Ways of running a site through a year in 5-minute steps, on a plant that keeps energy, limits and losses, no voltages
(`forerun.plant.site` has those). Where there is a battery, the board's own control code decides.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from forerun import config
from forerun.compute.load import Announcement
from forerun.dispatch.dispatcher import HOLD_PCC, WITH_SET, Dispatcher, board_points, ruled_storage, rules_set
from forerun.dispatch.planning import STEP_S, Known, Outlook, outlook
from forerun.dispatch.situation import temperature_shares
from forerun.forecast.jobs import JobModel, Told
from forerun.forecast.model import DAY_S
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_RUNNING, Image
from forerun_wire.messages import SETTINGS

CASES = {
    "B0": "grid and standby set",
    "B1": "same hardware, greedy self-consumption",
    "B2": "weak grid, set lops peaks",
    "ours": "board and planner",
}
STRETCHES = 4  # a case with a board is played in so many stretches at once, each begun WARM_UP steps early
WARM_UP = 3 * 288
REPLAN_S, SLOT_S = 6 * 3600, 3 * 3600
REFIT_S = 48 * 86_400  # two fits a stretch and its warm-up; a running site fits anew every few hours
HISTORY = 28 * 288
MONTH_H = 730  # a twelfth of the year
INVERTER_OWN_W = 60.0
MISSED = 0.1  # of the charge, as on a running site
LOPPING_SHARE, LOPPING_STEPS = 0.8, 12  # B2: the set runs from so much of the import limit on, an hour at least
PANEL_STEPS = 6  # the panel runs a set half an hour at least


@dataclass(frozen=True, slots=True)
class Weather:
    """Inputs of a year, the same for every case: (n,) means from start_s (UTC) on; jobs are in load_w too, each with
    its notice. cell_c: the battery's cells, which heater_w keeps from freezing."""

    start_s: int
    load_w: np.ndarray
    pv_w: np.ndarray
    cell_c: np.ndarray
    heater_w: np.ndarray
    jobs: tuple[tuple[float, Announcement], ...]  # (announced at, job)


@dataclass(slots=True)
class Played:
    """What a case did: (n,) each, W and Wh; curtailed_w: PV that nobody could take; genset_on per step."""

    import_w: np.ndarray
    curtailed_w: np.ndarray
    genset_w: np.ndarray
    genset_on: np.ndarray
    discharge_w: np.ndarray
    stored_wh: np.ndarray | None
    over_limit: np.ndarray
    replans: int = 0


def joined(parts: list[Played]) -> Played:
    """Stretches put together again."""
    whole = {}
    for field in fields(Played):
        values = [getattr(part, field.name) for part in parts]
        whole[field.name] = sum(values) if field.name == "replans" else (
            None if values[0] is None else np.concatenate(values))  # fmt: skip
    return Played(**whole)


def stretches(name: str, steps: int) -> list[tuple[int, int]]:
    """(first, one after the last) step of each part that a case is played in."""
    count = STRETCHES if name in ("B1", "ours") and steps >= 60 * 288 else 1
    return list(pairwise(np.linspace(0, steps, count + 1).astype(int).tolist()))


def play(name: str, site: config.SiteFile, weather: Weather, first: int, last: int) -> Played:
    """A stretch of a case."""
    if name in ("B0", "B2"):
        return _without_battery(site, weather, first, last, 1.0 if name == "B0" else LOPPING_SHARE)
    begin = max(0, first - WARM_UP)
    planner = PLANNERS[name](site, weather, begin) if name in PLANNERS else None
    played = _with_battery(site, weather, begin, last, planner)
    warm = first - begin
    for field in fields(Played):
        if field.name != "replans":
            setattr(played, field.name, getattr(played, field.name)[warm:])
    return played


def _without_battery(site: config.SiteFile, weather: Weather, first: int, last: int, from_share: float) -> Played:
    """PV is used as it comes. Above from_share of the import limit the set runs: in B0 its panel gives it the whole
    site (half an hour at least), in B2 it lops what is above, an hour at least, never below its least power."""
    limit_w, rated_w, whole = float(site.limits.import_limit_w), float(site.genset.rated_w), from_share >= 1
    net_w = weather.load_w[first:last] - weather.pv_w[first:last]
    on = np.zeros(len(net_w), dtype=bool)
    for step in np.flatnonzero(net_w > from_share * limit_w) if rated_w else ():
        on[step : step + (PANEL_STEPS if whole else LOPPING_STEPS)] = True
    if whole:
        genset_w = np.where(on, np.clip(net_w, 0, rated_w), 0.0)
    else:
        genset_w = np.where(on, np.clip(net_w - from_share * limit_w, site.genset.min_load * rated_w, rated_w), 0.0)
    import_w = np.maximum(net_w - genset_w, -float(site.limits.export_limit_w))
    curtailed_w = import_w - (net_w - genset_w)
    return Played(import_w, curtailed_w, genset_w, on, np.zeros(len(net_w)), None, import_w > limit_w + 1)


def _with_battery(site: config.SiteFile, weather: Weather, first: int, last: int, planner: "Planner | None") -> Played:
    """The board's controller decides when the load has changed, and again once the inverter followed."""
    controller, image = _board(site)
    limits, battery = site.limits, site.battery
    # Above the limit the feeder's voltage is too low: the panel starts the set and gives it what the mains gave.
    rated_w, panel_until = float(site.genset.rated_w), 0
    capacity, charge_eff, discharge_eff = battery.capacity_wh, battery.efficiency_charge, battery.efficiency_discharge
    energy, power, hours, ruled, set_w = 0.5 * capacity, 0.0, STEP_S / 3600, False, 0.0
    low_wh, high_wh, export_w = limits.soc_min * capacity, limits.soc_max * capacity, float(limits.export_limit_w)
    load = (weather.load_w + weather.heater_w + INVERTER_OWN_W)[first:last].tolist()
    sun, cells = weather.pv_w[first:last].tolist(), weather.cell_c[first:last].tolist()
    rows = []
    for step in range(last - first):
        if planner:
            ruled, set_w = planner.rule(first + step, energy / capacity, controller.lease)
        net = load[step] - sun[step] - set_w
        if step % 12 == 0:
            charge_share, discharge_share = temperature_shares(cells[step])
            charge_w, discharge_w = limits.charge_max_w * charge_share, limits.discharge_max_w * discharge_share
        # What a full or an empty battery can still take or give in this step, as its BMS would say.
        can_charge = max(0.0, (high_wh - energy) / hours / charge_eff)
        can_discharge = max(0.0, (energy - low_wh) / hours * discharge_eff)
        image.charge_max_w = int(min(charge_w, can_charge))
        image.discharge_max_w = int(min(discharge_w, can_discharge))
        image.soc_permille = int(1000 * energy / capacity)
        image.pv_w = int(sun[step])
        for _ in range(2):
            before = power
            image.pcc_import_w, image.active_power_w = int(net - before), int(before)
            controller.step(image)
            power = float(controller.setpoint_w)
            if power == before:
                break
        while controller.events.pop():
            pass
        energy -= (power / discharge_eff if power > 0 else power * charge_eff) * hours
        grid, genset_w = net + set_w - power, 0.0
        on = ruled or step < panel_until
        if ruled:  # a set beside the mains gives more where they would pass their limit, and less before it exports
            genset_w = min(max(min(set_w, grid), grid - limits.import_limit_w, 0.0), rated_w)
        if grid - genset_w > limits.import_limit_w + 1 and rated_w:
            panel_until, on = step + PANEL_STEPS, True
        if step < panel_until:
            genset_w = min(max(grid, 0.0), rated_w)
        grid -= genset_w
        import_w = max(grid, -export_w)  # PV that nobody may take is curtailed
        rows.append((import_w, import_w - grid, genset_w, on, max(0.0, power), max(0.0, energy - low_wh)))
        if planner:
            planner.saw(first + step, import_w, ruled)
    import_w, curtailed_w, genset_w, on, discharge_w, stored_wh = np.array(rows).T
    return Played(import_w, curtailed_w, genset_w, on > 0, discharge_w, stored_wh, import_w > limits.import_limit_w + 1,
                  planner.replans if planner else 0)  # fmt: skip


def _board(site: config.SiteFile) -> tuple[Controller, Image]:
    """A controller with the site's settings, and an image a second after the one before, in which everything is fresh
    and the inverter runs."""
    settings = Config()
    for key, value in config.board_settings(site).items():
        setattr(settings, next(name for number, name, *_ in SETTINGS if number == key), value)
    settings.genset_meter_unit, settings.fallback = 0, 1
    settings.ramp_w_per_s = 1_000_000  # a step of five minutes is over before a ramp of seconds
    image = Image()
    image.begin(1000)
    image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.pv_age_ms = image.host_age_ms = 0
    image.inverter_state, image.pcc_voltage_mv, image.frequency_millihz = INVERTER_RUNNING, 230_000, 50_000
    return Controller(settings), image


class Planner:
    """The host's part: forecasts, plans, and a lease for each step; only what was known then is used."""

    def __init__(self, site: config.SiteFile, weather: Weather, first: int):
        self.site, self.weather, self.replans = site, weather, 0
        # As on the real site, a set that the board does not rule has no order to run beside the mains: the plan does
        # without. One dispatcher for each part of the day: from yesterday's plan at this time it is half as far as from
        # that of six hours ago.
        self._dispatchers = [Dispatcher(ruled_storage(site, rules_set(site))) for _ in range(DAY_S // SLOT_S)]
        self._model: JobModel | None = None
        self._told: list[Told] = []
        self._next_s = self._refit_s = weather.start_s + first * STEP_S
        self._announced: list[Announcement] = []
        self._waiting = list(weather.jobs)[::-1]
        self._points: list[tuple[int, int, float, float]] = []
        self._from = 0
        self._hour_wh, self._peak_w, self._run_s = 0.0, 0.0, 0.0

    def saw(self, step: int, import_w: float, ruled: bool = False) -> None:
        """Take a step's import, and whether the set ran on an order: the month's highest hour so far is billed
        anyway."""
        self._run_s = self._run_s + STEP_S if ruled else 0.0
        self._hour_wh = max(0.0, import_w) / 12 + (self._hour_wh if step % 12 else 0.0)
        month_begins = (step + 1) % (MONTH_H * 12) == 0
        self._peak_w = 0.0 if month_begins else max(self._peak_w, self._hour_wh)

    def rule(self, step: int, soc: float, lease) -> tuple[bool, float]:
        """Grant the board's lease for this step, planning anew when it is time, when something was announced, or when
        the charge that a set was to fill is far off; whether the set is to run, and what the plan counts on from it."""
        now_s = self.weather.start_s + step * STEP_S
        while self._waiting and self._waiting[-1][0] <= now_s:
            heard_s, job = self._waiting.pop()
            self._told.append(Told(heard_s, job))
            if job.start_utc_s + job.duration_s > now_s:
                self._announced.append(job)
                self._next_s = now_s
        before = self._points[min(step - self._from, len(self._points)) - 1] if self._points else None
        if now_s >= self._next_s or (rules_set(self.site) and abs(before[3] - soc) >= MISSED):
            self._replan(step, now_s, soc)
        mode, value_w, set_w, _ = self._points[min(step - self._from, len(self._points) - 1)]
        lease.grant(mode & HOLD_PCC, value_w, 2 * STEP_S * 1000)
        return mode >= WITH_SET, set_w

    def _replan(self, step: int, now_s: int, soc: float) -> None:
        self._announced = [job for job in self._announced if job.start_utc_s + job.duration_s > now_s]
        first = max(0, step - HISTORY)
        since_s = now_s - STEP_S * (step - first)
        self._told = [item for item in self._told if item.end_utc_s > since_s]
        history, sun = self.weather.load_w[first:step], self.weather.pv_w[first:step]
        if now_s >= self._refit_s and len(history) >= 8 * 288:
            self._model = JobModel(history, STEP_S, self.site.plan.horizon_h * 12, since_s, self._told)
            self._refit_s = now_s + REFIT_S
        if self._model is None:
            history = history[-5 * 288 :]  # too short for a model; more would fit one at every plan
        load_now_w = float(history[-1] if step else self.weather.load_w[0])
        known = Known(now_s, history, sun, soc, load_now_w, self._peak_w, self._run_s,
                      battery_temperature_c=float(self.weather.cell_c[step]),
                      month_left_s=3600.0 * MONTH_H - STEP_S * (step % (12 * MONTH_H)))  # fmt: skip
        self._points = self.points(outlook(self.site, known, self._announced, self._model, self._told))
        self._from, self._next_s = step, now_s + REPLAN_S
        self.replans += 1

    def points(self, made: Outlook) -> list[tuple[int, int, float, float]]:
        """(mode, value_w) of the board's points for each of the next steps, and what the plan counts on from the set
        and as charge, 0–1, at the end of each."""
        dispatcher = self._dispatchers[made.start_s % DAY_S // SLOT_S]
        plan, limit_w = dispatcher.plan(made.situation), dispatcher.storage.import_limit_w
        set_w = np.repeat(plan.genset_w, (plan.step_s // STEP_S).astype(int)).tolist()
        ends_s = np.concatenate([[0.0], np.cumsum(plan.step_s)])
        soc = np.interp(STEP_S * np.arange(1, len(set_w) + 1), ends_s, [made.situation.soc, *plan.soc]).tolist()
        orders = [(mode, value_w) for duration_s, mode, value_w in board_points(plan, STEP_S, limit_w)
                  for _ in range(duration_s // STEP_S)]  # fmt: skip
        return [(*order, *counted) for order, *counted in zip(orders, set_w, soc, strict=True)]


PLANNERS: dict[str, type[Planner]] = {"ours": Planner}  # case -> who plans in it
