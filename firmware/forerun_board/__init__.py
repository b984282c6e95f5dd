"""What lands on a board: control laws, drivers, the round that joins them, and the link to the host."""

__version__ = "0.1.0"
