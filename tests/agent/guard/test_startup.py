"""Settings of the start-up packet, as PostgreSQL reads them and as SQL that a rule can judge."""

import pytest

from agent.guard.startup import AT_ONCE, as_statements, split_options


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", []),
        ("-c role=admin", [("role", "admin")]),
        ("-crole=admin  -c row_security=off", [("role", "admin"), ("row_security", "off")]),
        ("--session-replication-role=replica", [("session_replication_role", "replica")]),
        (r"-c search_path=a\ b\\c", [("search_path", r"a b\c")]),
        ("-O -S 64", [("allow_system_table_mods", "on"), ("work_mem", "64")]),
        ("-OP", [("allow_system_table_mods", "on"), ("ignore_system_indexes", "on")]),
        ("-c", [("", "")]),
        ("-c Role", [("role", "")]),
        ("stray --", [("", "")]),
        ("-c\u00a0x=1 -c a=b\x1cc", [("\u00a0x", "1"), ("a", "b\x1cc")]),
    ],
)
def test_options_are_read_as_the_server_reads_them(options, settings):
    assert list(split_options(options)) == settings


def test_what_was_set_becomes_sql_that_cannot_be_taken_for_more():
    settings = (("role", "x'; DROP TABLE t; --"), ('my.set"ting', "1"))
    assert [text.decode() for text in as_statements(settings)] == [
        """SET "role" TO 'x''; DROP TABLE t; --'; SET "my"."set""ting" TO '1'"""
    ]


def test_many_become_several_texts():
    settings = tuple((f"my.n{number}", "1") for number in range(3 * AT_ONCE))
    texts = list(as_statements(settings))
    assert [text.count(b"SET ") for text in texts] == [AT_ONCE] * 3
