"""What sessions run at this moment, as an agent tells whoever asks."""

from pathlib import Path

import orjson
import pytest

from agent.discovery import Cluster
from agent.identity import Claims
from agent.running import MOST_CHARACTERS, MOST_STATEMENTS, RunningStatements
from agent.shown import as_it_is
from agent.sources.records import POSTGRES_EPOCH_US
from agent.sources.running import OpenSession, RunningStatement, UnreadableError
from model.session import BackendKey, Identity, IdentityKind, Origin, OriginKind, Session
from model.statement import ParseStatus, Shape

CLUSTER = Cluster("5432", 1, 1, Path("/bin/postgres"), 1, 1, Path("/data"), 5432, (), 15)


class FakeSource:
    def __init__(self, *found, error=None):
        self.found = [(CLUSTER, one, transaction) for one, transaction in found]
        self.error = error

    def running(self):
        if self.error:
            raise self.error
        return list(self.found)


class FakeParser:
    """Redacts by saying how long the text is."""

    def shapes(self, texts, full_lengths):
        return [Shape(ParseStatus.PARSED, "d", "x" * len(text), "select") for text in texts]


def opened(pid=7, since_us=5_000_000, text=b"SELECT 'secret'", executing=True):
    running = RunningStatement(text, len(text), since_us, executing)
    return OpenSession(pid, 1_000_000, "app", "shop", "psql", "local", 0, False, running=running)


@pytest.fixture
def proc(tmp_path):
    def stat(pid, letter):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (postgres: x) {letter} 1 1")

    stat(7, "S")
    stat(8, "T")
    return tmp_path


def asked(source, proc, sessions=(), run_soon=lambda task: task()):
    statements = RunningStatements(
        source, FakeParser(), Claims(), as_it_is, lambda: sessions, run_soon, proc
    )
    return statements.answer()


def rows(result):
    assert result.outcome == "done", result.message
    return orjson.loads(result.message)["rows"]


def test_what_a_session_runs_is_told_redacted_with_who_and_since_when(proc):
    key = BackendKey(7, 1_000_000 + POSTGRES_EPOCH_US)
    known = Session(
        key,
        cluster="5432",
        user="app",
        database="shop",
        identity=Identity(IdentityKind.SERVICE, "billing", 0.9, ("by its unit",)),
        origin=Origin(OriginKind.PROCESS, "billing"),
    )
    (row,) = rows(asked(FakeSource((opened(), "T")), proc, [known]))
    assert row["started_at_us"] == 5_000_000 + POSTGRES_EPOCH_US
    assert row["backend_started_at_us"] == key.started_at_us
    assert (row["pid"], row["user_name"], row["identity_name"]) == (7, "app", "billing")
    assert (row["state"], row["transaction"], row["operation"]) == ("executing", "T", "select")
    assert (row["text"], row["text_bytes"]) == ("x" * 15, 15)
    assert "secret" not in str(row)


def test_who_a_comment_names_counts_as_on_the_record(proc):
    text = b"SELECT 1 /* user='alice' */"
    key = BackendKey(7, 1_000_000 + POSTGRES_EPOCH_US)
    pooled = Session(key, origin=Origin(OriginKind.POOLER, "pgbouncer"))
    (row,) = rows(asked(FakeSource((opened(text=text), "I")), proc, [pooled]))
    assert (row["identity_kind"], row["identity_name"]) == ("human", "alice")


def test_a_session_that_is_not_known_yet_has_its_login(proc):
    (row,) = rows(asked(FakeSource((opened(), "")), proc))
    assert (row["cluster"], row["user_name"], row["database"]) == ("5432", "app", "shop")
    assert row["identity_kind"] == "unknown"


@pytest.mark.parametrize(
    ("pid", "executing", "state"),
    [(7, True, "executing"), (7, False, "preparing"), (8, False, "held"), (9, True, "ended")],
)
def test_its_state_is_that_of_its_process(proc, pid, executing, state):
    (row,) = rows(asked(FakeSource((opened(pid, executing=executing), "I")), proc))
    assert row["state"] == state


def test_what_runs_for_longest_comes_first_and_the_rest_is_counted(proc):
    many = [(opened(pid=7, since_us=since), "I") for since in range(MOST_STATEMENTS + 3, 0, -1)]
    answer = orjson.loads(asked(FakeSource(*many), proc).message)
    since = [row["started_at_us"] - POSTGRES_EPOCH_US for row in answer["rows"]]
    assert since == list(range(1, MOST_STATEMENTS + 1))
    assert answer["more"] == 3


def test_of_a_long_text_the_beginning_is_told_with_its_length(proc):
    (row,) = rows(asked(FakeSource((opened(text=b"x" * 5000), "I")), proc))
    assert (len(row["text"]), row["text_bytes"]) == (MOST_CHARACTERS, 5000)


def test_where_nothing_can_be_known_nobody_is_told_that_nothing_runs(proc):
    result = asked(None, proc)
    assert (result.outcome, "no probes" in result.message) == ("refused", True)
    result = asked(FakeSource(error=UnreadableError("process 1: denied")), proc)
    assert (result.outcome, "process 1: denied" in result.message) == ("refused", True)


def test_an_agent_that_is_behind_says_so(proc, monkeypatch):
    monkeypatch.setattr("agent.running.PATIENCE_SECONDS", 0.01)
    result = asked(FakeSource((opened(), "I")), proc, run_soon=lambda task: None)
    assert (result.outcome, "behind" in result.message) == ("failed", True)


def test_an_answer_is_no_longer_than_a_message_may_be(proc, monkeypatch):
    monkeypatch.setattr("agent.running.MOST_BYTES", 20_000)
    many = [(opened(since_us=since, text=b"x" * 2000), "I") for since in range(1, 21)]
    result = asked(FakeSource(*many), proc)
    answer = orjson.loads(result.message)
    assert len(result.message) < 20_100
    assert (answer["rows"][0]["started_at_us"] - POSTGRES_EPOCH_US, len(answer["rows"])) == (1, 8)
    assert answer["more"] == 12


def test_an_error_is_told_without_what_it_quotes(proc, monkeypatch):
    def broken(*_):
        raise ValueError("SELECT 'secret'")

    monkeypatch.setattr(FakeParser, "shapes", broken)

    def run_soon(task):
        with pytest.raises(ValueError, match="secret"):
            task()

    result = asked(FakeSource((opened(), "I")), proc, run_soon=run_soon)
    assert (result.outcome, result.message) == ("failed", "what runs cannot be told (ValueError)")
