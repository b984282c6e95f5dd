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
RESET = 2  # button: releases a latched trip
INSULATION = None  # contact of an insulation monitor; None: there is none
TIE_CONTACT = 3  # auxiliary contact of the contactor to the grid: closed when that is open
GENSET_RUNNING = 8  # from the set's own panel
FUEL_LOW = None  # float switch in the tank: to ground when it is low; None: none, or on the expander
HEATER = 10
FAN = 11
DUMP = 12  # load that keeps the set above its least load
TIE_OPEN = 13  # high opens the contactor to the grid
PV_60 = 7  # high: PV may feed in 60 % of its rating; None: any curtailment is PV_0
PV_0 = 28  # high: PV may feed in nothing
STAGE = 18  # PWM to a directly driven power stage
ONE_WIRE = 19  # DS18B20 on the battery, 4.7 kΩ to 3.3 V
SDA = 20  # SHT3x
SCL = 21
PULSE = 9  # S0 output of a meter
VOLTAGE = 26  # ADC0: PCC voltage, half the supply at zero
CURRENT = 27  # ADC1: PCC current
MAINTENANCE = 22  # to ground at start: the control does not start
# An MCP23017 beside the SHT3x takes what there are no pins for: the contacts of islanding, load shedding and tank.
EXPANDER = None  # its address, 0x20 to 0x27; None: there is none
EXPANDER_INSULATION = False  # whether an insulation monitor is on its GPB1
