"""What was found from outside: certificates, processes, origins."""

import pytest

from agent.identity import IdentityMap, IdentityRule
from agent.identity.certificates import common_name
from model.session import BackendKey, IdentityKind, OriginKind, Peer, PeerProcess, Session

HUMAN, SERVICE = IdentityKind.HUMAN, IdentityKind.SERVICE
AI, UNKNOWN = IdentityKind.AI_AGENT, IdentityKind.UNKNOWN
NOBODY = IdentityMap()


def by_process(who=NOBODY, user="shop", application_name="", **facts):
    process = PeerProcess(812, uid=1000, account="alice", **facts)
    return who.session(
        Session(
            BackendKey(1, 1),
            user=user,
            application_name=application_name,
            client_address="local",
            peer=Peer(process=process),
        )
    )


def certified(subject, who=NOBODY, **facts):
    peer = Peer(tls=True, certificate=subject)
    return who.identify(Session(BackendKey(1, 1), peer=peer, **facts))


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("/CN=alice", "alice"),
        ("/C=DE/O=shop/CN=alice", "alice"),
        ("/CN=alice/OU=dba", "alice"),
        ("/O=shop", "/O=shop"),
        ("/CN=a/CN=b", "/CN=a/CN=b"),
        ("/O=x/CN=root/CN=alice", "/O=x/CN=root/CN=alice"),
        ("/CN=alice/admin", "/CN=alice/admin"),
        ("/CN=", "/CN="),
    ],
)
def test_a_certificate_names_its_common_name_where_that_is_plain_to_read(subject, name):
    assert common_name(subject) == name


def test_a_certificate_proves_a_name_and_its_kind_comes_from_elsewhere():
    alone = certified("/CN=alice", user="x")
    assert (alone.kind, alone.name, alone.confidence, alone.proven) == (
        UNKNOWN,
        "alice",
        0.95,
        True,
    )
    with_psql = certified("/CN=alice", user="x", application_name="psql")
    assert (with_psql.kind, with_psql.name) == (HUMAN, "alice")
    assert certified("/CN=shop-mcp-server").kind is AI
    assert certified("/CN=claude.monet").kind is UNKNOWN, "people are called so as well"


def test_a_subject_that_postgresql_has_cut_gives_no_common_name():
    cut = ("/O=" + "x" * 50 + "/CN=administrator")[:63]
    identity = certified(cut)
    assert identity.name == cut
    assert "cut by it to 63 bytes" in identity.evidence[0]


def test_rules_match_what_was_found_and_a_wildcard_does_not_match_what_was_not():
    rule = IdentityRule(SERVICE, "billing", certificate="/CN=billing*")
    who = IdentityMap((rule,))
    assert certified("/CN=billing-7", who).name == "billing"
    anything = IdentityMap((IdentityRule(SERVICE, "any", certificate="*"),))
    assert anything.identify(Session(BackendKey(1, 1), user="x")).kind is UNKNOWN
    unit = IdentityMap((IdentityRule(SERVICE, "{account}-app", unit="shop@*.service"),))
    assert by_process(unit, unit="shop@1.service").identity.name == "alice-app"
    assert by_process(unit, unit="other.service").identity.name != "alice-app"


def test_psql_in_a_terminal_is_the_person_of_the_account_not_the_shared_login():
    one = by_process(
        executable="/usr/lib/postgresql/15/bin/psql",
        command="psql …",
        terminal=True,
        unit="session-4.scope",
        ancestors=("bash", "sshd"),
    )
    assert (one.identity.kind, one.identity.name) == (HUMAN, "alice")
    assert one.identity.confidence >= 0.7
    assert "process 812 of alice runs psql" in one.identity.evidence


def test_psql_under_an_ai_assistant_is_the_assistants():
    one = by_process(
        executable="/usr/bin/psql",
        command="psql …",
        application_name="psql",
        terminal=True,
        ancestors=("bash", "claude", "zsh", "sshd"),
    )
    assert (one.identity.kind, one.identity.name) == (AI, "claude")
    assert "process 812 was started under 'claude', an AI assistant" in one.identity.evidence


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"executable": "/usr/bin/node", "command": "node /x/.bin/mcp-server-postgres …"}, AI),
        ({"executable": "/usr/bin/python3.11", "command": "python3.11 -m langgraph …"}, AI),
        ({"executable": "/usr/bin/pg_dump", "command": "pg_dump …"}, SERVICE),
        ({"executable": "/usr/bin/python3.11", "command": "python3.11 /venv/bin/gunicorn …"},
         SERVICE),
        ({"executable": "/opt/dbeaver/dbeaver", "command": "dbeaver"}, HUMAN),
        ({"executable": "/usr/local/pgadmin4/bin/pgadmin4", "command": "pgadmin4"}, HUMAN),
        ({"executable": "/usr/bin/x", "unit": "billing.service"}, SERVICE),
        ({"executable": "/usr/bin/x", "container": "docker 0123456789ab"}, SERVICE),
        ({"executable": "/usr/bin/bash", "command": "bash psql_backup.sh", "unit": "cron.service"},
         SERVICE),
        ({"executable": "/usr/bin/x"}, UNKNOWN),
    ],
)  # fmt: skip
def test_programs_units_and_containers_tell_a_kind(facts, kind):
    assert by_process(**facts).identity.kind is kind


def test_the_origin_is_the_process_the_container_or_the_address():
    one = by_process(command="psql …", unit="session-4.scope")
    assert str(one.origin) == "process pid 812 psql …, account alice, session-4.scope"
    inside = by_process(command="node", container="docker 0123456789ab")
    assert inside.origin.kind is OriginKind.CONTAINER
    far = NOBODY.session(
        Session(BackendKey(1, 1), client_address="192.0.2.7", peer=Peer(tls=True, missing="gone"))
    )
    assert str(far.origin) == "address 192.0.2.7 over TLS (gone)"
    assert str(NOBODY.session(Session(BackendKey(1, 1))).origin) == ""


def test_a_poolers_own_process_says_nothing_about_who_sends_statements():
    one = by_process(
        executable="/usr/sbin/pgbouncer", command="pgbouncer …", unit="pgbouncer.service"
    )
    assert one.origin.kind is OriginKind.POOLER
    assert one.identity.kind is UNKNOWN
