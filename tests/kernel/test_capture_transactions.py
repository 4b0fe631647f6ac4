"""Which transaction a statement ran in: the status before and after its round trip."""

import contextlib
import os

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from model.statement import Statement, StatementRun
from tests.kernel.capture import WAIT_SECONDS

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]


@pytest.fixture(scope="module")
def source(loader, postgres):
    with EbpfSource(loader=loader) as opened:
        opened.add(cluster_at(postgres.postmaster_pid))
        yield opened


@pytest.fixture
def client(postgres):
    with postgres.connect() as connection:
        yield connection


def recorded(source, client, wanted: int) -> list[tuple[str, str, str]]:
    """Text, transaction and SQLSTATE of the client's statements, in the order of their start."""
    tracker = SessionTracker(1, merge_window_us=0)
    found: list[Statement] = []
    for _ in range(WAIT_SECONDS * 20):
        for event in source.poll(50):
            for out in tracker.observe(event):
                if isinstance(out, StatementRun):
                    found += [out.statement(index) for index in range(len(out.executions))]
                elif isinstance(out, Statement):
                    found.append(out)
        own = [one for one in found if one.session.key.pid == client.info.backend_pid]
        if len(own) >= wanted:
            break
    return [
        (one.text.decode(), one.transaction, one.sqlstate)
        for one in sorted(own, key=lambda one: one.id)
    ]


def run(source, client, *texts: str, wanted: int | None = None) -> list[tuple[str, str, str]]:
    source.poll(0)
    source.poll(0)
    for text in texts:
        with contextlib.suppress(psycopg.Error):
            client.execute(text)
    return recorded(source, client, wanted or len(texts))


def test_a_statement_of_its_own_is_autocommit(source, client):
    assert run(source, client, "SELECT 1", "CREATE TEMP TABLE own ()") == [
        ("SELECT 1", "II", "00000"),
        ("CREATE TEMP TABLE own ()", "II", "00000"),
    ]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "END"])
def test_a_transaction_begins_goes_on_and_ends(source, client, end):
    assert run(source, client, "BEGIN", "SELECT 2", "SAVEPOINT s", end, "SELECT 3") == [
        ("BEGIN", "IT", "00000"),
        ("SELECT 2", "TT", "00000"),
        ("SAVEPOINT s", "TT", "00000"),
        (end, "TI", "00000"),
        ("SELECT 3", "II", "00000"),
    ]


def test_a_failed_transaction_refuses_until_it_ends(source, client):
    assert run(source, client, "BEGIN", "SELECT 1/0", "SELECT 4", "COMMIT") == [
        ("BEGIN", "IT", "00000"),
        ("SELECT 1/0", "TE", "22012"),
        ("SELECT 4", "EE", "25P02"),
        ("COMMIT", "EI", "00000"),
    ]


def test_a_savepoint_saves_a_failed_transaction(source, client):
    texts = ["BEGIN", "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s", "ROLLBACK"]
    assert [status for _, status, _ in run(source, client, *texts)] == [
        "IT", "TT", "TE", "ET", "TI",
    ]  # fmt: skip


def test_a_failure_in_autocommit_leaves_no_transaction(source, client):
    assert run(source, client, "SELECT 1/0", "SELEC", "SELECT 5") == [
        ("SELECT 1/0", "II", "22012"),
        ("SELEC", "II", "42601"),
        ("SELECT 5", "II", "00000"),
    ]


def test_statements_of_one_string_share_one_implicit_transaction(source, client):
    """Of one round trip the status before and after is known, not that in between."""
    several = "SELECT 6; SELECT 7"
    assert run(source, client, several, wanted=2) == [(several, "II", "00000")] * 2
    opening = "BEGIN; SELECT 8"
    assert run(source, client, opening, "ROLLBACK", wanted=3) == [
        (opening, "IT", "00000"),
        (opening, "IT", "00000"),
        ("ROLLBACK", "TI", "00000"),
    ]


def test_a_failure_within_one_string_ends_its_implicit_transaction(source, client):
    text = "SELECT 9; SELECT 1/(generate_series(1, 2) - 2)"
    found = run(source, client, text, wanted=2)
    assert found == [(text, "II", "00000"), (text, "II", "22012")]


def test_a_pipeline_is_one_round_trip_to_its_sync(source, client):
    source.poll(0)
    source.poll(0)
    with client.pipeline():
        client.execute("SELECT 10")
        client.execute("SELECT 11")
    found = recorded(source, client, 2)
    assert [one[1:] for one in found[:2]] == [("II", "00000")] * 2


def test_a_transaction_in_a_pipeline_ends_as_it_began(source, client):
    source.poll(0)
    source.poll(0)
    with client.pipeline():
        client.execute("BEGIN")
        client.execute("SELECT 12")
        client.execute("COMMIT")
    assert {one[1] for one in recorded(source, client, 3)} == {"II"}


def test_a_session_that_was_open_before_the_probes_has_an_unknown_before(loader, postgres):
    with postgres.connect() as early:
        early.execute("BEGIN")
        with EbpfSource(loader=loader) as source:
            source.add(cluster_at(postgres.postmaster_pid))
            assert run(source, early, "SELECT 13", "COMMIT") == [
                ("SELECT 13", "?T", "00000"),
                ("COMMIT", "TI", "00000"),
            ]
