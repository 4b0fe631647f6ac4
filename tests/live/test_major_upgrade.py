"""A server is upgraded to a new major version the way people do it: dumped, restored, exchanged.

The agent runs all the time. The new server is made beside the old one and then takes its place.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.servers import Server, fetch
from tests.live.catalog_world import world_for
from tests.live.postgres import server_folder
from tests.live.running import Running

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
UPGRADES = ((13, 15), (15, 18))
"""None older than 12 or newer than 15 is dumped: Debian's pg_dumpall is of 15."""
FINDINGS = (
    "SELECT DISTINCT ON (id) detector, sentence, details FROM findings WHERE kind = 'drift' "
    "AND detector <> 'drift.baseline' ORDER BY id, resolved_at DESC NULLS LAST"
)
NOT_RESTORED = ("replication_slot", "LANGUAGE odd", "TABLESPACE pg_default")
"""What no dump holds, or only as an extension that is not there."""
MANY = 300
WAIT_SECONDS = 60


@contextmanager
def populated(major: int) -> Iterator[Server]:
    fetch()
    with Server(major=major, settings={"wal_level": "logical"}) as server:
        with server.connect() as admin:
            admin.execute("CREATE DATABASE shop")
            admin.execute("CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor")
        with server.connect(dbname="shop") as admin:
            for statement in world_for(major):
                if not any(each in statement for each in NOT_RESTORED):
                    admin.execute(statement)
            for number in range(MANY):
                admin.execute(
                    f"CREATE TABLE hr.t{number} (id int PRIMARY KEY, pay hr.money);"
                    f"CREATE VIEW hr.v{number} AS SELECT t.id, sum(t.pay) AS pay"
                    f" FROM hr.t{number} t WHERE t.id > 1 GROUP BY t.id;"
                    f"GRANT SELECT ON hr.v{number} TO analyst"
                )
        yield server


@contextmanager
def upgraded(old: Server, major: int) -> Iterator[Server]:
    """The new server, in the old one's place."""
    with Server(major=major, settings=old.settings) as beside:
        script = old.folder / "all.sql"
        with script.open("w") as file:
            command = [server_folder() / "bin" / "pg_dumpall", "--dbname", old.dsn()]
            subprocess.run(command, stdout=file, check=True)
        command = ["psql", "--no-psqlrc", "--quiet", "--dbname", beside.dsn(), "--file", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        assert [line for line in errors if "already exists" not in line] == []
        beside.stop()
        old.stop()
        old.data.rename(old.folder / "data-old")
        beside.data.rename(old.data)
    configuration = old.data / "postgresql.conf"
    text = configuration.read_text()
    for name, value in (("port", old.port), ("unix_socket_directories", old.sockets)):
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = '{value}'", text)
    configuration.write_text(text)
    new = Server(major=major, settings=old.settings, keep_folder=old.folder, port=old.port)
    new.start()
    try:
        yield new
    finally:
        new.stop()


@pytest.mark.parametrize(("before", "after"), UPGRADES)
def test_a_server_upgraded_to_a_new_major_version_is_one_finding(before, after):
    with populated(before) as old, Running(old) as running:
        running.wait_sql(
            f"SELECT 1 FROM drift_observed WHERE name = 'hr.v{MANY - 1}'", WAIT_SECONDS
        )
        with upgraded(old, after) as new:
            running.wait_sql("SELECT 1 FROM findings WHERE detector = 'drift.server'", WAIT_SECONDS)
            # What somebody does to the new server is told when all before it has been.
            with new.connect(dbname="shop", application_name="late") as admin:
                admin.execute("CREATE TABLE hr.after (id int)")
                admin.execute("ALTER ROLE alice CREATEDB")
            running.wait(
                lambda: len(running.sql(FINDINGS)) >= 3, "what was done afterwards", WAIT_SECONDS
            )
            found = {each["detector"]: each for each in running.sql(FINDINGS)}
            assert sorted(found) == ["drift.roles", "drift.server", "drift.tables"]
            assert f"from {before} to {after}" in found["drift.server"]["sentence"]
            assert found["drift.roles"]["sentence"].startswith("ALTER ROLE alice ")
            assert found["drift.tables"]["sentence"].startswith("CREATE TABLE hr.after ")
