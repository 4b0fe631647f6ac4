"""Round trips of several statements, some with answers far longer than the server's send buffer."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.probes.layout import SEND_BUFFER_BYTES
from tests.conformance.clients.wire import Wire

SCHEMA = "create table late (id int unique deferrable initially deferred);"
DONE = "00000"
Ended = tuple[str, int, str]
"""Tag, rows, SQLSTATE."""


def few(rows: int) -> str:
    return f"SELECT 7 FROM generate_series(1, {rows})"


def tiny(rows: int) -> str:
    """Hundreds of messages fill one buffer."""
    return f"SELECT i FROM generate_series(1, {rows}) AS i"


def wide(rows: int) -> str:
    return f"SELECT repeat('x', 3000) FROM generate_series(1, {rows})"


def long(rows: int) -> str:
    """Each row is longer than the buffer: since 17 it is written by itself."""
    return f"SELECT repeat('x', 50000) FROM generate_series(1, {rows})"


KINDS = ((few, 3), (tiny, 100_000), (few, 5), (wide, 400), (long, 25))
MANY = [(kind(rows + n), rows + n) for n in range(4) for kind, rows in KINDS]
"""Twenty statements, which answer with 18 MB."""
BREAKS = "SELECT 1 / (90000 - i) FROM generate_series(1, 100000) AS i"
NOTICES = "DO $$begin for i in 1..50 loop raise notice '%', repeat('n', 300); end loop; end$$"


@dataclass(frozen=True)
class Scene:
    name: str
    ask: Callable[[Wire], object]
    ended: list[Ended]


def selected(*rows: int) -> list[Ended]:
    return [("SELECT", each, DONE) for each in rows]


def suspended(*rows: int) -> list[Ended]:
    return [("", each, DONE) for each in rows]


def pipeline(wire: Wire, *texts: str) -> Wire:
    for text in texts:
        wire.parse(text).bind().execute()
    return wire.sync()


def string(wire: Wire, *texts: str) -> Wire:
    return wire.query("; ".join(texts))


def portal(wire: Wire) -> Wire:
    """One Parse, many Execute, each with as many rows as it asked for."""
    wire.parse(tiny(100_000), name="kept").bind(name="kept", portal="p")
    for limit in (30_000, 1, 60_000, 0):
        wire.execute(limit, portal="p")
    for _ in range(3):
        wire.bind(name="kept").execute()
    return wire.sync()


def late(wire: Wire) -> Wire:
    """Everything was complete, and then could not be committed."""
    return pipeline(wire, "INSERT INTO late VALUES (1), (1)", tiny(100_000), few(2))


TEXTS, ROWS = [text for text, _ in MANY], [rows for _, rows in MANY]
FIRST, LAST = selected(*ROWS[:9]), selected(*ROWS[9:])
FAILED = ("", -1, "22012")
SCENES = [
    Scene("pipeline", lambda wire: pipeline(wire, *TEXTS), FIRST + LAST),
    Scene("string", lambda wire: string(wire, *TEXTS), FIRST + LAST),
    Scene(
        "pipeline that breaks",
        lambda wire: pipeline(wire, *TEXTS[:9], BREAKS, *TEXTS[9:]),
        [*FIRST, FAILED],
    ),
    Scene(
        "string that breaks",
        lambda wire: string(wire, *TEXTS[:9], BREAKS, *TEXTS[9:]),
        [*FIRST, FAILED],
    ),
    Scene(
        "pipeline that cannot be parsed",
        lambda wire: pipeline(wire, *TEXTS[:9], "SELECT nothing", *TEXTS[9:]),
        [*FIRST, ("", -1, "42703")],
    ),
    Scene(
        "string that cannot be planned",
        lambda wire: string(wire, *TEXTS[:9], "SELECT nothing", *TEXTS[9:]),
        [*FIRST, ("", -1, "42703")],
    ),
    Scene(
        "portal",
        portal,
        [*suspended(30_000, 1, 60_000), *selected(9_999, 100_000, 100_000, 100_000)],
    ),
    Scene(
        "copy",
        lambda wire: string(wire, *TEXTS[:3], f"COPY ({TEXTS[1]}) TO STDOUT", *TEXTS[3:6]),
        [*selected(*ROWS[:3]), ("COPY", ROWS[1], DONE), *selected(*ROWS[3:6])],
    ),
    Scene(
        "notices",
        lambda wire: pipeline(wire, *TEXTS[:3], NOTICES, *TEXTS[3:6]),
        [*selected(*ROWS[:3]), ("DO", -1, DONE), *selected(*ROWS[3:6])],
    ),
    Scene(
        "empty",
        lambda wire: pipeline(wire, TEXTS[1], "", TEXTS[0], "", TEXTS[3]),
        selected(ROWS[1], ROWS[0], ROWS[3]),
    ),
    Scene(
        "query behind an execute",
        lambda wire: wire.parse(TEXTS[1]).bind().execute().query("; ".join(TEXTS[1:4])),
        selected(ROWS[1], *ROWS[1:4]),
    ),
    Scene(
        "late",
        late,
        [("INSERT", 2, DONE), *selected(100_000), ("", 2, "23505")],
    ),
]


def straddling(around: int) -> list[Scene]:
    """The first answer's end lies on the end of a buffer, with each of its bytes once."""
    head = len(b"1\0\0\0\4" + b"2\0\0\0\4") + 11
    texts = [
        f"SELECT repeat('z', {buffers * SEND_BUFFER_BYTES - head - before})"
        for buffers in (1, 2)
        for before in range(around)
    ]
    return [
        Scene(text, lambda wire, text=text: pipeline(wire, text, few(3), few(4)), selected(1, 3, 4))
        for text in texts
    ]
