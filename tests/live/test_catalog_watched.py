"""Rows of watched tables and queries, read with the least rights."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from pydantic import ValidationError

from agent.catalog import Watched, take_snapshot
from agent.catalog.watched import grants_for_watched, watched_in
from config.schema import Catalog
from model.catalog import WATCHED_NAME, CatalogKind
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = pytest.mark.live

SECRET = "canary-5ecret"
FLAGS = Watched("public.flags", table="public.flags")
SETUP = """
CREATE ROLE pgwarden LOGIN;
CREATE TABLE public.flags (name text PRIMARY KEY, enabled boolean, share numeric, note text,
                           at timestamptz, "Odd: ""c" text);
INSERT INTO public.flags VALUES
    ('checkout', true, 0.50, E'two\\nlines ', '2024-03-01 12:00+01', 'x'),
    ('empty', NULL, NULL, 'NULL', NULL, NULL),
    (E'it''s, [odd]\\n', false, 1, '', NULL, NULL);
CREATE TABLE public.plain (a int, b text);
INSERT INTO public.plain VALUES (1, 'x'), (1, 'y'), (2, 'x');
CREATE SCHEMA "Cfg";
CREATE TABLE "Cfg"."model registry" (model text, stage text, url text, max_tokens int, api_key text,
                                     PRIMARY KEY (model, stage));
INSERT INTO "Cfg"."model registry" VALUES
    ('m1', 'prod', 'https://bob:canary-5ecret@example.com/', 4096, 'canary-5ecret'),
    ('m1', 'test', 'https://example.com/', 128, '');
CREATE TABLE public.prompts (id int PRIMARY KEY, prompt text);
INSERT INTO public.prompts VALUES (1, repeat('word ', 5000));
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster(pgaudit=False) as cluster:
        with cluster.connect() as admin:
            admin.execute("CREATE DATABASE shop")
        with cluster.connect(dbname="shop") as admin:
            admin.execute(SETUP)
            admin.execute("GRANT SELECT ON public.flags, public.plain, public.prompts TO pgwarden")
        yield cluster


@pytest.fixture
def admin(cluster) -> Iterator[psycopg.Connection]:
    with cluster.connect(dbname="shop") as connection:
        yield connection


def read(cluster, *watched, dbname="shop", **more):
    with cluster.connect(user="pgwarden", dbname=dbname) as connection:
        kinds = frozenset([CatalogKind.WATCHED])
        return take_snapshot(connection, "5432", kinds=kinds, watched=watched, **more)


def rows(cluster, *watched):
    snapshot = read(cluster, *watched)
    assert snapshot.problems == ()
    assert snapshot.kinds == (CatalogKind.WATCHED,)
    named = [item.name for item in snapshot.items if item.value == WATCHED_NAME]
    assert named == sorted(each.name for each in watched)
    return {
        item.name: item.value.splitlines() for item in snapshot.items if item.value != WATCHED_NAME
    }


def problem(cluster, *watched):
    snapshot = read(cluster, *watched)
    assert snapshot.kinds == ()
    assert snapshot.items == ()
    [sentence] = snapshot.problems
    return sentence


def test_a_row_is_an_item_by_its_primary_key_with_a_line_for_each_column(cluster):
    assert rows(cluster, FLAGS) == {
        "public.flags[checkout]": [
            "name: checkout", "enabled: t", "share: 0.50", "note: two\\nlines ",
            "at: 2024-03-01 11:00:00+00", 'U&"Odd\\003A ""c": x',
        ],
        "public.flags[empty]": [
            "name: empty", "enabled: NULL", "share: NULL", "note: 'NULL'", "at: NULL",
            'U&"Odd\\003A ""c": NULL',
        ],
        "public.flags['it''s, [odd]\\n']": [
            "name: it's, [odd]\\n", "enabled: f", "share: 1", "note: ", "at: NULL",
            'U&"Odd\\003A ""c": NULL',
        ],
    }  # fmt: skip


def test_a_change_of_a_row_changes_its_item_alone(cluster, admin):
    before = rows(cluster, FLAGS)
    admin.execute("UPDATE public.flags SET enabled = false WHERE name = 'checkout'")
    after = rows(cluster, FLAGS)
    admin.execute("UPDATE public.flags SET enabled = true WHERE name = 'checkout'")
    assert [name for name in after if after[name] != before[name]] == ["public.flags[checkout]"]
    assert "enabled: f" in after["public.flags[checkout]"]


