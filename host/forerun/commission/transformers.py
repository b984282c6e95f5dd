"""Which current transformers are wrong, from how the PCC meter answers a step of the inverter."""


def ct_fault(slope: float, spread: float) -> tuple[str, str]:
    """(cause, advice) of the pattern that lies nearest to the measured slope."""
    patterns = (
        (1.0, "swapped_ct", "the current transformers at the PCC are backwards: turn all three round, or swap k and l"),
        (-1 / 3, "one_ct_swapped", "one of the three current transformers at the PCC is backwards: compare the meter's "
         "phases; the odd one out has the other sign"),
        (1 / 3, "two_cts_swapped", "two of the three current transformers at the PCC are backwards: turn both round"),
        (0.5, "cts_on_wrong_phases", "the current transformers at the PCC are each on the next phase's voltage: match "
         "L1, L2 and L3 of currents and voltages"),
        (0.0, "pcc_meter_blind", "the PCC meter does not see the inverter: this is another meter, its CTs are not "
         "around the incoming conductors, or two of them are on each other's phases"),
    )  # fmt: skip
    nearest = min(patterns, key=lambda pattern: abs(pattern[0] - slope))
    if abs(nearest[0] - slope) <= max(0.1, spread):
        return nearest[1], nearest[2]
    return "ct_ratio", "the PCC meter's reading has the wrong size: check the CT ratio set in the meter, and all CTs"
