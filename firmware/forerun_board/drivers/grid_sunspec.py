"""What a SunSpec inverter does for the grid by itself, or with its reactive power: models 703, 705, 711, 712, 704, 123.

Loaded only where such a function is commissioned. The inverter sees voltage and frequency every half cycle and acts in
milliseconds; the board's own narrowing of the setpoint stays in force beside it, from the same settings.
"""

from forerun_board.control import config as c
from forerun_board.drivers.sunspec import scale_valid, scaled

ES = 2  # ES, ESVHi, ESVLo, ESHzHi (u32), ESHzLo (u32), ESDlyTms (u32)
ES_DELAY = 9
ES_RAMP = 13
ES_SCALES = 17  # V_SF, Hz_SF
ENABLE = 2  # of 705, 711 and 712
COUNT_711 = 5  # NCtl
SIZE_711 = 10
READ_ONLY_711 = 23  # of the first control
CONTROL_711 = 14  # DbOf (u32), DbUf (u32), KOf, KUf of the first control
REQUEST_711 = 3
SCALES_711 = 11  # Db_SF, K_SF
VAR_704 = 35  # VarSetEna, VarSetMod, VarSetPri, VarSet (i32), VarSetRvrt (i32)
VAR_SET_704 = 38
VAR_REVERT_704 = 44  # VarSetEnaRvrt, VarSetRvrtTms (u32)
VAR_SCALE_704 = 57
MODE_VARS = 4
VAR_123 = 15  # VArWMaxPct
VAR_REVERT_123 = 19
VAR_MODE_123 = 21  # VArPct_Mod, VArPct_Ena
VAR_SCALE_123 = 25
MODE_WMAX = 1

HIGH_PERCENT = 110
LOW_PERCENT = 85
HIGH_MILLIHZ = 50_200
LOW_MILLIHZ = 49_500
VAR_STEP = 100  # var: less than this is not worth a frame


