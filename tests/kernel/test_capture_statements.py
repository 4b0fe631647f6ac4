"""What a client sends is seen with its text, its end, rows, bytes and errors."""

import contextlib
import time

import psycopg
import pytest

from agent.probes.layout import TEXT_HUGE
from model.event import ApplicationNamed, Protocol, SessionEnded
from tests.kernel.capture import completions, responses, starts

pytestmark = [pytest.mark.kernel, pytest.mark.live]
BOTH_LOADERS = True


@pytest.fixture
def client(postgres):
    with postgres.connect(application_name="capture-test") as connection:
        yield connection


def failing(capture, connection, *texts, count=None):
    def attempt(text):
        with contextlib.suppress(psycopg.Error):
            connection.execute(text)

    capture.forget()
    for text in texts:
        attempt(text)
    return capture.round_trips(connection.info.backend_pid, count or len(texts))


def test_a_simple_query_is_seen_with_text_rows_bytes_and_time(capture, client):
    before_ns = time.time_ns()
    events = capture.run(client, "SELECT generate_series(1, 7)")
    after_ns = time.time_ns()
    (start,), (end,) = starts(events), responses(events)
    assert start.text == b"SELECT generate_series(1, 7)"
    assert start.text_bytes == len(start.text)
    assert (start.depth, start.protocol, start.held) == (0, Protocol.QUERY, False)
    assert completions(events) == [("SELECT", 7)]
    assert end.ready
    assert end.transaction_status == "I"
    assert before_ns - 1_000_000 < start.at_ns < end.at_ns < after_ns + 1_000_000
    assert 0 <= start.at_ns // 1000 - start.requested_at_us < 1_000_000
    assert end.requested_at_us == start.requested_at_us


def test_bytes_are_counted_exactly_over_many_writes(capture, client):
    events = capture.run(client, "SELECT repeat('x', 93) FROM generate_series(1, 5000)")
    sent = sum(event.bytes_sent for event in responses(events))
    # DataRow: tag 1, length 4, columns 2, column length 4, value 93
    row_description = 1 + 4 + 2 + len("repeat") + 1 + 18
    assert sent == row_description + 5000 * 104 + 1 + 4 + len("SELECT 5000") + 1 + 6
    assert completions(events) == [("SELECT", 5000)]


def test_the_duration_is_the_time_between_start_and_response(capture, client):
    events = capture.run(client, "SELECT pg_sleep(0.2)")
    lasted_ns = responses(events)[0].at_ns - starts(events)[0].at_ns
    assert 200_000_000 <= lasted_ns < 1_000_000_000


def test_each_statement_of_one_string_starts_and_completes(capture, client):
    text = "CREATE TEMP TABLE several (a int); INSERT INTO several VALUES (1), (2); TABLE several"
    events = capture.run(client, text)
    assert [start.text for start in starts(events)] == [text.encode()] * 3
    assert completions(events) == [("CREATE TABLE", -1), ("INSERT", 2), ("SELECT", 2)]


def test_a_large_result_between_others_loses_no_completion(capture, client):
    text = "SELECT 1; SELECT repeat('y', 200) FROM generate_series(1, 200); SELECT 1"
    events = capture.run(client, text)
    assert completions(events) == [("SELECT", 1), ("SELECT", 200), ("SELECT", 1)]


def test_the_completion_is_found_wherever_the_send_buffer_ends(capture, client):
    rows = range(7930, 8200, 3)
    capture.forget()
    for width in rows:
        client.execute(f"SELECT repeat('z', {width})")
    events = capture.round_trips(client.info.backend_pid, len(rows))
    assert completions(events) == [("SELECT", 1)] * len(rows)


def test_prepared_and_unprepared_extended_queries_are_seen_alike(capture, client):
    capture.forget()
    query = "SELECT %s::int + 1"
    for prepare in (False, True, True):
        client.execute(query, (1,), prepare=prepare)
    # Parse of the named statement is a round trip of its own.
    events = capture.round_trips(client.info.backend_pid, 4)
    assert [start.text for start in starts(events)] == [b"SELECT $1::int + 1"] * 3
    assert completions(events) == [("SELECT", 1)] * 3


