"""How the names of a plan are laid over those of a text."""

from dataclasses import replace

import pytest

from agent.catalog.relations import FUNCTION, Relation
from agent.guard.plans import Plan
from agent.judge import with_plan
from agent.planned import (
    CHANGING,
    MANY_NAMES,
    UNREADABLE,
    Touched,
    goes_beyond,
    is_resolved,
    named,
    overlaid,
)
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape
from rules import View

NAMES = {
    1: Relation("hr.salaries", "r"),
    2: Relation("public.pay", "v"),
    3: Relation("hr.salaries_2026", "r", (4,), ("hr.salaries_all",)),
    4: Relation("hr.salaries_all", "p"),
    5: Relation("scratch.t", "r"),
    6: Relation("pg_temp.salaries", "r"),
    7: Relation("pg_catalog.pg_roles", "v"),
    8: Relation("pg_catalog.pg_authid", "r"),
    FUNCTION + 1: Relation("ext.get_raw_page", "C", (), ("get_raw_page_1_9",)),
    FUNCTION + 2: Relation("public.page", "C", (), ("get_raw_page_1_9",)),
    FUNCTION + 3: Relation("public.report", "-"),
    FUNCTION + 4: Relation("ext.dblink_exec", "C"),
}


def plan(reads=(), writes=(), commands=("select",), complete=True, **words) -> Plan:
    return Plan(commands, reads, writes, 10.0, 1.0, complete, **words)


def shape(reads=(), writes=(), verbs=("select",)) -> Shape:
    changes = tuple(f"{verb} {name}" for verb in verbs if verb in CHANGING for name in writes)
    return Shape(
        ParseStatus.PARSED, "", "", verbs=verbs, reads=reads, writes=writes, changes=changes
    )


def touched(**words) -> Touched:
    return named(plan(**words), NAMES)


def test_what_is_behind_a_view_stands_beside_the_view():
    seen = overlaid(shape(reads=("pay",)), touched(reads=(2, 1)))
    assert seen.reads == ("pay", "public.pay", "hr.salaries")


def test_what_a_system_view_hides_is_not_read_save_through_a_view_of_ones_own():
    assert named(plan(reads=(7, 8)), NAMES).reads == ("pg_catalog.pg_roles",)
    assert "pg_catalog.pg_authid" in named(plan(reads=(8,)), NAMES).reads
    assert "pg_catalog.pg_authid" in named(plan(reads=(2, 7, 8)), NAMES).reads


def test_a_name_without_a_schema_stays_beside_the_full_one():
    seen = overlaid(shape(reads=("salaries",)), touched(reads=(1,)))
    assert seen.reads == ("salaries", "hr.salaries")


def test_a_text_that_says_all_stays_the_same_shape():
    said = shape(reads=("hr.salaries",))
    assert overlaid(said, touched(reads=(1,))) is said


def test_who_writes_a_partition_writes_its_parent():
    text = shape(writes=("hr.salaries_2026",), verbs=("delete",))
    seen = overlaid(text, touched(writes=(3,), commands=("delete",)))
    assert seen.writes == ("hr.salaries_2026", "hr.salaries_all")


def test_what_a_rewrite_rule_does_is_among_the_verbs():
    text = shape(writes=("public.inbox",), verbs=("insert",))
    seen = overlaid(text, touched(writes=(1,), commands=("delete",)))
    assert seen.verbs == ("insert", "delete")
    assert "hr.salaries" in seen.writes


def test_a_table_that_the_transaction_has_made_is_known_by_the_text_alone():
    text = shape(writes=("pg_temp.fresh",), verbs=("delete",))
    seen = overlaid(text, touched(writes=(77,), commands=("delete",)))
    assert seen.writes == ("pg_temp.fresh",)


def test_a_relation_that_neither_text_nor_catalog_names_goes_by_its_number():
    seen = overlaid(shape(reads=("hr.salaries",)), touched(reads=(1, 77)))
    assert seen.reads == ("hr.salaries", "oid:77")


def test_a_relation_renamed_in_the_open_transaction_has_its_old_name_too():
    text = shape(writes=("scratch.harmless",), verbs=("delete",))
    seen = overlaid(text, touched(writes=(1,), commands=("delete",)))
    assert seen.writes == ("scratch.harmless", "hr.salaries")


