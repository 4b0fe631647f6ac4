"""What tells one cluster's databases from another's, on PostgreSQL 12 to 18."""

import pytest

from agent.catalog import take_snapshot
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, fetch

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.parametrize("major", MAJORS)
def test_databases_tell_their_cluster_to_whoever_may_ask_for_it(major):
    fetch()
    with Server(major=major, pgaudit=False) as server:
        with server.connect() as admin:
            admin.execute("CREATE ROLE pgwarden LOGIN")
            admin.execute("GRANT pg_monitor TO pgwarden")
            [(number,)] = admin.execute("SELECT system_identifier FROM pg_control_system()")
        assert all(each.endswith(f" of cluster {number}") for each in _details(server))
        with server.connect() as admin:
            admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
            admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM pg_monitor")
        assert all(each.startswith("oid ") and "cluster" not in each for each in _details(server))


def _details(server):
    kinds = frozenset({CatalogKind.DATABASE})
    with server.connect(user="pgwarden") as connection:
        snapshot = take_snapshot(connection, "x", kinds=kinds)
    assert snapshot.problems == ()
    assert snapshot.items
    return [item.detail for item in snapshot.items]
