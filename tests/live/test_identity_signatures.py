"""Every signature of a driver or tool, on a real connection that says what the tool says."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from agent.identity.signatures import (
    ANCESTOR_SIGNATURES,
    PROGRAM_SIGNATURES,
    SIGNATURES,
)
from model.session import IdentityKind
from tests.conformance.servers import NODE_MODULES, fetch
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.private_server import open_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
LOGIN = "someone"
"""Whose name says nothing."""
HUMAN, SERVICE, AI = IdentityKind.HUMAN, IdentityKind.SERVICE, IdentityKind.AI_AGENT

NAMES = {
    AI: (
        "claude-code", "Claude", "Cursor", "GitHub Copilot", "ChatGPT connector", "openai-agents",
        "codex", "gemini-cli", "anthropic-sdk", "windsurf", "aider", "cline", "roo-code", "goose",
        "opencode", "devin", "langchain", "langgraph", "langsmith", "llama-index", "llama_index",
        "autogen", "crewai", "smolagents", "vanna", "pydantic-ai", "semantic-kernel", "haystack",
        "dspy", "postgres-mcp", "mcp-server-postgres", "Model Context Protocol", "llm", "ai-agent",
    ),
    HUMAN: (
        "psql", "pgcli", "pgAdmin 4 - DB:shop", "DBeaver 24.1.0 - Main <shop>",
        "DataGrip 2024.1.4", "IntelliJ IDEA 2024.1.4", "PyCharm 2024.1", "GoLand 2024.1",
        "PhpStorm 2024.1", "RubyMine 2024.1", "TablePlus", "Postico 2.0", "Navicat", "HeidiSQL",
        "Beekeeper Studio", "DbVisualizer 24.1", "SQL Workbench/J Build 131", "Toad Edge",
        "SQuirreL SQL", "Azure Data Studio", "azdata-PgSQL-Query", "vscode-pgsql", "pg_activity",
        "pgcenter",
    ),
    SERVICE: (
        "pgbench", "pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pg_receivewal",
        "walreceiver", "pg_rewind", "pgBackRest [backup]", "barman_receive_wal", "wal-g",
        "Patroni", "repmgr", "stolon", "pg_auto_failover monitor", "pgbouncer", "odyssey",
        "pgcat", "pgpool", "postgres_exporter", "pganalyze-collector", "datadog-agent",
        "telegraf", "zabbix_agent2", "newrelic-infra", "vault", "boundary", "teleport",
        "PostgreSQL JDBC Driver", "HikariCP", "hikari", "Npgsql", "r2dbc-postgresql", "psycopg",
        "psycopg2", "psycopg3", "asyncpg", "node-postgres", "pgx", "sqlx", "libpq", "SQLAlchemy",
        "django", "flask", "fastapi", "rails", "puma: cluster worker 0: shop", "sidekiq 7.2",
        "celery", "gunicorn", "uwsgi", "prisma", "Hibernate", "spring", "typeorm", "sequelize",
        "knex", "drizzle", "gorm", "Entity Framework Core", "EntityFramework", "activerecord",
        "laravel", "Flyway by Redgate", "liquibase", "alembic", "sqitch", "dbmate", "airflow",
        "dbt", "dagster", "Debezium Streaming", "fivetran", "airbyte", "Metabase v0.50.3",
        "grafana", "superset", "redash", "Tableau", "looker", "Power BI",
    ),
}  # fmt: skip
"""What tools send as application_name, by the kind of who uses them."""

PROGRAMS = {
    HUMAN: (
        "psql", "pgcli", "pg_activity", "pgcenter", "pgadmin4", "dbeaver", "dbeaver-ce",
        "datagrip", "tableplus", "navicat", "beekeeper-studio", "azuredatastudio", "idea",
        "pycharm", "goland", "phpstorm", "rubymine", "webstorm", "code", "codium",
    ),
    SERVICE: (
        "pgbench", "pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pg_receivewal",
        "pg_rewind", "pgbackrest", "barman", "wal-g", "walg", "patroni", "repmgr", "repmgrd",
        "stolon-keeper", "pg_autoctl", "postgres_exporter", "telegraf", "zabbix_agentd",
        "zabbix_agent", "otelcol", "otelcol-contrib", "vector", "datadog-agent", "pgwarden",
        "postgres", "gunicorn", "uwsgi", "uvicorn", "puma", "sidekiq", "celery", "php-fpm8.2",
        "httpd", "apache2", "nginx", "unicorn", "grafana", "grafana-server", "metabase",
        "superset", "airflow", "dbt", "debezium", "flyway", "liquibase", "alembic",
    ),
}  # fmt: skip
ANCESTORS = {
    AI: (
        "claude", "cursor", "codex", "copilot", "copilot-agent", "windsurf", "aider", "goose",
        "opencode", "gemini", "devin", "openhands",
    ),
    SERVICE: ("cron", "crond", "anacron", "atd"),
    HUMAN: (
        "sshd", "sshd-session", "login", "tmux", "screen", "gnome-terminal-", "konsole", "xterm",
        "alacritty", "kitty",
    ),
}  # fmt: skip
POOLERS = ("pgbouncer", "odyssey", "pgcat", "pgpool")
AT_ONCE = 5
NOT_STARTED_HERE = ("systemd-cron", "tmux: server")
"""No names of a file that a shell could be copied to, or longer than the kernel's 15 letters."""


