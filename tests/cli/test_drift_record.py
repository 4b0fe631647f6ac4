"""``pgwarden drift`` over a record, with no collector running."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from cli.drift import app
from collector.drift.baseline import EVERYTHING, Part, Scope, changed_names
from collector.drift.history import change_rows
from collector.store import Store
from model.catalog import CatalogKind as Kind
from tests.analytics.streams import START_US
from tests.collector.drift.facts import SALARY, SERVER, changed


@pytest.fixture
def record(tmp_path):
    """A configuration, and a function that stores a server's facts as a snapshot."""
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"data_dir": str(tmp_path / "data")}}))

    seen = {}

    def add(parts, cluster="5432", second=0):
        at_us = START_US + second * 1_000_000
        rows = []
        for (kind, database), items in parts.items():
            scope = Scope("host-a", cluster, kind, database)
            before = seen.get(scope, {})
            part = Part(at_us, 0, 0, EVERYTHING, {}, frozenset())
            rows += change_rows(scope, before, items, changed_names(before, items), part, at_us)
            seen[scope] = items
        store.append("catalog_changes", rows)
        assert store.segments.flush()

    add.store = store
    add.config = path
    return add


def run(record, *words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--config", str(record.config)])


def declared(record, tmp_path):
    done = run(record, "export")
    assert done.exit_code == 0, done.output
    path = tmp_path / "desired.yaml"
    path.write_text(done.stdout)
    return path


OTHER = changed(
    SERVER, Kind.TABLE, "shop", {"hr.salary": SALARY.replace("row security: forced\n", "")}
)


def test_what_is_exported_needs_no_plan(record, tmp_path):
    record(SERVER)
    done = run(record, "plan", str(declared(record, tmp_path)))
    assert (done.exit_code, "is as" in done.stdout) == (0, True)


def test_a_plan_is_sql_and_exits_1(record, tmp_path):
    record(SERVER)
    path = declared(record, tmp_path)
    record(OTHER, second=5)
    done = run(record, "plan", str(path))
    assert done.exit_code == 1
    assert "\\connect shop" in done.stdout
    assert "ALTER TABLE hr.salary FORCE ROW LEVEL SECURITY;" in done.stdout


def test_a_plan_as_json_has_a_step_a_line(record, tmp_path):
    record(SERVER)
    path = declared(record, tmp_path)
    record(OTHER, second=5)
    done = run(record, "plan", str(path), "--json")
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert {step["database"] for step in steps} == {"shop"}
    assert steps[0]["sql"] == "ALTER TABLE hr.salary ENABLE ROW LEVEL SECURITY"


def test_a_declaration_with_a_mistake_exits_78_with_its_line(record, tmp_path):
    record(SERVER)
    path = tmp_path / "desired.yaml"
    path.write_text("version: 1\ncluster:\n  roel: {}\n")
    done = run(record, "plan", str(path))
    assert done.exit_code == 78
    assert f"{path}:3:9: unknown kind 'roel'" in done.stderr


def test_export_can_be_limited_and_look_back(record):
    record(SERVER)
    record(OTHER, second=3600)
    done = run(record, "export", "--kinds", "table", "--no-cluster-wide", "--database", "shop")
    assert yaml.safe_load(done.stdout)["databases"].keys() == {"shop"}
    assert "row security" not in done.stdout
    before = run(record, "export", "--kinds", "table", "--at", "2100-01-01")
    assert before.stdout == done.stdout
    assert run(record, "export", "--at", "1990-01-01").exit_code == 1


def test_two_servers_are_compared_line_by_line(record):
    record(SERVER)
    record(OTHER, cluster="5433")
    done = run(record, "compare", "host-a/5432", "host-a/5433")
    assert done.exit_code == 1
    assert "~ table hr.salary" in done.stdout
    assert "- row security: forced" in done.stdout
    assert run(record, "compare", "5432", "5432").exit_code == 0


def test_two_databases_are_compared_whatever_they_are_called(record, tmp_path):
    staging = {(kind, "staging" if db else ""): items for (kind, db), items in OTHER.items()}
    record(SERVER)
    record(staging, cluster="5433")
    done = run(record, "compare", "5432/shop", "5433/staging", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["kind"], row["clause"]) for row in rows] == [
        ("table", "row level security of table hr.salary is off, was forced")
    ]


def test_a_server_is_compared_with_a_declaration(record, tmp_path):
    record(SERVER)
    path = declared(record, tmp_path)
    record(OTHER, second=5)
    assert run(record, "compare", str(path), "host-a/5432").exit_code == 1
    assert run(record, "compare", f"{path}#shop", "5432/shop").exit_code == 1
    assert run(record, "compare", str(path), str(path)).exit_code == 0
    assert run(record, "compare", str(path), "5432/shop").exit_code == 2
    assert run(record, "compare", f"{path}#shap", "5432/shop").exit_code == 2


