"""Of a string of several statements counts what was committed, each transaction for itself."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import actor_of, cause_of, ran

A, B = "GRANT SELECT ON hr.a TO etl", "GRANT SELECT ON hr.b TO etl"
GRANTED_A = ("privilege", "table:hr.a<-etl", None, "SELECT")
GRANTED_B = ("privilege", "table:hr.b<-etl", None, "SELECT")
MADE_A = ("table", "hr.a", None, "owner: bob")
MADE_B = ("table", "hr.b", None, "owner: bob")
ROLLED_BACK = {"transaction": "TI", "tag": "ROLLBACK"}
COMMITTED = {"transaction": "TI", "tag": "COMMIT"}


def did(*rows):
    """Which of the two grants are somebody's."""
    return [bool(actor_of([*rows], *each)) for each in (GRANTED_A, GRANTED_B)]


@pytest.mark.parametrize(
    ("sql", "granted"),
    [
        (f"BEGIN; {A}; ROLLBACK; {B}", [False, True]),
        (f"BEGIN; {A}; COMMIT; BEGIN; {B}; ROLLBACK", [True, False]),
        (f"BEGIN; {A}; ABORT; BEGIN; {B}; END", [False, True]),
        (f"{A}; ROLLBACK; {B}", [False, True]),
        (f"{A}; BEGIN; {B}; ROLLBACK; SELECT 1", [False, False]),
        (f"BEGIN; {A}; ROLLBACK AND CHAIN; {B}; COMMIT", [False, True]),
        (f"BEGIN; SAVEPOINT s; {A}; ROLLBACK TO s; {B}; COMMIT", [False, True]),
        (f"BEGIN; {A}; SAVEPOINT s; {B}; ROLLBACK TO SAVEPOINT s; COMMIT", [True, False]),
        (f"BEGIN; SAVEPOINT s; {A}; SAVEPOINT s; {B}; ROLLBACK TO s; COMMIT", [True, False]),
        (f"BEGIN; {A}; {B}; COMMIT", [True, True]),
        (f"BEGIN; {A}; {B}; ROLLBACK", [False, False]),
        (f"{A}; {B}", [True, True]),
        (f"BEGIN; {A}; ROLLBACK; DO $$ BEGIN {B}; END $$", [False, True]),
        (f"BEGIN; DO $$ BEGIN {A}; END $$; ROLLBACK; {B}", [False, True]),
        (f"BEGIN; DO 'BEGIN {A}; COMMIT; END'; ROLLBACK; {B}", [False, True]),
    ],
)
def test_a_rollback_in_a_string_undoes_its_own_transaction_alone(sql, granted):
    assert did(ran(5, "bob", sql)) == granted


def test_a_string_cannot_undo_what_stands_in_the_text_of_a_literal():
    sql = f"SELECT 'x; ROLLBACK; y'; {A}; SELECT $a$; ROLLBACK;$a$; {B}"
    assert did(ran(5, "bob", sql, text=sql)) == [True, True]


def test_what_a_string_made_and_rolled_back_it_did_not_make():
    row = ran(5, "bob", "BEGIN; CREATE TABLE hr.a (i int); ROLLBACK; CREATE TABLE hr.b (i int)")
    assert [actor_of([row], *each) for each in (MADE_A, MADE_B)] == ["", "bob"]


def test_who_grants_a_role_in_a_block_and_rolls_it_back_granted_none():
    """What a DO block does is nowhere in the text that is shown."""
    member = ("membership", "ops<-etl", None, "member")
    block = "DO $$ BEGIN GRANT ops TO etl; END $$"
    assert actor_of([ran(5, "bob", f"BEGIN; {block}; ROLLBACK; {A}")], *member) == ""
    assert actor_of([ran(5, "bob", f"BEGIN; {A}; ROLLBACK; {block}")], *member) == "bob"


def test_a_policy_is_known_though_no_statement_says_its_whole_name():
    row = ran(5, "bob", f"BEGIN; {A}; ROLLBACK; DROP POLICY own ON hr.t")
    assert actor_of([row], "policy", "hr.t.own", "command: all", None) == "bob"
    row = ran(5, "bob", f"BEGIN; DROP POLICY own ON hr.t; ROLLBACK; {A}")
    assert actor_of([row], "policy", "hr.t.own", "command: all", None) == ""


def test_what_a_string_leaves_open_counts_with_the_end_of_its_transaction():
    string = ran(5, "bob", f"BEGIN; {A}; COMMIT; BEGIN; {B}", transaction="IT")
    assert did(string, ran(9, "bob", "ROLLBACK", **ROLLED_BACK)) == [True, False]
    assert did(string, ran(9, "bob", "COMMIT", **COMMITTED)) == [True, True]
    found = cause_of([string, ran(9, "bob", "COMMIT", **COMMITTED)], *GRANTED_B)
    assert found.change.effect.committed_us > found.change.at_us


