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
