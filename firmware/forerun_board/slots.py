"""Which firmware runs: the one in /lib, or one of two that came over the link. A new one runs on trial first.

The choice is made before anything else is imported, by the firmware in /lib, which no update ever touches.
"""

from forerun_board.twoslot import TwoSlot

CONFIRM_S = 120  # uptime by which the host has to confirm a firmware on trial
FOLDERS = ("", "/a", "/b")  # by slot; 0 is /lib


class Slots:
    """The choice as it lies in `store`. `confirmed`: the slot that runs; `trial`: the one that may show what it can,
    0 = none; `starts_left`: how often it may yet be started; `fallen`: the one that failed, until that was told.
    """

    def __init__(self, store):
        self._file = TwoSlot(store + "/slots")
        kept = self._file.read()
        if kept is None or len(kept) < 4 or kept[0] > 2 or kept[1] > 2:
            kept = bytes(4)
        self.confirmed = kept[0]
        self.trial = kept[1]
        self.starts_left = kept[2]
        self.fallen = kept[3]

    def keep(self):
        """Bring the choice onto flash: all of it, or none."""
        self._file.write(bytes((self.confirmed, self.trial, self.starts_left, self.fallen)))

    def free(self):
        """The slot that an update may overwrite: never the one that runs, nor the one to fall back to."""
        return 2 if self.confirmed == 1 else 1

    def choose(self):
        """The slot to start now. A trial that was started and not confirmed is over."""
        if self.trial:
            if self.starts_left:
                self.starts_left -= 1
                self.keep()  # before it runs: whatever then happens, it is not started again
                return self.trial
            self.fallen = self.trial
            self.trial = 0
            self.keep()
        return self.confirmed

    def give_up(self, slot):
        """This slot cannot even be loaded: never again."""
        self.fallen = slot
        self.trial = 0
        if self.confirmed == slot:
            self.confirmed = 0
        self.keep()
