"""A small server, as snapshots would tell of it."""

from __future__ import annotations

from collector.drift.baseline import Fact
from model.catalog import CatalogKind as Kind


def facts(**values):
    return {name: Fact(value, "") for name, value in values.items()}


def named(items):
    return {
        name: Fact(*value) if isinstance(value, tuple) else Fact(value, "")
        for name, value in items.items()
    }


ORDER = "local all all > local all all #2 > host all all 10.0.0.0/255.0.0.0"
SALARY = (
    "owner: owner\nkind: table\nrow security: forced\ncolumn id: bigint not null\n"
    "column amount: numeric(10,2)\nconstraint salary_pkey: PRIMARY KEY (id)\n"
    "index by_amount: CREATE INDEX by_amount ON hr.salary USING btree (amount)"
)
SERVER = {
    (Kind.SETTING, ""): named(
        {
            "fsync": ("on", "configuration file /data/postgresql.conf:12"),
            "work_mem": ("8MB", "configuration file /data/postgresql.auto.conf:3"),
            "jit": ("on", "default"),
            "log_statement@analyst": ("all", "of a role"),
            "search_path@shop": ('"$user", hr', "of a database"),
        }
    ),
    (Kind.HBA, ""): named(
        {
            "(order)": ORDER,
            "local all all": ("peer", "/data/pg_hba.conf:1"),
            "local all all #2": ("md5", "/data/pg_hba.conf:2"),
            "host all all 10.0.0.0/255.0.0.0": ("scram-sha-256", "/data/pg_hba.conf:3"),
        }
    ),
    (Kind.ROLE, ""): named(
        {
            "owner": "superuser=false login=true",
            "analyst": "superuser=false login=true",
            "pg_monitor": "superuser=false login=false",
            "postgres": "superuser=true login=true",
        }
    ),
    (Kind.MEMBERSHIP, ""): named({"owner<-analyst": "member"}),
    (Kind.PRIVILEGE, ""): named({"database:shop<-PUBLIC": "CONNECT, TEMPORARY"}),
    (Kind.SCHEMA, "shop"): named({"hr": "owner: owner"}),
    (Kind.TABLE, "shop"): named({"hr.salary": SALARY}),
    (Kind.POLICY, "shop"): named(
        {"hr.salary.own": "command: all\nroles: PUBLIC\nkind: permissive\nusing: (id > 0)"}
    ),
    (Kind.PRIVILEGE, "shop"): named({"table:hr.salary<-analyst": "SELECT"}),
    (Kind.FUNCTION, "shop"): {},
    (Kind.PUBLICATION, "shop"): named({"p": "operations: insert"}),
}
"""By kind and database."""


def changed(server, kind, database, items):
    """``server`` with ``items`` (name -> value, or None: gone) of one kind."""
    merged = {**server.get((kind, database), {})}
    for name, value in items.items():
        if value is None:
            merged.pop(name)
        else:
            merged[name] = Fact(*value) if isinstance(value, tuple) else Fact(value, "")
    return {**server, (kind, database): merged}
