"""What is on a Modbus line: line rate, unit ids, SunSpec models, and what is wrong with it, named."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from forerun.commission.line import EXCEPTION, GARBLED, OK, PATIENCE_S, SILENT, Answer, Line, read
from forerun.sections import BAUD_RATES, SiteFile

RATES = tuple(reversed(BAUD_RATES))
FIRST_UNITS = range(1, 17)  # where installers leave devices; tried at every rate before all other units
ALL_UNITS = range(1, 248)
BASES = (40000, 0, 50000)  # SunSpec Device Information Model Specification V1.1, 6.2
SUNS = (0x5375, 0x6E53)
END = 0xFFFF
MODELS_MAX = 32
TRIES = 3
INSIST = 20  # a unit that is there is asked so often for what is lost or garbled
SAMPLES = 20  # readings of each kind that a unit's quality is judged by
DEAD_TRIES = 200  # where even that leaves a doubt, nobody is accused
CHANCE = 1e-6  # that noise alone looks like two devices: less than a scan in a million may say so wrongly
ERRORS_MAX = 0.02  # share of lost or garbled answers that a good line stays below
CYCLE_MS = {9600: 500, 19200: 200, 38400: 100, 57600: 100, 115200: 50}  # what a round at this rate needs, rounded up
INVERTER_MODELS = (701, 101, 102, 103)
CONTROL_MODELS = (704, 124, 123)
METER_MODELS = (201, 202, 203, 204)


@dataclass(slots=True)
class Device:
    """Somebody at one unit id. `kind`: inverter, meter, other, not SunSpec, or unreadable."""

    unit: int
    kind: str = "unreadable"
    base: int | None = None
    maker: str = ""
    model: str = ""
    serial: str = ""
    models: list[int] = field(default_factory=list)
    power_max_w: int | None = None
    capacity_wh: int | None = None
    short: dict[str, int] = field(default_factory=dict)  # outcomes of SAMPLES readings of 2 registers
    long: dict[str, int] = field(default_factory=dict)  # and of 66 registers
    shared: bool = False  # two devices answer at this address


@dataclass(slots=True)
class Found:
    """Result of a scan; `problems` are (name, sentence with remedy)."""

    baud: int | None
    devices: list[Device]
    problems: list[tuple[str, str]]

    def of(self, kind: str) -> list[Device]:
        return [device for device in self.devices if device.kind == kind]


def scan(line: Line, rates: Iterable[int] = RATES, units: Iterable[int] = ALL_UNITS,
         note: Callable[[str], None] = lambda sentence: None) -> Found:  # fmt: skip
    """Look for devices: the likely units at each rate, then all units at the rate that answers."""
    rates, units = tuple(rates), tuple(units)
    likely = [unit for unit in units if unit in FIRST_UNITS]
    rest = [unit for unit in units if unit not in likely]
    for asked in (likely, likely, likely, rest):  # a noisy line may lose the first questions to all of a few devices
        alive, garbled = _find_rate(line, rates, asked, note)
        if alive or garbled:
            break
    if not alive and not garbled:
        return Found(None, [], [("nothing_found", _nothing(rates, units))])
    baud = alive or garbled
    line.set_baud(baud)
    note(f"{baud} baud: all units")
    devices: list[Device] = []
    for ask, asked in ((_knock, units), (_knock_on, likely or units)):
        for unit in asked:
            if all(device.unit != unit for device in devices) and ask(line, unit).outcome != SILENT:
                note(f"{baud} baud: unit {unit}")
                devices.append(inspect(line, unit))
        if devices and not any(_bad(device.short) for device in devices):
            break  # else the line loses questions too, and who was not heard at once may be there
    devices.sort(key=lambda device: device.unit)
    for device in devices:
        if device.base is None and not device.short.get(OK) and not device.short.get(EXCEPTION):
            device.shared = _is_never_heard(line, device, devices)
    found = Found(baud, devices, [])
    found.problems += _line_problems(found)
    return found


def _find_rate(line, rates, units, note) -> tuple[int | None, int | None]:
    """(first rate at which somebody answers, the rate at which most is garbled if nobody does)."""
    worst: dict[int, int] = {}
    for baud in rates:
        if not units:
            break
        line.set_baud(baud)
        note(f"{baud} baud: units {units[0]} to {units[-1]}")
        for unit in units:
            answer = _knock(line, unit)
            if answer.alive:
                return baud, None
            worst[baud] = worst.get(baud, 0) + (answer.outcome == GARBLED)
    most = max(worst, key=worst.__getitem__, default=0)
    return None, most if worst.get(most) else None


def _knock(line: Line, unit: int) -> Answer:
    """Whether anybody is there; a garbled answer is asked for again: once is noise, always is something else."""
    for _ in range(TRIES):
        answer = read(line, unit, BASES[0], 2, PATIENCE_S)
        if answer.outcome != GARBLED:
            return answer
    return answer


def _knock_on(line: Line, unit: int) -> Answer:
    """The same on a line that loses questions."""
    for _ in range(4 * TRIES):
        answer = _knock(line, unit)
        if answer.outcome != SILENT:
            return answer
    return answer


def _insist(line: Line, unit: int, address: int, count: int) -> Answer:
    """An answer of a unit that is known to be there, asked for again while it is lost or garbled."""
    for _ in range(INSIST):
        answer = read(line, unit, address, count)
        if answer.alive:
            return answer
    return answer


def inspect(line: Line, unit: int) -> Device:
    """Who is at `unit`, and how well it answers."""
    device = Device(unit)
    starts = {}
    denials = 0
    for base in BASES:
        answer = _insist(line, unit, base, 2)
        if answer.registers == SUNS:
            device.base, device.kind = base, "unreadable"
            starts = _walk(line, unit, base + 2)
            break
        denials += answer.alive
    if denials == len(BASES):
        device.kind = "not SunSpec"
    device.models = list(starts)
    at = (device.base if device.base is not None else BASES[0]) + 2
    device.short = _sample(line, unit, at - 2, 2)
    if device.base is not None:
        contents: dict[tuple[int, ...], int] = {}
        device.long = _sample(line, unit, at + 2, 66, contents)
        device.shared = sum(times > 1 for times in contents.values()) > 1 or _is_double(line, unit, device.base)
    if device.long.get(OK):
        words = _insist(line, unit, at + 2, 66).registers
        device.maker, device.model, device.serial = (_text(words[a:b]) for a, b in ((0, 16), (16, 32), (48, 64)))
    if any(model in starts for model in INVERTER_MODELS) and any(model in starts for model in CONTROL_MODELS):
        device.kind = "inverter"
        _read_ratings(line, device, starts)
    elif any(model in starts for model in METER_MODELS):
        device.kind = "meter"
    elif starts:
        device.kind = "other"
    return device


def _walk(line: Line, unit: int, address: int) -> dict[int, int]:
    """{model id: address of its id register}, as far as it can be read."""
    starts: dict[int, int] = {}
    for _ in range(MODELS_MAX):
        head = _insist(line, unit, address, 2).registers
        if not head or head[0] == END or address + 2 + head[1] > 0xFFFF:
            break
        starts.setdefault(head[0], address)
        address += 2 + head[1]
    return starts


def _read_ratings(line: Line, device: Device, starts: dict[int, int]) -> None:
    """Nameplate power (model 702 WMaxRtg) and capacity (713 or 802 WHRtg), where the device has them."""
    if 702 in starts:
        words = _insist(line, device.unit, starts[702] + 2, 50).registers
        device.power_max_w = _scaled(words[0], words[43]) if words else None
    for model, value_at, scale_at in ((713, 2, 7), (802, 3, 53)):
        if model in starts and device.capacity_wh is None:
            value = _insist(line, device.unit, starts[model] + value_at, 1).registers
            scale = _insist(line, device.unit, starts[model] + scale_at, 1).registers
            device.capacity_wh = _scaled(value[0], scale[0]) if value and scale else None


def _scaled(value: int, scale: int) -> int | None:
    """The whole number that `value` means with its scale factor; None when either is not implemented."""
    exponent = scale - 0x10000 if scale & 0x8000 else scale
    return None if value in (0, 0xFFFF) or not -10 <= exponent <= 10 else round(value * 10.0**exponent)


def _text(words: tuple[int, ...]) -> str:
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    return raw.split(b"\0")[0].decode("ascii", "replace").strip()


def _sample(line: Line, unit: int, address: int, count: int, contents: dict | None = None) -> dict[str, int]:
    """Outcomes of SAMPLES readings; how often each content came is added to `contents`."""
    outcomes: dict[str, int] = {}
    for _ in range(SAMPLES):
        answer = read(line, unit, address, count)
        outcomes[answer.outcome] = outcomes.get(answer.outcome, 0) + 1
        if contents is not None and answer.outcome == OK:
            contents[answer.registers] = contents.get(answer.registers, 0) + 1
    return outcomes


# ---- two devices at one address


def _is_double(line: Line, unit: int, base: int) -> bool:
    """Whether what two devices say alike comes through, and what they say differently never does.

    Maker, model and serial number are read two registers at a time, as long as the mark "SunS" that all have: noise
    spares one no more than the other, however many frames it spoils. A piece that never came, so often that noise
    which leaves the others their share would have let it through but for CHANCE, is where two devices differ.
    """
    common = base + 4
    pieces = [*range(common, common + 32, 2), *range(common + 48, common + 64, 2)]
    tries, heard, asked = dict.fromkeys(pieces, 0), 0, 0
    while pieces:
        heard += read(line, unit, base, 2).registers == SUNS
        asked += 1
        for piece in list(pieces):
            tries[piece] += 1
            if read(line, unit, piece, 2).alive:
                pieces.remove(piece)
                heard, asked = heard + 1, asked + tries[piece]
        if pieces and (tries[pieces[0]] >= DEAD_TRIES or _is_dead(tries[pieces[0]], heard / asked, len(tries))):
            return tries[pieces[0]] < DEAD_TRIES
    return False


def _is_never_heard(line: Line, device: Device, devices: Sequence[Device]) -> bool:
    """Whether nothing but garble comes from a unit on a line that lets the others' answers of that length through."""
    others = [other.short for other in devices if other is not device and other.short.get(OK)]
    if not others:
        return False
    share = sum(outcomes.get(OK, 0) for outcomes in others) / (SAMPLES * len(others))
    for tries in range(SAMPLES, DEAD_TRIES):
        if _is_dead(tries, share, len(devices)):
            return True
        if read(line, device.unit, BASES[0], 2).alive:
            break
    return False


