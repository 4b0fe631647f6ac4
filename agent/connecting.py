"""Which servers the configuration names, and how the agent logs in to one: as configured, else
over its unix socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg
from psycopg.conninfo import make_conninfo

from agent.discovery import Cluster
from config.schema import AgentConfig, ClusterAccess

CONNECT_SECONDS = 5
DEFAULT_SOCKET_FOLDER = "/tmp"
"""PostgreSQL's own, where the server names none."""
APPLICATION_NAME = "pgwarden"


def entry_for(config: AgentConfig, cluster: Cluster) -> ClusterAccess | None:
    """The first entry of ``agent.clusters`` that fits."""
    for entry in config.clusters:
        if entry.port is not None and entry.port != cluster.port:
            continue
        folder = entry.data_directory
        if folder is not None and folder.resolve() != cluster.data_directory.resolve():
            continue
        return entry
    return None


def watchable(config: AgentConfig, found: Iterable[Cluster]) -> Iterator[Cluster]:
    """Those to watch, under their configured names."""
    for cluster in found:
        entry = entry_for(config, cluster)
        if entry is None and config.only_configured_clusters:
            continue
        yield replace(cluster, name=entry.name) if entry and entry.name else cluster


def connect(
    config: AgentConfig, cluster: Cluster, database: str = "", **more: str
) -> psycopg.Connection[tuple[object, ...]]:
    """As configured, else over the unix socket as ``catalog.user``. ``more``: words of a
    connection string. Raises psycopg.Error."""
    entry = entry_for(config, cluster)
    words = {"application_name": APPLICATION_NAME, "connect_timeout": str(CONNECT_SECONDS)}
    base = ""
    if entry is not None and entry.dsn is not None:
        base = entry.dsn.get_secret_value()
    else:
        folders = cluster.socket_directories
        words["host"] = str(folders[0]) if folders else DEFAULT_SOCKET_FOLDER
        words["port"] = str(cluster.port)
        words["user"] = config.catalog.user
        words["dbname"] = config.catalog.database
    if database:
        words["dbname"] = database
    return psycopg.connect(conninfo(base, words | more), autocommit=True)


def conninfo(base: str, words: dict[str, str]) -> str:
    """``base`` with ``words`` laid over it. Raises psycopg.OperationalError."""
    try:
        return make_conninfo(base, **words)
    except psycopg.ProgrammingError:
        # Not libpq's own words: they quote the string, and with it the password.
        raise psycopg.OperationalError(
            "its dsn is no connection string of PostgreSQL; correct agent.clusters.dsn"
        ) from None
