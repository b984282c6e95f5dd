"""For freezing the firmware into a MicroPython build: make ... FROZEN_MANIFEST=<this file>. pins.py stays a file."""
# ruff: noqa: F821 – package() and module() are given by MicroPython's makemanifest.py

# Without names.py and host.py, words for people and the host's end that would fill a board's memory.
package(
    "forerun_wire",
    ("__init__.py", "auth.py", "board.py", "cbor.py", "framing.py", "messages.py", "outbox.py", "session.py"),
    base_path="../protocol",
)
package("forerun_board", base_path=".")
module("main.py", base_path=".")
