"""``pgwarden rules backtest`` over a store with statements of a few people."""

import json
import time

import pytest
from typer.testing import CliRunner

from cli.main import app
from collector.store import Store

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = time.time_ns() // 1000
BOT = {"identity_kind": "ai_agent", "identity_name": "helper", "user_name": "app"}
ALICE = {"identity_kind": "human", "identity_name": "alice", "user_name": "alice"}
READ = {"operation": "select", "verbs": ["select"], "reads": ["hr.salaries"], "summary": "SELECT"}


def ran(number, hours_ago, who, **fields):
    common = {
        "agent": "h",
        "id": number,
        "cluster": "5432",
        "pid": 7,
        "backend_started_at": NOW - 90 * DAY,
        "started_at": NOW - hours_ago * HOUR,
        "parse_status": "parsed",
        "sqlstate": "00000",
        "source": "ebpf",
        "protocol": "query",
        "text": f"SELECT {number}",
        "text_bytes": 40,
        "executions": 1,
    }
    return {**common, **who, **fields}


STATEMENTS = [
    ran(1, 1, BOT, **READ, text="SELECT * FROM hr.salaries", identity_confidence=0.75),
    ran(2, 2, BOT, **READ, text="SELECT * FROM hr.salaries", executions=40),
    ran(3, 3, BOT, **READ, text="SELECT pay FROM hr.salaries", sqlstate="42501"),
    ran(4, 4, BOT, **READ, text="SELECT x FROM hr.salaries", sqlstate="57014"),
    ran(5, 5, ALICE, **READ),
    ran(6, 6, BOT, operation="select", verbs=["select"], reads=["shop.orders"]),
    ran(7, 24 * 20, BOT, **READ, text="SELECT old FROM hr.salaries"),
    ran(8, 24 * 60, BOT, **READ),
    ran(9, 7, BOT, parse_status="invalid", sqlstate="42601", text="SELCT"),
    ran(10, 8, ALICE, parse_status="too_long", text="SELECT long"),
    ran(12, 24 * 70, BOT, operation="drop", verbs=["drop", "create"], flags=["multi"]),
    ran(11, 9, BOT, **READ | {"reads": ["t"] * 500}, text_bytes=2000),
]
VERDICTS = [
    {"occurred_at": NOW - 3 * HOUR, "agent": "h", "statement_id": 3, "outcome": "prevented"},
    {"occurred_at": NOW - HOUR, "agent": "h", "statement_id": 1, "outcome": "observed"},
]
SESSIONS = [
    {
        "agent": "h",
        "pid": 7,
        "backend_started_at": NOW - 90 * DAY,
        "seen_at": NOW,
        **BOT,
        "identity_confidence": 0.9,
    }
]
ROLES = [
    {
        "occurred_at": at,
        "known_at": at,
        "agent": "h",
        "cluster": "5432",
        "kind": "role",
        "name": name,
        "change": change,
        "after": f"superuser={superuser} login=true",
    }
    for at, name, change, superuser in (
        (NOW - 2 * DAY, "app", "added", "true"),
        (NOW - DAY, "alice", "added", "true"),
        (NOW - DAY, "app", "changed", "false"),
    )
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), commit_seconds=0.01)
    store.start()
    store.append("statements", STATEMENTS)
    store.append("verdicts", VERDICTS)
    store.append("sessions", SESSIONS)
    store.append("catalog_changes", ROLES)
    assert store.segments.flush()
    store.close()
    return store.data_dir


@pytest.fixture
def call(data_dir, tmp_path, monkeypatch):
    config = tmp_path / "pgwarden.yaml"
    config.write_text(f"collector: {{data_dir: {data_dir}}}\n")
    monkeypatch.setenv("PGWARDEN_CONFIG", str(config))

    def run(*words):
        return CliRunner().invoke(app, ["rules", "backtest", *map(str, words)])

    return run


@pytest.fixture
def rule(tmp_path):
    def write(when, unknown="allow", action="deny", name="r"):
        file = tmp_path / f"{name}.yaml"
        file.write_text(
            f"- id: {name}\n  title: T\n  severity: high\n  action: {action}\n"
            f"  unknown: {unknown}\n  when: >\n    {when}\n"
        )
        return file

    return write


def answer(result):
    (line,) = result.stdout.splitlines()
    return json.loads(line)


PAYROLL = "identity.kind == 'ai_agent' && 'hr.salaries' in statement.reads"


