"""What clients are given to do: Steps by path, the same for every client that can play them."""

from tests.conformance.expected import Nested, Outcome
from tests.conformance.messages import WITHHELD
from tests.conformance.place import Step, step

LONG = "SELECT length('" + "x" * 20_000 + "')"

SIMPLE = (
    step("SELECT 1", 1),
    step("SELECT generate_series(1, 7)", 7),
    step("SELECT 1 WHERE false", 0),
    step("SELECT repeat('x', 100) FROM generate_series(1, 5000)", 5000),
    step(LONG, 1),
    step("SELECT 'žluťoučký kůň' /* ☃ */ -- why\n", 1),
    step("INSERT INTO items VALUES (1, 'a'), (2, 'b')", 2),
    step("UPDATE items SET note = 'c' WHERE id = 1", 1),
    step("CREATE TABLE copied AS SELECT generate_series(1, 11)", 11),
    step("DROP TABLE copied"),
    step("SET work_mem = '5MB'"),
    step("SHOW work_mem"),
    step("EXPLAIN SELECT 1"),
    step("VALUES (1), (2), (3)", 3),
    step("DELETE FROM items WHERE id < 3", 2),
)

SCRIPT = tuple(
    step(sql, rows)
    for sql, rows in (
        ("SELECT 1;", 1),
        ("SELECT 1\n  AS one;", 1),
        ("INSERT INTO items VALUES (1, ';');", 1),
        ("DELETE FROM items WHERE id = 1;", 1),
    )
)

MULTI = (
    Step("SELECT 1; SELECT generate_series(1, 3); SELECT 2", (Outcome(1), Outcome(3), Outcome(1))),
    Step("BEGIN; INSERT INTO items VALUES (1, 'm'); ROLLBACK", (Outcome(), Outcome(1), Outcome())),
    Step("SELECT 1; SELECT 1", (Outcome(1), Outcome(1))),
    Step("SELECT 1; SELECT 1/0; SELECT 2", (Outcome(1), Outcome(None, "22012"))),
    Step(
        "SELECT 1; SELECT 1/(g - 2) FROM generate_series(1, 3) g; SELECT 2",
        (Outcome(1), Outcome(None, "22012")),
    ),
    Step("SELECT 1; SELECT * FROM no_such_table", (Outcome(1), Outcome(None, "42P01"))),
    Step("SELECT 1; SELEC 2", (Outcome(None, "42601"),)),
    Step(
        "BEGIN; SELECT generate_series(1, 4); SELECT 'geheim'::int; COMMIT",
        (Outcome(), Outcome(4), Outcome(None, "22P02")),
    ),
    Step("ROLLBACK; SELECT generate_series(1, 6)", (Outcome(), Outcome(6))),
    Step(
        "SELECT generate_series(1, 2); INSERT INTO guarded VALUES (1), (0), (1); SELECT 3",
        (Outcome(2), Outcome(None, "23505")),
    ),
    Step(
        "SELECT pg_sleep(0.05); SELECT pg_sleep(0.1); SELECT 1",
        (
            Outcome(1, at_least_seconds=0.05),
            Outcome(1, at_least_seconds=0.1),
            Outcome(1),
        ),
    ),
    Step(
        "SELECT 1; SELECT repeat('y', 200) FROM generate_series(1, 2000); SELECT 2",
        (Outcome(1), Outcome(2000), Outcome(1)),
    ),
)

MUCH = "SELECT repeat('x', 3000) FROM generate_series(1, 1000)"
"""Its answer is longer than what is copied of a round trip."""
LONG_ANSWERS = (
    Step(
        f"SELECT 1; {MUCH}; SELECT generate_series(1, 5); {MUCH}; SELECT 2",
        (Outcome(1), Outcome(1000), Outcome(5), Outcome(1000), Outcome(1)),
    ),
    Step(
        f"SELECT 1; {MUCH}; SELECT generate_series(1, 5); {MUCH}; SELECT 1/0",
        (Outcome(1), Outcome(1000), Outcome(5), Outcome(1000), Outcome(None, "22012")),
    ),
)

