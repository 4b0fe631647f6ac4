"""The tracker as a dialogue with two sources: which audit record is about which statement."""

import tracemalloc
from dataclasses import replace

import pytest

from agent.sessions.limits import Limits
from agent.sessions.tracker import SessionTracker
from model.event import SessionEnded, StatementStarted
from model.session import BackendKey, Session
from model.statement import Audit, Source, Statement
from tests.agent.test_sessions import EPOCH, KEY, Dialogue, error, ns, seen, us


@pytest.mark.parametrize("log_first", [True, False])
def test_both_sources_make_one_statement(log_first):
    talk = Dialogue(window_us=1_500_000).hear(seen())
    talk.start(1, "select * from t")
    steps = [
        lambda: talk.audit(1.4, 7, "select * from t", obj="public.t"),
        lambda: talk.answer(3, ("SELECT", 5)),
    ]
    for step in steps if log_first else reversed(steps):
        step()
    assert talk.wait(10).statements() == []
    (statement,) = talk.wait(200).statements()
    assert statement.source is Source.BOTH
    assert statement.audit == Audit("READ", "SELECT", ("table:public.t",))
    assert talk.wait(9000).statements() == []


def test_the_log_may_be_faster_than_the_probe():
    talk = Dialogue(window_us=1_500_000).audit(1, 7, "select 1")
    talk.start(0.9, "select 1").answer(3, ("SELECT", 1))
    (statement,) = talk.wait(10).wait(200).statements()
    assert statement.source is Source.BOTH


def test_a_time_that_happens_to_be_a_whole_second_is_as_exact_as_any_other():
    talk = Dialogue(window_us=1_500_000)
    assert ns(0) % 1_000_000_000 == 0
    talk.start(598.1, "select 1").answer(599, ("SELECT", 1))
    talk.start(601.1, "commit").answer(602, ("COMMIT", -1))
    talk.audit(0, 7, "commit")  # from before the probes came
    talk.audit(598, 8, "select 1").audit(601, 9, "commit")
    said = [(s.text, s.source) for s in talk.wait(1000).wait(9000).statements()]
    assert sorted(said) == [
        (b"commit", Source.BOTH), (b"commit", Source.PGAUDIT), (b"select 1", Source.BOTH),
    ]  # fmt: skip


def test_a_time_that_is_cut_to_seconds_may_be_any_in_that_one():
    talk = Dialogue(window_us=1_500_000).start(598.1, "select 1").answer(599, ("SELECT", 1))
    talk.audit(0, 8, "select 1", precision_ns=1_000_000_000)
    assert [s.source for s in talk.wait(1000).wait(9000).statements()] == [Source.BOTH]


def test_a_statement_without_a_record_leaves_after_the_window():
    talk = Dialogue(window_us=1_500_000).start(1, "select 1").answer(2, ("SELECT", 1))
    assert talk.wait(3).wait(1502).statements() == []
    assert [s.source for s in talk.wait(1504).statements()] == [Source.EBPF]


def test_a_record_without_a_statement_becomes_one_after_the_window():
    talk = Dialogue(window_us=1_500_000)
    talk.audit(1, 7, "select * from a, b", obj="public.a")
    talk.audit(1, 7, "select * from a, b", obj="public.b")
    talk.audit(2, 8, "grant x to y", cls="ROLE", command="GRANT")
    assert talk.wait(3).statements() == []
    read, grant = talk.wait(1504).statements()
    assert (read.source, read.text) == (Source.PGAUDIT, b"select * from a, b")
    assert read.audit.objects == ("table:public.a", "table:public.b")
    assert (read.duration_us, read.rows, read.sqlstate) == (-1, -1, "")
    assert (grant.audit.command, grant.session.user) == ("GRANT", "ann")
    assert talk.wait(9999).statements() == []


