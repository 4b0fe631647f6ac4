"""Passwords never pass: canaries in every form, then every file, metric and answer is searched."""

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from itertools import count

import httpx
import polars as pl
import pytest

from tests.collector.alerts.samples import HttpReceiver
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import COMMAND, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

CANARY = "k4n4ryZebra"
"""How each of the secrets begins."""
SECRETS = 200
AROUND = (
    (b"", b" /* \xff\xfe */"), (b"PREPARE q AS ", b""), (b"SELECT 1; ", b""),
    (b"EXPLAIN ", b""),
)  # fmt: skip
MIB = 1 << 20
BODY = "EXECUTE 'ALTER ROLE bot PASSWORD ''@''';"
FORMS = [
    "ALTER ROLE bot PASSWORD '@'",
    "alter user bot with encrypted password '@' valid until 'infinity'",
    "ALTER ROLE bot PASSWORD E'@\\n'",
    "ALTER ROLE bot PASSWORD U&'@\\0041'",
    "ALTER ROLE bot PASSWORD U&'@!0041' UESCAPE '!'",
    "ALTER ROLE bot PASSWORD $$@$$",
    "ALTER ROLE bot PASSWORD $a$@$a$",
    "ALTER/* ' */ROLE/**/bot--'\n PASSWORD/* @ */'@'",
    "ALTER ROLE bot PASSWORD 'x'\n'@'",
    "ALTER ROLE \"bot\" PASSWORD 'md5@'",
    f"DO $$ BEGIN {BODY} END $$",
    f"DO 'BEGIN {BODY.replace(chr(39), chr(39) * 2)} END'",
    "DO $$ BEGIN EXECUTE format('ALTER ROLE bot PASSWORD %L', '@'); END $$",
    f"CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {BODY} END $$",
    "SELECT 1; ALTER ROLE bot PASSWORD '@'; SELECT 2",
    "CREATE ROLE other PASSWORD '@' ; DROP ROLE other",
    "CREATE USER MAPPING FOR bot SERVER nowhere OPTIONS (password '@')",
    "SELECT crypt('@', gen_salt('bf'))",
    "SELECT set_config('app.password', '@', false)",
    "SELECT dblink_connect('host=h password=@')",
    "SET app.password = '@'",
    "PREPARE p AS SELECT '@'::text",
    "EXPLAIN ANALYZE SELECT '@'",
    "COMMENT ON ROLE bot IS 'his password is @'",
    # What does not parse
    "ALTER ROLE bot PASWORD '@'",
    "ALTER ROL bot PASSWORD '@'",
    "ALTER ROLE bot PASSWORD @",
    'ALTER ROLE bot PASSWORD "@"',
    "ALTER ROLE bot PASSWORD '@",
    "ALTER ROLE bot PASSWORD $$@",
    "ALTER ROLE bot PASSWORD E'\\'@",
    "ALTER ROLE bot IDENTIFIED BY @",
    "ALTER ROLE bot PASSWORD = '@'",
    "ALTR ROEL bot PSWD @",
    # In the server's own words
    "SELECT '@'::int",
    "SELECT CAST('@' AS timestamptz)",
    "SELECT '{\"@'::json",
    "ALTER ROLE bot VALID UNTIL '@'",
    "INSERT INTO shop.orders VALUES (1, '@')",
    "DO $$ BEGIN RAISE EXCEPTION 'password is @'; END $$",
    # Long, and cut in the middle of the secret
    "ALTER ROLE bot PASSWORD '@'" + " " * 70_000,
    " " * 70_000 + "ALTER ROLE bot PASSWORD '@'",
    "/*" + "c" * (MIB - 40) + "*/ALTER ROLE bot PASSWORD '" + "@" * 3 + "'",
    "SELECT '" + "x" * (MIB - 13) + "@'",
]
PARAMETERS = [
    "SELECT crypt($1, $1)",
    "SELECT set_config('app.password', $1, false)",
    "SELECT 1 AS password WHERE $1 <> ''",
    "UPDATE shop.orders SET note = $1 WHERE id = 0 AND 'secret' <> ''",
]


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster(pgaudit=True, settings={"pgaudit.log_parameter": "on"}) as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module", params=["full", "hashed"])
def searched(request, cluster):
    """An agent that has seen all of it, and where it was."""
    config = {"guard": {"mode": "observe"}, "capture": {"parameters": request.param}}
    with HttpReceiver() as listener:
        receiver = {"type": "webhook", "name": "all", "url": listener.url}
        alerts = {"min_severity": "low", "receivers": [receiver]}
        with Running(cluster, {"agent": config, "collector": {"alerts": alerts}}) as up:
            secrets = play(cluster)
            assert len({*secrets}) >= SECRETS
            up.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%all_was_said%'")
            up.wait(lambda: listener.received, "an alert", 30)
            up.alerted = listener.received
            yield up