class GridSunspec:
    """The grid functions of `device`, an InverterSunspec, as `config` commissions them."""

    def __init__(self, device, config):
        self._device = device
        self._config = config
        self._var_model = 0
        self._var_scale = 0
        self._written_var = 0
        self.ready = False  # begin() has been through since the inverter was armed

    def begin(self):
        """Generator: hand the commissioned values over. What the inverter does not take is an event, and the board
        acts alone."""
        functions = self._config.functions
        self.ready = True
        self._written_var = 0
        if functions & c.FUNCTION_ENTER_SERVICE and self._address(703):
            yield from self._enter_service(self._address(703))
        if functions & (c.FUNCTION_OVER_FREQUENCY | c.FUNCTION_UNDER_FREQUENCY) and self._address(711):
            yield from self._droop(self._address(711), functions)
        if functions & c.FUNCTION_VOLT_VAR:
            for model in (705, 712):  # a curve of its own would fight over the reactive power
                if self._address(model):
                    good = yield from self._device.get(self._address(model) + ENABLE, 1)
                    if good and self._device.bus.u16(0) == 1:
                        yield from self._device.put(self._address(model) + ENABLE, 0)
            yield from self._find_var()

    def _address(self, model):
        return self._device.models.get(model, (0, 0))[0]

    def _enter_service(self, at):
        device = self._device
        good = yield from device.get(at + ES_SCALES, 2)
        volts, hertz = device.bus.i16(0), device.bus.i16(1)
        if not good:
            return
        if not (-2 <= volts <= 0 and -4 <= hertz <= 0):
            device.refused(at + ES_SCALES)
            return
        high, low = scaled(HIGH_MILLIHZ, -3 - hertz), scaled(LOW_MILLIHZ, -3 - hertz)
        config = self._config
        ramp_s = 60_000 // config.enter_ramp_permille_per_min
        yield from device.put(
            at + ES, 1, scaled(HIGH_PERCENT, -volts), scaled(LOW_PERCENT, -volts),
            high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF, 0, config.enter_delay_s,
        )  # fmt: skip
        yield from device.put(at + ES_RAMP, ramp_s >> 16, ramp_s & 0xFFFF)

    def _droop(self, at, functions):
        device = self._device
        good = yield from device.get(at + COUNT_711, READ_ONLY_711 - COUNT_711 + 1)
        if not good:
            return
        bus = device.bus
        deadband, droop = bus.i16(SCALES_711 - COUNT_711), bus.i16(SCALES_711 - COUNT_711 + 1)
        if not (-4 <= deadband <= 0 and -4 <= droop <= 0):
            device.refused(at + SCALES_711)
            return
        number = 1
        if bus.u16(READ_ONLY_711 - COUNT_711) == 1:  # the first shows what is in force, the next can be written
            if bus.u16(0) < 2:
                return
            number = 2
        config = self._config
        widest = 5_000  # mHz: a direction that is not commissioned begins where no grid is any more
        over = config.over_start_millihz - c.NOMINAL_MILLIHZ if functions & c.FUNCTION_OVER_FREQUENCY else widest
        under = c.NOMINAL_MILLIHZ - config.under_start_millihz if functions & c.FUNCTION_UNDER_FREQUENCY else widest
        over, under = scaled(over, -3 - deadband), scaled(under, -3 - deadband)
        accepted = yield from device.put(
            at + CONTROL_711 + SIZE_711 * (number - 1), over >> 16, over & 0xFFFF, under >> 16, under & 0xFFFF,
            scaled(config.over_droop_permille, -3 - droop), scaled(config.under_droop_permille, -3 - droop),
        )  # fmt: skip
        if accepted:
            accepted = yield from device.put(at + REQUEST_711, number)
        if accepted:
            yield from device.put(at + ENABLE, 1)

    # ---- reactive power

    def _find_var(self):
        """Generator: choose 704 or 123 for the reactive power, with its scale factor."""
        device = self._device
        self._var_model = 0
        for model, offset, low in ((704, VAR_SCALE_704, -3), (123, VAR_SCALE_123, -3)):
            at = self._address(model)
            if at and not self._var_model:
                good = yield from device.get(at + offset, 1)
                scale = device.bus.i16(0)
                if good and scale_valid(scale) and low <= scale <= 3:
                    self._var_model = model
                    self._var_scale = scale
                elif good and scale != -0x8000:
                    device.refused(at + offset)

    def var_due(self, reactive_var):
        """Whether `reactive_var` is so far from what the inverter has that it is worth writing."""
        return self.ready and self._var_model != 0 and abs(reactive_var - self._written_var) >= VAR_STEP

    @property
    def holds_var(self):
        """Whether the inverter has been given a reactive power, whose reversion timer has to be refreshed."""
        return self.ready and self._written_var != 0

    def write_var(self, reactive_var, watchdog_s):
        """Generator: `reactive_var` > 0 injects. On reversion the inverter gives none; watchdog_s is never 0."""
        device = self._device
        at = self._address(self._var_model)
        if self._var_model == 704:
            counts = _towards_zero(reactive_var, -self._var_scale)
            accepted = yield from device.put(at + VAR_REVERT_704, 0, 0, max(1, watchdog_s))
            if accepted:
                high, low = (counts >> 16) & 0xFFFF, counts & 0xFFFF
                if self._written_var == 0:
                    accepted = yield from device.put(at + VAR_704, 1, MODE_VARS, 0, high, low, 0, 0)
                else:
                    accepted = yield from device.put(at + VAR_SET_704, high, low)
        else:
            permille = reactive_var * 1000 // self._config.rated_w
            accepted = yield from device.put(at + VAR_REVERT_123, max(1, watchdog_s))
            if accepted:
                accepted = yield from device.put(at + VAR_123, _towards_zero(permille, -1 - self._var_scale) & 0xFFFF)
            if accepted and self._written_var == 0:
                accepted = yield from device.put(at + VAR_MODE_123, MODE_WMAX, 1)
        if accepted:
            self._written_var = reactive_var
        return accepted


def _towards_zero(value, scale):
    return scaled(value, scale) if value >= 0 else -scaled(-value, scale)
