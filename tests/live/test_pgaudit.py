"""pgaudit's records of a real server, in each of its log formats."""

import time

import pytest

from agent.sources.pgaudit import LogFormat, PgauditSource, locate
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not server_folder().exists(), reason="PostgreSQL 15 is not installed"),
]

DO_BODY = "do $$ begin perform * from t; end $$"
TEXTS = [
    "create table public.t(id int, v text)",
    "select *\nfrom t\twhere v='a,\"b\"\ttab'",
    "insert into t values (1, 'über\n\n\ttabbed')",
    "select 1; select 2 from t",
    "select 1; select 2 from t",
    DO_BODY,
    "SELECT * from t",
    "grant select on t to public",
]


@pytest.fixture(scope="module", params=["csvlog", "jsonlog", "stderr"])
def cluster(request):
    settings = {"log_timezone": "Europe/Berlin", "timezone": "Asia/Tokyo"}
    with PostgresCluster(log_format=request.param, settings=settings) as cluster:
        yield cluster


def follow(location, state_file):
    return PgauditSource(
        "main",
        location.directory,
        location.pattern,
        LogFormat(location.format),
        state_file,
        prefix=location.prefix,
        zone=location.zone,
    )


def poll_until(source, enough, seconds=10):
    events = []
    deadline = time.monotonic() + seconds
    while not enough(events) and time.monotonic() < deadline:
        events += source.poll(0.2)
    return events


def test_the_records_of_known_statements_arrive_with_the_right_fields(cluster, tmp_path):
    with cluster.connect(application_name='it, "is" me') as connection:
        location = locate(connection)
        assert location.usable, location.problems
        assert location.format == cluster.log_format
        source = follow(location, tmp_path / "state.json")
        pid, started = connection.execute(
            "select pid, extract(epoch from backend_start) from pg_stat_activity "
            "where pid = pg_backend_pid()"
        ).fetchone()
        connection.execute("create schema mine; set search_path = mine, public")
        before = time.time_ns()
        connection.execute(TEXTS[0])
        for text in (TEXTS[1], TEXTS[2], TEXTS[3], DO_BODY, TEXTS[7]):
            connection.execute(text)
        connection.execute("drop table t; drop schema mine")
        records = poll_until(source, lambda seen: any("drop schema" in e.text for e in seen))
        source.close()
    mine = [event for event in records if event.text in TEXTS]
    assert [event.text for event in mine] == TEXTS
    assert {event.backend.pid for event in mine} == {pid}
    assert {event.backend.started_at_us // 1_000_000 for event in mine} == {int(started)}
    assert {event.user for event in mine} == {"postgres"}
    assert {event.application_name for event in mine} == {'it, "is" me'}
    assert {event.client_address for event in mine} == {"127.0.0.1"}
    assert all(before - 2_000_000 <= event.at_ns <= time.time_ns() for event in mine)
    classes = ["DDL", "READ", "WRITE", "READ", "READ", "FUNCTION", "READ", "ROLE"]
    assert [event.audit_class for event in mine] == classes
    assert (mine[5].statement_id, mine[5].substatement_id) == (mine[6].statement_id, 1)
    assert mine[6].substatement_id == 2
    assert source.losses() == []


def test_objects_and_parameters_come_as_pgaudit_resolved_them(cluster, tmp_path):
    with cluster.connect() as connection:
        source = follow(locate(connection), tmp_path / "state.json")
        connection.execute("set pgaudit.log_relation = on; set pgaudit.log_parameter = on")
        connection.execute('create table public."My, Table"(id int)')
        connection.execute('select * from "My, Table" where id = %s', (7,))
        connection.execute('drop table "My, Table"')
        records = poll_until(source, lambda seen: any("drop table" in e.text for e in seen))
        source.close()
    read = next(event for event in records if event.command == "SELECT" and event.object_name)
    assert read.object_name == 'public."My, Table"'
    assert (read.object_type, read.parameters) == ("TABLE", "7")


def test_the_server_rotating_its_log_loses_and_repeats_nothing(cluster, tmp_path):
    with cluster.connect() as connection:
        source = follow(locate(connection), tmp_path / "state.json")
        for number in range(30):
            connection.execute(f"select {number} as rotated")
            if number % 10 == 5:
                connection.execute("select pg_rotate_logfile()")
        records = poll_until(source, lambda seen: any("29 as rot" in e.text for e in seen))
        records += source.poll(0.5)
        source.close()
    numbers = [int(event.text.split()[1]) for event in records if "as rotated" in event.text]
    assert numbers == list(range(30))


def test_bytes_that_are_not_utf8_are_kept(tmp_path):
    for log_format in ("csvlog", "jsonlog"):
        with (
            PostgresCluster(
                log_format=log_format, initdb=("--encoding=SQL_ASCII", "--locale=C")
            ) as cluster,
            cluster.connect(client_encoding="SQL_ASCII") as connection,
        ):
            source = follow(locate(connection), tmp_path / f"{log_format}.json")
            connection.execute(b"select '\xff\xfe' as odd")
            # The look at the settings may come before it: the log is written by another process.
            records = poll_until(source, lambda found: any(" as odd" in e.text for e in found))
            source.close()
        texts = [e.text.encode("utf-8", "surrogateescape") for e in records if " as odd" in e.text]
        assert texts == [b"select '\xff\xfe' as odd"]


def test_a_server_without_pgaudit_is_explained_with_the_sql_that_helps():
    settings = {"logging_collector": "off", "log_line_prefix": "%m "}
    with PostgresCluster(pgaudit=False, settings=settings) as cluster, cluster.connect() as session:
        location = locate(session, postmaster_pid=cluster.postmaster_pid)
    assert not location.usable
    remedies = " ".join(problem.remedy for problem in location.problems)
    assert "shared_preload_libraries = 'pgaudit'" in remedies
    assert "log_line_prefix" in remedies
    assert location.format == "stderr"
    assert location.directory == cluster.folder


def test_an_empty_pgaudit_log_is_explained(cluster):
    with cluster.connect() as connection:
        connection.execute("set pgaudit.log = 'none'")
        location = locate(connection)
    assert [problem.fatal for problem in location.problems] == [True]
    assert "pgaudit.log" in location.problems[0].what


def test_a_role_that_may_not_read_the_settings_is_told_what_to_grant(cluster):
    with cluster.connect() as connection:
        connection.execute("create role nobody_special login")
    with cluster.connect(user="nobody_special") as connection:
        location = locate(connection)
    assert any("pg_read_all_settings" in problem.remedy for problem in location.problems)
    assert not location.usable