def _is_dead(tries: int, share: float, pieces: int) -> bool:
    """Whether noise that lets `share` through would have let one of `tries` through; half of it, to be sure."""
    return tries * math.log1p(-min(share, 1.0) / 2) < math.log(CHANCE / pieces)


# ---- judging


def _bad(outcomes: dict[str, int]) -> int:
    return outcomes.get(GARBLED, 0) + outcomes.get(SILENT, 0)


def _line_problems(found: Found) -> list[tuple[str, str]]:
    problems = []
    shared = [device for device in found.devices if device.shared]
    for device in shared:
        problems.append((
            "shared_unit",
            f"unit {device.unit}: two devices answer at this address at once; disconnect one of them and give it "
            "another unit id at its own panel",
        ))  # fmt: skip
    rest = [device for device in found.devices if device not in shared]
    asked = sum(sum(outcomes.values()) for device in rest for outcomes in (device.short, device.long))
    bad = sum(_bad(outcomes) for device in rest for outcomes in (device.short, device.long))
    if asked and bad == asked:
        problems.append((
            "nothing_readable",
            f"something answers, but none of {asked} answers can be read: is this the Modbus line (a board's prompt "
            "answers like that)? are the devices set to 8N1? does another master talk here, or do two devices have "
            "one unit id? swap A and B",
        ))  # fmt: skip
    elif asked and bad / asked > ERRORS_MAX:
        problems.append((
            "noisy_line",
            f"the line is noisy: {bad} of {asked} answers were lost or garbled (limit {ERRORS_MAX:.0%}), so the "
            "list of units may have gaps; check the 120 Ω terminators at both ends, the twisted pair, the common "
            "ground, and keep the cable away from motor and inverter cables",
        ))  # fmt: skip
    for device in rest:
        if device.kind == "not SunSpec":
            problems.append((
                "not_sunspec",
                f"unit {device.unit} answers, but not as a SunSpec device; switch SunSpec on in its own settings",
            ))  # fmt: skip
    if not problems and not found.of("inverter"):
        problems.append(("no_inverter", "no SunSpec inverter with power control (model 704, 124 or 123) answers: is it "
                         "switched on, and is Modbus RTU enabled in its settings?"))  # fmt: skip
    if not problems and not found.of("meter"):
        problems.append(("no_meter", "no SunSpec meter (model 201 to 204) answers: without one at the PCC the board "
                         "cannot hold an import limit"))  # fmt: skip
    return problems