@pytest.mark.parametrize(
    ("text", "reads", "expected"),
    [
        (("t",), (5,), True),
        (("scratch.t",), (5,), True),
        (("t", "other"), (5,), False),
        (("t",), (5, 77), False),
        (("salaries",), (6,), True),
        ((), (), True),
    ],
)
def test_names_are_resolved_if_each_bare_one_has_a_full_one(text, reads, expected):
    assert is_resolved(shape(reads=text), touched(reads=reads)) is expected


def test_a_plan_that_could_not_be_read_says_nothing_and_lasts_not():
    said = shape(reads=("salaries",))
    assert overlaid(said, UNREADABLE) is said
    assert not UNREADABLE.lasting
    assert not is_resolved(said, UNREADABLE)


def test_partitions_of_a_large_table_go_by_their_parent():
    many = range(1000, 1000 + MANY_NAMES)
    names = NAMES | {
        oid: Relation(f"hr.part_{oid}", "r", (4,), ("hr.salaries_all",)) for oid in many
    }
    seen = named(plan(reads=(4, *many)), names)
    assert seen.reads == ("hr.salaries_all",)


def test_what_touches_more_than_could_be_read_is_not_understood():
    view = View(shape(reads=("hr.salaries",)), Session(BackendKey(1, 1)))
    assert view.complete
    assert not with_plan(view, touched(reads=(1,), complete=False)).complete


def flags(text: Shape, **words) -> tuple[str, ...]:
    return overlaid(text, touched(**words)).flags


def test_a_rewrite_rule_that_deletes_all_is_a_delete_without_where():
    text = shape(writes=("public.inbox",), verbs=("insert",))
    words = {"writes": (1,), "commands": ("delete",)}
    assert flags(text, **words, whole=(("delete", 1),)) == ("missing_where",)
    assert flags(text, **words) == ()


def test_a_rule_that_deletes_all_of_another_table_than_the_text_names_has_no_where():
    text = shape(writes=("public.pay",), verbs=("delete",))
    words = {"writes": (2, 1), "commands": ("delete",), "whole": (("delete", 1),)}
    assert flags(text, **words) == ("missing_where",)


@pytest.mark.parametrize("name", ["hr.salaries", "salaries", "db.hr.salaries"])
def test_of_what_the_text_deletes_the_text_says_whether_there_is_a_where(name):
    """A condition that is true for every row is gone from the plan."""
    text = shape(writes=(name,), verbs=("delete",))
    assert flags(text, writes=(1,), commands=("delete",), whole=(("delete", 1),)) == ()


@pytest.mark.parametrize("name", ["hr.salaries", "salaries", "db.hr.salaries"])
def test_a_condition_of_which_the_server_has_left_nothing_is_trivial(name):
    """Not where an index is read instead, which may be one over just these rows."""
    text = shape(writes=(name,), verbs=("delete",))
    words = {"writes": (1,), "commands": ("delete",), "whole": (("delete", 1),)}
    assert flags(text, **words, bare=(("delete", 1),)) == ("trivial_where",)
    without = replace(text, flags=("missing_where",))
    assert flags(without, **words, bare=(("delete", 1),)) == ("missing_where",)


def test_a_merge_of_whose_on_nothing_is_left_is_trivial_if_its_clauses_choose_nothing():
    """``WHEN MATCHED AND t.old THEN DELETE`` chooses by itself, so its text has no ``merge t``."""
    choosing = shape(writes=("salaries",), verbs=("merge", "delete"))
    words = {"writes": (1,), "commands": ("merge",), "bare": (("merge", 1),)}
    assert flags(replace(choosing, changes=("merge salaries",)), **words) == ("trivial_where",)
    assert flags(replace(choosing, changes=()), **words) == ()
    assert flags(replace(choosing, changes=("merge pay",)), **words) == ()


@pytest.mark.parametrize(
    ("said", "called", "functions"),
    [
        (("report",), (3, 1), ("report", "ext.get_raw_page")),
        (("get_raw_page",), (1,), ("get_raw_page",)),
        (("report",), (2,), ("report", "public.page", "get_raw_page")),
        ((), (3,), ()),
    ],
)
def test_functions_in_c_that_a_plan_calls_are_named_whatever_calls_them(said, called, functions):
    text = replace(shape(), functions=said)
    assert overlaid(text, touched(functions=called)).functions == functions


def test_a_call_that_connects_elsewhere_has_the_flag_of_one_whatever_calls_it():
    assert flags(shape(), functions=(4,)) == ("connection",)
    assert flags(shape(), functions=(1,)) == ()


