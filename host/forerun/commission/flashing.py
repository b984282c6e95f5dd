"""Before a board is flashed: does it control a site right now?"""

import select
import time

from forerun.commission.desk import open_desk
from forerun.errors import Trouble
from forerun.link.port import PortError, open_port
from forerun_wire import messages as m

LISTEN_S = 1.5  # a board without a host says hello every half second
REPORT_S = 3.0


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
