"""The link service: between the line to the host and the rest of the board."""

from forerun_board.commands import Commands
from forerun_wire import messages as m

CHUNK = 256
BACKED_UP_US = 2000  # how soon to try again when the line takes no more


class Link:
    """Moves bytes, answers heartbeats, hands commands on, and frees records that the host has."""

    def __init__(self, session, stream, board):
        self._session = session
        self._stream = stream
        self._board = board
        self._clock = board.clock
        self._commands = Commands(board)
        self._buffer = bytearray(CHUNK)
        self._backed_up = False

    def receive(self):
        """Take what came in and act on it."""
        session = self._session
        clock = self._clock
        count = self._stream.read_into(self._buffer, 0, CHUNK)
        while count > 0:
            session.receive(self._buffer, count, clock.ms)
            self._handle_all()  # at once, so that a full window of long commands is never in memory together
            count = self._stream.read_into(self._buffer, 0, CHUNK)
        session.tick(clock.ms)
        self._handle_all()

    def _handle_all(self):
        session = self._session
        event = session.event()
        while event is not None:
            self._handle(event)
            event = session.event()

    def send(self):
        """Put bytes on the line, as many as it takes."""
        session = self._session
        self._backed_up = False
        data = session.outgoing(CHUNK)
        while len(data) > 0:
            count = self._stream.write(data, len(data))
            if count == 0:
                self._backed_up = True
                return
            session.sent(count)
            data = session.outgoing(CHUNK)

    def wait_us(self):
        """Time until receive() has something to do even if no byte comes, in µs."""
        if self._backed_up:
            return BACKED_UP_US
        return 1000 * self._session.next_deadline_ms(self._clock.ms)

    def send_telemetry(self, values):
        """Send a telemetry frame if there is a host that listens."""
        self._session.send_telemetry(values)

    def _handle(self, event):
        name = event[0]
        board = self._board
        if name == "heartbeat":
            board.image.host_age_ms = 0
            clock = self._clock
            self._session.send_clock(event[1], clock.s, clock.us, clock.s, clock.us)
        elif name == "command":
            board.image.host_age_ms = 0
            code, results = self._commands.execute(event[2], event[3], event[4])
            self._session.reply(event[1], code, *results)
            board.take_new_keys()
        elif name == "record_ack":
            board.records.acknowledge(event[1])
        elif name == "forged":
            board.controller.events.push(m.AUTH_FAILED, event[1], 0)
