"""forerun.cddl is the source of truth: names, numbers and shapes in forerun_wire are the same, and so is the hash."""

import functools
import hashlib
import json
import re
from pathlib import Path

import cbor2
import pycddl
import pytest

from forerun.bytecode import NOT_ON_A_BOARD
from forerun_wire import messages

# zcbor 0.9 asks cbor2 for two names that it gave up since; they were kinds of this one.
for _name in ("CBORDecodeValueError", "CBORDecodeEOF"):
    if not hasattr(cbor2, _name):
        setattr(cbor2, _name, cbor2.CBORDecodeError)
import zcbor  # noqa: E402

PROTOCOL = Path(__file__).parents[2] / "protocol"


def bare(path: Path) -> str:
    """The CDDL without its comments."""
    return "\n".join(line.split(";")[0] for line in path.read_text().splitlines())


BARE = bare(PROTOCOL / "forerun.cddl")
OLDER = {schema.hex(): bare(PROTOCOL / "schemas" / f"{i + 1}.cddl") for i, schema in enumerate(messages.OLDER_SCHEMAS)}
CASES = [json.loads(line) for line in (PROTOCOL / "vectors.jsonl").read_text().splitlines()]
CURRENT = [case for case in CASES if "value" in case and case["schema"] == messages.SCHEMA_HASH.hex()]


