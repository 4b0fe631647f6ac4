"""Portals with a name and a row limit, as drivers read large results page by page."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent.guard.decision import ALLOW, Decision
from model.event import StatementStarted
from tests.conformance.clients.wire import Wire, endings
from tests.kernel.guard_stage import DENY, Stage
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

PORTAL = "C_1"
READ = "SELECT id FROM orders ORDER BY id"
SECRETS = "SELECT id FROM secrets"


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster(pgaudit=False) as running:
        with running.connect() as admin:
            admin.execute(
                "CREATE TABLE orders AS SELECT generate_series(1, 10) AS id;"
                "CREATE TABLE secrets AS SELECT generate_series(1, 10) AS id"
            )
        yield running


@pytest.fixture
def wire(cluster: PostgresCluster) -> Iterator[Wire]:
    place = SimpleNamespace(
        transport="tcp", host="127.0.0.1", port=cluster.port, application_name="pages"
    )
    with Wire(place, user="postgres", database="postgres") as opened:
        yield opened


def deny_secrets(event: StatementStarted) -> Decision:
    return DENY if b"secrets" in event.text else ALLOW


def ask(wire: Wire) -> tuple[int, list[str]]:
    """Rows, and how each execution ended."""
    messages = wire.sync().send().until(b"Z")
    return sum(kind == b"D" for kind, _ in messages), endings(messages)


def begin(wire: Wire) -> None:
    wire.query("BEGIN").send().until(b"Z")


def opened(wire: Wire, sql: str, portal: str = PORTAL) -> Wire:
    return wire.parse(sql, f"of {portal}").bind(name=f"of {portal}", portal=portal)


def count(cluster: PostgresCluster, table: str) -> str:
    return cluster.psql(f"SELECT count(*) FROM {table}").stdout.strip()


def test_every_page_of_a_harmless_result_arrives(cluster, wire):
    with Stage(cluster, deny_secrets) as stage:
        begin(wire)
        pages = [ask(opened(wire, READ).execute(3, PORTAL))]
        pages += [ask(wire.execute(3, PORTAL)) for _ in range(3)]
    assert [rows for rows, _ in pages] == [3, 3, 3, 1]
    assert [ending for _, [ending] in pages] == ["suspended"] * 3 + ["SELECT 1"]
    assert all(settled.outcome is None for settled in stage.of(b"orders"))


def test_two_portals_are_read_in_turns(cluster, wire):
    with Stage(cluster, deny_secrets):
        begin(wire)
        opened(wire, READ, "a")
        opened(wire, READ, "b")
        for name in "abababab":
            wire.execute(3, name)
        assert ask(wire) == (20, ["suspended"] * 6 + ["SELECT 1"] * 2)


def test_not_one_row_of_a_forbidden_result_arrives(cluster, wire):
    with Stage(cluster, deny_secrets):
        begin(wire)
        assert ask(opened(wire, SECRETS).execute(1, PORTAL)) == (0, ["42501"])
        rows, [error] = ask(wire.execute(1, PORTAL))
        assert rows == 0
        assert error in ("25P02", "34000"), "the transaction has failed, and its portals are gone"


def test_a_result_that_is_forbidden_meanwhile_ends_with_the_page_that_was_read(cluster, wire):
    forbidden: list[bool] = []

    def judge(event: StatementStarted) -> Decision:
        return DENY if forbidden and b"orders" in event.text else ALLOW

    with Stage(cluster, judge):
        begin(wire)
        assert ask(opened(wire, READ).execute(3, PORTAL)) == (3, ["suspended"])
        forbidden.append(True)
        assert ask(wire.execute(3, PORTAL)) == (0, ["42501"])


def test_a_row_limit_does_not_let_a_forbidden_change_begin(cluster, wire):
    with Stage(cluster, deny_secrets):
        delete = opened(wire, "DELETE FROM secrets RETURNING id").execute(1, PORTAL)
        assert ask(delete) == (0, ["42501"])
    assert count(cluster, "secrets") == "10"


@pytest.mark.parametrize("fetch", ["FETCH ALL FROM p", "FETCH 1 FROM p", "MOVE ALL IN p"])
@pytest.mark.parametrize("sql", [SECRETS, "DELETE FROM secrets RETURNING id"])
def test_a_forbidden_portal_cannot_be_fetched_from_by_its_name(cluster, wire, sql, fetch):
    with Stage(cluster, deny_secrets):
        begin(wire)
        _, errors = ask(opened(wire, sql, "p"))
        messages = wire.query(fetch).query("COMMIT").send().until(b"Z")
        assert not [data for kind, data in messages if kind == b"D"]
        assert "42501" in errors + endings(messages)
    assert count(cluster, "secrets") == "10"


def test_a_harmless_portal_can_be_fetched_from_by_its_name(cluster, wire):
    with Stage(cluster, deny_secrets):
        begin(wire)
        assert ask(opened(wire, READ, "p")) == (0, [])
        assert ask(wire.execute(2, "p")) == (2, ["suspended"])
        messages = wire.query("FETCH ALL FROM p").send().until(b"Z")
    assert sum(kind == b"D" for kind, _ in messages) == 8
