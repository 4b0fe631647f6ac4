"""The kernel program of one server binary: loaded, configured, attached, and what it counted.

To load and to attach takes seconds, and to detach up to one: nobody may wait for that who lets held
statements go. What is built serves no cluster until one is set in its map.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.discovery import Cluster
from agent.probes.errors import CaptureUnavailable
from agent.probes.kernel import KernelMap, attach_raw_tracepoint, attach_uprobe, attach_uprobes
from agent.probes.layout import (
    AGGREGATE_FIELD,
    AGGREGATE_OFFSET,
    CALLS_OFFSET,
    CLUSTER,
    FUNCTION,
    KNOWN_TEXT,
    LOSS_REASONS,
    NO_TEXT,
    Aggregation,
    Nested,
)
from agent.probes.loader import CALL_PROGRAM, EXIT_FUNCTION, EXIT_PROGRAM, Loaded, Loader
from agent.probes.ring import Ring
from agent.probes.symbols import ServerBinary
from agent.sources.order import Order
from agent.sources.records import Decoder
from agent.sources.texts import Numbered
from agent.sources.unanswered import STATE, unanswered
from model.event import Lost

SOURCE = "ebpf"
URGENT_BYTES = 1 << 20
"""Room of its own for DDL, roles, and what is held."""
ZERO = bytes(4)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded and told, the same for every binary."""

    ring_bytes: int
    sessions: int
    programs_inside: tuple[str, ...]
    probed: tuple[str, ...]
    aggregate: Aggregation
    nested: Nested
    inside: bool
    parameters: bool
    singly: bool
    """As ``Instance.singly``, to begin with."""


@dataclass(slots=True)
class Watched:
    """A cluster under watch, and how the kernel calls it."""

    cluster: Cluster
    number: int
    started_us: int | None = None
    """``PgStartTime``; None until its memory, or the kernel, tells."""


@dataclass(slots=True)
class Instance:
    """The kernel program of one server binary, attached."""

    binary: ServerBinary
    inside: bool
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
    watched: list[Watched] = field(default_factory=list)
    probed: set[int] = field(default_factory=set)
    """Entries of functions that are probed themselves."""
    calls: frozenset[str] = frozenset()
    """Functions whose calls are held."""
    uncalled: str = ""
    """Why they are not."""
    lost: list[int] = field(default_factory=lambda: [0] * len(LOSS_REASONS))

    def map(self, name: str) -> KernelMap:
        return KernelMap(self.loaded.maps[name])

    def losses(self, cpus: int) -> list[Lost]:
        """What was lost since the last call."""
        counts = self.map("losses")
        totals = []
        for index in range(len(LOSS_REASONS)):
            raw = counts.lookup(index.to_bytes(4, "little"), 8 * cpus) or b""
            totals.append(
                sum(int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8))
            )
        now_ns = time.time_ns()
        lost = [
            Lost(now_ns, SOURCE, reason, total - before)
            for reason, total, before in zip(LOSS_REASONS, totals, self.lost, strict=True)
            if total > before
        ]
        self.lost = totals
        return lost

    def unanswered(self) -> list[bytes]:
        """Records of the statements that the kernel has not told of; for when no probe is left."""
        states = self.map("sessions")
        found = (
            (pid, states.lookup(pid.to_bytes(4, "little"), STATE.size)) for pid in self.decoder.pids
        )
        return unanswered((pid, state) for pid, state in found if state is not None)

    def set_watched(self, started_us: int, number: int, *, watch: bool) -> None:
        key = started_us.to_bytes(8, "little", signed=True)
        self.map("clusters").update(key, CLUSTER.pack(number, watch))

    def probe_calls(self, names: frozenset[str]) -> None:
        """Calls of these functions are held, and of no others any more. A probe that is no longer
        wanted stays, and leaves at once. What goes wrong here must not cost the other probes."""
        self.calls = names
        if not self.inside:
            return
        try:
            self._set_calls()
            self.uncalled = ""
        except (CaptureUnavailable, OSError) as error:
            self.uncalled = str(error)

    def _set_calls(self) -> None:
        wanted = {
            entry.address: (call, entry)
            for call, entry in reversed(self.binary.calls)
            if call.name in self.calls
        }
        self.configure()
        functions = self.map("functions")
        for address in self.probed - wanted.keys():
            functions.delete(address.to_bytes(8, "little"))
        for address, (call, _) in wanted.items():
            text = call.text if call.text >= 0 else NO_TEXT
            functions.update(address.to_bytes(8, "little"), FUNCTION.pack(call.number, text))
        new = [entry.file_offset for at, (_, entry) in wanted.items() if at not in self.probed]
        program = self.loaded.programs.get(CALL_PROGRAM, -1)
        self.descriptors += attach_uprobes(program, self.binary.path, new)
        self.probed |= wanted.keys()

    def configure(self) -> None:
        config = bytearray(self.config)
        if self.singly:
            AGGREGATE_FIELD.pack_into(config, AGGREGATE_OFFSET, Aggregation.NEVER)
        AGGREGATE_FIELD.pack_into(config, CALLS_OFFSET, bool(self.calls))
        self.map("configs").update(ZERO, bytes(config))

    def attach(self, probed: tuple[str, ...]) -> None:
        exit_program = self.loaded.programs[EXIT_PROGRAM]
        self.descriptors.append(attach_raw_tracepoint(exit_program, EXIT_FUNCTION))
        for program in probed:
            entry = self.binary.entry(program)
            self.descriptors.append(
                attach_uprobe(self.loaded.programs[program], self.binary.path, entry.file_offset)
            )

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


def build(
    cluster: Cluster,
    loader: Loader,
    wanted: Wanted,
    calls: frozenset[str],
    pulse: bytes,
    name_of: Callable[[int], str],
) -> Instance:
    """From any thread. ``calls``: functions whose calls are held; ``name_of``: clusters by number.
    Raises CaptureUnavailable."""
    binary = ServerBinary.read(cluster.binary, cluster.version)
    loaded = loader.load(wanted.ring_bytes, wanted.sessions, inside=wanted.programs_inside)
    texts = KernelMap(loaded.maps["texts"])
    instance = Instance(
        binary=binary,
        inside=wanted.inside,
        loader=loader,
        loaded=loaded,
        ring=Ring(loaded.maps["records"], wanted.ring_bytes),
        urgent=Ring(loaded.maps["urgents"], URGENT_BYTES),
        decoder=Decoder(
            name_of, lambda numbered: _enter(texts, numbered), grouped=not wanted.singly
        ),
        config=binary.config(
            wanted.aggregate,
            nested=wanted.nested,
            inside=wanted.inside,
            parameters=wanted.parameters,
        ),
        singly=wanted.singly,
    )
    try:
        instance.configure()
        instance.map("judges").update(ZERO, pulse)
        instance.attach(wanted.probed)
        instance.probe_calls(calls)
    except (CaptureUnavailable, OSError) as error:
        instance.close()
        if isinstance(error, OSError):
            raise CaptureUnavailable(f"the probes cannot be set up: {error}") from error
        raise
    return instance


def _enter(texts: KernelMap, numbered: Numbered) -> None:
    with contextlib.suppress(OSError):  # full: the text comes in full again
        texts.update(numbered.key, KNOWN_TEXT.pack(numbered.number, numbered.urgent))
    if numbered.forget is not None:
        texts.delete(numbered.forget)
