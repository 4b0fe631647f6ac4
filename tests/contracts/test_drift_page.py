"""docs/drift.md: what analyst could read on a day, as it was known then, is one query."""

import re
from pathlib import Path

import duckdb
import pytest

from analytics.drift.effective import access_of, what_can
from collector.schema import VIEWS
from model.catalog import CatalogItem, CatalogKind

PAGE = (Path(__file__).resolve().parents[2] / "docs/drift.md").read_text()
[QUERY] = re.findall(r"<!-- effective -->\n```sql\n(.*?)```", PAGE, re.DOTALL)
MARCH_3 = "TIMESTAMP '2026-03-03 12:00'"
ALWAYS = ("2026-01-01", None)
MISTAKEN = ("2026-03-02", "2026-03-04")

# kind, database, name, value, when it was so, when that was believed
FACTS = [
    ("setting", "", "server_version_num", "150004", ALWAYS, ALWAYS),
    ("role", "", "analyst", "superuser=false inherit=true", ALWAYS, ALWAYS),
    ("role", "", "staff", "superuser=false inherit=true", ALWAYS, ALWAYS),
    ("role", "", "closed", "superuser=false inherit=false", ALWAYS, ALWAYS),
    ("membership", "", "staff<-analyst", "member", ALWAYS, ALWAYS),
    ("membership", "", "payroll<-staff", "member", ("2026-03-01", "2026-03-05"), ALWAYS),
    ("membership", "", "closed<-analyst", "member", ALWAYS, ALWAYS),
    ("membership", "", "vault<-closed", "member", ALWAYS, ALWAYS),
    ("schema", "shop", "hr", "owner: boss", ALWAYS, ALWAYS),
    ("schema", "shop", "own", "owner: staff", ALWAYS, ALWAYS),
    ("schema", "shop", "shut", "owner: boss", ALWAYS, ALWAYS),
    ("privilege", "shop", "schema:hr<-PUBLIC", "USAGE", ALWAYS, ALWAYS),
    ("table", "shop", "hr.salary", "owner: boss\nkind: table", ALWAYS, ALWAYS),
    ("table", "shop", "own.notes", "owner: staff\nkind: table", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:hr.salary<-payroll", "INSERT, SELECT", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:hr.people<-analyst", "SELECT*", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:hr.log<-analyst", "INSERT", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:hr.safe<-vault", "SELECT", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:shut.t<-analyst", "SELECT", ALWAYS, ALWAYS),
    ("privilege", "shop", "column:hr.staff.name<-PUBLIC", "SELECT", ALWAYS, ALWAYS),
    ("privilege", "shop", "table:hr.past<-analyst", "SELECT", ("2026-02-01", "2026-03-01"), ALWAYS),
    ("privilege", "shop", "table:hr.late<-analyst", "SELECT", ALWAYS, ("2026-03-10", None)),
    ("privilege", "shop", "table:hr.error<-analyst", "SELECT", ALWAYS, MISTAKEN),
    ("privilege", "dw", "table:hr.other<-analyst", "SELECT", ALWAYS, ALWAYS),
]  # fmt: skip


@pytest.fixture
def views():
    connection = duckdb.connect(":memory:")
    columns = ", ".join(f'"{c.name}" {c.duckdb_type}' for c in VIEWS["drift_observed"].columns)
    connection.execute(f"CREATE TABLE drift_observed ({columns})")
    for kind, database, name, value, valid, known in FACTS:
        connection.execute(
            "INSERT INTO drift_observed BY NAME SELECT 'host-a' AS agent, '5432' AS cluster,"
            " ? AS kind, ? AS database, ? AS name, ? AS value, '' AS detail, ?::TIMESTAMP AS"
            " valid_from, ?::TIMESTAMP AS valid_to, ?::TIMESTAMP AS known_from,"
            " ?::TIMESTAMP AS known_to",
            [kind, database, name, value, *valid, *known],
        )
    return connection


def answer(views, valid=MARCH_3, known=MARCH_3, role="analyst"):
    query = QUERY.replace(f"{MARCH_3} AS valid_at", f"{valid} AS valid_at")
    query = query.replace(f"{MARCH_3} AS known_at", f"{known} AS known_at")
    query = query.replace("'analyst' AS role", f"'{role}' AS role")
    return [relation for (relation,) in views.execute(query).fetchall()]


AT_ALL_TIMES = ["hr.people", "hr.staff.name", "own.notes"]


def test_what_analyst_could_read_on_3_march_as_it_was_known_then(views):
    assert answer(views) == sorted([*AT_ALL_TIMES, "hr.salary", "hr.error"])


def test_with_hindsight_it_is_another_answer(views):
    later = answer(views, known="TIMESTAMP '2026-04-01'")
    assert later == sorted([*AT_ALL_TIMES, "hr.salary", "hr.late"])


def test_on_another_day_the_membership_had_ended(views):
    day = "TIMESTAMP '2026-03-06'"
    assert answer(views, valid=day, known=day) == AT_ALL_TIMES


def test_the_query_and_the_collectors_own_closure_agree(views):
    items = [
        CatalogItem(CatalogKind(kind), database, name, value)
        for kind, database, name, value, valid, known in FACTS
        if valid != ("2026-02-01", "2026-03-01") and known != ("2026-03-10", None)
    ]
    facts = access_of(items, "shop", 15)
    for role in ("analyst", "staff", "closed"):
        ours = what_can(facts, role).get("SELECT", frozenset())
        assert {name.partition(":")[2] for name in ours} == {*answer(views, role=role)}, role
