"""``python -m tests.conformance.calls``: which C functions are behind the built-in functions that
reach beyond their database, as real servers of all versions know them."""

from collections.abc import Iterator

from agent.probes.calls import PATTERN, TABLE
from tests.conformance.servers import MAJORS, Server, fetch

TEXT = "25"
"""The number of type text."""
QUERY = """
SELECT prosrc, proname, pronargs, proargtypes::text
  FROM pg_proc JOIN pg_language l ON l.oid = prolang
 WHERE lanname = 'internal' AND pg_proc.oid < 10000 AND prokind = 'f'
   AND proname ~ %s
"""


def lines() -> Iterator[str]:
    """Symbol, name, number of arguments, which one is the first text, first and last version."""
    found: dict[str, list[tuple[int, str, int, int]]] = {}
    for major in MAJORS:
        with Server(major=major, log_format="stderr") as server, server.connect() as connection:
            for symbol, name, count, types in connection.execute(QUERY, (f"^({PATTERN})$",)):
                kinds = types.split()
                text = kinds.index(TEXT) if TEXT in kinds else -1
                found.setdefault(symbol, []).append((major, name, count, text))
    for symbol in sorted(found):
        rows = found[symbol]
        majors = {row[0] for row in rows}
        if majors != set(range(min(majors), max(majors) + 1)):
            raise ValueError(f"{symbol} comes and goes: {sorted(majors)}")
        if len({row[3] for row in rows}) != 1:
            raise ValueError(f"the first text argument of {symbol} moves")
        # Where one C function has two names in SQL, the shorter one is the one that people use.
        name = min((row[1] for row in rows), key=len)
        count = max(row[2] for row in rows)
        yield f"{symbol} {name} {count} {rows[0][3]} {min(majors)} {max(majors)}\n"


def main() -> None:
    fetch()
    TABLE.write_text("".join(lines()))


if __name__ == "__main__":
    main()
