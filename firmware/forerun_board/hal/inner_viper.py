"""inner.tick for a hard timer: the same law, compiled to machine code by viper. A test holds the two equal.

Only for MicroPython with a native emitter (rp2, esp32, unix); the law is stated, and explained, in control/inner.py.
"""

import micropython


@micropython.viper
def tick(state: ptr32, voltage_raw: int, current_raw: int) -> int:  # type: ignore # noqa: F821
    p = state
    u = voltage_raw - (p[15] >> 16)
    p[15] = p[15] + (((voltage_raw << 16) - p[15]) >> 12)
    i = current_raw - (p[16] >> 16)
    p[16] = p[16] + (((current_raw << 16) - p[16]) >> 12)
    at = p[17]
    p[17] = at + 1
    if at == 9:
        p[17] = 0
    place = 23 + at
    new = u * i + 4194304
    products = p[20] + new - p[place]
    p[20] = products
    p[place] = new
    place += 10
    new = u * u
    voltage_squares = p[21] + new - p[place]
    p[21] = voltage_squares
    p[place] = new
    place += 10
    new = i * i
    current_squares = p[22] + new - p[place]
    p[22] = current_squares
    p[place] = new
    import_w = ((products - 41943040) >> 5) * p[7] >> p[8]
    if p[9] != 0:
        import_w = 0 - import_w
    p[19] = import_w + 16777216
    if p[18] < 4000:
        p[18] = p[18] + 1
        return 0
    if p[14] == 0:
        if current_squares > p[10]:
            p[14] = 1
        elif voltage_squares > p[11]:
            p[14] = 2
    if p[6] == 0 or p[14] != 0:
        p[12] = 0
        p[13] = 0
        return 0
    p[6] = p[6] - 1
    power_max_w = p[1]
    error_w = import_w - p[0]
    if error_w > 100_000:
        error_w = 100_000
    elif error_w < -100_000:
        error_w = -100_000
    deviation = 50_000 - p[5]
    if deviation > 5_000:
        deviation = 5_000
    elif deviation < -5_000:
        deviation = -5_000
    integral = p[12] + ((error_w * p[3]) >> 8)
    setpoint_w = ((error_w * p[2]) >> 8) + ((p[4] * deviation) >> 10) + (integral >> 8)
    # Anti-windup: the integral moves only while that does not push further into a bound.
    if setpoint_w > power_max_w:
        setpoint_w = power_max_w
        if error_w > 0:
            integral = p[12]
    elif setpoint_w < 0:
        setpoint_w = 0
        if error_w < 0:
            integral = p[12]
    bound = power_max_w << 8
    if integral > bound:
        integral = bound
    elif integral < 0:
        integral = 0
    p[12] = integral
    p[13] = setpoint_w
    return setpoint_w
