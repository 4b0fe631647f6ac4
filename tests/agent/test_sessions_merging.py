"""One backend as the server runs it, told by two sources that are late each in its own way."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sessions import SessionTracker
from model.event import AuditLogged, Completion, ErrorReport, ResponseSent, StatementStarted
from model.session import BackendKey
from model.statement import Source, Statement

T0_US = 1_700_000_000_000_000
KEY = BackendKey(42, T0_US)


@dataclass(frozen=True)
class Run:
    """``early_error``: it fails before it executes, which the log does not tell."""

    text: str
    gap_us: int
    lasts_us: int
    logged: bool
    early_error: bool = False


def probed(runs):
    """Each run's events, at the time they happened."""
    at = T0_US
    events = []
    for run in runs:
        started, at = at + run.gap_us, at + run.gap_us + run.lasts_us
        text = run.text.encode()
        if run.early_error:
            error = ErrorReport("ERROR", "42501", "no")
            events.append((at, ResponseSent(at * 1000, KEY, 9, (), error, text, ready=True)))
            continue
        events.append((started, StatementStarted(started * 1000, KEY, text, len(text))))
        done = (Completion("SELECT", 1),)
        events.append((at, ResponseSent(at * 1000, KEY, 9, done, ready=True)))
    return events


def audited(runs, skew_us=0):
    """pgaudit's records; the log cuts their time to milliseconds."""
    at = T0_US
    events = []
    for number, run in enumerate(runs):
        written, at = at + run.gap_us + run.lasts_us // 2, at + run.gap_us + run.lasts_us
        if run.logged and not run.early_error:
            shown_ms = (written + skew_us) // 1000
            events.append((written, record(shown_ms * 1_000_000, number, run.text)))
    return events


def test_what_runs_inside_a_statement_without_a_record_is_told_as_a_part_of_it():
    outer = Run("DO $$ ... $$", gap_us=10_000, lasts_us=20_000, logged=False)
    inner = record((T0_US + 20_000) * 1000, 1, "SELECT count(*) FROM t")
    later = record((T0_US + 90_000) * 1000, 2, "SELECT 'not inside'")
    tracker = SessionTracker(1)
    events = [*(event for _, event in probed([outer])), inner, later]
    out = [item for event in events for item in tracker.observe(event)]
    for step in range(40):
        out += tracker.expire(T0_US + 100_000 + step * 100_000)
    said = {s.text: s for s in out if isinstance(s, Statement)}
    assert said[b"SELECT count(*) FROM t"].parent_id == said[b"DO $$ ... $$"].id
    assert said[b"SELECT count(*) FROM t"].source is Source.PGAUDIT
    assert said[b"SELECT 'not inside'"].parent_id == 0


def record(at_ns, number, text):
    return AuditLogged(
        at_ns, KEY, "main", "ann", "shop", "psql", "local", "SESSION", number, 1, "READ",
        "SELECT", "", "", text, "",
    )  # fmt: skip


def told(events, late_us):
    """In lots, as a source that is looked at now and then tells them."""
    arrivals = []
    lateness = iter(late_us)
    arrived = 0
    for at, event in events:
        arrived = max(arrived, at + next(lateness, 0))
        arrivals.append((arrived, event))
    return arrivals


def play(*arrivals):
    tracker = SessionTracker(1, 1_500_000)
    out = []
    now_us = T0_US
    for at, event in sorted((pair for source in arrivals for pair in source), key=lambda p: p[0]):
        while now_us + 100_000 < at:
            now_us += 100_000
            out += tracker.expire(now_us)
        out += tracker.observe(event)
    for _ in range(40):
        now_us += 100_000
        out += tracker.expire(now_us)
    assert tracker.losses() == {}
    return [item for item in out if isinstance(item, Statement)]


gaps = st.sampled_from([0, 40, 700, 3_000, 120_000])
lasting = st.sampled_from([1, 90, 2_500, 300_000])
late = st.lists(st.sampled_from([0, 0, 5_000, 50_000, 400_000]), max_size=30)


def runs_of(texts):
    return st.lists(
        st.builds(
            Run, texts, gaps, lasting, st.sampled_from([True, True, False]),
            st.sampled_from([False, False, False, True]),
        ),
        max_size=15,
    )  # fmt: skip


@settings(max_examples=600)
@given(runs_of(st.sampled_from(["commit", "begin", "select 1"])), late, late)
def test_every_record_meets_a_statement_of_its_text_and_none_comes_out_alone(runs, late, later):
    said = play(told(probed(runs), late), told(audited(runs), later))
    assert Counter(s.source for s in said if s.source is Source.PGAUDIT) == Counter()
    logged = Counter(run.text.encode() for run in runs if run.logged and not run.early_error)
    assert Counter(s.text for s in said if s.source is Source.BOTH) == logged
    assert Counter(s.text for s in said) == Counter(run.text.encode() for run in runs)


@settings(max_examples=600)
@given(runs_of(st.just("")), st.integers(-200_000, 200_000), late, late)
def test_clocks_that_disagree_lose_no_pair_of_statement_and_record(runs, skew_us, late, later):
    runs = [
        Run(f"select {n}", run.gap_us, run.lasts_us, run.logged, run.early_error)
        for n, run in enumerate(runs)
    ]
    said = play(told(probed(runs), late), told(audited(runs, skew_us), later))
    expected = {
        run.text.encode(): Source.BOTH if run.logged and not run.early_error else Source.EBPF
        for run in runs
    }
    assert sorted((s.text, s.source) for s in said) == sorted(expected.items())


@pytest.mark.parametrize("log_first", [True, False])
def test_records_from_before_the_probes_came_take_no_later_statement(log_first):
    """The agent starts while a session runs the same statement every few milliseconds."""
    runs = [Run("select 1", 3_000, 400, logged=True) for _ in range(20)]
    begun = 2 * 7
    lateness = [60_000] * len(runs)
    probe = told(probed(runs)[begun:], [] if not log_first else lateness * 2)
    said = play(probe, told(audited(runs), lateness if not log_first else []))
    alone = [s for s in said if s.source is Source.PGAUDIT]
    both = [s for s in said if s.source is Source.BOTH]
    assert (len(alone), len(both), len(said)) == (7, 13, 20)
    assert max(s.started_at_us for s in alone) < min(s.started_at_us for s in both)
