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
RESET = 21  # button: releases a latched trip
INSULATION = None  # contact of an insulation monitor; None: there is none
TIE_CONTACT = 39  # auxiliary contact of the contactor to the grid: closed when that is open
GENSET_RUNNING = 40  # from the set's own panel
FUEL_LOW = 35  # float switch in the tank: to ground when it is low; None: none, or on the expander
HEATER = 41
FAN = 42
DUMP = 47  # load that keeps the set above its least load
TIE_OPEN = 48  # high opens the contactor to the grid; the LED of version 1.0 hangs on it and flickers along
PV_60 = None  # high: PV may feed in 60 % of its rating; None: any curtailment is PV_0
PV_0 = 38  # high: PV may feed in nothing
STAGE = 10  # PWM to a directly driven power stage
ONE_WIRE = 11  # DS18B20 on the battery, 4.7 kΩ to 3.3 V
SDA = 12  # SHT3x
SCL = 13
PULSE = 14  # S0 output of a meter
VOLTAGE = 1  # ADC1: PCC voltage, half the supply at zero
CURRENT = 2  # ADC1: PCC current
MAINTENANCE = 9  # to ground at start: the control does not start
# An MCP23017 beside the SHT3x takes what there are no pins for: the contacts of islanding, load shedding and tank.
EXPANDER = None  # its address, 0x20 to 0x27; None: there is none
EXPANDER_INSULATION = False  # whether an insulation monitor is on its GPB1
