"""Rules of this suite: a file that collects nothing fails, and on CI a skip fails unless it names hardware."""

import functools
import gc
import os
from pathlib import Path

import pytest

# Before numpy is imported, here and in the programs that tests start: each worker has its core, and threads of a
# library of algebra that wait for each other took four times the processor time of the forecast's tests.
for _library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

ON_CI = os.environ.get("CI", "").lower() in ("1", "true")


def _excused(reason: str) -> bool:
    return "hardware" in reason.lower()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What a file makes once for its tests is made once: such a file stays on one worker, and is begun early."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if _shares(config.rootpath / file) else nodeid

    return Scheduling(config, log)


@functools.cache
def _shares(file: Path) -> bool:
    return file.is_file() and 'scope="module"' in file.read_text()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """What earlier tests and imports left is not looked through again: a board in this process collects as one of flash
    and 200 kB does, hundreds of times a test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if isinstance(collector, pytest.Module):
        if report.outcome == "passed" and not report.result:
            report.outcome = "failed"
            report.longrepr = f"{collector.path.name} collects no test: delete it or mend it"
        elif report.outcome == "skipped" and ON_CI and not _excused(str(report.longrepr)):
            report.outcome = "failed"
            report.longrepr = f"skipped on CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and ON_CI and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _excused(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped on CI: {reason}"
    return report


def pytest_unconfigure(config):
    gc.unfreeze()
