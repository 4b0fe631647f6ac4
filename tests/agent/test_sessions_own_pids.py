"""A server in a container calls its backends by other numbers: its log's words find theirs."""

from dataclasses import replace

import pytest

from agent.discovery import Process
from agent.probes.layout import SESSION, RecordKind
from agent.sessions import Limits, SessionTracker
from agent.sessions.own_pids import NOBODYS
from agent.sources.records import Decoder
from model.event import AuditLogged, LoginFailed, SessionEnded
from model.session import BackendKey, Session
from model.statement import Source, Statement
from tests.agent.test_sessions import EPOCH, KEY, Dialogue, ns, seen

WINDOW_US = 1_500_000
INNER = 33
"""What the server calls the backend that is KEY."""
SECOND_US = KEY.started_at_us // 1_000_000 * 1_000_000
STRANGER = BackendKey(INNER, KEY.started_at_us)
"""The process of this host that has the number."""


def logged(
    at=1, text="select 1", pid=INNER, cluster="main", started_us=SECOND_US, sid=1, user="ann"
):
    return AuditLogged(
        ns(at), BackendKey(pid, started_us), cluster, user, "shop", "psql", "local", "SESSION",
        sid, 1, "READ", "SELECT", "", "", text, "", own_pids=True,
    )  # fmt: skip


def told(key=KEY, number=INNER, at=0):
    return replace(seen(key, at=at), server_pid=number)


def talk(processes=lambda cluster: {}, limits=None):
    tracker = SessionTracker(EPOCH, WINDOW_US, limits=limits or Limits(), processes=processes)
    return Dialogue(tracker=tracker)


def answered(dialogue, at=2):
    return dialogue.start(1, "select 1").answer(at, ("SELECT", 1))


def rest(dialogue):
    """Statements, and the sessions that were said."""
    for at in (1_000, 1_900, 4_000, 8_000):
        dialogue.wait(at)
    said = dialogue.said()
    statements = [one for one in said if isinstance(one, Statement)]
    return statements, {one.key for one in said if isinstance(one, Session)}


@pytest.mark.parametrize("log_first", [False, True])
def test_a_statement_in_a_container_stands_once_with_both_sources(log_first):
    dialogue = talk()
    if log_first:
        dialogue.hear(logged()).hear(told())
        answered(dialogue)
    else:
        answered(dialogue.hear(told())).hear(logged())
    (statement,), sessions = rest(dialogue)
    assert (statement.source, statement.session.key) == (Source.BOTH, KEY)
    assert sessions == {KEY}
    assert dialogue.tracker.losses() == {}


def test_a_backend_that_ended_before_its_log_was_read_is_known_by_what_was_learnt():
    dialogue = answered(talk().hear(told())).hear(SessionEnded(ns(3), KEY)).hear(logged())
    (statement,), sessions = rest(dialogue)
    assert (statement.source, sessions) == (Source.BOTH, {KEY})


def test_records_that_waited_keep_their_order():
    dialogue = talk()
    for number in range(3):
        dialogue.hear(logged(number, f"select {number}", sid=number + 1))
    dialogue.hear(told())
    statements, _ = rest(dialogue)
    assert [one.text for one in statements] == [b"select 0", b"select 1", b"select 2"]
    assert {one.session.key.pid for one in statements} == {KEY.pid}


def test_what_nobody_translates_is_of_nobody_and_counted():
    dialogue = talk().hear(seen(STRANGER)).hear(logged()).hear(logged(2, "select 2", sid=2))
    statements, sessions = rest(dialogue)
    assert [one.text for one in statements] == [b"select 1", b"select 2"]
    (key,) = {one.session.key for one in statements}
    assert key.pid >= NOBODYS
    assert key.started_at_us == SECOND_US
    assert {one.session.cluster for one in statements} == {"main"}
    assert {one.source for one in statements} == {Source.PGAUDIT}
    assert sessions == {STRANGER, key}
    assert dialogue.tracker.losses() == {"audit_pid_unknown": 2}
    assert STRANGER in [one.key for one in dialogue.tracker.sessions()], "it has not ended"


