"""Scenarios on the wire protocol by hand."""

import struct
import time
from collections.abc import Callable

from tests.conformance.clients.wire import Wire, endings
from tests.conformance.diary import Diary
from tests.conformance.expected import Nested, Outcome
from tests.conformance.messages import WITHHELD
from tests.conformance.paths import MUCH
from tests.conformance.place import Place, Step, agree, step

PAUSE_SECONDS = 0.05
SERIES = "SELECT generate_series(1, $1::int)"
ADD = "INSERT INTO items VALUES ($1::int, 'wire')"


def _exchange(
    diary: Diary, wire: Wire, steps: tuple[Step, ...], ended: list[str], *until: bytes
) -> None:
    with diary.doing(*steps, together=True, ends=not until):
        messages = wire.send().until(*(until or (b"Z",)))
    agree(steps[0], ended, endings(messages))


def unnamed(place: Place) -> Diary:
    """Parse, Bind, Execute, Sync in one message block, again and again."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for rows in (3, 0, 7):
            wire.parse(SERIES).bind(str(rows)).execute().sync()
            _exchange(diary, wire, (step(SERIES, rows),), [f"SELECT {rows}"])
    return diary


def named(place: Place) -> Diary:
    """One Parse, many Bind and Execute; then several under one Sync."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse(SERIES, "series").sync().send().until(b"Z")
        for rows in (3, 0, 7):
            wire.bind(str(rows), name="series").execute().sync()
            _exchange(diary, wire, (step(SERIES, rows),), [f"SELECT {rows}"])
        for rows in (1, 2, 3):
            wire.bind(str(rows), name="series").execute()
        wire.sync()
        steps = tuple(step(SERIES, rows) for rows in (1, 2, 3))
        _exchange(diary, wire, steps, ["SELECT 1", "SELECT 2", "SELECT 3"])
    return diary


def pipeline_fails(place: Place) -> Diary:
    """Different statements under one Sync, one of which fails: those behind it do not run. Then one
    that takes long to fail in its planning, which is nothing to those that were complete."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for text, value in ((ADD, "1"), (SERIES, "4"), ("SELECT 1/$1::int", "0"), (ADD, "2")):
            wire.parse(text).bind(value).execute()
        wire.sync()
        steps = (step(ADD, 1), step(SERIES, 4), step("SELECT 1/$1::int", error="22012"))
        _exchange(diary, wire, steps, ["INSERT 0 1", "SELECT 4", "22012"])
        slow = "SELECT 1/(length(md5(repeat('x', 30000000))) - 32)"
        wire.parse(SERIES).bind("2").execute().parse(slow).bind().execute().sync()
        steps = (step(SERIES, 2), step(slow, error="22012"))
        _exchange(diary, wire, steps, ["SELECT 2", "22012"])
    return diary


def pipeline(place: Place) -> Diary:
    """Different statements under one Sync."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for text, value in ((ADD, "1"), (SERIES, "2000"), (ADD, "2")):
            wire.parse(text).bind(value).execute()
        wire.sync()
        steps = (step(ADD, 1), step(SERIES, 2000), step(ADD, 1))
        _exchange(diary, wire, steps, ["INSERT 0 1", "SELECT 2000", "INSERT 0 1"])
    return diary


def long_answers(place: Place) -> Diary:
    """Answers of megabytes under one Sync, among short ones; then an error at the end."""
    texts = (("SELECT 1", 1), (MUCH, 1000), ("SELECT generate_series(1, 5)", 5), (MUCH, 1000))
    steps = tuple(step(text, rows) for text, rows in texts)
    tags = [f"SELECT {rows}" for _, rows in texts]
    fails = step("SELECT 1/0", error="22012")
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for last, ended in ((step("SELECT 2", 1), "SELECT 1"), (fails, "22012")):
            for each in (*steps, last):
                wire.parse(each.sql).bind().execute()
            _exchange(diary, wire.sync(), (*steps, last), [*tags, ended])
    return diary


