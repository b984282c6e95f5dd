"""What a grid may ask of every unit: less power at high frequency or voltage, more at low frequency, reactive power.

Shapes from EN 50549-1:2019, clauses 4.6.1 (LFSM-O), 4.6.2 (LFSM-U), 4.7.2 (Q(U)) and 4.7.3 (P(U)), and from
IEEE 1547-2018, tables 8 (volt-var), 10 (volt-watt) and 24 (frequency droop). Each is a curve over what the PCC meter
sees; powers and reactive powers are permille of the rated power.
"""

from forerun_board.control.curve import FALLING, objection

FREQUENCY_MIN_MILLIHZ = 45_000  # less than this is no measurement of a grid that could be helped
FREQUENCY_MAX_MILLIHZ = 60_000
VOLTAGE_MIN_MV = 115_000
VOLTAGE_MAX_MV = 345_000
NOMINAL_MILLIHZ = 50_000


class GridSupport:
    """`high_w` and `low_w` bound active_power_w; `reactive_permille` > 0 injects reactive power; `pv_permille`
    bounds what PV may feed. Any curve may be None: that function is then not commissioned."""

    def __init__(self, rated_w, over=None, under=None, volt_watt=None, volt_var=None):
        self._rated_w = rated_w
        self._over = over
        self._under = under
        self._volt_watt = volt_watt
        self._volt_var = volt_var
        self.high_w = rated_w
        self.low_w = -rated_w
        self.volt_high_w = rated_w
        self.reactive_permille = 0
        self.pv_permille = 1000

    def step(self, frequency_millihz, voltage_mv):
        """Judge the grid as it is now. Neither delay nor memory: the meter and the ramp are slow enough."""
        rated_w = self._rated_w
        self.high_w = rated_w
        self.low_w = -rated_w
        self.volt_high_w = rated_w
        self.reactive_permille = 0
        pv_permille = 1000
        if FREQUENCY_MIN_MILLIHZ <= frequency_millihz <= FREQUENCY_MAX_MILLIHZ:
            if self._over is not None:
                permille = self._over.at(frequency_millihz)
                self.high_w = rated_w * permille // 1000
                pv_permille = max(0, permille)
            if self._under is not None:
                self.low_w = rated_w * self._under.at(frequency_millihz) // 1000
        if VOLTAGE_MIN_MV <= voltage_mv <= VOLTAGE_MAX_MV:
            if self._volt_watt is not None:
                permille = self._volt_watt.at(voltage_mv)
                self.volt_high_w = rated_w * permille // 1000
                pv_permille = min(pv_permille, max(0, permille))
            if self._volt_var is not None:
                self.reactive_permille = self._volt_var.at(voltage_mv)
        self.pv_permille = pv_permille


def over_frequency(start_millihz, droop_permille):
    """Upper bound of power over frequency: full up to `start_millihz` (50.2 Hz), then down with the droop (5 %).

    Storage goes on below nothing: it charges. EN 50549-1:2019, 4.6.1.
    """
    return (start_millihz, 1000, start_millihz + 2 * NOMINAL_MILLIHZ * droop_permille // 1000, -1000)


def under_frequency(start_millihz, droop_permille):
    """Lower bound of power over frequency: charging is free down to `start_millihz` (49.8 Hz), then less and less,
    then discharge is demanded, with the droop (5 %). EN 50549-1:2019, 4.6.2."""
    return (start_millihz - 2 * NOMINAL_MILLIHZ * droop_permille // 1000, 1000, start_millihz, -1000)


def volt_watt(start_mv, end_mv):
    """Upper bound of power over voltage: full up to `start_mv` (1.06), none from `end_mv` (1.10 of nominal).

    IEEE 1547-2018, table 10; EN 50549-1:2019, 4.7.3.
    """
    return (start_mv, 1000, end_mv, 0)


def volt_var(nominal_mv, most_permille):
    """Reactive power over voltage: `most_permille` (440) injected at 0.92 of nominal, nothing between 0.98 and 1.02,
    as much absorbed at 1.08. IEEE 1547-2018, table 8, category B."""
    return (
        nominal_mv * 92 // 100, most_permille, nominal_mv * 98 // 100, 0,
        nominal_mv * 102 // 100, 0, nominal_mv * 108 // 100, -most_permille,
    )  # fmt: skip


def curve_objection(curve, points):
    """A sentence why `points` are no curve of that number (0 over-, 1 underfrequency, 2 volt-watt, 3 volt-var), or
    None."""
    return frequency_objection(points) if curve < 2 else voltage_objection(points)


def frequency_objection(points):
    """A sentence why these are no power over frequency, or None. Frequencies from 30 to 65 Hz."""
    return objection(points, 30_000, 65_000, -1000, 1000, FALLING)


def voltage_objection(points):
    """A sentence why these are no power or reactive power over voltage, or None. 115 to 345 V to neutral."""
    return objection(points, VOLTAGE_MIN_MV, VOLTAGE_MAX_MV, -1000, 1000, FALLING)
