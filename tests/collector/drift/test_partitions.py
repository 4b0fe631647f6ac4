"""Partitions made by schedule are no drift; what else becomes of them is."""

import pytest

from collector.drift.baseline import Fact, Scope
from collector.drift.declaration import export
from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.engine import Drift
from collector.drift.expectations import Expectations
from collector.drift.partitions import accepting
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US

TABLES = Scope("host-a", "5432", CatalogKind.TABLE, "shop")
EVENTS = "owner: app\nkind: partitioned table\ncolumn id: bigint"
ACCEPTED = {"public.events": Fact(EVENTS, ""), "public.orders": Fact("owner: app", "")}


def part(of="public.events", owner="app", bound="FOR VALUES IN (7)"):
    return Fact(f"owner: {owner}\nkind: table\npartition of: {of} {bound}\ncolumn id: bigint", "")


def news(**found):
    """Names that are accepted beside what was."""
    observed = {**ACCEPTED, **found}
    return sorted({*accepting(TABLES, ACCEPTED, observed)} - {*ACCEPTED})


def test_a_new_partition_of_an_accepted_table_is_accepted():
    assert news(events_7=part(), events_rest=part(bound="DEFAULT")) == ["events_7", "events_rest"]


def test_a_partition_of_a_new_partition_is_accepted_with_it():
    assert news(b=part(of="a"), a=part(), c=part(of="b")) == ["a", "b", "c"]


def test_somebody_elses_partition_is_told():
    assert news(events_7=part(owner="mallory")) == []


def test_a_new_table_and_its_partitions_are_told():
    assert news(log=Fact(EVENTS, ""), log_1=part(of="log")) == []


def test_a_parent_may_have_an_odd_name():
    name = 'public."for values ""x"'
    accepted = {name: Fact(EVENTS, "")}
    observed = accepted | {"p": part(of=name)}
    assert set(accepting(TABLES, accepted, observed)) == {name, "p"}


def test_a_partition_that_changes_or_goes_is_a_difference():
    accepted = {**ACCEPTED, "events_7": part()}
    assert accepting(TABLES, accepted, ACCEPTED)["events_7"] == part()
    changed = {**ACCEPTED, "events_7": part(owner="mallory")}
    assert accepting(TABLES, accepted, changed)["events_7"] == part()


def test_other_kinds_are_left_alone():
    policies = TABLES._replace(kind=CatalogKind.POLICY)
    assert accepting(policies, {}, {"p": part()}) == {}


@pytest.mark.parametrize(
    ("parent", "partition", "told"),
    [("", "", False), ("on", "", True), ("on", "on", False), ("on", "forced", False),
     ("forced", "on", True)],
)  # fmt: skip
def test_a_partition_without_its_parents_row_security_is_told(parent, partition, told):
    def secured(fact, how):
        return Fact(f"{fact.value}\nrow security: {how}", "") if how else fact

    accepted = {"public.events": secured(Fact(EVENTS, ""), parent)}
    observed = accepted | {"p": secured(part(), partition)}
    assert ("p" not in accepting(TABLES, accepted, observed)) is told


PARENT = (
    "owner: app\nkind: partitioned table\npartition by: RANGE (id)\ncolumn id: bigint not null"
    "\ncolumn note: text default 'x'\nconstraint events_pkey: PRIMARY KEY (id)"
    "\nconstraint positive: CHECK ((id > 0))"
    "\nindex by_note: CREATE INDEX by_note ON ONLY public.events USING btree (lower(note))"
)
ITS_PART = (
    "owner: app\nkind: table\npartition of: public.events FOR VALUES IN (7)"
    "\ncolumn id: bigint not null\ncolumn note: text default 'x'"
    "\nconstraint e7_pkey: PRIMARY KEY (id)\nconstraint positive: CHECK ((id > 0))"
    "\nindex e7_lower_idx: CREATE INDEX e7_lower_idx ON public.e7 USING btree (lower(note))"
)


@pytest.mark.parametrize("own", ["", " generated always as identity"])
def test_a_partition_need_not_have_its_parents_identity(own):
    parent = PARENT.replace("bigint not null", "bigint not null generated always as identity")
    mine = ITS_PART.replace("bigint not null", f"bigint not null{own}")
    accepted = {"public.events": Fact(parent, "")}
    observed = accepted | {"public.e7": Fact(mine, "")}
    assert "public.e7" in accepting(TABLES, accepted, observed)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", False),
        ("kind: table", "kind: partitioned table\npartition by: HASH (id)", False),
        ("kind: table", "kind: table\ntablespace: fast\noptions: fillfactor=70", False),
        ("text default 'x'", "text not null default 'x'", False),
        ("ITS", "index more: CREATE UNIQUE INDEX more ON public.e7 USING btree (note, \"a(b\")",
         False),
        ("ITS", "constraint u: UNIQUE (note)", False),
        ("kind: table", "kind: foreign table\nserver: far\nforeign options: filename '/x'", True),
        ("text default 'x'", "text default hr.steal('y')", True),
        ("text default 'x'", "text", True),
        ("ITS", "constraint small: CHECK ((id < 0))", True),
        ("ITS", "rule rr: CREATE RULE rr AS ON INSERT TO public.e7 DO ALSO NOTHING", True),
        ("ITS", "index more: CREATE INDEX more ON public.e7 USING btree (hr.steal(note))", True),
        ("ITS", "index more: CREATE INDEX more ON public.e7 USING btree (id) WHERE hr.f(id)", True),
        ("kind: table", "kind: table\npersistence: unlogged", True),
    ],
)  # fmt: skip
def test_a_partition_whose_rows_fare_otherwise_than_its_parents_is_told(old, new, told):
    value = f"{ITS_PART}\n{new}" if old == "ITS" else ITS_PART.replace(old, new)
    accepted = {"public.events": Fact(PARENT, "")}
    observed = accepted | {"public.e7": Fact(value, "")}
    assert ("public.e7" not in accepting(TABLES, accepted, observed)) is told


