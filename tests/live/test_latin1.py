"""A database in LATIN1, from the wire to the record: by clients of its encoding and of UTF-8."""

import os

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
CLIENTS = ("LATIN1", "UTF8")


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as started:
        prepare(started)
        started.psql(
            "CREATE DATABASE latin OWNER app TEMPLATE template0 ENCODING 'LATIN1' "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        yield started


@pytest.fixture(scope="module")
def running(cluster):
    config = {"guard": {"mode": "enforce"}, "capture": {"parameters": "full"}}
    with Running(cluster, {"agent": config}) as up:
        yield up


def play(cluster, encoding):
    """One of each, in words that only LATIN1's upper half can write."""
    with cluster.connect(
        user="app", dbname="latin", client_encoding=encoding, application_name=f"by {encoding}"
    ) as connection:
        assert connection.execute("SELECT 'naïve-4711' AS \"é\"").fetchone() == ("naïve-4711",)
        connection.execute('CREATE TABLE IF NOT EXISTS "café" (n int, "prix élevé" text)')
        connection.execute(
            'INSERT INTO "café" (n, "prix élevé") VALUES (%s, %s)', (7, "garçon-0815")
        )
        connection.execute('DO $$BEGIN PERFORM n FROM "café"; END$$')
        with pytest.raises(psycopg.errors.UndefinedTable, match="nöwhere"):
            connection.execute('SELECT * FROM "nöwhere"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="blocked by pgwarden"):
            connection.execute('DROP TABLE "café"')
        assert connection.execute('SELECT count(*) > 0 FROM "café"').fetchone() == (True,)


def record(running, encoding):
    rows = running.wait(
        lambda: (
            found
            if len(
                found := running.sql(
                    "SELECT * FROM statements WHERE database = 'latin' AND parent_id = 0 "
                    f"AND application_name = 'by {encoding}' ORDER BY started_at, id"
                )
            )
            >= 7
            else None
        ),
        f"seven statements of {encoding}",
    )
    assert len(rows) == 7, [row["text"] for row in rows]
    return rows


def test_each_statement_is_on_record_once_whole_and_as_the_other_client_had_it(running, cluster):
    for encoding in CLIENTS:
        play(cluster, encoding)
    by_latin, by_utf8 = (record(running, encoding) for encoding in CLIENTS)
    for one, other in zip(by_latin, by_utf8, strict=True):
        for field in ("text", "text_bytes", "operation", "sqlstate", "reads", "parse_status"):
            assert one[field] == other[field], field
    select, create, insert, _do, nowhere, _drop, count = by_latin
    # A quoted alias may hold a value, so it is never told.
    assert select["text"] == 'SELECT ? AS "a1"'
    assert create["objects"] == ["table:café"]
    assert insert["rows"] == 1
    assert [row["parse_status"] for row in by_latin] == ["parsed"] * 7
    assert [row["sqlstate"] for row in by_latin] == [
        "00000", "00000", "00000", "00000", "42P01", "42501", "00000",
    ]  # fmt: skip
    assert nowhere["reads"] == ["nöwhere"]
    assert insert["writes"] == ["café"]
    assert count["reads"] == ["café"]
    assert {row["user_name"] for row in (*by_latin, *by_utf8)} == {"app"}
    everything = str(by_latin + by_utf8)
    assert "4711" not in everything
    values = [row["parameters"] for row in (by_latin[2], by_utf8[2])]
    assert all("0815" in each for each in values)
    assert all(r"gar\xe7on" in each.replace("\\\\", "\\") for each in values), values
    verdicts = running.sql("SELECT outcome FROM verdicts WHERE database = 'latin'")
    assert [row["outcome"] for row in verdicts] == ["prevented"] * 2
    assert running.sql("SELECT * FROM losses") == []


def test_its_catalog_is_read_and_a_change_has_its_cause(running, cluster):
    running.wait_sql("SELECT 1 FROM drift_observed WHERE database = 'latin' LIMIT 1", 60)
    with cluster.connect(user="app", dbname="latin", client_encoding="LATIN1") as connection:
        connection.execute('CREATE TABLE "très cher" (n int)')
    (row,) = running.wait_sql(
        "SELECT * FROM drift WHERE database = 'latin' AND name LIKE '%cher%' AND kind = 'table'"
    )
    assert (row["attribution"], row["actor"]) == ("attributed", "app")
