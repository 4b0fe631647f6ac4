"""What a membership lets a role do is said of each database, if it is several."""

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
