"""Client sessions and their statements, from eBPF probes in the server program.

One instance of the kernel program serves all clusters that run the same binary (device, inode). The
kernel drops what does not belong to a watched cluster, so a server that nobody named is neither
reported nor ever held.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.discovery import Cluster, cluster_at, parent_of
from agent.probes.errors import CaptureUnavailable
from agent.probes.kernel import KernelMap, attach_raw_tracepoint, attach_uprobe, possible_cpus
from agent.probes.layout import (
    AGGREGATE_FIELD,
    AGGREGATE_OFFSET,
    ALLOWANCE,
    CLUSTER,
    HELD_AT,
    HELD_AT_OFFSET,
    JUDGE,
    KNOWN_TEXT,
    LOSS_REASONS,
    SESSION_CLASS,
    Aggregation,
    layout_of,
    pack,
)
from agent.probes.loader import EXIT_PROGRAM, Loaded, Loader, open_loader
from agent.probes.ring import Ring, ring_size
from agent.probes.symbols import NESTED_PROBES, PROBES, ServerBinary
from agent.sources.aggregates import collect
from agent.sources.order import Order
from agent.sources.records import POSTGRES_EPOCH_US, Decoder, Stranger
from agent.sources.running import UnreadableError, open_sessions, postmaster_started_us
from agent.sources.texts import Numbered
from model.event import Event, Lost, SessionSeen, StatementStarted
from model.session import BackendKey

SOURCE = "ebpf"
RING_BYTES = 8 << 20
URGENT_BYTES = 1 << 20
"""Room of its own for DDL, roles, and what is held."""
SESSIONS = 8192
"""Concurrent client backends per binary; more are counted as lost (``table_full``)."""
HOLD_WINDOW_MS = 250
"""Without a beat for so long the kernel holds nothing more."""
DRAIN_SECONDS = 0.01
"""How long records may lie in the ring. Waking the reader for each would cost the backend."""
STALLED_SECONDS = 0.00005
CHUNK_RECORDS = 4096
"""Decoded between two looks for held backends."""
COLLECT_SECONDS = 1.0
ALLOWANCES = 32768
"""Of the kernel program, which takes no more."""
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The kernel's fixed inode number of the first pid namespace."""
ZERO = bytes(4)
SESSION_STATE_BYTES = layout_of("session_state").size

Adopt = Callable[[int], Cluster | None]


@dataclass(slots=True)
class _Watched:
    """A cluster under watch, and how the kernel calls it."""

    cluster: Cluster
    number: int
    started_us: int | None = None
    """``PgStartTime``; None until its memory, or the kernel, tells."""