def test_equal_texts_merge_in_order():
    talk = Dialogue(window_us=1_500_000)
    for at in (1, 3, 5):
        talk.start(at, "select 1").answer(at + 1, ("SELECT", at))
    for at, sid in ((1, 1), (3, 2), (5, 3)):
        talk.audit(at, sid, "select 1", obj=f"public.t{at}")
    said = talk.wait(10).wait(200).statements()
    assert [(s.rows, s.audit.objects) for s in said] == [
        (n, (f"table:public.t{n}",)) for n in (1, 3, 5)
    ]


def test_a_record_for_a_later_statement_proves_that_earlier_ones_have_none():
    talk = Dialogue(window_us=1_500_000)
    talk.start(1, "select 1").answer(2, ("SELECT", 1))
    talk.start(3, "drop table t").audit(3, 1, "drop table t", cls="DDL", command="DROP TABLE")
    (first,) = talk.statements()
    assert (first.text, first.source) == (b"select 1", Source.EBPF)


def test_what_follows_a_statement_without_a_record_still_meets_its_own():
    talk = Dialogue(window_us=1_500_000)
    texts = ("savepoint a", "rollback to a", "savepoint a", "select 1", "savepoint a", "select 2")
    for at, text in enumerate(texts):
        talk.start(at + 0.1, text).answer(at + 0.9, (text.split()[0].upper(), -1))
    talk.answer(6.5, error=error("42501"), failed_text=b"select secret")
    for sid, at in enumerate((0, 2, 3, 4, 5)):
        talk.audit(at, sid + 29, texts[at])
    said = talk.wait(10).wait(200).wait(9000).statements()
    assert sorted((s.text, s.source) for s in said) == sorted(
        [(text.encode(), Source.EBPF if "rollback" in text else Source.BOTH) for text in texts]
        + [(b"select secret", Source.EBPF)]
    )


def test_the_next_record_closes_the_statement_before():
    talk = Dialogue(window_us=1_500_000).start(1, "a").audit(1, 1, "a").answer(2, ("A", 1))
    assert talk.statements() == []
    talk.start(3, "b").audit(3, 2, "b")
    assert [s.text for s in talk.statements()] == [b"a"]


def test_the_commands_inside_a_do_block_belong_to_it():
    body = "do $$ begin perform * from t; drop table z; end $$"
    talk = Dialogue(window_us=1_500_000).start(1, body)
    talk.audit(1, 4, body, sub=1, cls="FUNCTION", command="DO")
    talk.audit(1.5, 4, "SELECT * from t", sub=2, obj="public.t")
    talk.audit(1.6, 4, "drop table z", sub=3, cls="DDL", command="DROP TABLE", obj="public.z")
    (statement,) = talk.answer(2, ("DO", -1)).wait(3).wait(200).statements()
    assert statement.audit == Audit("FUNCTION", "DO", ("table:public.t", "table:public.z"))


def test_records_that_come_before_that_of_their_caller_are_its_own():
    talk = Dialogue(window_us=1_500_000).start(1, "call p()")
    talk.audit(1.2, 4, "select * from t", sub=1, obj="public.t")
    talk.audit(1.3, 4, "call p()", sub=2, cls="MISC", command="CALL")
    (statement,) = talk.answer(2, ("CALL", -1)).wait(3).wait(200).statements()
    assert statement.audit == Audit("MISC", "CALL", ("table:public.t",))


def test_execute_and_what_it_runs_each_get_their_record():
    talk = Dialogue(window_us=1_500_000).start(1, "execute p(4)")
    talk.start(1.1, "prepare p as select * from u", depth=1)
    talk.audit(1.2, 9, "prepare p as select * from u", sub=1, obj="public.u")
    talk.audit(1.4, 9, "execute p(4)", sub=2, cls="MISC", command="EXECUTE")
    talk.answer(2, ("SELECT", 1))
    parent, child = sorted(talk.wait(3).wait(200).statements(), key=lambda s: s.id)
    assert (parent.audit.command, child.audit.command) == ("EXECUTE", "SELECT")
    assert child.parent_id == parent.id


