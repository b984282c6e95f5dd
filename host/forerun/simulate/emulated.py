"""The emulated site in real time, on pseudo-terminals or a real serial port: `forerun emulate`."""

import contextlib
import json
import os
import pty
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from forerun import sections
from forerun.console import Stop
from forerun.errors import Trouble, WrongUsage
from forerun.link.port import open_port


class EmulatedSite:
    """A site that answers in real time while the `with` block lasts; `path` is its Modbus line, `link_path` what a host
    opens to reach the board that was started with it (None without one). A `bare` board has no firmware yet, and its
    prompt at `prompt_path`; `flash` is the folder that plays its flash. Whoever opens `path` takes the board off the
    line meanwhile."""

    def __init__(self, site, *, port: str = "", baud: int = 115200, with_board: bool = False, bare: bool = False):
        self._site, self._port, self._baud, self._with_board = site, port, baud, with_board or bare
        self._bare = bare
        self.path = port
        self.link_path: str | None = None
        self.prompt_path: str | None = None
        self.units: list[int] = []
        self.problem: Trouble | None = None
        self._stopped = threading.Event()
        self._cleanup = contextlib.ExitStack()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> "EmulatedSite":
        from forerun.plant.board import open_line
        from forerun.plant.devices import units

        with contextlib.ExitStack() as cleanup:

            def line() -> tuple[int, str]:
                ours, theirs, path = open_line()
                cleanup.callback(os.close, theirs)
                cleanup.callback(os.close, ours)
                return ours, path

            if self._port:
                fd = cleanup.enter_context(open_port(self._port, self._baud)).fileno()
            else:
                fd, self.path = line()
            banks = units(self._site)
            self.units = sorted(banks)
            wires, adapter_fd = None, -1
            if self._with_board:
                wires = self._start_board(cleanup, line, self.path)
                if not self._port:
                    adapter_fd, far_fd = pty.openpty()
                    cleanup.callback(os.close, adapter_fd)
                    self.path = os.ttyname(far_fd)
                    os.close(far_fd)  # open only while somebody scans
            self._thread = threading.Thread(target=self._serve, args=(banks, fd, wires, adapter_fd), name="site")
            self._thread.start()
            cleanup.callback(self._thread.join)
            cleanup.callback(self._stopped.set)
            self._cleanup = cleanup.pop_all()
        return self

    def _start_board(self, cleanup: contextlib.ExitStack, line: Callable, bus_path: str):
        """A board in real time on the Modbus line at `bus_path`, its link joined to a new line; its contacts' wires."""
        from forerun.plant.board import ALL_HEAP_BYTES, BareBoard, BoardProcess, NullModem
        from forerun.plant.realtime import Wires

        self.flash = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="forerun-board-"))) / "flash"
        if self._bare:
            board = BareBoard(self.flash, bus_path)
            self.prompt_path = board.prompt_path
        else:
            board = BoardProcess(self.flash, lockstep=False, bus_path=bus_path, contacts=True, heap=ALL_HEAP_BYTES)
        cleanup.callback(board.close)
        host_fd, self.link_path = line()
        cleanup.callback(NullModem(board.link_fd, host_fd).close)
        board.power_on()
        return Wires(self._site, board)

    def __exit__(self, *exc) -> None:
        self._cleanup.close()

    def _serve(self, banks, fd: int, wires, adapter_fd: int) -> None:
        from forerun.plant.realtime import serve

        try:
            serve(self._site, banks, fd, self._baud, self._stopped.is_set, paced=not self._port,
                  wires=wires, adapter_fd=adapter_fd)  # fmt: skip
        except Trouble as problem:
            self.problem = problem


def emulate(port: str, baud: int, *, with_board: bool, bare: bool, seconds: float, as_json: bool) -> None:
    """The demo's site at this hour of the day in real time, on `port` or a new pseudo-terminal, until told to stop."""
    from forerun.simulate import scene

    if baud not in sections.BAUD_RATES:
        raise WrongUsage(f"--baud {baud}: it must be one of {', '.join(map(str, sections.BAUD_RATES))}")
    stop, ends = Stop(), time.monotonic() + seconds
    site, _ = scene.new_site(scene.scene(), seed=1)
    site.advance(int(time.time() % scene.DAY_S) * 1_000_000)
    with EmulatedSite(site, port=port, baud=baud, with_board=with_board, bare=bare) as emulated:
        told = {"modbus": emulated.path, "baud": baud, "units": emulated.units, "board_link": emulated.link_path,
                "board_prompt": emulated.prompt_path}  # fmt: skip
        _tell_emulated(told, as_json)
        while emulated.running and not stop.asked and not (seconds and time.monotonic() >= ends):
            time.sleep(0.05)
    if emulated.problem:
        raise emulated.problem


def _tell_emulated(told: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, sort_keys=True), flush=True)
        return
    print(f"emulated site: Modbus RTU on {told['modbus']}, {told['baud']} baud 8N1, units {told['units']}", flush=True)
    print("  1 inverter with battery, 2 meter at the PCC, 3 PV meter, 4 genset meter; SunSpec at 40000", flush=True)
    if told["board_link"]:
        print(f"board: its link is {told['board_link']}: put that in site.toml as link.port", flush=True)
    if told["board_prompt"]:
        print(f"  nothing but MicroPython is on it: `forerun commission flash --port {told['board_prompt']} "
              f"--link {told['board_link']}`", flush=True)  # fmt: skip
