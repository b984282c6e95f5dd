"""CBOR subset: RFC 8949 examples, integer edges, what has to be refused, and that small integers make no garbage."""

from binascii import hexlify, unhexlify

from forerun_wire.cbor import CborError, Reader, pack, pack_int
from lane import IS_MICROPYTHON, SMALL_INT_BITS, Chance

# RFC 8949, appendix A, without floats, tags, big integers and indefinite lengths.
RFC = (
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({3: 4, 1: 2}, "a201020304"),
)

REFUSED = (
    ("1800", "0 in two bytes"),
    ("1817", "23 in two bytes"),
    ("1900ff", "255 in three bytes"),
    ("1a0000ffff", "65535 in five bytes"),
    ("1b00000000ffffffff", "2**32 - 1 in nine bytes"),
    ("3800", "-1 in two bytes"),
    ("580161", "length 1 in two bytes"),
    ("f97e00", "half float"),
    ("fa47c35000", "float"),
    ("fb3ff199999999999a", "double"),
    ("f7", "undefined"),
    ("f0", "simple value 16"),
    ("f820", "simple value 32"),
    ("c001", "tag"),
    ("5f4101ff", "indefinite bytes"),
    ("9f01ff", "indefinite array"),
    ("bf0101ff", "indefinite map"),
    ("ff", "break"),
    ("1c", "reserved"),
    ("18", "head cut short"),
    ("1a0102", "argument cut short"),
    ("4401", "bytes cut short"),
    ("6261", "text cut short"),
    ("8201", "array cut short"),
    ("a101", "map cut short"),
    ("61ff", "text not UTF-8"),
    ("a2020101 01", "keys not in order"),
    ("a201010102", "key twice"),
    ("a2200101 02", "negative key before an unsigned one"),
    ("a1616101", "text key"),
    ("9affffffff", "array of 2**32 - 1 items"),
    ("8181818181 01", "nested too deep"),
    ("", "nothing"),
)


def packed(value):
    buffer = bytearray(600)
    return bytes(buffer[: pack(buffer, 0, value)])


def refused(data):
    try:
        Reader(data).value()
    except CborError:
        return True
    return False


def test_rfc_examples_both_ways():
    for value, text in RFC:
        data = unhexlify(text)
        assert packed(value) == data, text
        reader = Reader(data)
        got = reader.value()
        assert got == value and type(got) is type(value), text
        assert reader.at == len(data), text


def test_integers_around_every_edge():
    for bits in (0, 3, 4, 5, 7, 8, 15, 16, 29, 30, 31, 32, 33, 47, 62, 63, 64):
        for offset in (-2, -1, 0, 1, 2):
            for value in ((1 << bits) + offset, -(1 << bits) + offset):
                if -(1 << 64) <= value < 1 << 64:
                    assert Reader(packed(value)).value() == value, value


def test_integers_beyond_64_bit_are_refused():
    for value in (1 << 64, -(1 << 64) - 1, 1 << 100):
        try:
            packed(value)
        except CborError:
            continue
        raise AssertionError(value)


def test_what_is_not_deterministic_or_not_used_is_refused():
    for text, why in REFUSED:
        assert refused(unhexlify(text.replace(" ", ""))), why


def test_what_the_wire_has_no_form_for_is_refused():
    for value in (1.5, object(), {"a": 1}, {1.5: 1}):
        try:
            packed(value)
        except CborError:
            continue
        raise AssertionError(value)


def test_map_keys_come_in_bytewise_order():
    keys = {-1: 0, 300: 1, 24: 2, 0: 3, -300: 4}
    assert hexlify(packed(keys)) == b"a50003181802" + b"19012c01" + b"2000" + b"39012b04"
    assert Reader(packed(keys)).value() == keys


def test_no_write_goes_beyond_the_buffer():
    for value in (5, 200, 60000, 1 << 29, 1 << 31, 1 << 40, -1, -(1 << 33), b"12345", "text", [1, 2], {1: 2}, None):
        size = len(packed(value))
        for room in range(size):
            buffer = bytearray(room)
            try:
                pack(buffer, 0, value)
            except CborError:
                assert len(buffer) == room
                continue
            raise AssertionError((value, room))
        exact = bytearray(size)
        assert pack(exact, 0, value) == size and bytes(exact) == packed(value)


def test_values_are_read_one_after_another():
    buffer = bytearray(32)
    at = pack(buffer, pack(buffer, pack(buffer, 3, -7), b"xy"), {4: True})
    reader = Reader(buffer, 3, at)
    assert [reader.value(), reader.value(), reader.value()] == [-7, b"xy", {4: True}]
    assert reader.at == reader.end == at


def test_any_bytes_give_a_value_or_cbor_error():
    chance = Chance(20261122)
    values = 0
    for _ in range(3000):
        data = chance.bytes(chance.below(24))
        reader = Reader(data)
        try:
            value = reader.value()
        except CborError:
            continue
        values += 1
        assert packed(value) == data[: reader.at], hexlify(data)  # one value has one form
    assert values > 500


def test_small_integers_are_packed_without_the_heap():
    if not IS_MICROPYTHON:
        return
    import micropython

    edge = (1 << (SMALL_INT_BITS - 1)) - 1
    values = [0, 23, 24, 255, 256, 65535, 65536, min(edge, 0x3FFFFFFF), -1, -300, -100000, -0x3FFFFFFF - 1]
    buffer = bytearray(9)
    pack_int(buffer, 0, 1)
    micropython.heap_lock()
    try:
        for i in range(len(values)):
            pack_int(buffer, 0, values[i])
    finally:
        micropython.heap_unlock()
