"""forerun.cddl is the source of truth: names, numbers and shapes in forerun_wire are the same, and so is the hash."""

import hashlib
import json
import re
from pathlib import Path

import cbor2
import pycddl
import pytest

from forerun_wire import messages

PROTOCOL = Path(__file__).parents[2] / "protocol"
CDDL = (PROTOCOL / "forerun.cddl").read_text()
BARE = "\n".join(line.split(";")[0] for line in CDDL.splitlines())
CASES = [json.loads(line) for line in (PROTOCOL / "vectors.jsonl").read_text().splitlines()]
CURRENT = [case for case in CASES if "value" in case and case["schema"] == messages.SCHEMA_HASH.hex()]


def rule(name: str) -> str:
    found = re.search(rf"^{name} = (.*?)(?=^\w+ = |\Z)", BARE, re.MULTILINE | re.DOTALL)
    assert found, name
    return found.group(1)


def fields(name: str) -> list[str]:
    return re.findall(r"(\w+):", rule(name))


def numbers(name: str) -> dict[str, int]:
    return {member: int(number) for member, number in re.findall(r"(\w+): (\d+)", rule(name))}


def occurring(times: int) -> str:
    """The CDDL with each * and + written out `times` times, and each &(…) as its numbers.

    pycddl reads neither in an array that begins with something else, and would then take anything.
    """
    text = re.sub(r"&\(([^)]*)\)", lambda found: " / ".join(re.findall(r": (\d+)", found[1])), BARE)

    def write_out(found: re.Match) -> str:
        item = found[1].strip()
        return ", ".join([item[1:-1] if item.startswith("(") else item] * times)

    return re.sub(r",\s*\]", "]", re.sub(r"[*+]\s*(\([^)]*\)|\w+)", write_out, text))


def valid(message: list) -> bool:
    for times in range(len(message) + 1):
        try:
            pycddl.Schema(occurring(times)).validate_cbor(cbor2.dumps(message))
        except pycddl.ValidationError:
            continue
        return True
    return False


def value_of(case: dict) -> list:
    def plain(value):
        if isinstance(value, dict):
            return bytes.fromhex(value["hex"])
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(case["value"])


def test_schema_hash_is_of_the_cddl_without_comments_and_white_space():
    bare = "".join(BARE.split())
    assert hashlib.sha256(bare.encode()).digest()[:8] == messages.SCHEMA_HASH


@pytest.mark.parametrize("kind", [k for k in messages.KINDS if k not in ("command", "reply", "record")])
def test_fields_are_those_of_the_cddl(kind):
    assert tuple(fields(kind)) == messages.FIELDS[messages.KINDS.index(kind)]
    assert re.match(rf"\[\s*{messages.KINDS.index(kind)}\b", rule(kind))


def test_commands_and_replies_start_as_in_the_cddl():
    for number, name in messages.OPS:
        assert fields(name)[:2] == list(messages.COMMAND_FIELDS)
        assert re.match(rf"\[3, seq: uint, op: {number}\b", rule(name)), name
    for name in ("done", "refusal_of_command"):
        assert fields(name)[:2] == list(messages.REPLY_FIELDS)


def test_records_are_those_of_the_cddl():
    for number, name in messages.RECORD_KINDS:
        assert tuple(fields(name)) == messages.RECORD_FIELDS + messages.RECORD_BODIES[number]
        assert re.search(rf"record_kind: {number}\b", rule(name)), name


def test_numbers_are_those_of_the_cddl():
    assert {name: number for number, name in messages.OPS} == numbers("op")
    assert {name: number for number, name in messages.EVENTS} == numbers("event_code")
    assert {name: number for number, name in messages.RECORD_KINDS} == numbers("record_kind")
    assert {name: number for number, name in messages.REFUSALS} == numbers("refusal")
    assert {name: key for key, name, *_ in messages.SETTINGS} == numbers("setting")
    lists = {"role": "ROLES", "code": "CODES", "mode": "MODES", "state": "STATES", "bound": "BOUNDS"}
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
    if "later version" in case["name"]:
        assert not valid(message) and valid(message[:-1])
    elif "every integer edge" in case["name"]:
        assert valid(message)
    else:
        assert valid(message), message


def test_validation_sees_a_missing_an_extra_and_a_wrong_field():
    for case in CURRENT:
        message = value_of(case)
        if message[0] in (0, 1, 2, 5, 6, 7, 8, 9) and "later version" not in case["name"]:
            assert not valid(message[:-1]), case["name"]
            assert not valid([*message, 1.5]), case["name"]
            assert not valid([*message[:1], "wrong", *message[2:]]), case["name"]


def test_every_kind_op_code_and_record_has_a_golden_frame():
    values = [value_of(case) for case in CURRENT]
    assert {value[0] for value in values} == set(range(len(messages.KINDS)))
    assert {value[2] for value in values if value[0] == messages.COMMAND} == {number for number, _ in messages.OPS}
    assert {value[6] for value in values if value[0] == messages.RECORD} == set(messages.RECORD_BODIES)
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_generator_has_nothing_to_add():
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_vectors", PROTOCOL / "make_vectors.py")
    assert spec and spec.loader
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert {name for name, *_ in [*make.messages(), *make.dropped()]} <= {case["name"] for case in CASES}


def test_specification_says_the_same():
    page = (PROTOCOL / "README.md").read_text()
    case = next(case for case in CASES if case["name"] == "command setpoint, charge")
    assert bytes.fromhex(case["hex"]).hex(" ") in page
    for kind, (name, names) in enumerate(zip(messages.KINDS, messages.FIELDS, strict=True)):
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} | {name} |"))
        if name != "telemetry":
            assert ", ".join(names) in row, name
    for number, name in messages.OPS:
        assert f"| {number} | {name} |" in page, name
    assert ", ".join(messages.INFO_FIELDS) in page


def test_mip_manifest_lists_every_module():
    manifest = json.loads((PROTOCOL / "package.json").read_text())
    here = {path.name for path in (PROTOCOL / "forerun_wire").glob("*.py")} - {"names.py"}  # stays off the boards
    modules = sorted(f"forerun_wire/{name}" for name in here)
    assert sorted(target for target, _ in manifest["urls"]) == modules
    for target, source in manifest["urls"]:
        assert (PROTOCOL / source).exists() and target == source
