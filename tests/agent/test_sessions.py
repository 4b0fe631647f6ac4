"""The tracker as a dialogue: what is said to it, and what it answers."""

from dataclasses import dataclass, field, replace

from agent.sessions import Limits, SessionTracker
from model.event import (
    ApplicationNamed,
    AuditLogged,
    Completion,
    ErrorReport,
    Lost,
    Protocol,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementStarted,
)
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import Source, Statement

EPOCH = 1_700_000_000
T0_US = EPOCH * 1_000_000
KEY = BackendKey(42, T0_US - 5_000_000 + 123_456)


@dataclass
class Dialogue:
    """Times are milliseconds after T0."""

    window_us: int = 0
    tracker: SessionTracker = None
    out: list = field(default_factory=list)

    def __post_init__(self):
        self.tracker = self.tracker or SessionTracker(EPOCH, self.window_us)

    def hear(self, event):
        self.out += self.tracker.observe(event)
        return self

    def start(self, at, text, key=KEY, **more):
        text = text.encode()
        return self.hear(StatementStarted(ns(at), key, text, len(text), **more))

    def answer(self, at, *tags, ready=True, error=None, bytes_sent=10, key=KEY, **more):
        done = tuple(Completion(tag, rows) for tag, rows in tags)
        return self.hear(ResponseSent(ns(at), key, bytes_sent, done, error, ready=ready, **more))

    def audit(self, at, sid, text, sub=1, cls="READ", command="SELECT", obj="", key=KEY, **more):
        second = replace(key, started_at_us=key.started_at_us // 1_000_000 * 1_000_000)
        return self.hear(
            AuditLogged(
                ns(at), second, "main", "ann", "shop", "psql", "local", "SESSION", sid, sub,
                cls, command, "TABLE" if obj else "", obj, text, "", **more,
            )
        )  # fmt: skip

    def wait(self, at):
        self.out += self.tracker.expire(us(at))
        return self

    def said(self):
        said, self.out = self.out, []
        return said

    def statements(self):
        return [item for item in self.said() if isinstance(item, Statement)]


def ns(at):
    return us(at) * 1000


def us(at):
    return T0_US + round(at * 1000)


def error(sqlstate, message="no"):
    return ErrorReport("ERROR", sqlstate, message)


def seen(key=KEY, user="ann", application="psql", at=0):
    return SessionSeen(ns(at), key, "main", user, "shop", application, "127.0.0.1", 5000)


# -- sessions


def test_a_session_is_said_when_it_is_seen_and_when_it_changes():
    talk = Dialogue().hear(seen())
    first = Session(KEY, "main", "ann", "shop", "psql", "127.0.0.1", 5000)
    assert talk.said() == [first]
    assert talk.hear(seen()).said() == []
    assert talk.hear(seen(application=None)).said() == []
    talk.hear(ApplicationNamed(ns(1), KEY, "etl"))
    assert talk.said() == [replace(first, application_name="etl")]
    talk.hear(SessionEnded(ns(2), KEY))
    assert talk.said() == [replace(first, application_name="etl", ended_at_us=us(2))]
    assert talk.tracker.sessions() == []


def test_identity_comes_from_the_given_function():
    robot = Identity(IdentityKind.AI_AGENT, "bot", 0.9, ("application_name",))
    tracker = SessionTracker(EPOCH, 0, lambda session: replace(session, identity=robot))
    talk = Dialogue(tracker=tracker).hear(seen()).hear(seen())
    assert [session.identity for session in talk.said()] == [robot]
    assert talk.start(1, "x").answer(2).statements()[0].session.identity == robot


def test_an_unknown_backend_becomes_a_session_with_empty_fields():
    talk = Dialogue().start(1, "select 1")
    assert talk.said() == [Session(KEY)]
    talk.hear(seen()).answer(2, ("SELECT", 1))
    session, statement = talk.said()
    assert statement.session == session
    assert session.user == "ann"


def test_a_reused_pid_ends_the_former_session():
    other = BackendKey(KEY.pid, KEY.started_at_us + 9_000_000)
    talk = Dialogue().hear(seen()).start(1, "select 1")
    talk.said()
    statement, ended, new = talk.hear(seen(other, at=9)).said()
    assert (statement.sqlstate, statement.session.key) == ("", KEY)
    assert (ended.key, ended.ended_at_us) == (KEY, us(9))
    assert new.key == other
    assert [session.key for session in talk.tracker.sessions()] == [other]


def test_a_pid_that_comes_again_within_the_second_is_another_session():
    other = BackendKey(KEY.pid, KEY.started_at_us + 500_000)
    for exit_told in (True, False):
        talk = Dialogue().hear(seen()).start(1, "select 1")
        if exit_told:
            talk.hear(SessionEnded(ns(2), KEY))
        talk.hear(seen(other, user="bob", at=3)).start(4, "select 2", key=other)
        talk.answer(5, ("SELECT", 1), key=other)
        first, second = [item for item in talk.said() if isinstance(item, Statement)]
        assert (first.text, first.session.user, first.session.key) == (b"select 1", "ann", KEY)
        assert (second.text, second.session.user, second.session.key) == (b"select 2", "bob", other)
        assert [session.key for session in talk.tracker.sessions()] == [other]
        talk.wait(40_000).wait(80_000)
        assert [session.key for session in talk.tracker.sessions()] == [other]
        talk.hear(SessionEnded(ns(6), other))
        (ended,) = talk.said()
        assert (ended.user, ended.key, ended.ended_at_us) == ("bob", other, us(6))


def test_the_end_of_a_former_session_that_is_told_late_ends_no_other():
    other = BackendKey(KEY.pid, KEY.started_at_us + 9_000_000)
    talk = Dialogue().hear(seen()).hear(seen(other, at=9)).hear(SessionEnded(ns(10), KEY))
    assert [session.key for session in talk.tracker.sessions()] == [other]


def test_a_lost_event_says_nothing():
    assert Dialogue().hear(Lost(ns(0), "ebpf", "ring_full", 3)).said() == []


# -- statements


def test_a_statement_is_said_once_when_it_ends():
    talk = Dialogue().hear(seen()).start(1, "select 1")
    assert talk.statements() == []
    (statement,) = talk.answer(3.5, ("SELECT", 1), bytes_sent=77).statements()
    assert statement == Statement(
        id=(EPOCH << 32) + 1,
        session=talk.tracker.sessions()[0],
        text=b"select 1",
        text_bytes=8,
        started_at_us=us(1),
        source=Source.EBPF,
        duration_us=2500,
        rows=1,
        bytes_sent=77,
        tag="SELECT",
        sqlstate="00000",
    )
    assert talk.answer(9).wait(9000).statements() == []


def test_duration_counts_from_the_clients_request_until_the_next_of_its_answer_begins():
    talk = Dialogue().start(3, "a; b", requested_at_us=us(1))
    talk.start(5, "a; b", requested_at_us=us(1))
    first, second = talk.answer(6, ("SELECT", 1), ("SELECT", 2)).statements()
    assert (first.started_at_us, first.duration_us) == (us(1), 4000)
    assert (second.started_at_us, second.duration_us) == (us(5), 1000)


def test_statements_of_one_string_complete_in_order():
    talk = Dialogue()
    text = "insert into t values (1); select 1; vacuum"
    for at in (1, 2, 3):
        talk.start(at, text)
    talk.answer(4, ("INSERT", 3), ("SELECT", 1), ready=False).answer(5, ("VACUUM", -1))
    said = talk.statements()
    assert [(s.tag, s.rows) for s in said] == [("INSERT", 3), ("SELECT", 1), ("VACUUM", -1)]
    assert len({s.id for s in said}) == 3


def test_what_sql_execute_runs_shares_its_parents_completion():
    talk = Dialogue().start(1, "execute p(1)").start(2, "prepare p as select $1", depth=1)
    parent, child = talk.answer(3, ("SELECT", 4)).statements()
    assert child.parent_id == parent.id
    assert parent.parent_id == 0
    assert (child.tag, child.rows, child.sqlstate) == ("SELECT", 4, "00000")


def test_an_error_ends_the_statement_that_ran():
    talk = Dialogue().start(1, "select 1; select 1/0").start(2, "select 1; select 1/0")
    talk.answer(
        3, ("SELECT", 1), error=error("22012", "division by zero"),
        failed_text=b"select 1; select 1/0",
    )  # fmt: skip
    good, bad = talk.statements()
    assert (good.sqlstate, good.rows) == ("00000", 1)
    assert (bad.sqlstate, bad.error_message, bad.rows) == ("22012", "division by zero", -1)


def test_the_end_of_a_failed_round_trip_counts_among_its_bytes():
    talk = Dialogue().start(1, "select 1/0")
    talk.answer(2, error=error("22012"), ready=False, bytes_sent=93)
    (failed,) = talk.answer(2, bytes_sent=6).statements()
    assert (failed.sqlstate, failed.bytes_sent) == ("22012", 99)


def test_the_bytes_of_an_answer_are_those_of_its_last_statement_alone():
    talk = Dialogue().start(1, "select 1; selec 2")
    talk.answer(
        2, ("SELECT", 1), error=error("42601"), ready=False, bytes_sent=93, failed_text=b"selec 2"
    )
    first, failed = talk.answer(2, bytes_sent=6).statements()
    assert (first.bytes_sent, failed.bytes_sent) == (-1, 99)


def test_what_is_answered_before_its_round_trip_ends_waits_for_that_or_for_the_next_statement():
    talk = Dialogue().start(1, "one; two")
    assert talk.answer(2, ("SELECT", 1), ready=False, transaction_before="I").statements() == []
    (first,) = talk.start(3, "one; two").statements()
    assert (first.transaction, first.duration_us) == ("I?", 1000)
    assert talk.answer(4, ("SELECT", 1), ready=False).statements() == []
    (second,) = talk.answer(
        5, bytes_sent=6, transaction_before="I", transaction_status="T"
    ).statements()
    assert (second.transaction, second.duration_us, second.bytes_sent) == ("IT", 1000, 16)


def test_a_client_that_leaves_its_round_trip_open_keeps_nothing_off_the_record():
    talk = Dialogue().start(1, "one")
    talk.answer(2, ("SELECT", 1), ready=False, transaction_before="I").wait(3).wait(900)
    assert talk.statements() == []
    (found,) = talk.wait(1100).statements()
    assert (found.transaction, found.duration_us) == ("I?", 1000)


def test_a_statement_that_fails_before_it_executes_is_a_statement_too():
    talk = Dialogue(window_us=1000).hear(seen())
    talk.answer(5, error=error("42P01"), failed_text=b"select * from nope", requested_at_us=us(2))
    (statement,) = talk.statements()
    assert (statement.text, statement.sqlstate) == (b"select * from nope", "42P01")
    assert (statement.started_at_us, statement.duration_us) == (us(2), 3000)


def test_a_cut_text_that_failed_before_it_began_has_the_length_of_all_of_it():
    talk = Dialogue().answer(
        2, error=error("42601"), failed_text=b"selec 1", failed_bytes=5_000_000
    )
    (failed,) = talk.statements()
    assert (failed.text, failed.text_bytes) == (b"selec 1", 5_000_000)


def test_what_was_complete_before_a_message_that_fails_had_ended_when_that_message_came():
    talk = Dialogue().start(1, "select 1", requested_at_us=us(1))
    late = {"error": error("22012"), "failed_text": b"select 1/0", "requested_at_us": us(2)}
    good, bad = talk.answer(9, ("SELECT", 1), **late).statements()
    assert (good.sqlstate, good.duration_us) == ("00000", 1000)
    assert (bad.sqlstate, bad.started_at_us, bad.duration_us) == ("22012", us(2), 7000)


def test_of_one_message_it_is_not_known_when_it_was_over_before_what_fails():
    talk = Dialogue().start(1, "select 1; select 1/0", requested_at_us=us(1))
    same = {"failed_text": b"select 1; select 1/0", "requested_at_us": us(1)}
    good, bad = talk.answer(9, ("SELECT", 1), error=error("22012"), **same).statements()
    assert (good.duration_us, bad.duration_us) == (8000, 8000)


def test_an_error_without_a_text_and_nothing_running_is_no_statement():
    assert Dialogue().answer(5, error=error("57P01")).statements() == []


def test_a_suspended_portal_is_not_blamed_for_the_next_texts_error():
    talk = Dialogue().start(1, "select * from big")
    talk.answer(2, error=error("42601"), failed_text=b"selec 1")
    failed, big = talk.statements()
    assert (failed.text, failed.sqlstate) == (b"selec 1", "42601")
    assert (big.text, big.sqlstate) == (b"select * from big", "00000")


def test_a_cut_failed_text_still_names_its_statement():
    talk = Dialogue().start(1, "select 1/0 from a_long_table")
    (only,) = talk.answer(2, error=error("22012"), failed_text=b"select 1/0").statements()
    assert only.sqlstate == "22012"


def test_ready_ends_what_gave_no_completion():
    (statement,) = Dialogue().start(1, "fetch 5 from c").answer(2).statements()
    assert (statement.sqlstate, statement.tag, statement.rows) == ("00000", "", -1)


def test_copy_ends_with_its_completion_and_counts_all_its_bytes():
    talk = Dialogue().start(1, "copy t to stdout")
    for at in (2, 3, 4):
        talk.answer(at, ready=False, bytes_sent=8192)
    (statement,) = talk.answer(5, ("COPY", 900), bytes_sent=100).statements()
    assert (statement.rows, statement.bytes_sent) == (900, 3 * 8192 + 100)


def test_the_end_of_the_process_ends_its_statements_with_an_unknown_state():
    talk = Dialogue().hear(seen()).start(1, "select pg_sleep(9)")
    talk.said()
    statement, session = talk.hear(SessionEnded(ns(4), KEY)).said()
    assert (statement.sqlstate, statement.duration_us) == ("", 3000)
    assert session.ended_at_us == us(4)


def test_a_completion_without_a_start_is_counted():
    talk = Dialogue().answer(1, ("SELECT", 1))
    assert talk.statements() == []
    assert talk.tracker.losses() == {"statement_start_unseen": 1}
    assert talk.tracker.losses() == {}


def test_an_error_before_there_is_a_statement_is_counted():
    error = ErrorReport("ERROR", "22021", "invalid byte sequence")
    talk = Dialogue().hear(ResponseSent(ns(1), KEY, 90, error=error))
    talk.hear(ResponseSent(ns(2), KEY, 6, ready=True, transaction_status="I"))
    assert talk.statements() == []
    assert talk.tracker.losses() == {"refused_unread": 1}


# -- bounds


def test_over_the_limit_of_pending_statements_the_oldest_leaves_and_is_counted():
    talk = Dialogue(tracker=SessionTracker(EPOCH, 0, limits=Limits(pending_per_backend=2)))
    talk.start(1, "a").start(2, "b").start(3, "c")
    assert [s.text for s in talk.statements()] == [b"a"]
    assert talk.tracker.losses() == {"statement_end_unseen": 1}


def test_completions_of_statements_that_were_let_go_do_not_pass_to_later_ones():
    talk = Dialogue(tracker=SessionTracker(EPOCH, 0, limits=Limits(pending_per_backend=2)))
    talk.start(1, "a").start(2, "b").start(3, "c")
    talk.answer(4, ("SELECT", 1), ("SELECT", 2), ("SELECT", 3))
    talk.start(5, "d").answer(6, ("SELECT", 4))
    assert [(s.text, s.rows) for s in talk.statements()] == [
        (b"a", -1), (b"b", 2), (b"c", 3), (b"d", 4),
    ]  # fmt: skip
    assert talk.tracker.losses() == {"statement_end_unseen": 1}


def test_completions_that_nobody_saw_leave_their_statements_without_rows_and_are_counted():
    """What was not copied of a long answer lies before its end."""
    talk = Dialogue().start(1, "a").start(2, "b").start(3, "c")
    talk.answer(4, ("SELECT", 3))
    assert [(s.text, s.rows, s.sqlstate) for s in talk.statements()] == [
        (b"a", -1, "00000"), (b"b", -1, "00000"), (b"c", 3, "00000"),
    ]  # fmt: skip
    assert talk.tracker.losses() == {"statement_end_unseen": 2}


def test_a_fastpath_call_takes_no_completion_of_what_ran_before_it():
    talk = Dialogue().start(1, "a").start(2, "call", protocol=Protocol.FASTPATH)
    talk.answer(3, ("SELECT", 5))
    assert [(s.text, s.rows) for s in talk.statements()] == [(b"a", 5), (b"call", -1)]
    assert talk.tracker.losses() == {}


def test_over_the_limit_of_text_new_statements_keep_a_prefix():
    limits = Limits(text_bytes=1000, short_text_bytes=10)
    talk = Dialogue(tracker=SessionTracker(EPOCH, 0, limits=limits))
    talk.start(1, "x" * 900).start(2, "y" * 900)
    long, short = talk.answer(3, ("X", -1), ("Y", -1)).statements()
    assert (len(long.text), len(short.text), short.text_bytes) == (900, 10, 900)
    assert talk.tracker.losses() == {"text_cut_for_memory": 1}
    assert len(talk.start(4, "z" * 900).answer(5).statements()[0].text) == 900


def test_over_the_limit_of_sessions_the_first_is_forgotten_with_its_statements_said():
    talk = Dialogue(tracker=SessionTracker(EPOCH, 0, limits=Limits(sessions=2)))
    keys = [BackendKey(pid, T0_US) for pid in (1, 2, 3)]
    talk.start(1, "a", key=keys[0]).start(1, "b", key=keys[1]).start(1, "c", key=keys[2])
    assert [s.text for s in talk.statements()] == [b"a"]
    assert len(talk.tracker.sessions()) == 2
    assert talk.tracker.losses() == {"session_forgotten": 1}


def test_over_the_limit_of_waiting_statements_the_oldest_leave_unmerged():
    tracker = SessionTracker(EPOCH, 1_500_000, limits=Limits(waiting=3))
    talk = Dialogue(tracker=tracker)
    for at in range(5):
        talk.start(at, str(at)).answer(at + 0.5)
    assert [s.text for s in talk.statements()] == [b"0", b"1"]


def test_what_runs_inside_a_statement_is_told_at_once_under_its_parent():
    d = Dialogue()
    d.start(0, "SELECT f()").start(1, "INSERT 1", depth=1, nested=True)
    d.start(2, "SELECT g()", depth=1, nested=True).start(3, "INSERT 2", depth=2, nested=True)
    d.start(4, "INSERT 3", depth=1, nested=True)
    first, second, deep, third = d.statements()
    (outer,) = d.answer(5, ("SELECT", 1)).statements()
    assert [s.parent_id for s in (outer, first, second, deep, third)] == [
        0, outer.id, outer.id, second.id, outer.id,
    ]  # fmt: skip
    assert {(s.duration_us, s.rows, s.sqlstate) for s in (first, second, deep, third)} == {
        (-1, -1, "")
    }


def test_where_only_commands_are_told_two_of_one_untold_statement_are_siblings():
    d = Dialogue().start(0, "SELECT f()")
    d.start(1, "GRANT 1", depth=2, nested=True).start(2, "GRANT 2", depth=2, nested=True)
    d.start(3, "GRANT 3", depth=3, nested=True)
    first, second, deep = d.statements()
    (outer,) = d.answer(5, ("SELECT", 1)).statements()
    assert [s.parent_id for s in (first, second, deep)] == [outer.id, outer.id, second.id]


def test_levels_of_one_statement_are_nothing_to_the_next():
    d = Dialogue()
    d.start(0, "SELECT f()").start(1, "INSERT 1", depth=1, nested=True).answer(2, ("SELECT", 1))
    d.said()
    (inner,) = d.start(3, "SELECT g()").start(4, "INSERT 2", depth=2, nested=True).statements()
    (outer,) = d.answer(5, ("SELECT", 1)).statements()
    assert inner.parent_id == outer.id


def test_what_runs_while_a_statement_is_planned_waits_for_it():
    d = Dialogue()
    assert d.start(0, "SELECT 1", depth=1, nested=True).statements() == []
    (inner,) = d.start(1, "SELECT immutable()").statements()
    (outer,) = d.answer(2, ("SELECT", 1)).statements()
    assert (inner.text, inner.parent_id) == (b"SELECT 1", outer.id)


def test_what_runs_in_planning_belongs_to_a_statement_that_fails_there():
    d = Dialogue().start(0, "SELECT 1", depth=1, nested=True)
    error = ErrorReport("ERROR", "22012", "division by zero")
    inner, outer = d.answer(1, error=error, failed_text=b"SELECT immutable()").statements()
    assert (outer.text, outer.sqlstate) == (b"SELECT immutable()", "22012")
    assert (inner.text, inner.parent_id) == (b"SELECT 1", outer.id)


def test_a_nested_statement_whose_outer_one_nobody_saw_is_told_alone():
    d = Dialogue().start(0, "SELECT 1", depth=1, nested=True)
    (inner,) = d.hear(SessionEnded(ns(1), KEY)).statements()
    assert inner.parent_id == 0


def test_nested_statements_of_a_long_one_do_not_heap_up():
    limits = Limits(nested_per_statement=3)
    d = Dialogue(tracker=SessionTracker(EPOCH, 1_000_000, limits=limits)).start(0, "INSERT")
    for at in range(1, 8):
        d.start(at, "INSERT INTO journal", depth=1, nested=True)
    d.answer(9, ("INSERT", 7)).wait(10).wait(5000)
    told = d.statements()
    (outer,) = [s for s in told if not s.parent_id]
    assert [s.parent_id for s in told if s.parent_id] == [outer.id] * 7


def test_a_commit_that_fails_after_all_was_complete_fails_the_last_statement():
    error = ErrorReport("ERROR", "23505", "duplicate key")
    d = Dialogue().start(0, "INSERT 1").start(1, "INSERT 2")
    first, last = d.answer(2, ("INSERT", 1), ("INSERT", 1), error=error).statements()
    assert (first.sqlstate, first.rows) == ("00000", 1)
    assert (last.sqlstate, last.error_message, last.rows, last.tag) == (
        "23505", "duplicate key", -1, "",
    )  # fmt: skip


def test_a_walsender_may_answer_one_command_twice():
    d = Dialogue().start(0, "START_REPLICATION", protocol=Protocol.REPLICATION)
    d.answer(1, ("COPY", 0), ready=False).answer(2, ("START_REPLICATION", -1))
    assert d.tracker.losses() == {}


def asked(talk, text="SELECT 'long'", at=1):
    return talk.start(at, text, protocol=Protocol.REPLICATION, requested_at_us=us(1))


def test_what_a_walsender_was_asked_for_and_then_begins_is_one_statement():
    talk = asked(Dialogue()).start(3, "SELECT 'long'", requested_at_us=us(1))
    (statement,) = talk.answer(5, ("SELECT", 1)).statements()
    assert (statement.protocol, statement.sqlstate, statement.rows) == (Protocol.QUERY, "00000", 1)
    assert (statement.preparation_us, statement.duration_us) == (2_000, 4_000)
    assert talk.tracker.losses() == {}


def test_two_statements_of_one_string_that_a_walsender_was_asked_for_are_two():
    talk = asked(Dialogue(), "SELECT 1; SELECT 2")
    for at in (2, 3):
        talk.start(at, "SELECT 1; SELECT 2", requested_at_us=us(1))
    assert len(talk.answer(5, ("SELECT", 1), ("SELECT", 1)).statements()) == 2


def test_a_statement_behind_a_command_of_a_walsender_is_another_one():
    talk = asked(Dialogue(), "IDENTIFY_SYSTEM").start(3, "SELECT 1", requested_at_us=us(2))
    talk.answer(5, ("SELECT", 1))
    assert [each.text for each in talk.statements()] == [b"IDENTIFY_SYSTEM", b"SELECT 1"]
