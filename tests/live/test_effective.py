"""The closure of privileges says what PostgreSQL's own has_..._privilege functions say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.catalog import take_snapshot
from analytics.drift.effective import access_of, inherits, is_member, may_set, who_can
from model.catalog import CatalogItem, CatalogKind
from tests.conformance.servers import Server, fetch

pytestmark = pytest.mark.live

ROLES = ["r0", "r1", "r2", "r3", "r4", 'R "5']
SCHEMAS = ["s0", "s1"]
TABLES = ["t0", "t1", 'T "2']
PREDEFINED = ["pg_read_all_data", "pg_write_all_data"]
PRIVILEGES = {
    "table": ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
    "column": ["SELECT", "INSERT", "UPDATE", "REFERENCES"],
    "sequence": ["USAGE", "SELECT", "UPDATE"],
    "schema": ["USAGE", "CREATE"],
    "function": ["EXECUTE"],
    "database": ["CONNECT", "CREATE", "TEMPORARY"],
}
ASK = {
    "table": "has_table_privilege",
    "sequence": "has_sequence_privilege",
    "schema": "has_schema_privilege",
    "function": "has_function_privilege",
    "database": "has_database_privilege",
}
SETUP = "\n".join(
    [f"CREATE SCHEMA {schema};" for schema in SCHEMAS]
    + [
        f"CREATE TABLE {schema}.{quoted} (a int, b int);"
        for schema in SCHEMAS
        for quoted in ("t0", "t1", '"T ""2"')
    ]
    + [f"CREATE SEQUENCE {schema}.q;" for schema in SCHEMAS]
    + [
        f"CREATE FUNCTION {schema}.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        for schema in SCHEMAS
    ]
)
OBJECTS = """
SELECT 'schema', quote_ident(nspname), 'owner: ' || nspowner::regrole::text
FROM pg_namespace WHERE nspname = ANY(%(schemas)s)
UNION ALL
SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END,
       quote_ident(nspname) || '.' || quote_ident(relname), 'owner: ' || relowner::regrole::text
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = ANY(%(schemas)s) AND relkind IN ('r', 'S')
UNION ALL
SELECT 'function', quote_ident(nspname) || '.' || proname || '(' ||
       pg_get_function_identity_arguments(p.oid) || ')', 'owner: ' || proowner::regrole::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = ANY(%(schemas)s)
