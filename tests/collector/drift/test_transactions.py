"""A snapshot sees what is committed: only that explains a difference."""

from __future__ import annotations

import polars as pl
import pytest

from collector.drift.attribution import Changes
from tests.analytics.streams import START_US
from tests.collector.drift.story import (
    AFTER_US,
    BEFORE_US,
    S,
    actor_of,
    cause_of,
    difference,
    frame,
    ran,
    scope,
)

GRANT = "GRANT SELECT ON hr.t TO etl"
GRANTED = ("privilege", "table:hr.t<-etl", None, "SELECT")


def test_what_was_rolled_back_did_nothing():
    rows = [
        ran(1, "bob", "BEGIN", transaction="IT"),
        ran(2, "bob", GRANT, transaction="TT"),
        ran(3, "bob", "ROLLBACK", transaction="TI", tag="ROLLBACK"),
    ]
    assert actor_of(rows, *GRANTED) == ""


def test_a_commit_of_a_failed_transaction_is_a_rollback():
    rows = [
        ran(2, "bob", GRANT, transaction="TT"),
        ran(3, "bob", "SELECT 1/0", transaction="TE", sqlstate="22012"),
        ran(4, "bob", "COMMIT", transaction="EI", tag="ROLLBACK"),
    ]
    assert actor_of(rows, *GRANTED) == ""


def test_a_transaction_in_one_string_that_ends_in_a_rollback_did_nothing():
    rows = [ran(2, "bob", f"BEGIN; {GRANT}; ROLLBACK", transaction="II")]
    assert actor_of(rows, *GRANTED) == ""


def late_commit(*rows, second=150, status="?I", sql="COMMIT"):
    """Between two looks of which the first is after what the transaction did."""
    changes = Changes()
    changes.observe(frame([*rows]))
    tag = sql.split()[0]
    end = ran(second, "bob", sql, transaction=status, tag=tag)
    changes.observe(frame([end], first_id=50))
    step = difference(GRANTED[1], *GRANTED[2:])
    at_us, since_us = AFTER_US + 100 * S, AFTER_US
    found = changes.cause(scope("privilege"), step, at_us, since_us, settled=True)
    return found.change.actor if found is not None else ""


LOGGED = ran(2, "bob", GRANT, transaction="")
"""As the log alone tells it, of a time in which the agent was away."""


@pytest.mark.parametrize("begin", [[], [ran(1, "bob", "BEGIN", transaction="")]])
def test_what_only_the_log_tells_counts_from_its_commit(begin):
    assert late_commit(*begin, LOGGED) == "bob"


def test_what_only_the_log_tells_is_undone_by_its_rollback():
    assert late_commit(LOGGED, second=3, sql="ROLLBACK") == ""
    rows = [LOGGED, ran(3, "bob", "ROLLBACK", transaction="?I", tag="ROLLBACK")]
    assert actor_of(rows, *GRANTED) == ""


def test_what_only_the_log_tells_was_committed_before_the_next_transaction_began():
    others = [
        ran(50, "bob", "BEGIN", transaction="IT"),
        ran(60, "bob", "ROLLBACK", transaction="TI"),
    ]
    assert actor_of([LOGGED, *others], *GRANTED) == "bob"
    no_transaction = [ran(60, "bob", "ROLLBACK", transaction="II", tag="ROLLBACK")]
    assert actor_of([LOGGED, *no_transaction], *GRANTED) == "bob"


