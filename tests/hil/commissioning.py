"""What the commissioning tests need in place of ports: a Modbus line and a board's link in the site's own time."""

import contextlib
import itertools

from forerun.commission.desk import Desk

UTC_S = 1_790_000_000.0
_nonces = itertools.count(100)


class SlaveLine:
    """A Line onto the emulated units, in the site's clock; `noise(frame)` says what arrives of each frame."""

    def __init__(self, site, slave, noise=lambda frame: frame):
        self.site, self.slave, self.noise = site, slave, noise
        self.baud = slave.baud
        self.rates: list[int] = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def set_baud(self, baud):
        self.baud = baud
        self.rates.append(baud)

    def exchange(self, request, expected, limit_s):
        site, slave = self.site, self.slave
        ends_us = site.now_us + round(limit_s * 1e6)
        slave.receive(self.noise(request) if self.baud == slave.baud else bytes(len(request)), site.now_us)
        reply = b""
        while not reply and (due_us := slave.next_due_us()) is not None:
            site.advance(due_us)
            reply = slave.take(due_us)
        site.advance(site.now_us + 5000 if reply else ends_us)
        return self.noise(reply) if reply else b""


def desk_on(bench) -> Desk:
    """A desk joined to a Rig without a host, its board connected."""
    desk = Desk(next(_nonces).to_bytes(8, "big"))
    clock = bench.bench
    clock.host = desk
    desk.drive(lambda seconds: clock.run(clock.now_us + max(1, round(min(seconds, 0.005) * 1e6))), lambda: clock.now_us)
    desk.connect("the bench")
    return desk


@contextlib.contextmanager
def opened_desk(bench):
    """As forerun.commission.desk.open_desk, on the bench."""
    try:
        yield desk_on(bench)
    finally:
        bench.bench.host = None
        bench.run(1)
