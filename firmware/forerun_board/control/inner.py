"""The inner loop of a directly driven power stage: import PI with anti-windup, droop and trip, once a millisecond.

Fixed point throughout. `state` is one array so that the very same law can be written for viper (inner_viper.py), which
a hard timer may call: it allocates nothing and waits for nobody. Proportional and integral act on the PCC import above
its limit; the droop adds discharge below and takes it away above the nominal frequency (grid-forming stages share load
so); the trip latches on overcurrent or overvoltage and is cleared by clearing INNER_TRIPPED.
"""

# Indices of `state`.
IMPORT_LIMIT_W = 0
POWER_MAX_W = 1
KP_Q8 = 2  # W per W, 256 = 1
KI_Q16 = 3  # W per W and step, 65536 = 1
DROOP_Q10 = 4  # W per mHz, 1024 = 1
CURRENT_MAX_MA = 5
VOLTAGE_MAX_MV = 6
INTEGRAL_Q8 = 7  # the integral in 1/256 W, never below 0
SETPOINT_W = 8
TRIPPED = 9  # 0, or which of 1 current, 2 voltage
SIZE = 10

ERROR_MAX_W = 100_000
DEVIATION_MAX_MILLIHZ = 5_000
NOMINAL_MILLIHZ = 50_000


def step(state, import_w, frequency_millihz, current_ma, voltage_mv):
    """The setpoint in W (> 0 discharges), also in `state`; 0 while tripped.

    Ranges that keep every intermediate inside ±2**30: POWER_MAX_W up to 100000, KP_Q8 up to 2560, KI_Q16 up to 6553,
    DROOP_Q10 up to 100000.
    """
    if state[TRIPPED] == 0:
        if current_ma > state[CURRENT_MAX_MA]:
            state[TRIPPED] = 1
        elif voltage_mv > state[VOLTAGE_MAX_MV]:
            state[TRIPPED] = 2
    if state[TRIPPED] != 0:
        state[INTEGRAL_Q8] = 0
        state[SETPOINT_W] = 0
        return 0
    power_max_w = state[POWER_MAX_W]
    error_w = import_w - state[IMPORT_LIMIT_W]
    if error_w > ERROR_MAX_W:
        error_w = ERROR_MAX_W
    elif error_w < -ERROR_MAX_W:
        error_w = -ERROR_MAX_W
    deviation = NOMINAL_MILLIHZ - frequency_millihz
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
