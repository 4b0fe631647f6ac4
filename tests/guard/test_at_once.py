"""The thread that reads the probes judges as the judge's own thread does."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.directory import Directory
from agent.judge import GuardJudge
from agent.sql.cache import ShapeCache
from agent.sql.client import MAX_AHEAD_BYTES, ParserClient
from agent.sql.templates import Templates
from model.event import SessionSeen, StatementStarted
from rules import Judge, RuleSet
from tests.guard import policy
from tests.guard.entry import load
from tests.guard.judging import SESSIONS
from tests.guard.mutate import spaced, wrapped
from tests.guard.test_mutations import FORBIDDEN, HARMLESS, PLAIN

LOGINS = tuple(SESSIONS)


class Both:
    """Two judges that have not met a text before."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rules = RuleSet.load([policy.write(Path(folder))])
        self._parsers = [self._forgetful(), self._forgetful()]
        self._at_once, self._waiting = (
            [self._judge(parser, rules, login) for login in LOGINS] for parser in self._parsers
        )
        self.unanswered = 0

    def close(self) -> None:
        for parser in self._parsers:
            parser.close()

    def agree(self, text: bytes, login: str, *, nested: bool = False) -> None:
        number = LOGINS.index(login)
        key = SESSIONS[login].key
        event = StatementStarted(1, key, text, len(text), held=True, hold_id=1, nested=nested)
        answer = self._at_once[number].at_once(event)
        self._at_once[number].keep()
        if answer is None:
            self.unanswered += 1
            answer = self._at_once[number](event)
        assert answer == self._waiting[number](event), text

    @staticmethod
    def _forgetful() -> ParserClient:
        cache = ShapeCache(max_bytes=0, templates=Templates(max_bytes=0))
        return ParserClient(cache, text_budget_seconds=5)

    @staticmethod
    def _judge(parser: ParserClient, rules: RuleSet, login: str) -> GuardJudge:
        session = SESSIONS[login]
        directory = Directory(lambda _: session)
        directory.observe(
            SessionSeen(1, session.key, "5432", login, "shop", "corpus", "127.0.0.1", 1)
        )
        judge = Judge(rules, capacity=0)
        return GuardJudge(directory, parser, lambda: judge, clock_us=lambda: 1_790_000_000_000_000)


@pytest.fixture(scope="module")
def both():
    opened = Both()
    yield opened
    opened.close()


TEXTS = [(step.text, entry.login) for entry in load() for step in entry.steps]


def test_every_text_of_the_corpus_has_one_verdict_on_both_threads(both):
    short = [(text, login) for text, login in TEXTS if len(text) <= MAX_AHEAD_BYTES]
    assert len(short) > 300
    before = both.unanswered
    for text, login in short:
        both.agree(text, login if login in LOGINS else "mallory")
    assert both.unanswered - before < len(short) // 10


def test_an_expression_inside_a_function_has_one_verdict_on_both_threads(both):
    for text in (b"pg_read_file('x')", b"a := 1", b"1 + 1", b"DROP TABLE t", b"SELECT 1"):
        both.agree(text, "mallory", nested=True)


@PLAIN
@given(st.data())
def test_a_mutated_text_has_one_verdict_on_both_threads(both, data):
    text, entry = data.draw(st.sampled_from(FORBIDDEN + HARMLESS))
    changed = data.draw(spaced(text))
    if data.draw(st.booleans()):
        changed = data.draw(wrapped(changed))
    both.agree(changed.encode(), entry.login)
