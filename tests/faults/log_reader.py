"""An agent's reader of a JSON log, in a process of its own, to be frozen.

``python -m tests.faults.log_reader FOLDER STATE`` prints the number of each statement that it read,
and each loss.
"""

import sys
from pathlib import Path

from agent.sources.pgaudit.source import LogFormat, PgauditSource
from tests.agent.sources.test_pgaudit_tail import numbers


def main() -> None:
    folder, state = Path(sys.argv[1]), Path(sys.argv[2])
    source = PgauditSource("main", folder, "pg.json*", LogFormat.JSONLOG, state)
    print("ready", flush=True)
    while True:
        for number in numbers(source.poll(1.0)):
            print(number, flush=True)
        for lost in source.losses():
            print(f"lost {lost.reason} {lost.count}", flush=True)


if __name__ == "__main__":
    main()
