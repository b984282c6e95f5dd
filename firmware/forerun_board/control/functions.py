"""What a site was commissioned for beyond limits, orders and its battery's own bounds; no part of it costs memory
where it is not wanted: each is imported when its bit in the setting `functions` is set."""

from forerun_board.control import config as c
from forerun_board.control import controller as ctl
from forerun_board.control import image as im
from forerun_board.control import window as win

NOMINAL_MV = 230_000
# Numbers as on the wire.
SUPPORT_BEGAN = 36
SUPPORT_ENDED = 37
BOUND_FREQUENCY = 10
BOUND_VOLTAGE = 11
BOUND_ENTER_SERVICE = 12
BOUND_TEMPERATURE = 13
BOUND_PEAK = 14

# What a bit of `functions` brings into memory; whoever loads these one by one, and collects garbage in between, finds
# room for all of them.
MODULES = (
    (15, "grid_support"),
    (c.FUNCTION_ENTER_SERVICE, "enter_service"),
    (c.FUNCTION_PEAK, "peak"),
    (c.FUNCTION_BATTERY_CARE, "battery_care"),
    (c.FUNCTION_GENSET, "genset_control"),
    (c.FUNCTION_ISLANDING, "islanding"),
    (c.FUNCTION_TRIP, "trip"),
)
DAY_S = 86_400
VAR_TAU_MS = 2_170
ENERGY_MAX_WH = 250_000
TEMPERATURE_MS = 120_000  # cells are slow; a sensor that is silent for longer than this is lost