def test_secret_columns_and_values_that_look_like_secrets_are_hashed(cluster, admin):
    registry = Watched("registry", table='"Cfg"."model registry"', secrets=frozenset(["stage"]))
    for statement in grants_for_watched([registry], "pgwarden"):
        admin.execute(statement)
    found = rows(cluster, registry)
    assert SECRET not in repr(found)
    assert len(found) == 2
    assert all(name.startswith("registry[m1, hidden ") for name in found)
    told = "\n".join(line for lines in found.values() for line in lines)
    assert "max_tokens: 4096" in told
    assert "url: https://example.com/" in told
    assert "url: hidden " in told
    assert "api_key: hidden " in told
    assert "stage: prod" not in told


def test_a_long_value_is_shown_in_part_and_hashed_whole(cluster, admin):
    prompts = Watched("prompts", table="public.prompts")
    before = rows(cluster, prompts)["prompts[1]"][1]
    assert "(25000 characters, sha256:" in before
    assert len(before) < 5000
    admin.execute("UPDATE public.prompts SET prompt = prompt || '.'")
    assert rows(cluster, prompts)["prompts[1]"][1] != before


def test_a_query_is_watched_under_its_name(cluster):
    query = "SELECT a, count(*) AS n FROM public.plain WHERE b LIKE '%x%' GROUP BY a; "
    found = rows(cluster, Watched("counts", query=query, key=("a",)))
    assert found == {"counts[1]": ["a: 1", "n: 1"], "counts[2]": ["a: 2", "n: 1"]}


def test_a_query_tells_what_it_reads_through_views_and_of_partitions_the_whole(cluster, admin):
    admin.execute(
        'CREATE TABLE public."Odd, t" (a int);'
        "CREATE VIEW public.seen AS SELECT a FROM public.plain;"
        "CREATE TABLE public.days (a int) PARTITION BY LIST (a);"
        "CREATE TABLE public.day_1 PARTITION OF public.days FOR VALUES IN (1);"
        'GRANT SELECT ON public.seen, public.days, public."Odd, t" TO pgwarden'
    )
    query = """
        SELECT s.a, count(*) AS n FROM public.seen AS s LEFT JOIN public.days AS d USING (a)
        WHERE NOT EXISTS (SELECT FROM public."Odd, t") AND s.a::text NOT LIKE '%x%' GROUP BY s.a
    """
    snapshot = read(cluster, Watched("counts", query=query, key=("a",)))
    told = {item.detail for item in snapshot.items if item.kind is CatalogKind.WATCHED}
    assert told == {'reads public."Odd, t", public.days, public.plain'}
    admin.execute('DROP VIEW public.seen; DROP TABLE public.days, public."Odd, t"')


