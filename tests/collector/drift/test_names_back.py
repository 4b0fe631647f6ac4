"""What the record knows under two names, by its number, a plan names back; all else it does not."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Fact
from collector.drift.plan import make
from collector.drift.plan.steps import Phase
from model.catalog import CatalogKind
from tests.collector.drift.remembered import past_of

HEAP = "owner: o\nkind: table\ncolumn id: integer\ncolumn pay: numeric"
KEYED = f"{HEAP}\nconstraint wages_pkey: PRIMARY KEY (id)"


def tables(**facts):
    return {("table", f"s.{name}"): Fact(*fact) for name, fact in facts.items()}


@pytest.fixture
def planned(tmp_path):
    """A function of looks ((kind, name) -> fact each): the plan from the last back to the first,
    as a declaration, which has no numbers."""

    def plan(*looks):
        wholes = [_whole(look) for look in looks]
        declared = {
            key: {name: Fact(fact.value, "") for name, fact in facts.items()}
            for key, facts in wholes[0].items()
        }
        return make(declared, wholes[-1], past_of(tmp_path, *wholes))

    return plan


def _whole(look):
    found = {(CatalogKind(kind), "shop"): {} for kind in ("table", "policy", "privilege")}
    for (kind, name), fact in look.items():
        found[CatalogKind(kind), "shop"][name] = fact
    return found


def sql(made):
    return [("by hand: " if step.by_hand else "") + step.text for step in made.steps]


def test_a_renamed_table_with_rows_is_named_back_and_nothing_is_dropped(planned):
    made = planned(tables(wages=(HEAP, "oid 7")), tables(salary=(HEAP, "oid 7")))
    assert sql(made) == ["ALTER TABLE s.salary RENAME TO wages"]
    assert (made.steps[0].phase, made.steps[0].loses) == (Phase.NAME_BACK, False)


def test_a_name_with_the_end_of_a_line_in_it_is_left_to_a_person(planned):
    """As SQL it would be another name: snapshots write it with a backslash."""
    odd = 's."odd\\x0aname"'
    looks = [
        {("table", odd): Fact(HEAP.replace("pay", name), "oid 7; column 1-2")}
        for name in ("pay", "salary")
    ]
    [step] = planned(*looks).steps
    assert step.by_hand
    assert step.text.startswith(f"ALTER TABLE {odd} RENAME COLUMN salary TO pay -- holds a")


def test_one_that_was_renamed_twice_is_named_back_once(planned):
    made = planned(*(tables(**{name: (HEAP, "oid 7")}) for name in ("a", "b", "c")))
    assert sql(made) == ["ALTER TABLE s.c RENAME TO a"]


def test_one_in_another_schema_goes_back_there(planned):
    there = {("table", "old.salary"): Fact(HEAP, "oid 7")}
    made = planned(tables(wages=(HEAP, "oid 7")), there)
    assert sql(made) == [
        "ALTER TABLE old.salary SET SCHEMA s", "ALTER TABLE s.salary RENAME TO wages",
    ]  # fmt: skip


def test_what_differs_beside_the_name_and_what_hangs_on_it_follows(planned):
    first = {
        **tables(wages=(KEYED, "oid 7; column 1-2; constraint 9")),
        ("policy", "s.wages.own"): Fact("using: (id > 0)", "oid 8"),
        ("privilege", "table:s.wages<-x"): Fact("SELECT", ""),
    }
    then = {
        **tables(salary=(f"{KEYED}\ncolumn more: text", "oid 7; column 1-3; constraint 9")),
        ("policy", "s.salary.own2"): Fact("using: (id > 0)", "oid 8"),
        ("privilege", "table:s.salary<-x"): Fact("SELECT", ""),
        ("privilege", "table:s.salary<-eve"): Fact("SELECT", ""),
    }
    assert sql(planned(first, then)) == [
        "ALTER TABLE s.salary RENAME TO wages",
        "ALTER POLICY own2 ON s.wages RENAME TO own",
        'REVOKE SELECT ON TABLE s.wages FROM "eve"',
        "ALTER TABLE s.wages DROP COLUMN more",
    ]


def test_a_renamed_column_and_constraint_are_named_back(planned):
    detail = "oid 7; column 1-2; constraint 9"
    then = KEYED.replace("column pay", "column salary").replace("wages_pkey", "k")
    made = planned(tables(wages=(KEYED, detail)), tables(wages=(then, detail)))
    assert sql(made) == [
        "ALTER TABLE s.wages RENAME COLUMN salary TO pay",
        "ALTER TABLE s.wages RENAME CONSTRAINT k TO wages_pkey",
    ]


def test_a_partition_has_its_parents_names_back_with_it(planned):
    parent = "owner: o\nkind: partitioned table\npartition by: RANGE (id)\ncolumn id: integer"
    child = (
        "owner: o\nkind: table\npartition of: s.t FOR VALUES FROM (1) TO (2)\ncolumn id: integer"
    )
    before = tables(t=(parent, "oid 1; column 1"), t1=(child, "oid 2; column 1"))
    after = tables(
        t=(parent.replace("column id", "column ident").replace("(id)", "(ident)"),
           "oid 1; column 1"),
        t1=(child.replace("column id", "column ident"), "oid 2; column 1"),
    )  # fmt: skip
    assert sql(planned(before, after)) == ["ALTER TABLE s.t RENAME COLUMN ident TO id"]


def test_another_one_that_is_just_like_it_is_dropped_and_nobody_asks_whether_it_was_renamed(
    planned,
):
    """Keys speak for a rename; the numbers do not."""
    made = planned(tables(wages=(KEYED, "oid 7")), tables(salary=(KEYED, "oid 8")))
    assert [(step.text, step.loses, step.by_hand) for step in made.steps][:2] == [
        ("DROP TABLE s.salary", True, False),
        ("CREATE TABLE s.wages (id integer, pay numeric)", False, False),
    ]
    assert not any("renamed" in step.note for step in made.steps)


def test_another_column_that_is_just_like_it_is_no_renamed_one(planned):
    made = planned(
        tables(wages=(HEAP, "oid 7; column 1-2")),
        tables(wages=(HEAP.replace("column pay", "column badge"), "oid 7; column 1,3")),
    )
    assert sql(made) == [
        "ALTER TABLE s.wages DROP COLUMN badge", "ALTER TABLE s.wages ADD COLUMN pay numeric",
    ]  # fmt: skip
    assert "renamed" not in made.steps[0].note


def test_a_number_that_was_given_anew_proves_nothing(planned):
    """There was a look without either."""
    made = planned(tables(wages=(HEAP, "oid 7")), {}, tables(salary=(HEAP, "oid 7")))
    assert "DROP TABLE s.salary" in sql(made)


def test_one_that_was_replaced_under_its_name_is_not_the_one_before(planned):
    """wages was dropped, made anew and then renamed: the declared name is of either."""
    made = planned(
        tables(wages=(HEAP, "oid 7")), tables(wages=(HEAP, "oid 8")), tables(pay=(HEAP, "oid 8"))
    )
    assert sql(made) == ["ALTER TABLE s.pay RENAME TO wages"]


def test_what_two_may_be_is_left_to_a_person(planned):
    made = planned(
        tables(a=(KEYED, "oid 1")), tables(b=(KEYED, "oid 1"), a=(KEYED, "oid 2")),
        tables(b=(KEYED, "oid 1"), c=(KEYED, "oid 2")),
    )  # fmt: skip
    assert not any(step.phase is Phase.NAME_BACK for step in made.steps)


def test_without_numbers_nothing_is_named_back(planned):
    made = planned(tables(wages=(KEYED, "")), tables(salary=(KEYED, "")))
    assert sql(made)[0] == "by hand: ALTER TABLE s.salary RENAME TO wages"
