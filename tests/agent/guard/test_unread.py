"""A large text that is not parsed in time is judged as one that cannot be parsed."""

import threading
import time

import pytest

from agent.guard.hands import stopped
from agent.guard.hold import ALLOW, Decision, DecisionKind, Guard, OnTimeout
from agent.identity import IdentityMap
from agent.judge import Directory, GuardJudge
from agent.pipeline import enricher
from agent.sql.client import ParserClient
from model.event import StatementStarted
from model.session import BackendKey
from rules import Judge, RuleSet
from tests.agent.guard.test_hold import held_process, wait_for

DEADLINE_MS = 400
UNREADABLE = Decision(DecisionKind.DENY, "unreadable", "too slow")
MANY = b", ".join([b"'x'"] * 60_000)


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
        assert asked == [event]
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
