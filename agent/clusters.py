"""The servers of this host that we watch, and what runs for each: log tail, catalog snapshots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from agent.capture import Capture, Inbox
from agent.catalog.watcher import SnapshotWatcher
from agent.discovery import Cluster, discover, hidden_servers
from agent.guard.server import Server, UnknownServerError
from agent.guard.stale import release_stale
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.sources.ebpf import EbpfSource
from agent.sources.pgaudit import Location, LogFormat, PgauditSource, locate
from config.schema import AgentConfig, ClusterAccess
from model.catalog import CatalogKind, Snapshot

log = structlog.get_logger(__name__)

AUDIT_POLL_SECONDS = 0.5
CONNECT_SECONDS = 5
PATIENCE = 3
"""Looks for a server's log, one and two seconds apart, before its statements wait no longer for
pgaudit's records: it may just be starting."""
SUPERUSER = "superuser=true"
ATTACH_SECONDS = 10.0
DEFAULT_SOCKET_FOLDER = "/tmp"
"""PostgreSQL's own, where the server names none."""
APPLICATION_NAME = "pgwarden"
NOTHING_FOUND = "no running PostgreSQL was found"
HIDDEN = "PostgreSQL processes cannot be looked at: run as root or with CAP_SYS_PTRACE"


@dataclass(slots=True)
class Watched:
    """One cluster and its threads."""

    cluster: Cluster
    server: Server | None
    stop: threading.Event = field(default_factory=threading.Event)
    audit: PgauditSource | None = None
    catalog: SnapshotWatcher | None = None
    attached: threading.Event = field(default_factory=threading.Event)
    """The probes were tried; ``problems`` says where they failed."""
    log_not_found: int = 0
    """How often its log was looked for in vain."""
    superusers: frozenset[str] | None = None
    problems: dict[str, str] = field(default_factory=dict)
    """By part (probes, pgaudit, catalog): one sentence on what is missing."""


