"""While a portal is open, pgaudit gives the number of its statement to all that runs. It writes at
Bind, which may be long before Execute.
"""

from agent.sessions.execution import Execution
from agent.sessions.portals import Portals
from model.session import Session
from model.statement import Source
from tests.agent.test_sessions import KEY, Dialogue, seen, us

PORTAL, OTHER = "select * from t", "insert into u values (1)"
WINDOW_US = 1_500_000
SESSION = Session(KEY)


def talk():
    """A session that is known from its start, and idle."""
    said = Dialogue(window_us=WINDOW_US).hear(seen())
    return said.start(-9, "set x = 1").answer(-8, ("SET", -1), transaction_status="I")


def told(dialogue, until=2_000):
    for at in range(100, until, 100):
        dialogue.wait(at)
    return [
        (s.text.decode(), s.source.value, s.audit.objects if s.audit else ())
        for s in dialogue.wait(until).wait(until + 2_000).statements()
        if s.text != b"set x = 1"
    ]


def suspended(dialogue, at, text=PORTAL, **more):
    dialogue.start(at, text, row_limit=5, **more)
    return dialogue.answer(at + 0.5, ("", -1), transaction_status="T")


def test_what_runs_beside_an_open_portal_has_its_own_record_and_slices_have_the_portals():
    said = suspended(talk(), 1).audit(1, 7, PORTAL, obj="t")
    said.start(3, OTHER).audit(3, 7, OTHER, sub=2, cls="WRITE", command="INSERT", obj="u")
    said.answer(4, ("INSERT", 1), transaction_status="T")
    suspended(said, 6, continued=True)
    said.start(9, "commit").audit(9, 7, "commit", sub=3, cls="MISC", command="COMMIT")
    said.answer(10, ("COMMIT", -1), transaction_status="I")
    assert sorted(told(said)) == [
        ("commit", "both", ()), (OTHER, "both", ("table:u",)),
        (PORTAL, "both", ("table:t",)), (PORTAL, "both", ("table:t",)),
    ]  # fmt: skip
    assert said.tracker.losses() == {}


def test_the_same_text_that_is_bound_anew_needs_a_record_of_its_own():
    """Who silences pgaudit is not hidden by a portal of that text which was open before."""
    said = suspended(talk(), 1).audit(1, 7, PORTAL, obj="t")
    said.start(5, PORTAL).answer(6, ("SELECT", 9), transaction_status="T")
    assert sorted(source for _, source, _ in told(said)) == ["both", "ebpf"]


def test_a_portal_that_ran_to_its_end_has_its_record_when_it_is_executed_again():
    at_once = talk().start(1, PORTAL).audit(1, 7, PORTAL, obj="t").start(3, PORTAL, continued=True)
    at_once.answer(4, ("SELECT", 9), ("SELECT", 0), transaction_status="I")
    later = talk().start(1, PORTAL).audit(1, 7, PORTAL, obj="t")
    later.answer(2, ("SELECT", 9), transaction_status="T").start(3, PORTAL, continued=True)
    later.answer(4, ("SELECT", 0), transaction_status="T")
    for said in (at_once, later):
        assert told(said) == 2 * [(PORTAL, "both", ("table:t",))]


def test_a_slice_of_a_portal_without_a_record_has_none():
    said = suspended(suspended(talk(), 1), 4, continued=True)
    assert [source for _, source, _ in told(said)] == ["ebpf", "ebpf"]


def test_what_a_query_calls_while_it_is_read_is_told_with_its_slice():
    said = suspended(talk(), 1).audit(1, 7, PORTAL, obj="t")
    said.start(6, PORTAL, row_limit=5, continued=True)
    said.audit(7, 7, "select 1 from inner_t", sub=2, obj="inner_t")
    said.answer(9, ("SELECT", 2), transaction_status="T")
    assert sorted(told(said)) == [
        (PORTAL, "both", ("table:t",)), (PORTAL, "both", ("table:t", "table:inner_t")),
    ]  # fmt: skip


def test_what_is_remembered_of_portals_is_bounded_in_number_and_bytes():
    many = Portals()
    for number in range(1_000):
        many.opened(Execution(number, SESSION, b"%d" % number, 4, 1))
    goes_on = [many.continued_by(Execution(1, SESSION, b"%d" % n, 4, 2)) for n in range(1_000)]
    assert goes_on == [n >= 900 for n in range(1_000)]
    large = [b"%d" % n + b" " * (1 << 20) for n in range(5)]
    for text in large:
        many.opened(Execution(1, SESSION, text, len(text), 1))
    assert [many.continued_by(Execution(1, SESSION, t, 4, 2)) for t in large] == [False] * 4 + [
        True
    ]


def test_a_record_that_is_read_before_its_statement_is_told_is_not_a_slices():
    """Both ran in one millisecond."""
    said = suspended(talk(), 1).audit(1, 7, PORTAL, obj="t")
    said.start(6.1, PORTAL, row_limit=5, continued=True)
    said.answer(6.2, ("", -1), transaction_status="T")
    said.audit(6, 7, OTHER, sub=2, cls="WRITE", command="INSERT", obj="u")
    said.start(6.5, OTHER).answer(6.8, ("INSERT", 1), transaction_status="T")
    assert (OTHER, "both", ("table:u",)) in told(said)


def test_a_record_that_is_read_while_a_slice_runs_as_far_as_is_known_is_not_the_slices():
    said = suspended(talk(), 1).audit(1, 7, PORTAL, obj="t")
    said.start(6.1, PORTAL, row_limit=5, continued=True)
    said.audit(8, 7, OTHER, sub=2, cls="WRITE", command="INSERT", obj="u")
    said.start(8.1, OTHER).answer(8.8, ("", -1), ("INSERT", 1), transaction_status="T")
    rows = told(said)
    assert (OTHER, "both", ("table:u",)) in rows
    assert rows.count((PORTAL, "both", ("table:t",))) == 2


