"""ESP32-S3-DevKitC-1: GPIO numbers. A safety contact closes to ground when all is well."""

BOARD = "esp32s3"
LINK_UART = 1  # to the host; UART 0 and USB stay the REPL's
LINK_TX = 17
LINK_RX = 18
BUS_UART = 2  # RS-485
BUS_TX = 15
BUS_RX = 16
BUS_DE = 7  # driver enable, active high; None for a transceiver that switches by itself
EMERGENCY_STOP = 4
DOOR = 5
TRIP = 6  # high opens the inverter's contactor
GENSET_START = 8
MAINTENANCE = 9  # to ground at start: the control does not start
