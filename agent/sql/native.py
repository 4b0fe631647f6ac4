"""Code that runs in the server past every rule: libraries, C, languages without limits."""

from __future__ import annotations

import re

from agent.sql.facts import Facts
from agent.sql.outside import note_call

_INSTALLED = "$libdir/"
"""What extensions name; who may write there is root on the host."""
_UNLIMITED = frozenset(
    {"internal", "plpythonu", "plpython2u", "plpython3u", "plperlu", "pltclu", "pljavau", "plsh"}
)


def note_library(facts: Facts, path: str) -> None:
    """``library``: one that may lie anywhere. A bare name is one of the server's own."""
    if ".." in path.split("/") if path.startswith(_INSTALLED) else "/" in path:
        facts.flag("library")


_FAR_REACHING = frozenset(
    {"heap_force_kill", "heap_force_freeze", "get_raw_page", "bt_page_items",
     "pg_get_wal_record_info", "pg_get_wal_records_info", "pg_get_wal_block_info",
     "pg_get_wal_fpi_info", "pg_truncate_visibility_map", "pg_buffercache_evict",
     "pg_buffercache_evict_relation", "pg_buffercache_evict_all", "pg_file_write",
     "pg_file_rename", "pg_file_unlink", "dblink_connect", "dblink_exec",
     "dblink_open", "dblink_send_query"}
)  # fmt: skip
"""Of libraries that come with PostgreSQL. No other name is told: it is a literal of the text."""
_OTHER_NAMES = {"dblink_connect_u": "dblink_connect"}
_VERSION = re.compile(r"(?:_fork)?(?:_v?\d+_\d+)?\Z")
"""What extensions put behind a name of theirs when its arguments change."""


def note_language(facts: Facts, language: str, texts: list[str], name: str = "") -> None:
    """Of a function, procedure or DO. ``texts``: of one in C its file, and the name within it;
    rules would not know it under another ``name``, so it counts among the functions."""
    if language == "c" and len(texts) > 1:
        symbol = far_reaching(texts[1], name)
        if symbol:
            facts.functions.add(symbol)
            note_call(facts, symbol)
    if language in _UNLIMITED:
        facts.flag("native_code")
    elif language == "c" and texts:
        note_library(facts, texts[0])


def far_reaching(symbol: str, name: str) -> str:
    """What rules know a function in C by, from what it is called in its library; empty where
    ``name`` says it, or there is nothing to know."""
    known = _VERSION.sub("", symbol)
    return known if known in _FAR_REACHING - {name, _OTHER_NAMES.get(name)} else ""
