"""What the board's events mean to the person who reads them: cause and remedy, one sentence each."""

from forerun_wire import messages as m

_UNIT = "check its power, its unit id, the line rate and A/B of the RS-485 line"

# Per event code: a sentence; {value} and {limit} are the event's own numbers, in the units that the sentence names.
_SENTENCES = {
    m.METER_STALE: f"the meter at the PCC does not answer: the battery is held at 0 W until it does; {_UNIT}",
    m.METER_BACK: "the meter at the PCC answers again",
    m.INVERTER_LOST: f"the inverter does not answer: it is left to its own watchdog, which stops it; {_UNIT}",
    m.INVERTER_BACK: "the inverter answers again",
    m.BATTERY_STALE: f"the battery's data do not come: the battery is held at 0 W until they do; {_UNIT}",
    m.BATTERY_BACK: "the battery's data come again",
    m.HOST_LOST: "the board heard nothing from this host for {limit} ms and went on alone with its plan",
    m.HOST_BACK: "the board hears this host again",
    m.LEASE_ENDED: "a setpoint of {value} W was not renewed in time, so the plan or the fallback took over",
    m.PLAN_ENDED: "plan {value} came to its end without a new one, so the fallback took over",
    m.IMPORT_LIMIT_EXCEEDED: "the import of {value} W stays above its limit of {limit} W although all that is "
    "permitted was done: shed load, or raise the battery's limits or its state of charge",
    m.IMPORT_LIMIT_HELD: "the import is back under its limit of {limit} W",
    m.GRID_LOST: "the grid is gone: {value} mV at the PCC; the battery is held at 0 W",
    m.GRID_BACK: "the grid is back: {value} mV at the PCC",
    m.RECORDS_DROPPED: "{value} records were lost because the board's store was full: reconnect the host more often",
    m.INVERTER_AWAKE: "the inverter is in service",
    m.PREPARE_STARTED: "a load step of {value} W is expected in {limit} s; the battery is made ready",
    m.PREPARE_READY: "the battery is ready for the step of {value} W, {limit} s ahead of it",
    m.PREPARE_ENDED: "the announced step of {value} W is over",
    m.MODBUS_REFUSED: "unit {limit} refused or garbled register {value}: is the right model commissioned for it?",
    m.WATCHDOG_UNCONFIRMED: "the inverter (unit {limit}) did not confirm its watchdog of {value} s: it might go on "
    "alone after a fault of the board; do not leave the site before this is mended",
    m.METER_FROZEN: "the meter at the PCC shows the same {limit} W although the inverter moved by {value} W: its "
    "values count as stale; check the meter and where its CTs sit",
    m.METER_MOVING: "the meter at the PCC moves again",
    m.PREPARE_LATE: "the battery was not ready for the announced step of {value} W with {limit} s left: expect the "
    "voltage to fall or the set to start; announce earlier, or keep more reserve",
    m.GENSET_STARTED: "the diesel set runs (reason {value}, try {limit})",
    m.GENSET_START_FAILED: "the diesel set did not start (try {value} of {limit}): check fuel, starter battery and its "
    "control switch",
    m.GENSET_LOCKED_OUT: "the diesel set is locked out after {value} failed starts: mend the cause, then acknowledge "
    "it on site",
    m.GENSET_STOPPED: "the diesel set stopped after {value} s",
    m.ISLAND_FORMED: "the site runs as an island at {value} mV and {limit} mHz",
    m.ISLAND_LEFT: "the site is back on the grid at {value} mV and {limit} mHz",
    m.ISLAND_DARK: "the island is without voltage ({value} mV of {limit} mV): it is started again from the battery",
    m.LOAD_SHED: "loads of priority {value} and below were cut off, {limit} s of stored energy were left",
    m.LOAD_RESTORED: "loads of priority {value} are back, {limit} s of stored energy are left",
    m.TRIP_CLEARED: "a trip (cause {value}) is over after {limit} s",
    m.SUPPORT_BEGAN: "the grid is supported: {value} mHz, {limit} mV",
    m.SUPPORT_ENDED: "the grid needs no support any more: {value} mHz, {limit} mV",
    m.TRIPPED_EMERGENCY_STOP: "the emergency stop was pressed: release it and acknowledge the trip on site",
    m.TRIPPED_DOOR: "the cabinet's door is open: close it",
    m.TRIPPED_INSULATION: "the insulation monitor tripped: find the earth fault before it is acknowledged on site",
    m.TRIPPED_OVER_VOLTAGE: "tripped at {value} mV, the limit is {limit} mV: the board returns by itself",
    m.TRIPPED_UNDER_VOLTAGE: "tripped at {value} mV, the limit is {limit} mV: the board returns by itself",
    m.TRIPPED_OVER_FREQUENCY: "tripped at {value} mHz, the limit is {limit} mHz: the board returns by itself",
    m.TRIPPED_UNDER_FREQUENCY: "tripped at {value} mHz, the limit is {limit} mHz: the board returns by itself",
    m.TRIPPED_OVER_CURRENT: "tripped at {value}, the limit for the current is {limit}: look for the load that draws it",
    m.AUTH_FAILED: "{value} frames that claimed to be allowed to command the board were not believed: somebody has the "
    "wrong key, or tampers with the line; `forerun commission keys status` shows which key the board holds",
    m.KEY_CHANGED: "the board's key was changed (its id is now {value:06x})",
    m.KEYS_UNREADABLE: "the board's key file is damaged, so it obeys nobody: set a new key with "
    "`forerun commission keys recover`, on site",
    m.TRIPPED_OVER_TEMPERATURE: "tripped by temperature {value}, the limit is {limit}: check fan, filter and cabinet",
}
_SETTINGS = {key: (name, unit) for key, name, unit, *_ in m.SETTINGS}


def sentence(code: int, value: int, limit: int) -> str:
    """What to tell a person about the event; its plain name and numbers when this host is older than the board."""
    if code == m.SETTINGS_CHANGED:
        name, unit = _SETTINGS.get(value, (f"setting {value}", ""))
        return f"the board's {name} is now {limit} {unit}".rstrip()
    words = _SENTENCES.get(code)
    if words is None:
        return f"{dict(m.EVENTS).get(code, f'event {code}')}, value {value}, limit {limit}"
    return words.format(value=value, limit=limit)
