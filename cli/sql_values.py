"""Values of DuckDB that Python or JSON cannot hold as they are, shown as DuckDB writes them.

Python has no interval of months and no nanoseconds, wants a package more for a moment with a time
zone, and JSON has neither infinity nor bytes.
"""

from __future__ import annotations

import math
import re

_AS_TEXT = (
    r"TIMESTAMP WITH TIME ZONE|TIME WITH TIME ZONE|TIMESTAMP_NS|TIME_NS|INTERVAL|BLOB|GEOMETRY"
)
_WORD = re.compile(
    rf"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\b(?P<type>{_AS_TEXT})(?=[,)\[]|$)""",
)
"""A quoted name or label, or a type: what stands before a type is the name of a field."""
_BITS = 64


def shown_type(duckdb_type: str) -> str:
    """The type as which a value can be read.

    >>> shown_type("STRUCT(at TIMESTAMP WITH TIME ZONE, blob BLOB[])"), shown_type("BIGINT")
    ('STRUCT(at VARCHAR, blob VARCHAR[])', 'BIGINT')
    """
    return _WORD.sub(lambda found: "VARCHAR" if found["type"] else found[0], duckdb_type)


def to_json(value: object) -> object:
    """What is no JSON as something that is: text, and null for a number that is none.

    >>> to_json({1: [2**64, float("nan")], "b": b"\\x00a"})
    {'1': ['18446744073709551616', None], 'b': '\\\\x00a'}
    """
    if isinstance(value, dict):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and value.bit_length() >= _BITS:
        return str(value)
    if isinstance(value, bytes):
        return "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02X}" for b in value)
    return value
