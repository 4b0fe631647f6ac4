"""Client sessions and their statements, from eBPF probes in the server program.

One instance of the kernel program serves all clusters that run the same binary (device, inode). The
kernel drops what does not belong to a watched cluster, so a server that nobody named is neither
reported nor ever held.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable

from agent.discovery import Cluster, cluster_at, parent_of
from agent.probes.errors import CaptureUnavailable
from agent.probes.kernel import (
    possible_cpus,
)
from agent.probes.layout import (
    Aggregation,
    Nested,
    offset_of,
    pack,
)
from agent.probes.loader import (
    EXIT_FUNCTION,
    Loader,
    open_loader,
    programs_inside,
)
from agent.probes.ring import ring_size
from agent.probes.symbols import (
    COMMAND_PROGRAM,
    HELD_PROBES,
    NESTED_PROBES,
    PROBES,
    TELLING_PROBES,
)
from agent.sources.aggregates import collect
from agent.sources.holding import HOLD_WINDOW_MS, SESSION_STATE_BYTES, Holding
from agent.sources.instance import Instance, Wanted, Watched
from agent.sources.instances import Instances
from agent.sources.order import is_statement
from agent.sources.records import Stranger, held_text
from agent.sources.running import (
    OpenSession,
    UnreadableError,
    met,
    open_sessions,
    postmaster_started_us,
    with_what_was_asked,
)
from agent.sources.unanswered import untold_since_ns
from model.event import Event, Lost, StatementStarted
from model.session import BackendKey

RING_BYTES = 8 << 20
SESSIONS = 8192
"""Concurrent client backends per binary; more are counted as lost (``table_full``)."""
DRAIN_SECONDS = 0.01
"""How long records may lie in the ring. Waking the reader for each would cost the backend."""
STALLED_SECONDS = 0.00005
CHUNK_RECORDS = 4096
"""Decoded between two looks for held backends."""
COLLECT_SECONDS = 1.0
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The kernel's fixed inode number of the first pid namespace."""
TRANSACTION_OFFSET = offset_of("session_state", "transaction")

Adopt = Callable[[int], Cluster | None]


