"""What the board's events mean to the person who reads them, and which alarms stand now: cause and remedy each."""

from dataclasses import dataclass

from forerun_wire import messages as m

CRITICAL, WARNING = "critical", "warning"  # power or protection is at stake; something will be if nobody acts
_UNIT = "check its power, its unit id, the line rate and A/B of the RS-485 line; see also `forerun commission scan`"
_BY_ITSELF = "the board returns by itself"
_RESET = "press the reset button at the site and let it go"

# Per event code: (cause, remedy); {value} and {limit} are the event's own numbers, in the units that the words name.
_WORDS = {
    m.METER_STALE: ("the meter at the PCC does not answer: the battery is held at 0 W until it does", _UNIT),
    m.METER_BACK: ("the meter at the PCC answers again", ""),
    m.INVERTER_LOST: ("the inverter does not answer: it is left to its own watchdog, which stops it", _UNIT),
    m.INVERTER_BACK: ("the inverter answers again", ""),
    m.BATTERY_STALE: ("the battery's data do not come: the battery is held at 0 W until they do", _UNIT),
    m.BATTERY_BACK: ("the battery's data come again", ""),
    m.HOST_LOST: ("the board heard nothing from this host for {limit} ms and went on alone with its plan", ""),
    m.HOST_BACK: ("the board hears this host again", ""),
    m.LEASE_ENDED: ("a setpoint of {value} W was not renewed in time, so the plan or the fallback took over", ""),
    m.PLAN_ENDED: (
        "plan {value} came to its end without a new one, so the fallback took over",
        "see why no new plan came: `forerun plan explain`",
    ),
    m.IMPORT_LIMIT_EXCEEDED: (
        "the import of {value} W stays above its limit of {limit} W although all that is permitted was done",
        "shed load, or raise the battery's limits or its state of charge",
    ),
    m.IMPORT_LIMIT_HELD: ("the import is back under its limit of {limit} W", ""),
    m.GRID_LOST: (
        "the grid is gone: {value} mV at the PCC; the battery is held at 0 W",
        "check the main breaker, then ask the network operator",
    ),
    m.GRID_BACK: ("the grid is back: {value} mV at the PCC", ""),
    m.RECORDS_DROPPED: (
        "{value} records were lost because the board's store was full",
        "reconnect the host more often",
    ),
    m.INVERTER_AWAKE: ("the inverter is in service", ""),
    m.PREPARE_STARTED: ("a load step of {value} W is expected in {limit} s; the battery is made ready", ""),
    m.PREPARE_READY: ("the battery is ready for the step of {value} W, {limit} s ahead of it", ""),
    m.PREPARE_ENDED: ("the announced step of {value} W is over", ""),
    m.MODBUS_REFUSED: ("unit {limit} refused or garbled register {value}", "is the right model commissioned for it?"),
    m.WATCHDOG_UNCONFIRMED: (
        "the inverter (unit {limit}) did not confirm its watchdog of {value} s: it might go on alone after a fault of "
        "the board",
        "do not leave the site before this is mended",
    ),
    m.METER_FROZEN: (
        "the meter at the PCC shows the same {limit} W although the inverter moved by {value} W: its values count as "
        "stale",
        "check the meter and where its CTs sit",
    ),
    m.METER_MOVING: ("the meter at the PCC moves again", ""),
    m.PREPARE_LATE: (
        "the battery was not ready for the announced step of {value} W with {limit} s left: expect the voltage to fall "
        "or the set to start",
        "announce earlier, or keep more reserve",
    ),
    m.GENSET_STARTED: ("the diesel set runs (reason {value}, try {limit})", ""),
    m.GENSET_START_FAILED: (
        "the diesel set did not start (try {value} of {limit})",
        "check fuel, starter battery and its control switch",
    ),
    m.GENSET_LOCKED_OUT: (
        "the diesel set is locked out after {value} failed starts",
        "mend the cause, then acknowledge it on site",
    ),
    m.GENSET_STOPPED: ("the diesel set stopped after {value} s", ""),
    m.ISLAND_FORMED: ("the site runs as an island at {value} mV and {limit} mHz", ""),
    m.ISLAND_LEFT: ("the site is back on the grid at {value} mV and {limit} mHz", ""),
    m.ISLAND_DARK: (
        "the island is without voltage ({value} mV of {limit} mV): it is started again from the battery",
        "take load off if it does not come back",
    ),
    m.LOAD_SHED: (
        "loads of priority {value} and below were cut off, {limit} s of stored energy were left",
        "they come back with stored energy; do without them till then",
    ),
    m.LOAD_RESTORED: ("loads of priority {value} are back, {limit} s of stored energy are left", ""),
    m.TRIP_CLEARED: ("a trip (cause {value}) is over after {limit} s", ""),
    m.COMMAND_REFUSED: (
        "the board refused command {value} with code {limit} and kept what it had",
        "the host's own log has the reason in a sentence",
    ),
    m.FUNCTIONS_LEFT_OUT: (
        "the board's memory does not hold the functions commissioned ({value}): it keeps its limits without them",
        "commission fewer functions, or use a board with more memory",
    ),
    m.SUPPORT_BEGAN: ("the grid is supported: {value} mHz, {limit} mV", ""),
    m.SUPPORT_ENDED: ("the grid needs no support any more: {value} mHz, {limit} mV", ""),
    m.TRIPPED_EMERGENCY_STOP: ("the emergency stop was pressed, or its wire is open", f"release it, then {_RESET}"),
    m.TRIPPED_DOOR: ("the cabinet's door was opened, or its wire is", f"close it, then {_RESET}"),
    m.TRIPPED_INSULATION: (
        "the insulation monitor tripped",
        f"find the earth fault, then {_RESET}",
    ),
    m.TRIPPED_OVER_VOLTAGE: ("tripped at {value} mV, the limit is {limit} mV", _BY_ITSELF),
    m.TRIPPED_UNDER_VOLTAGE: ("tripped at {value} mV, the limit is {limit} mV", _BY_ITSELF),
    m.TRIPPED_OVER_FREQUENCY: ("tripped at {value} mHz, the limit is {limit} mHz", _BY_ITSELF),
    m.TRIPPED_UNDER_FREQUENCY: ("tripped at {value} mHz, the limit is {limit} mHz", _BY_ITSELF),
    m.TRIPPED_OVER_CURRENT: (
        "tripped at {value}, the limit for the current is {limit}",
        "look for the load that draws it",
    ),
    m.AUTH_FAILED: (
        "{value} frames that claimed to be allowed to command the board were not believed",
        "somebody has the wrong key or tampers with the line: `forerun commission keys status`",
    ),
    m.KEY_CHANGED: ("the board's key was changed (its id is now {value:06x})", ""),
    m.KEYS_UNREADABLE: (
        "the board's key file is damaged, so it obeys nobody",
        "set a new key on site: `forerun commission keys recover`",
    ),
    m.ANALOG_LOST: (
        "the board's own CT shows {value} W at the PCC, the meter {limit} W: it is not believed any more",
        "check where the CT sits, which way its arrow points, and its gain",
    ),
    m.ANALOG_BACK: ("the board's own CT and the meter agree again: {value} W and {limit} W", ""),
    m.SENSOR_LOST: (
        "a sensor of the board is silent (1 cells, 2 air, 4 channels: {value}): what it measures counts as unknown",
        "check its plug and cable",
    ),
    m.SENSOR_BACK: ("a sensor of the board is heard again (1 cells, 2 air: {value})", ""),
    m.UPDATE_CONFIRMED: ("the board's new firmware was confirmed and stays (slot {value})", ""),
    m.UPDATE_FELL_BACK: (
        "the board's new firmware did not prove itself, so it went back to the one before (slot {value})",
        "read what `forerun board update` said, and ask for a mended release",
    ),
    m.TRIPPED_OVER_TEMPERATURE: (
        "tripped by temperature {value}, the limit is {limit}",
        "check fan, filter and cabinet",
    ),
}
_SETTINGS = {key: (name, unit) for key, name, unit, *_ in m.SETTINGS}
_TRIPS = range(m.TRIPPED_EMERGENCY_STOP, m.TRIPPED_OVER_TEMPERATURE + 1)
_DAY_S = 86_400