PARAMETERS = (
    step("SELECT $1::int + 1", 1, 41),
    step("SELECT generate_series(1, $1::int)", 9, 9),
    step("INSERT INTO items VALUES ($1::int, $2::text)", 1, 7, "p"),
    step("UPDATE items SET note = $1::text WHERE id = $2::int", 1, "q", 7),
    step("SELECT repeat('x', 100) FROM generate_series(1, $1::int)", 3000, 3000),
    step("DELETE FROM items WHERE id = $1::int", 1, 7),
)

REPEATED = tuple(step("SELECT generate_series(1, $1::int)", n, n) for n in (1, 5, 3, 0, 400, 2))
"""One Parse where statements are named."""

ENCODING = (
    step("SET client_encoding = 'LATIN1'"),
    step("SELECT 'café'", 1),
    step("SELECT café", error="42703"),
)
"""Sent in the client's encoding, recorded in the server's."""

ADD = step("INSERT INTO items VALUES ($1::int, $2::text)", 1, 300, "many")

COPY_ROWS = 500
COPY_IN = step("COPY items FROM STDIN", COPY_ROWS)
COPY_OUT = step("COPY (SELECT * FROM items LIMIT 500) TO STDOUT", COPY_ROWS)
COPY_DATA = "".join(f"{1000 + number}\tcopied\n" for number in range(COPY_ROWS))

TRANSACTION = (
    step("BEGIN"),
    step("INSERT INTO items VALUES (1, 't')", 1),
    step("SAVEPOINT one"),
    step("INSERT INTO items VALUES (2, 't')", 1),
    step("SELECT 1/0", error="22012"),
    step("SELECT 1", error="25P02"),
    step("ROLLBACK TO SAVEPOINT one"),
    step("SAVEPOINT two"),
    step("DELETE FROM items WHERE id < 5", 1),
    step("RELEASE SAVEPOINT two"),
    step("COMMIT"),
    step("BEGIN"),
    step("SELECT * FROM no_such_table", error="42P01"),
    step("ROLLBACK"),
)

ERRORS = (
    step("SELEC 1", error="42601"),
    step("SELECT * FROM no_such_table", error="42P01"),
    step("SELECT no_such_function()", error="42883"),
    step("SELECT 1/0", error="22012"),
    step("SELECT 1/(g - 3) FROM generate_series(1, 5) g", error="22012"),
    step("SELECT repeat('z', 100), 1/(g - 900) FROM generate_series(1, 1000) g", error="22012"),
    step("INSERT INTO guarded SELECT g % 2 FROM generate_series(1, 3) g", error="23505"),
    step("SELECT * FROM pg_authid", error="42501"),
    step("DROP TABLE no_such_table", error="42P01",
         message='table "no_such_table" does not exist'),
    step("SELECT 'geheim'::int", error="22P02"),
    step("SELECT 1", 1),
)  # fmt: skip

PARAMETER_ERRORS = (
    Step("SELEC $1::int", (Outcome(None, "42601"),), (1,)),
    Step("SELECT $1::int FROM no_such_table", (Outcome(None, "42P01"),), (1,)),
    Step("SELECT 1/$1::int", (Outcome(None, "22012"),), (0,)),
    Step("SELECT 1/(g - $1::int) FROM generate_series(1, 5) g", (Outcome(None, "22012"),), (3,)),
    step("SELECT $1::int", 1, 1),
)

SQL_PREPARE = (
    step("PREPARE three AS SELECT generate_series(1, 3)"),
    step("EXECUTE three", 3, nested=(Nested("PREPARE three AS SELECT generate_series(1, 3)"),)),
    step("EXECUTE three", 3, nested=(Nested("PREPARE three AS SELECT generate_series(1, 3)"),)),
    step("PREPARE adds(int) AS INSERT INTO items VALUES ($1, 'prepared')"),
    step("EXECUTE adds(4)", 1,
         nested=(Nested("PREPARE adds(int) AS INSERT INTO items VALUES ($1, 'prepared')"),)),
    step("DEALLOCATE three"),
    step("EXECUTE three", error="26000"),
    step("DELETE FROM items WHERE id < 5", 1),
)  # fmt: skip