@pytest.mark.parametrize(
    ("string", "granted"),
    [
        (f"ROLLBACK; {B}", [False, True]),
        (f"SELECT 1; ROLLBACK; {B}", [False, True]),
        (f"SELECT 1; COMMIT; {B}; ROLLBACK", [True, False]),
        (f"COMMIT; BEGIN; {B}; ROLLBACK", [True, False]),
        (f"{B}; ROLLBACK; SELECT 1", [False, False]),
    ],
)
def test_the_first_end_in_a_string_is_that_of_the_transaction_before_it(string, granted):
    before = ran(4, "bob", A, transaction="TT")
    assert did(before, ran(5, "bob", string, transaction="TI")) == granted


def test_a_string_rolls_back_to_a_savepoint_of_before():
    rows = [
        ran(1, "bob", "SAVEPOINT s", transaction="TT"),
        ran(2, "bob", A, transaction="TT"),
        ran(3, "bob", f"ROLLBACK TO s; {B}", transaction="TT"),
        ran(4, "bob", "COMMIT", **COMMITTED),
    ]
    assert did(*rows) == [False, True]


def test_a_later_statement_rolls_back_to_a_savepoint_of_a_string():
    rows = [
        ran(1, "bob", "BEGIN; SAVEPOINT s", transaction="IT"),
        ran(2, "bob", A, transaction="TT"),
        ran(3, "bob", "ROLLBACK TO s", transaction="TT"),
        ran(4, "bob", B, transaction="TT"),
        ran(5, "bob", "COMMIT", **COMMITTED),
    ]
    assert did(*rows) == [False, True]


@pytest.mark.parametrize(
    "ran_before",
    [
        [ran(-9, "bob", f"BEGIN; {A}; PREPARE TRANSACTION 'x'", tag="PREPARE TRANSACTION")],
        [
            ran(-9, "bob", A, transaction="TT"),
            ran(-8, "bob", "SELECT 1; PREPARE TRANSACTION 'x'", transaction="TI"),
        ],
    ],
)
def test_what_a_string_prepared_counts_from_commit_prepared(ran_before):
    assert did(*ran_before, ran(5, "eve", "COMMIT PREPARED 'x'")) == [True, False]
    assert did(*ran_before, ran(5, "eve", "ROLLBACK PREPARED 'x'")) == [False, False]
    assert actor_of(ran_before, *GRANTED_A, settled=False) == ""


def test_a_commit_and_a_new_begin_in_one_string_end_what_was_open():
    rows = [
        ran(1, "bob", A, transaction="TT"),
        ran(2, "bob", "SELECT 1; COMMIT; BEGIN", transaction="TT"),
        ran(3, "bob", "ROLLBACK", **ROLLED_BACK),
    ]
    assert did(*rows) == [True, False]


def nested(second, sql, parent):
    return ran(second, "bob", sql, parent_id=parent, sqlstate="", transaction="")


@pytest.mark.parametrize(
    ("sql", "gave"),
    [
        (f"BEGIN; SELECT app.give(); {B}; ROLLBACK", False),
        (f"BEGIN; {B}; ROLLBACK; SELECT app.give()", True),
        (f"BEGIN; SELECT app.give(); ROLLBACK; SELECT 1; {B}", True),
    ],
)
def test_what_ran_within_a_string_may_have_been_in_any_of_its_transactions(sql, gave):
    rows = [{"id": 7, **ran(5, "bob", sql)}, {"id": 9, **nested(5.2, A, 7)}]
    assert did(*rows)[0] is gave


def one_by_one(sql, *tags, second=5, user="bob", **words):
    """As agents with eBPF tell it: each statement with the text of all. ``None``: it failed."""
    errors = {None: {"sqlstate": "22012"}}
    return [
        ran(second + at / 100, user, sql, tag=tag or "", **words, **errors.get(tag, {}))
        for at, tag in enumerate(tags)
    ]


@pytest.mark.parametrize(
    ("sql", "tags", "granted"),
    [
        (f"BEGIN; {A}; ROLLBACK; {B}", ("BEGIN", "GRANT", "ROLLBACK", "GRANT"), [False, True]),
        (f"{A}; SELECT 1/0", ("GRANT", None), [False, False]),
        (f"{A}; ROLLBACK; {B}; SELECT 1/0", ("GRANT", "ROLLBACK", "GRANT", None), [False, False]),
        (f"{A}; COMMIT; {B}; SELECT 1/0", ("GRANT", "COMMIT", "GRANT", None), [True, False]),
        (f"SELECT 1/0; COMMIT; {A}; {B}", (None,), [False, False]),
        (f"BEGIN; {A}; COMMIT; SELECT 1/0; {B}", ("BEGIN", "GRANT", "COMMIT", None), [True, False]),
        (f"{A}; {B}", ("GRANT", "GRANT"), [True, True]),
    ],
)
def test_what_fails_in_a_string_undoes_its_transaction_and_stops_the_rest(sql, tags, granted):
    assert did(*one_by_one(sql, *tags)) == granted


