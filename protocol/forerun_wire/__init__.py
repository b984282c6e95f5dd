"""Forerun wire: what crosses the serial line between a board and its host. Sans-IO: no port, no clock."""
