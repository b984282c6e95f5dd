"""SunSpec register banks, built from the model definitions that pysunspec2 ships."""

import functools
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

BASE = 40000
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3

# type: (struct format, lowest, highest value, unimplemented marker)
_NUMBERS = {
    "int16": (">h", -32767, 32767, -32768),
    "uint16": (">H", 0, 65534, 65535),
    "count": (">H", 0, 65534, 65535),
    "acc16": (">H", 0, 65535, 0),
    "enum16": (">H", 0, 65534, 65535),
    "bitfield16": (">H", 0, 65534, 65535),
    "sunssf": (">h", -10, 10, -32768),
    "pad": (">h", -32768, -32768, -32768),
    "int32": (">i", -(2**31) + 1, 2**31 - 1, -(2**31)),
    "uint32": (">I", 0, 2**32 - 2, 2**32 - 1),
    "acc32": (">I", 0, 2**32 - 1, 0),
    "enum32": (">I", 0, 2**32 - 2, 2**32 - 1),
    "bitfield32": (">I", 0, 2**32 - 2, 2**32 - 1),
    "ipaddr": (">I", 0, 2**32 - 1, 0),
    "int64": (">q", -(2**63) + 1, 2**63 - 1, -(2**63)),
    "uint64": (">Q", 0, 2**64 - 2, 2**64 - 1),
    "acc64": (">Q", 0, 2**64 - 1, 0),
    "bitfield64": (">Q", 0, 2**64 - 2, 2**64 - 1),
    "eui48": (">Q", 0, 2**48 - 1, 2**48 - 1),
}
_FLOATS = {"float32": ">f", "float64": ">d"}


class ModbusRefusal(Exception):
    """A request that a Modbus server answers with exception `code`."""

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code = code


@dataclass
class Model:
    """One model's contents, values in engineering units; a point in none of the three is unimplemented.

    fixed: never changes (identity, ratings, scale factors); live: asked at every read; stored: writable registers
    that live in the caller's dict. Points of a nested group are named "Group.Point", of a repeated one
    "Group[0].Point". check() raises ValueError for a value that is refused; written() follows an accepted write.
    """

    model_id: int
    fixed: dict[str, Any] = field(default_factory=dict)
    live: Mapping[str, Callable[[], float | None]] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    check: Callable[[dict[str, float]], None] = lambda changes: None
    written: Callable[[dict[str, float]], None] = lambda changes: None


class Point:
    """One point at its place: register address, type, and how its value becomes registers."""

    __slots__ = (
        "_format",
        "_high",
        "_low",
        "_marker",
        "address",
        "count",
        "factor",
        "get",
        "model",
        "name",
        "scale",
        "symbols",
        "type",
        "wraps",
        "writable",
    )

    def __init__(self, model: Model, name: str, definition: dict[str, Any], address: int):
        self.model = model
        self.name = name
        self.type = definition["type"]
        self.address = address
        self.count = int(definition["size"])
        self.writable = definition.get("access") == "RW" and name in model.stored
        symbols = definition.get("symbols", ()) if self.type.startswith("enum") else ()
        self.symbols = frozenset(symbol["value"] for symbol in symbols)
        self.get = model.live.get(name)
        if self.get is None and name in model.stored:
            self.get = functools.partial(model.stored.get, name)
        self.factor = factor = definition.get("sf")
        if isinstance(factor, str):
            factor = model.fixed.get(factor, 0)
        self.scale = 10.0 ** -float(factor or 0)
        self.wraps = self.type.startswith("acc")
        self._format, self._low, self._high, self._marker = _NUMBERS.get(self.type, ("", 0, 0, 0))

    def put(self, image: bytearray, offset: int, value) -> None:
        """Write `value` (None = unimplemented) into the image; a number beyond the type's range saturates."""
        if self.type in _FLOATS:
            struct.pack_into(_FLOATS[self.type], image, offset, math.nan if value is None else value)
        elif self._format:
            if value is None:
                raw = self._marker
            else:
                raw = round(value * self.scale)
                if self.wraps:
                    raw %= self._high + 1
                elif raw < self._low:
                    raw = self._low
                elif raw > self._high:
                    raw = self._high
            struct.pack_into(self._format, image, offset, raw)
        else:  # string, IPv6 address
            text = value.encode() if isinstance(value, str) else value or b""
            size = self.count * 2
            image[offset : offset + size] = text[:size].ljust(size, b"\0")

    def parse(self, data: bytes) -> float:
        """Engineering value of these registers; ValueError if the type or the enumeration has no such value."""
        if not self._format:
            raise ValueError(f"{self.name}: writing {self.type} is not possible")
        (raw,) = struct.unpack(self._format, data)
        if not self._low <= raw <= self._high or (self.symbols and raw not in self.symbols):
            raise ValueError(f"{self.name}: {raw} is no value of this point")
        return raw if self.scale == 1.0 else raw / self.scale