def test_a_savepoint_undoes_what_came_after_it_alone():
    other = ("privilege", "table:hr.u<-etl", None, "SELECT")
    rows = [
        ran(1, "bob", "BEGIN", transaction="IT"),
        ran(2, "bob", GRANT, transaction="TT"),
        ran(3, "bob", "SAVEPOINT a", transaction="TT"),
        ran(4, "bob", "GRANT SELECT ON hr.u TO etl", transaction="TT"),
        ran(5, "bob", "ROLLBACK TO SAVEPOINT a", transaction="TT"),
        ran(6, "bob", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    assert actor_of(rows, *GRANTED) == "bob"
    assert actor_of(rows, *other) == ""


def left_in_the_middle(late, seen_late_us=7):
    """Who granted, where the session ended in its transaction. The agent learnt of that so much
    later, and sent the ``late`` rows behind it."""
    changes = Changes()
    began, end_us = {"backend_started_at": START_US - 1}, START_US + 3 * S
    granted = ran(2, "bob", GRANT, transaction="TT", **began)
    changes.observe(frame([granted]))
    end = {"ended_at": end_us, "seen_at": end_us + seen_late_us}
    session = {"agent": "host-a", "pid": granted["pid"], "cluster": "5432", **began, **end}
    times = pl.selectors.ends_with("_at").cast(pl.Datetime("us"))
    changes.sessions(pl.DataFrame([session]).with_columns(times))
    changes.observe(frame([row | began for row in late], first_id=2))
    kind, *step = GRANTED
    found = changes.cause(scope(kind), difference(*step), AFTER_US, BEFORE_US, settled=True)
    return found.change.actor if found else ""


@pytest.mark.parametrize(
    ("late", "actor"),
    [
        ([], ""),
        ([ran(2.5, "bob", "COMMIT", transaction="TI", tag="COMMIT")], "bob"),
        ([ran(2.5, "bob", "ROLLBACK", transaction="TI", tag="ROLLBACK")], ""),
    ],
)
def test_who_left_in_the_middle_of_a_transaction_has_undone_it(late, actor):
    """Unless the end of the session came before that of its transaction."""
    assert left_in_the_middle(late) == actor


def test_who_may_have_committed_while_no_agent_ran_has_not_undone_it():
    """The end is when it was noticed that the session is gone."""
    assert left_in_the_middle([], seen_late_us=0) == "bob"


def test_a_long_transaction_counts_from_its_commit():
    """Eve's stood before the last snapshot already; Bob's was committed after it."""
    rows = [
        ran(-50, "bob", "BEGIN", transaction="IT"),
        ran(-40, "bob", GRANT, transaction="TT"),
        ran(-20, "eve", GRANT, transaction="II"),
        ran(5, "bob", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    assert actor_of(rows, *GRANTED) == "bob"


def test_what_the_last_snapshot_had_seen_already_is_no_cause():
    assert actor_of([ran(-20, "eve", GRANT)], *GRANTED) == ""


def test_what_was_committed_after_the_snapshot_is_no_cause():
    rows = [
        ran(50, "eve", GRANT, transaction="TT"),
        ran(150, "eve", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    assert actor_of(rows, *GRANTED) == ""


def test_a_commit_that_has_not_come_yet_is_waited_for():
    rows = [ran(90, "bob", GRANT, transaction="TT")]
    assert actor_of(rows, *GRANTED, settled=False) == ""
    assert actor_of(rows, *GRANTED, settled=True) == "bob"


def test_a_prepared_transaction_counts_from_commit_prepared():
    rows = [
        ran(-9, "bob", GRANT, transaction="TT"),
        ran(-8, "bob", "PREPARE TRANSACTION 'x'", transaction="TI", tag="PREPARE TRANSACTION"),
        ran(5, "eve", "COMMIT PREPARED 'x'"),
    ]
    assert actor_of(rows, *GRANTED) == "bob"
    rows[-1] = ran(5, "eve", "ROLLBACK PREPARED 'x'")
    assert actor_of(rows, *GRANTED) == ""


def prepared(second, user, name, *before, **words):
    status = {"transaction": "TI", "tag": "PREPARE TRANSACTION"} | words
    return [*before, ran(second, user, f"PREPARE TRANSACTION '{name}'", **status)]


MINE = prepared(-8, "bob", "mine", ran(-9, "bob", GRANT, transaction="TT"))


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([ran(1, "xa", "ROLLBACK PREPARED 'b'")], id="prepared before all"),
        pytest.param(
            [*prepared(-10, "xa", "b"), ran(1, "xa", "ROLLBACK PREPARED 'b'")], id="nothing in it"
        ),
        pytest.param(
            [ran(1, "bob", "ROLLBACK PREPARED 'b'", database="dw")], id="another database"
        ),
        pytest.param([ran(1, "bob", "ROLLBACK PREPARED 'b'", cluster="5433")], id="another server"),
        pytest.param([ran(1, "bob", "ROLLBACK PREPARED 'b'", sqlstate="42704")], id="none such"),
        pytest.param(
            [*prepared(-7, "bob", "b", pid=7), ran(1, "bob", "ROLLBACK PREPARED 'b'", pid=7)],
            id="another session of the same user",
        ),
    ],
)
def test_rolling_back_another_prepared_transaction_undoes_none_of_mine(others):
    rows = [*MINE, *others, ran(5, "bob", "COMMIT PREPARED 'mine'")]
    assert actor_of(rows, *GRANTED) == "bob"


def test_committing_another_prepared_transaction_commits_none_of_mine():
    other = [*prepared(-10, "xa", "b"), ran(1, "xa", "COMMIT PREPARED 'b'")]
    assert actor_of([*MINE, *other], *GRANTED, settled=False) == ""
    back = ran(5, "bob", "ROLLBACK PREPARED 'mine'")
    assert actor_of([*MINE, *other, back], *GRANTED) == ""


def named(row, name):
    """As agents tell it: with a hash of the name."""
    return row | {"objects": [f"prepared transaction:{name}"]}


def by_name(second, pid, word, name, **more):
    return named(ran(second, "app", f"{word} 'x'", pid=pid, **more), name)


@pytest.mark.parametrize("first", ["theirs", "mine"])
def test_one_user_in_several_sessions_ends_the_transaction_of_the_name_that_is_said(first):
    """Both were prepared, by sessions that are gone; a third one ends them in either order."""
    status = {"transaction": "TI", "tag": "PREPARE TRANSACTION"}
    rows = [
        ran(-20, "app", GRANT, pid=1, transaction="TT"),
        by_name(-19, 1, "PREPARE TRANSACTION", "aa", **status),
        ran(-10, "app", "GRANT SELECT ON hr.other TO etl", pid=2, transaction="TT"),
        by_name(-9, 2, "PREPARE TRANSACTION", "bb", **status),
    ]
    ends = [by_name(5, 3, "ROLLBACK PREPARED", "aa"), by_name(4, 3, "COMMIT PREPARED", "bb")]
    assert actor_of([*rows, *ends], *GRANTED) == ""
    ends = [by_name(5, 3, "COMMIT PREPARED", "aa"), by_name(4, 3, "ROLLBACK PREPARED", "bb")]
    rows = rows if first == "mine" else [*rows[2:], *rows[:2]]
    found = cause_of([*rows, *ends], *GRANTED)
    assert found.change.backend.pid == 1


def test_an_end_with_a_name_that_nobody_prepared_ends_none_that_has_another():
    rows = [
        ran(-20, "app", GRANT, pid=1, transaction="TT"),
        by_name(-19, 1, "PREPARE TRANSACTION", "aa", transaction="TI", tag="PREPARE TRANSACTION"),
        by_name(4, 3, "ROLLBACK PREPARED", "cc"),
        by_name(5, 3, "COMMIT PREPARED", "aa"),
    ]
    assert actor_of(rows, *GRANTED) == "app"


def test_a_transaction_that_failed_is_rolled_back_by_prepare_transaction():
    rows = prepared(5, "bob", "x", ran(4, "bob", GRANT, transaction="TT"), tag="ROLLBACK")
    assert actor_of(rows, *GRANTED) == ""


def test_a_prepared_statement_writes_when_it_is_executed():
    rows = [
        ran(-30, "bob", "PREPARE p AS INSERT INTO flags VALUES ($1)"),
        ran(5, "bob", "EXECUTE p(7)"),
        ran(6, "eve", "EXECUTE p(7)"),
    ]
    found = cause_of(rows, "watched", "flags[7]", None, "x", watched=frozenset(["flags"]))
    assert (found.change.actor, found.change.id, found.others) == ("bob", 2, ())


def nested(second, user, sql, parent, **words):
    return ran(second, user, sql, parent_id=parent, sqlstate="", transaction="", **words)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_ran_inside_a_function_is_the_doing_of_who_called_it(reverse):
    rows = [
        {"id": 7, **ran(5, "bob", "SELECT app.give()")},
        {"id": 8, **nested(5.1, "bob", "SELECT app.inner()", 7)},
        {"id": 9, **nested(5.2, "bob", GRANT, 8)},
    ]
    found = cause_of(rows[::-1] if reverse else rows, *GRANTED)
    assert (found.change.id, found.change.effect.root) == (9, 7)


def test_what_ran_inside_a_statement_that_failed_did_nothing():
    rows = [
        {"id": 7, **ran(5, "bob", "SELECT app.give()", sqlstate="P0001")},
        {"id": 9, **nested(5.2, "bob", GRANT, 7)},
    ]
    assert actor_of(rows, *GRANTED) == ""


def test_what_ran_inside_a_statement_that_failed_did_nothing_though_it_is_told_later():
    changes = Changes()
    changes.observe(frame([{"id": 7, **ran(5, "bob", "SELECT app.give()", sqlstate="P0001")}]))
    changes.observe(frame([{"id": 9, **nested(5.2, "bob", GRANT, 7)}]))
    step = difference(*GRANTED[1:])
    assert changes.cause(scope("privilege"), step, AFTER_US, BEFORE_US, settled=True) is None


def test_what_ran_inside_a_transaction_counts_with_it():
    rows = [
        {"id": 7, **ran(5, "bob", "SELECT app.give()", transaction="TT")},
        {"id": 9, **nested(5.2, "bob", GRANT, 7)},
        {"id": 10, **ran(6, "bob", "ROLLBACK", transaction="TI", tag="ROLLBACK")},
    ]
    assert actor_of(rows, *GRANTED) == ""


def test_a_do_block_is_the_cause_where_nested_statements_are_not_captured():
    rows = [ran(5, "bob", f"DO $$ BEGIN {GRANT}; END $$")]
    assert actor_of(rows, *GRANTED) == "bob"


def test_a_statement_that_surely_ran_goes_before_a_do_block_that_might_have():
    rows = [ran(5, "bob", GRANT), ran(6, "eve", f"DO $$ BEGIN {GRANT}; END $$")]
    found = cause_of(rows, *GRANTED)
    assert (found.change.actor, found.others) == ("bob", ())


def test_the_better_match_goes_before_the_later_one():
    rows = [ran(5, "bob", GRANT), ran(6, "eve", "GRANT SELECT ON t TO etl")]
    assert actor_of(rows, *GRANTED) == "bob"


def test_of_two_grants_of_the_same_the_first_one_is_said_and_the_other_named():
    found = cause_of([ran(5, "bob", GRANT), ran(6, "eve", GRANT)], *GRANTED)
    assert found.change.actor == "bob"
    assert [other.actor for other in found.others] == ["eve"]


@pytest.mark.parametrize(("end", "actor"), [("COMMIT", "bob"), ("ROLLBACK", "")])
def test_a_transaction_of_which_no_status_is_known_counts_from_its_end(end, actor):
    """As pgaudit tells it while there is no agent with eBPF."""
    unknown = {"transaction": "", "sqlstate": ""}
    rows = [
        ran(-60, "bob", "BEGIN", **unknown),
        ran(-59, "bob", GRANT, **unknown),
        ran(5, "bob", end, transaction="?I", tag=end),
    ]
    assert actor_of(rows, *GRANTED) == actor


def pipelined(*rows, statuses="II"):
    """Of one Sync: each begins when the one before it ends."""
    told = []
    for number, (sql, words) in enumerate(rows):
        status = statuses if isinstance(statuses, str) else statuses[number]
        row = ran(2 + number, "vera", sql, transaction=status, duration_us=S, **words)
        told.append(row)
    return told


FAILS = ("SELECT 1/0", {"sqlstate": "22012"})


@pytest.mark.parametrize("statuses", ["II", ("I?", "II"), ("I?", "?I")])
def test_an_error_undoes_all_of_its_pipeline(statuses):
    rows = pipelined((GRANT, {}), FAILS, statuses=statuses)
    assert actor_of(rows, *GRANTED) == ""
    found = cause_of([*rows, ran(50, "bob", GRANT)], *GRANTED)
    assert (found.change.actor, found.others) == ("bob", ())


def test_what_stands_between_them_is_of_the_pipeline():
    rows = pipelined((GRANT, {}), ("SELECT 1", {}), ("SELECT 2", {}), FAILS)
    assert actor_of(rows, *GRANTED) == ""
    rows = pipelined((GRANT, {}), ("SELECT 1", {}), FAILS, statuses=("I?", "I?", "?I"))
    assert actor_of(rows, *GRANTED) == ""


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("statuses", ["II", ("I?", "?I")])
def test_an_error_in_another_batch_undoes_its_pipeline(statuses, order):
    """What fails may be told first: it waits for no line of the log."""
    changes = Changes()
    rows = pipelined((GRANT, {}), FAILS, statuses=statuses)
    for number, row in [*enumerate(rows)][::order]:
        changes.observe(frame([row], first_id=number + 1))
    kind, *step = GRANTED
    found = changes.cause(scope(kind), difference(*step), AFTER_US, BEFORE_US, settled=True)
    assert found is None


def test_what_a_pipeline_committed_an_error_behind_it_leaves():
    rows = pipelined(("BEGIN", {}), (GRANT, {}), ("COMMIT", {"tag": "COMMIT"}), FAILS)
    assert actor_of(rows, *GRANTED) == "vera"


def test_what_a_pipeline_rolled_back_did_nothing():
    rows = pipelined(
        ("BEGIN", {}), (GRANT, {}), ("ROLLBACK", {"tag": "ROLLBACK"}), ("SELECT 1", {})
    )
    assert actor_of(rows, *GRANTED) == ""


@pytest.mark.parametrize("status", ["II", "I?", ""])
def test_an_error_of_another_round_trip_undoes_nothing(status):
    rows = [
        ran(2, "vera", GRANT, transaction=status, duration_us=S // 2),
        ran(2.6, "vera", "SELECT 1", transaction="II" if status else "", duration_us=1),
        ran(3, "vera", "SELECT 1/0", transaction="II", sqlstate="22012", duration_us=1),
    ]
    assert actor_of(rows, *GRANTED) == "vera"


def test_an_error_long_after_a_pipeline_whose_end_was_lost_undoes_nothing():
    rows = [
        ran(2, "vera", GRANT, transaction="I?", duration_us=1),
        ran(40, "vera", "SELECT 1/0", transaction="II", sqlstate="22012"),
    ]
    assert actor_of(rows, *GRANTED) == "vera"


@pytest.mark.parametrize(("since", "actor"), [(0, "bob"), (50, "")])
def test_what_ran_inside_a_statement_that_came_before_it_ended_with_that(since, actor):
    """What an extension's script did minutes ago made no difference of now."""
    changes = Changes()
    changes.observe(frame([ran(2, "bob", "CREATE EXTENSION seg SCHEMA hr")]))
    inside = ran(2.1, "bob", "CREATE FUNCTION hr.f() RETURNS int LANGUAGE c", parent_id=1)
    changes.observe(frame([inside], first_id=50))
    step = difference("hr.f()", None, "owner: bob")
    found = changes.cause(scope("function"), step, AFTER_US, BEFORE_US + since * S, settled=True)
    assert (found.change.actor if found is not None else "") == actor
