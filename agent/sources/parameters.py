"""Bind parameters: what the kernel copied, as values that a person can read. Pure.

Values are in PostgreSQL's internal form, whatever form the client sent them in.
"""

from __future__ import annotations

import ipaddress
import math
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from struct import Struct

from agent.probes.layout import PARAMETER, ParameterState
from agent.probes.types import TYPE_NAMES
from agent.sources.composed import array, jsonb

COUNT = Struct("<II")
"""Of all parameters, and the depth of the statement."""
DAY_US = 86_400_000_000
EPOCH_DAYS = 730_425
"""From 0000-03-01 to 2000-01-01, PostgreSQL's first day."""
MAPPED = bytes(10) + b"\xff\xff"
BASE_DIGITS = 4
"""numeric has digits of base 10000."""
MAX_DIGITS = 1000
"""Of a numeric: 1e100000 is ten bytes, and would be a long text."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One parameter; ``data`` is the beginning of its value where ``full_bytes`` is larger."""

    type_number: int
    state: ParameterState
    data: bytes = b""
    full_bytes: int = 0

    @property
    def type_name(self) -> str:
        return TYPE_NAMES.get(self.type_number, f"type {self.type_number}")

    @property
    def cut(self) -> bool:
        return len(self.data) < self.full_bytes


def count_of(captured: bytes) -> int:
    """How many parameters there were; some may not have been copied."""
    return int(COUNT.unpack_from(captured)[0]) if captured else 0


def bound(captured: bytes) -> Iterator[Bound]:
    """Those that were copied, in their order."""
    for number, full, state, copied, _, data in PARAMETER.iter_unpack(captured[COUNT.size :]):
        if state == ParameterState.VALUE:
            yield Bound(number, ParameterState.VALUE, data[:copied], full)
        else:
            yield Bound(number, ParameterState(state))


def shown(value: Bound) -> str:
    """As PostgreSQL would write it where the type is one of the common ones, else its bytes."""
    data = _whole_characters(value.data) if value.cut else value.data
    show = _SHOWN.get(value.type_name)
    if show is None or (value.cut and show is not _text):
        return _hex(data)
    try:
        return show(data)
    except (struct.error, ValueError, LookupError):
        return _hex(data)


def _hex(data: bytes) -> str:
    return "\\x" + data.hex()


def _number(form: str) -> Callable[[bytes], str]:
    layout = Struct("<" + form)
    return lambda data: str(layout.unpack_from(data)[0])


def _bool(data: bytes) -> str:
    return "true" if data[0] else "false"


def _float8(data: bytes) -> str:
    (number,) = struct.unpack_from("<d", data)
    return _float(number, repr(number), 15)


def _float4(data: bytes) -> str:
    (number,) = struct.unpack_from("<f", data)
    shortest = (text for n in range(1, 10) if _float4_bytes(text := f"{number:.{n}g}") == data[:4])
    return _float(number, next(shortest, repr(number)), 6)


def _float4_bytes(text: str) -> bytes:
    try:
        return struct.pack("<f", float(text))
    except OverflowError:  # rounded up over the largest one
        return b""


def _float(number: float, shortest: str, exponent_from: int) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    exact = Decimal(shortest).normalize()
    exponent = exact.adjusted()
    if -4 <= exponent < exponent_from:
        return f"{exact:f}"
    sign, digits, _ = exact.as_tuple()
    mantissa = f"{digits[0]}.{''.join(map(str, digits[1:]))}".rstrip(".")
    return f"{'-' if sign else ''}{mantissa}e{exponent:+03}"


def _text(data: bytes) -> str:
    """In other encodings than UTF-8, what it cannot be is shown as bytes."""
    return data.decode("utf-8", "backslashreplace")


def _whole_characters(data: bytes) -> bytes:
    """The cut may have gone through the last one of UTF-8."""
    for end in range(len(data), max(len(data) - 4, -1), -1):
        try:
            data[:end].decode()
        except UnicodeDecodeError:
            continue
        return data[:end]
    return data


def _name(data: bytes) -> str:
    return _text(data.split(b"\0", 1)[0])


def _uuid(data: bytes) -> str:
    return str(uuid.UUID(bytes=data))


def _date(data: bytes) -> str:
    (days,) = struct.unpack_from("<i", data)
    return {2**31 - 1: "infinity", -(2**31): "-infinity"}.get(days) or "".join(_day(days))


def _time(data: bytes) -> str:
    return _clock(struct.unpack_from("<q", data)[0])


def _timestamp(data: bytes) -> str:
    return _moment(data, "")


def _timestamptz(data: bytes) -> str:
    return _moment(data, "+00")


def _moment(data: bytes, zone: str) -> str:
    (microseconds,) = struct.unpack_from("<q", data)
    if microseconds in (2**63 - 1, -(2**63)):
        return "infinity" if microseconds > 0 else "-infinity"
    days, rest = divmod(microseconds, DAY_US)
    day, era = _day(days)
    return f"{day} {_clock(rest)}{zone}{era}"


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    shown = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{shown}.{fraction:06}".rstrip("0") if fraction else shown


