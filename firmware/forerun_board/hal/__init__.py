"""The only modules that open a port or know a chip. One is chosen at start, by sys.platform.

Each offers a class with the same face: `clock`, `link` and `bus` (read_into, write), `wait(us)`, `inputs()`,
`set_outputs(bits)`, `feed()`, `random(count)`, `reset_cause()`, `stretched_ms`, and the texts `board`, `interpreter`,
`identity` and `store`.
"""
