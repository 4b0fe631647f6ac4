"""Built-in functions that reach beyond their database, and the C functions behind them.

What calls them may stand in no text and no plan that runs: PL/pgSQL works out simple expressions
by itself, functions in SQL are put into the statement that calls them, and a cast or an operator
may be such a function. So the C functions themselves are probed. ``calls.txt`` holds them, from
real servers of PostgreSQL 12 to 18: ``python -m tests.conformance.calls`` writes it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("calls.txt")
PATTERN = "|".join((
    "set_config|setval|pg_sleep|ts_stat",
    "lo_(creat|create|export|from_bytea|get|import|open|put|truncate|truncate64|unlink)",
    "loread|lowrite|pg_read_file_old|pg_read_file|pg_read_binary_file|pg_ls_.*|pg_stat_file",
    "pg_hba_file_rules|pg_ident_file_mappings|pg_show_all_file_settings",
    "pg_(terminate|cancel)_backend|pg_log_backend_memory_contexts",
    "pg_reload_conf|pg_rotate_logfile|pg_rotate_logfile_old|pg_promote|pg_switch_wal",
    "pg_(start|stop)_backup|pg_backup_(start|stop)|pg_wal_replay_(pause|resume)",
    "pg_create_.*|pg_drop_replication_slot|pg_copy_.*_replication_slot",
    "pg_sync_replication_slots|pg_log_standby_snapshot|pg_logical_(slot_.*|emit_message)",
    "pg_replication_origin_(advance|create|drop)|pg_replication_slot_advance",
    "pg_replication_origin_(session|xact)_(setup|reset)",
    "pg_stat_reset.*|pg_(clear|restore)_.*_stats|pg_export_snapshot",
    "pg_import_system_collations|query_to_xml.*|cursor_to_xml",
))  # fmt: skip
"""Their names in SQL: files, settings, sessions, the server's state, replication, large objects,
and what runs SQL that is handed to it. Not those that applications call for each row (``nextval``,
advisory locks, ``pg_notify``): every call would be one more hit."""
SETTING = "set_config"
WITH_A_ROLE = (b"role", b"session_authorization")
"""Settings whose value rules see as well."""


@dataclass(frozen=True, slots=True)
class Call:
    """One C function."""

    number: int
    """Its line in the table, from 1 on: the kernel's name for it."""
    symbol: str
    name: str
    """In SQL."""
    arguments: int
    """At most."""
    text: int
    """Which argument is the first that is a text, from 0 on; -1: none."""
    first: int
    last: int
    """Versions of PostgreSQL that have it."""

    def sql(self, text: bytes | None, value: bytes | None = None) -> tuple[bytes, bool]:
        """A statement that calls it like this, for parser and rules; and whether the function and
        ``text`` alone decide what it is. ``text`` is its first text, ``value`` the one behind it;
        None: not known. What is not known is a parameter."""
        given = [b"$%d" % (at + 1) for at in range(self.arguments)]
        whole = True
        if self.text >= 0 and text is not None:
            given[self.text] = _quoted(text)
            if self.name == SETTING and text.lower() in WITH_A_ROLE:
                whole = False
                if value is not None:
                    given[self.text + 1] = _quoted(value)
        return b"SELECT %s(%s)" % (self.name.encode(), b", ".join(given)), whole


def _quoted(text: bytes) -> bytes:
    if b"\\" not in text:
        return b"'" + text.replace(b"'", b"''") + b"'"
    # As it reads whatever standard_conforming_strings says.
    return b"E'" + text.replace(b"\\", rb"\x5c").replace(b"'", rb"\x27") + b"'"


@cache
def all_calls() -> tuple[Call, ...]:
    found = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        symbol, name, *numbers = line.split()
        found.append(Call(number, symbol, name, *map(int, numbers)))
    return tuple(found)


def calls_of(version: int) -> tuple[Call, ...]:
    """Those that a server of this version has."""
    return tuple(call for call in all_calls() if call.first <= version <= call.last)


def call(number: int) -> Call:
    """By the kernel's name for it."""
    return all_calls()[number - 1]
