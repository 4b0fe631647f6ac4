"""A large text that is not parsed in time is judged as one that cannot be parsed."""

import threading
import time

import pytest

from agent.directory import Directory
from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.hands import stopped
from agent.guard.hold import Guard, OnTimeout
from agent.guard.startup import as_statements
from agent.identity import IdentityMap
from agent.judge import GuardJudge
from agent.pipeline import enricher
from agent.planned import NotKnownError, Touched
from agent.sql.client import ParserClient
from model.event import SessionSeen, StatementStarted
from model.session import BackendKey
from rules import Judge, RuleSet
from tests.agent.guard.test_hold import held_process, wait_for

DEADLINE_MS = 400
UNREADABLE = Decision(DecisionKind.DENY, "unreadable", "too slow")
MANY = b", ".join([b"'x'"] * 60_000)


SEEN = SessionSeen(1, BackendKey(42, 1), "main", "shop", "d", None, "local", 0)
RULES = """
rules:
  - id: pay
    title: t
    severity: high
    action: deny
    when: "'hr.pay' in statement.reads"
  - id: triggers-off
    title: t
    severity: high
    action: deny
    when: "'session_replication_role' in statement.settings"
"""


def late_guard(go_on, unread, **options):
    def patient(event):
        assert go_on.wait(5)
        return ALLOW

    return Guard(
        lambda _: ALLOW, list, patient=patient, unread=unread, takes_long=lambda _: True,
        deadline_ms=DEADLINE_MS, **options,
    )  # fmt: skip


@pytest.fixture
def go_on():
    event = threading.Event()
    yield event
    event.set()


def settled_one(guard, event):
    assert guard.begin(event) is None
    settled = []
    wait_for(lambda: settled.extend(guard.finished()) or settled)
    return settled[0][1]


def test_what_is_refused_unread_is_refused_before_the_deadline(go_on):
    guard = late_guard(go_on, lambda _: UNREADABLE)
    with held_process() as event:
        settled = settled_one(guard, event)
        assert (settled.decision, settled.late) == (UNREADABLE, False)
        assert settled.held_us > DEADLINE_MS * 700
        assert not stopped(event.backend.pid)
    guard.close()


def test_one_whose_words_are_harmless_is_left_to_the_parser_until_the_deadline(go_on):
    asked = []
    guard = late_guard(go_on, lambda event: asked.append(event) or ALLOW)
    with held_process() as event:
        settled = settled_one(guard, event)
        assert (settled.decision, settled.late) == (ALLOW, True)
        assert settled.held_us >= DEADLINE_MS * 1000
        assert asked == [event], "once"
    guard.close()


def test_others_do_not_wait_for_the_look(go_on):
    threads = []
    guard = late_guard(go_on, lambda _: threads.append(threading.get_ident()) or UNREADABLE)
    with held_process() as event:
        assert settled_one(guard, event).decision is UNREADABLE
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    guard.close()


def test_it_is_looked_at_here_where_nobody_else_has_had_the_time(go_on):
    threads = []

    def unread(_):
        threads.append(threading.get_ident())
        if threading.get_ident() != here:
            assert go_on.wait(5)
        return UNREADABLE

    here = threading.get_ident()
    guard = late_guard(go_on, unread)
    with held_process() as event:
        assert settled_one(guard, event).decision is UNREADABLE
    assert here in threads
    guard.close()


def test_what_is_looked_at_too_late_is_refused_as_long_as_it_is_held(go_on):
    guard = late_guard(go_on, lambda _: UNREADABLE)
    with held_process() as event:
        assert guard.begin(event) is None
        time.sleep(DEADLINE_MS / 1000 + 0.02)
        [(_, settled)] = guard.finished()
        assert (settled.decision, settled.late) == (UNREADABLE, True)
        assert not stopped(event.backend.pid)
    guard.close()


def test_an_answer_that_comes_in_time_counts(go_on):
    guard = late_guard(go_on, lambda _: UNREADABLE)
    go_on.set()
    with held_process() as event:
        assert settled_one(guard, event).decision is ALLOW
    guard.close()


def test_who_refuses_what_is_late_waits_for_the_parser_as_long_as_there_is_time(go_on):
    asked = []
    guard = late_guard(go_on, asked.append, on_timeout=OnTimeout.DENY)
    with held_process() as event:
        settled = settled_one(guard, event)
        assert settled.decision.rule_id == "judge-late"
        assert asked == []
    guard.close()


def test_the_thread_that_reads_the_probes_is_woken_for_it(go_on):
    guard = late_guard(go_on, lambda _: UNREADABLE)
    with held_process() as event:
        assert guard.begin(event) is None
        assert guard.patience_seconds <= DEADLINE_MS / 1000 * 3 / 4
        time.sleep(guard.patience_seconds)
        assert len(guard.finished()) == 1
    guard.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"DELETE FROM shop.flags WHERE name IN (" + MANY + b") OR true", DecisionKind.DENY),
        (b"SELECT 1 WHERE 'x' IN (" + MANY + b"); DROP TABLE shop.flags", DecisionKind.DENY),
        (b"INSERT INTO shop.flags VALUES (" + MANY + b")", DecisionKind.ALLOW),
        (b"SELECT * FROM shop.flags WHERE name IN (" + MANY + b")", DecisionKind.ALLOW),
    ],
)
def test_the_shipped_rules_refuse_unread_what_has_a_dangerous_word(text, kind):
    rules = Judge(RuleSet.load())
    directory = Directory(enricher(IdentityMap().session, lambda cluster: frozenset()))
    with ParserClient() as parser:
        judge = GuardJudge(directory, parser, lambda: rules)
        event = StatementStarted(3, BackendKey(42, 1), text, len(text), held=True, hold_id=1)
        assert judge.unread(event).kind is kind


class Pay:
    """A plan that reads payroll, whatever the text says."""

    def __init__(self, known=True):
        self.known = known

    def touched(self, event, session, *, wait):
        assert not wait
        if not self.known:
            raise NotKnownError
        return Touched(("select",), ("hr.pay",), (), (), (), 1.0, complete=True)


@pytest.fixture
def unread(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    rules = Judge(RuleSet.load([tmp_path]))
    with ParserClient() as parser:

        def ask(planned, startup=()):
            directory = Directory(
                enricher(IdentityMap().session, lambda cluster: frozenset()),
                startup=lambda _: startup,
            )
            directory.observe(SEEN)
            judge = GuardJudge(directory, parser, lambda: rules, planned=planned)
            started = list(as_statements(startup))
            parser.shapes(started, [len(each) for each in started])
            text = b"SELECT a FROM v WHERE b IN (" + MANY + b")"
            event = StatementStarted(3, SEEN.backend, text, len(text), held=True, hold_id=1)
            return judge.unread(event)

        yield ask


def test_what_the_plan_touches_is_known_unread_as_well(unread):
    assert unread(Pay()).rule_id == "pay"
    assert unread(Pay(known=False)).kind is DecisionKind.ALLOW
    assert unread(None).kind is DecisionKind.ALLOW


def test_a_session_that_was_started_with_what_is_refused_gains_nothing_by_size(unread):
    started = (("session_replication_role", "replica"),)
    assert unread(None, started).rule_id == "triggers-off"
