"""A statement's classes of data follow from the names in it, the worst case where one is vague."""

import pytest

from model.statement import MAX_NAMES
from rules import Tuning
from rules.data_classes import DataClasses
from tests.rules.rule_files import load, problems, rule, shape, view

CLASSES = DataClasses(
    {
        "personal": ["hr.people", "public.customers.email", "crm_*.contact"],
        "payroll": ["hr.salar*"],
    }
)


@pytest.mark.parametrize(
    ("facts", "classes"),
    [
        ({"reads": ("hr.people",)}, ("personal",)),
        ({"writes": ("hr.people",)}, ("personal",)),
        ({"reads": ("people",)}, ("personal",)),
        ({"reads": ("shop.hr.people",)}, ("personal",)),
        ({"reads": ("sales.people",)}, ()),
        ({"reads": ("hr.people_old",)}, ()),
        ({"reads": ("crm_eu.contact",)}, ("personal",)),
        ({"reads": ("hr.salaries", "hr.people")}, ("personal", "payroll")),
        ({"reads": ("hr.salar.x",)}, ()),
        ({"reads": ("public.customers",), "columns": ("id",)}, ()),
        ({"reads": ("public.customers",), "columns": ("email",)}, ("personal",)),
        ({"reads": ("customers", "b"), "columns": ("customers.email",)}, ("personal",)),
        ({"reads": ("customers", "b"), "columns": ("b.email",)}, ()),
        ({"reads": ("customers",), "columns": ("*",), "flags": ("star",)}, ("personal",)),
        ({"reads": ("customers",), "flags": ("unfiltered",)}, ("personal",)),
        ({"writes": ("customers",)}, ("personal",)),
        ({"reads": ("customers",)}, ()),
        ({"reads": ("orders",), "columns": ("email",)}, ()),
        ({"reads": ("pg_class",), "columns": ("*",), "flags": ("star",)}, ()),
        ({}, ()),
    ],
    ids=str,
)
def test_classes_follow_from_relations_and_columns(facts, classes):
    assert CLASSES.of(shape(**facts)) == classes


def test_a_pattern_for_a_whole_schema_takes_names_without_one():
    classes = DataClasses({"secret": ["hr.*"]})
    assert classes.of(shape(reads=("orders",))) == ("secret",)
    assert classes.of(shape(reads=("shop.orders",))) == ()
    assert classes.of(shape(reads=("pg_stat_activity",))) == ()


def test_too_many_names_to_list_are_all_classes():
    many = tuple(f"public.t{number}" for number in range(MAX_NAMES))
    assert CLASSES.of(shape(reads=many)) == ("personal", "payroll")


def test_files_and_configuration_name_classes_together(tmp_path):
    text = "data_classes:\n  secret: [a.b]\nrules:\n" + rule("'secret' in statement.data_classes")
    rules = load(tmp_path, text, tuning=Tuning(data_classes={"secret": ["a.c"]}))
    for name in ("a.b", "a.c"):
        assert rules.judge(view(shape(reads=(name,))))
    assert not rules.judge(view(shape(reads=("a.d",))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "data_classes:\n  secret: [hr.people]\nrules:\n"
            + rule("'secert' in statement.data_classes"),
            "rules.yaml:5: rule r: when: unknown data class 'secert'; did you mean 'secret'?",
        ),
        (
            "data_classes:\n  secret: ['hr..people']\nrules: []",
            "rules.yaml:2: data_classes.secret: 'hr..people' is no relation",
        ),
        ("data_classes:\n  secret: hr.people\nrules: []", "rules.yaml:2: data_classes.secret must"),
    ],
)
def test_a_mistake_about_classes_has_its_place(tmp_path, text, expected):
    found = problems(tmp_path, text)
    assert any(each.startswith(expected) for each in found), found


def test_a_bad_pattern_of_the_configuration_is_named(tmp_path):
    tuning = Tuning(data_classes={"secret": ["a b"]})
    assert problems(tmp_path, rule(), tuning=tuning) == [
        "configuration: rules.data_classes.secret: 'a b' is no relation, schema.relation or "
        "schema.relation.column"
    ]