def alternatives(expression):
    """What stands between the outermost bars of a regular expression."""
    inner = re.search(r"\(\?:(.*)\)(?:\(\?!\[a-z\]\)|\[-\.)", expression)[1]
    depth, parts = 0, [""]
    for letter in inner:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def pairs(names):
    return [(kind, name) for kind, all_of in names.items() for name in all_of]


@pytest.mark.parametrize(
    ("signatures", "names"),
    [(SIGNATURES, NAMES), (PROGRAM_SIGNATURES, PROGRAMS), (ANCESTOR_SIGNATURES, ANCESTORS)],
    ids=["names", "programs", "ancestors"],
)
def test_no_word_of_a_signature_is_left_out_here(signatures, names):
    known = (*sum(names.values(), ()), *POOLERS, *NOT_STARTED_HERE)
    for signature in signatures:
        for word in alternatives(signature.pattern.pattern):
            expression = re.compile(word, re.IGNORECASE)
            assert any(map(expression.search, known)), word


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as started:
        prepare(started)
        started.psql(f"CREATE ROLE {LOGIN} LOGIN REPLICATION IN ROLE pg_read_all_data")
        yield started


def of_sessions(up, where, wanted):
    """By application_name, kind and evidence of so many sessions."""
    query = (
        "SELECT application_name AS name, arg_max(identity_kind, seen_at) AS kind, "
        "arg_max(identity_evidence, seen_at) AS why "
        f"FROM sessions WHERE user_name = '{LOGIN}' AND {where} GROUP BY application_name"
    )
    rows = up.wait(
        lambda: found if len(found := up.sql(query)) >= wanted else None, f"{wanted} sessions", 40
    )
    return {row["name"]: (row["kind"], row["why"]) for row in rows}


@pytest.fixture(scope="module")
def by_name(cluster):
    """Nothing but what the client sends: its process is not looked at."""
    with Running(cluster, {"agent": {"identity": {"processes": False}}}) as up:
        yield up


def test_what_a_client_calls_itself_tells_its_kind(by_name, cluster):
    told = pairs(NAMES)
    for _, name in told:
        with psycopg.connect(
            cluster.dsn(user=LOGIN, application_name=name), autocommit=True
        ) as connection:
            connection.execute("SELECT 1")
    seen = of_sessions(by_name, "true", len(told))
    wrong = {name: seen[name] for kind, name in told if seen[name][0] != kind}
    assert wrong == {}
    for name, (_, why) in seen.items():
        assert f"application_name {name!r} is typical of" in why


