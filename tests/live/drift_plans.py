"""Plans that psql runs on a real server."""

from __future__ import annotations

import subprocess

from agent.catalog import take_snapshot
from collector.drift.baseline import Known, apply, scopes
from collector.drift.comparing import compared
from collector.drift.observed import whole


def seen(cluster):
    """What a new session finds, and so with every reload."""
    with cluster.connect(user="pgwarden", dbname="shop", application_name="pgwarden") as session:
        snapshot = take_snapshot(session, "5432")
    facts = {}
    for scope, part in scopes("host", snapshot).items():
        known = Known(accepted=None)
        apply(known, part)
        facts[scope] = known.observed
    return whole(facts, "host", "5432")


def run(cluster, text, folder):
    path = folder / "plan.sql"
    path.write_text(text)
    return subprocess.run(
        ["psql", "-X", "-q", "-d", cluster.dsn(dbname="shop"), "-f", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def left(before, after):
    return [
        (str(kind), difference.name, difference.desired, difference.observed)
        for kind, _, difference in compared(before, after)
    ]
