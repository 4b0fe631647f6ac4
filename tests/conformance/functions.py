"""``python -m tests.conformance.functions``: the numbers of functions that are built in, as real
servers of all versions know them."""

from agent.sql.fastpath import NAMES
from tests.conformance.servers import MAJORS, Server, fetch

FIRST_NUMBER_OF_A_SERVER = 10_000
"""What initdb numbers by itself differs from server to server."""
QUERY = f"SELECT oid::int, proname FROM pg_proc WHERE oid < {FIRST_NUMBER_OF_A_SERVER}"


def functions_of(major: int) -> dict[int, str]:
    with Server(major=major, log_format="stderr") as server, server.connect() as connection:
        return dict(connection.execute(QUERY).fetchall())


def main() -> None:
    fetch()
    names: dict[int, set[str]] = {}
    for major in MAJORS:
        for number, name in functions_of(major).items():
            names.setdefault(number, set()).add(name)
    # The same number for another function in another version: nobody can tell which is meant.
    lines = [f"{number} {'|'.join(sorted(names[number]))}\n" for number in sorted(names)]
    NAMES.write_text("".join(lines))


if __name__ == "__main__":
    main()
