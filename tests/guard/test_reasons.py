"""The client reads why: on every path the rule, its title, what was recognised, whom to ask and,
as the hint, for which request."""

import json
import os
import re
import subprocess

import psycopg
import pytest

from tests.conformance.clients.node import SCRIPT
from tests.conformance.servers import FETCHED, fetch
from tests.guard.play import guarded
from tests.guard.stage import DATABASE, Stage

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]

SQL = "DELETE FROM shop.flags"
REASON = (
    "permission denied for database shop (blocked by pgwarden: rule unbounded-write: "
    "UPDATE or DELETE without a WHERE that restricts it; recognised DELETE shop.flags; "
    "ask dba@example.com"
)
HINT = re.compile(
    r"Ask dba@example\.com to approve request (\w{10}) \(pgwarden approvals show \1\)\."
)
INSIDE = "SELECT reasons.f()"


@pytest.fixture(scope="module", params=[12, 15, 18])
def stage(request):
    fetch()
    with Stage(request.param) as opened:
        opened.set_up(
            "CREATE SCHEMA reasons; CREATE FUNCTION reasons.f() RETURNS void LANGUAGE plpgsql "
            f"AS 'BEGIN {SQL}; END'"
        )
        with guarded(opened):
            yield opened


@pytest.fixture(autouse=True)
def nothing_is_deleted(stage):
    yield
    assert stage.keeper.execute("SELECT count(*) FROM shop.flags").fetchone() == (2,)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (SQL, REASON),
        (
            f"PREPARE p AS {SQL}; EXECUTE p",
            REASON.replace("DELETE shop.flags", "PREPARE DELETE shop.flags EXECUTE"),
        ),
        (INSIDE, REASON),
    ],
)
def test_psql_shows_it(stage, sql, reason):
    command = ["psql", "-X", "-v", "VERBOSITY=verbose", "-c", sql, stage.conninfo("mallory")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert f"ERROR:  42501: {reason}" in done.stderr
    assert re.search(rf"^HINT:  {HINT.pattern}$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("sql", [SQL, INSIDE])
@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_psycopg_raises_it(stage, sql, prepare):
    with psycopg.connect(stage.conninfo("mallory"), autocommit=True) as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
                connection.execute(sql, prepare=prepare)
            assert raised.value.sqlstate == "42501"
            assert raised.value.diag.message_primary.startswith(REASON)
            assert HINT.fullmatch(raised.value.diag.message_hint)


@pytest.mark.parametrize("sql", [SQL, INSIDE])
@pytest.mark.parametrize("mode", ["simple", "unnamed", "named"])
def test_node_postgres_throws_it(stage, sql, mode):
    where = {"host": "127.0.0.1", "port": stage.server.port, "user": "mallory"}
    plan = {
        "mode": mode,
        "connection": {**where, "database": DATABASE},
        "steps": [{"sql": sql, "params": []}] * 3,
    }
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(plan), capture_output=True, text=True, timeout=60,
        check=True, env=os.environ | {"CONFORMANCE_PACKAGES": f"{FETCHED}/"},
    )  # fmt: skip
    for seen in json.loads(done.stdout):
        assert seen["sqlstate"] == "42501"
        assert seen["message"].startswith(REASON)
        assert HINT.fullmatch(seen["hint"])


@pytest.mark.parametrize("sql", [SQL, INSIDE])
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_prints_it(stage, tmp_path, sql, mode):
    """It prints no SQLSTATE, whatever the error."""
    script = tmp_path / "script.sql"
    script.write_text(f"SELECT 1;\n{sql};\n")
    done = subprocess.run(
        [
            "pgbench", "--no-vacuum", f"--file={script}", f"--protocol={mode}", "--transactions=3",
            stage.conninfo("mallory"),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert REASON in done.stderr
    assert re.search(rf"^HINT:  {HINT.pattern}$", done.stderr, re.MULTILINE)
    assert done.returncode != 0