def test_the_probe_tells_by_which_number_the_server_calls_it():
    decoder = Decoder(lambda number: "main")
    record = SESSION.pack(
        RecordKind.SESSION, 4711, 1, 5, 0, 1, INNER, 2, 0, bytes(16), b"ann", b"shop", b"psql"
    )
    (event,) = decoder.decode([record], 0, 1)
    assert (event.backend.pid, event.server_pid, event.user) == (4711, INNER, "ann")


def test_backends_that_nobody_knows_are_told_apart():
    dialogue = talk()
    dialogue.hear(logged()).hear(logged(cluster="other")).hear(logged(pid=INNER + 1, user="bob"))
    dialogue.hear(logged(started_us=SECOND_US + 1_000_000))
    statements, _ = rest(dialogue)
    assert len({one.session.key for one in statements}) == 4
    again, _ = rest(talk().hear(logged()))
    assert again[0].session.key in {one.session.key for one in statements}, "after a restart too"


def test_a_process_that_lives_is_found_without_probes():
    processes = {"main": {INNER: Process(KEY.pid, KEY.started_at_us + 9_000)}}
    dialogue = talk(processes.__getitem__).hear(logged()).wait(100)
    assert [one.key.pid for one in dialogue.tracker.sessions()] == [KEY.pid]
    (statement,), _ = rest(dialogue)
    assert statement.session.key == BackendKey(KEY.pid, SECOND_US)
    assert dialogue.tracker.losses() == {}


def test_a_process_that_was_given_the_number_since_is_another_one():
    processes = {"main": {INNER: Process(KEY.pid, KEY.started_at_us + 60_000_000)}}
    (statement,), _ = rest(talk(processes.__getitem__).hear(logged()))
    assert statement.session.key.pid >= NOBODYS


def test_a_log_without_starts_means_the_last_backend_of_the_number():
    dialogue = answered(talk().hear(told())).hear(logged(started_us=0))
    (statement,), sessions = rest(dialogue)
    assert (statement.source, sessions) == (Source.BOTH, {KEY})


def test_a_number_that_happens_to_be_the_hosts_is_right():
    dialogue = talk().hear(logged(pid=KEY.pid)).hear(told(number=KEY.pid))
    (statement,), sessions = rest(answered(dialogue))
    assert (statement.source, sessions) == (Source.BOTH, {KEY})


def test_numbers_of_two_servers_do_not_mix():
    other = BackendKey(77, KEY.started_at_us + 1)
    dialogue = talk().hear(told()).hear(replace(told(other), cluster="other"))
    dialogue.hear(logged(cluster="other")).hear(logged())
    statements, _ = rest(dialogue)
    found = {(one.session.cluster, one.session.key.pid) for one in statements}
    assert found == {("main", KEY.pid), ("other", 77)}


def test_a_refused_login_has_no_process_of_the_host():
    event = LoginFailed(
        ns(1), BackendKey(INNER, SECOND_US), "main", "eve", "shop", "", "28P01", "no", own_pids=True
    )
    dialogue = talk().hear(seen(STRANGER)).hear(event)
    (login,), sessions = rest(dialogue)
    assert login.session.key.pid >= NOBODYS
    assert sessions == {STRANGER}
    assert dialogue.tracker.losses() == {}, "there is no session that it could be matched with"


def test_what_waits_is_bounded_and_leaves_at_the_end():
    dialogue = talk(limits=Limits(audit_text_chars=2_000))
    for number in range(10):
        dialogue.hear(logged(text=f"select {number}", pid=number + 1))
    assert dialogue.tracker.losses() == {"audit_pid_unknown": 7}
    dialogue.out += dialogue.tracker.flush()
    assert len([one for one in dialogue.said() if isinstance(one, Statement)]) == 10


def test_what_was_learnt_is_bounded():
    dialogue = talk(limits=Limits(sessions=2))
    for number in range(9):
        dialogue.hear(
            told(BackendKey(100 + number, KEY.started_at_us + number), number + 1, number)
        )
    assert len(dialogue.tracker._own_pids._known) == 4


def test_for_a_server_of_the_host_nobody_is_asked():
    def never(cluster):
        raise AssertionError(cluster)

    dialogue = talk(never).hear(told(number=KEY.pid))
    answered(dialogue).audit(1, 1, "select 1")
    (statement,), sessions = rest(dialogue)
    assert (statement.source, sessions) == (Source.BOTH, {KEY})
