"""For freezing the firmware into a MicroPython build: make ... FROZEN_MANIFEST=<this file>. pins.py stays a file."""
# ruff: noqa: F821 – package() and module() are given by MicroPython's makemanifest.py

package("forerun_wire", base_path="../protocol")
package("forerun_board", base_path=".")
module("main.py", base_path=".")
