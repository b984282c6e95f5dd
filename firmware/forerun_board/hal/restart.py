"""What is needed before a hal is chosen: where the flash is, and how to start anew."""

import os
import sys

RESTARTS = 3  # status of the unix port's process that asks to be started again


def store():
    """The directory for records, settings and updates."""
    return "/records" if sys.platform in ("rp2", "esp32") else os.getenv("FORERUN_STORE") or "."


def restart():
    """Start the board anew; does not return."""
    if sys.platform in ("rp2", "esp32"):
        from machine import reset

        reset()
    sys.exit(RESTARTS)
