"""What the commands do to a board at a port: look at it, put firmware on it, update it, record its link."""

import json
import sys
import tempfile
import time
from pathlib import Path

from forerun import __version__, config
from forerun.console import Stop
from forerun.errors import Trouble, WrongUsage
from forerun.link.port import open_port
from forerun_wire import messages

# By machine.reset_cause(), which RP2040 and ESP32 number alike.
RESETS = {0: "by hand", 1: "power came on", 2: "reset", 3: "its watchdog did it", 4: "it slept", 5: "soft reset"}


def board_info(port: str, baud: int, site_path: Path) -> dict:
    """What the board says of itself: identity, interpreter, uptime, settings check, link counters. Raises Trouble."""
    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    from forerun.commission.desk import open_desk
    from forerun.link.keys import keyring

    with open_desk(port, baud, keyring(site_path)) as desk:
        answer = desk.ask(messages.INFO)
        hello = {name: _plain(value) for name, value in desk.hello.items()}
    return {"port": port, **hello, **messages.fields_named(messages.INFO_FIELDS, answer)}


def in_words(info: dict) -> dict[str, str]:
    """`board_info` for a person: {what: words}."""
    minutes, seconds = divmod(info["uptime_s"], 60)
    ago = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
    cause = RESETS.get(info["reset_cause"], f"cause {info['reset_cause']} of its chip")
    return {
        "board": f"{info['identity']} ({info['board']}, {info['interpreter']})",
        "firmware": f"{info['software']}, wire version {info['version']}, schema {info['schema']}",
        "started": f"{ago} ago, start {info['boot_count']}, {cause}",
        "round": f"{info['cycle_ms']} ms; the longest took {info['worst_cycle_us'] / 1000:.1f} ms, the latest began "
                 f"{info['worst_late_us'] / 1000:.1f} ms late",
        "memory free": f"{info['heap_free'] / 1024:.1f} KiB",
        "key": f"{info['key_id']:06x}" if info["key_id"] else "none: everybody on the line may command it",
        "records": f"store {info['store_id']}",
        "settings": f"check {info['settings_crc']:08x}",
    }  # fmt: skip


def record_link(
    file: Path, port: str, baud: int, site_path: Path, seconds: float, *, as_json: bool
) -> dict:
    """Record what passes between the board and a host program on a new pseudo-terminal; frames of either side."""
    from forerun.link import recorder

    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    stop, ends = Stop(), time.monotonic() + seconds

    def tell(path: str) -> None:
        line = json.dumps({"link": path}) if as_json else f"let the host program open {path} in place of {port}"
        print(line, file=sys.stderr, flush=True)

    with open_port(port, baud) as line:
        return recorder.record(file, line, port, baud,
                               lambda: stop.asked or bool(seconds and time.monotonic() >= ends), tell)  # fmt: skip


def make_release(out: Path, board: str, version: str, key_file: Path) -> dict:
    """Write this host's firmware for one kind of board as a signed release that calls itself `version`; the key of its
    maker is made when there is none yet. Raises Trouble."""
    from forerun.bytecode import compile_to, library_for
    from forerun.commission import flashing
    from forerun.link import board_update
    from forerun.store.sitekey import signing_key

    flashing.known(board or "none")
    key = signing_key(key_file)
    with tempfile.TemporaryDirectory(prefix="forerun-release-") as place:
        library = library_for(board, Path(place))
        compile_to(library, {"forerun_board/__init__.py": f"__version__ = {version!r}\n"})
        image = board_update.image_of(library, version, board)
    try:
        out.write_bytes(board_update.write_release(image, key))
    except OSError as problem:
        raise Trouble(f"{out} cannot be written: {problem.strerror}") from problem
    return {"release": str(out), "board": board, "version": version, "files": len(image.files),
            "bytes": len(image.data), "sha256": image.digest.hex(), "key_file": str(key_file),
            "trust": key.public_key().public_bytes_raw().hex()}  # fmt: skip


def update_board(release: Path | None, trust: str, port: str, baud: int, site_path: Path, say) -> dict:
    """Bring a release, or without one this host's own firmware, onto a running board over its link. Raises Trouble."""
    from forerun.bytecode import library_for
    from forerun.commission.desk import open_desk
    from forerun.link import board_update
    from forerun.link.keys import keyring

    image = None
    if release is not None:
        try:
            trusted = bytes.fromhex(trust)
            image = board_update.read_release(release.read_bytes(), trusted)
        except ValueError as problem:
            raise WrongUsage("--trust: the maker's public key, 64 hexadecimal digits") from problem
        except OSError as problem:
            raise Trouble(f"{release} cannot be read: {problem.strerror}") from problem
    if not port:
        site = config.load(site_path)
        port, baud = site.link.port, site.link.baud
    with open_desk(port, baud, keyring(site_path)) as desk, tempfile.TemporaryDirectory() as place:
        before = desk.hello["software"]
        if image is None:
            board = desk.ask(messages.INFO)[0]
            image = board_update.image_of(library_for(board, Path(place)), __version__, board)
        return {"port": port, "before": before, "now": board_update.send(desk, image, say), "bytes": len(image.data)}


def _plain(value):
    return value.hex() if isinstance(value, bytes) else value