def _day(days: int) -> tuple[str, str]:
    """Days since 2000-01-01 as a date and its era. ``datetime`` ends at 9999, PostgreSQL does not.

    Eras of 400 years that begin in March, so that the leap day comes last.
    """
    era, day_of_era = divmod(days + EPOCH_DAYS, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    year += era * 400 + (month >= 10)
    month = month + 3 if month < 10 else month - 9
    return (
        (f"{year:04}-{month:02}-{day:02}", "")
        if year > 0
        else (f"{1 - year:04}-{month:02}-{day:02}", " BC")
    )


_SPECIAL = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}


def _numeric(data: bytes) -> str:
    """``NumericShort`` has sign, scale and weight in two bytes, ``NumericLong`` in four."""
    (head,) = struct.unpack_from("<H", data)
    if head & 0xC000 == 0xC000:
        return _SPECIAL[head & 0xF000]
    if head & 0x8000:
        negative, scale = head & 0x2000, (head & 0x1F80) >> 7
        weight, at = (head & 0x3F) - (head & 0x40), 2
    else:
        negative, scale = head & 0x4000, head & 0x3FFF
        weight, at = struct.unpack_from("<h", data, 2)[0], 4
    digits = [digit for (digit,) in struct.iter_unpack("<H", data[at:])]
    return ("-" if negative else "") + _decimal(digits, weight, scale)


def _decimal(digits: list[int], weight: int, scale: int) -> str:
    """``weight``: how many digits of base 10000 stand before the point, less one."""
    if max(abs(weight) * BASE_DIGITS, scale) > MAX_DIGITS:
        raise ValueError("too many digits")
    before = max(weight + 1, 0)
    whole = digits[:before] + [0] * (before - len(digits))
    after = [0] * max(-weight - 1, 0) + digits[before:]
    shown = "".join(f"{digit:04}" for digit in whole).lstrip("0") or "0"
    if not scale:
        return shown
    fraction = "".join(f"{digit:04}" for digit in after[: scale // BASE_DIGITS + 1])
    return f"{shown}.{fraction[:scale].ljust(scale, '0')}"


def _interval(data: bytes) -> str:
    """As with ``intervalstyle = postgres``."""
    microseconds, days, months = struct.unpack_from("<qii", data)
    if (microseconds, days, months) in _ENDLESS:
        return _ENDLESS[microseconds, days, months]
    years, months = int(months / 12), int(math.fmod(months, 12))
    parts, negative = [], False
    for number, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if number:
            sign = "+" if negative and number > 0 else ""
            parts.append(f"{sign}{number} {unit}{'' if number == 1 else 's'}")
            negative = number < 0
    if microseconds or not parts:
        sign = "-" if microseconds < 0 else "+" if negative else ""
        parts.append(sign + _clock(abs(microseconds)))
    return " ".join(parts)


_ENDLESS = {
    (2**63 - 1, 2**31 - 1, 2**31 - 1): "infinity",
    (-(2**63), -(2**31), -(2**31)): "-infinity",
}


def _address(data: bytes, *, always_bits: bool) -> str:
    """``inet_struct``: family, bits of the network, address."""
    size, all_bits = {2: (4, 32), 3: (16, 128)}[data[0]]
    if len(data) < 2 + size:
        raise ValueError("too short")
    address = data[2 : 2 + size]
    shown = str(ipaddress.ip_address(address))
    # An IPv4 address inside of it is written as one.
    before, four = address[:-4], address[-4:]
    if before == MAPPED or (size == 16 and not any(before) and any(four[:2])):
        shown = f"::{'ffff:' if any(before) else ''}{ipaddress.ip_address(four)}"
    return shown if data[1] == all_bits and not always_bits else f"{shown}/{data[1]}"


def _bits(data: bytes) -> str:
    (length,) = struct.unpack_from("<i", data)
    digits = "".join(f"{byte:08b}" for byte in data[4:])
    if len(digits) < length:
        raise ValueError("too short")
    return digits[:length]


def _point(data: bytes) -> str:
    return f"({_float8(data)},{_float8(data[8:])})"


_SHOWN: dict[str, Callable[[bytes], str]] = {
    "bool": _bool, "int2": _number("h"), "int4": _number("i"), "int8": _number("q"),
    "oid": _number("I"), "xid": _number("I"), "regclass": _number("I"), "float4": _float4,
    "float8": _float8, "text": _text, "varchar": _text, "bpchar": _text, "json": _text,
    "xml": _text, "name": _name, "uuid": _uuid, "date": _date, "time": _time,
    "timestamp": _timestamp, "timestamptz": _timestamptz, "numeric": _numeric,
    "interval": _interval, "bit": _bits, "varbit": _bits, "point": _point, "money": _number("q"),
    "inet": partial(_address, always_bits=False), "cidr": partial(_address, always_bits=True),
}  # fmt: skip
_SHOWN["jsonb"] = lambda data: jsonb(data, _text, _numeric)
_SHOWN |= {
    name: lambda data: array(data, TYPE_NAMES, _SHOWN)
    for name in TYPE_NAMES.values()
    if name.endswith("[]")
}
