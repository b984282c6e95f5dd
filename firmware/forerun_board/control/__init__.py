"""Control laws: integers in, integers out, state preallocated, time as an argument.

These files run unchanged on a board, under the unix port and inside the host's simulator. No float, no allocation in
`Controller.step`, every intermediate inside ±2**30 (a board's small integers are 31 bit), imports only of each other.
"""