GRANTED = {"table:public.events<-reader": "SELECT", "table:public.events<-writer": "INSERT*",
           "default:tables of app<-nightly": "SELECT",
           "default:tables of app in public<-staff": "SELECT"}  # fmt: skip


class Server:
    """A drift that accepted ``public.events``; each look makes what came a snapshot of its own."""

    def __init__(self, folder, **words):
        self.drift = Drift(folder, attribution_seconds=0, **words)
        self.second = 0
        self.privileges = dict(GRANTED)
        self.tables = {name: fact.value for name, fact in ACCEPTED.items()}
        self.look()

    def look(self, tables=(), privileges=()):
        """Names of differences that are told."""
        self.second += 1
        self.tables |= dict(tables)
        self.privileges |= dict(privileges)
        kinds = (CatalogKind.PRIVILEGE, CatalogKind.TABLE)
        items = [
            CatalogItem(kind, "shop", name, value)
            for kind, facts in zip(kinds, (self.privileges, self.tables), strict=True)
            for name, value in facts.items()
        ]
        snapshot = Snapshot(
            START_US + self.second, "5432", "shop", kinds, tuple(items), "15.4", cluster_wide=False
        )
        news = self.drift.on_commit({}, [("host-a", snapshot)], self.second, self.second)
        return [row["name"] for row in news.rows]


SEVENTH = {"public.events_7": part().value}


@pytest.mark.parametrize(
    ("who", "granted", "told"),
    [
        ("reader", "SELECT", False),
        ("reader", "SELECT*", True),
        ("reader", "SELECT, UPDATE", True),
        ("writer", "INSERT", False),
        ("nightly", "SELECT", False),
        ("staff", "SELECT", False),
        ("mallory", "SELECT", True),
        ("PUBLIC", "SELECT", True),
    ],
)
def test_what_a_new_partition_grants_is_told_if_its_parent_does_not(tmp_path, who, granted, told):
    name = f"table:public.events_7<-{who}"
    assert Server(tmp_path).look(SEVENTH, {name: granted}) == ([name] if told else [])


def test_privileges_that_came_with_a_partition_stay_accepted(tmp_path):
    server = Server(tmp_path)
    assert server.look(SEVENTH, {"table:public.events_7<-reader": "SELECT"}) == []
    assert server.look() == []
    other = {"table:public.events_7<-reader": "DELETE, SELECT"}
    assert server.look(privileges=other) == ["table:public.events_7<-reader"]


def test_a_declaration_need_not_name_new_partitions_nor_what_they_grant_like_their_parent(tmp_path):
    file = tmp_path / "desired.yaml"
    granted = {name: Fact(value, "") for name, value in GRANTED.items()}
    file.write_text(export({
        (CatalogKind.TABLE, "shop"): ACCEPTED, (CatalogKind.PRIVILEGE, "shop"): granted,
    }))  # fmt: skip

    def declared():
        return Expectations(declared=DeclaredState([DeclaredFile(file)]))

    server = Server(tmp_path, expectations=declared())
    reader, mallory = (f"table:public.events_7<-{who}" for who in ("reader", "mallory"))
    assert server.look(SEVENTH, {reader: "SELECT"}) == []
    assert server.look() == []
    assert server.look(privileges={mallory: "SELECT"}) == [mallory]
    again = Drift(tmp_path, expectations=declared())
    again.tick(10**12)
    assert {row["name"] for row in again.status().rows} == {mallory}


def test_what_is_granted_on_a_partition_later_is_told(tmp_path):
    server = Server(tmp_path)
    assert server.look(SEVENTH) == []
    name = "table:public.events_7<-reader"
    assert server.look(privileges={name: "SELECT"}) == [name]


def test_a_partition_that_is_told_has_its_privileges_told(tmp_path):
    name = "table:public.events_7<-reader"
    tables = {"public.events_7": part(owner="mallory").value}
    assert sorted(Server(tmp_path).look(tables, {name: "SELECT"})) == ["public.events_7", name]
