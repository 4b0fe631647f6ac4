"""A plan as a script for psql."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from collector.drift.plan.making import Plan
from collector.drift.plan.quoting import comment
from collector.drift.plan.steps import CLUSTER_LAST, Phase, Step

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


def script(plan: Plan, *, title: str, allow_loss: bool = False) -> str:
    """What a person reads, and then may give to ``psql -f``. It stops at the first error.

    Steps that lose data are comments unless ``allow_loss``.
    """
    lines = [f"-- {comment(title)}", "-- Read it before you run it: psql -f, as a superuser."]
    lines += [
        f"-- not observed, nothing planned: {kind} of {comment(database) or 'the cluster'}"
        for kind, database in plan.not_observed
    ]
    lines.append("\\set ON_ERROR_STOP on")
    first = [s for s in plan.steps if not s.database and s.phase not in CLUSTER_LAST]
    last = [s for s in plan.steps if not s.database and s.phase in CLUSTER_LAST]
    lines += _section(first, allow_loss)
    for database in sorted({step.database for step in plan.steps} - {""}):
        lines += ["", *_connect(database)]
        lines += _section([s for s in plan.steps if s.database == database], allow_loss)
    lines += _section(last, allow_loss)
    if any(step.text.startswith("ALTER SYSTEM") and not step.by_hand for step in plan.steps):
        lines.append("SELECT pg_reload_conf();")
    return "\n".join(lines) + "\n"


def _section(steps: list[Step], allow_loss: bool) -> Iterator[str]:
    together = [step for step in steps if not step.alone]
    runs = any(_runs(step, allow_loss) for step in together)
    if steps:
        yield ""
    if steps:
        # Snapshots are read with this path: their definitions say the schema of all else.
        yield "SET search_path = pg_catalog;"
    first = [step for step in steps if step.alone and step.phase is Phase.TYPE]
    yield from _lines(first, allow_loss)
    if runs:
        yield "BEGIN;"
    yield from _lines(together, allow_loss)
    if runs:
        yield "COMMIT;"
    last = [step for step in steps if step.alone and step not in first]
    yield from _lines(last, allow_loss)


def _lines(steps: Iterable[Step], allow_loss: bool) -> Iterator[str]:
    for step in steps:
        if step.note:
            yield f"-- {comment(step.note)}"
        if step.by_hand:
            yield f"-- by hand: {comment(step.text)}"
        elif not _runs(step, allow_loss):
            yield f"-- loses data (--allow-loss writes it out): {comment(step.text)};"
        else:
            yield f"{step.text};"


def _runs(step: Step, allow_loss: bool) -> bool:
    return not step.by_hand and (allow_loss or not step.loses)


def _connect(database: str) -> list[str]:
    if _PLAIN.fullmatch(database):
        return [f"\\connect {database}"]
    if not database.isprintable():
        return [f"-- by hand: connect to the database {comment(database)}", "\\quit"]
    # As pg_dumpall writes it: a connection string within psql's own quotes.
    escaped = database.replace("\\", "\\\\").replace("'", "\\'").replace('"', '""')
    return [f"\\connect -reuse-previous=on \"dbname='{escaped}'\""]
