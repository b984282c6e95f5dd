"""The board's contacts on the emulated site: relays that move it, auxiliary contacts that answer, and their faults."""

# Bits of the board's outputs.
TRIP = 1
GENSET_START = 2
HEATER, FAN, DUMP, TIE_OPEN, FORM, SYNCHRONISE = 4, 8, 16, 32, 64, 128
SHED_SHIFT, SHED_GROUPS = 8, 7  # three groups of loads
PV_SHIFT = 16  # from here on: tenths of its rating that PV has to hold back
# Bits of its inputs.
TIE_IS_OPEN = 16
GENSET_RUNNING = 32


class Contacts:
    """What lies between the board's pins and the `site`. Faults: masks of outputs whose relay never closes
    (`stuck_open`), always is (`stuck_closed`) or is wired to its other contact (`other_contact`), and of inputs that
    are wired to the other contact (`other_input`) or not at all (`lost_inputs`)."""

    def __init__(self, site):
        self._site = site
        self._closed = 0  # relays, as the site feels them
        self.outputs = 0  # as the board drives them
        self.stuck_open = self.stuck_closed = self.other_contact = 0
        self.other_input = self.lost_inputs = 0

    def inputs(self) -> int:
        """Bits of the auxiliary contacts."""
        site = self._site
        bits = GENSET_RUNNING if site.genset.state >= 2 else 0
        if site.island.tie_open:
            bits |= TIE_IS_OPEN
        return (bits ^ self.other_input) & ~self.lost_inputs

    def drive(self, outputs: int) -> None:
        """The board's outputs are these from now on; the site, at its present time, feels what the relays do."""
        site, self.outputs = self._site, outputs
        closed = (outputs ^ self.other_contact) & ~self.stuck_open | self.stuck_closed
        changed, self._closed = closed ^ self._closed, closed
        for bit, act in ((TRIP, site.set_trip), (GENSET_START, site.set_genset_start), (HEATER, site.set_heater),
                         (FAN, site.set_fan), (DUMP, site.set_dump), (TIE_OPEN, site.set_tie), (FORM, site.set_forming),
                         (SYNCHRONISE, site.set_synchronise)):  # fmt: skip
            if changed & bit:
                act(bool(closed & bit))
        if changed >> SHED_SHIFT & SHED_GROUPS:
            site.set_shed(closed >> SHED_SHIFT & SHED_GROUPS)
        if changed >> PV_SHIFT:
            site.set_pv_limit(1.0 - (closed >> PV_SHIFT) / 10.0)