class EbpfSource:
    """Not for use by several threads at once, but for ``wake``. ``holding`` is told who is to be
    held."""

    def __init__(
        self,
        ring_bytes: int = RING_BYTES,
        loader: Loader | None = None,
        *,
        sessions: int = SESSIONS,
        hold_window_ms: int = HOLD_WINDOW_MS,
        adopt: Adopt | None = None,
        aggregate: Aggregation = Aggregation.NEVER,
        grouped: bool = True,
        nested: bool = False,
        commands: bool = False,
        holds: bool = False,
        parameters: bool = False,
    ) -> None:
        """``aggregate``: when repeated statements are counted by the kernel instead of told.
        ``nested``: what runs inside statements is told as well; ``commands``: of that only what
        outlives the statement (DDL, GRANT, ALTER SYSTEM); ``holds``: statements may be held,
        what runs inside them too; ``parameters``: so are bound
        values. ``grouped``: see Decoder, and ``tell_singly``. ``adopt`` is asked about the
        postmaster of a backend that belongs to no watched cluster; without it only a restarted
        cluster (same data directory) is taken up
        again.

        Raises CaptureUnavailable when the host cannot run probes at all.
        """
        _require_initial_pid_namespace()
        loader = loader or open_loader("auto")
        self._adopt = adopt
        within = programs_inside(commands=commands, nested=nested or holds)
        self._wanted = Wanted(
            ring_bytes=ring_size(ring_bytes),
            sessions=sessions,
            programs_inside=within,
            probed=(
                *PROBES,
                *(one for one in NESTED_PROBES if one in within),
                *(HELD_PROBES if holds else ()),
            ),
            aggregate=aggregate,
            nested=Nested.ALL if nested else Nested.COMMANDS if commands else Nested.NONE,
            inside=nested or holds,
            parameters=parameters,
            singly=not grouped,
        )
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        self._instances = Instances(loader, self._wanted, lambda: self.holding.pulse())
        self.holding = Holding(self._instances, hold_window_ms)
        self._waiting: list[Event] = []
        self._epoll = select.epoll()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._woken, select.EPOLLIN)
        self._waking = threading.Lock()
        self._cpus = possible_cpus()
        self._drained_at = 0.0
        self.on_held: Callable[[bytes], None] = lambda text: None
        """Hears the text of a held statement before its record has been decoded. Must not wait."""

    @property
    def loader(self) -> str:
        return self._instances.loader

    @property
    def probes(self) -> int:
        """Of functions of each server, but those of single calls."""
        return len(self._wanted.probed)

    def telling(self) -> list[str]:
        """The probed functions of each server that tell of whatever comes to them at this moment.
        What runs inside statements is not told of unless it is asked for, or held."""
        nested, holds = self._wanted.nested, self.holding.holds
        tell = {
            "on_executor_start": nested is Nested.ALL or holds,
            COMMAND_PROGRAM: nested is not Nested.NONE or holds,
        }
        probed = (one for one in self._wanted.probed if tell.get(one, one in TELLING_PROBES))
        return [*(TELLING_PROBES[one] for one in probed), EXIT_FUNCTION]

    @property
    def clusters(self) -> list[Cluster]:
        return [watched.cluster for one in self._instances for watched in one.watched]

    def build_of(self, cluster: Cluster) -> str:
        """The build-id of its program, which names the build for whoever has to ask its packager;
        empty where it has none, or no probes. From any thread."""
        for one in self._instances:
            if any(watched.cluster == cluster for watched in list(one.watched)):
                return one.binary.build_id
        return ""

    def load_ahead(self) -> None:
        """Loads what the first server needs before there is one: what the kernel refuses is known
        at once. Raises CaptureUnavailable."""
        self._instances.load_ahead()

    def prepare(self, cluster: Cluster) -> None:
        """Loads and attaches what ``add`` needs, which takes seconds: for another thread, so that
        the one that reads goes on meanwhile. Raises CaptureUnavailable."""
        self._instances.prepare(cluster)

    def add(self, cluster: Cluster) -> None:
        """Watch a cluster; its open sessions are among the next events.

        Raises CaptureUnavailable. Adding the same postmaster again changes nothing.
        """
        if cluster in self.clusters:
            return
        predecessors = self._predecessors(cluster)
        instance = self._instances.of(cluster) or self._adopt_instance(cluster)
        watched = Watched(cluster, self._instances.number(cluster.name))
        instance.watched.append(watched)
        # Not before: the last cluster of a binary would take the probes with it.
        for old in predecessors:
            self.remove(old)
        try:
            self._watch(instance, watched, postmaster_started_us(cluster, instance.binary))
        except UnreadableError:
            return  # its first hit reports it as a stranger, and then we know it
        self._find_open_sessions(instance, watched)

    def remove(self, cluster: Cluster) -> None:
        """Stop watching it; the last cluster of a binary takes the probes away."""
        for instance in self._instances:
            for watched in [one for one in instance.watched if one.cluster == cluster]:
                instance.watched.remove(watched)
                if watched.started_us is not None:
                    instance.set_watched(watched.started_us, watched.number, watch=False)
            if not instance.watched:
                self._waiting += self._drain(instance)
                self._instances.let_go(instance, self.wake)

    def rescan(self, clusters: Iterable[Cluster]) -> dict[Cluster, CaptureUnavailable]:
        """Watch exactly these; returns why some of them cannot be."""
        wanted = list(clusters)
        refusals = {}
        for cluster in wanted:
            try:
                self.add(cluster)
            except CaptureUnavailable as refusal:
                refusals[cluster] = refusal
        # Not before: what is new may have the binary of the last one that is gone.
        for gone in [cluster for cluster in self.clusters if cluster not in wanted]:
            self.remove(gone)
        self._instances.discard(wanted)
        return refusals

    def poll(self, timeout_ms: int) -> list[Event]:
        """Everything that happened, oldest first for each backend; empty after ``timeout_ms``.

        Returns at once when a backend is held.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            now = time.monotonic()
            behind = any(one.order.ready for one in self._instances)
            pause = 0 if self._waiting or behind else DRAIN_SECONDS
            self._wait(min(deadline, self._drained_at + pause) - now)
            events, self._waiting = self._waiting, []
            stalled = False
            for instance in self._instances:
                events += self._drain(instance)
                stalled |= instance.ring.stalled or instance.urgent.stalled or instance.order.early
            for instance in self._instances.left():
                events += self._end(instance)
            self._drained_at = time.monotonic()
            if (
                self._wanted.aggregate is not Aggregation.NEVER
                and self._drained_at >= self._collect_at
            ):
                events += self._collect()
            if stalled:
                # A backend was interrupted between reserving and submitting. Behind its record may
                # lie a held one, whose wake-up is used up: look again very soon.
                time.sleep(STALLED_SECONDS)
                self._drained_at -= DRAIN_SECONDS
            if events or self._waiting or self._drained_at >= deadline or self._was_woken():
                events += self._waiting
                self._waiting = []
                return events

    def wake(self) -> None:
        """``poll`` returns soon, with nothing if there is nothing. From any thread."""
        with self._waking:
            if self._woken >= 0:  # once it is closed the number may be another file's
                os.eventfd_write(self._woken, 1)

    def _was_woken(self) -> bool:
        try:
            return bool(os.eventfd_read(self._woken))
        except BlockingIOError:
            return False

    def losses(self) -> list[Lost]:
        """What was lost since the last call, by reason."""
        return [lost for one in self._instances for lost in one.losses(self._cpus)]

    def knows(self, cluster: Cluster) -> bool:
        """Whether the kernel can tell this cluster's backends from those of others."""
        return any(
            watched.cluster == cluster and watched.started_us is not None
            for one in self._instances
            for watched in list(one.watched)
        )

    def runs_since(self, backend: BackendKey) -> int:
        """When the statement started that this backend runs, if the kernel has not told of it yet
        (Unix microseconds); 0: there is none. May be asked from another thread."""
        key = backend.pid.to_bytes(4, "little")
        for instance in self._instances:
            state = instance.map("sessions").lookup(key, SESSION_STATE_BYTES)
            if state is not None and (since_ns := untold_since_ns(state)):
                return (since_ns + _unix_minus_monotonic_ns()) // 1000
        return 0

    def running(self) -> list[tuple[Cluster, OpenSession, str]]:
        """What sessions run at this moment, with the status of the transaction that they were in
        before (as in ReadyForQuery; empty if unknown). May be asked from another thread. Raises
        UnreadableError where the memory of a server is closed to us."""
        found = []
        for instance in self._instances:
            states = instance.map("sessions")
            for cluster in [watched.cluster for watched in list(instance.watched)]:
                postmaster_started_us(cluster, instance.binary)
                for one in open_sessions(cluster, instance.binary, preparing=True):
                    if one.running is not None:
                        state = states.lookup(one.pid.to_bytes(4, "little"), SESSION_STATE_BYTES)
                        status = state[TRANSACTION_OFFSET] if state is not None else 0
                        found.append((cluster, one, chr(status) if status else ""))
        return found

    def watch_calls(self, names: frozenset[str]) -> None:
        """Calls of these functions are held wherever they come from, and of no others any more.
        Only for a source that holds; ``uncalled`` says what could not be done."""
        self._instances.probe_calls(names)

    def uncalled(self) -> list[str]:
        """Why calls are not held that should be, one sentence for each server."""
        found = []
        for instance in self._instances:
            binary = instance.binary
            names = sorted({call.name for call in binary.missing} & self._instances.calls)
            if names:
                found.append(f"calls of {', '.join(names)} are not held: {binary.path} has none")
            if instance.uncalled:
                found.append(f"calls inside statements are not held: {instance.uncalled}")
        return found

    def tell_singly(self, wanted: Callable[[str], bool]) -> None:
        """Whether every statement of a cluster is told by itself and in order, because pgaudit's
        records are matched with them: nothing is grouped or counted by the kernel then."""
        for instance in self._instances:
            singly = any(wanted(watched.cluster.name) for watched in instance.watched)
            if singly is not instance.singly:
                instance.singly = singly
                instance.decoder.grouped = not singly
                instance.configure()

    def forget(self, backend: BackendKey) -> None:
        """It has ended, and the record of that was lost."""
        for instance in self._instances:
            instance.decoder.forget(backend)

    def hand_back(self, events: list[Event]) -> None:
        """Events that a canary took but did not cause: the next poll returns them."""
        self._waiting = events + self._waiting

    def finish(self) -> list[Event]:
        """Takes all probes away; everything that they told, counted or lost until then."""
        events, self._waiting = self._waiting, []
        for instance in self._instances:
            instance.detach()
            events += self._last_of(instance)
        return events + self._last_of_leaving()

    def close(self) -> None:
        """Take all probes away. Nothing stays held by us: the judge ends with us."""
        self.holding.set_hold(False)
        self._last_of_leaving()
        self._instances.close()
        self._epoll.close()
        with self._waking:
            os.close(self._woken)
            self._woken = -1

    def __enter__(self) -> EbpfSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _adopt_instance(self, cluster: Cluster) -> Instance:
        instance = self._instances.adopt(cluster)
        self.holding.beat()
        # Edge-triggered: records that nobody is to be woken for must not end a wait.
        for ring in ("records", "urgents"):
            self._epoll.register(instance.loaded.maps[ring], select.EPOLLIN | select.EPOLLET)
        return instance

    def _end(self, instance: Instance) -> list[Event]:
        """What it had still to tell, now that its probes are gone."""
        events = self._last_of(instance)
        for ring in ("records", "urgents"):
            self._epoll.unregister(instance.loaded.maps[ring])
        instance.close()
        return events

    def _last_of_leaving(self) -> list[Event]:
        return [event for one in self._instances.left(wait=True) for event in self._end(one)]

    def _watch(self, instance: Instance, watched: Watched, started_us: int) -> None:
        watched.started_us = started_us
        instance.set_watched(started_us, watched.number, watch=True)

    def _predecessors(self, cluster: Cluster) -> list[Cluster]:
        """A restarted server replaces the one that used the same data directory."""
        return [old for old in self.clusters if old.data_directory == cluster.data_directory]

    def _find_open_sessions(self, instance: Instance, watched: Watched) -> None:
        states = instance.map("sessions")
        for found in open_sessions(watched.cluster, instance.binary):
            key = found.pid.to_bytes(4, "little")
            state = pack(
                "session_state",
                session_us=found.session_us,
                requested_us=found.running.requested_us if found.running else 0,
                starts=found.running is not None,
                cluster=watched.number,
                walsender=found.walsender,
                base=found.base,
                announced=1,
                known=1,
            )
            if not states.update(key, state, only_new=True):
                continue  # it was faster and has announced itself
            if parent_of(found.pid) != watched.cluster.postmaster_pid:
                states.delete(key)  # it ended before the kernel could have told us
                continue
            backend = instance.decoder.know(found.pid, found.session_us, *found.asked)
            self._waiting += met(found, backend, watched.cluster.name, time.time_ns())

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._epoll.poll(seconds)

    def _drain(self, instance: Instance) -> list[Event]:
        ring, urgent, order = instance.ring, instance.urgent, instance.order
        order.mark(time.monotonic_ns(), lambda: (ring.end, urgent.end))
        drained = ring.drain(), urgent.drain()
        order.add(*drained, (ring.at, urgent.at), urgent_unread=urgent.unread)
        records = order.take(CHUNK_RECORDS)
        if order.holding:
            self._foresee(records)
        return self._decode(instance, records) if records else []

    def _foresee(self, records: list[bytes]) -> None:
        for record in records:
            if is_statement(record) and (text := held_text(record)):
                with contextlib.suppress(Exception):  # it is asked again, by who can answer for it
                    self.on_held(text)
                return

    def _decode(self, instance: Instance, records: list[bytes]) -> list[Event]:
        events: list[Event] = []
        now_ns = time.monotonic_ns()
        for event in instance.decoder.decode(records, _unix_minus_monotonic_ns(), now_ns):
            if isinstance(event, Stranger):
                self._meet(instance, event)
            elif isinstance(event, StatementStarted) and event.held:
                events.append(with_what_was_asked(event, instance.binary))
            else:
                events.append(event)
        return events

    def _collect(self, *, all_epochs: bool = False) -> list[Event]:
        """What the kernel counted until the call before this one, so that no backend is at it."""
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        events: list[Event] = []
        for instance in self._instances:
            events += self._collect_from(instance, all_epochs=all_epochs)
        self.holding.epoch = (self.holding.epoch + 1) & 0xFFFFFFFF
        self.holding.beat()
        return events

    def _collect_from(self, instance: Instance, *, all_epochs: bool) -> list[Event]:
        aggregates, offset_ns = instance.map("aggregates"), _unix_minus_monotonic_ns()
        text = instance.decoder.text
        return [*collect(aggregates, self.holding.epoch, text, offset_ns, all_epochs=all_epochs)]

    def _last_of(self, instance: Instance) -> list[Event]:
        """Everything that an instance without probes still has."""
        events = self._drain(instance)
        if records := instance.order.flush():
            events += self._decode(instance, records)
        events += self._decode(instance, instance.unanswered())
        events += self._collect_from(instance, all_epochs=True)
        return events + instance.losses(self._cpus)

    def _meet(self, instance: Instance, stranger: Stranger) -> None:
        """A backend of a cluster that the kernel does not know: one that we asked for under another
        start time (a restart), or somebody else's."""
        postmaster_pid = parent_of(stranger.pid)
        for watched in instance.watched:
            if watched.cluster.postmaster_pid == postmaster_pid:
                self._watch(instance, watched, stranger.cluster_started_us)
                self._find_open_sessions(instance, watched)
                return
        cluster = (self._adopt or self._restarted)(postmaster_pid)
        if cluster is not None:
            self.add(cluster)

    def _restarted(self, postmaster_pid: int) -> Cluster | None:
        cluster = cluster_at(postmaster_pid)
        known = {one.data_directory for one in self.clusters}
        return cluster if cluster and cluster.data_directory in known else None


def _require_initial_pid_namespace() -> None:
    """The kernel names processes as the host does: in a container our /proc must be the host's."""
    inode = os.stat("/proc/self/ns/pid").st_ino
    if inode != INITIAL_PID_NAMESPACE:
        raise CaptureUnavailable(
            "the agent runs in a pid namespace of its own",
            "run its container in the host's pid namespace (hostPID: true, --pid=host)",
        )


def _unix_minus_monotonic_ns() -> int:
    """A thread switch between the two readings would move every time of this lot by milliseconds,
    so the pair that was read in the least time counts.
    """
    pairs = []
    for _ in range(3):
        before, unix, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        pairs.append((after - before, unix - (before + after) // 2))
    return min(pairs)[1]
