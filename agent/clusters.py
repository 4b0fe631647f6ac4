"""The servers of this host that we watch, and what runs for each: log tail, catalog snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
import structlog

from agent.attaching import Attaching, Refusals
from agent.canaries import Canaries
from agent.canary import Minded
from agent.capture import Capture
from agent.catalog.file_news import FileNews
from agent.catalog.host_files import HostFiles
from agent.catalog.moments import Moments
from agent.catalog.snapshot import take_snapshot
from agent.catalog.touched import SETTINGS, Touched
from agent.catalog.watched import watched_in
from agent.catalog.watcher import SnapshotWatcher
from agent.connecting import connect, watchable
from agent.discovery import Cluster, Process, backend_here, discover, hidden_servers, processes_of
from agent.guard.server import Server, UnknownServerError
from agent.guard.stale import release_stale
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.inbox import Inbox
from agent.log_follower import LogFollower
from agent.sources.ebpf import EbpfSource
from config.schema import AgentConfig
from model.catalog import CatalogKind, Snapshot
from model.session import BackendKey

log = structlog.get_logger(__name__)

SUPERUSER = "superuser=true"
ATTACH_SECONDS = 10.0
CATALOG_AGAIN_SECONDS = 10.0
NOTHING_FOUND = "no running PostgreSQL was found"
HIDDEN = "PostgreSQL processes cannot be looked at: run as root or with CAP_SYS_PTRACE"


@dataclass(slots=True)
class Watched:
    """One cluster and its threads."""

    cluster: Cluster
    server: Server | None
    stop: threading.Event = field(default_factory=threading.Event)
    log: LogFollower | None = None
    catalog: SnapshotWatcher | None = None
    files: FileNews | None = None
    attached: threading.Event = field(default_factory=threading.Event)
    """The probes were tried; ``problems`` says where they failed."""
    superusers: frozenset[str] | None = None
    problems: dict[str, str] = field(default_factory=dict)
    """By part (probes, guard, catalog): one sentence on what is missing."""


class Clusters:
    """``rescan`` follows servers that come and go; the rest answers from what it found."""

    def __init__(
        self,
        config: AgentConfig,
        inbox: Inbox,
        on_snapshot: Callable[[Snapshot], None],
        source: EbpfSource | None,
        watchdog: WatchdogLink | None,
        secret_key: bytes = b"",
        minded: Minded | None = None,
    ) -> None:
        """``minded`` is told which sessions are canaries of the probes."""
        self._config = config
        self._inbox = inbox
        self._on_snapshot = on_snapshot
        self._source = source
        self._watchdog = watchdog
        self._secret_key = secret_key
        self._watched: dict[tuple[int, int], Watched] = {}
        self._hidden = 0
        self._attaching = Attaching()
        self.canaries = Canaries(
            config.capture, source, minded or Minded(), partial(connect, config)
        )
        self._began_us = time.time_ns() // 1000
        """Before any probe: what one of them told ran later."""
        self._looked_before: dict[str, int] = {}
        """By name the last look before this process; 0: unknown."""
        self.scanned = False

    def rescan(self, capture: Capture | None) -> None:
        found = {_key(cluster): cluster for cluster in watchable(self._config, discover())}
        for key in [key for key in self._watched if key not in found]:
            self._leave(self._watched.pop(key))
        new = [self._meet(cluster) for key, cluster in found.items() if key not in self._watched]
        for watched in new:
            self._watched[_key(watched.cluster)] = watched
        if capture is not None and self._source is not None:
            wanted = [watched.cluster for watched in self._watched.values()]
            if not self._watch(new):
                capture.run_soon(capture.mind_watchdogs)
            self._attaching.attach(self._source, wanted, partial(self._hand_over, capture))
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

    def processes(self, name: str) -> dict[int, Process]:
        """As ``processes_of``; none where this cluster is not known."""
        return next((processes_of(w.cluster) for w in self.all() if w.cluster.name == name), {})

    def pids(self, name: str) -> set[int]:
        """Of those processes, on this host."""
        return {process.pid for process in self.processes(name).values()}

    def runs_since(self, backend: BackendKey) -> int:
        """As ``EbpfSource.runs_since``; 0 without probes."""
        return self._source.runs_since(backend) if self._source is not None else 0

    def audited(self, cluster: str) -> bool:
        """Whether records of pgaudit may come for its statements: yes, until it turns out that none
        can be read."""
        if not self._config.capture.pgaudit:
            return False
        for watched in list(self._watched.values()):
            if watched.cluster.name == cluster:
                return watched.log is None or watched.log.may_come
        return True

    def poke(self, touched: Touched) -> None:
        """A statement may have changed a catalog: look now."""
        for watched in list(self._watched.values()):
            if watched.catalog is not None and watched.cluster.name == touched.cluster:
                watched.catalog.poke(touched.kinds, touched.database, touched.watched)

    def resend(self, cluster: str, database: str) -> bool:
        """The collector misses a snapshot; False where nobody takes some of this cluster."""
        found = [each.catalog for each in self.all() if each.cluster.name == cluster]
        for catalog in found:
            if catalog is not None:
                catalog.resend(database)
        return any(catalog is not None for catalog in found)

    def is_attached(self, watched: Watched) -> bool:
        """True as well where there are no probes to attach."""
        return self._source is None or watched.attached.is_set()

    def is_log_opening(self, watched: Watched) -> bool:
        return self._config.capture.pgaudit and (watched.log is None or watched.log.opening)

    def problems(self) -> list[str]:
        problems = self.unseen()
        for watched in self.all():
            name = watched.cluster.name
            problems += [f"{name}: {sentence}" for sentence in watched.problems.values()]
            if watched.log is not None and watched.log.problem:
                problems.append(f"{name}: {watched.log.problem}")
            problems += watched.catalog.problems if watched.catalog is not None else ()
            if watched.files is not None and watched.files.problem:
                problems.append(f"{name}: {watched.files.problem}")
        return problems

    def unseen(self) -> list[str]:
        """Whether there is no server to watch, or some that we may not look at."""
        # Those that nobody configured are hidden from nobody.
        enough = self._config.only_configured_clusters and self._watched
        if self._hidden and not enough:
            return [f"{self._hidden} {HIDDEN}"]
        return [NOTHING_FOUND] if self.scanned and not self._watched else []

    def unheld(self) -> list[str]:
        """Clusters whose statements are not held, and why, where they are to be."""
        out = []
        for watched in self.all():
            reason = watched.problems.get("guard") or watched.problems.get("probes")
            if reason:
                out.append(f"{watched.cluster.name}: {reason}")
            elif self._source is not None and not self._source.knows(watched.cluster):
                out.append(f"{watched.cluster.name}: its backends have not been told from others")
        return out

    def taken_at_seconds(self) -> dict[str, float]:
        """Unix time of the last catalog snapshot by cluster."""
        return {
            watched.cluster.name: watched.catalog.taken_at_seconds
            for watched in self.all()
            if watched.catalog is not None and watched.catalog.taken_at_seconds
        }

    def stop_queries(self) -> None:
        """No more of our own: the probes are about to go."""
        self.canaries.stop_all()
        for watched in self.all():
            _stop_catalog(watched)

    def close(self) -> None:
        self.canaries.stop_all()
        for watched in self._watched.values():
            watched.stop.set()
            _stop_catalog(watched)

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

    def _watch(self, new: list[Watched]) -> bool:
        """Before the probes: nothing is held that no watchdog knows. It may take ten seconds."""
        servers = [watched.server for watched in new if watched.server is not None]
        if not servers or self._watchdog is None:
            return True
        try:
            self._watchdog.watch(*servers)
        except WatchdogError as error:
            names = ", ".join(watched.cluster.name for watched in new)
            log.error("guard.unwatched", clusters=names, reason=str(error))
            return False
        return True

    def _hand_over(self, capture: Capture, wanted: list[Cluster], refused: Refusals) -> None:
        """What has been prepared, to the thread that it is for."""
        source = self._source
        assert source is not None
        capture.run_soon(lambda: self._attach(wanted, refused))
        capture.run_soon(lambda: source.tell_singly(self.audited))

    def _attach(self, wanted: list[Cluster], refused: Refusals) -> None:
        """On the capture thread."""
        assert self._source is not None
        refusals = refused | self._source.rescan([one for one in wanted if one not in refused])
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
        for watched in self.all():
            if watched.cluster not in wanted:
                continue
            if not watched.attached.is_set() and watched.cluster not in refusals:
                name, build = watched.cluster.name, self._source.build_of(watched.cluster)
                log.info(
                    "probes.attached", cluster=name, functions=self._source.probes, build=build
                )
            watched.attached.set()

    def _leave(self, watched: Watched) -> None:
        log.info("cluster.gone", cluster=watched.cluster.name)
        watched.stop.set()
        self.canaries.stop(watched.cluster)
        _stop_catalog(watched)
        if self._watchdog is not None and watched.server is not None:
            self._watchdog.forget(watched.server)

    def _start(self, watched: Watched) -> None:
        self.canaries.start(watched.cluster, watched.attached, lambda: "probes" in watched.problems)
        if self._config.capture.pgaudit:
            watched.log = LogFollower(
                watched.cluster,
                partial(connect, self._config),
                self._state_file(watched.cluster, "log-position"),
                self._inbox,
                watched.stop,
            )
            name = f"audit-{watched.cluster.name}"
            threading.Thread(
                target=self._follow_log, args=(watched,), name=name, daemon=True
            ).start()
        if self._config.catalog.enabled:
            files = HostFiles.of(watched.cluster)
            moments = Moments(self._state_file(watched.cluster, "catalog-moments"))
            self._looked_before.setdefault(watched.cluster.name, moments.seen_us)
            watched.files = FileNews(files, lambda: _poke_settings(watched))
            watched.catalog = SnapshotWatcher(
                lambda database: connect(self._config, watched.cluster, database),
                watched.cluster.name,
                lambda snapshot: self._take_snapshot(watched, snapshot),
                self._config.catalog.interval_seconds,
                watched=watched_in(self._config.catalog),
                moments=moments,
                at_home=watched.files.follow,
                take=partial(
                    take_snapshot,
                    files=files,
                    function_bodies=self._config.catalog.function_bodies == "text",
                    secret_key=self._secret_key,
                ),
            )
            name = f"catalog-{watched.cluster.name}"
            threading.Thread(
                target=self._watch_catalog, args=(watched,), name=name, daemon=True
            ).start()

    def _watch_catalog(self, watched: Watched) -> None:
        # After the probes: our own queries are statements too, and both sources should see them.
        if self._source is not None:
            watched.attached.wait(ATTACH_SECONDS)
        while watched.catalog is not None and not watched.stop.is_set():
            try:
                watched.catalog.run()
                return
            except Exception as error:  # noqa: BLE001 - supervised: named, and begun again
                name = type(error).__name__
                log.error("catalog.failed", cluster=watched.cluster.name, error=name)
                watched.problems["catalog"] = f"reading its catalog failed ({name}) and began again"
                watched.stop.wait(CATALOG_AGAIN_SECONDS)

    def _take_snapshot(self, watched: Watched, snapshot: Snapshot) -> None:
        watched.problems.pop("catalog", None)
        if CatalogKind.ROLE in snapshot.kinds:
            watched.superusers = superusers_after(watched.superusers, snapshot)
        before_us = self._looked_before.get(watched.cluster.name, 0)
        told = replace(snapshot, unwatched_from_us=before_us, unwatched_until_us=self._began_us)
        self._on_snapshot(told)

    def version_of(self, name: str) -> int:
        """Major version by the cluster's name; 0 for one that is not watched."""
        for watched in self.all():
            if watched.cluster.name == name:
                return watched.cluster.version
        return 0

    def backend_here(self, name: str, pid: int) -> int:
        """The pid on this host of a backend that the server of this name calls ``pid``."""
        for watched in self.all():
            if watched.cluster.name == name:
                return backend_here(watched.cluster, pid)
        return pid

    def connect_to(self, name: str, database: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """By the cluster's name. Raises psycopg.Error."""
        for watched in self.all():
            if watched.cluster.name == name:
                return connect(self._config, watched.cluster, database)
        raise psycopg.OperationalError(f"{name} is not watched any more")

    def _follow_log(self, watched: Watched) -> None:
        if self._source is not None:
            watched.attached.wait(ATTACH_SECONDS)
        if watched.log is not None:
            watched.log.run()

    def _state_file(self, cluster: Cluster, of: str) -> Path:
        safe = "".join(c if c.isalnum() or c in "-." else "_" for c in cluster.name)
        return self._config.state_dir / f"{of}-{safe}.json"


def _stop_catalog(watched: Watched) -> None:
    if watched.catalog is not None:
        watched.catalog.stop()
    if watched.files is not None:
        watched.files.close()


def _poke_settings(watched: Watched) -> None:
    if watched.catalog is not None:
        watched.catalog.poke(SETTINGS)


def superusers_after(before: frozenset[str] | None, snapshot: Snapshot) -> frozenset[str]:
    """``snapshot`` holds roles: all of them, or those that are new, another or gone."""
    roles = [item for item in snapshot.items if item.kind is CatalogKind.ROLE]
    now = frozenset(item.name for item in roles if SUPERUSER in item.value.split())
    if not snapshot.base_at_us or before is None:
        return now
    gone = frozenset(key.name for key in snapshot.removed if key.kind is CatalogKind.ROLE)
    return before - gone - frozenset(item.name for item in roles) | now


def _key(cluster: Cluster) -> tuple[int, int]:
    return cluster.postmaster_pid, cluster.postmaster_started_ticks