SQL_CURSOR = (
    step("BEGIN"),
    step("DECLARE c SCROLL CURSOR FOR SELECT generate_series(1, 10)"),
    step("FETCH 3 FROM c", 3),
    step("MOVE 2 FROM c", 2),
    step("FETCH ALL FROM c", 5),
    step("CLOSE c"),
    step("COMMIT"),
)

NOTIFY = (
    step("LISTEN news"),
    step("NOTIFY news, 'hello'"),
    step("SELECT pg_notify('news', 'again')", 1),
    step("UNLISTEN news"),
)

TIMED_OUT = "canceling statement due to statement timeout"
TIMEOUTS = (
    step("SELECT pg_sleep(0.1)", 1, at_least_seconds=0.1),
    step("SET statement_timeout = '100ms'"),
    step("SELECT pg_sleep(5)", error="57014", message=TIMED_OUT, at_least_seconds=0.1),
    step("SELECT count(*) FROM generate_series(1, 1000000000)", error="57014",
         message=TIMED_OUT, at_least_seconds=0.1),
    step("SET statement_timeout = 0"),
)  # fmt: skip

WORKERS = (
    step("SET max_parallel_workers_per_gather = 2"),
    step("SET parallel_setup_cost = 0"),
    step("SET parallel_tuple_cost = 0"),
    step("SET min_parallel_table_scan_size = 0"),
)
PARALLEL = (
    step("SELECT kind, count(*) FROM wide WHERE note LIKE '%7%' GROUP BY kind", 7),
    step("SELECT id FROM wide WHERE note LIKE '%77%'", 560),
)

ROUTINES = (
    step("SELECT plpgsql_writes(3)", 1, nested=(
        Nested("INSERT INTO journal SELECT 'plpgsql ' || n"), Nested("DELETE FROM journal"))),
    step("SELECT sql_writes(4)", 1, nested=(Nested("INSERT INTO journal SELECT 'sql ' || n"),)),
    step("SELECT plpgsql_calls_sql()", 1, nested=(
        Nested("SELECT sql_writes(5)", (Nested("INSERT INTO journal SELECT 'sql ' || n"),)),)),
    step("CALL plpgsql_defines()", nested=(
        Nested("CREATE TABLE defined (a int)"), Nested("INSERT INTO defined VALUES (1), (2)"),
        Nested("DROP TABLE defined"))),
    step("CALL sql_defines()", nested=(Nested("DELETE FROM journal"),)),
)  # fmt: skip

DO_BLOCK = (
    step("DO $$ BEGIN NULL; END $$"),
    step("DO $$ BEGIN INSERT INTO journal VALUES ('do'); CREATE TEMP TABLE made (a int); END $$",
         nested=(Nested("INSERT INTO journal VALUES ('do')"),
                 Nested("CREATE TEMP TABLE made (a int)"))),
    step("DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'made'; END $$",
         nested=(Nested("DROP TABLE made"),)),
    step("DO $$ DECLARE r record; BEGIN FOR r IN SELECT generate_series(1, 30) LOOP NULL; "
         "END LOOP; END $$", nested=(Nested("SELECT generate_series(1, 30)"),)),
    step("DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$"),
    step("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0099'; END $$", error="P0099"),
    step("DO $$ BEGIN RAISE 'role \"secret\" does not exist' USING ERRCODE = '42704'; END $$",
         error="42704", message=WITHHELD),
)  # fmt: skip

TRIGGERS = (
    step("INSERT INTO guarded VALUES (1, 'a'), (2, 'b')", 2, nested=(
        Nested("INSERT INTO journal VALUES (TG_OP)"),
        Nested("INSERT INTO journal VALUES (TG_OP)"))),
    step("DELETE FROM guarded", 2),
)  # fmt: skip

ROUTINE_ERRORS = (
    step("SELECT plpgsql_fails()", error="22012", nested=(
        Nested("INSERT INTO journal VALUES ('before')"),)),
    step("SELECT plpgsql_recovers()", 1, nested=(
        Nested("INSERT INTO journal VALUES ('before')"),
        Nested("INSERT INTO journal VALUES ('recovered')"))),
    step("CALL plpgsql_commits()", nested=(
        Nested("INSERT INTO journal VALUES ('one')"),
        Nested("INSERT INTO journal VALUES ('two')"))),
)  # fmt: skip

