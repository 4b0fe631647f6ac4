"""What is one finding: a transaction, a script, a restored dump; and what is none of them."""

import pytest

from collector.drift.attribution import Changes
from tests.collector.drift.story import frame, ran

DAY = 86_400


def groups(*rows, before=()):
    """Of each of ``rows`` that changes something. ``before``: frames that came first."""
    changes = Changes()
    first_id = 1
    for batch in (*before, rows):
        changes.observe(frame([*batch], first_id))
        first_id += len(batch)
    ids = range(first_id - len(rows), first_id)
    return [changes.group_of(change) for i in ids if (change := changes.find("host-a", i))]


def tables(count, second=0.0, user="dba", **words):
    made = (f"CREATE TABLE hr.t{n} (i int)" for n in range(count))
    return [ran(second + n / 10, user, sql, **words) for n, sql in enumerate(made)]


def test_a_script_is_one_finding_and_what_is_done_after_a_pause_is_another():
    later = [
        ran(12, "dba", "GRANT ops TO etl"),
        ran(14, "dba", "ALTER TABLE hr.t1 OWNER TO etl"),
    ]
    *script, grant, owner = groups(*tables(21), *later)
    assert len({*script}) == 1
    assert script[0].startswith("session ")
    assert (grant, owner) == ("statement 22", "statement 23")


def test_nineteen_statements_one_after_another_are_nineteen_findings():
    assert len({*groups(*tables(19))}) == 19


def test_a_second_script_in_the_same_session_is_a_second_finding():
    first, second = tables(20), tables(20, second=60)
    found = groups(*first, *second)
    assert (len({*found[:20]}), len({*found[20:]}), len({*found})) == (1, 1, 2)


def test_on_a_pooled_connection_each_person_has_findings_of_their_own():
    pool = {"pid": 7}
    alice = tables(20, user="pool", identity_name="alice", **pool)
    bob = tables(20, second=0.05, user="pool", identity_name="bob", **pool)
    found = groups(*alice, *bob)
    assert (len({*found[:20]}), len({*found[20:]}), len({*found})) == (1, 1, 2)


def test_what_was_done_days_apart_on_one_connection_is_not_one_change():
    words = {"pid": 7, "identity_name": "alice"}
    days = [ran(n * DAY, "pool", f"CREATE TABLE hr.t{n} (i int)", **words) for n in range(22)]
    assert len({*groups(*days)}) == 22


def test_a_long_transaction_is_one_finding_however_slow_it_is():
    rows = [
        ran(n * 60, "dba", f"CREATE TABLE hr.t{n} (i int)", transaction="TT") for n in range(30)
    ]
    end = ran(2_000, "dba", "COMMIT", transaction="TI", tag="COMMIT")
    assert {*groups(*rows, end)} == {"transaction 1 dba"}


def test_two_people_in_one_transaction_have_findings_of_their_own():
    rows = [
        ran(1, "pool", "CREATE TABLE hr.a (i int)", transaction="TT", identity_name="alice"),
        ran(2, "pool", "CREATE TABLE hr.b (i int)", transaction="TT", identity_name="bob"),
    ]
    assert groups(*rows) == ["transaction 1 alice", "transaction 1 bob"]


RESTORE = ran(0, "bob", "SET check_function_bodies = false")


def test_a_restore_that_loads_data_for_long_between_changes_is_one_finding():
    loads = [ran(10 + 50 * n, "bob", f"COPY hr.t{n} FROM stdin") for n in range(4)]
    rows = [ran(2, "bob", "CREATE TABLE hr.t0 (i int)"), *loads]
    last = ran(200, "bob", "CREATE INDEX i ON hr.t0 (i)")
    assert len({*groups(RESTORE, *rows, last)}) == 1
    [before] = groups(last, before=[[RESTORE, *rows]])
    assert before.startswith("session ")


@pytest.mark.parametrize("second", [100, DAY])
def test_what_the_session_does_when_its_restore_is_over_is_another_change(second):
    rows = [RESTORE, ran(2, "bob", "CREATE TABLE hr.t (i int)")]
    assert groups(ran(second, "bob", "GRANT dba TO etl"), before=[rows]) == ["statement 3"]


def test_another_person_on_the_connection_of_a_restore_is_no_part_of_it():
    rows = [RESTORE | {"pid": 7, "identity_name": "bob"}]
    other = ran(1, "bob", "GRANT dba TO etl", pid=7, identity_name="eve")
    assert groups(other, before=[rows]) == ["statement 2"]


def restored(second, pid, count=2, **words):
    words = {"pid": pid, "application_name": "pg_restore", **words}
    begin = ran(second, "mona", "SET check_function_bodies = false", **words)
    return [begin, *tables(count, second + 0.1, "mona", **words)]


@pytest.mark.parametrize("name", ["pg_restore", "erin-tool"])
def test_all_sessions_of_one_restore_are_one_finding_by_whatever_name_it_goes(name):
    sessions = ((0, 1, 30), (4, 2, 2), (4.5, 3, 2), (6, 4, 1))
    leader, one, other, last = (restored(*each, application_name=name) for each in sessions)
    found = groups(*one, *other, *last, before=[leader])
    assert len(found) == 5
    assert len({*found, *groups(*leader)}) == 1
    assert found[0].startswith("restore ")


@pytest.mark.parametrize(
    "words",
    [{"database": "other"}, {"identity_name": "ada"}, {"application_name": "psql"}, {"second": 20}],
)
def test_two_restores_are_two_findings(words):
    second = words.pop("second", 1)
    found = groups(*restored(0, 1), *restored(second, 2, **words))
    assert len({*found}) == 2
