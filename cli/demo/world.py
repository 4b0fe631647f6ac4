"""The demo's shop: who is there, what they may do, what pgwarden is told about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import yaml

from agent.catalog.rights import OUR_ROLE, grants
from cli.demo.cluster import PostgresCluster

DATABASE = "shop"
SERVICE, ANALYST, DBA, AI_AGENT = "orders_api", "alice", "bob", "assistant"

ROLES = """
CREATE ROLE shop_owner NOLOGIN;
CREATE ROLE analyst NOLOGIN;
CREATE ROLE orders_api LOGIN;
CREATE ROLE alice LOGIN IN ROLE analyst;
CREATE ROLE bob LOGIN SUPERUSER;
-- The usual story: the AI agent was given the owner's role so that "it just works".
CREATE ROLE assistant LOGIN IN ROLE shop_owner;
CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor;
"""

SCHEMA = """
CREATE SCHEMA shop AUTHORIZATION shop_owner;
CREATE SCHEMA hr;
SET ROLE shop_owner;
CREATE TABLE shop.products (id int PRIMARY KEY, name text, stock int, price numeric);
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, email text);
CREATE TABLE shop.orders (id bigserial PRIMARY KEY, product int, customer int, at timestamptz);
INSERT INTO shop.products SELECT i, 'product ' || i, 1000000, i FROM generate_series(1, 200) i;
INSERT INTO shop.customers
  SELECT i, 'customer ' || i, 'c' || i || '@example.com' FROM generate_series(1, 1000) i;
GRANT USAGE ON SCHEMA shop TO orders_api, analyst;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA shop TO orders_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO orders_api;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO analyst;
RESET ROLE;
CREATE TABLE hr.salaries (person text PRIMARY KEY, amount numeric);
INSERT INTO hr.salaries SELECT 'person ' || i, 1000 * i FROM generate_series(1, 50) i;
GRANT USAGE ON SCHEMA hr TO shop_owner, analyst;
GRANT SELECT ON hr.salaries TO shop_owner;
"""

SERVICE_SCRIPT = """
\\set product random(1, 200)
\\set customer random(1, 1000)
SELECT name, stock, price FROM shop.products WHERE id = :product;
INSERT INTO shop.orders (product, customer, at) VALUES (:product, :customer, now());
UPDATE shop.products SET stock = stock - 1 WHERE id = :product;
"""


def build(cluster: PostgresCluster) -> None:
    """Roles, database and tables, as the superuser of a cluster that is ours alone."""
    with cluster.connect() as connection:
        _run(connection, ROLES)
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with cluster.connect(dbname=DATABASE) as connection:
        _run(connection, SCHEMA)
        _run(connection, "\n".join(grants(OUR_ROLE, cluster.major)[1:]))


def _run(connection: psycopg.Connection[Any], script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement.encode())


def configuration(
    cluster: PostgresCluster, folder: Path, webhook_url: str, agent_port: int, collector_port: int
) -> dict[str, Any]:
    """Enforcing, with short learning times: a demo has a minute, a real host has weeks."""
    people = {"kind": "human", "confidence": 0.95}
    return {
        "agent": {
            "name": "demo-host",
            "state_dir": str(folder / "agent"),
            "collector": f"unix:{folder}/collector.sock",
            "metrics": {"host": "127.0.0.1", "port": agent_port},
            "guard": {"mode": "enforce", "contact": "dba@example.com"},
            "only_configured_clusters": True,
            "clusters": [
                {
                    "port": cluster.port,
                    "data_directory": str(cluster.data),
                    "name": "demo",
                    "dsn": cluster.dsn(user="pgwarden", dbname=DATABASE),
                }
            ],
            "catalog": {"interval_seconds": 5},
            "identities": [
                {"kind": "service", "name": "orders-api", "user": SERVICE},
                {"kind": "ai_agent", "name": "shopping-assistant", "user": AI_AGENT},
                {"name": "Alice", "user": ANALYST, **people},
                {"name": "Bob", "user": DBA, **people},
            ],
        },
        "collector": {
            "data_dir": str(folder / "collector"),
            "listen": [f"unix:{folder}/collector.sock"],
            "metrics": {"host": "127.0.0.1", "port": collector_port},
            "analytics": {
                # A demo has no days: what is usual is learnt from stretches of five seconds, and
                # with so little history nothing is very unlikely.
                "alerts_per_day_per_100_identities": 20,
                "least_bits": 0.8,
                "maintenance": [{"because": "its own snapshots", "identity": "pgwarden"}],
                "first_act": {"day_seconds": 5},
                "first_seen": {"day_seconds": 5},
                "new_shape": {"day_seconds": 5},
                "volume": {"day_seconds": 5, "window_seconds": 1},
            },
            "alerts": {
                "min_severity": "medium",
                "receivers": [{"type": "webhook", "name": "demo", "url": webhook_url}],
            },
        },
    }


def write_configuration(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
