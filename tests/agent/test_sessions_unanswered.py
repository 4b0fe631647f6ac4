"""What has not been answered when the program ends is on the record once, whoever comes next."""

from dataclasses import replace

from agent import unanswered_file
from agent.sessions import SessionTracker
from model.event import Protocol, SessionEnded
from model.statement import Statement
from tests.agent.test_sessions import EPOCH, KEY, Dialogue, error, ns, seen, us

OTHER = replace(KEY, pid=43)
ASKED = us(1)


def flushed(talk):
    return [each for each in talk.tracker.flush() if isinstance(each, Statement)]


def met(talk, text="SELECT slow()", key=KEY):
    return talk.start(1, text, key=key, requested_at_us=ASKED, met=True)


def stopped():
    """A program that ended while a statement ran, and what it left."""
    talk = Dialogue().hear(seen()).start(1, "SELECT slow()", requested_at_us=ASKED)
    recorded = talk.tracker.unanswered()
    (statement,) = flushed(talk)
    return statement, recorded


def followed_by(recorded):
    tracker = SessionTracker(EPOCH + 1, 0, recorded=recorded)
    return Dialogue(tracker=tracker).hear(seen())


def test_at_the_end_of_the_program_what_runs_is_told_without_its_end():
    talk = Dialogue().hear(seen()).start(1, "EXECUTE p").start(2, "SELECT 1", depth=1)
    outer, inner = flushed(talk)
    assert (outer.text, outer.sqlstate, outer.duration_us, outer.rows) == (b"EXECUTE p", "", -1, -1)
    assert (inner.text, inner.sqlstate, inner.parent_id) == (b"SELECT 1", "", outer.id)
    assert flushed(talk) == []


def test_what_waits_for_its_audit_record_is_told_at_the_end_of_the_program_too():
    talk = Dialogue(window_us=1_000_000).hear(seen()).start(1, "SELECT slow()")
    talk.audit(1, 1, "SELECT slow()")
    (statement,) = flushed(talk)
    assert statement.audit is not None
    assert statement.sqlstate == ""


def test_the_next_program_meets_it_and_does_not_tell_it_again():
    statement, recorded = stopped()
    talk = met(followed_by(recorded))
    assert talk.answer(9_000, ("SELECT", 1)).statements() == []
    assert talk.tracker.losses() == {}
    assert talk.start(9_001, "SELECT 2").answer(9_002).statements()[0].id != statement.id


def test_what_runs_inside_it_lies_under_the_one_on_the_record():
    statement, recorded = stopped()
    talk = met(followed_by(recorded)).start(2, "INSERT", depth=1, nested=True)
    (inner,) = talk.answer(9_000, ("SELECT", 1)).statements()
    assert inner.parent_id == statement.id


def test_another_one_of_that_session_or_one_of_another_session_is_told_with_its_end():
    _, recorded = stopped()
    talk = met(followed_by(recorded), key=OTHER).answer(5, key=OTHER, error=error("57014"))
    (statement,) = talk.statements()
    assert (statement.sqlstate, statement.duration_us, statement.preparation_us) == (
        "57014", 4_000, -1,
    )  # fmt: skip
    talk.start(7, "SELECT 7", requested_at_us=us(7), met=True).answer(8, ("SELECT", 1))
    assert [each.text for each in talk.statements()] == [b"SELECT 7"]


def test_one_that_the_probes_saw_begin_is_never_taken_for_it():
    _, recorded = stopped()
    talk = followed_by(recorded).start(1, "SELECT slow()", requested_at_us=ASKED)
    assert len(talk.answer(5, ("SELECT", 1)).statements()) == 1


def test_a_stream_of_a_walsender_is_told_once_as_well():
    talk = Dialogue().hear(seen()).start(1, "START_REPLICATION", protocol=Protocol.REPLICATION)
    assert [each.protocol for each in flushed(talk)] == [Protocol.REPLICATION]


def test_of_a_session_that_ended_nothing_is_left_for_the_next_program():
    talk = Dialogue().hear(seen()).start(1, "SELECT slow()").hear(SessionEnded(ns(2), KEY))
    assert talk.tracker.unanswered() == {}


def test_the_file_holds_which_they_are_and_no_text(tmp_path):
    statement, recorded = stopped()
    path = tmp_path / "unanswered.json"
    unanswered_file.save(path, recorded)
    assert unanswered_file.load(path) == recorded == {(KEY, ASKED): statement.id}
    assert b"slow" not in path.read_bytes()


def test_a_file_that_is_missing_or_damaged_says_nothing(tmp_path):
    path = tmp_path / "unanswered.json"
    assert unanswered_file.load(path) == {}
    for damaged in ("", "[[1, 2, 3]]", '{"a": 1}', "[[1, null, 3, 4]]", "\0"):
        path.write_text(damaged)
        assert unanswered_file.load(path) == {}
