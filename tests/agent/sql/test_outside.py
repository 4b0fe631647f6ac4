"""Options that make the server run a program, read a file or connect to another server."""

import pytest

TABLE = "FOREIGN TABLE attack.f"


@pytest.mark.parametrize(
    ("sql", "flag"),
    [
        (f"CREATE {TABLE} (l text) SERVER files OPTIONS (program 'id')", "program"),
        (f"CREATE {TABLE} (l text) SERVER files OPTIONS (format 'csv', PROGRAM 'id')", "program"),
        (f"CREATE {TABLE} () SERVER files OPTIONS (U&\"p\\0072ogram\" 'id')", "program"),
        (f"ALTER {TABLE} OPTIONS (program 'id')", "program"),
        (f"ALTER {TABLE} OPTIONS (DROP filename, ADD \"program\" 'id')", "program"),
        (f"ALTER {TABLE} ADD COLUMN a int, OPTIONS (SET program 'id')", "program"),
        ("ALTER TABLE attack.f OPTIONS (SET program 'id')", "program"),
        (f"CREATE {TABLE} () SERVER files OPTIONS (filename '/x')", "server_file"),
        (f"ALTER {TABLE} OPTIONS (SET filename '/x')", "server_file"),
        (f"CREATE {TABLE} () SERVER files OPTIONS (filename '/x/id_rsa')", "credential_file"),
        ("CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p", "connection"),
        ("ALTER SUBSCRIPTION s CONNECTION 'host=x'", "connection"),
    ],
)  # fmt: skip
def test_what_reaches_outside_is_told(shape_of, sql, flag):
    assert flag in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE {TABLE} (program text) SERVER other OPTIONS (table_name 'program')",
        f"ALTER {TABLE} OPTIONS (DROP program, DROP filename)",
        f"ALTER {TABLE} RENAME program TO filename",
        "ALTER SUBSCRIPTION s ENABLE",
        "ALTER SUBSCRIPTION s SET (streaming = on)",
        "DROP SUBSCRIPTION s",
    ],
)
def test_what_stays_inside_is_not(shape_of, sql):
    assert not {"program", "server_file", "connection"} & set(shape_of(sql).flags)


@pytest.mark.parametrize(
    ("made", "functions"),
    [
        ("page(text) RETURNS bytea AS '$libdir/pageinspect', 'get_raw_page_1_9'", "get_raw_page"),
        ("get(text) RETURNS bytea AS '$libdir/pageinspect', 'get_raw_page'", "get_raw_page"),
        ("page(text) RETURNS bytea AS '$libdir/x', 'get_raw_page_fork_1_9'", "get_raw_page"),
        ("a.get_raw_page(text) RETURNS bytea AS '$libdir/x', 'get_raw_page_fork_1_9'", ""),
        ("put(text) RETURNS int AS '$libdir/adminpack', 'pg_file_write_v1_1'", "pg_file_write"),
        ("heap_force_kill(regclass) RETURNS void AS '$libdir/pg_surgery'", ""),
    ],
)  # fmt: skip
def test_a_function_in_c_under_another_name_counts_by_that_within_its_library(
    shape_of, made, functions
):
    assert shape_of(f"CREATE FUNCTION {made} LANGUAGE C").functions == tuple(functions.split())


def test_a_connecting_function_under_another_name_is_a_connection(shape_of):
    made = (
        "CREATE FUNCTION away(text) RETURNS text AS '$libdir/dblink', 'dblink_connect' LANGUAGE c"
    )
    assert "connection" in shape_of(made).flags
    assert "connection" not in shape_of(made.replace("away", "dblink_connect")).flags