@pytest.mark.parametrize(
    ("watched", "sentence"),
    [
        (Watched("p", table="public.plain"), "p: it has no primary key; name its key columns"),
        (Watched("p", table="public.plain", key=("a",)), "two rows have the key 1; name a unique"),
        (Watched("p", table="public.plain", key=("c",)), "it has no column c"),
        (Watched("p", table="public.flags", limit=2), "more than 2 rows; raise its limit"),
        (Watched("p", table="public.none"), "write its name with the schema"),
        (Watched("p", table="none"), "write its name with the schema"),
        (Watched("p", query="SELECT 1; DROP TABLE x", key=("a",)), "syntax error"),
        (Watched("p", query="SELECT pg_sleep(9), 1 AS a", key=("a",)), "takes less than 5 s"),
        (
            Watched("p", query="SELECT 1 AS a) AS x; COMMIT; SELECT (1", key=("a",)),
            "cannot insert multiple commands",
        ),
        (
            Watched("p", query="WITH x AS (DELETE FROM public.plain RETURNING a) TABLE x",
                    key=("a",)),
            "correct agent.catalog.watched",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_sentence_with_a_remedy(cluster, watched, sentence):
    assert sentence in problem(cluster, watched)


def test_a_table_that_is_not_granted_names_the_grant(cluster, admin):
    admin.execute('REVOKE ALL ON SCHEMA "Cfg" FROM pgwarden')
    sentence = problem(cluster, Watched("r", table='"Cfg"."model registry"'))
    assert 'GRANT USAGE ON SCHEMA "Cfg" TO pgwarden;' in sentence
    assert 'GRANT SELECT ON "Cfg"."model registry" TO pgwarden;' in sentence


def test_a_schema_that_everybody_may_use_is_named_once_it_is_taken_away(cluster, admin):
    admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    try:
        for entry in (FLAGS, Watched("q", query="SELECT 1 AS a FROM public.flags", key=("a",))):
            assert 'GRANT USAGE ON SCHEMA "public" TO pgwarden;' in problem(cluster, entry)
    finally:
        admin.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


def test_rows_behind_a_policy_are_unread_and_not_deleted(cluster, admin):
    admin.execute("ALTER TABLE public.flags ENABLE ROW LEVEL SECURITY")
    try:
        assert "BYPASSRLS" in problem(cluster, FLAGS)
    finally:
        admin.execute("ALTER TABLE public.flags DISABLE ROW LEVEL SECURITY")


def test_one_table_that_cannot_be_read_leaves_no_gap_that_looks_like_deleted_rows(cluster):
    assert "public.none" in problem(cluster, FLAGS, Watched("n", table="public.none"))


def test_a_table_is_read_in_its_database_only(cluster):
    elsewhere = Watched("public.flags", table="public.flags", database="shop")
    assert read(cluster, elsewhere, dbname="postgres").kinds == ()
    assert read(cluster, elsewhere, dbname="shop", cluster_wide=False).items
    assert read(cluster, FLAGS, dbname="shop", cluster_wide=False).kinds == ()


def test_the_configuration_says_what_is_watched():
    catalog = Catalog.model_validate(
        {
            "watched": [
                {"table": "public.flags", "database": "shop", "key": ["name"]},
                {"query": "SELECT 1 AS a", "name": "one", "key": ["a"], "secrets": ["a"]},
            ]
        }
    )
    flags, one = watched_in(catalog)
    assert (flags.name, flags.database, flags.key) == ("public.flags", "shop", ("name",))
    assert (one.name, one.secrets, one.limit) == ("one", frozenset("a"), 10_000)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{"table": "public.a", "query": "SELECT 1"}], "either table or query"),
        ([{"key": ["a"]}], "either table or query"),
        ([{"query": "SELECT 1"}], "a name and a key"),
        ([{"table": "flags"}], "pattern"),
        ([{"table": "a.b"}, {"table": "a.b"}], "the same name"),
    ],
)
def test_a_wrong_entry_is_refused(entries, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Catalog.model_validate({"watched": entries})


@pytest.mark.parametrize(("encoding", "codec"), [("SQL_ASCII", "utf-8"), ("LATIN1", "latin-1")])
def test_names_and_rows_are_read_in_the_encoding_of_their_database(cluster, encoding, codec):
    with cluster.connect() as admin:
        admin.execute(
            f"CREATE DATABASE db_{codec[0]} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        )
    with cluster.connect(dbname=f"db_{codec[0]}") as admin:
        admin.execute('CREATE TABLE public."größe" (größe text PRIMARY KEY)'.encode(codec))
        admin.execute("INSERT INTO public.\"größe\" VALUES ('süß')".encode(codec))
        admin.execute('GRANT SELECT ON public."größe" TO pgwarden'.encode(codec))
    watched = Watched("g", table='public."größe"')
    with cluster.connect(user="pgwarden", dbname=f"db_{codec[0]}") as connection:
        snapshot = take_snapshot(connection, "5432", watched=[watched])
    items = {(item.kind, item.name): item.value for item in snapshot.items}
    assert items["watched", "g[süß]"] == '"größe": süß'
    assert 'column "größe": text not null' in items["table", 'public."größe"'].splitlines()


def test_a_table_tells_by_which_triggers_its_rows_may_be_written(cluster, admin):
    admin.execute("""
        CREATE TABLE public."Odd o" (i int); CREATE TABLE public.quiet (i int);
        CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN UPDATE Flags SET enabled = false; RETURN NEW; END $$;
        CREATE FUNCTION public.silent() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN UPDATE no_flags SET enabled = false; RETURN NEW; END $$;
        CREATE TRIGGER fire AFTER INSERT ON "Odd o" FOR EACH ROW EXECUTE FUNCTION fire();
        CREATE TRIGGER own AFTER INSERT ON flags FOR EACH ROW EXECUTE FUNCTION fire();
        CREATE TRIGGER off AFTER INSERT ON quiet FOR EACH ROW EXECUTE FUNCTION fire();
        ALTER TABLE quiet DISABLE TRIGGER off;
        CREATE TRIGGER other AFTER INSERT ON quiet FOR EACH ROW EXECUTE FUNCTION silent()
    """)
    with cluster.connect(user="pgwarden", dbname="shop") as connection:
        found = take_snapshot(connection, "5432", watched=[FLAGS])
    admin.execute('DROP FUNCTION public.fire() CASCADE; DROP TABLE public."Odd o", public.quiet')
    told = {item.detail for item in found.items if item.kind == CatalogKind.WATCHED}
    assert told == {'written by triggers of public."Odd o"'}
