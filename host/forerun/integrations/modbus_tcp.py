"""The site over Modbus TCP as SunSpec models, for a SCADA to read: 1 common, 203 meter at the PCC, 701 the battery's
inverter, 713 and 802 its storage. Nothing can be written, and what is not known now reads as "not implemented".

Signs are SunSpec's: the PCC meter counts import as positive, the inverter what it injects (discharging).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from pymodbus import ModbusDeviceIdentification
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from forerun import __version__
from forerun.errors import Trouble
from forerun.integrations import Serving
from forerun.integrations.sunspec import BASE, Bank, ModbusRefusal, Model
from forerun.sections import ModbusTcpSection
from forerun.site.snapshot import Live, Snapshot

READ_HOLDING, READ_INPUT = 3, 4
OFF, RUNNING = 0, 1  # 701 St
_INVERTER_OFF, _INVERTER_RUNNING = 0, 3  # 701 InvSt
_STORAGE_OK, _STORAGE_ERROR = 0, 2  # 713 Sta
_STORAGE_CONNECTED, _STORAGE_FAULT = 3, 99  # 802 State
_TYPE_UNKNOWN, _LOCAL, _INT16_MAX = 0, 1, 32_000


class Registers:
    """The register bank of one site; every read looks at one snapshot alone."""

    def __init__(self, snapshot: Callable[[], Snapshot]):
        self._snapshot = snapshot
        self._seen = seen = snapshot()
        self.bank = Bank([self._common(seen), self._meter(seen), self._inverter(seen), *self._storage(seen)])

    def read(self, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises ModbusRefusal outside of the models."""
        self._seen = self._snapshot()
        data = self.bank.read(address, count)
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]

    def _live(self, name: str, unit: float = 1.0) -> Callable[[], float | None]:
        def value() -> float | None:
            live = self._now()
            return None if live is None else getattr(live, name) * unit

        return value

    def _now(self) -> Live | None:
        return self._seen.live if self._seen.live and self._seen.live.fresh else None

    def _total(self, name: str) -> Callable[[], float | None]:
        return lambda: self._seen.totals and getattr(self._seen.totals, name)

    def _common(self, seen: Snapshot) -> Model:
        return Model(1, {"Mn": "Forerun", "Md": "site controller", "Opt": "read only", "Vr": __version__[:16],
                         "SN": seen.site[:32], "DA": 1})  # fmt: skip

    def _meter(self, seen: Snapshot) -> Model:
        fixed = {"A_SF": -1, "V_SF": -1, "Hz_SF": -2, "TotWh_SF": 0, "W_SF": _power_of_ten(seen), "Evt": 0}
        phase_v = self._live("pcc_voltage_mv", 1e-3)
        live = {"PhV": phase_v, "PhVphA": phase_v, "Hz": self._live("frequency_millihz", 1e-3),
                "W": self._live("pcc_import_w"), "TotWhImp": self._total("import_wh"),
                "TotWhExp": self._total("export_wh")}  # fmt: skip
        return Model(203, fixed, live)

    def _inverter(self, seen: Snapshot) -> Model:
        def running() -> bool | None:
            live = self._now()
            return None if live is None else "inverter" not in live.faults and live.state != "starting"

        def state(yes: int, no: int) -> Callable[[], int | None]:
            return lambda: None if (found := running()) is None else (yes if found else no)

        fixed = {"ACType": 2, "W_SF": _power_of_ten(seen), "V_SF": -1, "Hz_SF": -3, "TotWh_SF": 0}  # three-phase wye
        live = {"St": state(RUNNING, OFF), "InvSt": state(_INVERTER_RUNNING, _INVERTER_OFF),
                "W": self._live("active_power_w"), "LNV": self._live("pcc_voltage_mv", 1e-3),
                "Hz": self._live("frequency_millihz", 1e-3), "TotWhInj": self._total("discharge_wh"),
                "TotWhAbs": self._total("charge_wh")}  # fmt: skip
        return Model(701, fixed, live)

    def _storage(self, seen: Snapshot) -> tuple[Model, Model]:
        def state(good: int, bad: int) -> Callable[[], int | None]:
            return lambda: None if (live := self._now()) is None else (bad if "battery" in live.faults else good)

        soc = self._live("soc_permille", 0.1)
        ten = _power_of_ten(seen)
        capacity_sf = 0 if seen.capacity_wh < 65_000 else 1 if seen.capacity_wh < 650_000 else 3
        storage = Model(713, {"WHRtg": seen.capacity_wh, "WH_SF": capacity_sf, "Pct_SF": -1}, {
            "WHAvail": self._live("soc_permille", seen.capacity_wh / 1000), "SoC": soc,
            "Sta": state(_STORAGE_OK, _STORAGE_ERROR)})  # fmt: skip
        fixed = {"WHRtg": seen.capacity_wh, "WHRtg_SF": capacity_sf, "AHRtg_SF": 0, "WChaDisChaMax_SF": ten,
                 "SoC_SF": -1, "V_SF": 0, "A_SF": 0, "AMax_SF": 0, "CellV_SF": -3, "W_SF": ten, "LocRemCtl": _LOCAL,
                 "Typ": _TYPE_UNKNOWN, "AlmRst": 0, "Evt1": 0, "Evt2": 0, "EvtVnd1": 0, "EvtVnd2": 0}  # fmt: skip
        live = {"SoC": soc, "WChaRteMax": self._live("charge_max_w"), "WDisChaRteMax": self._live("discharge_max_w"),
                "W": self._live("active_power_w"), "State": state(_STORAGE_CONNECTED, _STORAGE_FAULT)}  # fmt: skip
        return storage, Model(802, fixed, live)


