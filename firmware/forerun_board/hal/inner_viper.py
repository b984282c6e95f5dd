"""inner.step for a hard timer: the same law, compiled to machine code by viper. A test holds the two equal.

No element of the state is ever negative: on a 64-bit port viper loads them without their sign. Only for MicroPython
with a native emitter (rp2, esp32, unix); the law is stated, and explained, in inner.py.
"""

import micropython


@micropython.viper
def step(state: ptr32, import_w: int, frequency_millihz: int, current_ma: int, voltage_mv: int) -> int:  # type: ignore # noqa: F821
    p = state
    if p[9] == 0:
        if current_ma > p[5]:
            p[9] = 1
        elif voltage_mv > p[6]:
            p[9] = 2
    if p[9] != 0:
        p[7] = 0
        p[8] = 0
        return 0
    power_max_w = p[1]
    error_w = import_w - p[0]
    if error_w > 100_000:
        error_w = 100_000
    elif error_w < -100_000:
        error_w = -100_000
    deviation = 50_000 - frequency_millihz
    if deviation > 5_000:
        deviation = 5_000
    elif deviation < -5_000:
        deviation = -5_000
    integral = p[7] + ((error_w * p[3]) >> 8)
    base_w = ((error_w * p[2]) >> 8) + ((p[4] * deviation) >> 10)
    setpoint_w = base_w + (integral >> 8)
    # Anti-windup: the integral moves only while that does not push further into a bound.
    if setpoint_w > power_max_w:
        setpoint_w = power_max_w
        if error_w > 0:
            integral = p[7]
    elif setpoint_w < 0:
        setpoint_w = 0
        if error_w < 0:
            integral = p[7]
    bound = power_max_w << 8
    if integral > bound:
        integral = bound
    elif integral < 0:
        integral = 0
    p[7] = integral
    p[8] = setpoint_w
    return setpoint_w
