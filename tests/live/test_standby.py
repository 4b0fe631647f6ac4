"""A watched hot standby: what its primary did is no drift that nobody made."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent.catalog import SnapshotWatcher
from collector.drift.engine import Drift
from model.catalog import Snapshot
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = pytest.mark.live

S = 1_000_000


@dataclass
class Standby(PostgresCluster):
    """A copy of the server at ``primary_port`` that replays what that one does."""

    primary_port: int = 0

    def create(self) -> None:
        super().create()
        shutil.rmtree(self.data)
        self._server_tool(
            "pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
            "--host", "127.0.0.1", "--port", str(self.primary_port), "--username", "postgres",
            "--pgdata", str(self.data),
        )  # fmt: skip
        own = {"port": str(self.port), "unix_socket_directories": str(self.sockets)}
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in own.items())

    def promote(self) -> None:
        self._server_tool("pg_ctl", "promote", "--wait", "--pgdata", str(self.data))

    def caught_up_with(self, primary: PostgresCluster) -> None:
        with primary.connect() as session:
            (place,) = session.execute("SELECT pg_current_wal_lsn()").fetchone()
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        with self.connect() as session:
            while not session.execute(replayed, [place]).fetchone()[0]:
                time.sleep(0.05)


@pytest.fixture
def primary() -> Iterator[PostgresCluster]:
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster(pgaudit=False) as primary:
        yield primary


class Watched:
    """The catalog of a server as the collector takes it, by a clock of its own."""

    def __init__(self, server: PostgresCluster, folder) -> None:
        self.sent: list[Snapshot] = []
        self.watcher = SnapshotWatcher(
            lambda dbname: server.connect(dbname=dbname or "postgres"), "5432", self.sent.append
        )
        self.drift = Drift(folder)
        self.seq = 0

    def look(self) -> list:
        self.watcher.look()
        assert self.watcher.problems == ()
        found = []
        # The next commit finds what this one brought; then the time to wait for a cause is over.
        for sent in ([("host-a", each) for each in self.sent], []):
            self.seq += 1
            news = self.drift.on_commit({}, sent, self.seq, self.seq * 60 * S)
            found += news.findings
        found += self.drift.tick((self.seq + 1) * 60 * S).findings
        self.sent.clear()
        return found


def test_what_its_primary_did_is_replayed_and_no_more_severe(primary, tmp_path):
    with Standby(pgaudit=False, primary_port=primary.port) as standby:
        world = Watched(standby, tmp_path)
        assert {each.detector for each in world.look()} == {"drift.baseline"}
        with primary.connect() as admin:
            admin.execute("CREATE TABLE public.replayed (id int)")
            admin.execute("CREATE ROLE etl SUPERUSER")
            admin.execute("ALTER ROLE etl SET work_mem = '1GB'")
        standby.caught_up_with(primary)
        told = {each.object: each for each in world.look()}
        assert told.keys() == {"public.replayed", "etl", "work_mem@etl"}
        assert all(each.sentence.startswith("Replayed from the primary") for each in told.values())
        assert told["public.replayed"].severity == "medium"
        standby.promote()
        [promoted] = [each for each in world.look() if "promoted" in each.sentence]
        assert (promoted.object, promoted.severity) == ("(recovery)", "high")
        with standby.connect() as admin:
            admin.execute("CREATE TABLE public.own (id int)")
        [own] = world.look()
        assert own.sentence.startswith("Nobody on the wire did it: table public.own was created")
