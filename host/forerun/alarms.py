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
