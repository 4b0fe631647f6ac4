"""How bad a difference is said to be, and in which words."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Difference
from collector.drift.risk import describe, severity, why
from collector.drift.risks import RISKS
from model.catalog import CatalogKind, DriftChange


def difference(name, desired, observed):
    change = (
        DriftChange.ADDED
        if not desired
        else DriftChange.REMOVED
        if not observed
        else DriftChange.CHANGED
    )
    return Difference(name, change, desired, observed, ("", ""))


DEFINER = "owner: a\nlanguage: sql\nkind: function\nsecurity: definer\nbody: sha256:1"
SAFE = DEFINER.replace("\nbody", "\nset search_path: hr\nbody")
TABLE = "owner: a\nkind: table\nrow security: on\ncolumn id: integer"
CASES = [
    ("setting", "fsync", "on", "off", "critical"),
    ("setting", "full_page_writes", "on", "off", "critical"),
    ("setting", "log_statement", "all", "none", "critical"),
    ("setting", "log_statement", "all", "ddl", "high"),
    ("setting", "log_statement@alice", "", "none", "critical"),
    ("setting", "log_statement", "none", "ddl", "low"),
    ("setting", "log_connections", "off", "on", "low"),
    ("setting", "log_connections", "on", "off", "high"),
    ("setting", "log_connections", "all", "receipt", "high"),
    ("setting", "log_disconnections", "off", "on", "low"),
    ("setting", "logging_collector", "on", "off", "high"),
    ("setting", "log_min_duration_statement", "-1", "5000ms", "low"),
    ("setting", "log_min_duration_statement", "5000ms", "0ms", "low"),
    ("setting", "log_min_duration_statement", "250ms", "5000ms", "high"),
    ("setting", "log_min_duration_sample", "100ms", "-1", "high"),
    ("setting", "log_min_duration_statement@alice", "", "-1", "high"),
    ("setting", "log_destination", "stderr", "csvlog", "high"),
    ("setting", "lo_compat_privileges", "off", "on", "high"),
    ("setting", "unix_socket_permissions", "0770", "0777", "high"),
    ("setting", "unix_socket_permissions", "0777", "0700", "low"),
    ("hba", "host all all 10.0.0.0/8", "scram-sha-256", "ident", "high"),
    ("hba", "local all all", "peer", "ident", "medium"),
    ("setting", "pgaudit.log", "write, ddl", "ddl", "high"),
    ("setting", "pgaudit.log", "write", "none", "critical"),
    ("setting", "pgaudit.log", "write", "all, -all", "critical"),
    ("setting", "pgaudit.log", "none", "", "high"),
    ("hba", "hostssl all all 10.0.0.0/8", "cert", "scram-sha-256", "high"),
    (
        "hba",
        "hostssl all all 10.0.0.0/8",
        "scram-sha-256 clientcert=verify-full",
        "scram-sha-256",
        "high",
    ),
    ("hba", "host all bot 10.0.0.0/8", "reject", "scram-sha-256", "high"),
    ("setting", "shared_preload_libraries", "pgaudit", "pg_stat_statements", "critical"),
    ("setting", "ssl", "on", "off", "critical"),
    ("setting", "ssl_min_protocol_version", "TLSv1.2", "TLSv1", "critical"),
    ("setting", "ssl_min_protocol_version", "TLSv1.3", "TLSv1.2", "high"),
    ("setting", "ssl_ciphers", "HIGH:!aNULL", "HIGH:RC4", "critical"),
    ("setting", "password_encryption", "scram-sha-256", "md5", "critical"),
    ("setting", "scram_iterations", "4096", "1", "high"),
    ("setting", "archive_mode", "on", "off", "high"),
    ("setting", "archive_command", "hidden 1", "(disabled)", "high"),
    ("setting", "work_mem", "4MB", "64MB", "low"),
    ("cast", "text AS hr.money", "", "context: implicit\nway: with function hr.f(text)", "high"),
    ("cast", "text AS hr.money", "", "context: explicit\nway: with function hr.f(text)", "medium"),
    ("cast", "text AS hr.money", "context: explicit", "context: implicit", "high"),
    ("operator", "public.=(text, text)", "", "owner: eve\nfunction: f(text,text)", "high"),
    ("operator", "hr.=(hr.m, hr.m)", "", "owner: eve\nfunction: f(text,text)", "medium"),
    ("operator", "hr.=(hr.m, hr.m)", "function: a(x)", "function: b(x)", "high"),
    (
        "schema",
        "hr",
        "owner: bob",
        "owner: bob\nconversion c: a to b by f, default, owner e",
        "high",
    ),
    ("schema", "pg_catalog", "built-in casts: sha256:1", "built-in casts: sha256:2", "critical"),
    ("language", "c", "", "owner: postgres\ntrusted: yes", "critical"),
    ("language", "pl", "handler: pl_call", "handler: evil", "high"),
    ("hba", "host all all 10.0.0.0/8", "scram-sha-256", "trust", "critical"),
    ("hba", "host all all 0.0.0.0/0", "", "scram-sha-256", "high"),
    ("hba", "hostssl all all ::/::", "", "scram-sha-256", "high"),
    ("hba", "host all all 10.0.0.0/0.0.0.0 #2", "", "scram-sha-256", "high"),
    ("hba", "host all all all", "", "scram-sha-256", "high"),
    ("hba", "local all all", "peer", "scram-sha-256", "medium"),
    ("hba", "host all all fd00::/ffff::", "", "scram-sha-256", "medium"),
    ("function", "hr.f()", SAFE, SAFE.replace(": hr\n", ': "$user", public\n'), "high"),
    ("function", "hr.f()", SAFE, SAFE.replace(": hr\n", ": hr, pg_temp\n"), "medium"),
    (
        "function",
        "hr.f()",
        SAFE.replace(": definer", ": invoker"),
        SAFE.replace(": definer", ": invoker").replace(": hr\n", ": public\n"),
        "medium",
    ),
    ("setting", "archive_command", "hidden 1", "/bin/true", "high"),
    ("setting", "archive_command", "hidden 1", ":", "high"),
    ("hba", "host replication x 10.0.0.1/32", "", "scram-sha-256", "high"),
    ("hba", "host shop x 10.0.0.1/32", "", "scram-sha-256", "medium"),
    ("hba", "host shop x 10.0.0.1/32", "scram-sha-256", "", "low"),
    ("ident", "m root postgres", "", "map", "critical"),
    ("role", "x", "superuser=false login=true", "superuser=true login=true", "critical"),
    ("role", "x", "bypassrls=false", "bypassrls=true", "critical"),
    ("role", "x", "replication=false", "replication=true", "high"),
    ("role", "x", "", "superuser=false login=true", "medium"),
    ("role", "x", "superuser=true login=true", "", "low"),
    ("membership", "pg_write_server_files<-x", "", "member", "critical"),
    ("membership", "pg_monitor<-pgwarden", "member", "", "medium"),
    ("membership", "staff<-pgwarden", "member", "", "low"),
    ("privilege", "function:pg_catalog.pg_hba_file_rules()<-pgwarden", "EXECUTE", "", "medium"),
    ("privilege", "table:pg_catalog.pg_file_settings<-pgwarden", "SELECT", "", "medium"),
    ("privilege", "table:hr.salary<-pgwarden", "SELECT", "", "low"),
    ("privilege", "table:hr.salary<-PUBLIC", "", "SELECT", "high"),
    ("privilege", "table:hr.salary<-PUBLIC", "INSERT, SELECT", "SELECT", "low"),
    ("privilege", "table:hr.salary<-x", "SELECT", "INSERT, SELECT", "medium"),
    ("privilege", "table:hr.salary<-x", "SELECT", "SELECT*", "high"),
    ("privilege", "function:hr.f()<-PUBLIC", "(revoked)", "", "high"),
    ("privilege", "default:functions of etl<-PUBLIC", "(revoked)", "", "high"),
    ("privilege", "default:functions of etl<-PUBLIC", "", "(revoked)", "medium"),
    ("table", "hr.t", TABLE, TABLE.replace("\nrow security: on", ""), "critical"),
    ("table", "hr.t", TABLE, TABLE.replace("owner: a", "owner: b"), "high"),
    ("table", "hr.t", TABLE, TABLE + "\ncolumn b: text", "medium"),
    ("policy", "hr.t.own", "command: all", "", "critical"),
    ("trigger", "hr.t.audit", "enabled: origin", "enabled: disabled", "high"),
    ("event_trigger", "log_ddl", "enabled: origin", "enabled: disabled", "critical"),
    ("function", "hr.f()", "", DEFINER, "critical"),
    ("function", "hr.f()", "", SAFE, "high"),
    ("function", "hr.f()", SAFE, DEFINER, "critical"),
    ("function", "hr.f()", SAFE, SAFE.replace("sha256:1", "sha256:2"), "high"),
    ("extension", "dblink", "", "version: 1.2\ntrusted: no", "critical"),
    ("extension", "postgres_fdw", "", "version: 1.1\ntrusted: no", "high"),
    ("extension", "citext", "", "version: 1.6\ntrusted: yes", "medium"),
    ("publication", "p", "", "owner: a", "high"),
    ("subscription", "s", "", "owner: a", "high"),
    ("slot", "s", "", "kind: physical", "high"),
    ("user_mapping", "remote<-etl", "", "options: sha256:1", "high"),
    ("watched", "public.flags[7]", "enabled: f", "enabled: t", "medium"),
]


@pytest.mark.parametrize(("kind", "name", "desired", "observed", "expected"), CASES)
def test_severity_follows_what_changed(kind, name, desired, observed, expected):
    found = severity(CatalogKind(kind), difference(name, desired, observed), attributed=True)
    assert found.value == expected


def test_what_nobody_did_is_a_step_more_severe():
    d = difference("work_mem", "4MB", "64MB")
    assert severity(CatalogKind.SETTING, d, attributed=False).value == "medium"


def test_what_makes_it_severe_is_said():
    said = why(CatalogKind.POLICY, difference("hr.t.own", "command: all", ""))
    assert said == "rows that it hid can be read, or none at all"


def test_a_type_is_used_and_a_function_executed():
    for name, said in (("type:hr.mood", "use"), ("function:hr.f()", "execute")):
        d = difference(f"{name}<-PUBLIC", "(revoked)", "")
        assert why(CatalogKind.PRIVILEGE, d) == f"everybody may {said} it again"


def test_every_kind_has_its_row_of_risks():
    assert {*RISKS} == {*CatalogKind}


CLAUSES = [
    ("table", "hr.t", TABLE, "owner: a\nkind: table\nrow security: on",
     "column id of table hr.t was dropped"),
    ("table", "hr.t", TABLE, TABLE.replace("integer", "bigint"),
     "column id of table hr.t is bigint, was integer"),
    ("table", "hr.t", TABLE, TABLE.replace("\nrow security: on", ""),
     "row level security of table hr.t is off, was on"),
    ("table", "hr.v", "", "owner: bob\nkind: view", "view hr.v was created and belongs to bob"),
    ("table", "hr.t", TABLE, TABLE.replace("owner: a", "owner: b"),
     "table hr.t belongs to b, was a's"),
    ("function", "hr.f()", SAFE, SAFE.replace("sha256:1", "sha256:2"),
     "the code of function hr.f() changed"),
    ("function", "hr.f()", SAFE, DEFINER,
     "set search_path of function hr.f() is no longer set"),
    ("trigger", "hr.t.audit", "enabled: origin", "enabled: disabled",
     "trigger hr.t.audit is disabled, was enabled"),
    ("extension", "dblink", "version: 1.1", "version: 1.2",
     "version of extension dblink is 1.2, was 1.1"),
    ("role", "x", "superuser=false", "superuser=true", "role x became superuser=true"),
    ("membership", "a<-b", "", "member noinherit", "b is now a member of a (noinherit)"),
    ("watched", "public.flags[7]", "enabled: f", "enabled: t",
     "in row public.flags[7], enabled is t, was f"),
    (
        "schema",
        "hr",
        "owner: a",
        "owner: a\ntext search dictionary d: of simple",
        "text search dictionary d of schema hr was created (of simple)",
    ),
    ("user_mapping", "s<-etl", "", "options: sha256:1", "user mapping s<-etl was created"),
    ("privilege", "function:hr.f()<-PUBLIC", "", "(revoked)",
     "PUBLIC may no longer EXECUTE on function hr.f()"),
    ("privilege", "type:hr.mood<-PUBLIC", "(revoked)", "",
     "PUBLIC may again USAGE on type hr.mood"),
    ("privilege", "default:tables of dba in hr<-PUBLIC", "", "SELECT",
     "PUBLIC may SELECT on new tables of dba in hr"),
    ("privilege", "default:functions of dba<-PUBLIC", "", "(revoked)",
     "PUBLIC may no longer EXECUTE on new functions of dba"),
    ("table", "hr.p1", f"{TABLE}\npartition of: hr.p FOR VALUES IN (1)", TABLE,
     "table hr.p1 is no longer a partition of hr.p"),
    ("table", "hr.p1", f"{TABLE}\npartition of: hr.p DEFAULT", TABLE,
     "table hr.p1 is no longer a partition of hr.p"),
    ("table", "hr.p1", TABLE, f"{TABLE}\npartition of: hr.p FOR VALUES IN (1)",
     "table hr.p1 is a partition of hr.p FOR VALUES IN (1)"),
    ("privilege", "language:plv8<-PUBLIC", "", "(revoked)",
     "PUBLIC may no longer USAGE on language plv8"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "desired", "observed", "clause"), CLAUSES)
def test_a_difference_is_said_in_one_clause(kind, name, desired, observed, clause):
    assert describe(CatalogKind(kind), difference(name, desired, observed)) == clause


@pytest.mark.parametrize("kind", list(CatalogKind))
@pytest.mark.parametrize(
    ("desired", "observed"), [("", "owner: a"), ("owner: a", ""), ("a: b", "a: c")]
)
def test_every_kind_has_a_clause_and_a_severity(kind, desired, observed):
    d = difference("x<-y", desired, observed)
    assert describe(kind, d)
    assert severity(kind, d, attributed=True)


@pytest.mark.parametrize(
    ("desired", "observed", "said"),
    [
        ("SELECT", "SELECT, INSERT", "also INSERT"),
        ("SELECT, UPDATE", "SELECT", "no longer UPDATE"),
        ("SELECT", "INSERT", "also INSERT and no longer SELECT"),
        ("SELECT", "SELECT*", "also SELECT*"),
        ("SELECT*", "SELECT", "no longer SELECT*"),
    ],
)
def test_of_a_right_only_what_differs_is_said(desired, observed, said):
    d = difference("table:hr.t<-g1", desired, observed)
    assert describe(CatalogKind.PRIVILEGE, d) == f"g1 may {said} on table hr.t"


def test_a_rule_of_the_socket_says_nothing_of_where_clients_come_from():
    rule = difference("local all all", "peer", "trust")
    assert why(CatalogKind.HBA, rule) == "clients are let in without proof"
    assert why(CatalogKind.HBA, difference("local all all", "peer", "scram-sha-256")) == ""


def test_of_a_command_that_does_nothing_it_is_said_what_that_means():
    step = difference("archive_command", "hidden 1", "/bin/true")
    assert why(CatalogKind.SETTING, step) == "write-ahead log is no longer archived"