def pipeline_of_syncs(place: Place) -> Diary:
    """Several round trips sent before the first answer is read."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for rows in range(1, 21):
            wire.parse(SERIES).bind(str(rows)).execute().sync()
        steps = tuple(step(SERIES, rows) for rows in range(1, 21))
        with diary.doing(*steps):
            wire.send()
            messages = [message for _ in steps for message in wire.until(b"Z")]
        agree(steps[0], [f"SELECT {rows}" for rows in range(1, 21)], endings(messages))
    return diary


def bind_errors(place: Place) -> Diary:
    """A value that its type refuses, for an unnamed and for a named statement."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse(SERIES).bind("many").execute().sync()
        _exchange(diary, wire, (step(SERIES, error="22P02"),), ["22P02"])
        wire.parse(SERIES, "series").sync().send().until(b"Z")
        wire.bind("many", name="series").execute().sync()
        _exchange(diary, wire, (step(SERIES, error="22P02"),), ["22P02"])
        wire.bind("2", name="series").execute().sync()
        _exchange(diary, wire, (step(SERIES, 2),), ["SELECT 2"])
    return diary


def errors_behind(place: Place) -> Diary:
    """What the server refuses behind a statement makes no failure of it: messages with a name that
    nothing has, one that is malformed, and a Describe of what is not there any more."""
    many = "SELECT repeat('x', 1000), generate_series(1, 100)"
    works = "DO $$BEGIN INSERT INTO items VALUES (1, 'do'); COMMIT; END$$"
    nested = (Nested("INSERT INTO items VALUES (1, 'do')"),)
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.query("BEGIN")
        _exchange(diary, wire, (step("BEGIN"),), ["BEGIN"])
        wire.parse(ADD).bind("1").execute().parse("COMMIT").bind().execute().execute(0, "nope")
        _exchange(diary, wire.sync(), (step(ADD, 1), step("COMMIT")),
                  ["INSERT 0 1", "COMMIT", "34000"])  # fmt: skip
        wire.parse(works).bind().execute().bind(name="nope").sync()
        _exchange(diary, wire, (step(works, nested=nested),), ["DO", "26000"])
        for refused, sqlstate in (
            (lambda: wire.bind(name="nope"), "26000"),
            (lambda: wire.add(b"D", b"Snope\0"), "26000"),
            (lambda: wire.add(b"C", b"xnope\0"), "08P01"),
            (lambda: wire.close_portal("\0more"), "08P01"),
            (lambda: wire.parse("SELECT 2").bind(name="nope"), "26000"),
        ):
            wire.parse(many).bind().execute()
            refused()
            _exchange(diary, wire.sync(), (step(many, 100),), ["SELECT 100", sqlstate])
        wire.query("CREATE TABLE gone AS SELECT 1")
        _exchange(diary, wire, (step("CREATE TABLE gone AS SELECT 1", 1),), ["SELECT 1"])
        wire.parse("SELECT * FROM gone", "of_gone").sync().send().until(b"Z")
        wire.query("DROP TABLE gone")
        _exchange(diary, wire, (step("DROP TABLE gone"),), ["DROP TABLE"])
        wire.parse(many).bind().execute().add(b"D", b"Sof_gone\0").sync()
        _exchange(diary, wire, (step(many, 100),), ["SELECT 100", "42P01"])
        wire.parse(SERIES).bind("6").execute(4).execute(4).close_portal("").execute().sync()
        steps = (Step(SERIES, (suspended(4),)), step(SERIES, 2))
        _exchange(diary, wire, steps, ["suspended", "SELECT 2", "34000"])
    return diary


