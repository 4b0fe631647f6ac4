"""What a comment may change about who sends a statement, and what not."""

from dataclasses import replace

import pytest

from agent.identity import Claims, IdentityMap, IdentityRule, PoolerRule
from model.session import BackendKey, IdentityKind, Peer, PeerProcess, Session

HUMAN, SERVICE = IdentityKind.HUMAN, IdentityKind.SERVICE
AI, UNKNOWN = IdentityKind.AI_AGENT, IdentityKind.UNKNOWN
CLAIMS = Claims()
POOLER = PeerProcess(812, 33, "pooler", "pgbouncer", "/usr/sbin/pgbouncer", "pgbouncer …")
PSQL = PeerProcess(813, 1000, "alice", "psql", "/usr/bin/psql", "psql …")


def session(who=None, **facts):
    return (who or IdentityMap()).session(Session(BackendKey(1, 1), **facts))


def told(session, **tags):
    body = ",".join(f"{key}='{value}'" for key, value in tags.items())
    return CLAIMS.session(session, f"SELECT 1 /*{body}*/".encode()).identity


def test_a_statement_without_a_comment_keeps_the_session_as_it_is():
    one = session(user="alice")
    assert CLAIMS.session(one, b"SELECT 1") is one
    assert CLAIMS.session(one, b"SELECT 1 /*route='x'*/") is one


def test_where_nothing_is_known_the_comment_names_its_application_with_little_confidence():
    identity = told(session(user="shop"), application="shop", route="/cart")
    assert (identity.kind, identity.name) == (SERVICE, "shop")
    assert 0 < identity.confidence < 0.5
    assert identity.evidence == ("its comment claims application 'shop' (route '/cart')",)


def test_the_first_configured_key_that_is_there_counts():
    assert told(session(), application="shop", user="alice", agent="helper").name == "helper"
    assert told(session(), application="shop", user="alice").kind is HUMAN
    mapped = Claims({"squad": SERVICE})
    one = mapped.session(session(), b"SELECT 1 /*application='shop',squad='blue'*/")
    assert one.identity.name == "blue"
    assert Claims({}).session(session(), b"SELECT 1 /*agent='x'*/").identity.kind is UNKNOWN


def test_an_application_that_calls_itself_an_ai_tool_is_taken_at_its_word():
    assert told(session(), application="shop-mcp-server").kind is AI
    assert told(session(user="alice", application_name="psql"), agent="helper").kind is AI
    assert told(session(), user="claude").kind is HUMAN, "people are called so as well"


def test_a_comment_never_raises_the_confidence_in_a_session():
    one = session(user="alice", application_name="psql")
    identity = told(one, user="alice")
    assert identity.confidence == one.identity.confidence
    assert told(one, application="billing").confidence < one.identity.confidence


def test_what_a_process_gives_away_is_not_talked_over():
    one = session(user="shop", client_address="local", peer=Peer(process=PSQL))
    identity = told(one, application="billing")
    assert (identity.kind, identity.name) == (HUMAN, "alice")
    assert "its comment claims application 'billing'" in identity.evidence


@pytest.mark.parametrize(
    "facts",
    [{"user": "alice"}, {"user": "x", "peer": Peer(tls=True, certificate="/CN=alice")}],
    ids=["rule", "certificate"],
)
def test_to_a_proven_identity_a_comment_only_adds_evidence(facts):
    who = IdentityMap((IdentityRule(HUMAN, "alice", user="alice"),))
    one = session(who, **facts)
    identity = told(one, agent="helper")
    assert identity == replace(one.identity, evidence=identity.evidence)
    assert len(identity.evidence) == len(one.identity.evidence) + 1


def test_behind_a_pooler_the_comment_says_who_also_over_a_rule_for_the_pooler_itself():
    who = IdentityMap((IdentityRule(SERVICE, "pool", user="shop"),))
    one = session(who, user="shop", client_address="local", peer=Peer(process=POOLER))
    assert one.identity.name == "pool"
    assert told(one, application="shop").name == "shop"
    assert "identity rule 1" in told(one, application="shop").evidence[1]


@pytest.mark.parametrize("proof", ["rule", "name"])
def test_no_comment_turns_an_ai_agent_into_anything_else(proof):
    who = IdentityMap((IdentityRule(AI, "the-bot", user="bot"),)) if proof == "rule" else None
    name = "Claude" if proof == "name" else ""
    for peer in (Peer(), Peer(process=POOLER)):
        one = session(who, user="bot", application_name=name, client_address="local", peer=peer)
        assert one.identity.kind is AI
        identity = told(one, application="billing", user="alice")
        assert (identity.kind, identity.name) == (AI, one.identity.name)
        assert identity.confidence == one.identity.confidence


def test_calling_itself_a_pooler_opens_nothing_that_is_proven():
    who = IdentityMap((IdentityRule(HUMAN, "alice", user="alice"),))
    one = session(who, user="alice", application_name="pgbouncer", client_address="10.0.0.1")
    assert str(one.origin) == "pooler pgbouncer by its own word"
    assert told(one, application="billing").name == "alice"


def test_a_configured_pooler_is_one_wherever_it_runs():
    who = IdentityMap(
        (IdentityRule(SERVICE, "pool", user="shop"),),
        (PoolerRule("rds-proxy", client_address="10.0.0.0/24"),),
    )
    one = session(who, user="shop", client_address="10.0.0.9")
    assert str(one.origin) == "pooler rds-proxy"
    assert told(one, application="shop").name == "shop"
    far = session(who, user="shop", client_address="10.0.1.9")
    assert told(far, application="shop").name == "pool"


def test_a_repeated_comment_is_parsed_once():
    claims = Claims()
    first, _ = claims.of(b"SELECT 1 /*application='shop'*/")
    again, _ = claims.of(b"SELECT 2 /*application='shop'*/")
    assert first is again