def test_what_calls_a_function_without_a_name_is_asked_about_each_time():
    assert touched(functions=(1, 3)).lasting
    assert not touched(functions=(1, 9)).lasting


def test_all_of_a_partition_belongs_to_the_parent_that_the_text_names():
    text = shape(writes=("salaries_all",), verbs=("delete",))
    assert flags(text, writes=(4, 3), commands=("delete",), whole=(("delete", 3),)) == ()


def test_a_bare_name_that_two_written_tables_have_names_neither():
    text = shape(writes=("salaries",), verbs=("delete",))
    assert "missing_where" in flags(
        text, writes=(1, 6), commands=("delete",), whole=(("delete", 1),)
    )


def test_what_nobody_can_say_counts_as_without_where_only_beside_the_text():
    words = {"writes": (1,), "commands": ("delete",), "unclear": ("delete",)}
    assert flags(shape(verbs=("insert",)), **words) == ("missing_where",)
    assert flags(shape(verbs=("delete",)), **words) == ()


def test_a_text_whose_where_may_fold_is_asked_about_each_time_unless_one_scan_tells():
    text = replace(shape(writes=("pay",), verbs=("delete",)), changes=("delete pay", "foldable"))
    joined = touched(writes=(1,), commands=("delete",), changed=(1,), plain=False)
    assert goes_beyond(text, joined)
    assert not goes_beyond(text, replace(joined, plain=True))


def test_a_plan_goes_beyond_a_text_that_does_not_have_its_delete():
    text = shape(writes=("salaries",), verbs=("delete",))
    deleting = touched(writes=(1,), commands=("delete",), changed=(1,), plain=False)
    assert goes_beyond(shape(verbs=("insert",)), deleting)
    assert goes_beyond(shape(writes=("pay",), verbs=("delete",)), deleting)
    assert not goes_beyond(text, deleting)
    assert not goes_beyond(shape(verbs=("call",)), touched(reads=(1,), plain=False))


def test_a_plan_of_one_scan_does_not_go_beyond_what_the_kernel_remembers():
    deleting = touched(writes=(1,), commands=("delete",), changed=(1,))
    assert not goes_beyond(shape(verbs=("insert",)), deleting)


SALARIES_TWICE = (("delete", 1, False), ("delete", 1, True))


def test_a_condition_in_the_text_is_no_condition_for_what_a_rule_does_to_the_same_table():
    """``WITH a AS (DELETE FROM hr.salaries WHERE id = -1 RETURNING 1) DELETE FROM public.pay``."""
    text = shape(writes=("hr.salaries", "public.pay"), verbs=("delete",))
    words = {"writes": (1, 2), "commands": ("delete",), "whole": (("delete", 1),)}
    assert flags(text, **words, nodes=SALARIES_TWICE) == ("missing_where",)
    assert flags(text, **words, nodes=(("delete", 1, True),)) == ()


def test_a_plan_with_no_more_changes_than_the_text_goes_by_the_text():
    text = replace(
        shape(writes=("hr.salaries",), verbs=("delete",)),
        changes=("delete hr.salaries", "delete salaries"),
    )
    words = {"writes": (1,), "commands": ("delete",)}
    assert flags(text, **words, whole=(("delete", 1),), nodes=SALARIES_TWICE) == ()
    again = (*SALARIES_TWICE, ("delete", 1, False))
    assert flags(text, **words, whole=(("delete", 1),), nodes=again) == ("missing_where",)
    assert flags(text, **words, nodes=(("delete", 1, False),) * 3) == ()


def test_an_update_of_a_table_is_no_condition_for_a_delete_of_it():
    text = replace(
        shape(writes=("hr.salaries", "public.pay"), verbs=("update", "delete")),
        changes=("update hr.salaries", "delete public.pay"),
    )
    words = {"writes": (1, 2), "commands": ("update", "delete")}
    assert flags(text, **words, whole=(("delete", 1),)) == ("missing_where",)
    assert flags(text, **words, whole=(("update", 1),)) == ()


def test_a_plan_with_more_changes_than_the_text_is_held_each_time():
    text = shape(writes=("hr.salaries",), verbs=("delete",))
    nodes = (("delete", 1, False),) * 2
    words = {"writes": (1,), "commands": ("delete",), "changed": (1,), "plain": False}
    assert not goes_beyond(text, touched(**words, nodes=nodes[:1]))
    assert goes_beyond(text, touched(**words, nodes=nodes))
    assert goes_beyond(replace(text, flags=("multi",)), touched(**words, nodes=nodes[:1]))
