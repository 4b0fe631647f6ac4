"""``pgwarden drift`` against a collector's real Operator service."""

from __future__ import annotations

import json
from concurrent import futures

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from cli.drift import app
from collector.commands import Agents, AgentStream
from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.expectations import Expectations
from collector.operator_service import OperatorService, Tails
from collector.sessions import LiveSessions
from model.catalog import CatalogKind
from protos.pgwarden.v1 import operator_pb2_grpc, uplink_pb2
from tests.collector.test_drift import GRANT, WORK_MEM, World, alter_system, snapshot


@pytest.fixture
def world(tmp_path, request):
    """The parameter: a declaration."""
    path = tmp_path / "desired.yaml"
    path.write_text(getattr(request, "param", ""))
    files = [DeclaredFile(path)] if path.read_text() else []
    return World(tmp_path / "state", expectations=Expectations(declared=DeclaredState(files)))


@pytest.fixture
def agents():
    return Agents()


@pytest.fixture
def config(world, agents, tmp_path):
    """A configuration that names the unix socket of a server with this world's Drift."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service = OperatorService(agents, LiveSessions(), Tails(), world.drift)
    operator_pb2_grpc.add_OperatorServicer_to_server(service, server)
    address = f"unix:{tmp_path}/collector.sock"
    server.add_insecure_port(address)
    server.start()
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"listen": [address]}}))
    yield path
    server.stop(0).wait(5)


def run(config, *words):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [*words, "--config", str(config)])


def drifted(world):
    world.commit(0, snapshot(0))
    did = alter_system("bob", 5, "work_mem")
    world.commit(6, snapshot(6, {**WORK_MEM, **GRANT}), statements=[did])
    world.tick(20)


def test_without_a_baseline_status_says_what_is_missing(config):
    done = run(config, "status")
    assert done.exit_code == 0
    assert "no baseline yet" in done.stderr


def test_no_difference_is_good(world, config):
    world.commit(0, snapshot(0))
    done = run(config, "status")
    assert done.exit_code == 0
    assert "baseline accepted by pgwarden (first snapshot)" in done.stdout
    assert "no difference" in done.stdout


def test_differences_are_shown_with_who_made_them_and_exit_1(world, config):
    drifted(world)
    done = run(config, "status")
    assert done.exit_code == 1
    _, *lines = done.stdout.splitlines()
    told = dict(zip(lines[::2], lines[1::2], strict=True))
    [grant, setting] = sorted(told, key=lambda line: "setting" in line)
    assert "analyst may SELECT on table hr.salaries" in grant
    assert told[grant].strip().startswith("by nobody on the wire  in host-a/5432/shop  finding ")
    assert "setting work_mem is 64MB, was 4MB" in setting
    assert told[setting].strip().startswith("by bob  in host-a/5432  finding ")


def test_each_difference_says_how_bad_it_is_and_the_finding_that_explains_it(world, config):
    drifted(world)
    rows = [json.loads(line) for line in run(config, "status", "--json").stdout.splitlines()]
    shown = run(config, "status").stdout
    for row in rows:
        assert row["severity"] in shown
        assert f"finding {row['finding_id'][:12]}" in shown


def test_of_a_table_that_differs_only_what_differs_is_shown(world, config):
    before = "owner: postgres\nkind: table\nrow security: forced\ncolumn id: bigint"
    after = before.replace("row security: forced\n", "")
    for second, value in ((0, before), (6, after)):
        item = {("table", "shop", "hr.salary"): (value, "")}
        world.commit(second, snapshot(second, item, kinds=(CatalogKind.TABLE,)))
    world.tick(20)
    shown = run(config, "status").stdout
    assert "row level security of table hr.salary is off, was forced" in shown
    assert "owner" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_json_has_a_row_a_line_with_the_columns_of_the_view(world, config):
    drifted(world)
    done = run(config, "status", "--json")
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["name"]: row["actor"] for row in rows} == {
        "work_mem": "bob",
        "table:hr.salaries<-analyst": "",
    }


def test_accepting_makes_the_next_status_good(world, config):
    drifted(world)
    done = run(config, "accept", "--by", "anna", "--reason", "ticket 7")
    assert (done.exit_code, "12 items" in done.stdout) == (0, True)
    after = run(config, "status")
    assert (after.exit_code, "accepted by anna" in after.stdout) == (0, True)


DECLARED = "version: 1\ncluster:\n  setting:\n    work_mem: 1MB\n    log_statement: all\n"


@pytest.mark.parametrize("world", [DECLARED], indirect=True)
def test_accepting_says_what_stays_open_because_a_file_declares_it(world, config):
    drifted(world)
    done = run(config, "accept", "--by", "anna", "--reason", "ticket 7")
    assert "✓ 9 items" in done.stdout
    assert "differences stay open: a file declares otherwise" in done.stderr
    assert json.loads(run(config, "accept", "--reason", "again", "--json").stdout)["open"] > 0
    named = run(config, "accept", "--by", "anna", "--reason", "ticket 7", "--name", "work_mem")
    assert (named.exit_code, "or a file declares" in named.stderr) == (1, True)


def test_accepting_needs_a_reason(config):
    assert run(config, "accept", "--by", "anna").exit_code == 2
    assert run(config, "accept", "--by", "anna", "--reason", " ").exit_code == 2


def test_no_difference_is_said_beside_what_an_agent_cannot_read(world, config, agents):
    world.commit(0, snapshot(0))
    agents.connected(AgentStream(uplink_pb2.Hello(agent="host-a")))
    agents.heard("host-a", uplink_pb2.Status(degraded=["5432: hba is not read"]))
    done = run(config, "status")
    assert "no difference" in done.stdout
    assert "host-a has 1 problem; what it cannot read is not compared" in done.stderr


def test_a_name_with_terminal_codes_or_markup_is_shown_harmless(world, config):
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, {("role", "", "x\x1b[31m[red]"): ("superuser=true", "")}))
    world.tick(20)
    done = run(config, "status")
    assert "\x1b[31m" not in done.stdout
    assert "x\\x1b[31m[red]" in done.stdout


def test_a_collector_that_is_down_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"listen": [f"unix:{tmp_path}/none.sock"]}}))
    done = run(path, "status")
    assert done.exit_code == 1
    assert "pgwarden up" in done.stderr