def errors_flushed(place: Place) -> Diary:
    """The same behind an answer that the client has read already."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse("SELECT 'flushed'").bind().execute().flush()
        _exchange(diary, wire, (step("SELECT 'flushed'", 1),), ["SELECT 1"], b"C")
        wire.execute(0, "nope").sync().send().until(b"Z")
        wire.query("SELECT 1")
        _exchange(diary, wire, (step("SELECT 1", 1),), ["SELECT 1"])
    return diary


def uncommitted(place: Place) -> Diary:
    """What fails when Sync commits it has failed, whatever the failure calls itself; the rows of a
    query are with its client by then."""
    fails = "INSERT INTO raised VALUES ($1)"
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for sqlstate in ("34000", "26000", "08P01", "42P01"):
            failed = step(fails, error=sqlstate, message=WITHHELD)
            wire.parse(fails).bind(sqlstate).execute().sync()
            _exchange(diary, wire, (failed,), ["INSERT 0 1", sqlstate])
            wire.parse(fails).bind(sqlstate).execute().parse("SELECT 1").sync()
            _exchange(diary, wire, (failed,), ["INSERT 0 1", sqlstate])
        rows = "WITH a AS (INSERT INTO raised VALUES ('42P01')) SELECT generate_series(1, 3)"
        wire.parse(rows).bind().execute().sync()
        failed = Step(rows, (Outcome(3, "42P01", message=WITHHELD),))
        _exchange(diary, wire, (failed,), ["SELECT 3", "42P01"])
    return diary


def suspended(rows: int) -> Outcome:
    """An Execute that stopped at its row limit: it returned that many."""
    return Outcome(rows)


def row_limit(place: Place) -> Diary:
    """One portal in slices, each Execute a round trip of its own."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.query("BEGIN")
        _exchange(diary, wire, (step("BEGIN"),), ["BEGIN"])
        wire.parse(SERIES).bind("10", portal="slices").execute(4, "slices").sync()
        _exchange(diary, wire, (Step(SERIES, (suspended(4),)),), ["suspended"])
        wire.execute(4, "slices").sync()
        _exchange(diary, wire, (Step(SERIES, (suspended(4),)),), ["suspended"])
        wire.execute(4, "slices").sync()
        _exchange(diary, wire, (step(SERIES, 2),), ["SELECT 2"])
        wire.query("COMMIT")
        _exchange(diary, wire, (step("COMMIT"),), ["COMMIT"])
    return diary


def row_limit_one_sync(place: Place) -> Diary:
    """The same under one Sync, and a portal that is left unfinished."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse(SERIES).bind("6").execute(4).execute(4).sync()
        steps = (Step(SERIES, (suspended(4),)), step(SERIES, 2))
        _exchange(diary, wire, steps, ["suspended", "SELECT 2"])
        wire.parse(SERIES).bind("6").execute(4).parse("SELECT 1").bind().execute().sync()
        steps = (Step(SERIES, (suspended(4),)), step("SELECT 1", 1))
        _exchange(diary, wire, steps, ["suspended", "SELECT 1"])
    return diary


def row_limit_flushed(place: Place) -> Diary:
    """As JDBC fetches: Flush after each slice, Sync at the end."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse(SERIES).bind("6").execute(4).flush()
        _exchange(diary, wire, (Step(SERIES, (suspended(4),)),), ["suspended"], b"s")
        wire.execute(4).flush()
        _exchange(diary, wire, (step(SERIES, 2),), ["SELECT 2"], b"C")
        wire.sync().send().until(b"Z")
    return diary


def two_portals(place: Place) -> Diary:
    """Two portals in turn."""
    other = "SELECT generate_series(1, 5)"
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.query("BEGIN")
        _exchange(diary, wire, (step("BEGIN"),), ["BEGIN"])
        wire.parse(SERIES).bind("6", portal="one").execute(4, "one")
        wire.parse(other).bind(portal="two").execute(0, "two").execute(4, "one").sync()
        steps = (Step(SERIES, (suspended(4),)), step(other, 5), step(SERIES, 2))
        _exchange(diary, wire, steps, ["suspended", "SELECT 5", "SELECT 2"])
        wire.query("COMMIT")
        _exchange(diary, wire, (step("COMMIT"),), ["COMMIT"])
    return diary