def _nothing(rates, units) -> str:
    return (
        f"nothing answers at {', '.join(map(str, rates))} baud, units {units[0]} to {units[-1]}: swap A and B, check "
        "that the devices are switched on and set to 8N1, and that no other master talks on this line"
    )


def compare(found: Found, site: SiteFile) -> list[tuple[str, str]]:
    """Where the line differs from what the site file says of it."""
    bus, problems = site.bus, []
    if found.baud is None:
        return problems
    if bus.baud != found.baud:
        problems.append((
            "wrong_line_rate",
            f"the devices answer at {found.baud} baud, but bus.baud in the site file is {bus.baud}: set it to "
            f"{found.baud}",
        ))  # fmt: skip
    kinds = {device.unit: device.kind for device in found.devices}
    for key, kind in (("inverter_unit", "inverter"), ("pcc_meter_unit", "meter"), ("pv_meter_unit", "meter"),
                      ("genset_meter_unit", "meter")):  # fmt: skip
        unit = getattr(bus, key)
        if unit and kinds.get(unit) != kind:
            here = ", ".join(str(device.unit) for device in found.of(kind)) or "no unit"
            problems.append((
                "wrong_unit",
                f"bus.{key} in the site file is {unit}, where {_is_there(kinds.get(unit))}; an answer as {kind} comes "
                f"from {here}: correct the site file or the device",
            ))  # fmt: skip
    return problems


