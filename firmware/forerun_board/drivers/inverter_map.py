"""An inverter without SunSpec, described by data: which register holds what, at which scale, within which limits.

The description is a dictionary, as json.load() gives it from a file:

    {"function": 3,
     "power":         {"at": 100, "words": 2, "scale": 0, "sign": -1},      what it gives, W
     "state":         {"at": 110, "asleep": [0], "waking": [1], "running": [2, 3]},   anything else: fault
     "soc":           {"at": 120, "scale": -1},                              percent
     "charge_max":    {"at": 121, "scale": 1}, "discharge_max": {"at": 122, "scale": 1},     W
     "setpoint":      {"at": 200, "words": 2, "scale": 0, "sign": -1, "low": -30000, "high": 30000},   W
     "enable":        {"at": 210, "value": 1},
     "watchdog":      {"at": 211, "scale": 0}}                               s until it goes to nothing by itself

`scale` is a power of ten from -10 to 10, `sign` -1 where the device counts charging as positive.
"""

from forerun_board.control.image import (
    INVERTER_ASLEEP,
    INVERTER_FAULT,
    INVERTER_RUNNING,
    INVERTER_WAKING,
    POWER_MAX_W,
    saturated_w,
)
from forerun_board.drivers.sunspec import SunspecDevice, scale_valid, scaled

NEEDED = ("power", "state", "soc", "charge_max", "discharge_max", "setpoint", "enable", "watchdog")


def objection(description):
    """A sentence why this describes no inverter that may be driven, or None."""
    for name in NEEDED:
        point = description.get(name)
        if not isinstance(point, dict) or not isinstance(point.get("at"), int):
            return "%s needs a register address, `at`" % name
        if not 0 <= point["at"] <= 65_534:
            return "%s: register %d is outside 0 to 65534" % (name, point["at"])
        if not scale_valid(point.get("scale", 0)):
            return "%s: scale %d is outside -10 to 10" % (name, point["scale"])
        if point.get("words", 1) not in (1, 2) or point.get("sign", 1) not in (1, -1):
            return "%s: words is 1 or 2, and sign 1 or -1" % name
    setpoint = description["setpoint"]
    low, high = setpoint.get("low", 0), setpoint.get("high", 0)
    if not -POWER_MAX_W <= low <= 0 <= high <= POWER_MAX_W or low == high:
        return "setpoint: low = %d W and high = %d W leave no room on both sides of 0" % (low, high)
    return None


