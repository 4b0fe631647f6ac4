"""Every kind of the catalog, read from PostgreSQL 15 with no more than the printed rights."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from agent.catalog import HostFiles, all_queries, fingerprint, take_snapshot
from agent.catalog.rights import grants, grants_for
from model.catalog import CLUSTER_KINDS, DATABASE_KINDS, OBJECT_KINDS, CatalogKind, Snapshot
from tests.live.catalog_world import world_for
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = pytest.mark.live

SECRET = "canary-5ecret"
UNWATCHED = set(CatalogKind) - {CatalogKind.WATCHED}
LOGICAL = {"wal_level": "logical"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster(pgaudit=False, settings=LOGICAL) as cluster:
        with cluster.connect() as admin:
            admin.execute("CREATE DATABASE shop")
        with cluster.connect(dbname="shop") as admin:
            for statement in [*world_for(15), *grants("pgwarden", 15)]:
                admin.execute(statement)
            for statement in grants_for(("subscriptions", "user_mappings"), "pgwarden", 15):
                admin.execute(statement)
        yield cluster


@pytest.fixture
def admin(cluster) -> Iterator[psycopg.Connection]:
    with cluster.connect(dbname="shop") as connection:
        yield connection


def snap(cluster, user="pgwarden", dbname="shop", **more) -> Snapshot:
    with cluster.connect(user=user, dbname=dbname) as connection:
        return take_snapshot(connection, "5432", **more)


@pytest.fixture(scope="module")
def whole(cluster) -> Snapshot:
    return snap(cluster)


def value(snapshot: Snapshot, kind: str, name: str) -> str:
    [item] = [each for each in snapshot.items if (each.kind, each.name) == (kind, name)]
    return item.value


def lines(snapshot: Snapshot, kind: str, name: str) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in value(snapshot, kind, name).splitlines()]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def names(snapshot: Snapshot, kind: CatalogKind) -> set[str]:
    return {item.name for item in snapshot.items if item.kind == kind}


def test_the_printed_rights_are_enough_for_every_kind(whole):
    assert whole.problems == ()
    assert set(whole.kinds) == UNWATCHED
    assert {item.kind for item in whole.items} == UNWATCHED - {CatalogKind.IDENT}


def test_a_superuser_reads_the_same(cluster, whole):
    more = snap(cluster, user="postgres")
    assert told(more) == told(whole)


def told(snapshot):
    return {(item.kind, item.database, item.name, item.value) for item in snapshot.items}


def test_no_secret_leaves_the_host(whole):
    assert SECRET not in repr(whole)


def test_every_object_has_its_own_database_and_its_owner(whole):
    for item in whole.items:
        of_cluster = item.kind in CLUSTER_KINDS - {CatalogKind.PRIVILEGE}
        if item.kind is not CatalogKind.PRIVILEGE:
            assert item.database == ("" if of_cluster else "shop"), item
    without = {
        CatalogKind.POLICY, CatalogKind.TRIGGER, CatalogKind.USER_MAPPING, CatalogKind.CAST,
    }  # fmt: skip
    for item in whole.items:
        if item.kind in OBJECT_KINDS - without | {CatalogKind.DATABASE, CatalogKind.TABLESPACE}:
            assert item.value.startswith("owner: "), item


def test_a_database_tells_its_number_beside_what_is_compared(whole, admin):
    (number,) = admin.execute("SELECT oid FROM pg_database WHERE datname = 'shop'").fetchone()
    (shop,) = [item for item in whole.items if (item.kind, item.name) == ("database", "shop")]
    (system,) = admin.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert shop.detail == f"oid {number} of cluster {system}"
    assert str(number) not in shop.value


def test_a_table_is_its_columns_constraints_indexes_and_rules(whole):
    told = lines(whole, "table", "hr.salary")
    assert told == {
        "owner": "alice",
        "kind": "table",
        "row security": "on",
        "column id": "bigint not null",
        "column person": "text collate \"C\" not null default 'nobody'::text",
        "column amount": "hr.money",
        "column at": "timestamp with time zone default now()",
        "column doubled": "integer generated always as ((1 + 1)) stored",
        "constraint salary_pkey": "PRIMARY KEY (id)",
        "constraint sane": "CHECK (((amount)::numeric > (0)::numeric))",
        "index salary_person": (
            "CREATE INDEX salary_person ON hr.salary USING btree (lower(person))"
        ),
        "rule never": "CREATE RULE never AS ON DELETE TO hr.salary DO INSTEAD NOTHING;",
    }


def test_a_view_is_its_text_on_one_line_and_a_hash_of_it(whole):
    told = lines(whole, "table", "hr.rich")
    assert (told["kind"], told["options"]) == ("view", "security_barrier=true")
    assert told["definition"].startswith("hidden "), "a plain hash lets its secret be guessed"
    assert lines(whole, "table", "hr.total")["definition"].startswith("sha256:")
    assert told["text"].startswith("SELECT salary.person, CASE WHEN ((salary.amount)::numeric > ")
    assert "'hidden " in told["text"]


def test_partitions_children_and_unlogged_tables_say_so(whole):
    assert lines(whole, "table", "hr.event")["partition by"] == "RANGE (at)"
    assert lines(whole, "table", "hr.event_1")["partition of"] == (
        "hr.event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
    )
    assert lines(whole, "table", "hr.child")["inherits"] == "hr.scratch"
    assert lines(whole, "table", "hr.scratch")["persistence"] == "unlogged"
    assert "hidden" in lines(whole, "table", "hr.scratch")["column api_token"]


def test_a_function_is_its_properties_and_a_hash_of_its_body(cluster, whole):
    told = lines(whole, "function", "hr.raise(integer)")
    body = told.pop("body")
    assert body.startswith("sha256:")
    assert told == {
        "owner": "postgres",
        "language": "sql",
        "kind": "function",
        "returns": "integer",
        "security": "definer",
        "volatility": "volatile",
        "set search_path": "hr, pg_temp",
    }
    assert lines(whole, "function", "hr.pay(who text, sum numeric)")["arguments"] == (
        "who text, sum numeric DEFAULT 1"
    )
    kinds = frozenset([CatalogKind.FUNCTION])
    assert "text: SELECT $1 + 1" in value(
        snap(cluster, kinds=kinds, function_bodies=True), "function", "hr.raise(integer)"
    )


def test_a_new_body_is_a_new_hash_and_nothing_else(cluster, admin, whole):
    admin.execute("CREATE OR REPLACE FUNCTION hr.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
                  "RETURN NULL; END'")  # fmt: skip
    now = snap(cluster)
    changed = told(now) - told(whole)
    assert [(kind, name) for kind, _, name, _ in changed] == [("function", "hr.look()")]
    admin.execute(
        "CREATE OR REPLACE FUNCTION hr.look() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NEW; END'"
    )
    assert told(snap(cluster)) == told(whole)


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("schema", "hr", "owner: alice"),
        ("schema", "public", "owner: pg_database_owner"),
        ("type", "hr.mood", "labels: 'sad', 'it''s ok'"),
        ("type", "hr.money", "base: numeric(12,2)"),
        ("type", "hr.money", "constraint money_check: CHECK ((VALUE >= (0)::numeric))"),
        ("type", "hr.pair", "column b: text"),
        ("type", "hr.span", "subtype: integer"),
        ("sequence", "hr.numbers", "increment: 5"),
        ("sequence", "hr.scratch_n_seq", "owned by: hr.scratch.n"),
        ("policy", "hr.salary.only_own", "roles: analyst"),
        ("policy", "hr.salary.only_own", "using: (person = CURRENT_USER)"),
        ("trigger", "hr.salary.audit", "enabled: always"),
        ("trigger", "hr.salary.audit", "function: hr.look"),
        ("event_trigger", "watch", "tags: CREATE TABLE"),
        ("cast", "int4 AS hr.mood", "context: implicit"),
        ("cast", "int4 AS hr.mood", "way: with function hr.feel(integer)"),
        ("cast", "hr.pair AS hr.mood[]", "context: assignment"),
        ("cast", "hr.pair AS hr.mood[]", "way: with inout"),
        ("operator", "hr.===(hr.mood, hr.mood)", "function: hr.same(hr.mood,hr.mood)"),
        ("operator", "hr.===(hr.mood, hr.mood)", "commutator: hr.===(hr.mood,hr.mood)"),
        ("operator", "hr.===(hr.mood, hr.mood)", "restrict: eqsel"),
        ("schema", "hr", 'collation U&"Odd\\003A c": libc C, owner postgres'),
        ("extension", "plpgsql", "trusted: yes"),
        ("language", "odd", "trusted: no"),
        ("language", "odd", "handler: plpgsql_call_handler"),
        ("foreign_server", "far", "wrapper: things"),
        ("foreign_server", "wrapper things", "owner: postgres"),
        ("publication", "news", "table hr.salary: all columns"),
        ("publication", "part", "table hr.salary: (id, person) where (id > 5)"),
        ("publication", "whole", "schema hr: all tables"),
        ("subscription", "copies", "enabled: no"),
        ("slot", "standby", "type: physical"),
        ("database", "shop", "owner: postgres"),
        ("tablespace", "pg_default", "owner: postgres"),
    ],
)
def test_each_kind_has_its_lines(whole, kind, name, line):
    assert line in value(whole, kind, name).splitlines()


def test_what_else_is_in_a_schema_is_a_line_of_it(whole):
    told = lines(whole, "schema", "hr")
    assert told.keys() == {
        "owner", 'collation U&"Odd\\003A c"', "conversion upside", "operator family moods of hash",
        "text search configuration plain", "text search dictionary words",
    }  # fmt: skip
    assert told["conversion upside"] == (
        "LATIN1 to UTF8 by iso8859_1_to_utf8, default, owner postgres"
    )
    assert told["text search dictionary words"].startswith("of simple, sha256:")


def test_a_built_in_cast_that_somebody_made_implicit_shows(cluster, admin, whole):
    update = "UPDATE pg_cast SET castcontext = %s WHERE castsource = 23 AND casttarget = 16"
    admin.execute(update, ["i"])
    try:
        changed = snap(cluster, kinds=frozenset([CatalogKind.SCHEMA]))
    finally:
        admin.execute(update, ["e"])
    before, after = (lines(each, "schema", "pg_catalog") for each in (whole, changed))
    assert {key for key in before if before[key] != after[key]} == {"built-in casts"}


def test_a_built_in_language_is_an_item_once_everybody_may_use_it(cluster, admin, whole):
    assert not [item for item in whole.items if item.kind == "language" and item.name == "c"]
    admin.execute("UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'c'")
    try:
        changed = snap(cluster, kinds=frozenset([CatalogKind.LANGUAGE]))
    finally:
        admin.execute("UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'c'")
    assert "trusted: yes" in value(changed, "language", "c").splitlines()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sequence:hr.numbers<-analyst", "USAGE"),
        ("column:hr.salary.amount<-analyst", "UPDATE"),
        ("foreign_server:far<-analyst", "USAGE"),
        ("foreign_data_wrapper:things<-analyst", "USAGE"),
        ("type:hr.mood<-analyst", "USAGE"),
        ("type:hr.pair<-PUBLIC", "(revoked)"),
        ("language:plpgsql<-PUBLIC", "(revoked)"),
        ("large_object:4711<-analyst", "SELECT"),
        ("tablespace:pg_default<-analyst", "CREATE"),
        ("parameter:log_statement<-analyst", "SET"),
        ("default:tables of alice in hr<-analyst", "SELECT"),
        ("default:functions of alice<-PUBLIC", "(revoked)"),
        ("default:types of alice<-analyst", "USAGE"),
    ],
)
def test_privileges_on_everything_that_has_them_are_items(whole, name, text):
    assert value(whole, "privilege", name) == text


def test_what_everybody_has_of_objects_to_come_is_no_grant_until_it_is_taken_away(
    cluster, admin, whole
):
    assert "default:types of alice<-PUBLIC" not in names(whole, CatalogKind.PRIVILEGE)
    back = "ALTER DEFAULT PRIVILEGES FOR ROLE alice GRANT EXECUTE ON FUNCTIONS TO PUBLIC"
    admin.execute(back)
    try:
        gone = names(whole, CatalogKind.PRIVILEGE) - names(snap(cluster), CatalogKind.PRIVILEGE)
    finally:
        admin.execute(back.replace("GRANT", "REVOKE").replace("TO PUBLIC", "FROM PUBLIC"))
    assert gone == {"default:functions of alice<-PUBLIC"}
    assert told(snap(cluster)) == told(whole)


def test_what_belongs_to_an_extension_or_to_initdb_is_left_out(cluster, admin, whole):
    admin.execute("CREATE EXTENSION pg_stat_statements")
    try:
        new = told(snap(cluster)) - told(whole)
    finally:
        admin.execute("DROP EXTENSION pg_stat_statements")
    assert {(kind, name) for kind, _, name, _ in new} == {("extension", "pg_stat_statements")}
    assert not [item for item in whole.items if item.name.startswith("information_schema.")]


def test_what_somebody_put_into_an_extension_is_a_line_of_it(cluster, admin, whole):
    admin.execute("CREATE TABLE hr.mine (id int); ALTER TABLE hr.mine ENABLE ROW LEVEL SECURITY")
    admin.execute(
        "CREATE FUNCTION hr.evil() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
    )
    try:
        admin.execute("ALTER EXTENSION plpgsql ADD FUNCTION hr.evil()")
        admin.execute("ALTER EXTENSION plpgsql ADD TABLE hr.mine")
        put_in = lines(snap(cluster), "extension", "plpgsql")
        admin.execute("ALTER TABLE hr.mine DISABLE ROW LEVEL SECURITY")
        admin.execute("CREATE OR REPLACE FUNCTION hr.evil() RETURNS int LANGUAGE sql AS 'SELECT 2'")
        later = lines(snap(cluster), "extension", "plpgsql")
    finally:
        admin.execute("ALTER EXTENSION plpgsql DROP FUNCTION hr.evil(); DROP FUNCTION hr.evil()")
        admin.execute("ALTER EXTENSION plpgsql DROP TABLE hr.mine; DROP TABLE hr.mine")
    assert put_in["member function hr.evil()"].startswith("security definer, sha256:")
    assert put_in["member table hr.mine"].startswith("row security on, sha256:")
    assert later["member function hr.evil()"].startswith("sha256:")
    off = put_in["member table hr.mine"].replace("security on", "security off")
    assert later["member table hr.mine"] == off
    assert told(snap(cluster)) == told(whole)


LPAD = """CREATE OR REPLACE FUNCTION pg_catalog.lpad(text, int) RETURNS text LANGUAGE sql
IMMUTABLE PARALLEL SAFE STRICT"""


@pytest.mark.parametrize(
    ("schema", "line", "did", "undone"),
    [
        ("pg_catalog", "functions", f"{LPAD} AS $$SELECT 'pwned'::text$$", ""),
        (
            "pg_catalog", "functions", "ALTER FUNCTION textlike(text, text) LEAKPROOF",
            "ALTER FUNCTION textlike(text, text) NOT LEAKPROOF",
        ),
        (
            "information_schema", "relations",
            "CREATE OR REPLACE VIEW information_schema.information_schema_catalog_name AS "
            "SELECT 'x'::information_schema.sql_identifier AS catalog_name", "",
        ),
    ],
)  # fmt: skip
def test_what_initdb_made_is_told_once_somebody_replaces_it(cluster, schema, line, did, undone):
    """In a database of its own, which is not put right again."""
    with cluster.connect() as admin:
        admin.execute("CREATE DATABASE replaced")
    try:
        before = lines(snap(cluster, dbname="replaced"), "schema", schema)
        with cluster.connect(dbname="replaced") as admin:
            admin.execute(did)
            after = lines(snap(cluster, dbname="replaced"), "schema", schema)
            assert {key for key in before if before[key] != after[key]} == {f"built-in {line}"}
            if undone:
                admin.execute(undone)
                assert lines(snap(cluster, dbname="replaced"), "schema", schema) == before
    finally:
        with cluster.connect() as admin:
            admin.execute("DROP DATABASE replaced")


def test_a_built_in_function_that_somebody_changed_is_listed(cluster, admin):
    admin.execute("ALTER FUNCTION pg_catalog.pg_sleep(double precision) SECURITY DEFINER")
    try:
        told = lines(snap(cluster), "function", "pg_catalog.pg_sleep(double precision)")
    finally:
        admin.execute("ALTER FUNCTION pg_catalog.pg_sleep(double precision) SECURITY INVOKER")
    assert told["security"] == "definer"
    assert not [n for n in names(snap(cluster), CatalogKind.FUNCTION) if n.startswith("pg_c")]


def test_odd_names_are_quoted_and_never_break_a_line(cluster, admin):
    admin.execute('CREATE SCHEMA "a.b"')
    admin.execute("""CREATE TABLE "a.b"."x "" ' y
        z" ("c: d" int, "e\nf" text, CONSTRAINT "k: \n" CHECK ("c: d" > 0))""")
    admin.execute('CREATE ROLE "we""ird\nrole <- x"')
    admin.execute('GRANT SELECT ON "a.b"."x "" \' y\n        z" TO "we""ird\nrole <- x"')
    try:
        snapshot = snap(cluster)
    finally:
        admin.execute('DROP SCHEMA "a.b" CASCADE')
        admin.execute('DROP ROLE "we""ird\nrole <- x"')
    [name] = [each for each in names(snapshot, CatalogKind.TABLE) if "a.b" in each]
    assert name == '"a.b"."x "" \' y\n        z"'
    assert list(lines(snapshot, "table", name)) == [
        "owner", "kind", 'column U&"c\\003A d"', 'column U&"e\\000Af"',
        'constraint U&"k\\003A \\000A"',
    ]  # fmt: skip