# Events that raise an alarm: code -> (severity, codes that end it, it ends by itself after so many seconds or never).
_RAISES = {
    m.METER_STALE: (CRITICAL, (m.METER_BACK,), None),
    m.METER_FROZEN: (CRITICAL, (m.METER_MOVING,), None),
    m.INVERTER_LOST: (CRITICAL, (m.INVERTER_BACK,), None),
    m.BATTERY_STALE: (CRITICAL, (m.BATTERY_BACK,), None),
    m.GRID_LOST: (CRITICAL, (m.GRID_BACK,), None),
    m.IMPORT_LIMIT_EXCEEDED: (CRITICAL, (m.IMPORT_LIMIT_HELD,), None),
    m.WATCHDOG_UNCONFIRMED: (CRITICAL, (), None),
    m.ISLAND_DARK: (CRITICAL, (m.ISLAND_FORMED, m.ISLAND_LEFT), None),
    m.GENSET_LOCKED_OUT: (CRITICAL, (m.GENSET_STARTED, m.GENSET_STOPPED), None),
    m.GENSET_START_FAILED: (WARNING, (m.GENSET_STARTED, m.GENSET_LOCKED_OUT), _DAY_S),
    m.LOAD_SHED: (WARNING, (m.LOAD_RESTORED,), None),
    m.PREPARE_LATE: (WARNING, (m.PREPARE_READY, m.PREPARE_ENDED), _DAY_S),
    m.RECORDS_DROPPED: (WARNING, (), _DAY_S),
    m.AUTH_FAILED: (WARNING, (), _DAY_S),
    m.ANALOG_LOST: (WARNING, (m.ANALOG_BACK,), None),
    m.SENSOR_LOST: (WARNING, (m.SENSOR_BACK,), None),
    m.UPDATE_FELL_BACK: (WARNING, (m.UPDATE_CONFIRMED,), _DAY_S),
    m.KEYS_UNREADABLE: (CRITICAL, (m.KEY_CHANGED,), None),
    m.MODBUS_REFUSED: (WARNING, (), 3600),
    m.PLAN_ENDED: (WARNING, (m.HOST_BACK,), 3600),
    **dict.fromkeys(_TRIPS, (CRITICAL, (m.TRIP_CLEARED,), None)),
}
# Bits of the telemetry's `faults` by their event; they rule over it, since an event may be missing.
_BITS = {
    m.METER_STALE: "pcc_meter",
    m.INVERTER_LOST: "inverter",
    m.BATTERY_STALE: "battery",
    m.IMPORT_LIMIT_EXCEEDED: "import_limit",
    m.WATCHDOG_UNCONFIRMED: "watchdog",
}
# Faults without an event, or whose event never came: (severity, cause, remedy).
_SILENT = {
    "trip": (
        CRITICAL,
        "a trip stands: emergency stop, door, insulation, or a measurement outside its limits",
        f"look which contact is open or what is outside; what latched it is released at the site: {_RESET}",
    ),
    "door": (CRITICAL, "the cabinet's door is open, or its wire is", f"close it, then {_RESET}"),
    "pv_meter": (
        WARNING,
        "the PV meter does not answer: PV counts as 0 W for the plan, and its energy is substituted",
        _UNIT,
    ),
    "genset_meter": (WARNING, "the genset meter does not answer: its energy is substituted", _UNIT),
}
# When board and host do not talk.
OTHER_VERSION = "put the firmware of this version on the board: `forerun commission flash`"
OCCUPIED_US = 5_000_000
OCCUPIED = "end that program: a board has one host at a time"