def test_a_pipeline_keeps_every_execution(capture, client):
    client.execute("CREATE TEMP TABLE piped (a int)")
    capture.forget()
    with client.cursor() as cursor:
        cursor.executemany("INSERT INTO piped VALUES (%s)", [(n,) for n in range(1000)])
    events = capture.until(lambda seen: len(completions(seen)) >= 1000)
    events = capture.of(client.info.backend_pid)
    inserts = [one for one in completions(events) if one[0] == "INSERT"]
    assert inserts == [("INSERT", 1)] * 1000
    assert sum(start.text.startswith(b"INSERT") for start in starts(events)) == 1000


def test_copy_in_both_directions_reports_its_rows(capture, client):
    client.execute("CREATE TEMP TABLE copied (a int)")
    capture.forget()
    with client.cursor().copy("COPY copied FROM STDIN") as copy:
        for number in range(500):
            copy.write_row((number,))
    with client.cursor().copy("COPY copied TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 500
    events = capture.round_trips(client.info.backend_pid, 2)
    assert completions(events) == [("COPY", 500), ("COPY", 500)]


def test_sql_execute_is_one_level_deeper_than_what_the_client_sent(capture, client):
    client.execute("PREPARE deeper AS SELECT 2")
    events = capture.run(client, "EXECUTE deeper", "SELECT 3")
    assert [(start.text, start.depth) for start in starts(events)] == [
        (b"EXECUTE deeper", 0),
        (b"PREPARE deeper AS SELECT 2", 1),
        (b"SELECT 3", 0),
    ]


@pytest.mark.parametrize(
    ("text", "urgent"),
    [
        ("SELECT 1", [False]),
        ("CLOSE ALL; UNLISTEN *;\nRESET ALL", [False] * 3),
        ("UNLISTEN *; CREATE TEMP TABLE a (); SELECT 2", [False, True, False]),
        ("SELECT 1 AS a INTO TEMP made", [True]),
        ("EXPLAIN ANALYZE SELECT 1", [False]),
        ("EXPLAIN ANALYZE CREATE TEMP TABLE b AS SELECT 1", [True]),
        ("EXPLAIN (ANALYZE) SELECT 1 AS a INTO TEMP d", [True]),
    ],
)
def test_what_changes_more_than_rows_has_reserved_room(capture, client, text, urgent):
    """What a pool sends each time a connection comes back to it has not."""
    assert [start.urgent for start in starts(capture.run(client, text))] == urgent


@pytest.mark.parametrize(
    ("text", "sqlstate", "started"),
    [
        ("SELEC 1", "42601", 0),
        ("SELECT * FROM no_such_table", "42P01", 0),
        ("SELECT 1/0 FROM generate_series(1, 2) AS g WHERE g > 1", "22012", 0),
        ("SELECT 1/(g - 3) FROM generate_series(1, 5) AS g", "22012", 1),
    ],
)
def test_an_error_carries_its_sqlstate_and_its_text(capture, client, text, sqlstate, started):
    events = failing(capture, client, text)
    error = next(event for event in responses(events) if event.error)
    assert error.error.severity == "ERROR"
    assert error.error.sqlstate == sqlstate
    assert len(starts(events)) == started
    known = starts(events)[0].text if started else error.failed_text
    assert known == text.encode()
    assert error.requested_at_us > 0


def test_a_refused_permission_is_seen_with_its_text(capture, postgres, client):
    client.execute("CREATE ROLE nobody_special LOGIN")
    try:
        with postgres.connect(user="nobody_special") as other:
            events = failing(capture, other, "SELECT * FROM pg_authid")
        error = next(event for event in responses(events) if event.error)
        assert error.error.sqlstate == "42501"
        assert "permission denied" in error.error.message
        text = error.failed_text or starts(events)[0].text
        assert text == b"SELECT * FROM pg_authid"
    finally:
        client.execute("DROP ROLE nobody_special")


def test_a_later_statement_of_a_string_that_fails_in_analysis_has_the_text(capture, client):
    events = failing(capture, client, "SELECT 1; SELECT nope")
    error = next(event for event in responses(events) if event.error)
    assert completions(events) == [("SELECT", 1)]
    assert error.error.sqlstate == "42703"
    assert error.failed_text == b"SELECT 1; SELECT nope"


def test_an_error_after_many_rows_is_found_wherever_the_buffer_ends(capture, client):
    capture.forget()
    widths = range(7600, 8200, 20)
    for width in widths:
        with contextlib.suppress(psycopg.Error):
            client.execute(
                f"SELECT repeat('e', CASE WHEN g < 3 THEN {width} / 2 ELSE 1 / (g - 3) END) "
                "FROM generate_series(1, 3) AS g"
            )
    events = capture.round_trips(client.info.backend_pid, len(widths))
    found = [event.error.sqlstate for event in responses(events) if event.error]
    assert found == ["22012"] * len(widths)


def test_an_error_that_quotes_a_long_literal_keeps_its_sqlstate(capture, client):
    events = failing(capture, client, f"SELECT '{'q' * 50_000}'::int")
    error = next(event for event in responses(events) if event.error)
    assert error.error.sqlstate == "22P02"
    assert error.error.message.startswith("invalid input syntax")


def test_the_transaction_status_follows_the_session(capture, client):
    events = failing(capture, client, "BEGIN", "SELECT 1/0", "ROLLBACK")
    assert [e.transaction_status for e in responses(events) if e.ready] == ["T", "E", "I"]


@pytest.mark.parametrize("size", [1, 510, 511, 512, 8190, 8192, 131_071, 131_072, 1_048_000])
def test_text_up_to_a_mebibyte_is_whole(capture, client, size):
    text = "SELECT 1 --" + "t" * max(0, size - 11)
    text = text[:size] if size > 8 else ";" * size + "SELECT 1"
    events = capture.run(client, text)
    (start,) = starts(events)
    assert start.text == text.encode()
    assert start.text_bytes == len(text)


def test_a_five_megabyte_text_keeps_its_prefix_and_its_length(capture, client):
    text = "SELECT 1 --" + "v" * 5_000_000
    (start,) = starts(capture.run(client, text))
    assert start.text == text[: (1 << 20) - 1].encode()
    assert start.text_bytes == len(text)


def test_bytes_that_are_not_utf8_arrive_as_they_were_sent(capture, postgres, client):
    client.execute("CREATE DATABASE raw ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    try:
        with postgres.connect(dbname="raw") as other:
            text = b"SELECT '\xff\xfe\x80'"
            events = capture.run(other, text)
        assert starts(events)[0].text == text
    finally:
        client.execute("DROP DATABASE raw WITH (FORCE)")


def test_a_change_of_application_name_is_told_once(capture, client):
    capture.run(client, "SET application_name = 'renamed'", "SELECT 1")
    named = capture.of(client.info.backend_pid, ApplicationNamed)
    assert [event.application_name for event in named] == ["renamed"]


def test_the_end_of_a_session_is_told_even_when_it_was_killed(capture, postgres, client):
    with contextlib.suppress(psycopg.Error), postgres.connect() as other:
        pid = other.info.backend_pid
        other.execute("SELECT 1")
        client.execute("SELECT pg_terminate_backend(%s)", (pid,))
    capture.until(lambda _: bool(capture.of(pid, SessionEnded)))
    events = capture.of(pid)
    assert isinstance(events[-1], SessionEnded)


def test_the_empty_query_is_a_round_trip_without_a_statement(capture, client):
    events = capture.run(client, "")
    assert starts(events) == []
    assert responses(events)[-1].ready


@pytest.mark.parametrize("megabytes", [5, 100])
def test_the_length_of_a_long_text_is_exact(capture, client, loader, megabytes):
    """bcc puts every loop in line, so there it is counted up to 33 MB."""
    text = b"SELECT length('" + b"x" * (megabytes << 20) + b"')"
    capture.forget()
    client.pgconn.exec_(text)
    (start,) = starts(capture.round_trips(client.info.backend_pid, 1))
    assert start.text == text[: TEXT_HUGE - 1]
    if loader.name == "libbpf" or megabytes < 32:
        assert start.text_bytes == len(text)
    else:
        assert 32 << 20 < start.text_bytes < len(text)
