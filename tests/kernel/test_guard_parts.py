"""Which holds are parts of one execution, all of which a grant for one lets pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from agent.approvals.known import Known, Request
from agent.guard.decision import ALLOW
from agent.probes.layout import Evasion
from model.approval import Bound, Grant, Term
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guard_stage import Stage
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

GRANT = Grant("g", "CODE", Bound("h", "main", "shop", "app", "", ""), 1, Term(0, 0, ""))
READ = "SELECT count(*) FROM orders"
MADE = "CREATE TEMP TABLE made ON COMMIT DROP AS TABLE orders"
PREPARE = "PREPARE p AS TABLE orders"
CURSOR = "DECLARE c CURSOR FOR TABLE orders"
SCHEMA = f"""
CREATE TABLE orders AS SELECT 1 AS id;
CREATE FUNCTION twice(first text, second text) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN FOR i IN 1..2 LOOP EXECUTE first; EXECUTE second; END LOOP; END $$;
CREATE FUNCTION opened() RETURNS void LANGUAGE plpgsql AS $$ DECLARE c refcursor; BEGIN
  FOR i IN 1..2 LOOP OPEN c FOR EXECUTE '{READ}'; CLOSE c; END LOOP; END $$;
CREATE FUNCTION in_sql() RETURNS SETOF int LANGUAGE sql AS 'EXECUTE p; SELECT 1';
CREATE FUNCTION folded() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM twice('EXECUTE p', 'SELECT 1'); RETURN 1; END $$;
"""
DROP = "DROP TABLE IF EXISTS made"
ONE = {
    "query": (READ,),
    "string": (f"SELECT 1; {READ}; {READ}",),
    "create_table_as": (MADE,),
    "two_of_them": ("CREATE TEMP TABLE a AS TABLE orders; CREATE TEMP TABLE b AS TABLE orders;",),
    "explain": (f"EXPLAIN ANALYZE {READ}",),
    "copy": (f"COPY ({READ}) TO '/dev/null'",),
    "cursor": (CURSOR, "FETCH ALL FROM c"),
    "prepared_and_executed": (f"{PREPARE}; EXECUTE p; EXECUTE p",),
}
MORE = {
    "query": (READ, 2, f"SELECT twice('{READ}', 'SELECT 1')"),
    "command": (MADE, 2, f"SELECT twice('{MADE}', '{DROP}')"),
    "cursor": (CURSOR, 2, f"SELECT twice('{CURSOR}', 'CLOSE c')"),
    "opened": (READ, 2, "SELECT opened()"),
    "execute": (PREPARE, 3, PREPARE, "SELECT twice('EXECUTE p', 'SELECT 1')"),
    "execute_in_sql": (PREPARE, 3, PREPARE, "SELECT in_sql() FROM generate_series(1, 2)"),
    "while_planning": (PREPARE, 3, PREPARE, "SELECT folded()"),
    "beside_itself": (READ, 3, READ, f"SELECT twice('{READ}', 'SELECT 1')"),
}


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param) as running:
        with running.connect() as admin:
            admin.execute(SCHEMA)
        yield running


@pytest.fixture(scope="module")
def stage(cluster, compiled_probes) -> Iterator[Stage]:
    with Stage(cluster, lambda event: ALLOW) as stage:
        yield stage


def play(stage: Stage, client: psycopg.Connection, messages: tuple[str, ...], **options) -> None:
    del stage.seen[:]
    client.autocommit = False
    for message in messages:
        client.execute(message, **options)
    client.rollback()


def uses(stage: Stage, text: str) -> int:
    """How many uses of a grant for ``text`` its holds take."""
    known, counted = Known(GRANT), 0
    for event in stage.seen:
        if not event.held or event.text.decode() != text or event.evades == Evasion.ALONE:
            continue
        request = Request(event.backend, event.requested_at_us, event.part)
        if known.continues(request):
            known = known.continued(request)
        else:
            known, counted = replace(known, last=request), counted + 1
    return counted


@pytest.mark.parametrize("name", ONE)
def test_what_a_message_asks_for_is_one_execution(cluster, stage, name):
    with cluster.connect() as client:
        play(stage, client, ONE[name])
    assert uses(stage, ONE[name][0]) == 1


@pytest.mark.parametrize("name", ["query", "create_table_as", "explain", "copy", "cursor"])
def test_so_it_is_in_the_extended_protocol(cluster, stage, name):
    with cluster.connect() as client:
        play(stage, client, ONE[name], prepare=True)
    assert uses(stage, ONE[name][0]) == 1


@pytest.mark.parametrize("name", MORE)
def test_what_a_function_executes_again_is_another_execution(cluster, stage, name):
    text, least, *messages = MORE[name]
    with cluster.connect() as client:
        play(stage, client, tuple(messages))
    assert uses(stage, text) >= least
