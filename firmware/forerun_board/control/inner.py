"""The inner loop, once a millisecond: one sample of PCC voltage and current, then what a directly driven power stage
is to give: import PI with anti-windup, droop, trip.

Fixed point throughout, in one array, so that the very same law can be written for viper (hal/inner_viper.py), which a
hard timer may call: it allocates nothing and waits for nobody. Power is the mean of u * i over the last half cycle of
50 Hz, ten samples. Proportional and integral act on the import above its limit; the droop adds discharge below and
takes it away above the nominal frequency (grid-forming stages share load so). The trip latches on the effective
current or voltage of the half cycle. What the decision cycle wants is good for LEASE steps: if it hangs, the stage
gives nothing.
"""

# Indices of the state. No element is ever negative: on a 64-bit port viper loads them without their sign.
IMPORT_LIMIT_W = 0
POWER_MAX_W = 1
KP_Q8 = 2  # W per W, 256 = 1
KI_Q16 = 3  # W per W and step, 65536 = 1
DROOP_Q10 = 4  # W per mHz, 1024 = 1
FREQUENCY_MILLIHZ = 5
LEASE = 6  # steps that IMPORT_LIMIT_W, POWER_MAX_W and FREQUENCY_MILLIHZ are good for
GAIN = 7  # W per 32 counts², with GAIN_SHIFT bits behind the point, 0 to 511
GAIN_SHIFT = 8
REVERSED = 9  # 1: the arrow of the CT points away from the site
CURRENT_MAX = 10  # sum of squares of a half cycle, counts²
VOLTAGE_MAX = 11
INTEGRAL_Q8 = 12  # the integral in 1/256 W
SETPOINT_W = 13
TRIPPED = 14  # 0, or which of 1 current, 2 voltage
VOLTAGE_ZERO_Q16 = 15  # what the ADC reads at 0, in 1/65536 counts; found by itself
CURRENT_ZERO_Q16 = 16
AT = 17  # where the next sample goes
STEPS = 18  # since the start, up to WARM
IMPORT_BIASED_W = 19  # the import measured, plus BIAS_W
PRODUCTS = 20  # sums over the half cycle; products are biased too
VOLTAGE_SQUARES = 21
CURRENT_SQUARES = 22
RING = 23  # the last WINDOW products, squares of the voltage, squares of the current
WINDOW = 10
SIZE = 53

WARM = 4_000  # steps until the zeros are found
BIAS = 1 << 22
BIAS_W = 1 << 24
ERROR_MAX_W = 100_000
DEVIATION_MAX_MILLIHZ = 5_000
NOMINAL_MILLIHZ = 50_000


def start(state):
    """Make an array of SIZE zeros ready for the first sample."""
    state[FREQUENCY_MILLIHZ] = NOMINAL_MILLIHZ
    state[VOLTAGE_ZERO_Q16] = state[CURRENT_ZERO_Q16] = 2048 << 16
    state[IMPORT_BIASED_W] = BIAS_W
    state[PRODUCTS] = WINDOW * BIAS
    for i in range(WINDOW):
        state[RING + i] = BIAS


def tick(state, voltage_raw, current_raw):
    """The setpoint in W (> 0 discharges) after one more sample, both 0 to 4095 with zero near 2048."""
    zero = state[VOLTAGE_ZERO_Q16]
    u = voltage_raw - (zero >> 16)
    state[VOLTAGE_ZERO_Q16] = zero + (((voltage_raw << 16) - zero) >> 12)
    zero = state[CURRENT_ZERO_Q16]
    i = current_raw - (zero >> 16)
    state[CURRENT_ZERO_Q16] = zero + (((current_raw << 16) - zero) >> 12)
    at = state[AT]
    state[AT] = at + 1 if at < WINDOW - 1 else 0
    place = RING + at
    new = u * i + BIAS
    products = state[PRODUCTS] + new - state[place]
    state[PRODUCTS] = products
    state[place] = new
    place += WINDOW
    new = u * u
    voltage_squares = state[VOLTAGE_SQUARES] + new - state[place]
    state[VOLTAGE_SQUARES] = voltage_squares
    state[place] = new
    place += WINDOW
    new = i * i
    current_squares = state[CURRENT_SQUARES] + new - state[place]
    state[CURRENT_SQUARES] = current_squares
    state[place] = new
    import_w = ((products - WINDOW * BIAS) >> 5) * state[GAIN] >> state[GAIN_SHIFT]
    if state[REVERSED] != 0:
        import_w = -import_w
    state[IMPORT_BIASED_W] = import_w + BIAS_W
    if state[STEPS] < WARM:
        state[STEPS] += 1
        return 0
    if state[TRIPPED] == 0:
        if current_squares > state[CURRENT_MAX]:
            state[TRIPPED] = 1
        elif voltage_squares > state[VOLTAGE_MAX]:
            state[TRIPPED] = 2
    return step(state, import_w)


def step(state, import_w):
    """The setpoint in W (> 0 discharges), also in `state`; 0 while tripped or without an order.

    Ranges that keep every intermediate inside ±2**30: POWER_MAX_W up to 100000, KP_Q8 up to 2560, KI_Q16 up to 6553,
    DROOP_Q10 up to 100000.
    """
    if state[LEASE] == 0 or state[TRIPPED] != 0:
        state[INTEGRAL_Q8] = 0
        state[SETPOINT_W] = 0
        return 0
    state[LEASE] -= 1
    power_max_w = state[POWER_MAX_W]
    error_w = import_w - state[IMPORT_LIMIT_W]
    if error_w > ERROR_MAX_W:
        error_w = ERROR_MAX_W
    elif error_w < -ERROR_MAX_W:
        error_w = -ERROR_MAX_W
    deviation = NOMINAL_MILLIHZ - state[FREQUENCY_MILLIHZ]
    if deviation > DEVIATION_MAX_MILLIHZ:
        deviation = DEVIATION_MAX_MILLIHZ
    elif deviation < -DEVIATION_MAX_MILLIHZ:
        deviation = -DEVIATION_MAX_MILLIHZ
    integral = state[INTEGRAL_Q8] + ((error_w * state[KI_Q16]) >> 8)
    base_w = ((error_w * state[KP_Q8]) >> 8) + ((state[DROOP_Q10] * deviation) >> 10)
    setpoint_w = base_w + (integral >> 8)
    # Anti-windup: the integral moves only while that does not push further into a bound.
    if setpoint_w > power_max_w:
        setpoint_w = power_max_w
        if error_w > 0:
            integral = state[INTEGRAL_Q8]
    elif setpoint_w < 0:
        setpoint_w = 0
        if error_w < 0:
            integral = state[INTEGRAL_Q8]
    bound = power_max_w << 8
    if integral > bound:
        integral = bound
    elif integral < 0:
        integral = 0
    state[INTEGRAL_Q8] = integral
    state[SETPOINT_W] = setpoint_w
    return setpoint_w