class Clusters:
    """``rescan`` follows servers that come and go; the rest answers from what it found."""

    def __init__(
        self,
        config: AgentConfig,
        inbox: Inbox,
        on_snapshot: Callable[[Snapshot], None],
        source: EbpfSource | None,
        watchdog: WatchdogLink | None,
    ) -> None:
        self._config = config
        self._inbox = inbox
        self._on_snapshot = on_snapshot
        self._source = source
        self._watchdog = watchdog
        self._watched: dict[tuple[int, int], Watched] = {}
        self._hidden = 0
        self.scanned = False

    def rescan(self, capture: Capture | None) -> None:
        found = {_key(cluster): cluster for cluster in self.wanted(discover())}
        for key in [key for key in self._watched if key not in found]:
            self._leave(self._watched.pop(key), capture)
        new = [self._meet(cluster) for key, cluster in found.items() if key not in self._watched]
        for watched in new:
            self._watched[_key(watched.cluster)] = watched
        if capture is not None and self._source is not None:
            wanted = [watched.cluster for watched in self._watched.values()]
            source = self._source
            capture.run_soon(lambda: self._attach(wanted, new))
            capture.run_soon(lambda: source.tell_singly(self.audited))
        for watched in new:
            self._start(watched)
        self._hidden = hidden_servers()
        self.scanned = True

    def servers(self) -> Iterable[Server]:
        return [each.server for each in list(self._watched.values()) if each.server is not None]

    def all(self) -> list[Watched]:
        return list(self._watched.values())

    def superusers(self, cluster: str) -> frozenset[str] | None:
        """None while the catalog of that cluster has not been read."""
        for watched in list(self._watched.values()):
            if watched.cluster.name == cluster:
                return watched.superusers
        return None

    def audited(self, cluster: str) -> bool:
        """Whether records of pgaudit may come for its statements: yes, until it turns out that none
        can be read."""
        if not self._config.capture.pgaudit:
            return False
        for watched in list(self._watched.values()):
            if watched.cluster.name == cluster:
                return watched.audit is not None or watched.log_not_found < PATIENCE
        return True

    def poke(self) -> None:
        """A statement may have changed a catalog: look now."""
        for watched in list(self._watched.values()):
            if watched.catalog is not None:
                watched.catalog.poke()

    def is_attached(self, watched: Watched) -> bool:
        """True as well where there are no probes to attach."""
        return self._source is None or watched.attached.is_set()

    def problems(self) -> list[str]:
        problems = self.unseen()
        for watched in self.all():
            name = watched.cluster.name
            problems += [f"{name}: {sentence}" for sentence in watched.problems.values()]
            problems += watched.catalog.problems if watched.catalog is not None else ()
        return problems

    def unseen(self) -> list[str]:
        """Whether there is no server to watch, or some that we may not look at."""
        # Those that nobody configured are hidden from nobody.
        enough = self._config.only_configured_clusters and self._watched
        if self._hidden and not enough:
            return [f"{self._hidden} {HIDDEN}"]
        return [NOTHING_FOUND] if self.scanned and not self._watched else []

    def taken_at_seconds(self) -> dict[str, float]:
        """Unix time of the last catalog snapshot by cluster."""
        return {
            watched.cluster.name: watched.catalog.taken_at_seconds
            for watched in self.all()
            if watched.catalog is not None and watched.catalog.taken_at_seconds
        }

    def stop_catalogs(self) -> None:
        """No more queries of our own: the probes are about to go."""
        for watched in self.all():
            if watched.catalog is not None:
                watched.catalog.stop()

    def close(self) -> None:
        for watched in self._watched.values():
            watched.stop.set()
            if watched.catalog is not None:
                watched.catalog.stop()

    def wanted(self, found: Iterable[Cluster]) -> Iterable[Cluster]:
        for cluster in found:
            access = self.access(cluster)
            if access is None and self._config.only_configured_clusters:
                continue
            yield replace(cluster, name=access.name) if access and access.name else cluster

    def access(self, cluster: Cluster) -> ClusterAccess | None:
        for access in self._config.clusters:
            if access.port is not None and access.port != cluster.port:
                continue
            folder = access.data_directory
            if folder is not None and folder.resolve() != cluster.data_directory.resolve():
                continue
            return access
        return None

    def _meet(self, cluster: Cluster) -> Watched:
        log.info("cluster.found", cluster=cluster.name, pid=cluster.postmaster_pid)
        watched = Watched(cluster, None)
        try:
            watched.server = Server.running(cluster.postmaster_pid, cluster.version)
        except UnknownServerError as error:
            watched.problems["guard"] = f"nothing can be refused: {error}"
            return watched
        for pid in release_stale(watched.server):
            log.warning("guard.stale_hold_released", pid=pid, cluster=cluster.name)
        return watched

    def _attach(self, wanted: list[Cluster], new: list[Watched]) -> None:
        """On the capture thread. The watchdog first: nothing is held that it does not know."""
        assert self._source is not None
        for watched in new:
            if watched.server is not None and self._watchdog is not None:
                try:
                    self._watchdog.watch(watched.server)
                except WatchdogError as error:
                    self._source.set_hold(False)
                    watched.problems["guard"] = f"nothing is held: {error}"
        refusals = self._source.rescan(wanted)
        for watched in self.all():
            if watched.cluster not in wanted:
                continue
            refusal = refusals.get(watched.cluster)
            if refusal is None:
                watched.problems.pop("probes", None)
            else:
                sentence = f"the probes are not attached: {refusal}"
                if watched.problems.get("probes") != sentence:
                    log.error("probes.refused", cluster=watched.cluster.name, reason=str(refusal))
                watched.problems["probes"] = sentence
            watched.attached.set()

    def _leave(self, watched: Watched, capture: Capture | None) -> None:
        log.info("cluster.gone", cluster=watched.cluster.name)
        watched.stop.set()
        if watched.catalog is not None:
            watched.catalog.stop()
        server, watchdog = watched.server, self._watchdog
        if capture is not None and watchdog is not None and server is not None:
            capture.run_soon(lambda: watchdog.forget(server))

    def _start(self, watched: Watched) -> None:
        if self._config.capture.pgaudit:
            name = f"audit-{watched.cluster.name}"
            threading.Thread(
                target=self._follow_log, args=(watched,), name=name, daemon=True
            ).start()
        if self._config.catalog.enabled:
            watched.catalog = SnapshotWatcher(
                lambda database: self.connect(watched.cluster, database),
                watched.cluster.name,
                lambda snapshot: self._take_snapshot(watched, snapshot),
                self._config.catalog.interval_seconds,
            )
            name = f"catalog-{watched.cluster.name}"
            threading.Thread(
                target=self._watch_catalog, args=(watched,), name=name, daemon=True
            ).start()

    def _watch_catalog(self, watched: Watched) -> None:
        # After the probes: our own queries are statements too, and both sources should see them.
        if self._source is not None:
            watched.attached.wait(ATTACH_SECONDS)
        if watched.catalog is not None:
            watched.catalog.run()

    def _take_snapshot(self, watched: Watched, snapshot: Snapshot) -> None:
        if CatalogKind.ROLE in snapshot.kinds:
            watched.superusers = frozenset(
                item.name
                for item in snapshot.items
                if item.kind is CatalogKind.ROLE and SUPERUSER in item.value.split()
            )
        self._on_snapshot(snapshot)

    def connect(
        self, cluster: Cluster, database: str = ""
    ) -> psycopg.Connection[tuple[object, ...]]:
        """As configured, else over the unix socket as ``catalog.user``. Raises psycopg.Error."""
        access = self.access(cluster)
        words = {"application_name": APPLICATION_NAME, "connect_timeout": str(CONNECT_SECONDS)}
        base = ""
        if access is not None and access.dsn is not None:
            base = access.dsn.get_secret_value()
        else:
            folders = cluster.socket_directories
            words["host"] = str(folders[0]) if folders else DEFAULT_SOCKET_FOLDER
            words["port"] = str(cluster.port)
            words["user"] = self._config.catalog.user
            words["dbname"] = self._config.catalog.database
        if database:
            words["dbname"] = database
        return psycopg.connect(conninfo(base, words), autocommit=True)

    def connect_to(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        """By the cluster's name. Raises psycopg.Error."""
        for watched in self.all():
            if watched.cluster.name == name:
                return self.connect(watched.cluster)
        raise psycopg.OperationalError(f"{name} is not watched any more")

    def _follow_log(self, watched: Watched) -> None:
        if self._source is not None:
            watched.attached.wait(ATTACH_SECONDS)
        source = self._audit_source(watched)
        if source is None:
            return
        watched.audit = source
        try:
            while not watched.stop.is_set():
                events = source.poll(AUDIT_POLL_SECONDS)
                self._inbox.overflow.extend(source.losses())
                if events:
                    confirm = partial(source.confirm, source.position())
                    self._inbox.deliver(list(events), confirm, watched.stop)
                if source.problem:
                    watched.problems["pgaudit"] = source.problem
                else:
                    watched.problems.pop("pgaudit", None)
        finally:
            source.close()

    def _audit_source(self, watched: Watched) -> PgauditSource | None:
        """Asks the server where its log is, again and again until it tells or has gone."""
        wait_seconds = 1.0
        watched.log_not_found = 0
        while not watched.stop.is_set():
            location = self._locate(watched)
            if location is not None:
                watched.problems.pop("pgaudit", None)
                return PgauditSource(
                    watched.cluster.name,
                    location.directory,
                    location.pattern,
                    LogFormat(location.format),
                    self._state_file(watched.cluster),
                    location.prefix,
                    location.zone,
                )
            watched.log_not_found += 1
            watched.stop.wait(wait_seconds)
            wait_seconds = min(60.0, wait_seconds * 2)
        return None

    def _locate(self, watched: Watched) -> Location | None:
        cluster = watched.cluster
        try:
            with self.connect(cluster) as connection:
                root = Path(f"/proc/{cluster.postmaster_pid}/root")
                location = locate(connection, root, cluster.postmaster_pid)
        except psycopg.Error as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
            watched.problems["pgaudit"] = f"its log cannot be found without a login: {first}"
            return None
        if location.usable:
            return location
        watched.problems["pgaudit"] = "; ".join(
            f"{problem.what} {problem.remedy}" for problem in location.problems
        )
        return None

    def _state_file(self, cluster: Cluster) -> Path:
        safe = "".join(c if c.isalnum() or c in "-." else "_" for c in cluster.name)
        return self._config.state_dir / f"log-position-{safe}.json"


def conninfo(base: str, words: dict[str, str]) -> str:
    """``base`` with ``words`` laid over it. Raises psycopg.OperationalError."""
    try:
        return make_conninfo(base, **words)
    except psycopg.ProgrammingError:
        # Not libpq's own words: they quote the string, and with it the password.
        raise psycopg.OperationalError(
            "its dsn is no connection string of PostgreSQL; correct agent.clusters.dsn"
        ) from None


def _key(cluster: Cluster) -> tuple[int, int]:
    return cluster.postmaster_pid, cluster.postmaster_started_ticks
