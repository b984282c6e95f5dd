"""Rules of this suite: a file that collects nothing fails, and on CI a skip fails unless it names hardware."""

import os

import pytest

ON_CI = os.environ.get("CI", "").lower() in ("1", "true")


def _excused(reason: str) -> bool:
    return "hardware" in reason.lower()


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
