"""What has reserved room in the kernel has it in the agent as well, and the other way round."""

import contextlib
import threading

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.probes.layouts import layout_for
from agent.probes.loader import open_loader
from agent.probes.symbols import ServerBinary
from agent.sources.ebpf import EbpfSource
from agent.sources.running import Memory
from agent.sql.client import ParserClient
from agent.urgency import is_urgent
from model.session import BackendKey, Session
from model.statement import Source, Statement
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.capture import Capture, starts
from tests.kernel.majors import MAJORS
from tests.waiting import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.live]

SCHEMA = """
create table t (id int);
create table again (id int);
create procedure p() language sql as 'select 1';
create role someone;
"""
FILE = "/tmp/pgwarden-urgency.copy"
TEXTS = (
    "COPY t TO STDOUT",
    "COPY t FROM STDIN",
    "COPY (SELECT 1) TO STDOUT",
    "COPY t TO PROGRAM 'cat'",
    "COPY t FROM PROGRAM 'true'",
    "copy (select 1) to program 'cat'",
    f"COPY t TO '{FILE}'",
    f"COPY t FROM '{FILE}'",
    "SELECT * FROM t",
    "WITH gone AS (DELETE FROM t RETURNING 1) SELECT count(*) FROM gone",
    "INSERT INTO t VALUES (1)",
    "BEGIN",
    "SAVEPOINT s",
    "ROLLBACK TO SAVEPOINT s",
    "LOCK TABLE t",
    "COMMIT",
    "START TRANSACTION",
    "END",
    "SET work_mem = '4MB'",
    "SHOW work_mem",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE CREATE TEMP TABLE made AS SELECT 1",
    "PREPARE one AS SELECT 1",
    "EXECUTE one",
    "DEALLOCATE one",
    "LISTEN news",
    "SELECT 1; DROP TABLE again",
    "CREATE TABLE again (id int)",
    "SELECT 1 AS a INTO TEMP other",
    "ALTER TABLE again ADD COLUMN b int",
    "TRUNCATE again",
    "COMMENT ON TABLE again IS 'x'",
    "GRANT SELECT ON again TO someone",
    "REVOKE SELECT ON again FROM someone",
    "CREATE ROLE another",
    "DROP ROLE another",
    "DO $$ BEGIN NULL; END $$",
    "CALL p()",
)


@pytest.fixture(scope="module", params=MAJORS)
def server(request, compiled_probes):
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param) as running:
        running.psql(SCHEMA)
        yield running


@pytest.fixture(scope="module", params=["libbpf", "bcc"])
def capture(request, server):
    with EbpfSource(loader=open_loader(request.param)) as source:
        source.add(cluster_at(server.postmaster_pid))
        yield Capture(source, server)


def run(connection, text):
    if text.endswith(("STDIN", "STDOUT")):
        with connection.cursor().copy(text) as copy:
            for _ in copy if text.endswith("STDOUT") else ():
                pass
        return
    # psycopg does not like COPY; and what sleeps is cancelled.
    with contextlib.suppress(psycopg.ProgrammingError, psycopg.errors.QueryCanceled):
        connection.execute(text)


def in_the_kernel(capture, connection, text):
    capture.forget()
    run(connection, text)
    return any(
        start.urgent for start in starts(capture.round_trips(connection.info.backend_pid, 1))
    )


def in_the_agent(parser, text):
    (shape,) = parser.shapes([text.encode()], [len(text)])
    statement = Statement(
        id=1, session=Session(BackendKey(1, 1)), text=text.encode(), text_bytes=len(text),
        started_at_us=1, source=Source.EBPF,
    )  # fmt: skip
    return is_urgent(statement, shape)


def test_both_say_the_same_of_what_is_urgent(capture, server):
    with server.connect() as connection, ParserClient() as parser:
        views = {
            text: (in_the_kernel(capture, connection, text), in_the_agent(parser, text))
            for text in TEXTS
        }
    assert {text: each for text, each in views.items() if each[0] is not each[1]} == {}
    assert sum(kernel for kernel, _ in views.values()) > 15


STRATEGIES = {
    "SELECT pg_sleep(5)": 0,
    "WITH more AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT pg_sleep(5) FROM more": 2,
    "DO $$BEGIN PERFORM pg_sleep(5); END$$": 4,
}
"""``PortalStrategy`` of each: what is one SELECT has no utility command in it."""
BEHIND_STATEMENTS = 32
"""``portal_part.strategy`` in urgency.bpf.h."""


def strategy_of_what_runs(cluster, binary, pid):
    with Memory(pid, cluster.inode) as memory:
        portal = memory.pointer(memory.base + binary.address("ActivePortal"))
        place = portal + layout_for(cluster.version).portal_statements + BEHIND_STATEMENTS
        return int.from_bytes(memory.read(place, 4), "little")


def test_the_probes_look_for_a_portals_strategy_where_it_is(server):
    cluster = cluster_at(server.postmaster_pid)
    binary = ServerBinary.read(cluster.binary, cluster.version)
    for text, strategy in STRATEGIES.items():
        with server.connect() as connection:
            pid = connection.info.backend_pid
            thread = threading.Thread(target=run, args=(connection, text), daemon=True)
            thread.start()
            asked = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}"
            wait_until(lambda asked=asked: "PgSleep" in server.psql(asked).stdout, 10)
            assert strategy_of_what_runs(cluster, binary, pid) == strategy, text
            connection.cancel()
            thread.join()
