"""A relation that is known becomes a child of a protected one, and is judged as that at once,
though nobody has had time to read the catalog."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.conformance.servers import fetch
from tests.guard.play import BLOCKED, guarded
from tests.guard.stage import Stage

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]

ROUNDS = 5
SECONDS = 30.0
READ = "SELECT secret FROM attack.copy"


@pytest.fixture(scope="module", params=[12, 15, 18])
def stage(request) -> Iterator[Stage]:
    fetch()
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(request.param))
        stack.enter_context(guarded(stage))
        stage.keeper.execute(
            "CREATE TABLE attack.copy (LIKE hr.salaries INCLUDING ALL);"
            "INSERT INTO attack.copy SELECT * FROM ONLY hr.salaries;"
            "GRANT ALL ON attack.copy TO PUBLIC"
        )
        yield stage


def is_refused(session: psycopg.Connection) -> bool:
    try:
        session.execute(READ)
    except psycopg.errors.InsufficientPrivilege as error:
        assert BLOCKED in str(error)
        return True
    return False


def until_it_passes(session: psycopg.Connection) -> None:
    limit = time.monotonic() + SECONDS
    while is_refused(session):
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    "tie",
    [
        "ALTER TABLE attack.copy INHERIT hr.salaries",
        "BEGIN; ALTER TABLE attack.copy INHERIT hr.salaries; COMMIT",
        "DO $$ BEGIN EXECUTE 'ALTER TABLE attack.co' || 'py INHE' || 'RIT hr.salaries'; END $$",
    ],
)
def test_a_known_relation_that_gets_a_protected_parent_is_refused_at_once(stage, tie):
    with psycopg.connect(stage.conninfo("mallory"), autocommit=True) as session:
        session.prepare_threshold = None
        for _ in range(ROUNDS):
            until_it_passes(session)
            for _ in range(5):
                session.execute(READ)  # known to the kernel by now
            stage.keeper.execute(tie)
            refused = is_refused(session)
            stage.keeper.execute("ALTER TABLE attack.copy NO INHERIT hr.salaries")
            assert refused