def test_a_quiet_day_changes_nothing(cluster, admin, whole):
    with cluster.connect(dbname="shop") as session:
        session.execute("CREATE TEMP TABLE t (id serial PRIMARY KEY, n hr.mood)")
        session.execute("CREATE TEMP VIEW v AS SELECT * FROM t")
        session.execute("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        session.execute("GRANT SELECT ON t TO analyst")
        session.execute("INSERT INTO hr.scratch DEFAULT VALUES")
        session.execute("SELECT nextval('hr.numbers')")
        admin.execute("REFRESH MATERIALIZED VIEW hr.total")
        admin.execute("VACUUM (FULL, ANALYZE) hr.scratch")
        admin.execute("REINDEX TABLE CONCURRENTLY hr.salary")
        admin.execute("SELECT pg_create_physical_replication_slot('gone', true, true)")
        now = snap(cluster)
    assert told(now) == told(whole)
    assert fingerprint(now) == fingerprint(whole)


def test_only_the_kinds_that_are_asked_for_are_read(cluster, whole):
    kinds = frozenset([CatalogKind.TABLE, CatalogKind.ROLE])
    some = snap(cluster, kinds=kinds)
    assert set(some.kinds) == kinds
    assert some.items == tuple(item for item in whole.items if item.kind in kinds)
    assert snap(cluster, kinds=kinds, cluster_wide=False).kinds == (CatalogKind.TABLE,)
    assert set(snap(cluster, cluster_wide=False).kinds) == DATABASE_KINDS - {CatalogKind.WATCHED}


def test_privileges_of_the_cluster_come_with_the_roles(cluster):
    """Whoever gets them tells by the roles that they are complete."""
    some = snap(cluster, kinds=frozenset([CatalogKind.PRIVILEGE]))
    assert set(some.kinds) == {CatalogKind.PRIVILEGE, CatalogKind.ROLE}


def test_a_role_that_may_do_nothing_names_what_it_lacks_and_drops_nothing(cluster, admin):
    admin.execute("CREATE ROLE poor LOGIN")
    poor = snap(cluster, user="poor")
    assert set(poor.kinds) == UNWATCHED - {CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT}
    problems = "\n".join(poor.problems)
    assert (
        'the setting of 5432/shop cannot be read (permission denied); GRANT pg_monitor TO "poor"'
        in problems
    )
    assert 'GRANT SELECT ON pg_catalog.pg_ident_file_mappings TO "poor"; GRANT EXECUTE' in problems
    assert 'GRANT SELECT ON pg_catalog.pg_user_mapping TO "poor";' in problems
    assert 'GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO "poor";' in problems
    assert "connection: unread" in value(poor, "subscription", "copies").splitlines()
    assert "foreign options: unread" in value(poor, "user_mapping", "far<-alice").splitlines()
    admin.execute("DROP ROLE poor")


@pytest.mark.parametrize(
    ("right", "kinds"),
    [
        ("SELECT ON pg_catalog.pg_policy", {"policy"}),
        ("SELECT ON pg_catalog.pg_proc", {"function", "schema", "privilege", "extension"}),
        ("SELECT ON pg_catalog.pg_roles", {"role", "setting", "privilege"}),
        ("EXECUTE ON FUNCTION pg_catalog.pg_get_expr(pg_node_tree,oid)", {"table", "policy"}),
    ],
)
def test_what_everybody_has_by_default_and_this_role_has_not_is_named_with_its_grant(
    cluster, admin, whole, right, kinds
):
    admin.execute(f"REVOKE {right} FROM PUBLIC")
    try:
        less = snap(cluster)
        problems = [each for each in less.problems if "permission denied" in each]
        assert kinds <= {*whole.kinds} - {*less.kinds}
        assert problems
        assert all(f"GRANT {right} TO pgwarden;" in each for each in problems), problems
        admin.execute(f"GRANT {right} TO pgwarden")
        assert snap(cluster).problems == ()
    finally:
        admin.execute(f"GRANT {right} TO PUBLIC")
        admin.execute(f"REVOKE {right} FROM pgwarden")


def test_what_is_said_to_be_missing_is_all_that_is_missing(cluster, admin):
    admin.execute("CREATE ROLE poor LOGIN")
    try:
        for sentence in snap(cluster, user="poor").problems:
            for statement in sentence.split("); ", 1)[1].split("; "):
                admin.execute(statement.rstrip(";"))
        assert snap(cluster, user="poor").problems == ()
    finally:
        admin.execute("DROP OWNED BY poor; DROP ROLE poor")


ODD_RULES = r"""
local all,"my db" alice,+staff,"odd "" name" md5
host  all , bob  10.0.0.5/8 scram-sha-256
host shop,\
  other @admins 192.168.1.7 255.255.255.0 reject
hostnossl replication all samenet md5
host all all db.example.com ident map="a b"
host all all ::1/64 ldap ldapserver=l ldapprefix="cn=" ldapsuffix=",o=x"
local all all ident # peer
host all all all trust
hots all all all trust
host all
host all all
host all all 10.0.0.1
host all all 10.0.0.0/8
local all all md6
"""


def test_files_of_the_host_say_what_the_server_does_not_show_to_the_role(cluster, admin):
    """And in the same words, so that a right that comes or goes is no drift."""
    kept = {name: (cluster.data / name).read_text() for name in ("pg_hba.conf", "pg_ident.conf")}
    (cluster.data / "pg_hba.conf").write_text(kept["pg_hba.conf"] + ODD_RULES)
    (cluster.data / "pg_ident.conf").write_text('m root pgwarden\nm "/^(.*)@x y$" "\\1"\n m a\n')
    (cluster.data / "admins").write_text("carol, dave\n")
    admin.execute("CREATE ROLE poor LOGIN IN ROLE pg_monitor")
    try:
        files = HostFiles(Path("/"), cluster.data)
        poor, rich = snap(cluster, user="poor", files=files), snap(cluster)
    finally:
        for name, text in kept.items():
            (cluster.data / name).write_text(text)
        admin.execute("DROP ROLE poor")
    for kind in ("hba", "ident"):
        own, servers = ({e[2:] for e in told(one) if e[0] == kind} for one in (poor, rich))
        assert own == servers
    assert value(poor, "ident", "m root pgwarden") == "allowed"


def test_a_line_that_the_server_cannot_use_is_told_with_its_place(cluster):
    conf = cluster.data / "postgresql.conf"
    kept = conf.read_text()
    conf.write_text(f"{kept}\nwork_mem = 'much'\n")
    try:
        [item] = [i for i in snap(cluster).items if i.name == "(configuration files)"]
    finally:
        conf.write_text(kept)
    assert item.value.startswith("work_mem: ")
    assert item.detail.endswith(f"postgresql.conf:{len(kept.splitlines()) + 2}")


def test_settings_keep_their_source_file_and_line(whole):
    [item] = [i for i in whole.items if (i.kind, i.name) == ("setting", "DateStyle")]
    assert "postgresql.conf:" in item.detail


def test_definitions_that_change_while_they_are_read_are_read_again(cluster, admin):
    """A view that is dropped and made again, all the time, under another session's snapshot."""
    stop = threading.Event()

    def churn() -> None:
        with closing(cluster.connect(dbname="shop")) as session:
            number = 0
            while not stop.is_set():
                number += 1
                session.execute(f"CREATE TABLE hr.churn_{number % 3} (id int PRIMARY KEY)")
                session.execute(f"CREATE VIEW hr.over_{number % 3} AS SELECT * FROM "
                                f"hr.churn_{number % 3}")  # fmt: skip
                session.execute(f"DROP TABLE hr.churn_{number % 3} CASCADE")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        deadline = time.monotonic() + 5
        read = 0
        while time.monotonic() < deadline:
            snapshot = snap(cluster)
            if CatalogKind.TABLE not in snapshot.kinds:
                assert any("table of 5432/shop" in problem for problem in snapshot.problems)
                continue
            read += 1
            assert "hr.salary" in names(snapshot, CatalogKind.TABLE)
            for item in snapshot.items:
                assert "???" not in item.value
    finally:
        stop.set()
        thread.join(10)
    assert read > 0


def test_the_cost_of_every_query_is_known(cluster):
    with cluster.connect(user="pgwarden", dbname="shop") as connection:
        costs = {cost.name: cost for cost in all_queries(connection)}
    assert costs["tables"].rows > 5
    assert all(cost.seconds >= 0 for cost in costs.values())