class Bank:
    """The holding registers of one unit: "SunS" at `base`, the models, the end marker. Addresses as on the wire."""

    def __init__(self, models: list[Model], base: int = BASE):
        self.base = base
        self.frozen_image: bytes | None = None
        self.is_silent: Callable[[], bool] = lambda: False
        self._points: list[Point] = []
        address = base + 2
        for model in models:
            address = self._lay_out(model, address)
        self.end = address + 2
        self._image = bytearray((self.end - base) * 2)
        self._image[:4] = b"SunS"
        self._image[-4:] = b"\xff\xff\x00\x00"
        for point in self._points:
            value = point.get() if point.get else point.model.fixed.get(point.name)
            point.put(self._image, (point.address - base) * 2, value)
        self._by_address = {point.address: point for point in self._points}
        self._plans: dict[tuple[int, int], list[tuple[Point, int, Callable[[], float | None]]]] = {}

    def read(self, address: int, count: int) -> bytes:
        """`count` registers from `address`, big-endian, with live points asked now. Raises ModbusRefusal."""
        if address < self.base or address + count > self.end:
            raise ModbusRefusal(ILLEGAL_ADDRESS, f"registers {address} to {address + count - 1} are not mapped")
        start = (address - self.base) * 2
        if self.frozen_image is not None:
            return self.frozen_image[start : start + count * 2]
        plan = self._plans.get((address, count))
        if plan is None:
            plan = [(point, (point.address - self.base) * 2, point.get) for point in self._points
                    if point.get and point.address < address + count and point.address + point.count > address]
            if len(self._plans) > 256:  # a client that scans at random must not fill the memory
                self._plans.clear()
            self._plans[address, count] = plan
        image = self._image
        for point, offset, get in plan:
            point.put(image, offset, get())
        return bytes(image[start : start + count * 2])

    def write(self, address: int, data: bytes) -> None:
        """Write whole points, all or nothing. Raises ModbusRefusal: 2 unmapped or not writable, 3 value or part."""
        end = address + len(data) // 2
        changes: dict[str, float] = {}
        model = None
        place = address
        while place < end:
            point = self._by_address.get(place)
            if point is None:
                mapped = self.base <= place < self.end - 2 and place >= self.base + 2
                raise ModbusRefusal(ILLEGAL_VALUE if mapped else ILLEGAL_ADDRESS,
                                    f"register {place} is {'inside a point' if mapped else 'not mapped'}")
            if not point.writable:
                raise ModbusRefusal(ILLEGAL_ADDRESS, f"{point.name} at {place} is not writable")
            if place + point.count > end:
                raise ModbusRefusal(ILLEGAL_VALUE, f"{point.name} at {place} is written in part")
            model = point.model  # header registers are read-only, so one write never spans two models
            offset = (place - address) * 2
            try:
                changes[point.name] = point.parse(data[offset : offset + point.count * 2])
            except ValueError as error:
                raise ModbusRefusal(ILLEGAL_VALUE, str(error)) from None
            place += point.count
        if model is None:
            raise ModbusRefusal(ILLEGAL_VALUE, "nothing to write")
        try:
            model.check(changes)
        except ValueError as error:
            raise ModbusRefusal(ILLEGAL_VALUE, str(error)) from None
        model.stored.update(changes)
        model.written(changes)

    def rescale(self, model_id: int, factor: str, exponent: int) -> None:
        """Fault: the device goes over to another scale factor of that name, while it runs."""
        for point in self._points:
            if point.model.model_id == model_id:
                point.model.fixed[factor] = exponent
                if point.factor == factor:
                    point.scale = 10.0**-exponent
                if point.name == factor:
                    point.put(self._image, (point.address - self.base) * 2, exponent)
                elif point.name in point.model.stored:
                    point.put(self._image, (point.address - self.base) * 2, point.model.stored[point.name])

    def freeze(self, on: bool) -> None:
        """Fault: on = every read returns what the registers hold now, for ever."""
        self.frozen_image = self.read(self.base, self.end - self.base) if on else None

    def _lay_out(self, model: Model, address: int) -> int:
        """Add the model's points from `address` on and return the address after it."""
        start = address
        group = definition(model.model_id)["group"]
        address = self._lay_out_group(model, group, "", address)
        model.fixed["ID"] = model.model_id
        model.fixed["L"] = address - start - 2
        return address

    def _lay_out_group(self, model: Model, group: dict[str, Any], prefix: str, address: int) -> int:
        for point in group["points"]:
            self._points.append(Point(model, prefix + point["name"], point, address))
            address += int(point["size"])
        for inner in group.get("groups", ()):
            count = inner.get("count")
            if count is None:
                address = self._lay_out_group(model, inner, f"{prefix}{inner['name']}.", address)
                continue
            if isinstance(count, str):
                count = int(model.fixed[count])
            for index in range(count):
                address = self._lay_out_group(model, inner, f"{prefix}{inner['name']}[{index}].", address)
        return address


@functools.cache
def definition(model_id: int) -> dict[str, Any]:
    """The model's definition as published by the SunSpec Alliance (package pysunspec2)."""
    path = files("sunspec2") / "models" / "json" / f"model_{model_id}.json"
    return json.loads(path.read_text(encoding="utf-8"))
