"""An error behind a complete statement: of its commit, or of a message that is no statement."""

import pytest

from model.event import ErrorReport
from tests.agent.test_sessions_numbers import Numbered


def refused(sqlstate, routine="", severity="ERROR"):
    return ErrorReport(severity, sqlstate, "no", routine)


def ended(error, later, **more):
    talk = Numbered().begin(1, "a", 1)
    talk.end(3, (1, 10), error=error, later=later, **more).end(5, ended=1, ready=True)
    return talk.told(), talk.tracker.losses()


@pytest.mark.parametrize(
    ("sqlstate", "routine", "later"),
    [
        ("34000", "exec_execute_message", True),
        ("26000", "FetchPreparedStatement", True),
        ("42P01", "parserOpenTable", True),  # Describe of what was prepared on a table that is gone
        ("57014", "ProcessInterrupts", True),
        ("34000", "", False),
        ("08P01", "PostgresMain", False),
        ("08P01", "pq_getmsgend", False),
        ("22021", "report_invalid_encoding", False),
        ("22P05", "", False),
    ],
)
def test_what_is_refused_behind_a_statement_makes_no_failure_of_it(sqlstate, routine, later):
    told, lost = ended(refused(sqlstate, routine), later)
    assert told == [("a", 10, "00000")]
    assert lost == {"refused_unread": 1}


@pytest.mark.parametrize(
    ("sqlstate", "routine", "later"),
    [
        ("23505", "_bt_check_unique", False),
        ("34000", "exec_stmt_raise", False),
        ("26000", "FetchPreparedStatement", False),  # a deferred trigger with EXECUTE
        ("23503", "ri_ReportViolation", True),  # a Parse lies between
        ("26000", "exec_stmt_raise", True),
        ("40001", "", True),
    ],
)
def test_what_cannot_be_committed_has_failed(sqlstate, routine, later):
    told, lost = ended(refused(sqlstate, routine), later)
    assert told == [("a", 10, sqlstate)]
    assert lost == {}


def test_a_session_that_is_ended_behind_a_statement_makes_no_failure_of_it():
    assert ended(refused("25P04", "ProcessInterrupts", "FATAL"), False)[0] == [("a", 10, "00000")]


def test_the_rows_of_what_could_not_be_committed_count_where_the_client_has_them():
    talk = Numbered().start(1, "a").answer(2, ("INSERT", 5), error=refused("23505"))
    assert talk.told() == [("a", -1, "23505")]
    talk.start(3, "b").answer(4, ("SELECT", 5), error=refused("23505"))
    assert talk.told() == [("b", 5, "23505")]


def test_all_that_had_begun_was_over_before_a_later_message_was_refused():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2)
    talk.end(3, ended=0, error=refused("34000"), later=True).end(5, ended=2, ready=True)
    assert talk.told() == [("a", -1, "00000"), ("b", -1, "00000")]
    assert talk.tracker.losses() == {"statement_end_unseen": 2, "refused_unread": 1}
