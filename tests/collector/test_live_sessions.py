"""Which sessions live, by what agents sent."""

from datetime import datetime

import polars as pl

from collector import schema
from collector.sessions import LiveSessions


def row(agent="a", pid=7, second=20, microsecond=0, ended=None, user="app"):
    started = datetime(2026, 1, 1, 0, 0, second, microsecond)
    return {
        "agent": agent,
        "pid": pid,
        "backend_started_at": started,
        "user_name": user,
        "ended_at": ended,
        "seen_at": started,
    }


def living(*rows):
    dtypes = schema.SESSIONS.dtypes
    blank = dict.fromkeys(dtypes)
    frame = pl.DataFrame([blank | each for each in rows], schema=dtypes)
    return LiveSessions(frame).frame().select("agent", "pid", "user_name").rows()


def test_a_session_whose_start_became_known_more_precisely_is_shown_once():
    assert living(row(user="log"), row(microsecond=991_686, user="probe")) == [("a", 7, "probe")]


def test_of_a_reused_pid_only_the_newest_process_lives():
    assert living(row(second=30, user="new"), row(user="old")) == [("a", 7, "new")]


def test_the_same_pid_on_another_host_is_another_session():
    assert living(row(agent="a"), row(agent="b")) == [("a", 7, "app"), ("b", 7, "app")]


def test_what_has_ended_is_not_shown():
    assert living(row(ended=datetime(2026, 1, 1))) == []
