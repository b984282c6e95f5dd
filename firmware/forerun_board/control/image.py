"""The process image: all that one round knows of the site, frozen while it decides."""

POWER_MAX_W = 10_000_000  # drivers saturate here, so that sums and differences of powers stay far inside 2**30
AGE_MAX_MS = 1 << 29  # also the age of what was never measured

INPUT_EMERGENCY_STOP = 1
INPUT_DOOR = 2
INPUT_RESET = 4  # the button that releases a latched trip
INPUT_INSULATION = 8
INPUT_TIE_OPEN = 16  # auxiliary contact of the contactor to the grid
INPUT_GENSET_RUNNING = 32  # from the set's own panel
INPUT_FUEL_LOW = 128  # float switch in the diesel tank
INPUT_FAST_TRIP = 64  # the inner loop has tripped

# What an inverter does, whichever model said so.
INVERTER_ASLEEP = 0
INVERTER_WAKING = 1
INVERTER_RUNNING = 2
INVERTER_FAULT = 3


class Image:
    """Measurements with their ages; a driver stores values and sets the age to zero, the round adds its time to all."""

    def __init__(self):
        self.now_s = 0  # uptime
        self.dt_ms = 0  # since the round before
        self.period_ms = 50  # round period in use
        self.inputs = 0
        self.pcc_import_w = 0
        self.pcc_voltage_mv = 0
        self.frequency_millihz = 0
        self.pcc_age_ms = AGE_MAX_MS
        self.bus_mv = 0  # behind the contactor to the grid
        self.bus_millihz = 0
        self.bus_age_ms = AGE_MAX_MS
        self.active_power_w = 0
        self.inverter_state = INVERTER_ASLEEP
        self.inverter_age_ms = AGE_MAX_MS
        self.commanded = True  # whether the inverter follows this board's setpoints, or still what it was told before
        self.soc_permille = 0
        self.charge_max_w = 0
        self.discharge_max_w = 0
        self.battery_age_ms = AGE_MAX_MS
        self.pv_w = 0
        self.pv_age_ms = AGE_MAX_MS
        self.pulse_wh = 0  # of the pulse meter
        self.genset_w = 0
        self.genset_age_ms = AGE_MAX_MS
        self.cell_decic = 200  # 0.1 °C
        self.air_decic = 200
        self.humidity_permille = -1  # −1: not measured
        self.temperature_age_ms = AGE_MAX_MS
        self.host_age_ms = AGE_MAX_MS  # since the host's last sign of life

    def begin(self, dt_ms):
        """Open a round `dt_ms` after the one before: everything grows that much older."""
        if dt_ms > 60_000:
            dt_ms = 60_000
        self.dt_ms = dt_ms
        longest_ms = AGE_MAX_MS  # comparisons, because eight calls of min() cost a tenth of a millisecond on a board
        age_ms = self.pcc_age_ms + dt_ms
        self.pcc_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.inverter_age_ms + dt_ms
        self.inverter_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.battery_age_ms + dt_ms
        self.battery_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.bus_age_ms + dt_ms
        self.bus_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.pv_age_ms + dt_ms
        self.pv_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.genset_age_ms + dt_ms
        self.genset_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.temperature_age_ms + dt_ms
        self.temperature_age_ms = age_ms if age_ms < longest_ms else longest_ms
        age_ms = self.host_age_ms + dt_ms
        self.host_age_ms = age_ms if age_ms < longest_ms else longest_ms


def saturated_w(value):
    """`value` in W, held inside ±POWER_MAX_W."""
    return max(-POWER_MAX_W, min(POWER_MAX_W, value))
