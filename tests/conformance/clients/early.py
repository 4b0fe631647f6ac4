"""Sessions that were open before pgwarden started, with statements prepared."""

import psycopg

from tests.conformance.clients import psycopg3
from tests.conformance.clients.wire import Wire, endings
from tests.conformance.diary import Diary
from tests.conformance.place import Place, agree, step
from tests.conformance.transactions import OPEN

SERIES = "SELECT generate_series(1, $1::int)"


def connect(place: Place) -> psycopg.Connection:
    connection = psycopg3.connect(place)
    connection.execute("BEGIN")
    connection.execute(SERIES.replace("$1", "%s"), (1,), prepare=True)
    return connection


def play(place: Place, connection: psycopg.Connection) -> Diary:
    diary = psycopg3.attentive(place, connection)
    diary.status, diary.before = OPEN, "?"  # nobody has told pgwarden of the BEGIN
    with connection:
        for rows in (3, 8):
            with diary.doing(step(SERIES, rows)):
                connection.execute(SERIES.replace("$1", "%s"), (rows,), prepare=True)
        for one in (step("SELECT 1", 1), step("ROLLBACK")):
            with diary.doing(one):
                connection.execute(one.sql)
    return diary


def connect_by_hand(place: Place) -> Wire:
    """A statement is prepared, and a portal is open that has been read in part."""
    wire = Wire(place)
    wire.query("BEGIN").send().until(b"Z")
    wire.parse(SERIES, "series").bind("9", name="series", portal="rest").execute(4, "rest")
    wire.sync().send().until(b"Z")
    return wire


def play_by_hand(place: Place, wire: Wire) -> Diary:
    diary = Diary(place, ear=wire, status=OPEN, before="?")
    with wire:
        with diary.doing(step(SERIES, 5)):
            seen = endings(wire.execute(portal="rest").sync().send().until(b"Z"))
        agree(step(SERIES), ["SELECT 5"], seen)
        with diary.doing(step(SERIES, 2)):
            wire.bind("2", name="series").execute().sync().send().until(b"Z")
        with diary.doing(step("COMMIT")):
            wire.query("COMMIT").send().until(b"Z")
    return diary
