"""Runs the shared tests on MicroPython: micropython tests/both/run.py [test_name.py ...]

Each test_*.py is imported and each of its test_ functions called. A file without a test is a failure.
"""

import gc
import os
import sys

HERE = __file__.rpartition("/")[0] or "."
for _place in ("/../../firmware", "/../../protocol", ""):
    sys.path.insert(0, HERE + _place)


def main(names):
    """Number of failures in the files named, all if none is."""
    _name_the_messages()
    passed = failed = 0
    for name in names or sorted(n for n in os.listdir(HERE) if n.startswith("test_") and n.endswith(".py")):
        name = name.rpartition("/")[2].rpartition(".py")[0]
        tests, failures = _run_file(name)
        print(f"{name}: {tests - failures} passed, {failures} failed")
        passed += tests - failures
        failed += failures
        if not tests:
            print(f"{name}: has no test")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed


def _name_the_messages():
    """Give messages the words that are kept off the boards: the tests speak in them."""
    try:
        from forerun_wire import messages, names
    except ImportError:
        return  # a folder of tests alone
    for name in dir(names):
        if name[0] != "_":
            setattr(messages, name, getattr(names, name))


def _run_file(name):
    module = __import__(name)
    tests = failures = 0
    for test in sorted(n for n in dir(module) if n.startswith("test_")):
        tests += 1
        gc.collect()  # what the test before left must not lie between the parts of this one
        try:
            getattr(module, test)()
        except Exception as error:  # noqa: BLE001  a test may fail in any way; the others still have to run
            failures += 1
            print(f"FAILED {name}.{test}")
            sys.print_exception(error)
    return tests, failures


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
