"""Programs that tests need and Debian packs: put in with apt when root on Debian, else skipped by name."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

PATIENCE_S = 300


def program(name: str, package: str = "") -> str:
    """Path of the program, installed from `package` (or the package of its name) when it is missing and may be.

    Skips the test, naming what is missing, on a machine without apt, root or a reachable archive. Safe to call from
    several test processes at once.
    """
    package = package or name
    found = _which(name)
    if found:
        return found
    missing = f"{name} is missing: apt-get install {package}"
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        pytest.skip(missing)
    with open(Path(tempfile.gettempdir()) / "forerun-tests-apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _which(name):
            _apt("update")
            _apt("install", "--yes", "--no-install-recommends", package)
    found = _which(name)
    if not found:
        pytest.skip(f"{missing} was tried, and did not bring it")
    return found


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def _apt(*words: str) -> None:
    """Run apt-get; services that a package brings are not started (policy-rc.d(8))."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", *words], env=environment, timeout=PATIENCE_S, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    finally:
        if ours:
            policy.unlink()
