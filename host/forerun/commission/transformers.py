"""Which current transformers are wrong, from how the PCC meter answers a step of the inverter."""


NEAR = 0.06  # how far a slope may lie from a pattern; they are a sixth apart, and a wrong ratio is anywhere
NOTHING_W = 20.0  # what a meter shows of no current


def ct_fault(slope: float, spread: float, pcc_w: list[float]) -> tuple[str, str]:
    """(cause, advice) of the pattern that lies nearest to the measured slope; `pcc_w`: the meter's readings of it."""
    patterns = (
        (1.0, "swapped_ct", "the current transformers at the PCC are backwards: turn all three round, or swap k and l"),
        (-2 / 3, "one_ct_open", "one of the three current transformers at the PCC shows nothing: not closed round "
         "its conductor, its leads are loose or short-circuited at the test block, or its fuse is out"),
        (-1 / 3, "one_ct_swapped", "one of the three current transformers at the PCC is backwards: compare the meter's "
         "phases; the odd one out has the other sign; where two of them show 0, those are not closed or not connected"),
        (1 / 3, "two_cts_swapped", "two of the three current transformers at the PCC are backwards: turn both round"),
        (0.5, "cts_on_wrong_phases", "the current transformers at the PCC are each on the next phase's voltage: match "
         "L1, L2 and L3 of currents and voltages"),
        (0.0, *_blind(pcc_w)),
    )  # fmt: skip
    nearest = min(patterns, key=lambda pattern: abs(pattern[0] - slope))
    if abs(nearest[0] - slope) <= max(NEAR, spread):
        return nearest[1], nearest[2]
    return "ct_ratio", "the PCC meter's reading has the wrong size: check the CT ratio set in the meter, and all CTs"


def _blind(pcc_w: list[float]) -> tuple[str, str]:
    """Why a meter shows nothing of the inverter's steps: (cause, advice)."""
    if max(map(abs, pcc_w)) < NOTHING_W:
        return "cts_open", ("the PCC meter shows no current at all: its current transformers are not closed round the "
                            "incoming conductors, not connected, or short-circuited at the test block")  # fmt: skip
    return "pcc_meter_blind", ("the PCC meter does not see the inverter: this is another meter, its CTs are not around "
                               "the incoming conductors, or two of them are on each other's phases")  # fmt: skip