def test_a_statement_that_is_executed_long_after_it_was_bound_is_one_row():
    said = talk().audit(1, 7, PORTAL, obj="t")
    for at in range(100, 4_000, 100):
        said.wait(at)
    said.start(4_000, PORTAL).answer(4_001, ("SELECT", 1), transaction_status="I")
    assert told(said, 6_000) == [(PORTAL, "both", ("table:t",))]


def test_what_was_bound_and_not_executed_waits_no_longer_than_its_transaction():
    said = talk().audit(1, 7, PORTAL, obj="t").wait(2).wait(1_600)
    said.start(1_700, "rollback").answer(1_701, ("ROLLBACK", -1), transaction_status="I")
    rows = told(said, 4_000)
    assert (PORTAL, "pgaudit", ("table:t",)) in rows
    assert len(rows) == 2


def test_what_was_bound_waits_for_half_a_minute_at_most():
    said = talk().audit(1, 7, PORTAL, obj="t")
    assert told(said, 20_000) == []
    assert told(said, 33_000) == [(PORTAL, "pgaudit", ("table:t",))]


def test_of_a_session_that_the_probes_do_not_know_nothing_waits_for_its_execution():
    said = Dialogue(window_us=WINDOW_US).audit(1, 7, PORTAL, obj="t")
    assert told(said, 1_700) == [(PORTAL, "pgaudit", ("table:t",))]


def test_a_function_that_the_planner_calls_is_a_part_of_the_statement():
    said = talk().audit(3, 7, "select 1 from inner_t", obj="inner_t")
    said.start(5, "select f()", requested_at_us=us(2)).audit(5, 8, "select f()")
    said.answer(6, ("SELECT", 1), transaction_status="I")
    statements = said.wait(10).wait(200).wait(2_000).statements()
    by_source = {s.source: s for s in statements if s.text != b"set x = 1"}
    assert by_source[Source.PGAUDIT].parent_id == by_source[Source.BOTH].id


def test_a_trigger_at_commit_is_a_part_of_it():
    said = talk().start(1, "commit").audit(1, 7, "commit", cls="MISC", command="COMMIT")
    said.audit(4, 8, "insert into log values (1)", cls="WRITE", command="INSERT", obj="log")
    said.answer(6, ("COMMIT", -1), transaction_status="I")
    statements = said.wait(10).wait(200).wait(2_000).statements()
    by_source = {s.source: s for s in statements if s.text != b"set x = 1"}
    assert by_source[Source.PGAUDIT].parent_id == by_source[Source.BOTH].id


def test_what_nobody_ran_at_that_time_is_a_part_of_nothing():
    said = talk().start(1, "select 1").audit(1, 7, "select 1").answer(2, ("SELECT", 1))
    said.audit(40, 8, "drop table t", cls="DDL", command="DROP TABLE")
    statements = said.wait(50).wait(300).wait(2_000).wait(4_000).statements()
    (alone,) = [s for s in statements if s.source is Source.PGAUDIT]
    assert alone.parent_id == 0


# -- records without a text (pgaudit.log_statement = off, pgaudit.log_statement_once = on)


def nested(dialogue, at, text):
    return dialogue.start(at, text, depth=1, nested=True)


def rows(dialogue):
    statements = dialogue.wait(20).wait(300).wait(2_000).statements()
    return {
        s.text.decode(): s.audit.objects if s.audit else ()
        for s in statements
        if s.text != b"set x = 1"
    }


def test_a_second_object_of_a_statement_is_not_that_of_what_runs_inside_it():
    said = talk().start(1, "select f() from a, b")
    said.audit(1, 7, "select f() from a, b", obj="a")
    nested(said, 2.5, "select 1 from c")
    said.audit(2, 7, "<previously logged>", obj="b")
    said.audit(2, 7, "select 1 from c", sub=2, obj="c").answer(9, ("SELECT", 1))
    assert rows(said) == {
        "select f() from a, b": ("table:a", "table:b"), "select 1 from c": ("table:c",)
    }  # fmt: skip


def test_without_a_text_the_command_says_what_inside_a_statement_it_is_about():
    said = talk().start(1, "do $$...$$")
    said.audit(1, 7, "<not logged>", cls="FUNCTION", command="DO")
    nested(said, 3.1, "select 1 from c")
    nested(said, 3.3, "/* x */ insert into d values (1)")
    said.audit(3, 7, "<not logged>", sub=2, cls="WRITE", command="INSERT", obj="d")
    said.audit(3, 7, "<not logged>", sub=3, obj="c").answer(9, ("DO", -1))
    assert rows(said) == {
        "do $$...$$": (), "select 1 from c": ("table:c",),
        "/* x */ insert into d values (1)": ("table:d",),
    }  # fmt: skip


def test_where_that_fits_several_it_is_told_with_the_statement_that_they_are_in():
    said = talk().start(1, "do $$...$$")
    said.audit(1, 7, "<not logged>", cls="FUNCTION", command="DO")
    nested(said, 3.1, "select 1 from c")
    nested(said, 3.3, "select 1 from d")
    said.audit(3, 7, "<not logged>", sub=2, obj="d").answer(9, ("DO", -1))
    assert rows(said) == {
        "do $$...$$": ("table:d",), "select 1 from c": (), "select 1 from d": ()
    }  # fmt: skip
