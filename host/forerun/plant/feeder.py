"""The feeder: the voltage that a source impedance leaves at the PCC."""

from math import sqrt


def pcc_voltage_v(source_v: float, r_ohm: float, x_ohm: float, import_w: float, import_var: float) -> float:
    """Phase voltage at the PCC in V, three-phase balanced, import_w and import_var > 0 drawn from the feeder in total.

    With the receiving voltage V as reference the source is V + (R·P + X·Q)/V + j(X·P − R·Q)/V, so V² solves a
    quadratic: no iteration, hence no tolerance. Beyond the most that the feeder can carry there is no solution; the
    voltage at that point (the nose of the P-V curve) is returned, at least 0.
    """
    p = import_w / 3.0
    q = import_var / 3.0
    a = r_ohm * p + x_ohm * q
    b = x_ohm * p - r_ohm * q
    half = 0.5 * source_v * source_v - a
    root = half * half - a * a - b * b
    if root <= 0.0:
        return sqrt(half) if half > 0.0 else 0.0
    return sqrt(half + sqrt(root)) if half > 0.0 else 0.0