class Functions:
    """Steps what is there, and narrows the controller's window with it. Parts that are not commissioned are None."""

    def __init__(self, config, curves=None):
        self._config = config
        mask = config.functions
        self.support = _support(config, mask, curves or {})
        self.enter = None
        self.peak = None
        self.care = None
        self.genset = None
        self.island = None
        self.shedding = None
        self._day_offset_s = -1
        self._reactive_var = 0
        self._turn = 0
        self._genset_ms = self._support_ms = 0  # since their last turn
        self._released = False  # the button was pressed and let go since the set's last turn
        self.charge_w = 0  # what the battery has to take of a diesel set that carries the site
        self.trip = None
        if mask & c.FUNCTION_ENTER_SERVICE:
            from forerun_board.control.enter_service import EnterService

            self.enter = EnterService(1000 * config.enter_delay_s, config.enter_ramp_permille_per_min)
        if mask & c.FUNCTION_PEAK:
            from forerun_board.control.peak import Peak

            self.peak = Peak(config.peak_limit_w, config.peak_window_s, config.import_limit_w)
        if mask & c.FUNCTION_BATTERY_CARE:
            from forerun_board.control.battery_care import BatteryCare

            self.care = BatteryCare(config)
        if mask & c.FUNCTION_GENSET:
            from forerun_board.control.genset_control import GensetControl

            self.genset = GensetControl(config)
        if mask & c.FUNCTION_ISLANDING:
            from forerun_board.control.islanding import Islanding, Shedding

            self.island = Islanding(NOMINAL_MV, c.NOMINAL_MILLIHZ, 1000 * config.grid_wait_s)
            if config.shed_groups:
                self.shedding = Shedding(config.shed_groups, config.shed_margin_s)
        if mask & c.FUNCTION_TRIP:
            from forerun_board.control.trip import Trip

            self.trip = Trip(config)
        self.pv_permille = 1000
        self._fed_mv = NOMINAL_MV
        self._fed_millihz = c.NOMINAL_MILLIHZ
        self._supporting = False
        # Whose turn it is in a round, of those that are there; -1: it is not.
        self._support_turn = 0 if self.support is not None else -1
        self._care_turn = self._support_turn + 1 if self.care is not None else -1
        self._genset_turn = max(self._support_turn, self._care_turn) + 1 if self.genset is not None else -1
        self._turns = max(self._support_turn, self._care_turn, self._genset_turn, 0) + 1

    def step(self, controller, image, dt_ms):
        """Advance all parts by one round; what they found is in them."""
        fresh = not controller.meter.stale
        self._find_fed(controller, image)
        # Cells, engines and answers to the grid are slow beside a round: they take turns, so that none pays for all.
        turn = self._turn = (self._turn + 1) % self._turns
        self._genset_ms += dt_ms
        self._support_ms += dt_ms
        if controller.interlock.reset:
            self._released = True
        if not (fresh or image.inputs & im.INPUT_TIE_OPEN):
            controller.reactive_var = 0  # a voltage that is not measured asks for nothing
        elif turn == self._support_turn and self.support is not None:
            self._support_step(self.support, controller, image, self._support_ms)
            self._support_ms = 0
        if self.enter is not None:
            if controller.grid_down or image.inverter_state != im.INVERTER_RUNNING:
                self.enter.leave()
            elif fresh:
                self.enter.step(image.pcc_voltage_mv, image.frequency_millihz, dt_ms)
        if controller.day_offset_s != self._day_offset_s:
            self._day_offset_s = controller.day_offset_s
            if self.peak is not None:
                self.peak.align(self._second_of_day(image) % self._config.peak_window_s)
        if self.peak is not None and fresh:
            self.peak.step(image.pcc_import_w, dt_ms)
        if turn == self._care_turn and self.care is not None:
            self.care.step(image.cell_decic, image.soc_permille, image.air_decic, image.humidity_permille)
            if image.temperature_age_ms > TEMPERATURE_MS:
                self.care.lose()
        if self.trip is not None:
            self._trip_step(self.trip, controller, image, dt_ms)
        if self.island is not None:
            self._island_step(self.island, controller, image, dt_ms)
        if turn == self._genset_turn and self.genset is not None:
            self._genset_step(self.genset, controller, image, self._genset_ms)
            self._genset_ms = 0
        self.pv_permille = 1000 if controller.prepare.release_pv else self._config.pv_limit_permille
        if self.support is not None:
            self.pv_permille = min(self.pv_permille, self.support.pv_permille)

    def _find_fed(self, controller, image):
        """What the inverter feeds: the island behind an open contactor, whatever the grid does meanwhile, else the
        grid. A voltage that nobody measures, or that is not there, has its own names: here it counts as nominal."""
        self._fed_mv = NOMINAL_MV
        self._fed_millihz = c.NOMINAL_MILLIHZ
        if image.inputs & im.INPUT_TIE_OPEN:
            known = image.bus_age_ms <= max(self._config.stale_ms, 3 * image.period_ms)
            if known and image.bus_mv >= NOMINAL_MV // 2:
                self._fed_mv = image.bus_mv
                if image.bus_millihz > 0:  # not every inverter tells it
                    self._fed_millihz = image.bus_millihz
        elif not (controller.meter.stale or controller.grid_down):
            self._fed_mv = image.pcc_voltage_mv
            self._fed_millihz = image.frequency_millihz

    def _support_step(self, support, controller, image, dt_ms):
        support.step(self._fed_millihz, self._fed_mv)
        rated_w = self._config.rated_w
        # An open-loop response of 5 s to 90 % (IEEE 1547-2018, table 8, category B): the voltage answers to the
        # reactive power, and without it they would chase each other.
        target_var = rated_w * support.reactive_permille // 1000
        self._reactive_var += (target_var - self._reactive_var) * min(dt_ms, 500) // VAR_TAU_MS
        controller.reactive_var = self._reactive_var
        supporting = support.high_w < rated_w or support.low_w > -rated_w or support.volt_high_w < rated_w
        if supporting != self._supporting:
            self._supporting = supporting
            code = SUPPORT_BEGAN if supporting else SUPPORT_ENDED
            controller.events.push(code, self._fed_millihz, self._fed_mv)

    def _trip_step(self, trip, controller, image, dt_ms):
        trip.step(
            self._fed_mv,
            self._fed_millihz,
            0,
            image.cell_decic,
            image.now_s,
            dt_ms,
            controller.events,
        )
        if trip.open:
            controller.faults |= ctl.FAULT_TRIP

    def _island_step(self, island, controller, image, dt_ms):
        # A meter that is silent says nothing: neither that the grid is lost nor that it is back, neither that the bus
        # lives nor that it is dead.
        island.grid_known = not controller.meter.stale
        island.bus_known = image.bus_age_ms <= max(self._config.stale_ms, 3 * image.period_ms)
        island.grid_mv = image.pcc_voltage_mv
        island.grid_millihz = image.frequency_millihz
        island.bus_mv = image.bus_mv
        island.bus_millihz = image.bus_millihz
        island.tie_open = image.inputs & im.INPUT_TIE_OPEN != 0
        island.may_form = (
            not controller.faults & (ctl.FAULT_TRIP | ctl.FAULT_DOOR | ctl.FAULT_BATTERY)
            and image.soc_permille > self._config.soc_min_permille
        )
        island.step(dt_ms, controller.events)
        if self.shedding is not None:
            self._shed_step(self.shedding, island, controller, image, dt_ms)

    def _shed_step(self, shedding, island, controller, image, dt_ms):
        """Off the grid the load may not ask for more than battery and generators give, nor empty the battery."""
        config = self._config
        available_w = win.WIDEST_W
        energy_wh = ENERGY_MAX_WH
        if island.tie_open and not controller.battery.stale:
            made_w = max(0, controller.pv_w) + max(0, controller.genset_w)
            available_w = min(config.discharge_max_w, image.discharge_max_w) + made_w
            if config.battery_wh:
                above = max(0, image.soc_permille - config.soc_min_permille)
                whole_wh, rest_wh = config.battery_wh // 1000, config.battery_wh % 1000
                energy_wh = min(ENERGY_MAX_WH, whole_wh * above + rest_wh * above // 1000)
        if island.shed_all:
            shedding.shed_all()
        elif controller.load_known:
            shedding.step(controller.load_w, available_w, energy_wh, dt_ms, controller.events)

    def _second_of_day(self, image):
        return (image.now_s + self._day_offset_s) % DAY_S

    def _is_quiet(self, image):
        """Whether these are quiet hours; where there are some and nobody has told the time, they are all."""
        start, end = self._config.quiet_start_min, self._config.quiet_end_min
        if start == end:
            return False
        if self._day_offset_s < 0:
            return True
        minute = self._second_of_day(image) // 60
        if start < end:
            return start <= minute < end
        return minute >= start or minute < end

    def _genset_step(self, genset, controller, image, dt_ms):
        genset.power_w = controller.genset_w
        genset.turning = image.inputs & im.INPUT_GENSET_RUNNING != 0
        genset.soc_permille = 1000 if controller.battery.stale else image.soc_permille  # unknown is not empty
        genset.load_w = controller.load_w if controller.load_known else 0  # unknown is no reason to start or to stop
        genset.grid_good = not controller.grid_down
        genset.grid_weak = not controller.meter.stale and image.pcc_voltage_mv < NOMINAL_MV * 9 // 10
        genset.pv_covers = controller.pv_w >= genset.load_w > 0
        genset.charge_free_w = self._charge_free_w(controller, image)
        genset.dump_there = self._config.functions & c.FUNCTION_DUMP != 0
        genset.quiet = self._is_quiet(image)
        genset.fuel_permille = 0 if image.inputs & im.INPUT_FUEL_LOW else -1
        genset.plan = controller.plan.step_index >= 0 and controller.plan.mode & 2 != 0
        genset.trip = controller.faults & (ctl.FAULT_TRIP | ctl.FAULT_DOOR) != 0
        genset.release = self._released
        self._released = False
        genset.step(dt_ms, controller.events)
        self.charge_w = genset.charge_w

    def _charge_free_w(self, controller, image):
        """What the battery may really be charged with now, in W >= 0: the bounds of the decision, once more."""
        if controller.battery.stale or controller.full:
            return 0
        free_w = min(self._config.charge_max_w, image.charge_max_w)
        if self.care is not None:
            free_w = min(free_w, self._config.rated_w * self.care.charge_permille // 1000)
        return free_w

    def narrow_battery(self, window):
        """Temperature, taper near full and empty."""
        if self.care is not None:
            rated_w = self._config.rated_w
            window.narrow(
                -(rated_w * self.care.charge_permille // 1000),
                rated_w * self.care.discharge_permille // 1000,
                BOUND_TEMPERATURE,
            )

    def most_w(self, most_w):
        """What of `most_w` >= 0 temperature, taper and entering service leave, for a stage that no window bounds."""
        rated_w = self._config.rated_w
        if self.care is not None:
            most_w = min(most_w, rated_w * self.care.discharge_permille // 1000)
        if self.enter is not None:
            most_w = min(most_w, rated_w * self.enter.permille // 1000)
        return most_w

    def narrow_grid(self, window):
        """What the grid asks for, after the limits at the PCC."""
        support = self.support
        if support is not None:
            window.narrow(support.low_w, support.high_w, BOUND_FREQUENCY)
            window.narrow(-win.WIDEST_W, support.volt_high_w, BOUND_VOLTAGE)
        if self.enter is not None and self.enter.permille < 1000:
            most_w = self._config.rated_w * self.enter.permille // 1000
            window.narrow(-most_w, most_w, BOUND_ENTER_SERVICE)

    def drive(self, controller):
        """The contacts, in the controller's `outputs`."""
        outputs = controller.outputs
        if self.genset is not None:
            if self.genset.start:
                outputs |= ctl.OUTPUT_GENSET_START
            if self.genset.dump:
                outputs |= ctl.OUTPUT_DUMP
        elif controller.grid_down and self._config.genset_meter_unit != 0 and not controller.faults & ctl.FAULT_TRIP:
            outputs |= ctl.OUTPUT_GENSET_START
        if self.care is not None:
            if self.care.heat:
                outputs |= ctl.OUTPUT_HEATER
            if self.care.fan:
                outputs |= ctl.OUTPUT_FAN
        if self.island is not None:
            if self.island.tie_wanted_open:
                outputs |= ctl.OUTPUT_TIE_OPEN
            if self.island.forming:
                outputs |= ctl.OUTPUT_FORM
            if self.island.synchronise:
                outputs |= ctl.OUTPUT_SYNCHRONISE
        if self.shedding is not None:
            outputs |= (1 << self.shedding.level) - 1 << ctl.OUTPUT_SHED_SHIFT
        controller.pv_permille = min(controller.pv_permille, self.pv_permille)
        controller.outputs = outputs


def _support(config, mask, curves):
    """GridSupport with the curves whose bits are set, or None. `curves`: {curve: points} that were given."""
    if not mask & 15:
        return None
    from forerun_board.control import grid_support as gs

    over = curves.get(0) or gs.over_frequency(config.over_start_millihz, config.over_droop_permille)
    under = curves.get(1) or gs.under_frequency(config.under_start_millihz, config.under_droop_permille)
    volt_watt = curves.get(2) or gs.volt_watt(config.volt_watt_start_mv, config.volt_watt_end_mv)
    volt_var = curves.get(3) or gs.volt_var(NOMINAL_MV, config.volt_var_permille)
    return gs.GridSupport(
        config.rated_w,
        _curve(mask & c.FUNCTION_OVER_FREQUENCY, over, gs.frequency_objection),
        _curve(mask & c.FUNCTION_UNDER_FREQUENCY, under, gs.frequency_objection),
        _curve(mask & c.FUNCTION_VOLT_WATT, volt_watt, gs.voltage_objection),
        _curve(mask & c.FUNCTION_VOLT_VAR, volt_var, gs.voltage_objection),
    )


def _curve(wanted, points, objection):
    """The curve through `points` if it is wanted, else None. ValueError if they are no such curve."""
    if not wanted:
        return None
    sentence = objection(points)
    if sentence:
        raise ValueError(sentence)
    from forerun_board.control.curve import Curve

    return Curve(points)