def fastpath(place: Place) -> Diary:
    """A function by its number. ``int4pl`` and a division by zero."""
    numbers = [struct.pack("!i", number) for number in (4, 0)]
    with place.admin() as admin:
        plus, divide = (
            admin.execute("SELECT %s::regproc::oid::int", (name,)).fetchone()[0]
            for name in ("int4pl", "int4div")
        )
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for function, outcome, ended in (
            (plus, Outcome(), "call"),
            (divide, Outcome(None, "22012"), "22012"),
            (plus, Outcome(), "call"),
        ):
            wire.call(function, *numbers)
            called = Step(f"function call {function}", (outcome,))
            with diary.doing(called, protocol="fastpath"):
                messages = wire.send().until(b"Z")
            agree(called, [ended], endings(messages))
    return diary


def empty(place: Place) -> Diary:
    """A text without a statement executes nothing."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        for text in ("", " ; ", "-- only a comment"):
            wire.query(text).send().until(b"Z")
        wire.parse("").bind().execute().sync().send().until(b"Z")
        wire.query("SELECT 1")
        _exchange(diary, wire, (step("SELECT 1", 1),), ["SELECT 1"])
    return diary


def never_executed(place: Place) -> Diary:
    """Parse, Bind and Describe without Execute run nothing."""
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        wire.parse(SERIES, "never").bind("1", name="never").add(b"D", b"P\0").sync()
        wire.send().until(b"Z")
        wire.query("SELECT 1")
        _exchange(diary, wire, (step("SELECT 1", 1),), ["SELECT 1"])
    return diary


def copy_fails(place: Place) -> Diary:
    """COPY FROM STDIN that its client gives up."""
    failing = step("COPY items FROM STDIN", error="57014", message=WITHHELD)
    with Wire(place) as wire:
        diary = Diary(place, ear=wire)
        with diary.doing(failing):
            wire.query(failing.sql).send().until(b"G")
            messages = wire.add(b"d", b"1\tx\n").add(b"f", b"no more\0").send().until(b"Z")
        agree(failing, ["57014"], endings(messages))
    return diary


def replication_stream(place: Place) -> Diary:
    """A logical stream that its client ends. ``COPY 0`` is its tag."""
    slot = step('CREATE_REPLICATION_SLOT "stream" TEMPORARY LOGICAL test_decoding')
    start = step('START_REPLICATION SLOT "stream" LOGICAL 0/0', 0)
    with Wire(place, replication="database") as wire:
        diary = Diary(place, ear=wire)
        with diary.doing(slot, protocol="replication"):
            wire.query(slot.sql).send().until(b"Z")
        time.sleep(PAUSE_SECONDS)  # what comes next did not begin before it
        with diary.doing(start, protocol="replication"):
            wire.query(start.sql).send().until(b"W")
            seen = endings(wire.add(b"c").send().until(b"Z"))
        agree(start, "COPY 0", seen[0])
    return diary


PLAYS: dict[str, Callable[[Place], Diary]] = {
    "extended-unnamed": unnamed,
    "extended-named": named,
    "pipeline": pipeline,
    "pipeline-fails": pipeline_fails,
    "pipeline-of-syncs": pipeline_of_syncs,
    "long-answers": long_answers,
    "errors-bind": bind_errors,
    "errors-behind": errors_behind,
    "errors-flushed": errors_flushed,
    "uncommitted": uncommitted,
    "row-limit": row_limit,
    "row-limit-one-sync": row_limit_one_sync,
    "row-limit-flushed": row_limit_flushed,
    "row-limit-two-portals": two_portals,
    "fastpath": fastpath,
    "empty": empty,
    "never-executed": never_executed,
    "copy-fails": copy_fails,
    "replication-stream": replication_stream,
}
