"""The parser and the rules alone, without a server: what they say of a text."""

import tempfile
from pathlib import Path

from agent.sql.client import ParserClient
from model.session import BackendKey, Identity, IdentityKind, Session
from model.verdict import RuleAction
from rules import RuleSet, View, decide
from tests.guard import policy

SESSIONS = {
    login: Session(
        key=BackendKey(1, 1),
        cluster="5432",
        user=login,
        database="shop",
        application_name="corpus",
        client_address="127.0.0.1",
        superuser=login == "mallory",
        identity=Identity(kind=kind, name=login),
    )
    for login, kind in (
        ("mallory", IdentityKind.UNKNOWN),
        ("clerk", IdentityKind.UNKNOWN),
        ("assistant", IdentityKind.AI_AGENT),
    )
}


class Judging:
    """One parser worker and the corpus's rules. Close it."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.rules = RuleSet.load([policy.write(Path(folder))])
        self._parser = ParserClient(text_budget_seconds=5)

    def __enter__(self) -> "Judging":
        return self

    def __exit__(self, *_: object) -> None:
        self._parser.close()

    def shape(self, text: bytes):
        """As the kernel hands it over: at most 1 MiB, and how long it was."""
        return self._parser.shapes([text[: 1 << 20]], [len(text)])[0]

    def refused_by(self, text: bytes, login: str = "mallory") -> str:
        """The rule that denies the text, or nothing."""
        view = View(self.shape(text), SESSIONS[login], len(text))
        match = decide(self.rules.judge(view))
        return match.rule.id if match and match.action is RuleAction.DENY else ""
