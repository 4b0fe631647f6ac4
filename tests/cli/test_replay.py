"""``pgwarden replay`` over a record of some days in which somebody took very much."""

import json
import time

import pytest
from typer.testing import CliRunner

from cli.main import app
from collector.store import Store
from tests.analytics.streams import frame

DAY = 86_400_000_000
NOW = time.time_ns() // 1000
START = (NOW - 9 * DAY) // DAY * DAY
ALICE = {"identity_kind": "human", "identity_name": "alice", "user_name": "alice"}


def ran(number, at_us, rows):
    return {
        "agent": "h", "id": number, "cluster": "5432", "database": "shop", "pid": 7,
        "backend_started_at": START, "started_at": at_us, "parse_status": "parsed",
        "sqlstate": "00000", "source": "ebpf", "protocol": "query", "operation": "select",
        "verbs": ["select"], "reads": ["shop.orders"], "fingerprint": "f", "summary": "SELECT",
        "text": "SELECT 1", "rows": rows, "bytes_sent": rows * 50, "executions": 1, **ALICE,
    }  # fmt: skip


def history():
    usual = [
        ran(1 + day * 40 + n, START + day * DAY + (9 * 3600 + n * 600) * 1_000_000, 900 + n * 7)
        for day in range(8)
        for n in range(40)
    ]
    theft = ran(9_000, START + 8 * DAY - 3_600_000_000, 40_000_000)
    return sorted([*usual, theft], key=lambda row: row["started_at"])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), commit_seconds=0.01)
    store.start()
    store.append("statements", history())
    assert store.segments.flush()
    store.close()
    return store.data_dir


@pytest.fixture
def configured(data_dir, tmp_path):
    def write(name, **analytics):
        file = tmp_path / f"{name}.yaml"
        file.write_text(
            json.dumps({"collector": {"data_dir": str(data_dir), "analytics": analytics}})
        )
        return file

    return write


@pytest.fixture
def call(configured, monkeypatch):
    monkeypatch.setenv("PGWARDEN_CONFIG", str(configured("present")))
    return lambda *words: CliRunner().invoke(app, ["replay", *map(str, words)])


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_configuration_that_mutes_the_person_tells_less(call, configured):
    other = configured("other", maintenance=[{"because": "export", "identity": "alice"}])
    result = call("--with", other, "--json")
    assert result.exit_code == 1, result.output
    told = lines(result)
    assert {each["in"] for each in told} == {"present"}
    assert {each["identity"] for each in told} == {"alice"}
    assert "volume" in {each["detector"] for each in told}


def test_the_same_configuration_tells_the_same(call, configured):
    result = call("--with", configured("same"), "--json")
    assert result.exit_code == 0
    assert {each["in"] for each in lines(result)} == {"both"}


def test_what_differs_is_shown_with_a_sentence(call, configured):
    other = configured("other", maintenance=[{"because": "export", "identity": "alice"}])
    shown = call("--with", other).stdout
    assert "0 only with the other" in shown
    assert "alice took 40,000" in shown


def test_a_parquet_file_of_statements_is_a_history_as_well(call, configured, tmp_path):
    file = tmp_path / "day.parquet"
    rows = [row | {"client_address": "10.0.0.1", "application_name": "psql"} for row in history()]
    frame(rows).write_parquet(file)
    other = configured("other", maintenance=[{"because": "export", "identity": "alice"}])
    result = call(file, "--with", other, "--json")
    assert "volume" in {each["detector"] for each in lines(result)}


def test_a_file_that_is_no_history_is_refused_by_name(call, tmp_path):
    file = tmp_path / "no.parquet"
    file.write_text("no")
    result = call(file, "--budget", 20)
    assert result.exit_code == 2
    assert str(file) in result.output


def test_without_a_difference_to_try_nothing_is_run(call):
    result = call()
    assert result.exit_code == 2
    assert "--with" in result.output
