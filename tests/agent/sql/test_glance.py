"""A glance never calls harmless what a denying rule could be about."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sql.glance import is_harmless, is_plain_data

DANGEROUS = [
    "DROP TABLE t", "drop\ttable t", "/**/drop/**/table t", "select 1;truncate t",
    "DELETE FROM t", "with x as (delete from t returning 1) select 1", "UPDATE t SET a = 1",
    "copy t to program 'x'", "do $$ begin end $$", "execute p", "alter table t drop a",
    "insert into pg_catalog.pg_authid values (1)", "select pg_read_file('x')",
    "select 'a' ; drop table t -- it's", "select E'\\'' ; drop table t --'",
    "select $$'$$; drop table t --'", 'select "\'"; drop table t --\'', "/*'*/ drop table t --'",
    "insert into t values (1) on conflict (a) do update set a = 1; update t set a = 2",
    "insert into t values (1) on conflict (a) do nothing; do update",
    "insert into t values (1) on conflict (a) do update set a = 1 do update",
    "insert into t select * from t on conflict (a) do update set a = 1",
    "insert into t table t on conflict (a) do update set a = 1",
    "select 1a; set session_replication_role = replica", "select 1a; reset all",
    "select 1a; load 'x'", "select 1a; create extension x", "select 1a; security label on t is ''",
    "select 1a; comment on table t is ''", "select 1a, set_config('x', 'y', false)",
    "select 1a, lo_export(1, 'x')", "select 1a, dblink_exec('x', 'y')", "select 1a; set/**/role x",
    "insert into t values (1) on conflict (a) do update set a = 1; set role x",
]  # fmt: skip
HARMLESS = [
    "INSERT INTO t VALUES (1, 'please update or delete me'), (2, 'drop by')",
    "SELECT dropped, updated_at FROM orders WHERE copying = 1",
    "insert into t values ('it''s do or die')",
    "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    "INSERT INTO t (id, comment, load, reset) VALUES (1, 'set role x', 2",
    "SELECT 1a, offset_id, created, settings FROM orders",
]


@pytest.mark.parametrize("sql", DANGEROUS)
def test_a_dangerous_word_is_seen_wherever_it_stands(sql):
    assert not is_harmless(sql.encode())


@pytest.mark.parametrize("sql", HARMLESS)
def test_prose_in_plain_strings_and_parts_of_names_are_harmless(sql):
    assert is_harmless(sql.encode())


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_is_dangerous_is_no_plain_data_either(text):
    assert not is_plain_data(text.encode())
    assert not is_plain_data(b" " * 100 + text.encode())


def test_an_upsert_is_no_plain_data():
    assert not is_plain_data(HARMLESS[3].encode())
    assert is_plain_data(HARMLESS[0].encode())


@given(st.text(), st.sampled_from([" ", "\n", ";", "(", "/**/", "\t"]), st.text(alphabet=" ;()\n"))
def test_nothing_around_it_hides_a_drop(before, gap, after):
    # Behind an odd number of quotes the word is inside a string, and so harmless in truth.
    if before.count("'") % 2 == 0:
        assert not is_harmless((before + gap + "DROP" + gap + after).encode())


def seconds(text):
    begun = time.thread_time()
    is_harmless(text), is_plain_data(text)
    return time.thread_time() - begun


@pytest.mark.parametrize(
    "words",
    [
        "on conflict ",
        "on  ",
        "do  ",
        "' ",
        "pg",
        "do\t",
        "on conflict do ",
        "\u00e9 ",
        "set  ",
        "set" + " " * 999,
        "set_",
        "set,",
        "'x', ",
        "a_col, ",
        "1, ",
        "(1, 'dropped by'), ",
        "on conflict do update set;",
    ],
)
def test_words_that_a_client_repeats_cost_no_more_than_their_length(words):
    # Nobody else runs meanwhile, and there are 200 ms in all: half of them for both looks.
    text = ("insert into t values (1) " + words * (300_000 // len(words))).encode()
    assert seconds(text) < 0.1, "of CPU time"


@pytest.mark.parametrize("begin", ["select ", " with a as (", "declare c cursor for ", "table t "])
def test_what_begins_with_a_query_is_known_at_once_to_be_no_plain_data(begin):
    text = (begin + "'x', " * 200_000).encode()
    assert is_plain_data(text) is False
    begun = time.thread_time()
    for _ in range(100):
        is_plain_data(text)
    assert time.thread_time() - begun < 0.01
