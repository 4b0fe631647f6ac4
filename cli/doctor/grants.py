"""Which parts of the catalog the agent's login may read, and the GRANTs for the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psycopg

from agent.catalog.host_files import HostFiles
from agent.catalog.rights import grants_for, lacking, quoted
from agent.catalog.snapshot import take_snapshot
from agent.catalog.watched import Watched, grants_for_watched, watched_in
from agent.discovery import Cluster
from agent.planned import TEXT_ALONE
from cli.doctor.check import Check, bad, good, one_line, warn
from cli.doctor.login import Connection, as_superuser
from config import Config
from model.catalog import WATCHED_NAME, CatalogKind, Snapshot
from model.verdict import Mode

CLOSED_SQL = """
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND NOT has_database_privilege(oid, 'CONNECT')
ORDER BY datname
"""
TOLD_AS = {
    "settings": "setting",
    "file_errors": "errors in configuration files",
    "subscriptions": "connections of subscriptions",
    "user_mappings": "options of user mappings",
}
"""By right; the others are called as their kind."""
KINDS = frozenset(CatalogKind) - {CatalogKind.WATCHED}
GRANT = re.compile(r"GRANT [^;]+;")
DOCTOR = "pgwarden doctor"
"""Asked again: somebody changed or locked the catalog."""
WATCHED_ALONE = frozenset([CatalogKind.WATCHED])

Connect = Callable[[str], Connection]


def check_grants(
    config: Config, cluster: Cluster, connection: Connection, connect: Connect
) -> Iterator[Check]:
    """``connect`` opens the login in another database; raises psycopg.Error."""
    if not config.agent.catalog.enabled:
        yield good("grants", "not needed: agent.catalog.enabled is false")
        if config.agent.guard.mode is Mode.ENFORCE:
            yield warn("grants", TEXT_ALONE, "agent.catalog.enabled: true")
        return
    role, database = connection.info.user, connection.info.dbname
    files = HostFiles.of(cluster)
    snapshot = take_snapshot(connection, cluster.name, kinds=KINDS, files=files)
    lacks = lacking(connection) | _unread_parts(snapshot)
    statements = grants_for(lacks, role, cluster.version)
    kinds = [kind for kind in CatalogKind if kind in KINDS and kind not in snapshot.kinds]
    if not lacks and not kinds:
        yield good("grants", f"{', '.join(sorted(KINDS))}: read in full")
    if statements:
        told = ", ".join(TOLD_AS.get(right, right) for right in sorted(lacks))
        yield bad(
            "grants",
            f"not read in full: {told}; drift in them stays unseen",
            "\n".join([as_superuser(cluster, database), *statements]),
        )
    others = [kind for kind in kinds if kind.value not in lacks and f"{kind}s" not in lacks]
    if others:
        problems = "; ".join(snapshot.problems)
        needed = list(dict.fromkeys(GRANT.findall(problems)))
        again = "\n".join([as_superuser(cluster, database), *needed]) if needed else DOCTOR
        yield bad("grants", one_line(problems), again)
    yield from _watched(config, cluster, connection, connect)
    yield from _closed_databases(config, connection, role)


def _unread_parts(snapshot: Snapshot) -> set[str]:
    """Rights that matter only where there is something to read with them."""
    parts = {
        CatalogKind.SUBSCRIPTION: ("subscriptions", "connection: unread"),
        CatalogKind.USER_MAPPING: ("user_mappings", "foreign options: unread"),
    }
    return {
        parts[item.kind][0]
        for item in snapshot.items
        if item.kind in parts and parts[item.kind][1] in item.value.split("\n")
    }


def _watched(
    config: Config, cluster: Cluster, connection: Connection, connect: Connect
) -> Iterator[Check]:
    """Each watched table and query, read in its own database."""
    home = connection.info.dbname
    by_database: dict[str, list[Watched]] = {}
    for each in watched_in(config.agent.catalog):
        by_database.setdefault(each.database or home, []).append(each)
    for database, watched in by_database.items():
        try:
            with connect(database) as opened:
                yield _watched_in(cluster, opened, watched)
        except psycopg.Error as error:
            sentence = f"watched tables of {database} are not read: {one_line(str(error))}"
            yield bad("grants", sentence, "agent.catalog.watched: correct its database")


def _watched_in(cluster: Cluster, connection: Connection, watched: list[Watched]) -> Check:
    snapshot = take_snapshot(connection, cluster.name, kinds=WATCHED_ALONE, watched=watched)
    names = ", ".join(each.name for each in watched)
    if CatalogKind.WATCHED in snapshot.kinds:
        rows = sum(item.value != WATCHED_NAME for item in snapshot.items)
        return good("grants", f"{names}: {rows} rows read")
    problem = one_line("; ".join(snapshot.problems))
    statements = grants_for_watched(watched, connection.info.user)
    return bad(
        "grants", problem, "\n".join([as_superuser(cluster, connection.info.dbname), *statements])
    )


def _closed_databases(config: Config, connection: Connection, role: str) -> Iterator[Check]:
    names = [_text(name) for (name,) in connection.execute(CLOSED_SQL).fetchall()]
    more = f"; {TEXT_ALONE}" if config.agent.guard.mode is Mode.ENFORCE else ""
    if names:
        yield warn(
            "grants",
            f"{role} may not connect to {one_line(', '.join(names))}: what is in there stays "
            f"unseen{more}",
            "\n".join(
                f"GRANT CONNECT ON DATABASE {quoted(each)} TO {quoted(role)};" for each in names
            ),
        )


def _text(value: str | bytes) -> str:
    """psycopg gives bytes where the database's encoding is SQL_ASCII."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
