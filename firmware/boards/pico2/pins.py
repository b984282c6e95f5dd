"""Raspberry Pi Pico 2 (RP2350): GPIO numbers. A safety contact closes to ground when all is well."""

BOARD = "pico2"
LINK_UART = 0  # to the host
LINK_TX = 0
LINK_RX = 1
BUS_UART = 1  # RS-485
BUS_TX = 4
BUS_RX = 5
BUS_DE = 6  # driver enable, active high; None for a transceiver that switches by itself
EMERGENCY_STOP = 14
DOOR = 15
TRIP = 16  # high opens the inverter's contactor
GENSET_START = 17
MAINTENANCE = 22  # to ground at start: the control does not start
