"""What a membership, another owner or an attribute lets a role do, in words."""

import pytest

from collector.drift.baseline import Fact, Known, Scope
from collector.drift.reach import Consequences
from collector.drift.state import OpenDrift
from model.catalog import CatalogKind
from tests.collector.drift.story import difference

PAYROLL = "payroll<-analyst"


def known(*databases):
    def facts(kind, database, **values):
        found = {name: Fact(value, "") for name, value in values.items()}
        return Scope("host-a", "5432", CatalogKind(kind), database), Known(found, found)

    of_cluster = [
        facts("membership", "", **{PAYROLL: "member"}),
        facts("role", "", payroll="superuser=false", analyst="superuser=false"),
    ]
    granted = {"schema:hr<-PUBLIC": "USAGE"}
    granted |= {f"table:hr.{name}<-payroll": "SELECT" for name in ("bonus", "salary")}
    tables = dict.fromkeys(("hr.bonus", "hr.salary"), "owner: hr\nkind: table")
    of_databases = [
        facts(kind, database, **values)
        for database in databases
        for kind, values in (("privilege", granted), ("table", tables))
    ]
    return dict([*of_cluster, *of_databases])


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        (("shop",), ("analyst read hr.* (2 objects)",)),
        (
            ("shop", "staging"),
            (
                "analyst read hr.* (2 objects) in shop",
                "analyst read hr.* (2 objects) in staging",
            ),
        ),
    ],
)
def test_the_database_is_named_where_there_are_several(databases, said):
    scope = Scope("host-a", "5432", CatalogKind.MEMBERSHIP, "")
    drift = OpenDrift(scope, difference(PAYROLL, None, "member"), 0, 0, 0)
    assert Consequences().of(known(*databases), [drift]) == said


def test_what_is_of_the_cluster_is_said_once_and_in_no_database():
    seen = known("postgres", "shop")
    copy = {"copy": Fact("owner: analyst", "")}
    seen[Scope("host-a", "5432", CatalogKind.DATABASE, "")] = Known(copy, copy)
    grants = {"database:copy<-PUBLIC": Fact("CONNECT, TEMPORARY", "")}
    scope = Scope("host-a", "5432", CatalogKind.PRIVILEGE, "")
    seen[scope] = Known(grants, grants)
    drift = OpenDrift(
        scope, difference("database:copy<-PUBLIC", None, "CONNECT, TEMPORARY"), 0, 0, 0
    )
    assert Consequences().of(seen, [drift]) == (
        "payroll connect to and make temporary tables in database copy",
    )


SECRET = "owner: hr\nkind: table"
SEEN = {
    ("role", ""): dict.fromkeys(("hr", "hr_read", "g1", "victim", "svc"), "superuser=false"),
    ("membership", ""): {},
    ("database", ""): {"shop": "owner: hr"},
    ("privilege", "shop"): {
        "schema:hr<-PUBLIC": "USAGE",
        "table:hr.public<-PUBLIC": "SELECT",
        "table:hr.secret1<-g1": "SELECT",
        "table:hr.salary<-hr_read": "SELECT",
    },
    ("schema", "shop"): {"hr": "owner: hr"},
    ("table", "shop"): dict.fromkeys(("hr.public", "hr.salary", "hr.secret1"), SECRET),
    ("function", "shop"): {"hr.f()": "owner: hr\nkind: function"},
}


def let(kind, database, name, before, after):
    """What this difference lets roles do, on top of what was SEEN."""
    seen = {key: dict(values) for key, values in SEEN.items()}
    seen[kind, database][name] = after
    known = {}
    for (each, where), values in seen.items():
        facts = {name: Fact(value, "") for name, value in values.items()}
        known[Scope("host-a", "5432", CatalogKind(each), where)] = Known(facts, facts)
    scope = Scope("host-a", "5432", CatalogKind(kind), database)
    drift = OpenDrift(scope, difference(name, before, after), 0, 0, 0)
    return Consequences().of(known, [drift])


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        (("membership", "", "g1<-victim", None, "member"), ("victim read hr.secret1",)),
        (("privilege", "shop", "table:hr.public<-svc", None, "UPDATE"), ()),
        (("role", "", "fresh", None, "superuser=false"), ()),
        (("role", "", "svc", "superuser=false", "superuser=true"), ("svc do everything",)),
        (("role", "", "root2", None, "superuser=true"), ("root2 do everything",)),
        (("role", "", "hr", "superuser=true", "superuser=true createdb=true"), ()),
        (
            ("table", "shop", "hr.salary", SECRET, SECRET.replace("hr", "hr_read")),
            ("hr_read do everything with hr.salary",),
        ),
        (("table", "shop", "hr.salary", SECRET, f"{SECRET}\nrow security: on"), ()),
        (("table", "shop", "hr.salary", None, SECRET), ()),
        (("schema", "shop", "hr", "owner: hr", "owner: svc"), ("svc create in schema hr",)),
        (
            ("database", "", "copy", "owner: hr", "owner: svc"),
            ("svc connect to, create in and make temporary tables in database copy",),
        ),
    ],
)
def test_what_a_difference_lets_roles_do_and_does_not_say_itself(drift, said):
    assert let(*drift) == said