def test_which_server_is_asked_when_there_are_several(record):
    record(SERVER)
    record(SERVER, cluster="5433")
    done = run(record, "export")
    assert done.exit_code == 2
    assert "host-a/5432, host-a/5433" in done.stderr
    assert run(record, "export", "--server", "5433").exit_code == 0
    assert run(record, "export", "--server", "5434").exit_code == 2


def test_a_profile_is_held_against_the_server(record):
    record(changed(SERVER, Kind.SETTING, "", {"ssl": "off", "fsync": "on"}))
    done = run(record, "check", "--profile", "cis")
    assert done.exit_code == 1
    assert "✗ tls-on" in done.stdout
    assert "remedy: ALTER SYSTEM SET ssl" in done.stdout
    assert "? tls-version" in done.stdout
    rows = [json.loads(x) for x in run(record, "check", "--json").stdout.splitlines()]
    assert {row["outcome"] for row in rows} == {"pass", "fail", "unknown"}
    assert {(row["agent"], row["cluster"]) for row in rows} == {("host-a", "5432")}
    assert all(row["reason"] for row in rows if row["outcome"] == "unknown")


def test_an_unknown_profile_names_those_there_are(record):
    record(SERVER)
    done = run(record, "check", "--profile", "sic")
    assert done.exit_code == 78
    assert "cis, pgaudit" in done.stderr


def drift(record, **more):
    row = {
        "occurred_at": START_US, "agent": "host-a", "cluster": "5432", "kind": "table",
        "database": "shop", "name": "hr.salary", "change": "changed", "desired": SALARY,
        "observed": SALARY.replace("row security: forced\n", ""), "attribution": "attributed",
        "statement_id": 7, "actor": "bob",
    }  # fmt: skip
    record.store.append("drift", [row | more])
    assert record.store.segments.flush()


def test_a_diff_shows_the_lines_and_who(record):
    drift(record)
    drift(record, name="x\x1b[31m", change="added", desired="", observed="kind: table\nowner: eve",
          attribution="unattributed")  # fmt: skip
    done = run(record, "diff")
    assert done.exit_code == 1
    assert "  - row security: forced\n" in done.stdout
    assert "  + owner: eve\n" in done.stdout
    assert "by bob" in done.stdout
    assert "by nobody on the wire" in done.stdout
    assert "\x1b[31m" not in done.stdout
    assert run(record, "diff", "--kind", "role").exit_code == 0
    assert run(record, "diff", "--kind", "rol").exit_code == 2
    [row] = run(record, "diff", "--json", "--name", "hr.*").stdout.splitlines()
    assert json.loads(row)["actor"] == "bob"


def test_a_diff_and_the_history_lead_to_the_finding(record):
    import time

    drift(record, severity="critical", finding_id="0123456789abcdef01234567",
          occurred_at=int(time.time() * 1e6) - 60_000_000)  # fmt: skip
    for command in ("diff", "history"):
        [line] = [x for x in run(record, command).stdout.splitlines() if "hr.salary" in x]
        assert "critical" in line
        assert "finding 0123456789ab" in line


def test_a_whole_extension_is_told_without_the_digests_of_its_members(record):
    members = "\n".join(f"member function public.f{n}(): sha256:{n:064x}" for n in range(45))
    drift(record, kind="extension", name="pgcrypto", change="added", desired="",
          observed=f"version: 1.3\n{members}")  # fmt: skip
    drift(record, kind="function", name="f()", desired=f"body: sha256:{1:064x}",
          observed=f"body: sha256:{'ab' * 32}")  # fmt: skip
    shown = run(record, "diff").stdout
    assert "  + version: 1.3\n  + 45 members\n" in shown
    assert "  + body: sha256:abababababab…\n" in shown
    assert max(map(len, shown.splitlines())) < 100


def test_a_row_of_a_watched_table_is_asked_for_by_its_name_as_it_is_shown(record):
    drift(record, kind="watched", name="public.flags[checkout]", desired="on: no", observed="on: y")
    [row] = run(record, "diff", "--json", "--name", "public.flags[checkout]").stdout.splitlines()
    assert json.loads(row)["name"] == "public.flags[checkout]"


def test_what_was_resolved_is_history_and_no_difference(record):
    import time

    now = int(time.time() * 1e6)
    drift(record, occurred_at=now - 60_000_000, resolved_at=now)
    assert run(record, "diff").exit_code == 0
    done = run(record, "history")
    assert done.exit_code == 0
    assert "row level security of table hr.salary is off, was forced" in done.stdout
    assert "by bob" in done.stdout