@dataclass(slots=True)
class _Instance:
    """The kernel program of one server binary, attached."""

    binary: ServerBinary
    loader: Loader
    loaded: Loaded
    ring: Ring
    urgent: Ring
    decoder: Decoder
    config: bytes
    singly: bool
    """Each statement is told, in order: another source is matched with it."""
    order: Order = field(default_factory=Order)
    descriptors: list[int] = field(default_factory=list)
    watched: list[_Watched] = field(default_factory=list)
    lost: list[int] = field(default_factory=lambda: [0] * len(LOSS_REASONS))

    def map(self, name: str) -> KernelMap:
        return KernelMap(self.loaded.maps[name])

    def losses(self, cpus: int) -> list[int]:
        """Counts since the program was loaded, by index of LOSS_REASONS."""
        counts = self.map("losses")
        totals = []
        for index in range(len(LOSS_REASONS)):
            raw = counts.lookup(index.to_bytes(4, "little"), 8 * cpus) or b""
            totals.append(
                sum(int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8))
            )
        return totals

    def detach(self) -> None:
        """Takes the probes away; what they have told so far stays."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()

    def close(self) -> None:
        self.detach()
        self.ring.close()
        self.urgent.close()
        self.loader.unload(self.loaded)


class EbpfSource:
    """Not for use by several threads at once; ``beat`` alone may come from another one."""

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
        parameters: bool = False,
    ) -> None:
        """``aggregate``: when repeated statements are counted by the kernel instead of told.
        ``nested``: what runs inside statements is told as well; ``parameters``: so are bound
        values. ``grouped``: see Decoder, and ``tell_singly``. ``adopt`` is asked about the
        postmaster of a backend that belongs to no watched cluster; without it only a restarted
        cluster (same data directory) is taken up
        again.

        Raises CaptureUnavailable when the host cannot run probes at all.
        """
        _require_initial_pid_namespace()
        self._loader = loader or open_loader("auto")
        self._ring_bytes = ring_size(ring_bytes)
        self._sessions = sessions
        self._window_ns = hold_window_ms * 1_000_000
        self._adopt = adopt
        self._aggregate = aggregate
        self._singly = not grouped
        self._nested = nested
        self._parameters = parameters
        self._hold = False
        self._pressed = False
        self._epoch = 0
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        self._instances: dict[tuple[int, int], _Instance] = {}
        self._names: dict[int, str] = {}
        self._waiting: list[Event] = []
        self._epoll = select.epoll()
        self._cpus = possible_cpus()
        self._drained_at = 0.0

    @property
    def loader(self) -> str:
        return self._loader.name

    @property
    def clusters(self) -> list[Cluster]:
        return [watched.cluster for one in self._instances.values() for watched in one.watched]

    def add(self, cluster: Cluster) -> None:
        """Watch a cluster; its open sessions are among the next events.

        Raises CaptureUnavailable. Adding the same postmaster again changes nothing.
        """
        if cluster in self.clusters:
            return
        predecessors = self._predecessors(cluster)
        key = (cluster.device, cluster.inode)
        instance = self._instances.get(key)
        if instance is None:
            instance = self._instances[key] = self._attach(cluster)
        number = len(self._names) + 1
        self._names[number] = cluster.name
        watched = _Watched(cluster, number)
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
        for key, instance in list(self._instances.items()):
            for watched in [one for one in instance.watched if one.cluster == cluster]:
                instance.watched.remove(watched)
                if watched.started_us is not None:
                    self._set_watched(instance, watched.started_us, watched.number, watch=False)
            if not instance.watched:
                self._waiting += self._last_of(instance)
                self._epoll.unregister(instance.loaded.maps["records"])
                self._epoll.unregister(instance.loaded.maps["urgents"])
                instance.close()
                del self._instances[key]

    def rescan(self, clusters: Iterable[Cluster]) -> dict[Cluster, CaptureUnavailable]:
        """Watch exactly these; returns why some of them cannot be."""
        wanted = list(clusters)
        for gone in [cluster for cluster in self.clusters if cluster not in wanted]:
            self.remove(gone)
        refusals = {}
        for cluster in wanted:
            try:
                self.add(cluster)
            except CaptureUnavailable as refusal:
                refusals[cluster] = refusal
        return refusals

    def poll(self, timeout_ms: int) -> list[Event]:
        """Everything that happened, oldest first for each backend; empty after ``timeout_ms``.

        Returns at once when a backend is held.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            now = time.monotonic()
            behind = any(one.order.ready for one in self._instances.values())
            pause = 0 if self._waiting or behind else DRAIN_SECONDS
            self._wait(min(deadline, self._drained_at + pause) - now)
            events, self._waiting = self._waiting, []
            stalled = False
            for instance in list(self._instances.values()):
                events += self._drain(instance)
                stalled |= instance.ring.stalled or instance.urgent.stalled or instance.order.early
            self._drained_at = time.monotonic()
            if self._aggregate is not Aggregation.NEVER and self._drained_at >= self._collect_at:
                events += self._collect()
            if stalled:
                # A backend was interrupted between reserving and submitting. Behind its record may
                # lie a held one, whose wake-up is used up: look again very soon.
                time.sleep(STALLED_SECONDS)
                self._drained_at -= DRAIN_SECONDS
            if events or self._waiting or self._drained_at >= deadline:
                events += self._waiting
                self._waiting = []
                return events

    def losses(self) -> list[Lost]:
        """What was lost since the last call, by reason."""
        return [lost for one in self._instances.values() for lost in self._losses_of(one)]

    def set_hold(self, hold: bool) -> None:
        """Whether client backends are stopped at the start of a statement while the judge beats."""
        self._hold = hold
        self.beat()

    def beat(self) -> None:
        """The judge is alive. Without it for ``hold_window_ms`` nothing is held any more."""
        pulse = self._pulse()
        for instance in list(self._instances.values()):
            instance.map("judges").update(ZERO, pulse)

    def press(self, pressed: bool) -> None:
        """The reader cannot keep up, or can again: what is known is counted meanwhile."""
        if pressed is not self._pressed:
            self._pressed = pressed
            self.beat()

    def classify(self, backend: BackendKey, number: int, naming: int) -> None:
        """What rules can see of this session goes by ``number`` (not 0), as of ``naming``."""
        session_us = backend.started_at_us - POSTGRES_EPOCH_US
        value = SESSION_CLASS.pack(session_us, number, naming)
        for instance in list(self._instances.values()):
            with contextlib.suppress(OSError):  # full: its statements are held, no more than that
                instance.map("classes").update(backend.pid.to_bytes(4, "little"), value)

    def allow(self, text_key: bytes, number: int, *, skeleton: bool) -> None:
        """Statements with this text (or skeleton) in sessions of this class are not held again."""
        key = ALLOWANCE.pack(text_key, number, skeleton)
        for instance in list(self._instances.values()):
            with contextlib.suppress(OSError):  # full: it is held and judged again
                instance.map("allowances").update(key, ZERO)

    def forget_allowed(self) -> None:
        """Rules have changed, or the table is full: everything is judged anew."""
        for instance in list(self._instances.values()):
            allowances = instance.map("allowances")
            entries = allowances.entries(ALLOWANCE.size, len(ZERO), ALLOWANCES)
            allowances.delete_all([key for key, _ in entries])

    def is_held(self, event: StatementStarted) -> bool:
        """Whether the last hold of that backend is still this one: False once it went on, by
        whatever hand, and was held again. May be asked from another thread.
        """
        key = event.backend.pid.to_bytes(4, "little")
        for instance in list(self._instances.values()):
            state = instance.map("sessions").lookup(key, SESSION_STATE_BYTES)
            if state is not None:
                return bool(HELD_AT.unpack_from(state, HELD_AT_OFFSET)[0] == event.hold_id)
        return False

    def tell_singly(self, wanted: Callable[[str], bool]) -> None:
        """Whether every statement of a cluster is told by itself and in order, because pgaudit's
        records are matched with them: nothing is grouped or counted by the kernel then."""
        for instance in self._instances.values():
            singly = any(wanted(watched.cluster.name) for watched in instance.watched)
            if singly is not instance.singly:
                instance.singly = singly
                instance.decoder.grouped = not singly
                self._configure(instance)

    def hand_back(self, events: list[Event]) -> None:
        """Events that a canary took but did not cause: the next poll returns them."""
        self._waiting = events + self._waiting

    def finish(self) -> list[Event]:
        """Takes all probes away; everything that they told, counted or lost until then."""
        events, self._waiting = self._waiting, []
        for instance in self._instances.values():
            events += self._last_of(instance)
        return events

    def close(self) -> None:
        """Take all probes away. Nothing stays held by us: the judge ends with us."""
        self._hold = False
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()
        self._epoll.close()

    def __enter__(self) -> EbpfSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _attach(self, cluster: Cluster) -> _Instance:
        binary = ServerBinary.read(cluster.binary, cluster.version)
        loaded = self._loader.load(self._ring_bytes, self._sessions, nested=self._nested)
        texts = KernelMap(loaded.maps["texts"])
        instance = _Instance(
            binary=binary,
            loader=self._loader,
            loaded=loaded,
            ring=Ring(loaded.maps["records"], self._ring_bytes),
            urgent=Ring(loaded.maps["urgents"], URGENT_BYTES),
            decoder=Decoder(
                lambda number: self._names.get(number, ""),
                lambda numbered: _enter(texts, numbered),
                grouped=not self._singly,
            ),
            config=binary.config(self._aggregate, nested=self._nested, parameters=self._parameters),
            singly=self._singly,
        )
        try:
            self._configure(instance)
            instance.map("judges").update(ZERO, self._pulse())
            exit_program = loaded.programs[EXIT_PROGRAM]
            instance.descriptors.append(attach_raw_tracepoint(exit_program, "sched_process_exit"))
            for program in (*PROBES, *NESTED_PROBES) if self._nested else PROBES:
                entry = binary.entry(program)
                instance.descriptors.append(
                    attach_uprobe(loaded.programs[program], binary.path, entry.file_offset)
                )
        except (CaptureUnavailable, OSError) as error:
            instance.close()
            if isinstance(error, OSError):
                raise CaptureUnavailable(f"the probes cannot be set up: {error}") from error
            raise
        # Edge-triggered: records that nobody is to be woken for must not end a wait.
        for ring in ("records", "urgents"):
            self._epoll.register(loaded.maps[ring], select.EPOLLIN | select.EPOLLET)
        return instance

    def _configure(self, instance: _Instance) -> None:
        config = bytearray(instance.config)
        if instance.singly:
            AGGREGATE_FIELD.pack_into(config, AGGREGATE_OFFSET, Aggregation.NEVER)
        instance.map("configs").update(ZERO, bytes(config))

    def _watch(self, instance: _Instance, watched: _Watched, started_us: int) -> None:
        watched.started_us = started_us
        self._set_watched(instance, started_us, watched.number, watch=True)

    def _set_watched(
        self, instance: _Instance, started_us: int, number: int, *, watch: bool
    ) -> None:
        key = started_us.to_bytes(8, "little", signed=True)
        instance.map("clusters").update(key, CLUSTER.pack(number, watch))

    def _predecessors(self, cluster: Cluster) -> list[Cluster]:
        """A restarted server replaces the one that used the same data directory."""
        return [old for old in self.clusters if old.data_directory == cluster.data_directory]

    def _find_open_sessions(self, instance: _Instance, watched: _Watched) -> None:
        states = instance.map("sessions")
        for found in open_sessions(watched.cluster, instance.binary):
            key = found.pid.to_bytes(4, "little")
            state = pack(
                "session_state",
                session_us=found.session_us,
                cluster=watched.number,
                walsender=found.walsender,
                announced=1,
                known=1,
            )
            if not states.update(key, state, only_new=True):
                continue  # it was faster and has announced itself
            if parent_of(found.pid) != watched.cluster.postmaster_pid:
                states.delete(key)  # it ended before the kernel could have told us
                continue
            self._waiting.append(
                SessionSeen(
                    at_ns=time.time_ns(),
                    backend=instance.decoder.know(found.pid, found.session_us),
                    cluster=watched.cluster.name,
                    user=found.user,
                    database=found.database,
                    application_name=found.application_name,
                    client_address=found.client_address,
                    client_port=found.client_port,
                )
            )

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._epoll.poll(seconds)

    def _drain(self, instance: _Instance) -> list[Event]:
        ring, urgent, order = instance.ring, instance.urgent, instance.order
        order.mark(time.monotonic_ns(), lambda: (ring.end, urgent.end))
        drained = ring.drain(), urgent.drain()
        order.add(*drained, (ring.at, urgent.at), urgent_unread=urgent.unread)
        records = order.take(CHUNK_RECORDS)
        return self._decode(instance, records) if records else []

    def _decode(self, instance: _Instance, records: list[bytes]) -> list[Event]:
        events: list[Event] = []
        now_ns = time.monotonic_ns()
        for event in instance.decoder.decode(records, _unix_minus_monotonic_ns(), now_ns):
            if isinstance(event, Stranger):
                self._meet(instance, event)
            else:
                events.append(event)
        return events

    def _collect(self, *, all_epochs: bool = False) -> list[Event]:
        """What the kernel counted until the call before this one, so that no backend is at it."""
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        events: list[Event] = []
        for instance in self._instances.values():
            events += self._collect_from(instance, all_epochs=all_epochs)
        self._epoch = (self._epoch + 1) & 0xFFFFFFFF
        self.beat()
        return events

    def _collect_from(self, instance: _Instance, *, all_epochs: bool) -> list[Event]:
        aggregates, offset_ns = instance.map("aggregates"), _unix_minus_monotonic_ns()
        text = instance.decoder.text
        return [*collect(aggregates, self._epoch, text, offset_ns, all_epochs=all_epochs)]

    def _last_of(self, instance: _Instance) -> list[Event]:
        """Everything that the instance still has, before it goes."""
        instance.detach()
        events = self._drain(instance)
        if records := instance.order.flush():
            events += self._decode(instance, records)
        events += self._collect_from(instance, all_epochs=True)
        return events + self._losses_of(instance)

    def _pulse(self) -> bytes:
        return JUDGE.pack(
            time.monotonic_ns(), self._window_ns, self._hold, self._pressed, self._epoch, 0
        )

    def _meet(self, instance: _Instance, stranger: Stranger) -> None:
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

    def _losses_of(self, instance: _Instance) -> list[Lost]:
        totals = instance.losses(self._cpus)
        now_ns = time.time_ns()
        lost = [
            Lost(now_ns, SOURCE, reason, total - before)
            for reason, total, before in zip(LOSS_REASONS, totals, instance.lost, strict=True)
            if total > before
        ]
        instance.lost = totals
        return lost


def _enter(texts: KernelMap, numbered: Numbered) -> None:
    with contextlib.suppress(OSError):  # full: the text comes in full again
        texts.update(numbered.key, KNOWN_TEXT.pack(numbered.number, numbered.urgent))
    if numbered.forget is not None:
        texts.delete(numbered.forget)


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
