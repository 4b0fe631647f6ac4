"""Parts that not every host has or wants: each is made, or a sentence says what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from agent.guard.actions import Allowance
from agent.guard.hold import Guard, OnTimeout
from agent.guard.priority import prefer
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.judge import ESTIMATES, GuardJudge, takes_long
from agent.probes.errors import CaptureUnavailable
from agent.probes.layout import Aggregation
from agent.probes.loader import open_loader, programs_inside
from agent.sources.ebpf import HOLD_WINDOW_MS, EbpfSource
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.skeleton import only_numbers_vary
from config import schema
from model.verdict import Mode
from rules import Judge

TRIAL_RING_BYTES = 1 << 16
TRIAL_SESSIONS = 16
CLOSED_WINDOW_MS = 5000


def open_source(
    capture: schema.Capture, guard: schema.Guard, degraded: list[str]
) -> EbpfSource | None:
    if not capture.ebpf:
        degraded.append("no eBPF capture: agent.capture.ebpf is off")
        return None
    try:
        loader = open_loader(capture.loader.value)
        # What the kernel refuses stands in the log at once, not when a server was found.
        holds = guard.mode is Mode.ENFORCE
        inside = programs_inside(commands=capture.nested_commands, nested=capture.nested or holds)
        loader.unload(loader.load(TRIAL_RING_BYTES, TRIAL_SESSIONS, inside=inside))
        return EbpfSource(
            capture.ring_bytes,
            loader,
            aggregate=Aggregation[capture.aggregate.name],
            nested=capture.nested,
            commands=capture.nested_commands,
            holds=holds,
            hold_window_ms=hold_window_ms(guard),
            parameters=capture.parameters is not schema.Parameters.NONE,
            # pgaudit's records are matched in the order of the backend's work.
            grouped=not capture.pgaudit,
        )
    except CaptureUnavailable as error:
        degraded.append(f"no eBPF capture, the pgaudit log alone: {error}")
        return None


def hold_window_ms(guard: schema.Guard) -> int:
    """How old the agent's last sign of life may be for a statement to be held. It may judge one
    statement for as long as the deadline, and others must not pass meanwhile. Where they must not
    pass at all, the watchdogs cancel what is held while the agent does not answer."""
    window_ms = guard.deadline_ms + HOLD_WINDOW_MS
    return max(window_ms, CLOSED_WINDOW_MS) if guard.on_timeout == "deny" else window_ms


def parser_of_guard(guard: schema.Guard, cache: ShapeCache) -> ParserClient | None:
    """A quarter of the deadline, so that there is time to act on a text that takes too long, and
    for the sessions that wait behind it."""
    if guard.mode is not Mode.ENFORCE:
        return None
    return ParserClient(cache, guard.deadline_ms / 4000, spare=True, on_started=prefer)


def start_watchdog(guard: schema.Guard, degraded: list[str]) -> WatchdogLink | None:
    if guard.mode is not Mode.ENFORCE:
        return None
    try:
        return WatchdogLink(
            guard.deadline_ms,
            cancel_stale=guard.on_timeout == "deny",
            window_ms=hold_window_ms(guard),
        )
    except WatchdogError as error:
        degraded.append(f"nothing is held: {error}")
        return None


def make_guard(
    guard: schema.Guard,
    source: EbpfSource,
    judge: GuardJudge,
    servers: Callable[[], Iterable[Server]],
    patient: GuardJudge | None = None,
) -> Guard:
    """``patient`` judges long texts, with a parser that nobody else waits for."""
    source.on_held = judge.foresee
    return Guard(
        judge,
        servers,
        at_once=judge.at_once,
        afterwards=judge.keep,
        is_held=source.is_held,
        patient=patient,
        unread=judge.unread,
        takes_long=takes_long,
        on_answer=source.wake,
        may_end=Allowance(guard.actions_per_minute, time.monotonic).take,
        deadline_ms=guard.deadline_ms,
        on_timeout=OnTimeout(guard.on_timeout),
        contact=guard.contact,
    )


def patient_parser(guard: schema.Guard, cache: ShapeCache) -> ParserClient | None:
    """Of the guard as well, for long texts."""
    if guard.mode is not Mode.ENFORCE:
        return None
    return ParserClient(cache, guard.deadline_ms / 4000, spare=True, on_started=prefer)


def interchangeable(cache: ShapeCache, judge: Callable[[], Judge]) -> Callable[[bytes], bool]:
    """Whether rules say the same of all texts that differ from this one in numbers only. Rules that
    ask how long a text is, or how many rows it is about, can tell them apart. ``judge`` is asked
    each time: rules are exchanged while we run."""

    def says_the_same(text: bytes) -> bool:
        if judge().rules.fields & {"statement.text_bytes", ESTIMATES}:
            return False
        return only_numbers_vary(text) and cache.is_free(text)

    return says_the_same
