"""What other programs read: Prometheus, MQTT, Modbus TCP."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that was begun: the port that it has, and whether it still serves there."""

    port: int
    still: Callable[[], bool]

    @property
    def alive(self) -> bool:
        return self.still()
