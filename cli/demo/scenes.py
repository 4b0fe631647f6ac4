"""What happens in the demo, one scene a function; each says what it proved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console

from cli.demo.cluster import PostgresCluster
from cli.demo.follow import Follower, Row
from cli.demo.receiver import Receiver
from cli.demo.workload import Assistant, connections_of, psql
from cli.demo.world import AI_AGENT, ANALYST, DBA

WAIT_SECONDS = 15.0
LEARN_SECONDS = 8.0


@dataclass
class Stage:
    """What the scenes play on."""

    cluster: PostgresCluster
    follower: Follower
    receiver: Receiver
    assistant: Assistant
    console: Console
    kill: Callable[[int], str]
    """``pgwarden kill PID``; what it printed."""
    failures: list[str] = field(default_factory=list)

    def title(self, text: str) -> None:
        self.console.rule(f"[bold]{text}[/bold]", align="left")

    def check(self, good: object, proved: str) -> None:
        if good:
            self.console.print(f"  ✓ {proved}", style="bold green", markup=False)
        else:
            self.failures.append(proved)
            self.console.print(f"  ✗ not seen: {proved}", style="bold red", markup=False)


def play(stage: Stage) -> None:
    for scene in (everyday, drop_refused, delete_refused, drift, anomaly, terminated, paged):
        scene(stage)


def everyday(stage: Stage) -> None:
    stage.title("Everyday work: a service (pgbench), a person (psql), an AI agent (psycopg)")
    psql(
        stage.cluster,
        ANALYST,
        "SELECT p.name, count(*) FROM shop.orders o JOIN shop.products p ON p.id = o.product "
        "GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
    )
    # Not a wait for something to be ready: the first-seen detector learns what is usual.
    time.sleep(LEARN_SECONDS)
    row = stage.follower.wait_for(
        "statement",
        lambda r: r["user_name"] == ANALYST and "shop.orders" in (r["reads"] or []),
        WAIT_SECONDS,
    )
    stage.check(row, "Alice's join is on record: who, from where, what it touched")


def drop_refused(stage: Stage) -> None:
    stage.title("The AI agent, who has the owner's role, tries DROP TABLE through psql")
    result = psql(stage.cluster, AI_AGENT, "DROP /* tidy up */ TABLE shop.orders")
    stage.console.print(f"  psql: {result.stderr.strip()}", style="red", markup=False)
    stage.check(
        "42501" in result.stderr or "permission denied" in result.stderr,
        "refused before execution, with the reason in the client",
    )
    there = psql(stage.cluster, DBA, "SELECT count(*) FROM shop.orders")
    stage.check(there.returncode == 0, f"shop.orders is still there ({there.stdout.strip()} rows)")


def delete_refused(stage: Stage) -> None:
    stage.title("... and a DELETE without WHERE over its own connection (psycopg)")
    answer = stage.assistant.tries(
        "WITH gone AS (DELETE FROM shop.customers RETURNING 1) TABLE gone"
    )
    stage.console.print(f"  psycopg: {answer}", style="red", markup=False)
    stage.check(answer.startswith("InsufficientPrivilege"), "refused inside a CTE as well")
    there = psql(stage.cluster, DBA, "SELECT count(*) FROM shop.customers")
    stage.check(there.stdout.strip() == "1000", "all 1000 customers are still there")


def drift(stage: Stage) -> None:
    stage.title("Bob changes a setting and grants a privilege")
    psql(stage.cluster, DBA, "ALTER SYSTEM SET work_mem = '64MB'")
    psql(stage.cluster, DBA, "SELECT pg_reload_conf()")
    psql(stage.cluster, DBA, "GRANT SELECT ON hr.salaries TO analyst")
    for name, what in (("work_mem", "the setting"), ("hr.salaries", "the GRANT")):
        row = stage.follower.wait_for("drift", _about(name), WAIT_SECONDS)
        stage.check(row, f"{what} is drift from the baseline, by {row['actor'] if row else '?'}")


def _about(name: str) -> Callable[[Row], bool]:
    return lambda row: name in row["name"]


def anomaly(stage: Stage) -> None:
    stage.title("The AI agent reads salaries, for the first time")
    stage.assistant.tries("SELECT person, amount FROM hr.salaries WHERE amount > 40000 LIMIT 10")
    row = stage.follower.wait_for(
        "finding",
        lambda r: r["kind"] == "anomaly" and "hr.salaries" in (r["object"] + r["sentence"]),
        WAIT_SECONDS,
    )
    stage.check(row, "an unusual read is an anomaly")


def terminated(stage: Stage) -> None:
    stage.title("Its session is ended")
    answer = stage.kill(stage.assistant.pid)
    stage.console.print(
        f"  $ pgwarden kill {stage.assistant.pid} --reason 'reads salaries'\n  {answer}",
        markup=False,
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while (alive := connections_of(stage.cluster, stage.assistant.pid)) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    stage.check(not alive, "the backend is gone, and only that one")


def paged(stage: Stage) -> None:
    stage.title("Someone was told")
    deadline = time.monotonic() + WAIT_SECONDS
    while not stage.receiver.received and time.monotonic() < deadline:
        time.sleep(0.1)
    stage.check(
        stage.receiver.received,
        f"{len(stage.receiver.received)} alerts were delivered to the webhook",
    )