def spoken() -> Iterator[tuple[str, bytes]]:
    """Each secret, and the statement that holds it."""
    number = count(1)

    def secret() -> str:
        return f"{CANARY}{next(number):03}"

    for form in FORMS:
        mine = secret()
        yield mine, form.replace("@", mine).encode()
        if len(form) < 1000:
            for before, after in AROUND:
                mine = secret()
                yield mine, before + form.replace("@", mine).encode() + after


def play(cluster) -> list[str]:
    """All secrets that were said."""
    secrets = []
    for secret, text in spoken():
        say(cluster, text)
        secrets.append(secret)
    with cluster.connect() as connection:
        for query in PARAMETERS:
            connection.pgconn.exec_params(query.encode(), [CANARY.encode()], [25])
        connection.execute("SELECT 1 AS harmless WHERE %s::int = 4711", (4711,))
    change_with_psql(cluster)
    cluster.psql("SELECT 'all_was_said' AS all_was_said")
    return secrets


def say(cluster, text: bytes) -> None:
    """In a session of its own: some of it spoils the next."""
    with cluster.connect() as connection:
        connection.pgconn.exec_(text)


def change_with_psql(cluster) -> None:
    """``\\password`` hashes in the client; the hash is a secret as well. Without a terminal of its
    own psql asks its input."""
    subprocess.run(
        [
            "psql", "--no-psqlrc", "--host", "127.0.0.1", "--port", str(cluster.port),
            "--username", "postgres", "--dbname", "postgres", "--command", "\\password app",
        ],
        input=f"{CANARY}\n{CANARY}\n".encode(), capture_output=True, timeout=30, check=True,
        start_new_session=True,
    )  # fmt: skip


def canaries(cluster) -> list[bytes]:
    with cluster.connect() as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword <> ''")
        stored = [form.encode() for (form,) in rows]
    assert stored
    parts = [part for form in stored for part in form.replace(b"$", b":").split(b":")]
    return [CANARY.encode(), CANARY.lower().encode(), *(p for p in parts if len(p) > 20)]


def test_everything_was_seen(searched):
    (seen,) = searched.sql("SELECT count(*) AS n FROM statements WHERE text_bytes > 1000000")
    assert seen["n"] >= 2
    (row,) = searched.wait_sql("SELECT parameters FROM statements WHERE text LIKE '%harmless%'")
    assert ("4711" in row["parameters"]) == ("value" in row["parameters"])
    withheld = searched.sql("SELECT parameters FROM statements WHERE parameters LIKE '%withheld%'")
    assert len(withheld) >= len(PARAMETERS) - 1


def test_no_digest_can_be_searched_for_a_canary(searched):
    told = searched.sql("SELECT digest FROM statements UNION SELECT digest FROM verdicts")
    stored = {row["digest"] for row in told}
    texts = [text for _, text in spoken()]
    assert len(stored) > len(texts) // 3
    guesses = [text[: MIB - 1] for text in texts]
    assert not stored & {hashlib.sha256(guess).hexdigest() for guess in guesses}


def test_no_canary_is_in_any_table_of_the_record(searched, cluster):
    wanted = canaries(cluster)
    tables = [row["name"] for row in searched.sql("SHOW TABLES")]
    assert {"statements", "drift", "accesses", "audit_coverage", "alerts"} <= {*tables}
    for table in tables:
        told = str(searched.sql(f"SELECT * FROM {table}")).encode()
        leaked = [
            (table, at, told[max(0, at - 80) : at + 60])
            for c in wanted
            if (at := told.find(c)) >= 0
        ]
        assert leaked == []


def test_no_canary_is_in_a_support_bundle(searched, cluster, tmp_path):
    target, log = tmp_path / "b.tar.gz", searched.folder / "log"
    command = ["support", "bundle", "--output", str(target), "--log", str(log)]
    subprocess.run(
        [*COMMAND, *command, "--config", str(searched.config)], check=True, capture_output=True
    )
    with tarfile.open(target) as archive:
        told = {member.name: archive.extractfile(member).read() for member in archive}
    assert b"pgwarden_agent_build_info" in told["pgwarden-support/metrics-agent.txt"]
    wanted = canaries(cluster)
    assert [name for name, data in told.items() for c in wanted if c in data] == []


def test_no_canary_is_in_any_file_log_or_metric(searched, cluster):
    wanted = canaries(cluster)
    told = {str(f): f.read_bytes() for f in searched.folder.rglob("*") if f.is_file()}
    unpacked = {
        name: pl.read_parquet(name).write_ndjson().encode()
        for name in told
        if name.endswith(".parquet")
    }
    assert unpacked
    told |= unpacked
    told["log"] = searched.log.encode()
    told |= {f"alert {number}": each.body for number, each in enumerate(searched.alerted)}
    for port in (searched.agent_port, searched.collector_port):
        told[f"metrics {port}"] = httpx.get(f"http://127.0.0.1:{port}/metrics").content
    assert [name for name, data in told.items() for c in wanted if c in data] == []