def test_what_execute_runs_gets_its_records_although_the_log_was_faster():
    talk = Dialogue(window_us=1_500_000)
    prepared = "prepare p as select * from u, v"
    for sid in (9, 10):
        talk.audit(1.2, sid, prepared, sub=1, obj="public.u")
        talk.audit(1.2, sid, prepared, sub=1, obj="public.v")
        talk.audit(1.4, sid, "execute p(4)", sub=2, cls="MISC", command="EXECUTE")
    for at in (1, 1.5):
        talk.start(at, "execute p(4)").start(at + 0.1, prepared, depth=1)
        talk.answer(at + 0.4, ("SELECT", 1))
    said = sorted(talk.wait(3).wait(200).statements(), key=lambda s: s.id)
    assert [s.audit.command for s in said] == ["EXECUTE", "SELECT"] * 2
    assert [s.audit.objects for s in said] == [(), ("table:public.u", "table:public.v")] * 2


@pytest.mark.parametrize(
    ("captured", "full", "audited"),
    [
        (b"alter role a password 'x'", 25, "alter role a password <REDACTED>"),
        (b"select 'the beginn", 5000, "select 'the beginning ...'"),
        (b"select '\xff'", 10, "select '\udcff'"),
        (b"select 1", 8, "<not logged>"),
        (b"select '" + b"x" * 90_000, 90_008, "select '" + "x" * 70_000),
    ],
)
def test_texts_are_the_same_although_one_was_cut_or_hidden(captured, full, audited):
    talk = Dialogue(window_us=1_500_000)
    talk.hear(StatementStarted(ns(1), KEY, captured, full))
    talk.audit(1, 1, audited).answer(2)
    assert [s.source for s in talk.wait(3).wait(200).statements()] == [Source.BOTH]


def test_the_later_statement_of_the_same_text_is_not_taken_for_the_nested_one():
    talk = Dialogue(window_us=1_500_000).start(1, "call p()")
    talk.answer(2, ("CALL", -1)).start(900, "select 1")
    talk.audit(1.2, 4, "select 1", sub=1).audit(1.3, 4, "call p()", sub=2, command="CALL")
    talk.answer(901, ("SELECT", 1)).audit(900, 5, "select 1")
    call, select = talk.wait(902).wait(1200).statements()
    assert (call.text, call.audit.command) == (b"call p()", "CALL")
    assert (select.text, select.audit.command) == (b"select 1", "SELECT")


def test_a_table_made_with_a_serial_column_is_a_create_table():
    text = "create table t(a serial)"
    talk = Dialogue(window_us=1_500_000).start(1, text)
    for command in ("CREATE SEQUENCE", "CREATE TABLE", "ALTER SEQUENCE"):
        talk.audit(1, 1, text, cls="DDL", command=command)
    (statement,) = talk.answer(2, ("CREATE TABLE", -1)).wait(3).wait(200).statements()
    assert statement.audit.command == "CREATE TABLE"


def test_the_records_of_a_long_statement_and_of_what_it_runs_are_told_apart():
    """Its own text is not kept with them."""
    outer, inner = "call p() --" + "x" * 5000, "select 1 --" + "y" * 5000
    talk = Dialogue(window_us=1_500_000).start(1, outer)
    talk.audit(1.1, 4, outer, sub=1, cls="MISC", command="CALL")
    talk.audit(1.2, 4, inner, sub=2, obj="public.t")
    (call,) = talk.answer(2, ("CALL", -1)).wait(3).wait(200).statements()
    assert (call.text, call.audit.command) == (outer.encode(), "CALL")
    assert call.audit.objects == ("table:public.t",)