def _power_of_ten(seen: Snapshot) -> int:
    """Scale factor with which twice the site's largest power fits into 16 bits with a sign."""
    live = seen.live
    most_w = 2 * max(seen.import_limit_w, seen.export_limit_w, seen.battery_limit_w, abs(live.load_w) if live else 0)
    return next(ten for ten in range(10) if most_w <= _INT16_MAX * 10**ten)


def _device(section: ModbusTcpSection, snapshot: Callable[[], Snapshot]) -> SimDevice:
    registers = Registers(snapshot)
    count = registers.bank.end - BASE

    async def answer(function: int, start: int, address: int, wanted: int, held: list[int], values) -> ExcCodes | None:
        if values or function not in (READ_HOLDING, READ_INPUT):
            return ExcCodes.ILLEGAL_FUNCTION
        try:
            held[address - start : address - start + wanted] = registers.read(address, wanted)
        except ModbusRefusal:
            return ExcCodes.ILLEGAL_ADDRESS
        return None

    data = SimData(BASE, values=[0] * count, datatype=DataType.REGISTERS)
    return SimDevice(section.unit, [data], action=answer)


@contextlib.contextmanager
def serve(section: ModbusTcpSection, snapshot: Callable[[], Snapshot]) -> Iterator[Serving]:
    """Serve while the `with` block lasts, from a thread of its own. Raises Trouble."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="modbus tcp", daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    async def begin() -> ModbusTcpServer:
        about = ModbusDeviceIdentification(info_name={"VendorName": "Forerun", "MajorMinorRevision": __version__})
        made = ModbusTcpServer(_device(section, snapshot), identity=about, address=(section.host, section.port))
        await made.serve_forever(background=True)
        return made

    server = None
    try:
        try:
            server = run(begin())
        except (RuntimeError, OSError, UnicodeError) as problem:
            where = f"modbus_tcp.port {section.port} on {section.host}"
            raise Trouble(f"{where} cannot be opened: it is in use, below 1024 without the right to it, or not of this "
                          "machine") from problem  # fmt: skip
        line = server.transport
        yield Serving(line.sockets[0].getsockname()[1], lambda: thread.is_alive() and line.is_serving())
    finally:
        if server is not None:
            run(server.shutdown())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
