"""A statement whose relations have no names in time: judged by its text, or not let pass."""

from dataclasses import dataclass

import pytest

from agent.directory import Directory
from agent.guard.decision import DecisionKind
from agent.identity import IdentityMap
from agent.judge import GuardJudge, UnnamedError
from agent.pipeline import enricher
from agent.planned import Touched
from agent.sql.client import ParserClient
from model.event import SessionSeen, StatementStarted
from model.session import BackendKey
from rules import Judge, RuleSet

KEY = BackendKey(42, 1_700_000_000_123_456)
SEEN = SessionSeen(1, KEY, "main", "shop", "d", None, "local", 0)
RULES = """
rules:
  - id: pay
    title: t
    severity: high
    action: deny
    when: "'hr.pay' in statement.reads"
"""


@dataclass
class Names:
    """Whether the server has told what relation 16384 is: it is none that a rule names."""

    answered: bool

    def touched(self, event, session, *, wait):
        return Touched(
            ("select",), (), (), (16384,), (), 1.0, complete=True, answered=self.answered
        )


@pytest.fixture
def judged(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    rules, directory = (
        Judge(RuleSet.load([tmp_path])),
        Directory(enricher(IdentityMap().session, lambda cluster: frozenset())),
    )
    directory.observe(SEEN)
    with ParserClient() as parser:

        def ask(text, *, answered, strict):
            guard = GuardJudge(
                directory, parser, lambda: rules, planned=Names(answered), strict=strict
            )
            return guard(StatementStarted(3, KEY, text, len(text), held=True, hold_id=1)).kind

        yield ask


def test_it_passes_as_its_text_says_where_being_late_lets_it_pass(judged):
    assert judged(b"TABLE v", answered=False, strict=False) is DecisionKind.ALLOW


def test_there_is_no_answer_where_being_late_refuses(judged):
    with pytest.raises(UnnamedError):
        judged(b"TABLE v", answered=False, strict=True)


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_text_alone_forbids_is_refused_by_its_rule(judged, strict):
    assert judged(b"TABLE hr.pay", answered=False, strict=strict) is DecisionKind.DENY


def test_a_relation_that_the_server_does_not_know_either_is_no_reason(judged):
    assert judged(b"TABLE v", answered=True, strict=True) is DecisionKind.ALLOW