def test_a_long_text_is_kept_once_while_its_statement_waits():
    long, count = 50_000, 40
    talk = Dialogue(window_us=1_500_000)
    tracemalloc.start()
    try:
        for number in range(count):
            key = replace(KEY, pid=1000 + number)
            talk.start(1, f"{number:{long}}", key=key).audit(1, 1, f"{number:{long}}", key=key)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert long * count < held_bytes < 1.5 * long * count


@pytest.mark.parametrize(("runs_ms", "sources"), [(1, [Source.BOTH]), (0, [Source.PGAUDIT])])
def test_a_record_waits_for_the_statement_that_still_runs(runs_ms, sources):
    """Of which the probe tells when it ends; one that began long after is another."""
    since_us = {KEY: us(runs_ms) if runs_ms else us(5_000)}
    tracker = SessionTracker(EPOCH, 1_500_000, runs_since=lambda backend: since_us[backend])
    talk = Dialogue(tracker=tracker).hear(seen()).audit(2, 1, "select pg_sleep(9)")
    for at in (3, 1_600, 3_200, 4_800, 6_400, 8_000):
        talk.wait(at)
    since_us[KEY] = 0
    if runs_ms:
        talk.start(1, "select pg_sleep(9)").answer(9_000)
    told = talk.wait(9_001).wait(9_200).wait(20_000).statements()
    assert [s.source for s in told] == sources


def test_what_the_probe_told_may_be_on_its_way_when_the_statement_no_longer_runs():
    since_us = {KEY: us(1)}
    tracker = SessionTracker(EPOCH, 1_500_000, runs_since=lambda backend: since_us[backend])
    talk = Dialogue(tracker=tracker).hear(seen()).audit(2, 1, "select pg_sleep(1.4)")
    talk.wait(3).wait(400)
    since_us[KEY] = 0
    talk.wait(1_600)
    told = talk.start(1, "select pg_sleep(1.4)").answer(1_590).wait(1_700).wait(9_000).statements()
    assert [s.source for s in told] == [Source.BOTH]


def test_over_the_limit_records_keep_a_prefix_and_still_find_their_statement():
    limits = Limits(audit_text_chars=2000, short_text_bytes=10)
    talk = Dialogue(tracker=SessionTracker(EPOCH, 1_500_000, limits=limits))
    talk.audit(1, 1, "x" * 900).audit(2, 2, "y" * 900).audit(3, 3, "z" * 5)
    for at, letter in ((1, "x" * 900), (2, "y" * 900), (3, "z" * 50)):
        talk.start(at, letter).answer(at + 1, ("X", -1))
    told = talk.wait(5).wait(9999).statements()
    assert [(s.source, s.text[:1], len(s.text)) for s in told] == [
        (Source.BOTH, b"x", 900), (Source.BOTH, b"y", 900),
        (Source.PGAUDIT, b"z", 5), (Source.EBPF, b"z", 50),
    ]  # fmt: skip
    assert talk.tracker.losses() == {"text_cut_for_memory": 1}


def test_what_only_a_cut_record_tells_is_cut_itself():
    talk = Dialogue(window_us=1_500_000).audit(1, 1, "select 'x", missing_bytes=2_000_000)
    (told,) = talk.wait(5).wait(9999).statements()
    assert (told.source, told.text, told.text_bytes) == (Source.PGAUDIT, b"select 'x", 2_000_009)


def test_what_only_a_record_tells_that_was_cut_for_memory_keeps_its_length():
    limits = Limits(audit_text_chars=20, short_text_bytes=10)
    talk = Dialogue(tracker=SessionTracker(EPOCH, 1_500_000, limits=limits))
    (told,) = talk.audit(1, 1, "é" * 900).wait(5).wait(9999).statements()
    assert (told.text, told.text_bytes) == (b"\xc3\xa9" * 10, 1800)


