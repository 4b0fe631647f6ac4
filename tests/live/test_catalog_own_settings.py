"""What ALTER ROLE and ALTER DATABASE set for our own sessions is not read as the server's."""

import pytest

from agent.catalog import take_snapshot
from agent.catalog.rights import grants
from model.catalog import CatalogKind
from tests.conformance.servers import Server, fetch

pytestmark = [pytest.mark.live, pytest.mark.slow]
OWN = (
    "ALTER ROLE ALL SET lock_timeout = '22s'",
    "ALTER DATABASE postgres SET statement_timeout = '72s'",
    "ALTER ROLE pgwarden SET work_mem = '64MB'",
    "ALTER ROLE pgwarden IN DATABASE postgres SET track_io_timing = on",
    "ALTER ROLE ALL SET random_page_cost = 1.5",
    "ALTER ROLE ALL SET TimeZone = 'Asia/Tokyo'",
    "ALTER ROLE ALL SET log_min_messages = 'error'",
)
NAMES = {statement.split(" SET ")[1].split(" ")[0] for statement in OWN}
IN_FILE = {"work_mem": "12MB", "statement_timeout": "1min", "random_page_cost": "2.50",
           "log_min_messages": "NOTICE"}  # fmt: skip


def settings_of(server):
    with server.connect(user="pgwarden") as connection:
        snapshot = take_snapshot(connection, "x", kinds=frozenset({CatalogKind.SETTING}))
    assert snapshot.problems == ()
    return {item.name: (item.value, item.detail) for item in snapshot.items}


@pytest.mark.parametrize("major", [12, 15, 18])
@pytest.mark.parametrize("in_file", [{}, IN_FILE], ids=["built in", "in the file"])
def test_the_servers_settings_stay_what_they_are(major, in_file):
    fetch()
    with Server(major=major, pgaudit=False, settings=in_file) as server:
        with server.connect() as admin:
            for statement in grants("pgwarden", major):
                admin.execute(statement)
            before = settings_of(server)
            for statement in OWN:
                admin.execute(statement)
        after = settings_of(server)
        assert {name for name in after if "@" in name} >= {"lock_timeout@all", "work_mem@pgwarden"}
        assert {name: after[name] for name in before} == before
        assert before.keys() >= NAMES
        with server.connect() as admin:
            admin.execute("ALTER SYSTEM SET work_mem = '10MB'")
            admin.execute("SELECT pg_reload_conf()")
        server.reload()
        assert settings_of(server)["work_mem"][0] == "10MB"
