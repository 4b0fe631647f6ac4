"""Passwords and key files in a statement become flags, and nothing else of them does."""

import pytest

SCRAM = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
MD5 = "md5" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("sql", "flag"),
    [
        ("ALTER ROLE a PASSWORD 'hunter2'", "plain_password"),
        ("CREATE USER a PASSWORD 'md5 is old'", "plain_password"),
        ("ALTER ROLE a ENCRYPTED PASSWORD 'x'", "plain_password"),
        ("DO $$ BEGIN ALTER ROLE a PASSWORD 'x'; END $$", "plain_password"),
        ("SELECT pg_read_file('pg_hba.conf')", "credential_file"),
        ("SELECT pg_catalog.pg_read_binary_file('/home/a/.ssh/id_ed25519')", "credential_file"),
        ("SELECT lo_import('/etc/ssl/private/server.key')", "credential_file"),
        ("COPY t FROM '/var/lib/postgresql/.pgpass'", "credential_file"),
        ("SELECT dblink_connect('host=x password=hunter2')", "connection_password"),
        ("SELECT dblink_connect('c', 'postgresql://a:hunter2@x/db')", "connection_password"),
        ("SELECT * FROM dblink('password = x', 'SELECT 1') AS t(a int)", "connection_password"),
        ("CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'x')", "connection_password"),
        ("ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password 'x')", "connection_password"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=x password=y' PUBLICATION p",
            "connection_password",
        ),
    ],
)
def test_a_secret_in_plain_text_is_a_flag(shape_of, sql, flag):
    shape = shape_of(sql)
    assert flag in shape.flags
    assert "hunter2" not in repr(shape)
    assert shape_of(f"SELECT 1; {sql}").flags


@pytest.mark.parametrize(
    "sql",
    [
        f"ALTER ROLE a PASSWORD '{SCRAM}'",
        f"CREATE ROLE a PASSWORD '{MD5}'",
        "ALTER ROLE a PASSWORD NULL",
        "SELECT pg_read_file('log/postgresql.log')",
        "SELECT pg_read_file($1)",
        "SELECT 'pg_hba.conf', 'password=x'",
        "COPY t FROM '/srv/keys.csv'",
        "SELECT dblink_connect('host=x user=a')",
        "SELECT dblink('c', 'SELECT password = 1 FROM t')",
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x')",
        "CREATE SUBSCRIPTION s CONNECTION 'host=x passfile=y' PUBLICATION p",
    ],
)
def test_what_gives_no_secret_away_is_none(shape_of, sql):
    found = {"plain_password", "credential_file", "connection_password"} & {*shape_of(sql).flags}
    assert not found


@pytest.mark.parametrize("first", ["'a.log'", "'pg_hba.conf'"])
def test_a_file_counts_in_a_text_that_is_like_one_already_known(shape_of, first):
    shape_of(f"SELECT pg_read_file({first})")
    assert "credential_file" in shape_of("SELECT pg_read_file('pg_hba.conf')").flags
    assert "credential_file" not in shape_of("SELECT pg_read_file('b.log')").flags


def test_the_digest_of_a_connection_with_a_password_is_not_that_of_its_text(shape_of):
    one = shape_of("SELECT dblink_connect('host=x password=one')")
    other = shape_of("SELECT dblink_connect('host=x password=two')")
    assert one.digest == other.digest
    assert one.digest != shape_of("SELECT dblink_connect('host=x')").digest
