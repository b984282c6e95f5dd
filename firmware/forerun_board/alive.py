"""Who feeds the hardware watchdog: nobody, unless the round, the link and the bus have all got somewhere."""


class Alive:
    """Calls `feed()` once after each of round(), link() and bus() has said that it made progress, then asks anew."""

    def __init__(self, feed):
        self._feed = feed
        self._link = False
        self._transactions = -1
        self._bus = False
        self.fed = False  # since boot

    def link(self):
        """A pass of the link service has come to its end."""
        self._link = True

    def round(self, transactions):
        """A round has come to its end, with so many bus transactions begun since boot."""
        if transactions != self._transactions:
            self._transactions = transactions
            self._bus = True
        if self._link and self._bus:
            self._link = False
            self._bus = False
            self.fed = True
            self._feed()
