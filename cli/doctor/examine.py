"""Every check in its order. One that needs another that failed says so, and is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

from agent.connecting import connect, entry_for, watchable
from agent.discovery import PROGRAM, Cluster, discover, hidden_servers
from cli.doctor.check import Check, Look, Mark, attempt, bad, good, skipped, warn
from cli.doctor.collector import check_collector, check_metrics
from cli.doctor.grants import check_grants
from cli.doctor.host import check_host
from cli.doctor.login import Connection, open_login
from cli.doctor.parts import check_identities, check_loader, check_parser, check_rules
from cli.doctor.probes import check_probes
from cli.doctor.server import (
    check_audit,
    check_guard,
    check_settings,
    check_version,
)
from config import Config

PER_SERVER = ("version", "login", "settings", "pgaudit", "grants", "probes", "guard")
START_ONE = "systemctl start postgresql  # the agent finds it by itself within seconds"


def examine(config: Config) -> Iterator[Check]:
    """Lines as they are found; takes seconds, most of them for the canaries."""
    yield from check_host(config)
    loadable = True
    for check in attempt("loader", lambda: check_loader(config)):
        loadable = check.mark is not Mark.BAD
        yield check
    yield from attempt("parser", check_parser)
    yield from attempt("rules", lambda: check_rules(config))
    yield from attempt("identities", lambda: check_identities(config))
    yield from check_servers(config, loadable=loadable)
    yield from attempt("collector", lambda: check_collector(config))
    for name, listen in (
        ("agent.metrics", config.agent.metrics),
        ("collector.metrics", config.collector.metrics),
    ):
        yield from attempt("metrics", partial(check_metrics, name, listen))


def check_servers(config: Config, *, loadable: bool = True) -> Iterator[Check]:
    """``loadable``: there is a loader that works, where one is wanted."""
    watched: list[Cluster] = []
    yield from attempt("server", lambda: _find(config, watched))
    for cluster in watched:
        yield from _check_server(config, cluster, loadable)
    if not watched:
        yield from (skipped(aspect, "server") for aspect in PER_SERVER)


def _find(config: Config, watched: list[Cluster]) -> Iterator[Check]:
    """Fills ``watched`` with those that the agent would watch."""
    found = discover()
    watched += watchable(config.agent, found)
    pids = {cluster.postmaster_pid for cluster in watched}
    for cluster in found:
        what = f"port {cluster.port}, PostgreSQL {cluster.version}, {cluster.data_directory}"
        if cluster.postmaster_pid not in pids:
            what += "; not watched: agent.only_configured_clusters"
        yield good(f"server {cluster.name}", what)
    if not watched:
        yield _none_found(found)
    for index, entry in enumerate(config.agent.clusters):
        if not any(entry_for(config.agent, cluster) is entry for cluster in found):
            yield warn(
                "server",
                f"agent.clusters[{index}] fits no running server",
                "start it, or correct port and data_directory of that entry",
            )


def _none_found(found: list[Cluster]) -> Check:
    if found:
        ports = ", ".join(str(cluster.port) for cluster in found)
        return bad(
            "server",
            "none is watched: agent.only_configured_clusters is true and agent.clusters fits none",
            f"agent: {{clusters: [{{port: {found[0].port}}}]}}  # there are: {ports}",
        )
    hidden = hidden_servers()
    if hidden:
        return bad(
            "server",
            f"{hidden} processes named {PROGRAM} run, but this account may not look at them",
            "sudo pgwarden doctor  # the agent needs CAP_SYS_PTRACE",
        )
    return bad("server", "no PostgreSQL runs on this host", START_ONE)


def _check_server(config: Config, cluster: Cluster, loadable: bool) -> Iterator[Check]:
    name = cluster.name
    yield from attempt("version", lambda: check_version(cluster), name)
    logins: list[Connection] = []
    yield from attempt("login", lambda: _log_in(config, cluster, logins), name)
    if not logins:
        for aspect in ("settings", "pgaudit", "grants"):
            yield replace(skipped(aspect, "login"), server=name)
        yield from _check_probes(config, cluster, None, loadable)
    else:
        with closing(logins[0]) as login:
            looks: dict[str, Look] = {
                "settings": lambda: check_settings(cluster, login),
                "pgaudit": lambda: check_audit(config, cluster, login),
                "grants": lambda: check_grants(
                    config, cluster, login, partial(connect, config.agent, cluster)
                ),
            }
            for aspect, look in looks.items():
                yield from attempt(aspect, look, name)
            yield from _check_probes(config, cluster, login, loadable)
    yield from attempt("guard", lambda: check_guard(config, cluster), name)


def _check_probes(
    config: Config, cluster: Cluster, login: Connection | None, loadable: bool
) -> Iterator[Check]:
    if loadable:
        yield from attempt("probes", lambda: check_probes(config, cluster, login), cluster.name)
    else:
        yield replace(skipped("probes", "loader"), server=cluster.name)


def _log_in(config: Config, cluster: Cluster, logins: list[Connection]) -> Iterator[Check]:
    check, connection = open_login(config, cluster)
    if connection is not None:
        logins.append(connection)
    yield check