# Optional parts of the host: what to do when one does not work (forerun.site.integrations). The site runs on without.
_PORT = "end what uses it (`ss -ltnp` names it), or change {0}.host or {0}.port; tried again every 30 s"
_PARTS = {
    "status": "the folder of store.path must take sockets, and its files be the site's own; tried again every 30 s",
    "web": _PORT.format("web"),
    "web.tokens": "give it back to the user that runs the site (`chown`, `chmod 600`), or, if it is damaged, delete it "
    "and make new tokens (`forerun token add`)",
    "metrics": _PORT.format("metrics"),
    "modbus_tcp": _PORT.format("modbus_tcp"),
    "mqtt": "check mqtt.host and mqtt.port, and that the broker runs; it is tried again by itself",
    "mqtt.password_file": "put the broker's password into it as its first line, readable for the user that runs the "
    "site; tried again by itself",
    "mqtt.ca_file": "put the certificate of the authority that signed the broker's there, as PEM; tried again every "
    "30 s",
    "mqtt.username": "ask the broker's keeper for mqtt.username and what belongs into mqtt.password_file; tried again "
    "by itself",
    "compute": "mend the source, or set its key in [compute] to \"none\"; it is asked again by itself",
    "box": "free space or mend the disk; what waits stays there till then",
    "telemetry": "free space or mend the disk; the journal is not concerned",
}


def remedy_of(part: str) -> str:
    """What to do when this optional part of the host, or part.detail, does not work."""
    return _PARTS.get(part) or _PARTS.get(part.split(".")[0], "the site runs on without it")


_SILENT_NAMES = {"trip": "tripped", "door": "tripped_door"}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong now; since_utc_s is None when nobody saw it begin."""

    name: str
    severity: str
    cause: str
    remedy: str
    since_utc_s: int | None = None


class Refusal:
    """Why board and host do not talk: `standing` is (sentence, remedy), () while they do."""

    def __init__(self) -> None:
        self.standing: tuple[str, ...] = ()
        self._occupied_us: int | None = None

    def take(self, event: tuple, now_us: int) -> bool:
        """Take a session's "mismatch" or "refused"; True when it is news. A board waits three seconds for a host
        that is gone, so that it is another one's stands only when that lasts."""
        occupied = event[0] == "refused" and event[1] == m.REFUSED_OCCUPIED
        if occupied:
            self._occupied_us = now_us if self._occupied_us is None else self._occupied_us
            if now_us - self._occupied_us < OCCUPIED_US:
                return False
        before, self.standing = self.standing, (str(event[-1]), OCCUPIED if occupied else OTHER_VERSION)
        return self.standing != before

    def end(self) -> None:
        """They talk."""
        self.standing, self._occupied_us = (), None


