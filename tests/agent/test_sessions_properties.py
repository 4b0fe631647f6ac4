"""Any interleaving of any events: every started statement comes out exactly once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sessions import Limits, SessionTracker
from model.event import (
    ApplicationNamed,
    AuditLogged,
    Completion,
    ErrorReport,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementStarted,
)
from model.session import BackendKey
from model.statement import Source, Statement

EPOCH = 1_700_000_000
SECOND_US = 1_000_000
KEYS = [
    BackendKey(pid, EPOCH * SECOND_US + offset) for pid in (1, 2) for offset in (1, 5 * SECOND_US)
]
TEXTS = [b"select 1", b"call p()", b"select 1; drop table t"]
AUDIT_KEYS = [BackendKey(k.pid, k.started_at_us // SECOND_US * SECOND_US) for k in KEYS]
AUDIT_KEYS += [BackendKey(1, 0), BackendKey(3, 0)]

keys = st.sampled_from(KEYS)
texts = st.sampled_from(TEXTS)
at = st.integers(0, 10_000).map(lambda ms: (EPOCH + 10) * 10**9 + ms * 10**6)
completions = st.lists(st.builds(Completion, st.sampled_from(["SELECT", "CALL"]), st.just(1)))
errors = st.none() | st.builds(ErrorReport, st.just("ERROR"), st.just("42601"), st.just("no"))
events = st.one_of(
    st.builds(
        StatementStarted, at, keys, texts, st.just(30), st.just(0), st.sampled_from([0, 0, 1])
    ),
    st.builds(
        ResponseSent, at, keys, st.just(5), completions.map(tuple), errors, st.none() | texts,
        st.just(0), st.booleans(),
    ),
    st.builds(
        AuditLogged, at, st.sampled_from(AUDIT_KEYS), st.just("main"), st.just("ann"),
        st.just("shop"), st.just(""), st.just("local"), st.just("SESSION"), st.integers(1, 4),
        st.integers(1, 3), st.just("READ"), st.sampled_from(["SELECT", "CALL"]), st.just(""),
        st.just(""), texts.map(bytes.decode), st.just(""),
    ),
    st.builds(SessionEnded, at, keys),
    st.builds(ApplicationNamed, at, keys, st.just("psql")),
    st.builds(
        SessionSeen, at, keys, st.just("main"), st.just("ann"), st.just("shop"), st.none(),
        st.just("local"), st.just(0),
    ),
    st.integers(1, 2_000_000).map(lambda us: ("expire", us)),
)  # fmt: skip


def play(tracker, script):
    """Everything the tracker said, with all backends ended and all windows passed."""
    now_us = (EPOCH + 10) * SECOND_US
    out = []
    for event in script:
        if isinstance(event, tuple):
            now_us += event[1]
            out += tracker.expire(now_us)
        else:
            out += tracker.observe(event)
    for key in KEYS:
        out += tracker.observe(SessionEnded((EPOCH + 99) * 10**9, key))
    for step in range(1, 9):
        out += tracker.expire(now_us + step * 100 * SECOND_US)
    return [item for item in out if isinstance(item, Statement)]


windows = st.sampled_from([0, 1_500_000])
limits = st.sampled_from(
    [Limits(), Limits(sessions=2, pending_per_backend=2, waiting=2, text_bytes=20)]
)


@settings(max_examples=400)
@given(st.lists(events, max_size=60), windows, limits)
def test_every_started_statement_comes_out_exactly_once(script, window, limits):
    tracker = SessionTracker(EPOCH, window, limits=limits)
    statements = play(tracker, script)
    assert len({s.id for s in statements}) == len(statements)
    started = sum(isinstance(event, StatementStarted) for event in script)
    seen = [s for s in statements if s.source is not Source.PGAUDIT]
    failed_early = sum(
        isinstance(e, ResponseSent) and e.error is not None and bool(e.failed_text) for e in script
    )
    assert started <= len(seen) <= started + failed_early
    assert tracker._matching.text_bytes == 0
    assert tracker.sessions() == [s for s in tracker.sessions() if s.key.pid == 3]
    assert not tracker._matching._waiting
    assert not tracker._matching._settling


@settings(max_examples=200)
@given(st.lists(events, max_size=60), windows)
def test_every_audit_record_is_in_a_statement_or_counted(script, window):
    tracker = SessionTracker(EPOCH, window)
    statements = play(tracker, script)
    records = sum(isinstance(event, AuditLogged) for event in script)
    audited = sum(statement.audit is not None for statement in statements)
    assert audited <= records
    if records and not audited:
        assert sum(tracker.losses().values()) >= 1


@settings(max_examples=200)
@given(st.lists(events, max_size=60), windows)
def test_durations_and_parents_make_sense(script, window):
    statements = play(SessionTracker(EPOCH, window), script)
    ids = {statement.id for statement in statements}
    for statement in statements:
        assert statement.duration_us >= -1
        assert statement.parent_id == 0 or statement.parent_id in ids
        assert statement.id >> 32 == EPOCH
