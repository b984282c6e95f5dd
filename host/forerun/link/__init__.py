"""The serial line to a board: the port, its clock, its keys, sessions in a file, updates."""