def _is_there(kind: str | None) -> str:
    if kind is None:
        return "nobody answers"
    return "the answer cannot be read" if kind == "unreadable" else f"a device of another kind answers ({kind})"


def meters_by_role(found: Found, pcc_unit: int = 0) -> dict[str, int]:
    """{key of [bus]: unit} of the meters: PCC as told, or by its name, or the lowest unit; the rest by their names."""
    meters = found.of("meter")
    roles = {"pcc_meter_unit": pcc_unit, "pv_meter_unit": 0, "genset_meter_unit": 0}
    for key, words in (("pcc_meter_unit", ("PCC", "GRID", "MAIN")), ("pv_meter_unit", ("PV", "SOLAR")),
                       ("genset_meter_unit", ("GEN", "DIESEL"))):  # fmt: skip
        for device in meters:
            if not roles[key] and device.unit not in roles.values() and any(w in device.model.upper() for w in words):
                roles[key] = device.unit
    left = [device.unit for device in meters if device.unit not in roles.values()]
    if not roles["pcc_meter_unit"] and left:
        roles["pcc_meter_unit"] = left[0]
    return roles


def proposal(template: str, values: dict[str, dict]) -> str:
    """The site file `template` with {section: {key: value}} put in, its comments kept."""
    lines, section = [], ""
    for text in template.splitlines():
        if text.startswith("["):
            section = text[1 : text.index("]")]
        key, equals, rest = text.partition("=")
        new = values.get(section, {}).get(key.strip())
        if equals and new is not None and not text.startswith("#"):
            shown = f'"{_escaped(new)}"' if isinstance(new, str) else str(new)
            comment = rest[rest.index("#") :] if "#" in rest else ""
            text = f"{key.rstrip()} = {shown}".ljust(32 if comment else 0) + comment
        lines.append(text)
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
