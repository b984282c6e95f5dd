"""Drivers: each is given a stream or a bus; none opens one."""
