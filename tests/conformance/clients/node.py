"""node-postgres, played by ``node/play.mjs``, which reads a plan and says what it saw."""

import json
import os
import subprocess
from pathlib import Path

from tests.conformance.diary import Diary
from tests.conformance.place import DATABASE, USER, Place, Step, agree, step
from tests.conformance.servers import FETCHED

SCRIPT = Path(__file__).parents[1] / "node" / "play.mjs"


def play(place: Place, *steps: Step, mode: str) -> Diary:
    """``mode``: simple, unnamed, named or cursor (then each step's rows is a slice)."""
    diary = Diary(place)
    plan = {
        "mode": mode,
        "connection": {
            "host": place.host,
            "port": place.port,
            "user": USER,
            "database": DATABASE,
            "application_name": place.application_name,
            "ssl": {"rejectUnauthorized": False} if place.transport == "tls" else False,
        },
        "steps": [{"sql": one.sql, "params": one.params} for one in steps],
    }
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(plan), capture_output=True, text=True, timeout=60,
        check=False, env=os.environ | {"CONFORMANCE_PACKAGES": f"{FETCHED}/"},
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    for one, saw in zip(steps, json.loads(done.stdout), strict=True):
        wanted = one.outcomes[-1]
        agree(one, (wanted.rows, wanted.sqlstate), (saw["rows"], saw["sqlstate"]))
        slices = mode == "cursor"
        received = None if slices else saw["bytes"]
        diary.note(one, int(saw["wall_us"]), received, ends=not slices)
    return diary


def cursor(place: Place) -> Diary:
    """``pg-cursor``: a portal in slices of ten."""
    text = "SELECT generate_series(1, $1::int)"
    return play(place, *(step(text, rows, 25) for rows in (10, 10, 5)), mode="cursor")
