"""What was found out about a session reaches it, whenever it comes, and only it."""

from agent.directory import Directory
from agent.identity import Claims, IdentityMap
from agent.judge import GuardJudge
from agent.pipeline import enricher
from agent.sessions import SessionTracker
from agent.sql.client import ParserClient
from model.event import (
    ApplicationNamed,
    SessionEnded,
    SessionExplained,
    SessionSeen,
    StatementStarted,
)
from model.session import BackendKey, IdentityKind, Peer, PeerProcess
from rules import Judge, RuleSet

KEY = BackendKey(42, 1_700_000_000_123_456)
SEEN = SessionSeen(1, KEY, "main", "shop", "d", None, "local", 0)
PSQL = Peer(process=PeerProcess(7, 1000, "alice", "psql", "/usr/bin/psql", "psql"))
POOLER = Peer(process=PeerProcess(8, 33, "pool", "pgbouncer", "/usr/sbin/pgbouncer", "pgbouncer"))
CERTIFICATE = Peer(tls=True, certificate="/CN=alice")
ENRICH = enricher(IdentityMap().session, lambda cluster: frozenset())


def explained(peer, key=KEY):
    return SessionExplained(2, key, peer)


def test_process_and_certificate_add_up_in_either_order():
    for first, second in ((PSQL, CERTIFICATE), (CERTIFICATE, PSQL)):
        tracker, directory = SessionTracker(1, 0, ENRICH), Directory(ENRICH)
        out = []
        for event in (SEEN, explained(first), explained(second)):
            out += tracker.observe(event)
            directory.observe(event)
        session = out[-1]
        assert (session.identity.kind, session.identity.name) == (IdentityKind.HUMAN, "alice")
        assert session.peer == Peer(process=PSQL.process, tls=True, certificate="/CN=alice")
        assert directory.session(KEY).identity == session.identity


def test_a_look_up_that_failed_takes_nothing_away():
    tracker = SessionTracker(1, 0, ENRICH)
    tracker.observe(SEEN)
    tracker.observe(explained(PSQL))
    assert tracker.observe(explained(Peer(missing="gone"))) == []


def test_an_explanation_of_a_session_that_is_unknown_or_over_brings_none_back():
    tracker, directory = SessionTracker(1, 0, ENRICH), Directory(ENRICH)
    directory.observe(explained(PSQL))
    assert tracker.observe(explained(PSQL)) == []
    for event in (SEEN, SessionEnded(3, KEY), explained(PSQL)):
        directory.observe(event)
    assert directory.session(KEY).peer == Peer()
    assert tracker.sessions() == []


def test_what_was_found_outlives_a_second_sighting_and_a_new_application_name():
    tracker, directory = SessionTracker(1, 0, ENRICH), Directory(ENRICH)
    for event in (SEEN, explained(PSQL), SEEN, ApplicationNamed(4, KEY, "x")):
        tracker.observe(event)
        directory.observe(event)
    (session,) = tracker.sessions()
    assert session.peer == directory.session(KEY).peer == PSQL
    assert session.application_name == "x"


RULES = """\
rules:
  - id: ai-drops
    title: An AI agent drops something
    severity: high
    action: deny
    when: statement.operation == 'drop' && identity.kind == 'ai_agent'
"""


def test_rules_see_whom_the_comment_names_behind_a_pooler(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    rules, directory = Judge(RuleSet.load([tmp_path])), Directory(ENRICH)
    directory.observe(SEEN)
    directory.observe(explained(POOLER))
    with ParserClient() as parser:
        guard = GuardJudge(directory, parser, lambda: rules, Claims())

        def judged(text):
            event = StatementStarted(3, KEY, text, len(text), held=True, hold_id=1)
            decision = guard(event)
            assert guard.at_once(event) == decision
            return decision.rule_id

        assert judged(b"DROP TABLE a /*agent='helper'*/") == "ai-drops"
        assert judged(b"DROP TABLE a /*application='shop'*/") == ""
        assert judged(b"DROP TABLE a") == ""
