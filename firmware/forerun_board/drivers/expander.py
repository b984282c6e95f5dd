"""Contacts beyond a board's own pins: an MCP23017 on its I²C bus (Microchip DS20001952, BANK = 0).

Port A drives, port B reads with pull-ups. What cannot be reached counts as a safety contact that is open.
"""

DIRECTION_A = 0x00  # and B behind it: 1 reads
PULL_UP_B = 0x0D
PORT_B = 0x13
LATCH_A = 0x14
AGAIN_CALLS = 100
LOST = 4  # transfers that fail in a row before nothing is believed any more: one alone is noise
REST_READS = 20  # rounds in which a chip that is lost is left alone, because each try may take its whole timeout
FAILURES_MAX = 1 << 29


class Expander:
    """`i2c` with writeto_mem and readfrom_mem_into; allocates nothing once it has begun. `failures`: transfers that
    came to nothing since boot."""

    def __init__(self, i2c, address):
        self._i2c = i2c
        self._address = address
        self._begun = False
        self._written = 0
        self._calls = 0
        self._byte = bytearray(1)
        self._ports = bytearray((0x00, 0xFF))
        self._pulls = bytearray((0xFF,))
        self._port = -1  # as it was read last; -1: it does not answer
        self._looked = False  # since it was asked for last
        self._rest = 0  # reads until the next try
        self._row = 0  # failures since the last good read
        self.failures = 0

    def drive(self, bits):
        """Port A, eight bits; True if they are out. Written when they change, after a failure, and now and then,
        because a supply that dipped for a moment is noticed by nobody."""
        self._calls += 1
        if self._calls >= AGAIN_CALLS:
            self._calls = 0
            self._begun = False
        if self._begun and bits == self._written:
            return True
        if self._rest > 0:
            return False
        self._byte[0] = bits
        try:
            self._i2c.writeto_mem(self._address, LATCH_A, self._byte)
            if not self._begun:  # levels first, so that no relay twitches when its pin begins to drive
                self._i2c.writeto_mem(self._address, PULL_UP_B, self._pulls)
                self._i2c.writeto_mem(self._address, DIRECTION_A, self._ports)
        except OSError:
            self._fail()
            return False
        self._begun = True
        self._written = bits
        return True

    def look(self):
        """Read port B for the read() that comes next, while nobody waits for it. At most one transfer a read()."""
        if self._looked:
            return
        self._looked = True
        if self._rest > 0:
            self._rest -= 1
        elif self._begun:
            try:
                self._i2c.readfrom_mem_into(self._address, PORT_B, self._byte)
            except OSError:
                self._fail()
                return
            self._row = 0
            self._port = self._byte[0]

    def read(self):
        """Port B, eight bits, a contact to ground is 0; -1 if it does not answer."""
        self.look()
        self._looked = False
        return self._port

    def _fail(self):
        self._begun = False  # it may have been without power: all is written again
        if self.failures < FAILURES_MAX:
            self.failures += 1
        self._row += 1
        if self._row >= LOST:
            self._row = 0
            self._port = -1
            self._rest = REST_READS
