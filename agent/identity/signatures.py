"""What well-known programs call themselves: a table, to be read and added to.

Confidence is how far the name alone convinces: psql is mostly a person, but scripts use it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.session import IdentityKind

HUMAN, SERVICE, AI = IdentityKind.HUMAN, IdentityKind.SERVICE, IdentityKind.AI_AGENT


@dataclass(frozen=True, slots=True)
class Signature:
    pattern: re.Pattern[str]
    kind: IdentityKind
    what: str
    confidence: float


def _word(pattern: str, kind: IdentityKind, what: str, confidence: float) -> Signature:
    """``pattern`` as a word of its own: ``mcp`` in ``shop-mcp-1``, not in ``mcpherson``."""
    expression = re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.IGNORECASE)
    return Signature(expression, kind, what, confidence)


def _whole(pattern: str, kind: IdentityKind, what: str, confidence: float) -> Signature:
    """``pattern`` as the whole name of a program, versions and endings apart: ``psql`` for
    ``psql``, ``pgadmin4`` for pgAdmin, but nothing for ``psql_backup.sh``."""
    expression = re.compile(rf"(?:{pattern})[-.\d]*(?:\.(?:exe|bin|py|sh))?", re.IGNORECASE)
    return Signature(expression, kind, what, confidence)


SIGNATURES = (
    _word("claude(?:[-_ ]?code)?", AI, "Claude", 0.7),
    _word("cursor", AI, "Cursor", 0.6),
    _word("copilot", AI, "Copilot", 0.7),
    _word("chatgpt|openai|codex", AI, "OpenAI's assistants", 0.7),
    _word("gemini", AI, "Gemini", 0.5),
    _word("anthropic", AI, "Anthropic's assistants", 0.7),
    _word("windsurf|aider|cline|roo[-_ ]?code|goose|opencode|devin", AI, "a coding assistant", 0.5),
    _word("langchain|langgraph|langsmith", AI, "LangChain", 0.7),
    _word("llama[-_ ]?index", AI, "LlamaIndex", 0.7),
    _word("autogen|crewai|smolagents|vanna", AI, "an agent framework", 0.6),
    _word("pydantic[-_ ]?ai|semantic[-_ ]?kernel|haystack|dspy", AI, "an agent framework", 0.6),
    _word("mcp|mcp[-_ ]?server|model[-_ ]?context[-_ ]?protocol", AI, "an MCP server", 0.6),
    _word("llm|ai[-_ ]?(?:agent|assistant|bot)", AI, "an AI agent", 0.6),
    _word("psql", HUMAN, "psql", 0.6),
    _word("pgcli", HUMAN, "pgcli", 0.7),
    _word("pgadmin", HUMAN, "pgAdmin", 0.7),
    _word("dbeaver", HUMAN, "DBeaver", 0.7),
    _word("datagrip|intellij idea|pycharm|goland|phpstorm|rubymine", HUMAN, "a JetBrains IDE", 0.7),
    _word("tableplus", HUMAN, "TablePlus", 0.7),
    _word("postico", HUMAN, "Postico", 0.7),
    _word("navicat", HUMAN, "Navicat", 0.7),
    _word("heidisql", HUMAN, "HeidiSQL", 0.7),
    _word("beekeeper", HUMAN, "Beekeeper Studio", 0.7),
    _word("dbvisualizer|sql workbench|toad|squirrel", HUMAN, "a desktop SQL client", 0.7),
    _word("azure ?data ?studio|azdata|vscode[-_ ]?pgsql", HUMAN, "a Microsoft SQL client", 0.7),
    _word("pg_activity|pgcenter", HUMAN, "a monitoring terminal", 0.6),
    _word("pgbench", SERVICE, "pgbench", 0.7),
    _word("pg_dump|pg_dumpall|pg_restore", SERVICE, "PostgreSQL's dump tools", 0.6),
    _word("pg_basebackup|pg_receivewal|walreceiver|pg_rewind", SERVICE, "replication", 0.7),
    _word("pgbackrest|barman|wal-g", SERVICE, "a backup tool", 0.7),
    _word("patroni|repmgr|stolon|pg_auto_failover", SERVICE, "a failover manager", 0.7),
    _word("pgbouncer|odyssey|pgcat|pgpool", SERVICE, "a connection pool", 0.6),
    _word(
        "postgres_exporter|pganalyze|datadog|telegraf|zabbix|newrelic", SERVICE, "monitoring", 0.7
    ),
    _word("vault|boundary|teleport", SERVICE, "an access broker", 0.5),
    _word("postgresql jdbc driver|hikari(?:cp)?|npgsql|r2dbc", SERVICE, "a driver's default", 0.5),
    _word(
        "psycopg[23]?|asyncpg|node[-_]?postgres|pgx|sqlx|libpq", SERVICE, "a driver's default", 0.5
    ),
    _word(
        "sqlalchemy|django|flask|fastapi|rails|puma|sidekiq|celery|gunicorn|uwsgi|prisma|hibernate"
        "|spring|typeorm|sequelize|knex|drizzle|gorm|entity ?framework|activerecord|laravel",
        SERVICE,
        "a framework",
        0.6,
    ),
    _word("flyway|liquibase|alembic|sqitch|dbmate", SERVICE, "a migration tool", 0.7),
    _word("airflow|dbt|dagster|debezium|fivetran|airbyte", SERVICE, "a data pipeline", 0.7),
    _word("metabase|grafana|superset|redash|tableau|looker|power ?bi", SERVICE, "a dashboard", 0.6),
)
"""By application_name; the first of its kind counts."""

USER_SIGNATURES = (
    _word("ai|llm|mcp|ai_?agent|copilot|assistant", AI, "an AI agent's login", 0.4),
    _word("svc|service|app|application|etl|job|worker|cron|bot", SERVICE, "a service's login", 0.3),
)
"""By the name of the login."""

PROGRAM_SIGNATURES = (
    _whole("psql", HUMAN, "psql", 0.7),
    _whole("pgcli|pg_activity|pgcenter", HUMAN, "a terminal client", 0.8),
    _whole("pgadmin|dbeaver|dbeaver-ce|datagrip|tableplus|navicat|beekeeper-studio|azuredatastudio",
           HUMAN, "a desktop SQL client", 0.85),
    _whole("idea|pycharm|goland|phpstorm|rubymine|webstorm|code|codium", HUMAN, "an editor", 0.6),
    _whole("pgbench", SERVICE, "pgbench", 0.8),
    _whole("pg_dump|pg_dumpall|pg_restore|pg_basebackup|pg_receivewal|pg_rewind|pgbackrest|barman"
           "|wal-g|walg", SERVICE, "a backup tool", 0.8),
    _whole("patroni|repmgrd?|stolon-keeper|pg_autoctl", SERVICE, "a failover manager", 0.8),
    _whole("postgres_exporter|telegraf|zabbix_agentd?|otelcol(?:-contrib)?|vector|datadog-agent"
           "|pgwarden", SERVICE, "monitoring", 0.8),
    _whole("pgbouncer|odyssey|pgcat|pgpool", SERVICE, "a connection pool", 0.6),
    _whole("postgres", SERVICE, "another PostgreSQL server", 0.7),
    _whole("gunicorn|uwsgi|uvicorn|puma|sidekiq|celery|php-fpm|httpd|apache|nginx|unicorn",
           SERVICE, "an application server", 0.75),
    _whole("grafana(?:-server)?|metabase|superset|airflow|dbt|debezium|flyway|liquibase|alembic",
           SERVICE, "a data tool", 0.75),
)  # fmt: skip
"""By the name of the client's program or script on this host."""

ANCESTOR_SIGNATURES = (
    _whole("claude|cursor|codex|copilot(?:-agent)?|windsurf|aider|goose|opencode|gemini|devin"
           "|openhands", AI, "an AI assistant", 0.8),
    _whole("cron|crond|anacron|atd|systemd-cron", SERVICE, "the scheduler", 0.6),
    _whole("sshd(?:-session)?|login|tmux(?:: server)?|screen|gnome-terminal-|konsole|xterm"
           "|alacritty|kitty", HUMAN, "a login or terminal", 0.5),
)  # fmt: skip
"""By the names of the processes that started the client: psql under an AI assistant is its tool."""

POOLERS = re.compile(r"(?:pgbouncer|odyssey|pgcat|pgpool)[-.\d]*", re.IGNORECASE)
"""By the whole name of a program, or of an application."""