TWICE_LATER = 'duplicate key value violates unique constraint "later_id_key"'
DEFERRED = (
    step("INSERT INTO later VALUES (1)", 1),
    step("BEGIN"),
    step("INSERT INTO later VALUES (1)", 1),
    step("COMMIT", error="23505", message=TWICE_LATER),
    step("INSERT INTO later VALUES (1)", error="23505", message=TWICE_LATER),
    step("DELETE FROM later", 1),
)
"""A constraint that is looked at when the transaction ends."""

DEFERRED_PARAMETERS = (
    step("INSERT INTO later VALUES ($1::int)", 1, 1),
    step("INSERT INTO later VALUES ($1::int)", None, 1, error="23505", message=TWICE_LATER),
    step("DELETE FROM later WHERE id = $1::int", 1, 1),
)
"""In the extended protocol it fails at Sync, after CommandComplete."""

DEFINITIONS = (
    step("CREATE TABLE defined_here (id serial PRIMARY KEY, note text DEFAULT 'x')"),
    step("CREATE INDEX defined_index ON defined_here (note)"),
    step("ALTER TABLE defined_here ADD COLUMN more int"),
    step("COMMENT ON TABLE defined_here IS 'a comment'"),
    step("GRANT SELECT ON defined_here TO PUBLIC"),
    step("CREATE VIEW defined_view AS SELECT * FROM defined_here"),
    step("CREATE MATERIALIZED VIEW defined_kept AS SELECT generate_series(1, 6) AS a", 6),
    step("REFRESH MATERIALIZED VIEW defined_kept"),
    step("DROP TABLE defined_here CASCADE"),
    step("DROP MATERIALIZED VIEW defined_kept"),
    step("VACUUM items"),
    step("ANALYZE items"),
    step("SET ROLE conf"),
    step("RESET ALL"),
    step("DISCARD PLANS"),
)

PREPARED_INSIDE = (
    step("PREPARE inside AS SELECT generate_series(1, 4)"),
    step("CREATE TEMP TABLE kept AS EXECUTE inside", 4,
         nested=(Nested("PREPARE inside AS SELECT generate_series(1, 4)"),)),
    step("EXPLAIN ANALYZE SELECT 1"),
)  # fmt: skip

EXPLAIN_EXECUTE = (
    step("PREPARE inside AS SELECT generate_series(1, 4)"),
    step("EXPLAIN ANALYZE EXECUTE inside",
         nested=(Nested("PREPARE inside AS SELECT generate_series(1, 4)"),)),
)  # fmt: skip

SLEEPS = (
    step("SELECT pg_sleep(0.02)", 1, at_least_seconds=0.02),
    step("SELECT pg_sleep($1::float8 / 1000)", 1, 20, at_least_seconds=0.02),
    step("SELECT pg_sleep($1::float8 / 1000)", 1, 60, at_least_seconds=0.06),
    step("SELECT pg_sleep(0.06) FROM generate_series(1, 2)", 2, at_least_seconds=0.12),
    step("SELECT pg_sleep($1::float8 / 1000), 1/(g - 2) FROM generate_series(1, 3) g", None, 30,
         error="22012", at_least_seconds=0.03),
)  # fmt: skip
"""Each takes at least as long as the server sleeps, at most as long as its client waits."""

PLANNING = (
    step("SELECT slow_to_plan()", 1, preparing_seconds=0.1,
         nested=(Nested("SELECT pg_sleep(0.1)"),)),
    step("SELECT slow_to_plan() + $1::int", 1, 1, nested=(Nested("SELECT pg_sleep(0.1)"),)),
)  # fmt: skip
"""The planner runs what is immutable. In the extended protocol it plans at Bind, which is a message
of its own: what is told is Execute."""

LENGTHY = (
    step(f"SELECT length('{'l' * 150_000}')", 1),
    step(f"SELECT length('{'m' * 1_500_000}')", 1),
    step(f"SELECT length('{'n' * 1_500_000}') + $1::int", 1, 1),
    step(f"SELEC length('{'o' * 1_500_000}')", error="42601"),
)
"""Of all but the first a part is recorded, with the length of all of it."""
