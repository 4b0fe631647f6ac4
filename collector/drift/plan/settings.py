"""Settings, and the rules in files that no statement changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.baseline import HBA_ORDER, Difference
from collector.drift.declaration.implicit import BUILT_IN_DETAIL, PENDING
from collector.drift.plan.quoting import NotSqlError, elements, ident, literal
from collector.drift.plan.steps import Phase, Step, World, Writer, by_hand
from model.catalog import CatalogKind, DriftChange

FILES = {CatalogKind.HBA: "pg_hba.conf", CatalogKind.IDENT: "pg_ident.conf"}
HIDDEN = "hidden "
_SETTING = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*")
# The server stores each of their elements quoted: one text would become one element.
LISTS = frozenset(
    [
        "local_preload_libraries", "oauth_validator_libraries", "search_path",
        "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces",
        "unix_socket_directories",
    ]
)  # fmt: skip
FIXED = frozenset(
    [
        "block_size", "config_file", "data_checksums", "data_directory", "data_directory_mode",
        "debug_assertions", "external_pid_file", "hba_file", "huge_pages_status", "ident_file",
        "integer_datetimes", "lc_collate", "lc_ctype", "max_function_args", "max_identifier_length",
        "max_index_keys", "num_os_semaphores", "segment_size", "server_encoding", "server_version",
        "server_version_num", "shared_memory_size", "shared_memory_size_in_huge_pages",
        "ssl_library", "wal_block_size", "wal_segment_size",
    ]
)  # fmt: skip
"""Chosen when the cluster was made or started."""
RESTART = frozenset(
    [
        "archive_mode", "autovacuum_freeze_max_age", "autovacuum_multixact_freeze_max_age",
        "autovacuum_worker_slots", "bonjour", "bonjour_name", "cluster_name",
        "dynamic_shared_memory_type", "event_source", "hot_standby", "huge_page_size",
        "huge_pages", "io_max_combine_limit", "io_max_concurrency", "io_method",
        "jit_provider", "listen_addresses", "logging_collector", "max_active_replication_origins",
        "max_connections", "max_files_per_process", "max_locks_per_transaction",
        "max_logical_replication_workers", "max_notify_queue_pages",
        "max_pred_locks_per_transaction",
        "max_prepared_transactions", "max_replication_slots", "max_wal_senders",
        "max_worker_processes", "min_dynamic_shared_memory", "old_snapshot_threshold", "port",
        "recovery_target", "reserved_connections", "shared_buffers", "shared_memory_type",
        "shared_preload_libraries", "superuser_reserved_connections", "track_activity_query_size",
        "track_commit_timestamp", "unix_socket_directories", "unix_socket_group",
        "unix_socket_permissions", "wal_buffers", "wal_decode_buffer_size", "wal_level",
        "wal_log_hints",
    ]
)  # fmt: skip


def setting(difference: Difference, world: World, _database: str) -> Iterator[Step]:
    name, about, whom = difference.name.partition("@")
    if not _SETTING.fullmatch(name):
        raise NotSqlError(f"{name!r} is not the name of a setting")
    if difference.desired.startswith(HIDDEN):
        yield by_hand(
            Phase.SETTING, f"set {difference.name} as it was; its value never left the host"
        )
    elif about:
        yield Step(Phase.SETTING, f"{_whose(whom, difference, world)} {_change(name, difference)}")
    elif name in FIXED:
        yield by_hand(
            Phase.SETTING,
            f"{name} is {difference.observed or 'not set'}, should be "
            f"{difference.desired or 'not set'}; it is chosen when the server is made or started",
        )
    else:
        yield from _of_server(name, difference)


def _of_server(name: str, difference: Difference) -> Iterator[Step]:
    file = difference.details[1]
    in_own_file = "postgresql.auto.conf" in file
    wanted = difference.desired.removesuffix(PENDING)
    unset = difference.change is DriftChange.ADDED or difference.details[0] == BUILT_IN_DETAIL
    if unset and file == BUILT_IN_DETAIL and PENDING in difference.observed:
        note = "takes effect at a restart; if ALTER SYSTEM did not set it, a file did: look there"
        yield Step(Phase.SETTING, f"ALTER SYSTEM RESET {name}", alone=True, note=note)
        return
    if unset and not in_own_file and file:
        yield by_hand(Phase.SETTING, f"remove {name} where it comes from: {file}")
        return
    note = f"its value now comes from: {file}" if file and not in_own_file else ""
    if name in RESTART or PENDING in difference.observed + difference.desired:
        note = f"{note}; takes effect at a restart".removeprefix("; ")
    change = f"RESET {name}" if unset else f"SET {name} TO {value(name, wanted)}"
    yield Step(Phase.SETTING, f"ALTER SYSTEM {change}", alone=True, note=note)


def _change(name: str, difference: Difference) -> str:
    if difference.change is DriftChange.ADDED:
        return f"RESET {name}"
    return f"SET {name} TO {value(name, difference.desired)}"


def value(name: str, text: str) -> str:
    """
    >>> value("search_path", '"$user", public'), value("work_mem", "64MB")
    ("'$user', 'public'", "'64MB'")
    """
    if name.lower() not in LISTS:
        return literal(text)
    return ", ".join(literal(element) for element in elements(text)) or "''"


def _whose(whom: str, difference: Difference, world: World) -> str:
    """``alice``, ``alice/shop``, ``shop`` or ``all``: which it is, the roles tell."""
    of_database = "database" in difference.details[0] + difference.details[1]
    if whom == "all" and not world.is_role(whom):
        return "ALTER ROLE ALL"
    head, slash, tail = whom.partition("/")
    if slash and world.is_role(head):
        return f"ALTER ROLE {ident(head)} IN DATABASE {ident(tail)}"
    if world.is_role(whom) and not of_database:
        return f"ALTER ROLE {ident(whom)}"
    return f"ALTER DATABASE {ident(whom)}"


def file_rule(kind: CatalogKind) -> Writer:
    """A rule of pg_hba.conf or pg_ident.conf: said with the line of its file."""

    def write(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
        where = difference.details[1] or difference.details[0] or FILES.get(kind, kind.value)
        desired = f"{difference.name} {difference.desired}".strip()
        observed = f"{difference.name} {difference.observed}".strip()
        if difference.name == HBA_ORDER:
            text = f"{where}: bring the rules into this order: {difference.desired}"
        elif difference.change is DriftChange.ADDED:
            text = f"{where}: remove the line: {observed}"
        elif difference.change is DriftChange.REMOVED:
            text = f"{where}: add the line again: {desired}"
        else:
            text = f"{where}: change the line: {observed} to: {desired}"
        yield by_hand(Phase.SETTING, text)

    return write