def test_what_records_hold_that_wait_is_bounded_and_each_is_told():
    limits, count = Limits(audit_text_chars=200_000), 200
    talk = Dialogue(tracker=SessionTracker(EPOCH, 1_500_000, limits=limits))
    tracemalloc.start()
    try:
        for number in range(count):
            talk.audit(1 + number, 1 + number, f"{number:60000}")
            held_bytes, _ = tracemalloc.get_traced_memory()
            assert held_bytes < 2_000_000
    finally:
        tracemalloc.stop()
    assert len(talk.wait(count).wait(99999).statements()) == count
    cut = talk.tracker.losses()["text_cut_for_memory"]
    assert count - 10 <= cut < count


def test_a_record_after_its_statement_has_left_is_counted():
    talk = Dialogue(window_us=1_500_000).start(1, "a").audit(1, 1, "a").answer(2, ("A", 1))
    assert len(talk.wait(3).wait(200).statements()) == 1
    assert talk.audit(1, 1, "a", obj="public.t").wait(9999).statements() == []
    assert talk.tracker.losses() == {"audit_record_late": 1}


def test_the_log_fills_in_what_the_probe_did_not_know_and_the_probe_the_exact_key():
    talk = Dialogue(window_us=1_500_000).audit(1, 1, "a")
    assert talk.said() == []
    (session,) = talk.start(1, "a").said()
    assert (session.user, session.key) == ("ann", KEY)
    assert talk.tracker.sessions() == [session]


def test_a_session_of_which_the_log_tells_first_is_one():
    talk = Dialogue(window_us=1_500_000).audit(1, 1, "a").wait(1).wait(1400)
    talk.hear(seen()).start(1, "a").answer(2).hear(SessionEnded(ns(3), KEY))
    sessions = [each for each in talk.wait(9000).wait(19000).said() if isinstance(each, Session)]
    assert {each.key for each in sessions} == {KEY}
    assert sessions[-1].ended_at_us


@pytest.mark.parametrize("first_key", [KEY, BackendKey(KEY.pid, 0)])
def test_a_session_that_is_said_under_a_key_that_was_not_exact_ends_under_it(first_key):
    talk = Dialogue(window_us=1_500_000).audit(1, 1, "a", key=first_key).wait(1).wait(1502)
    (first,) = (each for each in talk.said() if isinstance(each, Session))
    assert first.key.started_at_us == first_key.started_at_us // 1_000_000 * 1_000_000
    former, session = talk.hear(seen(at=1600)).said()
    assert (former.key, former.ended_at_us) == (first.key, us(1600))
    assert (session.key, session.ended_at_us) == (KEY, 0)
    assert talk.tracker.sessions() == [session]


def test_a_session_of_which_only_the_log_tells_is_said_before_its_statement():
    said = Dialogue(window_us=1_500_000).audit(1, 1, "a").wait(1).wait(1502).said()
    assert [type(each) for each in said] == [Session, Statement]
    assert said[1].session == said[0]


def test_a_log_without_session_ids_matches_by_pid():
    talk = Dialogue(window_us=1_500_000).hear(seen()).start(1, "a")
    talk.audit(1, 1, "a", key=BackendKey(KEY.pid, 0)).answer(2)
    assert [s.source for s in talk.wait(3).wait(200).statements()] == [Source.BOTH]


def test_log_lines_that_come_after_the_session_ended_find_it():
    talk = Dialogue(window_us=1_500_000).hear(seen()).start(1, "a").answer(2)
    talk.hear(SessionEnded(ns(3), KEY)).wait(4).audit(1, 1, "a")
    (statement,) = talk.wait(5).wait(300).statements()
    assert (statement.source, statement.session.user) == (Source.BOTH, "ann")
    assert talk.tracker.sessions() == []


def test_flush_says_everything_that_has_ended():
    talk = Dialogue(window_us=1_500_000).start(1, "a").answer(2).audit(3, 1, "b")
    assert {s.text for s in talk.tracker.flush() if isinstance(s, Statement)} == {b"a", b"b"}
    assert talk.wait(99999).statements() == []
