"""Contacts beyond a board's own pins: an MCP23017 on its I²C bus (Microchip DS20001952, BANK = 0).

Port A drives, port B reads with pull-ups. What cannot be reached counts as a safety contact that is open.
"""

DIRECTION_A = 0x00  # and B behind it: 1 reads
PULL_UP_B = 0x0D
PORT_B = 0x13
LATCH_A = 0x14
AGAIN_CALLS = 100


class Expander:
    """`i2c` with writeto_mem and readfrom_mem_into; allocates nothing once it has begun."""

    def __init__(self, i2c, address):
        self._i2c = i2c
        self._address = address
        self._begun = False
        self._written = 0
        self._calls = 0
        self._byte = bytearray(1)
        self._ports = bytearray((0x00, 0xFF))
        self._pulls = bytearray((0xFF,))

    def drive(self, bits):
        """Port A, eight bits; True if they are out. Written when they change, after a failure, and now and then,
        because a supply that dipped for a moment is noticed by nobody."""
        self._calls += 1
        if self._calls >= AGAIN_CALLS:
            self._calls = 0
            self._begun = False
        if self._begun and bits == self._written:
            return True
        self._byte[0] = bits
        try:
            self._i2c.writeto_mem(self._address, LATCH_A, self._byte)
            if not self._begun:  # levels first, so that no relay twitches when its pin begins to drive
                self._i2c.writeto_mem(self._address, PULL_UP_B, self._pulls)
                self._i2c.writeto_mem(self._address, DIRECTION_A, self._ports)
        except OSError:
            self._begun = False
            return False
        self._begun = True
        self._written = bits
        return True

    def read(self):
        """Port B, eight bits, a contact to ground is 0; -1 if it does not answer."""
        if not self._begun:
            return -1
        try:
            self._i2c.readfrom_mem_into(self._address, PORT_B, self._byte)
        except OSError:
            self._begun = False  # it may have been without power: all is written again
            return -1
        return self._byte[0]
