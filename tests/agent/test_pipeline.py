"""What the guard settled reaches the record of the statement it was about."""

import pytest

from agent.guard.hold import Decision, DecisionKind, Settled
from agent.pipeline import Held, Pipeline
from agent.sessions import Limits, SessionTracker
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from model.event import ErrorReport, ResponseSent, StatementStarted
from model.session import BackendKey
from model.verdict import Mode, Outcome
from rules import Judge, RuleSet

BACKEND = BackendKey(4711, 1_700_000_000_000_000)
DROP = b"DROP TABLE public.orders /* " + b"x" * 5_000 + b" */"
REFUSED = Settled(Decision(DecisionKind.DENY, "drop-protected"), Outcome.PREVENTED, held_us=150)


@pytest.mark.parametrize("limits", [Limits(), Limits(text_bytes=10)], ids=["whole", "cut"])
def test_a_refused_statement_is_prevented_also_where_memory_cut_its_text(limits):
    verdicts = []
    judge = Judge(RuleSet.load())
    with ParserClient() as parser:
        pipeline = Pipeline(
            tracker=SessionTracker(1, 0, limits=limits),
            parser=parser,
            judge=lambda: judge,
            mode=Mode.ENFORCE,
            redact_message=redact_message,
            on_change=lambda: None,
            on_verdict=verdicts.append,
            on_statement=lambda *_: None,
            on_run=lambda *_: None,
            on_lost=lambda _: None,
            on_held=lambda _: None,
        )
        at_ns = 1_700_000_001_000_000_000
        started = StatementStarted(at_ns, BACKEND, DROP, len(DROP), held=True, hold_id=1)
        error = ErrorReport("ERROR", "42501", "permission denied for database shop")
        answered = ResponseSent(at_ns + 1000, BACKEND, 90, error=error, ready=True)
        pipeline.take([Held(started, REFUSED), answered], at_ns // 1000)
        for seconds in (1, 2, 3):
            pipeline.tick(at_ns // 1000 + seconds * 1_000_000)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PREVENTED]
