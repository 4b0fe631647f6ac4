"""Arrays and jsonb as PostgreSQL holds them in memory, as it would write them. Pure.

Source: ``array.h``, ``arrayfuncs.c``, ``jsonb.h``, ``jsonb_util.c``; the same in 12 to 18. Data
that is not as it must be raises ValueError, LookupError or struct.error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from itertools import islice
from math import prod

Show = Callable[[bytes], str]

LENGTH_BYTES = 4
"""Of a varlena's head, which does not come with the data but counts in every alignment."""
ARRAY_HEAD = struct.Struct("<IiI")
MAX_DIMENSIONS = 6
FIXED = {
    "bool": (1, 1), "int2": (2, 2), "int4": (4, 4), "int8": (8, 8), "oid": (4, 4),
    "float4": (4, 4), "float8": (8, 8), "date": (4, 4), "time": (8, 8), "timestamp": (8, 8),
    "timestamptz": (8, 8), "uuid": (16, 1), "name": (64, 1),
}  # fmt: skip
"""Length and alignment of elements; all others have their length before them."""
QUOTED = frozenset('{}",\\ \t\n\r\v\f')

COUNT, SCALAR, OBJECT = 0x0FFF_FFFF, 0x1000_0000, 0x2000_0000
TYPE, HAS_OFFSET = 0x7000_0000, 0x8000_0000
STRING, NUMERIC, FALSE, TRUE, NULL, CONTAINER = (kind << 28 for kind in range(6))
WORDS = {FALSE: "false", TRUE: "true", NULL: "null"}


def array(data: bytes, names: dict[int, str], show: dict[str, Show]) -> str:
    """``names`` of types by number; ``show`` writes an element of a type by its name."""
    dimensions, data_at, element_type = ARRAY_HEAD.unpack_from(data)
    name = names[element_type]
    if dimensions > MAX_DIMENSIONS:
        raise ValueError("too many dimensions")
    if not dimensions:
        return "{}"
    sizes = struct.unpack_from(f"<{dimensions}i", data, ARRAY_HEAD.size)
    bounds = struct.unpack_from(f"<{dimensions}i", data, ARRAY_HEAD.size + 4 * dimensions)
    count, at = prod(sizes), ARRAY_HEAD.size + 8 * dimensions
    if min(sizes) < 1 or count > 8 * len(data):
        raise ValueError("no such array")
    there = [True] * count
    if data_at:
        bits = data[at : at + (count + 7) // 8]
        there = [bool(bits[each // 8] >> each % 8 & 1) for each in range(count)]
    at = (data_at or _aligned(at + LENGTH_BYTES, 8)) - LENGTH_BYTES
    found = _fixed(data, at, *FIXED[name]) if name in FIXED else _varlenas(data, at)
    shown = [_element(name, show, next(found)) if each else "NULL" for each in there]
    for size in reversed(sizes[1:]):
        rest = iter(shown)
        shown = ["{" + ",".join(islice(rest, size)) + "}" for _ in range(len(shown) // size)]
    spans = [f"[{low}:{low + size - 1}]" for low, size in zip(bounds, sizes, strict=True)]
    prefix = "".join(spans) + "=" if any(low != 1 for low in bounds) else ""
    return prefix + "{" + ",".join(shown) + "}"


def _element(name: str, show: dict[str, Show], data: bytes) -> str:
    text = show[name](data)
    if name == "bool":
        return text[0]
    if text and text.upper() != "NULL" and QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fixed(data: bytes, at: int, length: int, alignment: int) -> Iterator[bytes]:
    while True:
        at = _aligned(at + LENGTH_BYTES, alignment) - LENGTH_BYTES
        yield _part(data, at, length)
        at += length


def _varlenas(data: bytes, at: int) -> Iterator[bytes]:
    while True:
        if not data[at] & 1:  # else a head of one byte, which may lie anywhere
            at = _aligned(at, LENGTH_BYTES)
        head, length = _varlena(data, at)
        yield _part(data, at + head, length - head)
        at += length


def _varlena(data: bytes, at: int) -> tuple[int, int]:
    """Bytes of the head, and of all."""
    if data[at] & 1:
        head, length = 1, data[at] >> 1
    else:
        (word,) = struct.unpack_from("<I", data, at)
        if word & 3:
            raise ValueError("compressed")
        head, length = LENGTH_BYTES, word >> 2
    if length < head:
        raise ValueError("no length")
    return head, length


def jsonb(data: bytes, text: Show, numeric: Show) -> str:
    (head,) = struct.unpack_from("<I", data)
    shown = _container(data, 0, text, numeric)
    return shown[1:-1] if head & SCALAR else shown


def _container(data: bytes, at: int, text: Show, numeric: Show) -> str:
    (head,) = struct.unpack_from("<I", data, at)
    count = (head & COUNT) * (2 if head & OBJECT else 1)
    entries = struct.unpack_from(f"<{count}I", data, at + 4)
    base, end, values = at + 4 + 4 * count, 0, []
    for entry in entries:
        start, length = end, entry & COUNT
        end = length if entry & HAS_OFFSET else start + length
        values.append(_value(data, entry & TYPE, base + start, base + end, text, numeric))
    if not head & OBJECT:
        return "[" + ", ".join(values) + "]"
    half = count // 2
    pairs = zip(values[:half], values[half:], strict=True)
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"


def _value(data: bytes, kind: int, start: int, end: int, text: Show, numeric: Show) -> str:
    if kind == STRING:
        return json.dumps(text(_part(data, start, end - start)), ensure_ascii=False)
    if kind in WORDS:
        return WORDS[kind]
    start = _aligned(start, 4)
    if kind == CONTAINER:
        return _container(data, start, text, numeric)
    if kind != NUMERIC:
        raise ValueError("no such entry")
    head, length = _varlena(data, start)
    return numeric(_part(data, start + head, length - head))


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def _part(data: bytes, at: int, length: int) -> bytes:
    part = data[at : at + length]
    if length < 0 or len(part) < length:
        raise ValueError("behind the end")
    return part
