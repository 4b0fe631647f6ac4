"""Who is behind a login, how sure we are, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity import IdentityError, IdentityMap, IdentityRule
from model.session import BackendKey, IdentityKind, Session

HUMAN, SERVICE = IdentityKind.HUMAN, IdentityKind.SERVICE
AI, UNKNOWN = IdentityKind.AI_AGENT, IdentityKind.UNKNOWN
NOBODY = IdentityMap()


def session(**facts):
    return Session(BackendKey(1, 1), **facts)


def identify(*rules, **facts):
    return IdentityMap(tuple(rules)).identify(session(**facts))


def test_a_session_without_a_clue_is_unknown_with_no_confidence():
    nobody = NOBODY.identify(session(user="alice", application_name="x"))
    assert (nobody.kind, nobody.confidence, nobody.evidence) == (UNKNOWN, 0.0, ())


@pytest.mark.parametrize(
    ("application_name", "kind"),
    [
        ("psql", HUMAN),
        ("pgAdmin 4 - DB:shop", HUMAN),
        ("DBeaver 24.1.0 - Main <shop>", HUMAN),
        ("DataGrip 2024.1", HUMAN),
        ("pgbench", SERVICE),
        ("pg_dump", SERVICE),
        ("PostgreSQL JDBC Driver", SERVICE),
        ("node-postgres", SERVICE),
        ("psycopg", SERVICE),
        ("shop-mcp-server", AI),
        ("langchain", AI),
        ("Claude Desktop", AI),
        ("Cursor", AI),
        ("GitHub Copilot", AI),
        ("my_ai_agent", AI),
        ("mcpherson-reports", UNKNOWN),
        ("precursors", UNKNOWN),
        ("psqlfront", UNKNOWN),
    ],
)
def test_well_known_programs_are_recognised_as_words_of_their_own(application_name, kind):
    assert NOBODY.identify(session(application_name=application_name)).kind is kind


def test_a_name_that_any_client_can_send_never_convinces_fully():
    one = NOBODY.identify(session(user="alice", application_name="psql"))
    assert one.name == "alice"
    assert 0 < one.confidence <= 0.7
    assert one.evidence == ("application_name 'psql' is typical of psql",)


def test_an_ai_product_is_named_after_itself():
    assert NOBODY.identify(session(user="app", application_name="Claude")).name == "Claude"


def test_a_configured_rule_goes_before_what_a_program_says():
    rule = IdentityRule(AI, "shopping-assistant", user="assistant")
    one = identify(rule, user="assistant", application_name="psql")
    assert (one.kind, one.name) == (AI, "shopping-assistant")
    assert one.evidence[0] == "identity rule 1 names user 'assistant'"
    assert len(one.evidence) == 3


def test_the_first_of_two_rules_decides():
    rules = IdentityRule(HUMAN, "Alice", user="a*"), IdentityRule(SERVICE, "etl", user="*")
    assert identify(*rules, user="alice").name == "Alice"
    assert identify(*reversed(rules), user="alice").name == "etl"


def test_agreement_raises_and_contradiction_lowers_the_confidence():
    rule = IdentityRule(HUMAN, "Alice", 0.8, user="alice")
    alone = identify(rule, user="alice").confidence
    agreed = identify(rule, user="alice", application_name="psql").confidence
    contradicted = identify(rule, user="alice", application_name="pgbench").confidence
    assert alone == 0.8
    assert agreed == pytest.approx(1 - 0.2 * 0.4)
    assert contradicted == pytest.approx(0.8 * (1 - 0.35))


def test_all_patterns_of_a_rule_must_match():
    rule = IdentityRule(HUMAN, "Bob", user="dba", client_address="10.0.0.0/8")
    assert identify(rule, user="dba", client_address="10.1.2.3").name == "Bob"
    assert identify(rule, user="dba", client_address="192.0.2.1").kind is UNKNOWN
    assert identify(rule, user="x", client_address="10.1.2.3").kind is UNKNOWN


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "2001:db8::5", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "local", False),
        ("10.0.0.0/8", "", False),
        ("local", "local", True),
        ("local", "127.0.0.1", False),
        ("10.0.*", "10.0.3.4", True),
    ],
)
def test_addresses_match_by_range_by_pattern_or_as_local(pattern, address, matches):
    rule = IdentityRule(SERVICE, "s", client_address=pattern)
    assert (identify(rule, client_address=address).name == "s") is matches


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("etl_*", "etl_night", True),
        ("etl_?", "etl_night", False),
        ("ETL_*", "etl_night", False),
        (r"~etl_\d+", "etl_42", True),
        (r"~etl_\d+", "etl_42x", False),
        ("a.c", "abc", False),
        ("", "", True),
    ],
)
def test_names_match_by_wildcard_or_regular_expression(pattern, value, matches):
    rule = IdentityRule(SERVICE, "s", user=pattern, database="shop")
    assert (identify(rule, user=value, database="shop").name == "s") is matches


def test_a_rule_may_name_after_the_session():
    rule = IdentityRule(HUMAN, "{user} by {application_name}", database="shop")
    one = identify(rule, user="al", application_name="x", database="shop")
    assert one.name == "al by x"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (IdentityRule(HUMAN, "x"), "identity rule 1: give at least one of user"),
        (IdentityRule(HUMAN, "x", user="~("), r"identity rule 1: user '~\(' is not a regular"),
        (IdentityRule(HUMAN, "x", client_address="10/33"), "is not a CIDR range"),
        (IdentityRule(HUMAN, "x", 1.5, user="a"), "confidence must be from 0 to 1"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule, message):
    with pytest.raises(IdentityError, match=message):
        IdentityMap((rule,))


def test_a_certainty_that_the_configuration_states_stays():
    rule = IdentityRule(HUMAN, "Alice", 1.0, user="alice")
    assert identify(rule, user="alice", application_name="psql").confidence == 1.0


@given(st.text(), st.text(), st.text())
def test_any_names_give_a_confidence_from_0_to_1_and_always_the_same_one(user, name, address):
    rule = IdentityRule(HUMAN, "x", user="*a*", client_address="10.0.0.0/8")
    one = session(user=user, application_name=name, client_address=address)
    identity = IdentityMap((rule,)).identify(one)
    assert 0 <= identity.confidence <= 1
    assert identity == IdentityMap((rule,)).identify(one)
    assert (identity.kind is UNKNOWN) == (not identity.evidence)
