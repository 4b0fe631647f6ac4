"""Every scenario of the run: a path, played by a client over a transport."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.conformance import paths
from tests.conformance.clients import (
    asynchronous,
    copies,
    early,
    endings,
    node,
    pgbench,
    psql,
    psycopg3,
    wire_plays,
)
from tests.conformance.diary import Diary
from tests.conformance.place import Place


@dataclass(frozen=True)
class Scenario:
    path: str
    transport: str
    client: str
    play: Callable[..., Diary]
    opened: Callable[[Place], object] | None = None
    """What is to be done before pgwarden starts; ``play`` takes what it returns."""

    @property
    def name(self) -> str:
        """Also the application_name that its client gives."""
        return f"{self.path}/{self.transport}/{self.client}"


def _plays(steps: tuple, play: Callable = psycopg3.play, **how: object) -> Callable:
    return lambda place: play(place, *steps, **how)


TCP = ("tcp",)
DIRECT = ("tcp", "tls", "socket")
ALL = (*DIRECT, "pgbouncer")
_ROWS: tuple[tuple[str, tuple[str, ...], str, Callable], ...] = (
    ("simple", ALL, "psql", _plays(paths.SIMPLE, psql.commands)),
    ("simple", ALL, "psycopg", _plays(paths.SIMPLE)),
    ("script", ALL, "psql", _plays(paths.SCRIPT, psql.script)),
    ("multi-statement", ALL, "psql", _plays(paths.MULTI, psql.commands)),
    ("multi-statement", ALL, "psycopg", _plays(paths.MULTI)),
    ("extended-unnamed", ALL, "psycopg", _plays(paths.PARAMETERS)),
    ("extended-binary", DIRECT, "psycopg", _plays(paths.PARAMETERS, binary=True)),
    ("extended-named", DIRECT, "psycopg", _plays(paths.REPEATED, prepare=True)),
    ("pipeline", DIRECT, "psycopg", _plays(paths.PARAMETERS, psycopg3.pipeline)),
    ("executemany", DIRECT, "psycopg", partial(psycopg3.many, one=paths.ADD, times=200)),
    ("server-cursor", ALL, "psycopg", psycopg3.server_cursor),
    ("sql-cursor", TCP, "psql", _plays(paths.SQL_CURSOR, psql.commands)),
    ("sql-cursor", TCP, "psycopg", _plays(paths.SQL_CURSOR)),
    ("sql-prepare", TCP, "psql", _plays(paths.SQL_PREPARE, psql.commands)),
    ("sql-prepare", TCP, "psycopg", _plays(paths.SQL_PREPARE)),
    ("transaction", DIRECT, "psql", _plays(paths.TRANSACTION, psql.commands)),
    ("transaction", ALL, "psycopg", _plays(paths.TRANSACTION)),
    ("errors", DIRECT, "psql", _plays(paths.ERRORS, psql.commands)),
    ("errors", ALL, "psycopg", _plays(paths.ERRORS)),
    ("errors-extended", ALL, "psycopg", _plays(paths.PARAMETER_ERRORS)),
    ("errors-named", DIRECT, "psycopg", _plays(paths.PARAMETER_ERRORS, prepare=True)),
    ("copy", ALL, "psycopg", partial(psycopg3.copy, into=paths.COPY_IN, out_of=paths.COPY_OUT)),
    ("copy", TCP, "psql", _plays((paths.COPY_IN,), psql.commands, stdin=paths.COPY_DATA)),
    ("notify", TCP, "psql", _plays(paths.NOTIFY, psql.commands)),
    ("notify", TCP, "psycopg", _plays(paths.NOTIFY)),
    ("timeout", TCP, "psql", _plays(paths.TIMEOUTS, psql.commands)),
    ("timeout", TCP, "psycopg", _plays(paths.TIMEOUTS)),
    ("parallel", TCP, "psycopg",
     partial(psycopg3.parallel, settings=paths.WORKERS, queries=paths.PARALLEL)),
    ("routines", TCP, "psql", _plays(paths.ROUTINES, psql.commands)),
    ("routines", TCP, "psycopg", _plays(paths.ROUTINES)),
    ("do", TCP, "psql", _plays(paths.DO_BLOCK, psql.commands)),
    ("do", TCP, "psycopg", _plays(paths.DO_BLOCK)),
    ("triggers", TCP, "psycopg", _plays(paths.TRIGGERS)),
    ("simple", DIRECT, "asyncpg", _plays(paths.SIMPLE, asynchronous.simple)),
    ("extended-named", DIRECT, "asyncpg",
     _plays((*paths.REPEATED, *paths.PARAMETERS), asynchronous.extended)),
    ("extended-unnamed", ALL, "asyncpg",
     _plays(paths.PARAMETERS, asynchronous.extended, cached_statements=0)),
    ("executemany", DIRECT, "asyncpg", partial(asynchronous.many, one=paths.ADD, times=200)),
    ("row-limit", DIRECT, "asyncpg", asynchronous.cursor),
    ("errors-named", DIRECT, "asyncpg", _plays(paths.PARAMETER_ERRORS, asynchronous.extended)),
    ("copy", DIRECT, "asyncpg",
     partial(asynchronous.copy, count=paths.COPY_ROWS)),
    ("simple", ALL, "node-postgres", _plays(paths.SIMPLE, node.play, mode="simple")),
    ("multi-statement", DIRECT, "node-postgres", _plays(paths.MULTI, node.play, mode="simple")),
    ("extended-unnamed", ALL, "node-postgres", _plays(paths.PARAMETERS, node.play, mode="unnamed")),
    ("extended-named", DIRECT, "node-postgres", _plays(paths.REPEATED, node.play, mode="named")),
    ("errors", DIRECT, "node-postgres", _plays(paths.ERRORS, node.play, mode="simple")),
    ("errors-extended", DIRECT, "node-postgres",
     _plays(paths.PARAMETER_ERRORS, node.play, mode="unnamed")),
    ("row-limit", DIRECT, "node-postgres", node.cursor),
    ("simple", ALL, "pgbench", partial(pgbench.play, mode="simple")),
    ("extended-unnamed", ALL, "pgbench", partial(pgbench.play, mode="extended")),
    ("extended-named", DIRECT, "pgbench", partial(pgbench.play, mode="prepared")),
    ("load", TCP, "pgbench", partial(pgbench.play, mode="prepared", clients=4, repeats=50)),
    ("client-cursor", ALL, "psycopg", psycopg3.client_cursor),
    ("encoding", DIRECT, "psycopg", _plays(paths.ENCODING)),
    ("application-name", DIRECT, "psycopg", psycopg3.renamed),
    ("notified", TCP, "psycopg", psycopg3.notified),
    ("copy-refused", TCP, "psycopg", psycopg3.copy_refused),
    ("pipeline-fails", DIRECT, "psycopg", psycopg3.pipeline_fails),
    ("routine-errors", TCP, "psycopg", _plays(paths.ROUTINE_ERRORS)),
    ("deferred", TCP, "psycopg", _plays(paths.DEFERRED)),
    ("deferred-extended", TCP, "psycopg", _plays(paths.DEFERRED_PARAMETERS)),
    ("definitions", TCP, "psql", _plays(paths.DEFINITIONS, psql.commands)),
    ("definitions", TCP, "psycopg", _plays(paths.DEFINITIONS)),
    ("prepared-inside", TCP, "psycopg", _plays(paths.PREPARED_INSIDE)),
    ("explain-execute", TCP, "psycopg", _plays(paths.EXPLAIN_EXECUTE)),
    ("sleeps", ALL, "psycopg", _plays(paths.SLEEPS)),
    ("sleeps", DIRECT, "asyncpg", _plays(paths.SLEEPS, asynchronous.extended)),
    ("sleeps", DIRECT, "node-postgres", _plays(paths.SLEEPS, node.play, mode="unnamed")),
    ("planning", TCP, "psycopg", _plays(paths.PLANNING)),
    ("long-texts", DIRECT, "psycopg", _plays(paths.LENGTHY)),
    ("long-answers", ALL, "psycopg", _plays(paths.LONG_ANSWERS)),
    ("cancelled", DIRECT, "psycopg", endings.cancelled),
    ("cancelled-sending", TCP, "psycopg", endings.cancelled_while_it_sends),
    ("lock-timeout", TCP, "psycopg", endings.lock_timeout),
    ("terminated", TCP, "psycopg", endings.terminated),
    ("vanished", TCP, "psycopg", endings.vanished),
    ("replication", DIRECT, "psycopg", endings.replication),
)  # fmt: skip
_EARLY = tuple(
    Scenario("open-before", transport, client, play, opened)
    for client, transports, play, opened in (
        ("psycopg", DIRECT, early.play, early.connect),
        ("by-hand", ("tcp", "socket"), early.play_by_hand, early.connect_by_hand),
    )
    for transport in transports
)
_LAST = (("killed", TCP, "psycopg", endings.killed),)
"""The server restarts all backends after it."""
_BY_HAND = tuple(
    (path, ("tcp", "socket"), "by-hand", play)
    for path, play in (wire_plays.PLAYS | copies.PLAYS).items()
)
SCENARIOS = _EARLY + tuple(
    Scenario(path, transport, client, play)
    for path, transports, client, play in (*_ROWS, *_BY_HAND, *_LAST)
    for transport in transports
)
