"""Where a board's clock stands against the host's: a line under the fastest exchanges of the last minutes.

The board answers a heartbeat with its time of reception and of transmission (four timestamps, as in RFC 5905 §8).
Queues and schedulers only ever add delay, and in each direction for themselves: so the straight lines are sought that
lie under all delays there and all delays back, with one common slope, as high as they go together. For delays with an
exponential tail that is the most likely line (Moon, Skelly, Towsley: Estimation and Removal of Clock Skew, 1999).
"""

from collections import deque

import numpy as np

KEPT_EXCHANGES = 256
DRIFT_PPM = 100  # worst crystal plus temperature of the boards in firmware/boards
_SEARCH_STEPS = 40
_REFIT = 16  # with a full window one exchange more changes little: fitted anew after so many


class BoardClock:
    """Maps one boot's uptime to the host's time; a new boot needs a new one."""

    def __init__(self) -> None:
        # board µs, board minus host at reception, host minus board at the answer; the delays there and back included
        self._exchanges: deque[tuple[int, int, int]] = deque(maxlen=KEPT_EXCHANGES)
        # slope, offset, half round trip, slope's half width, and board µs of the first and last exchange that it is of
        self._fit: tuple[float, float, float, float, int, int] | None = None
        self._unfitted = 0

    @property
    def known(self) -> bool:
        return bool(self._exchanges)

    def observe(self, sent_us: int, board_rx_us: int, board_tx_us: int, received_us: int) -> bool:
        """Add one exchange; False, and nothing kept, when its times cannot be true (negative round trip)."""
        round_trip_us = (received_us - sent_us) - (board_tx_us - board_rx_us)
        if round_trip_us < 0 or board_tx_us < board_rx_us:
            return False
        self._exchanges.append((board_rx_us, board_rx_us - sent_us, received_us - board_tx_us))
        self._unfitted += 1
        if len(self._exchanges) < KEPT_EXCHANGES or self._unfitted >= _REFIT:
            self._fit = None
        return True

    def host_us(self, board_us: int) -> tuple[int, int]:
        """Host time of the board's time `board_us`, and its uncertainty (half width), both µs.

        The half width holds whatever part of the fastest round trip went either way, and what the slope may be off
        outside the exchanges. Raises LookupError before the first exchange.
        """
        if not self._exchanges:
            raise LookupError("no heartbeat has been answered yet")
        if self._fit is None:
            self._fit = (*self._fitted(), self._exchanges[0][0], self._exchanges[-1][0])
            self._unfitted = 0
        slope, offset_us, half_us, slope_half, first_us, last_us = self._fit
        outside_us = max(0, first_us - board_us, board_us - last_us)
        ahead_us = offset_us + slope * (board_us - first_us)
        return board_us - round(ahead_us), round(half_us + slope_half * outside_us) + 1

    def board_us(self, host_us: int) -> int:
        """Board time at the host's time `host_us`, µs. Raises LookupError before the first exchange."""
        newest_board_us = self._exchanges[-1][0] if self._exchanges else 0
        board_us = newest_board_us
        for _ in range(3):  # the clocks differ by parts in ten thousand: each time the error is so much smaller
            board_us += host_us - self.host_us(board_us)[0]
        return board_us

    def _fitted(self) -> tuple[float, float, float, float]:
        first_us, base_us, _ = self._exchanges[0]
        times = [board_us - first_us for board_us, _, _ in self._exchanges]
        there = [delay_us - base_us for _, delay_us, _ in self._exchanges]
        back = [delay_us + base_us for _, _, delay_us in self._exchanges]

        at, ahead, behind = (np.array(values, float) for values in (times, there, back))

        def under(slope: float) -> tuple[float, float]:
            """Heights, at the first exchange, of the lines of this slope that touch the delays from below."""
            return float((ahead - slope * at).min()), float((behind + slope * at).min())

        low, high = -DRIFT_PPM / 1e6, DRIFT_PPM / 1e6
        span_us = times[-1]
        if span_us:
            for _ in range(_SEARCH_STEPS):  # the sum of the heights is concave in the slope
                left, right = low + (high - low) / 3, high - (high - low) / 3
                if sum(under(left)) < sum(under(right)):
                    low = left
                else:
                    high = right
        slope = (low + high) / 2
        there_us, back_us = under(slope)
        half_us = max(0.0, (there_us + back_us) / 2)
        # Both this line and the true one pass between the delays of each exchange, the tightest of either half too.
        slope_half = 2 * DRIFT_PPM / 1e6
        middle = len(times) // 2
        if middle:
            early = min(range(middle), key=lambda i: there[i] + back[i])
            late = min(range(middle, len(times)), key=lambda i: there[i] + back[i])
            gap_us = there[early] + back[early] + there[late] + back[late]
            slope_half = min(slope_half, gap_us / max(1, times[late] - times[early]))
        return slope, base_us + (there_us - back_us) / 2, half_us, slope_half