def test_a_string_that_failed_leaves_nobody_as_another_possibility():
    failed = one_by_one(f"{A}; SELECT 1/0", "GRANT", None, user="vera")
    found = cause_of([*failed, ran(9, "carol", A)], *GRANTED_A)
    assert (found.change.actor, found.others) == ("carol", ())


def test_a_failure_after_a_savepoint_leaves_it_to_the_end_of_the_transaction():
    sql = f"BEGIN; {A}; SAVEPOINT s; SELECT 1/0"
    rows = one_by_one(sql, "BEGIN", "GRANT", "SAVEPOINT", None, transaction="IE")
    back = ran(6, "bob", "ROLLBACK TO s", transaction="ET")
    assert did(*rows, back, ran(7, "bob", "COMMIT", **COMMITTED)) == [True, False]
    assert did(*rows, ran(7, "bob", "ROLLBACK", transaction="EI", tag="ROLLBACK"))[0] is False


def test_a_string_that_goes_on_is_told_statement_by_statement_and_ends_later():
    sql = f"BEGIN; {A}; COMMIT; BEGIN; {B}"
    tags = ("BEGIN", "GRANT", "COMMIT", "BEGIN", "GRANT")
    rows = one_by_one(sql, *tags, transaction="IT")
    assert did(*rows, ran(9, "bob", "ROLLBACK", **ROLLED_BACK)) == [True, False]
    assert did(*rows, ran(9, "bob", "COMMIT", **COMMITTED)) == [True, True]


def test_the_same_string_once_more_is_another_one():
    sql = f"{A}; SELECT 1/0"
    again = f"{A}; SELECT 1/1"
    first = one_by_one(sql, "GRANT", None)
    assert did(*first, *one_by_one(again, "GRANT", "SELECT", second=7))[0] is True
    failed = one_by_one(again, "GRANT", None, second=9)
    assert did(*one_by_one(again, "GRANT", "SELECT"), *failed)[0] is True


def test_what_ran_within_a_statement_of_a_string_is_of_its_transaction():
    sql = f"BEGIN; SELECT app.give(); ROLLBACK; {B}"
    tags = ("BEGIN", "SELECT", "ROLLBACK", "GRANT")
    rows = [{"id": 20 + at, **row} for at, row in enumerate(one_by_one(sql, *tags))]
    assert did(*rows, {"id": 90, **nested(5.2, A, 21)}) == [False, True]


@pytest.mark.parametrize(
    "before",
    [
        "EXPLAIN SELECT 1", "EXPLAIN (COSTS OFF) DELETE FROM hr.a", "PREPARE p AS SELECT 1",
        "PREPARE p AS DELETE FROM hr.a; DEALLOCATE p", "EXECUTE p", "EXPLAIN ANALYZE SELECT 1",
        "SELECT 1; EXPLAIN SELECT 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("sql", "made"),
    [
        (A, GRANTED_A),
        ("ALTER ROLE etl SUPERUSER", ("role", "etl", "superuser=false", "superuser=true")),
        (
            "ALTER TABLE hr.a ADD q int",
            ("table", "hr.a", "owner: x", "owner: x\ncolumn q: integer"),
        ),
    ],
)
def test_what_stands_first_in_a_string_hides_nothing_behind_it(before, sql, made):
    for text in (f"{before}; {sql}", f"{sql}; {before}", f"BEGIN; {before}; {sql}; COMMIT"):
        assert actor_of([ran(5, "dave", text)], *made) == "dave", text


@pytest.mark.parametrize("quiet", ["EXPLAIN", "PREPARE p AS"])
def test_what_a_string_only_plans_or_prepares_it_has_not_done(quiet):
    wrote = ("watched", "public.flags[7]", "live: false", "live: true")
    row = ran(5, "dave", f"{quiet} UPDATE flags SET live = true; {A}")
    assert actor_of([row], *wrote, watched=frozenset(("flags",))) == ""
    rows = [row, ran(6, "bob", "UPDATE flags SET live = true")]
    found = cause_of(rows, *wrote, watched=frozenset(("flags",)))
    assert found.change.actor == "bob"
    assert not found.others
    only = f"{quiet} SELECT 1; {quiet} UPDATE flags SET live = true"
    assert actor_of([ran(5, "dave", only)], *wrote, watched=frozenset(("flags",))) == ""


@pytest.mark.parametrize(
    "rows",
    [
        [ran(5, "dave", "PREPARE p AS UPDATE flags SET live = true; EXECUTE p")],
        [
            ran(4, "dave", f"PREPARE p AS UPDATE flags SET live = true; {A}"),
            ran(5, "dave", "EXECUTE p; SELECT 1"),
        ],
        [
            ran(4, "dave", "PREPARE p AS UPDATE flags SET live = true"),
            ran(5, "dave", "SELECT 1; EXECUTE p"),
        ],
    ],
)
def test_what_was_prepared_counts_where_a_string_executes_it(rows):
    wrote = ("watched", "public.flags[7]", "live: false", "live: true")
    assert actor_of(rows, *wrote, watched=frozenset(("flags",))) == "dave"
