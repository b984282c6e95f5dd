"""When a board's records were made, in UTC, and how surely: over boots, lost clocks and clocks that were set."""

from forerun.link.clock import DRIFT_PPM, BoardClock

MS_CUT_US = 1000  # a record tells its uptime in whole ms, cut off
ARRIVED = -1  # half width of a boot of which nothing but the arrival of a record is known
TELL_AGAIN_US = 3_600_000_000


class RecordTimes:
    """UTC of each boot's uptime, by this boot's clock as it is compared and by what the journal says of earlier ones.

    A journal entry of it is [boot count, UTC µs of uptime 0, half width µs]: the half width is that of the records that
    follow it, ARRIVED where nothing but the time of arrival is known.
    """

    def __init__(self) -> None:
        self._clock, self._boot_count = BoardClock(), -1
        # boot count -> UTC µs of its uptime 0, half width µs, UTC µs of knowing it
        self._boots: dict[int, tuple[int, int, int]] = {}
        self._told: tuple[int, int, int] | None = None  # UTC of uptime 0, half width, when it was journalled

    @property
    def known(self) -> bool:
        """True when this boot's clock was compared."""
        return self._clock.known

    def begin(self, boot_count: int) -> None:
        """The board started anew."""
        self._clock, self._boot_count = BoardClock(), boot_count

    def recall(self, body: list, known_us: int) -> None:
        """Take an entry of an earlier run."""
        self._boots[body[0]] = (body[1], body[2], known_us)

    def tell_again(self) -> None:
        """Whatever the next comparison says is news."""
        self._told = None

    def observe(self, sent_us: int, board_rx_us: int, board_tx_us: int, received_us: int) -> bool:
        """Compare the clocks once more; False when these times cannot be true."""
        return self._clock.observe(sent_us, board_rx_us, board_tx_us, received_us)

    def news(self, board_us: int, now_us: int, utc_offset_us: int) -> list | None:
        """The entry to be journalled when where the clock stands, and how surely, has become another; else None."""
        host_us, half_us = self._clock.host_us(board_us)
        start_us, told = host_us - board_us + utc_offset_us, self._told
        if told and abs(start_us - told[0]) <= told[1] <= 2 * half_us and now_us - told[2] < TELL_AGAIN_US:
            return None
        self._told = (start_us, half_us, now_us)
        self._boots[self._boot_count] = (start_us, half_us, now_us + utc_offset_us)
        return [self._boot_count, start_us, half_us]

    def arrived(self, boot_count: int, uptime_us: int, arrival_us: int) -> list | None:
        """A record of that boot came; an entry to be journalled when its arrival is all that dates the boot."""
        if boot_count in self._boots or (self.known and boot_count == self._boot_count):
            return None
        self._boots[boot_count] = (arrival_us - uptime_us, ARRIVED, arrival_us)
        return [boot_count, arrival_us - uptime_us, ARRIVED]

    def utc_us(self, boot_count: int, uptime_us: int, utc_offset_us: int) -> tuple[int, int]:
        """UTC and its half width, µs, of a record of a boot that is known or has `arrived`."""
        if self.known and boot_count == self._boot_count:
            utc_us, half_us = self._clock.host_us(uptime_us)
            return utc_us + utc_offset_us, half_us + MS_CUT_US
        start_us, half_us, known_us = self._boots[boot_count]
        utc_us = start_us + uptime_us
        if half_us == ARRIVED:
            return utc_us, ARRIVED
        return utc_us, half_us + abs(utc_us - known_us) * 2 * DRIFT_PPM // 1_000_000 + MS_CUT_US

    def half_us(self, board_us: int) -> int:
        """Half width of what is known of this boot's clock at that uptime; LookupError before it was compared."""
        return self._clock.host_us(board_us)[1]

    def board_us(self, host_us: int) -> int:
        """This boot's uptime at the host's time; LookupError before the clocks were compared."""
        return self._clock.board_us(host_us)
