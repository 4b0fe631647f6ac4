"""pgbench, in its three protocols. A script of its own, so that texts and values are known."""

import os
import subprocess

from tests.conformance.diary import Diary
from tests.conformance.place import Place, Step, step


def play(place: Place, mode: str, clients: int = 1, repeats: int = 5) -> Diary:
    """``mode``: simple, extended or prepared."""
    diary = Diary(place)
    script = place.folder / "script.sql"
    script.write_text(
        "\\set n 7\n"
        "BEGIN;\n"
        "SELECT generate_series(1, :n);\n"
        "INSERT INTO items VALUES (:n, 'bench');\n"
        "END;\n"
    )
    steps = [
        step("BEGIN;"),
        _worded("SELECT generate_series(1, :n);", mode, 7),
        _worded("INSERT INTO items VALUES (:n, 'bench');", mode, 1),
        step("END;"),
    ]
    with diary.doing(*steps * clients * repeats, at_once=clients):
        done = subprocess.run(
            [
                "pgbench", "--no-vacuum", f"--file={script}", f"--protocol={mode}",
                f"--client={clients}", f"--transactions={repeats}",
            ],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | place.environment(),
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return diary


def _worded(text: str, mode: str, rows: int) -> Step:
    """In the simple protocol pgbench writes values into the text."""
    return step(text.replace(":n", "7" if mode == "simple" else "$1"), rows)
