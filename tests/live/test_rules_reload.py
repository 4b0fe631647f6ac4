"""Rules are exchanged under a running guard: at once for all, and never half."""

import os
import signal
import time

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

READ = "SELECT id FROM shop.orders WHERE id = 1"
WITHIN_SECONDS = 5
PROMISED = [f"promise-{n}" for n in range(30)]


def rules(table: str, ids: list[str] = PROMISED) -> str:
    """Many rules of one kind: what reads ``table`` is refused by all of them or by none."""
    return "rules:\n" + "".join(
        f"  - id: {each}\n    title: T\n    severity: low\n    action: deny\n"
        f"    when: \"'{table}' in statement.reads\"\n"
        for each in ids
    )


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as running:
        prepare(running)
        yield running


@pytest.fixture
def running(cluster, tmp_path):
    (tmp_path / "rules.yaml").write_text(rules("shop.nothing"))
    config = {"agent": {"guard": {"mode": "enforce"}, "rules": {"packs": [str(tmp_path)]}}}
    with Running(cluster, config) as up:
        up.rules = tmp_path / "rules.yaml"
        yield up


def replace(file, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    os.replace(part, file)


def refused(connection, text: str = READ) -> bool:
    try:
        connection.execute(text)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def degraded(running) -> str:
    return running.pgwarden("agents", "--json").stdout


def changes(running) -> list[dict]:
    return running.sql("SELECT * FROM rules_changes ORDER BY occurred_at")


def test_what_the_kernel_let_pass_is_refused_under_the_new_rules_every_time(running):
    with running.cluster.connect(user="bot") as connection:
        assert not any(refused(connection) for _ in range(20))
        replace(running.rules, rules("shop.orders"))
        deadline = time.monotonic() + WITHIN_SECONDS
        answers = []
        while time.monotonic() < deadline and not any(answers[-20:]):
            answers.append(refused(connection))
        assert answers[-1], "not refused within the promised time"
        assert all(refused(connection) for _ in range(50))
        replace(running.rules, rules("shop.nothing"))
        running.wait(lambda: not refused(connection), "allowed again", WITHIN_SECONDS)
        assert not any(refused(connection) for _ in range(50))
    running.wait(lambda: len(changes(running)) == 3, "three changes on record")
    started, second, third = changes(running)
    assert started["digest"] == second["previous"] == third["digest"]
    assert {row["rules"] for row in (started, second, third)} == {len(PROMISED)}
    late = "SELECT * FROM verdicts WHERE outcome = 'too_late'"
    assert running.sql(late) == []


def test_a_broken_file_keeps_the_old_rules_and_is_told_until_it_is_mended(running):
    with running.cluster.connect(user="bot") as connection:
        replace(running.rules, rules("shop.orders"))
        running.wait(lambda: refused(connection), "refused", WITHIN_SECONDS)
        replace(running.rules, rules("shop.nothing") + "  - id: [\n")
        running.wait(lambda: "rules.yaml:" in degraded(running), "the alarm is visible")
        assert running.metrics(running.agent_port)['pgwarden_rules_broken{source="files"}'] == 1
        assert all(refused(connection) for _ in range(20))
        replace(running.rules, rules("shop.nothing"))
        running.wait(lambda: "rules.yaml" not in degraded(running), "the alarm is gone")
        assert running.metrics(running.agent_port)['pgwarden_rules_broken{source="files"}'] == 0
        assert not refused(connection)
    (row,) = running.wait_sql("SELECT * FROM rules_changes WHERE outcome = 'refused'")
    assert "rules.yaml:" in row["problem"]


def test_no_statement_is_judged_by_half_a_set_while_sets_are_exchanged(running):
    """Two sets refuse both tables, each by rules of its own: whoever mixed them would let one
    pass, or refuse by a rule of neither."""
    both = "statement.reads.exists(r, r in ['shop.orders', 'shop.prices'])"
    sets = [
        rules("x", [f"{name}-{n}" for n in range(30)]).replace("'x' in statement.reads", both)
        for name in ("even", "odd")
    ]
    replace(running.rules, sets[0])
    with running.cluster.connect(user="bot") as connection:
        running.wait(lambda: refused(connection), "refused", WITHIN_SECONDS)
        until, turn, swap_at = time.monotonic() + 8, 0, 0.0
        while time.monotonic() < until:
            if time.monotonic() >= swap_at:
                turn, swap_at = turn + 1, time.monotonic() + 1
                replace(running.rules, sets[turn % 2])
                agent = running.child("agent")
                os.kill(agent, signal.SIGHUP)
            assert refused(connection)
            assert refused(connection, "SELECT id FROM shop.prices")
    assert len(changes(running)) >= 4
    assert running.wait_sql("SELECT DISTINCT rule_id FROM verdicts WHERE rule_id LIKE 'odd%'")
    assert running.sql("SELECT 1 FROM verdicts WHERE outcome <> 'prevented'") == []
