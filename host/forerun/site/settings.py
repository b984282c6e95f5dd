"""The settings that a board works with: asked for, compared with those of the site file, changed where they differ."""

from collections.abc import Callable

from forerun.config import SETTINGS_AT_ONCE
from forerun_wire import messages


class SettingsExchange:
    """One board's settings against those that are wanted, {key: value}; a new `ask` forgets the one before."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._asked: dict[int, list[int]] = {}  # sequence number -> keys that were asked for
        self._told: dict[int, int] = {}

    def ask(self, wanted: dict[int, int], command: Callable[..., int | None]) -> None:
        """Have the board tell its settings, in pieces that its memory holds at any time."""
        self._wanted, self._told = wanted, {}
        keys = list(wanted)
        pieces = [keys[at : at + SETTINGS_AT_ONCE] for at in range(0, len(keys), SETTINGS_AT_ONCE)]
        self._asked = {command(messages.SETTINGS_GET, *piece): piece for piece in pieces}

    def awaits(self, seq: int) -> bool:
        """Whether this is the answer to a piece."""
        return seq in self._asked

    def told(self, seq: int, values: list) -> list[int]:
        """Take a piece; [key, value, ...] to be changed, all together since they belong together, once the last one is
        there, else nothing."""
        self._told |= zip(self._asked.pop(seq), values, strict=False)
        if self._asked:
            return []
        return [item for key, value in self._told.items() if self._wanted[key] != value
                for item in (key, self._wanted[key])]  # fmt: skip
