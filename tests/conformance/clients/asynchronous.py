"""asyncpg: simple queries, named and unnamed statements, portals with row limits, COPY."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from tests.conformance.diary import Diary
from tests.conformance.place import DATABASE, USER, Place, Step, agree, step

Work = Callable[[asyncpg.Connection, Diary], Awaitable[None]]
SERIES = "SELECT generate_series(1, 25)"


def _play(place: Place, work: Work, cached_statements: int = 100) -> Diary:
    diary = Diary(place)

    async def session() -> None:
        connection = await asyncpg.connect(
            host=place.host, port=place.port, user=USER, database=DATABASE,
            ssl="require" if place.transport == "tls" else False,
            server_settings={"application_name": place.application_name},
            statement_cache_size=cached_statements,
        )  # fmt: skip
        try:
            await work(connection, diary)
        finally:
            await connection.close()

    asyncio.run(session())
    return diary


def simple(place: Place, *steps: Step) -> Diary:
    async def work(connection: asyncpg.Connection, diary: Diary) -> None:
        for one in steps:
            with diary.doing(one):
                await _seen(one, connection.execute(one.sql))

    return _play(place, work)


def extended(place: Place, *steps: Step, cached_statements: int = 100) -> Diary:
    """Named statements, kept; unnamed ones with ``cached_statements=0``."""

    async def work(connection: asyncpg.Connection, diary: Diary) -> None:
        for one in steps:
            with diary.doing(one):
                await _seen(one, connection.execute(one.sql, *one.params))

    return _play(place, work, cached_statements)


async def _seen(one: Step, call: Awaitable[str]) -> None:
    wanted = one.outcomes[-1]
    try:
        last = (await call).split()[-1:]
    except asyncpg.PostgresError as error:
        seen = (None, error.sqlstate)
    else:
        seen = (int(last[0]) if last and last[0].isdigit() else None, "00000")
    agree(one, (wanted.rows, wanted.sqlstate), seen)


def many(place: Place, one: Step, times: int) -> Diary:
    """One Parse, then Bind and Execute for each set of values, in one transaction by one Sync."""

    async def work(connection: asyncpg.Connection, diary: Diary) -> None:
        with diary.doing(*[one] * times, together=True):
            await connection.executemany(one.sql, [one.params] * times)

    return _play(place, work)


def cursor(place: Place) -> Diary:
    """A portal read in slices of ten."""

    async def work(connection: asyncpg.Connection, diary: Diary) -> None:
        with diary.doing(step("BEGIN;")):
            transaction = connection.transaction()
            await transaction.start()
        portal = await connection.cursor(SERIES)
        for rows in (10, 10, 5):
            with diary.doing(step(SERIES, rows)):
                agree(step(SERIES), rows, len(await portal.fetch(10)))
        with diary.doing(step("COMMIT;")):
            await transaction.commit()

    return _play(place, work)


def copy(place: Place, count: int) -> Diary:
    """asyncpg words COPY itself."""
    into = step('COPY "items" FROM STDIN (FORMAT binary) ', count)
    out_of = step("COPY (SELECT 1 FROM wide LIMIT 300) TO STDOUT ", 300)

    async def work(connection: asyncpg.Connection, diary: Diary) -> None:
        # It asks for the columns' types by a prepared statement that it does not run.
        records = [(1000 + number, "copied") for number in range(count)]
        with diary.doing(into):
            await connection.copy_records_to_table("items", records=records)
        with diary.doing(out_of):
            await connection.copy_from_query("SELECT 1 FROM wide LIMIT 300", output=_drop)

    return _play(place, work)


async def _drop(_: bytes) -> None:
    return None
