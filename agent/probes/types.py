"""The built-in types whose bind parameters are read: how their values lie in a server's memory.

Source: ``pg_type.dat``; the numbers are the same in PostgreSQL 12 to 18, where the type exists.
A type that is not here (an enum, a domain, an extension's) has a number of the database's own, so
nobody can tell its values from pointers.
"""

from __future__ import annotations

from agent.probes.layout import PARAMETER_TYPES, TypeKind

BY_VALUE = {
    16: "bool", 18: "char", 20: "int8", 21: "int2", 23: "int4", 24: "regproc", 26: "oid",
    28: "xid", 29: "cid", 700: "float4", 701: "float8", 790: "money", 1082: "date", 1083: "time",
    1114: "timestamp", 1184: "timestamptz", 2202: "regprocedure", 2203: "regoper",
    2204: "regoperator", 2205: "regclass", 2206: "regtype", 3220: "pg_lsn", 3734: "regconfig",
    3769: "regdictionary", 4089: "regnamespace", 4096: "regrole", 5069: "xid8",
}  # fmt: skip
FIXED = {
    19: ("name", 64), 27: ("tid", 6), 600: ("point", 16), 829: ("macaddr", 6),
    774: ("macaddr8", 8), 1186: ("interval", 16), 1266: ("timetz", 12), 2950: ("uuid", 16),
}  # fmt: skip
"""With the length of each value."""
VARLENA = {
    17: "bytea", 25: "text", 114: "json", 142: "xml", 650: "cidr", 869: "inet", 1042: "bpchar",
    1043: "varchar", 1560: "bit", 1562: "varbit", 1700: "numeric", 3614: "tsvector",
    3615: "tsquery", 3802: "jsonb", 3904: "int4range", 3906: "numrange", 3908: "tsrange",
    3910: "tstzrange", 3912: "daterange", 3926: "int8range", 4072: "jsonpath",
    199: "json[]", 1000: "bool[]", 1001: "bytea[]", 1003: "name[]", 1005: "int2[]",
    1007: "int4[]", 1009: "text[]", 1014: "bpchar[]", 1015: "varchar[]", 1016: "int8[]",
    1021: "float4[]", 1022: "float8[]", 1028: "oid[]", 1041: "inet[]", 1115: "timestamp[]",
    1182: "date[]", 1183: "time[]", 1185: "timestamptz[]", 1187: "interval[]", 1231: "numeric[]",
    2951: "uuid[]", 3807: "jsonb[]",
}  # fmt: skip

TYPE_NAMES = BY_VALUE | {number: name for number, (name, _) in FIXED.items()} | VARLENA


def _kinds() -> bytes:
    kinds = bytearray(PARAMETER_TYPES)
    for number in BY_VALUE:
        kinds[number] = TypeKind.BY_VALUE
    for number in VARLENA:
        kinds[number] = TypeKind.VARLENA
    for number, (_, length) in FIXED.items():
        kinds[number] = length
    return bytes(kinds)


TYPE_KINDS = _kinds()
"""``config.type_kinds``: TypeKind by type number; another number is the length of its values."""
