"""Where a board's clock stands against the host's: minimum-round-trip estimate.

The board answers a heartbeat with its time of reception and of transmission (four timestamps, as in RFC 5905 §8).
The exchange with the shortest round trip among the recent ones bounds the offset best, since queues and schedulers
only ever add delay.
"""

from collections import deque

KEPT_EXCHANGES = 64
DRIFT_PPM = 100  # worst crystal plus temperature of the boards in firmware/boards; widens the bound of old exchanges


class BoardClock:
    """Maps one boot's uptime to the host's time; a new boot needs a new one."""

    def __init__(self) -> None:
        # board µs, offset µs, round trip µs of each
        self._exchanges: deque[tuple[int, int, int]] = deque(maxlen=KEPT_EXCHANGES)

    @property
    def known(self) -> bool:
        return bool(self._exchanges)

    def observe(self, sent_us: int, board_rx_us: int, board_tx_us: int, received_us: int) -> bool:
        """Add one exchange; False, and nothing kept, when its times cannot be true (negative round trip)."""
        round_trip_us = (received_us - sent_us) - (board_tx_us - board_rx_us)
        if round_trip_us < 0 or board_tx_us < board_rx_us:
            return False
        offset_us = ((sent_us - board_rx_us) + (received_us - board_tx_us)) // 2
        self._exchanges.append((board_tx_us, offset_us, round_trip_us))
        return True

    def host_us(self, board_us: int) -> tuple[int, int]:
        """Host time of the board's time `board_us`, and its uncertainty (half width), both µs.

        Raises LookupError before the first exchange.
        """
        if not self._exchanges:
            raise LookupError("no heartbeat has been answered yet")
        best = min(self._exchanges, key=lambda exchange: self._uncertainty_us(exchange, board_us))
        return board_us + best[1], self._uncertainty_us(best, board_us)

    def board_us(self, host_us: int) -> int:
        """Board time at the host's time `host_us`, µs. Raises LookupError before the first exchange."""
        newest_board_us = self._exchanges[-1][0] if self._exchanges else 0
        return host_us - (self.host_us(newest_board_us)[0] - newest_board_us)

    @staticmethod
    def _uncertainty_us(exchange: tuple[int, int, int], board_us: int) -> int:
        measured_us, _, round_trip_us = exchange
        return round_trip_us // 2 + abs(board_us - measured_us) * DRIFT_PPM // 1_000_000
