"""A characteristic of 2 to 8 points: flat beyond both ends, straight lines between."""

from array import array

POINTS_MAX = 8
X_MAX = 500_000
Y_MAX = 1000
RISING = 1
FALLING = -1


class Curve:
    """`at(x)` for points (x0, y0, x1, y1, ...) against which objection() has had nothing to say."""

    def __init__(self, points):
        self._count = len(points) // 2
        self._points = array("i", points)

    def at(self, x):
        """y at `x`, rounded down; x and y have the units of the points."""
        points = self._points
        if x <= points[0]:
            return points[1]
        for i in range(2, 2 * self._count, 2):
            if x <= points[i]:
                # At most 500000 * 2000, the largest product there can be: just inside 31 bits.
                rise = (x - points[i - 2]) * (points[i + 1] - points[i - 1])
                return points[i - 1] + rise // (points[i] - points[i - 2])
        return points[2 * self._count - 1]


def objection(points, x_low, x_high, y_low, y_high, direction):
    """A sentence why the points (x0, y0, x1, y1, ...) are no curve that may be used, or None.

    x must rise from point to point inside [x_low, x_high]; y may not turn against `direction` inside [y_low, y_high].
    """
    if len(points) % 2:
        return "a curve is pairs of x and y; %d numbers are not" % len(points)
    count = len(points) // 2
    if not 2 <= count <= POINTS_MAX:
        return "a curve has 2 to %d points, not %d" % (POINTS_MAX, count)
    for i in range(count):
        x, y = points[2 * i], points[2 * i + 1]
        if not x_low <= x <= x_high:
            return "x = %d of point %d is outside %d to %d" % (x, i + 1, x_low, x_high)
        if not y_low <= y <= y_high:
            return "y = %d of point %d is outside %d to %d" % (y, i + 1, y_low, y_high)
        if i and x <= points[2 * i - 2]:
            return "x = %d of point %d does not rise above %d" % (x, i + 1, points[2 * i - 2])
        if i and direction * (y - points[2 * i - 1]) < 0:
            way = "fall" if direction == RISING else "rise"
            return "y = %d of point %d lets the curve %s from %d" % (y, i + 1, way, points[2 * i - 1])
    return None