class InverterMap(SunspecDevice):
    """The same face as InverterSunspec, for the round to drive. ValueError, with a sentence, for a bad description."""

    def __init__(self, bus, unit, refuse, description):
        sentence = objection(description)
        if sentence:
            raise ValueError(sentence)
        super().__init__(bus, unit, refuse)
        self._map = description
        self.active_power_w = 0
        self.voltage_mv = -1  # it does not say
        self.frequency_millihz = 0
        self.grid = None
        self.scales_due = self.check_due = False
        self.state = INVERTER_ASLEEP
        self.soc_permille = 0
        self.charge_max_w = 0
        self.discharge_max_w = 0
        self.battery_fresh = False
        self.charge_wh = 0
        self.discharge_wh = 0
        self.energy_fresh = False
        self.counts_energy = False  # the round integrates
        self.written_counts = 0
        self.armed = False
        self.confirmed = False
        self._pending_counts = 0
        points = (description["power"], description["state"])
        self._fast_at = min(points[0]["at"], points[1]["at"])
        self._fast_count = max(points[0]["at"] + points[0].get("words", 1), points[1]["at"] + 1) - self._fast_at

    def attach(self):
        """Generator: see that it answers with sense where the description says."""
        self.armed = False
        good = yield from self.get(self._fast_at, self._fast_count, 0)
        if good:
            self.attached = self.take_fast()

    def start_fast(self):
        """Start the round's reading."""
        self.bus.read(self.unit, self._fast_at, self._fast_count)

    def finish_fast(self):
        """True if the round's reading is good: active_power_w and state are new."""
        return self._settle(self._fast_at) and self.take_fast()

    def take_fast(self):
        """Store the bus's answer; always True: such a device has no mark by which to know it."""
        self.active_power_w = saturated_w(self._value(self._map["power"], self._fast_at))
        point = self._map["state"]
        code = self.bus.u16(point["at"] - self._fast_at)
        self.state = INVERTER_FAULT
        for name, state in (("asleep", INVERTER_ASLEEP), ("waking", INVERTER_WAKING), ("running", INVERTER_RUNNING)):
            if code in point.get(name, ()):
                self.state = state
        self.succeeded()
        return True

    def read_scales(self):
        """Generator: nothing to read, scales are in the description."""
        return True
        yield  # a generator all the same

    def read_battery(self):
        """Generator: bring soc_permille and both limits up to date, and set battery_fresh if so."""
        self.battery_fresh = False
        values = []
        for name in ("soc", "charge_max", "discharge_max"):
            point = self._map[name]
            good = yield from self.get(point["at"], point.get("words", 1))
            if not good:
                return
            extra = 1 if name == "soc" else 0  # percent to permille
            values.append(self._value(point, point["at"], extra))
        self.soc_permille = max(0, min(1000, values[0]))
        self.charge_max_w = max(0, saturated_w(values[1]))
        self.discharge_max_w = max(0, saturated_w(values[2]))
        self.battery_fresh = True
        self.succeeded()

    def read_energy(self):
        """Generator: it has no energy registers."""
        return
        yield  # a generator all the same

    def arm(self, power_w, watchdog_s):
        """Generator: watchdog first, then the setpoint, then the permission to follow it."""
        self.armed = False
        counts = self._counts(power_w)
        refreshed = yield from self.refresh(watchdog_s)
        if not refreshed:
            return
        accepted = yield from self.put(self._map["setpoint"]["at"], *self._registers(counts))
        if not accepted:
            return
        enable = self._map["enable"]
        accepted = yield from self.put(enable["at"], enable.get("value", 1))
        if not accepted:
            return
        self.armed = True
        self.written_counts = counts
        yield from self.check(watchdog_s)

    def refresh(self, watchdog_s):
        """Generator: write the watchdog's time again, never 0; True if accepted."""
        counts = max(1, scaled(watchdog_s, -self._map["watchdog"].get("scale", 0)))
        return (yield from self.put(self._map["watchdog"]["at"], min(0xFFFF, counts)))

    def check(self, watchdog_s):
        """Generator: read the watchdog back; `confirmed` says whether it runs."""
        good = yield from self.get(self._map["watchdog"]["at"], 1)
        if good:
            before = self.confirmed
            expected = max(1, scaled(watchdog_s, -self._map["watchdog"].get("scale", 0)))
            self.confirmed = 0 < self.bus.u16(0) <= expected
            if before and not self.confirmed:
                self.armed = False  # it has forgotten what it was given

    def start_setpoint(self, power_w):
        """True if a write was started; False if the inverter has this setpoint already."""
        counts = self._counts(power_w)
        if counts == self.written_counts:
            return False
        self._pending_counts = counts
        registers = self._registers(counts)
        for i in range(len(registers)):
            self.bus.values[i] = registers[i]
        self.bus.write(self.unit, self._map["setpoint"]["at"], len(registers))
        return True

    def finish_setpoint(self):
        """Settle the write; a setpoint that was not taken is written again in the next round."""
        if self._settle(self._map["setpoint"]["at"]):
            self.written_counts = self._pending_counts

    def wake(self):
        """Generator: a setpoint wakes it."""
        return
        yield  # a generator all the same

    def _value(self, point, at, extra=0):
        """The point's value of the bus's answer, which begins at register `at`."""
        index = point["at"] - at
        if point.get("words", 1) == 2:
            raw = self.bus.u16(index) << 16 | self.bus.u16(index + 1)
            raw = raw - (1 << 32) if raw & 1 << 31 else raw
        else:
            raw = self.bus.i16(index)
        return point.get("sign", 1) * scaled(raw, point.get("scale", 0) + extra)

    def _counts(self, power_w):
        point = self._map["setpoint"]
        power_w = max(point.get("low", 0), min(point.get("high", 0), power_w))
        size = scaled(abs(power_w), -point.get("scale", 0))  # towards nothing, both ways
        return point.get("sign", 1) * (size if power_w >= 0 else -size)

    def _registers(self, counts):
        if self._map["setpoint"].get("words", 1) == 2:
            return (counts >> 16) & 0xFFFF, counts & 0xFFFF
        return (max(-0x8000, min(0x7FFF, counts)) & 0xFFFF,)
