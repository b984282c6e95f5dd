"""What boards said in earlier schemas. In a board's memory only while such a host, or such a record, is there."""

from forerun_wire import messages as m
from forerun_wire.cbor import Reader, pack, pack_head


def as_one(buffer, start, at, end, previous):
    """Turn the frame with one record into schema 2's message: [6, number, previous, the rest of the record]."""
    record = bytes(buffer[at:end])
    low = record[1] & 0x1F
    rest = 2 + (1 << (low - 24) if low >= 24 else 0)  # the number comes first
    buffer[start] = record[0] + 2
    buffer[start + 1] = m.RECORD
    at = start + 2
    buffer[at : at + rest - 1] = record[1:rest]
    at = pack_head(buffer, at + rest - 1, 0, previous)
    end = at + len(record) - rest
    buffer[at:end] = record[rest:]
    return end


def converted(number, record):
    """A record as it is kept now, of one as it was kept then: [boot_count, uptime_s, uptime_ms, kind, body]."""
    fields = [number]
    for field in Reader(record).value() or ():
        if isinstance(field, list):
            fields.extend(field)
        else:
            fields.append(field)
    buffer = bytearray(len(record) + 8)
    return bytes(buffer[: pack(buffer, 0, fields)])
