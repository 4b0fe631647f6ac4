"""psycopg 3: simple and extended protocol, prepared, binary, pipelines, cursors on the server."""

import re

import psycopg

from tests.conformance.clients.trace import Trace
from tests.conformance.diary import Diary
from tests.conformance.expected import Outcome
from tests.conformance.messages import has_shape, shape_of
from tests.conformance.place import SECOND_NAME, Place, Step, agree, step

_PARAMETER = re.compile(r"\$\d+")


def connect(place: Place) -> psycopg.Connection:
    return psycopg.connect(**place.words(), autocommit=True, prepare_threshold=None)


def attentive(place: Place, connection: psycopg.Connection) -> Diary:
    """Knows what the connection receives from now on."""
    return Diary(place, ear=Trace(connection.pgconn, place.folder))


def _arguments(one: Step) -> tuple[str, tuple[int | str, ...] | None]:
    """``$1`` is ``%s`` here; without parameters the text is sent as a simple query."""
    if not one.params:
        return one.sql, None
    return _PARAMETER.sub("%s", one.sql), one.params


def play(
    place: Place, *steps: Step, prepare: bool | None = None, binary: bool | None = None
) -> Diary:
    """Unnamed where ``prepare`` is not True; simple where a step has no parameters."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        for one in steps:
            with diary.doing(one):
                _execute(connection, one, prepare, binary)
    return diary


def _execute(
    connection: psycopg.Connection, one: Step, prepare: bool | None, binary: bool | None
) -> None:
    """What the client sees must be what the Step says, or it could not prove anything."""
    wanted = one.outcomes[-1]
    cursor = connection.cursor(binary=bool(binary))
    try:
        cursor.execute(*_arguments(one), prepare=prepare)
    except psycopg.Error as error:
        seen = Outcome(None, error.sqlstate or "")
        agree(one, True, has_shape(error.diag.message_primary or "", shape_of(wanted)))
    else:
        while cursor.nextset():
            pass
        tag = (cursor.statusmessage or "").split()
        seen = Outcome(int(tag[-1]) if tag and tag[-1].isdigit() else None)
    agree(one, (wanted.rows, wanted.sqlstate), (seen.rows, seen.sqlstate))


def pipeline(place: Place, *steps: Step) -> Diary:
    """All steps before the first answer is read."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        with diary.doing(*steps, together=True), connection.pipeline():
            for one in steps:
                connection.execute(*_arguments(one))
    return diary


def many(place: Place, one: Step, times: int) -> Diary:
    """``executemany``: one Parse, many Bind and Execute in one pipeline."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        with diary.doing(*[one] * times, together=True):
            query, params = _arguments(one)
            connection.cursor().executemany(query, [params] * times)
    return diary


def server_cursor(place: Place) -> Diary:
    """DECLARE, FETCH and CLOSE as psycopg words them."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        # psycopg asks how the cursor's rows look, in a round trip of its own.
        begin, declare = step("BEGIN"), step('DECLARE "c" CURSOR FOR SELECT generate_series(1, 25)')
        with diary.doing(begin, declare, heard=False):
            context = connection.transaction()
            context.__enter__()
            cursor = connection.cursor(name="c")
            cursor.execute("SELECT generate_series(1, 25)")
        for rows in (10, 10, 5):
            with diary.doing(step('FETCH FORWARD 10 FROM "c"', rows)):
                cursor.fetchmany(10)
        with diary.doing(step('CLOSE "c"'), step("COMMIT")):
            cursor.close()
            context.__exit__(None, None, None)
    return diary


def copy(place: Place, into: Step, out_of: Step) -> Diary:
    with connect(place) as connection:
        diary = attentive(place, connection)
        with diary.doing(into), connection.cursor().copy(into.sql) as stream:
            for number in range(into.outcomes[0].rows or 0):
                stream.write_row((1000 + number, "copied"))
        with diary.doing(out_of), connection.cursor().copy(out_of.sql) as stream:
            for _ in stream:
                pass
    return diary


