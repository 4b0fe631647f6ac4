"""docs/views.md says what the store has, and its queries answer what they promise."""

import re
from pathlib import Path

import pytest

from cli import sql
from collector.schema_page import updated
from collector.store import Store

PAGE = (Path(__file__).resolve().parents[2] / "docs/views.md").read_text()
INVESTIGATIONS = dict(re.findall(r"### ([^\n]+\?)\n.*?```sql\n(.*?)```", PAGE, re.DOTALL))
MINUTE = 60_000_000
NOON = 1_790_000_000_000_000

BOT = {"identity_kind": "ai_agent", "identity_name": "bot", "user_name": "app"}
ALICE = {"identity_kind": "human", "identity_name": "", "user_name": "alice"}


def ran(number, at, who, **fields):
    common = {"agent": "h", "id": number, "started_at": at, "sqlstate": "00000"}
    return {**common, **who, **fields}


STATEMENTS = [
    ran(1, NOON, ALICE, reads=["hr.salary"], rows=3, summary="SELECT hr.salary"),
    ran(2, NOON + MINUTE, BOT, reads=["salary", "staff"], rows=500, summary="SELECT salary"),
    ran(3, NOON + 2 * MINUTE, BOT, reads=["staff"], rows=100, summary="SELECT staff"),
    ran(4, NOON - 90 * MINUTE, BOT, reads=["old"], rows=1, summary="SELECT old"),
    ran(5, NOON, ALICE, text="ALTER SYSTEM SET fsync = $1", settings=["fsync"]),
    ran(6, NOON, BOT, reads=["hr.salary"], sqlstate="42501"),
    ran(7, NOON, BOT, writes=["staff"], identity_confidence=0.5, identity_evidence="a comment"),
]
VERDICTS = [
    {
        "occurred_at": NOON + n,
        "action": "deny",
        "outcome": "prevented",
        "rule_id": "r",
        "text": f"t{n}",
        **BOT,
    }
    for n in range(3)
]
FINDING = {"id": "f-volume", "agent": "h", "occurred_at": NOON + 5 * MINUTE, "identity": "bot"}
DRIFT = [
    {"occurred_at": NOON, "agent": "h", "kind": "setting", "name": "fsync", "statement_id": 5},
    {"occurred_at": NOON + 1, "agent": "h", "kind": "setting", "name": "port", "statement_id": 0},
    {"occurred_at": NOON, "agent": "h", "kind": "role", "name": "x", "statement_id": 0},
]

COVERAGE = [
    {"minute": NOON + n * MINUTE, "agent": "h", "pid": 4711, "matched": 9, "only_pgaudit": 0, **row}
    for n, row in enumerate(
        (
            {"only_ebpf": 0, "pgaudit_ratio": 1.0},
            {"only_ebpf": 1, "pgaudit_ratio": 0.9, "only_ebpf_examples": ["SELECT t"]},
        )
    )
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("views"), commit_seconds=0.01)
    store.start()
    for table, rows in (
        ("statements", STATEMENTS),
        ("verdicts", VERDICTS),
        ("findings", [FINDING]),
        ("drift", DRIFT),
        ("audit_coverage", COVERAGE),
    ):
        store.append(table, rows)
    assert store.segments.flush()

    def answer(title):
        with sql.open_session(store.data_dir) as views:
            found = sql.ask(views, INVESTIGATIONS[title])
            return [dict(zip(found.names, row, strict=True)) for row in found.rows()]

    yield answer
    store.close()


def test_the_reference_is_what_the_schema_says():
    assert updated(PAGE) == PAGE, "run python -m collector.schema_page"


def test_there_are_seven_investigations():
    assert len(INVESTIGATIONS) == 7


def test_who_read_a_table(ask):
    rows = ask("Who read a table?")
    assert [(row["who"], row["rows_read"]) for row in rows] == [("bot", 500), ("alice", 3)]


def test_what_someone_did_in_the_hour_before_a_finding(ask):
    rows = ask("What did someone do in the hour before a finding?")
    assert [row["summary"] for row in rows if row["summary"]] == ["SELECT salary", "SELECT staff"]


def test_what_was_denied_and_to_whom(ask):
    (row,) = ask("What was denied, and to whom?")
    assert (row["who"], row["outcome"], row["times"], row["last_text"]) == (
        "bot",
        "prevented",
        3,
        "t2",
    )


def test_what_changed_a_setting(ask):
    rows = ask("What changed a setting?")
    assert [(row["name"], row["who"], row["text"]) for row in rows] == [
        ("port", None, None),
        ("fsync", "alice", "ALTER SYSTEM SET fsync = $1"),
    ]


def test_which_relations_ai_agents_read_most(ask):
    rows = ask("Which relations do AI agents read most?")
    assert [(row["relation"], row["agents"], row["rows_read"]) for row in rows] == [
        ("staff", 1, 600),
        ("salary", 1, 500),
        ("old", 1, 1),
    ]


def test_why_it_is_said_to_be_them(ask):
    (row,) = ask("Why is it said to be them?")
    assert (row["identity_name"], row["identity_confidence"]) == ("bot", 0.5)
    assert row["identity_evidence"] == "a comment"


def test_did_both_sources_see_everything(ask):
    rows = ask("Did both sources see everything?")
    assert [(row["pid"], row["only_ebpf"], row["only_ebpf_examples"]) for row in rows] == [
        (4711, 1, ["SELECT t"])
    ]
