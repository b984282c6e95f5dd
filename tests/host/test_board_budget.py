"""What inner loop and decision cost on an RP2040, by the cost table of the measured operations: a budget, held.

Executed bytecodes are counted on CPython and weighed with what the same operation costs MicroPython 1.28 at 125 MHz.
"""

import dis
import json
import sys
from array import array
from collections import Counter

from forerun_board.control import inner
from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.functions import Functions
from forerun_board.control.image import INVERTER_RUNNING, Image

# µs: measured on an instruction-level emulator; what is not in that table is charged like a local add.
COSTS_US = {"LOAD_ATTR": 1.7, "STORE_ATTR": 2.4, "LOAD_GLOBAL": 1.5, "BINARY_SUBSCR": 2.5, "STORE_SUBSCR": 4.1,
            "BINARY_OP": 1.5, "COMPARE_OP": 1.5, "CALL": 12.0, "FOR_ITER": 3.4, "UNARY_NEGATIVE": 1.5,
            "CONTAINS_OP": 1.5, "LOAD_METHOD": 1.7, "CALL_FUNCTION_EX": 12.0}  # fmt: skip
FREE = {"RESUME", "CACHE", "PRECALL", "NOP", "PUSH_NULL", "POP_TOP", "COPY", "SWAP", "LOAD_CONST", "RETURN_VALUE",
        "LOAD_FAST", "STORE_FAST", "LOAD_FAST_LOAD_FAST", "RETURN_CONST", "LOAD_FAST_BORROW"}  # fmt: skip
BRANCH_US = 0.8
INNER_BUDGET_US = 250
DECISION_BUDGET_US = 5_000


def cost_us(call) -> float:
    """Weighed cost of everything that `call()` executes in the board's code."""
    counted = Counter()
    names = {}

    def trace(frame, event, _):
        if "forerun_board" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            code = frame.f_code
            if code not in names:
                names[code] = {step.offset: step.opname for step in dis.get_instructions(code)}
            counted[names[code][frame.f_lasti]] += 1
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    assert counted
    return sum(times * COSTS_US.get(name, 0.0 if name in FREE else BRANCH_US) for name, times in counted.items())


def test_inner_loop_is_within_its_budget_even_as_bytecode():
    state = array("i", [10_000, 30_000, 128, 65, 10_240, 60_000, 264_500, 0, 0, 0])
    worst = max(
        cost_us(lambda inputs=inputs: inner.step(state, *inputs))
        for inputs in ((25_000, 50_000, 0, 230_000), (900_000, 40_000, 0, 230_000), (-900_000, 60_000, 0, 230_000))
    )
    print(json.dumps({"bench": "inner_loop_rp2040", "bytecode_us": round(worst), "budget_us": INNER_BUDGET_US}))
    assert 20 < worst <= INNER_BUDGET_US


def test_decision_is_within_its_budget_with_every_function_commissioned():
    config = Config()
    config.functions = 1023
    config.pv_limit_permille = 500
    for functions in (False, True):
        controller, image = Controller(config), Image()
        if functions:
            controller.commission(Functions(config))
        image.inverter_state = INVERTER_RUNNING
        image.soc_permille, image.charge_max_w, image.discharge_max_w = 500, 30_000, 30_000
        image.pcc_voltage_mv, image.frequency_millihz = 229_000, 50_300
        controller.prepare.start(12_000, 5, 60, controller.events)
        worst = 0.0
        for number in range(20):
            image.begin(50)
            image.pcc_age_ms = image.inverter_age_ms = image.battery_age_ms = image.host_age_ms = 0
            image.pv_age_ms = image.genset_age_ms = image.temperature_age_ms = 0
            image.pcc_import_w = 9_000 + 700 * number
            worst = max(worst, cost_us(lambda c=controller, i=image: c.step(i)))
        print(json.dumps({"bench": "decision_rp2040", "all_functions": functions, "us": round(worst),
                          "budget_us": DECISION_BUDGET_US}))  # fmt: skip
        assert 300 < worst <= DECISION_BUDGET_US, worst