class Raised:
    """The board's alarms as its event records tell them; a boot ends them all, since the board then looks anew."""

    def __init__(self) -> None:
        self._events: dict[int, tuple[int, int, int]] = {}  # code -> UTC s, value, limit

    def boot(self) -> None:
        """The board started again."""
        self._events.clear()

    def take(self, utc_s: int, code: int, value: int, limit: int) -> None:
        """Take the next event in the board's own order."""
        for standing in [code_ for code_ in self._events if code in _RAISES[code_][1]]:
            if code != m.TRIP_CLEARED or standing == _TRIPS.start - 1 + value:  # one trip may end while another stands
                del self._events[standing]
        if code in _RAISES:
            self._events[code] = (utc_s, value, limit)

    def standing(self, utc_s: int, faults: int | None) -> tuple[Alarm, ...]:
        """Alarms that stand at `utc_s`, critical ones first; `faults`: of fresh telemetry, None without."""
        bits = None if faults is None else {name for bit, name in enumerate(m.FAULTS) if faults >> bit & 1}
        found = []
        for code, (severity, _, lasts_s) in _RAISES.items():
            event = self._events.get(code)
            if event and lasts_s is not None and utc_s - event[0] > lasts_s:
                event = None
            if code in _BITS and bits is not None:
                if _BITS[code] not in bits:
                    continue
            elif event is None or (code in _TRIPS and bits is not None and "trip" not in bits):
                continue  # the bit stands for any trip
            since_utc_s, value, limit = event or (None, None, None)
            name = dict(m.EVENTS)[code]
            cause, remedy = _WORDS[code] if event else _without_numbers(code)
            found.append(Alarm(name, severity, cause.format(value=value, limit=limit), remedy, since_utc_s))
        tripped = any(code in self._events for code in _TRIPS)
        for name in sorted(bits & set(_SILENT) if bits else ()):
            if not (name in ("trip", "door") and (tripped or (name == "trip" and "door" in bits))):
                found.append(Alarm(_SILENT_NAMES.get(name, name + "_silent"), *_SILENT[name]))
        return tuple(sorted(found, key=lambda alarm: alarm.severity))  # "critical" sorts before "warning"


def _without_numbers(code: int) -> tuple[str, str]:
    """(cause, remedy) of a fault bit whose event never came."""
    remedy = _WORDS[code][1]
    cause = {
        m.IMPORT_LIMIT_EXCEEDED: "the import stays above its limit although all that is permitted was done",
        m.WATCHDOG_UNCONFIRMED: "the inverter did not confirm its watchdog: it might go on alone after a fault of the "
        "board",
    }.get(code, _WORDS[code][0])
    return cause, remedy


def sentence(code: int, value: int, limit: int) -> str:
    """What to tell a person about the event; its plain name and numbers when this host is older than the board."""
    if code == m.SETTINGS_CHANGED:
        name, unit = _SETTINGS.get(value, (f"setting {value}", ""))
        return f"the board's {name} is now {limit} {unit}".rstrip()
    words = _WORDS.get(code)
    if words is None:
        return f"{dict(m.EVENTS).get(code, f'event {code}')}, value {value}, limit {limit}"
    cause, remedy = (text.format(value=value, limit=limit) for text in words)
    return f"{cause}: {remedy}" if remedy else cause


def of_keys(key_id: int, has_some: bool, has_it: bool) -> str:
    """What to tell a person of the board's key (0: it has none) beside those of this host; "" when they fit."""
    if key_id and not has_it:
        return (f"the board holds a key (id {key_id:06x}) that this host has not: it can only read; put the key file "
                "beside the site file")  # fmt: skip
    if has_some and not key_id:
        return ("the board holds no key although this host has some: was it taken away on site? Everybody on the line "
                "may command it until `forerun commission keys provision`")  # fmt: skip
    return ""


def of_charge(measured_permille: int, planned_permille: int) -> str:
    """What to tell a person of a battery that is not where the plan in force has it by now."""
    return (f"the battery is at {measured_permille / 10:.0f} % where the plan had {planned_permille / 10:.0f} %; "
            "the new plan begins there: look for a derated inverter, a limit that bound, or load that nobody "
            "foresaw")  # fmt: skip
