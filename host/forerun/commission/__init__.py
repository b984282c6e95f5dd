"""From a bare board and a box of wires to a sealed site: scan, flash, selftest, calibrate, seal."""
