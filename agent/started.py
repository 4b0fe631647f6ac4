"""What rules say of the settings that a session was started with."""

from __future__ import annotations

from collections.abc import Iterator

from agent.guard.startup import as_statements
from agent.judge import STOPPING
from agent.sql.reader import Parser
from model.event import Protocol
from model.session import Session
from model.verdict import Mode, Outcome, Verdict
from rules import Judge, View, decide

SAID = "set when the session started: "


def judge_startup(
    session: Session, parser: Parser, judge: Judge, mode: Mode, at_us: int
) -> Iterator[tuple[Verdict, str]]:
    """Verdicts, each with the ``SET`` that would do the same, redacted. None where each statement
    of the session is refused for it: those have verdicts of their own."""
    texts = list(as_statements(session.startup))
    shapes = parser.shapes(texts, [len(text) for text in texts])
    for text, shape in zip(texts, shapes, strict=True):
        view = View(shape, session, len(text), Protocol.QUERY, at_us=at_us)
        match = decide(judge.consider(view).matches)
        if match is None or (mode is Mode.ENFORCE and match.action in STOPPING):
            continue
        verdict = Verdict(
            at_us=at_us,
            backend=session.key,
            statement_id=0,
            rule_id=match.rule.id,
            title=match.rule.title,
            severity=match.rule.severity,
            action=match.action,
            mode=mode,
            outcome=Outcome.OBSERVED,
            reason=SAID + match.reason,
            digest=shape.digest,
        )
        yield verdict, shape.redacted_text
