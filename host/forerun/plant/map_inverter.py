"""The emulated inverter behind a register map of its own instead of SunSpec, and the description that a board needs."""

from collections.abc import Callable

from forerun.integrations.sunspec import ILLEGAL_ADDRESS, ModbusRefusal
from forerun.plant.inverter import FAULT, RUNNING, SLEEPING, STARTING
from forerun.plant.site import Site

DESCRIPTION = {
    "function": 3,
    "power": {"at": 100, "words": 2, "scale": 0, "sign": -1},
    "state": {"at": 110, "asleep": [0], "waking": [1], "running": [2, 3]},
    "soc": {"at": 120, "scale": -1},
    "charge_max": {"at": 121, "scale": 1},
    "discharge_max": {"at": 122, "scale": 1},
    "setpoint": {"at": 200, "words": 2, "scale": 0, "sign": -1, "low": -30000, "high": 30000},
    "enable": {"at": 210, "value": 1},
    "watchdog": {"at": 211, "scale": 0},
}
_STATES = {SLEEPING: 0, STARTING: 1, RUNNING: 2, FAULT: 9}


class MapBank:
    """Registers 100 to 211 of one unit; charging counts positive. Addresses as on the wire."""

    def __init__(self, site: Site):
        self._site = site
        self._stored = {200: 0, 201: 0, 210: 0, 211: 0}
        self.is_silent: Callable[[], bool] = lambda: site.now_us < site.inverter.silent_until_us

    def read(self, address: int, count: int) -> bytes:
        """`count` registers from `address`, big-endian. Raises ModbusRefusal beyond 100 to 211."""
        if address < 100 or address + count > 212:
            raise ModbusRefusal(ILLEGAL_ADDRESS, f"registers {address} to {address + count - 1} are not mapped")
        inverter, battery = self._site.inverter, self._site.battery
        power = round(-inverter.power_w) & 0xFFFF_FFFF
        values = {100: power >> 16, 101: power & 0xFFFF, 110: _STATES.get(inverter.state, 9),
                  120: round(1000 * battery.soc), 121: round(battery.charge_max_w / 10),
                  122: round(battery.discharge_max_w / 10), **self._stored}  # fmt: skip
        return b"".join(values.get(place, 0).to_bytes(2, "big") for place in range(address, address + count))

    def write(self, address: int, data: bytes) -> None:
        """Write whole registers. Raises ModbusRefusal where nothing can be written."""
        places = range(address, address + len(data) // 2)
        if not set(places) <= self._stored.keys():
            raise ModbusRefusal(ILLEGAL_ADDRESS, f"registers {address} and after are not writable")
        for place in places:
            at = 2 * (place - address)
            self._stored[place] = int.from_bytes(data[at : at + 2], "big")
        counts = self._stored[200] << 16 | self._stored[201]
        counts -= (counts & 1 << 31) << 1
        control = {"WSetMod": 1, "WSet": float(-counts), "WSetEna": self._stored[210]}
        if 211 in places:
            control |= {"WSetRvrtTms": self._stored[211], "WSetRvrt": 0, "WSetEnaRvrt": 0}
        inverter = self._site.inverter
        inverter.controls[704].update(control)
        inverter.written(self._site.now_us, 704, control)

