"""``pgwarden sql`` and the views under it."""

import json
import shutil
from pathlib import Path

import pytest

from agent.spool.spool import Spool
from cli import sql
from collector.schema import TABLES
from collector.store import Store, open_views
from collector.views import damage
from tests.collector.road import START_US, collector_at, statements, uplink_to
from tests.waiting import wait_until


@pytest.fixture
def stored(sample, tmp_path):
    """A copy of ``sample`` that a test may damage."""
    return Path(shutil.copytree(sample, tmp_path / "data"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A data directory with 300 statements and one finding in two states."""
    tmp_path = tmp_path_factory.mktemp("sample")
    with collector_at(tmp_path) as collector:
        spool = Spool(tmp_path / "spool.db", lambda *_: None)
        with uplink_to(collector.address, spool) as uplink:
            for first in (0, 100, 200):
                spool.append(statements(first, 100))
                assert uplink.drain(10)
        finding = {"id": "f1", "kind": "anomaly", "title": "a", "occurred_at": START_US}
        collector.store.append("findings", [finding])
        assert collector.store.segments.flush()
        collector.store.append("findings", [{**finding, "resolved_at": START_US + 5}])
        assert collector.store.segments.flush()
    return tmp_path / "data"


def test_views_exist_with_their_documented_columns_before_there_is_any_file(tmp_path):
    with open_views(tmp_path) as views:
        for table in TABLES.values():
            found = views.execute(f"DESCRIBE {table.name}").fetchall()
            documented = [(column.name, column.duckdb_type) for column in table.columns]
            assert [(row[0], row[1]) for row in found] == documented


def test_views_over_segments_have_the_same_columns_and_types(tmp_path):
    store = Store(tmp_path, commit_seconds=0.01)
    store.start()
    for table in TABLES:
        store.append(table, [{}])
    assert store.segments.flush()
    with open_views(tmp_path) as views:
        for table in TABLES.values():
            found = views.execute(f"DESCRIBE {table.name}").fetchall()
            documented = [(column.name, column.duckdb_type) for column in table.columns]
            assert [(row[0], row[1]) for row in found] == documented
    store.close()


def test_a_finding_is_shown_in_its_last_state(stored):
    with open_views(stored) as views:
        assert views.execute("SELECT id, resolved_at IS NULL FROM findings").fetchall() == [
            ("f1", False)
        ]


@pytest.mark.parametrize(
    "order",
    [
        "COPY (SELECT 1) TO '{data}/segments/statements/x.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{data}/segments/x.parquet'",
        "EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{data}/segments/x.parquet'",
        "CREATE TABLE t (a int)",
        "SET enable_external_access = true",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_text('{data}/ledger.jsonl')",
        "SELECT * FROM read_text('{data}/segments/../ledger.jsonl')",
        "SELECT 1; SELECT 2",
        "SELECT",
        "",
        "SELECT nothing FROM statements",
        "EXPORT DATABASE '/tmp/x'",
        "CALL enable_logging()",
        "PRAGMA enable_profiling",
    ],
)
def test_only_questions_to_the_record_are_answered(stored, order):
    with sql.open_session(stored) as views, pytest.raises(sql.QueryError) as refusal:
        list(sql.ask(views, order.format(data=stored)).rows())
    assert "Traceback" not in str(refusal.value)
    assert not list(stored.rglob("x.parquet"))


@pytest.mark.parametrize(
    "question",
    [
        "SELECT count(*) FROM statements",
        "FROM sessions",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "DESCRIBE statements",
        "SHOW TABLES",
        "SUMMARIZE losses",
        "EXPLAIN SELECT * FROM statements",
        "EXPLAIN ANALYZE SELECT * FROM statements",
    ],
)
def test_questions_in_any_form_are_answered(stored, question):
    with sql.open_session(stored) as views:
        list(sql.ask(views, question).rows())


ODD = [
    ("timestamptz '2026-03-03 12:00:00+00'", "2026-03-03 12:00:00+00"),
    ("timestamptz 'infinity'", "infinity"),
    ("timetz '01:02:03+02'", "01:02:03+02"),
    ("timestamp_ns '2020-01-01 00:00:00.123456789'", "2020-01-01 00:00:00.123456789"),
    ("interval '1 year 3.5 second'", "1 year 00:00:03.5"),
    ("{'at': timestamptz '2026-03-03', 'blob': '\\x00a'::blob}",
     {"at": "2026-03-03 00:00:00+00", "blob": "\\x00a"}),
    ("[timestamptz '2026-03-03']", ["2026-03-03 00:00:00+00"]),
    ("map {timestamptz '2026-03-03': 1}", {"2026-03-03 00:00:00+00": 1}),
    ("map {[1]: 2}", {"key": [[1]], "value": [2]}),
    ("map {1: 2}", {"1": 2}),
    ("union_value(num := timestamptz '2026-03-03')", "2026-03-03 00:00:00+00"),
    ("'\\x00\\xff'::blob", "\\x00\\xFF"),
    ("'101'::bit", "101"),
    ("'NaN'::double", None),
    ("'-inf'::float", None),
    ("170141183460469231731687303715884105727::hugeint",
     "170141183460469231731687303715884105727"),
    ("sum(2)", 2),
    ("18446744073709551615::ubigint", "18446744073709551615"),
    ("1.50::decimal(10, 2)", "1.50"),
    ("[1, 2]::int[2]", [1, 2]),
    ("'a'::enum('a', 'INTERVAL')", "a"),
    ("date '0044-01-01 (BC)'", "0044-01-01 (BC)"),
    ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
    ("null", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), ODD)
def test_values_of_each_type_are_shown_also_where_python_or_json_has_none_like_it(
    tmp_path, capsys, value, shown
):
    question = f"SELECT {value} AS v, 1 AS v; -- a comment"
    with sql.open_session(tmp_path) as views:
        sql.show_csv(sql.ask(views, question))
        sql.show_table(sql.ask(views, question))
        capsys.readouterr()
        sql.show_json(sql.ask(views, question.replace("1 AS v", "1 AS w")))
    assert json.loads(capsys.readouterr().out) == {"v": shown, "w": 1}


def test_rows_with_such_values_keep_their_order_and_their_names(tmp_path):
    question = "SELECT i AS a, now() AS a FROM range(5000) AS t(i) ORDER BY i DESC"
    with sql.open_session(tmp_path) as views:
        answer = sql.ask(views, question, 3000)
        assert [number for number, _ in answer.rows()] == [*range(4999, 1999, -1)]
        assert (answer.names, answer.more) == (["a", "a"], True)


def test_a_damaged_segment_is_left_out_and_named_and_the_rest_is_readable(stored):
    victim = stored / "segments/statements/000000000001.parquet"
    victim.write_bytes(victim.read_bytes()[:100])
    (sentence,) = damage(stored)
    assert "000000000001.parquet: 100 bytes" in sentence
    with sql.open_session(stored) as views:
        assert list(sql.ask(views, "SELECT count(*) FROM statements").rows()) == [(200,)]


def test_json_csv_and_table_show_the_same_rows(stored, capsys):
    with sql.open_session(stored) as views:
        question = "SELECT id, reads, '[red]\x1b[31m' AS hostile FROM statements ORDER BY id"
        sql.show_json(sql.ask(views, question, 2))
        sql.show_csv(sql.ask(views, question, 2))
        sql.show_table(sql.ask(views, question, 2))
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[0])["reads"] == ["public.orders"]
    assert "0,public.orders," in printed
    assert "[red]\\x1b[31m" in printed.splitlines()[-2]


def test_the_shell_joins_lines_lists_views_and_goes_on_after_a_mistake(stored, capsys):
    lines = [
        "\\d",
        "\\d losses",
        "SELECT nonsense;",
        "SELECT count(*) AS n",
        "FROM statements;",
        "\\q",
    ]
    sql.shell(stored, lines)
    printed = capsys.readouterr()
    assert "statements" in printed.out
    assert "300" in printed.out
    assert "nonsense" in printed.err


def test_the_record_can_be_asked_while_the_collector_writes(tmp_path):
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        seen = []
        for round_number in range(20):
            spool.append(statements(round_number * 50, 50))
            with sql.open_session(tmp_path / "data") as views:
                ((count,),) = sql.ask(views, "SELECT count(*) FROM statements").rows()
            seen.append(count)
        assert uplink.drain(10)
        wait_until(lambda: collector.count() == 1000)
    assert seen == sorted(seen)
    assert all(count % 50 == 0 for count in seen)
