"""Parts that not every host has or wants: each is made, or a sentence says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.guard.hold import Guard, OnTimeout
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.judge import GuardJudge
from agent.probes.errors import CaptureUnavailable
from agent.probes.layout import Aggregation
from agent.probes.loader import open_loader
from agent.sources.ebpf import EbpfSource
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.skeleton import only_numbers_vary
from config import schema
from model.verdict import Mode
from rules import Judge

TRIAL_RING_BYTES = 1 << 16
TRIAL_SESSIONS = 16


def open_source(capture: schema.Capture, degraded: list[str]) -> EbpfSource | None:
    if not capture.ebpf:
        degraded.append("no eBPF capture: agent.capture.ebpf is off")
        return None
    try:
        loader = open_loader(capture.loader.value)
        # What the kernel refuses stands in the log at once, not when a server was found.
        loader.unload(loader.load(TRIAL_RING_BYTES, TRIAL_SESSIONS, nested=capture.nested))
        return EbpfSource(
            capture.ring_bytes,
            loader,
            aggregate=Aggregation[capture.aggregate.name],
            nested=capture.nested,
            parameters=capture.parameters is not schema.Parameters.NONE,
            # pgaudit's records are matched in the order of the backend's work.
            grouped=not capture.pgaudit,
        )
    except CaptureUnavailable as error:
        degraded.append(f"no eBPF capture, the pgaudit log alone: {error}")
        return None


def parser_of_guard(guard: schema.Guard, cache: ShapeCache) -> ParserClient | None:
    """A quarter of the deadline, so that there is time to act on a text that takes too long, and
    for the sessions that wait behind it."""
    return ParserClient(cache, guard.deadline_ms / 4000) if guard.mode is Mode.ENFORCE else None


def start_watchdog(guard: schema.Guard, degraded: list[str]) -> WatchdogLink | None:
    if guard.mode is not Mode.ENFORCE:
        return None
    try:
        return WatchdogLink(guard.deadline_ms, cancel_stale=guard.on_timeout == "deny")
    except WatchdogError as error:
        degraded.append(f"nothing is held: {error}")
        return None


def make_guard(
    guard: schema.Guard,
    source: EbpfSource,
    judge: GuardJudge,
    servers: Callable[[], Iterable[Server]],
) -> Guard:
    return Guard(
        judge,
        servers,
        known=judge.known,
        is_held=source.is_held,
        deadline_ms=guard.deadline_ms,
        on_timeout=OnTimeout(guard.on_timeout),
        contact=guard.contact,
    )


def interchangeable(cache: ShapeCache, judge: Judge) -> Callable[[bytes], bool]:
    """Whether rules say the same of all texts that differ from this one in numbers only. Rules that
    ask how long a text is can tell them apart."""
    if "statement.text_bytes" in judge.rules.fields:
        return lambda _: False
    return lambda text: only_numbers_vary(text) and cache.is_free(text)
