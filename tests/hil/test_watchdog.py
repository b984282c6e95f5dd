"""The board's hardware watchdog: whichever of round, link and bus stands still, the board starts anew, says why, and
the site is held meanwhile by what the inverter has of its own."""

import pytest

from forerun.plant.board import ENTRY, WATCHDOG
from forerun_wire import messages as m
from hil.rig import WATCHDOG_US

CUE = 1 << 14  # an input that no board has: from then on the part stands still
# Laid over the firmware before it runs; `wait()` is all that a part which hangs still does, so that time goes on.
STALLED = """
from forerun_board.start import begin
run = begin()
from forerun_board import cycle, fieldbus, link
from forerun_board.hal import unix
hal = []
def cued():
    return hal and hal[0].inputs() & 16384
def wait(self, us, wait=unix.Lockstep.wait):
    wait(self, 50_000 if cued() else us)
    if not hal:
        hal.append(self)
unix.Lockstep.wait = wait
"""
PARTS = {
    "cycle": """
def poll(self, poll=cycle.Cycle.poll):
    if not cued():
        poll(self)
cycle.Cycle.poll = poll
""",
    "link": """
def receive(self, receive=link.Link.receive):
    while cued():
        hal[0].wait(0)
    receive(self)
link.Link.receive = receive
""",
    "bus": """
def quiet(name):
    method = getattr(fieldbus.FieldBus, name)
    setattr(fieldbus.FieldBus, name, lambda self, *words: False if cued() else method(self, *words))
for name in ("start_sample", "start_setpoint", "start_watch", "work"):
    quiet(name)
""",
}
REVERSION_S = 4
PLANT = {"enter_service_s": 5.0, "wake_s": 1.0}


def stalling(bench, part):
    """A board whose `part` will stand still; in its next life it is healthy, and its watchdog is to bite once."""
    bench.board.entry = STALLED + PARTS[part] + "run()"
    bench.bites = 1
    return bench


def boots(bench):
    """Reset causes of the boots, in order."""
    return [body[6] for body in bench.records() if body[5] == m.BOOT]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_stands_still_has_the_board_restarted_and_the_inverter_at_rest_meanwhile(rig, part):
    """Held: the import limit of 12 kW, voltage, charge and ramp all along; at most 4 s with nobody in command."""
    sections = {"safety": {"inverter_watchdog_s": REVERSION_S}}
    with stalling(rig(load_w=9_000, plant=PLANT, sections=sections, heap="256k"), part) as bench:
        bench.board.entry = ENTRY
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 6_000, 600_000)
        bench.run(6)
        assert abs(bench.site.inverter.power_w - 6_000) < 60 and not bench.bench.bites
        begun_s, bench.bench.inputs = bench.now_s, CUE
        bench.run_until(lambda: abs(bench.site.inverter.power_w) < 60, REVERSION_S + 0.2)
        assert bench.site.inverter.reversions == 1 and not bench.bench.bites, "its own timer, before anybody is back"
        bench.run_until(lambda: bench.bench.bites, WATCHDOG_US / 1e6 + 1)
        assert bench.now_s - begun_s <= WATCHDOG_US / 1e6 + 0.1
        assert abs(bench.site.inverter.power_w) < 60
        bench.run_until(lambda: boots(bench) == [1, WATCHDOG], 10, 0.1)
        info = dict(zip(m.INFO_FIELDS, bench.command(m.INFO)[1], strict=False))
        assert info["reset_cause"] == WATCHDOG and info["boot_count"] == 2
        assert bench.command(m.SETPOINT, m.HOLD_BATTERY, 6_000, 600_000)[0] == m.DONE
        bench.run(6)
        assert abs(bench.site.inverter.power_w - 6_000) < 60, "the cue says nothing to a board that is well"
        assert bench.site.inverter.controls[704]["WSetRvrtTms"] == REVERSION_S
        bench.assert_held()


def test_a_restart_that_is_sooner_than_the_reversion_leaves_the_import_limit_held(rig):
    """20 s of reversion: the inverter carries what it was told until the board is back, and the limit with it."""
    sections = {"safety": {"inverter_watchdog_s": 20}, "limits": {"import_limit_w": 10_000}}
    hil = rig(load_w=6_000, plant={**PLANT, "feeder_r_ohm": 0.3}, sections=sections, heap="256k")
    with stalling(hil, "cycle") as bench:
        bench.board.entry = ENTRY
        bench.run_until_armed()
        bench.command(m.SETPOINT, m.HOLD_BATTERY, 0, 600_000)
        bench.site.add_job(bench.bench.now_us + 1_000_000, 60_000_000, 10_000)
        bench.run(4)
        assert 9_000 < bench.site.pcc_import_w <= 10_000
        bench.bench.inputs = CUE
        bench.run_until(lambda: bench.bench.bites, WATCHDOG_US / 1e6 + 1)
        bench.run(10)
        assert bench.site.inverter.reversions == 0 and 9_000 < bench.site.pcc_import_w <= 10_000
        by = bench.host.latest["bound_by"]  # none where the plan holds the import at its limit itself
        assert by in (m.BOUND_NONE, m.BOUND_IMPORT_LIMIT) and boots(bench) == [1, WATCHDOG]
        bench.assert_held(over_s=0.2)