def test_a_history_that_is_cut_says_so(record):
    import time

    for number in range(3):
        drift(record, name=f"hr.t{number}", occurred_at=int(time.time() * 1e6) - 60_000_000)
    cut = run(record, "history", "--limit", "2", "--json")
    assert len(cut.stdout.splitlines()) == 2
    assert "the last 2 of 3 changes" in cut.stderr
    assert run(record, "history", "--limit", "3").stderr == ""


def test_a_rename_is_one_line_of_history_and_both_names_stand_in_the_diff(record):
    import time

    at = int(time.time() * 1e6) - 60_000_000
    drift(record, occurred_at=at, name="hr.wages", change="removed", observed="",
          renamed="renamed to hr.salary")  # fmt: skip
    drift(record, occurred_at=at, name="hr.salary", change="added", desired="",
          renamed="renamed from hr.wages")  # fmt: skip
    [line] = run(record, "history").stdout.splitlines()
    assert "table hr.salary was renamed from hr.wages  by bob" in line
    [alone] = run(record, "history", "--name", "hr.wages").stdout.splitlines()
    assert "table hr.salary was renamed from hr.wages" in alone
    shown = run(record, "diff").stdout
    assert "renamed from hr.wages, by bob" in shown
    assert "renamed to hr.salary, by bob" in shown


def test_a_finding_is_explained_with_its_statement(record):
    statement = {
        "id": 7, "agent": "host-a", "cluster": "5432", "started_at": START_US, "user_name": "bob",
        "database": "shop", "application_name": "psql", "text": "ALTER TABLE hr.salary …",
    }  # fmt: skip
    finding = {
        "id": "abc123", "kind": "drift", "severity": "critical", "title": "Drift: table hr.salary",
        "sentence": "bob did ALTER TABLE", "occurred_at": START_US, "agent": "host-a",
        "statement_id": 7, "evidence_sql": "SELECT 1",
        "details": json.dumps({"attribution": "attributed", "consequences": "a\nb"}),
    }  # fmt: skip
    drift(record, finding_id="abc123", severity="critical", approval="req-9")
    record.store.append("statements", [statement])
    record.store.append("findings", [finding])
    assert record.store.segments.flush()
    done = run(record, "explain", "abc")
    assert done.exit_code == 0, done.output
    told = (
        "bob did ALTER TABLE",
        "critical",
        "ALTER TABLE hr.salary …",
        "psql",
        "SELECT 1",
        "req-9",
    )
    for words in (*told, "- row security: forced"):
        assert words in done.stdout
    assert json.loads(run(record, "explain", "abc123", "--json").stdout)["statement"]["id"] == 7
    assert run(record, "explain", "zzz").exit_code == 1


@pytest.mark.parametrize(
    ("resolved_at", "outcome"), [(None, "attributed"), (START_US + 9_000_000, "reverted")]
)
def test_the_outcome_of_a_finding_that_is_over_is_what_became_of_it(record, resolved_at, outcome):
    finding = {
        "id": "abc123", "kind": "drift", "severity": "low", "title": "Drift", "sentence": "it is",
        "occurred_at": START_US, "agent": "host-a", "resolved_at": resolved_at,
        "details": json.dumps({"attribution": "attributed"}),
    }  # fmt: skip
    drift(record, finding_id="abc123", outcome=outcome)
    record.store.append("findings", [finding])
    assert record.store.segments.flush()
    lines = run(record, "explain", "abc123").stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("outcome")] == [["outcome", outcome]]


def test_what_ran_inside_a_function_is_explained_with_the_call_around_it(record):
    place = {"agent": "host-a", "cluster": "5432", "started_at": START_US, "user_name": "bob"}
    texts = ("SELECT public.give('t')", "SELECT app.inner('t')", "GRANT SELECT ON t TO eve")
    rows = [
        {**place, "id": number, "parent_id": number - 1, "text": text}
        for number, text in enumerate(texts, start=1)
    ]
    finding = {"id": "abc123", "kind": "drift", "severity": "high", "occurred_at": START_US,
               "agent": "host-a", "statement_id": 3, "details": "{}"}  # fmt: skip
    record.store.append("statements", rows)
    record.store.append("findings", [finding])
    assert record.store.segments.flush()
    done = run(record, "explain", "abc123")
    assert "statement  GRANT SELECT ON t TO eve" in done.stdout
    assert "inside     SELECT public.give('t')" in done.stdout


def test_without_a_record_the_remedy_is_said(tmp_path):
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"data_dir": str(tmp_path / "none")}}))
    done = CliRunner().invoke(app, ["export", "--config", str(path)])
    assert done.exit_code == 1
    assert "has the collector run?" in done.stderr


def test_a_kind_that_is_nearly_one_is_suggested(record):
    done = run(record, "diff", "--kind", "memberships")
    assert done.exit_code == 2
    assert "did you mean membership?" in done.output
    assert "there are setting, " in run(record, "diff", "--kind", "x").output