REAL = {
    "psql": (HUMAN, ["psql", "-XAtc", "SELECT 1"]),
    "pgbench": (SERVICE, ["pgbench", "-n", "-t", "1", "-f", "{script}"]),
    "pg_dump": (SERVICE, ["pg_dump", "--schema-only"]),
    "pg_basebackup": (
        SERVICE,
        ["pg_basebackup", "-D", "{folder}/base", "-X", "none", "-c", "fast"],
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_client_says_so(cluster, tmp_path, name):
    kind, command = REAL[name]
    script = tmp_path / "script"
    script.write_text("SELECT 1;\n")
    words = [word.format(script=script, folder=tmp_path) for word in command]
    environment = os.environ | {
        "PGHOST": str(cluster.sockets), "PGPORT": str(cluster.port), "PGUSER": LOGIN,
        "PGDATABASE": "postgres",
    }  # fmt: skip
    environment.pop("PGAPPNAME", None)
    if name != "pg_basebackup":
        environment["PGDATABASE"] = "postgres"
    with Running(cluster, {"agent": {"identity": {"processes": False}}}) as up:
        program = str(server_folder() / "bin" / words[0])
        done = subprocess.run(
            [program, *words[1:]], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        seen = of_sessions(up, f"application_name LIKE '{name}%'", 1)
    assert {kind_of for kind_of, _ in seen.values()} == {kind}


@pytest.fixture(scope="module")
def by_process(cluster):
    with Running(cluster) as up:
        yield up


def play(cluster, commands):
    """Each stays until its client was looked at, for which the agent takes a fifth of a core."""
    environment = os.environ | {
        "PGHOST": str(cluster.sockets), "PGPORT": str(cluster.port), "PGUSER": LOGIN,
        "PGDATABASE": "postgres",
    }  # fmt: skip

    def run(item):
        name, words = item
        subprocess.run(
            words, env=environment | {"PGAPPNAME": f"by {name}"}, check=True, capture_output=True
        )

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(run, commands.items()))


ASKED = "SELECT 1; SELECT pg_sleep(2)"


def test_the_name_of_the_program_tells_its_kind_whatever_it_says(by_process, cluster):
    told = pairs(PROGRAMS)
    psql = server_folder() / "bin" / "psql"
    with open_folder() as folder:
        commands = {}
        for _, name in told:
            shutil.copy(psql, folder / name)
            commands[name] = [str(folder / name), "-XAtc", ASKED]
        play(cluster, commands)
    seen = of_sessions(by_process, "identity_evidence LIKE '%runs %'", len(told))
    wrong = {name: seen[f"by {name}"] for kind, name in told if seen[f"by {name}"][0] != kind}
    assert wrong == {}


def test_who_started_the_program_is_evidence(by_process, cluster):
    """Whatever the program is: this one has a name that says nothing."""
    told = pairs(ANCESTORS)
    with open_folder() as folder:
        client = folder / "client"
        shutil.copy(server_folder() / "bin" / "psql", client)
        commands = {}
        for _, name in told:
            shutil.copy("/bin/bash", folder / name)
            words = f"{client} -XAtc '{ASKED}'; exit"
            commands[f"under {name}"] = [str(folder / name), "-c", words]
        play(cluster, commands)
    where = "application_name LIKE 'by under %' AND identity_evidence LIKE '%started under%'"
    seen = of_sessions(by_process, where, len(told))
    for kind, name in told:
        found, why = seen[f"by under {name}"]
        assert found == kind, (name, why)
        assert f"was started under {name!r}" in why


def test_drivers_that_say_nothing_are_known_by_their_program(by_process, cluster):
    """asyncpg and node-postgres send no application_name of their own."""
    fetch()
    node = (
        f"const {{ Client }} = require('{NODE_MODULES}/pg');"
        "(async () => { const c = new Client(); await c.connect();"
        "await c.query(\"SET application_name = 'by node'\");"
        "await c.query('SELECT pg_sleep(1.5)'); await c.end(); })()"
    )
    asyncpg = (
        "import asyncio, asyncpg\n"
        "async def main():\n"
        "    c = await asyncpg.connect()\n"
        "    await c.execute(\"SET application_name = 'by asyncpg'\")\n"
        "    await c.execute('SELECT pg_sleep(1.5)')\n"
        "    await c.close()\n"
        "asyncio.run(main())\n"
    )
    python = shutil.which("python", path=os.path.join(os.sys.prefix, "bin"))
    with open_folder() as folder:
        (folder / "shop-worker.py").write_text(asyncpg)
        (folder / "orders.js").write_text(node)
        play(
            cluster,
            {
                "asyncpg": [python, str(folder / "shop-worker.py")],
                "node": ["node", str(folder / "orders.js")],
            },
        )
    rows = by_process.wait_sql(
        "SELECT DISTINCT application_name AS name, origin FROM sessions "
        "WHERE application_name IN ('by asyncpg', 'by node') AND origin LIKE 'process%'"
    )
    told = {row["name"]: row["origin"] for row in rows}
    assert "shop-worker.py" in told["by asyncpg"]
    assert "orders.js" in told["by node"]
