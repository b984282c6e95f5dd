"""A board on the commissioning desk: asked step by step, its battery held by a lease that ends with the program."""

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator

from forerun import __version__
from forerun.config import SETTINGS_AT_ONCE
from forerun.errors import Trouble
from forerun.link.port import SerialLink, open_port
from forerun_wire import messages as m
from forerun_wire.host import HostSession

ANSWER_S = 10.0  # a board that is there says hello within half a second; its boot may take a few
LEASE_MS = 3000
RENEW_S = 1.0
SLICE_S = 0.05
QUESTIONS = (m.INFO, m.SETTINGS_GET)  # change nothing, so they may be asked again


class Desk:
    """One board, one conversation. `telemetry` keeps what it reports, by field name, newest last.

    The edge that moves the bytes drives receive(), step(), outgoing() and next_deadline_us(), as it drives a service;
    drive() says how time is passed. No record is acknowledged, so all stay on the board for the host that keeps them.
    """

    utc_offset_us = 0

    def __init__(self, nonce: bytes):
        self.session = HostSession("forerun commission", f"forerun {__version__}", nonce)
        self.telemetry: deque[dict] = deque(maxlen=5000)
        self.hello: dict = {}
        self.exchanges: list[tuple[int, int, int]] = []  # of the clocks: board µs, offset µs, round trip µs
        self._replies: dict[int, tuple[int, list] | None] = {}  # None: the link was lost before the answer
        self._heartbeat_us = 0
        self._sentence = self.occupied = ""
        self._held_w: int | None = None
        self._renew_us = 0

    def drive(self, pass_time: Callable[[float], None], now_us: Callable[[], int]) -> "Desk":
        """`pass_time(seconds)` moves bytes for at most so long; `now_us()` is the clock of the edge."""
        self._pass_time, self.now_us = pass_time, now_us
        return self

    # ---- what a person's program does with it

    def connect(self, where: str) -> dict:
        """The board's hello. Raises Trouble when nobody answers at `where`."""
        if not self.until(lambda: self.hello or self._sentence, ANSWER_S) or self._sentence:
            raise Trouble(
                self._sentence
                or self.occupied
                or f"nothing on {where} speaks Forerun's protocol within {ANSWER_S:.0f} s: is this the board's link "
                "port, is the line rate right, is the firmware on it (`forerun commission flash`)?"
            )
        return self.hello

    @property
    def refusal(self) -> str:
        """Why board and host do not talk, '' when nothing is known of that. A board waits three seconds for the host
        before us, says so in `occupied`, and is asked on."""
        return self._sentence

    def ask(self, op: int, *args) -> list:
        """Results of a command. Raises Trouble with the board's own sentence, or when the link is lost; a question is
        asked once more, as when the board takes leave of the host before us."""
        reply = self._answer(op, args)
        if reply is None and op in QUESTIONS and self.until(lambda: self.session.up, ANSWER_S):
            reply = self._answer(op, args)
        if reply is None:
            raise Trouble("the link to the board was lost: check its cable and power, then start this step again")
        code, results = reply
        if code != m.DONE:
            raise Trouble(f"the board refused {dict(m.OPS).get(op, op)}: {results[0] if results else m.CODES[code]}")
        return results

    def _answer(self, op: int, args: tuple) -> tuple[int, list] | None:
        seq = self.session.command(op, *args)
        if seq is None or not self.until(lambda: seq in self._replies, ANSWER_S):
            return None
        return self._replies.pop(seq)

    def settings(self) -> dict[int, int]:
        """{key: value} of all settings that this host knows."""
        keys = [key for key, *_ in m.SETTINGS]
        found: dict[int, int] = {}
        for at in range(0, len(keys), SETTINGS_AT_ONCE):
            some = keys[at : at + SETTINGS_AT_ONCE]
            found |= zip(some, self.ask(m.SETTINGS_GET, *some), strict=False)
        return found

    def set(self, values: dict[int, int]) -> None:
        """Change settings on the board, all or nothing; those it has already are not written again."""
        now = self.settings()
        changed = [item for key, value in values.items() if now.get(key) != value for item in (key, value)]
        if changed:
            self.ask(m.SETTINGS_SET, *changed)

    def hold(self, power_w: int | None) -> None:
        """Lease this active_power_w from now on, renewed while time passes here; None lets the lease end."""
        self._held_w, self._renew_us = power_w, 0
        self._renew()

    def lease(self, power_w: int, seconds: int) -> None:
        """Have the board hold this active_power_w for so long, even after this conversation."""
        self.ask(m.SETPOINT, m.HOLD_BATTERY, power_w, 1000 * seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ends_us = self.now_us() + round(seconds * 1e6)
        while (left_us := ends_us - self.now_us()) > 0:
            self._pass(left_us / 1e6)

    def until(self, condition: Callable[[], object], limit_s: float) -> bool:
        """True as soon as `condition()` holds, False if it did not within `limit_s`."""
        ends_us = self.now_us() + round(limit_s * 1e6)
        while not condition():
            left_us = ends_us - self.now_us()
            if left_us <= 0:
                return False
            self._pass(left_us / 1e6)
        return True

    def reports(self, seconds: float) -> list[dict]:
        """Telemetry of the next `seconds`, at least one. Raises Trouble when none comes."""
        self.telemetry.clear()
        self.wait(seconds)
        if not self.until(lambda: self.telemetry, ANSWER_S):
            raise Trouble("the board reports nothing any more: check its cable and power, then start this step again")
        return list(self.telemetry)

    def _pass(self, left_s: float) -> None:
        self._renew()
        self._pass_time(min(SLICE_S, left_s))

    def _renew(self) -> None:
        if self._held_w is not None and self.now_us() >= self._renew_us and self.session.up:
            self._renew_us = self.now_us() + round(RENEW_S * 1e6)
            self.session.command(m.SETPOINT, m.HOLD_BATTERY, self._held_w, LEASE_MS)

    # ---- what the edge calls

    def receive(self, data: bytes, now_us: int) -> None:
        self.session.receive(data, len(data), _ms(now_us))
        self._take_events(now_us)

    def step(self, now_us: int) -> None:
        heartbeats = self.session.heartbeat_count
        self.session.tick(_ms(now_us))
        if self.session.heartbeat_count != heartbeats:
            self._heartbeat_us = now_us
        self._take_events(now_us)

    def outgoing(self) -> bytes:
        data = b""
        while piece := bytes(self.session.outgoing(1024)):
            self.session.sent(len(piece))
            data += piece
        return data

    def next_deadline_us(self, now_us: int) -> int:
        return now_us + 1000 * self.session.next_deadline_ms(_ms(now_us))

    def clock_stepped(self, by_us: int, now_us: int) -> None:
        """Nothing here is dated."""

    def link_up(self, now_us: int) -> None:
        self.step(now_us)

    def link_down(self, now_us: int) -> None:
        self.hello = {}

    def _take_events(self, now_us: int) -> None:
        while (event := self.session.event()) is not None:
            name = event[0]
            if name == "telemetry":
                self.telemetry.append(m.fields_named(m.TELEMETRY_FIELDS, event[1]))
            elif name == "hello":
                self.hello = event[1]
            elif name == "clock":
                rx_us, tx_us = event[2] * 1_000_000 + event[3], event[4] * 1_000_000 + event[5]
                round_trip_us = now_us - self._heartbeat_us - (tx_us - rx_us)
                offset_us = (self._heartbeat_us - rx_us + now_us - tx_us) // 2
                self.exchanges.append((tx_us, offset_us, round_trip_us))
            elif name == "reply":
                self._replies[event[1]] = (event[3], event[4])
                while len(self._replies) > 64:  # nobody waits for the replies to renewals
                    del self._replies[next(iter(self._replies))]
            elif name == "failed":
                self._replies[event[1]] = None
            elif name == "refused" and event[1] == m.REFUSED_OCCUPIED:
                self.occupied = str(event[-1])
            elif name in ("mismatch", "refused"):
                self._sentence = str(event[-1])


@contextlib.contextmanager
def open_desk(port: str, baud: int, keyring: dict | None = None) -> Iterator[Desk]:
    """A desk on a real port, by the wall clock, its board connected; `keyring`: {key id: Keys}. Raises Trouble."""
    open_port(port, baud).close()  # says at once what is wrong with the port
    desk = Desk(secrets.token_bytes(8))
    desk.session.keyring = keyring or {}
    link = SerialLink(desk, port, baud)
    desk.drive(link.poll, lambda: time.monotonic_ns() // 1000)
    try:
        desk.connect(f"{port} at {baud} baud")
        yield desk
    finally:
        link.close()


def _ms(now_us: int) -> int:
    return now_us // 1000 & 0x3FFFFFFF
