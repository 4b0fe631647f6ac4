"""Parts that not every host has or wants: each is made, or a sentence says what is missing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable

from agent.guard.actions import Allowance
from agent.guard.allowances import Allowances
from agent.guard.hold import Guard, OnTimeout
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.judge import ESTIMATES, GuardJudge, takes_long
from agent.probes.errors import CaptureUnavailable
from agent.probes.layout import Aggregation
from agent.probes.loader import open_loader
from agent.rulebook import RuleService
from agent.sources.ebpf import EbpfSource
from agent.sources.holding import HOLD_WINDOW_MS
from agent.sql.cache import ShapeCache
from agent.sql.skeleton import only_numbers_vary
from agent.uplink import Greeting
from config import AgentConfig, schema
from config.boot import boot_id
from config.effective import digests
from model.verdict import Mode
from model.version import __version__
from rules import Judge

CLOSED_WINDOW_MS = 5000
NO_CAPTURE = "no eBPF capture, the pgaudit log alone: {}"


def open_source(
    capture: schema.Capture, guard: schema.Guard, degraded: list[str]
) -> EbpfSource | None:
    if not capture.ebpf:
        degraded.append("no eBPF capture: agent.capture.ebpf is off")
        return None
    try:
        source = EbpfSource(
            capture.ring_bytes,
            open_loader(capture.loader.value),
            aggregate=Aggregation[capture.aggregate.name],
            nested=capture.nested,
            commands=capture.nested_commands,
            holds=guard.mode is Mode.ENFORCE,
            hold_window_ms=hold_window_ms(guard),
            parameters=capture.parameters is not schema.Parameters.NONE,
            # pgaudit's records are matched in the order of the backend's work.
            grouped=not capture.pgaudit,
        )
    except CaptureUnavailable as error:
        degraded.append(NO_CAPTURE.format(error))
        return None
    try:
        # What the kernel refuses stands in the log at once, not when a server was found.
        source.load_ahead()
    except CaptureUnavailable as error:
        source.close()
        degraded.append(NO_CAPTURE.format(error))
        return None
    return source


def hold_window_ms(guard: schema.Guard) -> int:
    """How old the agent's last sign of life may be for a statement to be held. It may judge one
    statement for as long as the deadline, and others must not pass meanwhile. Where they must not
    pass at all, the watchdogs cancel what is held while the agent does not answer."""
    window_ms = guard.deadline_ms + HOLD_WINDOW_MS
    return max(window_ms, CLOSED_WINDOW_MS) if guard.on_timeout == "deny" else window_ms


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
        is_held=source.holding.is_held,
        patient=patient,
        unread=judge.unread,
        takes_long=takes_long,
        on_answer=source.wake,
        may_end=Allowance(guard.actions_per_minute, time.monotonic).take,
        deadline_ms=guard.deadline_ms,
        on_timeout=OnTimeout(guard.on_timeout),
        contact=guard.contact,
    )


def make_allowances(source: EbpfSource, cache: ShapeCache, rules: RuleService) -> Allowances:
    return Allowances(
        source.holding,
        interchangeable(cache, rules.book.judge),
        exhausted=rules.usage.exhausted,
        exchanging=rules.book.exchanging,
    )


def interchangeable(cache: ShapeCache, judge: Callable[[], Judge]) -> Callable[[bytes], bool]:
    """Whether rules say the same of all texts that differ from this one in numbers only. Rules that
    ask how long a text is, or how many rows it is about, can tell them apart. ``judge`` is asked
    each time: rules are exchanged while we run."""

    def says_the_same(text: bytes) -> bool:
        if judge().rules.fields & {"statement.text_bytes", ESTIMATES}:
            return False
        return only_numbers_vary(text) and cache.is_free(text)

    return says_the_same


def greeting_of(config: AgentConfig) -> Greeting:
    return Greeting(
        config.name, __version__, socket.gethostname(), boot_id(), configuration=digests(config)
    )