def test_who_would_have_been_refused_is_told_by_identity_with_what_happened_then(call, rule):
    result = call(rule(PAYROLL), "--json")
    assert result.exit_code == 1
    found = answer(result)
    (helper,) = found["identities"]
    assert (found["rule"], found["action"], found["matched"]) == ("r", "deny", 44)
    assert (helper["identity_name"], helper["user_name"], helper["count"]) == ("helper", "app", 44)
    assert helper["outcomes"] == {"ran": 42, "refused": 1, "failed": 1}
    assert set(helper["examples"]) <= {STATEMENTS[n]["text"] for n in (0, 1, 2, 3, 6)}
    assert helper["first"] < helper["last"]


def test_the_span_is_kept(call, rule):
    assert answer(call(rule(PAYROLL), "--json", "--since", "10d"))["matched"] == 43
    assert answer(call(rule(PAYROLL), "--json", "--since", "90d"))["matched"] == 45


def test_a_rule_that_matches_nothing_is_good_to_go(call, rule):
    result = call(rule("'nothing' in statement.reads"))
    assert result.exit_code == 0
    assert "0 of" in result.stdout


def test_a_person_reads_a_table_with_examples(call, rule):
    result = call(rule(PAYROLL))
    assert result.exit_code == 1
    assert "helper" in result.stdout
    assert "FROM hr.salaries" in result.stdout


def test_what_could_not_be_understood_counts_where_the_rule_says_so(call, rule):
    found = answer(call(rule("'x' in statement.reads", unknown="deny"), "--json"))
    counts = {each["identity_name"]: each for each in found["identities"]}
    # Of the bot: the list that may lack names. Its typo, which the server refused, is none.
    assert (counts["alice"]["count"], counts["helper"]["count"]) == (1, 1)
    assert counts["alice"]["unknown"] == 1
    assert answer(call(rule("'x' in statement.reads"), "--json"))["matched"] == 0


def test_a_list_that_may_lack_names_is_unknown_to_rules_that_read_other_lists(call, rule):
    found = answer(call(rule("'x' in statement.writes", unknown="deny"), "--json"))
    assert {each["identity_name"] for each in found["identities"]} == {"alice", "helper"}


def test_a_rule_of_the_configuration_goes_by_its_id(call):
    result = call("drop-protected", "--json")
    assert result.exit_code == 0
    assert answer(result)["rule"] == "drop-protected"


def test_strings_of_several_statements_are_told_where_there_are_some(call, rule):
    when = "'drop' in statement.verbs"
    assert "1 executions were part of a string" in call(rule(when), "--since", "80d").stderr
    assert "string" not in call(rule(when)).stderr


def test_superusers_are_those_of_the_last_snapshot_and_that_is_said(call, rule):
    result = call(rule("session.superuser"), "--json")
    assert {each["user_name"] for each in answer(result)["identities"]} == {"alice"}
    assert "last snapshot" in result.stderr


def test_confidence_is_that_of_the_statement_and_of_the_session_where_the_statement_has_none(
    call, rule
):
    sure = rule("identity.kind == 'ai_agent' && identity.confidence > 0.8")
    assert answer(call(sure, "--json"))["matched"] == 45
    unsure = rule("identity.kind == 'ai_agent' && identity.confidence == 0.75")
    assert answer(call(unsure, "--json"))["matched"] == 1


def test_a_rule_about_what_is_not_on_record_is_left_out_and_named(call, rule, monkeypatch):
    from collector import backtest_facts

    monkeypatch.delitem(backtest_facts.STORED, "session.cluster")
    result = call(rule("session.cluster == 'x'"))
    assert result.exit_code == 2
    assert "session.cluster cannot be told from the record" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no-such-rule"], 2),
        (["drop-protected", "--since", "yesterday"], 2),
        ([], 2),
        (["missing.yaml"], 78),
    ],
)
def test_what_cannot_be_asked_has_its_exit_code(call, words, code):
    assert call(*words).exit_code == code


def test_a_broken_rule_is_told_with_its_place(call, rule):
    result = call(rule("statement.nothing"))
    assert result.exit_code == 78
    assert "r.yaml:7:15: rule r: when: unknown field" in result.stderr


def test_every_field_of_the_language_is_judged_from_the_record_or_named_as_missing():
    from collector.backtest_facts import STORED
    from rules.view import FIELDS

    assert STORED.keys() - {"vars"} <= FIELDS.keys()
