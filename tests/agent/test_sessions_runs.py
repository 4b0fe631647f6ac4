"""Executions that come together, and executions that were only counted."""

from agent.sessions import SessionTracker
from model.event import (
    ApplicationNamed,
    AuditLogged,
    Executed,
    SessionSeen,
    StatementsCounted,
    StatementsExecuted,
)
from model.session import BackendKey, Session
from model.statement import Source, Statement, StatementRun

BACKEND = BackendKey(7, 1_000_000_000_000_000)
AT_US = 1_790_000_000_000_000
SEEN = SessionSeen(AT_US * 1000, BACKEND, "5432", "alice", "shop", "psql", "local", 0)
ONE, TWO = Executed(AT_US, 50, 40, 1, 60), Executed(AT_US + 1000, 70, -1, 2, 80)
EXECUTED = StatementsExecuted(BACKEND, b"SELECT 1", "SELECT", "II", [ONE, TWO])


def observed(tracker, *events):
    return [out for event in events for out in tracker.observe(event)]


def test_where_no_other_source_is_awaited_they_leave_as_one_run_with_ids_of_their_own():
    tracker = SessionTracker(5, audited=lambda cluster: cluster != "5432")
    (_, run, again) = observed(tracker, SEEN, EXECUTED, EXECUTED)
    assert isinstance(run, StatementRun)
    assert run.session.user == "alice"
    statements = [run.statement(0), run.statement(1), again.statement(0)]
    assert len({statement.id for statement in statements}) == 3
    second = statements[1]
    assert (second.started_at_us, second.duration_us, second.preparation_us) == (
        AT_US + 1000,
        70,
        -1,
    )
    assert (second.rows, second.bytes_sent, second.sqlstate, second.transaction) == (
        2,
        80,
        "00000",
        "II",
    )


def test_where_pgaudit_logs_each_waits_for_its_record():
    tracker = SessionTracker(5)
    assert not any(isinstance(o, Statement) for o in observed(tracker, SEEN, EXECUTED))
    record = AuditLogged(
        (AT_US + 1020) * 1000, BACKEND, "5432", "alice", "shop", "psql", "local", "SESSION", 2, 1,
        "READ", "SELECT", "TABLE", "public.t", "SELECT 1", "",
    )  # fmt: skip
    told = observed(tracker, record) + tracker.expire(AT_US) + tracker.expire(AT_US + 5_000_000)
    statements = [each for each in told if isinstance(each, Statement)]
    assert {(s.started_at_us, s.source) for s in statements} == {
        (AT_US, Source.EBPF),
        (AT_US + 1000, Source.BOTH),
    }


def test_what_was_only_counted_is_one_statement_that_says_how_many():
    counted = StatementsCounted(
        BACKEND, b"SELECT 1", 300, 600, 9000, 15_000, AT_US, AT_US + 900_000, (0, 100, 200)
    )
    (_, statement) = observed(SessionTracker(5), SEEN, counted)
    assert (statement.executions, statement.rows, statement.bytes_sent) == (300, 600, 9000)
    assert (statement.duration_us, statement.durations) == (15_000, (0, 100, 200))
    assert statement.sqlstate == "00000"


def counted_as(naming):
    return StatementsCounted(BACKEND, b"SELECT 1", 3, 3, 9, 9, AT_US, AT_US, (3,), naming)


def names_of(out):
    return [each.session.application_name for each in out if isinstance(each, Statement)]


def test_what_was_counted_has_the_name_that_its_session_had_then():
    tracker = SessionTracker(5)
    observed(tracker, SEEN)
    for naming, name in ((1, "report"), (2, "thief")):
        observed(tracker, ApplicationNamed(AT_US * 1000, BACKEND, name, naming))
    out = observed(tracker, *map(counted_as, (0, 2, 1)))
    assert names_of(out) == ["psql", "thief", "report"]
    assert not any(isinstance(each, Session) for each in out)


def test_a_session_that_is_named_for_ever_keeps_its_last_names():
    tracker = SessionTracker(5)
    observed(tracker, SEEN)
    for naming in range(1, 1001):
        observed(tracker, ApplicationNamed(AT_US * 1000, BACKEND, f"name {naming}", naming))
    out = observed(tracker, *map(counted_as, (1000, 990, 3)))
    assert names_of(out) == ["name 1000", "name 990", "name 1000"]