def renamed(place: Place) -> Diary:
    """The session takes another application_name, and its first one again."""
    first, second = place.application_name, place.application_name + SECOND_NAME
    with connect(place) as connection:
        diary = attentive(place, connection)
        for name, then in ((second, second), (first, first)):
            change = step(f"SET application_name = '{name}'")
            with diary.doing(change):
                connection.execute(change.sql)
            diary.application_name = then
            with diary.doing(step("SELECT 1", 1)):
                connection.execute("SELECT 1")
    return diary


def notified(place: Place) -> Diary:
    """A notification comes while the session is idle, and another while it works."""
    with connect(place) as connection, place.admin() as admin:
        diary = attentive(place, connection)
        with diary.doing(step("LISTEN news")):
            connection.execute("LISTEN news")
        admin.execute("NOTIFY news, 'idle'")
        agree(step("LISTEN news"), 1, len(list(connection.notifies(timeout=2, stop_after=1))))
        slow = step("SELECT pg_sleep(0.1)", 1, at_least_seconds=0.1)
        with diary.doing(slow):
            connection.pgconn.send_query(slow.sql.encode())
            admin.execute("NOTIFY news, 'busy'")
            while (result := connection.pgconn.get_result()) is not None:
                agree(slow, 1, result.ntuples)
        with diary.doing(step("SELECT 1", 1)):
            connection.execute("SELECT 1")
    return diary


def copy_refused(place: Place) -> Diary:
    """Data that the column's type refuses, and a client that breaks off."""
    refused = step("COPY items FROM STDIN", error="22P02")
    with connect(place) as connection:
        diary = attentive(place, connection)
        try:
            with diary.doing(refused), connection.cursor().copy(refused.sql) as stream:
                stream.write("no number\tx\n")
        except psycopg.Error as error:
            agree(refused, "22P02", error.sqlstate)
        with diary.doing(step("SELECT 1", 1)):
            connection.execute("SELECT 1")
    return diary


def pipeline_fails(place: Place) -> Diary:
    """What stands behind an error in a pipeline does not run."""
    failing = Step("SELECT 1/$1::int", (Outcome(None, "22012"),), (0,))
    with connect(place) as connection:
        diary = attentive(place, connection)
        try:
            with (
                diary.doing(step("SELECT $1::int", 1), failing, together=True),
                connection.pipeline(),
            ):
                connection.execute("SELECT %s::int", (1,))
                connection.execute("SELECT 1/%s::int", (0,))
                connection.execute("SELECT %s::int", (2,))
        except psycopg.Error as error:
            agree(failing, "22012", error.sqlstate)
        with diary.doing(step("SELECT 1", 1)):
            connection.execute("SELECT 1")
    return diary


def client_cursor(place: Place) -> Diary:
    """Values are written into the text, which goes as a simple query."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        cursor = psycopg.ClientCursor(connection)
        for text, values, sent, rows in (
            ("SELECT generate_series(1, %s)", (4,), "SELECT generate_series(1, 4)", 4),
            ("INSERT INTO items VALUES (%s, %s)", (5, "it's"),
             "INSERT INTO items VALUES (5, 'it''s')", 1),
        ):  # fmt: skip
            one = step(sent, rows)
            with diary.doing(one):
                cursor.execute(text, values)
            agree(one, rows, cursor.rowcount)
    return diary


def parallel(place: Place, settings: tuple[Step, ...], queries: tuple[Step, ...]) -> Diary:
    """Workers take part, says EXPLAIN ANALYZE; they are not clients."""
    with connect(place) as connection:
        diary = attentive(place, connection)
        for one in (*settings, *queries):
            with diary.doing(one):
                _execute(connection, one, None, None)
        for one in queries:
            explain = step(f"EXPLAIN ANALYZE {one.sql}")
            with diary.doing(explain):
                lines = connection.execute(explain.sql).fetchall()
            launched = [line for (line,) in lines if "Workers Launched: " in line]
            agree(explain, True, bool(launched) and not launched[0].endswith(" 0"))
    return diary