def rule(name: str, text: str = BARE) -> str:
    found = re.search(rf"^{name} = (.*?)(?=^\w+ = |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, name
    return found.group(1)


def fields(name: str) -> list[str]:
    return re.findall(r"(\w+):", rule(name))


def numbers(name: str, text: str = BARE) -> dict[str, int]:
    return {member: int(number) for member, number in re.findall(r"(\w+): (\d+)", rule(name, text))}


def numbers_only(text: str) -> str:
    """The CDDL with each &(…) as its numbers, which neither validator reads as they stand."""
    return re.sub(r"&\(([^)]*)\)", lambda found: " / ".join(re.findall(r": (\d+)", found[1])), text)


def occurring(times: int, text: str) -> str:
    """The CDDL with each * and + written out `times` times, and ? once or not at all: once if `times` is odd.

    pycddl reads none of them in an array that begins with something else, and would then take anything or nothing.
    """
    text = re.sub(r",\s*\? (\w+: \w+)", r", \1" if times % 2 else "", text)
    times //= 2

    def write_out(found: re.Match) -> str:
        item = found[1].strip()
        return ", ".join([item[1:-1] if item.startswith("(") else item] * times)

    return re.sub(r",\s*\]", "]", re.sub(r"[*+]\s*(\([^)]*\)|\w+)", write_out, numbers_only(text)))


@functools.cache
def pycddl_schema(kind: str, times: int, text: str) -> pycddl.Schema:
    return pycddl.Schema(f"top = {kind}\n" + occurring(times, text))


@functools.cache
def zcbor_type(name: str = "message"):
    return zcbor.DataTranslator.from_cddl(numbers_only(BARE), 256).my_types[name]


def valid_for_pycddl(message: list, text: str = BARE) -> bool:
    kind = messages.KINDS[message[0]].removesuffix("_array")
    repeated = re.search(r"[*+?] ", rule(kind, text)) or kind in ("command", "reply", "record", "records")
    for times in reversed(range(2 * len(message) + 2 if repeated else 1)):  # most repeat nearly all that they hold
        try:
            pycddl_schema(kind, times, text).validate_cbor(cbor2.dumps(message))
        except pycddl.ValidationError:
            continue
        return True
    return False


def valid_for_zcbor(message: list) -> bool:
    try:
        zcbor_type().validate_str(cbor2.dumps(message))
    except zcbor.CddlValidationError:
        return False
    return True


def valid(message: list) -> bool:
    """What both validators say. They have to agree."""
    one, other = valid_for_pycddl(message), valid_for_zcbor(message)
    assert one == other, (message, one, other)
    return one


def value_of(case: dict) -> list:
    def plain(value):
        if isinstance(value, dict):
            return bytes.fromhex(value["hex"])
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(case["value"])


def test_schema_hashes_are_of_the_cddl_without_comments_and_white_space():
    texts = {**OLDER, messages.SCHEMA_HASH.hex(): BARE}
    for schema, text in texts.items():
        assert hashlib.sha256("".join(text.split()).encode()).digest()[:8].hex() == schema, "run make_vectors.py"
    assert len(messages.OLDER_SCHEMAS) >= 2, "N talks to N-2"


def test_what_older_schemas_say_is_still_valid_and_their_numbers_are_the_same():
    for schema, text in OLDER.items():
        found = [case for case in CASES if "value" in case and case["schema"] == schema]
        assert len(found) > 20
        for case in found:
            if "later version" not in case["name"]:
                assert valid_for_pycddl(value_of(case), text), case["name"]
        ops = "ops" if re.search("^ops = ", text, re.MULTILINE) else "op"
        for now, then in (("ops", ops), ("event_code", "event_code"), ("setting", "setting"), ("bound", "bound")):
            assert numbers(then, text).items() <= numbers(now).items(), (schema, now)


@pytest.mark.parametrize("kind", [
    k for k in messages.KINDS if k not in ("command", "reply", "record", "records", "telemetry_array")
])
def test_fields_are_those_of_the_cddl(kind):
    shown = fields(kind)[:1] if kind == "record_ack" else fields(kind)
    assert tuple(shown) == messages.FIELDS[messages.KINDS.index(kind)]
    assert re.match(rf"\[\s*{messages.KINDS.index(kind)}\b", rule(kind))


def test_telemetry_is_packed_as_the_cddl_says():
    assert tuple(fields("telemetry_fields")) == messages.TELEMETRY_FIELDS
    letters = {"u16": "H", "u32": "I", "i16": "h", "i32": "i", "states": "B", "bound": "B"}
    letters |= {"0..999": "H", "0..1000": "H"}
    types = re.findall(r"\w+: ([\w.]+)", rule("telemetry_fields").partition("]")[0])
    assert ">BBBB" + "".join(letters[name] for name in types) == messages.TELEMETRY_FORMAT
    assert messages.TELEMETRY_MAX == int(rule("u16").partition("..")[2].split()[0]) == 0xFFFF - 0x202
    cases = [case for case in CURRENT if "telemetry" in case]
    assert len(cases) >= 5
    for case in cases:
        values = case["telemetry"]
        pycddl.Schema("top = telemetry_fields\n" + numbers_only(BARE)).validate_cbor(cbor2.dumps(values))
        zcbor_type("telemetry_fields").validate_str(cbor2.dumps(values))
    for place, wrong in ((1, 1000), (2, -1), (3, 99), (4, 65022), (8, -1), (9, -1), (17, 2**30)):
        values = [*cases[0]["telemetry"]]
        values[place] = wrong
        with pytest.raises(pycddl.ValidationError):
            pycddl.Schema("top = telemetry_fields\n" + numbers_only(BARE)).validate_cbor(cbor2.dumps(values))
        with pytest.raises(zcbor.CddlValidationError):
            zcbor_type("telemetry_fields").validate_str(cbor2.dumps(values))


def test_commands_and_replies_start_as_in_the_cddl():
    for number, name in messages.OPS:
        assert fields(name)[:2] == list(messages.COMMAND_FIELDS)
        assert re.match(rf"\[3, seq: uint, op: {number}\b", rule(name)), name
    for name in ("done", "refusal_of_command"):
        assert fields(name)[:2] == list(messages.REPLY_FIELDS)


def test_records_are_those_of_the_cddl():
    for number, name in messages.RECORD_KINDS:
        assert tuple(fields(name)) == (*messages.RECORD_FIELDS, *messages.RECORD_BODIES[number], "tag")
        assert re.search(rf"record_kind: {number}\b", rule(name)), name


def test_numbers_are_those_of_the_cddl():
    assert {name: number for number, name in messages.OPS} == numbers("ops")
    assert {name: number for number, name in messages.EVENTS} == numbers("event_code")
    assert {name: number for number, name in messages.RECORD_KINDS} == numbers("record_kinds")
    assert {name: number for number, name in messages.REFUSALS} == numbers("refusal")
    assert {name: key for key, name, *_ in messages.SETTINGS} == numbers("setting")
    lists = {"roles": "ROLES", "codes": "CODES", "modes": "MODES", "states": "STATES", "bound": "BOUNDS",
             "key_roles": "KEY_ROLES", "gap_cause": "GAP_CAUSES"}  # fmt: skip
    for name, constant in lists.items():
        assert {member: i for i, member in enumerate(getattr(messages, constant))} == numbers(name)


def test_every_constant_has_the_number_of_its_name():
    for table in (messages.OPS, messages.EVENTS):
        for number, name in table:
            assert getattr(messages, name.upper()) == number
    for i, name in enumerate(messages.CODES):
        assert getattr(messages, name.upper()) == i
    for i, name in enumerate(messages.BOUNDS):
        assert getattr(messages, "BOUND_" + name.upper()) == i


def test_settings_have_a_default_inside_their_range_and_keys_in_order():
    keys = [key for key, *_ in messages.SETTINGS]
    assert keys == sorted(set(keys))
    for _, name, _, low, high, default in messages.SETTINGS:
        assert low <= default <= high, name


@pytest.mark.parametrize("case", CURRENT, ids=lambda case: case["name"])
def test_golden_frames_are_valid(case):
    message = value_of(case)
    if "later version" in case["name"] and message[0] != messages.TELEMETRY:
        assert not valid(message) and valid(message[:-1])
    elif "every integer edge" in case["name"]:
        assert valid(message)
    else:
        assert valid(message), message


def test_validation_sees_a_missing_an_extra_and_a_wrong_field():
    for case in CURRENT:
        message = value_of(case)
        if message[0] in (0, 1, 2, 8, 9, 10, 12, 13) and "later version" not in case["name"]:
            assert not valid(message[:-1]), case["name"]
            assert not valid([*message, 1.5]), case["name"]
            assert not valid([*message[:1], "wrong", *message[2:]]), case["name"]


def test_every_kind_op_code_and_record_has_a_golden_frame():
    values = [value_of(case) for case in CURRENT]
    older = {messages.RECORD, messages.TELEMETRY_ARRAY}
    assert {value[0] for value in values} == set(range(len(messages.KINDS))) - older
    assert {value[2] for value in values if value[0] == messages.COMMAND} == {number for number, _ in messages.OPS}
    records = [record for value in values if value[0] == messages.RECORDS for record in value[2:]]
    assert {record[4] for record in records} == set(messages.RECORD_BODIES)
    assert len({(case["schema"], case["name"]) for case in CASES}) == len(CASES)


def test_generator_has_nothing_to_add():
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_vectors", PROTOCOL / "make_vectors.py")
    assert spec and spec.loader
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    current = {case["name"] for case in CASES if case["schema"] == messages.SCHEMA_HASH.hex()}
    assert {name for name, *_ in [*make.messages(), *make.dropped()]} == current


def test_specification_says_the_same():
    page = (PROTOCOL / "README.md").read_text()
    case = next(case for case in CURRENT if case["name"] == "command setpoint, charge")
    assert bytes.fromhex(case["hex"]).hex(" ") in page
    for kind, (name, names) in enumerate(zip(messages.KINDS, messages.FIELDS, strict=True)):
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} | {name} |"))
        if name != "telemetry_array":
            assert ", ".join(names) in row, name
    for number, name in messages.OPS:
        assert f"| {number} | {name} |" in page, name
    assert ", ".join(messages.INFO_FIELDS) in page


def test_mip_manifest_lists_every_module():
    manifest = json.loads((PROTOCOL / "package.json").read_text())
    here = {path.name for path in (PROTOCOL / "forerun_wire").glob("*.py")} - NOT_ON_A_BOARD
    modules = sorted(f"forerun_wire/{name}" for name in here)
    assert sorted(target for target, _ in manifest["urls"]) == modules
    for target, source in manifest["urls"]:
        assert (PROTOCOL / source).exists() and target == source
