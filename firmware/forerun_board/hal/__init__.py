"""The only modules that open a port or know a chip; start.py chooses one by sys.platform.

Each has run(make_board), which makes a hal with the face that the rest relies on: `clock`, `open_lines(bus_baud)`, then
`link` and `bus` (read_into, write), `set_bus_baud(baud)`, `wait(us)`, `inputs()`, `set_outputs(bits)`, `feed()`,
`random(count)`, `reset_cause()`, `stretched_ms`, and the texts `board`, `interpreter`, `identity` and `store`.
"""