UNION ALL
SELECT 'database', datname, 'owner: ' || datdba::regrole::text FROM pg_database
"""


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module", params=[15, 16, 18])
def server(request) -> Iterator[Server]:
    fetch()
    with Server(major=request.param) as server:
        yield server


role = st.sampled_from(ROLES)
table = st.tuples(st.sampled_from(SCHEMAS), st.sampled_from(TABLES)).map(
    lambda t: f"{t[0]}.{ident(t[1])}"
)


def grants(kind: str, objects: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda what, name, who: f"GRANT {what} ON {kind} {name} TO {who}",
        st.sampled_from([*PRIVILEGES[kind], "ALL"]),
        objects,
        st.one_of(role.map(ident), st.just("PUBLIC")),
    )


columns = st.builds(
    lambda what, column, name, who: f"GRANT {what} ({column}) ON {name} TO {ident(who)}",
    st.sampled_from(PRIVILEGES["column"]),
    st.sampled_from(["a", "b"]),
    table,
    role,
)
owners = st.one_of(
    st.builds(lambda t, r: f"ALTER TABLE {t} OWNER TO {ident(r)}", table, role),
    st.builds(lambda s, r: f"ALTER SCHEMA {s} OWNER TO {ident(r)}", st.sampled_from(SCHEMAS), role),
    role.map(lambda r: f"ALTER DATABASE shop OWNER TO {ident(r)}"),
    role.map(lambda r: f"ALTER FUNCTION s0.f(int) OWNER TO {ident(r)}"),
)
others = st.one_of(
    grants("schema", st.sampled_from(SCHEMAS)),
    grants("sequence", st.sampled_from([f"{s}.q" for s in SCHEMAS])),
    grants("function", st.just("s1.f(int)")),
    grants("database", st.just("shop")),
    st.just("REVOKE EXECUTE ON FUNCTION s0.f(int) FROM PUBLIC"),
    st.just("REVOKE ALL ON DATABASE shop FROM PUBLIC"),
)
attributes = st.builds(
    lambda r, a: f"ALTER ROLE {ident(r)} {a}", role, st.sampled_from(["NOINHERIT", "SUPERUSER"])
)
# Groups are given to later roles only: PostgreSQL refuses circles.
memberships = st.builds(
    lambda pair, options: (pair, options),
    st.one_of(
        st.tuples(role, role).filter(lambda p: ROLES.index(p[0]) < ROLES.index(p[1])),
        st.tuples(st.sampled_from(PREDEFINED), role),
    ),
    st.sampled_from(["", "INHERIT FALSE", "SET FALSE", "INHERIT TRUE", "ADMIN TRUE"]),
)
worlds = st.tuples(
    st.lists(memberships, max_size=8),
    st.lists(st.one_of(grants("table", table), columns, others), max_size=12),
    st.lists(owners, max_size=3),
    st.lists(attributes, max_size=2),
)


def member_sql(entry, major: int) -> str:
    (group, member), options = entry
    if options and major < 16:
        options = "ADMIN OPTION" if options.startswith("ADMIN") else ""
    given = f" WITH {options}" if options else ""
    return f"GRANT {ident(group)} TO {ident(member)}{given}"


def facts_of(server: Server, major: int):
    with server.connect(dbname="shop") as connection:
        items = [*take_snapshot(connection, "c").items]
        # Kinds that the snapshot has by now say their owners themselves.
        have = {item.kind for item in items}
        for kind, name, value in connection.execute(OBJECTS, {"schemas": SCHEMAS}).fetchall():
            if CatalogKind(kind) not in have:
                database = "" if kind == "database" else "shop"
                items.append(CatalogItem(CatalogKind(kind), database, name, unquoted(value)))
        return access_of(items, "shop", major)


def unquoted(owner: str) -> str:
    name = owner.removeprefix("owner: ")
    return "owner: " + (name[1:-1].replace('""', '"') if name.startswith('"') else name)


def truth(connection, kind: str, names: list[str]) -> dict[tuple[str, str], set[str]]:
    rows = connection.execute(
        f"SELECT r.rolname, o.name, p.name FROM pg_roles r,"
        " unnest(%(names)s::text[]) o(name), unnest(%(privileges)s::text[]) p(name)"
        f" WHERE {ASK[kind]}(r.oid, o.name, p.name)",
        {"names": names, "privileges": PRIVILEGES[kind]},
    ).fetchall()
    found = {(name, privilege): set() for name in names for privilege in PRIVILEGES[kind]}
    for who, name, privilege in rows:
        found[name, privilege].add(who)
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=worlds)
def test_it_says_what_the_server_says(server, world):
    given_memberships, granted, owned, given_attributes = world
    with server.connect() as connection:
        connection.execute("DROP DATABASE IF EXISTS shop")
        for name in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {ident(name)}")
            connection.execute(f"CREATE ROLE {ident(name)}")
        connection.execute("CREATE DATABASE shop")
    with server.connect(dbname="shop") as connection:
        connection.execute(SETUP)
        for sql in (
            *given_attributes,
            *(member_sql(entry, server.major) for entry in given_memberships),
            *granted,
            *owned,
        ):
            connection.execute(sql)
    facts = facts_of(server, server.major)
    tables = [f"{s}.{t}" for s in SCHEMAS for t in ("t0", "t1", '"T ""2"')]
    by_kind = {
        "table": tables,
        "sequence": [f"{s}.q" for s in SCHEMAS],
        "schema": SCHEMAS,
        "function": [f"{s}.f(integer)" for s in SCHEMAS],
        "database": ["shop"],
    }
    with server.connect(dbname="shop") as connection:
        usage = truth(connection, "schema", SCHEMAS)
        for kind, names in by_kind.items():
            for (name, privilege), who in truth(connection, kind, names).items():
                asked = (f"{kind}:{name}", privilege)
                assert who_can(facts, *asked, reaching=False) == who, asked
                if kind in ("table", "sequence", "function"):
                    reach = who & usage[name.partition(".")[0], "USAGE"]
                    assert who_can(facts, *asked) == reach, asked
        for name in tables:
            for column in "ab":
                for privilege in PRIVILEGES["column"]:
                    rows = connection.execute(
                        "SELECT rolname FROM pg_roles WHERE has_column_privilege(oid, %s, %s, %s)",
                        (name, column, privilege),
                    ).fetchall()
                    asked = (f"column:{name}.{column}", privilege)
                    assert who_can(facts, *asked, reaching=False) == {r for (r,) in rows}, asked
        for word, ours in (
            ("USAGE", inherits),
            ("MEMBER", is_member),
            ("SET" if server.major >= 16 else "MEMBER", may_set),
        ):
            for one, other, says in connection.execute(
                "SELECT a.rolname, b.rolname, pg_has_role(a.oid, b.oid, %s)"
                " FROM pg_roles a, pg_roles b",
                (word,),
            ).fetchall():
                assert ours(facts, one, other) == says, (word, one, other)
