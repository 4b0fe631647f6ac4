"""Schemas, sequences, types, routines and roles that were renamed: a plan names them back."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Fact
from collector.drift.plan import make, script
from collector.drift.plan.steps import Phase
from model.catalog import CLUSTER_KINDS, CatalogKind
from tests.collector.drift.remembered import past_of

OF_CLUSTER = CLUSTER_KINDS - {CatalogKind.PRIVILEGE}
KINDS = (
    "role", "membership", "setting", "schema", "table", "sequence", "type", "function", "policy",
    "privilege", "trigger",
)  # fmt: skip


def whole(look):
    found = {(kind, "" if kind in OF_CLUSTER else "shop"): {} for kind in map(CatalogKind, KINDS)}
    for (kind, name), fact in look.items():
        where = "" if CatalogKind(kind) in OF_CLUSTER else "shop"
        found[CatalogKind(kind), where][name] = Fact(*fact)
    return found


@pytest.fixture
def planned(tmp_path):
    """A function of looks ((kind, name) -> (value, detail) each): the plan from the last back to
    the first as a declaration, which has no numbers."""

    def plan(*looks):
        wholes = [whole(look) for look in looks]
        declared = {
            key: {name: Fact(fact.value, "") for name, fact in facts.items()}
            for key, facts in wholes[0].items()
        }
        return make(declared, wholes[-1], past_of(tmp_path, *wholes))

    return plan


def sql(made):
    return [("by hand: " if step.by_hand else "") + step.text for step in made.steps]


def no_loss(made):
    return not any(step.loses or step.by_hand for step in made.steps)


SEQUENCE = "owner: o\nincrement: 1"


def test_a_sequence_keeps_its_value_under_its_name(planned):
    made = planned(
        {("sequence", "s.a"): (SEQUENCE, "oid 1"), ("privilege", "sequence:s.a<-x"): ("USAGE", "")},
        {("sequence", "s.b"): (SEQUENCE, "oid 1"), ("privilege", "sequence:s.b<-x"): ("USAGE", "")},
    )
    assert sql(made) == ["ALTER SEQUENCE s.b RENAME TO a"]
    assert (made.steps[0].phase, no_loss(made)) == (Phase.NAME_BACK, True)


def test_an_owned_sequence_moves_with_its_table(planned):
    heap = "owner: o\nkind: table\ncolumn id: integer"
    owned = f"{SEQUENCE}\nowned by: %s.t.id"
    made = planned(
        {("table", "s.t"): (heap, "oid 1; column 1"),
         ("sequence", "s.t_id_seq"): (owned % "s", "oid 2")},
        {("table", "x.t"): (heap, "oid 1; column 1"),
         ("sequence", "x.t_id_seq"): (owned % "x", "oid 2")},
    )  # fmt: skip
    assert sql(made) == ["ALTER TABLE x.t SET SCHEMA s"]


def test_a_type_has_its_name_back_in_all_that_uses_it(planned):
    def look(own):
        return {
            ("type", f"s.{own}"): ("owner: o\nkind: enum\nlabels: 'a'", "oid 1"),
            ("table", "s.t"): (f"owner: o\nkind: table\ncolumn m: s.{own}", "oid 2; column 1"),
            ("function", f"s.f(s.{own})"): ("owner: o\nkind: function\nbody: x", "oid 3"),
            ("privilege", f"function:s.f(s.{own})<-x"): ("EXECUTE", ""),
            ("privilege", f"type:s.{own}<-x"): ("USAGE", ""),
        }

    assert sql(planned(look("mood"), look("temper"))) == ["ALTER TYPE s.temper RENAME TO mood"]


def test_a_routine_has_its_name_back_and_its_schema(planned):
    body = "owner: o\nkind: function\nreturns: trigger\nbody: sha256:1"
    trigger = "table: s.t\nfunction: %s()\ndefinition: EXECUTE FUNCTION %s()"

    def look(own):
        return {
            ("function", f"{own}()"): (body, "oid 1"),
            ("trigger", "s.t.tr"): (trigger.replace("%s", own), "oid 2"),
            ("privilege", f"function:{own}()<-x"): ("EXECUTE", ""),
        }

    assert sql(planned(look("s.f"), look("app.g"))) == [
        "ALTER ROUTINE app.g() SET SCHEMA s", "ALTER ROUTINE s.g() RENAME TO f",
    ]  # fmt: skip


def test_of_a_routine_that_differs_too_the_difference_follows(planned):
    made = planned(
        {("function", "s.f(integer)"): ("owner: o\nkind: function\nsecurity: invoker", "oid 1")},
        {("function", "s.g(integer)"): ("owner: eve\nkind: function\nsecurity: definer", "oid 1")},
    )
    assert sql(made) == [
        "ALTER ROUTINE s.g(integer) RENAME TO f",
        "ALTER ROUTINE s.f(integer) SECURITY INVOKER",
        'ALTER ROUTINE s.f(integer) OWNER TO "o"',
    ]


def test_a_schema_takes_all_that_is_in_it_back(planned):
    def look(schema, table="t"):
        return {
            ("schema", schema): ("owner: o", "oid 1"),
            ("table", f"{schema}.{table}"): (
                f"owner: o\nkind: table\ncolumn id: integer\ncolumn m: {schema}.mood\n"
                f"index i: CREATE INDEX i ON {schema}.{table} USING btree (id)",
                "oid 2; column 1-2",
            ),
            ("table", "other.v"): (f"owner: o\nkind: view\ntext: SELECT {schema}.f()", "oid 6"),
            ("type", f"{schema}.mood"): ("owner: o\nkind: enum\nlabels: 'a'", "oid 3"),
            ("sequence", f"{schema}.q"): (SEQUENCE, "oid 4"),
            ("function", f"{schema}.f({schema}.mood)"): ("owner: o\nkind: function", "oid 5"),
            ("policy", f"{schema}.{table}.p"): ("using: (id > 0)", "oid 7"),
            ("privilege", f"table:{schema}.{table}<-x"): ("SELECT", ""),
            ("privilege", f"schema:{schema}<-x"): ("USAGE", ""),
            ("privilege", f"default:tables of bob in {schema}<-x"): ("SELECT", ""),
        }

    made = planned(look("hr"), look("people"))
    assert sql(made) == ["ALTER SCHEMA people RENAME TO hr"]
    assert sql(planned(look("hr"), look("people"), look("people", "t2"))) == [
        "ALTER SCHEMA people RENAME TO hr", "ALTER TABLE hr.t2 RENAME TO t",
    ]  # fmt: skip


def test_what_came_into_a_renamed_schema_goes_by_its_name_of_then(planned):
    made = planned(
        {("schema", "hr"): ("owner: o", "oid 1")},
        {("schema", "people"): ("owner: o", "oid 1"),
         ("privilege", "schema:people<-eve"): ("USAGE", ""),
         ("sequence", "people.extra"): (SEQUENCE, "oid 9")},
    )  # fmt: skip
    assert sql(made) == [
        "ALTER SCHEMA people RENAME TO hr", 'REVOKE USAGE ON SCHEMA hr FROM "eve"',
        "DROP SEQUENCE hr.extra",
    ]  # fmt: skip


def test_a_role_has_its_name_back_wherever_it_stands(planned):
    def look(role):
        return {
            ("role", role): ("superuser=false login=true", "oid 1"),
            ("membership", f"staff<-{role}"): ("member", ""),
            ("setting", f"work_mem@{role}"): ("1MB", "of a role"),
            ("table", "s.t"): (f"owner: {role}\nkind: table\ncolumn id: integer", "oid 2"),
            ("policy", "s.t.p"): (f"roles: {role}\nusing: true", "oid 3"),
            ("privilege", f"table:s.u<-{role}"): ("SELECT", ""),
        }

    made = planned(look("etl"), look("Loader"))
    assert sql(made) == ['ALTER ROLE "Loader" RENAME TO "etl"']
    assert "MD5" in made.steps[0].note
    assert script(made, title="t").index("RENAME TO") > 0


def test_names_that_changed_together_go_back_together(planned):
    def look(role, schema, table):
        return {
            ("role", role): ("login=true", "oid 1"),
            ("schema", schema): (f"owner: {role}", "oid 2"),
            ("table", f'{schema}."{table}"'): ("owner: o\nkind: table\ncolumn id: text", "oid 3"),
            ("function", f"{schema}.f()"): ("owner: o\nkind: function", "oid 4"),
            ("privilege", f'table:{schema}."{table}"<-{role}'): ("SELECT", ""),
            ("privilege", f"function:{schema}.f()<-{role}"): ("EXECUTE", ""),
            ("privilege", f"schema:{schema}<-{role}"): ("USAGE", ""),
            ("privilege", f"default:tables of {role} in {schema}<-x"): ("SELECT", ""),
        }

    assert sql(planned(look("staff", "hr", "a b"), look("crew", "people", "c d"))) == [
        'ALTER ROLE "crew" RENAME TO "staff"', "ALTER SCHEMA people RENAME TO hr",
        'ALTER TABLE hr."c d" RENAME TO "a b"',
    ]  # fmt: skip


def test_another_role_in_its_place_is_made_and_dropped_as_ever(planned):
    made = planned(
        {("role", "etl"): ("login=true", "oid 1")}, {("role", "x"): ("login=true", "oid 2")}
    )
    assert not any(step.phase is Phase.NAME_BACK for step in made.steps)
    assert any(step.text.startswith("DROP ROLE") and step.loses for step in made.steps)
