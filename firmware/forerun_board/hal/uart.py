"""A UART as a line: never waits, but for the transmitter of an RS-485 line without automatic direction."""

from machine import UART, Pin

RX_BUFFER = 1024
TX_BUFFER = 1024
CHUNK = 64


class UartLine:
    """8N1 on UART `number` and the pins `tx`, `rx`; `de` is the driver-enable pin of an RS-485 transceiver or None."""

    def __init__(self, number, baud, tx, rx, de):
        self.uart = UART(number, baudrate=baud, tx=Pin(tx), rx=Pin(rx), rxbuf=RX_BUFFER, txbuf=TX_BUFFER)
        self._de = None if de is None else Pin(de, Pin.OUT, value=0)

    def set_baud(self, baud):
        """Another speed from here on."""
        self.uart.init(baudrate=baud)

    def read_into(self, buffer, start, limit):
        """Number of bytes read to buffer[start:], at most `limit`."""
        count = min(limit, self.uart.any())
        if count == 0:
            return 0
        return self.uart.readinto(memoryview(buffer)[start:], count) or 0

    def write(self, data, count):
        """Number of bytes taken, of the first `count` of `data`."""
        if self._de is None:
            return self.uart.write(memoryview(data)[: min(count, CHUNK)]) or 0
        # The answer may begin 1.75 ms after the last character: the direction must be back by then, so this waits.
        self._de.value(1)
        written = self.uart.write(memoryview(data)[:count]) or 0
        self.uart.flush()
        self._de.value(0)
        return written
